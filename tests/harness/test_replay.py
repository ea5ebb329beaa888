"""A replay, end to end: the same question to another model, paid once, beside the run's own cells."""

from __future__ import annotations

import datetime as dt
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents import role_names
from harness.errors import InvalidInput
from harness.experiment import replay_cells, spec
from harness.experiment.replay_cells import ReplayRequest
from harness.runs.replay import find
from reports.load import load
from tests.fakes.process import FakeModels
from tests.fixtures.runs import HOSTED, PATIENCE_S, Lab, wait_for

ROLES = len(role_names())
OWN_TO_PAID = ("--from", "own", "--to", "paid", "--noise-floor", "0")


def replay(lab: Lab, *arguments: str, expect: int | None = 0) -> str:
    return lab.harness("replay", "lab", "--experiment", "lab.yaml", "--yes", *arguments, expect=expect)


def paid_calls(lab: Lab) -> int:
    return int(lab.paid()["calls"])


def rows_of(lab: Lab, table: str, arm: str) -> list[dict[str, Any]]:
    return [row for row in lab.rows(table) if row["arm"] == arm]


def prompts(rows: list[dict[str, Any]], kind: str) -> dict[Any, list[str]]:
    """(role, round, case) -> ids of the parts sent."""
    return {(row["role"], row["round"]): row["message_ids"] for row in rows if row["kind"] == kind}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, fake_models_process: FakeModels) -> Iterator[Lab]:
    """A lab of two arms and two cases whose run has ended; later tests go on from what it left."""
    fake_models_process.reset()
    lab = Lab(tmp_path_factory.mktemp("replayed"), fake_models_process)
    lab.experiment(dates=2)
    lab.run()
    yield lab
    lab.close()


def test_a_replay_asks_each_role_of_each_case_once_with_the_very_same_messages(finished: Lab) -> None:
    before, verdicts = paid_calls(finished), finished.rows("cells")

    said = replay(finished, *OWN_TO_PAID)

    assert "own > paid: 2 cells; 2 to do" in said
    assert paid_calls(finished) - before == 2 * ROLES
    sources = {cell["cell_id"]: cell for cell in rows_of(finished, "cells", "own")}
    replays = rows_of(finished, "cells", "own > paid")
    assert {(cell["kind"], cell["status"]) for cell in replays} == {("replay", "ok")}
    for cell in replays:
        again = [call for call in finished.rows("calls") if call["cell_id"] == cell["cell_id"]]
        source = next(one for one in sources.values() if one["case_id"] == cell["case_id"])
        first = [call for call in finished.rows("calls") if call["cell_id"] == source["cell_id"]]
        assert {call["kind"] for call in again} == {"replay"}
        assert {call["model_requested"] for call in again} == {HOSTED}
        assert len(again) == ROLES
        assert prompts(again, "replay") == prompts(first, "primary")
        assert cell["api_cost_usd"] == pytest.approx(sum(call["cost_usd"] for call in again))
    assert [row for row in finished.rows("cells") if row["kind"] == "pipeline"] == verdicts, "the run's own cells are untouched"


def test_what_a_model_is_asked_again_is_what_the_other_one_heard(finished: Lab) -> None:
    """Byte by byte on the wire: the fake hashes role and text of every message."""
    heard = finished.fake.ledger(full=True)["requests"]
    by_own = {one["prompt"] for one in heard if one["model"] == "tiny"}
    replayed = [one["prompt"] for one in heard if one["model"] == HOSTED][-2 * ROLES :]

    assert set(replayed) <= by_own


def test_a_second_replay_does_no_work_and_pays_nothing(finished: Lab) -> None:
    ended = finished.printed("replay", "lab", "--experiment", "lab.yaml", "--yes", *OWN_TO_PAID)
    assert (ended["schema"], ended["state"]) == ("run/1", "done")
    before, receipts = paid_calls(finished), finished.receipts()

    assert "own > paid: 2 cells; 0 to do" in replay(finished, *OWN_TO_PAID)
    assert paid_calls(finished) == before
    assert finished.receipts() == receipts


def test_a_run_that_was_replayed_is_still_done_and_counts_its_own_cells(finished: Lab) -> None:
    status = json.loads(finished.harness("status", "lab", "--json"))

    assert status["state"] == "done"
    assert status["arms"]["own > paid"]["ended"] == 2, "replays are shown beside the arms"
    before = paid_calls(finished)
    assert "nothing left to do" in finished.run()
    assert paid_calls(finished) == before


def test_replayed_cells_stand_apart_from_the_arms_of_the_report(finished: Lab) -> None:
    run = load(finished.runs[-1])

    assert run.arms == ("paid", "own")
    assert set(run.cells["arm"]) == {"paid", "own"}
    assert set(run.replays["arm"]) == {"own > paid"}
    assert run.is_interim is False


def test_only_the_roles_and_cases_that_are_named_are_replayed(finished: Lab) -> None:
    before = paid_calls(finished)

    replay(finished, "--from", "paid", "--to", "own", "--roles", "trader, bull", "--limit", "1", "--noise-floor", "0")

    assert paid_calls(finished) - before == 2
    assert sorted(call["role"] for call in rows_of(finished, "calls", "paid > own")) == ["bull", "trader"]


def test_the_arms_own_model_answers_a_few_cases_again_as_the_noise_floor(finished: Lab) -> None:
    said = replay(finished, "--from", "own", "--to", "paid", "--noise-floor", "1")

    assert "own > paid: 2 cells, own > own: 1 cells; 1 to do" in said
    floor = rows_of(finished, "calls", "own > own")
    assert len(floor) == ROLES
    assert {call["model_requested"] for call in floor} == {"tiny"}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (ReplayRequest("owm", ("paid",)), "unknown arm 'owm'; known: paid, own"),
        (ReplayRequest("own", ("gpt",)), "unknown model 'gpt'; known: paid, own"),
        (ReplayRequest("own", ("paid",), ("guru",)), "unknown role 'guru'; known: market_analyst"),
    ],
)
def test_a_name_that_nobody_knows_is_said_with_what_is_known(finished: Lab, wish: ReplayRequest, said: str) -> None:
    found = find(str(finished.folder / "results"), "lab")

    with pytest.raises(InvalidInput, match=said):
        replay_cells.check_replay(found.experiment, wish)


def test_a_replay_of_nothing_in_particular_says_what_to_name(finished: Lab) -> None:
    output = replay(finished, expect=2)

    assert "neither the command nor the experiment names what to replay" in " ".join(output.split())
    assert "Traceback" not in output


def test_a_prompt_beyond_the_targets_context_is_refused_by_the_roles_name(lab: Lab) -> None:
    small = {"provider": "ollama", "model": "tiny:1b", "server": "gpu", "num_ctx": 600, "max_output_tokens": 100}
    models = {
        "own": {"provider": "openai_compatible", "model": "tiny", "server": "box"},
        "small": small,
    }
    lab.experiment(dates=1, models=models, arms={"own": {"all": "own"}})
    with_ollama(lab)
    lab.run()
    before = paid_calls(lab)

    replay(lab, "--from", "own", "--to", "small", "--noise-floor", "0")

    (cell,) = rows_of(lab, "cells", "own > small")
    assert (cell["status"], cell["error_type"]) == ("failed", "PromptTooLong")
    assert "market_analyst" in cell["error"]
    assert paid_calls(lab) - before == len(rows_of(lab, "calls", "own > small")) < ROLES


def with_ollama(lab: Lab) -> None:
    servers = yaml.safe_load((lab.folder / "servers.yaml").read_text())
    servers["gpu"] = {"provider": "ollama", "url": lab.fake.url, "parallel": 4}
    (lab.folder / "servers.yaml").write_text(yaml.safe_dump(servers))
    lab.fake.control(ollama={"models": [{"name": "tiny:1b"}]})


def test_a_role_that_the_source_does_not_play_is_refused_by_name_and_otherwise_left_out(tmp_path: Path) -> None:
    arms = {"narrow": {"all": "own", "pipeline": {"analysts": ["market"]}}}
    own = {"provider": "openai_compatible", "model": "tiny", "server": "box"}
    file = tmp_path / "lab.yaml"
    said = {"name": "lab", "tickers": ["AAPL"], "dates": ["2012-06-15"], "data": "demo", "arms": arms, "models": {"own": own}}
    file.write_text(yaml.safe_dump(said))
    experiment = spec.load(file)
    source = replay_cells.ReplaySource("c" * 64, "AAPL", dt.date(2012, 6, 15), 0)

    (cell,) = replay_cells.replays_of(experiment, ReplayRequest("narrow", ("own",)), [source])

    assert len(cell.lineup) == ROLES - 3
    with pytest.raises(InvalidInput, match="role 'news_analyst' does not play in arm 'narrow'; there play: market_analyst"):
        replay_cells.check_replay(experiment, ReplayRequest("narrow", ("own",), ("news_analyst", "trader")))


def test_a_replay_that_was_interrupted_goes_on_and_pays_for_no_answer_again(lab: Lab) -> None:
    lab.experiment(dates=3)
    lab.run()
    before = paid_calls(lab)
    lab.fake.control(defaults={"latency_s": 0.4})
    process = lab.start("replay", "lab", "--experiment", "lab.yaml", "--yes", *OWN_TO_PAID)
    wait_for(lambda: paid_calls(lab) - before > 3, "requests")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3, output
    lab.fake.control(defaults={"latency_s": 0.0})

    replay(lab, *OWN_TO_PAID)

    assert paid_calls(lab) - before == 3 * ROLES == len(rows_of(lab, "calls", "own > paid"))
    assert lab.paid()["abandoned"] == 0


def test_a_declared_replay_is_played_when_the_run_is_done(lab: Lab) -> None:
    lab.experiment(dates=1, replay={"from": "own", "to": ["paid"], "roles": ["trader"], "noise_floor": 1})

    said = lab.run()

    assert "replays and judges as declared: 2 cells, at most 2 calls" in said, "the plan counts them"
    assert "own > paid: 1 cells, own > own: 1 cells; 2 to do" in said
    assert [call["role"] for call in rows_of(lab, "calls", "own > paid")] == ["trader"]
    before = paid_calls(lab)
    lab.run()
    assert paid_calls(lab) == before
