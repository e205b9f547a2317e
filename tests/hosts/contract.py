"""What every MecHost promises, asked of the real one and of the one in memory alike.

A test class derives from `HostContract` and gives a `bench`: two hosts, and hands to do what is not the engine's work
(an app's writing, another user's containers, a broken wire).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

import pytest

from pillion.core.host_facts import unfit_for_checkpoint, unfit_for_images
from pillion.core.model import App, AppId, Epoch, Readiness, UeId
from pillion.core.plan import Round
from pillion.errors import HostError, HostRefused, StaleEpoch
from pillion.hosts.base import ContainerSpec, ContainerState, MecHost, TransferLink

APP = AppId("zones")
PORT = 3000
ZONES = App(APP, UeId("10.100.0.2"), "", PORT, None, None, "/ready", "M2")
NAME = "zones.1"
VOLUME = "zones.1.dv"
COPY = "zones.2.dv"
ANSWER_TIMEOUT_S = 20.0

Tree = dict[str, tuple[str, str]]
"""Path in a volume to its mode (octal) and its content, or `-> target`."""


class Bench(Protocol):
    original: str
    """An image that both hosts have."""
    lab: str

    @property
    def source(self) -> MecHost: ...

    @property
    def target(self) -> MecHost: ...

    async def engine(self, host: MecHost) -> MecHost:
        """Another engine's hold on the same host."""

    async def write(self, host: MecHost, volume: str, path: str, content: str, mode: str = "644") -> None: ...

    async def symlink(self, host: MecHost, volume: str, path: str, target: str) -> None: ...

    async def delete(self, host: MecHost, volume: str, path: str) -> None: ...

    async def tree(self, host: MecHost, volume: str) -> Tree: ...

    async def write_inside(self, host: MecHost, container: str, path: str, content: str | None) -> None:
        """Write or delete a file of a running container's own filesystem."""

    async def read_inside(self, host: MecHost, container: str, path: str) -> str | None: ...

    async def settings(self, host: MecHost, image: str) -> tuple[object, object, dict[str, str]]:
        """Command, environment and labels of an image."""

    async def add_foreign(self, host: MecHost, name: str) -> None:
        """Somebody else's container, volume and image of that name; the container runs."""

    async def foreign(self, host: MecHost, name: str) -> list[str]:
        """Which of them are still there, the container only if it runs."""

    async def cut_while_sending(self, link: TransferLink, host: MecHost, volume: str, target_volume: str) -> None:
        """Start to send a large volume and break the wire meanwhile; gives back what the call raises."""

    async def cut_filesystem_while_sending(self, link: TransferLink, container: str, image: str) -> None:
        """The same with a container's filesystem, from source to target."""


def spec(original: str, name: str = NAME, volume: str = VOLUME, port: int | None = PORT) -> ContainerSpec:
    epoch = name.rpartition(".")[2]
    return ContainerSpec(
        name,
        original,
        port,
        {volume: "/data"},
        {"PILLION_INSTANCE": name, "PILLION_EPOCH": epoch},
        {"pillion.app": APP, "pillion.epoch": epoch},
    )


async def answer(host: MecHost) -> Readiness:
    """The app's answer, as soon as it serves."""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        while (said := await host.readiness(ZONES)) is None:  # the world has no event
            await asyncio.sleep(0.02)
        return said


async def started(bench: Bench, host: MecHost, name: str = NAME, volume: str = VOLUME) -> None:
    await host.ensure_volume(volume, {})
    await host.ensure_container(spec(bench.original, name, volume))
    await host.ensure_started(name)


async def state(host: MecHost, name: str = NAME) -> ContainerState | None:
    info = await host.container(name)
    return None if info is None else info.state


class HostContract:
    async def test_facts_tell_whether_two_hosts_can_move_an_app_between_them(self, bench: Bench) -> None:
        source, target = await bench.source.facts(), await bench.target.facts()
        assert unfit_for_checkpoint(source, target, 0, 10**8) == []
        assert unfit_for_images(source, target, 10**8) == []
        (disk, _) = unfit_for_images(source, target, source.free_bytes + target.free_bytes)
        assert disk.startswith("source: ")
        (memory, _) = unfit_for_checkpoint(source, target, 0, source.shm_free_bytes + target.shm_free_bytes)
        assert "/dev/shm" in memory

    async def test_processes_are_told_of_what_runs_or_is_paused(self, bench: Bench) -> None:
        await started(bench, bench.source)
        running = await bench.source.processes(NAME)
        assert running.uid == 0
        assert 10**6 < running.memory_bytes < 10**9
        await bench.source.ensure_paused(NAME)
        assert (await bench.source.processes(NAME)).uid == 0
        await bench.source.ensure_killed(NAME)
        with pytest.raises(HostRefused):
            await bench.source.processes(NAME)

    async def test_every_call_may_be_repeated(self, bench: Bench) -> None:
        host = bench.source
        for _ in range(2):
            await host.claim(Epoch(7))
        for _ in range(2):
            await host.ensure_volume(VOLUME, {"pillion.app": APP})
        for _ in range(2):
            await host.ensure_container(spec(bench.original))
        assert await state(host) is ContainerState.CREATED
        for _ in range(2):
            await host.ensure_started(NAME)
        assert await state(host) is ContainerState.RUNNING
        for _ in range(2):
            await host.ensure_unpaused(NAME)
        for _ in range(2):
            await host.ensure_paused(NAME)
        assert await state(host) is ContainerState.PAUSED
        for _ in range(2):
            await host.ensure_unpaused(NAME)
        assert await state(host) is ContainerState.RUNNING
        for _ in range(2):
            await host.commit(NAME, "pillion-test/zones:m1", {"pillion.migration": "m1"})
        for _ in range(2):
            await host.ensure_killed(NAME)
        assert await state(host) is ContainerState.EXITED
        for _ in range(2):
            await host.remove_container(NAME)
        assert await state(host) is None
        await host.ensure_killed(NAME)
        for _ in range(2):
            await host.remove_volume(VOLUME)
        for _ in range(2):
            await host.remove_image("pillion-test/zones:m1")
        assert await host.image("pillion-test/zones:m1") is None

    async def test_starting_a_paused_container_lets_it_go_on(self, bench: Bench) -> None:
        await started(bench, bench.source)
        await bench.source.ensure_paused(NAME)
        await bench.source.ensure_started(NAME)
        assert await state(bench.source) is ContainerState.RUNNING

    async def test_a_paused_container_can_be_killed_and_removed(self, bench: Bench) -> None:
        await started(bench, bench.source)
        await bench.source.ensure_paused(NAME)
        await bench.source.ensure_killed(NAME)
        assert await state(bench.source) is ContainerState.EXITED
        await bench.source.ensure_started(NAME)
        await bench.source.ensure_paused(NAME)
        await bench.source.remove_container(NAME)
        assert await state(bench.source) is None

    async def test_what_is_not_there_or_does_not_run_is_refused(self, bench: Bench) -> None:
        host = bench.source
        for call in (host.ensure_started, host.ensure_paused, host.ensure_unpaused):
            with pytest.raises(HostRefused) as refusal:
                await call("nothing.1")
            assert refusal.value.place == host.id
        with pytest.raises(HostRefused):
            await host.commit("nothing.1", "pillion-test/zones:m1", {})
        with pytest.raises(HostRefused):
            await host.ensure_container(spec("pillion-test/nothing:latest"))
        await host.ensure_volume(VOLUME, {})
        await host.ensure_container(spec(bench.original))
        with pytest.raises(HostRefused):
            await host.ensure_paused(NAME)

    async def test_only_app_containers_are_listed_with_their_labels(self, bench: Bench) -> None:
        await bench.source.ensure_volume(VOLUME, {})
        await bench.source.ensure_container(spec(bench.original))
        await bench.source.ensure_container(ContainerSpec("gateway-app", bench.original, None))
        (listed,) = await bench.source.containers()
        assert (listed.name, listed.state, listed.labels["pillion.app"]) == (NAME, ContainerState.CREATED, APP)
        assert listed == await bench.source.container(NAME)
        assert await bench.source.has_volume(VOLUME)
        assert list(await bench.source.volumes()) == [VOLUME]

    async def test_what_is_not_ours_stays_as_it_is(self, bench: Bench) -> None:
        host = bench.source
        await bench.add_foreign(host, "theirs")
        before = await bench.foreign(host, "theirs")
        assert before == ["container", "image", "volume"]
        await host.ensure_volume(VOLUME, {})
        refused = [
            host.ensure_container(spec(bench.original, "theirs")),
            host.ensure_started("theirs"),
            host.ensure_paused("theirs"),
            host.ensure_unpaused("theirs"),
            host.ensure_killed("theirs"),
            host.remove_container("theirs"),
            host.commit("theirs", "pillion-test/zones:m1", {}),
            host.ensure_volume("theirs", {}),
            host.remove_volume("theirs"),
            host.remove_image("theirs"),
            host.remove_image(bench.original),
        ]
        for call in refused:
            with pytest.raises(HostRefused, match="not this lab's"):
                await call
        assert await host.container("theirs") is None
        assert not await host.has_volume("theirs")
        assert "theirs" not in [info.name for info in await host.containers()]
        await host.sweep()
        assert await bench.foreign(host, "theirs") == before

    async def test_a_taken_port_is_named(self, bench: Bench) -> None:
        await started(bench, bench.source)
        await bench.source.ensure_volume(COPY, {})
        with pytest.raises(HostRefused, match="port 3000 is taken") as refusal:
            await bench.source.ensure_container(spec(bench.original, "zones.2", COPY))
        assert "3000" in refusal.value.remedy
        await answer(bench.source)

    async def test_a_network_may_be_made_before_its_container_and_goes_with_it(self, bench: Bench) -> None:
        host = bench.source
        for _ in range(2):
            await host.ensure_network_of(spec(bench.original))
        assert list(await host.containers()) == []
        await started(bench, host)
        await answer(host)
        await host.remove_container(NAME)
        await host.ensure_network_of(spec(bench.original, "zones.2", COPY))
        await host.remove_container("zones.2")
        await started(bench, host)
        await answer(host)

    async def test_a_newer_engine_takes_the_host_over(self, bench: Bench) -> None:
        old, new = bench.source, await bench.engine(bench.source)
        await old.claim(Epoch(4))
        await old.ensure_volume(VOLUME, {})
        link = await old.open_link(bench.target)
        await new.claim(Epoch(5))
        with pytest.raises(StaleEpoch):
            await link.send_volume(VOLUME, COPY)
        with pytest.raises(StaleEpoch):
            await old.claim(Epoch(4))
        for call in (old.ensure_volume("more", {}), old.remove_volume(VOLUME), old.sweep()):
            with pytest.raises(StaleEpoch):
                await call
        assert await new.has_volume(VOLUME)
        await new.remove_volume(VOLUME)

    async def test_readiness_is_the_apps_own_word(self, bench: Bench) -> None:
        host = bench.source
        assert await host.readiness(ZONES) is None
        await started(bench, host)
        await bench.write(host, VOLUME, "seq", "41")
        assert await answer(host) == Readiness(NAME, Epoch(1), 41)
        assert await host.readiness(replace(ZONES, ready_path="/missing")) is None
        await host.ensure_paused(NAME)
        assert await host.readiness(ZONES) is None
        await host.ensure_unpaused(NAME)
        await answer(host)
        await host.ensure_killed(NAME)
        assert await host.readiness(ZONES) is None

    async def test_a_phase_hook_has_to_be_answered_with_200(self, bench: Bench) -> None:
        await started(bench, bench.source)
        await answer(bench.source)
        await bench.source.call_app(NAME, PORT, "/hook?inMigration=1")
        with pytest.raises(HostRefused, match="500"):
            await bench.source.call_app(NAME, PORT, "/missing")
        await bench.source.ensure_killed(NAME)
        with pytest.raises(HostError):
            await bench.source.call_app(NAME, PORT, "/hook")

    async def test_a_container_that_does_not_exist_has_said_nothing(self, bench: Bench) -> None:
        assert await bench.source.last_words("nobody") == ""

    async def test_an_image_keeps_its_settings_and_files_on_the_way(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await started(bench, source)
        await bench.write_inside(source, NAME, "/note", "first")
        await bench.write_inside(source, NAME, "/etc/motd", None)
        await source.commit(NAME, "pillion-test/zones:m1", {"pillion.migration": "m1"})
        link = await source.open_link(target)
        await link.send_image("pillion-test/zones:m1", bench.original)
        command, environment, labels = await bench.settings(target, "pillion-test/zones:m1")
        assert (command, environment, labels) == await bench.settings(source, "pillion-test/zones:m1")
        assert command == (await bench.settings(source, bench.original))[0]
        assert labels["kept"] == "yes"
        assert labels["pillion.migration"] == "m1"
        await started(bench, target, "zones.2", COPY)
        await target.remove_container("zones.2")
        await target.ensure_container(spec("pillion-test/zones:m1", "zones.2", COPY))
        await target.ensure_started("zones.2")
        assert (await answer(target)).instance == "zones.2"
        assert await bench.read_inside(target, "zones.2", "/note") == "first"
        assert await bench.read_inside(target, "zones.2", "/etc/motd") is None

    async def test_twenty_migrations_back_and_forth_leave_one_layer_more(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        base = await source.image(bench.original)
        assert base is not None
        links = {source.id: await source.open_link(target), target.id: await target.open_link(source)}
        await started(bench, source, "zones.0", "zones.0.dv")
        for number in range(20):
            name, following = f"zones.{number}", f"zones.{number + 1}"
            image = f"pillion-test/zones:m{number}"
            await bench.write_inside(source, name, f"/note-{number}", str(number))
            await bench.write_inside(source, name, f"/note-{number - 2}", None)
            await bench.write_inside(source, name, "/count", str(number))
            await source.commit(name, image, {})
            sent = await links[source.id].send_image(image, bench.original)
            assert sent.sent_bytes < 200_000
            arrived = await target.image(image)
            assert arrived is not None
            assert arrived.layers[: len(base.layers)] == base.layers
            assert len(arrived.layers) == len(base.layers) + 1
            await target.ensure_volume(f"{following}.dv", {})
            await target.ensure_container(spec(image, following, f"{following}.dv"))
            await source.remove_container(name)
            await source.remove_volume(f"{name}.dv")
            await source.remove_image(image)
            await target.ensure_started(following)
            assert await bench.read_inside(target, following, "/count") == str(number)
            assert await bench.read_inside(target, following, f"/note-{number}") == str(number)
            assert await bench.read_inside(target, following, f"/note-{number - 2}") is None
            source, target = target, source

    async def test_an_image_that_is_not_ours_is_refused(self, bench: Bench) -> None:
        await bench.add_foreign(bench.source, "theirs")
        link = await bench.source.open_link(bench.target)
        with pytest.raises(HostRefused, match="not this lab's"):
            await link.send_image("theirs", bench.original)
        with pytest.raises(HostRefused, match="no image"):
            await link.send_image("pillion-test/nothing", bench.original)

    async def test_a_volume_is_equal_after_each_round(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await source.ensure_volume(VOLUME, {})
        await target.ensure_volume(COPY, {})
        link = await source.open_link(target)

        async def round_() -> int:
            sent = await link.send_volume(VOLUME, COPY)
            assert await bench.tree(target, COPY) == await bench.tree(source, VOLUME)
            return sent.sent_bytes

        await bench.write(target, COPY, "stale", "left over from before")
        await round_()
        await bench.write(source, VOLUME, "counter", "1")
        await bench.write(source, VOLUME, "logs/run", "started\n", "600")
        await bench.write(source, VOLUME, "large", "x" * 300_000)
        await bench.symlink(source, VOLUME, "latest", "logs/run")
        assert await round_() > 300_000
        await bench.write(source, VOLUME, "counter", "2")  # as long as before, and just after it was read
        await round_()
        await bench.write(source, VOLUME, "counter", "3", "640")
        await bench.delete(source, VOLUME, "logs/run")
        await bench.delete(source, VOLUME, "latest")
        await round_()
        await bench.delete(source, VOLUME, "large")
        await bench.write(source, VOLUME, "large/now-a-folder", "y")
        await round_()
        await round_()

    async def test_a_filesystem_arrives_flattened_and_without_configuration(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await source.claim(Epoch(3))
        await started(bench, source)
        await bench.write_inside(source, NAME, "/note", "first")
        await bench.write_inside(source, NAME, "/etc/motd", None)
        link = await source.open_link(target)
        labels = {"pillion.epoch": "2", "odd": 'a "b" $c \\d é'}
        for _ in range(2):
            await link.send_filesystem(NAME, "pillion-test/zones:2", labels)
        found = await target.image("pillion-test/zones:2")
        assert found is not None
        assert len(found.layers) == 1
        command, environment, has = await bench.settings(target, "pillion-test/zones:2")
        assert (command, environment or {}, has) == (None, {}, {**labels, "pillion.lab": bench.lab})
        await target.ensure_volume(COPY, {})
        with pytest.raises(HostRefused, match="no command"):
            await target.ensure_container(spec("pillion-test/zones:2", "zones.2", COPY))
        by_hand = replace(spec("pillion-test/zones:2", "zones.2", COPY), command=("python3", "-I", "/serve.py"))
        await target.ensure_container(by_hand)
        await target.ensure_started("zones.2")
        assert (await answer(target)).instance == "zones.2"
        assert await bench.read_inside(target, "zones.2", "/note") == "first"
        assert await bench.read_inside(target, "zones.2", "/etc/motd") is None
        # From there it goes on by the other strategies, with a first layer that is not the original's.
        back = await target.open_link(source)
        await target.commit("zones.2", "pillion-test/zones:3", {"pillion.epoch": "3"})
        await back.send_image("pillion-test/zones:3", bench.original)
        await back.send_own_image("zones.2", bench.original, "pillion-test/zones:4", {"pillion.epoch": "4"})
        committed, own = await source.image("pillion-test/zones:3"), await source.image("pillion-test/zones:4")
        assert committed is not None
        assert own is not None
        assert (committed.layers[:1], own.layers) == (found.layers, found.layers)
        await target.remove_container("zones.2")
        for image in ("pillion-test/zones:2", "pillion-test/zones:3"):
            await target.remove_image(image)
        assert await target.image("pillion-test/zones:2") is None

    async def test_a_filesystem_that_is_not_ours_is_not_sent(self, bench: Bench) -> None:
        await bench.add_foreign(bench.source, "theirs")
        link = await bench.source.open_link(bench.target)
        for container in ("theirs", "nothing.1"):
            with pytest.raises(HostRefused):
                await link.send_filesystem(container, "pillion-test/zones:2", {})
        assert await bench.target.image("pillion-test/zones:2") is None

    async def test_a_filesystem_does_not_replace_an_image_that_is_not_ours(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await bench.add_foreign(target, "theirs")
        theirs = await target.image("theirs")
        await started(bench, source)
        link = await source.open_link(target)
        for taken in ("theirs", bench.original):
            with pytest.raises(HostRefused, match="not this lab's") as refusal:
                await link.send_filesystem(NAME, taken, {})
            assert refusal.value.place == target.id
        assert await target.image("theirs") == theirs
        await link.send_filesystem(NAME, "pillion-test/zones:2", {})

    async def test_a_filesystem_that_is_sent_again_leaves_one_image(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await started(bench, source)
        link = await source.open_link(target)
        for number in range(3):
            await bench.write_inside(source, NAME, "/note", str(number))
            await link.send_filesystem(NAME, "pillion-test/zones:2", {})
        removed = await target.sweep()
        assert [name for name in removed if name.startswith("image")] == ["image pillion-test/zones:2"]

    async def test_a_cut_link_leaves_no_image_of_a_filesystem(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await started(bench, source)
        link = await source.open_link(target)
        with pytest.raises(HostError):
            await bench.cut_filesystem_while_sending(link, NAME, "pillion-test/zones:2")
        assert await target.image("pillion-test/zones:2") is None
        assert not [name for name in await target.sweep() if name.startswith("image")]
        again = await source.open_link(target)
        await again.send_filesystem(NAME, "pillion-test/zones:2", {})
        assert await target.image("pillion-test/zones:2") is not None

    async def prepared(self, bench: Bench) -> TransferLink:
        """A running source whose hook was called twice, a container made for it on the target, and a link."""
        source, target = bench.source, bench.target
        await source.claim(Epoch(3))
        await target.claim(Epoch(3))
        await started(bench, source)
        await answer(source)
        for _ in range(2):
            await source.call_app(NAME, PORT, "/hook")
        await bench.write_inside(source, NAME, "/note", "first")
        link = await source.open_link(target)
        for _ in range(2):
            await link.send_own_image(NAME, bench.original, "pillion-test/zones:2", {"pillion.epoch": "2"})
        await target.ensure_volume(COPY, {})
        await target.ensure_container(spec("pillion-test/zones:2", "zones.2", COPY))
        return link

    async def test_a_checkpoint_takes_memory_and_files_along(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        link = await self.prepared(bench)
        _, _, labels = await bench.settings(target, "pillion-test/zones:2")
        assert (labels["pillion.epoch"], labels["pillion.lab"], labels["kept"]) == ("2", bench.lab, "yes")
        await link.send_files(NAME, "zones.2")
        await source.take_checkpoint(NAME, Round.FIRST)
        whole = await link.send_checkpoint(NAME, "zones.2", Round.FIRST)
        assert await state(source) is ContainerState.RUNNING
        await source.call_app(NAME, PORT, "/hook")
        await bench.write_inside(source, NAME, "/note", "second")
        await bench.write_inside(source, NAME, "/etc/motd", None)
        await source.ensure_paused(NAME)
        taken = await source.take_checkpoint(NAME, Round.LAST)
        assert taken["bytes"] > 0
        await link.send_files(NAME, "zones.2")
        for _ in range(2):
            changed = await link.send_checkpoint(NAME, "zones.2", Round.LAST)
        assert changed.sent_bytes < whole.sent_bytes / 3
        assert await state(source) is ContainerState.PAUSED
        for _ in range(2):
            await target.ensure_restored("zones.2")
        assert await answer(target) == Readiness(NAME, Epoch(1), 3)
        assert await bench.read_inside(target, "zones.2", "/note") == "second"
        assert await bench.read_inside(target, "zones.2", "/etc/motd") is None
        await target.call_app("zones.2", PORT, "/hook")
        assert (await answer(target)).seq == 4
        await source.ensure_unpaused(NAME)
        assert (await answer(source)).seq == 3
        # As any other container, from what it was made from: with a new memory, and as itself.
        await target.ensure_killed("zones.2")
        await target.ensure_started("zones.2")
        assert await answer(target) == Readiness("zones.2", Epoch(2), 0)

    async def test_checkpoints_may_follow_at_once_and_be_taken_again(self, bench: Bench) -> None:
        await started(bench, bench.source)
        await answer(bench.source)
        for round_ in (Round.FIRST, Round.LAST, Round.LAST, Round.FIRST):
            await bench.source.take_checkpoint(NAME, round_)
        assert await state(bench.source) is ContainerState.RUNNING
        await answer(bench.source)

    async def test_a_checkpoint_needs_a_process_and_the_one_before(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await bench.add_foreign(source, "theirs")
        link = await self.prepared(bench)
        for refused in (
            source.take_checkpoint("nothing.1", Round.FIRST),
            source.take_checkpoint("theirs", Round.FIRST),
            link.send_own_image("theirs", bench.original, "pillion-test/zones:3", {}),
            link.send_files("theirs", "zones.2"),
            link.send_checkpoint(NAME, "zones.2", Round.FIRST),
            target.take_checkpoint("zones.2", Round.FIRST),
            target.ensure_restored("zones.2"),
        ):
            with pytest.raises(HostRefused):
                await refused
        await source.take_checkpoint(NAME, Round.FIRST)
        await source.take_checkpoint(NAME, Round.LAST)
        with pytest.raises(HostRefused, match="has not arrived"):
            await link.send_checkpoint(NAME, "zones.2", Round.LAST)
        for _ in range(2):
            await source.remove_checkpoints(NAME)
        with pytest.raises(HostRefused, match="no checkpoint"):
            await link.send_checkpoint(NAME, "zones.2", Round.FIRST)
        await target.ensure_started("zones.2")
        await answer(target)

    async def test_a_volume_that_is_missing_or_not_ours_is_refused(self, bench: Bench) -> None:
        await bench.source.ensure_volume(VOLUME, {})
        await bench.add_foreign(bench.target, "theirs")
        link = await bench.source.open_link(bench.target)
        with pytest.raises(HostRefused) as missing:
            await link.send_volume(VOLUME, COPY)
        assert missing.value.place == bench.target.id
        with pytest.raises(HostRefused, match="not this lab's"):
            await link.send_volume(VOLUME, "theirs")
        await bench.target.ensure_volume(COPY, {})
        await link.send_volume(VOLUME, COPY)

    async def test_a_cut_link_leaves_the_targets_volume_as_it_was(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await source.ensure_volume(VOLUME, {})
        await target.ensure_volume(COPY, {})
        await bench.write(source, VOLUME, "counter", "1")
        link = await source.open_link(target)
        await link.send_volume(VOLUME, COPY)
        before = await bench.tree(target, COPY)
        await bench.write(source, VOLUME, "counter", "2")
        with pytest.raises(HostError):
            await bench.cut_while_sending(link, source, VOLUME, COPY)
        assert await bench.tree(target, COPY) == before
        again = await source.open_link(target)
        await again.send_volume(VOLUME, COPY)
        assert await bench.tree(target, COPY) == await bench.tree(source, VOLUME)

    async def test_a_closed_link_sends_no_more(self, bench: Bench) -> None:
        await bench.source.ensure_volume(VOLUME, {})
        await bench.target.ensure_volume(COPY, {})
        link = await bench.source.open_link(bench.target)
        for _ in range(2):
            await link.close()
        with pytest.raises(HostError):
            await link.send_volume(VOLUME, COPY)

    async def test_a_link_is_measured_and_then_sends_as_before(self, bench: Bench) -> None:
        await bench.source.ensure_volume(VOLUME, {})
        await bench.target.ensure_volume(COPY, {})
        link = await bench.source.open_link(bench.target)
        measured = await link.measure(0.2)
        assert measured.sent_bytes > 10**6
        assert 0.2 <= measured.seconds < 2
        assert 0 < measured.detail["round trip"] < 0.2
        await bench.write(bench.source, VOLUME, "state", "7")
        await link.send_volume(VOLUME, COPY)
        assert await bench.tree(bench.target, COPY) == await bench.tree(bench.source, VOLUME)
        await link.close()
        with pytest.raises(HostError):
            await link.measure(0.2)

    async def test_strays_are_what_the_app_has_of_older_epochs_but_the_one_to_keep(self, bench: Bench) -> None:
        host = bench.source
        await bench.add_foreign(host, "theirs")

        def labels(epoch: int, app: str = APP) -> dict[str, str]:
            return {"pillion.app": app, "pillion.epoch": str(epoch)}

        for epoch in (1, 2, 3, 9):
            await host.ensure_volume(f"zones.{epoch}.dv", labels(epoch))
            made = spec(bench.original, f"zones.{epoch}", f"zones.{epoch}.dv", port=None)
            await host.ensure_container(replace(made, labels=labels(epoch)))
        await host.ensure_volume("other.1.dv", labels(1, "other"))
        await host.commit("zones.2", "pillion-test/zones:3", labels(3))
        await host.commit("zones.2", "pillion-test/zones:2", labels(2))
        removed = await host.remove_strays(APP, Epoch(2), Epoch(9))
        assert set(removed) == {
            *(f"container zones.{epoch}" for epoch in (1, 3)),
            *(f"volume zones.{epoch}.dv" for epoch in (1, 3)),
            "image pillion-test/zones:3",
        }
        assert {info.name for info in await host.containers()} == {"zones.2", "zones.9"}
        assert set(await host.volumes()) == {"zones.2.dv", "zones.9.dv", "other.1.dv"}
        assert await host.image("pillion-test/zones:2")
        assert not await host.remove_strays(APP, Epoch(2), Epoch(9))
        assert set(await host.remove_strays(APP, None, Epoch(9))) >= {"container zones.2", "volume zones.2.dv"}

    async def test_a_sweep_leaves_nothing_of_the_lab(self, bench: Bench) -> None:
        host = bench.source
        await host.claim(Epoch(3))
        await started(bench, host)
        await host.commit(NAME, "pillion-test/zones:m1", {})
        removed = await host.sweep()
        assert {f"container {NAME}", f"volume {VOLUME}", "image pillion-test/zones:m1"} <= set(removed)
        assert not await host.containers()
        assert not await host.volumes()
        assert await host.image("pillion-test/zones:m1") is None
        assert await host.image(bench.original) is not None
        assert not await host.sweep()
