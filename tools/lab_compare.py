#!/usr/bin/env python3
"""Compares WireGuard implementations in the same run, by turns: both ends and the traffic on the same two cores.

Each round measures every implementation once; the table shows medians over the rounds and the ratio to the baseline.
Only ratios of the same run mean anything: other load on the machine moves all figures.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "support"))

from rig.implementation import implementation  # noqa: E402
from rig.lab import Lab, introduce  # noqa: E402
from rig.shell import Failure, Missing, wait_until  # noqa: E402
from rig.traffic import expect_ping, iperf  # noqa: E402

ALL = ("culvert", "wireguard-go", "wireguard-go-plain")
# Metric: unit, and whether more is better.
METRICS = {"TCP, 1 flow": ("Gb/s", True), "TCP, 4 flows": ("Gb/s", True), "CPU, 1 flow": ("s/Gb", False),
           "UDP, 64 bytes": ("kpps", True), "UDP, 1372 bytes": ("kpps", True), "ping idle, median": ("us", False),
           "ping idle, p99": ("us", False), "ping loaded, median": ("us", False), "ping loaded, p99": ("us", False)}


def received(end, seconds_key="seconds"):
    """Thousand datagrams per second that arrived, from iperf3's closing figures."""
    total = end.get("sum_received") or end["sum"]
    return (total["packets"] - total["lost_packets"]) / total[seconds_key] / 1000


def round_trips(a, b, count, interval):
    """Median and 99th percentile of ping, in microseconds."""
    text = a.namespace.run("ping", "-n", "-c", count, "-i", interval, "-W", 2, b.inner["v4"], timeout=120)
    times = sorted(float(each) * 1000 for each in re.findall(r"time=([\d.]+) ms", text))
    if len(times) < count / 2:
        raise Failure(f"only {len(times)} of {count} pings were answered")
    return statistics.median(times), times[int(len(times) * 0.99)]


def measure(which, wire_mtu, seconds, directory):
    """One implementation at both ends: every metric once."""
    lab = Lab(tempfile.mkdtemp(dir=directory), log_level="error")
    try:
        a, b = lab.pair(which, which, mtu=wire_mtu - 80, wire_mtu=wire_mtu)
        introduce(a, b)
        expect_ping(a, b.inner["v4"], 5)
        found = {}
        found["ping idle, median"], found["ping idle, p99"] = round_trips(a, b, 500, 0.004)
        before = [node.daemon.cpu_seconds() for node in (a, b)]
        single = iperf(a, b, b.inner["v4"], seconds=seconds)["sum_received"]["bits_per_second"] / 1e9
        spent = sum(node.daemon.cpu_seconds() - then for node, then in zip((a, b), before))
        found["TCP, 1 flow"] = single
        found["CPU, 1 flow"] = spent / (single * seconds)
        found["TCP, 4 flows"] = iperf(a, b, b.inner["v4"], "-P", "4", seconds=seconds)["sum_received"]["bits_per_second"] / 1e9
        for size in (64, 1372):
            found[f"UDP, {size} bytes"] = received(iperf(a, b, b.inner["v4"], "-u", "-b", "0", "-l", str(size), seconds=seconds))
        found["ping loaded, median"], found["ping loaded, p99"] = loaded(a, b)
        return found
    finally:
        lab.close()


def loaded(a, b):
    """Round trips while one TCP flow fills the tunnel."""
    serving = b.lab.background(b.namespace.start("iperf3", "-s", "-1", "-p", "5301"))
    wait_until(lambda: ":5301" in b.namespace.run("ss", "-Hltn", "sport = :5301"), "iperf3 listens")
    flow = a.lab.background(a.namespace.start("iperf3", "-c", b.inner["v4"], "-p", "5301", "-t", "60"))
    start = a.peer(b)["sent"]
    wait_until(lambda: a.peer(b)["sent"] > start + (50 << 20), "the flow is under way", 30)
    try:
        return round_trips(a, b, 200, 0.01)
    finally:
        for process in (flow, serving):
            process.terminate()
            process.wait()


def table(results, baseline, names):
    lines = []
    for wire_mtu, found in results.items():
        lines.append(f"\nwire MTU {wire_mtu}, medians (ratio to {baseline})")
        lines.append(f"{'':24}" + "".join(f"{name:>28}" for name in names))
        for metric, (unit, more) in METRICS.items():
            row = f"{metric + ', ' + unit:24}"
            for name in names:
                mine = statistics.median(each[metric] for each in found[name])
                base = statistics.median(each[metric] for each in found[baseline])
                ratio = mine / base if more else base / mine if mine else 0
                row += f"{mine:>18.3g} ({ratio:5.2f}x)"
            lines.append(row)
    lines.append("\nA ratio above 1 is better than the baseline, also for times.")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="tools/lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("implementation", nargs="*", help=f"names ({', '.join(ALL)}) or programs; the default is all")
    parser.add_argument("--baseline", help="the one that the ratios are to (default: wireguard-go, or the last one)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="per iperf3 run")
    parser.add_argument("--mtu", type=int, action="append", help="wire MTU (default: 1500 and 9000)")
    parser.add_argument("--json", metavar="FILE", help="writes every single figure")
    arguments = parser.parse_args()
    names = arguments.implementation or list(ALL)
    baseline = arguments.baseline or ("wireguard-go" if "wireguard-go" in names else names[-1])
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)

    directory = tempfile.mkdtemp(prefix="culvert-lab-")
    results = {mtu: {name: [] for name in names} for mtu in arguments.mtu or (1500, 9000)}
    try:
        chosen = {name: implementation(name) for name in names}
        for turn in range(arguments.rounds):
            for mtu, found in results.items():
                for name in names:
                    found[name].append(measure(chosen[name], mtu, arguments.seconds, directory))
                    latest = found[name][-1]
                    print(f"round {turn + 1}, MTU {mtu}, {name}: {latest['TCP, 1 flow']:.2f} and {latest['TCP, 4 flows']:.2f} Gb/s",
                          file=sys.stderr, flush=True)
    except (Failure, Missing) as problem:
        sys.exit(f"lab: {problem}")
    finally:
        subprocess.call(["rm", "-rf", directory])
    print(f"cores {cores}, {os.uname().release}, {arguments.rounds} rounds of {arguments.seconds} s")
    print(table(results, baseline, names))
    if arguments.json:
        with open(arguments.json, "w", encoding="ascii") as file:
            json.dump({"kernel": os.uname().release, "cores": cores, "seconds": arguments.seconds, "baseline": baseline,
                       "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
