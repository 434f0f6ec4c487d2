#!/usr/bin/env python3
"""Says where the time of a running tunnel goes: crypto, copies, scheduling, TCP, veth and so on, by process.

Without --pid it makes the tunnel itself, as tools/lab does: two daemons and iperf3 in private namespaces. With --pid
it watches daemons that are running. perf(1) samples the whole machine; tools/profile_groups.py is the table that puts
functions into groups. Without a PMU, as in most virtual machines, sections without interrupts cannot be sampled: their time shows
where interrupts are let in again (a wake-up of another core in _raw_spin_unlock_irqrestore), and a part of "timers and
interrupts" is the sampling itself.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "tests", "support")]

import profile_samples  # noqa: E402
from profile_report import Report  # noqa: E402
from rig.implementation import NAMES, implementation  # noqa: E402
from rig.lab import Lab, introduce  # noqa: E402
from rig.namespace import ISOLATED  # noqa: E402
from rig.shell import Failure, Missing, wait_until  # noqa: E402
from rig.traffic import SOL_UDP, UDP_SEGMENT, expect_ping  # noqa: E402

UDP_GRO = 104


class Tunnel:
    """The tunnel in namespaces of its own: a child of this program, which keeps it up until stop()."""

    def __init__(self, arguments):
        self.process = subprocess.Popen([*ISOLATED, sys.executable, os.path.abspath(__file__), *sys.argv[1:]],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "CULVERT_PROFILE_INSIDE": "1"})
        self.arguments = arguments
        line = self.process.stdout.readline()
        if not line:
            raise Failure("the tunnel could not be made")
        inside = json.loads(line)
        self.roles = self._pids_here(inside["roles"])

    def _pids_here(self, roles):
        """Process ids as they are outside of the tunnel's namespace."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as children:
            first = children.read().split()[0]
        space = os.readlink(f"/proc/{first}/ns/pid")
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/pid") == space:
                    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
                        inner = next(line for line in status if line.startswith("NSpid:")).split()[-1]
                    if inner in roles:
                        found[int(pid)] = roles[inner]
            except OSError:  # a process that ended meanwhile
                continue
        return found

    def _ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline() or "{}")

    def transferred(self):
        """Bytes of messages sent so far by the side that sends the most."""
        return self._ask("count")["bytes"]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(60)


def inside(arguments):
    """The child: makes tunnel and traffic, answers one line for each line it reads, and ends with its input."""
    directory = tempfile.mkdtemp(prefix="culvert-profile-")
    lab = Lab(directory, log_level="error")
    try:
        which = arguments.implementation or ["culvert"]
        a, b = lab.pair(which[0], which[-1], mtu=arguments.mtu - 80, wire_mtu=arguments.mtu)
        introduce(a, b)
        expect_ping(a, b.inner["v4"], 3)
        roles = {a.daemon.pid: "daemon A", b.daemon.pid: "daemon B", **traffic(arguments, a, b)}
        source, target = (b, a) if arguments.reverse else (a, b)
        start = source.peer(target)["sent"]
        wait_until(lambda: source.peer(target)["sent"] > start + (20 << 20), "the traffic is under way")
        time.sleep(0.5)
        print(json.dumps({"roles": {str(pid): role for pid, role in roles.items()}}), flush=True)
        for _ in sys.stdin:
            print(json.dumps({"bytes": source.peer(target)["sent"]}), flush=True)
    finally:
        lab.close()
        subprocess.call(["rm", "-rf", directory])


def traffic(arguments, a, b):
    """Starts what fills the tunnel; returns the roles of its processes by pid."""
    if arguments.udp and arguments.gso:
        source, target = (b, a) if arguments.reverse else (a, b)
        receiver = start_python(lab_node=target, role="receive", size=arguments.udp, address=target.inner["v4"])
        sender = start_python(lab_node=source, role="send", size=arguments.udp, address=target.inner["v4"])
        return {sender.pid: "sender", receiver.pid: "receiver"}
    serving = a.lab.background(b.namespace.start("iperf3", "-s", "-1", "-p", "5201", "-B", b.inner["v4"]))
    wait_until(lambda: ":5201" in b.namespace.run("ss", "-Hltn", "sport = :5201"), "iperf3 listens")
    options = ["-P", arguments.flows, "-t", 600]
    if arguments.udp:
        options += ["-u", "-b", "0", "-l", arguments.udp]
    if arguments.reverse:
        options += ["-R"]
    client = a.lab.background(a.namespace.start("iperf3", "-c", b.inner["v4"], "-p", "5201", *options))
    return {client.pid: "iperf3 A", serving.pid: "iperf3 B"}


def start_python(lab_node, role, size, address):
    """Sends or receives UDP superpackets, which iperf3 of Debian 12 cannot."""
    return lab_node.lab.background(lab_node.namespace.start(
        sys.executable, os.path.abspath(__file__), env={**os.environ, "CULVERT_PROFILE_INSIDE": f"{role} {size} {address}"}))


def superpackets(role, size, address):
    """The process behind start_python()."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        buffer = bytearray(65536)
        if role == "receive":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            made.setsockopt(SOL_UDP, UDP_GRO, 1)
            made.bind((address, 5202))
            while True:
                made.recv_into(buffer)
        made.setsockopt(SOL_UDP, UDP_SEGMENT, size)
        made.connect((address, 5202))
        train = memoryview(buffer)[:min(64, 65000 // size) * size]
        while True:
            try:
                made.send(train)
            except ConnectionRefusedError:  # the receiver is not there yet
                time.sleep(0.01)


def watch(arguments):
    """Records and prints."""
    directory = tempfile.mkdtemp(prefix="culvert-profile-")
    path = os.path.join(directory, "perf.data")
    tunnel = None
    try:
        if arguments.pid:
            roles = {pid: f"pid {pid}" for pid in arguments.pid}
            program = os.readlink(f"/proc/{arguments.pid[0]}/exe")
        else:
            tunnel = Tunnel(arguments)
            roles = tunnel.roles
            program = os.path.realpath(implementation((arguments.implementation or ["culvert"])[0]).program)
        before, clock = tunnel.transferred() if tunnel else 0, time.monotonic()
        event = profile_samples.record(path, arguments.seconds, arguments.frequency)
        seconds = time.monotonic() - clock
        gigabits = (tunnel.transferred() - before) * 8 / 1e9 if tunnel else None
        if tunnel:
            tunnel.stop()
            tunnel = None
        report = Report(profile_samples.read(path, program), roles, os.cpu_count())
        print(f"{program}, Linux {os.uname().release}, perf's {event}")
        if gigabits:
            print(f"{gigabits / seconds:.2f} Gb/s of messages through the tunnel while it was watched")
        print(report.text(arguments.seconds, gigabits, arguments.top))
    finally:
        if tunnel:
            tunnel.stop()
        if arguments.keep:
            os.replace(path, arguments.keep)
        subprocess.call(["rm", "-rf", directory])


def between(kind, least, most):
    """A type for argparse: a number from least to most."""
    def check(word):
        try:
            value = kind(word)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"`{word}` is no number from {least} to {most}")
        return value
    return check


def main():
    place = os.environ.get("CULVERT_PROFILE_INSIDE")
    if place and place != "1":
        role, size, address = place.split()
        return superpackets(role, int(size), address)
    parser = argparse.ArgumentParser(prog="tools/profile", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=between(float, 0.1, 3600), default=5)
    parser.add_argument("--mtu", type=between(int, 1360, 65535), default=1500, help="of the wire (default: 1500)")
    parser.add_argument("--flows", type=between(int, 1, 128), default=1)
    parser.add_argument("--reverse", action="store_true", help="from B to A")
    parser.add_argument("--udp", type=between(int, 16, 65000), metavar="SIZE", help="datagrams of that size instead of TCP")
    parser.add_argument("--gso", action="store_true", help="with --udp: many datagrams in one send, by UDP_SEGMENT")
    parser.add_argument("--pid", type=int, action="append", help="watch this process instead; may be repeated")
    parser.add_argument("--frequency", type=between(int, 1, 50000), default=997, help="samples per second and core")
    parser.add_argument("--top", type=between(int, 0, 1000), default=6, help="functions to show of each group")
    parser.add_argument("--keep", metavar="FILE", help="keep perf's recording there")
    parser.add_argument("implementation", nargs="*", metavar="PROGRAM",
                        help="what to profile: culvert (the default), wireguard-go or a program; a second one for side B")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)  # for tools/profile: does nothing else
    arguments = parser.parse_args()
    for name in arguments.implementation:
        if name not in NAMES and not ("/" in name and os.path.isfile(name) and os.access(name, os.X_OK)):
            parser.error(f"no program {name}; there are: {', '.join(NAMES)}, and paths")
    if len(arguments.implementation) > 2:
        parser.error("a tunnel has two sides: at most two programs")
    for pid in arguments.pid or ():
        if not os.path.exists(f"/proc/{pid}/exe"):
            parser.error(f"--pid: there is no process {pid}")
    if arguments.keep and not os.access(os.path.dirname(os.path.abspath(arguments.keep)), os.W_OK):
        parser.error(f"--keep: {arguments.keep} cannot be written")
    if arguments.check:
        return None
    try:
        if place:
            return inside(arguments)
        return watch(arguments)
    except (Failure, Missing, OSError) as problem:
        sys.exit(f"profile: {problem}")


if __name__ == "__main__":
    main()
