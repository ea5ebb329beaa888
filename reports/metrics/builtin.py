"""The built-in metrics: one decorated function each; the docstring is the footnote under the figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from reports.grounding import of_run as grounding_of_run
from reports.metrics import facts as case_values
from reports.metrics.facts import Facts
from reports.metrics.registry import metric

Frame = pd.DataFrame
Cells = Any
"""A series aligned with facts.cells."""


# --- money ---------------------------------------------------------------------------------------------------------


@metric("cost per usable decision", group="money", unit="usd", better="lower", kind="per_unit", scale="ratio")
def cost(facts: Facts) -> tuple[Frame, Frame]:
    """Dollars of all cells, including cells without a result, divided by their usable decisions. Every repeat counts; cells of
    unknown cost are left out of both sums. Every table and chart uses this one figure."""
    is_known = facts.cells["cost_usd"].notna()
    return facts.by_case(facts.cells["cost_usd"], "sum"), facts.by_case(facts.usable.where(is_known), "sum")


@metric("cost per decision with cold caches", group="money", unit="usd", better="lower", scale="ratio")
def cold_cost(facts: Facts) -> Frame:
    """Cost per decision as it would be if no provider's cache had been warm: repeats and arms that share a model find warm
    caches, which makes them look cheaper. Self-hosted models are unchanged."""
    calls = facts.run.calls
    cold = calls["cold_usd"].astype(float).fillna(calls["cost_usd"].astype(float)).groupby(calls["cell_id"])
    sums = cold.sum(min_count=1).where(cold.count() == cold.size())
    is_without_calls = facts.cells["llm_calls"] == 0
    return facts.by_case(case_values.of_calls(facts, sums).mask(is_without_calls, facts.cells["cost_usd"]))


@metric("billed by hosted models per decision", group="money", unit="usd", better="lower")
def api_cost(facts: Facts) -> Frame:
    """Dollars that hosted providers billed per cell, without self-hosted models."""
    return facts.by_case(facts.cells["api_cost_usd"])


# --- time ----------------------------------------------------------------------------------------------------------


@metric("service time, mean", group="time", unit="s", better="lower", scale="ratio")
def service_time(facts: Facts) -> Frame:
    """Seconds from start to end of a cell without waiting for a slot or a back-off; compared by the geometric mean of
    the ratio per case."""
    return facts.by_case(facts.timed(facts.cells["service_s"]))


@metric("service time, median", group="time", unit="s", better="lower", kind="quantile", scale="ratio", q=0.5)
def service_p50(facts: Facts) -> Cells:
    """Median over cells of the seconds of service; Woodruff's interval with dates as clusters."""
    return facts.timed(facts.cells["service_s"])


@metric(
    "service time, median, without waiting for the prompt cache",
    group="time",
    unit="s",
    better="lower",
    kind="quantile",
    scale="ratio",
    q=0.5,
)
def service_p50_without_cache_wait(facts: Facts) -> Cells:
    """Median over cells of the seconds of service, had no analyst waited for another's first token to read the prompt cache."""
    return facts.timed(facts.cells["service_s"] - facts.cells["cache_wait_s"].fillna(0.0))


@metric("service time, 95th percentile", group="time", unit="s", better="lower", kind="quantile", scale="ratio", q=0.95)
def service_p95(facts: Facts) -> Cells:
    """95th percentile over cells of the seconds of service; Woodruff's interval with dates as clusters."""
    return facts.timed(facts.cells["service_s"])


@metric("time to first token", group="time", unit="s", better="lower", scale="ratio")
def ttft(facts: Facts) -> Frame:
    """Seconds until the first token of an answer, averaged over the answered calls of a cell."""
    calls = facts.run.calls[["cell_id", "outcome", "ttft_s"]]
    first_s = calls[calls["outcome"] == "answered"].groupby("cell_id")["ttft_s"].mean()
    return facts.by_case(facts.timed(case_values.of_calls(facts, first_s)))


@metric("generation speed", group="time", unit="tokens_per_s", better="higher", scale="ratio")
def tokens_per_s(facts: Facts) -> Frame:
    """Output tokens (reasoning included) of a cell's answered calls divided by the seconds in which they were written:
    the server's own decoding time, else the time after the first token."""
    calls = facts.run.calls[["cell_id", "outcome", "decode_s", "duration_s", "ttft_s", "output_tokens"]]
    calls = calls[calls["outcome"] == "answered"]
    seconds = calls["decode_s"].astype(float).fillna(calls["duration_s"] - calls["ttft_s"])
    sums = pd.DataFrame({"tokens": calls["output_tokens"].astype(float), "s": seconds}).groupby(calls["cell_id"])
    totals = sums.sum(min_count=1)
    return facts.by_case(facts.timed(case_values.of_calls(facts, totals["tokens"] / totals["s"].where(totals["s"] > 0))))


@metric("time waiting for a slot", group="time", unit="s")
def queued(facts: Facts) -> Frame:
    """Seconds that the calls of a cell waited for a slot of their server, summed; a measure of how busy the servers were."""
    return facts.by_case(facts.timed(facts.cells["queued_s"]))


# --- tokens --------------------------------------------------------------------------------------------------------


@metric("input tokens", group="tokens", unit="tokens", scale="ratio")
def input_tokens(facts: Facts) -> Frame:
    """Tokens of all prompts of a cell, cache reads and writes included; families count differently."""
    return facts.by_case(facts.cells["input_tokens"])


@metric("cached input tokens", group="tokens", unit="tokens")
def cached_tokens(facts: Facts) -> Frame:
    """Part of the input tokens that the provider read from its cache, if it reports them."""
    return facts.by_case(facts.cells["cached_tokens"])


@metric("cache-write tokens", group="tokens", unit="tokens")
def cache_write_tokens(facts: Facts) -> Frame:
    """Part of the input tokens that the provider wrote to its cache, if it reports them."""
    return facts.by_case(facts.cells["cache_write_tokens"])


@metric("output tokens", group="tokens", unit="tokens", scale="ratio")
def output_tokens(facts: Facts) -> Frame:
    """Tokens of all answers of a cell, reasoning included."""
    return facts.by_case(facts.cells["output_tokens"])


@metric("reasoning tokens", group="tokens", unit="tokens")
def reasoning_tokens(facts: Facts) -> Frame:
    """Part of the output tokens that was reasoning, if the server reports it."""
    return facts.by_case(facts.cells["reasoning_tokens"])


# --- reliability ---------------------------------------------------------------------------------------------------


@metric("usable decisions", group="reliability", unit="share", better="higher", kind="share")
def usable(facts: Facts) -> Frame:
    """Share of cells that ended with a readable decision, of all cells that ended (intent to treat): failed, timed-out,
    unparsed, truncated and refused ones count against the arm and are never turned into Hold."""
    return facts.by_case(facts.usable.astype(float))


@metric("readable decisions of completed cells", group="reliability", unit="share", better="higher", kind="share")
def valid(facts: Facts) -> Frame:
    """Share of cells with a readable decision among those that completed. Compared with the share of all cells it separates a
    model that answers badly from a server that fails."""
    return facts.by_case(facts.usable.astype(float).where(facts.cells["status"] == "ok"))


@metric("decided at the first attempt", group="reliability", unit="share", better="higher", kind="share")
def typed(facts: Facts) -> Frame:
    """Share of cells whose decision had the requested form at once, without repair or recovery."""
    return facts.by_case(facts.cells["decision_status"].isin(["typed", "rule"]) & facts.usable)


@metric("stability over repeats", group="reliability", unit="share", better="higher", kind="agreement")
def stability(facts: Facts) -> Frame:
    """Chance that two repeats of the same case by the same arm give the same rating; cases with two usable repeats or
    more."""
    return case_values.agreements(facts, {arm: facts.pair_tables(arm, arm) for arm in facts.arms if arm not in facts.rules})


# --- agreement -----------------------------------------------------------------------------------------------------


@metric("same rating as the baseline", group="agreement", unit="share", better="higher", kind="agreement", level=0.025)
def same_rating(facts: Facts) -> Frame:
    """Chance that the arm and the baseline give the same rating to a case, over all pairs of their usable repeats. The
    baseline's own figure is the noise floor: how often two of its repeats agree. Arm and floor are over the cases that the
    baseline decided at least twice, so that an arm that behaves like the baseline differs by 0 in each case, easy or hard.
    The baseline is not the truth."""
    return _like_baseline(facts, case_values.agreements)


@metric(
    "same rating, unusable counted as different",
    group="agreement",
    unit="share",
    better="higher",
    kind="agreement",
    level=0.025,
)
def same_rating_of_all(facts: Facts) -> Frame:
    """As same rating, over all cells: a decision that is not usable agrees with nothing (intent to treat)."""
    return _like_baseline(facts, case_values.agreements, of_all=True)


@metric("opposite trade to the baseline", group="agreement", unit="share", better="lower", kind="rare")
def opposite_trade(facts: Facts) -> Frame:
    """Chance that one of arm and baseline buys a case and the other sells it, over all pairs of their usable repeats; the
    baseline's own figure is how often two of its repeats are opposed. Over the same cases as same rating."""
    return _like_baseline(facts, case_values.opposites)


def _like_baseline(facts: Facts, share_of_pairs: Callable[..., Frame], *, of_all: bool = False) -> Frame:
    """Each arm's pairs with the baseline, over the cases with two repeats of the baseline where there are any."""
    if facts.baseline is None:
        return share_of_pairs(facts, {})
    frame = share_of_pairs(facts, {arm: facts.pair_tables(arm, facts.baseline, of_all=of_all) for arm in facts.arms})
    has_floor = frame[facts.baseline].notna()
    return frame.where(has_floor, axis=0) if has_floor.any() else frame


# --- decisions -----------------------------------------------------------------------------------------------------


@metric("mean score", group="decisions", unit="score")
def score(facts: Facts) -> Frame:
    """Mean score of usable decisions, from +2 for Buy to -2 for Sell: how bullish an arm is."""
    return facts.by_case(facts.score)


@metric("share of Hold", group="decisions", unit="share", kind="share")
def hold_share(facts: Facts) -> Frame:
    """Share of usable decisions that are Hold."""
    return facts.by_case((facts.score == 0).astype(float).where(facts.usable))


@metric("stated confidence", group="decisions", unit="share")
def confidence(facts: Facts) -> Frame:
    """Mean of the confidence that the models state themselves; it is not calibrated."""
    return facts.by_case(facts.cells["confidence"].where(facts.usable))


# --- effect of the debate ------------------------------------------------------------------------------------------


@metric("rating changed after the research manager", group="debate", unit="share", kind="share")
def debate_changed(facts: Facts) -> Frame:
    """Share of usable decisions whose final rating differs from the research manager's: what trader and risk debate
    change."""
    first = case_values.stage_score(facts, "plan")
    return facts.by_case((first != facts.score).astype(float).where(first.notna() & facts.usable))


@metric("score shift after the research manager", group="debate", unit="score")
def debate_shift(facts: Facts) -> Frame:
    """Final score minus the research manager's: below zero, the risk debate makes an arm more cautious."""
    return facts.by_case(facts.score - case_values.stage_score(facts, "plan"))


@metric("score shift by the risk debate", group="debate", unit="score")
def risk_shift(facts: Facts) -> Frame:
    """Final score minus the trader's: what the three risk voices and the portfolio manager change."""
    return facts.by_case(facts.score - case_values.stage_score(facts, "trade"))


# --- grounding -----------------------------------------------------------------------------------------------------


@metric("figures that rest on the inputs", group="grounding", unit="share", better="higher")
def grounding(facts: Facts) -> Frame:
    """Share of the figures in all texts of a cell that are in the frozen inputs, verbatim or rounded, or follow from them by
    one step of arithmetic. The rest is unsupported, contradicted, or taken over from an earlier role that invented it.
    Targets, stops, sizes and confidences are proposals and not counted; a cell without figures or without a text in English
    is left out."""
    counts = grounding_of_run.by_cell(facts.run)
    return facts.by_case(case_values.of_calls(facts, counts["grounded"] / counts["figures"].where(counts["figures"] > 0)))


@metric("decisions that carry an invented figure", group="grounding", unit="share", better="lower", kind="share")
def invented(facts: Facts) -> Frame:
    """Share of usable decisions whose text contains a figure that is not in the inputs, no matter which role invented it."""
    counts = grounding_of_run.by_cell(facts.run)
    is_carried = case_values.of_calls(facts, counts["reaching"]) > 0
    return facts.by_case(is_carried.astype(float).where(facts.usable & case_values.of_calls(facts, counts["figures"]).notna()))


# --- outcomes ------------------------------------------------------------------------------------------------------


@metric("hit rate", group="outcomes", unit="share", better="higher", kind="share", outcome=True)
def hit_rate(facts: Facts, horizon: int) -> Frame:
    """Share of BUY and SELL decisions whose direction was that of the excess return from the next open over the horizon;
    a Hold claims no direction and is left out. Non-overlapping windows, cases after the knowledge cutoff."""
    excess = facts.of_cell(facts.excess(horizon))
    is_directed = (facts.position.abs() == 1) & excess.notna() & (excess != 0)
    return facts.by_case((facts.position == np.sign(excess)).astype(float).where(is_directed))


@metric("mean excess return", group="outcomes", unit="return", better="higher", outcome=True)
def excess_return(facts: Facts, horizon: int) -> Frame:
    """Mean over usable decisions of position (BUY +1, HOLD 0, SELL -1) times the return over the benchmark, filled at the
    next open, without costs. Non-overlapping windows, cases after the knowledge cutoff."""
    return facts.by_case(facts.position * facts.of_cell(facts.excess(horizon)))


@metric("rank correlation of score and return", group="outcomes", unit="correlation", better="higher", outcome=True)
def rank_correlation(facts: Facts, horizon: int) -> Frame:
    """Spearman correlation of score and excess return over the tickers of a date, averaged over dates; dates with
    fewer than three decided tickers or with equal scores are left out."""
    scores, excess = facts.by_case(facts.score), facts.excess(horizon)
    return pd.DataFrame({arm: case_values.rank_by_date(facts, scores[arm], excess) for arm in facts.arms})
