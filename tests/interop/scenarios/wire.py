"""What an observer of the wire and the sender of an undeliverable packet see."""

import errno
import socket

from rig.lab import introduce
from rig.scenario import SELF, SELF_AND_OFFLOADS, scenario
from rig.shell import Failure, Missing, check, wait_until
from rig.traffic import bound, expect_ping
from rig.wire import INITIATION, LENGTHS, RESPONSE, TRANSPORT, Capture

IP_RECVERR, IPV6_RECVERR = 11, 25
NOT_ECT, ECT1, ECT0, CE = range(4)


def traffic_class(made, value):
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, value)
    else:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, value)


def outer_traffic_class(lab, left, right, family):
    a, b = lab.pair(left, right)
    capture = Capture(b)
    introduce(a, b, family)
    expect_ping(a, b.inner["v4"], 1)
    for kind, sender in ((INITIATION, a), (RESPONSE, b)):
        seen = capture.next(lambda each: each.type == kind and len(each.payload) == LENGTHS[kind], f"message type {kind}")
        check(not sender.which.ours or seen.traffic_class == 0x88, f"a handshake went out with class {seen.traffic_class:#x}")
    for inner in ("v4", "v6"):
        for value in (NOT_ECT, ECT1, ECT0, CE, 0xb8 | ECT0):
            size = 300 + value
            with bound(a, socket.SOCK_DGRAM, a.inner[inner]) as sender:
                traffic_class(sender, value)
                sender.sendto(bytes(size), (b.inner[inner], 9))
            seen = capture.next(lambda each: each.type == TRANSPORT and each.source == a.outer[family] and
                                len(each.payload) > size, "transport data")
            expected = (ECT0, CE) if value & 3 == CE else (value & 3,)
            check(seen.traffic_class in expected, f"inner class {value:#x} goes out as {seen.traffic_class:#x}")
    capture.close()


@scenario("handshakes carry DSCP 0x88, transport data the inner ECN and no DSCP, outer v4", pairs=SELF_AND_OFFLOADS)
def outer_traffic_class_v4(lab, left, right):
    outer_traffic_class(lab, left, right, "v4")


@scenario("handshakes carry DSCP 0x88, transport data the inner ECN and no DSCP, outer v6", pairs=SELF_AND_OFFLOADS)
def outer_traffic_class_v6(lab, left, right):
    outer_traffic_class(lab, left, right, "v6")


@scenario("congestion marked on the way reaches the inner packet", pairs=SELF)
def congestion(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    rules = "table ip m { chain pre { type filter hook prerouting priority -300; iifname \"wire\" ip ecn set ce; }; }"
    done = b.namespace.attempt("nft", "-f", "-", stdin=rules)
    if done.returncode != 0:
        raise Missing(f"nftables cannot mark here: {done.stderr.strip()}")
    for family, option, level in (("v4", socket.IP_RECVTOS, socket.IPPROTO_IP), ("v6", socket.IPV6_RECVTCLASS, socket.IPPROTO_IPV6)):
        with bound(a, socket.SOCK_DGRAM, a.inner[family]) as sender, bound(b, socket.SOCK_DGRAM, b.inner[family]) as receiver:
            receiver.setsockopt(level, option, 1)
            for value, expected in ((ECT0, (CE,)), (ECT1, (CE,)), (NOT_ECT, (NOT_ECT, None))):
                traffic_class(sender, value)
                sender.sendto(b"x", receiver.getsockname()[:2])
                receiver.settimeout(1 if None in expected else 30)
                try:
                    arrived = receiver.recvmsg(10, 100)[1][0][2][0] & 3
                except TimeoutError:
                    arrived = None  # a marked packet that cannot carry the mark may be dropped (RFC 6040)
                check(arrived in expected, f"inner {family} ECN {value} arrives as {arrived} when the outer packet was marked")


def refused(node, target, what):
    """Sends to a target until the answer is host unreachable."""
    with bound(node, socket.SOCK_DGRAM, "::" if ":" in target else "0.0.0.0", timeout=0.2) as sender:
        sender.setsockopt(*((socket.IPPROTO_IPV6, IPV6_RECVERR, 1) if ":" in target else (socket.IPPROTO_IP, IP_RECVERR, 1)))
        sender.connect((target, 9))

        def answered():
            try:
                sender.send(b"anybody there?")
                sender.recv(100)
            except TimeoutError:
                return False
            except OSError as problem:
                if problem.errno != errno.EHOSTUNREACH:
                    raise Failure(f"{what}: {problem}") from problem
                return True
            return False

        wait_until(answered, what)


@scenario("a packet without peer or endpoint is answered: host unreachable", pairs=(("culvert",),))
def unreachable(lab, which):
    node = lab.node(1, which)
    node.start()
    other = lab.node(2, which)
    node.add_peer(other)
    for family, stranger in (("v4", "10.80.0.99"), ("v6", "fd80::99")):
        refused(node, stranger, f"host unreachable for a {family} address of no peer")
        refused(node, other.inner[family], f"host unreachable for a {family} peer without endpoint")
    check(node.daemon.alive(), "the daemon lives")
