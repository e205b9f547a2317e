"""The first start of an app: a plan with a target and no source, journaled and recovered like any other."""

from __future__ import annotations

from pillion.core.model import StepId
from pillion.core.plan import (
    CreateContainer,
    CreateVolume,
    Group,
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
    pre, move = Group.PRE_RELOCATION, Group.RELOCATION
    volumes = (Step(volume, pre, Place.TARGET, CreateVolume(target)),) if app.volume else ()
    return Plan(
        "deploy",
        (
            *volumes,
            Step(create, pre, Place.TARGET, CreateContainer(target, app.image), frozenset(step.id for step in volumes)),
            Step(start, move, Place.TARGET, StartTarget(target)),
            Step(prove, move, Place.TARGET, ProveTarget(target), frozenset({start})),
            Step(switch, move, Place.TARGET, SwitchTraffic(target), frozenset({prove})),
        ),
    )


DEPLOY = Strategy("deploy", "create the app on a host and start it", _deploy)
