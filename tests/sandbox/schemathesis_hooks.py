"""What the sandbox's fuzzing adds to schemathesis, which loads this: a check, and where callbacks go to."""

from __future__ import annotations

import os
from typing import Any

import schemathesis

CALLBACKS = os.environ["PILLION_TEST_CALLBACKS"]
"""A server of the test's own: a host that was made up is not to be looked for in any network."""


@schemathesis.check
def answer_as_described(ctx: Any, response: Any, case: Any) -> None:
    """The schema of an answer is kept, but that a refusal may have no body, which a description cannot say."""
    if response.status_code < 400 or response.content:
        case.operation.validate_response(response, case=case)


@schemathesis.hook
def map_body(ctx: Any, body: Any) -> Any:
    """Let every callback that has a host be the test's own; what is no such URL stays as it was made up."""
    if isinstance(body, dict):
        return {name: _kept_home(name, map_body(ctx, value)) for name, value in body.items()}
    return [map_body(ctx, each) for each in body] if isinstance(body, list) else body


def _kept_home(name: str, value: Any) -> Any:
    is_callback = name in ("callbackReference", "notifyURL") and isinstance(value, str)
    return f"{CALLBACKS}/fuzz" if is_callback and "//" in value else value
