"""Network namespaces joined by veth pairs."""

import contextlib
import ctypes
import os
import subprocess

from rig.shell import attempt, run

# Words before a command: it gets mount, network and process namespaces of its own, and an empty /run for what it makes.
ISOLATED = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
            "mount -t tmpfs tmpfs /run && mkdir -p /run/netns /run/wireguard && exec \"$@\"", "sh")

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


class Namespace:
    """A network namespace of its own. Only its creator removes it."""

    def __init__(self, name):
        self.name = name
        self.path = f"/run/netns/{name}"
        run("ip", "netns", "add", name)
        with self.entered():
            self.sysctl("net/ipv6/conf/all/accept_dad", 0)
            self.sysctl("net/ipv6/conf/default/accept_dad", 0)
        self.ip("link", "set", "lo", "up")

    def remove(self):
        attempt("ip", "netns", "del", self.name)

    def command(self, *command):
        """The command line that runs a command in here; it becomes the command, so its pid is the command's."""
        return ["nsenter", f"--net={self.path}", *map(str, command)]

    def run(self, *command, **how):
        return run(*self.command(*command), **how)

    def attempt(self, *command, **how):
        return attempt(*self.command(*command), **how)

    def start(self, *command, log=subprocess.DEVNULL, env=None, **how):
        return subprocess.Popen(self.command(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, **how)

    def ip(self, *arguments):
        return run("ip", "-n", self.name, *arguments)

    def sysctl(self, key, value):
        """Writes /proc/sys/KEY; only inside entered()."""
        with open(f"/proc/sys/{key}", "w", encoding="ascii") as file:
            file.write(str(value))

    @contextlib.contextmanager
    def entered(self):
        """Puts this thread into the namespace: sockets made now stay there for life."""
        with open("/proc/thread-self/ns/net", "rb") as before, open(self.path, "rb") as here:
            _setns(here.fileno())
            try:
                yield self
            finally:
                _setns(before.fileno())

    def forward(self):
        with self.entered():
            self.sysctl("net/ipv4/ip_forward", 1)
            self.sysctl("net/ipv6/conf/all/forwarding", 1)

    def add_address(self, interface, *addresses):
        for address in addresses:
            self.ip("addr", "add", address, "dev", interface, *(["nodad"] if ":" in address else []))

    def udp_counters(self):
        """What the kernel counts of UDP over IPv4 in here, by its names in /proc/net/snmp."""
        with self.entered(), open("/proc/thread-self/net/snmp", encoding="ascii") as counters:
            names, values = [line.split()[1:] for line in counters if line.startswith("Udp:")]
        return dict(zip(names, map(int, values)))

    def owns(self, address):
        """True once packets to an address stay here. The kernel routes IPv6 addresses a while after the link is up."""
        return self.attempt("ip", "route", "get", address).stdout.startswith("local")


def _setns(descriptor):
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


def join(left, left_interface, right, right_interface, mtu=1500):
    """Joins two namespaces by a veth pair, up at both ends."""
    run("ip", "link", "add", left_interface, "netns", left.name, "mtu", mtu, "type", "veth",
        "peer", "name", right_interface, "netns", right.name, "mtu", mtu)
    left.ip("link", "set", left_interface, "up")
    right.ip("link", "set", right_interface, "up")
