"""Starting an instance that does not run, from what its host holds of it: container, filesystem, DV.

After a stop (the host was switched off and on, the app ended by itself) nothing that was acknowledged is lost. After
the loss of the serving host it is how a copy that was prepared elsewhere takes over: with the state it had then.
Nothing is made, so a failure takes nothing away: the next try finds the same.
"""

from __future__ import annotations

from pillion.core.model import StepId
from pillion.core.plan import Group, Place, Plan, Situation, Step, Strategy, TellApp
from pillion.strategies.deploy import bring_up, hold_traffic


def _restart(situation: Situation) -> Plan:
    app, target = situation.app, situation.target
    # A copy made in the middle of a migration still believes that it is in one.
    tell = TellApp(target, in_migration=False)
    told = (Step(StepId("tell-target"), Group.CLEAN_UP, Place.TARGET, tell),) if app.phase_hook else ()
    return Plan("restart", (hold_traffic(target), *bring_up(target, restored=True), *told))


RESTART = Strategy("restart", "start an instance again from what its host holds of it", _restart)
