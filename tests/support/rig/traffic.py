"""Traffic through a tunnel, and the proof that it came out as it went in."""

import hashlib
import json
import os
import socket
import struct
import threading
import time

from rig.echo import Echo
from rig.shell import Failure, check, wait_until

SOL_UDP = 17
UDP_SEGMENT = 103
SO_RCVBUFFORCE = 33


def ping(node, address, count=3, size=56, interval=0.02, wait=30, **how):
    """Sends pings from a node and returns how many were answered, waiting for each until `wait` seconds after the last.

    ping(8) will not do: once it has one answer, it gives the others twice the longest time so far, or one interval.
    `source` is an address to send from, `whole` forbids fragments.
    """
    echo = Echo(node, address, **how)
    with echo.socket:
        sent = 0
        for number in range(count):
            asked = time.monotonic()
            sent += echo.ask(number, size)
            if number < count - 1:
                echo.listen(asked + interval)
                time.sleep(max(0, asked + interval - time.monotonic()))
        echo.listen(time.monotonic() + wait)
        return sent - len(echo.unanswered)


def expect_ping(node, address, count=3, size=56, **how):
    received = ping(node, address, count, size, **how)
    check(received == count, f"{received} of {count} pings of {size} bytes from {node.which} to {address} were answered")


def until_ping(node, address, timeout=60):
    """Pings until one is answered."""
    wait_until(lambda: ping(node, address, 1, wait=1) == 1, f"a ping from {node.which} to {address}", timeout)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def bound(node, kind, address, port=0, timeout=60):
    """A socket in the node's namespace, bound to an address."""
    with node.namespace.entered():
        made = socket.socket(family_of(address), kind)
    made.settimeout(timeout)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind == socket.SOCK_DGRAM:  # fifty datagrams of 1200 bytes can be more than the default while the host is busy
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    made.bind((address, port))
    return made


def transfer(sender, receiver, family="v4", mebibytes=16, timeout=120):
    """Sends random bytes over TCP through the tunnel and compares SHA-256 at both ends."""
    block = os.urandom(1 << 20)
    sent = hashlib.sha256()
    received = hashlib.sha256()
    problems = []
    with bound(receiver, socket.SOCK_STREAM, receiver.inner[family], timeout=timeout) as listener:
        listener.listen(1)

        def receive():
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(timeout)
                    while piece := connection.recv(1 << 20):
                        received.update(piece)
            except OSError as problem:
                problems.append(problem)

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        try:
            with bound(sender, socket.SOCK_STREAM, sender.inner[family], timeout=timeout) as connection:
                connection.connect((receiver.inner[family], listener.getsockname()[1]))
                for number in range(mebibytes):
                    piece = struct.pack(">I", number) + block[4:]
                    sent.update(piece)
                    connection.sendall(piece)
        except OSError as problem:
            problems.append(problem)
        thread.join(timeout)
    direction = f"TCP {family} from {sender.which} to {receiver.which}"
    check(not problems, f"{direction}: {problems}")
    check(not thread.is_alive() and sent.digest() == received.digest(), f"{direction}: what arrived is not what was sent")


def echo_datagrams(sender, receiver, family="v4", sizes=range(0, 1372, 61), segment=None):
    """Sends UDP datagrams through the tunnel and has them echoed, one at a time; each must come back unchanged.

    With a segment size, each send is one UDP_SEGMENT superpacket, which must arrive as datagrams of that size.
    """
    with bound(receiver, socket.SOCK_DGRAM, receiver.inner[family], timeout=60) as there, \
            bound(sender, socket.SOCK_DGRAM, sender.inner[family], timeout=60) as here:
        here.connect(there.getsockname()[:2])
        there.connect(here.getsockname()[:2])
        if segment:
            here.setsockopt(SOL_UDP, UDP_SEGMENT, segment)
        for size in sizes:
            payload = os.urandom(size)
            here.send(payload)
            expected = [payload[at:at + segment] for at in range(0, size, segment)] if segment else [payload]
            try:
                arrived = [there.recv(65536) for _ in expected]
                check(arrived == expected, f"UDP {family}: {size} bytes arrived changed at {receiver.which}")
                for piece in arrived:
                    there.send(piece)
                check([here.recv(65536) for _ in expected] == expected, f"UDP {family}: an echo of {size} bytes came back changed")
            except TimeoutError as lost:
                raise Failure(f"UDP {family}: {size} bytes from {sender.which} to {receiver.which} or back were lost") from lost


class Stream:
    """Numbered datagrams sent steadily from one node to another by a thread, to see what gets through."""

    def __init__(self, sender, receiver, family="v4", interval=0.002, size=400):
        self.receiver_socket = bound(receiver, socket.SOCK_DGRAM, receiver.inner[family], timeout=0.1)
        # On a machine that is busy the receiving thread waits longer for its turn than the usual buffer lasts.
        self.receiver_socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.sender_socket = bound(sender, socket.SOCK_DGRAM, sender.inner[family])
        self.target = self.receiver_socket.getsockname()[:2]
        self.interval = interval
        self.padding = bytes(size)
        self.sent = 0
        self.seen = set()
        self.repeated = 0
        self._done_sending = threading.Event()
        self._done_receiving = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        while not self._done_sending.wait(self.interval):
            try:
                self.sender_socket.sendto(struct.pack(">I", self.sent) + self.padding, self.target)
            except OSError:  # no peer, no route: the scenario is doing that on purpose
                pass
            self.sent += 1

    def _receive(self):
        while not self._done_receiving.is_set():
            try:
                number = struct.unpack(">I", self.receiver_socket.recv(65536)[:4])[0]
            except OSError:
                continue
            self.repeated += number in self.seen
            self.seen.add(number)

    def flows(self, more=50, timeout=60):
        """Waits until that many more datagrams have arrived."""
        before = len(self.seen)
        wait_until(lambda: len(self.seen) >= before + more, f"{more} more datagrams of a stream arrive", timeout)

    def complete(self):
        """Ends the stream; everything that was sent must have arrived, once."""
        self._done_sending.set()
        self._threads[0].join()
        try:
            wait_until(lambda: len(self.seen) == self.sent, "the last datagrams of a stream arrive")
        except Failure as lost:
            raise Failure(f"{self.sent - len(self.seen)} of {self.sent} datagrams were lost") from lost
        self.stop()
        check(self.repeated == 0, f"{self.repeated} datagrams came twice")

    def stop(self):
        self._done_sending.set()
        self._done_receiving.set()
        for thread in self._threads:
            thread.join()
        self.receiver_socket.close()
        self.sender_socket.close()


def iperf(client, server, address, *arguments, seconds=3, server_port=5201):
    """One iperf3 run through the tunnel; returns its JSON. The server serves this one test and ends."""
    log = client.lab.log(f"iperf3-{server_port}")
    with open(log, "wb") as output:
        serving = server.namespace.start("iperf3", "-s", "-1", "-p", server_port, "-B", address, log=output)
    client.lab.background(serving)
    wait_until(lambda: _listening(server, server_port), "iperf3 listens")
    done = client.namespace.attempt("iperf3", "-J", "-c", address, "-p", server_port, "-t", seconds, *arguments,
                                    timeout=seconds + 60)
    serving.wait(30)
    result = json.loads(done.stdout or "{}")
    check(done.returncode == 0 and "error" not in result, f"iperf3: {result.get('error') or done.stderr}")
    return result["end"]


def _listening(node, port):
    return f":{port}" in node.namespace.run("ss", "-Hltn", f"sport = :{port}")
