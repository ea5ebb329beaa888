"""The matrix: which cells there are, what names them, in which order they run."""

from __future__ import annotations

import asyncio
import datetime as dt
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agents import probe
from harness.cells import Cell
from harness.errors import InvalidInput
from harness.experiment import matrix, references, servers, spec
from tests.fakes.process import FakeModels

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
HOSTED = frozenset({"openai"})
BASE = """
name: both
tickers: [AAPL, MSFT]
dates: [2012-06-15, 2012-07-16]
repeats: 1
data: demo
models:
  big: {provider: openai, model: gpt-5}
  small: {provider: ollama, model: "llama3.1:8b", seed: per_repeat}
  tiny: {provider: llamacpp, model: smollm2-135m}
arms:
  big: {all: big}
  small: {all: small}
  tiny: {all: tiny}
  hybrid: {deep: big, quick: small}
  macd: {rule: macd}
"""
ONE_ARM = """
name: one
tickers: [AAPL]
dates: [2012-06-15]
repeats: 1
data: demo
arms: {gpt: {all: gpt}}
models:
  gpt: {provider: openai, model: gpt-6.1-sol}
  later: {provider: ollama, model: x, server: not-built-yet}
"""


def cells(tmp_path: Path, text: str = BASE, only: str | None = None, limit: int | None = None) -> list[Cell]:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return matrix.select(matrix.in_order(matrix.expand(spec.load(path), NOW), HOSTED), only, limit)


def keys(tmp_path: Path, text: str = BASE) -> set[str]:
    return {cell.cell_key for cell in cells(tmp_path, text)}


def test_every_combination_is_one_cell_with_its_own_key(tmp_path: Path) -> None:
    found = cells(tmp_path)
    assert len(found) == 2 * 2 * 5
    assert len({cell.cell_key for cell in found}) == len(found)


def test_hosted_arms_run_case_by_case_and_local_ones_model_by_model(tmp_path: Path) -> None:
    found = cells(tmp_path)
    hosted = [cell for cell in found if matrix.is_hosted(cell, HOSTED)]
    assert found[: len(hosted)] == hosted
    assert [cell.case_id for cell in hosted[:4]] == ["AAPL@2012-06-15", "AAPL@2012-06-15", "MSFT@2012-06-15", "MSFT@2012-06-15"]
    local = [sorted({one.name for one in cell.lineup.values() if one.provider != "openai"})[0] for cell in found[len(hosted) :]]
    assert local == sorted(local, key=local.index)
    assert len([1 for before, after in pairwise(local) if before != after]) == 1


def test_hybrid_puts_the_deep_model_into_the_deciding_roles_only(tmp_path: Path) -> None:
    hybrid = next(cell for cell in cells(tmp_path) if cell.arm == "hybrid")
    deep = {role for role, model in hybrid.lineup.items() if model.alias == "big"}
    assert deep == set(references.known_deep_roles())
    assert tuple(hybrid.lineup) == references.known_roles()


def test_parameters_that_differ_by_machine_or_model_are_always_explicit(tmp_path: Path) -> None:
    by_arm = {cell.arm: cell for cell in cells(tmp_path)}
    assert by_arm["big"].lineup["trader"].params["reasoning_effort"] == "medium"
    assert by_arm["small"].lineup["trader"].params["num_ctx"] == 8192


def test_one_changed_parameter_shares_no_cell(tmp_path: Path) -> None:
    only_small = (
        BASE.replace("  big: {all: big}\n", "").replace("  tiny: {all: tiny}\n", "").replace("  macd: {rule: macd}\n", "")
    )
    changed = only_small.replace('"llama3.1:8b"', '"llama3.1:8b", num_ctx: 4096')
    assert keys(tmp_path, only_small).isdisjoint(keys(tmp_path, changed))


def test_order_of_keys_names_of_arms_servers_and_prices_change_no_key(tmp_path: Path) -> None:
    moved = BASE.replace("{provider: openai, model: gpt-5}", "{model: gpt-5, provider: openai, server: elsewhere}")
    moved = moved.replace("hybrid:", "mixed:") + "local_cost: {usd_per_gpu_hour: 3}\n"
    assert keys(tmp_path, BASE) == keys(tmp_path, moved)


def test_an_added_ticker_or_arm_leaves_the_other_cells_alone(tmp_path: Path) -> None:
    more = BASE.replace("[AAPL, MSFT]", "[AAPL, MSFT, IBM]").replace("  macd:", "  sma: {rule: sma}\n  macd:")
    assert keys(tmp_path, BASE) < keys(tmp_path, more)


def test_a_model_s_digest_and_the_snapshot_change_the_id_but_not_the_key(tmp_path: Path) -> None:
    cell = next(cell for cell in cells(tmp_path) if cell.arm == "small")
    one, two = cell.frozen("s", {"small": "sha256:1"}), cell.frozen("s", {"small": "sha256:2"})
    assert one.cell_key == two.cell_key == cell.cell_key
    assert one.cell_id != two.cell_id
    assert cell.frozen("t", {"small": "sha256:1"}).cell_id != one.cell_id


def test_a_cell_survives_its_own_message(tmp_path: Path) -> None:
    for cell in cells(tmp_path):
        assert Cell.from_json(cell.to_json()).cell_id == cell.cell_id


def test_the_baseline_and_the_other_arms_have_their_own_repeats_and_a_rule_decides_once(tmp_path: Path) -> None:
    found = cells(tmp_path, BASE.replace("repeats: 1", "repeats: {baseline: 3, arms: 2}"))
    baseline = found[0].arm
    repeats = {arm: {cell.repeat for cell in found if cell.arm == arm} for arm in {cell.arm for cell in found}}
    assert repeats[baseline] == {0, 1, 2}
    assert repeats.pop("macd") == {0}
    assert all(each == {0, 1} for arm, each in repeats.items() if arm != baseline)


def test_without_a_number_each_arm_decides_each_case_three_times(tmp_path: Path) -> None:
    found = cells(tmp_path, BASE.replace("repeats: 1\n", ""))
    assert {cell.repeat for cell in found} == {0, 1, 2}


def test_seed_per_repeat_gives_each_repeat_its_own_seed(tmp_path: Path) -> None:
    found = [cell for cell in cells(tmp_path, BASE.replace("repeats: 1", "repeats: 2")) if cell.arm == "small"]
    assert {cell.lineup["trader"].params["seed"] for cell in found} == {0, 1}


def test_an_arm_overrides_only_the_pipeline_keys_it_names(tmp_path: Path) -> None:
    text = BASE.replace("  tiny: {all: tiny}", "  tiny: {all: tiny, pipeline: {depth: single_call}}")
    tiny = next(cell for cell in cells(tmp_path, text + "pipeline: {budget_tokens: {news: 7}}\n") if cell.arm == "tiny")
    assert (tiny.pipeline.depth, dict(tiny.pipeline.budget_tokens)) == ("single_call", {"news": 7})
    assert list(tiny.lineup) == ["portfolio_manager"]


def test_analysts_that_do_not_report_have_no_model(tmp_path: Path) -> None:
    tiny = cells(tmp_path, BASE + "pipeline: {analysts: [market]}\n")[0]
    assert "news_analyst" not in tiny.lineup


@pytest.mark.parametrize("ticker", ["^GSPC", "BRK.B", "EURUSD=X", "600519.SS"])
def test_tickers_are_written_as_yahoo_writes_them(tmp_path: Path, ticker: str) -> None:
    assert {cell.ticker for cell in cells(tmp_path, BASE.replace("[AAPL, MSFT]", f'["{ticker}"]'))} == {ticker}


def test_two_arms_with_one_identity_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'big' and 'again' ask the same models the same"):
        cells(tmp_path, BASE + "  again: {deep: big, quick: big}\n")


@pytest.mark.parametrize(
    ("dates", "said"),
    [
        ("[2012-06-16]", "is not a session of the New York Stock Exchange; known: 2012-06-15, 2012-06-18"),
        ("[2031-06-16]", "has not closed in New York yet; the last closed one is 2026-11-20"),
        ("{from: 2012-06-16, to: 2012-06-17}", "no session in this range"),
        ("{from: 2012-06-16, to: 2032-06-17}", "has not closed in New York yet"),
        ("[1950-01-03]", "calendar"),
    ],
)
def test_dates_that_cannot_be_are_refused_with_the_near_ones(tmp_path: Path, dates: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        cells(tmp_path, BASE.replace("[2012-06-15, 2012-07-16]", dates))
    assert said in str(caught.value)


@pytest.mark.parametrize(("rule", "day"), [("previous", 15), ("next", 18)])
def test_a_closed_day_moves_where_the_experiment_says_so(tmp_path: Path, rule: str, day: int) -> None:
    text = BASE.replace("[2012-06-15, 2012-07-16]", f"{{days: [2012-06-16], non_session: {rule}}}")
    assert {cell.date for cell in cells(tmp_path, text)} == {dt.date(2012, 6, day)}


def test_last_sessions_count_back_from_the_last_closed_one(tmp_path: Path) -> None:
    text = BASE.replace("[2012-06-15, 2012-07-16]", "{last_sessions: 10, every_sessions: 5}")
    days = sorted({cell.date for cell in cells(tmp_path, text)})
    assert days == [dt.date(2026, 11, 9), dt.date(2026, 11, 16)]


def test_only_and_limit_take_a_part_of_the_matrix(tmp_path: Path) -> None:
    assert {(cell.arm, cell.ticker) for cell in cells(tmp_path, only="arm=big,ticker=AAPL")} == {("big", "AAPL")}
    assert {cell.arm for cell in cells(tmp_path, only="arm=big,arm=macd")} == {"big", "macd"}
    assert len(cells(tmp_path, limit=3)) == 3
    with pytest.raises(InvalidInput, match="did you mean 'big'"):
        cells(tmp_path, only="arm=bigg")
    with pytest.raises(InvalidInput, match="known: arm, ticker, date"):
        cells(tmp_path, only="role=trader")


@pytest.mark.parametrize(("design", "count"), [("one_at_a_time", 13), ("fractional", 16)])
def test_a_swap_design_is_written_out_as_arms(tmp_path: Path, design: str, count: int) -> None:
    arms = BASE[BASE.index("arms:") :]
    text = BASE.replace(arms, f"arms: {{swap: {{from: big, to: small, design: {design}}}}}\n")
    found = {cell.arm for cell in cells(tmp_path, text)}
    assert len(found) == count


def test_in_the_fractional_design_each_role_is_swapped_in_half_the_runs_and_roles_are_orthogonal(tmp_path: Path) -> None:
    arms = BASE[BASE.index("arms:") :]
    found = cells(tmp_path, BASE.replace(arms, "arms: {swap: {from: big, to: small, design: fractional}}\n"))
    runs = {cell.arm: cell.lineup for cell in found}
    signs = {role: [1 if run[role].alias == "small" else -1 for run in runs.values()] for role in references.known_roles()}
    for role, one in signs.items():
        assert sum(one) == 0
        assert all(sum(a * b for a, b in zip(one, two, strict=True)) == 0 for other, two in signs.items() if other != role)


def test_servers_come_from_file_environment_or_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "box:11434")
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-secret\n")
    (tmp_path / "x.yaml").write_text(BASE)
    experiment = spec.load(tmp_path / "x.yaml")
    found = servers.load(None, experiment, tmp_path)
    assert found["ollama"].url == "http://box:11434"
    assert found["openai"].api_key == "sk-secret"
    assert "sk-secret" not in repr(found)
    (tmp_path / "servers.yaml").write_text(
        "ollama: {provider: ollama, url: http://gpu:1, parallel: 4, usd_per_gpu_hour: 0.6}\n"
    )
    declared = servers.load(None, experiment, tmp_path)["ollama"]
    assert (declared.url, declared.slots, declared.cost.usd_per_gpu_hour) == ("http://gpu:1", 4, 0.6)
    assert (declared.as_agents_server().timeout_s, declared.as_agents_server().idle_timeout_s) == (600, 300)


@pytest.mark.parametrize("form", ["0.0.0.0:{port}", ":{port}", "localhost:{port}", "http://127.0.0.1:{port}/"])
def test_a_model_answers_at_every_form_of_ollama_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_models: FakeModels, form: str
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", form.format(port=urlsplit(fake_models.url).port))
    (tmp_path / "x.yaml").write_text(BASE)
    server = servers.load(None, spec.load(tmp_path / "x.yaml"), tmp_path)["ollama"]
    assert not server.is_hosted
    assert asyncio.run(probe(server.as_agents_server(), [])).version == "0.17.0"


def test_a_slow_server_that_may_take_longer_may_also_be_silent_for_longer(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(BASE)
    (tmp_path / "servers.yaml").write_text("ollama: {provider: ollama, timeout: 30m}\n")
    server = servers.load(None, spec.load(tmp_path / "x.yaml"), tmp_path)["ollama"].as_agents_server()
    assert (server.timeout_s, server.idle_timeout_s) == (1800, 900)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu: {provider: ollama, usd_per_gpu_hour: '0.6'}", "without quotes"),
        ("gpu: {provider: ollama, usd_per_gpu_hour: -1}", "greater than or equal to 0"),
        ("gpu: {provider: ollama, api_key: sk-1}", "unknown key 'api_key'"),
        ("gpu: {provider: ollma}", "ollama"),
        ("ollama: {provider: openai, url: http://x}", "speaks openai"),
    ],
)
def test_a_wrong_servers_file_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "servers.yaml").write_text(text)
    (tmp_path / "x.yaml").write_text(BASE)
    with pytest.raises(InvalidInput) as caught:
        servers.load(None, spec.load(tmp_path / "x.yaml"), tmp_path)
    assert said in str(caught.value)


def test_a_model_without_an_arm_makes_no_cell_and_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(ONE_ARM)
    experiment = spec.load(tmp_path / "x.yaml")

    assert {cell.arm for cell in matrix.expand(experiment)} == {"gpt"}
    assert set(servers.load(None, experiment, tmp_path)) == {"openai"}


def test_a_model_that_a_declared_replay_asks_needs_its_server(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(ONE_ARM + "replay: {from: gpt, to: [later]}")

    with pytest.raises(InvalidInput, match="unknown server 'not-built-yet'"):
        servers.load(None, spec.load(tmp_path / "x.yaml"), tmp_path)


def test_a_model_on_an_unknown_server_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(BASE.replace('"llama3.1:8b"', '"llama3.1:8b", server: gpu-box'))
    with pytest.raises(InvalidInput, match=r"servers\.example\.yaml"):
        servers.load(None, spec.load(tmp_path / "x.yaml"), tmp_path)
