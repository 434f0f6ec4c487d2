"""Ports of DPDK instead of sockets: memif between two culverts, af_packet on a wire to others. No hugepages, no card."""

import os
import socket

from rig.implementation import Daemon, implementation
from rig.lab import reset
from rig.namespace import join
from rig.scenario import SELF_AND_OFFLOADS, scenario
from rig.shell import Missing, attempt, check, wait_until
from rig.traffic import Stream, echo_datagrams, expect_ping, ping, transfer, until_ping

RING = "framesz=2048,blocksz=4096"
EAL = "--no-huge --no-shconf --no-telemetry -m 64 --no-pci"


def need_dpdk():
    done = attempt(implementation("culvert").program, "-f", "--dpdk", "--version-of-dpdk-is-not-an-argument", "wgx", timeout=120)
    if "built without DPDK" in done.stderr + done.stdout:
        raise Missing("this culvert was built without DPDK: tools/setup dpdk")


def mac(node):
    return f"02:00:00:00:00:{node.number:02x}"


def static(node, other):
    """What node says of its port: addresses, and where the other one is."""
    words = [f"address={node.outer['v4']}/24", f"address={node.outer['v6']}/64"]
    return words + [f"neighbour={other.outer[family]}@{mac(other)}" for family in ("v4", "v6")]


def metrics(node):
    """The page of a daemon: {'name{labels without the device}': value}."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(node.daemon.socket)
        client.sendall(b"metrics=1\n\n")
        text = b""
        while not text.endswith(b"errno=0\n\n"):
            piece = client.recv(1 << 16)
            check(piece, "the daemon tells its metrics")
            text += piece
    lines = (line.rsplit(" ", 1) for line in text.decode().splitlines() if line.startswith("culvert_"))
    return {name.replace(f'device="{node.interface}"', "").replace("{,", "{"): int(value) for name, value in lines}


def start_on_memif(lab, node, other, role):
    path = os.path.join(lab.directory, "memif")
    vdev = f"net_memif0,role={role},id=0,socket={path},socket-abstract=no,mac={mac(node)}"
    node.start(env={"CULVERT_SOURCE_PORTS": "4"}, arguments=("--workers", 2, "--dpdk", f"{EAL} --vdev={vdev}",
                          "--outer-port", " ".join(["net_memif0", *static(node, other)])))


@scenario("DPDK: a tunnel over memif between two ports of two workers and four source ports each")
def memif(lab, left, right):
    need_dpdk()
    a, b = lab.node(1, left), lab.node(2, right)
    start_on_memif(lab, a, b, "server")
    start_on_memif(lab, b, a, "client")
    for outer in ("v4", "v6"):
        for initiator, responder in ((a, b), (b, a)):
            reset(initiator, responder, outer, None)
            for inner in ("v4", "v6"):
                for size in (0, 1, 56, 1372, 1373, 8000):
                    expect_ping(initiator, responder.inner[inner], 1, size)
            learnt = responder.peer(initiator)["endpoint"]
            check(learnt in [f"{initiator.endpoint(outer)[:-1]}{i}" for i in range(4)], f"the endpoint is learnt: {learnt}")
    echo_datagrams(a, b, sizes=(1, 1372, 9000, 60000))
    for family in ("v4", "v6"):
        transfer(a, b, family)
        transfer(b, a, family)
    stream = Stream(a, b)
    stream.flows(200)
    a.remove_peer(b)  # new keys, while it flows
    b.remove_peer(a)
    b.add_peer(a)
    a.add_peer(b, "v4")
    stream.flows(200)
    stream.stop()
    for node in (a, b):
        told = metrics(node)
        for name in ("messages_sealed_total", "messages_opened_total"):
            check(all(told[f'culvert_{name}{{worker="{worker}"}}'] for worker in (0, 1)), f"each worker carries: {name}")
        port = {name: told[f'culvert_dpdk_port_{name}{{port="net_memif0",side="outer"}}'] for name in (
            "up", "received_packets_total", "sent_packets_total", "no_memory_total")}
        check(port.pop("no_memory_total") == 0 and all(port.values()), f"the port counts: {port}")
    b.daemon.stop()  # and comes back; the server serves on
    lab.daemons.remove(b.daemon)
    wait_until(lambda: metrics(a)['culvert_dpdk_port_up{port="net_memif0",side="outer"}'] == 0, "the other end is gone")
    ping(a, b.inner["v4"], 1, wait=0)  # to nobody
    start_on_memif(lab, b, a, "client")
    b.add_peer(a, "v4")
    expect_ping(b, a.inner["v4"], 3)
    expect_ping(a, b.inner["v6"], 3)


def start_on_wire(node, driver, arguments, env=None):
    """Starts a node on its end of the wire. What the kernel knows of the wire, the port knows."""
    node.start(env=env, arguments=("--workers", 1, "--dpdk", f"{EAL} --vdev={driver}0,iface=wire,{arguments}", "--outer-port", f"{driver}0"))


def send_plain_frames(node, interface="wire"):
    """A port of af_packet gets a superpacket in one piece, and cannot take it: the other end may send none."""
    done = node.namespace.attempt("ethtool", "-K", interface, "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off")
    if done.returncode != 0:
        raise Missing(f"ethtool cannot turn offloads off: {done.stderr.strip()}")


@scenario("DPDK: a port of af_packet, whose neighbours the kernel knows, against sockets", pairs=SELF_AND_OFFLOADS)
def af_packet(lab, left, right):
    need_dpdk()
    a, b = lab.pair(left, right, start=False)
    send_plain_frames(b)
    start_on_wire(a, "net_af_packet", RING)
    b.start()
    # In this order: wireguard-go keeps the addresses that it sends to, and copies four bytes of a v6 one over a v4 one
    # before it makes it longer (StdNetBind.Send), so that what goes to fd70::1 first goes to fd70::.
    for outer in ("v6", "v4"):
        for initiator, responder in ((a, b), (b, a)):
            initiator.namespace.ip("neigh", "flush", "dev", "wire")  # the first message waits for its neighbour
            reset(initiator, responder, outer, None)
            for inner in ("v4", "v6"):
                expect_ping(initiator, responder.inner[inner], 2)
                expect_ping(responder, initiator.inner[inner], 1, 1372)
            check(responder.peer(initiator)["endpoint"] == initiator.endpoint(outer), "the endpoint is learnt")
    transfer(a, b, mebibytes=4)
    transfer(b, a, "v6", mebibytes=4)
    refused = a.namespace.udp_counters()["NoPorts"]
    check(refused == 0, f"the kernel leaves our datagrams to us: {refused} were for no port")
    a.namespace.ip("addr", "add", "10.71.0.1/24", "dev", "wire")
    b.namespace.ip("addr", "add", "10.71.0.2/24", "dev", "wire")
    a.set("peer", b.public_key, "endpoint", f"10.71.0.2:{b.port}")
    expect_ping(a, b.inner["v4"])
    check(a.peer(b)["endpoint"].startswith("10.71"), f"the new address is used: {a.peer(b)['endpoint']}")
    a.namespace.ip("link", "set", "wire", "down")
    wait_until(lambda: "is down" in a.daemon.log_tail(), "it is said that the link is down")
    ping(a, b.inner["v4"], 2, wait=0)  # to nobody
    a.namespace.ip("link", "set", "wire", "up")
    wait_until(lambda: "is up" in a.daemon.log_tail(), "it is said that the link is up")
    until_ping(a, b.inner["v4"])


@scenario("DPDK: TCP of a host behind a gateway from port to port")
def gateway(lab, left, right):
    need_dpdk()
    a, b = lab.pair(left, right, start=False)
    host = lab.node(1, left, lab.namespace("host"))  # only a namespace: it has a's inner addresses
    join(a.namespace, "plain", host.namespace, "plain", 1420)
    for node, number in ((a, 1), (host, 2)):
        node.namespace.add_address("plain", f"10.90.0.{number}/24", f"fd90::{number}/64")
    host.namespace.add_address("plain", f"{host.inner['v4']}/32", f"{host.inner['v6']}/128")
    for family, subnet, network in (("v4", "10.80.0.0/24", "10.90.0."), ("v6", "fd80::/64", "fd90::")):
        host.namespace.ip("route", "add", subnet, "via", f"{network}1", "src", host.inner[family])
        a.namespace.ip("route", "add", host.inner[family], "via", f"{network}2", "dev", "plain")
        a.namespace.ip("route", "add", "blackhole", subnet)  # it sees copies, and is not to say that there is no way
    for node, interface in ((b, "wire"), (host, "plain")):
        send_plain_frames(node, interface)
    b.start()
    a.daemon = Daemon(a.which, a.namespace, a.interface, lab.log(a.interface), {"LOG_LEVEL": lab.log_level}, arguments=(
        "--workers", 1, "--dpdk", f"{EAL} --vdev=net_af_packet0,iface=wire,{RING} --vdev=net_af_packet1,iface=plain,{RING}",
        "--outer-port", "net_af_packet0", "--inner-port", "net_af_packet1"))
    lab.daemons.append(a.daemon)
    a.set("listen-port", a.port, "private-key", lab.secret(a.private_key))
    reset(a, b, "v4", None)
    for family in ("v4", "v6"):
        expect_ping(host, b.inner[family], 2)
        expect_ping(b, host.inner[family], 1, 1372)
        transfer(host, b, family, mebibytes=4)
        transfer(b, host, family, mebibytes=4)


@scenario("DPDK: a port of af_xdp gets its datagrams, and the kernel the rest", pairs=SELF_AND_OFFLOADS)
def af_xdp(lab, left, right):
    need_dpdk()
    a, b = lab.pair(left, right, start=False)
    send_plain_frames(b)
    # DPDK's driver never frees the BPF object that it loads our program from.
    forgiving = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    start_on_wire(a, "net_af_xdp", "force_copy=1", forgiving)
    b.start()
    for outer in ("v6", "v4"):  # the order: see af_packet
        for initiator, responder in ((a, b), (b, a)):
            reset(initiator, responder, outer, None)
            for inner in ("v4", "v6"):
                expect_ping(initiator, responder.inner[inner], 2)
                expect_ping(responder, initiator.inner[inner], 1, 1372)
        expect_ping(b, a.outer[outer])  # by the kernel
    transfer(a, b, mebibytes=4)
    transfer(b, a, "v6", mebibytes=4)
    a.set("listen-port", a.port + 1)  # the program follows
    expect_ping(a, b.inner["v4"], 2)
