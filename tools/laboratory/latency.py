"""Request/response and connections, on an idle tunnel and beside a bulk flow."""

import contextlib

from laboratory.measure import LESS, Measure, Reading
from laboratory.traffic import bulk, echo, loaded_by, once

TITLES = {"rr": "request/response", "crr": "connect/request/response"}
TIMES = (("mean", "mean_us"), ("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us"))


def _exchange(kind, loaded):
    def take(topology, trial):
        client, server = topology.ends(trial.direction)[0]
        address = topology.address(server)
        load = bulk(topology, trial) if loaded else contextlib.nullcontext()
        with echo(trial, server, address) as port, load:
            found = once(trial, client, kind, "--to", address, "--port", port, "--seconds", trial.seconds,
                         timeout=trial.seconds + 60)
        name = f"{TITLES[kind]}, {loaded_by(trial) if loaded else 'idle'}"
        return [Reading(name, found["transactions"] / found["seconds"], "per s"),
                *(Reading(f"{name}: {time}", found[key], "us", LESS) for time, key in TIMES)]
    return take


def _loaded_cost(seconds):
    return seconds + 0.9


WAYS = ("forward", "reverse")
MEASURES = [
    Measure("rr", "one byte there and back over one TCP connection, idle", _exchange("rr", False), directions=WAYS),
    Measure("rr-loaded", "the same beside TCP at full speed, one flow or those of --load", _exchange("rr", True), "load", WAYS, bulk_tcp=True,
            cost=_loaded_cost),
    Measure("crr", "a new TCP connection for each byte, idle", _exchange("crr", False), directions=WAYS),
    Measure("crr-loaded", "the same beside TCP at full speed, one flow or those of --load", _exchange("crr", True), "load", WAYS, bulk_tcp=True,
            cost=_loaded_cost),
]
