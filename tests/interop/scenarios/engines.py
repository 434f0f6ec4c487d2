"""Both engines, epoll and io_uring, on each side of the daemon: the same tunnel, and no more work when idle."""

import ctypes
import re
import struct
import urllib.request

from rig.implementation import implementation, wireguard
from rig.lab import introduce
from rig.scenario import scenario
from rig.shell import Missing, attempt, check, wait_until
from rig.traffic import Stream, echo_datagrams, expect_ping, transfer, until_ping

METRICS_PORT = 9586
IO_URING_SETUP = 425
EPERM = 1


def forbid_io_uring():
    """Makes io_uring_setup(2) fail with EPERM in this process, as containers do."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, IO_URING_SETUP), (0x06, 0, 0, 0x00050000 | EPERM), (0x06, 0, 0, 0x7fff0000)]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(instructions)))
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def can_io_uring():
    parameters = ctypes.create_string_buffer(120)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(IO_URING_SETUP, 1, parameters)
    if descriptor >= 0:
        libc.close(descriptor)
    return descriptor >= 0


def start(node, tun, udp):
    """Starts a node's daemon with these engines, and checks that it uses them."""
    node.start(env={"CULVERT_TUN_ENGINE": tun, "CULVERT_UDP_ENGINE": udp, "CULVERT_METRICS": f"127.0.0.1:{METRICS_PORT}"})
    node.namespace.ip("link", "set", "lo", "up")
    with node.namespace.entered():
        with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    for side, wanted in (("tun", tun), ("udp", udp)):
        used = re.search(rf'^culvert_{side}_engine{{.*name="(\w+)"}} 1$', text, re.M)
        check(used and used.group(1) == wanted, f"CULVERT_{side.upper()}_ENGINE={wanted}, in use: {used and used.group(1)}")


def started_pair(lab, left, right, tun, udp):
    if not can_io_uring():
        raise Missing("no io_uring: the kernel has none, or kernel.io_uring_disabled or a seccomp filter forbids it")
    a, b = lab.pair(left, right, start=False)
    start(a, tun, udp)
    if b.which.ours:
        start(b, udp, tun)
    else:
        b.start()
    introduce(a, b)
    return a, b


def traffic(a, b):
    for sender, receiver in ((a, b), (b, a)):
        for family in ("v4", "v6"):
            expect_ping(sender, receiver.inner[family])
            echo_datagrams(sender, receiver, family, sizes=(1, 1372, 9000, 60000))
            echo_datagrams(sender, receiver, family, sizes=(12000, 30001), segment=1200)
            transfer(sender, receiver, family, mebibytes=8)
    stream = Stream(a, b)
    stream.flows(200)
    stream.complete()


@scenario("traffic with io_uring on both sides", pairs=(("culvert", "culvert"), ("culvert", "wireguard-go")))
def both_sides(lab, left, right):
    traffic(*started_pair(lab, left, right, "io_uring", "io_uring"))


@scenario("traffic with io_uring on one side, epoll on the other")
def one_side(lab, left, right):
    traffic(*started_pair(lab, left, right, "io_uring", "epoll"))


@scenario("io_uring: the link goes down and comes up on the same port, the daemon ends and starts anew")
def again(lab, left, right):
    a, b = started_pair(lab, left, right, "io_uring", "io_uring")
    for _ in range(5):
        a.namespace.ip("link", "set", a.interface, "down")
        a.namespace.ip("link", "set", a.interface, "up")
        until_ping(a, b.inner["v4"])  # the other side may ignore an initiation that comes so soon after the last
    port = wireguard("show", a.interface, "listen-port").strip()
    check(port == str(a.port), f"port {a.port} is kept, not {port}")
    for _ in range(3):
        a.daemon.stop()
        lab.daemons.remove(a.daemon)
        start(a, "io_uring", "io_uring")
        a.add_peer(b, "v4")
        until_ping(a, b.inner["v4"])


@scenario("io_uring: an idle tunnel sleeps")
def idle(lab, left, right):
    a, b = started_pair(lab, left, right, "io_uring", "io_uring")
    expect_ping(a, b.inner["v4"])

    def quiet():
        before = a.daemon.wake_ups()
        attempt("sleep", 4)  # the span that is measured, not a wait
        return a.daemon.wake_ups() - before < 40

    wait_until(quiet, "a span of 4 s with less than 40 wake-ups")


@scenario("io_uring that is forbidden: a clear error, and auto does without", pairs=((),))
def forbidden(lab):
    program = implementation("culvert").program
    node = lab.node(1, "culvert")
    for side in ("TUN", "UDP"):
        with open(lab.log(side), "wb") as log:
            process = node.namespace.start(program, "-f", "wgx", log=log, env={f"CULVERT_{side}_ENGINE": "io_uring"},
                                           preexec_fn=forbid_io_uring)
        lab.background(process)
        status = process.wait(30)
        with open(lab.log(side), encoding="utf-8") as text:
            said = text.read()
        check(status > 0, f"status {status} without io_uring")
        check("io_uring" in said and "a seccomp filter forbids it" in said, f"{side}: {said!r}")
    node.start(env={"CULVERT_TUN_ENGINE": "auto", "CULVERT_UDP_ENGINE": "auto"})
    check(node.daemon.alive(), "auto starts")
