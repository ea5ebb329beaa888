"""`find`: what it refuses before anything is paid, what it decides, and that nothing is paid twice."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from harness.checking import preflight
from harness.errors import InvalidInput
from harness.experiment import matrix, spec
from harness.finding import design, earlier
from harness.finding.in_time import Calendar, cuts
from harness.planning.plan import Where
from harness.storage.folder import open_folder
from reports.finding import Finding, Look, SearchDesign
from reports.load import load
from reports.page import find_view, finding_wording
from reports.stats import sequential
from tests.fakes.process import FakeModels
from tests.fixtures.runs import ROOT, Lab, wait_for
from tests.harness.finding_lab import DATES, TICKERS, assert_follows_the_rule, find, offer_background_lanes, search

MARGINS = "same_rating=50pp,usable=45pp,grounding=45pp"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, fake_models_process: FakeModels) -> Iterator[Lab]:
    """A finished search with a good candidate and a hopeless one; its time limit left two of three blocks, and it was
    interrupted before the screen had ended."""
    fake_models_process.reset()
    lab = Lab(tmp_path_factory.mktemp("searched"), fake_models_process)
    search(lab, arms={"paid": {"all": "paid"}, "far": {"all": "far"}, "twin": {"all": "twin"}}, find={"blocks": 3})
    limit = f"{time_for_two_blocks(lab):.0f}s"
    begun = lab.start("find", "lab.yaml", "--yes", "--margin", MARGINS, "--lane", "now", "--within", limit)
    wait_for(lambda: lab.runs and (lab.runs[0] / "find.json").exists(), "the design")
    begun.terminate()
    begun.communicate()
    (lab.folder / "said").write_text(find(lab, "--margin", MARGINS))
    yield lab
    lab.close()


def calendar_of(lab: Lab) -> tuple[Calendar, SearchDesign]:
    """Forecasts of the lab's search in the lane `now`, and its design."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_KEY", "sk-fake")
        experiment = spec.load(lab.folder / "lab.yaml")
        where = Where(str(lab.folder / "results"), lab.folder / "snapshots")
        look = preflight.look(experiment, experiment_dir=lab.folder, results=where.results, snapshots=where.snapshots)
    return Calendar(look.require(), matrix.expand(experiment), where, "now"), design.make(experiment, None)


def time_for_two_blocks(lab: Lab) -> float:
    """Seconds that suffice for two of the three blocks."""
    calendar, wanted = calendar_of(lab)
    *_, (two_blocks,) = cuts(wanted)
    needed = [calendar.best_rest(cut, cut.looks, math.inf, with_screen=True) for cut in (two_blocks, wanted)]
    return sum(schedule.seconds for schedule in needed if schedule) / 2


def record(lab: Lab) -> dict[str, Any]:
    return dict(json.loads((lab.runs[0] / "find.json").read_text()))


def test_the_good_candidate_is_recommended_and_the_hopeless_one_never_starts(searched: Lab) -> None:
    found = record(searched)

    said = (searched.folder / "said").read_text()
    assert "answer: the cheapest arm that is good enough against paid is twin" in said
    assert found["looks"][-1]["pick"] == "twin"
    cells = [cell for cell in searched.rows("cells") if cell["kind"] == "pipeline"]
    assert {cell["arm"] for cell in cells} == {"paid", "twin"}, "far was dropped by replay"
    screen_dates = {case.partition("@")[2] for case in found["design"]["screen_cases"]}
    tested_dates = {date for block in found["design"]["blocks"] for date in block}
    assert len(found["design"]["screen_cases"]) == 8
    assert not screen_dates & tested_dates
    assert {str(cell["date"]) for cell in cells if cell["arm"] == "twin"} <= tested_dates


def test_the_search_decides_what_the_simulated_rule_decides_with_the_same_answers(searched: Lab) -> None:
    found = Finding.of((searched.runs[0] / "find.json").read_text())
    assert_follows_the_rule(found, pd.DataFrame(searched.rows("cells", 0)), ["twin", "far"])


def test_another_number_of_blocks_after_a_look_is_refused_although_it_tests_other_dates(searched: Lab) -> None:
    paid = searched.paid()["calls"]
    moved = yaml.safe_load((searched.folder / "lab.yaml").read_text()) | {"find": {"blocks": 4}}
    (searched.folder / "moved.yaml").write_text(yaml.safe_dump(moved))
    refused = searched.harness("find", "moved.yaml", "--yes", "--margin", MARGINS, expect=2)
    assert "this search cannot change after" in refused
    assert "the blocks were 3 of 3 dates, now 4 of 2 dates" in refused
    assert "find: {blocks: 3}" in " ".join(refused.split()), "the way back"
    assert searched.paid()["calls"] == paid


def test_a_search_among_other_candidates_says_that_an_earlier_one_has_looked_at_the_same_answers(searched: Lab) -> None:
    recorded = searched.runs[0]
    calendar, wanted = calendar_of(searched)
    results = open_folder(str(searched.folder / "results"))
    more = replace(wanted, candidates=(*wanted.candidates, "near"))
    assert earlier.searches_of_same_answers(results, "lab", calendar.matrix, more) == (recorded.name,)
    others = replace(wanted, candidates=("near",))
    assert earlier.searches_of_same_answers(results, "lab", calendar.matrix, others) == ()
    found = Finding.of((recorded / "find.json").read_text())
    assert "error is somewhat more likely" in finding_wording.answer(replace(found, earlier=(recorded.name,)))


def test_a_second_search_pays_nothing_and_a_moved_margin_is_refused(searched: Lab) -> None:
    paid = searched.paid()["calls"]

    ended = searched.printed("find", "lab.yaml", "--yes", "--margin", MARGINS)
    assert (ended["schema"], ended["search"]["pick"]) == ("run/1", "twin")
    refused = find(searched, "--margin", "same_rating=40pp", expect=2)
    assert "this search cannot change after" in refused
    assert "the margins were" in refused
    assert searched.paid()["calls"] == paid


def test_a_run_of_the_recommended_experiment_finds_every_cell_paid(searched: Lab) -> None:
    paid = searched.paid()["calls"]
    (searched.folder / "recommended.yaml").write_text((searched.runs[0] / "recommended.yaml").read_text())

    searched.harness("run", "recommended.yaml", "--yes")
    assert searched.paid()["calls"] == paid
    assert {cell["arm"] for cell in searched.rows("cells")} == {"paid", "twin"}


@pytest.mark.parametrize(
    ("changes", "margins", "problem"),
    [
        ({"arms": {"paid": {"all": "paid"}}}, None, "there is no candidate"),
        ({"repeats": 1}, None, "how often it agrees with itself stays unknown"),
        ({"dates": DATES[:4]}, None, "4 dates are too few for 2 looks"),
        ({"tickers": TICKERS[:1]}, None, "are too few for 2 looks: the screen takes 8"),
        ({"compare": {"baseline": "macd"}, "arms": {"macd": {"rule": "macd"}, "twin": {"all": "twin"}}}, None, "is a rule"),
        ({}, "same=10pp", "unknown metric 'same'"),
        ({}, "usable=0", "more than 0"),
        ({}, "usable=much", "is no margin"),
    ],
)
def test_what_cannot_be_tested_is_refused(lab: Lab, changes: Any, margins: str | None, problem: str) -> None:
    search(lab, **changes)
    with pytest.raises(InvalidInput, match=problem):
        design.make(spec.load(lab.folder / "lab.yaml"), margins)


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        (("--budget", "0.0001"), "budget: $0.00 do not pay for the screen and one block"),
        (("--within", "1s"), "--within: 1.0\u202fs is too short for the screen and 2 blocks"),
    ],
)
def test_too_little_money_or_time_is_refused_before_anything_is_paid(lab: Lab, limit: tuple[str, str], problem: str) -> None:
    search(lab)
    assert problem in find(lab, *limit, expect=2)
    assert lab.paid()["calls"] == 0


def test_a_time_limit_first_keeps_the_dates_then_takes_the_cheapest_lane_then_the_most_looks(lab: Lab) -> None:
    search(lab, days=16, find={"blocks": 4})
    offer_background_lanes(lab)
    now, wanted = calendar_of(lab)
    calendar = replace(now, lane=None)

    def best(hours: float) -> tuple[str | None, int, int]:
        schedule = calendar.best(wanted, hours * 3600)
        assert schedule is not None
        return schedule.lane, schedule.design.looks, len(schedule.design.blocks[0])

    assert best(1000) == ("background_8h", 4, 3)
    assert best(30) == ("background_8h", 2, 6), "a deferred lane waits for each block, so all dates lie in fewer blocks"
    assert best(13) == ("background_2h", 4, 3), "no longer the cheapest"
    assert best(9) == ("background_2h", 2, 6)
    assert best(1) == ("now", 4, 3)
    shortest = calendar.best(wanted, 1)
    assert shortest is not None
    assert shortest.seconds > 1, "nothing fits: the shortest is named"
    assert (shortest.design.looks, len(shortest.design.blocks[0])) == (2, 3), "two blocks, the fewest that can be tested"
    assert best(shortest.seconds / 3600 + 0.001) == ("now", 2, 3), "only now dates are dropped"


def test_blocks_that_a_time_limit_chose_stay_and_levels_follow_their_number(searched: Lab) -> None:
    found = Finding.of((searched.runs[0] / "find.json").read_text())
    said = (searched.folder / "said").read_text()
    assert "2 blocks of 12 cases (chosen by the time limit; the experiment has 3 of 3 dates)" in said
    assert found.design.declared == (3, 3)
    assert [len(block) for block in found.design.blocks] == [3, 3]
    first = found.looks[0].arms["twin"]
    levels = [sequential.look_levels(level, 2)[0] for level in found.design.gate.levels]
    assert first.flags == tuple(p <= level for p, level in zip(first.p, levels, strict=True))


def test_a_later_command_keeps_the_blocks_that_a_time_limit_chose_and_refuses_other_ones(lab: Lab) -> None:
    search(lab, days=14, find={"blocks": 4})
    wanted = design.make(spec.load(lab.folder / "lab.yaml"), None)
    _, chosen, _ = next(cuts(wanted))
    begun = Finding.of(Finding(chosen).to_json())
    assert begun.design == chosen
    assert earlier.settle(wanted, begun).design == chosen

    search(lab, days=14, find={"blocks": 2})
    moved = design.make(spec.load(lab.folder / "lab.yaml"), None)
    assert earlier.settle(moved, begun).design == moved, "nothing was compared yet"
    looked = replace(begun, looks=(Look(1, {}, None, None),))
    with pytest.raises(InvalidInput, match=r"after 1 look: the blocks were 4 of 3 dates, now 2 of 6 dates(?s:.*)blocks: 4"):
        earlier.settle(moved, looked)


def test_the_example_of_the_documentation_can_be_searched(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "find.md").read_text(), re.DOTALL)
    models = {
        "gpt-6.1-sol": {"provider": "openai", "model": "gpt-6.1-sol"},
        "qwen3-8b": {"provider": "ollama", "model": "qwen3:8b"},
    }
    rest = {"name": "documented", "tickers": TICKERS[:3], "data": "demo", "models": models}
    (tmp_path / "documented.yaml").write_text(yaml.safe_dump(rest | yaml.safe_load(block), sort_keys=False))
    wanted = design.make(spec.load(tmp_path / "documented.yaml"), None)
    assert wanted.baseline == "gpt-6.1-sol"
    assert wanted.candidates == ("qwen3-8b", "both", "gpt-6.1-sol-none-low", "gpt-6.1-sol-low-low")
    assert wanted.looks == 4


def test_the_shipped_search_has_its_eight_screening_cases_and_two_blocks() -> None:
    wanted = design.make(spec.load(ROOT / "experiments" / "smoke_find.yaml"), None)
    assert wanted.candidates == ("smollm2-135m", "smollm2-135m-0.1")
    assert (len(wanted.screen_cases), wanted.looks) == (8, 2)


def test_the_plan_says_what_a_search_costs_and_how_likely_it_settles_each_metric(lab: Lab) -> None:
    search(lab)
    plan = json.loads(lab.harness("plan", "lab.yaml", "--json"))["find"]
    assert plan["settled"].keys() == {"same_rating", "usable", "grounding"}
    assert 0 < plan["usd_on_margin"] < plan["usd_if_equal"]
    assert 0.3 < plan["share_on_margin"] < plan["share_if_equal"] <= 1
    assert "as a search (`find`)" in lab.harness("plan", "lab.yaml")


def test_the_recommended_file_is_kept_beside_the_page(searched: Lab) -> None:
    assert {"find.json", "recommended.yaml", "report.html"} <= {path.name for path in Path(searched.runs[0]).iterdir()}


def test_the_page_estimates_the_whole_matrix_where_a_candidate_never_started(searched: Lab) -> None:
    run = load(searched.runs[0])
    view = find_view.of_run(run, {})
    assert view is not None
    assert view.usd is not None
    assert view.usd.estimated == ("far",)
    assert view.usd.spent == pytest.approx(sum(cell["cost_usd"] for cell in searched.rows("cells", 0)))
    usd = {arm: run.cells[run.cells["arm"] == arm]["cost_usd"].mean() for arm in ("paid", "twin")}
    design, planned = view.design, view.found.planned_usd["far"]
    cases = design.cases_of_block * design.looks
    matrix = cases * (design.baseline_repeats * usd["paid"] + design.arm_repeats * (usd["twin"] + planned))
    assert planned > 0
    assert view.usd.fixed == pytest.approx(matrix)
    page = (Path(searched.runs[0]) / "report.html").read_text()
    assert "an estimate: far never ran on these dates, so the price of the plan is taken." in page
