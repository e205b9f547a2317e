"""M2, commit/save/load: filesystem and configuration go ahead as an image, the DV's last bytes in the downtime.

Pre-relocation: the app is told (and from then on writes only to its DV), its container is committed, the image is
saved, copied and loaded in one stream of the layers that the target lacks, the DV is copied a first time, and the
target's container is created. Relocation: pause, the DV's changes, start, proof, switch, kill. Memory is lost, so an
app that keeps state there needs M3.

Success: the target serves with the source's filesystem, configuration and DV; the source keeps the original image.
Failure: the source serves as before; the target keeps at most the original image.
"""

from __future__ import annotations

from pillion.core.plan import CommitImage, Place, Plan, RemoveImage, Situation, Strategy, TransferImage
from pillion.core.preflight import Part
from pillion.strategies.draft import CLEAN, PRE, Draft

_CARRIES = frozenset({Part.FILESYSTEM, Part.CONFIGURATION, Part.VOLUME})


def _commit_save(situation: Situation) -> Plan:
    draft = Draft("M2", _CARRIES, situation, tells_app=True)
    source, target, image = draft.source, draft.target, draft.target.image
    told = draft.tell_source()
    copied = draft.copy_volume(*told)
    draft.add("commit", PRE, Place.SOURCE, CommitImage(source, image), *told)
    transfer = TransferImage(image, draft.app.image, source, target)
    draft.add("send-image", PRE, Place.TRANSFER, transfer, "commit", *copied)
    draft.create("send-image")
    draft.take_over(*draft.fence())
    draft.clean_up()
    draft.add("remove-image", CLEAN, Place.SOURCE, RemoveImage(source, image), "remove-source")
    return draft.plan()


COMMIT_SAVE = Strategy(
    "M2", "commit, save, load: filesystem, configuration and DV; memory is lost", _commit_save, _CARRIES
)
