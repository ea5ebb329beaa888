from __future__ import annotations

import datetime as dt
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from reports import Run, load
from reports.answer import wording
from reports.answer.caveats import caveats, what_would_change
from reports.answer.findings import Findings, find
from reports.answer.takeaways import briefs, headline, takeaways
from tests.reports.synthetic import FakeArm, make_tables, sessions

DATES = sessions("2025-09-02", 20)


def findings(folder: Path, **run: object) -> Findings:
    return find(synthetic(folder, **run))


def synthetic(folder: Path, **run: object) -> Run:
    return load(make_tables(folder / "r", **run))  # type: ignore[arg-type]


def words(found: Findings, metric: str, arm: str) -> str:
    row = found.row(metric)
    verdict = row.comparisons[arm].verdict
    assert verdict is not None
    return wording.verdict(row.metric, row.comparisons[arm].scale, verdict)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """A hosted model and a cheaper, slower local one, 20 dates, two repeats."""
    return findings(tmp_path_factory.mktemp("usual"), repeats=2, dates=DATES)


def test_there_are_three_to_six_and_each_has_a_number_and_a_row_that_proves_it(usual: Findings) -> None:
    assert 3 <= len(takeaways(usual)) <= 6
    for takeaway in takeaways(usual):
        assert re.search(r"\d", takeaway.text)
        assert usual.row(takeaway.metric).comparisons


def test_what_is_saved_stands_in_the_first_sentence_with_its_interval(usual: Findings) -> None:
    money = takeaways(usual)[0]
    assert money.metric == "cost"
    assert re.search(r"9\d % less \[\d+ to \d+ %\]", money.text)


def test_a_dearer_arm_is_said_to_be_dearer(tmp_path: Path) -> None:
    arms = {"cheap": FakeArm(cost_usd=0.02), "dear": FakeArm(cost_usd=0.24)}
    assert " more [" in takeaways(findings(tmp_path, arms=arms))[0].text


def test_arms_that_behave_alike_are_not_said_to_differ(tmp_path: Path) -> None:
    arms = {"a": FakeArm(), "twin": FakeArm()}
    found = findings(tmp_path, arms=arms, repeats=2, dates=DATES)
    assert "no difference shown" in takeaways(found)[0].text
    assert not any(re.search(": (worse|better)", takeaway.text) for takeaway in takeaways(found))


def test_an_arm_that_fails_half_the_time_is_called_worse(tmp_path: Path) -> None:
    arms = {"a": FakeArm(), "b": FakeArm(unparsed=0.5)}
    found = findings(tmp_path, arms=arms, dates=DATES)
    verdict = found.verdict("usable", "b")
    assert verdict is not None
    assert verdict.word == "worse"
    usable = next(takeaway for takeaway in takeaways(found) if takeaway.metric == "usable")
    assert usable.text.endswith(": worse.")


def test_the_brief_says_what_an_arm_saves_and_where_it_is_worse_with_the_number(tmp_path: Path) -> None:
    arms = {"a": FakeArm(), "b": FakeArm(cost_usd=0.02, unparsed=0.5), "rule": FakeArm(rule="macd")}

    told = briefs(findings(tmp_path, arms=arms, dates=DATES))

    assert [one.arm for one in told] == ["b"]
    assert told[0].word == "not good enough"
    assert re.search(r"costs \$0\.0\d+ per usable decision, 8\d % less than a at \$0\.2\d+;", told[0].text)
    assert re.search(r"not good enough: worse on usable decisions \(.* pp \[.* pp\]\)", told[0].text)


def test_over_several_arms_one_sentence_answers_with_its_numbers(tmp_path: Path) -> None:
    arms = {"a": FakeArm(), "bad": FakeArm(cost_usd=0.02, unparsed=0.5), "b": FakeArm(cost_usd=0.12)}

    told = headline(findings(tmp_path, arms=arms, dates=DATES))

    assert re.fullmatch(
        r"Both arms cost less per usable decision than a at \$0\.2\d+, by \d+ to \d+ %; "
        r"not good enough: bad; undecided after 60 cases: b\.",
        told,
    )


def test_an_arm_that_is_not_cheaper_is_not_counted_among_the_cheaper(tmp_path: Path) -> None:
    arms = {"a": FakeArm(cost_usd=0.1), "twin": FakeArm(cost_usd=0.1), "dear": FakeArm(cost_usd=0.4)}
    assert headline(findings(tmp_path, arms=arms, dates=DATES)).startswith("No arm is shown to cost less")


def test_one_arm_alone_needs_no_sentence_over_all(tmp_path: Path) -> None:
    assert headline(findings(tmp_path)) == ""


def test_an_unfinished_run_has_no_brief(tmp_path: Path) -> None:
    assert briefs(findings(tmp_path, expected_cells=1000)) == []


def test_a_single_date_carries_no_takeaway(tmp_path: Path) -> None:
    run = synthetic(tmp_path, dates=DATES[:1])
    found = find(run)
    assert takeaways(found) == ()
    assert any("cases of one date count as one" in caveat for caveat in caveats(found, run))
    verdicts = [one.verdict for row in found.declared for one in row.comparisons.values()]
    assert {verdict.word for verdict in verdicts if verdict} == {"undecided"}


def test_an_unfinished_run_has_caveats_and_neither_verdict_nor_takeaway(tmp_path: Path) -> None:
    run = synthetic(tmp_path, state="running")
    found = find(run)
    assert takeaways(found) == ()
    assert what_would_change(found) == ()
    assert all(one.verdict is None for row in found.rows for one in row.comparisons.values())
    assert caveats(found, run)[0].startswith("Interim")


def test_no_return_is_claimed_from_cases_that_a_model_may_remember(tmp_path: Path) -> None:
    run = synthetic(tmp_path, dates=sessions("2023-01-03", 20))
    found = find(run)
    comparison = found.row("excess_return_5").comparisons["llama3.1-8b"]
    assert comparison.verdict is not None
    assert comparison.verdict.word == "undecided"
    assert "90 days after the knowledge cutoff" in words(found, "excess_return_5", "llama3.1-8b")
    assert not any(takeaway.metric.startswith(("excess", "hit", "rank")) for takeaway in takeaways(found))
    assert any("no return is claimed" in caveat for caveat in caveats(found, run))
    assert any("only cases later than 90 days after 2024-09-30" in change for change in what_would_change(found))
    assert found.row("excess_return_5").by_stratum["gpt-5"]["before"].cases > 0


def test_what_a_model_may_remember_cannot_move_a_headline(tmp_path: Path) -> None:
    """Half of the cases lie before or around the cutoff; whatever happened after those, every headline is the same."""
    late = [day for day in sessions("2025-01-02", 12) if day > dt.date(2024, 9, 30) + dt.timedelta(days=90)]
    dates = [*sessions("2023-01-03", 10), *sessions("2024-08-01", 4), *late]
    plain = make_tables(tmp_path / "plain", dates=dates)
    told = shutil.copytree(plain, tmp_path / "told")
    outcomes = pd.read_parquet(told / "outcomes.parquet")
    is_early = outcomes["case_id"].str.rpartition("@")[2] < "2024-12-29"
    outcomes.loc[is_early, ["return", "excess"]] = 9.0
    outcomes.to_parquet(told / "outcomes.parquet")

    one, other = find(load(plain)), find(load(told))

    assert is_early.any()
    for row, same in zip(one.rows, other.rows, strict=True):
        if row.metric.is_outcome:
            assert 0 < row.values["gpt-5"].cases <= 3 * len(late)
            assert str((row.values["gpt-5"], row.comparisons)) == str((same.values["gpt-5"], same.comparisons))
    assert takeaways(one) == takeaways(other)


def test_outcomes_that_are_pending_are_counted(tmp_path: Path) -> None:
    run = synthetic(tmp_path, outcomes="pending")
    found = find(run)
    assert "Outcomes over 5 sessions: 24 pending, of 24 cases." in caveats(found, run)
    assert "pending or missing" in words(found, "excess_return_5", "llama3.1-8b")


def test_without_repeats_of_the_baseline_there_is_no_noise_floor_and_the_page_says_how_to_get_one(tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert "was asked once per case" in words(found, "same_rating", "llama3.1-8b")
    assert any("set repeats: 3" in change for change in what_would_change(found))


def test_what_would_change_the_conclusion_has_a_price_and_a_number_of_cases(usual: Findings, tmp_path: Path) -> None:
    twins = findings(tmp_path, arms={"a": FakeArm(), "twin": FakeArm()}, repeats=3, dates=DATES[:8])
    assert any(
        re.search(r"gpt-5, \$0\.2\d+ per usable decision: less than \$0\.02", change) for change in what_would_change(usual)
    )
    assert any(
        re.search(r"twin needs [\d,]+ more cases if it is equal, about \$[\d,.]+", change)
        for change in what_would_change(twins)
    )


def test_unknown_costs_are_counted_and_never_zero(tmp_path: Path) -> None:
    run = synthetic(tmp_path, arms={"a": FakeArm(), "b": FakeArm(cost_usd=None)})
    found = find(run)
    assert "b: the cost of 24 of 24 cells is unknown; unknown is never counted as $0." in caveats(found, run)
    assert all(takeaway.metric != "cost" for takeaway in takeaways(found))


def test_failures_and_different_cases_stand_in_the_caveats(tmp_path: Path) -> None:
    arms = {"a": FakeArm(), "b": FakeArm(failing=0.5, skip=["AAPL@2025-09-02"])}
    run = synthetic(tmp_path, arms=arms)
    sentences = " ".join(caveats(find(run), run))
    assert re.search(r"b: \d+ of 23 cells have no usable decision", sentences)
    assert "23 of 24 are common to all" in sentences


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_sentence_names_at_most_three_arms(count: int, tmp_path: Path) -> None:
    arms = {"base": FakeArm()} | {f"arm{number}": FakeArm(cost_usd=0.02) for number in range(count)}
    money = takeaways(findings(tmp_path, arms=arms))[0]
    assert money.text.count("% less") == min(count, 3)
    assert (money.arm is not None) == (count == 1)
