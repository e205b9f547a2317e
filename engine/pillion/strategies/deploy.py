"""The start of an app where nothing serves it: a plan without a source, journaled and recovered like any other.

The user plane holds the traffic until the target is proven. So after the loss of a host, when the app starts anew on
another one, nothing reaches the lost host any more, whenever it comes back.
"""

from __future__ import annotations

from pillion.core.model import StepId
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


def _deploy(situation: Situation) -> Plan:
    app, target = situation.app, situation.target
    volume, create, start, prove, switch = map(StepId, ("create-volume", "create", "start", "prove", "switch"))
    pre, move, place = Group.PRE_RELOCATION, Group.RELOCATION, Place.TARGET
    hold = Step(StepId("hold"), pre, place, HoldTraffic(target))
    volumes = (Step(volume, pre, place, CreateVolume(target), frozenset({hold.id})),) if app.volume else ()
    made = CreateContainer(target, app.image)
    return Plan(
        "deploy",
        (
            hold,
            *volumes,
            Step(create, pre, place, made, frozenset({hold.id, *(step.id for step in volumes)})),
            Step(start, move, place, StartTarget(target)),
            Step(prove, move, place, ProveTarget(target), frozenset({start})),
            Step(switch, move, place, SwitchTraffic(target), frozenset({prove})),
        ),
    )


DEPLOY = Strategy("deploy", "create the app on a host and start it", _deploy)
