"""culvert up, down and reload, held against wg-quick wherever both can do it."""

import os
import re
import signal
import socket

from rig.implementation import connects, generate_key, implementation
from rig.namespace import join
from rig.scenario import scenario
from rig.shell import check, run, wait_until
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
    "IPv6 alone, no mark, plain addresses": ("Address = fd80::1\nFwMark = off\nDNS = fd80::53", "AllowedIPs = ::/0, 10.81.0.0/16"),
    "both families in a table of hooks": (
        "Address = 10.80.0.1, fd80::1/64\nTable = 1234\nPreUp = true\nPostUp = ip -6 rule add table 1234\n"
        "PostDown = ip -6 rule del table 1234", "AllowedIPs = ::/0, 0.0.0.0/1, 128.0.0.0/1"),
    "the main table by name, no peer's address": ("Address = 10.80.0.1/31\nTable = main\nMTU = 1500", "AllowedIPs = 10.83.0.0/16, fd83::/32"),
    "no addresses": ("ListenPort = 41002", "AllowedIPs = 10.84.0.0/16, fd84::/32"),
    "nothing allowed": ("Address = 10.80.0.1/24, 10.80.1.1/24", "PersistentKeepalive = 1"),
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


def private_resolver(lab, server="192.0.2.53"):
    """Name servers of the scenario's own, for resolvconf to change."""
    path = os.path.join(lab.directory, "resolv.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write(f"nameserver {server}\n")
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


class Road:
    """A host behind the wire with a tunnel to a node outside, both by culvert; `node` does what rig.traffic wants."""

    def __init__(self, lab):
        self.host = Host(lab, "road")
        self.other = Host(lab, "server")
        self.namespace, self.which = self.host.namespace, "culvert"
        self.inner = {"v4": "10.80.0.1", "v6": "fd80::1"}
        self.keys, self.server_keys = generate_key(), generate_key()
        # The server answers on the road's own wire, from the namespace at its other end.
        self.other.namespace = self.host.outside
        self.other.inner = {"v4": "10.80.0.2", "v6": "fd80::2"}
        self.other.write(
            f"[Interface]\nPrivateKey = {self.server_keys[0]}\nListenPort = 51820\nAddress = 10.80.0.2/24, 10.90.0.2/32\n"
            f"Address = fd80::2/64\n[Peer]\nPublicKey = {self.keys[1]}\nAllowedIPs = 10.80.0.1/32, fd80::1/128\n", "gw1")

    def text(self, interface="", allowed="10.80.0.2/32, fd80::2/128", more="", endpoint="192.0.2.2:51820"):
        return (f"[Interface]\nPrivateKey = {self.keys[0]}\nAddress = 10.80.0.1/24, fd80::1/64\n{interface}\n[Peer]\n"
                f"PublicKey = {self.server_keys[1]}\nAllowedIPs = {allowed}\nEndpoint = {endpoint}\n{more}\n")

    def handshake(self):
        return run("wg", "show", NAME, "latest-handshakes").split()[1]


@scenario("reload applies the difference and loses no packet", pairs=ALONE)
def reload_under_traffic(lab, _):
    private_resolver(lab)
    road = Road(lab)
    road.other.expect("up", road.other.path("gw1"))
    road.host.write(road.text())
    process = road.host.start(road.host.file)
    wait_until(lambda: "gw0 is up" in road.host.said(), "gw0 is up")
    expect_ping(road, "10.80.0.2")
    before = road.handshake()
    newcomer = generate_key()[1]
    changes = (
        ("Address = 10.70.1.1/24\nMTU = 1380", "10.80.0.2/32, fd80::2/128, 10.90.0.0/16", f"[Peer]\nPublicKey = {newcomer}\n"
                                                                                    "AllowedIPs = 10.91.0.0/16\n"),
        ("", "10.80.0.2/32, fd80::2/128, 10.90.0.0/16", ""),
        ("ListenPort = 43210", "10.80.0.2/32, 10.90.0.0/16", ""),
    )
    stream = Stream(road, road.other)
    for interface, allowed, more in changes:
        stream.flows()
        road.host.write(road.text(interface, allowed, more))
        road.host.expect("reload", NAME)
        routes = road.namespace.run("ip", "-4", "route", "show", "dev", NAME)
        check("10.90.0.0/16" in routes, f"the new route is there: {routes}")
        check(("10.91.0.0/16" in routes) == bool(more) and ("10.70.1.0/24" in routes) == ("10.70" in interface),
              f"what came and went: {routes}")
    stream.flows()
    stream.complete()
    check(road.handshake() == before, "the session is the same")
    expect_ping(road, "10.90.0.2")
    was = road.host.snapshot()
    road.host.write(road.text("MTU = large\nListenPort = 5", "10.99.0.0/16"))
    done = road.host.culvert("reload", NAME)
    check(done.returncode == 1 and "gw0.conf:4: MTU 'large'" in done.stderr, f"a broken file says so: {done}")
    expect_same(road.host.snapshot(), was, "a broken file changes nothing")
    road.host.write(road.text("Table = 4\nDNS = 10.80.0.53", "10.99.0.0/16, 192.0.2.0/24"))
    taken = road.namespace.attempt("ip", "route", "add", "10.99.0.0/16", "dev", "wire", "table", "4")
    done = road.host.culvert("reload", NAME)
    check(taken.returncode == 0 and done.returncode == 1 and "another interface has it" in done.stderr, f"a route is refused: {done}")
    expect_same(road.host.snapshot(), was + ["ip -4 route show table all: 10.99.0.0/16 dev wire table 4 scope link"], "all is as it was")
    expect_ping(road, "10.80.0.2")
    check(road.handshake() == before, "the session is still the same")
    road.host.write(road.text("Address = 10.70.9.1/24"))
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "10.70.9.1/24" in road.namespace.run("ip", "address", "show", "dev", NAME), "SIGHUP reloads")
    process.terminate()
    check(process.wait(30) == 0, "SIGTERM ends it")
    road.other.expect("down", "gw1")


@scenario("killed, and up again", pairs=ALONE)
def killed(lab, _):
    private_resolver(lab)
    host = Host(lab, "host")
    keys = generate_key()[0], generate_key()[1]
    clean = host.snapshot()
    host.write(section(keys, f"Address = 10.80.0.1/24, fd80::1/64\nDNS = 10.80.0.53\nMasquerade = wire\nPostUp = echo up >> {host.log}\n"
                             f"PostDown = echo down >> {host.log}", "AllowedIPs = 0.0.0.0/0, ::/0"))
    for again in ("up", "down"):
        process = host.start(host.file)
        wait_until(lambda: connects(f"/run/culvert/{NAME}.sock"), "it serves requests")
        up = host.snapshot()
        process.kill()
        process.wait()
        check(host.snapshot() != clean, "a killed process leaves something")
        if again == "up":
            host.expect("up", host.file)
            expect_same(host.snapshot(), up, "up again")
            host.expect("down", NAME)
        else:
            host.expect("down", NAME)
        left = [line.replace("src_valid_mark: 1", "src_valid_mark: 0") for line in host.snapshot()]
        expect_same(left, clean, "all is gone")
        check(not os.listdir("/run/culvert"), f"in /run too: {os.listdir('/run/culvert')}")
    check(hooks_of(host) == ["up", "down", "up", "down", "up", "down"], f"each up has its down: {hooks_of(host)}")


@scenario("what fails is undone, and leaves other tunnels alone", pairs=ALONE)
def all_or_nothing(lab, _):
    private_resolver(lab)
    host = Host(lab, "host")
    keys = generate_key()[0], generate_key()[1]
    everything = "AllowedIPs = 0.0.0.0/0, ::/0"
    clean = host.snapshot()
    with host.namespace.entered():
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.bind(("0.0.0.0", 7777))
    broken = {
        "ListenPort = 7777": "7777",
        "PostUp = exit 3": "status 3",
        "PreUp = false": "status 1",
        "MTU = 1000": "IPv6 needs an MTU",
    }
    for lines, why in broken.items():
        host.write(section(keys, f"Address = 10.80.0.1/24, fd80::1/64\nDNS = 10.80.0.53\n{lines}", everything))
        done = host.culvert("up", host.file)
        check(done.returncode == 1 and why in done.stderr, f"{lines}: {done}")
        left = [line.replace("src_valid_mark: 1", "src_valid_mark: 0") for line in host.snapshot()]
        expect_same(left, clean, lines)
        check(not os.path.exists(SOCKET) and not os.listdir("/run/culvert"), f"{lines}: nothing is left")
    other.close()
    host.write(section(keys, "Address = 10.80.0.1/24", everything) + f"[Peer]\nPublicKey = {keys[1]}\nAllowedIPs = 10.81.0.0/16\n")
    plan = host.expect("check", host.file)
    check("10.81.0.0/16" in plan and "0.0.0.0/0" not in plan, f"of a peer that is there twice the last section counts: {plan}")
    for name, lines in (("gw1", "Address = 10.81.0.1/24"), ("gw2", "Address = 10.82.0.1/24\nPostUp = false"), ("gw3", "Address = 10.83.0.1/24")):
        host.write(section((generate_key()[0], generate_key()[1]), lines, "AllowedIPs = " + lines.split()[2].replace(".1/", ".0/").split("\n")[0]), name)
    done = host.culvert("up", *(host.path(name) for name in ("gw1", "gw2", "gw3")))
    check(done.returncode == 1 and "gw2: `false`" in done.stderr, f"one of three fails: {done}")
    status = host.expect("status")
    check("interface: gw1" in status and "interface: gw3" in status and "gw2" not in status, f"two are up: {status}")
    host.expect("down", "gw1")
    check(run("wg", "show", "interfaces").split() == ["gw3"], "one goes, the other stays")
    run("wg", "set", "gw3", "peer", generate_key()[1], "allowed-ips", "10.99.0.0/16,::/0")
    wait_until(lambda: "10.99.0.0/16" in host.namespace.run("ip", "route", "show", "dev", "gw3"), "routes follow wg set")
    wait_until(lambda: "51820" in host.namespace.run("ip", "-6", "rule"), "and so do rules")
    run("wg", "syncconf", "gw3", "/dev/stdin", stdin=f"[Interface]\nPrivateKey = {keys[0]}\n")
    wait_until(lambda: "51820" not in host.namespace.run("ip", "-6", "rule"), "and syncconf")
    host.expect("down", "gw3")
    expect_same([line.replace("src_valid_mark: 1", "src_valid_mark: 0") for line in host.snapshot()], clean, "all is gone")


@scenario("a name that cannot be found at start, then moves; roaming wins over it", pairs=ALONE)
def names(lab, _):
    road = Road(lab)
    hosts = os.path.join(lab.directory, "hosts")

    def name_is(*addresses):
        with open(hosts, "w", encoding="ascii") as file:
            file.write("127.0.0.1 localhost\n" + "".join(f"{address} vpn.example\n" for address in addresses))

    name_is()
    run("mount", "--bind", hosts, "/etc/hosts")
    private_resolver(lab)  # where nobody answers
    road.other.expect("up", road.other.path("gw1"))
    road.host.write(road.text("Resolve = 1s", endpoint="vpn.example:51820", more="PersistentKeepalive = 1"))
    road.host.expect("up", road.host.file)
    endpoint = lambda: run("wg", "show", NAME, "endpoints").split()[1]
    check(endpoint() == "(none)" and "vpn.example:51820 (not found yet)" in road.host.expect("status", NAME), "it is not found yet")
    name_is("192.0.2.2")
    wait_until(lambda: endpoint() == "192.0.2.2:51820", "it is found by and by")
    wait_until(lambda: road.handshake() != "0", "and there is a handshake")
    expect_ping(road, "10.80.0.2")
    road.namespace.run("wg", "set", NAME, "peer", road.server_keys[1], "endpoint", "[2001:db8::2]:51820")
    expect_ping(road, "10.80.0.2")
    wait_until(lambda: road.host.expect("status", NAME).count("2001:db8::2"), "the peer is elsewhere")
    road.other.namespace.add_address("wire", "192.0.2.3/24")
    name_is("192.0.2.3")
    wait_until(lambda: endpoint() == "192.0.2.3:51820", "the name has moved")
    expect_ping(road, "10.80.0.2")
    road.host.expect("down", NAME)
    road.other.expect("down", "gw1")


@scenario("a gateway for everything: Forward and Masquerade", pairs=ALONE)
def gateway(lab, _):
    private_resolver(lab)
    road = Road(lab)
    internet = lab.namespace("internet")
    join(road.other.namespace, "out", internet, "out")
    for namespace, number in ((road.other.namespace, 1), (internet, 2)):
        namespace.add_address("out", f"203.0.113.{number}/24", f"2001:db8:113::{number}/64")
    wait_until(lambda: internet.owns("2001:db8:113::2"), "the way out is up")
    road.other.write(
        f"[Interface]\nPrivateKey = {road.server_keys[0]}\nListenPort = 51820\nAddress = 10.80.0.2/24, fd80::2/64\n"
        f"Forward = yes\nMasquerade = out\n[Peer]\nPublicKey = {road.keys[1]}\nAllowedIPs = 10.80.0.1/32, fd80::1/128\n", "gw1")
    road.other.expect("up", road.other.path("gw1"))
    road.host.write(road.text("DNS = 10.80.0.2", allowed="0.0.0.0/0, ::/0"))
    road.host.expect("up", road.host.file)
    for address in ("203.0.113.2", "2001:db8:113::2"):
        expect_ping(road, address)
    check("masquerade" in road.other.namespace.run("nft", "list", "table", "inet", "culvert-nat-gw1"), "by a table of its own")
    road.host.expect("down", NAME)
    road.other.expect("down", "gw1")
    check("culvert" not in road.other.namespace.run("nft", "list", "tables"), "which goes with it")
