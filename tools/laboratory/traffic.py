"""The programs that make traffic: lab_traffic (bench/traffic) and iperf3, run in the namespaces of a topology."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import time

from rig.shell import Failure, end, wait_until

BULK_PORT, SINK_PORT, ECHO_PORT, PROBE_PORT = 5301, 5401, 5501, 5601
_numbers = itertools.count(1)


def start(trial, node, *words):
    """A lab_traffic that runs in a node's namespace, with its output in pipes."""
    process = subprocess.Popen(node.namespace.command(trial.program, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    node.lab.background(process)
    return process


def await_ready(process, what):
    if process.stdout.readline().strip() != "ready":
        end(process)
        raise Failure(f"lab_traffic {what}: {process.stderr.read().strip() or 'it did not become ready'}")


def result(process, what, timeout):
    """What lab_traffic says at its end."""
    try:
        output, problem = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as late:
        end(process)
        raise Failure(f"lab_traffic {what}: not done after {timeout} s") from late
    if process.returncode != 0:
        raise Failure(f"lab_traffic {what}: {problem.strip() or f'status {process.returncode}'}")
    return json.loads(output.strip().splitlines()[-1])


def once(trial, node, *words, timeout):
    return result(start(trial, node, *words), words[0], timeout)


class Sink:
    """Receives and counts datagrams at a node. A context manager."""

    def __init__(self, trial, node, address):
        # Not in the topology's directory: a Unix socket's path has room for 107 bytes.
        self.control = f"/run/sink{os.getpid()}-{next(_numbers)}"
        self.process = start(trial, node, "sink", "--bind", address, "--port", SINK_PORT, "--control", self.control)
        await_ready(self.process, "sink")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)

    def ask(self, word):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            connection.connect(self.control)
            connection.sendall(word.encode() + b"\n")
            with connection.makefile(encoding="ascii") as lines:
                return json.loads(lines.readline())

    def settled(self):
        """The report, once no more datagrams arrive."""
        latest = self.ask("report")
        while True:
            time.sleep(0.1)
            before, latest = latest, self.ask("report")
            if latest["datagrams"] == before["datagrams"]:
                return latest


@contextlib.contextmanager
def echo(trial, node, address):
    """A server for request/response at a node."""
    process = start(trial, node, "echo", "--bind", address, "--port", ECHO_PORT)
    await_ready(process, "echo")
    try:
        yield ECHO_PORT
    finally:
        end(process)


def loaded_by(trial):
    return f"loaded by {trial.variant} flows" if trial.variant else "loaded"


def _sent(node, interface):
    return json.loads(node.namespace.run("ip", "-j", "-s", "link", "show", interface))[0]["stats64"]["tx"]["bytes"]


@contextlib.contextmanager
def bulk(topology, trial):
    """TCP that fills the tunnel in the meantime: one flow, or as many as the variant says."""
    client, server = topology.ends(trial.direction)[0]
    address = topology.address(server)
    serving = topology.background(server.namespace.start("iperf3", "-s", "-1", "-p", BULK_PORT, "-B", address))
    wait_until(lambda: f":{BULK_PORT}" in server.namespace.run("ss", "-Hltn", f"sport = :{BULK_PORT}"), "iperf3 listens")
    before = _sent(client, "wire")
    flow = topology.background(client.namespace.start("iperf3", "-c", address, "-p", BULK_PORT, "-C", trial.congestion,
                                                      "-P", trial.variant or 1, "-t", "600"))
    try:
        wait_until(lambda: _sent(client, "wire") > before + (16 << 20), f"a flow through {topology.plane} is under way")
        yield
        if flow.poll() is not None:
            raise Failure(f"the flow through {topology.plane} broke off")
    finally:
        end(flow)
        end(serving)
