"""Hardware cards: what they hold, which models they speak for, and what plan, preflight and report make of them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pandas as pd
import pytest
import yaml
from pydantic import TypeAdapter

from benchmarks import gpu, gpu_figures
from domain.hardware import Hardware
from harness.checking import preflight
from harness.checking.resolved import resolve
from harness.errors import InvalidInput
from harness.experiment import hardware_cards, matrix, servers, spec, yaml_file
from harness.experiment.hardware_cards import CardSetting
from harness.experiment.terms import Name
from harness.money import meter
from harness.money.meter import Power
from harness.planning import plan as planning
from harness.planning import plan_text
from reports.money.hardware import PowerReading, cost_lines, counted_joules, energy_used, idle_watts, parse_readings
from tests.fakes.process import FakeModels

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


def test_a_card_lies_beside_the_experiment_or_beside_servers_yaml_above_it(tmp_path: Path) -> None:
    declared = experiment(tmp_path, CARD)
    folder = tmp_path / "experiments"
    folder.mkdir()

    assert servers.load(None, declared, folder)["box"].watts_card == "card0"
    (folder / "hardware").mkdir()
    (folder / "hardware" / "card0.yaml").write_text(yaml.safe_dump(other(watts=100.0)))
    assert servers.load(None, declared, folder)["box"].hardware.watts == 40.0


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


def test_a_plan_states_the_energy_by_the_power_of_the_card(tmp_path: Path) -> None:
    planned = plan(tmp_path, experiment(tmp_path, CARD, usd_per_gpu_hour=3.6))

    assert planned.energy_kwh.mid is not None
    assert planned.total_cost.mid is not None
    seconds = planned.total_cost.mid / 0.001
    assert planned.energy_kwh.mid == pytest.approx(seconds * 200 / 3.6e6)
    text = [line for heading, line in plan_text.lines(planned) if heading == "energy"]
    assert text == [f"{plan_text.kwh(planned.energy_kwh)} above idle, of self-hosted models"]
    assert plan(tmp_path, experiment(tmp_path)).energy_kwh.mid is None


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


def test_cards_with_the_same_speed_and_another_power_disagree(tmp_path: Path) -> None:
    (line,) = plan(tmp_path, experiment(tmp_path, CARD, other(watts=400.0))).cards.values()

    assert "200 W above idle (card card0" in line
    assert "340 W above idle (card card1" in line
    (line,) = plan(tmp_path, experiment(tmp_path, CARD, other(decode_tokens_per_s=49.0))).cards.values()
    assert "disagree" not in line


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
    assert card.contradicts("llama3.1:8b", None, "Q8_0")
    assert not card.contradicts("llama3.1:8b", "sha256:aaa", "Q8_0")
    found = preflight.look(experiment(tmp_path, CARD), experiment_dir=tmp_path, results=str(tmp_path), freezes=False)
    assert not [check for check in found.checks if check.name.startswith("card")]


def test_a_card_measured_again_keeps_its_other_settings() -> None:
    old, new = (
        hardware_cards.HardwareCard.model_validate(CARD | {"settings": settings})
        for settings in ([SETTING, SETTING | {"slots": 1}], [SETTING | {"decode_tokens_per_s": 70.0}])
    )

    both = hardware_cards.merged(old, new)

    assert [(setting.slots, setting.decode_tokens_per_s) for setting in both.settings] == [(1, 50.0), (4, 70.0)]


CALL = {"outcome": "answered", "duration_s": 10.0, "input_tokens": 1000, "cached_tokens": 200, "output_tokens": 300} | {
    "prefill_s": 0.5,
    "decode_s": 9.0,
    "ttft_s": 0.6,
    "queued_s": 0.1,
    "load_s": 0.0,
    "server_queue_s": 1.5,
}


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


def nvml_of(load: list[tuple[float, float]], until: float) -> Iterator[tuple[float, Power]]:
    """What NVML shows of a load every 0.1 s: power is the mean of the last second, and the counter moves every 0.1 s."""
    step, joules, window = 0.02, 0.0, [load[0][1]] * 50
    for index in range(round(until / step)):
        moment = index * step
        power = [watts for start, watts in load if start <= moment][-1]
        window = [*window[1:], power]
        if index % 5 == 0:
            yield moment, Power(sum(window) / len(window), round(joules, 3))
        joules += step * power


def test_our_energy_agrees_with_the_gpu_s_counter_as_the_meter_records_both(tmp_path: Path) -> None:
    load = [(0.0, 62.0), (5.0, 310.0), (8.5, 120.0), (9.0, 343.0), (21.0, 95.0), (21.4, 335.0), (40.0, 62.0)]
    readings = list(nvml_of(load, until=45))
    moments, stop = iter([moment for moment, _ in readings]), Event()

    def read() -> Power:
        _, power = readings[len(read_so_far)]
        read_so_far.append(power)
        if len(read_so_far) == len(readings):
            stop.set()
        return power

    read_so_far: list[Power] = []
    meter.sample(read, tmp_path / "power.jsonl", stop, 0.0, clock=lambda: next(moments))
    recorded = parse_readings((tmp_path / "power.jsonl").read_text().splitlines())

    assert len(recorded) == len(readings)
    ours, counted = energy_used(recorded, 5.05, 39.95, 0.0), counted_joules(recorded, 5.05, 39.95)
    assert ours is not None
    assert counted == pytest.approx(3.45 * 310 + 0.5 * 120 + 12 * 343 + 0.4 * 95 + 18.55 * 335, rel=0.01)
    assert ours == pytest.approx(counted, rel=0.05)
    assert idle_watts(recorded, [(5.0, 41.0)]) == 62.0


def test_power_readings_that_are_too_low_are_seen_against_the_counter() -> None:
    start = dt.datetime.fromtimestamp(5, dt.UTC)
    calls = pd.DataFrame([CALL | {"started_at": start}])
    low = [replace(reading, watts=reading.watts * 0.7) for reading in recorded([(0, 60), (5, 260), (15, 60)], until=20)]

    measured = gpu_figures.figures(calls, pd.DataFrame({"rating": ["Buy"]}), low, slots=1, usd_per_hour=None)

    assert measured.counter_gap == pytest.approx(-0.3, abs=0.03)


def test_a_counter_that_does_not_span_the_work_is_unknown() -> None:
    readings = recorded([(0, 100)], until=10)

    assert counted_joules(readings, 5, 11) is None
    assert counted_joules([PowerReading(reading.at, reading.watts) for reading in readings], 1, 2) is None


def test_the_figures_of_a_setting_count_the_machine_once_and_join_both_energies() -> None:
    start = dt.datetime.fromtimestamp(5, dt.UTC)
    call = CALL | {"started_at": start}
    calls = pd.DataFrame([call, call, {**call, "outcome": "failed"}])
    cells = pd.DataFrame({"rating": ["Buy", None]})

    measured = gpu_figures.figures(calls, cells, recorded([(0, 60), (5, 260), (15, 60)], until=20), slots=2, usd_per_hour=3.6)

    setting = measured.setting
    assert (setting.prefill_tokens_per_s, setting.decode_tokens_per_s, setting.output_tokens_per_s) == (1600.0, 33.33, 60.0)
    assert (setting.slots_busy, setting.seconds_per_decision, setting.loads) == (1.0, 5.0, 0)
    assert (setting.queued_s, setting.server_queue_s, setting.first_token_s) == (0.1, 1.5, 0.6)
    assert (setting.input_tokens_per_s, setting.input_tokens_per_decision, setting.decisions) == (200.0, 1000.0, 2)
    assert setting.usd_per_decision == pytest.approx(0.005)
    assert setting.joules_per_decision == pytest.approx(1300.0, rel=0.02)
    assert measured.counter_gap == pytest.approx(0.0, abs=0.05)
    assert (measured.idle_watts, measured.usable) == (60.0, 1)


def test_a_server_that_answers_in_one_piece_has_a_first_token_by_its_own_times() -> None:
    calls = pd.DataFrame([CALL | {"started_at": dt.datetime.fromtimestamp(5, dt.UTC), "ttft_s": None}])

    measured = gpu_figures.figures(calls, pd.DataFrame({"rating": ["Buy"]}), [], slots=1, usd_per_hour=None)

    assert measured.setting.first_token_s == 1.0
    assert measured.setting.joules_per_decision is None
    assert "watts" not in CardSetting.model_dump(measured.setting, exclude_none=True)


def test_the_speed_of_a_server_that_reports_no_times_comes_from_streamed_answers(fake_models: FakeModels) -> None:
    fake_models.control(defaults={"latency_s": 0.5, "output_tokens": 40})
    calls = pd.DataFrame([CALL | {"prefill_s": None, "decode_s": None}])

    assert not gpu_figures.has_times(calls)
    speeds = gpu_figures.streamed_speeds(f"{fake_models.url}/v1", "fake-model", slots=2)

    assert speeds.first_token_s >= 0.5
    assert 100 < speeds.prefill_tokens_per_s < 10_000
    assert speeds.decode_tokens_per_s > speeds.prefill_tokens_per_s
    assert [heard["model"] for heard in fake_models.ledger(full=True)["requests"]] == ["fake-model"] * 2


# --- the command -----------------------------------------------------------------------------------------------------


def test_only_a_card_of_the_same_machine_server_and_weights_is_merged() -> None:
    card = hardware_cards.HardwareCard.model_validate(CARD)

    assert card.subject == hardware_cards.HardwareCard.model_validate(CARD | {"measured": "2027-01-01"}).subject
    for changed in ({"server": "ollama 0.33.0"}, {"machine": "Other"}, {"model": {"name": "llama3.1:8b", "digest": "b"}}):
        assert card.subject != hardware_cards.HardwareCard.model_validate(CARD | changed).subject


def test_a_server_on_another_machine_is_measured_only_with_the_name_of_its_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["gpu", "--url", "http://192.168.1.20:11434"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit):
        gpu.read_options()
    assert "is another machine: name it with --machine" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*command, "--machine", "gpu-box"])
    assert gpu.read_options().machine == "gpu-box"
    monkeypatch.setattr("sys.argv", [*command, "--here"])
    assert gpu.read_options().here


def test_the_name_of_a_card_fits_servers_yaml() -> None:
    machine = "13th Gen Intel(R) Core(TM) i9-13900K CPU @ 5.80GHz, 24 cores"
    name = f"{gpu.slug(machine)}-{gpu.slug('meta-llama/Llama-3.3-70B-Instruct-AWQ-INT4')}"

    assert name == "13th-gen-intel-core-i9-13900k-5-meta-llama-llama-3-3-70b-instru"
    assert TypeAdapter(Name).validate_python(name) == name


def test_the_card_that_is_shipped_can_be_named_and_holds_no_power_of_a_cpu() -> None:
    folder = Path(gpu.ROOT) / "experiments"
    names = [path.stem for path in (folder / hardware_cards.FOLDER).glob("*.yaml")]

    assert names
    for named in hardware_cards.load(names, [folder]):
        assert TypeAdapter(Name).validate_python(named.name) == named.name
        assert (named.card.idle_watts, named.card.watts_above_idle(1)) == (None, None)
