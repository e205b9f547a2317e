"""M2, commit/save/load: filesystem and configuration go ahead as an image, the DV's last bytes in the downtime.

Pre-relocation: the app is told (and from then on writes only to its DV), its container is committed, the image is
saved, copied and loaded in one stream of the layers that the target lacks, the DV is copied a first time, and the
target's container is created. Relocation: pause, the DV's changes, start, proof, switch, kill. Memory is lost, so an
app that keeps state there needs M3.

Success: the target serves with the source's filesystem, configuration and DV; the source keeps the original image.
Failure: the source serves as before; the target keeps at most the original image.
"""

from __future__ import annotations

from pillion.core.model import StepId
from pillion.core.plan import (
    CloseLink,
    CommitImage,
    CreateContainer,
    CreateVolume,
    FenceSource,
    Group,
    KillSource,
    OpenLink,
    Place,
    Plan,
    ProveTarget,
    RemoveImage,
    RemoveInstance,
    Situation,
    StartTarget,
    Step,
    Strategy,
    SwitchTraffic,
    TellApp,
    TransferImage,
    TransferVolume,
    Work,
)
from pillion.errors import PlanError


def _commit_save(situation: Situation) -> Plan:
    app, source, target = situation.app, situation.source, situation.target
    if source is None:
        raise PlanError("M2 moves an app that runs somewhere; it cannot start one", place=app.id)
    image = target.image
    steps: list[Step] = []

    def add(name: str, group: Group, place: Place, work: Work, *after: str) -> None:
        steps.append(Step(StepId(name), group, place, work, frozenset(map(StepId, after))))

    pre, move, clean = Group.PRE_RELOCATION, Group.RELOCATION, Group.CLEAN_UP
    told: tuple[str, ...] = ()
    if app.phase_hook:
        add("tell-source", pre, Place.SOURCE, TellApp(source, in_migration=True))
        told = ("tell-source",)
    add("open-link", pre, Place.TRANSFER, OpenLink(source, target))
    copied: tuple[str, ...] = ()
    if app.volume:
        add("create-volume", pre, Place.TARGET, CreateVolume(target))
        add("copy-volume", pre, Place.TRANSFER, TransferVolume(source, target), "create-volume", "open-link", *told)
        copied = ("copy-volume",)
    add("commit", pre, Place.SOURCE, CommitImage(source, image), *told)
    # A link carries one transfer at a time; waiting here keeps the wait out of the step's time.
    transfer = TransferImage(image, app.image, source, target)
    add("send-image", pre, Place.TRANSFER, transfer, "open-link", "commit", *copied)
    add("create", pre, Place.TARGET, CreateContainer(target, image), "send-image")

    add("fence", move, Place.SOURCE, FenceSource(source))
    fenced = "fence"
    if app.volume:
        add("last-bytes", move, Place.TRANSFER, TransferVolume(source, target), "fence")
        fenced = "last-bytes"
    add("start", move, Place.TARGET, StartTarget(target), fenced)
    add("prove", move, Place.TARGET, ProveTarget(target), "start")
    add("switch", move, Place.TARGET, SwitchTraffic(target), "prove")
    add("kill", move, Place.SOURCE, KillSource(source), "switch")

    if app.phase_hook:
        add("tell-target", clean, Place.TARGET, TellApp(target, in_migration=False))
    add("close-link", clean, Place.TRANSFER, CloseLink(source, target))
    add("remove-source", clean, Place.SOURCE, RemoveInstance(source))
    add("remove-image", clean, Place.SOURCE, RemoveImage(source, image), "remove-source")
    return Plan("M2", tuple(steps))


COMMIT_SAVE = Strategy("M2", "commit, save, load: filesystem, configuration and DV; memory is lost", _commit_save)
