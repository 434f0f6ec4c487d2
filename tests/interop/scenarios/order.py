"""Order: no flow is reordered, whatever number of workers carries it and however that changes.

ORDER_SECONDS=N in the environment makes it as long as that; from 130 s on keypairs are also renewed by their age.
"""

import json
import os
import socket
import subprocess
import time

from rig.implementation import lab_traffic
from rig.lab import introduce
from rig.scenario import SELF, scenario
from rig.shell import Missing, check, end
from rig.traffic import expect_ping, until_ping
from scenarios.configuration import uapi

FLOWS = 32
RATE = 60_000
SINK_PORT = 5401
COUNTS = (1, 2, 5, 8, 3, 1, 4, 2)  # of workers, by turns


def program():
    path = lab_traffic()
    if path is None:
        raise Missing("no lab_traffic: build the target of that name, or set LAB_TRAFFIC")
    return path


def traffic(node, *words):
    process = subprocess.Popen(node.namespace.command(program(), *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               text=True)
    node.lab.background(process)
    return process


def set_workers(node, count):
    answer = uapi(node, f"set=1\nworkers={count}\n\n")
    check("errno=0" in answer, f"workers={count}: {answer}")


def can_change(node):
    return "errno=0" in uapi(node, "set=1\nworkers=2\n\n")


def ask(control, word):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(60)
        connection.connect(control)
        connection.sendall(word.encode() + b"\n")
        with connection.makefile(encoding="ascii") as lines:
            return json.loads(lines.readline())


class Streams:
    """Numbered datagrams in many flows, both ways, some of them in superpackets."""

    def __init__(self, a, b, seconds, rate=RATE):
        self.sinks, self.senders = [], []
        for sender, receiver in ((a, b), (b, a)):
            address, control = receiver.inner["v4"], f"/run/order{os.getpid()}-{receiver.number}"
            sink = traffic(receiver, "sink", "--bind", address, "--port", SINK_PORT, "--control", control)
            check(sink.stdout.readline().strip() == "ready", "the sink listens")
            self.sinks.append((sink, control))
            gso = ["--gso"] if sender is a else []
            self.senders.append((sender, ["udp", "--to", address, "--port", SINK_PORT, "--size", 200, *gso,
                                          "--flows", FLOWS, "--rate", rate, "--seconds", seconds]))
        self.senders = [traffic(sender, *words) for sender, words in self.senders]

    def stop(self):
        for each in (*self.senders, *(sink for sink, _ in self.sinks)):
            end(each)

    def running(self):
        return all(each.poll() is None for each in self.senders)

    def reports(self):
        for each in self.senders:
            check(each.wait(120) == 0, "the sender sent")
        for each, control in self.sinks:
            yield self.settled(control)
            end(each)

    @staticmethod
    def settled(control):
        """The report of a sink, once no more datagrams arrive."""
        latest, before = ask(control, "report"), None
        while before is None or latest["datagrams"] != before["datagrams"]:
            time.sleep(0.1)
            before, latest = latest, ask(control, "report")
        return latest


def anew(node, other):
    """A new handshake: the peer goes and comes again, while the other side goes on with what it has."""
    node.remove_peer(other)
    node.add_peer(other, family="v4")


@scenario("no flow is reordered by any number of workers, nor by changes of it, nor by handshakes", pairs=SELF)
def order(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    if not can_change(a):
        raise Missing("the number of workers is fixed: no eBPF here (CAP_BPF, CAP_NET_ADMIN)")
    seconds = float(os.environ.get("ORDER_SECONDS", "6"))
    streams = Streams(a, b, seconds)
    turns, renewed = 0, (a, b)
    while streams.running():
        set_workers(a, COUNTS[turns % len(COUNTS)])
        set_workers(b, COUNTS[(turns + 3) % len(COUNTS)])
        if turns % 4 == 3 and seconds < 130:
            renewed = (a, b) if turns % 8 == 3 else (b, a)
            anew(*renewed)
        turns += 1
        time.sleep(seconds / 100)  # traffic between two changes, nothing waits for it
    for report in streams.reports():
        print(json.dumps(report))
        check(report["datagrams"] > RATE * seconds / 100, f"traffic flowed: {report}")
        check(report["reordered"] == 0, f"{report['reordered']} of {report['datagrams']} datagrams were reordered")
        check(report["duplicates"] == 0, f"{report['duplicates']} of {report['datagrams']} datagrams came twice")
    print(f"{turns} changes")
    check(turns >= 4, f"only {turns} changes of the number of workers")
    # If no traffic was left for the last handshake, only the side that forgot its keypairs starts one at once.
    until_ping(renewed[0], renewed[1].inner["v4"])
    expect_ping(a, b.inner["v4"])
