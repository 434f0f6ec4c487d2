#!/usr/bin/env python3
"""The tunnel of tools/demo, which builds culvert and calls this."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "support"))

from rig.implementation import NAMES, wireguard  # noqa: E402
from rig.lab import Lab, handshaken, introduce  # noqa: E402
from rig.shell import Failure, Missing, attempt, runs, wait_until  # noqa: E402

UNPRIVILEGED = os.environ.get("CULVERT_DEMO_UNPRIVILEGED") == "1"
INTERVAL = re.compile(r"\]\s+\d+\.\d+-\s*\d+\.\d+\s+sec\s+.*?(\d+(?:\.\d+)?) Gbits/sec(?:\s+(\d+))?.*?(sender|receiver)?$")


def headline(text):
    print(f"\n== {text}", flush=True)


def enter(node):
    """The words that run a command on a node's side, for the reader to type."""
    if UNPRIVILEGED:
        return f"nsenter -t {node.daemon.pid} -U --preserve-credentials -m -n"
    return f"ip netns exec {node.namespace.name}"


def throughput(client, server, seconds):
    """iperf3 from client to server with live lines. Returns Gb/s, retransmits and CPU seconds per gigabit of both daemons."""
    with open(client.lab.log("iperf3"), "wb") as log:
        serving = server.namespace.start("iperf3", "-s", "-1", log=log)
    client.lab.background(serving)
    wait_until(lambda: ":5201" in server.namespace.run("ss", "-Hltn", "sport = :5201"), "iperf3 listens")
    before = [node.daemon.cpu_seconds() for node in (client, server)]
    running = subprocess.Popen(client.namespace.command("iperf3", "-c", server.inner["v4"], "-t", seconds, "-f", "g", "--forceflush"),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    rate, retransmits, lines = 0.0, 0, []
    for line in running.stdout:
        lines.append(line)
        found = INTERVAL.search(line.rstrip())
        if not found:
            continue
        if found.group(3) == "sender":
            retransmits = int(found.group(2) or 0)
        elif found.group(3) == "receiver":
            rate = float(found.group(1))
        else:
            print(f"   {client.interface} -> {server.interface}  {float(found.group(1)):6.2f} Gb/s  "
                  f"{'#' * int(float(found.group(1)) * 4)}", flush=True)
    running.wait()
    serving.wait(20)
    if running.returncode != 0 or rate == 0:
        raise Failure(f"iperf3: {''.join(lines)}")
    spent = [node.daemon.cpu_seconds() - then for node, then in zip((client, server), before)]
    return rate, retransmits, [each / (rate * seconds) for each in spent]


def latency(client, server):
    done = client.namespace.run("ping", "-q", "-n", "-c", 100, "-i", "0.01", server.inner["v4"])
    least, mean, most, _ = re.search(r"= ([\d./]+) ms", done).group(1).split("/")
    return float(least), float(mean), float(most)


def show(lab, arguments):
    """Builds the tunnel and runs everything; returns its two nodes."""
    headline(f"two network namespaces, one veth pair, {' and '.join(('culvert', arguments.peer))}")
    a, b = lab.pair("culvert", arguments.peer)
    introduce(a, b)
    for node in (a, b):
        print(f"   {node.namespace.name}: {node.interface} {node.inner['v4']}, outside {node.endpoint('v4')}, {node.which.program}")
    headline("the handshake, as wg shows it")
    a.namespace.run("ping", "-q", "-c", 1, "-W", 10, b.inner["v4"])
    handshaken(a, b)
    print("\n".join("   " + line for line in wireguard("show", a.interface).strip().splitlines()))
    headline("iperf3 through the tunnel, one TCP flow")
    forth = throughput(a, b, arguments.seconds)
    back = throughput(b, a, arguments.seconds)
    times = latency(a, b)
    headline("summary")
    for (rate, retransmits, cpu), sender, receiver in ((forth, a, b), (back, b, a)):
        print(f"   {sender.which} -> {receiver.which}: {rate:.2f} Gb/s, {retransmits} retransmits, CPU per gigabit: "
              f"{cpu[0]:.3f} s sending, {cpu[1]:.3f} s receiving")
    print(f"   ping: {times[0] * 1000:.0f} us least, {times[1] * 1000:.0f} us mean, {times[2] * 1000:.0f} us most")
    print(f"   resident: {a.daemon.resident_kib() / 1024:.0f} MiB and {b.daemon.resident_kib() / 1024:.0f} MiB")
    return a, b


def keep(lab, nodes):
    """Writes down what is running, and says how to play with it and how to end it."""
    a, b = nodes
    with open(os.path.join(lab.directory, "demo.json"), "w", encoding="ascii") as file:
        json.dump({"daemons": {node.interface: node.daemon.pid for node in nodes},
                   "namespaces": [] if UNPRIVILEGED else [each.name for each in lab.namespaces]}, file)
    prefix = enter(a)
    inside = prefix + " " if UNPRIVILEGED else ""
    headline("it is still running; play with it")
    print(f"   {inside}wg show")
    print(f"   {prefix} ping {b.inner['v4']}")
    print(f"   {enter(b)} iperf3 -s -D   and then   {prefix} iperf3 -c {b.inner['v4']}")
    print(f"   {inside}wg set {a.interface} peer {b.public_key} persistent-keepalive 5")
    print(f"   end it:  tools/demo --stop {lab.directory}")


def left_behind(directory):
    """What keep() wrote down. ValueError if nothing was left there."""
    try:
        with open(os.path.join(directory, "demo.json"), encoding="ascii") as file:
            left = json.load(file)
        return left["daemons"], left["namespaces"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"`{directory}` is no directory that tools/demo --keep has named") from problem


def stop(directory):
    """Ends what --keep left: by pid, and only if that pid still is the daemon."""
    daemons, namespaces = left_behind(directory)
    for interface, pid in daemons.items():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as command:
                if interface.encode() in command.read().split(b"\0"):
                    os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not runs(pid), f"{interface} ends", 10)
        except (FileNotFoundError, ProcessLookupError):
            pass
    for name in namespaces:
        attempt("ip", "netns", "del", name)
    subprocess.call(["rm", "-rf", directory])


def interrupted(number, _):
    raise KeyboardInterrupt(signal.Signals(number).name)


def parsed(words):
    """The command line; one that cannot be right ends the program with status 2 and says why."""
    parser = argparse.ArgumentParser(prog="tools/demo", allow_abbrev=False)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--peer", default="culvert")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--stop", metavar="DIR")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)  # for tools/demo: does nothing else
    arguments = parser.parse_args(words)
    if arguments.peer not in NAMES and not ("/" in arguments.peer and os.path.isfile(arguments.peer) and os.access(arguments.peer, os.X_OK)):
        parser.error(f"--peer: `{arguments.peer}` is neither a program's path nor one of {', '.join(NAMES)}")
    if not 1 <= arguments.seconds <= 3600:
        parser.error(f"--seconds: {arguments.seconds} is not from 1 to 3600")
    if arguments.stop is not None:
        try:
            left_behind(arguments.stop)
        except ValueError as problem:
            parser.error(f"--stop: {problem}")
    return arguments


def main():
    arguments = parsed(sys.argv[1:])
    if arguments.check:
        return None
    if arguments.stop is not None:
        return stop(arguments.stop)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    lab = Lab(tempfile.mkdtemp(prefix="culvert-demo-"), prefix=f"culvert-{os.getpid()}", detached=arguments.keep, log_level="error")
    kept = False
    try:
        nodes = show(lab, arguments)
        if arguments.keep:
            keep(lab, nodes)
            kept = True
    except (Failure, Missing) as problem:
        sys.exit(f"demo: {problem}")
    except KeyboardInterrupt as problem:
        sys.exit(f"demo: interrupted {problem}")
    finally:
        if not kept:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            lab.close()
            subprocess.call(["rm", "-rf", lab.directory])
    return None


if __name__ == "__main__":
    main()
