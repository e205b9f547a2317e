"""How requests of several APIs read the same members: mandatory ones, those of a few values, links and deadlines."""

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


def own_link(members: Members) -> str | None:
    """`_links.self.href`, if it is there: what a subscription is called by the client that sends it back."""
    links = members.object("_links")
    own = links.object("self") if links else None
    return own.text("href") if own else None


def expiry_deadline(members: Members) -> tuple[dict[str, object], int | None]:
    """`expiryDeadline` as it is kept, under its name, and its seconds; nothing and None if there is none."""
    deadline = members.object("expiryDeadline")
    if deadline is None:
        return {}, None
    expires_s = deadline.integer("seconds") or 0
    kept = {"nanoSeconds": deadline.integer("nanoSeconds") or 0, "seconds": expires_s}
    return {"expiryDeadline": kept}, expires_s
