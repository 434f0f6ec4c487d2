"""What a daemon takes besides the processor time of its traffic: memory, and wake-ups when there is nothing to do."""

import time

from laboratory.measure import LESS, Measure, Reading
from laboratory.traffic import bulk


def take_memory(topology, trial):
    most = 0
    with bulk(topology, trial):
        deadline = time.monotonic() + trial.seconds
        while time.monotonic() < deadline:
            most = max(most, topology.resident_kib())
            time.sleep(0.05)
    return [Reading("resident memory, idle", topology.idle_kib / 1024, "MiB", LESS),
            Reading("resident memory, loaded", most / 1024, "MiB", LESS)]


def take_wake_ups(topology, trial):
    time.sleep(0.3)  # what the last traffic left behind
    seconds = max(2.0, trial.seconds)
    before = sum(daemon.wake_ups() for daemon in topology.daemons)
    time.sleep(seconds)
    after = sum(daemon.wake_ups() for daemon in topology.daemons)
    return [Reading("wake-ups, idle, both daemons", (after - before) / seconds, "per s", LESS)]


MEASURES = [
    Measure("memory", "resident memory of the larger daemon, before any load and under one TCP flow", take_memory,
            planes=("program",), traffic=False, cost=lambda seconds: seconds + 0.7),
    Measure("wake-ups", "how often the threads of both daemons wake up when there is no traffic", take_wake_ups,
            planes=("program",), traffic=False, cost=lambda seconds: max(2.0, seconds) + 0.3),
]
