"""Handshakes that a daemon answers per second, asked by many peers from many addresses."""

import os

from rig.shell import end

from laboratory.measure import NEUTRAL, Measure, Reading
from laboratory.topology import Topology
from laboratory.traffic import await_ready, result, start

PEERS = 2000
SOURCES = {"v4": "10.71.0.0/16", "v6": "fd71::/112"}


def take(topology, trial):
    # A topology of its own: the other figures are to see only the peers of their setting.
    own = Topology(topology.plane, topology.setting, topology.directory)
    try:
        served, asking = own.nodes
        family = own.setting.outer
        sources = SOURCES[family]
        served.namespace.ip("route", "add", sources, "via", asking.outer[family], "dev", "wire")
        asking.namespace.ip("route", "add", "local", sources, "dev", "lo")
        path = os.path.join(own.directory, "initiators.conf")
        process = start(trial, asking, "handshakes", "--config", path, "--peers", PEERS, "--key-of-server", served.public_key,
                        "--seconds", trial.seconds, "--sources", sources)
        try:
            await_ready(process, "handshakes")
            own.wg(served, "addconf", served.interface, path)
            process.stdin.write(f"go {served.outer[family]} {served.port}\n")
            process.stdin.flush()
            found = result(process, "handshakes", trial.seconds + 60)
        finally:
            end(process)
        own.check_alive()
        return [Reading("handshakes", found["per_second"], "per s"),
                Reading("handshakes: cookie replies", found["cookies"] / found["seconds"], "per s", NEUTRAL)]
    finally:
        own.close()


MEASURES = [Measure("handshakes", f"handshakes that one daemon answers, {PEERS} peers asking from many addresses", take,
                    planes=("program", "kernel"), cost=lambda seconds: seconds + 1.5)]
