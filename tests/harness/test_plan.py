"""The plan: what it counts, how sure it is, what it learns; without a key and without a call."""

from __future__ import annotations

import datetime as dt
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agents import Model
from harness.cells import Cell
from harness.checking.resolved import resolve
from harness.experiment import matrix, spec
from harness.money.pricing import PriceTable
from harness.planning import experience, forecast, plan_text, rendering, settling, workload
from harness.planning import plan as planning
from harness.planning.experience import Experience, MeasuredCalls, key_of
from harness.planning.forecast import CostPart, Forecaster
from harness.runs import rehearsal
from harness.storage import rows
from harness.storage.folder import open_folder
from harness.storage.store import Store, files_of
from tests.fixtures.runs import CALLS_PER_CELL

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
TEXT = """
name: planned
tickers: [AAPL, MSFT]
dates: [2011-03-15, 2011-06-15, 2011-09-15]
repeats: 1
data: demo
models:
  big: {provider: openai, model: gpt-5}
  mini: {provider: openai, model: gpt-5-mini}
  tiny: {provider: llamacpp, model: smollm2-135m}
arms: {big: {all: big}, mini: {all: mini}, hybrid: {deep: big, quick: tiny}, macd: {rule: macd}}
compare: {baseline: big, metrics: {usable: {margin: 2pp}, cost: {}, excess_return_5: {margin: 20bp}}}
budget: {run_usd: 1, cell_usd: 2}
"""


class Case:
    """One experiment file with what a plan needs of it."""

    def __init__(self, folder: Path, text: str = TEXT) -> None:
        self.folder = folder
        (folder / "x.yaml").write_text(text)
        self.experiment = spec.load(folder / "x.yaml")
        self.cells = matrix.expand(self.experiment, NOW)
        self.resolved = resolve(self.experiment, folder)
        self.servers = self.resolved.servers

    def plan(self, cells: list[Cell] | None = None) -> planning.Plan:
        where = planning.Where(str(self.folder / "results"), self.folder / "snapshots")
        return planning.make(self.resolved, self.cells if cells is None else cells, where)

    def workload(self, arm: str, learnt: Experience | None = None) -> workload.Workload:
        cells = [cell for cell in self.cells if cell.arm == arm]
        frozen = rendering.snapshots(cells, self.folder / "snapshots", None)
        return workload.of_arm(cells[0], rendering.Renderer(frozen), learnt or Experience())


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    return Case(tmp_path)


def priced(case: Case) -> Case:
    return Case(case.folder, TEXT + "local_cost: {usd_per_cpu_hour: 0.05}\n")


def said(made: planning.Plan) -> str:
    return "\n".join(f"{heading} {text}" for heading, text in plan_text.lines(made))


def test_a_plan_counts_cells_and_calls_exactly(case: Case) -> None:
    made = case.plan().to_plain()
    assert (made["cells"], made["to_run"], made["calls"]) == (24, 24, 3 * 6 * CALLS_PER_CELL)
    assert made["arms"]["macd"]["calls"] == 0
    assert made["input_tokens"] > 24 * 1000


def test_every_interval_is_ordered_and_arms_sum_to_the_whole(case: Case) -> None:
    made = priced(case).plan()
    for arm in made.arms.values():
        for one in (arm.cost, arm.api_cost, arm.time):
            assert one.low is not None
            assert one.mid is not None
            assert one.high is not None
            assert one.low <= one.mid <= one.high
    parts = sum(arm.cost.mid or 0 for arm in made.arms.values())
    assert made.total_cost.mid == pytest.approx(parts, rel=0.1)


def test_unpriced_hardware_makes_a_cost_unknown_and_never_zero(case: Case) -> None:
    made = case.plan()
    assert made.arms["hybrid"].cost == forecast.UNKNOWN
    assert made.arms["hybrid"].api_cost.mid
    assert made.total_cost == forecast.UNKNOWN
    assert "the total is unknown, not $0" in said(made)


def test_the_middle_of_a_measured_forecast_is_what_one_computes_by_hand(case: Case) -> None:
    # Calls of 1,000 input and 500 output tokens with gpt-5: (1000 x 1.25 + 500 x 10) / 1e6 dollars each
    big = case.experiment.models["big"]
    key = key_of("openai", "gpt-5", big.parameters())
    fingerprint = case.cells[0].fingerprint
    roles = [call.role for call in case.workload("big").calls]
    learnt = Experience(
        roles={(key, role): MeasuredCalls(20, 500.0, 2.0, None) for role in roles},
        inputs={(fingerprint, key, role): (1_000.0, 0.0, 0.0) for role in roles},
        extra_calls={(key, role): (60, 0) for role in roles},
        cells={key: 40},
    )
    made = Forecaster(case.servers, PriceTable(), learnt, NOW).arm(CostPart("big", 6, case.workload("big", learnt)))
    assert made.is_measured
    assert made.api_cost.mid == pytest.approx(6 * CALLS_PER_CELL * (1_000 * 1.25 + 500 * 10) / 1e6, rel=0.02)
    assert (made.input_tokens, made.output_tokens) == (6_000 * CALLS_PER_CELL, 3_000 * CALLS_PER_CELL)
    assert made.time.mid == pytest.approx(max(6 * CALLS_PER_CELL * 2.0 / 32, CALLS_PER_CELL * 2.0 * 0.75), rel=0.1)


def test_more_cells_and_more_experience_narrow_the_interval(case: Case) -> None:
    load = case.workload("big")
    wide = Forecaster(case.servers, PriceTable(), Experience(), NOW).arm(CostPart("big", 6, load)).api_cost
    key = key_of("openai", "gpt-5", case.experiment.models["big"].parameters())
    learnt = Experience(roles={(key, call.role): MeasuredCalls(50, 400.0, 2.0, None) for call in load.calls}, cells={key: 50})
    narrow = Forecaster(case.servers, PriceTable(), learnt, NOW).arm(CostPart("big", 6, case.workload("big", learnt))).api_cost
    assert wide.high / wide.low > narrow.high / narrow.low  # type: ignore[operator]


def test_what_is_asked_again_is_learnt_per_role(case: Case) -> None:
    model = matrix.model(case.experiment, "big")
    key = key_of("openai", "gpt-5", model.params)
    roles = [call.role for call in case.workload("big").calls]
    often = {(key, role): (40, 20 if role == "trader" else 0) for role in roles}
    mid = [
        Forecaster(case.servers, PriceTable(), Experience(extra_calls=extra), NOW).arm(CostPart("big", 6, case.workload("big")))
        for extra in (often, {(key, role): (40, 0) for role in roles})
    ]
    # One role asks half of its calls again.
    assert mid[0].api_cost.mid / mid[1].api_cost.mid == pytest.approx(1 + 0.5 / CALLS_PER_CELL, abs=0.02)  # type: ignore[operator]


def test_reasoning_effort_and_caps_shape_the_prior(case: Case) -> None:
    model = matrix.model(case.experiment, "big")
    assert workload.output_tokens(model, 300, None) == 300 + workload.REASONING_TOKENS["medium"]
    assert workload.output_tokens(model, 300, 500) == 500
    assert workload.output_tokens(matrix.model(case.experiment, "tiny"), 300, None) == 300


@pytest.mark.parametrize(
    ("name", "reasons"),
    [("gpt-5-mini", True), ("openai/gpt-5", True), ("gpt-oss:20b", True), ("o3", True), ("gpt-4.1", False), ("o3x", False)],
)
def test_a_family_that_reasons_unasked_is_planned_so_behind_any_server(name: str, reasons: bool) -> None:
    assert (workload.reasoning_tokens(Model("alias", "openai_compatible", name, {}, "gateway")) > 0) is reasons
    assert workload.reasoning_tokens(Model("alias", "ollama", name, {"think": False}, "box")) == 0


def test_the_cap_that_binds_is_named_with_its_chance(case: Case) -> None:
    caps = {cap.name: cap for cap in case.plan().caps}
    assert 0 < caps["run_usd"].chance <= 1
    assert caps["cell_usd"].chance == 0
    roomy = Case(case.folder, TEXT.replace("run_usd: 1", "run_usd: 500")).plan().caps
    assert roomy[0].chance == 0


def test_a_plan_says_what_it_settles_about_good_enough_and_each_declared_metric(case: Case) -> None:
    made = case.plan().to_plain()["answers"]
    assert set(made["metrics"]) == {"same_rating", "usable", "grounding", "cost", "excess_return_5"}
    assert made["good_enough"] == 0.0
    assert made["metrics"]["same_rating"]["nothing"].startswith("add repeats")
    assert made["metrics"]["usable"]["power"] < 0.8
    assert made["metrics"]["cost"]["difference"] > 0
    assert "same_rating: nothing: add repeats" in said(case.plan())
    single = case.plan([cell for cell in case.cells if cell.date == dt.date(2011, 3, 15)]).answers
    assert single is not None
    assert "one date settles nothing" in single.metrics["cost"].nothing


def test_outcome_windows_that_overlap_do_not_count(tmp_path: Path) -> None:
    sparse = TEXT.replace("[2011-03-15, 2011-06-15, 2011-09-15]", "{from: 2011-03-01, to: 2011-03-31, every_sessions: 5}")
    dense = TEXT.replace("[2011-03-15, 2011-06-15, 2011-09-15]", "{from: 2011-03-01, to: 2011-03-31}")
    margins = []
    for text in (sparse, dense):
        answers = Case(tmp_path, text).plan().answers
        assert answers is not None
        margins.append(answers.metrics["excess_return_5"].smallest_margin)
    assert margins[0] == margins[1], "five times the dates have as many windows that do not overlap"


def receipt(case: Case, cell: Cell, run_id: str, *, status: str = "ok", usd: float = 0.25) -> None:
    store = Store(open_folder(case.folder / "results").at(f"planned/{run_id}"))
    ending = rows.Ending(status, 1, 0.0, 1.0, 1.0, "test")
    row = rows.cell_row(cell, ending, [], run_id=run_id, hosted=set())
    store.put(files_of(cell.cell_id, 1, [], [], row | {"cost_usd": usd, "api_cost_usd": usd}))


def test_cells_of_earlier_runs_are_reused_and_what_they_save_is_said(case: Case) -> None:
    mine = [cell for cell in case.cells if cell.arm == "big"]
    for cell in mine[:4]:
        receipt(case, cell, "run-1")
    receipt(case, mine[4], "run-1", status="failed")
    made = case.plan()
    assert (made.reused.cells, made.to_run) == (4, 20)
    assert made.reused.saved_usd == pytest.approx(1.0)
    assert made.arms["big"].cells == 2
    assert "4 of 24 cells are there from earlier runs, $1.00 saved" in said(made)


def test_reuse_with_an_unknown_price_saves_an_unknown_sum(case: Case) -> None:
    receipt(case, case.cells[0], "run-1", usd=None)  # type: ignore[arg-type]
    found = experience.reused_results(open_folder(case.folder / "results"), "planned", {cell.cell_key for cell in case.cells})
    assert (found.cells, found.saved_usd) == (1, None)


def test_forecasts_meet_their_bills(case: Case) -> None:
    run = open_folder(case.folder / "results").at("planned/run-1")
    mine = [cell for cell in case.cells if cell.arm == "big"]
    settling.write(run, case.plan(mine), "run-1")
    for cell in mine:
        receipt(case, cell, "run-1", usd=0.01)
    Store(run).compact()
    settling.settle(run, "run-1")
    arm = settling.read(run)["sessions"][0]["arms"]["big"]
    assert arm["bill"]["api_cost_usd"] == pytest.approx(0.06)
    assert arm["inside"] is False


def test_a_rehearsal_keeps_arms_and_flow_and_pays_nothing(case: Case) -> None:
    path = rehearsal.write(case.experiment, case.folder, case.folder)
    played = spec.load(path)
    assert {model.provider for model in played.models.values()} == {"llamacpp"}
    cells = matrix.expand(played, NOW)
    assert {cell.arm for cell in cells} == {"big", "mini", "hybrid", "macd"}
    assert len(cells) == 4
    assert played.budget.run_usd is None


def test_without_a_snapshot_the_plan_says_so_and_counts_less_surely(tmp_path: Path) -> None:
    found = Case(tmp_path, TEXT)
    cell = next(cell for cell in found.cells if cell.arm == "big")
    assumed = workload.of_arm(cell, rendering.Renderer([]), Experience())
    assert "no frozen snapshot" in assumed.basis
    assert len(assumed.calls) == CALLS_PER_CELL
    assert assumed.calls[0].counted.spread > found.workload("big").calls[0].counted.spread


@pytest.mark.parametrize(
    ("pipeline", "calls"), [("{depth: medium}", 22), ("{depth: single_call}", 1), ("{analysts: [market]}", 9)]
)
def test_depth_and_analysts_change_the_calls(tmp_path: Path, pipeline: str, calls: int) -> None:
    alone = TEXT.replace("hybrid: {deep: big, quick: tiny}, ", "")
    found = Case(tmp_path, alone + f"pipeline: {pipeline}\n")
    assert len(found.workload("big").calls) == calls


def test_the_plan_says_per_model_how_its_input_was_counted(tmp_path: Path) -> None:
    text = TEXT.replace("gpt-5-mini}", "gpt-9-mini}")
    made = Case(tmp_path, text).plan()
    told = made.to_plain()["models"]
    assert told["big"] == {"input_tokens_from": "tokenizer", "tokenizer": "o200k_base", "ratio": 1.0}
    for estimated in ("tiny", "mini"):
        assert told[estimated] == {"input_tokens_from": "declared ratio", "tokenizer": None, "ratio": 1.0}
    assert "big (o200k_base): counted with the model's own tokenizer" in said(made)
    assert "mini, tiny: no tokenizer at hand" in said(made)


def test_a_tokenizer_is_calibrated_by_its_own_model_only_and_an_estimate_by_the_others_too(case: Case) -> None:
    big, mini = (matrix.model(case.experiment, name) for name in ("big", "mini"))
    learnt = Experience(input_ratio={key_of("openai", "gpt-5", big.params): 1.02, "": 1.3})
    assert (learnt.ratio(big), learnt.ratio(mini)) == (1.02, None)
    assert learnt.ratio(replace(mini, name="gpt-9-mini")) == 1.3
    counted = case.workload("big", learnt).calls[0]
    assert counted.input_tokens == pytest.approx(1.02 * case.workload("big").calls[0].input_tokens)


def test_prompts_that_need_the_network_are_said_to_be_uncounted(tmp_path: Path) -> None:
    made = Case(tmp_path, TEXT.replace("data: demo", "data: {prices: yfinance, filings: edgar}")).plan()
    assert made.to_plain()["not_rendered_because_of"] == ["edgar", "yfinance"]
    assert {one["input_tokens_from"] for one in made.to_plain()["models"].values()} == {"assumed"}
    assert "NOT counted yet: edgar and yfinance are network sources" in said(made)


def test_every_cap_says_whether_it_binds_and_for_what(case: Case) -> None:
    budget = "budget: {run_usd: 0.01, cell_usd: 0.01, call_usd: 0.001, model_usd: {mini: 500}}"
    tight = Case(case.folder, TEXT.replace("budget: {run_usd: 1, cell_usd: 2}", budget)).plan()
    chances = {cap.name: cap.chance for cap in tight.caps}
    assert chances == {"run_usd": 1.0, "model_usd.mini": 0.0, "cell_usd": 1.0, "call_usd": 1.0}
    assert "run_usd $0.0100 binds: 100% chance that it stops the run" in said(tight)
    assert "model_usd.mini $500.0 is not likely to bind" in said(tight)


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_plan_fits_the_terminal_and_nothing_is_cut(case: Case, width: int) -> None:
    out = io.StringIO()
    plan_text.show(priced(case).plan(), Console(file=out, width=width))
    shown = out.getvalue()
    assert "…" not in shown
    assert all(len(line.rstrip()) <= width for line in shown.splitlines())
    assert all(word in shown for word in ("hybrid", "80 %", "good enough", "settles"))


def test_the_numbered_lineups_of_a_swap_design_say_which_roles_they_exchange(case: Case) -> None:
    arms = next(line for line in TEXT.splitlines() if line.startswith("arms:"))
    swapped = Case(case.folder, TEXT.replace(arms, "arms: {swap: {from: big, to: tiny, design: fractional}}")).plan()
    lines = [text for heading, text in plan_text.lines(swapped) if heading == "exchanged"]
    assert len(lines) == 15
    assert all(text.partition(": ")[2] == ", ".join(swapped.exchanged[text.partition(": ")[0]]) for text in lines)


def test_the_plan_is_one_json_object(case: Case) -> None:
    made: dict[str, Any] = json.loads(json.dumps(case.plan().to_plain()))
    assert {"cells", "calls", "input_tokens", "arms", "answers"} <= set(made)
    assert set(made["arms"]["big"]["cost_usd"]) == {"low", "mid", "high"}
    assert set(made["arms"]["big"]["time_s"]) == {"low", "mid", "high"}


def test_a_declared_replay_its_noise_floor_and_its_judges_are_in_the_plan(case: Case) -> None:
    declared = "replay: {from: big, to: [mini], limit: 2, noise_floor: 1}\njudge: {models: [mini]}\n"
    without, made = case.plan(), Case(case.folder, TEXT + declared).plan()
    assert {arm: (one.cells, one.calls) for arm, one in made.again.items()} == {
        "big > mini": (2, 2 * CALLS_PER_CELL),
        "big > big": (1, CALLS_PER_CELL),
        "mini judges big > mini": (2, 4 * CALLS_PER_CELL),
    }
    judge, replay = made.again["mini judges big > mini"], made.again["big > mini"]
    assert judge.input_tokens > 2 * replay.input_tokens, "each prompt in both orders, with both answers"
    assert (made.cells, list(made.arms)) == (without.cells, list(without.arms))
    assert made.total_api_cost.mid
    assert without.total_api_cost.mid
    assert made.total_api_cost.mid > without.total_api_cost.mid
    some = Case(case.folder, TEXT + declared.replace("limit: 2", "limit: 2, roles: [bull, trader]")).plan()
    assert [one.calls for one in some.again.values()] == [4, 2, 8]
    assert ("then", "replays and judges as declared: 5 cells, at most 84 calls, in every sum below") in list(
        plan_text.lines(made)
    )


def test_a_model_that_no_table_knows_is_named_and_only_widens_intervals(tmp_path: Path) -> None:
    (tmp_path / "servers.yaml").write_text("gateway: {provider: openai_compatible, url: 'https://gateway.example/v1'}\n")
    (tmp_path / "prices.yaml").write_text("version: test\nprices:\n  - {model: '*', input: 1, output: 4}\n")
    text = """
name: planned
tickers: [AAPL]
dates: [2011-03-15]
repeats: 1
data: demo
prices: prices.yaml
models:
  known: {provider: openai_compatible, server: gateway, model: llama-3.1-8b}
  unknown: {provider: openai_compatible, server: gateway, model: mystery-8b}
"""
    plan = Case(tmp_path, text).plan()
    known, unknown = (plan.arms[name].cost for name in ("known", "unknown"))

    assert plan.unknown_models == ("mystery-8b",)
    assert "unknown mystery-8b" in said(plan)
    assert _spread(unknown) > 1.2 * _spread(known)
    assert unknown.mid == pytest.approx(known.mid, rel=0.1)


def _spread(interval: forecast.Interval) -> float:
    assert interval.low
    assert interval.high
    return interval.high / interval.low
