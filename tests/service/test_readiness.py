"""/ready names each part that is not ready with its reason, and /metrics has figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.runs import wait_for
from tests.service.conftest import Served


def test_every_part_is_ready(served: Served) -> None:
    answer = served.http.get("/ready")

    assert answer.status_code == 200
    assert set(answer.json()["parts"]) == {"redis", "storage", "dispatcher", "experiments", "server box", "server cloud"}


def test_metrics_count_jobs_and_the_bill(served: Served) -> None:
    served.ended(served.submit(arm="paid")["job_id"])
    # The bill is asked for once a second at most, so what the job cost may not be in it yet.
    wait_for(lambda: _samples(served)["harness_month_usd", "spent"], "the bill of the job")
    samples = _samples(served)

    assert samples["harness_jobs", "completed"] == served.http.get("/jobs?status=completed").json()["total"]
    assert samples["harness_month_usd", "cap"] == 50
    assert samples["harness_ready", "redis"] == 1


def _samples(served: Served) -> dict[tuple[str, str | None], float]:
    return {
        (sample.name, sample.labels.get("status") or sample.labels.get("kind") or sample.labels.get("part")): sample.value
        for family in text_string_to_metric_families(served.http.get("/metrics").text)
        for sample in family.samples
    }


def test_a_server_that_has_no_such_model_is_named_with_its_reason(serve: Callable[..., Served]) -> None:
    service = serve()
    service.lab.fake.control(models=["another"])

    answer = wait_for(
        lambda: (r := service.http.get("/ready")).status_code == 503 and r, "the server's answer to be asked again"
    )

    parts = answer.json()["parts"]
    assert not parts["server box"]["ready"]
    assert "tiny" in parts["server box"]["reason"]
    assert parts["redis"]["ready"]
