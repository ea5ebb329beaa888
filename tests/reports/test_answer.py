from __future__ import annotations

import datetime as dt
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from reports import Run, load
from reports.answer import sentences, table, wording
from reports.answer.caveats import caveats
from reports.answer.findings import Findings, find
from tests.reports.synthetic import FakeArm, make_run, make_tables, sessions

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


def lines(folder: Path, **run: object) -> dict[str, table.ArmLine]:
    made = synthetic(folder, **run)
    return {line.arm: line for line in table.lines(made, find(made))}


def test_an_arm_that_fails_half_the_time_is_not_good_enough(tmp_path: Path) -> None:
    arms = {"a": FakeArm(), "b": FakeArm(unparsed=0.5)}
    made = synthetic(tmp_path, arms=arms, dates=DATES, repeats=2)
    found = find(made)
    line = {line.arm: line for line in table.lines(made, found)}["b"]
    assert line.word.text == "Not good enough"
    assert re.fullmatch(r"\d+ to \d+ points fewer usable", line.word.note)
    assert "not good enough: b (" in sentences.decisions(found).text


def test_costs_are_per_thousand_decisions_and_savings_against_the_baseline(tmp_path: Path) -> None:
    arms = {"a": FakeArm(), "b": FakeArm(cost_usd=0.02), "rule": FakeArm(rule="macd")}
    made = lines(tmp_path, arms=arms, dates=DATES[:4], repeats=2)
    assert re.fullmatch(r"\$2[34]\d", made["a"].cost.text)
    assert re.fullmatch(r"\$(19|20)\.\d\d", made["b"].cost.text)
    assert made["b"].saved.text.replace("\u202f", " ") == "92 %"
    assert made["rule"].cost.text == "$0"
    assert [line.kind for line in made.values()] == ["baseline", "candidate", "rule"]


def test_a_share_of_few_cases_or_figures_says_how_many(tmp_path: Path) -> None:
    arms = {"a": FakeArm(), "b": FakeArm()}
    run = load(make_run(tmp_path / "few", arms=arms, dates=DATES[:2], tickers=("AAPL",), repeats=2, words=6))
    few = {line.arm: line for line in table.lines(run, find(run))}["b"]
    assert few.same.basis == few.opposite.basis == "2 cases"
    assert re.fullmatch(r"\d+ of \d+ figures", few.invented.basis)
    head, line = table.text_rows([few])
    assert line[head.index("invented")] == f"{few.invented.text} ({few.invented.basis})", "also on a terminal and in exports"
    many = lines(tmp_path / "many", arms=arms, dates=DATES, repeats=2)["b"]
    assert (many.same.basis, many.opposite.basis) == ("", "")


def test_an_arm_without_a_usable_decision_has_no_cost_and_no_saving(tmp_path: Path) -> None:
    made = lines(tmp_path, arms={"a": FakeArm(), "mute": FakeArm(failing=1.0)}, dates=DATES[:4], repeats=2)["mute"]
    assert made.cost.text == ""
    assert made.cost.why == "no decision was usable"
    assert made.saved.text == ""
    assert made.usable.note == "0 of 24"


def test_without_repeats_the_sentence_says_how_to_measure_the_noise_floor(tmp_path: Path) -> None:
    made = synthetic(tmp_path, dates=DATES[:4])
    found = find(made)
    assert "was asked once per case" in words(found, "same_rating", "llama3.1-8b")
    assert "set repeats: 3" in sentences.decisions(found).text
    assert any("was asked once per case" in one.lead for one in caveats(made, found))


def test_one_arm_alone_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    assert "nothing to be compared with" in sentences.decisions(findings(tmp_path, arms={"a": FakeArm()})).text


def test_a_single_date_is_undecided_and_the_first_warning(tmp_path: Path) -> None:
    made = synthetic(tmp_path, dates=DATES[:1], repeats=2)
    found = find(made)
    assert caveats(made, found)[0].lead == "3 cases on 1 date: nothing can be judged."
    verdicts = [one.verdict for row in found.declared for one in row.comparisons.values()]
    assert {verdict.word for verdict in verdicts if verdict} == {"undecided"}
    assert "too few dates" in sentences.returns(found).text


def test_an_unfinished_run_has_a_warning_and_neither_verdict_nor_takeaway(tmp_path: Path) -> None:
    made = synthetic(tmp_path, state="running")
    found = find(made)
    assert sentences.takeaways(made, found) == ()
    assert all(one.verdict is None for row in found.rows for one in row.comparisons.values())
    assert caveats(made, found)[0].lead.startswith("The run is not finished")
    assert {line.word.text for line in table.lines(made, found)} == {"Baseline", "Not judged yet"}


def test_no_return_is_claimed_from_cases_that_a_model_may_remember(tmp_path: Path) -> None:
    run = synthetic(tmp_path, dates=sessions("2023-01-03", 20))
    found = find(run)
    comparison = found.row("excess_return_5").comparisons["llama3.1-8b"]
    assert comparison.verdict is not None
    assert comparison.verdict.word == "undecided"
    assert "90 days after the knowledge cutoff" in words(found, "excess_return_5", "llama3.1-8b")
    assert sentences.returns(found).text.startswith("not measured (")
    assert any("no return is claimed" in one.text for one in caveats(run, found))
    assert found.row("excess_return_5").by_stratum["before"].values["gpt-5"].cases > 0


def test_figures_next_to_each_other_are_over_the_same_cases(tmp_path: Path) -> None:
    """Knowledge ends on other days for the two arms, and a third met two cases only."""
    dates = sessions("2024-10-01", 16)
    skipped = tuple(f"{ticker}@{day}" for day in dates for ticker in ("AAPL", "MSFT", "JPM"))[:-2]
    arms = {"gpt-5": FakeArm(), "llama": FakeArm("llama3.1:8b", "ollama", 0.02), "rare": FakeArm(skip=skipped)}
    found = find(synthetic(tmp_path, arms=arms, dates=dates))
    row = found.row("excess_return_5")
    assert row.values["llama"].cases > row.values["gpt-5"].cases
    assert {arm: value.cases for arm, value in row.common.values.items()} == dict.fromkeys(("gpt-5", "llama"), row.common.cases)
    assert row.common.left_out == {"rare": 2}
    assert {one.estimate.cases for one in found.common_placebos if one.horizon == 5} == {row.common.cases}
    pairs = {arm: one.own.cases for arm, one in row.comparisons.items()}
    luck = {one.arm: one.estimate.cases for one in found.placebos if one.horizon == 5 and one.name == "coin"}
    assert pairs.items() <= luck.items()
    assert found.row("usable").common.values["gpt-5"] == found.row("usable").values["gpt-5"]


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
    assert sentences.returns(one) == sentences.returns(other)


def test_outcomes_that_are_pending_are_counted(tmp_path: Path) -> None:
    made = synthetic(tmp_path, outcomes="pending", repeats=2, dates=DATES[:10])
    found = find(made)
    pending = next(one for one in caveats(made, found) if one.lead == "Some returns are not known yet.")
    assert "5 sessions: 30 pending of 30" in pending.details
    assert "pending or missing" in words(found, "excess_return_5", "llama3.1-8b")


def test_unknown_costs_are_counted_and_never_zero(tmp_path: Path) -> None:
    made = synthetic(tmp_path, arms={"a": FakeArm(), "b": FakeArm(cost_usd=None)})
    leads = [one.lead for one in caveats(made, find(made))]
    assert "The cost of 24 of 24 of b is unknown," in leads


def test_failures_and_different_cases_are_warnings_with_their_numbers(tmp_path: Path) -> None:
    arms = {"a": FakeArm(), "b": FakeArm(failing=0.5, skip=["AAPL@2025-09-02"])}
    made = synthetic(tmp_path, arms=arms)
    text = " ".join(one.sentence for one in caveats(made, find(made)))
    assert re.search(r"\d+ of 23 decisions of b could not be used", text)
    assert "23 of 24 are common to all" in text


def test_what_the_proxy_metered_is_not_blamed_for_decisions_and_cannot_be_asked_again(tmp_path: Path) -> None:
    proxy = {"pipeline": {"command": ["proxy"], "folder": "."}}
    made = synthetic(tmp_path, arms={"mine": FakeArm(unparsed=1.0)}, experiment=proxy)
    text = " ".join(f"{one.sentence} {one.details}" for one in caveats(made, find(made)))
    assert "24 of 24 decisions of mine were not found in the answers" in text
    assert "retry" not in text


def test_arms_that_always_say_the_same_are_named_first(tmp_path: Path) -> None:
    arms = {"a": FakeArm(rating="Hold"), "b": FakeArm(rating="Hold"), "c": FakeArm()}
    made = synthetic(tmp_path, arms=arms, repeats=2)
    assert caveats(made, find(made))[0].lead == "a and b decided Hold in every case."


def test_cut_and_repaired_answers_come_first_where_they_are_many(tmp_path: Path) -> None:
    run = make_tables(tmp_path / "r", arms={"a": FakeArm(), "b": FakeArm()}, dates=DATES, repeats=2)
    calls = pd.read_parquet(run / "calls.parquet")
    is_cut = calls["role"] == "bull"
    calls.loc[is_cut, "truncated"] = True
    calls.loc[calls["role"] == "trader", "kind"] = "repair"
    calls.to_parquet(run / "calls.parquet")
    made = load(run)
    first, second = caveats(made, find(made))[:2]
    assert first.lead == f"{is_cut.sum():,} of {len(calls):,} answers were cut at the token limit."
    assert "bull" in first.details
    assert "could not be read and were asked for again" in second.lead


@pytest.mark.parametrize("arms", [2, 7])
def test_there_are_at_most_five_warnings_and_three_takeaways(tmp_path: Path, arms: int) -> None:
    every = {
        f"arm{n}": FakeArm(f"m{n}", cost_usd=0.02 * (n + 1), lean=0.2 * n, noise=0.3 + 0.1 * n, failing=0.1)
        for n in range(arms)
    }
    made = synthetic(tmp_path, arms=every, dates=DATES[:8], repeats=2)
    found = find(made)
    assert 1 <= len(caveats(made, found)) <= 5
    assert len(sentences.takeaways(made, found)) <= 3
