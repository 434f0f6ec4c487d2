"""Keys in the daemon's memory: each once, where it is used, and in no file that a crash leaves."""

import base64
import os
import re
import resource
import signal
import socket

from rig.implementation import generate_key, generate_preshared_key, implementation, sanitized, wireguard
from rig.scenario import scenario
from rig.shell import attempt, check, wait_until

ALONE = (("culvert",),)
QUIET = {key: value for key, value in os.environ.items() if key not in ("LOG_LEVEL", "WG_PROCESS_FOREGROUND")}


def forms(key):
    """A key as it is, as configuration files and as UAPI write it; without the last, padded digit of base64."""
    plain = base64.b64decode(key)
    return {"bytes": plain, "base64": key[:42].encode(), "hex": plain.hex().encode()}


def found(pid, keys):
    """Where each form of each key lies in the writable memory of a process, as {(name, form): [mapping, ...]}."""
    places = {(name, form): [] for name, key in keys.items() for form in forms(key)}
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            mapped = re.match(r"([0-9a-f]+)-([0-9a-f]+) .w\S+ \S+ \S+ \d+ *(.*)", line)
            if not mapped:
                continue
            begin, end = int(mapped[1], 16), int(mapped[2], 16)
            try:
                content = os.pread(memory.fileno(), end - begin, begin)
            except OSError:
                continue  # rings of io_uring and the like, which the kernel does not let us read
            for name, key in keys.items():
                for form, text in forms(key).items():
                    places[name, form] += [f"{mapped[3] or 'anonymous'}+{at.start():#x}" for at in re.finditer(re.escape(text), content)]
    return places


def expect(pid, keys, times, when):
    """Each key so many times as bytes, and never as text. Sanitizers keep stacks that are over, and terabytes of their own."""
    for (name, form), places in ({} if sanitized() else found(pid, keys)).items():
        wanted = times if form == "bytes" else 0
        check(len(places) == wanted, f"{when}: {name} as {form} is in memory {len(places)} times, not {wanted}: {places}")


def ask(interface, text):
    """One operation on the UAPI socket, in pieces that cut keys in two."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(f"/var/run/wireguard/{interface}.sock")
        for at in range(0, len(text), 50):
            connection.sendall(text[at:at + 50].encode())
        answer = b""
        while not answer.endswith(b"\n\n"):
            answer += connection.recv(65536)
    check(b"errno=0\n" in answer, f"answered by {answer[-40:]}")


@scenario("each key is in memory once, wherever it came from", pairs=ALONE)
def once(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    peer = generate_key()[1]
    keys = {"private key": generate_key()[0], "preshared key": generate_preshared_key()}
    path = os.path.join(lab.directory, "wg.conf")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
        file.write(f"[Interface]\nPrivateKey = {keys['private key']}\nAddress = 10.9.0.1/24\n[Peer]\nPublicKey = {peer}\n"
                   f"PresharedKey = {keys['preshared key']}\nAllowedIPs = 10.9.0.0/24\nEndpoint = 127.0.0.1:9\n" + "# filled\n" * 20000)
    daemon = lab.background(namespace.start(program, "-f", "--config", path, "wgk", env=QUIET))
    wait_until(lambda: peer in attempt("wg", "show", "wgk", "peers").stdout, "the configuration is there")
    expect(daemon.pid, keys, 1, "--config")
    check(keys["private key"] in wireguard("show", "wgk", "dump"), "get tells the key")
    expect(daemon.pid, keys, 1, "after a get")
    others = {"private key": generate_key()[0], "preshared key": generate_preshared_key()}
    hexed = {name: forms(key)["hex"].decode() for name, key in others.items()}
    ask("wgk", f"set=1\nprivate_key={hexed['private key']}\npublic_key={base64.b64decode(peer).hex()}\n"
               f"preshared_key={hexed['preshared key']}\npersistent_keepalive_interval=25\n\n")
    expect(daemon.pid, others, 1, "after a set")
    expect(daemon.pid, keys, 0, "once replaced")
    for number in range(20):
        wireguard("set", "wgk", "peer", generate_key()[1], "preshared-key", lab.secret(generate_preshared_key()))
        wireguard("show", "wgk", "dump")
    expect(daemon.pid, others, 1, "after many sets and gets")
    ask("wgk", f"set=1\nprivate_key={'0' * 64}\nreplace_peers=true\n\n")
    expect(daemon.pid, others, 0, "once removed")


def dumps(namespace, directory, *command, when):
    """Whether a program that is killed by SIGABRT leaves a core."""
    process = namespace.start(*command, env=QUIET, cwd=directory,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2))
    wait_until(when, f"{command[0]} runs")
    os.kill(process.pid, signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = status
    check(os.WIFSIGNALED(status), f"{command[0]} died of the signal")
    return os.WCOREDUMP(status)


@scenario("a crash leaves no core", pairs=ALONE)
def no_core(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    started = os.path.join(lab.directory, "started")
    check(dumps(namespace, lab.directory, "sh", "-c", f"echo > {started}; read forever < /dev/zero", when=lambda: os.path.exists(started)),
          "this machine writes cores: of a shell")
    check(not dumps(namespace, lab.directory, program, "-f", "wgc", when=lambda: attempt("wg", "show", "wgc").returncode == 0),
          "of the daemon it writes none")
