"""The way between the peers: MTUs, paths smaller than the tunnel thinks, roaming, NAT."""

import functools
import os

from rig.lab import handshaken, introduce
from rig.namespace import join
from rig.scenario import PAIRS, SELF, SELF_AND_OFFLOADS, scenario
from rig.shell import Missing, attempt, check, wait_until
from rig.traffic import Stream, echo_datagrams, expect_ping, ping, transfer, until_ping


def mtu(lab, left, right, size):
    a, b = lab.pair(left, right, size)
    introduce(a, b)
    expect_ping(a, b.inner["v4"], 2, size - 28, whole=True)
    expect_ping(b, a.inner["v6"], 2, size - 48, whole=True)
    echo_datagrams(a, b, "v4", sizes=(1, size - 29, size - 28, size - 27, 65000))
    for family in ("v4", "v6"):
        transfer(a, b, family)
        transfer(b, a, family)


for _size in (1280, 1420, 8920, 34736):
    scenario(f"MTU {_size}: TCP, UDP and pings to the last byte", pairs=SELF_AND_OFFLOADS)(
        functools.partial(mtu, size=_size))


@scenario("the MTU changes while traffic flows", pairs=SELF)
def mtu_changes(lab, left, right):
    a, b = lab.pair(left, right, wire_mtu=9000)
    introduce(a, b)
    stream = Stream(a, b, size=1000)
    for size in (8920, 1280, 1420):
        for node in (a, b):
            node.namespace.ip("link", "set", node.interface, "mtu", size)
        stream.flows()
        expect_ping(a, b.inner["v4"], 2, size - 28, whole=True)
        transfer(a, b)
    stream.stop()


def small_path(lab, left, right, family):
    a, b = lab.pair(left, right, mtu=1420, wire_mtu=1400)
    introduce(a, b, family)
    transfer(a, b, "v4")
    transfer(b, a, "v6")
    echo_datagrams(a, b, "v4", sizes=(12000, 1200), segment=1200)


@scenario("a path smaller than the tunnel's packets, outer v4: fragments, no crawl", pairs=SELF)
def small_path_v4(lab, left, right):
    small_path(lab, left, right, "v4")


@scenario("a path smaller than the tunnel's packets, outer v6: fragments, no crawl", pairs=SELF)
def small_path_v6(lab, left, right):
    small_path(lab, left, right, "v6")


@scenario("a network device without checksum or segmentation offload", pairs=SELF)
def plain_device(lab, left, right):
    a, b = lab.pair(left, right)
    for node in (a, b):
        done = node.namespace.attempt("ethtool", "-K", "wire", "tx", "off", "gso", "off", "tso", "off", "gro", "off")
        if done.returncode != 0:
            raise Missing(f"ethtool cannot turn offloads off: {done.stderr.strip()}")
    introduce(a, b)
    transfer(a, b, "v4")
    transfer(b, a, "v6")
    echo_datagrams(a, b)


@scenario("roaming: each side in turn moves to another port", pairs=PAIRS)
def roaming_port(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    for port, (mover, other) in enumerate(((a, b), (b, a), (a, b)), 52000):
        mover.set("listen-port", port)
        mover.port = port
        expect_ping(mover, other.inner["v4"])
        # With CULVERT_SOURCE_PORTS any of its ports is right.
        endpoints = [f"{mover.outer['v4']}:{mover.port + more}" for more in range(int(os.environ.get("CULVERT_SOURCE_PORTS", "1")))]
        check(other.peer(mover)["endpoint"] in endpoints, "the other side has followed")
        expect_ping(other, mover.inner["v6"])


@scenario("roaming: the route prefers another source address", pairs=PAIRS)
def roaming_address(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    a.namespace.add_address("wire", "10.70.0.77/24")
    a.namespace.ip("route", "replace", b.outer["v4"], "dev", "wire", "src", "10.70.0.77")
    until_ping(a, b.inner["v4"])
    wait_until(lambda: ping(a, b.inner["v4"], 1) and b.peer(a)["endpoint"] == "10.70.0.77:51820",
               "the other side sees the new source address")
    expect_ping(b, a.inner["v4"])


@scenario("roaming: the route to a peer that has roamed prefers another source address", pairs=SELF)
def roaming_both(lab, left, right):
    a, b = lab.pair(left, right)
    a.namespace.add_address("wire", "10.70.0.77/24")
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    b.namespace.add_address("wire", "10.70.0.78/24")
    b.namespace.ip("route", "replace", a.outer["v4"], "dev", "wire", "src", "10.70.0.78")
    wait_until(lambda: ping(b, a.inner["v4"], 1) and a.peer(b)["endpoint"] == "10.70.0.78:51820",
               "our side follows the peer's data, no handshake")
    a.namespace.ip("route", "replace", "10.70.0.78", "dev", "wire", "src", "10.70.0.77")
    wait_until(lambda: ping(a, b.inner["v4"], 1) and b.peer(a)["endpoint"] == "10.70.0.77:51820",
               "and then its own route there")


@scenario("roaming: another source address while the peer alone sends", pairs=SELF)
def roaming_called(lab, left, right):
    a, b = lab.pair(left, right)
    a.namespace.add_address("wire", "10.70.0.77/24")
    introduce(a, b)
    expect_ping(b, a.inner["v4"])
    # Answers to what still comes to the old address must not keep us there.
    lab.background(b.namespace.start("ping", "-q", "-i", "0.01", a.inner["v4"]))
    a.namespace.ip("route", "replace", b.outer["v4"], "dev", "wire", "src", "10.70.0.77")
    wait_until(lambda: b.peer(a)["endpoint"] == "10.70.0.77:51820", "the other side sees the new source address")
    expect_ping(a, b.inner["v4"])


def sticky_source(lab, left, right, called):
    a, b = lab.pair(left, right)
    a.namespace.add_address("wire", "10.70.0.77/24", "fd70::77/64")
    b.add_peer(a)
    a.add_peer(b)
    b.set("peer", a.public_key, "endpoint", called)
    expect_ping(b, a.inner["v4"])
    expect_ping(a, b.inner["v4"])
    check(b.peer(a)["endpoint"] == called, f"answers come from {b.peer(a)['endpoint']}, not from {called}")


@scenario("replies leave from the address that was called, outer v4", pairs=PAIRS)
def sticky_source_v4(lab, left, right):
    sticky_source(lab, left, right, "10.70.0.77:51820")


@scenario("replies leave from the address that was called, outer v6", pairs=PAIRS)
def sticky_source_v6(lab, left, right):
    sticky_source(lab, left, right, "[fd70::77]:51820")


def source_removed(lab, left, right, family):
    a, b = lab.pair(left, right)
    extra = {"v4": "10.70.0.77", "v6": "fd70::77"}[family]
    a.namespace.add_address("wire", f"{extra}/{'24' if family == 'v4' else '64'}")
    a.add_peer(b)
    b.add_peer(a)
    b.set("peer", a.public_key, "endpoint", f"[{extra}]:51820" if family == "v6" else f"{extra}:51820")
    expect_ping(b, a.inner["v4"])
    a.namespace.ip("addr", "del", f"{extra}/{'24' if family == 'v4' else '64'}", "dev", "wire")
    until_ping(a, b.inner["v4"])
    expect_ping(b, a.inner["v4"])
    check(b.peer(a)["endpoint"] == a.endpoint(family), "the other side sees the address that is left")


@scenario("the source address in use is removed from the host, outer v4", pairs=PAIRS)
def source_removed_v4(lab, left, right):
    source_removed(lab, left, right, "v4")


@scenario("the source address in use is removed from the host, outer v6", pairs=SELF)
def source_removed_v6(lab, left, right):
    source_removed(lab, left, right, "v6")


def settle(node, other):
    """Waits until nothing more comes in: a straggler by the old way would rightly turn the endpoint back."""

    def still():
        before = node.peer(other)["received"]
        return attempt("sleep", 0.2) and node.peer(other)["received"] == before

    expect_ping(node, other.inner["v4"], 1)  # its answer comes behind all that is under way
    wait_until(still, "the last packets have come in")


@scenario("the endpoint moves from v4 to v6 and back, no packet lost", pairs=SELF)
def family_moves(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    for family in ("v6", "v4", "v6"):
        settle(a, b)
        a.set("peer", b.public_key, "endpoint", b.endpoint(family))
        expect_ping(a, b.inner["v4"], 8)
        check(b.peer(a)["endpoint"] == a.endpoint(family), f"the other side sees {b.peer(a)['endpoint']}")
        expect_ping(b, a.inner["v6"], 8)
        transfer(a, b, mebibytes=2)


@scenario("behind a NAT: keepalive holds the mapping, and follows when it changes", pairs=PAIRS)
def nat(lab, left, right):
    inside, outside = lab.node(1, left), lab.node(2, right)
    router = lab.namespace("router")
    join(inside.namespace, "wire", router, "in")
    join(outside.namespace, "wire", router, "out")
    inside.namespace.add_address("wire", "10.70.1.1/24")
    router.add_address("in", "10.70.1.254/24")
    router.add_address("out", "10.70.0.200/24")
    outside.namespace.add_address("wire", "10.70.0.2/24")
    inside.namespace.ip("route", "add", "default", "via", "10.70.1.254")
    router.forward()
    rules = "table ip nat { chain post { type nat hook postrouting priority 100; oifname out masquerade; }; }"
    done = router.attempt("nft", "-f", "-", stdin=rules)
    if done.returncode != 0:
        raise Missing(f"nftables cannot masquerade here: {done.stderr.strip()}")
    inside.start()
    outside.start()
    outside.add_peer(inside)
    inside.add_peer(outside, "v4", keepalive=1)
    handshaken(outside, inside)
    check(outside.peer(inside)["endpoint"].startswith("10.70.0.200:"), "the mapping is what the outside sees")
    expect_ping(outside, inside.inner["v4"])
    # Taking the address away makes the kernel forget the mappings that used it.
    router.ip("addr", "del", "10.70.0.200/24", "dev", "out")
    router.add_address("out", "10.70.0.201/24")
    wait_until(lambda: outside.peer(inside)["endpoint"].startswith("10.70.0.201:"), "a keepalive shows the new mapping")
    expect_ping(outside, inside.inner["v4"])
    transfer(inside, outside, mebibytes=2)
