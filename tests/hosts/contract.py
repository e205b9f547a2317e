"""What every MecHost promises, asked of the real one and of the one in memory alike.

A test class derives from `HostContract` and gives a `bench`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pillion.core.host_facts import unfit_for_checkpoint, unfit_for_images
from pillion.core.model import Epoch, Readiness
from pillion.errors import HostError, HostRefused, StaleEpoch
from pillion.hosts.base import ContainerSpec, ContainerState
from tests.hosts.bench import (
    APP,
    COPY,
    NAME,
    PORT,
    VOLUME,
    ZONES,
    Bench,
    answer,
    spec,
    started,
    state,
)
from tests.hosts.link_contract import LinkContract


class HostContract(LinkContract):
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
