"""One lab for all tests here: made once, removed at the end also when they fail, and before if one was killed."""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pillion import app, config
from pillion.config import LabSettings
from pillion.core.measures import ProbeSummary
from pillion.core.migration import PREPARABLE
from pillion.core.model import HostId
from pillion.hosts.docker import DockerHost
from pillion.lab import up
from pillion.lab.hosts import connect_hosts
from pillion.lab.state import LabState
from pillion.probe import probe
from pillion.runtime.driver import Driver

HERE = Path(__file__).parent


@dataclass
class Lab:
    file: Path
    settings: LabSettings
    state: LabState

    def exec(self, host: str, *words: str) -> str:
        """Run something inside a MEC host, as an operator would: from outside the code under test."""
        command = ["docker", "exec", f"pillion-{self.settings.lab}-{host}", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def objects(self, host: str) -> set[str]:
        """Every container, image and volume on a host's engine, ours or not."""
        found = set()
        for kind, form in (
            ("ps --all", "{{.Names}}"),
            ("images", "{{.Repository}}:{{.Tag}}"),
            ("volume ls", "{{.Name}}"),
        ):
            listed = self.exec(host, "docker", *kind.split(), "--format", form)
            found |= {f"{kind.split()[0]} {line}" for line in listed.splitlines()}
        return found

    @asynccontextmanager
    async def engine(self, *, follow: bool = False) -> AsyncIterator[Driver]:
        """An engine on this lab, with every app serving and none moving."""
        async with app.engine(self.settings, self.state, follow=follow) as driver, asyncio.timeout(120):
            await driver.until(lambda fleet: all(s.serving and not s.migration for s in fleet.apps.values()))
            yield driver
            await driver.until(
                lambda fleet: all(not s.migration or s.migration.phase in PREPARABLE for s in fleet.apps.values())
            )

    @asynccontextmanager
    async def asked(self, port: int) -> AsyncIterator[list[ProbeSummary]]:
        """The UE asks 100 times a second through the user plane; its summary is in the list at the end."""
        stop, summaries = asyncio.Event(), []
        with tempfile.TemporaryFile() as samples:
            asking = asyncio.create_task(
                probe(f"http://{self.settings.user_plane_address}:{port}/", samples, rate_hz=100, stop=stop)
            )
            await asyncio.sleep(1)
            try:
                yield summaries
            finally:
                await asyncio.sleep(1)
                stop.set()
                summaries.append(await asking)

    def hosts(self) -> dict[HostId, DockerHost]:
        return connect_hosts(self.settings, self.state)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    os.environ["PILLION_STATE"] = str(tmp_path_factory.mktemp("state"))
    settings = config.load(HERE / "lab.pillion.yml")
    lab = Lab(HERE / "lab.pillion.yml", settings, LabState.of(settings.lab))
    _remove_leftovers(settings.lab)
    subprocess.run(["docker", "build", "-q", "-t", "pillion-test/fragile", str(HERE / "fragile")], check=True)
    try:
        _run(up.up(settings, lab.state))
        yield lab
    finally:
        _run(up.down(settings, lab.state, purge=True))
        subprocess.run(["docker", "image", "rm", "-f", "pillion-test/fragile"], check=False)
        del os.environ["PILLION_STATE"]


def _run(work: Coroutine[object, object, None]) -> None:
    """Run it in a thread of its own: in this one `asyncio.run` would take the loop from under pytest-asyncio."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def _remove_leftovers(name: str) -> None:
    """Of an earlier run that was killed: its containers, volumes and network, found by the lab's label."""
    label = f"label=pillion.lab={name}"
    for listing, removal in (
        (["ps", "-a"], ["rm", "-f", "-v"]),
        (["volume", "ls"], ["volume", "rm"]),
        (["network", "ls"], ["network", "rm"]),
    ):
        ids = subprocess.run(["docker", *listing, "-q", "--filter", label], check=True, capture_output=True, text=True)
        if found := ids.stdout.split():
            subprocess.run(["docker", *removal, *found], check=True, capture_output=True)
