"""Two real MEC hosts for the tests marked `lab`, started once and removed at the end, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hosts import mec_hosts
from tests.hosts.mec_hosts import Machine


async def saved(image: str) -> AsyncIterator[bytes]:
    """An image of the outer engine as `docker save` gives it."""
    process = await asyncio.create_subprocess_exec("docker", "save", image, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    while data := await process.stdout.read(1 << 18):
        yield data
    assert await process.wait() == 0


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    """mec1 and mec2, both with the app's image and the network that apps join."""
    folder: Path = tmp_path_factory.mktemp("mec-hosts")
    try:
        mec_hosts.prepare()
        started = mec_hosts.start({"mec1": "11", "mec2": "12"}, folder)
        # In a thread of its own: pytest-asyncio would lose its loop to `asyncio.run` in this one.
        with ThreadPoolExecutor() as beside:
            beside.submit(asyncio.run, _load(started)).result()
        yield started
    finally:
        mec_hosts.remove()


async def _load(machines: list[Machine]) -> None:
    for machine in machines:
        async with machine.host() as host:
            assert list(await host.load_images(saved(mec_hosts.APP))) == [mec_hosts.APP]
