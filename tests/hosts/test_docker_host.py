"""The real host: two Docker Engines behind sshd, in containers of `pillion/mec-host`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from pillion.core.host_facts import dotted
from pillion.core.model import Epoch, HostId
from pillion.errors import HostError, HostRefused, HostUnreachable, StaleEpoch
from pillion.hosts.base import ContainerSpec, ContainerState, TransferLink
from pillion.hosts.docker import DockerHost
from pillion.hosts.docker_api import HostTimeouts
from pillion.hosts.ssh import SshSettings
from pillion.hosts.transfer import HelperLink
from tests.hosts import mec_hosts
from tests.hosts.bench import COPY, NAME, VOLUME, spec, started, state
from tests.hosts.conftest import saved
from tests.hosts.contract import HostContract
from tests.hosts.docker_bench import DockerBench
from tests.hosts.mec_hosts import LAB, Machine

pytestmark = pytest.mark.lab

SUBNET = "172.31.255.0/24"
RECOVERY_TIMEOUT_S = 20.0


@pytest.fixture
async def bench(machines: list[Machine]) -> AsyncIterator[DockerBench]:
    made = DockerBench(machines)
    try:
        for host in (made.source, made.target):
            await host.ensure_network("pillion", SUBNET)
        yield made
    finally:
        await made.clean()


class TestDockerHost(HostContract):
    pass


async def ready_to_send(bench: DockerBench) -> TransferLink:
    await bench.source.ensure_volume(VOLUME, {})
    await bench.target.ensure_volume(COPY, {})
    return await bench.source.open_link(bench.target)


async def test_the_calls_inside_the_downtime_are_one_request_each(
    bench: DockerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = bench.source
    await started(bench, host)
    assert host._api._docker is not None
    session, requests = host._api._docker.session, []
    request = session._request

    async def counted(method: str, url: object, **options: object) -> object:
        requests.append(f"{method} {str(url).rpartition('/')[2]}")
        return await request(method, url, **options)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(session, "_request", counted)
    await host.ensure_paused(NAME)
    await host.ensure_unpaused(NAME)
    await host.ensure_killed(NAME)
    await host.ensure_started(NAME)
    assert requests == ["POST pause", "POST unpause", "POST kill", "POST start"]


async def test_facts_tell_the_engine_and_the_free_space(bench: DockerBench) -> None:
    facts = await bench.source.facts()
    assert facts.storage_driver == "overlay2"
    assert not facts.containerd_store
    assert facts.python_version.startswith("3.")
    assert facts.free_bytes > 10**8
    run = bench.machine(bench.source).run
    engine = json.loads(run("docker", "version", "--format", "{{json .Server}}"))
    assert facts.api_version == tuple(map(int, engine["ApiVersion"].split(".")))
    assert (facts.experimental, facts.kernel) == (engine["Experimental"], run("uname", "-r").strip())
    assert f"Version: {dotted(facts.criu_version or ())}" in run("criu", "--version").splitlines()
    assert facts.criu_problem == ""
    assert not facts.can_raise_limits, "the machines are started without CAP_SYS_RESOURCE"
    assert facts.shm_free_bytes > 10**9


async def test_a_host_with_another_key_is_refused(bench: DockerBench, tmp_path: Path) -> None:
    machine = bench.machine(bench.source)
    wrong = tmp_path / "known_hosts"
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key()
    wrong.write_bytes(machine.address.encode() + b" " + other)
    settings = replace(machine.settings(), known_hosts_file=wrong)
    async with DockerHost(bench.source.id, machine.address, LAB, settings) as host:
        with pytest.raises(HostRefused, match="host key is not the pinned one") as refusal:
            await host.containers()
        assert refusal.value.remedy
    missing = replace(settings, known_hosts_file=tmp_path / "nothing")
    async with DockerHost(bench.source.id, machine.address, LAB, missing) as host:
        with pytest.raises(HostRefused, match="does not exist"):
            await host.containers()


async def test_a_key_that_the_host_does_not_know_is_refused(bench: DockerBench, tmp_path: Path) -> None:
    machine = bench.machine(bench.source)
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(tmp_path / "key"))
    async with DockerHost(
        bench.source.id, machine.address, LAB, replace(machine.settings(), key_file=tmp_path / "key")
    ) as host:
        with pytest.raises(HostRefused, match="may not log in"):
            await host.containers()


async def test_a_host_that_is_not_there_is_unreachable(bench: DockerBench) -> None:
    machine = bench.machine(bench.source)
    nowhere = SshSettings(
        "root", "172.29.77.99", 22, machine.settings().key_file, machine.settings().known_hosts_file, 1.0
    )
    async with DockerHost(HostId("mec9"), nowhere.address, LAB, nowhere) as host:
        with pytest.raises(HostUnreachable) as lost:
            await host.containers()
        assert lost.value.place == "mec9"
        assert lost.value.remedy


async def test_a_lost_ssh_connection_comes_back_with_the_next_call(bench: DockerBench) -> None:
    host = bench.source
    await started(bench, host)
    link = await ready_to_send(bench)
    waiting = asyncio.create_task(host._api.call("POST", f"containers/{NAME}/wait", timeout_s=30.0))
    await asyncio.sleep(0.2)
    # The session's own process: sshd itself goes on listening.
    await bench.run(host, "sh", "-c", "pgrep -f 'sshd-session: [r]oot@notty' | xargs kill -9")
    with pytest.raises(HostUnreachable):
        await waiting
    with pytest.raises(HostUnreachable):
        await link.send_volume(VOLUME, COPY)
    assert await state(host) is ContainerState.RUNNING
    await host.ensure_paused(NAME)
    again = await host.open_link(bench.target)
    await again.send_volume(VOLUME, COPY)


async def test_an_engine_that_is_down_is_unreachable_until_it_is_back(bench: DockerBench) -> None:
    host = bench.source
    await started(bench, host)
    await bench.run(host, "sh", "-c", "kill -9 $(pgrep -x dockerd)")
    with pytest.raises(HostUnreachable, match="Docker Engine"):
        await host.ensure_paused(NAME)
    async with asyncio.timeout(RECOVERY_TIMEOUT_S):
        while True:
            try:
                await host.ensure_paused(NAME)
                break
            except HostUnreachable:
                await asyncio.sleep(0.2)
    assert await state(host) is ContainerState.PAUSED


async def test_a_call_that_hangs_ends_at_its_time_limit(bench: DockerBench) -> None:
    host = bench.open(bench.machine(bench.source), HostTimeouts(call_s=0.5))
    await host.containers()
    await bench.run(host, "sh", "-c", "kill -STOP $(pgrep -x dockerd)")
    try:
        with pytest.raises(HostUnreachable, match=r"within 0\.5 s"):
            await host.ensure_volume(VOLUME, {})
    finally:
        await bench.run(host, "sh", "-c", "kill -CONT $(pgrep -x dockerd)")
    await host.ensure_volume(VOLUME, {})


async def test_a_target_without_the_original_gets_it_along(bench: DockerBench) -> None:
    await started(bench, bench.source)
    await bench.source.commit(NAME, "pillion-test/zones:m1", {})
    await bench.run(bench.target, "docker", "rmi", bench.original)
    link = await bench.source.open_link(bench.target)
    first = await link.send_image("pillion-test/zones:m1", bench.original)
    assert first.sent_bytes > 10**7
    original = await bench.source.image(bench.original)
    assert await bench.target.image(bench.original) == original
    second = await link.send_image("pillion-test/zones:m1", bench.original)
    assert second.sent_bytes < 200_000
    assert set(second.detail) == {"save", "merge", "send", "load"}


@pytest.mark.parametrize("read_by", ["top layers", "docker save"])
async def test_files_keep_links_modes_and_owners_through_a_merge(bench: DockerBench, read_by: str) -> None:
    source, target = bench.source, bench.target
    if read_by == "docker save":
        await bench.run(target, "docker", "rmi", bench.original)
    await started(bench, source)
    rounds = [
        "mkdir /d && echo one > /d/a && ln /d/a /d/b && chmod 4751 /d/a && mkdir -p /deep/er && echo x > /deep/er/x",
        "echo two > /d/a; chown 7:8 /d/a; rm -r /deep; mkdir /deep; ln -s ../d /deep/link; rm -r /usr/share/doc",
        "mkdir -p /usr/share/doc/new && setfattr -n user.k -v v /d/a 2>/dev/null; touch -d @1.5 /d/b; mkfifo /d/fifo; "
        "rm /etc/motd; mkdir /etc/motd; echo y > /etc/motd/y; echo z > /$(printf 'n%.0s' $(seq 200))",
    ]
    link = await source.open_link(target)
    name = NAME
    for number, script in enumerate(rounds):
        await bench.run(source, "docker", "exec", name, "sh", "-c", script)
        image = f"pillion-test/zones:m{number}"
        await source.commit(name, image, {})
        if number == len(rounds) - 1:
            await link.send_image(image, bench.original)
        await source.remove_container(name)
        name = f"zones.{number + 2}"
        for host in [source] if number < len(rounds) - 1 else [source, target]:
            await host.ensure_volume(COPY, {})
            await host.ensure_container(spec(image, name, COPY))
            await host.ensure_started(name)
    made_by_the_engine = "/.dockerenv /etc/hostname /etc/hosts /etc/mtab /etc/resolv.conf /data /dev /proc /sys"
    pruned = " -o ".join(f"-path {path}" for path in made_by_the_engine.split())
    look = f"find / -xdev \\( {pruned} \\) -prune -o -printf '%p %y %m %U %G %n %s %T@ %l\\n' | sort"
    listings = [await bench.run(host, "docker", "exec", name, "sh", "-c", look) for host in (source, target)]

    def without_sizes_of_folders(listing: str) -> list[list[str]]:
        rows = [line.split(" ") for line in listing.splitlines()]
        return [row[:5] if row[1] == "d" else row for row in rows]

    assert without_sizes_of_folders(listings[0]) == without_sizes_of_folders(listings[1])
    assert "/d/b f 4751 0 0 1" in listings[1]
    assert "/etc/motd/y" in listings[1]


async def test_a_full_disk_on_the_target_is_refused_and_leaves_nothing(bench: DockerBench, tmp_path: Path) -> None:
    (small,) = mec_hosts.start(
        {"small": "13"}, bench.machine(bench.source).keys.parent, "--tmpfs", "/var/lib/docker:size=48m"
    )
    bench.machines[HostId("small")] = small
    try:
        target = bench.open(small)
        await started(bench, bench.source)
        await bench.source.commit(NAME, "pillion-test/zones:m1", {})
        await target.ensure_volume(COPY, {})
        link = await bench.source.open_link(target)
        await bench.write(bench.source, VOLUME, "counter", "1")
        await link.send_volume(VOLUME, COPY)
        before = await bench.tree(target, COPY)
        with pytest.raises(HostRefused, match="no space left") as refusal:
            await link.send_image("pillion-test/zones:m1", bench.original)
        assert refusal.value.place == "small"
        assert refusal.value.remedy == "free some disk space there"
        assert await target.image("pillion-test/zones:m1") is None
        assert await target.image(bench.original) is None
        await bench.run(bench.source, "sh", "-c", f"head -c 60M /dev/urandom > {bench.path(VOLUME, 'large')}")
        with pytest.raises(HostRefused, match="No space left") as refusal:
            await link.send_volume(VOLUME, COPY)
        assert refusal.value.place == "small"
        assert await bench.tree(target, COPY) == before
        assert (await bench.run(target, "ls", "-A", f"/var/lib/docker/volumes/{COPY}")).split() == ["_data"]
        await bench.delete(bench.source, VOLUME, "large")
        await link.send_volume(VOLUME, COPY)
        assert await bench.tree(target, COPY) == await bench.tree(bench.source, VOLUME)
    finally:
        del bench.machines[HostId("small")]
        mec_hosts.remove("small")


async def test_a_filesystem_whose_file_gets_shorter_while_it_is_read_is_refused(bench: DockerBench) -> None:
    await started(bench, bench.source)
    link = await bench.source.open_link(bench.target)
    stop = "kill -STOP $(pgrep -x dockerd)"
    sending = await bench.sending_filesystem(link, NAME, "pillion-test/zones:2", stop)
    await bench.run(bench.source, "docker", "exec", NAME, "truncate", "-s", "1000", "/large")
    await bench.run(bench.target, "sh", "-c", stop.replace("STOP", "CONT"))
    with pytest.raises(HostRefused, match=r"filesystem of zones\.1 changed while it was read") as refusal:
        await sending
    assert refusal.value.place == bench.source.id
    assert await bench.target.image("pillion-test/zones:2") is None
    await link.send_filesystem(NAME, "pillion-test/zones:2", "pillion-test/zones:2-base", {})
    assert await bench.target.image("pillion-test/zones:2") is not None


async def test_only_the_peer_with_the_token_is_let_in(bench: DockerBench) -> None:
    await bench.source.ensure_volume(VOLUME, {})
    await bench.target.ensure_volume(COPY, {})
    await bench.source.open_link(bench.target)
    source, target = await bench.source._running_helper(), await bench.target._running_helper()
    listening = await target.request("listen", link="one", address=bench.target.address)
    with pytest.raises(HostRefused, match="token"):
        await source.request(
            "connect", link="wrong", address=bench.target.address, port=listening["port"], token="0" * 64
        )
    await source.request("connect", link="one", address=bench.target.address, **listening)
    await source.request("send_volume", link="one", volume=VOLUME, target_volume=COPY)
    with pytest.raises(HostError):  # the token was for one peer
        await source.request("connect", link="two", address=bench.target.address, **listening)


async def test_a_newer_engine_is_noticed_by_the_older_one_at_once(bench: DockerBench) -> None:
    old, new = bench.source, bench.open(bench.machine(bench.source))
    await started(bench, old)
    await old.claim(Epoch(1))
    await new.claim(Epoch(2))
    helper = await old._running_helper()
    async with asyncio.timeout(2.0):
        while helper.stale_epoch is None:  # waits for the other side's word
            await asyncio.sleep(0.01)
    with pytest.raises(StaleEpoch):
        await old.ensure_paused(NAME)
    await new.ensure_paused(NAME)


async def test_cancelled_transfers_leave_nothing_open(bench: DockerBench) -> None:
    source, target = bench.source, bench.target
    await started(bench, source)
    await source.commit(NAME, "pillion-test/zones:m1", {})
    await target.ensure_volume(COPY, {})
    await bench.run(source, "truncate", "-s", "1G", bench.path(VOLUME, "large"))
    await bench.run(target, "docker", "rmi", bench.original)

    async def open_things() -> list[int]:
        script = "for p in $(pgrep -f 'helper-.*hosttest'); do ls /proc/$p/fd | wc -l; ls /proc/$p/task | wc -l; done"
        script += "; ls -A /var/lib/pillion/hosttest/tmp-* | wc -l"
        return [int(line) for host in (source, target) for line in (await bench.run(host, "sh", "-c", script)).split()]

    link = await source.open_link(target)
    before = await open_things()
    await link.close()
    for number in range(30):
        link = await source.open_link(target)
        assert isinstance(link, HelperLink)
        transfer = (
            link.send_image("pillion-test/zones:m1", bench.original) if number % 2 else link.send_volume(VOLUME, COPY)
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02 * (number % 10) + 0.01):
                await transfer
        assert not link.is_open
    assert source._api.connections_in_use == target._api.connections_in_use == 0
    link = await source.open_link(target)
    async with asyncio.timeout(5.0):
        while (after := await open_things()) != before:
            assert len(after) == len(before)
    await bench.delete(source, VOLUME, "large")
    await link.send_volume(VOLUME, COPY)
    assert await bench.tree(target, COPY) == await bench.tree(source, VOLUME)
    await link.send_image("pillion-test/zones:m1", bench.original)


async def test_cancelled_engine_calls_give_their_connections_back(bench: DockerBench) -> None:
    await started(bench, bench.source)
    for _ in range(30):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await bench.source._api.call("POST", f"containers/{NAME}/wait", timeout_s=30.0)
    assert bench.source._api.connections_in_use == 0
    assert await state(bench.source) is ContainerState.RUNNING


async def test_a_gateway_has_its_address_takes_a_file_and_a_signal(bench: DockerBench) -> None:
    host = bench.source
    environment = {"PILLION_INSTANCE": "gateway-app", "PILLION_EPOCH": "0"}
    await host.ensure_container(
        ContainerSpec("gateway-app", bench.original, None, environment=environment, address="172.31.255.2")
    )
    await host.write_file("gateway-app", "/etc/sandbox.conf", b"Define SANDBOX x\n")
    await host.ensure_started("gateway-app")
    assert await bench.read_inside(host, "gateway-app", "/etc/sandbox.conf") == "Define SANDBOX x\n"
    network = json.loads(await bench.run(host, "docker", "network", "inspect", "pillion"))
    assert [entry["IPv4Address"] for entry in network[0]["Containers"].values()] == ["172.31.255.2/24"]
    await host.signal("gateway-app", "SIGTERM")
    async with asyncio.timeout(5.0):
        while await state(host, "gateway-app") is not ContainerState.EXITED:  # as above
            await asyncio.sleep(0.02)
    with pytest.raises(HostRefused, match="subnet"):
        await host.ensure_network("pillion", "172.30.1.0/24")


async def test_a_broken_image_archive_is_refused(bench: DockerBench) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"this is not an archive" * 1000

    with pytest.raises(HostRefused):
        await bench.source.load_images(broken())

    async def cut() -> AsyncIterator[bytes]:
        size = 0
        async for data in saved(mec_hosts.APP):
            size += len(data)
            if size > 10**6:
                return
            yield data

    with pytest.raises(HostRefused):
        await bench.source.load_images(cut())


async def test_the_helper_is_gone_with_its_engine(bench: DockerBench) -> None:
    await ready_to_send(bench)
    assert (await bench.run(bench.source, "pgrep", "-f", "helper-.*hosttest")).strip()
    for host in bench.opened:
        await host.close()
    for host in (bench.source, bench.target):
        async with asyncio.timeout(5.0):
            while True:
                left = await bench.run(host, "sh", "-c", "pgrep -f '[h]elper-.*hosttest' || true")
                if not left.strip():
                    break
        assert "tmp-" not in await bench.run(host, "ls", f"/var/lib/pillion/{LAB}")
