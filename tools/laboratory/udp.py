"""UDP: goodput of a sender that sends what it can, and the highest rate at which nothing is lost."""

from laboratory.measure import LESS, NEUTRAL, Measure, Reading
from laboratory.processor import Watch
from laboratory.traffic import SINK_PORT, Sink, once, result, start


def _bytes(topology, variant):
    return str(topology.setting.largest_datagram) if variant == "max" else str(variant)


def _name(variant, gso):
    size = {"imix": "IMIX", "max": "largest"}.get(str(variant), f"{variant} B")
    return f"UDP, {size}{', GSO' if gso else ''}"


def _send(topology, trial, ends, gso):
    """Sends from every end at once; returns (what a sender reports, what its sink reports) for each."""
    sinks = []
    try:
        for _, receiver in ends:
            sinks.append(Sink(trial, receiver, topology.address(receiver)))
        senders = [start(trial, sender, "udp", "--to", topology.address(receiver), "--port", SINK_PORT, "--size",
                         _bytes(topology, trial.variant), "--seconds", trial.seconds, *(["--gso"] if gso else []))
                   for sender, receiver in ends]
        sent = [result(each, "udp", trial.seconds + 30) for each in senders]
        return [(mine, sink.settled()) for mine, sink in zip(sent, sinks)]
    finally:
        for sink in sinks:
            sink.__exit__()


def _goodput(gso):
    def take(topology, trial):
        spent = topology.daemon_seconds()
        watch = Watch(trial.cores)
        counts = _send(topology, trial, topology.ends(trial.direction), gso)
        use = watch.use()
        sent = sum(each["datagrams"] for each, _ in counts)
        arrived = sum(each["datagrams"] for _, each in counts)
        gigabits = sum(each["bytes"] for _, each in counts) * 8 / 1e9
        seconds = [max(each["seconds"], 1e-6) for _, each in counts]
        name = _name(trial.variant, gso)
        readings = [
            Reading(name, sum(each["datagrams"] / took for (_, each), took in zip(counts, seconds)) / 1e3, "kpps"),
            Reading(f"{name}: goodput", sum(each["bytes"] * 8 / 1e9 / took for (_, each), took in zip(counts, seconds)), "Gb/s"),
            Reading(f"{name}: lost", 100 * max(0, sent - arrived) / max(1, sent), "%", NEUTRAL),
            Reading(f"{name}: reordered", sum(each["reordered"] for _, each in counts), "datagrams", LESS)]
        if gigabits:
            readings.append(Reading(f"{name}: CPU, machine", use.lab / gigabits, "s/Gb", LESS))
            if spent is not None:
                readings.append(Reading(f"{name}: CPU, daemons", (topology.daemon_seconds() - spent) / gigabits, "s/Gb", LESS))
        return readings
    return take


def _loss_free(gso):
    def take(topology, trial):
        sender, receiver = topology.ends(trial.direction)[0]
        with Sink(trial, receiver, topology.address(receiver)) as sink:
            found = once(trial, sender, "search", "--to", topology.address(receiver), "--port", SINK_PORT,
                         "--control", sink.control, "--size", _bytes(topology, trial.variant),
                         "--trial", _search_trial(trial.seconds), *(["--gso"] if gso else []), timeout=120)
        name = f"{_name(trial.variant, gso)}, loss-free"
        return [Reading(name, found["pps"] / 1e3, "kpps"), Reading(f"{name}: goodput", found["gbps"], "Gb/s")]
    return take


def _search_trial(seconds):
    return max(0.1, min(0.5, seconds))


def _search_cost(seconds):
    return 9 * (_search_trial(seconds) + 0.15)


WAYS = ("forward", "reverse", "both")
MEASURES = [
    Measure("udp", "datagrams that arrive of a sender at full speed (many per sendmmsg); loss, reordering", _goodput(False),
            "size", WAYS, cost=lambda seconds: seconds + 0.6),
    Measure("udp-gso", "the same with UDP_SEGMENT: superpackets from the sender", _goodput(True), "size", WAYS,
            cost=lambda seconds: seconds + 0.6),
    Measure("loss-free", "the highest rate without loss, by search (RFC 2544 section 26.1)", _loss_free(False), "size", WAYS[:2],
            cost=_search_cost),
    Measure("loss-free-gso", "the same with UDP_SEGMENT", _loss_free(True), "size", WAYS[:2], cost=_search_cost),
]
