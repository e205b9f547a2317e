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
    target = situation.target
    volume, create, start, prove, switch = map(StepId, ("create-volume", "create", "start", "prove", "switch"))
    return Plan(
        "deploy",
        (
            Step(volume, Group.PRE_RELOCATION, Place.TARGET, CreateVolume(target)),
            Step(
                create,
                Group.PRE_RELOCATION,
                Place.TARGET,
                CreateContainer(target, situation.app.image),
                frozenset({volume}),
            ),
            Step(start, Group.RELOCATION, Place.TARGET, StartTarget(target)),
            Step(prove, Group.RELOCATION, Place.TARGET, ProveTarget(target), frozenset({start})),
            Step(switch, Group.RELOCATION, Place.TARGET, SwitchTraffic(target), frozenset({prove})),
        ),
    )


DEPLOY = Strategy("deploy", "create the app on a host and start it", _deploy)
