"""The published description of the sandbox's own APIs: complete, true, and no surprise to one who knows only it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from pillion.sandbox.api import api_app
from pillion.sandbox.description import description
from pillion.sandbox.live import LiveWorld
from tests.sandbox.cities import monaco
from tests.sandbox.conformance import Document
from tests.sandbox.conformance_platform import PLATFORM, ask_platform
from tests.sandbox.conformance_requests import APIS, Api
from tests.sandbox.conformance_run import Conformance, ask_everything
from tests.sandbox.deviations import Finding
from tests.sandbox.lockstep import Lockstep, lockstep

REFUSALS = {Finding("openapi.json", f"response {status}", "$", "empty body") for status in (400, 404, 501)}
"""In the original's manner most have no body, which a description cannot say."""

ROOT = Path(__file__).parents[2]
FUZZ = (
    sys.executable,
    "-m",
    "schemathesis.cli",
    "run",
    "--checks=status_code_conformance,content_type_conformance,response_headers_conformance,answer_as_described",
    "--generation-database=none",
    "--seed=1",
    "--max-examples=10",
    "--request-timeout=10",
    "--no-color",
)
FUZZ_LIMIT_S = 480.0


def own(root: str = "") -> Document:
    return Document("openapi.json", orjson.loads(description()), root)


def described() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Every operation, each with what is said of its path and of itself."""
    return {
        f"{method.upper()} {path}": (item, item[method])
        for path, item in orjson.loads(description())["paths"].items()
        for method in ("get", "post", "put", "delete")
        if method in item
    }


def never_granted(apis: Sequence[Api]) -> set[Finding]:
    """What a description says to be served by nobody."""
    return {
        Finding("openapi.json", operation, "$", "never granted")
        for operation, (_, said) in described().items()
        if set(said["responses"]) == {"501"} and operation.split(" /")[1].startswith(tuple(api.root for api in apis))
    }


def served(app: web.Application, root: str) -> set[str]:
    """The operations under a root, with parameters named as they are in any path."""
    paths = ((each.method, each.resource.canonical) for each in app.router.routes() if each.resource)
    return {
        f"{method} {any_name(path.removeprefix(root))}"
        for method, path in paths
        if path.startswith(f"{root}/") and method != "HEAD" and not path.startswith(f"{root}/{{mep")
    }


def any_name(path: str) -> str:
    return re.sub(r"\{[^/]+\}", "{}", path)


@pytest.mark.parametrize("root", ["/{sandbox}", "/{sandbox}/{mep}"])
async def test_what_is_served_is_described_and_what_is_described_is_served(root: str) -> None:
    """The control plane has paths of the sandbox as a whole alone, and says so by servers of its own."""
    app = api_app(LiveWorld(monaco(), name="sbxtest"))
    whole = root == "/{sandbox}"
    assert served(app, root) == {
        any_name(operation) for operation, (path, _) in described().items() if whole or "servers" not in path
    }


async def test_the_description_is_served_as_it_is() -> None:
    async with lockstep() as s:
        answer = await s.send("GET", "openapi.json")
        assert answer.status == 200
        assert answer.media_type == "application/json; charset=UTF-8"
        assert answer.document == orjson.loads(description())


@pytest.mark.parametrize("strict", [False, True], ids=["as the original", "strict"])
@pytest.mark.parametrize(("apis", "ask"), [(APIS, ask_everything), (PLATFORM, ask_platform)], ids=["mobility", "apps"])
async def test_every_answer_is_as_described(
    apis: Sequence[Api], ask: Callable[[Conformance, Lockstep], Awaitable[None]], strict: bool
) -> None:
    async with lockstep(strict=strict) as s:
        seen = Conformance(s, {api.root: [own(f"/{api.root}")] for api in apis})
        await ask(seen, s)
    expected = never_granted(apis) | (set() if strict else REFUSALS)
    new = sorted(seen.findings.keys() - expected)
    assert not new, "\n".join(f"{finding}: {seen.findings[finding]}" for finding in new)
    assert seen.findings.keys() == expected


@pytest.mark.lab
@pytest.mark.parametrize(
    ("strict", "phases"),
    [(False, "examples,fuzzing"), (True, "coverage")],
    ids=["at random, as the original", "each limit, strict"],
)
async def test_nothing_that_can_be_asked_is_answered_otherwise_than_described(
    strict: bool, phases: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While the vehicles drive, so that whatever was subscribed to is told."""
    async with lockstep(strict=strict) as s:
        fuzzing = await asyncio.create_subprocess_exec(
            *FUZZ,
            f"--phases={phases}",
            f"{s.listening.api_url}/openapi.json",
            f"--url={s.listening.api_url}",
            env=os.environ
            | {"SCHEMATHESIS_HOOKS": "tests.sandbox.schemathesis_hooks", "PILLION_TEST_CALLBACKS": s.callbacks.url},
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = asyncio.create_task(fuzzing.communicate())
        try:
            async with asyncio.timeout(FUZZ_LIMIT_S):
                while not said.done():
                    # Anew each time: thousands of subscriptions would be told by and by.
                    s.live.activate("monaco")
                    s.live.drive(True)
                    await asyncio.wait([said], timeout=1.0)
                    await s.tick(2)
        finally:
            if fuzzing.returncode is None:
                fuzzing.kill()
        report = (await said)[0].decode()
        assert fuzzing.returncode == 0, report
        assert re.search(r"Selected: (\d+)/\1\n\s+Tested: \1\n", report), report
        assert s.callbacks.received
    failures = [record.exc_info[1] for record in caplog.records if record.name == "aiohttp.server" and record.exc_info]
    # schemathesis tries first what headers it may send: what is no HTTP is refused before any code of ours.
    assert not [failure for failure in failures if not isinstance(failure, BadHttpMessage)], report
