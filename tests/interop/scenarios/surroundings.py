"""culvert up among what else a host has: name servers that fail, resolvectl, routers, other tunnels of the process."""

import json
import os
import shutil
import socket
import struct

from rig.dns import Resolver
from rig.implementation import generate_key
from rig.scenario import scenario
from rig.shell import check, run, wait_until
from rig.traffic import expect_ping
from scenarios.gateway import ALONE, NAME, Host, Road, expect_same, hooks_of, private_resolver, section


@scenario("name servers that are down at boot, come back, and go again; both families are raced", pairs=ALONE)
def name_server(lab, _):
    private_resolver(lab, "192.0.2.2")
    road = Road(lab)
    road.other.expect("up", road.other.path("gw1"))
    road.host.write(road.text("Resolve = 1s", endpoint="vpn.example:51820", more="PersistentKeepalive = 1"))
    process = road.host.start(road.host.file)
    wait_until(lambda: "cannot be found" in road.host.said() and "gw0 is up" in road.host.said(), "it is up without a name server")
    check("vpn.example:51820 (not found yet)" in road.host.expect("status", NAME), "the name is not found yet")
    endpoint = lambda: run("wg", "show", NAME, "endpoints").split()[1]
    # Of the address that goes first nobody answers, so that the other family has to have had its try at once.
    resolver = Resolver(road.other.namespace, "192.0.2.2", {"vpn.example": ["2001:db8::99", "192.0.2.2"]})
    wait_until(lambda: road.handshake() != "0", "the name server is back, and there is a handshake")
    check(endpoint() == "192.0.2.2:51820", f"with whoever answers: {endpoint()}")
    tries = road.host.said().split("is tried at", 1)[1].split("Received handshake response")[0].count("Sending handshake initiation")
    check(tries == 1, f"by the first initiation, not {tries}")
    resolver.close()
    before = road.host.said().count("cannot be found")
    wait_until(lambda: road.host.said().count("cannot be found") > before, "the name server has gone again")
    expect_ping(road, "10.80.0.2")
    check(endpoint() == "192.0.2.2:51820", "which changes nothing")
    road.other.namespace.add_address("wire", "192.0.2.3/24")
    resolver = Resolver(road.other.namespace, "192.0.2.2", {"vpn.example": ["192.0.2.3"]})
    wait_until(lambda: endpoint() == "192.0.2.3:51820", "it is back with another address")
    expect_ping(road, "10.80.0.2")
    resolver.close()
    process.terminate()
    check(process.wait(30) == 0, "SIGTERM ends it")
    road.other.expect("down", "gw1")


@scenario("name servers by resolvectl, where that is all there is", pairs=ALONE)
def by_resolvectl(lab, _):
    host = Host(lab, "host")
    log = os.path.join(lab.directory, "resolvectl.log")
    programs = os.path.join(lab.directory, "programs")
    os.makedirs(programs)
    with open(os.open(os.path.join(programs, "resolvectl"), os.O_WRONLY | os.O_CREAT, 0o755), "w", encoding="ascii") as script:
        script.write(f"#!/bin/sh\n[ -e /proc/sys/net/ipv4/conf/$2 ] && echo \"$@\" >> {log}\n"
                     "for word; do [ $word != refused.example ] || exit 7; done\n")
        script.write(f"[ ! -e {log}.ask ] || {host.program} reload gw0 2>> {log}.ask || true\n")
    os.symlink(shutil.which("nsenter"), os.path.join(programs, "nsenter"))
    host.env["PATH"] = programs
    clean = host.snapshot()
    keys = generate_key()[0], generate_key()[1]

    def write(dns):
        host.write(section(keys, f"Address = 10.80.0.1/24\n{dns}", "AllowedIPs = 10.80.0.2/32"))

    def said():
        with open(log, encoding="ascii") as lines:
            said = lines.read().splitlines()
        os.unlink(log)
        return said

    write("DNS = 10.80.0.53, fd80::53, corp.example")
    check("resolvconf" not in host.culvert("check", host.file).stderr, "nothing is missing")
    host.expect("up", host.file)
    expect_same(said(), ["dns gw0 10.80.0.53 fd80::53", "domain gw0 ~. corp.example"], "up")
    write("DNS = 10.80.0.54")
    host.expect("reload", NAME)
    expect_same(said(), ["dns gw0 10.80.0.54", "domain gw0 ~."], "other servers")
    write("")
    host.expect("reload", NAME)
    expect_same(said(), ["revert gw0"], "none any more")
    with open(f"{log}.ask", "x", encoding="ascii") as ask:
        write("DNS = 10.80.0.53")
    host.expect("reload", NAME)
    with open(ask.name, encoding="ascii") as ask:
        check("which waits for the program that asks" in ask.read(), "a program that asks for a reload meanwhile is told so")
    os.unlink(ask.name)
    host.expect("down", NAME)
    expect_same(said(), ["dns gw0 10.80.0.53", "domain gw0 ~.", "revert gw0"], "down")
    write("DNS = 10.80.0.53, refused.example")
    done = host.culvert("up", host.file)
    check(done.returncode == 1 and "resolvectl domain ended with status 7" in done.stderr, f"it refuses: {done}")
    expect_same(host.snapshot(), clean, "all is gone")


def advertise_router(namespace, interface):
    """One router advertisement (RFC 4861, 4.2) for half an hour, to all nodes on the interface."""
    with namespace.entered():
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as out:
            number = socket.if_nametoindex(interface)
            out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, number)
            out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            out.sendto(struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, number))


@scenario("a gateway that forwards keeps the IPv6 default route that a router advertises", pairs=ALONE)
def router(lab, _):
    host = Host(lab, "host")
    keys = generate_key()[0], generate_key()[1]
    route = lambda: "proto ra" in host.namespace.run("ip", "-6", "route", "show", "default")

    def advertised():
        advertise_router(host.outside, "wire")
        return route()

    wait_until(lambda: "tentative" not in host.outside.run("ip", "-6", "address", "show", "dev", "wire", "scope", "link"), "it may send")
    wait_until(advertised, "the host has a route from a router", interval=0.2)
    host.write(section(keys, "Address = 10.80.0.1/24\nForward = yes", "AllowedIPs = 10.80.0.2/32"))
    check("net/ipv6/conf/wire/accept_ra=2" in host.expect("check", host.file), "check says what would happen")
    host.expect("up", host.file)
    check(route(), "the route is still there")
    host.namespace.ip("-6", "route", "del", "default")
    wait_until(advertised, "and comes again", interval=0.2)
    host.expect("reload", NAME)
    host.expect("down", NAME)
    check(route(), "and stays")


@scenario("three tunnels in one process share its threads, and each goes its own way", pairs=ALONE)
def three(lab, _):
    near, far = Host(lab, "near"), Host(lab, "far")
    far.namespace = near.outside
    names = ["gw1", "gw2", "gw3"]
    for number, name in enumerate(names, 1):
        keys = {near: generate_key(), far: generate_key()}
        for host, other, own in ((near, far, 1), (far, near, 2)):
            host.write(f"[Interface]\nPrivateKey = {keys[host][0]}\nListenPort = {52000 + number}\nAddress = 10.{80 + number}.0.{own}/24\n"
                       f"Workers = 2\n[Peer]\nPublicKey = {keys[other][1]}\nAllowedIPs = 10.{80 + number}.0.0/24\n"
                       f"Endpoint = 192.0.2.{3 - own}:{52000 + number}\n", name if host is near else f"far{number}")
    threads = lambda process: len(os.listdir(f"/proc/{process.pid}/task"))
    alone = near.start(near.path("gw1"))
    wait_until(lambda: "gw1 is up" in near.said(), "one is up")
    threads_of_one = threads(alone)
    alone.terminate()
    check(alone.wait(30) == 0, "it ends")
    far.start(*(far.path(f"far{number}") for number in (1, 2, 3)))
    process = near.start(*(near.path(name) for name in names))
    for number in (1, 2, 3):
        wait_until(lambda n=number: f"gw{n} is up" in near.said() and f"far{n} is up" in far.said(), f"gw{number} is up")
    check(threads(process) == threads_of_one, f"as many threads as one has: {threads(process)}, {threads_of_one}")
    near.which = "culvert"
    for number in (1, 2, 3):
        expect_ping(near, f"10.{80 + number}.0.2")
        check(f"gw{number}: peer(" in near.said(), f"the log says which one it is about: {near.said()[-2000:]}")
    status = json.loads(near.expect("status", "--json"))["interfaces"]
    check([each["name"] for each in status] == ["far1", "far2", "far3", *names], "all are in one answer")
    check(all(each["peers"][0]["latest_handshake"] and each["public_key"] for each in status), "with what is known of each")
    one = json.loads(near.expect("status", "--json", "gw2"))["interfaces"]
    check([each["name"] for each in one] == ["gw2"], f"or one alone: {one}")
    near.namespace.ip("link", "del", "gw2")
    wait_until(lambda: "gw2 is down" in near.said(), "one is taken away")
    for number in (1, 3):
        expect_ping(near, f"10.{80 + number}.0.2")
    near.expect("down", "gw1")
    expect_ping(near, "10.83.0.2")
    check(threads(process) == threads_of_one, "the last one has the threads for itself")
    near.expect("down", "gw3")
    check(process.wait(30) == 0, "with the last one it ends")


@scenario("hooks that ask for what their own process does to other tunnels, and to theirs", pairs=ALONE)
def hooks_that_ask(lab, _):
    host = Host(lab, "host")
    program, log = host.program, host.log
    readdress = lambda number: f"sed -i 's/^Address.*/Address = 10.81.0.{number}\\/24/' {host.path('gw1')}; {program} reload gw1"
    hooks = {
        "gw1": "",
        "gw2": f"PostUp = {program} reload %i 2>> {log} || true\nPostUp = {readdress(2)}; echo reloaded >> {log}\n"
               f"PreDown = {program} down gw3; echo gw3 is down >> {log}\nPostDown = {program} down %i 2>> {log} || true",
        "gw3": f"PostDown = {readdress(3)}; echo again >> {log}",
    }
    for number, (name, lines) in enumerate(hooks.items(), 1):
        keys = generate_key()[0], generate_key()[1]
        host.write(section(keys, f"Address = 10.8{number}.0.1/24\n{lines}", f"AllowedIPs = 10.8{number}.0.0/24"), name)
    process = host.start(*(host.path(name) for name in hooks))
    wait_until(lambda: all(f"{name} is up" in host.said() for name in hooks), "all are up")
    address = lambda: host.namespace.run("ip", "-4", "address", "show", "dev", "gw1")
    check("10.81.0.2/24" in address(), "the hook of one has changed another")
    host.expect("down", "gw2")
    check("10.81.0.3/24" in address(), "the hook of a tunnel that a hook took down as well")
    check(run("wg", "show", "interfaces").split() == ["gw1"], "both are down")
    said = hooks_of(host)
    check([line for line in said if "culvert: " not in line] == ["reloaded", "again", "gw3 is down"], f"each in its turn: {said}")
    check("gw2 is not up" in said[0] and "gw2 is served by another culvert" in said[-1], f"for its own tunnel it is refused: {said}")
    host.expect("down", "gw1")
    check(process.wait(30) == 0, "with the last one the process ends")


@scenario("one name in two network namespaces", pairs=ALONE)
def one_name(lab, _):
    one, other = Host(lab, "one"), Host(lab, "other")
    for host in (one, other):
        host.write(section((generate_key()[0], generate_key()[1]), f"Address = 10.80.0.1/24\nPostDown = echo down >> {host.log}",
                           "AllowedIPs = 0.0.0.0/0"))
    clean = one.snapshot()
    process = one.start(one.file)
    wait_until(lambda: "gw0 is up" in one.said(), "it is up in one")
    done = other.culvert("up", other.file)
    check(done.returncode == 1 and "in another network namespace" in done.stderr, f"the other refuses: {done}")
    check(not hooks_of(other), "before it does anything")
    process.kill()
    process.wait()
    other.expect("up", other.file)
    other.expect("down", NAME)
    one.expect("down", NAME)
    expect_same([line.replace("src_valid_mark: 1", "src_valid_mark: 0") for line in one.snapshot()], clean, "what was left in one is cleaned up there")
    check(hooks_of(one) == ["down"] and hooks_of(other) == ["down"], "by its own hooks")
