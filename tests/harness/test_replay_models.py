"""Replays to models without an arm, declared in the experiment or in a file of models; the recorded model may be gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import InvalidInput
from harness.experiment import models_file, spec
from reports.load import load
from tests.fakes.process import FakeModels
from tests.fixtures.runs import CALLS_PER_CELL, HOSTED, Lab

DECIDING = ["research_manager", "trader", "portfolio_manager"]
OWN = {"provider": "openai_compatible", "model": "tiny", "server": "box"}
HOSTED_MODEL = {"provider": "openai", "model": HOSTED, "server": "cloud", "reasoning_effort": "low"}


def replay(lab: Lab, *arguments: str, expect: int = 0) -> str:
    said = lab.harness("replay", "lab", "--experiment", "lab.yaml", "--yes", *arguments, expect=expect)
    return " ".join(said.split())


def models_of(lab: Lab, name: str, **content: Any) -> str:
    (lab.folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
    return name


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, fake_models_process: FakeModels) -> Iterator[Lab]:
    """A run of one arm that asked itself again; `paid` and `away` are declared without an arm. Its own server is gone since."""
    fake_models_process.reset()
    lab = Lab(tmp_path_factory.mktemp("recorded"), fake_models_process)
    away = {"provider": "ollama", "model": "tiny:1b", "server": "not-built-yet"}
    models = {"own": OWN, "paid": HOSTED_MODEL, "paid-high": HOSTED_MODEL | {"reasoning_effort": "high"}, "away": away}
    declared = {"from": "own", "to": ["own"], "roles": DECIDING}
    lab.experiment(dates=2, models=models, arms={"own": {"all": "own"}}, replay=declared)
    lab.run()
    servers = yaml.safe_load((lab.folder / "servers.yaml").read_text())
    del servers["box"]
    (lab.folder / "servers.yaml").write_text(yaml.safe_dump(servers))
    yield lab
    lab.close()


def test_models_without_an_arm_cost_a_run_nothing(recorded: Lab) -> None:
    assert {cell["arm"] for cell in recorded.rows("cells")} == {"own", "own > own"}
    assert recorded.paid()["calls"] == 2 * (CALLS_PER_CELL + len(DECIDING))


def test_several_models_are_asked_at_once_and_each_gets_a_sentence_while_the_recorded_model_is_gone(recorded: Lab) -> None:
    said = replay(recorded, "--to", "paid", "--to", "paid-high")

    assert "own > paid: 2 cells, own > paid-high: 2 cells; 4 to do" in said, "own is not asked again: its answers are recorded"
    for name in ("paid", "paid-high"):
        found = re.search(
            rf"Undecided whether {name} decides as own did: it gives own's rating or action on \d+% of 6 prompts", said
        )
        assert found, said
    page = (recorded.runs[-1] / "report.html").read_text()
    assert "Asked the same prompts" in page
    assert "Undecided whether paid decides as own did" in page


def test_a_replay_that_is_all_recorded_asks_nothing_and_needs_no_server(recorded: Lab) -> None:
    before = recorded.paid()["calls"]

    assert "0 to do" in replay(recorded)
    assert recorded.paid()["calls"] == before


def test_an_unknown_model_is_refused_with_the_known_ones_and_the_way_to_add_it(recorded: Lab) -> None:
    said = replay(recorded, "--to", "paid", "--to", "pad", expect=2)

    assert "unknown model 'pad'; known: own, paid, paid-high, away" in said
    assert "did you mean 'paid'?" in said
    assert "--models FILE" in said


def test_a_declared_model_whose_server_is_unknown_is_refused_only_when_it_is_asked(recorded: Lab) -> None:
    assert "unknown server 'not-built-yet'" in replay(recorded, "--to", "away", expect=2)


def test_models_of_a_file_are_asked_on_servers_of_the_file_and_known_from_then_on(recorded: Lab) -> None:
    new = {"provider": "openai_compatible", "model": "tiny", "server": "new-box", "temperature": 0.5}
    server = {"provider": "openai_compatible", "url": f"{recorded.fake.url}/v1", "parallel": 8}
    file = models_of(recorded, "later.yaml", models={"newer": new}, servers={"new-box": server})

    said = replay(recorded, "--models", file)

    assert "own > newer: 2 cells; 2 to do" in said, "without --to all models of the file are asked"
    assert "decides as own did" in said
    run = load(recorded.runs[-1])
    assert run.arms == ("own",), "a model of a replay is no arm"
    assert run.experiment["models"]["newer"]["temperature"] == 0.5


def test_a_budget_of_the_replay_counts_what_the_run_spent(recorded: Lab) -> None:
    file = models_of(recorded, "capped.yaml", models={"paid-minimal": HOSTED_MODEL | {"reasoning_effort": "minimal"}})

    said = replay(recorded, "--models", file, "--budget", "0.000001", expect=3)
    assert "because the budget is used up: raise it (--budget USD)" in said
    assert "2 to do" in replay(recorded, "--models", file, "--budget", "100")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "tickers: [AAPL]\nmodels: {a: {provider: ollama, model: x}}\n",
            "unknown key 'tickers' in tickers; known: models, servers",
        ),
        ("models: {}\n", "models"),
        ("servers: {}\n", "models is missing"),
        ("models: {a: {provider: olama, model: x}}\n", "unknown provider 'olama'"),
        (
            "models: {a: {provider: ollama, model: x, verbosity: low}}\n",
            "verbosity means nothing to ollama",
        ),
        ("models: {a: {provider: ollama}}\n", "models.a.model is missing"),
        ("models: {a: {provider: ollama, model: x}}\nservers: {b: {provider: ollama, parallel: 0}}\n", "servers.b.parallel"),
        ("[a, b]\n", "this is not a file of models"),
        ("", "the file is empty"),
    ],
)
def test_a_bad_file_of_models_is_refused_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "later.yaml").write_text(content)

    with pytest.raises(InvalidInput) as caught:
        models_file.load(tmp_path / "later.yaml")

    assert said in str(caught.value)
    assert "later.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no such file"):
        models_file.load(tmp_path / "later.yaml")


def test_a_name_of_the_run_cannot_mean_another_model(tmp_path: Path) -> None:
    text = "name: x\ntickers: [AAPL]\ndates: [2012-06-15]\ndata: demo\nmodels: {a: {provider: ollama, model: x}}\n"
    (tmp_path / "x.yaml").write_text(text)
    experiment = spec.load(tmp_path / "x.yaml")
    (tmp_path / "later.yaml").write_text("models: {a: {provider: ollama, model: y}}\n")

    with pytest.raises(InvalidInput, match="the run already has a model 'a' with other settings"):
        models_file.added(experiment, models_file.load(tmp_path / "later.yaml"), tmp_path / "later.yaml")

    (tmp_path / "same.yaml").write_text("models: {a: {provider: ollama, model: x}}\n")
    same = models_file.added(experiment, models_file.load(tmp_path / "same.yaml"), tmp_path / "same.yaml")
    assert same.models == experiment.models
