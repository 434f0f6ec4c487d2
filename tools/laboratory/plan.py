"""What is measured on what, and in which order."""

import dataclasses
import itertools

from laboratory import footprint, handshakes, latency, tcp, udp, waits
from laboratory.measure import Measure
from laboratory.topology import Setting

MEASURES = {each.name: each for module in (tcp, udp, latency, waits, footprint, handshakes) for each in module.MEASURES}
SET_UP = 0.6  # seconds that the smallest topology takes to come and go


@dataclasses.dataclass(frozen=True)
class Contender:
    """A plane in a setting: what has its turn."""

    plane: str
    setting: Setting


@dataclasses.dataclass(frozen=True)
class Task:
    """One measure, taken of every contender by turns."""

    measure: Measure
    variant: object
    direction: str
    seconds: float
    contenders: tuple
    congestion: str


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a plan is made from; each field is a list of what to go through."""

    measures: tuple
    wire_mtus: tuple = (1500,)
    inner: tuple = ("v4",)
    outer: tuple = ("v4",)
    peers: tuple = (1,)
    flows: tuple = (1, 4)
    load: tuple = (1,)
    sizes: tuple = ("64", "imix", "1372", "max")
    directions: tuple = ("forward",)
    seconds: float = 2.0
    congestions: tuple = ("cubic",)  # what does not depend on it is measured under the first alone
    rps: bool = False
    receiver: tuple = ()

    def variants(self, measure, setting):
        if measure.varies == "flows":
            return self.flows
        if measure.varies == "load":
            return [None if each == 1 else each for each in self.load]  # as a goal has it
        if measure.varies == "size":
            return [each for each in self.sizes if each in ("imix", "max") or int(each) <= setting.largest_datagram]
        return (None,)


def tasks(choice, planes):
    """Everything of a choice for these planes (name: kind), settings by turns outermost."""
    made = []
    for wire_mtu, inner, outer in itertools.product(choice.wire_mtus, choice.inner, choice.outer):
        settings = [Setting(wire_mtu, inner, outer, peers, choice.rps, choice.receiver) for peers in choice.peers]
        for measure in (MEASURES[name] for name in choice.measures):
            contenders = tuple(Contender(plane, setting) for plane, kind in planes.items() if kind in measure.planes
                               for setting in (settings if kind != "none" else [Setting(wire_mtu, inner, outer, rps=choice.rps)]))
            variants = choice.variants(measure, settings[0])
            congestions = choice.congestions if measure.bulk_tcp else choice.congestions[:1]
            for variant, direction, congestion in itertools.product(variants, measure.directed(choice.directions), congestions):
                if contenders:
                    made.append(Task(measure, variant, direction, choice.seconds, contenders, congestion))
    return made


QUICK = (Choice(("memory", "tcp", "udp-gso", "rr", "rr-loaded"), sizes=("64", "1372"), seconds=1),)

FULL = (
    Choice(("memory", "wake-ups"), seconds=1),
    Choice(("tcp",), flows=(1,), peers=(1, 100, 10000), seconds=1),
    Choice(("tcp",), flows=(4,), seconds=1),
    Choice(("tcp",), flows=(1,), directions=("reverse", "both"), seconds=1),
    Choice(("udp", "udp-gso", "loss-free", "rr", "rr-loaded", "waits", "waits-loaded", "crr", "crr-loaded", "handshakes"), seconds=1),
    Choice(("tcp", "udp-gso", "loss-free"), wire_mtus=(9000,), sizes=("max",), seconds=1),
)


def set_up_seconds(contender):
    """About how long a topology takes to come and go."""
    return SET_UP + contender.setting.peers / 4000


def expected_seconds(plan):
    """About how long a round of a plan takes."""
    topologies = {contender for task in plan for contender in task.contenders}
    return sum(task.measure.cost(task.seconds) * len(task.contenders) for task in plan) + sum(map(set_up_seconds, topologies))
