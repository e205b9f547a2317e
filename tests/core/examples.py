"""One app on two or three MEC hosts: the facts that the core's tests speak of."""

from pillion.core.events import EngineStarted
from pillion.core.host_facts import HostFacts
from pillion.core.model import App, AppId, Epoch, HostId, UeId, Volume, ZoneId
from pillion.core.placement import Placement, Policy
from pillion.core.plan import Strategy
from pillion.strategies.checkpoint import CHECKPOINT
from pillion.strategies.commit_save import COMMIT_SAVE
from pillion.strategies.deploy import DEPLOY
from pillion.strategies.export_import import EXPORT_IMPORT
from pillion.strategies.restart import RESTART

UE = UeId("10.100.0.2")
A2 = App(AppId("a2"), UE, "pillion/a2", 3000, Volume("/data"), "/changePhase", "/ready", "M2")
MEC1, MEC2, MEC3 = HostId("mec1"), HostId("mec2"), HostId("mec3")
PLANS: dict[str, Strategy] = {
    "M1": EXPORT_IMPORT,
    "M2": COMMIT_SAVE,
    "M3": CHECKPOINT,
    "deploy": DEPLOY,
    "restart": RESTART,
}
POLICY = Policy(
    placement=Placement(MEC1, {ZoneId("zone01"): MEC2, ZoneId("zone04"): MEC3}, {}),
    hosts=frozenset({MEC1, MEC2, MEC3}),
    strategies=frozenset({"M2"}),
    start={A2.id: MEC1},
)

FIT = HostFacts(
    engine_version="26.1.5",
    api_version=(1, 45),
    experimental=True,
    storage_driver="overlay2",
    containerd_store=False,
    cgroup_version=2,
    python_version="3.13.5",
    free_bytes=10**11,
    shm_free_bytes=10**9,
    kernel="6.12.48+deb13-amd64",
    criu_version=(3, 19),
    criu_problem="",
    can_raise_limits=True,
    cpu_features=frozenset({"avx2", "fpu", "sse2"}),
)
"""A host from and to which everything can be moved."""


def engine_started(epoch: int = 1) -> EngineStarted:
    return EngineStarted(Epoch(epoch), POLICY, (A2,))
