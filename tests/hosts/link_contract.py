"""What every transfer link promises: images, volumes, filesystems and checkpoints on their way from host to host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pillion.core.model import Epoch, Readiness
from pillion.core.plan import Round
from pillion.errors import HostError, HostRefused
from pillion.hosts.base import ContainerState, TransferLink
from tests.hosts.bench import (
    COPY,
    NAME,
    PORT,
    VOLUME,
    Bench,
    answer,
    spec,
    started,
    state,
)

BASE = "pillion-test-base/zones:latest"


class LinkContract:
    """The part of the contract that needs both hosts of a bench."""

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
        labels = {"pillion.epoch": "2", "pillion.app": 'a "b" $c \\d é'}
        for _ in range(2):
            await link.send_filesystem(NAME, "pillion-test/zones:2", BASE, labels)
        found = await target.image("pillion-test/zones:2")
        assert found is not None
        assert len(found.layers) == 1
        command, environment, has = await bench.settings(target, "pillion-test/zones:2")
        of_base = {"pillion.app": labels["pillion.app"], "pillion.lab": bench.lab}
        assert (command, environment or {}, has) == (None, {}, of_base)
        assert await target.image(BASE) == found
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
        assert await target.image(BASE) == found

    async def test_what_was_flattened_once_moves_as_its_base_and_what_was_written_since(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await started(bench, source)
        await bench.write_inside(source, NAME, "/note", "first")
        forth, back = await source.open_link(target), await target.open_link(source)
        await forth.send_filesystem(NAME, "pillion-test/zones:2", BASE, {"pillion.epoch": "2"})
        base = await target.image(BASE)
        assert base is not None
        await source.remove_container(NAME)
        at, link, sent_bytes = target, back, []
        for epoch in (2, 3, 4, 5):
            name, next_image = f"zones.{epoch}", f"pillion-test/zones:{epoch + 1}"
            volume = f"zones.{epoch}.dv"
            await at.ensure_volume(volume, {})
            made = spec(f"pillion-test/zones:{epoch}", name, volume)
            await at.ensure_container(replace(made, command=("python3", "-I", "/serve.py")))
            await at.ensure_started(name)
            assert await bench.read_inside(at, name, "/note") == ("first" if epoch < 4 else "second")
            assert (await bench.read_inside(at, name, "/etc/motd") is None) == (epoch > 4)
            if epoch == 3:
                await bench.write_inside(at, name, "/note", "second")
            if epoch == 4:
                await bench.write_inside(at, name, "/etc/motd", None)
            for _ in range(2):
                moved = await link.send_filesystem(name, next_image, BASE, {"pillion.epoch": str(epoch + 1)})
            sent_bytes.append(moved.sent_bytes)
            await at.remove_container(name)
            await at.remove_volume(volume)
            await at.remove_image(f"pillion-test/zones:{epoch}")
            at, link = (source, forth) if at is target else (target, back)
            arrived = await at.image(next_image)
            assert arrived is not None
            assert arrived.layers[:1] == base.layers
            assert len(arrived.layers) <= 2
            assert arrived.labels == {"pillion.epoch": str(epoch + 1), "pillion.lab": bench.lab}
            assert await at.image(BASE) == base
        assert max(sent_bytes) < 20_000, sent_bytes
        for host in (source, target):
            of_lab = [name for name in await host.sweep() if name.startswith("image")]
            assert len(of_lab) == (2 if host is at else 1)

    async def test_a_filesystem_that_is_not_ours_is_not_sent(self, bench: Bench) -> None:
        await bench.add_foreign(bench.source, "theirs")
        link = await bench.source.open_link(bench.target)
        for container in ("theirs", "nothing.1"):
            with pytest.raises(HostRefused):
                await link.send_filesystem(container, "pillion-test/zones:2", BASE, {})
        assert await bench.target.image("pillion-test/zones:2") is None

    async def test_a_filesystem_does_not_replace_an_image_that_is_not_ours(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await bench.add_foreign(target, "theirs")
        theirs = await target.image("theirs")
        await started(bench, source)
        link = await source.open_link(target)
        for names in (("theirs", BASE), (bench.original, BASE), ("pillion-test/zones:2", "theirs")):
            with pytest.raises(HostRefused, match="not this lab's") as refusal:
                await link.send_filesystem(NAME, *names, {})
            assert refusal.value.place == target.id
        assert await target.image("theirs") == theirs
        await link.send_filesystem(NAME, "pillion-test/zones:2", BASE, {})

    async def test_a_filesystem_that_is_sent_again_leaves_one_image(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await started(bench, source)
        link = await source.open_link(target)
        for number in range(3):
            await bench.write_inside(source, NAME, "/note", str(number))
            await link.send_filesystem(NAME, "pillion-test/zones:2", BASE, {})
        removed = await target.sweep()
        assert {name for name in removed if name.startswith("image")} <= {"image pillion-test/zones:2", f"image {BASE}"}

    async def test_a_cut_link_leaves_no_image_of_a_filesystem(self, bench: Bench) -> None:
        source, target = bench.source, bench.target
        await started(bench, source)
        link = await source.open_link(target)
        with pytest.raises(HostError):
            await bench.cut_filesystem_while_sending(link, NAME, "pillion-test/zones:2")
        assert await target.image("pillion-test/zones:2") is None
        assert not [name for name in await target.sweep() if name.startswith("image")]
        again = await source.open_link(target)
        await again.send_filesystem(NAME, "pillion-test/zones:2", BASE, {})
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
