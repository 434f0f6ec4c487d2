"""The wire between two nodes: what passes, and what an attacker could put there."""

import base64
import hashlib
import os
import socket
import time

from rig.shell import Failure

ETH_P_ALL = 3
INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4
LENGTHS = {INITIATION: 148, RESPONSE: 92, COOKIE_REPLY: 64}


class Datagram:
    """An outer UDP datagram as it was seen: traffic class, source, ports, payload, and the whole frame for replays."""

    def __init__(self, frame):
        packet = frame[14:]
        if packet[0] >> 4 == 4:
            self.traffic_class, start = packet[1], (packet[0] & 15) * 4
            self.protocol = packet[9]
            self.source = socket.inet_ntop(socket.AF_INET, packet[12:16])
        else:
            self.traffic_class, start = (int.from_bytes(packet[:2], "big") >> 4) & 255, 40
            self.protocol = packet[6]
            self.source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
        self.frame = frame
        self.source_port = int.from_bytes(packet[start:start + 2], "big")
        self.target_port = int.from_bytes(packet[start + 2:start + 4], "big")
        self.payload = packet[start + 8:]
        self.type = self.payload[0] if self.payload else 0


class Capture:
    """Sees every frame of an interface, and can send them again. Trains are seen as the datagrams that they become."""

    def __init__(self, node, interface="wire"):
        node.namespace.attempt("ethtool", "-K", interface, "tx-udp-segmentation", "off")  # else they are seen before that
        with node.namespace.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((interface, ETH_P_ALL))
        self.socket.settimeout(0.2)

    def next(self, match, what, timeout=60):
        """The next UDP datagram for which match(datagram) is true."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                frame = self.socket.recv(65600)
            except TimeoutError:
                continue
            if len(frame) > 42 and frame[12:14] in (b"\x08\x00", b"\x86\xdd"):
                seen = Datagram(frame)
                if seen.protocol == socket.IPPROTO_UDP and match(seen):
                    return seen
        raise Failure(f"waited {timeout} s in vain to see {what} on the wire")

    def drain(self):
        """All UDP datagrams that have been seen and not yet taken."""
        self.socket.setblocking(False)
        seen = []
        try:
            while True:
                frame = self.socket.recv(65600)
                if len(frame) > 42 and frame[12:14] in (b"\x08\x00", b"\x86\xdd"):
                    seen.append(Datagram(frame))
        except BlockingIOError:
            self.socket.settimeout(0.2)
        return [each for each in seen if each.protocol == socket.IPPROTO_UDP]

    def inject(self, frame):
        """Sends a frame. UDP over IPv4 goes without checksum: what was seen has none yet if a device should compute it."""
        if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP:
            at = 14 + (frame[14] & 15) * 4 + 6
            frame = frame[:at] + b"\0\0" + frame[at + 2:]
        self.socket.send(frame)

    def close(self):
        self.socket.close()


def with_mac1(message, public_key):
    """A handshake message that ends in its mac1, completed by a zero mac2: what anybody can make who knows the public key."""
    key = hashlib.blake2s(b"mac1----" + base64.b64decode(public_key)).digest()
    return message + hashlib.blake2s(message, key=key, digest_size=16).digest() + bytes(16)


def false_initiation(public_key):
    return with_mac1(b"\x01\0\0\0" + os.urandom(112), public_key)


def false_response(public_key):
    return with_mac1(b"\x02\0\0\0" + os.urandom(56), public_key)


def hostile_datagrams(public_key, receiver_index):
    """Every kind of bad datagram: truncated, oversized, of wrong types, with wrong and right mac1, with a live index."""
    for kind in (*range(0, 10), 255):
        for length in (0, 1, 3, 4, 15, 16, 31, 32, 33, 63, 64, 65, 91, 92, 93, 147, 148, 149, 1400, 1500, 9000, 65507):
            yield (bytes([kind, 0, 0, 0]) + os.urandom(65507))[:length]
            yield (bytes([kind]) + os.urandom(65507))[:length]
    for _ in range(300):
        yield false_initiation(public_key)
        yield false_response(public_key)
        yield b"\x03\0\0\0" + receiver_index + os.urandom(56)
    for length in (16, 32, 33, 47, 48, 1452, 65504):
        for counter in (0, 1, 1 << 13, (1 << 64) - (1 << 13) - 1, (1 << 64) - 1):
            yield b"\x04\0\0\0" + receiver_index + counter.to_bytes(8, "little") + os.urandom(length - 16)
