"""Experiments over HTTP: which keys are accepted, and from a file to a report with the typed client."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from harness.client import Client, ExperimentInfo, ServiceError
from harness.experiment import spec
from harness.service import accepted_keys
from tests.fixtures.runs import CALLS_PER_CELL, HOSTED, wait_for
from tests.service.conftest import Served

SMALL: dict[str, Any] = {
    "name": "small",
    "tickers": ["AAPL"],
    "dates": ["2012-06-19"],
    "repeats": 1,
    "data": "demo",
    "models": {"paid": {"provider": "openai", "model": HOSTED, "server": "cloud", "reasoning_effort": "low"}},
    "prices": "prices.yaml",
    "outcomes": {"horizons": [1]},
}


def test_every_key_of_the_schema_is_either_accepted_or_refused() -> None:
    keys = accepted_keys.keys_of(spec.schema())
    assert sorted(keys - accepted_keys.ACCEPTED - accepted_keys.REFUSED) == []
    assert sorted((accepted_keys.ACCEPTED | accepted_keys.REFUSED) - keys) == []
    assert set() == accepted_keys.ACCEPTED & accepted_keys.REFUSED


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"pipeline": {"command": ["sh", "-c", "id"]}}, "pipeline.command"),
        ({"pipeline": {"entry": "os:system"}}, "pipeline.entry"),
        ({"pipeline": {"env": {"A": "$HOME"}}}, "pipeline.env"),
        ({"arms": {"a": {"all": "paid", "pipeline": {"folder": "/"}}}}, "arms.a.pipeline.folder"),
        ({"prices": "/etc/passwd"}, "prices"),
        ({"data": {"prices": "archive", "archive": "/etc"}}, "data.archive"),
        ({"models": {"x": {"provider": "openai", "model": HOSTED, "server": "elsewhere"}}}, "models.x.server"),
        ({"local_cost": {"usd_per_gpu_hour": 0}}, "local_cost.usd_per_gpu_hour"),
        ({"pipelines": {"a": 1}}, "pipelines.a"),
        ({"data": "other.py"}, "data"),
        ({"data": {"prices": "other.py"}}, "data.prices"),
        ({"data": {"prices": "demo", "news": "/etc/source.py"}}, "data.news"),
        ({"data": {"prices": "acme"}}, "data.prices"),
    ],
)
def test_code_files_and_servers_are_refused_unless_the_served_experiment_has_them(change: dict[str, Any], key: str) -> None:
    served = SMALL | {"pipeline": {"depth": "shallow"}}
    assert [problem.where for problem in accepted_keys.problems(SMALL, served)] == []
    assert [problem.where.startswith(key) for problem in accepted_keys.problems(SMALL | change, served)] == [True]


@pytest.mark.parametrize("data", ["mine.py", {"prices": "mine.py"}, {"prices": "mine.py@0123456789ab"}, "demo"])
def test_a_source_of_the_served_experiment_is_accepted(data: Any) -> None:
    served = SMALL | {"data": {"prices": "mine.py@0123456789ab"}}
    assert accepted_keys.problems(SMALL | {"data": data}, served) == []
    assert accepted_keys.problems(SMALL | {"data": {"prices": "demo", "news": "mine.py"}}, served)


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    with Client(served.url) as client:
        yield client


def test_an_experiment_is_run_followed_and_read(served: Served, client: Client) -> None:
    before = served.lab.paid()["answered"]
    accepted = client.run(yaml.safe_dump(SMALL), key="first")
    assert accepted.state in ("queued", "running")
    assert client.run(yaml.safe_dump(SMALL), key="first").experiment_id == accepted.experiment_id
    with pytest.raises(ServiceError, match="was used for another") as refused:
        client.run(SMALL | {"tickers": ["IBM"]}, key="first")
    assert (refused.value.status, refused.value.code) == (409, "key_reused")

    ended = client.wait_for(accepted.experiment_id, 180)
    assert (ended.state, ended.exit_code) == ("done", 0), ended.words
    assert ended.progress is not None
    assert (ended.progress["cells"]["ended"], ended.progress["calls"]) == (1, CALLS_PER_CELL)
    assert "folder" not in ended.progress
    assert served.lab.paid()["answered"] == before + CALLS_PER_CELL

    cells = pq.read_table(io.BytesIO(client.table(ended.experiment_id, "cells"))).to_pylist()
    assert [(cell["ticker"], cell["status"]) for cell in cells] == [("AAPL", "ok")]
    assert client.table(ended.experiment_id, "calls", "csv").decode().count("\n") >= CALLS_PER_CELL
    page = served.http.get(f"/experiments/{ended.experiment_id}/report", follow_redirects=True)
    assert page.headers["content-type"].startswith("text/html")
    assert "Content-Security-Policy" in page.text
    with served.http.stream("GET", f"/experiments/{ended.experiment_id}/events") as events:
        assert events.read().decode().startswith("event: end\ndata: {")
    assert ended.experiment_id in [each.experiment_id for each in client.experiments(state="done")]


def test_what_it_may_cost_is_the_cap_of_the_service(served: Served, client: Client) -> None:
    accepted = client.run(SMALL | {"name": "greedy", "budget": {"month_usd": 1_000_000}})
    file = next(served.lab.folder.glob(f"results/.service/*/experiments/{accepted.experiment_id}/experiment.yaml"))
    assert yaml.safe_load(file.read_text())["budget"]["month_usd"] == 50
    client.stop(accepted.experiment_id)
    assert client.wait_for(accepted.experiment_id, 180).state in ("stopped", "done")


def test_a_plan_spends_nothing(served: Served, client: Client) -> None:
    before = served.lab.paid()
    forecast = client.plan(SMALL | {"tickers": ["AAPL", "IBM"]})
    assert forecast["cells"] == 2
    assert served.lab.paid() == before


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(9 * [f'*{chr(97 + n)}'])}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\xff\xfe", 400),
        (b"", 422),
        (b"[1, 2]", 422),
        (b"{", 422),
        (b"[" * 50_000, 422),
        (BOMB.encode(), 422),
        (b"name: x\nname: y\n", 422),
        (b"name: " + b"x" * 2_000_000, 413),
        (yaml.safe_dump(SMALL | {"name": "../../up"}).encode(), 422),
        (yaml.safe_dump(SMALL | {"dates": ["2012-06-16"]}).encode(), 422),
        (yaml.safe_dump(SMALL | {"prices": "other.yaml"}).encode(), 422),
    ],
)
@pytest.mark.parametrize("path", ["/experiments", "/plans"])
def test_bad_input_is_one_clear_error(served: Served, path: str, body: bytes, status: int) -> None:
    answer = served.http.post(path, content=body, headers={"content-type": "application/yaml"})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    assert "/tmp" not in answer.text


@pytest.mark.parametrize("path", ["", "/events", "/report", "/report/report.html", "/tables/cells"])
@pytest.mark.parametrize("wrong", ["nothere", "..%2f..%2fetc", "00000000-0000-4000-8000-000000000000", "' OR 1=1 --"])
def test_other_ids_are_not_found(served: Served, path: str, wrong: str) -> None:
    assert served.http.get(f"/experiments/{wrong}{path}").status_code == 404


def test_only_files_of_the_report_are_served(served: Served, client: Client) -> None:
    done = next(each for each in client.experiments(state="done") if each.name == "small")
    for name in ("manifest.json", "experiment.yaml", "../manifest.json", "%2e%2e/manifest.json", "cases/../manifest.json"):
        answer = served.http.get(f"/experiments/{done.experiment_id}/report/{name}")
        assert answer.status_code == 404, name


@pytest.fixture
def slow_answers(served: Served) -> Iterator[int]:
    """Requests take long enough to be interrupted; the number of those before."""
    served.lab.fake.control(defaults={"latency_s": 0.3})
    yield served.lab.paid()["answered"]
    served.lab.fake.control(defaults={"latency_s": 0.0})


def test_an_experiment_outlives_its_dispatcher_and_pays_for_nothing_twice(
    served: Served, client: Client, slow_answers: int
) -> None:
    accepted = client.run(SMALL | {"name": "outlives", "tickers": ["IBM"]})
    wait_for(lambda: served.lab.paid()["answered"] >= slow_answers + 5, "some answers")
    os.kill(_dispatcher(served), signal.SIGKILL)
    ended = client.wait_for(accepted.experiment_id, 240)
    assert (ended.state, ended.exit_code) == ("done", 0), ended.words
    cells = [row for row in _rows(served, ended) if row["status"] == "ok"]
    assert len(cells) == 1
    truth = served.lab.fake.ledger(full=True)["requests"]
    answered = [request["prompt"] for request in truth if request["outcome"] == "answered"][slow_answers:]
    assert len(answered) - len(set(answered)) <= 4, "only what was in flight at the kill is asked again"


def test_a_stopped_experiment_goes_on_where_it_was(served: Served, client: Client, slow_answers: int) -> None:
    accepted = client.run(SMALL | {"name": "stopped", "tickers": ["MSFT"]})
    wait_for(lambda: served.lab.paid()["answered"] >= slow_answers + 3, "some answers")
    client.stop(accepted.experiment_id)
    assert client.wait_for(accepted.experiment_id, 180).state == "stopped"
    client.resume(accepted.experiment_id)
    assert client.wait_for(accepted.experiment_id, 240).state == "done"
    with pytest.raises(ServiceError, match="the experiment is done") as refused:
        client.pause(accepted.experiment_id)
    assert refused.value.status == 409
    assert served.lab.paid()["answered"] == slow_answers + CALLS_PER_CELL


def _rows(served: Served, ended: ExperimentInfo) -> list[dict[str, Any]]:
    answer = httpx.get(f"{served.url}/experiments/{ended.experiment_id}/tables/cells", timeout=60)
    return list(pq.read_table(io.BytesIO(answer.content)).to_pylist())


def _dispatcher(served: Served) -> int:
    """The child process that dispatches."""

    def look() -> int | None:
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == served.process.pid:
                return int(name)
        time.sleep(0.05)
        return None

    return int(wait_for(look, "a dispatcher"))
