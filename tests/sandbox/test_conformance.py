"""Every answer and notification of the sandbox, over real ports, against the documents of the APIs it stands for.

In both manners: that of the original, and the strict one. What is not as a document has it has to be in DEVIATIONS, and
whatever is there has to be seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from tests.sandbox.conformance import REFERENCE, Document, reference
from tests.sandbox.conformance_platform import PLATFORM, ask_platform
from tests.sandbox.conformance_requests import APIS, Api
from tests.sandbox.conformance_run import Conformance, ask_everything
from tests.sandbox.deviations import CORRECTIONS, DEVIATIONS, Manner
from tests.sandbox.lockstep import Lockstep, lockstep
from tests.shared import needs

pytestmark = needs(REFERENCE)


@pytest.mark.parametrize("strict", [False, True], ids=["as the original", "strict"])
@pytest.mark.parametrize(("apis", "ask"), [(APIS, ask_everything), (PLATFORM, ask_platform)], ids=["mobility", "apps"])
async def test_what_is_answered_and_told_is_as_described_but_for_the_deviations(
    apis: Sequence[Api], ask: Callable[[Conformance, Lockstep], Awaitable[None]], strict: bool
) -> None:
    documents = {api.root: [Document(name, reference(name)) for name in api.documents] for api in apis}
    async with lockstep(strict=strict) as s:
        seen = Conformance(s, documents)
        await ask(seen, s)
    manners = (Manner.BOTH, Manner.STRICT if strict else Manner.ORIGINAL)
    names = {name for api in apis for name in api.documents}
    of_these = [each for each in DEVIATIONS if each.manner in manners and each.document in names]
    expected = {finding for each in of_these for finding in each.findings}
    new = sorted(seen.findings.keys() - expected)
    assert not new, "\n".join(f"{finding}: {seen.findings[finding]}" for finding in new)
    assert not expected - seen.findings.keys(), "listed, and no deviations"
    assert seen.corrected == {each for each in CORRECTIONS if each.document in names}, "listed, and without need"


def test_each_reference_document_that_is_listed_is_held_against_what_is_asked() -> None:
    held = {name for api in (*APIS, *PLATFORM) for name in api.documents}
    assert {each.document for each in (*DEVIATIONS, *CORRECTIONS)} <= held
    assert {file.name for file in REFERENCE.glob("*.yaml")} - held == {"vis.yaml"}, "the sandbox has no such API"
