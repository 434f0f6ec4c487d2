"""culvert up, down and reload, held against wg-quick wherever both can do it."""

import os
import re
import signal
import subprocess

from rig.implementation import connects, generate_key, implementation
from rig.namespace import join
from rig.scenario import scenario
from rig.shell import check, run, runs, wait_until
from rig.traffic import Stream, expect_ping
from scenarios.wg_quick import programs_without_kernel

ALONE = (("culvert",),)
NAME = "gw0"
SOCKET = f"/var/run/wireguard/{NAME}.sock"

# What stands in the file beside keys and peers, and in the peer's section.
TABLE = {
    "addresses that cover their allowed IPs": ("Address = 10.80.0.1/24, fd80::1/64", "AllowedIPs = 10.80.0.2/32, fd80::2/128"),
    "allowed IPs beyond and within each other": (
        "Address = 10.80.0.1/32 fd80::1/128", "AllowedIPs = 10.81.0.0/16, 10.81.2.0/24, 10.80.0.1/32, fd81::/32, fd81:0:1::/48"),
    "everything, with name servers": (
        "Address = 10.80.0.1/32, fd80::1/128\nDNS = 10.80.0.53, fd80::53\nDNS = corp.example, lab.example",
        "AllowedIPs = 0.0.0.0/0, ::/0"),
    "IPv4 alone, by a mark": ("Address = 10.80.0.1/24\nFwMark = 0x1234\nListenPort = 41000", "AllowedIPs = 0.0.0.0/0"),
    "a table of its own": ("Address = 10.80.0.1/24\nTable = 1234", "AllowedIPs = 0.0.0.0/0, 10.80.0.2/32"),
    "no table": ("Address = 10.80.0.1/24\nTable = off", "AllowedIPs = 0.0.0.0/0, 10.99.0.0/16"),
    "an MTU and hooks": (
        "Address = 10.80.0.1/24\nMTU = 1280\nPreUp = echo %i pre >> {log}\nPostUp = wg show %i peers | wc -l >> {log}; "
        "ip -4 route >> {log}\nPostUp = echo second >> {log}\nPreDown = ip -o link show %i | grep -c mtu >> {log}\n"
        "PostDown = ip link show %i >> {log} 2>&1 || echo gone >> {log}", "AllowedIPs = 10.80.0.2/32"),
    "SaveConfig": ("Address = 10.80.0.1/24\nSaveConfig = true\nListenPort = 41001\nMTU = 1300\nPostUp = true",
                   "AllowedIPs = 10.80.0.2/32, 10.82.0.0/16\nPersistentKeepalive = 25"),
}


class Host:
    """A namespace with a wire out, whose interface is NAME's: by culvert or by wg-quick."""

    def __init__(self, lab, name, wire_mtu=1500):
        self.lab = lab
        self.namespace = lab.namespace(name)
        self.outside = lab.namespace(f"{name}-outside")
        join(self.namespace, "wire", self.outside, "wire", wire_mtu)
        self.namespace.add_address("wire", "192.0.2.1/24", "2001:db8::1/64")
        self.outside.add_address("wire", "192.0.2.2/24", "2001:db8::2/64")
        self.namespace.ip("route", "add", "default", "via", "192.0.2.2")
        wait_until(lambda: self.namespace.owns("2001:db8::1"), "the wire is up")
        self.folder = os.path.join(lab.directory, name)
        os.makedirs(self.folder)
        self.file = self.path(NAME)
        self.log = os.path.join(self.folder, "hooks")
        self.program = implementation("culvert").program
        self.env = {**os.environ, "WG_QUICK_USERSPACE_IMPLEMENTATION": self.program}
        self.env.pop("LOG_LEVEL", None)

    def path(self, name):
        return os.path.join(self.folder, f"{name}.conf")

    def write(self, text, name=NAME):
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(text)

    def culvert(self, *words):
        return self.namespace.attempt(self.program, *words, env=self.env)

    def expect(self, *words):
        done = self.culvert(*words)
        check(done.returncode == 0, f"culvert {' '.join(words)}: {done.stderr}")
        return done.stdout

    def quick(self, verb):
        self.namespace.run("wg-quick", verb, self.file, env=self.env)

    def start(self, *names):
        """The process in the foreground, its log in a file: for what is to be killed, or signalled."""
        with open(os.path.join(self.folder, "log"), "ab") as log:
            process = self.lab.background(self.namespace.start(self.program, "up", "-f", *names, log=log,
                                                               env={**self.env, "LOG_LEVEL": "verbose"}))
        return process

    def said(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def snapshot(self):
        """All that a tunnel may change, as lines, without what differs from run to run."""
        lines = []
        for command in (f"ip address show dev {NAME}", "ip -4 rule", "ip -6 rule", "ip -4 route show table all",
                        "ip -6 route show table all", "nft list ruleset", "cat /etc/resolv.conf",
                        "sysctl -n net.ipv4.conf.all.src_valid_mark"):
            output = self.namespace.attempt(*command.split()).stdout.replace("wg-quick-", "culvert-")
            output = re.sub(rf"^\d+: (?={NAME})", "", output, flags=re.M)
            lines += [f"{command}: {line.strip()}" for line in output.splitlines() if line.strip() and "fe80::" not in line]
        return lines


def private_resolver(lab):
    """Name servers of the scenario's own, for resolvconf to change."""
    path = os.path.join(lab.directory, "resolv.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write("nameserver 192.0.2.53\n")
    run("mount", "--bind", path, "/etc/resolv.conf")
    os.makedirs("/run/resolvconf", exist_ok=True)


def section(keys, interface, peer, endpoint="192.0.2.2:51820"):
    return (f"[Interface]\nPrivateKey = {keys[0]}\n{interface}\n\n[Peer]\nPublicKey = {keys[1]}\n"
            f"{peer}\nEndpoint = {endpoint}\n")


def expect_same(ours, theirs, what):
    differences = [f"- {line}" for line in theirs if line not in ours] + [f"+ {line}" for line in ours if line not in theirs]
    check(not differences and len(ours) == len(theirs), f"{what}: wg-quick (-) and culvert (+):\n" + "\n".join(differences))


def hooks_of(host):
    if not os.path.exists(host.log):
        return []
    with open(host.log, encoding="utf-8") as log:
        return log.read().splitlines()


def saved(host):
    with open(host.file, encoding="ascii") as file:
        return sorted(line.strip() for line in file if line.strip())


@scenario("up and down leave the host as wg-quick does", pairs=ALONE)
def as_wg_quick(lab, _):
    private_resolver(lab)
    ours, theirs = Host(lab, "ours", 1480), Host(lab, "theirs", 1480)
    theirs.env["PATH"] = programs_without_kernel(lab) + ":" + theirs.env["PATH"]
    keys = generate_key()[0], generate_key()[1]
    for what, (interface, peer) in TABLE.items():
        up, down = {}, {}
        for host in (ours, theirs):
            host.write(section(keys, interface.format(log=host.log), peer))
            go = (lambda verb: ours.expect(verb, ours.file)) if host is ours else theirs.quick
            go("up")
            up[host] = host.snapshot()
            go("down")
            wait_until(lambda: not os.path.exists(SOCKET), "the daemon has gone")
            down[host] = host.snapshot()
        expect_same(up[ours], up[theirs], f"{what}, up")
        expect_same(down[ours], down[theirs], f"{what}, down")
        expect_same(hooks_of(ours), hooks_of(theirs), f"{what}, hooks")
        expect_same([line.replace(ours.folder, "") for line in saved(ours)],
                    [line.replace(theirs.folder, "") for line in saved(theirs)], f"{what}, the file")
