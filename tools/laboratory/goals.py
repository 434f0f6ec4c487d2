"""What the project wants to reach: ratios to wireguard-go with offloads, and to no tunnel at all."""

import dataclasses

from laboratory.plan import MEASURES, Contender, Task
from laboratory.ratios import number, ratio, series
from laboratory.record import SETTING
from laboratory.report import aligned
from laboratory.topology import Setting

ETHERNET, JUMBO, MANY_PEERS = Setting(1500), Setting(9000), Setting(1500, peers=10000)
PLANES = ("culvert", "wireguard-go", "none")


@dataclasses.dataclass(frozen=True)
class Goal:
    """One line of the table: the ratio of a figure of `mine` to that of `base`, and what it should be."""

    row: str  # what --rows calls it
    label: str
    measure: str
    variant: object
    figure: str
    at_least: float
    goal: float
    mine: Contender = Contender("culvert", ETHERNET)
    base: Contender = Contender("wireguard-go", ETHERNET)
    direction: str = "forward"

    @property
    def less(self):
        return self.goal < self.at_least

    def reaches(self, found, wanted):
        return found <= wanted if self.less else found >= wanted


_JUMBO = {"mine": Contender("culvert", JUMBO), "base": Contender("wireguard-go", JUMBO)}
GOALS = (
    Goal("tcp-1500-1", "TCP, wire MTU 1500, 1 flow", "tcp", 1, "TCP, 1 flow", 2.5, 3.0),
    Goal("tcp-1500-4", "TCP, 1500, 4 flows", "tcp", 4, "TCP, 4 flows", 2.6, 3.0),
    Goal("tcp-1500-both", "TCP, 1500, both directions at once, sum", "tcp", 1, "TCP, 1 flow, both ways", 2.5, 3.0,
         direction="both"),
    Goal("tcp-9000-1", "TCP, 9000, 1 flow", "tcp", 1, "TCP, 1 flow", 1.8, 2.1, **_JUMBO),
    Goal("tcp-9000-4", "TCP, 9000, 4 flows", "tcp", 4, "TCP, 4 flows", 1.9, 2.2, **_JUMBO),
    Goal("udp-1372-gso", "UDP 1372 B with GSO, goodput", "udp-gso", "1372", "UDP, 1372 B, GSO: goodput", 2.5, 3.0),
    Goal("udp-64-gso", "UDP 64 B with GSO, packets", "udp-gso", "64", "UDP, 64 B, GSO", 2.5, 3.0),
    Goal("udp-1372-loss-free", "UDP 1372 B without GSO, loss-free rate", "loss-free", "1372", "UDP, 1372 B, loss-free", 2.0, 3.0),
    Goal("rr-idle", "request/response idle, mean", "rr", None, "request/response, idle: mean", 0.6, 0.5),
    Goal("rr-idle", "request/response idle, p99", "rr", None, "request/response, idle: p99", 0.6, 0.5),
    Goal("rr-loaded", "request/response under one bulk flow, mean", "rr-loaded", None, "request/response, loaded: mean",
         0.4, 0.25),
    Goal("rr-loaded", "request/response under one bulk flow, p99", "rr-loaded", None, "request/response, loaded: p99",
         0.4, 0.25),
    Goal("cpu", "CPU seconds per gigabit, both daemons", "tcp", 1, "TCP, 1 flow: CPU, daemons", 0.45, 0.35),
    Goal("peers", "10,000 configured peers, 1 flow, against 1 peer", "tcp", 1, "TCP, 1 flow", 0.97, 1.0,
         Contender("culvert", MANY_PEERS), Contender("culvert", ETHERNET)),
    Goal("memory", "resident memory under load", "memory", None, "resident memory, loaded", 0.5, 0.25),
    Goal("bare", "TCP, 1500, 1 flow, against no tunnel", "tcp", 1, "TCP, 1 flow", 0.45, 0.45, base=Contender("none", ETHERNET)),
)
ROWS = tuple(dict.fromkeys(each.row for each in GOALS))


def tasks(rows, seconds):
    """What has to be measured for these rows, every trial only once."""
    wanted = {}
    for each in GOALS:
        if each.row in rows:
            contenders = wanted.setdefault((each.mine.setting.wire_mtu, each.measure, each.variant, each.direction), {})
            contenders |= {each.mine: None, each.base: None}
    # The memory before any load is that of daemons which have just started.
    order = sorted(wanted.items(), key=lambda item: (item[0][0], item[0][1] != "memory"))
    return [Task(MEASURES[measure], variant, direction, seconds, tuple(contenders))
            for (_, measure, variant, direction), contenders in order]


def _series(record, goal, contender):
    return series(record.figures, name=goal.figure, plane=contender.plane,
                  **{key: getattr(contender.setting, key) for key in SETTING})


def _cell(found, unit):
    if not found:
        return "-"
    spread = f" [{number(found.least())} {number(found.most())}]" if len(found) > 1 else ""
    return f"{number(found.median())}{'!' if found.disturbed else ''}{spread} {unit}"


def table(record):
    """The table of goals, with what was reached. Rows of which nothing was measured are left out."""
    cells = [["", "culvert", "wireguard-go", "ratio", "at least", "goal", ""]]
    for goal in GOALS:
        mine, base = (_series(record, goal, each) for each in (goal.mine, goal.base))
        if not mine and not base:
            continue
        unit = next(figure["unit"] for figure in record.figures if figure["name"] == goal.figure)
        found = ratio(mine, base) if mine and base else None
        if found is None:
            verdict = "not measured"
        elif goal.reaches(found, goal.goal):
            verdict = "goal reached"
        elif goal.reaches(found, goal.at_least):
            verdict = "reached"
        else:
            verdict = f"missed by {abs(found / goal.at_least - 1):.0%}"
        other = "" if goal.base.plane == "wireguard-go" else "1 peer: " if goal.base.plane == "culvert" else "none: "
        cells.append([f"{'↓' if goal.less else '↑'} {goal.label}", _cell(mine, unit), other + _cell(base, unit),
                      f"{found:.2f}x" if found is not None else "-", f"{goal.at_least}x", f"{goal.goal}x", verdict])
    rounds = len({figure["round"] for figure in record.figures})
    cells[0][0] = f"medians of {rounds} round{'s' if rounds != 1 else ''} [least most]"
    legend = "\n↑ more is better, ↓ less is better. The ratio is the median of culvert / wireguard-go within each round."
    return "\n".join([*aligned(cells), legend])
