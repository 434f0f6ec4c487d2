"""tools/lab: from the command line to the table."""

import os
import shlex
import signal
import sys
import tempfile

from rig.shell import Failure, Missing

from laboratory import goals, machine, options, record, report
from laboratory.plane import find
from laboratory.rounds import Rounds


def gather(arguments):
    """The planes that can be had, and a line for each that is left out. The kernel's may be missing, others may not."""
    found, left_out = {}, []
    for name, what, env in options.planes_of(arguments):
        try:
            found[name] = find(name, what, env)
        except Missing as missing:
            if what != "kernel":
                raise
            left_out.append(f"{name}: {missing}")
            print(f"lab: without {left_out[-1]}", file=sys.stderr)
    for name, tunnels in getattr(arguments, "tunnels", ()):
        found[name].tunnels = tunnels
    return found, left_out


def tabulated(kept):
    width = report.columns()
    parts = [report.folded(report.heading(kept), width)]
    if kept.kind == "targets":
        parts.append("\n" + goals.table(kept, width))
    else:
        parts.append(report.tables(kept, width))
    doubts = report.folded(report.warnings(kept), width)
    return "\n".join([*parts, *([doubts] if doubts else [])])


def experiment(arguments, words):
    """Everything between the command line and the table. Returns the exit status."""
    cores = arguments.cores or tuple(sorted(os.sched_getaffinity(0))[:2])
    described = machine.describe(cores)
    os.sched_setaffinity(0, cores)
    planes, left_out = gather(arguments)
    tasks = options.tasks_of(arguments, {name: plane.kind for name, plane in planes.items()})
    if not tasks:
        raise Missing("no plane is left that could be measured")
    baseline = getattr(arguments, "baseline", None) or ("wireguard-go" if "wireguard-go" in planes else list(planes)[-1])
    kept = record.Record(f"tools/lab {shlex.join(words)}", arguments.kind, described,
                         [each.describe() for each in planes.values()], baseline, left_out)
    rounds = arguments.rounds or {"quick": 2, "targets": 5}.get(arguments.kind, 3)
    with tempfile.TemporaryDirectory(prefix="culvert-lab-", dir="/run") as directory:
        try:
            Rounds(tasks, planes, kept, directory, cores, os.environ.get("LAB_TRAFFIC", "")).run(rounds)
        except KeyboardInterrupt:
            print("lab: interrupted", file=sys.stderr)
    if arguments.json:
        kept.write(arguments.json)
    if kept.figures:
        print(tabulated(kept), flush=True)
    else:
        print(report.warnings(kept), file=sys.stderr)
    return 130 if not kept.complete else 1 if kept.failures else 0


def interrupted(number, _):
    # Once: the second one must not keep the first from being tidied up after.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt(signal.Signals(number).name)


def main(words):
    top = options.parser()
    asked_for_needs = words[:1] == ["--needs"]
    if asked_for_needs:
        words = words[1:]
    if words and words[0].startswith("-") and words[0] not in ("-h", "--help"):
        words = ["run", *words]
    arguments = top.parse_args(words)
    if arguments.kind == "show":
        if asked_for_needs:
            return 0
        try:
            print(tabulated(record.read(arguments.file)))
        except ValueError as problem:
            sys.exit(f"lab: {problem}")
        return 0
    kinds = options.check(arguments, top)
    if asked_for_needs:
        options.print_needs(arguments, kinds)
        return 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        return experiment(arguments, words)
    except (Failure, Missing) as problem:
        sys.exit(f"lab: {problem}")
    except KeyboardInterrupt:
        return 130
