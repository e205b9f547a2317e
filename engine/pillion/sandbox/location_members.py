"""Members that a subscription of the Location API cannot do without, and those that have a few values only."""

from __future__ import annotations

from http import HTTPStatus

from pillion.sandbox.answers import Members, Refused


def mandatory_text(members: Members, name: str) -> str:
    """A text that is not empty. Raises Refused."""
    value = members.text(name)
    if not value:
        raise members.mandatory(name)
    return value


def chosen(members: Members, name: str, *allowed: str) -> str | None:
    """One of these texts, or nothing. Raises Refused."""
    value = members.text(name)
    if value is not None and value not in allowed:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} has to be one of {', '.join(allowed)}")
    return value


def chosen_all(members: Members, name: str, *allowed: str) -> list[str]:
    """A list of these texts alone. Raises Refused."""
    values = members.texts(name) or []
    if not set(values) <= set(allowed):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} can have {', '.join(allowed)}")
    return values


def mandatory_texts(members: Members, name: str) -> list[str]:
    """A list that is not empty. Raises Refused."""
    values = members.texts(name)
    if not values:
        raise members.mandatory(name)
    return values


def mandatory_number(members: Members, name: str) -> float:
    """Raises Refused."""
    value = members.number(name)
    if value is None:
        raise members.mandatory(name)
    return value


def mandatory_integer(members: Members, name: str) -> int:
    """Raises Refused."""
    value = members.integer(name)
    if value is None:
        raise members.mandatory(name)
    return value
