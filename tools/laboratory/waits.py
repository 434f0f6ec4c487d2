"""Where packets wait on their way through a tunnel, idle and beside a bulk flow."""

import contextlib

from laboratory.measure import LESS, Measure, Reading
from laboratory.traffic import PROBE_PORT, bulk, loaded_by, once

STRETCHES = {"to_device": "to the device", "sender": "sender", "wire": "wire", "receiver": "receiver",
             "to_program": "to the program", "tunnel": "tunnel", "whole": "whole"}
TIMES = (("mean", "mean_us"), ("p50", "p50_us"), ("p90", "p90_us"), ("p99", "p99_us"))


def _probes(loaded):
    def take(topology, trial):
        near, far = topology.ends(trial.direction)[0]
        load = bulk(topology, trial) if loaded else contextlib.nullcontext()
        with load:
            found = once(trial, near, "waits", "--to", topology.address(far), "--port", PROBE_PORT, "--seconds", trial.seconds,
                         "--far-namespace", far.namespace.path, "--near-inner", near.interface, "--near-outer", "wire",
                         "--far-outer", "wire", "--far-inner", far.interface,
                         *(["--outer-v6"] if topology.setting.outer == "v6" else []), timeout=trial.seconds + 60)
        name = f"waits, {loaded_by(trial) if loaded else 'idle'}"
        readings = [Reading(f"{name}: lost", 100 * (1 - found["received"] / found["sent"]), "%", LESS)]
        for stretch, title in STRETCHES.items():
            if found["stretches"][stretch]["count"]:  # outside, only tunnels that copy ECN out are seen
                readings += [Reading(f"{name}: {title}, {time}", found["stretches"][stretch][key], "us", LESS)
                             for time, key in TIMES]
        return readings
    return take


PLANES = ("program", "kernel")
MEASURES = [
    Measure("waits", "where sparse probes wait: the device's queue and the sender, the wire, the receiver's socket", _probes(False),
            directions=("forward", "reverse"), planes=PLANES),
    Measure("waits-loaded", "the same beside TCP at full speed, one flow or those of --load", _probes(True), "load", ("forward", "reverse"),
            planes=PLANES, bulk_tcp=True, cost=lambda seconds: seconds + 0.9),
]
