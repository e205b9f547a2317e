"""Starting an instance that does not run, from what its host holds of it: container, filesystem, DV.

After a stop (the host was switched off and on, the app ended by itself) nothing that was acknowledged is lost. After
the loss of the serving host it is how a copy that was prepared elsewhere takes over: with the state it had then.
Nothing is made, so a failure takes nothing away: the next try finds the same.
"""

from __future__ import annotations

from pillion.core.model import StepId
from pillion.core.plan import (
    Group,
    HoldTraffic,
    Place,
    Plan,
    ProveTarget,
    Situation,
    StartTarget,
    Step,
    Strategy,
    SwitchTraffic,
    TellApp,
)


def _restart(situation: Situation) -> Plan:
    app, target = situation.app, situation.target
    hold, start, prove, switch = map(StepId, ("hold", "start", "prove", "switch"))
    move, place = Group.RELOCATION, Place.TARGET
    # A copy made in the middle of a migration still believes that it is in one.
    tell = TellApp(target, in_migration=False)
    told = (Step(StepId("tell-target"), Group.CLEAN_UP, place, tell),) if app.phase_hook else ()
    return Plan(
        "restart",
        (
            Step(hold, Group.PRE_RELOCATION, place, HoldTraffic(target)),
            Step(start, move, place, StartTarget(target)),
            Step(prove, move, place, ProveTarget(target), frozenset({start})),
            Step(switch, move, place, SwitchTraffic(target), frozenset({prove})),
            *told,
        ),
    )


RESTART = Strategy("restart", "start an instance again from what its host holds of it", _restart)
