"""The OpenAPI document is what the service does: schemathesis asks every operation by it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from harness.service.app import create_app
from harness.service.service import Service
from harness.web.server import serving
from tests.fixtures.runs import PATIENCE_S
from tests.service.in_process import BODY, Desk, client

EXAMPLES = int(os.environ.get("HARNESS_SCHEMA_EXAMPLES", "12"))
"""Requests for each operation and kind of data."""
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
WITH_VALUES = {"POST /jobs", "GET /jobs"}
"""Operations with values that can be wrong; an id may be any text."""
QUIET: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None, "derandomize": True}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_answers_as_the_document_says(desk: Desk, tmp_path: Path, mode: GenerationMode) -> None:
    options, resolved = desk
    service = Service(replace(options, state=tmp_path, host="127.0.0.1", most_open=10**9), resolved)
    with serving(create_app(service)) as url:
        httpx.post(f"{url}/jobs", json=BODY).raise_for_status()
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            if mode is GenerationMode.NEGATIVE and operation.label not in WITH_VALUES:
                continue

            @settings(max_examples=EXAMPLES, **QUIET)
            @given(operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                case.validate_response(case.call(timeout=PATIENCE_S), checks=CHECKS)

            ask()


def test_the_document_has_examples_that_are_accepted(desk: Desk, tmp_path: Path) -> None:
    with client(*desk, tmp_path, host="127.0.0.1") as (http, _):
        document = http.get("/openapi.json").json()
        content = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
        names = {"ticker": "AAPL", "date": "2012-06-15"}
        for name, example in content["examples"].items():
            # The examples name a current case; the demo source has older ones.
            answer = http.post("/jobs", json=example["value"] | names)
            assert answer.status_code == 202, (name, answer.text)
        assert len(content["examples"]) >= 3
        assert "sk-" not in json.dumps(document)
