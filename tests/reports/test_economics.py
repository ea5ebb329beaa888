"""Money beyond the bill: waste, caches, hardware of one's own and break-even, against cases computed by hand."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.hardware import Hardware
from reports import tables
from reports.answer.findings import find
from reports.exports import export
from reports.load import Run, load
from reports.money import bill, breakdown, economics, hardware
from reports.money.hardware import PowerReading
from reports.page.render import render

T0 = dt.datetime(2026, 11, 20, 15, tzinfo=dt.UTC)
GPU = Hardware(
    "ollama", 2, usd_per_gpu_hour=0.6, watts=360.0, usd_per_kwh=0.25, purchase_usd=2400.0, lifetime_years=4.0, utilisation=0.5
)


def call(arm: str, cell: str, at: float, *, usd: float | None = None, seconds: float = 10.0, **more: Any) -> dict[str, Any]:
    plain = {
        "run_id": "r",
        "cell_id": cell,
        "call_id": f"{arm}{cell}{at}",
        "arm": arm,
        "role": "trader",
        "kind": "primary",
        "cell_attempt": 1,
        "outcome": "answered",
        "provider": "openai",
        "server": "openai",
        "started_at": T0 + dt.timedelta(seconds=at),
        "duration_s": seconds,
        "cost_usd": usd,
    }
    return plain | more


def local(arm: str, cell: str, at: float, seconds: float = 10.0, **more: Any) -> dict[str, Any]:
    spent: dict[str, Any] = {"provider": "ollama", "server": "gpu-box", "prefill_s": seconds * 0.2, "decode_s": seconds * 0.8}
    return call(arm, cell, at, seconds=seconds, **spent | more)


def run(folder: Path, calls: Sequence[dict[str, Any]], unusable: Sequence[str] = (), machine: Hardware = GPU) -> Run:
    """A run folder with just these calls; every cell is usable unless said."""
    cells = {(one["arm"], one["cell_id"]) for one in calls}
    rows = [
        {
            "run_id": "r",
            "cell_id": cell,
            "arm": arm,
            "case_id": f"AAPL@{cell}",
            "ticker": "AAPL",
            "date": dt.date(2026, 1, 5),
            "repeat": 0,
            "status": "ok",
            "rating": None if cell in unusable else "Buy",
            "attempts": 1,
            "cost_usd": _cost([one["cost_usd"] for one in calls if (one["arm"], one["cell_id"]) == (arm, cell)]),
        }
        for arm, cell in sorted(cells)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=tables.CELLS), folder / "cells.parquet")
    pq.write_table(pa.Table.from_pylist(list(calls), schema=tables.CALLS), folder / "calls.parquet")
    (folder / "experiment.yaml").write_text("name: money\narms: {}\n")
    hardware_said = {"gpu-box": dict(machine.__dict__)}
    (folder / "manifest.json").write_text(json.dumps({"run_id": "r", "state": "done", "hardware": hardware_said}))
    return load(folder)


def _cost(usd: Sequence[float | None]) -> float | None:
    """A cell's cost is NULL when one of its calls' is."""
    return None if None in usd else sum(one for one in usd if one is not None)


def test_cost_per_cell_counts_what_was_wasted(tmp_path: Path) -> None:
    spend = breakdown.by_arm(
        run(
            tmp_path,
            [
                call("big", "a", 0, usd=0.10),
                call("big", "a", 20, usd=0.02, kind="repair"),
                call("big", "a", 40, usd=0.03, outcome="killed", cost_basis="estimate"),
                call("big", "b", 0, usd=0.15),
            ],
            unusable=["b"],
        )
    )["big"]
    assert spend.cost.per(spend.cells) == pytest.approx(0.15)


def test_an_answer_of_an_earlier_attempt_that_was_used_again_is_not_thrown_away(tmp_path: Path) -> None:
    site: dict[str, Any] = {"round": 0, "index": 0}
    waste = breakdown.wasted(
        run(
            tmp_path,
            [
                call("big", "a", 0, usd=0.10, role="bull", **site),
                call("big", "a", 20, usd=0.02, role="bear", **site),
                call("big", "a", 40, usd=0.11, role="bull", cell_attempt=2, **site),
            ],
        )
    )
    assert [(one.reason, one.calls, one.cost.value) for one in waste] == [("answers of discarded attempts", 1, 0.10)]


def test_what_this_run_paid_and_what_it_reused_are_two_figures(tmp_path: Path) -> None:
    calls = [
        call("big", "a", 0, usd=0.10, run_id="earlier"),
        call("big", "b", 0, usd=0.02),
        call("small", "a", 0, usd=0.30, run_id="earlier"),
    ]
    money = run(tmp_path, calls)
    by_arm = {arm: (split.paid.value, split.reused.value) for arm, split in breakdown.cost_splits(money).items()}
    assert by_arm == {"big": (0.02, 0.10), "small": (None, 0.30)}
    assert json.loads(export(str(tmp_path), "json"))["bill"]["small"] == {"paid_usd": 0.0, "reused_usd": 0.30}
    assert "Paid by this run: $0.0200; reused from earlier runs: $0.400." in export(str(tmp_path), "md").replace("\\", "")


def test_billed_and_cold_stand_apart(tmp_path: Path) -> None:
    found = economics.by_arm(run(tmp_path, [call("big", "a", 0, usd=0.10, cold_usd=0.16), call("big", "b", 0, usd=0.10)]))[
        "big"
    ]
    assert (found.billed.value, found.cold.value) == pytest.approx((0.20, 0.26))
    assert found.saved_by_caching == pytest.approx(0.06)


def test_one_unknown_price_leaves_the_sum_open_and_never_makes_it_zero(tmp_path: Path) -> None:
    found = economics.by_arm(run(tmp_path, [call("big", "a", 0, usd=0.10), call("big", "b", 0)]))["big"]
    assert found.saved_by_caching is None
    assert (found.billed.value, found.billed.missing) == pytest.approx((0.10, 1))


def test_a_hybrid_cell_splits_into_bill_and_machine_time(tmp_path: Path) -> None:
    loaded = run(
        tmp_path, [call("hybrid", "a", 0, usd=0.08), local("hybrid", "a", 20, usd=0.002), local("hybrid", "a", 40, usd=0.002)]
    )
    cost, use = economics.by_arm(loaded)["hybrid"], economics.local_use(loaded)[0]
    assert cost.billed.value == pytest.approx(0.084)
    assert use.machine_s == pytest.approx(20)


def test_calls_that_overlap_take_the_machine_once(tmp_path: Path) -> None:
    use = economics.local_use(run(tmp_path, [local("small", "a", 0), local("small", "b", 5), local("small", "c", 85)]))[0]
    assert use.machine_s == pytest.approx(25)
    assert use.utilisation == pytest.approx(25 / 95)
    assert use.machine_s_per_decision == pytest.approx(25 / 3)


def test_the_three_lines_are_what_one_computes_by_hand() -> None:
    hour = hardware.cost_lines(3600, GPU)
    assert hour.rented_usd == pytest.approx(0.60)
    assert hour.marginal_usd == pytest.approx(0.36 * 0.25)
    assert hour.full_usd == pytest.approx(0.09 + 2400 / (4 * 8766 * 0.5))


def test_without_the_server_s_seconds_a_line_says_what_is_missing(tmp_path: Path) -> None:
    bare = Hardware("ollama")
    use = economics.local_use(
        run(tmp_path, [local("small", "a", 0, duration_s=None, prefill_s=None, decode_s=None)], machine=bare)
    )[0]
    assert (use.total.marginal_usd, use.total.full_usd, use.total.rented_usd) == (None, None, None)
    assert "seconds that the server computed" in use.total.missing
    assert "usd_per_gpu_hour" in use.total.missing


def steady(first: float, last: float, watts: float, step: float = 1.0) -> list[PowerReading]:
    count = int((last - first) / step) + 1
    return [PowerReading(first + index * step, watts) for index in range(count)]


def test_energy_is_power_above_idle_times_time() -> None:
    readings = [*steady(0, 9, 60), *steady(10, 20, 360), *steady(21, 30, 60)]
    idle = hardware.idle_watts(readings, [(10.0, 20.0)])
    assert idle == 60
    assert hardware.energy_used(readings, 10, 20, idle) == pytest.approx(300 * 10)


def test_a_meter_that_stops_makes_energy_unknown_and_never_less() -> None:
    readings = [*steady(0, 12, 300), *steady(40, 60, 300)]
    assert hardware.energy_used(readings, 10, 50, 50.0) is None
    short = hardware.energy_used([*steady(0, 40, 300), *steady(42, 60, 300)], 10, 50, 50.0)
    assert short == pytest.approx(250 * 40, rel=0.01)


def test_a_meter_without_a_quiet_moment_knows_no_idle_power() -> None:
    readings = steady(0, 20, 300)
    assert hardware.idle_watts(readings, [(0.0, 20.0)]) is None
    assert hardware.energy_used(readings, 0, 20, None) is None


def test_lines_of_a_meter_that_are_no_readings_are_passed_over() -> None:
    lines = [
        '{"at": 2, "watts": 5}',
        '{"at": 1, "watts": 4}',
        '{"at": 3, "wa',
        '{"at": 4, "watts": -1}',
        '{"at": 5, "watts": NaN}',
    ]
    assert hardware.parse_readings(lines) == [PowerReading(1, 4), PowerReading(2, 5)]


def test_recorded_readings_beside_a_run_replace_declared_watts(tmp_path: Path) -> None:
    start = T0.timestamp()
    readings = [*steady(start - 30, start - 1, 50), *steady(start, start + 10, 250), *steady(start + 11, start + 40, 50)]
    (tmp_path / "power").mkdir()
    text = "".join(json.dumps({"at": one.at, "watts": one.watts}) + "\n" for one in readings)
    (tmp_path / "power" / "gpu-box.jsonl").write_text(text)
    use = economics.local_use(run(tmp_path, [local("small", "a", 0)]))[0]
    assert use.total.marginal_usd == pytest.approx(200 * 10 / 3.6e6 * 0.25, rel=0.01)


def test_electricity_by_the_power_of_a_hardware_card_names_the_card_on_the_page(tmp_path: Path) -> None:
    loaded = run(tmp_path, [local("small", "a", 0)], machine=replace(GPU, watts_card="rtx-4090-llama3-1-8b"))
    assert economics.local_use(loaded)[0].total.watts_card == "rtx-4090-llama3-1-8b"
    page = " ".join(Path(render(tmp_path)).read_text(encoding="utf-8").split())
    assert "electricity by the power that hardware card rtx-4090-llama3-1-8b measured; no meter ran" in page


def bill_of(seconds: float, hosted: float = 0.0) -> bill.ArmBill:
    return bill.ArmBill("small", 0.01, {"big": hosted} if hosted else {}, {"box": 0.01}, {"box": seconds})


def test_break_even_is_the_purchase_over_what_each_decision_saves_rounded_up() -> None:
    # $2400 over 48 months is $50 a month; 100 s at 360 W and $0.25/kWh are $0.0025; hosted costs $0.1025
    assert bill.break_even(bill_of(100.0), 0.1025, {"box": GPU}) == bill.BreakEven(500)
    # A hybrid saves less: its hosted part is paid as before. 50 / (0.1025 - 0.0025 - 0.03) is 714.3.
    assert bill.break_even(bill_of(100.0, hosted=0.03), 0.1025, {"box": GPU}) == bill.BreakEven(715)


def test_local_never_wins_when_electricity_alone_costs_more_or_the_machine_is_too_slow() -> None:
    dear = bill.break_even(bill_of(100.0), 0.002, {"box": GPU})
    assert dear is not None
    assert dear.decisions is None
    assert "costs as much" in dear.why_never
    slow = bill.break_even(bill_of(20_000.0), 0.5, {"box": replace(GPU, watts=1.0)})
    assert slow is not None
    assert slow.decisions is None
    assert "a second one costs the same again" in slow.why_never


def test_without_the_price_of_a_machine_there_is_no_break_even() -> None:
    assert bill.break_even(bill_of(100.0), 0.10, {"box": Hardware("ollama", usd_per_gpu_hour=0.6)}) is None
    assert bill.break_even(bill.ArmBill("big", 0.1, {"big": 0.1}), 0.10, {}) is None


def test_the_parts_of_a_bill_add_up_to_the_cost_of_the_table(tmp_path: Path) -> None:
    mixed = [
        call("mixed", "a", 0, usd=0.05, model_requested="m"),
        local("mixed", "a", 300, usd=0.02),
        local("mixed", "b", 600, usd=0.03),
    ]
    loaded = run(tmp_path, [call("big", "a", 0, usd=0.1, model_requested="m"), *mixed], unusable=["b"])
    found = find(loaded)
    usd = {arm: one.value for arm, one in found.row("cost").values.items()}
    by_arm = {one.arm: one for one in bill.bills(loaded, usd, {arm: one.usable for arm, one in found.counts.items()})}
    assert by_arm["big"].hosted == {"m": pytest.approx(0.1)}
    assert by_arm["mixed"].usd == pytest.approx(0.10)
    assert by_arm["mixed"].hosted == {"m": pytest.approx(0.05)}
    assert by_arm["mixed"].local == {"gpu-box": pytest.approx(0.05)}
    assert by_arm["mixed"].machine_s == {"gpu-box": pytest.approx(20.0)}


def test_reasoning_is_priced_by_the_price_of_an_output_token_that_the_costs_reveal() -> None:
    tokens = pd.DataFrame(
        {
            "input_tokens": [1000, 2000, 1500, 900, 1200],
            "cached_tokens": [0, 500, 100, 0, 300],
            "output_tokens": [100, 300, 50, 80, 500],
        }
    )
    fresh = tokens["input_tokens"] - tokens["cached_tokens"]
    costs = fresh * 2e-6 + tokens["cached_tokens"] * 2e-7 + tokens["output_tokens"] * 8e-6
    calls = tokens.assign(cache_write_tokens=None, cost_usd=costs)
    assert bill._output_price(calls) == pytest.approx(8e-6)
    assert bill._output_price(calls.assign(cost_usd=costs * [1, 1.3, 0.8, 1.1, 1])) is None
