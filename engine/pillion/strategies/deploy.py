"""The start of an app where nothing serves it: a plan without a source, journaled and recovered like any other.

The user plane holds the traffic until the target is proven. So after the loss of a host, when the app starts anew on
another one, nothing reaches the lost host any more, whenever it comes back.
"""

from __future__ import annotations

from pillion.core.model import Instance, StepId
from pillion.core.plan import (
    CreateContainer,
    CreateVolume,
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
)


def hold_traffic(target: Instance) -> Step:
    """The first step where nothing serves: no host gets the app's traffic."""
    return Step(StepId("hold"), Group.PRE_RELOCATION, Place.TARGET, HoldTraffic(target))


def bring_up(target: Instance, *, restored: bool = False) -> tuple[Step, ...]:
    """The relocation where nothing serves: start, proof, switch. `restored`: it may be a restored process that runs."""
    start, prove, switch = map(StepId, ("start", "prove", "switch"))
    move, place = Group.RELOCATION, Place.TARGET
    return (
        Step(start, move, place, StartTarget(target)),
        Step(prove, move, place, ProveTarget(target, restored), frozenset({start})),
        Step(switch, move, place, SwitchTraffic(target), frozenset({prove})),
    )


def _deploy(situation: Situation) -> Plan:
    app, target = situation.app, situation.target
    volume, create = map(StepId, ("create-volume", "create"))
    pre, place = Group.PRE_RELOCATION, Place.TARGET
    hold = hold_traffic(target)
    volumes = (Step(volume, pre, place, CreateVolume(target), frozenset({hold.id})),) if app.volume else ()
    made = CreateContainer(target, app.image)
    return Plan(
        "deploy",
        (
            hold,
            *volumes,
            Step(create, pre, place, made, frozenset({hold.id, *(step.id for step in volumes)})),
            *bring_up(target),
        ),
    )


DEPLOY = Strategy("deploy", "create the app on a host and start it", _deploy)
