"""Listening wide: peers call any address of a prefix and any port of a range, and are answered from there."""

from rig.scenario import SELF_AND_OFFLOADS, scenario
from rig.shell import check
from rig.traffic import expect_ping, transfer

PREFIXES = "198.51.100.0/24", "2001:db8:77::/64"


@scenario("listening wide: answers leave from the address and port that were asked", pairs=SELF_AND_OFFLOADS)
def listens_wide(lab, left, right):
    a, b = lab.pair(left, right, start=False)
    a.start(env={"CULVERT_LISTEN": " ".join(("40000-40999", *PREFIXES))})
    b.start()
    for family, prefix in zip(("v4", "v6"), PREFIXES):
        a.namespace.ip("route", "add", "local", prefix, "dev", "lo")
        b.namespace.ip("route", "add", prefix, "via", a.outer[family])
    a.add_peer(b)
    b.add_peer(a)
    for asked in ("198.51.100.9:40123", "[2001:db8:77::9]:40999", f"198.51.100.200:{a.port}", "198.51.100.9:40000"):
        # wireguard-go loses what it sends first when its peer's endpoint changes family: network is unreachable.
        if not b.which.ours and asked.startswith("["):
            continue
        b.set("peer", a.public_key, "endpoint", asked)
        # A peer follows to where answers come from, so its endpoint tells.
        expect_ping(b, a.inner["v4"])
        transfer(b, a, "v6")
        transfer(a, b, "v4")
        check(b.peer(a)["endpoint"] == asked, f"it is answered from {asked}: {b.peer(a)['endpoint']}")
