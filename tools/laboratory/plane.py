"""The data planes that can be compared."""

import gzip
import hashlib
import os
import re

from rig.implementation import NAMES, Implementation
from rig.shell import Missing, attempt

KNOWN = ("culvert", "wireguard-go", "wireguard-go-plain", "kernel", "none")


class Plane(Implementation):
    """What carries packets from end to end: a program that takes `-f IFNAME` and speaks UAPI, the kernel's module, or the
    bare wire. Constant after construction."""

    def __init__(self, name, kind, program=None, env=None):
        super().__init__(name, program)
        self.kind = kind  # "program", "kernel" or "none"
        self.env = env or {}
        self.tunnels = 1  # to the other end, which has an interface for each; set before use

    def describe(self):
        """For the record: what exactly was measured."""
        described = {"name": self.name, "kind": self.kind, "version": self.version()}
        if self.tunnels > 1:
            described["tunnels"] = self.tunnels
        if self.program:
            with open(self.program, "rb") as file:
                described |= {"program": self.program, "sha256": hashlib.sha256(file.read()).hexdigest(), "environment": self.env}
        return described

    def version(self):
        if self.kind == "none":
            return "no tunnel: the veth pair itself"
        if self.kind == "kernel":
            module = _read("/sys/module/wireguard/version")
            return f"module {module}, Linux {os.uname().release}" if module else f"Linux {os.uname().release}"
        packaged = _package_version(self.program)
        if packaged:
            return packaged
        done = attempt(self.program, "--version", timeout=10)
        lines = (done.stdout + done.stderr).strip().splitlines()
        return lines[0].strip() if done.returncode == 0 and lines else "a program that tells no version"


def _package_version(program):
    """The Debian package that a program came from: wireguard-go's own --version is older than its package."""
    prefix, name = os.path.dirname(os.path.dirname(program)), os.path.basename(program)
    try:
        with gzip.open(f"{prefix}/share/doc/{name}/changelog.Debian.gz", "rt", encoding="utf-8") as changelog:
            found = re.match(r"(\S+) \(([^)]+)\)", changelog.readline())
            return f"{found.group(1)} {found.group(2)} (Debian)" if found else ""
    except OSError:
        return ""


def _read(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def runnable(path):
    return os.path.isfile(path) and os.access(path, os.X_OK)


def parse(text):
    """NAME[=PROGRAM][,VARIABLE=VALUE...] as (name, what, environment), `what` one of KNOWN or a path. ValueError says what is
    wrong."""
    first, *rest = text.split(",")
    name, _, what = first.partition("=")
    if not re.fullmatch(r"[\w.+-]+", name):
        raise ValueError(f"`{text}`: wants NAME=PROGRAM[,VARIABLE=VALUE...]")
    what = what or name
    if what not in KNOWN and "/" not in what:
        raise ValueError(f"`{what}` is neither a path nor one of {', '.join(KNOWN)}")
    if what not in KNOWN and not runnable(what):
        raise ValueError(f"`{what}` is no program that can be run")
    env = {}
    for each in rest:
        variable, equals, value = each.partition("=")
        if not equals or not variable:
            raise ValueError(f"`{each}`: wants VARIABLE=VALUE")
        env[variable] = value
    if env and what in ("kernel", "none"):
        raise ValueError(f"`{what}` is no program and has no environment")
    return name, what, env


def find(name, what, env):
    """The plane, ready to be used; Missing says what it lacks and how to get it."""
    if what == "none":
        return Plane(name, "none")
    if what == "kernel":
        probe_kernel()
        return Plane(name, "kernel")
    if what in NAMES:
        search, how = NAMES[what]
        program = search()
        if program is None or not runnable(program):
            raise Missing(f"{program} is no program that can be run" if program else how)
        return Plane(name, "program", program, env)
    return Plane(name, "program", os.path.abspath(what), env)


def probe_kernel():
    """Makes a WireGuard interface of the kernel, and removes it; Missing if that cannot be done."""
    done = attempt("ip", "link", "add", "wgprobe", "type", "wireguard")
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        raise Missing(f"this kernel makes no WireGuard interface (`ip link add wgprobe type wireguard`: {why}): "
                      f"`modprobe wireguard`, or a kernel that was built with CONFIG_WIREGUARD")
    attempt("ip", "link", "del", "wgprobe")
