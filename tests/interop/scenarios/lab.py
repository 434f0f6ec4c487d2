"""The lab, tools/lab: what it prints and writes, how it refuses, and that nothing outlives it."""

import json
import os
import signal
import subprocess
import sys

from rig.implementation import ROOT, implementation, lab_traffic
from rig.scenario import scenario
from rig.shell import attempt, check, runs, wait_until

sys.path.append(f"{ROOT}/tools")

from laboratory import goals, machine, options, plan, ratios, record, report  # noqa: E402

NO_PAIR = ((),)
LAB = f"{ROOT}/tools/lab"
DEFAULT = machine.congestion().upper()
TINY = ("run", "--planes", "culvert,none", "--rounds", "1", "--flows", "1", "--seconds", "0.2")


def environment(lab):
    """Of the lab under test: the build under test, and a directory for temporary files that has to stay empty."""
    scratch = os.path.join(lab.directory, "tmp")
    os.makedirs(scratch, exist_ok=True)
    made = {**os.environ, "CULVERT_BIN": implementation("culvert").program, "TMPDIR": scratch}
    traffic = lab_traffic()
    return {**made, "LAB_TRAFFIC": traffic} if traffic else made


def figures(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def traces():
    """What a run could leave behind: processes, network namespaces, interfaces, mounts, files in /run."""
    processes = {pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid() and runs(pid)}
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounts = file.read()
    files = sorted(os.path.join(where, name) for where, _, names in os.walk("/run") for name in names)
    return processes, sorted(os.listdir("/run/netns")), attempt("ip", "-o", "link").stdout.count("\n"), mounts, files


@scenario("the lab measures a tunnel and none", pairs=NO_PAIR)
def measures(lab):
    env, path = environment(lab), os.path.join(lab.directory, "figures.json")
    wanted = ["tcp", "memory", "wake-ups"] + (["udp", "udp-gso", "rr", "waits", "handshakes"] if "LAB_TRAFFIC" in env else [])
    before = traces()
    done = attempt(LAB, *TINY, "--measures", ",".join(wanted), "--sizes", "1372", "--direction", "both", "--json", path, env=env,
                   timeout=240)
    check(done.returncode == 0, f"status {done.returncode}: {done.stdout} {done.stderr}")
    check(traces() == before and not os.listdir(env["TMPDIR"]), "nothing is left")
    written = figures(path)
    check(written["complete"] and not written["failures"], f"everything was measured: {written['failures']}")
    check({each["measure"] for each in written["figures"]} == set(wanted), "every measure gave figures")
    check({each["plane"] for each in written["figures"] if each["measure"] == "tcp"} == {"culvert", "none"}, "both planes did")
    check(all(each["value"] > 0 for each in written["figures"] if each["unit"] in ("Gb/s", "kpps", "MiB")), "none is zero")
    check(all(written["machine"][key] for key in ("cpu", "kernel", "governor", "iperf3", "commit")), "the machine is described")
    stretches = {each["name"] for each in written["figures"] if each["measure"] == "waits"}
    check("LAB_TRAFFIC" not in env or {f"waits, idle: {each}, p50" for each in ("sender", "wire", "receiver")} <= stretches,
          f"probes are seen on both sides of both daemons: {stretches}")
    for word in (f"TCP, 1 flow, both ways, {DEFAULT}, Gb/s", "resident memory, loaded", "culvert 0.",
                 "command   tools/lab run", "governor"):
        check(word in done.stdout, f"the table says `{word}`: {done.stdout}")
    check("[1/" in done.stderr and " left" in done.stderr, f"there is progress: {done.stderr}")
    shown = attempt(LAB, "show", path, path, env=env)
    check(shown.returncode == 0 and "medians of 2 rounds" in shown.stdout, f"files together: {shown.stdout} {shown.stderr}")


@scenario("the lab says what is wrong with its command line or set-up", pairs=NO_PAIR)
def refuses(lab):
    env = environment(lab)
    cases = ((("nonsense",), 2, "nonsense"), (("run", "--measures", "speed"), 2, "speed"), (("run", "--mtu", "12"), 2, "12"),
             (("run", "--impl", "old=/no/such"), 2, "/no/such"), (("run", "--impl", "culvert"), 2, "twice"),
             (("run", "--seconds", "never"), 2, "never"), (("run", "--planes", "none", "--measures", "memory"), 2, "applies"),
             (("run", "--baseline", "x"), 2, "--baseline x"), (("targets", "--rows", "speed"), 2, "speed"),
             (("run", "--planes", ""), 2, "none of these measures"), (("run", "--tunnels", "x=4"), 2, "--tunnels x"), (("run", "--tunnels", "culvert=1"), 2, "2 to 64"),
             (("run", "--tunnels", "culvert=4", "--inner", "v6"), 2, "v4"), (("run", "--receiver", "A"), 2, "VARIABLE=VALUE"),
             (("run", "--json", "/no/such/file"), 2, "/no/such/file"), (("show", "/no/such"), 1, "/no/such"),
             (("show", LAB), 1, "no figures"))
    for words, status, reason in cases:
        done = attempt(LAB, *words, env=env)
        check(done.returncode == status, f"{words}: status {done.returncode}: {done.stderr}")
        check(reason in done.stderr.strip().splitlines()[-1] and "Traceback" not in done.stderr, f"{words}: {done.stderr}")
    # A plane that serves nothing is told of, and the others are measured all the same.
    done = attempt(LAB, *TINY, "--impl", "broken=/bin/false", env=env, timeout=120)
    check(done.returncode == 1, f"broken: status {done.returncode}: {done.stderr}")
    check("failed: round 1, broken" in done.stdout and "cannot be set up" in done.stdout, f"broken: {done.stdout}")
    check(f"TCP, 1 flow, {DEFAULT}, Gb/s" in done.stdout, "the others are measured")


@scenario("the lab measures a group of tunnels against one, where the other end is slow", pairs=NO_PAIR)
def group(lab):
    env, path = environment(lab), os.path.join(lab.directory, "figures.json")
    words = ("run", "--planes", "culvert", "--impl", "three=culvert", "--tunnels", "three=3", "--rps", "--receiver",
             "CULVERT_AEAD=portable", "--baseline", "culvert", "--rounds", "1", "--flows", "8", "--seconds", "1", "--json", path)
    before = traces()
    done = attempt(LAB, *words, env=env, timeout=120)
    check(done.returncode == 0, f"status {done.returncode}: {done.stdout} {done.stderr}")
    check(traces() == before, "nothing is left")
    written = figures(path)
    rates = {each["plane"]: each["value"] for each in written["figures"] if each["unit"] == "Gb/s"}
    check(set(rates) == {"culvert", "three"} and all(rates.values()), f"both carry something: {rates}")
    check("a group of 3 tunnels" in done.stdout, f"the table says what was measured: {done.stdout}")


@scenario("nothing outlives the lab, however it is ended", pairs=NO_PAIR)
def ended(lab):
    env, path = environment(lab), os.path.join(lab.directory, "figures.json")
    before = traces()
    # Ctrl-C reaches the whole process group; the other two only the shell.
    ways = ((signal.SIGINT, True, 130), (signal.SIGTERM, False, 143), (signal.SIGKILL, False, -signal.SIGKILL))
    for number, whole_group, status in ways:
        log = os.path.join(lab.directory, f"{number.name}.log")
        with open(log, "wb") as output:
            running = subprocess.Popen([LAB, "run", "--planes", "culvert,none", "--rounds", "50", "--json", path],
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True)
        wait_until(lambda log=log: "[3/" in text(log), f"the lab is at work before {number.name}", 120)
        check(len(traces()[0]) > len(before[0]) + 3, "and has processes")
        (os.killpg if whole_group else os.kill)(running.pid, number)
        check(running.wait(30) == status, f"{number.name}: status {running.returncode}: {text(log)}")
        wait_until(lambda: traces() == before, f"{number.name} leaves nothing behind")
        check(not os.listdir(env["TMPDIR"]), "no file either")
        if number == signal.SIGINT:
            check(f"TCP, 1 flow, {DEFAULT}, Gb/s" in text(log) and "not complete" in text(log), f"there is a table of what was: {text(log)}")
            check(not figures(path)["complete"] and figures(path)["figures"], "and the file says that it is not all")


def text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def figure(turn, plane, value, disturbed):
    return {"round": turn, "plane": plane, "wire_mtu": 1500, "inner": "v4", "outer": "v4", "peers": 1, "measure": "tcp",
            "variant": 1, "direction": "forward", "congestion": "cubic", "name": "TCP, 1 flow, CUBIC", "value": value, "unit": "Gb/s", "better": "more",
            "foreign_cores": 0.5, "stolen_cores": 0.0, "disturbed": disturbed}


@scenario("the lab's ratios, tables and plans are right", pairs=NO_PAIR)
def arithmetic(_):
    values = {"culvert": (9, 4, 30, 8), "wireguard-go": (3, 4, 5)}
    found = [figure(turn, plane, value, turn == 3) for plane in values for turn, value in enumerate(values[plane], 1)]
    mine, base = ratios.series(found, plane="culvert"), ratios.series(found, plane="wireguard-go")
    check((mine.median(), mine.least(), mine.most(), mine.disturbed) == (8.5, 4, 30, {3}), "median, least, most")
    check(ratios.ratio(mine, base) == 3, "the median of 3, 1 and 6, the rounds that both have")
    check(ratios.series(found, plane="none") is None and ratios.ratio(mine, ratios.Series()) is None, "no figures, no ratio")
    check([ratios.number(each) for each in (0, 0.1234, 1.234, 12.34, 123.4)] == ["0", "0.123", "1.23", "12.3", "123"], "numbers")

    kept = record.Record("tools/lab", "targets", {"cpu": "AMD EPYC"}, [{"name": "culvert"}, {"name": "wireguard-go"}], "wireguard-go", [])
    kept.figures.extend(found)
    check("8.50! [4.00 30.0]  3.00x" in report.tables(kept), f"a table: {report.tables(kept)}")
    check("others used up to 0.50 cores" in report.warnings(kept), "a warning")
    reached = [line for line in goals.table(kept).splitlines() if "3.00x" in line]
    check(len(reached) == 1 and reached[0].startswith("↑ TCP, wire MTU 1500, 1 flow, CUBIC"), f"a goal: {reached}")
    check(reached[0].endswith("missed by 17%"), f"a verdict under CUBIC, which wants more: {reached}")
    for each in found:
        each.update(congestion="bbr", name="TCP, 1 flow, BBR")
    reached = [line for line in goals.table(kept).splitlines() if "3.00x" in line]
    check(len(reached) == 1 and reached[0].endswith("goal reached"), f"a verdict under BBR: {reached}")

    check(len(goals.tasks(goals.ROWS, 1, ("cubic",))) == 11, "rows that share a measurement have one task")
    check([(task.measure.name, task.congestion) for task in goals.tasks(("cpu", "rr-idle"), 1, ("cubic", "bbr"))]
          == [("rr", "cubic"), ("tcp", "cubic"), ("tcp", "bbr")], "only bulk TCP is measured under each congestion control")
    choice = plan.Choice(("tcp", "udp", "memory"), peers=(1, 100), sizes=("64", "1500"), directions=("forward", "both"))
    made = plan.tasks(choice, {"culvert": "program", "none": "none"})
    expected = [("tcp", 1, "forward"), ("tcp", 1, "both"), ("tcp", 4, "forward"), ("tcp", 4, "both"), ("udp", "64", "forward"),
                ("udp", "64", "both"), ("memory", None, "forward")]
    check([(task.measure.name, task.variant, task.direction) for task in made] == expected,
          "sizes that do not fit and directions that mean nothing are left out")
    check([len(task.contenders) for task in made] == [3] * 6 + [2], "no tunnel has no peers and no daemon")
    arguments = options.parser().parse_args(["run", "--impl", "slow=culvert,CULVERT_GSO=off,A=b=c"])
    check(arguments.impl == [("slow", "culvert", {"CULVERT_GSO": "off", "A": "b=c"})], f"its environment: {arguments.impl}")
    arguments = options.parser().parse_args(["run", "--planes", "", "--impl", "a=culvert"])
    check(options.planes_of(arguments) == [("a", "culvert", {})], f"only what was named: {options.planes_of(arguments)}")
    arguments = options.parser().parse_args(["run", "--tunnels", "a=4", "--tunnels", "b=64", "--receiver", "A=b,C=d=e", "--rps"])
    check(arguments.tunnels == [("a", 4), ("b", 64)], f"tunnels: {arguments.tunnels}")
    check(arguments.receiver == (("A", "b"), ("C", "d=e")) and arguments.rps, f"the other end: {arguments.receiver}")
