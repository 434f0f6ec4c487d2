"""The list of scenarios, filled by the files of tests/interop/scenarios/."""

import dataclasses
import typing

PAIRS = (("culvert", "culvert"), ("culvert", "wireguard-go"), ("culvert", "wireguard-go-plain"))
SELF = (("culvert", "culvert"),)
SELF_AND_OFFLOADS = PAIRS[:2]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One thing to prove, for one pair of implementations (or none). `run` gets a Lab and the names of the pair."""

    title: str
    run: typing.Callable
    pair: tuple
    slow: bool
    long: bool

    @property
    def name(self):
        return f"{self.title} ({' - '.join(self.pair)})" if self.pair else self.title


REGISTRY = []


def scenario(title, pairs=SELF, slow=False, long=False):
    """Registers a function once per pair. Slow ones are left out by --quick; long ones start before all others."""

    def register(function):
        for pair in pairs:
            REGISTRY.append(Scenario(title, function, pair, slow or long, long))
        return function

    return register
