"""What the conformance harness finds in an answer or notification, shown on a small document."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.conformance import Answered, Document
from tests.sandbox.deviations import CORRECTIONS, DEVIATIONS, Finding

SCHEMAS = {
    "Ue": {
        "type": "object",
        "properties": {
            "address": {"type": "string", "format": "uri"},
            "cells": {"type": "array", "items": {"$ref": "#/components/schemas/Cell"}},
        },
        "required": ["address"],
    },
    "Cell": {"type": "object", "properties": {"id": {"type": "string", "enum": ["a", "b"]}}, "required": ["id"]},
    "UeNotification": {"type": "object", "properties": {"notificationType": {}, "ue": {}}},
}
PROBLEM = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}


def document(version: str = "3.0.0") -> Document:
    answer = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Ue"}}}}
    paths = {
        "/ues/{id}": {
            "get": {"responses": {"200": answer, "404": {"$ref": "#/components/responses/404"}}},
            "delete": {"responses": {204: {"description": "gone"}}},
        },
        "/ues/first": {"get": {"responses": {"200": answer}}},
    }
    return Document(
        "d.yaml",
        {"openapi": version, "paths": paths, "components": {"schemas": SCHEMAS, "responses": {"404": PROBLEM}}},
    )


def found(body: Any, *, status: int = 200, method: str = "GET", media_type: str = "application/json") -> list[Finding]:
    return list(document().findings_of_answer(Answered(method, "/ues/7", status, media_type, body)))


@pytest.mark.parametrize("version", ["3.0.0", "3.1.0"])
@pytest.mark.parametrize(
    ("body", "where", "at", "problem"),
    [
        ({}, "Ue", "$.address", "missing"),
        ({"address": 5}, "Ue", "$.address", "type"),
        ({"address": "10.0.0.1"}, "Ue", "$.address", "format uri"),
        ({"address": "acr:1", "Cells": []}, "Ue", "$.Cells", "not described"),
        ({"address": "acr:1", "cells": {}}, "Ue", "$.cells", "type"),
        ({"address": "acr:1", "cells": [{"id": "a"}, {}]}, "Cell", "$.id", "missing"),
        ({"address": "acr:1", "cells": [{"id": "c"}]}, "Cell", "$.id", "other value"),
        ([], "Ue", "$", "type"),
    ],
)
def test_what_does_not_fit_is_found_in_the_innermost_schema(
    version: str, body: Any, where: str, at: str, problem: str
) -> None:
    answered = Answered("GET", "/ues/7", 200, "application/json", body)
    assert list(document(version).findings_of_answer(answered)) == [Finding("d.yaml", where, at, problem)]


def test_what_is_as_described_is_no_finding() -> None:
    assert not found({"address": "acr:1", "cells": [{"id": "b"}]})
    assert not found({"detail": "no such UE"}, status=404, media_type="application/problem+json")
    assert not found(None, status=204, method="DELETE", media_type="")


def test_status_media_type_and_missing_or_unexpected_bodies_are_found() -> None:
    assert found({}, status=500) == [Finding("d.yaml", "every operation", "$", "status 500")]
    assert found(None, status=204) == [Finding("d.yaml", "GET /ues/{id}", "$", "status 204")]
    assert found({}, status=404) == [Finding("d.yaml", "response 404", "$", "media type application/json")]
    assert found(None, status=404) == [Finding("d.yaml", "response 404", "$", "empty body")]
    assert found({}, status=204, method="DELETE") == [Finding("d.yaml", "DELETE /ues/{id}", "$", "body")]


def test_the_most_literal_path_is_meant_and_an_unknown_one_is_an_error() -> None:
    assert document().operation_of("GET", "/ues/first") == "GET /ues/first"
    assert document().operation_of("GET", "/ues/second") == "GET /ues/{id}"
    with pytest.raises(LookupError):
        document().operation_of("PUT", "/ues/7")


def test_a_notification_is_held_against_the_schema_of_its_type_or_its_key() -> None:
    assert not list(document().findings_of_notification({"notificationType": "UeNotification", "ue": 1}))
    assert not list(document().findings_of_notification({"ueNotification": {"ue": 1}}))
    strange = list(document().findings_of_notification({"cellNotification": {}}))
    assert strange == [Finding("d.yaml", "CellNotification", "$", "no such schema")]


def test_no_deviation_and_no_correction_is_listed_twice() -> None:
    findings = [(finding, each.manner) for each in DEVIATIONS for finding in each.findings]
    operations = [(each.document, operation) for each in CORRECTIONS for operation in each.operations]
    assert len(findings) == len(set(findings))
    assert len(operations) == len(set(operations))
