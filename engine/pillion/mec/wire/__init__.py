"""ETSI JSON to core facts and back: the only home of the standards' names.

`reading.py` takes an object apart and names the field that is wrong; `queries.py`, `notifications.py` and
`subscriptions.py` know what the APIs say, `kinds.py` what is sent to them. Every parse succeeds, or raises
MecPayloadError, whatever bytes come.
"""

from pillion.mec.wire.kinds import KINDS, Kind
from pillion.mec.wire.notifications import parse_notification
from pillion.mec.wire.queries import parse_access_points, parse_user, parse_zones
from pillion.mec.wire.subscriptions import Listed, callback_of, parse_subscription_list

__all__ = [
    "KINDS",
    "Kind",
    "Listed",
    "callback_of",
    "parse_access_points",
    "parse_notification",
    "parse_subscription_list",
    "parse_user",
    "parse_zones",
]
