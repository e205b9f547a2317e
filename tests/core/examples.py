"""One app on two or three MEC hosts: the facts that the core's tests speak of."""

from pillion.core.events import EngineStarted
from pillion.core.model import App, AppId, Epoch, HostId, UeId, Volume, ZoneId
from pillion.core.placement import Placement, Policy
from pillion.core.plan import Strategy
from pillion.strategies.commit_save import COMMIT_SAVE
from pillion.strategies.deploy import DEPLOY
from pillion.strategies.restart import RESTART

UE = UeId("10.100.0.2")
A2 = App(AppId("a2"), UE, "pillion/a2", 3000, Volume("/data"), "/changePhase", "/ready", "M2")
MEC1, MEC2, MEC3 = HostId("mec1"), HostId("mec2"), HostId("mec3")
PLANS: dict[str, Strategy] = {"M2": COMMIT_SAVE, "deploy": DEPLOY, "restart": RESTART}
POLICY = Policy(
    placement=Placement(MEC1, {ZoneId("zone01"): MEC2, ZoneId("zone04"): MEC3}, {}),
    hosts=frozenset({MEC1, MEC2, MEC3}),
    strategies=frozenset({"M2"}),
    start={A2.id: MEC1},
)


def engine_started(epoch: int = 1) -> EngineStarted:
    return EngineStarted(Epoch(epoch), POLICY, (A2,))
