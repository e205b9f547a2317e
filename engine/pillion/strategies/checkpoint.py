"""M3, checkpoint (live, CRIU): the processes move with their memory, and the app need not know.

Pre-relocation: the image that the source runs from goes ahead, the target's container is created, and what the source
has written since (its own filesystem, its DV) is copied a first time. Then a first checkpoint is taken, the app going
on, and copied too. Relocation: pause, second checkpoint, only what changed is sent, restore, proof, switch, kill. The
source is there, paused, until the target is proven.

Success: the target goes on where the source was paused. Open TCP connections are closed: the app and its UE make new
ones. Failure: the source goes on where it was paused.
"""

from __future__ import annotations

from pillion.core.plan import (
    Place,
    Plan,
    RemoveCheckpoints,
    Round,
    Situation,
    Strategy,
    TakeCheckpoint,
    TransferCheckpoint,
    TransferFiles,
    TransferOwnImage,
)
from pillion.core.preflight import Part
from pillion.strategies.draft import CLEAN, MOVE, PRE, Draft

_CARRIES = frozenset(Part)


def _checkpoint(situation: Situation) -> Plan:
    draft = Draft("M3", _CARRIES, situation, tells_app=False)
    source, target = draft.source, draft.target
    copied = draft.copy_volume()
    draft.add("send-image", PRE, Place.TRANSFER, TransferOwnImage(draft.app.image, source, target), *copied)
    draft.create("send-image")
    draft.add("copy-files", PRE, Place.TRANSFER, TransferFiles(source, target), "create")
    # As late as possible: what changes from here on has to be sent in the downtime.
    draft.add("first-checkpoint", PRE, Place.SOURCE, TakeCheckpoint(source, Round.FIRST), "copy-files")
    first = TransferCheckpoint(source, target, Round.FIRST)
    draft.add("send-checkpoint", PRE, Place.TRANSFER, first, "first-checkpoint")

    fenced = draft.fence()
    draft.add("last-checkpoint", MOVE, Place.SOURCE, TakeCheckpoint(source, Round.LAST), "fence")
    draft.add("last-files", MOVE, Place.TRANSFER, TransferFiles(source, target), *fenced)
    last = TransferCheckpoint(source, target, Round.LAST)
    draft.add("last-pages", MOVE, Place.TRANSFER, last, "last-checkpoint", "last-files")
    draft.take_over("last-pages", restored=True)
    draft.clean_up()
    draft.add("remove-checkpoints", CLEAN, Place.TARGET, RemoveCheckpoints(target))
    return draft.plan()


CHECKPOINT = Strategy("M3", "checkpoint (CRIU): everything, the app's memory too, and the app goes on", _checkpoint)
