"""What a measure is, and the readings that it gives."""

import dataclasses
import typing

MORE, LESS, NEUTRAL = "more", "less", "neutral"


@dataclasses.dataclass(frozen=True)
class Reading:
    """One figure of one trial. `better` says which way is better."""

    name: str
    value: float
    unit: str
    better: str = MORE


@dataclasses.dataclass(frozen=True)
class Trial:
    """How one measure is taken once."""

    seconds: float
    direction: str  # "forward", "reverse" or "both"
    variant: object  # what the measure varies: flows, a datagram size, bulk flows beside it if they are several
    cores: tuple
    program: str  # lab_traffic
    congestion: str  # TCP's congestion control, by the kernel's name


@dataclasses.dataclass(frozen=True)
class Measure:
    """A kind of measurement. `take(topology, trial)` returns Readings and raises Failure if there are none to be had."""

    name: str
    help: str
    take: typing.Callable
    varies: str = ""  # "flows", "load", "size" or nothing
    directions: tuple = ("forward",)  # those that mean something to it
    planes: tuple = ("program", "kernel", "none")  # the kinds of planes that it applies to
    traffic: bool = True  # wants lab_traffic
    bulk_tcp: bool = False  # depends on TCP's congestion control, so it is taken under each that is asked for
    cost: typing.Callable = lambda seconds: seconds + 0.5  # about how long a trial of so many seconds takes

    def directed(self, wanted):
        return [each for each in wanted if each in self.directions] or ["forward"]


def flows_of(count):
    return "1 flow" if count == 1 else f"{count} flows"
