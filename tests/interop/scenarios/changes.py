"""Changes: a control client changes all that can be changed while traffic flows over several workers, ports and tunnels.

Mostly for the thread sanitizer, which watches the daemons at it. CHANGES_TURNS=N in the environment has it do all N times.
"""

import itertools
import os
import types

from rig.group import FAR, HUB, hex_key, uapi
from rig.implementation import generate_key, generate_preshared_key
from rig.scenario import scenario
from rig.shell import check, wait_until
from scenarios.groups import far_ends
from scenarios.order import Streams, ask

TURNS = int(os.environ.get("CHANGES_TURNS", "1"))
WORKERS = (1, 5, 2, 4)
PORTS = ("1", "3", "8")
NOBODY = "10.70.0.99"


class Client:
    """Changes one thing of the hub at a time, and of the far ends what has to go with it."""

    def __init__(self, hub, ends):
        self.hub = hub
        self.ends = ends
        self.workers = itertools.cycle(WORKERS)
        self.ports = itertools.cycle(PORTS)
        self.bases = itertools.count(53000, 100)

    def set(self, lines):
        reply = uapi(self.hub.interface, f"set=1\n{lines}\n")
        check(reply == "errno=0\n\n", f"{lines!r} is taken: {reply!r}")

    def peer(self, end, lines):
        self.set(f"public_key={hex_key(end.public_key)}\n{lines}")

    def full(self, end):
        self.peer(end, f"endpoint={end.endpoint('v4')}\ngroup=far\nallowed_ip={FAR}/32\n")

    def change_workers(self, _):
        self.set(f"workers={next(self.workers)}\n")

    def change_ports(self, _):
        self.set(f"source_ports={next(self.ports)}\n")

    def change_listen_port(self, _):
        self.set(f"listen_port={next(self.bases)}\n")

    def leave_and_join(self, end):
        self.peer(end, "group=\n")
        self.full(end)

    def remove_and_add(self, end):
        self.peer(end, "remove=true\n")
        self.full(end)

    def change_preshared_key(self, end):
        key = generate_preshared_key()
        end.set("peer", self.hub.public_key, "preshared-key", end.lab.secret(key))
        self.peer(end, f"preshared_key={hex_key(key)}\n")
        self.remove_and_add(end)
        self.peer(end, f"preshared_key={hex_key(key)}\n")

    def change_private_key(self, _):
        before = self.hub.public_key
        self.hub.private_key, self.hub.public_key = generate_key()
        for end in self.ends:
            end.set("peer", before, "remove")
            end.set("peer", self.hub.public_key, "allowed-ips", f"{HUB}/32")
        self.set(f"private_key={hex_key(self.hub.private_key)}\n")
        for end in self.ends:
            self.full(end)

    def change_link(self, _):
        """Meanwhile the packets have another way, so that their sender goes on."""
        for state in ("down", "up"):
            self.hub.namespace.ip("link", "set", self.hub.interface, state)
        self.hub.namespace.ip("route", "replace", f"{FAR}/32", "dev", self.hub.interface)

    def all(self):
        return (self.change_workers, self.change_ports, self.leave_and_join, self.change_listen_port, self.remove_and_add,
                self.change_workers, self.change_private_key, self.change_preshared_key, self.change_link)


@scenario("workers, ports, groups, peers, keys and the link change under traffic")
def changes(lab, left, right):
    hub, first = lab.pair(left, right, start=False)
    hub.start(env={"CULVERT_WORKERS": "4", "CULVERT_SOURCE_PORTS": "8"})
    first.start(env={"CULVERT_WORKERS": "2"})
    ends = far_ends(lab, hub, first)
    hub.namespace.ip("neigh", "add", NOBODY, "lladdr", "02:00:00:00:00:99", "dev", "wire", "nud", "permanent")
    hub.namespace.ip("route", "add", f"{FAR}/32", "via", NOBODY, "dev", "wire", "metric", 100)
    at = [types.SimpleNamespace(lab=lab, namespace=node.namespace, number=node.number, inner={"v4": address})
          for node, address in ((hub, HUB), (first, FAR))]
    streams = Streams(*at, 300, rate=10_000)

    def goes_on(what):
        """Whether more arrives, both ways."""
        before = [ask(control, "report")["datagrams"] for _, control in streams.sinks]
        wait_until(lambda: all(ask(control, "report")["datagrams"] > count + 100
                               for (_, control), count in zip(streams.sinks, before)), f"traffic goes on {what}")

    goes_on("at the start")
    client = Client(hub, ends)
    for turn, change in enumerate(client.all() * TURNS):
        end = ends[turn % len(ends)]
        change(end)
        goes_on(f"after {change.__name__}")
        check(streams.running(), "the senders go on")
        check(hub.peer(end)["allowed_ips"] == [f"{FAR}/32"], "and wg show tells of it")
    streams.stop()
