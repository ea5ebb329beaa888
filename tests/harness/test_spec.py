"""The experiment file: what it accepts, and how it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from harness.errors import InvalidInput
from harness.experiment import spec

ROOT = Path(__file__).parents[2]
DESIGN = """
name: gpt5_vs_llama
tickers: [AAPL, MSFT, JPM]
dates: {from: 2025-03-03, to: 2026-06-30, every_sessions: 21, non_session: refuse}
repeats: {baseline: 3, arms: 2}
data: {prices: yfinance, filings: edgar, news: archive, archive: ./news, mask: false, decision_time: close}
pipeline: {analysts: [market, sentiment, news, fundamentals], depth: shallow, inputs: prefetch, budget_tokens: {news: 3000}}
models:
  gpt-5:       {provider: openai, model: gpt-5, reasoning_effort: medium, max_output_tokens: 4000}
  gpt-oss-20b: {provider: ollama, model: "gpt-oss:20b", server: gpu-box, num_ctx: 32768, temperature: 0.7, seed: per_repeat}
arms:
  gpt-5:       {all: gpt-5}
  gpt-oss-20b: {all: gpt-oss-20b}
  hybrid:      {deep: gpt-5, quick: gpt-oss-20b}
  single_call: {all: gpt-5, pipeline: {depth: single_call}}
  macd:        {rule: macd}
compare:
  baseline: gpt-5
  metrics: {usable: {margin: 2pp}, same_rating: {margin: 5pp}, cost: {}, excess_return_5: {margin: 20bp}}
outcomes: {horizons: [1, 5, 20], benchmark: SPY}
budget: {run_usd: 50, cell_usd: 2}
cell_limit: {soft: 25m, hard: 30m}
gates: {max_usd_per_usable_decision: 0.10}
"""
SMALL = """
name: small
tickers: [AAPL]
dates: [2012-06-15]
data: demo
models: {tiny: {provider: llamacpp, model: smollm2-135m}}
"""


def read(tmp_path: Path, text: str, **overrides: object) -> spec.Experiment:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return spec.load(path, overrides)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, text)
    return str(caught.value)


def test_the_design_s_example_is_valid_as_it_stands_there(tmp_path: Path) -> None:
    experiment = read(tmp_path, DESIGN)
    assert experiment.compare.metrics["usable"].margin == pytest.approx(0.02)
    assert experiment.compare.metrics["excess_return_5"].margin == pytest.approx(0.002)
    assert (experiment.cell_limit.soft, experiment.cell_limit.hard) == (1500, 1800)


@pytest.mark.parametrize(
    "more",
    [
        "replay: {from: gpt-5, to: [gpt-oss-20b], noise_floor: 0}",
        "allow_unpriced: true",
        "local_cost: {usd_per_gpu_hour: 0.6, watts: 350, usd_per_kwh: 0.3, purchase_usd: 2000, lifetime_years: 4}",
        "judge: {models: [gpt-5]}",
        "prices: my_prices.yaml",
    ],
)
def test_later_parts_are_valid_too(tmp_path: Path, more: str) -> None:
    read(tmp_path, DESIGN + more)


@pytest.mark.parametrize("dates", ["[2025-03-03, 2025-04-01]", "{last_sessions: 240, every_sessions: 21}"])
@pytest.mark.parametrize("repeats", ["2", "{baseline: 2, arms: 2}"])
def test_dates_and_repeats_have_short_forms(tmp_path: Path, dates: str, repeats: str) -> None:
    text = SMALL.replace("[2012-06-15]", dates) + f"repeats: {repeats}\n"
    assert read(tmp_path, text).repeats.baseline == 2


def test_a_resolved_experiment_loads_as_the_same_experiment(tmp_path: Path) -> None:
    experiment = read(tmp_path, DESIGN)
    again = read(tmp_path, experiment.to_yaml())
    assert again == experiment
    assert again.asked == experiment.asked


@pytest.mark.parametrize("name", ["smoke", "gpt5_vs_llama", "gpt5_last_run"])
def test_the_experiments_that_we_ship_are_valid_for_types_and_schema(name: str) -> None:
    path = ROOT / "experiments" / f"{name}.yaml"
    spec.load(path)
    jsonschema.validate(_plain(path), spec.schema())


def _plain(path: Path) -> object:
    return json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))


def test_the_schema_for_editors_is_current() -> None:
    stored = json.loads((ROOT / "experiments" / "schema.json").read_text())
    assert stored == spec.schema(), "run: python -m harness schema --write experiments/schema.json"


def test_the_schema_accepts_the_design_s_example_and_refuses_a_typo() -> None:
    raw = json.loads(json.dumps(yaml.safe_load(DESIGN), default=str))
    jsonschema.validate(raw, spec.schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw | {"ticker": ["AAPL"]}, spec.schema())


def test_every_field_says_what_it_means() -> None:
    schema = spec.schema()
    parts = {"Experiment": schema, **schema["$defs"]}
    silent = [
        f"{name}.{key}"
        for name, part in parts.items()
        for key, value in part.get("properties", {}).items()
        if not value.get("description")
    ]
    assert silent == []


def test_all_problems_are_said_at_once_with_line_known_names_and_mend(tmp_path: Path) -> None:
    text = DESIGN.replace("depth: shallow", "dept: shallow").replace("news: 3000", "guru: 3000")
    text = text.replace("hybrid:      {deep: gpt-5", "hybrid:      {deep: gpt5").replace("run_usd: 50", 'run_usd: "50"')
    said = refusal(tmp_path, text)
    assert "x.yaml:7 pipeline.dept: unknown key 'dept'" in said
    assert "did you mean 'depth'?" in said
    assert "unknown role 'guru' in pipeline.budget_tokens; known: fundamentals, market, news, sentiment" in said
    assert "x.yaml:14 arms.hybrid.deep: unknown model 'gpt5'" in said
    assert "did you mean 'gpt-5'?" in said
    assert "budget.run_usd" in said
    assert "without quotes" in said


@pytest.mark.parametrize(
    ("change", "by", "said"),
    [
        ("[AAPL]", "[]", "matrix is empty"),
        ("[AAPL]", "[aapl]", "tickers in capitals"),
        ("[AAPL]", "[AAPL, AAPL]", "AAPL is listed twice"),
        ("[2012-06-15]", "[2012-13-40]", "month value"),
        ("[2012-06-15]", "{from: 2012-06-15}", "belong together"),
        ("[2012-06-15]", "{from: 2012-06-15, to: 2012-01-01}", "is after"),
        ("data: demo", "data: yahoo", "unknown source 'yahoo' in data.prices"),
        ("data: demo", "data: archive", "--archive DIR"),
        ("llamacpp", "llamacp", "did you mean 'llamacpp'"),
        ("smollm2-135m}", "smollm2-135m, temperature: .nan}", ".nan is no number"),
        ("smollm2-135m}", "smollm2-135m, temperature: 1e999}", "is no number"),
        ("smollm2-135m}", "smollm2-135m, reasoning_effort: low}", "means nothing to llamacpp"),
        ("smollm2-135m}", "smollm2-135m, num_ctx: -4}", "greater than or equal to 1"),
        ("models: {tiny: {provider: llamacpp, model: smollm2-135m}}", "", "matrix is empty"),
        ("name: small", "name: ../../etc", "should match"),
        ("name: small", "name: small\nname: other", "duplicate key, first in line 2"),
        ("name: small", "name: small\narms: {a: {}}", "names no model"),
        ("name: small", "name: small\narms: {a: {quick: tiny}}", "leaves roles without a model"),
        ("name: small", "name: small\narms: {a: {all: tiny, guru: tiny}}", "unknown key 'guru'"),
        ("name: small", "name: small\narms: {a: {all: tiny, rule: macd}}", "a rule and models"),
        ("name: small", "name: small\narms: {a: {rule: macdd}}", "did you mean 'macd'"),
        ("name: small", "name: small\ncompare: {baseline: tinny}", "did you mean 'tiny'"),
        ("name: small", "name: small\nbudget: {run_usd: -1}", "greater than or equal to 0"),
        ("name: small", "name: small\nbudget: {run_usd: [", "not readable as YAML"),
        ("name: small", "name: small\ncell_limit: {soft: 40m}", "must be shorter than hard"),
        ("name: small", "- name", "not readable as YAML"),
    ],
)
def test_bad_input_is_refused_by_name(tmp_path: Path, change: str, by: str, said: str) -> None:
    assert said in refusal(tmp_path, SMALL.replace(change, by))


def test_a_yaml_bomb_is_refused_at_once(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    assert "aliases expand it to more than" in refusal(tmp_path, bomb)
    assert "contains itself" in refusal(tmp_path, "a: &a [*a]")
    assert "nested deeper" in refusal(tmp_path, "a: " + "[" * 200 + "]" * 200)
    assert "nested deeper than 40" in refusal(tmp_path, "[" * 200_000), "it is refused before its end is read"
    assert "more than 20,000 keys and values" in refusal(tmp_path, "[" + "x," * 100_000), "it is refused before its end is read"
    assert "larger than 256 KiB" in refusal(tmp_path, "#" + "x" * 300_000)


def test_python_objects_in_yaml_are_refused(tmp_path: Path) -> None:
    assert "not readable as YAML" in refusal(tmp_path, "name: !!python/object/apply:os.system [true]")


def test_words_that_yaml_1_1_would_turn_into_something_else_stay_words(tmp_path: Path) -> None:
    assert read(tmp_path, SMALL.replace("[AAPL]", "[ON, NO, TRUE]")).tickers == ("ON", "NO", "TRUE")


def test_roles_stand_directly_in_an_arm_or_under_roles(tmp_path: Path) -> None:
    direct = read(tmp_path, SMALL + "arms: {a: {all: tiny, trader: tiny}}")
    under = read(tmp_path, SMALL + "arms: {a: {all: tiny, roles: {trader: tiny}}}")
    assert direct.arms == under.arms


def test_the_command_line_beats_the_file(tmp_path: Path) -> None:
    experiment = read(tmp_path, SMALL.replace("data: demo", "data: archive"), **{"data.archive": "/x", "budget.run_usd": 3.0})
    assert experiment.data.archive == "/x"
    assert experiment.budget.run_usd == 3.0


@pytest.mark.parametrize(
    ("more", "same"),
    [
        ("budget: {run_usd: 5}", True),
        ("gates: {min_usable_share: 0.5}", True),
        ("outcomes: {horizons: [3]}", True),
        ("cell_limit: {soft: 1m, hard: 2m}", True),
        ("local_cost: {usd_per_cpu_hour: 0.1}", True),
        ("repeats: 2", False),
        ("pipeline: {depth: deep}", False),
    ],
)
def test_only_what_is_asked_makes_another_run(tmp_path: Path, more: str, same: bool) -> None:
    assert (read(tmp_path, SMALL).asked == read(tmp_path, SMALL + more).asked) is same


def test_endpoints_are_refused_in_a_file_with_the_new_name_and_read_in_the_folder_of_an_old_run(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(DESIGN.replace("  metrics: {usable", "  endpoints: {usable"), encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"compare\.endpoints is now called compare\.metrics"):
        spec.load(path)
    path.write_text(DESIGN, encoding="utf-8")
    experiment = spec.load(path)
    resolved = experiment.resolved()
    resolved["compare"]["endpoints"] = resolved["compare"].pop("metrics")
    assert spec.Experiment.model_validate(resolved).at(experiment.folder) == experiment


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            "repeats: {all_cases: 1, noise_floor: {cases: 10, repeats: 3}}",
            r"repeats\.noise_floor is gone.*\n.*write repeats: 3",
        ),
        ("compare: {metrics: {similarity: {margin: 5pp}}}", "similarity is now called same_rating"),
        ("compare: {metrics: {cost_per_usable: {}}}", "cost_per_usable is now called cost"),
        ("gates: {min_similarity: 0.5}", "min_similarity is now called min_same_rating"),
    ],
)
def test_a_former_spelling_is_refused_with_the_new_one(tmp_path: Path, part: str, message: str) -> None:
    assert re.search(message, refusal(tmp_path, SMALL + part))


def test_former_spellings_are_read_in_the_folder_of_an_old_run(tmp_path: Path) -> None:
    resolved = read(tmp_path, SMALL).resolved()
    resolved["repeats"] = {"all_cases": 2, "noise_floor": {"cases": 10, "repeats": 3}}
    resolved["compare"] = {"metrics": {"similarity": {"margin": 0.05}}}
    resolved["gates"] = {"min_similarity": 0.5}
    old = spec.Experiment.model_validate(resolved)
    assert (old.repeats.arms, dict(old.compare.metrics)["same_rating"].margin, old.gates.min_same_rating) == (2, 0.05, 0.5)
