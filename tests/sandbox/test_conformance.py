"""Every answer and notification of the sandbox, over real ports, against the documents of the APIs it stands for.

In both manners: that of the original, and the strict one. What is not as a document has it has to be in DEVIATIONS, and
whatever is there has to be seen.
"""

from __future__ import annotations

import os

import pytest

from tests.sandbox.conformance import REFERENCE, Document, reference
from tests.sandbox.conformance_requests import APIS
from tests.sandbox.conformance_run import Conformance, ask_everything
from tests.sandbox.deviations import CORRECTIONS, DEVIATIONS, Manner
from tests.sandbox.lockstep import lockstep

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir() and not os.environ.get("PILLION_REQUIRE_SHARED"),
    reason="the reference documents of the APIs are not beside the project",
)


@pytest.mark.parametrize("strict", [False, True], ids=["as the original", "strict"])
async def test_what_is_answered_and_told_is_as_described_but_for_the_deviations(strict: bool) -> None:
    documents = {api.root: [Document(name, reference(name)) for name in api.documents] for api in APIS}
    async with lockstep(strict=strict) as s:
        seen = Conformance(s, documents)
        await ask_everything(seen, s)
    manners = (Manner.BOTH, Manner.STRICT if strict else Manner.ORIGINAL)
    expected = {finding for each in DEVIATIONS if each.manner in manners for finding in each.findings}
    new = sorted(seen.findings.keys() - expected)
    assert not new, "\n".join(f"{finding}: {seen.findings[finding]}" for finding in new)
    assert not expected - seen.findings.keys(), "listed, and no deviations"
    assert seen.corrected == set(CORRECTIONS), "listed, and without need"
