"""What `tc` is told for a network condition, and by what our shape is told from another's."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from pillion.config import CONDITIONS, ConditionSettings
from pillion.core.model import HostId
from pillion.errors import HostRefused
from pillion.lab import conditions

TC = ["env", "PATH=/usr/sbin:/sbin:/usr/bin:/bin", "tc"]
PEER = "10.77.0.12"


class Shaped:
    """A host that says what it is given to run; `handle` of the root qdisc of its eth0, None: the kernel's own."""

    def __init__(self, name: str, address: str, handle: str | None = None, netem: bool = True) -> None:
        self.id = HostId(name)
        self.address = address
        self.handle = handle
        self.netem = netem
        self.changes: list[list[str]] = []

    async def run(self, words: Sequence[str]) -> str:
        if words[0] == "ip":
            if "route" in words:
                return json.dumps([{"dst": words[-1], "dev": "eth0"}])
            qdisc = "htb" if self.handle else "noqueue"
            return json.dumps([{"ifname": "lo", "qdisc": "noqueue"}, {"ifname": "eth0", "qdisc": qdisc}])
        assert words[:3] == TC
        if "show" in words:
            root = {"kind": "htb" if self.handle else "noqueue", "handle": self.handle or "0:", "root": True}
            return json.dumps([root, {"kind": "netem", "handle": "8001:", "parent": "b1:1"}])
        self.changes.append(list(words[3:]))
        if "netem" in words and not self.netem:
            raise HostRefused(f"{' '.join(words)}: Error: Specified qdisc kind is unknown.", place=self.id)
        if words[4] == "del":
            self.handle = None
        if "root" in words and words[4] == "add":
            self.handle = words[words.index("handle") + 1]
        return ""


def hosts(**options: object) -> list[Shaped]:
    return [Shaped("mec1", "10.77.0.11", **options), Shaped("mec2", PEER)]  # type: ignore[arg-type]  # of Shaped


def test_one_class_for_each_other_host_and_a_filter_on_its_address() -> None:
    first, second, third = (" ".join(words[3:]) for words in conditions.shape("eth0", [PEER], CONDITIONS["N1"]))
    assert first == "qdisc add dev eth0 root handle b1: htb"
    limits = "rate 1000000000bit ceil 1000000000bit burst 125000b cburst 125000b quantum 60000"
    assert second == f"class add dev eth0 parent b1: classid b1:1 htb {limits}"
    match = f"protocol ip prio 1 u32 match ip dst {PEER}/32"
    assert third == f"filter add dev eth0 parent b1: {match} flowid b1:1"
    many = conditions.shape("eth0", [f"10.77.0.{number}" for number in range(64)], CONDITIONS["N1"])
    classes = [words[words.index("classid") + 1] for words in many if "classid" in words]
    assert [words[-1] for words in many if "flowid" in words] == classes
    assert (len(set(classes)), classes[9], "default" in str(many)) == (64, "b1:a", False)


def test_a_burst_holds_one_segment_of_the_kernel_however_low_the_rate() -> None:
    _, made, _ = conditions.shape("eth0", [PEER], CONDITIONS["N2"])
    assert (made[made.index("rate") + 1], made[made.index("burst") + 1]) == ("100000000bit", "65536b")


def test_a_delay_is_netem_below_the_class_and_holds_what_is_under_way() -> None:
    *_, last = conditions.shape("eth0", [PEER], ConditionSettings(rate_mbit=1000, delay_ms=12.5))
    assert " ".join(last[3:]) == "qdisc add dev eth0 parent b1:1 netem delay 12.5ms limit 2083"


async def test_both_hosts_are_shaped_towards_each_other_and_again_from_scratch() -> None:
    pair = hosts()
    await conditions.bring_about(pair, CONDITIONS["N2"])
    assert [change[:2] for change in pair[0].changes] == [["qdisc", "add"], ["class", "add"], ["filter", "add"]]
    assert [f"{pair[1 - n].address}/32" in str(host.changes) for n, host in enumerate(pair)] == [True, True]
    pair[0].changes.clear()
    await conditions.bring_about(pair, CONDITIONS["N1"])
    assert pair[0].changes[0] == ["qdisc", "del", "dev", "eth0", "root"]
    assert len(pair[0].changes) == 4


async def test_without_a_condition_our_shape_is_removed_and_nothing_else() -> None:
    ours, untouched = hosts(handle="b1:")
    theirs = Shaped("mec3", "10.77.0.13", handle="7:")
    await conditions.bring_about([ours, untouched, theirs], None)
    assert ours.changes == [["qdisc", "del", "dev", "eth0", "root"]]
    assert untouched.changes == theirs.changes == []


async def test_another_s_shape_is_refused() -> None:
    with pytest.raises(HostRefused, match=r"mec1: eth0 is shaped by another \(qdisc 7:\)"):
        await conditions.bring_about(hosts(handle="7:"), CONDITIONS["N1"])


async def test_a_delay_without_netem_is_refused_and_leaves_no_shape() -> None:
    pair = hosts(netem=False)
    with pytest.raises(HostRefused, match="no netem"):
        await conditions.bring_about(pair, ConditionSettings(rate_mbit=100, delay_ms=5))
    assert pair[0].handle is None
    await conditions.bring_about(pair, CONDITIONS["N2"])
    assert pair[0].handle == "b1:"
