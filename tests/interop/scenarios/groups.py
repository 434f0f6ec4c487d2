"""Groups: several tunnels to one place, which has an interface for each and ECMP over them for the way back."""

import collections
import socket
import struct
import threading
import types

from rig.group import FAR, HUB, connect_group, uapi
from rig.implementation import wireguard
from rig.lab import PORT
from rig.scenario import SELF_AND_OFFLOADS, scenario
from rig.shell import Missing, check, wait_until
from rig.traffic import bound

TUNNELS = 3
FLOWS = 24


def group_lines(hub):
    return uapi(hub.interface, "get=1\n\n").splitlines().count("group=far")


class Flows:
    """Numbered datagrams from many ports to one, by a thread: which came, and whether in order."""

    def __init__(self, sender, source, receiver, target):
        self.receiver = bound(receiver, socket.SOCK_DGRAM, target, timeout=0.1)
        self.senders = [bound(sender, socket.SOCK_DGRAM, source) for _ in range(FLOWS)]
        self.target = self.receiver.getsockname()
        self.arrived = collections.Counter()
        self.last = {}
        self.late = 0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        number = 0
        while not self._done.wait(0.02):
            number += 1
            for sender in self.senders:
                sender.sendto(struct.pack(">I", number) + bytes(200), self.target)

    def _receive(self):
        while not self._done.is_set():
            try:
                datagram, source = self.receiver.recvfrom(2048)
            except TimeoutError:
                continue
            number = struct.unpack(">I", datagram[:4])[0]
            self.late += number < self.last.get(source, 0)
            self.last[source] = number
            self.arrived[source] += 1

    def all_go_on(self, more=20):
        """Waits until that many more datagrams of each flow have arrived."""
        before = collections.Counter(self.arrived)
        wait_until(lambda: sum(self.arrived[flow] >= before[flow] + more for flow in list(self.arrived)) == FLOWS,
                   f"{FLOWS} flows go on")

    def stop(self):
        self._done.set()
        for thread in self._threads:
            thread.join()
        for each in (self.receiver, *self.senders):
            each.close()


def far_ends(lab, hub, first):
    """The interfaces at the other end, in one namespace, each with a key and a port of its own."""
    ends = [first]
    for number in range(3, 2 + TUNNELS):
        end = lab.node(number, first.which, first.namespace)
        end.outer, end.port = first.outer, PORT + number
        ends.append(end.start())
    connect_group(hub, ends)
    return ends


def carried(hub, ends, what):
    return [end.peer(hub)[what] for end in ends]


@scenario("a group of tunnels uses all, loses none of their flows for long, and takes them back", pairs=SELF_AND_OFFLOADS)
def group(lab, left, right):
    hub, first = lab.pair(left, right)
    ends = far_ends(lab, hub, first)
    flows = Flows(hub, HUB, types.SimpleNamespace(namespace=first.namespace), FAR)
    lab.undo.append(flows.stop)
    flows.all_go_on()
    check(all(sent > 2000 for sent in carried(hub, ends, "received")), "every tunnel carries flows")
    check(all(hub.peer(end)["allowed_ips"] == [f"{FAR}/32"] for end in ends), "wg show lists each member as a peer")

    rules = f"table inet dead {{ chain in {{ type filter hook input priority 0; udp dport {ends[-1].port} drop; }}; }}"
    done = first.namespace.attempt("nft", "-f", "-", stdin=rules)
    if done.returncode != 0:
        raise Missing(f"nftables cannot drop here: {done.stderr.strip()}")
    stalled = ends[-1].peer(hub)["received"]
    flows.all_go_on()
    check(flows.late == 0, f"{flows.late} datagrams came behind later ones of their flow")
    check(ends[-1].peer(hub)["received"] <= stalled + (64 << 10), "the dead member carries nothing")
    first.namespace.run("nft", "delete", "table", "inet", "dead")
    before = ends[-1].peer(hub)["received"]
    wait_until(lambda: ends[-1].peer(hub)["received"] > before + 20_000, "the member has its flows back")

    back = Flows(types.SimpleNamespace(namespace=first.namespace), FAR, hub, HUB)
    lab.undo.append(back.stop)
    back.all_go_on()
    check(all(sent > 2000 for sent in carried(hub, ends, "sent")), "every tunnel carries flows of the way back")
    check(back.late == 0, f"{back.late} datagrams of the way back came behind later ones of their flow")

    # wg(8) knows no groups: what it writes and sets again leaves them as they are.
    configuration = lab.log("showconf")
    with open(configuration, "w", encoding="ascii") as file:
        file.write(wireguard("showconf", hub.interface))
    check(group_lines(hub) == TUNNELS, "get names the group of each member")
    wireguard("setconf", hub.interface, configuration)
    check(group_lines(hub) == TUNNELS, "the members are members after wg setconf")
    flows.all_go_on()
