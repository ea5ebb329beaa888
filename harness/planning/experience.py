"""What finished runs measured: tokens, calls and times that forecasts use."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import agents
from agents import Model, Part, TokenCounter
from domain.lanes import LANES
from domain.providers import PROVIDERS, Speed
from harness.cells import digest_of
from harness.experiment.hardware_cards import CardFigures
from harness.planning import cascades, programs
from harness.planning.cascades import Escalation
from harness.planning.programs import ProgramCalls
from harness.storage.folder import Folder
from harness.storage.store import RETRIED, decode

if TYPE_CHECKING:
    import pandas as pd

    from harness.storage.run_folder import RunFolder


MOST_COUNTED = 400
"""Counted prompts of one run, from which a ratio is computed."""


def settled_runs(run: Folder, calls: pd.DataFrame) -> pd.DataFrame:
    """The calls with a local count of each prompt (0 if not counted), and whether a tokenizer counted it."""
    counters = [agents.counter_of(Model("", *names)) for names in _names(calls)]
    return calls.assign(counted=_counts(run, calls, counters), has_tokenizer=[counter.is_tokenizer for counter in counters])


def settled_ratios(answered: pd.DataFrame) -> dict[str, float]:
    """model key -> reported / counted tokens; under "" the mean over models without a local tokenizer."""
    comparable = answered[answered["counted"].gt(0) & answered["input_tokens"].gt(0)]
    by_tokenizer, estimated = (_by_model(comparable[comparable["has_tokenizer"] == has]) for has in (True, False))
    estimated_mean = {"": sum(estimated.values()) / len(estimated)} if estimated else {}
    return by_tokenizer | estimated | estimated_mean


def _by_model(calls: pd.DataFrame) -> dict[str, float]:
    sums = calls.groupby("model")[["input_tokens", "counted"]].sum()
    return {str(key): float(row["input_tokens"] / row["counted"]) for key, row in sums.iterrows()}


def _names(calls: pd.DataFrame) -> Iterable[tuple[str, str]]:
    return zip(calls["provider"].map(str), calls["model_requested"].map(str), strict=True)


def _counts(run: Folder, calls: pd.DataFrame, counters: list[TokenCounter]) -> list[float]:
    import pyarrow.parquet as pq

    raw = run.read_if_there("messages.parquet")
    if raw is None:
        return [0.0] * len(calls)
    table = pq.read_table(io.BytesIO(raw), columns=["message_id", "role", "text"])
    parts = {row["message_id"]: _part(row) for row in table.to_pylist()}
    every = max(1, len(calls) // MOST_COUNTED)
    each = enumerate(zip(calls["message_ids"], counters, strict=True))
    return [_count(ids, parts, counter) if row % every == 0 else 0.0 for row, (ids, counter) in each]


def _part(row: Mapping[str, Any]) -> Part:
    return Part(row["role"], row["text"] or "")


def _count(ids: Iterable[str], parts: Mapping[str, Part], counter: TokenCounter) -> float:
    return float(sum(counter.of_parts([parts[message_id] for message_id in ids if message_id in parts])))


RECEIPT = ".cell.parquet"
_REUSED_COLUMNS = ["cell_id", "cell_key", "status", "cost_usd", "api_cost_usd"]


@dataclass(frozen=True)
class Reused:
    """Cells that need not run again."""

    keys: frozenset[str]
    saved_usd: float | None
    """What hosted models cost in these cells; None if unknown."""

    @property
    def cells(self) -> int:
        return len(self.keys)


def reused_results(results: Folder, experiment: str, keys: Collection[str], left_out: Collection[str] = ()) -> Reused:
    """Cells that ended `ok` in an earlier run of the experiment; offline, so new model digests are not detected.

    `left_out`: ids under which earlier runs recorded cells that must not be used."""
    wanted = frozenset(keys)
    costs: dict[str, float | None] = {}
    home = results.at(experiment)
    for run in sorted(_reusable_folders(home), reverse=True):
        for row in _rows(home.at(run)):
            if row["status"] == "ok" and row["cell_key"] in wanted and row["cell_id"] not in left_out:
                costs.setdefault(row["cell_key"], row["api_cost_usd"])
    paid = list(costs.values())
    return Reused(frozenset(costs), None if None in paid else sum(cost for cost in paid if cost is not None))


def failed_results(run: RunFolder) -> frozenset[str]:
    """Keys of the cells that failed in the run that would be continued: they run again only after `retry`."""
    if run.is_new:
        return frozenset()
    failed = {cell_id for cell_id, receipt in run.store.receipts().items() if receipt["status"] in RETRIED}
    return frozenset(row["cell_key"] for row in _rows(run.store.folder) if row["cell_id"] in failed)


def _reusable_folders(folder: Folder) -> list[str]:
    try:
        return folder.folders()
    except OSError:
        return []


def _rows(run: Folder) -> Iterator[dict[str, Any]]:
    """Receipts of a run: the derived table if it exists, else the parts."""
    table = run.read_if_there("cells.parquet")
    if table is not None:
        yield from _read_cells(table)
        return
    parts = run.at("parts")
    for name in _files(parts):
        if name.endswith(RECEIPT) and (raw := parts.read_if_there(name)) is not None:
            yield from _read_cells(raw)


def _files(folder: Folder) -> list[str]:
    try:
        return sorted(folder.files())
    except OSError:
        return []


def _read_cells(raw: bytes) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(raw), columns=_REUSED_COLUMNS).to_pylist()
    return rows


_LEAST_MEASURED = 20
_OTHER_LANES = tuple(name for name in LANES if name != "now")
"""Their latency is no measure of `now`."""
_AS_UNSAID = (None, True, "default", "auto")
"""Values equal to a server's default: a thinking model thinks."""
_PLANNED = ("primary", "tool_round")
MOST_RUNS = 20
_COLUMNS = (
    *(
        "role",
        "kind",
        "outcome",
        "truncated",
        "finish_reason",
        "provider",
        "model_requested",
        "params",
        "cell_id",
        "arm",
        "message_ids",
        "lane",
        "program",
        "index",
    ),
    *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "duration_s", "prefill_s", "decode_s", "load_s"),
)


@dataclass(frozen=True)
class MeasuredCalls:
    """Means over the answered calls of one role and model."""

    calls: int
    output_tokens: float
    duration_s: float | None
    """Of calls that were answered at once; None if there are none."""
    busy_s: float | None
    """Seconds of computing that the server reports; None if unknown."""


@dataclass(frozen=True)
class Experience:
    """What earlier runs in a results folder measured, for forecasts of the next one."""

    roles: Mapping[tuple[str, str], MeasuredCalls] = field(default_factory=dict)
    """(model key, role) -> what its calls used."""
    inputs: Mapping[tuple[str, str, str], tuple[float, float, float]] = field(default_factory=dict)
    """(prompt fingerprint, model key, role) -> mean input tokens with the actual texts of earlier roles, those read from a
    cache and those written to one."""
    cells: Mapping[str, int] = field(default_factory=dict)
    """model key -> cells in which it answered."""
    extra_calls: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """(model key, role) -> planned calls, and additional ones (repairs of forms)."""
    input_ratio: Mapping[str, float] = field(default_factory=dict)
    """model key -> reported / locally counted input tokens; under "" over all models without a tokenizer."""
    lanes: Mapping[str, tuple[int, float, float]] = field(default_factory=dict)
    """Deferred lane -> answered calls, the median seconds of their answers, and the standard deviation of the log."""
    programs: Mapping[str, ProgramCalls] = field(default_factory=dict)
    """Fingerprint of an attached program -> its calls, by earlier runs or else by `check`."""
    escalations: Mapping[str, Escalation] = field(default_factory=dict)
    """Key of a cascade -> how often its second model was asked."""
    runs: int = 0
    cards: Mapping[str, CardFigures] = field(default_factory=dict)
    """alias of a model -> what the hardware cards of its server measured."""

    def speed(self, model: Model) -> Speed:
        """Speed of a request that no run has measured: of the hardware card, else assumed for its provider."""
        figures = self.cards.get(model.alias)
        if figures is None:
            return PROVIDERS[model.provider].speed
        return Speed(figures.setting.prefill_tokens_per_s, figures.setting.decode_tokens_per_s, 0.0)

    def ratio(self, model: Model) -> float | None:
        """Calibration of local counts: of the model itself, else the mean of other estimated models."""
        mean_ratio = None if agents.counter_of(model).is_tokenizer else self.input_ratio.get("")
        return self.input_ratio.get(key_of(model.provider, model.name, model.params), mean_ratio)

    def input_of(self, fingerprint: str, model: Model, role: str) -> tuple[float, float, float] | None:
        return self.inputs.get((fingerprint, key_of(model.provider, model.name, model.params), role))

    def extra_of(self, model: Model, role: str) -> tuple[int, int]:
        return self.extra_calls.get((key_of(model.provider, model.name, model.params), role), (0, 0))

    def of(self, model: Model, role: str) -> MeasuredCalls | None:
        return self.roles.get((key_of(model.provider, model.name, model.params), role))


def key_of(provider: str, name: str, params: Mapping[str, Any]) -> str:
    """Key of a model with the parameters that affect its output length."""
    telling = {key: params.get(key) for key in ("reasoning_effort", "verbosity", "think")}
    params_sent = {key: value for key, value in telling.items() if value not in _AS_UNSAID}
    return f"{provider}/{name}/{digest_of(params_sent)[:8]}"


def read(results: Folder) -> Experience:
    """Experience of the newest runs in a results folder; empty without runs."""
    frames = [(run, frame) for run in _newest(results) if (frame := _calls(run)) is not None]
    if not frames:
        return Experience(programs=programs.checked(results))
    import pandas as pd

    calls = pd.concat([frame for _, frame in frames], ignore_index=True)
    by_program = programs.checked(results) | programs.measured(calls)
    escalations = cascades.measured(pd.concat([_cascades(run, frame) for run, frame in frames], ignore_index=True))
    return replace(of_calls(calls, len(frames)), programs=by_program, escalations=escalations)


def of_calls(calls: pd.DataFrame, runs: int) -> Experience:
    """Experience of calls whose prompts have been counted."""
    answered = calls[calls["outcome"] == "answered"]
    primary = answered[answered["kind"] == "primary"]
    return Experience(
        roles={(str(model), str(role)): _measured(group) for (model, role), group in primary.groupby(["model", "role"])},
        inputs=_inputs(primary[primary["is_whole"]]),
        cells={str(key): group["cell_id"].nunique() for key, group in answered.groupby("model")},
        extra_calls={(str(key), str(role)): _extra(group) for (key, role), group in calls.groupby(["model", "role"])},
        lanes=_lanes(answered),
        input_ratio=settled_ratios(answered[answered["is_whole"]]),
        runs=runs,
    )


def _newest(results: Folder) -> list[Folder]:
    folders = [
        (name, results.at(f"{experiment}/{name}"))
        for experiment in _folders(results)
        for name in _folders(results.at(experiment))
    ]
    newest = sorted(folders, key=lambda pair: pair[0], reverse=True)
    return [folder for _, folder in newest[:MOST_RUNS]]


def _folders(folder: Folder) -> list[str]:
    try:
        return folder.folders()
    except (OSError, FileNotFoundError):
        return []


def _calls(run: Folder) -> pd.DataFrame | None:
    raw = run.read_if_there("calls.parquet")
    if raw is None:
        return None
    frame: pd.DataFrame = decode(raw, _COLUMNS).to_pandas()
    # Replays and judges are calls beside the pipeline: counted as extra ones they would double the next forecast.
    frame = frame[~frame["kind"].isin(["replay", "judge"])].reset_index(drop=True)
    if frame.empty:
        return None
    frame = _with_whole_prompts(frame)
    names = zip(frame["provider"], frame["model_requested"], frame["params"], strict=True)
    frame["asked_model"] = frame["program"].map(programs.asked_model)
    frame["fingerprint"] = frame["cell_id"].map(_fingerprints(run))
    frame["model"] = [key_of(str(provider), str(name), _plain(params)) for provider, name, params in names]
    return settled_runs(run, frame)


_CASCADE_COLUMNS = ("cell_id", "case_id", "arm", "status", "pipeline_fingerprint", "escalated")


def _cascades(run: Folder, calls: pd.DataFrame) -> pd.DataFrame:
    """The decided cells of its cascades."""
    import pandas as pd

    raw = run.read_if_there("cells.parquet")
    cells = pd.DataFrame(columns=list(_CASCADE_COLUMNS)) if raw is None else decode(raw, _CASCADE_COLUMNS).to_pandas()
    return cascades.recorded(run.read_if_there("experiment.yaml"), cells, calls)


def _with_whole_prompts(frame: pd.DataFrame) -> pd.DataFrame:
    """Calls whose prompt the server cut say nothing about a plan; of those that reached their cap the output does."""
    truncated = frame["truncated"].fillna(False).astype(bool)
    at_cap = frame["finish_reason"].eq("length")
    return frame.assign(is_whole=~truncated)[~truncated | at_cap].reset_index(drop=True)


def _plain(params: str | None) -> dict[str, Any]:
    """Parameters as they were sent, under their names in an experiment."""
    try:
        sent = dict(json.loads(params or "{}"))
    except (ValueError, TypeError):
        return {}
    reasoning, text = sent.get("reasoning"), sent.get("text")
    if isinstance(reasoning, dict):
        sent.setdefault("reasoning_effort", reasoning.get("effort"))
    if isinstance(text, dict):
        sent.setdefault("verbosity", text.get("verbosity"))
    return sent


def _measured(group: pd.DataFrame) -> MeasuredCalls:
    busy = group[["load_s", "prefill_s", "decode_s"]].sum(axis=1, min_count=1).mean()
    at_once = group[~group["lane"].isin(_OTHER_LANES)] if "lane" in group else group
    duration_s = float(at_once["duration_s"].mean())
    return MeasuredCalls(
        calls=len(group),
        output_tokens=float(group["output_tokens"].mean()),
        duration_s=None if duration_s != duration_s else duration_s,
        busy_s=None if busy != busy else float(busy),
    )


def _lanes(answered: pd.DataFrame) -> dict[str, tuple[int, float, float]]:
    """How long deferred answers took, where enough of them were measured."""
    if "lane" not in answered:
        return {}
    deferred = answered[answered["lane"].isin([name for name, lane in LANES.items() if lane.is_deferred])]
    groups = deferred.dropna(subset=["duration_s"]).groupby("lane")["duration_s"]
    measured = {str(lane): seconds.clip(lower=1.0) for lane, seconds in groups if len(seconds) >= _LEAST_MEASURED}
    return {
        lane: (len(seconds), float(seconds.median()), float(seconds.map(math.log).std(ddof=1)))
        for lane, seconds in measured.items()
    }


def _inputs(primary: pd.DataFrame) -> dict[tuple[str, str, str], tuple[float, float, float]]:
    complete = primary.dropna(subset=["input_tokens", "fingerprint"])
    groups = complete.groupby(["fingerprint", "model", "role"])[["input_tokens", "cached_tokens", "cache_write_tokens"]]
    return {(str(prompts), str(model), str(role)): _read(group) for (prompts, model, role), group in groups}


def _read(group: pd.DataFrame) -> tuple[float, float, float]:
    cached, written = (float(group[name].fillna(0).mean()) for name in ("cached_tokens", "cache_write_tokens"))
    return float(group["input_tokens"].mean()), cached, written


def _fingerprints(run: Folder) -> dict[str, str]:
    """cell_id -> fingerprint of its prompts."""
    import io

    import pyarrow.parquet as pq

    raw = run.read_if_there("cells.parquet")
    if raw is None:
        return {}
    table = pq.read_table(io.BytesIO(raw), columns=["cell_id", "pipeline_fingerprint"])
    return dict(zip(table["cell_id"].to_pylist(), table["pipeline_fingerprint"].to_pylist(), strict=True))


def _extra(group: pd.DataFrame) -> tuple[int, int]:
    """Tool rounds count as planned; repairs and failed requests do not."""
    planned = int((group["kind"].isin(_PLANNED) & (group["outcome"] == "answered")).sum())
    return planned, len(group) - planned
