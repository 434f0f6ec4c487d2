"""One device and thousands of peers that answer it, all by the program crowd (crowd.cc) of the build under test.

CULVERT_CROWD says how many there are, if not 2000; 10000 is what the device is made for.
"""

import http.client
import json
import os
import re
import subprocess

from rig.implementation import implementation, wireguard
from rig.scenario import scenario
from rig.shell import Missing, check, wait_until

PORT = 9586
SIZE = int(os.environ.get("CULVERT_CROWD", "2000"))


class Crowd:
    """The program, in the node's namespace."""

    def __init__(self, node, size):
        program = os.path.join(os.path.dirname(node.which.program), "../../tests/interop/crowd")
        if not os.access(program, os.X_OK):
            raise Missing(f"no {program}: build the target `crowd`")
        self.config = os.path.join(node.lab.directory, "crowd.conf")
        command = node.namespace.command(program, size, node.public_key, self.config)
        self.process = node.lab.background(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        check(self.process.stdout.readline() == "ready\n", "the crowd is ready")

    def saw(self):
        """What came to its peers until now."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def metrics(node):
    with node.namespace.entered():
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
    return re.findall(r'^culvert_(\w+)\{device="[^"]*"(?:,\w+="([^"]*)")?\} (\d+)$', text, re.M)


def counters(node, family):
    """The counters of a family that are not 0, by their label."""
    return {label: int(value) for name, label, value in metrics(node) if name == family and value != "0"}


@scenario("every one of thousands of peers gets its handshake at once when the link comes up", pairs=(("culvert",),))
def link_up(lab, which):
    node = lab.node(1, implementation(which)).start(env={"CULVERT_METRICS": f"127.0.0.1:{PORT}"})
    crowd = Crowd(node, SIZE)
    node.namespace.ip("link", "set", node.interface, "down")
    wireguard("addconf", node.interface, crowd.config)
    check(not counters(node, "handshake_messages_total"), "nobody is called while the link is down")
    before = counters(node, "drops_total")

    node.namespace.ip("link", "set", node.interface, "up")
    # An initiation is repeated after 5 s: whoever needs a second one was not served at once.
    wait_until(lambda: crowd.saw()["confirmed"] == SIZE, "every peer has its keepalive")
    check(crowd.saw() == {"initiations": SIZE, "silent": 0, "confirmed": SIZE, "cookie_replies": 0, "others": 0},
          f"one initiation each and nothing else: {crowd.saw()}")
    handshakes = counters(node, "handshake_messages_total")
    check(handshakes == {"initiation_sent": SIZE, "response_received": SIZE}, f"nor in the device's own eyes: {handshakes}")
    check(counters(node, "drops_total") == before, f"nothing is dropped: {counters(node, 'drops_total')}")
    times = wireguard("show", node.interface, "latest-handshakes").split("\n")[:-1]
    check(len(times) == SIZE and not any(line.endswith("\t0") for line in times), "wg(8) shows them all")
