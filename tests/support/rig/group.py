"""Groups of tunnels: one interface of culvert's, and as many at the other end as there are tunnels."""

import base64
import socket

from rig.implementation import SOCKETS
from rig.shell import check

HUB, FAR = "10.80.0.1", "10.82.0.2"  # inner addresses: node 1, and the place that the group leads to


def uapi(interface, text):
    """One operation on the UAPI socket; its reply."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{SOCKETS}/{interface}.sock")
        client.sendall(text.encode())
        reply = b""
        while not reply.endswith(b"\n\n"):
            reply += client.recv(65536)
    return reply.decode()


def hex_key(key):
    return base64.b64decode(key).hex()


def connect_group(hub, ends):
    """Makes the ends, in one namespace, a group of the hub's, and spreads what they send over all of them."""
    namespace = ends[0].namespace
    namespace.ip("addr", "add", f"{FAR}/32", "dev", "lo")
    for end in ends:
        end.set("peer", hub.public_key, "allowed-ips", f"{HUB}/32")
        hub.set("peer", end.public_key, "endpoint", end.endpoint("v4"))
    lines = [f"public_key={hex_key(end.public_key)}\ngroup=far\nallowed_ip={FAR}/32\n" for end in ends]
    reply = uapi(hub.interface, "set=1\n" + "".join(lines) + "\n")
    check(reply == "errno=0\n\n", f"the group is taken: {reply}")
    hub.namespace.ip("route", "add", f"{FAR}/32", "dev", hub.interface)
    with namespace.entered():
        namespace.sysctl("net/ipv4/fib_multipath_hash_policy", 1)
    hops = [word for end in ends for word in ("nexthop", "dev", end.interface)]
    namespace.ip("route", "replace", f"{HUB}/32", "src", FAR, *hops)
