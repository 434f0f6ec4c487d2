"""Tunnels in tunnels, interfaces that move away, and time passing."""

from rig.implementation import sanitized
from rig.lab import introduce
from rig.scenario import PAIRS, SELF, SELF_AND_OFFLOADS, scenario
from rig.shell import attempt, check, wait_until
from rig.traffic import Stream, echo_datagrams, expect_ping, iperf, transfer, until_ping


def nested(lab, left, right, family):
    a, b = lab.pair(left, right)
    introduce(a, b)
    inner = []
    for node, which in ((a, left), (b, right)):
        within = lab.node(node.number + 10, which, node.namespace)
        within.outer, within.port = node.inner, 51900
        within.inner = {"v4": f"10.81.0.{node.number}", "v6": f"fd81::{node.number}"}
        inner.append(within.start(mtu=1340))
    introduce(*inner, family)
    expect_ping(inner[0], inner[1].inner["v4"])
    expect_ping(inner[1], inner[0].inner["v6"])
    transfer(inner[0], inner[1], "v4", 8)
    transfer(inner[1], inner[0], "v6", 8)
    echo_datagrams(*inner)


@scenario("a tunnel inside a tunnel, by its v4 addresses", pairs=SELF_AND_OFFLOADS)
def nested_v4(lab, left, right):
    nested(lab, left, right, "v4")


@scenario("a tunnel inside a tunnel, by its v6 addresses", pairs=SELF_AND_OFFLOADS)
def nested_v6(lab, left, right):
    nested(lab, left, right, "v6")


@scenario("the interface moves to another namespace", pairs=PAIRS)
def moved(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    birth, away = a.namespace, lab.namespace("away")
    birth.ip("link", "set", a.interface, "netns", away.name)
    a.namespace = away
    away.add_address(a.interface, f"{a.inner['v4']}/24", f"{a.inner['v6']}/64")
    away.ip("link", "set", a.interface, "up")
    until_ping(a, b.inner["v4"])
    transfer(a, b)
    transfer(b, a, "v6")
    listening = lambda: str(a.port) in birth.run("ss", "-Hlun", f"sport = :{a.port}")  # noqa: E731
    away.ip("link", "set", a.interface, "down")
    wait_until(lambda: not listening(), "link down is noticed: the UDP socket goes")
    away.ip("link", "set", a.interface, "up")
    wait_until(listening, "link up is noticed: the UDP socket is back where it was born")
    away.add_address(a.interface, f"{a.inner['v6']}/64")
    until_ping(a, b.inner["v4"])
    for size in (1280, 1420):
        away.ip("link", "set", a.interface, "mtu", size)
        expect_ping(a, b.inner["v4"], 2, size - 28, whole=True)
    until_ping(b, a.inner["v4"])
    away.ip("link", "del", a.interface)
    wait_until(lambda: not a.daemon.alive(), "the daemon ends with its device")
    lab.daemons.remove(a.daemon)


@scenario("the UDP socket lives while the interface is up", pairs=SELF)
def link_state(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    listening = lambda: a.namespace.run("ss", "-Hlun", f"sport = :{a.port}").strip()  # noqa: E731
    for _ in range(3):
        sockets = listening().splitlines()
        v6 = sum("[::]" in line for line in sockets)
        check(v6 > 0 and len(sockets) == 2 * v6, f"for each worker one v4 and one v6 socket: {sockets}")
        a.namespace.ip("link", "set", a.interface, "down")
        wait_until(lambda: not listening(), "link down closes the sockets")
        a.namespace.ip("link", "set", a.interface, "up")
        wait_until(listening, "link up opens them")
        until_ping(a, b.inner["v4"])
    transfer(b, a, mebibytes=2)


@scenario("the daemon is idle when there is nothing to do, and small", pairs=(("culvert", "culvert"),))
def idle(lab, left, right):
    nodes = lab.pair(left, right)
    introduce(*nodes)
    transfer(*nodes)
    for node in nodes:
        node.namespace.ip("link", "set", node.interface, "up")

    def quiet():
        before = [(node.daemon.wake_ups(), node.daemon.cpu_seconds()) for node in nodes]
        attempt("sleep", 3)  # the span that is measured, not a wait
        after = [(node.daemon.wake_ups(), node.daemon.cpu_seconds()) for node in nodes]
        return all(then[0] - now[0] <= 1 and then[1] - now[1] <= 0.01 for now, then in zip(before, after))

    # Keepalives and retries may still come up to 15 s after the traffic.
    wait_until(quiet, "a span of 3 s in which no thread of either daemon wakes up", 60)


@scenario("memory stays below 64 MiB under load", pairs=(("culvert", "culvert"),))
def memory(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    limit = 1 << 40 if sanitized() else 64 << 10

    def small(when):
        for node in (a, b):
            check(node.daemon.resident_kib() < limit, f"{node.daemon.resident_kib()} KiB resident {when}")

    small("at the start")
    iperf(a, b, b.inner["v4"], "-P", "4", seconds=3)
    small("after four TCP flows")
    iperf(b, a, a.inner["v4"], "-u", "-b", "0", "-l", "64", seconds=2)
    small("after a flood of small datagrams")
    iperf(a, b, b.inner["v6"], "-u", "-b", "0", "-l", "60000", seconds=2)
    small("after a flood of fragments")


@scenario("keys are renewed after 120 s, no packet lost", pairs=SELF_AND_OFFLOADS, long=True)
def rekey(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    first = a.peer(b)["handshake"]
    streams = [Stream(a, b, interval=0.05), Stream(b, a, "v6", interval=0.05)]
    wait_until(lambda: a.peer(b)["handshake"] >= first + 100, "a new handshake by time", 250, 0.5)
    for stream in streams:
        stream.flows(100)
        stream.complete()
