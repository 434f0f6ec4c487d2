#!/usr/bin/env python3
"""flood.py PUBLIC-KEY ADDRESS PORT MARK: bursts of initiations that only their mac1 makes worth a look, until killed.

Creates the file MARK once the first burst has been sent.
"""

import argparse
import base64
import hashlib
import os
import socket
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("public_key", type=base64.b64decode)
parser.add_argument("address")
parser.add_argument("port", type=int)
parser.add_argument("mark")
arguments = parser.parse_args()
mac1_key = hashlib.blake2s(b"mac1----" + arguments.public_key).digest()
initiations = []
for _ in range(2000):
    message = b"\x01\0\0\0" + os.urandom(112)
    initiations.append(message + hashlib.blake2s(message, key=mac1_key, digest_size=16).digest() + bytes(16))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
    attacker.connect((arguments.address, arguments.port))
    while True:
        for initiation in initiations:
            try:
                attacker.send(initiation)
            except OSError:  # a full queue: the next one will do
                pass
        open(arguments.mark, "w", encoding="ascii").close()
        time.sleep(0.4)
