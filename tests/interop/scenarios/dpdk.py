"""Ports of DPDK instead of sockets: memif between two culverts, af_packet on a wire to others. No hugepages, no card."""

import os

from rig.implementation import implementation
from rig.lab import introduce, reset
from rig.scenario import SELF_AND_OFFLOADS, scenario
from rig.shell import Missing, attempt, check, wait_until
from rig.traffic import Stream, echo_datagrams, expect_ping, transfer

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


def start_on_memif(lab, node, other, role):
    path = os.path.join(lab.directory, "memif")
    vdev = f"net_memif0,role={role},id=0,socket={path},socket-abstract=no,mac={mac(node)}"
    node.start(arguments=("--workers", 1, "--dpdk", f"{EAL} --vdev={vdev}",
                          "--outer-port", " ".join(["net_memif0", *static(node, other)])))


@scenario("DPDK: a tunnel over memif between two ports")
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
            check(responder.peer(initiator)["endpoint"] == initiator.endpoint(outer), "the endpoint is learnt")
    echo_datagrams(a, b, sizes=(1, 1372, 9000, 60000))
    for family in ("v4", "v6"):
        transfer(a, b, family)
        transfer(b, a, family)
    stream = Stream(a, b)
    stream.flows(200)
    reset(a, b, "v4", "v4")  # new keys, while it flows
    stream.flows(200)
    stream.stop()
