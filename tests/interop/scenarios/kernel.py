"""The Linux kernel module as the peer, in a virtual machine of its own."""

import functools
import itertools
import json
import os
import subprocess
import time

from rig.group import FAR, HUB, hex_key, uapi
from rig.implementation import ROOT, implementation
from rig.scenario import scenario
from rig.shell import Missing, attempt, check, run, wait_until
from rig.traffic import until_ping

RIG = f"{ROOT}/tests/interop/kernel_peer"


def prepare():
    """Fetches the kernel and builds the image while there still is a network. Returns False if that cannot be."""
    return attempt(f"{RIG}/build-initramfs", timeout=600).returncode == 0


def boot(lab, **options):
    """Starts the guest. The environment of the rig's programs from then on."""
    if os.environ.get("CULVERT_KERNEL_PEER") != "1":
        raise Missing("no kernel peer: tools/setup interop installs qemu, tests/interop/kernel_peer/build-initramfs says more")
    env = {**os.environ, "KP_STATE": os.path.join(lab.directory, "kernel-peer"), "KP_DEBUG": "1", **options}
    run(f"{RIG}/start", env=env, timeout=200)
    lab.undo.append(lambda: run(f"{RIG}/stop", env=env))
    return env


def prove(lab, which, **options):
    env = boot(lab, **options)
    with open(lab.log("prove"), "w+", encoding="utf-8") as log:
        try:
            done = subprocess.run([f"{RIG}/prove", implementation(which).program, "-f", "kp0"], env=env, timeout=400,
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        finally:
            log.seek(0)
            lines = log.read().splitlines()
            print("\n".join(lines))
    failed = [line for line in lines if line.startswith("FAIL")]
    check(done.returncode == 0, f"{len(failed)} checks failed: {'; '.join(' '.join(line.split()[1:-2]) for line in failed)}")


@scenario("the kernel module: handshakes, sizes, TCP, UDP, PSK, roaming, cookies", pairs=(("culvert",),), long=True)
def everything(lab, which):
    prove(lab, which)


@scenario("the kernel module: keys are renewed after 120 s, no packet lost", pairs=(("culvert",),), long=True)
def rekey(lab, which):
    prove(lab, which, PROVE_LONG="1")


class Devices:
    """Interfaces of the kernel in one guest, each with a key and a port, and ECMP over them towards the hub."""

    def __init__(self, env, hub, count):
        self.env = env
        self.names = [f"wg{number}" for number in range(1, count + 1)]
        self.ports = {name: 51840 + number for number, name in enumerate(self.names)}
        self.server_ports = itertools.count(5301)
        self.keys = {name: self._make(name, hub.public_key) for name in self.names}
        self.run(f"ip addr add {FAR}/32 dev lo; echo 1 >/proc/sys/net/ipv4/fib_multipath_hash_policy")
        self.spread()

    def run(self, command):
        return run(f"{RIG}/guest-run", command, env=self.env, timeout=60)

    def _make(self, name, hub_key):
        return self.run(f"umask 077; ip link add {name} type wireguard; wg genkey >/tmp/{name}; wg set {name} listen-port "
                        f"{self.ports[name]} private-key /tmp/{name} peer {hub_key} allowed-ips {HUB}/32; "
                        f"ip link set {name} mtu 1420 up; wg show {name} public-key").strip()

    def spread(self):
        self.run(f"ip route replace {HUB}/32 src {FAR} " + " ".join(f"nexthop dev {name}" for name in self.names))

    def carried(self):
        """Bytes that came in and went out, by name."""
        lines = self.run(" ; ".join(f"wg show {name} transfer" for name in self.names)).splitlines()
        return {name: tuple(map(int, line.split()[1:])) for name, line in zip(self.names, lines)}


def streams(hub, far, *arguments, seconds):
    """Starts eight TCP streams to the guest, or from there, and a server for them alone. Slow ones: the guest is emulated."""
    port = next(far.server_ports)
    far.run(f"iperf3 -s -1 -D -p {port}; until netstat -ltn | grep -q ':{port} '; do usleep 100000; done")
    return subprocess.Popen(hub.namespace.command("iperf3", "-J", "-c", FAR, "-p", port, "-B", HUB, "-P", "8", "-b", "2M", "-t", seconds,
                                                  *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def all_end_well(process, seconds):
    """Whether each stream carried something in its last seconds."""
    report = json.loads(process.communicate(timeout=seconds + 60)[0])
    check(process.returncode == 0 and "error" not in report, f"iperf3: {report.get('error')}")
    carried = [sum(part["streams"][number]["bytes"] for part in report["intervals"][-4:]) for number in range(8)]
    check(all(carried), f"every stream goes on: {carried}")


@scenario("the kernel module: a group of tunnels to three of its interfaces under ECMP", pairs=(("culvert",),), long=True)
def ecmp(lab, which):
    hub = lab.node(1, which)
    env = boot(lab, KP_NAME=hub.namespace.name, KP_TAP="kp")
    hub.start()
    far = Devices(env, hub, 3)
    reply = uapi(hub.interface, "set=1\n" + "".join(
        f"public_key={hex_key(far.keys[name])}\nendpoint=192.168.80.2:{far.ports[name]}\ngroup=guest\nallowed_ip={FAR}/32\n"
        for name in far.names) + "\n")
    check(reply == "errno=0\n\n", f"the group is taken: {reply}")
    hub.namespace.ip("route", "add", f"{FAR}/32", "dev", hub.interface)
    until_ping(hub, FAR)

    def each_carries(way, before):
        """Eight more streams, as their ports are drawn by lot: one time in nine an interface gets none of eight."""
        all_end_well(streams(hub, far, *(["-R"] if way else []), seconds=2), 2)
        return all(both[way] > before[name][way] + 100_000 for name, both in far.carried().items())

    for way, towards in enumerate(("the guest", "us")):
        wait_until(functools.partial(each_carries, way, far.carried()), f"every interface carries flows to {towards}", 120)

    # One falls silent: a port that nobody answers at. Its flows have to go on by the others.
    long = streams(hub, far, seconds=20)
    lab.background(long)
    time.sleep(2)  # for the streams to be under way
    far.run("ip link set wg3 down")
    far.names.remove("wg3")
    far.spread()
    all_end_well(long, 20)
    far.run("ip link set wg3 up")
    far.names.append("wg3")
    far.spread()
    before = far.carried()["wg3"][0]

    def is_back():
        all_end_well(streams(hub, far, seconds=3), 3)
        return far.carried()["wg3"][0] > before + 100_000

    wait_until(is_back, "the third has its flows back", 60)
