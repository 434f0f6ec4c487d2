"""Configuration by wg(8) and by the UAPI socket, also under traffic."""

import ipaddress
import os
import socket

from rig.implementation import generate_key, generate_preshared_key, implementation, wireguard
from rig.lab import introduce
from rig.scenario import PAIRS, scenario
from rig.shell import attempt, check, wait_until
from rig.traffic import Stream, expect_ping, ping

ALONE = (("culvert",),)


def single(lab, which):
    node = lab.node(1, which)
    return node.start()


def write(lab, name, text):
    path = os.path.join(lab.directory, name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(text)
    return path


def sections(text):
    """A configuration as a set of sections, each a set of lines, so that order does not matter."""
    parts = [part.strip().splitlines() for part in text.split("[") if part.strip()]
    return {frozenset((part[0], *sorted(line.replace(" ", "") for line in part[1:] if line.strip()))) for part in parts}


def peer_section(public_key, *lines):
    return "\n".join(["[Peer]", f"PublicKey = {public_key}", *lines, ""])


@scenario("setconf, showconf, syncconf and addconf", pairs=ALONE)
def configuration_files(lab, which):
    node = single(lab, which)
    keys = [generate_key()[1] for _ in range(3)]
    head = f"[Interface]\nListenPort = 41111\nFwMark = 0x1234\nPrivateKey = {node.private_key}\n"
    first = peer_section(keys[0], f"PresharedKey = {generate_preshared_key()}", "AllowedIPs = 10.1.0.0/16, fd01::/64",
                         "Endpoint = 192.0.2.7:999", "PersistentKeepalive = 21")
    second = peer_section(keys[1], "AllowedIPs = 0.0.0.0/0, ::/0", "Endpoint = [2001:db8::5]:1")
    third = peer_section(keys[2])
    wireguard("setconf", node.interface, write(lab, "all", head + first + second))
    check(sections(wireguard("showconf", node.interface)) == sections(head + first + second), "showconf gives setconf back")
    wireguard("addconf", node.interface, write(lab, "more", third))
    check(sections(wireguard("showconf", node.interface)) == sections(head + first + second + third), "addconf adds")
    wireguard("syncconf", node.interface, write(lab, "less", head + third))
    check(sections(wireguard("showconf", node.interface)) == sections(head + third), "syncconf takes away")
    wireguard("setconf", node.interface, write(lab, "none", "[Interface]\n"))
    left = node.device()
    check(left["fwmark"] == "off" and node.public_key != left["public_key"], f"an empty setconf clears: {left}")
    check(wireguard("show", node.interface, "peers").strip() == "", "an empty setconf removes the peers")


@scenario("set: keys, ports, marks, peers and stolen allowed IPs", pairs=ALONE)
def single_values(lab, which):
    node = single(lab, which)
    (_, one), (_, two) = generate_key(), generate_key()
    node.set("listen-port", 0)
    wait_until(lambda: int(node.device()["listen_port"]) > 0, "port 0 has become a real one")
    node.set("fwmark", "0x77")
    check(node.device()["fwmark"] == "0x77", "fwmark set")
    node.set("fwmark", "off")
    check(node.device()["fwmark"] == "off", "fwmark off")
    node.set("peer", one, "allowed-ips", "10.0.0.0/8,fd01::/64", "peer", two, "allowed-ips", "10.0.0.0/8")
    allowed = dict(line.split("\t") for line in wireguard("show", node.interface, "allowed-ips").splitlines())
    check(allowed == {one: "fd01::/64", two: "10.0.0.0/8"}, f"the last peer owns a prefix: {allowed}")
    node.set("peer", node.public_key, "allowed-ips", "10.9.0.0/16")
    check(node.public_key not in wireguard("show", node.interface, "peers"), "our own key is no peer")
    private, public = generate_key()
    node.set("peer", public)
    node.set("private-key", lab.secret(private))
    check(public not in wireguard("show", node.interface, "peers"), "a peer with our new key goes")
    node.set("peer", one, "remove", "peer", two, "remove")
    check(wireguard("show", node.interface, "peers").strip() == "", "removed")
    node.set("private-key", "/dev/null")
    check(node.device()["private_key"] == "(none)", "the private key is cleared")
    check(node.interface in wireguard("show", "interfaces").split(), "the interface is listed")
    check(attempt("wg", "set", node.interface, "peer", "nonsense").returncode != 0, "nonsense is refused")
    check(node.daemon.alive(), "the daemon lives")


@scenario("a listen port that is taken is refused; the device comes up by itself once it is free", pairs=ALONE)
def taken_port(lab, which):
    node = single(lab, which)
    with node.namespace.entered():
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.bind(("0.0.0.0", 7777))
    for state in ("up", "down"):
        node.namespace.ip("link", "set", node.interface, state)
        done = attempt("wg", "set", node.interface, "listen-port", 7777)
        check(done.returncode != 0 and "in use" in done.stderr, f"link {state}: a taken port is refused: {done}")
        check(node.device()["listen_port"] == str(node.port), f"link {state}: and the old one stays")
    other.close()
    node.set("listen-port", 7777)
    with node.namespace.entered():
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.bind(("0.0.0.0", 7777))
    node.namespace.ip("link", "set", node.interface, "up")
    wait_until(lambda: node.device()["listen_port"] == "0", "a port that is not bound is not shown")
    check("7777" in node.daemon.log_tail(), "the log names it")
    other.close()
    wait_until(lambda: node.device()["listen_port"] == "7777", "the device comes up by itself")
    with node.namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        check(probe.connect_ex(("127.0.0.1", 7777)) == 0, "and is reached")
        try:
            probe.bind(("0.0.0.0", 7777))
            bound = False
        except OSError:
            bound = True
        check(bound, "and holds the port")


@scenario("--config with a listen port that is taken ends with status 1, and wg-quick takes back what it did", pairs=ALONE)
def taken_port_at_start(lab, which):
    namespace, program = lab.namespace("n"), implementation(which).program
    with namespace.entered():
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.bind(("0.0.0.0", 7777))
    text = f"[Interface]\nPrivateKey = {generate_key()[0]}\nListenPort = 7777\n"
    interface = lab.number_interface()
    quiet = {key: value for key, value in os.environ.items() if key not in ("LOG_LEVEL", "WG_PROCESS_FOREGROUND")}
    for options in (["-f"], []):
        done = namespace.attempt(program, *options, "--config", write(lab, "taken.conf", text), interface, env=quiet)
        check(done.returncode == 1, f"culvert {options}: status {done.returncode}")
        said = done.stdout + done.stderr
        check("7777" in said and "in use" in said, f"culvert {options} says why: {said}")
        check(namespace.attempt("ip", "link", "show", interface).returncode != 0, "no interface is left")
    path = write(lab, f"{interface}.conf", text + "Address = 10.80.0.1/24\n")
    done = namespace.attempt("wg-quick", "up", path, env={**quiet, "WG_QUICK_USERSPACE_IMPLEMENTATION": program})
    check(done.returncode != 0 and "in use" in done.stderr, f"wg-quick fails: {done}")
    wait_until(lambda: namespace.attempt("ip", "link", "show", interface).returncode != 0, "and leaves no interface")
    other.close()


@scenario("130,560 allowed IPs are set and read back equal", pairs=ALONE)
def many_allowed_ips(lab, which):
    node = single(lab, which)
    v4 = [f"{ipaddress.IPv4Address(0x0a000000 + 4 * number)}/{30 + number % 3}" for number in range(65280)]
    v6 = [f"{ipaddress.IPv6Address((0xfd01 << 112) + (number << 64))}/{64 + number % 65}" for number in range(65280)]
    wanted = {str(ipaddress.ip_network(each)) for each in v4 + v6}
    lines = [f"AllowedIPs = {each}" for each in v4 + v6]
    public = generate_key()[1]
    path = write(lab, "many", f"[Interface]\nPrivateKey = {node.private_key}\n" + peer_section(public, *lines))
    for command in ("setconf", "syncconf"):
        wireguard(command, node.interface, path, timeout=300)
        shown = wireguard("show", node.interface, "allowed-ips", timeout=300).split()
        check(shown[0] == public and len(shown) - 1 == 130560, f"{len(shown) - 1} allowed IPs are shown after {command}")
        check(set(shown[1:]) == wanted, f"{command}: what is shown is not what was set")
    wireguard("setconf", node.interface, write(lab, "few", "[Interface]\n"))
    check(wireguard("show", node.interface, "peers").strip() == "", "and all are gone again")


@scenario("peers are removed and added under traffic", pairs=PAIRS)
def peers_under_traffic(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    streams = [Stream(a, b), Stream(b, a, "v6")]
    others = [generate_key()[1] for _ in range(50)]
    for turn in range(10):
        for stream in streams:
            stream.flows(20)
        node, other = ((a, b), (b, a))[turn % 2]
        node.set(*[word for number, key in enumerate(others) for word in ("peer", key, "allowed-ips", f"10.99.{number}.0/24")])
        node.remove_peer(other)
        node.add_peer(other, "v4")
        other.remove_peer(node)
        other.add_peer(node, "v4")
        node.set(*[word for key in others for word in ("peer", key, "remove")])
    for stream in streams:
        stream.flows()
        stream.stop()
        check(stream.repeated == 0, f"{stream.repeated} datagrams came twice")


@scenario("a packet from an address that the peer may not use goes nowhere", pairs=PAIRS)
def foreign_source(lab, left, right):
    a, b = lab.pair(left, right)
    introduce(a, b)
    expect_ping(b, a.inner["v4"])
    b.namespace.add_address(b.interface, "10.80.0.66/24")
    for node, source in ((b, "10.80.0.66"),):
        check(ping(node, a.inner["v4"], 2, wait=1, source=source) == 0, "a foreign source address is dropped")
    a.set("peer", b.public_key, "allowed-ips", f"{b.inner['v4']}/32,10.80.0.66/32")
    expect_ping(b, a.inner["v4"], 2, source="10.80.0.66")


def uapi(node, text, half_close=True):
    """Sends text to the UAPI socket and returns everything that comes back until the daemon closes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(60)
        connection.connect(node.daemon.socket)
        answer = b""
        try:
            connection.sendall(text if isinstance(text, bytes) else text.encode())
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                answer += piece
        except (BrokenPipeError, ConnectionResetError):
            pass
        return answer.decode(errors="replace")


@scenario("every wrong UAPI line is refused, and the daemon goes on", pairs=ALONE)
def wrong_uapi(lab, which):
    node = single(lab, which)
    key = "ab" * 32
    wrong = ["private_key=zz", "private_key=" + "1" * 63, "private_key=" + "1" * 65, "listen_port=65536", "listen_port=-1",
             "listen_port=x", "fwmark=4294967296", "fwmark=-5", "replace_peers=false", "replace_peers=1", "nonsense=1", "noequals",
             "=", "public_key=12", f"public_key={key}\nendpoint=1.2.3.4", f"public_key={key}\nendpoint=1.2.3.4:99999",
             f"public_key={key}\nendpoint=[::1]", f"public_key={key}\nallowed_ip=1.2.3.4/33", f"public_key={key}\nallowed_ip=::/129",
             f"public_key={key}\nallowed_ip=x/1", f"public_key={key}\npersistent_keepalive_interval=65536",
             f"public_key={key}\nprotocol_version=2", f"public_key={key}\nremove=yes", f"public_key={key}\nupdate_only=0",
             f"public_key={key}\npreshared_key=0", "endpoint=1.2.3.4:5", "allowed_ip=1.2.3.0/24"]
    for line in wrong:
        answer = uapi(node, f"set=1\n{line}\n\n")
        errno = answer.strip().split("errno=")[-1]
        check(answer.startswith("errno=") and errno != "0", f"{line!r} is answered by {answer!r}")
    for text in ("nonsense\n\n", b"\0\xff\xfe" * 1000, "get=2\n\n", "set=1\n" + "x" * (1 << 20), "get=1", "set=1\nlisten_port=1"):
        uapi(node, text)
        check("errno=0" in uapi(node, "get=1\n\n"), f"after {text[:20]!r} the daemon still answers")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(60)
        connection.connect(node.daemon.socket)
        for operation in ("get=1\n\n", "set=1\nlisten_port=4444\n\n", "get=1\n\n"):
            connection.sendall(operation.encode())
            answer = b""
            while not answer.endswith(b"\n\n"):
                answer += connection.recv(65536)
            check(b"errno=0\n\n" in answer, f"{operation!r}: one connection carries many operations")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(node.daemon.socket)
        silent.sendall(b"set=1\nfwmark=9\nlisten_port=")
        shown = uapi(node, "get=1\n\n")
        check("errno=0" in shown, "a connection that says nothing more does not stall the next one")
        check("fwmark" not in shown, f"nobody sees half of what another one sets: {shown}")
    check(node.device()["listen_port"] == "4444", "what was set stays")
