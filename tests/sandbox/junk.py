"""Bodies that no client should send, for the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def spoiled(draw: st.DrawFn, good: Mapping[str, Any]) -> bytes:
    """A good body with junk for some of its members, at any depth; or no body of JSON at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=12))
    document: Any = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(0, 3))):
        holder = document
        while True:
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
            if isinstance(holder[key], dict | list) and holder[key] and draw(st.booleans()):
                holder = holder[key]
            else:
                break
        holder[key] = draw(JUNK)
    return json.dumps(document).encode()


def is_about_decoding(detail: str) -> bool:
    """Whether a refusal with status 500 is the documented one. What breaks on its way has other words."""
    return detail.startswith("not ") or detail.rstrip().endswith("wrong type")
