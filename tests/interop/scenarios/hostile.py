"""Hostile bytes from every side, while honest traffic flows."""

import os
import socket
import struct

from rig.lab import introduce
from rig.scenario import PAIRS, SELF, scenario
from rig.shell import check, wait_until
from rig.traffic import Stream, bound, expect_ping, transfer, until_ping
from rig.wire import TRANSPORT, Capture, hostile_datagrams


@scenario("hostile datagrams while traffic flows", pairs=PAIRS)
def datagrams(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    capture = Capture(b)
    streams = [Stream(a, b), Stream(b, a, "v6")]
    live = capture.next(lambda each: each.type == TRANSPORT and each.source == b.outer["v4"], "transport data to our side")
    for family in ("v4", "v6"):
        with bound(b, socket.SOCK_DGRAM, b.outer[family]) as attacker:
            for datagram in hostile_datagrams(a.public_key, live.payload[4:8]):
                attacker.sendto(datagram, (a.outer[family], a.port))
    for stream in streams:
        stream.flows()
        stream.stop()
        check(stream.repeated == 0, f"{stream.repeated} datagrams came twice")
    check(a.peer(b)["endpoint"] == b.endpoint("v4"), "forged datagrams move no endpoint")
    transfer(a, b, mebibytes=2)
    capture.close()


@scenario("replayed and altered datagrams count for nothing", pairs=PAIRS)
def replays(lab, left, right):
    a, b = lab.pair(left, right)
    capture = Capture(b)
    introduce(a, b)
    expect_ping(b, a.inner["v4"], 20)
    stream = Stream(b, a)
    stream.flows(100)
    stream.stop()
    towards_us = [each for each in capture.drain() if each.target_port in a.ports() and each.source == b.outer["v4"]]
    check(len(towards_us) > 100, "the traffic was seen")
    expect_ping(b, a.inner["v4"], 1)
    before = a.peer(b)
    for each in towards_us:
        taken = a.namespace.udp_counters()["InDatagrams"]
        capture.inject(each.frame)
        at = 14 + 28 + os.urandom(1)[0] % len(each.payload)
        capture.inject(each.frame[:at] + bytes([each.frame[at] ^ 0x40]) + each.frame[at + 1:])
        wait_until(lambda: a.namespace.udp_counters()["InDatagrams"] >= taken + 2, "the daemon takes what was injected", interval=0)
    expect_ping(b, a.inner["v4"], 1)
    after = a.peer(b)
    # One ping and a keepalive or two are honest; each replay of a stream datagram would count more than 400.
    check(after["received"] - before["received"] <= 128 + 3 * 32, f"replays were counted: {before} {after}")
    check(after["endpoint"] == before["endpoint"], "and move no endpoint")
    capture.close()


def malformed_packets(source, target):
    """Inner packets that lie about themselves, v4 (addresses are 4 bytes) or v6."""
    for size in (0, 1, 19, 20, 21, 39, 40, 60, 1400):
        yield os.urandom(size)
    if len(source) == 4:
        for total in (0, 19, 20, 28, 60, 1000, 65535):
            for first in (0x40, 0x45, 0x46, 0x4f, 0x55):
                for protocol in (1, 6, 17, 255):
                    for fragment in (0, 0x2000, 0x1fff):
                        yield struct.pack(">BBHHHBBH", first, 0, total, 1, fragment, 64, protocol, 0) + source + target + os.urandom(40)
    else:
        for payload in (0, 1, 7, 20, 40, 1000, 65535):
            for following in (0, 6, 17, 43, 44, 58, 59, 60, 255):
                yield struct.pack(">IHBB", 0x60000000, payload, following, 64) + source + target + os.urandom(40)


def inject_malformed(node, other):
    with node.namespace.entered():
        inject = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    for family, kind, ethertype in (("v4", socket.AF_INET, 0x0800), ("v6", socket.AF_INET6, 0x86dd)):
        ends = [socket.inet_pton(kind, each.inner[family]) for each in (node, other)]
        for packet in malformed_packets(*ends):
            try:
                inject.sendto(packet, (node.interface, ethertype))
            except OSError:  # the kernel refuses some of them itself
                pass
    inject.close()


@scenario("malformed packets from the TUN device", pairs=SELF)
def malformed_inner(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    stream = Stream(a, b)
    inject_malformed(a, b)
    stream.flows()
    stream.stop()
    transfer(a, b, "v6", mebibytes=2)


@scenario("malformed packets from an authenticated peer", pairs=(("culvert", "wireguard-go-plain"), ("culvert", "wireguard-go")))
def malformed_peer(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    before = a.peer(b)["received"]
    stream = Stream(b, a)
    inject_malformed(b, a)
    stream.flows()
    stream.stop()
    check(a.peer(b)["received"] > before, "they have arrived")
    transfer(b, a, "v6", mebibytes=2)


@scenario("a routing loop: the daemon lives through it and recovers", pairs=SELF)
def routing_loop(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    a.set("peer", b.public_key, "allowed-ips", f"{b.inner['v4']}/32,{b.inner['v6']}/128,{b.outer['v4']}/32")
    a.namespace.ip("route", "add", f"{b.outer['v4']}/32", "dev", a.interface)
    stream = Stream(a, b)
    sent = stream.sent
    wait_until(lambda: stream.sent > sent + 1000, "a thousand datagrams are sent into the loop")
    check(a.daemon.alive() and a.peer(b) is not None, "the daemon lives and answers")
    if a.which.ours:
        check(a.daemon.resident_kib() < 256 << 10, f"{a.daemon.resident_kib()} KiB resident in the loop")
    a.namespace.ip("route", "del", f"{b.outer['v4']}/32", "dev", a.interface)
    until_ping(a, b.inner["v4"])
    stream.flows()
    stream.stop()

    def calm():
        before = a.daemon.cpu_seconds()
        expect_ping(a, b.inner["v4"], 3)
        return a.daemon.cpu_seconds() - before < 0.05

    wait_until(calm, "the daemon is calm again")
