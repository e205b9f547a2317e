"""M1, export/import (Campolo et al. 2019): the filesystem goes ahead as one layer, the DV's last bytes in the downtime.

Pre-relocation: the app is told, its whole filesystem is exported, copied and imported in one stream (later only what it
has written since: both hosts keep the layer), the DV is copied a first time, and the target's container is created.
Relocation as in M2. An imported image has no configuration, so the app starts with the `command` and `environment` that
the lab file gives by hand. Memory is lost.

Success: the target serves with the source's filesystem and DV. Failure: the source serves as before.
"""

from __future__ import annotations

from pillion.core.plan import Place, Plan, Situation, Strategy, TransferFilesystem
from pillion.core.preflight import Part
from pillion.strategies.draft import PRE, Draft

_CARRIES = frozenset({Part.FILESYSTEM, Part.VOLUME})


def _export_import(situation: Situation) -> Plan:
    draft = Draft("M1", _CARRIES, situation, tells_app=True)
    told = draft.tell_source()
    copied = draft.copy_volume(*told)
    transfer = TransferFilesystem(draft.source, draft.target)
    draft.add("send-filesystem", PRE, Place.TRANSFER, transfer, *told, *copied)
    draft.create("send-filesystem")
    draft.take_over(*draft.fence())
    draft.clean_up()
    return draft.plan()


EXPORT_IMPORT = Strategy(
    "M1", "export, import: filesystem and DV; configuration comes from the lab file", _export_import, _CARRIES
)
