"""The sandbox's own APIs put together: what a gateway proxies and an app may ask.

Everything lies under `/{sandbox}/`, and again under `/{sandbox}/{mep}/` as each MEC platform has it: there too all
zones are seen. A service with subscriptions is one object; the others are functions alone.
"""

from __future__ import annotations

from aiohttp import web

from pillion.sandbox import location, location_v3, platform, rnis
from pillion.sandbox.answers import LIVE, refusals
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location_subscriptions import LocationSubscriptions
from pillion.sandbox.location_v3_subscriptions import LocationSubscriptionsV3

_ROOTS = ("/{sandbox}", "/{sandbox}/{mep:mep[0-9]+}")


def api_app(live: LiveWorld) -> web.Application:
    """The APIs of this world under its sandbox's name. Their services are in `live.services` from then on."""
    app = web.Application(middlewares=[refusals])
    app[LIVE] = live
    location_subscriptions, location_subscriptions_v3 = LocationSubscriptions(live), LocationSubscriptionsV3(live)
    live.services += [location_subscriptions, location_subscriptions_v3]
    for root in _ROOTS:
        location.add_routes(app, f"{root}/{location.API}")
        location_subscriptions.add_routes(app, f"{root}/{location.API}")
        location_v3.add_routes(app, f"{root}/{location_v3.API}")
        location_subscriptions_v3.add_routes(app, f"{root}/{location_v3.API}")
        rnis.add_routes(app, f"{root}/{rnis.API}")
    platform.add_routes(app, "/{sandbox}")
    return app
