"""wg-quick with culvert as its userspace implementation."""

import os
import shutil

from rig.scenario import scenario
from rig.shell import Missing, attempt, check, run, wait_until
from rig.traffic import expect_ping, transfer

# wg-quick takes the kernel's WireGuard where there is one. Here it must believe that there is none.
NO_KERNEL_MODULE = """#!/bin/sh
case "$*" in *"type wireguard"*) echo "Error: Unknown device type." >&2; exit 2 ;; esac
exec {ip} "$@"
"""


def programs_without_kernel(lab):
    """A folder for the front of PATH, with which wg-quick finds no WireGuard in the kernel."""
    if shutil.which("wg-quick") is None:
        raise Missing("no wg-quick: apt-get install wireguard-tools")
    if os.path.exists("/sys/module/wireguard"):
        run("mount", "-t", "tmpfs", "tmpfs", "/sys/module")
    programs = os.path.join(lab.directory, "programs")
    os.makedirs(programs)
    shim = os.path.join(programs, "ip")
    with open(os.open(shim, os.O_WRONLY | os.O_CREAT, 0o755), "w", encoding="ascii") as file:
        file.write(NO_KERNEL_MODULE.format(ip=shutil.which("ip")))
    return programs


def quick(lab, node):
    """Returns what runs `wg-quick up|down` for a node's interface in its namespace."""
    programs = programs_without_kernel(lab)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "WG_QUICK_USERSPACE_IMPLEMENTATION": node.which.program}
    env.pop("LOG_LEVEL", None)
    return lambda verb: node.namespace.run("wg-quick", verb, os.path.join(lab.directory, f"{node.interface}.conf"), env=env, timeout=60)


def configure(lab, node, other, allowed):
    text = f"""[Interface]
PrivateKey = {node.private_key}
ListenPort = {node.port}
Address = {node.inner['v4']}/24, {node.inner['v6']}/64

[Peer]
PublicKey = {other.public_key}
AllowedIPs = {allowed}
Endpoint = {other.endpoint('v4')}
"""
    path = os.path.join(lab.directory, f"{node.interface}.conf")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(text)


def up_and_down(lab, which, allowed):
    a, b = lab.pair(which, which, start=False)
    b.start()
    b.add_peer(a)
    a.namespace.ip("route", "add", "default", "dev", "wire")
    configure(lab, a, b, allowed)
    go = quick(lab, a)
    for _ in range(2):
        go("up")
        expect_ping(a, b.inner["v4"])
        transfer(a, b)
        transfer(b, a, "v6")
        check("mtu 1420" in a.namespace.ip("link", "show", a.interface), "the MTU is 1420")
        check(attempt("wg", "show", a.interface).returncode == 0, "wg shows it")
        go("down")
        wait_until(lambda: not os.path.exists(f"/var/run/wireguard/{a.interface}.sock"), "the daemon has gone")
    expect_outside(a, b)


def expect_outside(a, b):
    done = a.namespace.attempt("ping", "-c", "1", "-W", "5", b.outer["v4"])
    check(done.returncode == 0, "the wire works as before")


@scenario("wg-quick up and down, single addresses", pairs=(("culvert",),))
def simple(lab, which):
    up_and_down(lab, which, "10.80.0.2/32, fd80::2/128")


@scenario("wg-quick up and down, everything through the tunnel by fwmark", pairs=(("culvert",),))
def everything(lab, which):
    up_and_down(lab, which, "0.0.0.0/0, ::/0")
