"""Where money, tokens and time went, per arm and per role; totals report what is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from domain.lanes import LANES, lane_of_tier
from domain.providers import PROVIDERS
from domain.usage import USAGE_FIELDS
from reports.format import known

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run

TIMES = ("queued_s", "backoff_s", "ttft_s", "duration_s", "load_s", "prefill_s", "decode_s", "server_queue_s")
AT_ONCE = "now"
_SPENT = ("cell_id", "outcome", "kind", "cost_usd", "cost_basis", *USAGE_FIELDS, *TIMES)


@dataclass(frozen=True)
class Total:
    """A sum over items, some of which may be unknown."""

    value: float | None
    """Sum of the known items; None if all are unknown."""
    missing: int
    of: int

    @property
    def is_whole(self) -> bool:
        return self.missing == 0 and self.value is not None

    def per(self, count: int) -> float | None:
        """The sum divided by a count; None if some items are unknown."""
        return self.value / count if self.is_whole and self.value is not None and count else None


@dataclass(frozen=True)
class CostSplit:
    """What calls cost, by who paid for them."""

    paid: Total
    """By this run."""
    reused: Total
    """By earlier runs, whose answers this run uses again."""


@dataclass(frozen=True)
class LaneShare:
    """The calls of a group that were served in one lane."""

    lane: str
    calls: int
    cost: Total


@dataclass(frozen=True)
class Spend:
    """What a group of calls used."""

    cells: int
    calls: int
    failed: int
    """Calls without an answer, killed ones included."""
    extra: int
    """Repairs and tool rounds among the calls."""
    cost: Total
    """Paid by this run or by the earlier runs that it reuses."""
    sums: Mapping[str, Total]
    """Token and time columns, summed."""
    basis: str
    duration_p50_s: float | None
    lanes: tuple[LaneShare, ...] = ()
    """Lanes of the calls to hosted models."""
    why_no_time: str = ""
    """Why none of its calls has a time to compare."""


@dataclass(frozen=True)
class Waste:
    """Calls without a useful result, and the reason."""

    arm: str
    reason: str
    calls: int
    cost: Total


def by_arm(run: Run) -> dict[str, Spend]:
    """Return arm -> what its calls used over all attempts, without judging and replays."""
    calls = _timed_calls(run)
    return {str(arm): _spend(group) for arm, group in calls.groupby("arm", sort=False)}


def lanes_of(calls: pd.DataFrame) -> pd.Series[Any]:
    """Lane of each call, missing for self-hosted models; runs from before there were lanes recorded the service tier."""
    if "lane" not in calls:
        return calls["cell_id"].map(lambda _: None)
    tiers = calls["service_tier"].map(lane_of_tier, na_action="ignore") if "service_tier" in calls else None
    lanes: pd.Series[Any] = calls["lane"] if tiers is None else calls["lane"].where(calls["lane"].notna(), tiers)
    return lanes


def is_deferred(lane: str) -> bool:
    """Whether answers of a lane, or of some among several joined by +, are fetched later."""
    return any(LANES[name].is_deferred for name in lane.split("+") if name in LANES)


def compared_lane(lanes: pd.Series[Any], of_baseline: pd.Series[Any]) -> str:
    """The lane whose times are shown: the baseline's most frequent one that answers at once, else that of all arms."""
    for candidates in (lanes[of_baseline], lanes):
        at_once = candidates[~candidates.map(is_deferred).astype(bool)]
        if len(at_once):
            return str(at_once.mode().iloc[0])
    return AT_ONCE


def _timed_calls(run: Run) -> pd.DataFrame:
    """Calls of pipeline cells with their lanes; those of other lanes than the one that is shown have no times."""
    calls = run.pipeline_calls
    lanes = lanes_of(calls)
    served = lanes.astype(object).fillna(AT_ONCE)
    is_shown = served == compared_lane(served, calls["arm"] == run.baseline)
    shown = calls[["role", "arm", "started_at", *_SPENT]].assign(lane=lanes)
    shown.loc[~is_shown, list(TIMES)] = float("nan")
    return shown


def cost_splits(run: Run) -> dict[str, CostSplit]:
    """Return arm -> who paid for its calls; replays and judges are arms of their own."""
    calls = run.calls[["arm", "run_id", "cost_usd"]]
    return {str(arm): _split(run, group) for arm, group in calls.groupby("arm", sort=False)}


def whole_split(run: Run) -> CostSplit:
    """Who paid for all calls of the run, replays and judges included."""
    return _split(run, run.calls)


def _split(run: Run, calls: pd.DataFrame) -> CostSplit:
    is_paid_here = calls["run_id"] == run.run_id
    return CostSplit(total(calls.loc[is_paid_here, "cost_usd"]), total(calls.loc[~is_paid_here, "cost_usd"]))


def by_role(run: Run) -> dict[str, dict[str, Spend]]:
    """Return role -> arm -> what its calls used, in the order of the pipeline."""
    calls = _timed_calls(run)
    order = calls.groupby("role")["started_at"].min().sort_values().index
    table: dict[str, dict[str, Spend]] = {str(role): {} for role in order}
    # Iterating over the groups would first copy all calls.
    for key, places in calls.groupby(["role", "arm"], sort=False).indices.items():
        role, arm = map(str, cast("tuple[str, str]", key))
        table[role][arm] = _spend(calls.iloc[places])
    return {role: table[role] for role in run.roles.in_order(table)}


def wasted(run: Run) -> list[Waste]:
    """Money without a usable decision: failed calls, discarded attempts, answers of cells without a decision."""
    calls = run.pipeline_calls
    unusable = calls["cell_id"].isin(run.cells.loc[run.cells["rating"].isna(), "cell_id"])
    failed = calls["outcome"] != "answered"
    superseded = ~failed & (calls["cell_attempt"] < _last_answered_attempt(calls))
    groups = {
        "failed or killed requests": failed,
        "answers of discarded attempts": superseded & ~unusable,
        "answers of decisions that could not be used": ~failed & unusable,
    }
    rows = []
    for reason, chosen in groups.items():
        for arm, group in calls.loc[chosen, ["arm", "cost_usd"]].groupby("arm", sort=False):
            rows.append(Waste(str(arm), reason, len(group), total(group["cost_usd"])))
    return rows


def _last_answered_attempt(calls: pd.DataFrame) -> pd.Series[Any]:
    """For each call, the last attempt that was answered at its call site: an attempt uses the answers of earlier ones."""
    answered_attempt = calls["cell_attempt"].where(calls["outcome"] == "answered")
    call_site = [calls[name] for name in ("cell_id", "role", "round", "kind", "index")]
    return answered_attempt.groupby(call_site, dropna=False).transform("max")


def failures(run: Run) -> list[tuple[str, str, int, str]]:
    """(arm, cause, calls, one example) of requests that failed or were killed."""
    calls = run.pipeline_calls
    bad = calls[calls["outcome"] != "answered"]
    cause = bad["error_type"].fillna(bad["outcome"])
    rows = []
    for (arm, why), group in bad.groupby([bad["arm"], cause], sort=False):
        example = group["error"].dropna()
        rows.append((str(arm), str(why), len(group), str(example.iloc[0]) if len(example) else ""))
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def uncertain(run: Run) -> list[tuple[str, int, float]]:
    """(arm, calls, worst case in dollars) of requests that the provider may have answered and billed unseen."""
    calls = run.calls[run.calls["error_type"] == "uncertain"]
    return [(str(arm), len(group), float(group["cost_usd"].sum())) for arm, group in calls.groupby("arm", sort=False)]


def total(column: pd.Series) -> Total:
    """Sum of a column, with the number of unknown values."""
    missing = int(column.isna().sum())
    there = len(column) - missing
    return Total(float(column.sum()) if there else None, missing, len(column))


def self_hosted(run: Run, calls: pd.DataFrame) -> pd.Series[Any]:
    """Which calls went to a self-hosted server, as classified by the run, else by provider."""
    if run.record.hardware is not None:
        return calls["server"].isin(list(run.record.hardware))
    return ~calls["provider"].isin([name for name, provider in PROVIDERS.items() if provider.is_hosted])


def why_no_cost(run: Run, calls: pd.DataFrame) -> str:
    """Why the cost of these calls is unknown, with the fix."""
    unpriced = calls[calls["cost_usd"].isna()]
    if unpriced.empty:
        return ""
    if self_hosted(run, unpriced).all():
        return "a local model has no price until the experiment gives local_cost and servers.yaml its hardware"
    if (unpriced["outcome"] != "answered").all():
        return "failed requests reported no usage"
    return "the price table does not know the returned model"


def time_parts(spend: Spend) -> list[tuple[str, float]]:
    """(kind, seconds) of a group of calls; `rest` is what the server does not break down."""
    seconds = {name: spend.sums[name].value or 0.0 for name in TIMES}
    return split_time(seconds)


def split_time(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    """Queue, back-off, the server's own queue, then load, prefill and decode (or time to first token), then the rest."""
    inside = [
        ("server_queue", seconds["server_queue_s"]),
        ("load", seconds["load_s"]),
        ("prefill", seconds["prefill_s"]),
        ("decode", seconds["decode_s"]),
    ]
    if not any(size for _, size in inside):
        inside = [("first", min(seconds["ttft_s"], seconds["duration_s"]))]
    rest = max(seconds["duration_s"] - sum(size for _, size in inside), 0.0)
    return [("queue", seconds["queued_s"]), ("backoff", seconds["backoff_s"]), *inside, ("rest", rest)]


def server_queue_share(spend: Spend) -> float | None:
    """Share of the calls' duration that passed in the queues of their servers; None where no server shows it."""
    waited_s, duration_s = spend.sums["server_queue_s"].value, spend.sums["duration_s"].value
    return None if waited_s is None or not duration_s else waited_s / duration_s


def token_parts(spend: Spend) -> list[tuple[str, float]]:
    """(kind, tokens): fresh, cached and written input, visible and reasoning output."""
    tokens = {name: spend.sums[name].value or 0.0 for name in USAGE_FIELDS}
    fresh = max(tokens["input_tokens"] - tokens["cached_tokens"] - tokens["cache_write_tokens"], 0.0)
    seen = max(tokens["output_tokens"] - tokens["reasoning_tokens"], 0.0)
    written = [("cached", tokens["cached_tokens"]), ("written", tokens["cache_write_tokens"])]
    return [("fresh", fresh), *written, ("visible", seen), ("reasoning", tokens["reasoning_tokens"])]


def typical_cells(run: Run, arms: Sequence[str]) -> dict[str, str]:
    """Arm -> id of the finished cell whose service time is nearest to the arm's median, on one case where possible.

    Cells whose answers were fetched later are left out."""
    lanes = lanes_of(run.calls).astype(object).fillna(AT_ONCE)
    later = set(run.calls.loc[lanes.map(is_deferred).astype(bool), "cell_id"])
    done = run.cells[(run.cells["status"] == "ok") & run.cells["llm_calls"].gt(0) & ~run.cells["cell_id"].isin(later)]
    chosen = {}
    for arm in arms:
        mine = done[done["arm"] == arm].dropna(subset=["service_s"])
        if len(mine):
            distance = (mine["service_s"] - mine["service_s"].median()).abs()
            chosen[arm] = str(mine["cell_id"].iloc[int(distance.argmin())])
    return chosen


def _spend(group: pd.DataFrame) -> Spend:
    bases = group["cost_basis"].dropna().unique()
    median = group["duration_s"].median()
    return Spend(
        cells=group["cell_id"].nunique(),
        calls=len(group),
        failed=int((group["outcome"] != "answered").sum()),
        extra=int(group["kind"].isin(["repair", "tool_round"]).sum()),
        cost=total(group["cost_usd"]),
        sums={name: total(group[name]) for name in (*USAGE_FIELDS, *TIMES)},
        basis=str(bases[0]) if len(bases) == 1 else "mixed" if len(bases) else "unknown",
        duration_p50_s=float(median) if known(median) else None,
        lanes=tuple(
            LaneShare(str(lane), len(of_lane), total(of_lane["cost_usd"]))
            for lane, of_lane in group.groupby("lane", sort=True, dropna=True)
        ),
        why_no_time="" if known(median) else why_no_time(group["lane"].dropna().unique()),
    )


def why_no_time(lanes: Iterable[str]) -> str:
    """Why calls of these lanes have no time that could be compared."""
    names = sorted(set(lanes))
    later = [lane for lane in names if is_deferred(lane)]
    if later:
        return f"its answers were fetched later (lane {', '.join(later)})"
    other = [lane for lane in names if lane != AT_ONCE]
    return f"it was asked in another lane ({', '.join(other)})" if other else "no duration was recorded"
