"""What the sandbox's fuzzing adds to schemathesis, which loads this: a check, and values that lead further."""

from __future__ import annotations

import os
from typing import Any

import schemathesis

CALLBACKS = os.environ["PILLION_TEST_CALLBACKS"]
"""A server of the test's own: a host that was made up is not to be looked for in any network."""

SUBSCRIPTIONS = 5


@schemathesis.check
def answer_as_described(ctx: Any, response: Any, case: Any) -> None:
    """The schema of an answer is kept, but that a refusal may have no body, which a description cannot say."""
    if response.status_code < 400 or response.content:
        case.operation.validate_response(response, case=case)


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """Ask about subscriptions that may be there, and let every callback that has a host be the test's own."""
    id_ = (case.path_parameters or {}).get("subscriptionId")
    if isinstance(id_, str) and id_.isascii() and id_.isdigit():
        case.path_parameters["subscriptionId"] = id_ = str(int(id_[-3:]) % SUBSCRIPTIONS + 1)
    case.body = _with_likely_values(case.body, id_)


def _with_likely_values(body: Any, id_: Any) -> Any:
    if isinstance(body, list):
        return [_with_likely_values(each, id_) for each in body]
    if not isinstance(body, dict):
        return body
    return {name: _likely(name, _with_likely_values(value, id_), id_) for name, value in body.items()}


def _likely(name: Any, value: Any, id_: Any) -> Any:
    """What is made up for a URL mostly has no host, and stays."""
    if isinstance(value, str) and name in ("callbackReference", "notifyURL") and "//" in value:
        return f"{CALLBACKS}/told"
    return f"{value}/{id_}" if isinstance(value, str) and name in ("resourceURL", "href") else value
