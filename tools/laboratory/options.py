"""The words of the command line of tools/lab, and what they ask for."""

import argparse
import dataclasses
import os

from laboratory import goals, machine, plan
from laboratory.plane import KNOWN, parse

ABOUT = """\
Measures WireGuard data planes side by side: culvert, wireguard-go, the kernel's, any program that takes `-f IFNAME` and
speaks UAPI, and no tunnel at all. Makes its own network namespaces, and leaves nothing behind, whatever happens.

  tools/lab quick              about a minute: culvert, wireguard-go and no tunnel, the most telling measures
  tools/lab full               about 15 minutes: every plane and every measure
  tools/lab targets            about 5 minutes: the goals of the project, and how far it is; --rows does a part
  tools/lab run [OPTIONS]      a mix of your own
  tools/lab show FILE...       the tables of what --json wrote, several runs taken together

Every round measures every plane once, by turns, in an order that changes; the tables show medians over the rounds, least
and most, and the median of the ratios to the baseline within a round. Only ratios of the same run mean much: whatever else
the machine does moves all figures. The lab watches that, and marks figures with ! when others used the processor.
All daemons, all traffic and the lab itself run on two cores: the first two that it may use, or those of --cores."""

EPILOGUE = f"""\
planes of --planes (a comma between them):
  culvert             this checkout's build (CULVERT_BIN names another)
  wireguard-go        Debian trixie's, which has offloads (WIREGUARD_GO names another)
  wireguard-go-plain  Debian 12's, which has none
  kernel              the kernel's module, where the host has it
  none                no tunnel: the veth pair itself

measures of --measures:
{chr(10).join(f"  {each.name:19} {each.help}" for each in plan.MEASURES.values())}

examples:
  tools/lab run --impl old=/tmp/culvert.old --impl plain=culvert,CULVERT_GSO=off --measures tcp --rounds 5
  tools/lab run --planes culvert,wireguard-go --measures tcp,udp-gso --mtu 1500,9000 --flows 1,8 --direction forward,both
  tools/lab run --measures tcp --flows 1 --peers 1,100,10000 --inner v6 --outer v6 --json figures.json
  tools/lab run --measures tcp,rr-loaded --congestion cubic,bbr
  tools/lab run --planes '' --impl one=culvert --impl four=culvert --tunnels four=4 --baseline one --rps --flows 16 \\
      --receiver CULVERT_AEAD=portable,CULVERT_WORKERS=1
  tools/lab targets --rows tcp-1500-1,cpu --rounds 3 --json part1.json; tools/lab show part1.json part2.json

exit status: 0; 1 if it could not be set up or a plane failed (the table tells); 2 for a wrong command line; 130 when
interrupted, with the table of what there was until then"""


def listed(check):
    """A comma-separated list whose words `check` turns into values, or refuses by ValueError."""
    def parse_list(text):
        try:
            return tuple(dict.fromkeys(check(word.strip()) for word in text.split(",")))
        except ValueError as problem:
            raise argparse.ArgumentTypeError(str(problem)) from problem
    return parse_list


def one_of(choices):
    def check(word):
        if word not in choices:
            raise ValueError(f"`{word}` is none of {', '.join(choices)}")
        return word
    return check


def within(least, most):
    def check(word):
        if not word.isdigit() or not least <= int(word) <= most:
            raise argparse.ArgumentTypeError(f"`{word}` is no number from {least} to {most}")
        return int(word)
    return check


def size(word):
    return word if word in ("imix", "max") else str(within(32, 65507)(word))


def seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0.05 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"`{text}` is no number of seconds from 0.05 to 3600")
    return value


def group(text):
    """NAME=N as (name, number)."""
    name, equals, number = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"`{text}`: wants NAME=N")
    return name, within(2, 64)(number)


def variables(text):
    """VARIABLE=VALUE[,...] as pairs."""
    pairs = tuple(tuple(word.split("=", 1)) for word in text.split(","))
    for pair in pairs:
        if len(pair) != 2 or not pair[0]:
            raise argparse.ArgumentTypeError(f"`{text}`: wants VARIABLE=VALUE[,VARIABLE=VALUE...]")
    return pairs


def implementation(text):
    try:
        return parse(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


def parser():
    as_written = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="tools/lab", description=ABOUT, epilog=EPILOGUE, formatter_class=as_written)
    kinds = top.add_subparsers(dest="kind", required=True, metavar="quick|full|targets|run|show")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--rounds", type=within(1, 1000), help="default: 2 for quick, 3 for full and run, 5 for targets")
    common.add_argument("--cores", type=listed(within(0, 8191)), help="default: the first two that the lab may use")
    common.add_argument("--json", metavar="FILE", help="writes every single figure, machine, versions and command")
    common.add_argument("--congestion", type=listed(one_of(machine.congestions())), metavar="NAME[,NAME]",
                        help="congestion controls of TCP to measure under, of " + ", ".join(machine.congestions())
                        + f" (default: the machine's, {machine.congestion()}; targets: cubic and bbr, where they are there)")
    comparison = argparse.ArgumentParser(add_help=False)
    comparison.add_argument("--planes", type=lambda text: listed(one_of(KNOWN))(text) if text else (),
                            help="default: culvert,wireguard-go,none; full: all; '' for those of --impl alone")
    comparison.add_argument("--impl", type=implementation, action="append", default=[],
                            metavar="NAME=PROGRAM[,VARIABLE=VALUE...]",
                            help="one plane more: a path, or one of the planes with another environment; may come often")
    comparison.add_argument("--baseline", help="the plane that the ratios are to (default: wireguard-go, or the last one)")
    for name, text in (("quick", "about a minute, one table"), ("full", "about 15 minutes, everything")):
        kinds.add_parser(name, parents=[common, comparison], help=text)
    targets = kinds.add_parser("targets", parents=[common], help="the goals of the project")
    targets.add_argument("--rows", type=listed(one_of(goals.ROWS)), default=goals.ROWS,
                         help=f"of {', '.join(goals.ROWS)}")
    targets.add_argument("--seconds", type=seconds, default=2.0, help="per trial (default: 2)")
    add_run(kinds.add_parser("run", parents=[common, comparison], help="a mix of your own", epilog=EPILOGUE,
                             formatter_class=as_written))
    show = kinds.add_parser("show", help="the tables of JSON files")
    show.add_argument("file", nargs="+")
    return top


def add_run(run):
    run.add_argument("--measures", type=listed(one_of(plan.MEASURES)), default=("tcp",), help="default: tcp")
    run.add_argument("--mtu", type=listed(within(1360, 65535)), default=(1500,),
                     help="wire MTUs (default: 1500); the tunnel's is 80 less")
    run.add_argument("--flows", type=listed(within(1, 128)), default=(1, 4), help="TCP flows (default: 1,4)")
    run.add_argument("--load", type=listed(within(1, 128)), default=(1,),
                     help="TCP flows beside which the measures -loaded are taken (default: 1)")
    run.add_argument("--sizes", type=listed(size), default=("64", "imix", "1372", "max"),
                     help="UDP payload bytes, imix (64, 576 and 1420 byte packets, 7:4:1) or max, the largest that fits")
    run.add_argument("--direction", type=listed(one_of(("forward", "reverse", "both"))), default=("forward",),
                     help="forward, reverse, both at once (default: forward)")
    run.add_argument("--inner", type=listed(one_of(("v4", "v6"))), default=("v4",), help="v4, v6 (default: v4)")
    run.add_argument("--outer", type=listed(one_of(("v4", "v6"))), default=("v4",), help="v4, v6 (default: v4)")
    run.add_argument("--peers", type=listed(within(1, 1000000)), default=(1,),
                     help="configured peers (default: 1), like 1,100,10000")
    run.add_argument("--tunnels", type=group, action="append", default=[], metavar="NAME=N",
                     help="joins the ends of that plane, a culvert, by a group of N tunnels; the other end has N daemons")
    run.add_argument("--receiver", type=variables, default=(), metavar="VARIABLE=VALUE[,...]",
                     help="environment of the second end's daemons alone, like CULVERT_AEAD=portable to make it the bottleneck")
    run.add_argument("--rps", action="store_true", help="the kernel spreads what the wire brings over all cores")
    run.add_argument("--seconds", type=seconds, default=2.0, help="per trial (default: 2); iperf3 takes whole seconds")


def congestions_of(arguments):
    """The congestion controls that bulk TCP is measured under."""
    if arguments.congestion:
        return arguments.congestion
    both = tuple(each for each in ("cubic", "bbr") if each in machine.congestions())
    return both if arguments.kind == "targets" and both else (machine.congestion(),)


def planes_of(arguments):
    """The planes of a run, as (name, what, environment)."""
    if arguments.kind == "targets":
        return [(name, name, {}) for name in goals.PLANES]
    usual = KNOWN if arguments.kind == "full" else ("culvert", "wireguard-go", "none")
    names = usual if arguments.planes is None else arguments.planes
    return [(name, name, {}) for name in names] + arguments.impl


def choices_of(arguments):
    if arguments.kind == "run":
        return (plan.Choice(arguments.measures, arguments.mtu, arguments.inner, arguments.outer, arguments.peers, arguments.flows,
                            arguments.load, arguments.sizes, arguments.direction, arguments.seconds, congestions_of(arguments), arguments.rps,
                            arguments.receiver),)
    return [dataclasses.replace(choice, congestions=congestions_of(arguments))
            for choice in {"quick": plan.QUICK, "full": plan.FULL}[arguments.kind]]


def tasks_of(arguments, kinds):
    """The plan for planes of these kinds (name: kind)."""
    if arguments.kind == "targets":
        return goals.tasks(arguments.rows, arguments.seconds, congestions_of(arguments))
    return [task for choice in choices_of(arguments) for task in plan.tasks(choice, kinds)]


def check(arguments, top):
    """What the parser alone cannot see."""
    chosen = planes_of(arguments)
    names = [name for name, _, _ in chosen]
    if len(set(names)) != len(names):
        top.error(f"a plane is there twice: {', '.join(names)}")
    baseline = getattr(arguments, "baseline", None)
    if baseline and baseline not in names:
        top.error(f"--baseline {baseline} is none of {', '.join(names)}")
    kinds = {name: what if what in ("kernel", "none") else "program" for name, what, _ in chosen}
    if not tasks_of(arguments, kinds):
        top.error("none of these measures applies to any of these planes")
    for name, _ in getattr(arguments, "tunnels", ()):
        if kinds.get(name) != "program":
            top.error(f"--tunnels {name}: wants one of the planes that are programs: "
                      f"{', '.join(each for each, kind in kinds.items() if kind == 'program')}")
        if (arguments.inner, arguments.outer, arguments.peers) != (("v4",), ("v4",), (1,)):
            top.error("--tunnels: groups are measured with v4 inside and outside, and without more peers")
    allowed = os.sched_getaffinity(0)
    if arguments.cores and not set(arguments.cores) <= allowed:
        top.error(f"--cores: this process may use only {', '.join(map(str, sorted(allowed)))}")
    if arguments.json and not os.access(os.path.dirname(os.path.abspath(arguments.json)), os.W_OK):
        top.error(f"--json {arguments.json}: its directory is not there, or not to be written to")
    return kinds


def print_needs(arguments, kinds):
    """For the shell script that calls this: what has to be there before the planes can run."""
    for what in {what for _, what, _ in planes_of(arguments)} & {"culvert", "wireguard-go", "wireguard-go-plain"}:
        print(what)
    if any(task.measure.traffic for task in tasks_of(arguments, kinds)):
        print("lab_traffic")
