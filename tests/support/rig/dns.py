"""A name server of a scenario's own: it knows a few names and their addresses, and can be taken down and brought back."""

import contextlib
import ipaddress
import socket
import struct
import threading

TYPES = {1: 4, 28: 6}  # A and AAAA, and the IP version of each
NO_SUCH_NAME = 3


class Resolver:
    """Serves UDP port 53 of an address in a namespace, on a thread of its own, until close()."""

    def __init__(self, namespace, address, names):
        self.names = {name: [ipaddress.ip_address(each) for each in addresses] for name, addresses in names.items()}
        with namespace.entered():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def close(self):
        with contextlib.suppress(OSError):  # it is not connected, which Linux says and does it all the same
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()

    def _serve(self):
        while True:
            query, client = self.socket.recvfrom(2048)
            if not query:
                return
            with contextlib.suppress(OSError):
                self.socket.sendto(self._answer(query), client)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind, = struct.unpack(">H", query[at + 1:at + 3])
        known = self.names.get(".".join(labels))
        records = [each for each in known or () if each.version == TYPES.get(kind)]
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | (0 if known is not None else NO_SUCH_NAME), 1, len(records), 0, 0)
        return head + query[12:at + 5] + b"".join(
            struct.pack(">HHHIH", 0xc00c, kind, 1, 1, len(each.packed)) + each.packed for each in records)
