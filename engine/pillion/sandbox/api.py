"""The sandbox's own APIs put together: what a gateway proxies and an app may ask.

Everything lies under `/{sandbox}/`, and again under `/{sandbox}/{mep}/` as each MEC platform has it: there too all
zones are seen. A service with subscriptions is one object; the others are functions alone.
"""

from __future__ import annotations

from aiohttp import web

from pillion.sandbox import description, location, location_v3, platform, rnis, rnis_data
from pillion.sandbox.answers import LIVE, refusals
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location_subscriptions import LocationSubscriptions
from pillion.sandbox.location_v3_subscriptions import LocationSubscriptionsV3
from pillion.sandbox.rnis_subscriptions import RnisSubscriptions

_ROOTS = ("/{sandbox}", "/{sandbox}/{mep:mep[0-9]+}")


def api_app(live: LiveWorld) -> web.Application:
    """The APIs of this world under its sandbox's name. Their services are in `live.services` from then on."""
    app = web.Application(middlewares=[refusals])
    app[LIVE] = live
    zones, zones_v3, radio = LocationSubscriptions(live), LocationSubscriptionsV3(live), RnisSubscriptions(live)
    live.services += [zones, zones_v3, radio]
    for root in _ROOTS:
        description.add_routes(app, root)
        location.add_routes(app, f"{root}/{location.API}")
        zones.add_routes(app, f"{root}/{location.API}")
        location_v3.add_routes(app, f"{root}/{location_v3.API}")
        zones_v3.add_routes(app, f"{root}/{location_v3.API}")
        rnis.add_routes(app, f"{root}/{rnis_data.API}")
        radio.add_routes(app, f"{root}/{rnis_data.API}")
    platform.add_routes(app, "/{sandbox}")
    return app
