"""A sample of the fault campaign: one fault in the middle of a migration, and everything comes to rest by itself.

The whole of it is `make soak PART=faults-m2`; what holds after a case is said there, in `tests/soak/faults_m2.py`.
"""

import pytest

from tests.soak.faults_m2 import Bench, all_cases

from .conftest import Lab

pytestmark = pytest.mark.lab

GOES_BACK = [
    "kill-engine after commit of StepDone send-image",
    "kill-engine before commit of StepDone fence",
    "kill-dockerd at start (target)",
    "cut-ssh at last-bytes (source)",
    "time-out at prove (target)",
]
GOES_FORWARD = [
    "kill-engine after commit of StepDone prove",
    "unheard at switch (target)",
    "kill-engine at the end of remove-source (source)",
]


@pytest.mark.parametrize("case", GOES_BACK)
async def test_a_fault_before_the_proof_leaves_the_source_serving_and_the_next_migration_succeeds(
    lab: Lab, case: str
) -> None:
    async with Bench.open(lab) as bench:
        assert (await bench.run(all_cases()[case]))["on"] == "source"


@pytest.mark.parametrize("case", GOES_FORWARD)
async def test_a_fault_after_the_proof_leaves_the_target_serving_and_the_next_migration_succeeds(
    lab: Lab, case: str
) -> None:
    async with Bench.open(lab) as bench:
        assert (await bench.run(all_cases()[case]))["on"] == "target"
