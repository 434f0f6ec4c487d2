"""Several source ports: all of them are used, nothing is lost or overtaken, and whoever is at the other end copes."""

import socket
import struct

from rig.lab import introduce
from rig.scenario import SELF, SELF_AND_OFFLOADS, scenario
from rig.shell import Failure, check
from rig.traffic import bound, expect_ping
from rig.wire import TRANSPORT, Capture

FLOWS, ROUNDS, AT_ONCE = 32, 60, 4
FIRST_PORT = 20000


def exchange(sender, receiver, family="v4"):
    """Numbered datagrams of many flows by turns; all of them must arrive, and those of a flow in order."""
    with bound(receiver, socket.SOCK_DGRAM, receiver.inner[family]) as there:
        # bound() has sockets share addresses, so the kernel could choose one port twice.
        flows = [bound(sender, socket.SOCK_DGRAM, sender.inner[family], FIRST_PORT + flow) for flow in range(FLOWS)]
        try:
            target = there.getsockname()[:2]
            last = {}
            for start in range(0, ROUNDS, AT_ONCE):
                for number in range(start, start + AT_ONCE):
                    for flow in flows:
                        flow.sendto(struct.pack(">I", number) + bytes(400), target)
                for count in range(AT_ONCE * FLOWS):
                    try:
                        payload, source = there.recvfrom(2000)
                    except TimeoutError as lost:
                        raise Failure(f"{AT_ONCE * FLOWS - count} datagrams were lost") from lost
                    number = struct.unpack(">I", payload[:4])[0]
                    check(number == last.get(source, -1) + 1, f"{number} of a flow came after {last.get(source)}")
                    last[source] = number
            check(len(last) == FLOWS, f"{len(last)} of {FLOWS} flows arrived")
        finally:
            for flow in flows:
                flow.close()


def ports_seen(datagrams, node):
    """From which ports the node sent transport data, and from which anything else."""
    mine = [each for each in datagrams if each.source in node.outer.values()]
    # A keepalive leaves from the base port.
    return ({each.source_port for each in mine if each.type == TRANSPORT and len(each.payload) > 32},
            {each.source_port for each in mine if each.type != TRANSPORT or len(each.payload) == 32})


def port_of(endpoint):
    return int(endpoint.rsplit(":", 1)[1])


@scenario("8 source ports: all are used, nothing is lost or overtaken", pairs=SELF_AND_OFFLOADS)
def eight_ports(lab, left, right):
    a, b = lab.pair(left, right, start=False)
    capture = Capture(b)
    for node in (a, b):
        node.start(env={"CULVERT_SOURCE_PORTS": "8"})
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    for family in ("v4", "v6"):
        exchange(a, b, family)
        exchange(b, a, family)
    eight = set(range(a.port, a.port + 8))
    seen = capture.drain()
    for node in (a, b) if b.which.ours else (a,):
        data, others = ports_seen(seen, node)
        check(data == eight, f"{node.interface}: transport data left from {sorted(data)}")
        check(others <= {node.port}, f"{node.interface}: other messages left from {sorted(others)}")
    check(port_of(b.peer(a)["endpoint"]) in eight, f"{b.which} has followed to one of them: {b.peer(a)['endpoint']}")
    if b.which.ours:
        before = a.peer(b)["endpoint"], b.peer(a)["endpoint"]
        exchange(a, b)
        exchange(b, a)
        check((a.peer(b)["endpoint"], b.peer(a)["endpoint"]) == before, "the endpoints rest")
    a.set("listen-port", 52000)
    a.port = 52000
    expect_ping(a, b.inner["v4"])
    exchange(b, a)
    check(port_of(b.peer(a)["endpoint"]) in range(52000, 52008), "and follow when all ports change")


@scenario("source ports: two hosts behind one address own a slice each", pairs=SELF)
def slices(lab, left, right):
    a, c = lab.pair(left, right, start=False)
    b = lab.node(3, left, a.namespace)
    b.outer = a.outer
    capture = Capture(c)
    for node, slice_, port in ((a, "40000-40003", 40000), (b, "40004-40007", 40004)):
        node.port = port
        node.start(env={"CULVERT_SOURCE_PORTS": slice_})
    c.start()
    for node in (a, b):
        introduce(node, c)
        # Both have a route to the third, in one namespace.
        node.namespace.ip("rule", "add", "from", node.inner["v4"], "lookup", node.port)
        node.namespace.ip("route", "add", c.inner["v4"], "dev", node.interface, "table", node.port)
        exchange(node, c)
        exchange(c, node)
        data, _ = ports_seen(capture.drain(), node)
        check(data == set(range(node.port, node.port + 4)), f"{node.interface} sends from its slice: {sorted(data)}")
        check(port_of(c.peer(node)["endpoint"]) in data, "and is answered there")
    # A third host whose slice overlaps is told which port is taken.
    d = lab.node(4, left, a.namespace)
    d.port = 40008
    try:
        d.start(env={"CULVERT_SOURCE_PORTS": "40007-40010"})
    except Failure:
        pass
    with open(lab.log(d.interface), encoding="utf-8") as log:
        check("UDP port 40007 is taken" in log.read(), "the log names the port")
