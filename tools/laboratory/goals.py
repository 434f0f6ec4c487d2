"""What the project wants to reach: ratios to wireguard-go with offloads, and to no tunnel at all."""

import dataclasses

from laboratory.plan import MEASURES, Contender, Task
from laboratory.ratios import number, ratio, series
from laboratory.record import SETTING, SUFFIXES, named
from laboratory.report import aligned, folded
from laboratory.topology import Setting

ETHERNET, JUMBO, MANY_PEERS = Setting(1500), Setting(9000), Setting(1500, peers=10000)
PLANES = ("culvert", "wireguard-go", "none")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The ratio that a figure should have at least, and the one that it should have."""

    at_least: float
    goal: float

    @property
    def less(self):
        return self.goal < self.at_least


@dataclasses.dataclass(frozen=True)
class Goal:
    """One line of the table: the ratio of a figure of `mine` to that of `base`, and what it should be."""

    row: str  # what --rows calls it
    label: str
    measure: str
    variant: object
    reading: str
    wanted: Wanted
    mine: Contender = Contender("culvert", ETHERNET)
    base: Contender = Contender("wireguard-go", ETHERNET)
    direction: str = "forward"
    cubic: Wanted | None = None  # where it differs under CUBIC
    amd: Wanted | None = None  # where it differs on AMD, not under CUBIC

    @property
    def bulk_tcp(self):
        return MEASURES[self.measure].bulk_tcp

    def wanted_under(self, congestion, cpu):
        if congestion == "cubic" and self.cubic:
            return self.cubic
        return self.amd if self.amd and cpu.startswith("AMD") else self.wanted

    def reaches(self, found, wanted):
        return found <= wanted if self.wanted.less else found >= wanted


_JUMBO = {"mine": Contender("culvert", JUMBO), "base": Contender("wireguard-go", JUMBO)}
GOALS = (
    Goal("tcp-1500-1", "TCP, wire MTU 1500, 1 flow", "tcp", 1, "TCP, 1 flow", Wanted(2.7, 3.0), cubic=Wanted(3.6, 4.5),
         amd=Wanted(3.0, 3.0)),
    Goal("tcp-1500-4", "TCP, 1500, 4 flows", "tcp", 4, "TCP, 4 flows", Wanted(2.6, 3.0), cubic=Wanted(4.3, 5.0)),
    Goal("tcp-1500-both", "TCP, 1500, both directions at once, sum", "tcp", 1, "TCP, 1 flow", Wanted(2.6, 3.0),
         direction="both", cubic=Wanted(3.5, 4.5), amd=Wanted(3.2, 3.2)),
    Goal("tcp-9000-1", "TCP, 9000, 1 flow", "tcp", 1, "TCP, 1 flow", Wanted(1.9, 2.2), **_JUMBO, amd=Wanted(2.1, 2.2)),
    Goal("tcp-9000-4", "TCP, 9000, 4 flows", "tcp", 4, "TCP, 4 flows", Wanted(1.9, 2.2), **_JUMBO, cubic=Wanted(2.6, 3.0)),
    Goal("udp-1372-gso", "UDP 1372 B with GSO, goodput", "udp-gso", "1372", "UDP, 1372 B, GSO: goodput", Wanted(2.5, 3.0)),
    Goal("udp-64-gso", "UDP 64 B with GSO, packets", "udp-gso", "64", "UDP, 64 B, GSO", Wanted(2.5, 3.0)),
    Goal("udp-1372-loss-free", "UDP 1372 B without GSO, loss-free rate", "loss-free", "1372", "UDP, 1372 B, loss-free",
         Wanted(2.0, 3.0)),
    Goal("rr-idle", "request/response idle, mean", "rr", None, "request/response, idle: mean", Wanted(0.5, 0.45)),
    Goal("rr-idle", "request/response idle, p99", "rr", None, "request/response, idle: p99", Wanted(0.6, 0.5)),
    Goal("rr-loaded", "request/response under one bulk flow, mean", "rr-loaded", None, "request/response, loaded: mean",
         Wanted(0.22, 0.15), cubic=Wanted(0.12, 0.05)),
    Goal("rr-loaded", "request/response under one bulk flow, p99", "rr-loaded", None, "request/response, loaded: p99",
         Wanted(0.4, 0.25)),
    Goal("cpu", "CPU seconds per gigabit, both daemons", "tcp", 1, "TCP, 1 flow: CPU, daemons", Wanted(0.31, 0.25),
         cubic=Wanted(0.24, 0.2)),
    Goal("peers", "10,000 configured peers, 1 flow, against 1 peer", "tcp", 1, "TCP, 1 flow", Wanted(0.97, 1.0),
         Contender("culvert", MANY_PEERS), Contender("culvert", ETHERNET)),
    Goal("memory", "resident memory under load", "memory", None, "resident memory, loaded", Wanted(0.5, 0.25)),
    Goal("bare", "TCP, 1500, 1 flow, against no tunnel", "tcp", 1, "TCP, 1 flow", Wanted(0.45, 0.45),
         base=Contender("none", ETHERNET)),
)
ROWS = tuple(dict.fromkeys(each.row for each in GOALS))


def tasks(rows, seconds, congestions):
    """What has to be measured for these rows, every trial only once."""
    wanted = {}
    for each in GOALS:
        if each.row in rows:
            for congestion in congestions if each.bulk_tcp else congestions[:1]:
                trial = (each.mine.setting.wire_mtu, each.measure, each.variant, each.direction, congestion)
                wanted.setdefault(trial, {}).update({each.mine: None, each.base: None})
    # The memory before any load is that of daemons which have just started.
    order = sorted(wanted.items(), key=lambda item: (item[0][0], item[0][1] != "memory"))
    return [Task(MEASURES[measure], variant, direction, seconds, tuple(contenders), congestion)
            for (_, measure, variant, direction, congestion), contenders in order]


def _series(record, name, contender):
    return series(record.figures, name=name, plane=contender.plane,
                  **{key: getattr(contender.setting, key) for key in SETTING})


def _cell(found, unit):
    if not found:
        return "-"
    spread = f" [{number(found.least())} {number(found.most())}]" if len(found) > 1 else ""
    return f"{number(found.median())}{'!' if found.disturbed else ''}{spread} {unit}"


def _row(record, goal, congestion):
    """The cells of a goal under a congestion control; None if nothing was measured."""
    name = named(goal.reading, SUFFIXES[goal.direction], congestion)
    mine, base = (_series(record, name, each) for each in (goal.mine, goal.base))
    if not mine and not base:
        return None
    unit = next(figure["unit"] for figure in record.figures if figure["name"] == name)
    found = ratio(mine, base) if mine and base else None
    wanted = goal.wanted_under(congestion, record.machine["cpu"])
    if found is None:
        verdict = "not measured"
    elif goal.reaches(found, wanted.goal):
        verdict = "goal reached"
    elif goal.reaches(found, wanted.at_least):
        verdict = "reached"
    else:
        verdict = f"missed by {abs(found / wanted.at_least - 1):.0%}"
    other = "" if goal.base.plane == "wireguard-go" else "1 peer: " if goal.base.plane == "culvert" else "none: "
    label = f"{goal.label}, {congestion.upper()}" if congestion else goal.label
    return [f"{'↓' if wanted.less else '↑'} {label}", _cell(mine, unit), other + _cell(base, unit),
            f"{found:.2f}x" if found is not None else "-", f"{wanted.at_least}x", f"{wanted.goal}x", verdict]


def table(record, width=0):
    """The table of goals, with what was reached. Rows of which nothing was measured are left out."""
    measured = list(dict.fromkeys(figure.get("congestion", "") for figure in record.figures))
    rows = [_row(record, goal, congestion) for goal in GOALS for congestion in measured]
    rounds = len({figure["round"] for figure in record.figures})
    head = [f"medians of {rounds} round{'s' if rounds != 1 else ''} [least most]", "culvert", "wireguard-go", "ratio", "at least",
            "goal", ""]
    legend = "↑ more is better, ↓ less is better. The ratio is the median of culvert / wireguard-go within each round."
    return "\n".join([*aligned([head, *filter(None, rows)], width), "", folded(legend, width, 0)])
