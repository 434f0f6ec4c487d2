"""TCP throughput, by iperf3, and what it costs."""

from rig.traffic import iperf

from laboratory.measure import LESS, Measure, Reading, flows_of
from laboratory.processor import Watch, seconds_of


def _seconds(daemons):
    return sum(seconds_of(daemon.pid) for daemon in daemons)


def take(topology, trial):
    client, server = topology.ends(trial.direction)[0]
    both = ["--bidir"] if trial.direction == "both" else []
    ends = [topology.daemons_of(node) for node in (client, server)] if topology.daemons else []
    before = [_seconds(daemons) for daemons in ends]
    watch = Watch(trial.cores)
    # iperf3 knows whole seconds only.
    end = iperf(client, server, topology.address(server), "-P", trial.variant, "-C", trial.congestion, *both,
                seconds=max(1, round(trial.seconds)))
    use = watch.use()
    received = [end[key] for key in ("sum_received", "sum_received_bidir_reverse") if key in end]
    sent = [end[key] for key in ("sum_sent", "sum_sent_bidir_reverse") if key in end]
    gigabits = sum(each["bytes"] for each in received) * 8 / 1e9
    name = f"TCP, {flows_of(trial.variant)}"
    readings = [Reading(name, sum(each["bits_per_second"] for each in received) / 1e9, "Gb/s"),
                Reading(f"{name}: CPU, machine", use.lab / gigabits, "s/Gb", LESS),
                Reading(f"{name}: retransmits", sum(each.get("retransmits", 0) for each in sent) / gigabits, "per Gb", LESS)]
    spent = [(_seconds(daemons) - then) / gigabits for daemons, then in zip(ends, before)]
    if spent:  # last: not every plane has it
        readings.append(Reading(f"{name}: CPU, daemons", sum(spent), "s/Gb", LESS))
        readings += [Reading(f"{name}: CPU, daemon of the {end}", each, "s/Gb", LESS)
                     for end, each in zip(("sender", "receiver"), spent)]
    return readings


MEASURES = [Measure("tcp", "throughput of TCP (iperf3), CPU seconds per gigabit, retransmits", take, "flows",
                    ("forward", "reverse", "both"), traffic=False, bulk_tcp=True, cost=lambda seconds: max(1, round(seconds)) + 0.4)]
