"""Every offload off, on one side, on the other and on both; and every offload given up because it was refused."""

import errno
import functools
import http.client
import os
import shutil
import socket

from rig.implementation import ROOT, sanitized
from rig.lab import introduce
from rig.scenario import PAIRS, scenario
from rig.shell import Missing, check, run, wait_until
from rig.traffic import SOL_UDP, UDP_SEGMENT, Stream, bound, echo_datagrams, expect_ping, transfer

SWITCHES = ("CULVERT_GSO", "CULVERT_GRO", "CULVERT_TUN_OFFLOAD", "CULVERT_TUN_TSO", "CULVERT_TUN_USO",
            "CULVERT_TUN_JOIN")
METRICS_PORT = 9586


def everything(a, b, mebibytes=2):
    """TCP, UDP of all sizes, UDP superpackets and pings, both ways over v4 and v6; again after the MTU has changed."""
    for size in (1420, 1280):
        for node in (a, b):
            node.namespace.ip("link", "set", node.interface, "mtu", size)
        for sender, receiver, family in ((a, b, "v4"), (b, a, "v6"), (b, a, "v4"), (a, b, "v6")):
            transfer(sender, receiver, family, mebibytes)
            echo_datagrams(sender, receiver, family, sizes=(0, 1, size - 48, size, 9001))
            echo_datagrams(sender, receiver, family, sizes=(1, 12001, 60000), segment=1200)
        expect_ping(a, b.inner["v4"], 1, size - 28)
    for node in (a, b):
        node.namespace.ip("link", "set", node.interface, "mtu", 1420)


def restart(lab, nodes, environments):
    """Gives both nodes new daemons, each with its environment."""
    for node, environment in zip(nodes, environments):
        if node.daemon:
            lab.daemons.remove(node.daemon)
            node.daemon.stop()
        node.start(env=environment)


def switched_off(lab, left, right, switches):
    nodes = lab.pair(left, right, start=False)
    off = {name: "off" for name in switches}
    # Traffic goes both ways, so each side's switches meet it as sender and as receiver. Only culvert knows them.
    rounds = (((off, {}), "v4"), (({}, off), "v6"), ((off, off), "v4"))
    for environments, outer in rounds if nodes[1].which.ours else rounds[:1]:
        restart(lab, nodes, environments)
        introduce(*nodes, outer)
        everything(*nodes)


for _switches in (*((name,) for name in SWITCHES), SWITCHES):
    _alone = len(_switches) == 1
    _what = _switches[0] if _alone else "every offload"
    scenario(f"{_what} off on one side, on the other, on both", pairs=PAIRS, slow=_alone)(
        functools.partial(switched_off, switches=_switches))


def metrics(node):
    """The metrics of a daemon that was started with CULVERT_METRICS, without the label of its device."""
    with node.namespace.entered():
        connection = http.client.HTTPConnection("127.0.0.1", METRICS_PORT, timeout=10)
        connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    device = f'{{device="{node.interface}"'
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name.replace(device + "}", "").replace(device + ",", "{"): int(value) for name, value in samples}


def active(node, offload):
    return metrics(node)[f'culvert_offload_active{{offload="{offload}"}}'] == 1


def refusing(lab, rules):
    """The environment of a daemon whose kernel refuses what the rules say, each (kind, errno, how often or 0)."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise Missing("no g++ to build tests/interop/refuse.cc: apt-get install g++")
    library = os.path.join(lab.directory, "refuse.so")
    if not os.path.exists(library):
        run(compiler, "-std=c++20", "-O1", "-shared", "-fPIC", "-o", library, f"{ROOT}/tests/interop/refuse.cc")
    environment = {"CULVERT_METRICS": f"127.0.0.1:{METRICS_PORT}", "LD_PRELOAD": library,
                   "CULVERT_TUN_ENGINE": "epoll", "CULVERT_UDP_ENGINE": "epoll",  # whose calls a library can refuse
                   "REFUSE": ",".join(f"{kind} {number} {times}" for kind, number, times in rules)}
    if sanitized():
        environment["ASAN_OPTIONS"] = f"{os.environ.get('ASAN_OPTIONS', '')}:verify_asan_link_order=0"
    return environment


def log_of(node):
    with open(node.daemon.log_path, encoding="utf-8", errors="replace") as log:
        return log.read()


def ask_for_small_segments(node):
    """Has what is sent to a node over TCP and v4 come in superpackets of very many segments."""
    node.namespace.ip("route", "replace", "10.80.0.0/24", "dev", node.interface, "proto", "kernel", "scope", "link",
                      "src", node.inner["v4"], "advmss", 100)


def use_up_refusals(sender, receiver):
    """Sends more trains than are refused for want of room: what is refused twice is lost, as UDP may be."""
    with bound(sender, socket.SOCK_DGRAM, sender.inner["v4"]) as here:
        here.setsockopt(SOL_UDP, UDP_SEGMENT, 1200)
        for _ in range(40):
            here.sendto(bytes(60000), (receiver.inner["v4"], 9))
    expect_ping(sender, receiver.inner["v4"])


def refused(lab, left, right, rules, lost, kept, downgrades):
    """The kernel of each side in turn refuses something; the offloads in `lost` are given up, those in `kept` are not."""
    nodes = lab.pair(left, right, start=False)
    environment = refusing(lab, rules)
    for refuser, outer in ((0, "v4"), (1, "v6")):
        restart(lab, nodes, [environment if number == refuser else {} for number in (0, 1)])
        introduce(*nodes, outer)
        node = nodes[refuser]
        if any(kind == "long_trains" for kind, _, _ in rules):
            ask_for_small_segments(nodes[1 - refuser])
        if any(number in (errno.ENOBUFS, errno.EAGAIN) for _, number, _ in rules):
            transfer(node, nodes[1 - refuser])
            use_up_refusals(node, nodes[1 - refuser])
        everything(*nodes)
        for kind, _, _ in rules:
            check(f"refused: {kind}" in log_of(node), f"nothing was refused of {kind}")
        for offload in lost:
            check(not active(node, offload), f"{offload} is still in use")
        for offload in kept:
            check(active(node, offload), f"{offload} was given up too")
        counted = metrics(node)["culvert_gso_downgrades_total"]
        check(counted >= downgrades, f"{counted} downgrades are counted, not {downgrades}")
        everything(*nodes, 1)


UDP = ("udp_segment", "udp_gro")
TUN = ("tun_tcp", "tun_udp")
ALWAYS = 0

# What is refused, what is given up for it, what is kept, and how many downgrades are counted at least.
for _title, _rules, _lost, _kept, _downgrades in (
        ("EIO for a train: a device without checksum offload",
         (("trains", errno.EIO, 1),), ("udp_segment",), ("udp_gro", *TUN), 1),
        ("EINVAL for more than 64 datagrams in a train",
         (("long_trains", errno.EINVAL, ALWAYS),), (), (*UDP, *TUN), 1),
        ("EMSGSIZE and EINVAL for a train: a path too narrow",
         (("trains", errno.EMSGSIZE, 1), ("trains", errno.EINVAL, 1)), (), (*UDP, *TUN), 1),
        ("ENOBUFS and EAGAIN for trains: no room",
         (("trains", errno.ENOBUFS, 10), ("trains", errno.EAGAIN, 10)), (), (*UDP, *TUN), 0),
        ("EINVAL for superpackets written to the TUN device",
         (("tcp_superpackets", errno.EINVAL, 2), ("udp_superpackets", errno.EINVAL, 2)), TUN, UDP, 0),
        ("a TUN device without USO",
         (("uso", errno.EINVAL, ALWAYS),), ("tun_udp",), ("tun_tcp", *UDP), 0),
        ("a TUN device without any offload",
         (("offloads", errno.EINVAL, ALWAYS),), TUN, UDP, 0),
        ("a TUN device without virtio header",
         (("virtio_header", errno.EINVAL, ALWAYS),), TUN, UDP, 0),
        ("sockets without UDP_SEGMENT and UDP_GRO",
         (("udp_segment", errno.ENOPROTOOPT, ALWAYS), ("udp_gro", errno.ENOPROTOOPT, ALWAYS)), UDP, TUN, 0)):
    scenario(f"refused on either side: {_title}", slow=not _title.startswith(("EIO", "EINVAL for super")))(
        functools.partial(refused, rules=_rules, lost=_lost, kept=_kept, downgrades=_downgrades))


@scenario("the path becomes narrower than a segment while traffic flows, and wide again", slow=True)
def narrower(lab, left, right):
    nodes = lab.pair(left, right, start=False)
    restart(lab, nodes, [{"CULVERT_METRICS": f"127.0.0.1:{METRICS_PORT}"}] * 2)
    for outer in ("v4", "v6"):
        introduce(*nodes, outer)
        stream = Stream(*nodes, size=1300)
        for size in (1500, 1300, 1500):
            for node in nodes:
                node.namespace.ip("link", "set", "wire", "mtu", size)
            stream.flows()
            everything(*nodes, 1)
        stream.stop()
    for node in nodes:
        wait_until(lambda owner=node: metrics(owner)["culvert_gso_downgrades_total"] > 0, "a downgrade is counted")
        check(active(node, "udp_segment"), "UDP_SEGMENT is in use: one path alone was too narrow")
