"""Money per call, against cases computed by hand from the published prices."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents import Answer, Call, CallSite, Failure, Model, Part, Request, Timing, Usage, WorstCase
from harness.errors import InvalidInput
from harness.experiment.servers import ServerSpec
from harness.experiment.terms import LocalCost
from harness.money import price_file, pricing
from reports.money import hardware

NOVEMBER = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
OPENAI = ServerSpec("openai", "openai", "https://api.openai.com/v1", is_hosted=True)
TABLE = pricing.PriceTable()


def gpu_box(provider: str = "ollama", **cost: float) -> ServerSpec:
    return ServerSpec("gpu-box", provider, "http://gpu:11434", cost=LocalCost(**cost))


def call(
    model: str = "gpt-5",
    *,
    usage: Usage | None = None,
    failure: str | None = None,
    tier: str | None = None,
    when: dt.datetime = NOVEMBER,
    **more: Any,
) -> Call:
    request = Request(Model("m", "openai", model, {"max_output_tokens": 1000}), (Part("user", "x" * 3000),))
    timing = Timing(when.timestamp(), **more)
    answer = Answer("text", usage=usage, timing=timing, model_returned=model, service_tier=tier) if usage else None
    broken = Failure(failure, "broken", "Broken") if failure else None
    return Call("c", CallSite("trader"), request, timing, answer, broken)


def usd(**what: Any) -> float | None:
    return pricing.price(call(**what), OPENAI, TABLE).cost_usd


def test_one_call_of_300k_costs_more_than_three_of_100k() -> None:
    # gpt-5.4: $2.50 per million input, $5.00 for the whole prompt above 272k; $15 / $22.50 output
    long = usd(model="gpt-5.4", usage=Usage(300_000, 0, 0, 20_000, 0))
    short = usd(model="gpt-5.4", usage=Usage(100_000, 0, 0, 20_000, 0))
    assert long == pytest.approx(0.3 * 5.00 + 0.02 * 22.50)
    assert short == pytest.approx(0.1 * 2.50 + 0.02 * 15.00)
    assert long == pytest.approx(1.95)


def test_cached_tokens_and_reasoning_are_priced_apart() -> None:
    # gpt-5: $1.25 input, $0.125 cached, $10 output with its reasoning
    cost = usd(usage=Usage(10_000, 4_000, None, 2_000, 1_500))
    assert cost == pytest.approx((6_000 * 1.25 + 4_000 * 0.125 + 2_000 * 10) / 1e6)


def test_cache_writes_cost_more_where_the_table_says_so() -> None:
    # gpt-6-sol: $2 input, $0.20 cached, $2.50 written, $10 output
    cost = usd(model="gpt-6-sol", usage=Usage(10_000, 3_000, 5_000, 1_000, 0))
    assert cost == pytest.approx((2_000 * 2 + 3_000 * 0.2 + 5_000 * 2.5 + 1_000 * 10) / 1e6)


def test_flex_is_half_the_price_and_priced_by_what_came_back() -> None:
    usage = Usage(10_000, 4_000, None, 2_000, 0)
    assert usd(usage=usage, tier="flex") == pytest.approx((6_000 * 0.625 + 4_000 * 0.0625 + 2_000 * 5) / 1e6)
    assert usd(usage=usage, tier="default") == usd(usage=usage)


def test_a_tier_that_the_table_does_not_price_is_unknown_not_standard() -> None:
    assert pricing.price(call(usage=Usage(10, 0, 0, 10, 0), tier="platinum"), OPENAI, TABLE) == pricing.UNKNOWN


def test_a_price_change_between_two_dates_is_followed() -> None:
    # gpt-5.6-luna: $1 / $6 before 2026-07-30, $0.20 / $1.20 from then on
    usage = Usage(100_000, 0, 0, 10_000, 0)
    july, august = dt.datetime(2026, 7, 29, tzinfo=dt.UTC), dt.datetime(2026, 8, 1, tzinfo=dt.UTC)
    assert usd(model="gpt-5.6-luna", usage=usage, when=july) == pytest.approx(0.1 * 1 + 0.01 * 6)
    assert usd(model="gpt-5.6-luna", usage=usage, when=august) == pytest.approx(0.1 * 0.2 + 0.01 * 1.2)
    as_if = pricing.PriceTable(as_of=july)
    assert pricing.price(call("gpt-5.6-luna", usage=usage), OPENAI, as_if).cost_usd == pytest.approx(0.16)


def test_dated_names_are_priced_as_their_model() -> None:
    assert usd(model="gpt-5-2025-08-07", usage=Usage(1_000_000, 0, 0, 0, 0)) == pytest.approx(1.25)


def test_an_unknown_model_is_unknown_and_never_free() -> None:
    assert pricing.price(call("gpt-99-secret", usage=Usage(10, 0, 0, 10, 0)), OPENAI, TABLE) == pricing.UNKNOWN
    request = call("gpt-99-secret").request
    assert pricing.worst_case_usd(request, WorstCase(10, 10), OPENAI, TABLE) is None


def test_a_response_that_failed_after_it_had_begun_is_not_said_to_be_free() -> None:
    begun = replace(call(failure="server_error"), failure=Failure("server_error", "the response failed", "Failed", 200))
    assert pricing.price(begun, OPENAI, TABLE).cost_basis == "estimate"


@pytest.mark.parametrize("cause", sorted(pricing.REJECTED))
def test_a_request_that_the_server_refused_costs_nothing(cause: str) -> None:
    assert pricing.price(call(failure=cause), OPENAI, TABLE).cost_usd == 0.0


@pytest.mark.parametrize("cause", [None, "timeout", "connection", "cut_stream", "bad_answer"])
def test_a_killed_or_cut_call_is_billed_by_a_flagged_estimate_of_the_most(cause: str | None) -> None:
    priced = pricing.price(call(failure=cause), OPENAI, TABLE)
    assert priced.cost_basis == "estimate"
    assert priced.cost_usd == pytest.approx((1_001 * 1.25 + 1_000 * 10) / 1e6)


@pytest.mark.parametrize(
    "usage", [Usage(100, 200, 0, 10, 0), Usage(100, 60, 60, 10, 0), Usage(-1, 0, 0, 10, 0), Usage(100, None, None, None, None)]
)
def test_usage_that_is_missing_or_contradicts_itself_is_an_estimate(usage: Usage) -> None:
    priced = pricing.price(call(usage=usage), OPENAI, TABLE)
    assert priced.cost_basis == "estimate"
    assert priced.cost_usd is not None
    assert priced.cost_usd > 0


def test_the_worst_case_is_never_below_what_the_call_costs() -> None:
    for model in ("gpt-5", "gpt-5.4", "gpt-6-sol"):
        made = call(model, usage=Usage(300_000, 0, 300_000, 1_000, 0))
        paid = pricing.price(made, OPENAI, TABLE).cost_usd
        worst = pricing.worst_case_usd(made.request, WorstCase(300_000, 1_000), OPENAI, TABLE)
        assert paid is not None
        assert worst is not None
        assert worst >= paid


def test_the_table_says_version_date_and_hash() -> None:
    said = TABLE.manifest()
    assert said["version"]
    assert len(said["sha256"]) == 64
    dt.date.fromisoformat(said["date"])
    assert pricing.PriceTable.from_plain(TABLE.to_plain()) == TABLE


PRICES = """
version: acme-7
prices:
  - {model: "gpt-5*", server: azure, input: 1, cached: 0.5, output: 8}
  - {model: "gpt-5*", server: azure, input: 2, output: 16, from: 2026-11-22}
  - {model: house-model, input: 3, output: 4, above: {tokens: 1000, input: 6, output: 8}}
"""


def own(tmp_path: Path, text: str = PRICES) -> pricing.PriceTable:
    (tmp_path / "prices.yaml").write_text(text)
    return pricing.PriceTable(price_file.load(tmp_path / "prices.yaml"))


def test_a_price_file_overrides_on_its_server_and_adds_models(tmp_path: Path) -> None:
    table = own(tmp_path)
    azure = ServerSpec("azure", "openai", "https://x.openai.azure.com", is_hosted=True)
    made = call(usage=Usage(1_000_000, 400_000, 0, 100_000, 0))
    priced = pricing.price(made, azure, table)
    assert (priced.cost_usd, priced.cold_usd) == pytest.approx((0.6 + 0.2 + 0.8, 1.8))
    assert (priced.cost_basis, priced.price_version) == ("api_price", table.version)
    assert pricing.price(made, OPENAI, table).cost_usd == pytest.approx(0.6 * 1.25 + 0.4 * 0.125 + 1.0)
    later = call(usage=Usage(1_000_000, 0, 0, 0, 0), when=dt.datetime(2026, 11, 23, tzinfo=dt.UTC))
    assert pricing.price(later, azure, table).cost_usd == pytest.approx(2.0)
    long, short = (call("house-model", usage=Usage(n, 0, 0, 0, 0)) for n in (2_000, 1_000))
    assert pricing.price(long, OPENAI, table).cost_usd == pytest.approx(0.012)
    assert pricing.price(short, OPENAI, table).cost_usd == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{model: a, input: -1, output: 1}]", "greater than or equal to 0"),
        ("[{model: a, input: '1', output: 1}]", "without quotes"),
        ("[{model: a, input: 1}]", "prices[0].output is missing"),
        ("[{model: a, input: .nan, output: 1}]", "is no number"),
        ("[{model: a, input: 1, output: 1}, {model: a, input: 2, output: 1}]", "priced twice"),
        ("[{model: a, input: 1, output: 1, cashed: 1}]", "did you mean 'cached'"),
        ("[]", "at least 1 item"),
        ("just text", "PriceFile"),
    ],
)
def test_a_wrong_price_file_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        own(tmp_path, text)
    assert said in str(caught.value)


def test_a_local_model_is_unknown_until_a_price_is_said() -> None:
    made = call("llama3.1:8b", usage=Usage(10, None, None, 10, None), prefill_s=1.0, decode_s=9.0, duration_s=12.0)
    assert pricing.price(made, gpu_box(), TABLE) == pricing.UNKNOWN


def test_with_one_request_at_a_time_a_local_model_costs_the_duration() -> None:
    """Measured on Ollama 0.17.0 with Gemma 3: 128.1 s, of which the server reported 86.3 s."""
    made = call("gemma3:270m", usage=Usage(10), load_s=1.3, prefill_s=25.0, decode_s=60.0, duration_s=128.1)
    priced = pricing.price(made, gpu_box(usd_per_gpu_hour=0.6), TABLE)
    assert priced.cost_usd == pytest.approx(128.1 / 3600 * 0.6)
    assert priced.cost_basis == "gpu_time"


def test_with_several_requests_at_a_time_a_local_model_costs_the_server_s_own_seconds() -> None:
    made = call("llama3.1:8b", usage=Usage(10), load_s=2.0, prefill_s=1.0, decode_s=9.0, duration_s=20.0)
    priced = pricing.price(made, replace(gpu_box(usd_per_gpu_hour=0.6), parallel=4), TABLE)
    assert priced.cost_usd == pytest.approx(12 / 3600 * 0.6)
    assert priced == pricing.Priced(priced.cost_usd, "gpu_time", "local")
    assert pricing.price(made, gpu_box(watts=350, usd_per_kwh=0.3), TABLE).cost_basis == "energy"
    assert pricing.price(made, gpu_box("llamacpp", usd_per_gpu_hour=0.6), TABLE) == pricing.UNKNOWN
    assert pricing.price(made, gpu_box("llamacpp", usd_per_cpu_hour=0.05), TABLE).cost_basis == "cpu_time"


def test_waiting_inside_a_server_is_what_its_own_report_leaves_unexplained() -> None:
    assert Timing(ttft_s=14.7, load_s=0.3, prefill_s=0.3).server_queue_s == pytest.approx(14.1)
    assert Timing(ttft_s=3.7, load_s=0.3, prefill_s=0.3).server_queue_s == 0.0, "Ollama 0.17 reports only a part of prefill"
    in_one_piece = Timing(duration_s=20.0, prefill_s=1.0, decode_s=6.0)
    assert in_one_piece.server_queue_s == pytest.approx(13.0), "llama-server, asked without a stream"
    assert Timing(ttft_s=14.7).server_queue_s is None, "unknown where the server reports no prefill"


def test_without_the_server_s_seconds_our_own_clock_is_a_flagged_estimate() -> None:
    priced = pricing.price(call("x", failure="timeout", duration_s=36.0), gpu_box(usd_per_gpu_hour=1.0), TABLE)
    assert priced.cost_usd == pytest.approx(0.01)
    assert priced == pricing.Priced(priced.cost_usd, "estimate", "local")
    assert pricing.price(call("x", failure="timeout"), gpu_box(usd_per_gpu_hour=1.0), TABLE) == pricing.UNKNOWN


def test_the_three_lines_of_local_cost_are_kept_apart() -> None:
    said = {"watts": 350.0, "usd_per_kwh": 0.3, "purchase_usd": 2000.0, "lifetime_years": 4.0, "utilisation": 0.25}
    machine = gpu_box("ollama", usd_per_gpu_hour=0.6, **said).hardware
    hour = hardware.cost_lines(3600, machine)
    assert hour.rented_usd == pytest.approx(0.6)
    assert hour.marginal_usd == pytest.approx(0.35 * 0.3)
    assert hour.full_usd == pytest.approx(0.105 + 2000 / (4 * 8766 * 0.25))
    metered = hardware.cost_lines(3600, machine, joules=720_000)
    assert metered.marginal_usd == pytest.approx(0.2 * 0.3)


def test_what_is_not_said_makes_a_line_unknown_and_not_zero() -> None:
    lines = hardware.cost_lines(3600, gpu_box(purchase_usd=2000, lifetime_years=4).hardware, utilisation=0.5)
    assert (lines.marginal_usd, lines.full_usd, lines.rented_usd) == (None, None, None)
    assert lines.missing == ("usd_per_kwh", "watts, or a meter", "usd_per_gpu_hour")
