"""The metrics port, which anybody may reach: it takes no descriptors, no memory and no time from the tunnel."""

import contextlib
import http.client
import os
import re
import resource
import signal
import socket

from rig.implementation import implementation, sanitized
from rig.scenario import scenario
from rig.shell import check, wait_until

ALONE = (("culvert",),)
PORT = 9586
IDLE = 1000
MAX_GROWTH_KIB = 16 << 10


def started(lab, which):
    node = lab.node(1, which)
    node.namespace.ip("link", "set", "lo", "up")
    return node.start(env={"CULVERT_METRICS": f"127.0.0.1:{PORT}"})


def get(path):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def connect(address="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", PORT), timeout=30, source_address=(address, 0))


def refused_while_posting(framing):
    with connect() as client:
        try:
            client.sendall(b"POST /metrics HTTP/1.1\r\nHost: culvert\r\n" + framing + b"\r\n\r\n")
            for _ in range(300):
                client.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        except OSError:
            return True
    return False


def peak_kib(node):
    with open(f"/proc/{node.daemon.pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1))


@scenario("a thousand idle clients of the metrics port leave descriptors for wg and the link", pairs=ALONE)
def idle_clients(lab, which):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    node = started(lab, which)
    resource.prlimit(node.daemon.pid, resource.RLIMIT_NOFILE, (64, 64))
    with node.namespace.entered(), contextlib.ExitStack() as clients:
        for number in range(IDLE):
            clients.enter_context(connect(f"127.0.1.{1 + number % 200}"))
        check(node.device()["listen_port"] == str(node.port), "wg is served")
        for state, wanted in (("down", 0), ("up", 1)):
            node.namespace.ip("link", "set", node.interface, state)
            wait_until(lambda: f'culvert_link_up{{device="{node.interface}"}} {wanted}\n' in get("/metrics")[1], f"the link is {state}")
            check(get("/healthz") == (200, f"ok\nlink {state}\n"), f"healthy while the link is {state}")
        check(node.device()["listen_port"] == str(node.port), "wg is still served")


@scenario("what is posted to the metrics port is not stored", pairs=ALONE)
def large_post(lab, which):
    node = started(lab, which)
    with node.namespace.entered():
        check(get("/metrics")[0] == 200, "it serves")
        before = peak_kib(node)
        for framing in (b"Content-Length: %d" % (300 << 20), b"Transfer-Encoding: chunked"):
            check(refused_while_posting(framing), f"300 MiB were taken, {framing}")
        growth = peak_kib(node) - before
        check(sanitized() or growth < MAX_GROWTH_KIB, f"the daemon grew by {growth} KiB")
        check(get("/metrics")[0] == 200, "it serves on")


@scenario("silent and stalled clients of the metrics port do not keep the daemon from ending", pairs=ALONE)
def end_with_clients(lab, which):
    node = started(lab, which)
    with node.namespace.entered(), contextlib.ExitStack() as clients:
        silent, kept, slow = (clients.enter_context(connect()) for _ in range(3))
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: culvert\r\n\r\n")
        check(kept.recv(4096).startswith(b"HTTP/1.1 200 "), "it serves")
        slow.sendall(b"GET /metr")
        os.kill(node.daemon.pid, signal.SIGTERM)
        check(node.daemon.process.wait(60) == 0, "it ends cleanly")
        check(not os.path.exists(node.daemon.socket), "and leaves no socket file")
    lab.daemons.remove(node.daemon)


@scenario("a metrics address that is taken is said, and ends the daemon with status 1", pairs=ALONE)
def taken_address(lab, which):
    namespace = lab.namespace("n")
    namespace.ip("link", "set", "lo", "up")
    quiet = {key: value for key, value in os.environ.items() if key not in ("LOG_LEVEL", "WG_PROCESS_FOREGROUND")}
    with namespace.entered(), socket.create_server(("127.0.0.1", PORT)):
        for options in (["-f"], []):
            done = namespace.attempt(implementation(which).program, *options, "wgm", env={**quiet, "CULVERT_METRICS": f"127.0.0.1:{PORT}"})
            check(done.returncode == 1, f"status {done.returncode}")
            check(f"127.0.0.1:{PORT} (CULVERT_METRICS" in done.stderr + done.stdout and "Address already in use" in done.stderr + done.stdout,
                  f"it says which address: {done}")
