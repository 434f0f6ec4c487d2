"""Two ends of a data plane on a wire of their own."""

import base64
import dataclasses
import itertools
import os

from rig.group import FAR, connect_group
from rig.implementation import wireguard
from rig.lab import PORT, Lab, Node, introduce
from rig.namespace import join
from rig.shell import Failure, wait_until
from rig.traffic import until_ping

from laboratory.processor import seconds_of

OVERHEAD = 80  # what an inner packet grows by at most: IPv6, UDP, transport data header and tag


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a topology is built from, the plane apart."""

    wire_mtu: int = 1500
    inner: str = "v4"
    outer: str = "v4"
    peers: int = 1
    rps: bool = False  # receive packet steering: the kernel spreads what the wire brings over all cores
    receiver: tuple = ()  # (variable, value) of the second end's daemons alone

    @property
    def mtu(self):
        return self.wire_mtu - OVERHEAD

    @property
    def largest_datagram(self):
        """The largest UDP payload that goes through the tunnel in one packet."""
        return self.mtu - (28 if self.inner == "v4" else 48)


def spread_receiving(namespace):
    """Receive packet steering on the wire, over the cores that this process may use."""
    mask = sum(1 << core for core in os.sched_getaffinity(0))
    words = []
    while mask or not words:
        words.append(f"{mask & 0xffffffff:08x}")
        mask >>= 32
    # A sysfs shows the devices of the namespace in which it was mounted.
    namespace.run("unshare", "--mount", "sh", "-c", "mount -t sysfs sysfs /sys && echo $0 >/sys/class/net/wire/queues/rx-0/rps_cpus",
                  ",".join(reversed(words)))


class KernelNode(Node):
    """An end whose interface is the kernel module's. wg(8) has to be in its namespace to reach it."""

    def start(self, mtu=1420, env=None):
        self.namespace.ip("link", "add", self.interface, "type", "wireguard")
        return self.bring_up(mtu)

    def set(self, *arguments):
        self.namespace.run("wg", "set", self.interface, *arguments)


class BareNode(Node):
    """An end without a tunnel: the inner addresses are on the wire."""

    def start(self, mtu=1420, env=None):
        self.interface = "wire"
        self.namespace.add_address("wire", f"{self.inner['v4']}/24", f"{self.inner['v6']}/64")
        wait_until(lambda: self.namespace.owns(self.inner["v6"]), f"{self.inner['v6']} is up")
        return self


class Topology(Lab):
    """Nodes 1 and 2 of one plane, joined by a veth pair, introduced, with a handshake behind them. Several may live at a time."""

    _numbers = itertools.count(1)

    def __init__(self, plane, setting, directory):
        number = next(Topology._numbers)
        super().__init__(os.path.join(directory, str(number)), prefix=f"lab{os.getpid()}-{number}", log_level="error")
        os.makedirs(self.directory)
        self.number = number
        self.plane = plane
        self.setting = setting
        self.idle_kib = None  # resident memory of the larger daemon before any load
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def number_interface(self):
        self._interfaces += 1
        return f"lab{self.number}x{self._interfaces}"

    def _build(self):
        kind = {"program": Node, "kernel": KernelNode, "none": BareNode}[self.plane.kind]
        self.nodes = [kind(self, self.plane, number, self.namespace(f"n{number}")) for number in (1, 2)]
        left, right = self.nodes
        join(left.namespace, "wire", right.namespace, "wire", self.setting.wire_mtu)
        for node in self.nodes:
            node.namespace.add_address("wire", f"{node.outer['v4']}/24", f"{node.outer['v6']}/64")
            wait_until(lambda owner=node: owner.namespace.owns(owner.outer["v6"]), f"{node.outer['v6']} is up")
            node.start(self.setting.mtu, self.plane.env | dict(self.setting.receiver if node is right else ()))
            if self.setting.rps:
                spread_receiving(node.namespace)
        if self.plane.tunnels > 1:
            self._connect_group(kind)
        elif self.tunnel:
            self._configure_more_peers()
            introduce(left, right, self.setting.outer)
        until_ping(left, self.address(right), 60)
        if self.daemons:
            self.idle_kib = self.resident_kib()

    def _connect_group(self, kind):
        """Gives the second node an interface for each more tunnel, with a daemon, key and port of its own."""
        left, right = self.nodes
        ends = [right]
        for number in range(3, 2 + self.plane.tunnels):
            end = kind(self, self.plane, number, right.namespace)
            end.outer, end.port = right.outer, PORT + number
            ends.append(end.start(self.setting.mtu, self.plane.env | dict(self.setting.receiver)))
        connect_group(left, ends)

    def _configure_more_peers(self):
        """Peers that never speak, so that as many as wanted are configured."""
        if self.setting.peers == 1:
            return
        path = os.path.join(self.directory, "peers.conf")
        with open(path, "w", encoding="ascii") as file:
            for number in range(1, self.setting.peers):
                file.write(f"[Peer]\nPublicKey = {base64.b64encode(os.urandom(32)).decode()}\n"
                           f"AllowedIPs = 10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}/32\n")
        for node in self.nodes:
            self.wg(node, "addconf", node.interface, path)

    def wg(self, node, *arguments):
        """wg(8) on the interface of a node, wherever that has to be run."""
        if self.plane.kind == "kernel":
            return node.namespace.run("wg", *arguments, timeout=180)
        return wireguard(*arguments, timeout=180)

    @property
    def tunnel(self):
        return self.plane.kind != "none"

    def ends(self, direction):
        """The (sending, receiving) nodes of a direction."""
        left, right = self.nodes
        return {"forward": [(left, right)], "reverse": [(right, left)], "both": [(left, right), (right, left)]}[direction]

    def address(self, node):
        if self.plane.tunnels > 1 and node is self.nodes[1]:
            return FAR
        return node.inner[self.setting.inner]

    def daemons_of(self, node):
        """Those of an end: the second one has one for each tunnel."""
        return self.daemons[:1] if node is self.nodes[0] else self.daemons[1:]

    def daemon_seconds(self):
        """Processor seconds of both daemons so far; None for a plane without."""
        return sum(seconds_of(daemon.pid) for daemon in self.daemons) if self.daemons else None

    def resident_kib(self):
        """Resident memory of the larger of the two daemons."""
        return max(daemon.resident_kib() for daemon in self.daemons)

    def check_alive(self):
        for daemon in self.daemons:
            if not daemon.alive():
                raise Failure(f"{self.plane} died with status {daemon.process.returncode}: "
                              f"{daemon.log_tail().strip() or 'no word of why'}")
