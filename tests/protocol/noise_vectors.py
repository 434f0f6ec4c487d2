#!/usr/bin/env python3
"""Prints noise_vectors.h: one handshake with and one without a preshared key, computed from the WireGuard paper
alone, as a second opinion on src/protocol/noise.cc and cookie.cc. Needs python3-cryptography; run it through
clang-format."""

import argparse
import hashlib
import hmac

argparse.ArgumentParser(description=__doc__).parse_args()

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305


def HASH(data):
    return hashlib.blake2s(data).digest()


def MAC(key, data):
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def KDF(n, key, data):
    t0 = hmac.new(key, data, hashlib.blake2s).digest()
    out, previous = [], b""
    for i in range(1, n + 1):
        previous = hmac.new(t0, previous + bytes([i]), hashlib.blake2s).digest()
        out.append(previous)
    return out


def AEAD(key, counter, plain, associated):
    return ChaCha20Poly1305(key).encrypt(bytes(4) + counter.to_bytes(8, "little"), plain, associated)


def PUB(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def DH(private, public):
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def clamped(seed):
    key = bytearray(HASH(seed))
    key[0] &= 248
    key[31] = key[31] & 127 | 64
    return bytes(key)


initiator, responder = clamped(b"initiator"), clamped(b"responder")
e_i, e_r = clamped(b"initiator ephemeral"), clamped(b"responder ephemeral")
index_i, index_r = 0x01020304, 0xF1F2F3F4
timestamp = (2**62 + 10 + 1700000000).to_bytes(8, "big") + (7 << 24).to_bytes(4, "big")
cookie = HASH(b"cookie")[:16]


def handshake(psk):
    c = HASH(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    h = HASH(c + b"WireGuard v1 zx2c4 Jason@zx2c4.com")
    h = HASH(h + PUB(responder))
    c = KDF(1, c, PUB(e_i))[0]
    h = HASH(h + PUB(e_i))
    c, k = KDF(2, c, DH(e_i, PUB(responder)))
    static = AEAD(k, 0, PUB(initiator), h)
    h = HASH(h + static)
    c, k = KDF(2, c, DH(initiator, PUB(responder)))
    stamp = AEAD(k, 0, timestamp, h)
    h = HASH(h + stamp)
    initiation = bytes([1, 0, 0, 0]) + index_i.to_bytes(4, "little") + PUB(e_i) + static + stamp
    initiation += MAC(HASH(b"mac1----" + PUB(responder)), initiation)
    initiation += MAC(cookie, initiation)

    c = KDF(1, c, PUB(e_r))[0]
    h = HASH(h + PUB(e_r))
    c = KDF(1, c, DH(e_r, PUB(e_i)))[0]
    c = KDF(1, c, DH(e_r, PUB(initiator)))[0]
    c, t, k = KDF(3, c, psk)
    h = HASH(h + t)
    nothing = AEAD(k, 0, b"", h)
    response = bytes([2, 0, 0, 0]) + index_r.to_bytes(4, "little") + index_i.to_bytes(4, "little")
    response += PUB(e_r) + nothing
    response += MAC(HASH(b"mac1----" + PUB(initiator)), response) + bytes(16)

    from_initiator, from_responder = KDF(2, c, b"")
    return initiation, response, from_initiator, from_responder


def constant(name, value):
    text = value.hex()
    lines = [text[i : i + 96] for i in range(0, len(text), 96)]
    print(f"inline constexpr std::string_view {name} =\n    " + "\n    ".join(f'"{line}"' for line in lines) + ";")


print("// Made by noise_vectors.py: a separate implementation of the handshake after the WireGuard paper.")
print("#pragma once\n\n#include <cstdint>\n#include <string_view>\n\nnamespace culvert::protocol::vectors {\n")
constant("kInitiatorPrivate", initiator)
constant("kInitiatorPublic", PUB(initiator))
constant("kResponderPrivate", responder)
constant("kResponderPublic", PUB(responder))
constant("kInitiatorEphemeral", e_i)
constant("kResponderEphemeral", e_r)
constant("kTimestamp", timestamp)
constant("kCookie", cookie)
print(f"inline constexpr uint32_t kInitiatorIndex = {index_i:#010x};")
print(f"inline constexpr uint32_t kResponderIndex = {index_r:#010x};")
constant("kPresharedKey", HASH(b"preshared key"))
print("\n// Its mac2 is made with kCookie; the mac2 of the responses is zero.")
constant("kInitiation", handshake(bytes(32))[0])
for name, psk in (("WithoutPsk", bytes(32)), ("WithPsk", HASH(b"preshared key"))):
    _, response, from_initiator, from_responder = handshake(psk)
    print()
    constant(f"kResponse{name}", response)
    constant(f"kFromInitiator{name}", from_initiator)
    constant(f"kFromResponder{name}", from_responder)
print("\n}  // namespace culvert::protocol::vectors")
