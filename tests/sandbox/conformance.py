"""Holds what the sandbox answers and tells against the OpenAPI documents of the original and of ETSI.

What does not fit is a `Finding`. It names the schema that is not kept, and where in it, so the same habit seen in many
answers is one finding. A member that a schema does not list is a finding as well: the documents allow any, and a
misspelt name would never be noticed.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from jsonschema import FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from openapi_schema_validator import OAS30Validator, OAS31Validator
from ruamel.yaml import YAML

from tests.sandbox.deviations import CORRECTIONS, Correction, Finding
from tests.shared import SHARED

REFERENCE = SHARED / "reference" / "openapi"
"""Beside the project; a clone has not got it."""
FORMATS = FormatChecker(["ipv4", "ipv6"])
_WHOLE = "$"
_SCHEMAS = "#/components/schemas/"
_SCHEMA_OF_TYPE = {"SerAvailabilityNotification": "ServiceAvailabilityNotification", "": "notification without type"}
"""Types that do not name their schema."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: what was asked (path under the API's root, no query), and what came."""

    method: str
    path: str
    status: int
    media_type: str
    document: Any
    """None for an empty body."""


class Document:
    """One OpenAPI document, by the name of its file; of a document of several APIs that under `root` only."""

    def __init__(self, name: str, content: Mapping[str, Any], root: str = "") -> None:
        self.name = name
        self._root = root
        self._content = _with_text_keys(content)
        dialect = _CLOSED_30 if self._content["openapi"].startswith("3.0") else _CLOSED_31
        self._validator = dialect(self._content, format_checker=FORMATS)
        self._corrections = {where: each for each in CORRECTIONS if each.document == name for where in each.operations}
        self.corrected: set[Correction] = set()
        """Those that were needed so far."""
        # The most literal template first: `area/circle` is no id.
        templates = sorted(self._content["paths"], key=lambda path: path.count("{"))
        self._templates = [(re.compile(re.sub(r"\{[^/]+\}", "[^/]+", path)), path) for path in templates]
        self._described = {
            status
            for item in self._operations().values()
            for status in item.get("responses", {})
            if status != "default"
        }

    @property
    def operations(self) -> set[str]:
        """Each as `GET /queries/users`."""
        return set(self._operations())

    @property
    def notifications(self) -> set[str]:
        """The schemas of what subscribers are told."""
        return {name for name in self._schemas if name.endswith("Notification") and not name.startswith("Inline")}

    @property
    def _schemas(self) -> dict[str, Any]:
        schemas: dict[str, Any] = self._content["components"]["schemas"]
        return schemas

    def operation_of(self, method: str, path: str) -> str:
        """The operation that a request is about. Raises LookupError if the document has none such."""
        for pattern, template in self._templates:
            if pattern.fullmatch(self._root + path) and method.lower() in self._content["paths"][template]:
                return f"{method} {template}"
        raise LookupError(f"{self.name} does not describe {method} {path}")

    def findings_of_answer(self, answered: Answered) -> Iterator[Finding]:
        """What of an answer is not as the document has it. Raises LookupError for an operation it has not."""
        operation = self.operation_of(answered.method, answered.path)
        status = str(answered.status)
        responses = self._operations()[operation]["responses"]
        if status not in responses:
            # What no operation describes is one habit, not one for each operation.
            yield self._finding(
                operation if status in self._described else "every operation", _WHOLE, f"status {status}"
            )
            return
        response = responses[status]
        where = operation
        if "$ref" in response:
            where = f"response {status}"
            response = self._resolved(response["$ref"])
        content = response.get("content", {})
        if not content:
            if answered.document is not None:
                yield self._finding(where, _WHOLE, "body")
            return
        if answered.document is None:
            yield self._finding(where, _WHOLE, "empty body")
            return
        if answered.media_type not in content:
            yield self._finding(where, _WHOLE, f"media type {answered.media_type}")
        correction = self._corrections.get(operation) if answered.status < 300 else None
        if correction is None:
            described = content.get(answered.media_type) or next(iter(content.values()))
            yield from self._findings(answered.document, described["schema"], where)
            return
        self.corrected.add(correction)
        name, body = correction.schema, answered.document
        if name is None:
            name, body = self.schema_of(answered.document)
        yield from self._findings(body, {"$ref": f"{_SCHEMAS}{name}"}, name)

    def findings_of_notification(self, document: Mapping[str, Any]) -> Iterator[Finding]:
        """What of a notification is not as its schema has it."""
        name, body = self.schema_of(document)
        if name not in self._schemas:
            yield self._finding(name, _WHOLE, "no such schema")
            return
        yield from self._findings(body, {"$ref": f"{_SCHEMAS}{name}"}, name)

    def schema_of(self, document: Mapping[str, Any]) -> tuple[str, Any]:
        """The name of the schema of a notification or subscription, and what has to be as that says.

        Its type, or where it is under a key of its own the name of that.
        """
        for name in ("notificationType", "subscriptionType"):
            if name in document:
                return _SCHEMA_OF_TYPE.get(document[name], document[name]), document
        key, body = next(iter(document.items()))
        return key[0].upper() + key[1:], body

    def _findings(self, instance: Any, schema: Mapping[str, Any], where: str) -> Iterator[Finding]:
        for error in self._validator.evolve(schema=schema).iter_errors(instance):
            yield self._finding(*self._place(error, schema, where), _problem(error))

    def _place(self, error: ValidationError, schema: Mapping[str, Any], where: str) -> tuple[str, str]:
        """The innermost named schema on the way to the error, and the JSON path from there."""
        node: Any = schema
        path, start, at = list(error.absolute_path), 0, 0
        steps = deque(error.absolute_schema_path)
        while True:
            while "$ref" in node and steps[0] not in node:
                where, node, start = node["$ref"].rpartition("/")[2], self._resolved(node["$ref"]), at
            if len(steps) == 1:  # the keyword that is not kept
                break
            step = steps.popleft()
            node = node[step] if step != "properties" else node[step][steps.popleft()]
            at += step in ("properties", "items", "additionalProperties")
        member = error.cause if isinstance(error.cause, _Member) else None
        inner = [*path[start:], *([member.name] if member else [])]
        return where, _WHOLE + "".join("[]" if isinstance(each, int) else f".{each}" for each in inner)

    def _finding(self, where: str, at: str, problem: str) -> Finding:
        return Finding(self.name, where, at, problem)

    def _resolved(self, reference: str) -> Any:
        node: Any = self._content
        for name in reference.removeprefix("#/").split("/"):
            node = node[name]
        return node

    def _operations(self) -> dict[str, Any]:
        return {
            f"{method.upper()} {path}": operation
            for path, item in self._content["paths"].items()
            if path.startswith(self._root)
            for method, operation in item.items()
            if method in ("get", "post", "put", "patch", "delete")
        }


class _Member(Exception):
    """The member that an error is about, where it is not the one that was looked at."""

    def __init__(self, name: str) -> None:
        self.name = name


@cache
def reference(name: str) -> Mapping[str, Any]:
    """What is in one of the reference documents."""
    content: Mapping[str, Any] = YAML(typ="safe", pure=True).load(REFERENCE / name)
    return content


@FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme)


def _problem(error: ValidationError) -> str:
    return {
        "properties": "not described",
        "required": "missing",
        "format": f"format {error.validator_value}",
        "enum": "other value",
    }.get(error.validator, error.validator)


def _closed_properties(validator: Any, properties: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for name, value in instance.items():
        if name in properties:
            yield from validator.descend(value, properties[name], path=name, schema_path=name)
        elif "additionalProperties" not in schema:
            yield ValidationError(f"{name} is not described", cause=_Member(name))


def _required(validator: Any, required: list[str], instance: Any, schema: Any) -> Iterator[Any]:
    for name in required if isinstance(instance, dict) else ():
        if name not in instance:
            yield ValidationError(f"{name} is missing", cause=_Member(name))


def _one_of(validator: Any, branches: list[dict[str, str]], instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    """The branch that the discriminator names, so that an error within it is told, and not that nothing fits."""
    discriminator = schema.get("discriminator")
    if discriminator is None:
        fitting = [branch for branch in branches if validator.evolve(schema=branch).is_valid(instance)]
        if len(fitting) != 1:
            yield ValidationError(f"{len(fitting)} branches fit")
        return
    named = instance.get(discriminator["propertyName"]) if isinstance(instance, dict) else None
    reference = discriminator.get("mapping", {}).get(named, f"{_SCHEMAS}{named}")
    for index, branch in enumerate(branches):
        if branch["$ref"] == reference:
            yield from validator.descend(instance, branch, schema_path=index)
            return
    yield ValidationError(f"no branch for {named}")


_KEYWORDS = {"properties": _closed_properties, "required": _required, "oneOf": _one_of}
_CLOSED_30 = extend(OAS30Validator, _KEYWORDS)
_CLOSED_31 = extend(OAS31Validator, _KEYWORDS)


def _with_text_keys(content: Any) -> Any:
    """The same, with statuses as texts: one document writes them as numbers."""
    if isinstance(content, dict):
        return {str(key): _with_text_keys(value) for key, value in content.items()}
    return [_with_text_keys(each) for each in content] if isinstance(content, list) else content
