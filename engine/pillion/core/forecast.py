"""What a plan's downtime is expected to be, from the sizes of what moves and the rate of the link.

Each step has a cost of its own and one for each byte; steps overlap as the plan lets them. The costs were measured on
two MEC hosts on one small machine (docs/results/bench.md): elsewhere they are a first guess, and every report shows
what was expected beside what came.
"""

from __future__ import annotations

from pillion.core import plan as plans
from pillion.core.model import StepId
from pillion.core.plan import FenceSource, Group, Plan, Step, SwitchTraffic

DIRTY_SHARE = 0.05
"""How much of an app's memory differs from the first checkpoint, unless it is known."""
_FENCE_S, _SWITCH_S, _PROVE_S = 0.018, 0.003, 0.005
_START_S, _BOOT_S = 0.105, 0.04
_ROUND_S = 0.005
_DUMP_S, _DUMP_S_PER_BYTE = 0.155, 0.9e-9
_COMPARE_S_PER_BYTE = 1.0e-9
_RESTORE_S, _RESTORE_S_PER_BYTE = 0.13, 0.9e-9


def step_s(step: Step, memory_bytes: int, rate_bytes_s: float) -> float:
    """Seconds that a step of the relocation is expected to take, with that much resident memory of the app."""
    match step.work:
        case plans.FenceSource():
            return _FENCE_S
        case plans.TransferVolume() | plans.TransferFiles():
            return _ROUND_S  # sent ahead: what is left is the last writes
        case plans.TakeCheckpoint():
            return _DUMP_S + memory_bytes * _DUMP_S_PER_BYTE
        case plans.TransferCheckpoint():
            changed = memory_bytes * DIRTY_SHARE
            return _ROUND_S + memory_bytes * _COMPARE_S_PER_BYTE + changed / rate_bytes_s
        case plans.StartTarget(restored=True):
            return _RESTORE_S + memory_bytes * _RESTORE_S_PER_BYTE
        case plans.StartTarget():
            return _START_S
        case plans.ProveTarget(restored=restored):
            return _PROVE_S if restored else _BOOT_S
        case plans.SwitchTraffic():
            return _SWITCH_S
        case _:
            return 0.0


def downtime_s(plan: Plan, memory_bytes: int, rate_bytes_s: float) -> float | None:
    """From the fence to the switch, along the longest way through the plan; None if it has no source to fence."""
    ends: dict[StepId, float] = {}
    relocation = plan.of(Group.RELOCATION)
    if not any(isinstance(step.work, FenceSource) for step in relocation):
        return None
    for step in relocation:
        begins_s = max((ends[before] for before in step.after if before in ends), default=0.0)
        ends[step.id] = begins_s + step_s(step, memory_bytes, rate_bytes_s)
    return max(ends[step.id] for step in relocation if isinstance(step.work, SwitchTraffic))
