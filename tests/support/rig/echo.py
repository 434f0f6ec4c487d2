"""Echo requests and their answers, each looked at on its own."""

import os
import socket
import struct
import time

IPPROTO_ICMPV6 = 58
ECHO_REQUEST, ECHO_REPLY = (8, 128), (0, 129)
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO, IPV6_DONTFRAG = 10, 23, 2, 62
DONT_FRAGMENT = (((socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO),),
                 ((socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO), (socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)))


class Echo:
    """A raw ICMP or ICMPv6 socket in the node's namespace that asks one address for echoes, each with random bytes."""

    def __init__(self, node, address, source=None, whole=False):
        self.v6 = ":" in address
        kind = (socket.AF_INET6, socket.SOCK_RAW, IPPROTO_ICMPV6) if self.v6 else (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        with node.namespace.entered():
            self.socket = socket.socket(*kind)
        if whole:
            for option in DONT_FRAGMENT[self.v6]:
                self.socket.setsockopt(*option)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((address, 0))
        self.identifier = os.urandom(2)
        self.unanswered = {}

    def ask(self, number, size):
        """Sends a request; returns False if the kernel did not take it."""
        payload = os.urandom(size)
        request = struct.pack(">BBH2sH", ECHO_REQUEST[self.v6], 0, 0, self.identifier, number) + payload
        if not self.v6:  # the kernel does it for ICMPv6
            request = request[:2] + internet_checksum(request) + request[4:]
        try:
            self.socket.send(request)
        except OSError:
            return False
        self.unanswered[number] = payload
        return True

    def listen(self, until):
        """Takes answers until there is nothing left to be answered, at most until then."""
        while self.unanswered and (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                answer = self.socket.recv(70000)
            except OSError:  # too late, or an error message for a request
                continue
            if not self.v6:
                answer = answer[(answer[0] & 15) * 4:]
            if len(answer) < 8 or answer[0] != ECHO_REPLY[self.v6] or answer[4:6] != self.identifier:
                continue
            number = struct.unpack(">H", answer[6:8])[0]
            if self.unanswered.get(number) == answer[8:]:
                del self.unanswered[number]


def internet_checksum(message):
    padded = message + b"\0" * (len(message) % 2)
    total = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return struct.pack(">H", ~total & 0xffff)
