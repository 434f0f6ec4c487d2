"""culvert doctor: each finding is made true, seen, mended by the command that doctor prints, and gone."""

import re

from rig.implementation import implementation
from rig.namespace import join
from rig.scenario import scenario
from rig.shell import Failure, check, run, wait_until

ALONE = (("culvert",),)
FAR = {"v4": "198.51.100.2", "v6": "2001:db8:51::2"}
# What spoils the host, and a word of the finding. All of it belongs to the network namespace.
SPOILED = {
    "ethtool -K wire gro off": "Datagrams come in one by one.",
    "ethtool -K wire gso off": "Trains are cut",
    "ethtool -K wire tx off": "Trains are refused",
    "ethtool -K wire rx-udp-gro-forwarding off": "Datagrams that are forwarded",
    "sysctl -q -w net.ipv4.conf.wire.rp_filter=1": "Answers that take another way",
    "sysctl -q -w net.ipv4.ip_forward=0": "A gateway does not forward",
    "sysctl -q -w net.ipv4.udp_early_demux=0": "Each datagram is routed",
    "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1": "Peers are not reached by IPv6",
    "ip link set wire txqueuelen 100": "Bursts overflow the device's queue",
    "ethtool -L wire rx 1 tx 1": "Processors share queues",
    "for map in /sys/class/net/wire/queues/tx-*/xps_cpus; do echo 0 >$map; done": "Workers wait for one another",
    "ethtool -L wire rx 1 tx 1; echo 0 >/sys/class/net/wire/threaded": "One processor receives everything",
    "ip route del default": "There is no route",
}


class Patient:
    """A host behind a router, with a tunnel to an address behind that."""

    def __init__(self, lab, which):
        self.node = lab.node(1, which)
        self.namespace = self.node.namespace
        self.router, self.far = lab.namespace("router"), lab.namespace("far")
        # As many queues as the largest host has processors.
        run("ip", "link", "add", "wire", "netns", self.namespace.name, "numtxqueues", 64, "numrxqueues", 64, "type", "veth",
            "peer", "name", "near", "netns", self.router.name)
        self.namespace.ip("link", "set", "wire", "up")
        self.router.ip("link", "set", "near", "up")
        join(self.router, "far", self.far, "wire")
        self.namespace.add_address("wire", "203.0.113.1/24", "2001:db8::1/64")
        self.router.add_address("near", "203.0.113.2/24", "2001:db8::2/64")
        self.router.add_address("far", "198.51.100.1/24", "2001:db8:51::1/64")
        self.far.add_address("wire", FAR["v4"] + "/24", FAR["v6"] + "/64")
        self.router.forward()
        for family, routers in (("-4", ("203.0.113.2", "198.51.100.1")), ("-6", ("2001:db8::2", "2001:db8:51::1"))):
            self.namespace.ip(family, "route", "add", "default", "via", routers[0])
            self.far.ip(family, "route", "add", "default", "via", routers[1])
        self.shell("sysctl -q -w net.ipv4.icmp_ratelimit=0", self.far, self.router)
        wait_until(lambda: self.namespace.owns("2001:db8::1") and self.far.owns(FAR["v6"]), "the wires are up")
        self.node.start()

    def shell(self, script, *namespaces):
        """With the /sys of the network namespace."""
        for namespace in namespaces or (self.namespace,):
            run("ip", "netns", "exec", namespace.name, "sh", "-euc", script)

    def findings(self, *words, before=()):
        """What doctor finds, and the command that mends each."""
        said = run("ip", "netns", "exec", self.namespace.name, *before, self.node.which.program, "doctor", *words)
        found = re.findall(r"^(\S.*)\n    measured  (.+)\n    mend      (.+)$", said, re.M)
        check(found or "Nothing to mend." in said, f"it says nothing: {said}")
        return {what: mend for what, _, mend in found}

    def mended(self, name, *words):
        """Takes the finding as told, and sees it gone."""
        found = self.findings(*words)
        what = next((what for what in found if what.startswith(name)), None)
        check(what, f"not found: {name}: {found}")
        self.shell(found[what].replace("GATEWAY", "203.0.113.2"))
        left = self.findings(*words)
        check(what not in left, f"still there after `{found[what]}`: {what}")
        return left


def heal(patient):
    """Until there is nothing to mend: some findings are the sandbox's own. One mend may show the next."""
    for _ in range(4):
        found = patient.findings()
        if not found:
            return
        for mend in found.values():
            patient.shell(mend)
    raise Failure(f"doctor is never content: {found}")


@scenario("each finding of doctor is mended by the command that it prints", pairs=ALONE)
def findings(lab, which):
    patient = Patient(lab, implementation(which))
    heal(patient)
    for spoil, name in SPOILED.items():
        patient.shell(spoil)
        if patient.mended(name):
            heal(patient)
    # What no command of doctor's can give is taken from doctor alone.
    without = ("setpriv", "--bounding-set", "-net_admin,-bpf", "--inh-caps", "-net_admin,-bpf")
    found = patient.findings(before=without)
    for name in ("No interface can be made, and socket buffers", "Only one worker"):
        check(any(what.startswith(name) for what in found), f"not found: {name}: {found}")
    found = patient.findings(before=("unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /dev/net && exec \"$@\"", "sh"))
    check("No interface can be made." in found, f"no /dev/net/tun: {found}")


@scenario("doctor finds what the path to a peer has room for", pairs=ALONE)
def path(lab, which):
    patient = Patient(lab, implementation(which))
    heal(patient)
    for family, overhead in (("v4", 60), ("v6", 80)):
        check(not patient.findings(FAR[family]), f"1500 bytes fit by {family}")
        patient.node.namespace.ip("link", "set", patient.node.interface, "mtu", 1500 - overhead + 1)
        patient.mended("Large packets of a tunnel do not fit the path", FAR[family])
        patient.router.ip("link", "set", "far", "mtu", 1400)
        patient.mended("Large packets of a tunnel do not fit the path", FAR[family])
        patient.router.ip("link", "set", "far", "mtu", 1500)
        # A router that says nothing, as the firewalls of this world have it.
        patient.node.namespace.ip("link", "set", patient.node.interface, "mtu", 1430)
        patient.shell("nft add table inet mute; nft add chain inet mute forward '{ type filter hook forward priority 0; }'; "
                      "nft add rule inet mute forward meta length gt 1480 drop", patient.router)
        patient.mended("Large packets of a tunnel are lost", FAR[family])
        patient.shell("nft delete table inet mute", patient.router)
        patient.node.namespace.ip("link", "set", patient.node.interface, "mtu", 1420)
    # Without an address it looks at the way to the peers.
    patient.node.set("peer", patient.node.public_key[:-2] + "A=", "endpoint", f"{FAR['v4']}:51820")
    patient.router.ip("link", "set", "far", "mtu", 1300)
    patient.mended("Large packets of a tunnel do not fit the path")
