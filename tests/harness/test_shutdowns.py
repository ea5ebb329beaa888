"""A model that its vendor turns off is named in time, refused at the vendor's address afterwards, and can still be replayed."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agents import Model, ModelReport
from harness.checking import models_check, preflight
from harness.checking.checks import Check
from harness.checking.models_check import KnownModel
from harness.errors import InvalidInput
from harness.experiment import spec
from harness.experiment.replay_cells import ReplayRequest
from harness.experiment.servers import ServerSpec
from harness.runs import replay
from harness.runs import run as engine
from harness.runs.session import RunOptions
from tests.fakes.process import FakeModels
from tests.fixtures.runs import Lab

LAST_DAY = dt.date(2026, 12, 11)
TEXT = """
name: last
tickers: [AAPL]
dates: [2012-06-15]
repeats: 1
data: demo
models:
  big: {provider: openai, model: gpt-5%s}
"""


def at(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(12), dt.UTC)


def look(folder: Path, text: str = TEXT % "", day: dt.date = LAST_DAY, **options: Any) -> dict[str, Check]:
    path = folder / "x.yaml"
    path.write_text(text)
    found = preflight.look(spec.load(path), experiment_dir=folder, results=str(folder / "results"), now=at(day), **options)
    return {check.name: check for check in found.checks}


def beside(folder: Path, fake: FakeModels) -> None:
    (folder / "servers.yaml").write_text(f"openai: {{provider: openai, hosted: true, url: '{fake.url}/v1'}}")


@pytest.mark.parametrize(
    ("days", "status", "said"),
    [
        (-14, "warn", "gpt-5 is shut down by OpenAI on 2026-12-11, 14 days left; OpenAI names gpt-6.1-sol as its replacement"),
        (-1, "warn", "1 day left"),
        (0, "warn", "today (2026-12-11, UTC) and may stop answering at any hour"),
        (1, "fail", "gpt-5 was shut down by OpenAI on 2026-12-11; OpenAI names gpt-6.1-sol as its replacement"),
    ],
)
def test_the_days_left_are_named_and_the_day_after_the_vendor_s_model_is_refused(
    tmp_path: Path, days: int, status: str, said: str
) -> None:
    check = look(tmp_path, day=LAST_DAY + dt.timedelta(days))["shutdown of big"]
    assert (check.status, said in check.found) == (status, True)
    assert "docs/model-retirement.md" in check.fix


def test_a_run_of_a_model_that_is_gone_is_refused_before_anything_is_frozen(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(TEXT % "")
    results, snapshots = str(tmp_path / "results"), tmp_path / "snapshots"
    options = RunOptions(path, results=results, snapshots=snapshots, clock=lambda: at(LAST_DAY + dt.timedelta(1)))
    with pytest.raises(InvalidInput) as caught:
        engine.run(options, Console(quiet=True))
    refused = {problem.where: problem for problem in caught.value.problems}["shutdown of big"]
    assert caught.value.exit_code == 2
    assert "use gpt-6.1-sol" in refused.fix
    assert not (tmp_path / "snapshots").exists()
    assert not (tmp_path / "results" / "last").exists()


@pytest.mark.parametrize("provider", ["openai", "openai_compatible"])
def test_another_server_that_still_serves_it_is_warned_about_only(
    fake_models: FakeModels, tmp_path: Path, provider: str
) -> None:
    (tmp_path / "servers.yaml").write_text(f"box: {{provider: {provider}, hosted: true, url: '{fake_models.url}/v1'}}")
    text = TEXT.replace("openai", provider) % ", server: box"
    check = look(tmp_path, text, day=dt.date(2027, 3, 1))["shutdown of big"]
    assert check.status == "warn"
    assert f"{fake_models.url}/v1 may serve it for longer" in check.fix


def test_the_date_of_the_server_s_own_list_counts(fake_models: FakeModels, tmp_path: Path) -> None:
    fake_models.control(models=["gpt-5", "new"], shutdown_dates={"gpt-5": "2027-01-31", "new": "2027-02-01"})
    beside(tmp_path, fake_models)
    both = TEXT % "" + "  small: {provider: openai, model: new}\nallow_unpriced: true\n"
    found = look(tmp_path, both, day=dt.date(2027, 1, 30))
    assert "on 2027-01-31, 1 day left; OpenAI names gpt-6.1-sol" in found["shutdown of big"].found
    assert (
        "new is shut down by OpenAI on 2027-02-01, 2 days left; its replacement is not known"
        in found["shutdown of small"].found
    )


@pytest.mark.parametrize("dates", [None, {"gpt-5": "soon"}, {"gpt-5": 20261211}, {"gpt-5": ["2026-12-11"]}, {}])
def test_a_list_without_a_date_that_can_be_read_leaves_it_to_the_table(
    fake_models: FakeModels, tmp_path: Path, dates: dict[str, Any] | None
) -> None:
    fake_models.control(shutdown_dates=dates)
    beside(tmp_path, fake_models)
    assert "2026-12-11" in look(tmp_path)["shutdown of big"].found


@pytest.mark.parametrize("dates", [None, {"fake-model": "soon"}, {}])
def test_a_model_that_neither_list_nor_table_knows_has_no_shutdown(
    fake_models: FakeModels, tmp_path: Path, dates: dict[str, Any] | None
) -> None:
    fake_models.control(shutdown_dates=dates)
    beside(tmp_path, fake_models)
    found = look(tmp_path, (TEXT % "").replace("gpt-5", "fake-model") + "allow_unpriced: true\n")
    assert not [name for name in found if name.startswith("shutdown")]
    assert found["facts of big"].found.startswith("fake-model is an unknown model")


def test_the_vendor_s_word_that_no_shutdown_is_announced_counts_more_than_the_table() -> None:
    model, vendor = Model("big", "openai", "gpt-5"), ServerSpec("openai", "openai")
    listed = ModelReport("gpt-5", True, lists_shutdowns=True)
    assert KnownModel.of(model, vendor, listed).shutdown is None
    assert KnownModel.of(model, vendor).shutdown is not None
    assert KnownModel.of(model, ServerSpec("box", "openai", "http://127.0.0.1/v1"), listed).shutdown is not None


def test_a_local_tag_that_is_called_as_a_vendor_s_model_is_not_the_vendor_s() -> None:
    assert KnownModel.of(Model("mine", "ollama", "o1:7b"), ServerSpec("ollama", "ollama")).shutdown is None


@pytest.mark.parametrize(
    ("model", "effort", "allowed"),
    [
        ("gpt-6.1-sol", "none", "low, medium, high, xhigh, max"),
        ("gpt-5", "xhigh", "minimal, low, medium, high"),
        ("gpt-5.4-mini-2026-03-17", "minimal", "none, low, medium, high, xhigh"),
        ("gpt-5-pro", None, "high"),
    ],
)
def test_an_effort_that_a_model_does_not_take_is_refused_with_the_allowed_ones(
    tmp_path: Path, model: str, effort: str | None, allowed: str
) -> None:
    said = f", reasoning_effort: {effort}" if effort else ""
    check = look(tmp_path, (TEXT % said).replace("gpt-5", model, 1))["effort of big"]
    assert check.status == "fail"
    assert check.found == f"{model} takes no reasoning_effort {effort or 'medium'!r} (allowed: {allowed})"
    assert check.fix == "set models.big.reasoning_effort to one of them"


def test_efforts_that_are_taken_or_of_unknown_models_pass() -> None:
    for name, effort in (("gpt-6-luna", "none"), ("gpt-5.2", "xhigh"), ("hosted-1", "max"), ("gpt-5-codex", "xhigh")):
        known = KnownModel.of(Model("m", "openai", name, {"reasoning_effort": effort}), ServerSpec("openai", "openai"))
        assert not [check for check in models_check.facts(known, LAST_DAY) if check.name.startswith("effort")]


def test_an_effort_behind_a_gateway_that_may_translate_it_is_a_warning() -> None:
    model = Model("m", "openai_compatible", "openai/gpt-6.1-sol", {"reasoning_effort": "none"})
    known = KnownModel.of(model, ServerSpec("gateway", "openai_compatible", "https://gateway.example.org/v1"))
    (check,) = [check for check in models_check.facts(known, LAST_DAY) if check.name.startswith("effort")]
    assert check.status == "warn"


def test_doctor_plan_run_and_page_name_the_model_the_days_left_and_the_replacement(lab: Lab) -> None:
    prices = [{"model": "gpt-5-mini", "input": 1.0, "output": 10.0}]
    lab.experiment(models={"paid": {"provider": "openai", "model": "gpt-5-mini", "server": "cloud", "reasoning_effort": "low"}})
    (lab.folder / "prices.yaml").write_text(json.dumps({"version": "lab", "prices": prices}))
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=14)
    lab.fake.control(models=["gpt-5-mini"], shutdown_dates={"gpt-5-mini": day.isoformat()})
    said = [f"gpt-5-mini is shut down by OpenAI on {day}", "days left", "OpenAI names gpt-6.1-terra as its replacement"]
    for command in (["doctor", "lab.yaml"], ["plan", "lab.yaml"], ["run", "lab.yaml", "--yes"]):
        words = " ".join(lab.harness(*command).split())
        assert all(part in words for part in said), (command, words)
    manifest = json.loads((lab.runs[-1] / "manifest.json").read_text())
    recorded = {
        "model": "gpt-5-mini",
        "date": day.isoformat(),
        "replacement": "gpt-6.1-terra",
        "source": "the server's /models",
    }
    assert manifest["shutdowns"] == {"paid": recorded}
    page = (lab.runs[-1] / "report.html").read_text()
    began = dt.datetime.fromisoformat(manifest["started_at"]).date()
    assert f"{said[0]}, {(day - began).days} days after this run began." in page
    assert said[2] in page


def test_a_model_that_is_gone_is_still_the_source_of_a_replay_and_no_target_of_one(lab: Lab) -> None:
    paid = {"provider": "openai", "model": "gpt-5", "server": "cloud", "reasoning_effort": "low"}
    own = {"provider": "openai_compatible", "model": "tiny", "server": "box"}
    path = lab.experiment(models={"paid": paid, "own": own}, arms={"paid": {"all": "paid"}})
    (lab.folder / "prices.yaml").write_text(
        json.dumps({"version": "lab", "prices": [{"model": "gpt-5", "input": 1, "output": 9}]})
    )
    lab.fake.control(models=["gpt-5", "tiny"])
    lab.run("--yes")
    box = f"box: {{provider: openai_compatible, url: '{lab.fake.url}/v1'}}"
    (lab.folder / "servers.yaml").write_text(f"cloud: {{provider: openai, hosted: true}}\n{box}\n")
    found = replay.find(str(lab.folder / "results"), "lab")
    options = RunOptions(path, yes=True, results=str(lab.folder / "results"), clock=lambda: at(LAST_DAY + dt.timedelta(100)))
    said = Console(record=True, width=200)
    assert replay.play(found, ReplayRequest("paid", ("own",), floor=3), options, said) == 0
    assert "no noise floor: a model of 'paid' was shut down by its vendor" in said.export_text()
    replayed = [row for row in lab.rows("cells") if row["kind"] == "replay"]
    assert [row["status"] for row in replayed] == ["ok"]
    with pytest.raises(InvalidInput) as caught:
        replay.play(found, ReplayRequest("paid", ("paid",)), options, Console(quiet=True))
    assert "shutdown of paid" in {problem.where for problem in caught.value.problems}
