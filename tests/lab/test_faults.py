"""A sample of the fault campaigns: one fault in the middle of a migration, and everything comes to rest by itself.

M1's is in `test_strategies.py`. The whole of it is `make soak PART=faults-m1` and its like; what holds after a case:
`tests/soak/faults.py`.
"""

import pytest

from tests.soak.faults import Bench, all_cases

from .conftest import Lab

pytestmark = pytest.mark.lab

GOES_BACK = [
    ("M2", "kill-engine after commit of StepDone send-image"),
    ("M2", "kill-engine before commit of StepDone fence"),
    ("M2", "kill-dockerd at start (target)"),
    ("M2", "cut-ssh at last-bytes (source)"),
    ("M2", "time-out at prove (target)"),
    ("M3", "kill-engine after commit of StepDone last-checkpoint"),
    ("M3", "fill-disk at last-pages (target)"),
]
GOES_FORWARD = [
    ("M2", "kill-engine after commit of StepDone prove"),
    ("M2", "unheard at switch (target)"),
    ("M2", "kill-engine at the end of remove-source (source)"),
    ("M3", "kill-criu at last-checkpoint (source)"),
]
EITHER_WAY = [
    ("M3", "kill-helper at start (target)", 1),
    # CRIU may have done its work when it is killed, or leave a child for which the Docker Engine would wait for ever.
    ("M3", "kill-criu at start (target)", 4),
]


@pytest.mark.parametrize(("strategy", "case"), GOES_BACK)
async def test_a_fault_before_the_proof_leaves_the_source_serving_and_the_next_migration_succeeds(
    lab: Lab, strategy: str, case: str
) -> None:
    async with Bench.open(lab, strategy) as bench:
        assert (await bench.run(all_cases(strategy)[case]))["on"] == "source"


@pytest.mark.parametrize(("strategy", "case"), GOES_FORWARD)
async def test_a_fault_after_the_proof_or_survived_leaves_the_target_serving_and_the_next_migration_succeeds(
    lab: Lab, strategy: str, case: str
) -> None:
    async with Bench.open(lab, strategy) as bench:
        assert (await bench.run(all_cases(strategy)[case]))["on"] == "target"


@pytest.mark.parametrize(("strategy", "case", "times"), EITHER_WAY)
async def test_a_fault_that_may_come_too_late_leaves_one_host_serving_and_the_next_migration_succeeds(
    lab: Lab, strategy: str, case: str, times: int
) -> None:
    async with Bench.open(lab, strategy) as bench:
        for _ in range(times):
            await bench.run(all_cases(strategy)[case])
