"""Recorded calls under other prices, and against a provider's export."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InvalidInput
from harness.money import invoice, meter, price_file, repricing
from harness.money.meter import Power
from harness.money.pricing import PriceTable
from harness.storage.folder import open_folder
from harness.storage.store import Store
from reports.money import bill

DAY = dt.datetime(2026, 8, 21, 15, tzinfo=dt.UTC)


def call(number: int, model: str = "gpt-5", **more: Any) -> dict[str, Any]:
    plain = {
        "run_id": "run-1",
        "cell_id": "c",
        "call_id": str(number),
        "arm": "big",
        "role": "trader",
        "kind": "primary",
        "outcome": "answered",
        "provider": "openai",
        "server": "openai",
        "model_requested": model,
        "model_returned": model,
        "input_tokens": 100_000,
        "cached_tokens": 0,
        "output_tokens": 10_000,
        "cost_usd": 0.225,
        "started_at": DAY,
    }
    return plain | more


def results(folder: Path, *calls: dict[str, Any]) -> str:
    from harness.storage.store import _bytes

    store = Store(open_folder(folder / "results").at("money/run-1"))
    store.write_manifest({"run_id": "run-1"})
    store.folder.write("experiment.yaml", b"{name: money, compare: {baseline: big}}")
    store.folder.write("calls.parquet", _bytes(calls, "calls"))
    return str(folder / "results")


def test_other_prices_stand_beside_the_old_bill(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("[{model: gpt-5, input: 1, output: 2}]")
    table = PriceTable(price_file.load(tmp_path / "p.yaml"))
    line = repricing.reprice(results(tmp_path, call(1), call(2)), "money", table).lines[0]
    assert line.old_usd == pytest.approx(0.45)
    assert line.new_usd == pytest.approx(2 * (0.1 + 0.02))


def test_another_date_follows_a_price_change(tmp_path: Path) -> None:
    # gpt-5.6-sol: $5 / $30 before 2026-08-21, $4 / $20 from then on
    where = results(tmp_path, call(1, "gpt-5.6-sol", cost_usd=0.6))
    july = PriceTable(as_of=dt.datetime(2026, 7, 1, tzinfo=dt.UTC))
    assert repricing.reprice(where, "money", july).lines[0].new_usd == pytest.approx(0.1 * 5 + 0.01 * 30)
    assert repricing.reprice(where, "money", PriceTable()).lines[0].new_usd == pytest.approx(0.1 * 4 + 0.01 * 20)


def test_calls_without_usage_stay_unknown_and_failed_ones_keep_their_bill(tmp_path: Path) -> None:
    silent, killed = call(1, output_tokens=None), call(2, outcome="killed", output_tokens=None, cost_usd=0.05)
    line = repricing.reprice(results(tmp_path, silent, killed), "money", PriceTable()).lines[0]
    assert (line.new_usd, line.unknown) == (None, 1)


def test_a_deployment_is_repriced_as_the_model_that_its_run_named(tmp_path: Path) -> None:
    where = results(tmp_path, call(1, "my-deployment", model_returned="gpt-5-2025-08-07", server="azure"))
    (folder,) = (tmp_path / "results" / "money").iterdir()
    (folder / "manifest.json").write_text(json.dumps({"prices": {"priced_as": {"azure/my-deployment": "gpt-5-mini"}}}))
    assert repricing.reprice(where, "money", PriceTable()).lines[0].new_usd == pytest.approx(0.045)


def test_an_answer_that_named_its_cost_keeps_it(tmp_path: Path) -> None:
    where = results(tmp_path, call(1, "qwen/qwen3", server="openrouter", cost_usd=0.03, cost_basis="provider"))
    assert repricing.reprice(where, "money", PriceTable()).lines[0].new_usd == pytest.approx(0.03)


def test_local_calls_have_no_list_price(tmp_path: Path) -> None:
    where = results(tmp_path, call(1), call(2, "llama3.1:8b", provider="ollama", server="gpu", arm="small"))
    assert [line.arm for line in repricing.reprice(where, "money", PriceTable()).lines] == ["big"]


def test_what_if_prices_recorded_tokens_and_warns(tmp_path: Path) -> None:
    where = results(tmp_path, call(1), call(2, "llama3.1:8b", provider="ollama", server="gpu", arm="small"))
    found = repricing.what_if(where, "money", "gpt-5-mini")
    assert [line.new_usd for line in found.lines] == [pytest.approx(0.045)] * 2
    assert "differs between model families" in found.warning
    with pytest.raises(InvalidInput, match="no price known"):
        repricing.what_if(where, "money", "gpt-99")


EXPORT = "date,model,num_model_requests,input_tokens,output_tokens,amount\n"


def compare(folder: Path, export: str, *calls: dict[str, Any]) -> invoice.Reconciled:
    (folder / "usage.csv").write_text(export)
    return invoice.reconcile(results(folder, *(calls or (call(1), call(2)))), "money", folder / "usage.csv")


def test_a_ledger_that_agrees_with_the_export_is_said_to(tmp_path: Path) -> None:
    found = compare(tmp_path, EXPORT + "2026-08-21,gpt-5,2,200000,20000,0.45\n")
    assert found.agrees
    assert (found.ours_usd, found.theirs_usd) == pytest.approx((0.45, 0.45))


def test_lines_of_one_day_and_model_are_summed(tmp_path: Path) -> None:
    halves = "2026-08-21T01:00:00Z,gpt-5,1,100000,10000,$0.225\n"
    assert compare(tmp_path, EXPORT + halves + halves).agrees


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("2026-08-21,gpt-5,3,300000,30000,0.675", "provider has more"),
        ("2026-08-21,gpt-5,1,100000,10000,0.225", "we have more"),
        ("2026-08-22,gpt-5,2,200000,20000,0.45", "only here"),
    ],
)
def test_a_difference_is_named_with_its_side(tmp_path: Path, line: str, verdict: str) -> None:
    found = compare(tmp_path, EXPORT + line + "\n")
    assert not found.agrees
    assert found.rows[0].verdict == verdict


USAGE = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,service_tier,"
    "input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens,input_text_tokens\n"
    "1787184000,1787270400,2026-08-20T00:00:00+00:00,2026-08-21T00:00:00+00:00,,,,,,,,,,,,\n"
    "1787270400,1787356800,2026-08-21T00:00:00+00:00,2026-08-22T00:00:00+00:00,proj_a,1,,key_1,gpt-5-2025-08-07,False,default,"
    "100000,10000,0,100000,100000\n"
    "1787270400,1787356800,2026-08-21T00:00:00+00:00,2026-08-22T00:00:00+00:00,proj_b,1,,key_2,gpt-5-2025-08-07,False,flex,"
    "100000,10000,0,100000,100000\n"
)
"""As the usage page of OpenAI exports it: a line for each key and tier, a day without use as a line without figures."""
COSTS = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,project_id\n"
    '1787270400,1787356800,2026-08-21T00:00:00+00:00,,0.2500000000,usd,200000,tokens,"gpt-5-2025-08-07, input",proj_a\n'
    '1787270400,1787356800,2026-08-21T00:00:00+00:00,,0.2000000000,usd,20000,tokens,"gpt-5-2025-08-07, output",proj_a\n'
)
"""The same of its cost page: a line for each kind of token."""


@pytest.mark.parametrize("export", [USAGE, COSTS, USAGE.replace(",", "\t"), "\ufeff" + USAGE])
def test_openai_s_own_exports_are_read_as_they_come(tmp_path: Path, export: str) -> None:
    found = compare(tmp_path, export)
    assert [(row.day, row.model, row.verdict) for row in found.rows] == [("2026-08-21", "gpt-5-2025-08-07", "agrees")]


def test_daily_sums_over_all_models_are_held_against_ours(tmp_path: Path) -> None:
    daily = COSTS.replace('"gpt-5-2025-08-07, input"', "").replace('"gpt-5-2025-08-07, output"', "")
    found = compare(tmp_path, daily, call(1), call(2, "gpt-5-mini"))
    assert [(row.model, row.verdict) for row in found.rows] == [("", "agrees")]


def test_what_differs_is_named_with_its_size(tmp_path: Path) -> None:
    found = compare(tmp_path, EXPORT + "2026-08-21,gpt-5,2,200000,25000,0.45\n")
    assert found.rows[0].verdict == "provider has more"
    assert found.rows[0].differs == pytest.approx({"output_tokens": -0.2})


def test_a_wrong_price_is_one_problem_and_not_an_empty_list_too(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("[{model: gpt-5, input: -1, output: 2}]")
    with pytest.raises(InvalidInput) as caught:
        price_file.load(tmp_path / "p.yaml")
    assert len(caught.value.problems) == 1
    assert "prices[0].input" in caught.value.problems[0].where


def test_other_days_of_a_month_s_export_are_left_out_and_counted(tmp_path: Path) -> None:
    month = EXPORT + "2026-08-01,gpt-5,9,9,9,9\n2026-08-21,gpt-5,2,200000,20000,0.45\n2026-08-30,gpt-5-mini,9,9,9,9\n"
    found = compare(tmp_path, month)
    assert (found.agrees, found.other_days) == (True, 2)
    assert found.theirs_usd == pytest.approx(0.45)


def test_killed_requests_are_said_where_the_provider_may_have_billed_them(tmp_path: Path) -> None:
    line = "2026-08-21,gpt-5,2,200000,20000,0.45\n"
    found = compare(tmp_path, EXPORT + line, call(1), call(2, outcome="killed", output_tokens=None, cost_usd=0.2))
    assert [(row.verdict, row.killed) for row in found.rows] == [("provider has more", 1)]


def test_costs_of_other_days_become_usage_a_month_of_the_baselines_models(tmp_path: Path) -> None:
    days = [DAY + dt.timedelta(days=number) for number in range(-10, 1)]
    lines = "".join(f"{day:%Y-%m-%d},gpt-5-2025-08-07,2,200000,20000,0.45\n{day:%Y-%m-%d},other,1,1,1,9\n" for day in days)
    found = compare(tmp_path, EXPORT + lines)
    assert found.monthly_usage is not None
    assert (found.monthly_usage.baseline, found.monthly_usage.days) == ("big", 10)
    written = open_folder(tmp_path / "results").at("money/run-1").read(bill.USAGE)
    assert json.loads(written)["usd_a_month"] == pytest.approx(13.697, abs=0.001)


def test_an_export_of_a_few_days_says_nothing_of_a_month(tmp_path: Path) -> None:
    lines = "2026-08-20,gpt-5,2,200000,20000,0.45\n2026-08-21,gpt-5,2,200000,20000,0.45\n"
    assert compare(tmp_path, EXPORT + lines).monthly_usage is None
    assert not open_folder(tmp_path / "results").at("money/run-1").exists(bill.USAGE)


def test_a_gateway_that_bills_is_reconciled_and_own_hardware_is_not(tmp_path: Path) -> None:
    where = results(
        tmp_path, call(1, provider="openai_compatible", server="azure"), call(2, "tiny", provider="ollama", server="gpu")
    )
    Store(open_folder(where).at("money/run-1")).write_manifest({"run_id": "run-1", "hardware": {"gpu": {}}})
    (tmp_path / "usage.csv").write_text(EXPORT + "2026-08-21,gpt-5,1,100000,10000,0.225\n")
    assert invoice.reconcile(where, "money", tmp_path / "usage.csv").agrees


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (EXPORT + '2026-08-21,gpt-5,1,1,1,"0,45"\n', "'0,45' is no number"),
        (COSTS.replace(",usd,", ",eur,"), "amounts are in EUR"),
        ("", "no column for day, model"),
        ("date,model\n2026-08-21,gpt-5\n", "no column for tokens, requests or cost"),
        (EXPORT + "yesterday,gpt-5,1,1,1,1\n", "'yesterday' is no day"),
        (EXPORT + "2026-08-21,gpt-5,1,many,1,1\n", "'many' is no number"),
        (EXPORT + "2026-08-21,gpt-5,1,-5,1,1\n", "'-5' is no count or amount"),
    ],
)
def test_a_wrong_export_is_refused_by_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compare(tmp_path, text)
    assert said in str(caught.value)


def test_a_missing_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        invoice.reconcile(results(tmp_path, call(1)), "money", tmp_path / "none.csv")


def test_the_meter_writes_what_it_reads_and_leaves_gaps_where_it_cannot(tmp_path: Path) -> None:
    looks: Iterator[Power | Exception] = iter([Power(50.0), RuntimeError("GPU is lost"), Power(-1.0), Power(250.0, 1234.5)])

    class Stop:
        def is_set(self) -> bool:
            return len(seen) >= 4

        def wait(self, seconds: float) -> None:
            return None

    seen: list[object] = []

    def read() -> Power:
        look = next(looks)
        seen.append(look)
        if isinstance(look, Exception):
            raise look
        return look

    path = tmp_path / "power" / "gpu.jsonl"
    assert meter.sample(read, path, Stop(), clock=lambda: 7.0) == 2  # type: ignore[arg-type]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"at": 7.0, "watts": 50.0}, {"at": 7.0, "watts": 250.0, "joules": 1234.5}]


def test_without_a_gpu_the_meter_says_what_to_declare() -> None:
    with pytest.raises(InvalidInput, match=r"watts in servers\.yaml"), meter.nvml():
        pass
