"""The WireGuard implementations under test, and their running daemons."""

import os
import re
import shutil
import socket

from rig.shell import Failure, Missing, attempt, check, end, run, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SOCKETS = "/var/run/wireguard"


class Implementation:
    """A program that takes `-f IFNAME` and serves the UAPI socket. Constant after construction."""

    def __init__(self, name, program, ours=False):
        self.name = name
        self.program = program
        self.ours = ours

    def __str__(self):
        return self.name


def _culvert():
    program = os.path.abspath(os.environ.get("CULVERT_BIN", f"{ROOT}/build/release/src/daemon/culvert"))
    return program if os.access(program, os.X_OK) else None


def _wireguard_go():
    if "WIREGUARD_GO" in os.environ:
        return os.environ["WIREGUARD_GO"] or None
    done = attempt(f"{ROOT}/tools/fetch-wireguard-go", timeout=300)
    return done.stdout.strip() if done.returncode == 0 else None


NAMES = {
    "culvert": (_culvert, "no culvert: tools/test builds it, CULVERT_BIN names another"),
    "wireguard-go": (_wireguard_go, "no wireguard-go with offloads: run tools/fetch-wireguard-go, or set WIREGUARD_GO"),
    "wireguard-go-plain": (lambda: shutil.which("wireguard-go"), "no wireguard-go: apt-get install wireguard-go"),
}


def implementation(name):
    """One of NAMES, or a path of a program that behaves like wireguard-go."""
    if "/" in name:
        return Implementation(os.path.basename(name), name)
    find, how = NAMES[name]
    program = find()
    if program is None:
        raise Missing(how)
    return Implementation(name, program, ours=name == "culvert")


def lab_traffic():
    """The traffic program of the lab: LAB_TRAFFIC, or what was built with the culvert under test; None without it."""
    beside = os.path.join(os.path.dirname(implementation("culvert").program), "../../bench/traffic/lab_traffic")
    program = os.path.abspath(os.environ.get("LAB_TRAFFIC", beside))
    return program if os.access(program, os.X_OK) else None


def connects(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == 0


def wireguard(*arguments, **how):
    """wg(8). It reaches userspace daemons by their sockets, from any namespace."""
    return run("wg", *arguments, **how)


class Daemon:
    """One running implementation with its interface, in the foreground with its log in a file."""

    def __init__(self, which, namespace, interface, log_path, env=None, detached=False, arguments=()):
        self.which = which
        self.interface = interface
        self.socket = f"{SOCKETS}/{interface}.sock"
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self.process = namespace.start(which.program, "-f", *arguments, interface, log=log,
                                           env={**os.environ, **(env or {})},
                                           start_new_session=detached)
        self.pid = self.process.pid
        wait_until(self._answers, f"{which} serves {self.socket}")

    def _answers(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.which} ended with status {self.process.returncode}: {self.log_tail()}")
        # wg(8) removes a socket that refuses it, also one that is bound and does not listen yet: it comes second.
        return connects(self.socket) and attempt("wg", "show", self.interface).returncode == 0

    def log_tail(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """Ends the daemon. Ours must have lived until now and end cleanly, which is also when sanitizers report."""
        lived = self.alive()
        status = end(self.process)
        if self.which.ours:
            check(lived, f"culvert died with status {status}: {self.log_tail()}")
            check(status == 0, f"culvert ended with status {status} on SIGTERM: {self.log_tail()}")
            check(not os.path.exists(self.socket), "culvert left its socket behind")

    def resident_kib(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wake_ups(self):
        """How often the daemon's threads have gone to sleep of their own accord so far."""
        total = 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{thread}/status", encoding="ascii") as status:
                total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.M).group(1))
        return total


def generate_key():
    private = wireguard("genkey").strip()
    return private, wireguard("pubkey", stdin=private).strip()


def generate_preshared_key():
    return wireguard("genpsk").strip()


def sanitized():
    """True if the culvert under test is instrumented, so that its memory and speed say nothing."""
    return os.environ.get("CULVERT_SANITIZED") == "1"
