"""The transfer link between two MEC hosts in memory; held to the same contract as the real one with its hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pillion.core.plan import Round
from pillion.errors import HostError, HostRefused, HostUnreachable
from pillion.hosts.base import Transferred
from tests.fakes.memory_machine import LAB_LABEL, MemoryImage, with_tag

if TYPE_CHECKING:
    from tests.fakes.memory_host import MemoryHost


class MemoryLink:
    """A TransferLink between two machines. `cut` ends it in the middle of what it does."""

    def __init__(self, source: MemoryHost, target: MemoryHost) -> None:
        self._source = source
        self._target = target
        self._cut = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return not self._cut.is_set()

    async def send_image(self, image: str, original: str) -> Transferred:
        done = await self._pass("send_image")
        here, there = self._source.machine, self._target.machine
        for name in (image, original):
            if with_tag(name) not in here.images:
                raise HostRefused(f"there is no image {name}", place=self._source.id, remedy="")
        moved, base = here.images[with_tag(image)], here.images[with_tag(original)]
        self._source._refuse_foreign_image(image)
        missing = 0 if with_tag(original) in there.images else 10**6
        there.images.setdefault(with_tag(original), base)
        layers = base.layers if moved.layers[: len(base.layers)] == base.layers else moved.layers[:1]
        if len(moved.layers) > len(layers):
            layers = (*layers, "+".join(moved.layers[len(layers) :]))
        there.images[with_tag(image)] = replace(moved, id=f"{moved.id}'", layers=layers)
        done()
        return Transferred(missing + 1000, 0.01, {"save": 0.0, "merge": 0.0, "send": 0.01, "load": 0.01})

    async def send_volume(self, volume: str, target_volume: str) -> Transferred:
        done = await self._pass("send_volume")
        here, there = self._source.machine, self._target.machine
        for machine, name in ((here, volume), (there, target_volume)):
            if name not in machine.volumes:
                raise HostRefused(f"there is no volume {name}", place=machine.id, remedy="")
            if machine.volumes[name].labels.get(LAB_LABEL) != self._source._lab:
                raise HostRefused(f"volume {name} is not this lab's", place=machine.id, remedy="")
        old, new = there.volumes[target_volume].files, here.volumes[volume].files
        sent = sum(len(new[path][0]) for path in new if new[path] != old.get(path))
        there.volumes[target_volume].files = dict(new)
        done()
        return Transferred(sent + 100, 0.001)

    async def send_own_image(self, container: str, original: str, image: str, labels: Mapping[str, str]) -> Transferred:
        done = await self._pass("send_own_image")
        own = self._source._own_container(container).image
        base = self._source._image(original)
        self._target.machine.images.setdefault(with_tag(original), base)
        made = {**own.labels, **labels, LAB_LABEL: self._source._lab}
        self._target.machine.images[with_tag(image)] = replace(own, id=f"{own.id}'", labels=made)
        done()
        return Transferred(1000, 0.01)

    async def send_filesystem(self, container: str, image: str, base: str, labels: Mapping[str, str]) -> Transferred:
        done = await self._pass("send_filesystem")
        moved = self._source._own_container(container)
        for name in (image, base):
            self._target._refuse_foreign_image(name)
        there, new_id = self._target.machine.images, self._source._world.new_id
        kept = self._source.machine.images.get(with_tag(base))
        if kept and moved.image.layers[:1] == kept.layers and moved.image.command is None:
            sent_bytes = 1000 if there.get(with_tag(base)) == kept else 10**6
            layers = (*kept.layers, "written") if moved.files != kept.files else kept.layers
            made = {**labels, LAB_LABEL: self._source._lab}
            there[with_tag(base)] = kept
            there[with_tag(image)] = MemoryImage(new_id("sha256"), layers, made, {}, moved.files, None)
        else:
            sent_bytes = 10**6
            made = {key: labels[key] for key in ("pillion.app",) if key in labels} | {LAB_LABEL: self._source._lab}
            flat = MemoryImage(new_id("sha256"), (f"all of {container}",), made, {}, moved.files, None)
            there[with_tag(base)] = there[with_tag(image)] = flat
        done()
        return Transferred(sent_bytes, 0.01, {"load": 0.01})

    async def send_files(self, container: str, target_container: str) -> Transferred:
        done = await self._pass("send_files")
        self._target._own_container(target_container).changes = dict(self._source._own_container(container).changes)
        done()
        return Transferred(100, 0.001)

    async def send_checkpoint(self, container: str, target_container: str, round_: Round) -> Transferred:
        done = await self._pass("send_checkpoint")
        taken = self._source.machine.checkpoints.get(container, {}).get(round_)
        kept = self._target.machine.checkpoints.setdefault(target_container, {})
        if taken is None:
            raise HostRefused(f"there is no checkpoint of {container} to send", place=self._source.id, remedy="")
        if round_ is Round.LAST and Round.FIRST not in kept:
            raise HostRefused("the first checkpoint has not arrived", place=self._target.id, remedy="")
        kept[round_] = taken
        done()
        return Transferred(10**6 if round_ is Round.FIRST else 10**4, 0.01)

    async def measure(self, seconds: float) -> Transferred:
        done = await self._pass("measure")
        done()
        return Transferred(int(seconds * 10**9 / 8), seconds, {"round trip": 0.001})

    async def _pass(self, method: str) -> Callable[[], None]:
        """Let the call through on both hosts, unless the link is or gets cut."""
        lost: HostError = HostUnreachable("the link is closed", place=self._target.id, remedy="open a new one")
        if self._cut.is_set():
            raise lost
        reaching = asyncio.ensure_future(self._source.reach(method))
        cut = asyncio.ensure_future(self._cut.wait())
        try:
            await asyncio.wait([reaching, cut], return_when=asyncio.FIRST_COMPLETED)
            if not reaching.done():
                raise lost
            done = await reaching
            await self._target.reach(f"receive_{method.removeprefix('send_')}")
            return done
        except asyncio.CancelledError:
            self._cut.set()
            raise
        finally:
            for waiting in (reaching, cut):
                waiting.cancel()
            await asyncio.gather(reaching, cut, return_exceptions=True)

    async def close(self) -> None:
        self._cut.set()
