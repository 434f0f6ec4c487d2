"""The process: command line, environment, daemonizing, sockets, signals."""

import errno
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import threading

from rig.implementation import SOCKETS, connects, implementation, wireguard
from rig.lab import introduce
from rig.scenario import scenario
from rig.shell import attempt, check, wait_until
from rig.traffic import expect_ping, transfer

ALONE = (("culvert",),)
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 1, 0x1000, 0x4000
QUIET = {key: value for key, value in os.environ.items() if key not in ("LOG_LEVEL", "WG_PROCESS_FOREGROUND")}


def socket_of(interface):
    return f"{SOCKETS}/{interface}.sock"


def answers(interface):
    return connects(socket_of(interface)) and attempt("wg", "show", interface).returncode == 0


def exists(namespace, interface):
    return namespace.attempt("ip", "link", "show", interface).returncode == 0


def processes(program, interface):
    """The pids of a program that serves an interface. Only this scenario's processes can be seen."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                zombie = file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            continue
        if words[0] == program and interface in words and not zombie:
            found.append(int(pid))
    return found


def gone(namespace, program, interface, why):
    wait_until(lambda: not processes(program, interface), f"{why}: the daemon ends")
    check(not os.path.exists(socket_of(interface)), f"{why}: the socket is gone")
    wait_until(lambda: not exists(namespace, interface), f"{why}: the interface is gone")


@scenario("wrong command lines end with status 2 and the usage", pairs=ALONE)
def usage(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    for words in ((), ("-f",), ("a", "b"), ("-x", "wg0"), ("--nonsense",), ("-f", "a", "b"), ("",), ("a" * 16,), ("a/b",), ("..",), ("a b",)):
        done = namespace.attempt(program, *words, env=QUIET)
        check(done.returncode == 2, f"culvert {' '.join(words)}: status {done.returncode}")
        check("sage" in done.stdout + done.stderr or "sage" in done.stderr, f"culvert {' '.join(words)} prints no usage: {done.stderr}")
    done = attempt(program, "--version")
    check(done.returncode == 0 and any(each.isdigit() for each in done.stdout), f"--version: {done}")


@scenario("the daemonizing parent returns when device and socket exist", pairs=ALONE)
def daemonizes(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # of the daemon too, even if these tests run under nohup
    for number, stop in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)):
        interface = f"d{number}"
        # Output is captured: this returns only if the daemon lets go of its parent's descriptors.
        done = namespace.attempt(program, interface, env=QUIET)
        check(done.returncode == 0, f"status {done.returncode}: {done.stderr}")
        check(exists(namespace, interface) and os.path.exists(socket_of(interface)), "both exist when the parent returns")
        check(answers(interface), "and the socket answers")
        check(stat.S_IMODE(os.stat(socket_of(interface)).st_mode) & 0o077 == 0, "the socket is its owner's alone")
        check(stat.S_IMODE(os.stat(SOCKETS).st_mode) == 0o755, "the directory is for all to read")
        check("mtu 1420" in namespace.ip("link", "show", interface), "the MTU is 1420")
        pids = processes(program, interface)
        check(len(pids) == 1, f"one daemon is left: {pids}")
        os.kill(pids[0], stop)
        gone(namespace, program, interface, stop.name)


@scenario("WG_PROCESS_FOREGROUND=1 and --foreground stay, and signals end them with status 0", pairs=ALONE)
def foreground(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    cases = (("wgf1", [], {"WG_PROCESS_FOREGROUND": "1"}, signal.SIGTERM), ("wgf2", ["-f"], {}, signal.SIGINT),
             ("wgf3", ["--foreground"], {}, signal.SIGHUP), ("wgf4", ["-f"], {}, signal.SIGQUIT))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for interface, options, env, stop in cases:
        process = namespace.start(program, *options, interface, env={**QUIET, **env})
        wait_until(lambda: answers(interface), f"{interface} answers")
        process.send_signal(stop)
        check(process.wait(60) == 0, f"status {process.returncode} after {stop.name}")
        gone(namespace, program, interface, stop.name)


@scenario("the kernel gives the interface no address and sends nothing through it", pairs=ALONE)
def silent_interface(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    lab.background(namespace.start(program, "-f", "wgq", env=QUIET))
    wait_until(lambda: answers("wgq"), "it answers")
    sent = lambda: json.loads(namespace.ip("-j", "-s", "link", "show", "wgq"))[0]["stats64"]["tx"]["packets"]  # noqa: E731
    namespace.ip("link", "set", "wgq", "up")
    usual = open_tun(namespace, "usual", IFF_TUN | IFF_NO_PI)
    namespace.ip("link", "set", "usual", "up")
    check(os.read(usual, 2000), "the kernel solicits routers through any other TUN device")
    os.close(usual)
    check("inet6" not in namespace.ip("addr", "show", "wgq"), "no IPv6 address")
    check(sent() == 0, f"{sent()} packets of the kernel's own")


@scenario("without /proc it serves all the same", pairs=ALONE)
def without_proc(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    hidden = "mount -t tmpfs tmpfs /proc && exec \"$@\""
    lab.background(namespace.start("unshare", "--mount", "sh", "-c", hidden, "sh", program, "-f", "wgp", env=QUIET))
    wait_until(lambda: answers("wgp"), "it answers")
    namespace.ip("link", "set", "wgp", "up")
    port = lambda: wireguard("show", "wgp", "listen-port").strip()  # noqa: E731
    wait_until(lambda: port() != "0" and namespace.run("ss", "-Hlun", f"sport = :{port()}"), "it notices link up and listens")


@scenario("SIGHUP ends no daemon that nohup started", pairs=ALONE)
def hang_up_ignored(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    process = namespace.start("nohup", program, "-f", "wgn", env=QUIET)
    wait_until(lambda: answers("wgn"), "it answers")
    process.send_signal(signal.SIGHUP)
    check(answers("wgn") and process.poll() is None, "it goes on")
    process.terminate()
    check(process.wait(60) == 0, "and ends by SIGTERM")


@scenario("the daemon in the background holds no lock that it inherited", pairs=ALONE)
def inherited_lock(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    lock = os.path.join(lab.directory, "lock")
    namespace.run("flock", lock, program, "wgi", env=QUIET)
    check(answers("wgi"), "the daemon serves")
    check(attempt("flock", "--nonblock", lock, "true").returncode == 0, "the lock is free again")
    os.kill(processes(program, "wgi")[0], signal.SIGTERM)
    gone(namespace, program, "wgi", "SIGTERM")
    held = namespace.start("flock", lock, program, "-f", "wgi", env=QUIET)
    wait_until(lambda: answers("wgi"), "in the foreground it serves too")
    check(attempt("flock", "--nonblock", lock, "true").returncode != 0, "and holds the lock while it lives")
    os.kill(processes(program, "wgi")[0], signal.SIGTERM)
    check(held.wait(60) == 0, "and ends cleanly")


@scenario("errors of the background go to the system's log", pairs=ALONE)
def system_log(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    log = os.path.join(lab.directory, "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(60)
        listener.bind(log)
        # A /dev of its own, with what a daemon needs of it and the socket.
        private = ("mkdir -p $1/dev/net && cp -a /dev/null /dev/zero /dev/urandom /dev/random $1/dev && cp -a /dev/net/tun $1/dev/net && "
                   "ln -s $1/log $1/dev/log && mount --bind $1/dev /dev && shift && exec \"$@\"")
        namespace.run("unshare", "--mount", "sh", "-c", private, "sh", lab.directory, program, "wgl", env=QUIET)
        check(answers("wgl"), "it answers")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(socket_of("wgl"))
            client.sendall(b"set=1\nnonsense=1\n\n")
            check(b"errno=-22" in client.recv(4096), "a wrong line is refused")
        text = listener.recv(8192).decode()
        check(text.startswith("<27>") and "culvert[" in text and "(wgl)" in text and "nonsense" in text, f"the log says {text}")
    os.kill(processes(program, "wgl")[0], signal.SIGTERM)
    gone(namespace, program, "wgl", "SIGTERM")


@scenario("a second instance says in use; a stale socket is replaced", pairs=ALONE)
def second_instance(lab, which):
    program, namespace, other = implementation(which).program, lab.namespace("n"), lab.namespace("m")
    first = namespace.start(program, "-f", "wgs", env=QUIET)
    wait_until(lambda: answers("wgs"), "the first answers")
    for where in (namespace, other):  # in the other namespace the device is free, the socket is not
        for options in (["-f"], []):
            done = where.attempt(program, *options, "wgs", env={**QUIET, "LOG_LEVEL": "error"})
            check(done.returncode not in (0, 2), f"the second ends with status {done.returncode}")
            check("in use" in (done.stdout + done.stderr).lower() or "busy" in (done.stdout + done.stderr).lower(),
                  f"and says why: {done.stdout} {done.stderr}")
        check(not exists(other, "wgs"), "and leaves no device")
    check(first.poll() is None and answers("wgs"), "the first goes on")
    first.kill()
    first.wait()
    check(os.path.exists(socket_of("wgs")), "a killed daemon leaves its socket")
    wait_until(lambda: not exists(namespace, "wgs"), "its device goes with it")
    again = namespace.start(program, "-f", "wgs", env=QUIET)
    wait_until(lambda: answers("wgs"), "the next one replaces the socket")
    again.terminate()
    check(again.wait(60) == 0, "and ends cleanly")


@scenario("the daemon ends when its socket file or its device is deleted", pairs=ALONE)
def deleted(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    for interface, remove in (("wgx1", lambda: os.unlink(socket_of("wgx1"))), ("wgx2", lambda: namespace.ip("link", "del", "wgx2"))):
        process = namespace.start(program, "-f", interface, env=QUIET)
        wait_until(lambda: answers(interface), f"{interface} answers")
        namespace.ip("link", "set", interface, "up")
        remove()
        process.wait(60)
        gone(namespace, program, interface, "deletion")


def ask_as_wg_does(path, stop):
    """Asks for the socket without a pause, and removes it when it refuses, as wg(8) does."""
    while not stop.is_set():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)


@scenario("wg asking from the first moment on takes no socket away", pairs=ALONE)
def asked_early(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    for number in range(30):
        interface = f"wge{number}"
        stop = threading.Event()
        asking = threading.Thread(target=ask_as_wg_does, args=(socket_of(interface), stop), daemon=True)
        asking.start()
        process = namespace.start(program, "-f", interface, env=QUIET)
        try:
            wait_until(lambda: connects(socket_of(interface)), f"start {number + 1}: the socket is there and answers")
        finally:
            stop.set()
            asking.join()
            process.terminate()
            process.wait(60)


def open_tun(namespace, interface, flags):
    """A TUN device that somebody else made, as a descriptor to be inherited."""
    with namespace.entered():
        descriptor = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", interface.encode(), flags))
    return descriptor


def tun_descriptor(lab, which, flags):
    a, b = lab.pair(which, which, start=False)
    b.start()
    descriptor = open_tun(a.namespace, a.interface, flags)
    process = a.namespace.start(a.which.program, "-f", a.interface, env={**QUIET, "WG_TUN_FD": str(descriptor)}, pass_fds=[descriptor])
    os.close(descriptor)
    lab.background(process)
    wait_until(lambda: answers(a.interface), "it answers")
    check("mtu 1420" in a.namespace.ip("link", "show", a.interface), "the MTU is 1420")
    check("addrgenmode none" in a.namespace.ip("-d", "link", "show", a.interface), "it gets no link-local address")
    a.set("listen-port", a.port, "private-key", lab.secret(a.private_key))
    a.namespace.add_address(a.interface, f"{a.inner['v4']}/24", f"{a.inner['v6']}/64")
    a.namespace.ip("link", "set", a.interface, "up")
    introduce(a, b)
    expect_ping(a, b.inner["v4"])
    transfer(a, b)
    transfer(b, a, "v6")
    process.terminate()
    check(process.wait(60) == 0, "and ends cleanly")


@scenario("WG_TUN_FD: a device that was passed, with offloads", pairs=ALONE)
def tun_descriptor_offloads(lab, which):
    tun_descriptor(lab, which, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)


@scenario("WG_TUN_FD: a device that was passed, without offloads", pairs=ALONE)
def tun_descriptor_plain(lab, which):
    tun_descriptor(lab, which, IFF_TUN | IFF_NO_PI)


@scenario("WG_UAPI_FD: a listening socket that was passed", pairs=ALONE)
def uapi_descriptor(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(socket_of("wgu"))
        listener.listen(8)
        process = namespace.start(program, "-f", "wgu", env={**QUIET, "WG_UAPI_FD": str(listener.fileno())}, pass_fds=[listener.fileno()])
    lab.background(process)
    wait_until(lambda: answers("wgu"), "it answers on the socket that it was given")
    process.terminate()
    check(process.wait(60) == 0, "and ends cleanly")


@scenario("what cannot work ends with a word of why", pairs=ALONE)
def hopeless(lab, which):
    program, namespace = implementation(which).program, lab.namespace("n")
    loud = {**QUIET, "LOG_LEVEL": "error"}
    cases = (({"WG_TUN_FD": "nonsense"}, "a descriptor that is no number"), ({"WG_TUN_FD": "77"}, "a descriptor that is not open"),
             ({"WG_UAPI_FD": "78"}, "a socket that is not open"))
    for env, what in cases:
        done = namespace.attempt(program, "-f", "wgh", env={**loud, **env})
        check(done.returncode != 0 and (done.stdout + done.stderr).strip(), f"{what}: {done}")
        check(not os.path.exists(socket_of("wgh")), f"{what}: no socket is left")
    unprivileged = namespace.attempt("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
                                     program, "-f", "wgh", env=loud)
    check(unprivileged.returncode not in (0, 2) and (unprivileged.stdout + unprivileged.stderr).strip(), f"no rights: {unprivileged}")
    namespace.run("ip", "link", "add", "wgh", "type", "veth", "peer", "name", "wgh2")
    done = namespace.attempt(program, "-f", "wgh", env=loud)
    check(done.returncode == 1 and "wgh exists and is no TUN device" in done.stdout + done.stderr, f"a name that is taken: {done}")
