"""A lab: namespaces with daemons in them, torn down whatever happens."""

import os
import tempfile

from rig.implementation import Daemon, generate_key, implementation, wireguard
from rig.namespace import Namespace, join
from rig.shell import check, wait_until

PORT = 51820


class Node:
    """A namespace with a WireGuard daemon: outer addresses 10.70.0.N and fd70::N, inner 10.80.0.N and fd80::N."""

    def __init__(self, lab, which, number, namespace):
        self.lab = lab
        self.which = which
        self.number = number
        self.namespace = namespace
        self.interface = f"wg{lab.number_interface()}"
        self.outer = {"v4": f"10.70.0.{number}", "v6": f"fd70::{number}"}
        self.inner = {"v4": f"10.80.0.{number}", "v6": f"fd80::{number}"}
        self.port = PORT
        self.private_key, self.public_key = generate_key()
        self.daemon = None

    def start(self, mtu=1420, env=None, arguments=()):
        """Starts the daemon and brings its interface up with key, port and inner addresses."""
        self.daemon = Daemon(self.which, self.namespace, self.interface, self.lab.log(self.interface),
                             {"LOG_LEVEL": self.lab.log_level, **(env or {})}, self.lab.detached, arguments)
        self.lab.daemons.append(self.daemon)
        return self.bring_up(mtu)

    def bring_up(self, mtu):
        """Gives the interface, which is there, its key, port and inner addresses."""
        self.set("listen-port", self.port, "private-key", self.lab.secret(self.private_key))
        self.namespace.add_address(self.interface, f"{self.inner['v4']}/24", f"{self.inner['v6']}/64")
        self.namespace.ip("link", "set", self.interface, "mtu", mtu, "up")
        wait_until(lambda: self.namespace.owns(self.inner["v6"]), f"{self.inner['v6']} is up")
        return self

    def set(self, *arguments):
        wireguard("set", self.interface, *arguments)

    def ports(self):
        """What its transport data may leave from: of ours, as many as CULVERT_SOURCE_PORTS says for all daemons."""
        return range(self.port, self.port + (int(os.environ.get("CULVERT_SOURCE_PORTS", "1")) if self.which.ours else 1))

    def endpoints(self, family):
        """Where its peers may hear it."""
        return [f"[{self.outer['v6']}]:{port}" if family == "v6" else f"{self.outer['v4']}:{port}" for port in self.ports()]

    def endpoint(self, family):
        return self.endpoints(family)[0]

    def add_peer(self, other, family=None, preshared_key=None, keepalive=None, allowed=()):
        """Makes the other node a peer; with a family, this side knows the other's endpoint."""
        words = ["peer", other.public_key, "allowed-ips",
                 ",".join([f"{other.inner['v4']}/32", f"{other.inner['v6']}/128", *allowed])]
        if family:
            words += ["endpoint", other.endpoint(family)]
        if preshared_key:
            words += ["preshared-key", self.lab.secret(preshared_key)]
        if keepalive is not None:
            words += ["persistent-keepalive", keepalive]
        self.set(*words)

    def remove_peer(self, other):
        self.set("peer", other.public_key, "remove")

    def peer(self, other):
        """The peer's line of `wg show dump` as a dictionary, None if it is not there."""
        for line in wireguard("show", self.interface, "dump").splitlines()[1:]:
            key, preshared_key, endpoint, allowed, handshake, received, sent, keepalive = line.split("\t")
            if key == other.public_key:
                return {"preshared_key": preshared_key, "endpoint": endpoint, "allowed_ips": allowed.split(","),
                        "handshake": int(handshake), "received": int(received), "sent": int(sent), "keepalive": keepalive}
        return None

    def device(self):
        """The device's line of `wg show dump` as a dictionary."""
        fields = wireguard("show", self.interface, "dump").splitlines()[0].split("\t")
        return dict(zip(("private_key", "public_key", "listen_port", "fwmark"), fields))


class Lab:
    """Everything that one scenario made. Owned by one thread; close() removes it all in reverse."""

    def __init__(self, directory=None, prefix=None, detached=False, log_level="verbose"):
        self.log_level = log_level
        self.detached = detached  # daemons that are to outlive this program
        self.prefix = prefix or f"cv{os.getpid()}"
        self.directory = directory or tempfile.mkdtemp(prefix="culvert-lab-")
        self.daemons = []
        self.namespaces = []
        self.undo = []
        self._interfaces = 0
        self._secrets = 0

    def number_interface(self):
        self._interfaces += 1
        return f"{os.getpid()}x{self._interfaces}"

    def log(self, name):
        return os.path.join(self.directory, f"{name}.log")

    def secret(self, key):
        """A file with a key in it, as wg(8) wants them."""
        self._secrets += 1
        path = os.path.join(self.directory, f"secret{self._secrets}")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(key + "\n")
        return path

    def namespace(self, name):
        made = Namespace(f"{self.prefix}-{name}")
        self.namespaces.append(made)
        return made

    def background(self, process):
        """Remembers a program to be ended with the lab."""
        self.undo.append(process.kill)
        return process

    def node(self, number, which, namespace=None):
        which = implementation(which) if isinstance(which, str) else which
        return Node(self, which, number, namespace or self.namespace(f"n{number}"))

    def pair(self, left, right, mtu=1420, wire_mtu=None, start=True):
        """Two nodes, numbered 1 and 2, on one wire (interface `wire` at both ends). No peers are set yet."""
        nodes = [self.node(1, left), self.node(2, right)]
        join(nodes[0].namespace, "wire", nodes[1].namespace, "wire", wire_mtu or max(1500, mtu + 80))
        for node in nodes:
            node.namespace.add_address("wire", f"{node.outer['v4']}/24", f"{node.outer['v6']}/64")
            wait_until(lambda owner=node: owner.namespace.owns(owner.outer["v6"]), f"{node.outer['v6']} is up")
            if start:
                node.start(mtu)
        return nodes

    def close(self):
        """Stops the daemons and removes the namespaces; raises the first thing that went wrong, at the end."""
        problems = []
        for step in [*reversed(self.undo), *(daemon.stop for daemon in reversed(self.daemons)),
                     *(namespace.remove for namespace in reversed(self.namespaces))]:
            try:
                step()
            except Exception as problem:  # every other step still has to run
                problems.append(problem)
        if problems:
            raise problems[0]


def introduce(left, right, family="v4", **how):
    """Makes two nodes peers of each other; both know the other's endpoint."""
    left.add_peer(right, family, **how)
    right.add_peer(left, family, **how)


def handshaken(node, other, after=0):
    """Waits until the node has completed a handshake with the other one, later than `after` (Unix seconds)."""
    wait_until(lambda: (node.peer(other) or {"handshake": 0})["handshake"] > after,
               f"{node.which} completes a handshake with {other.which}")


def reset(left, right, left_family, right_family, **how):
    """Forgets all keypairs on both sides, then introduces anew; a side whose family is None has to wait for the other."""
    for node, other in ((left, right), (right, left)):
        if node.peer(other):
            node.remove_peer(other)
    right.add_peer(left, right_family, **how)
    left.add_peer(right, left_family, **how)
    check(left.peer(right)["handshake"] == 0, "a new peer has no handshake")
