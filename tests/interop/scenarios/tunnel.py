"""The plain tunnel: families, directions, sizes, preshared keys, counters."""

from rig.implementation import generate_preshared_key
from rig.lab import handshaken, introduce, reset
from rig.scenario import PAIRS, SELF_AND_OFFLOADS, scenario
from rig.shell import check, wait_until
from rig.traffic import Stream, echo_datagrams, expect_ping, ping, transfer


def families(lab, left, right, outer):
    a, b = lab.pair(left, right)
    for initiator, responder in ((a, b), (b, a)):
        for inner in ("v4", "v6"):
            reset(initiator, responder, outer, None)
            expect_ping(initiator, responder.inner[inner])
            expect_ping(responder, initiator.inner[inner])
            check(responder.peer(initiator)["endpoint"] in initiator.endpoints(outer), "the endpoint is learnt")


@scenario("inner v4 and v6 over outer v4, each side initiating", pairs=PAIRS)
def families_over_v4(lab, left, right):
    families(lab, left, right, "v4")


@scenario("inner v4 and v6 over outer v6, each side initiating", pairs=PAIRS)
def families_over_v6(lab, left, right):
    families(lab, left, right, "v6")


@scenario("TCP both ways, SHA-256 equal at both ends", pairs=PAIRS)
def bulk(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    for family in ("v4", "v6"):
        transfer(a, b, family)
        transfer(b, a, family)


@scenario("UDP datagrams of all sizes come back unchanged", pairs=PAIRS)
def datagrams(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    for family in ("v4", "v6"):
        echo_datagrams(a, b, family)
        echo_datagrams(b, a, family, sizes=(1, 1372, 1392, 1393, 9000, 60000))


@scenario("UDP superpackets arrive as the datagrams they stand for", pairs=SELF_AND_OFFLOADS)
def superpackets(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    for family in ("v4", "v6"):
        echo_datagrams(a, b, family, sizes=(1, 1200, 1201, 12000, 30001), segment=1200)
        echo_datagrams(b, a, family, sizes=(5000, 100), segment=100)


@scenario("pings of every size, padding cut at the MTU, fragments", pairs=PAIRS)
def sizes(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    for family in ("v4", "v6"):
        for size in [*range(0, 1372, 23), *range(1365, 1400), 8000, 65000]:
            expect_ping(a, b.inner[family], 1, size)
            expect_ping(b, a.inner[family], 1, size)


@scenario("a preshared key on both sides, one that differs, none again", pairs=PAIRS)
def preshared_key(lab, left, right):
    a, b = lab.pair(left, right)
    key = generate_preshared_key()
    for initiator, responder in ((a, b), (b, a)):
        reset(initiator, responder, "v4", None, preshared_key=key)
        expect_ping(initiator, responder.inner["v4"])
        reset(initiator, responder, "v4", None, preshared_key=key)
        responder.set("peer", initiator.public_key, "preshared-key", lab.secret(generate_preshared_key()))
        check(ping(initiator, responder.inner["v4"], 1, wait=1) == 0, "nothing passes with keys that differ")
        reset(initiator, responder, "v4", None)
        expect_ping(initiator, responder.inner["v4"])


@scenario("ten pings are counted as the kernel module counts them", pairs=PAIRS)
def counters(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"], 10)
    # The last answer may be here before its request is counted: that is done when the kernel has taken the datagram.
    wait_until(lambda: a.peer(b)["sent"] >= 1428, "every request is counted")
    counted = a.peer(b)
    check(counted["received"] == 1372, f"received {counted['received']} bytes, not 1372")
    check(counted["sent"] in (1428, 1460), f"sent {counted['sent']} bytes, neither 1428 nor 1460")


@scenario("persistent keepalive flows without traffic, and starts at once", pairs=PAIRS)
def persistent_keepalive(lab, left, right):
    a, b = lab.pair(left, right)
    b.add_peer(a)
    a.add_peer(b, "v4", keepalive=1)
    handshaken(a, b)
    first = b.peer(a)["received"]
    wait_until(lambda: b.peer(a)["received"] >= first + 3 * 32, "three keepalives arrive")
    a.set("peer", b.public_key, "persistent-keepalive", 0)
    check(a.peer(b)["keepalive"] == "off", "the keepalive is off again")
    b.set("peer", a.public_key, "persistent-keepalive", 1)
    first = a.peer(b)["received"]
    wait_until(lambda: a.peer(b)["received"] >= first + 3 * 32, "three keepalives arrive the other way")


@scenario("a passive keepalive answers traffic that gets no answer", pairs=PAIRS)
def passive_keepalive(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    for sender, receiver in ((a, b), (b, a)):
        expect_ping(sender, receiver.inner["v4"], 1)
        before = sender.peer(receiver)["received"]
        stream = Stream(sender, receiver, interval=0.2)
        stream.flows(2)
        stream.stop()
        wait_until(lambda: sender.peer(receiver)["received"] == before + 32, "one keepalive comes back")
