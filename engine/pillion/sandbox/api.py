"""The sandbox's own APIs put together: what a gateway proxies and an app may ask.

Everything lies under `/{sandbox}/`, and again under `/{sandbox}/{mep}/` as each MEC platform has it: there too all
zones are seen. A service with subscriptions is one object; the others are functions alone.
"""

from __future__ import annotations

from aiohttp import web

from pillion.sandbox import (
    app_mobility_terms,
    app_support,
    description,
    location,
    location_v3,
    rnis,
    rnis_data,
    service_mgmt,
)
from pillion.sandbox.answers import LIVE, refusals
from pillion.sandbox.app_mobility import AppMobility
from pillion.sandbox.app_support import AppSupport
from pillion.sandbox.applications import Applications
from pillion.sandbox.live import LiveWorld
from pillion.sandbox.location_subscriptions import LocationSubscriptions
from pillion.sandbox.location_v3_subscriptions import LocationSubscriptionsV3
from pillion.sandbox.platform import ControlPlane
from pillion.sandbox.rnis_subscriptions import RnisSubscriptions
from pillion.sandbox.service_mgmt import ServiceManagement

_ROOTS = ("/{sandbox}", "/{sandbox}/{mep:mep[0-9]+}")


def api_app(live: LiveWorld) -> web.Application:
    """The APIs of this world under its sandbox's name. Their services are in `live.services` from then on."""
    app = web.Application(middlewares=[refusals])
    app[LIVE] = live
    zones, zones_v3, radio = LocationSubscriptions(live), LocationSubscriptionsV3(live), RnisSubscriptions(live)
    applications = Applications(own=list(service_mgmt.OWN))
    services = ServiceManagement(live, applications)
    support, mobility = AppSupport(live, applications, services), AppMobility(live, applications)
    live.services += [zones, zones_v3, radio, support, services, mobility]
    for root in _ROOTS:
        description.add_routes(app, root)
        location.add_routes(app, f"{root}/{location.API}")
        zones.add_routes(app, f"{root}/{location.API}")
        location_v3.add_routes(app, f"{root}/{location_v3.API}")
        zones_v3.add_routes(app, f"{root}/{location_v3.API}")
        rnis.add_routes(app, f"{root}/{rnis_data.API}")
        radio.add_routes(app, f"{root}/{rnis_data.API}")
        support.add_routes(app, f"{root}/{app_support.API}")
        services.add_routes(app, f"{root}/{service_mgmt.API}")
        mobility.add_routes(app, f"{root}/{app_mobility_terms.API}")
    ControlPlane(applications, support, mobility).add_routes(app, "/{sandbox}")
    return app
