"""The application without a server and without a dispatcher: jobs are stored, and stay pending."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from harness.checking.resolved import ResolvedRun
from harness.service.app import create_app
from harness.service.service import Service, ServiceOptions

Desk = tuple[ServiceOptions, ResolvedRun]
BODY = {"ticker": "AAPL", "date": "2012-06-15"}


@contextmanager
def client(
    options: ServiceOptions, resolved: ResolvedRun, folder: Path, **changes: Any
) -> Iterator[tuple[TestClient, Service]]:
    """A client of a service with state of its own."""
    service = Service(replace(options, **{"state": folder} | changes), resolved)
    with TestClient(create_app(service), base_url="http://127.0.0.1") as test_client:
        yield test_client, service


@contextmanager
def refusing_disk() -> Iterator[None]:
    """Every write of this process fails with EFBIG, as on a disk that takes nothing more."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
