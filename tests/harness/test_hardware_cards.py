"""Hardware cards: what they hold, which models they speak for, and what plan, preflight and report make of them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmarks import gpu
from domain.hardware import Hardware
from harness.checking import preflight
from harness.checking.resolved import resolve
from harness.errors import InvalidInput
from harness.experiment import hardware_cards, matrix, servers, spec, yaml_file
from harness.planning import plan as planning
from harness.planning import plan_text
from reports.money.hardware import PowerReading, cost_lines, counted_joules, energy_used, parse_readings

SETTING = {
    "slots": 4,
    "prefill_tokens_per_s": 2000.0,
    "decode_tokens_per_s": 50.0,
    "output_tokens_per_s": 180.0,
    "first_token_s": 0.2,
    "slots_busy": 0.9,
    "loads": 1,
    "seconds_per_decision": 12.0,
    "watts": 260.0,
}
CARD = {
    "machine": "Test GPU",
    "provider": "ollama",
    "server": "ollama 0.32.15",
    "model": {"name": "llama3.1:8b", "digest": "sha256:aaa", "quantisation": "Q4_K_M"},
    "settings": [SETTING],
    "idle_watts": 60.0,
    "measured": "2026-11-27",
}
EXPERIMENT = """
name: carded
tickers: [AAPL]
dates: [2011-03-15]
data: demo
repeats: 1
models:
  llama: {provider: ollama, model: "llama3.1:8b", server: box, num_ctx: 16384}
  other: {provider: ollama, model: "qwen3:4b", server: box, num_ctx: 16384}
arms: {llama: {all: llama}%s}
"""


def experiment(folder: Path, *cards: dict[str, object], arms: str = "", **server: object) -> spec.Experiment:
    """An experiment of one local model, on a server with these cards."""
    (folder / "hardware").mkdir(exist_ok=True)
    for number, card in enumerate(cards):
        (folder / "hardware" / f"card{number}.yaml").write_text(yaml.safe_dump(card))
    names = [f"card{number}" for number in range(len(cards))]
    box = {"provider": "ollama", "url": "http://127.0.0.1:9", "parallel": 4, "cards": names, **server}
    (folder / "servers.yaml").write_text(yaml.safe_dump({"box": box}))
    (folder / "x.yaml").write_text(EXPERIMENT % arms)
    return spec.load(folder / "x.yaml")


def plan(folder: Path, declared: spec.Experiment) -> planning.Plan:
    cells = matrix.expand(declared, dt.datetime(2026, 11, 27, tzinfo=dt.UTC))
    return planning.make(resolve(declared, folder), cells, planning.Where(str(folder / "results"), folder / "snapshots"))


def other(**changes: object) -> dict[str, object]:
    return CARD | {"settings": [SETTING | changes]}


def test_a_card_reads_back_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    card = hardware_cards.HardwareCard.model_validate(CARD)
    path.write_text(card.to_yaml())

    assert hardware_cards.parse(yaml_file.load(path)) == card


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (CARD | {"settings": []}, "settings"),
        (CARD | {"machine": ""}, "machine"),
        (CARD | {"wats": 3}, "unknown key 'wats'"),
        (other(decode_tokens_per_s=0.0), "decode_tokens_per_s"),
        (other(slots_busy=1.5), "slots_busy"),
    ],
)
def test_a_wrong_card_is_refused_with_its_file_and_key(tmp_path: Path, card: dict[str, object], message: str) -> None:
    declared = experiment(tmp_path, card)

    with pytest.raises(InvalidInput, match=r"card0\.yaml") as caught:
        servers.load(None, declared, tmp_path)

    assert message in str(caught.value)


def test_a_card_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    declared = experiment(tmp_path, CARD, cards=["card9"])

    with pytest.raises(InvalidInput, match=r"card card9: there is no .*card9\.yaml; known: card0"):
        servers.load(None, declared, tmp_path)


def test_a_plan_takes_the_time_of_the_model_that_the_card_names_and_says_from_which_card(tmp_path: Path) -> None:
    guessed = plan(tmp_path, experiment(tmp_path))
    carded = plan(tmp_path, experiment(tmp_path, other(prefill_tokens_per_s=20_000.0, decode_tokens_per_s=5_000.0)))

    assert guessed.total_time.mid is not None
    assert carded.total_time.mid is not None
    assert carded.total_time.mid < guessed.total_time.mid / 20
    text = "\n".join(f"{heading} {line}" for heading, line in plan_text.lines(carded))
    assert "card llama: llama3.1:8b Q4_K_M: 5,000 tokens/s out, 20,000 in, 200 W above idle (card card0, 4 slots" in text


def test_a_card_says_nothing_about_another_model(tmp_path: Path) -> None:
    fast = other(prefill_tokens_per_s=20_000.0, decode_tokens_per_s=5_000.0) | {"model": {"name": "llama3.1:70b"}}

    assert plan(tmp_path, experiment(tmp_path, fast)).total_time == plan(tmp_path, experiment(tmp_path)).total_time


def test_cards_that_disagree_are_both_shown_and_the_slowest_counts(tmp_path: Path) -> None:
    slow = other(decode_tokens_per_s=10.0, seconds_per_decision=60.0)

    (line,) = plan(tmp_path, experiment(tmp_path, CARD, slow)).cards.values()

    assert "card card0" in line
    assert "card card1" in line
    assert "the cards disagree, the slowest is used" in line
    assert plan(tmp_path, experiment(tmp_path, CARD, slow)).total_time == plan(tmp_path, experiment(tmp_path, slow)).total_time


def test_the_power_of_a_server_comes_from_cards_only_if_none_is_declared_and_every_model_has_one(tmp_path: Path) -> None:
    def hardware(declared: spec.Experiment) -> Hardware:
        return servers.load(None, declared, tmp_path)["box"].hardware

    measured = hardware(experiment(tmp_path, CARD))
    assert (measured.watts, measured.watts_card) == (200.0, "card0")
    declared = hardware(experiment(tmp_path, CARD, watts=350.0))
    assert (declared.watts, declared.watts_card) == (350.0, "")
    in_part = hardware(experiment(tmp_path, CARD, arms=", other: {all: other}"))
    assert (in_part.watts, in_part.watts_card) == (None, "")


def test_electricity_by_a_card_names_the_card_unless_a_meter_ran() -> None:
    machine = Hardware("ollama", watts=200.0, usd_per_kwh=0.3, watts_card="card0")

    assert cost_lines(3600.0, machine).watts_card == "card0"
    assert cost_lines(3600.0, machine).marginal_usd == pytest.approx(0.06)
    assert cost_lines(3600.0, machine, joules=1000.0).watts_card == ""


def test_a_card_of_other_weights_is_refused_before_a_run(tmp_path: Path) -> None:
    card = hardware_cards.NamedCard("card0", hardware_cards.HardwareCard.model_validate(CARD))

    assert card.contradicts("llama3.1:8b", "sha256:bbb")
    assert not card.contradicts("llama3.1:8b", "sha256:aaa")
    assert not card.contradicts("llama3.1:8b", None)
    assert not card.contradicts("qwen3:4b", "sha256:bbb")
    found = preflight.look(experiment(tmp_path, CARD), experiment_dir=tmp_path, results=str(tmp_path), freezes=False)
    assert not [check for check in found.checks if check.name.startswith("card")]


def test_a_card_measured_again_keeps_its_other_settings() -> None:
    old, new = (
        hardware_cards.HardwareCard.model_validate(CARD | {"settings": settings})
        for settings in ([SETTING, SETTING | {"slots": 1}], [SETTING | {"decode_tokens_per_s": 70.0}])
    )

    both = hardware_cards.merged(old, new)

    assert [(setting.slots, setting.decode_tokens_per_s) for setting in both.settings] == [(1, 50.0), (4, 70.0)]


# --- energy against the GPU's own counter -----------------------------------------------------------------------------


def recorded(watts_at: list[tuple[float, float]], until: float, step: float = 0.1) -> list[PowerReading]:
    """Readings of a load that changes in steps, with a counter that integrates it exactly."""

    def power(moment: float) -> float:
        return [watts for start, watts in watts_at if start <= moment][-1]

    readings, joules = [], 0.0
    for index in range(round(until / step)):
        moment = index * step
        readings.append({"at": moment, "watts": power(moment), "joules": joules})
        joules += step * power(moment)
    return parse_readings(json.dumps(reading) for reading in readings)


def test_our_energy_agrees_with_the_gpu_s_own_counter_over_the_same_span() -> None:
    readings = recorded([(0, 60), (5, 310), (8.5, 120), (9, 340), (20, 60)], until=30)

    ours, counted = energy_used(readings, 5.05, 19.95, 0.0), counted_joules(readings, 5.05, 19.95)

    assert ours is not None
    assert counted == pytest.approx(3.45 * 310 + 0.5 * 120 + 10.95 * 340, rel=0.01)
    assert ours == pytest.approx(counted, rel=0.05)


def test_a_counter_that_does_not_span_the_work_is_unknown() -> None:
    readings = recorded([(0, 100)], until=10)

    assert counted_joules(readings, 5, 11) is None
    assert counted_joules([PowerReading(reading.at, reading.watts) for reading in readings], 1, 2) is None


def test_the_figures_of_a_setting_count_the_machine_once_and_join_both_energies() -> None:
    start = dt.datetime.fromtimestamp(5, dt.UTC)
    call = {"outcome": "answered", "started_at": start, "duration_s": 10.0, "input_tokens": 1000, "cached_tokens": 200}
    call |= {
        "output_tokens": 300,
        "prefill_s": 0.5,
        "decode_s": 9.0,
        "ttft_s": 0.6,
        "queued_s": 0.1,
        "load_s": 0.0,
        "server_queue_s": 1.5,
    }
    calls = pd.DataFrame([call, call, {**call, "outcome": "failed"}])
    cells = pd.DataFrame({"rating": ["Buy", None]})

    measured = gpu.figures(calls, cells, recorded([(0, 60), (5, 260), (15, 60)], until=20), slots=2, usd_per_hour=3.6)

    setting = measured.setting
    assert (setting.prefill_tokens_per_s, setting.decode_tokens_per_s, setting.output_tokens_per_s) == (1600.0, 33.33, 60.0)
    assert (setting.slots_busy, setting.seconds_per_decision, setting.loads) == (1.0, 5.0, 0)
    assert (setting.queued_s, setting.server_queue_s, setting.first_token_s) == (0.1, 1.5, 0.6)
    assert setting.usd_per_decision == pytest.approx(0.005)
    assert setting.joules_per_decision == pytest.approx(1300.0, rel=0.02)
    assert measured.counter_gap == pytest.approx(0.0, abs=0.05)
    assert (measured.idle_watts, measured.usable) == (60.0, 1)
