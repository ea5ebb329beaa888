"""A run, end to end: what it leaves, how it goes on, and that it never pays twice."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.money import invoice
from harness.runs import status
from reports.load import load
from reports.money import economics
from tests.fakes.process import fake_server
from tests.fixtures.runs import CALLS_PER_CELL, HOSTED, PATIENCE_S, Lab, wait_for


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose run of four cells has ended, with a fake model server that saw nothing else; tests only read it."""
    with fake_server() as models:
        lab = Lab(tmp_path_factory.mktemp("finished"), models)
        lab.experiment(dates=2)
        lab.run()
        yield lab
        lab.close()


@pytest.fixture
def continued(finished: Lab, lab: Lab) -> Lab:
    """A lab of its own with a copy of that run, for which nothing was paid on this test's fake model server."""
    shutil.copytree(finished.folder, lab.folder, dirs_exist_ok=True)
    lab.experiment(dates=2)
    return lab


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def paid_calls(lab: Lab) -> int:
    return int(lab.paid()["calls"])


def test_a_run_leaves_tables_and_a_page_and_every_call_that_was_paid(finished: Lab) -> None:
    cells, calls = finished.rows("cells"), finished.rows("calls")

    assert sorted((cell["arm"], cell["case_id"], cell["status"]) for cell in cells) == [
        ("own", "AAPL@2012-06-15", "ok"),
        ("own", "AAPL@2012-06-18", "ok"),
        ("paid", "AAPL@2012-06-15", "ok"),
        ("paid", "AAPL@2012-06-18", "ok"),
    ]
    assert len(calls) == sum(cell["llm_calls"] for cell in cells) == paid_calls(finished)
    known = {message["message_id"] for message in finished.rows("messages")}
    assert {one for call in calls for one in call["message_ids"]} == known
    assert (finished.runs[0] / "report.html").exists()
    assert not list(finished.folder.rglob("*.tmp"))


def test_unknown_money_is_null_and_what_was_billed_is_summed(finished: Lab) -> None:
    by_arm = {cell["arm"]: cell for cell in finished.rows("cells")}
    billed = sum(call["cost_usd"] for call in finished.rows("calls") if call["cell_id"] == by_arm["paid"]["cell_id"])

    assert by_arm["own"]["cost_usd"] is None
    assert by_arm["own"]["api_cost_usd"] == 0.0
    assert by_arm["paid"]["api_cost_usd"] == pytest.approx(billed)


def test_the_manifest_says_what_made_the_run(finished: Lab) -> None:
    manifest = json.loads((finished.runs[0] / "manifest.json").read_text())

    assert manifest["state"] == "done"
    assert manifest["cells"] == 4
    assert manifest["versions"]["redis_server"]
    assert manifest["command"] == "python -m harness run lab.yaml"
    assert "python -m harness run lab.yaml</pre>" in (finished.runs[0] / "report.html").read_text()
    assert manifest["prices"]["own"]["version"] == "lab"
    assert "sk-fake" not in (finished.runs[0] / "manifest.json").read_text()


def test_a_second_run_does_no_work_and_says_so(continued: Lab) -> None:
    before = {path: path.stat().st_mtime_ns for path in continued.runs[0].iterdir()}
    used_s = cpu_seconds_of_children()

    assert "nothing left to do" in continued.run()

    assert cpu_seconds_of_children() - used_s < 3.0, "of a processor: what the machine does meanwhile does not matter"
    assert {path: path.stat().st_mtime_ns for path in continued.runs[0].iterdir()} == before
    assert len(continued.runs) == 1
    assert paid_calls(continued) == 0


def test_deleting_one_receipt_runs_exactly_that_cell_again_from_what_it_was_answered(continued: Lab) -> None:
    receipts = continued.receipts()
    receipts[0].unlink()

    continued.run()

    assert paid_calls(continued) == 0
    assert continued.receipts() == receipts
    again = next(cell for cell in continued.rows("cells") if receipts[0].name.startswith(cell["cell_id"]))
    assert again["attempts"] == 2
    assert again["llm_calls"] == CALLS_PER_CELL, "what the first attempt was answered is used and counted once"


def test_a_run_ends_with_the_answer_of_its_page_and_the_same_command_shows_it_again(continued: Lab) -> None:
    output = continued.run()
    answer = json.loads((continued.runs[0] / "answer.json").read_text())
    decisions, returns = answer["sentences"]
    assert decisions.startswith("Decisions: ")
    assert returns.startswith("Returns: ")
    assert set(answer["rows"]) == {"paid", "own"}
    assert output.index("Decisions: ") < output.index("Returns: ") < output.index("report: ")
    assert decisions in output


def test_status_tells_one_json_object(finished: Lab) -> None:
    told = json.loads(finished.harness("status", "lab", "--json"))

    assert told["state"] == "done"
    assert told["cells"]["ended"] == told["cells"]["wanted"] == 4
    (listed,) = status.newest_runs(str(finished.folder / "results"))
    assert (listed.run.experiment, listed.state, listed.progress.ended) == ("lab", "done", 4)


def test_a_further_arm_pays_only_for_its_own_cells(continued: Lab) -> None:
    continued.experiment(dates=2, arms={"renamed": {"all": "paid"}, "own": {"all": "own"}, "macd": {"rule": "macd"}})

    said = continued.run()

    assert "reused from earlier runs: 4 ended cells" in said
    assert paid_calls(continued) == 0
    assert len(continued.runs) == 2
    cells = continued.rows("cells")
    assert sorted({cell["arm"] for cell in cells}) == ["macd", "own", "renamed"]
    assert {cell["run_id"] for cell in cells if cell["arm"] == "renamed"} == {continued.runs[0].name}
    assert {cell["decision_status"] for cell in cells if cell["arm"] == "macd"} == {"rule"}

    earlier_usd = sum(cell["api_cost_usd"] for cell in continued.rows("cells", run=0))
    assert f"API cost: $0.0000 paid in this run, ${earlier_usd:,.4f} reused from earlier runs" in said
    as_json = json.loads(continued.harness("status", "lab", "--json"))
    assert (as_json["api_cost_usd"], as_json["reused_api_usd"]) == pytest.approx((0.0, earlier_usd))
    assert as_json["arms"]["renamed"]["paid_usd"] == pytest.approx(0.0)
    assert as_json["arms"]["renamed"]["reused_usd"] == pytest.approx(earlier_usd)
    assert "reused from earlier runs" in (continued.runs[1] / "report.html").read_text()
    compared = invoice.reconcile(str(continued.folder / "results"), "lab", nothing_billed(continued))
    assert compared.reused_usd == pytest.approx(earlier_usd)
    assert (compared.agrees, compared.ours_usd) == (True, None)


def nothing_billed(lab: Lab) -> Path:
    path = lab.folder / "usage.csv"
    path.write_text("date,model,requests,cost_usd\n")
    return path


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_a_signal_lets_paid_requests_land_and_the_next_run_pays_for_none_of_them_again(
    lab: Lab, signals: list[signal.Signals]
) -> None:
    """Twice at once, as `timeout` sends it, is still one wish."""
    lab.experiment(dates=3)
    lab.fake.control(defaults={"latency_s": 0.4})
    process = lab.start("run", "lab.yaml")
    wait_for(lambda: paid_calls(lab) > 10, "requests")
    for one in signals:
        process.send_signal(one)
        time.sleep(0.02)
    output, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 3, output
    assert "the same command continues" in output
    lab.fake.control(defaults={"latency_s": 0.0})

    lab.run()

    assert paid_calls(lab) == 6 * CALLS_PER_CELL == len(lab.rows("calls"))
    assert lab.paid()["abandoned"] == 0
    assert len(lab.runs) == 1


@pytest.mark.parametrize("which", ["supervisor", "everything"])
def test_a_run_whose_workers_are_told_to_end_is_stopped_and_resumable(lab: Lab, which: str) -> None:
    """Everything at once is how a machine goes down: what is out then has no Redis to land in, and is asked again."""
    lab.experiment(dates=3)
    lab.fake.control(defaults={"latency_s": 0.4})
    process = lab.start("run", "lab.yaml")
    wait_for(lambda: paid_calls(lab) > 10, "requests")
    below = _below(process.pid)
    told = [process.pid, *below] if which == "everything" else [pid for pid, name in below.items() if " worker " in name][:1]
    for pid in told:
        os.kill(pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 3, output
    assert json.loads((lab.runs[0] / "manifest.json").read_text())["state"] == "stopped"
    lab.fake.control(defaults={"latency_s": 0.0})

    lab.run()

    assert {cell["status"] for cell in lab.rows("cells")} == {"ok"}
    out = 6 * 4 if which == "everything" else 0
    assert 6 * CALLS_PER_CELL <= paid_calls(lab) <= 6 * CALLS_PER_CELL + out


def test_a_worker_process_that_is_told_to_end_is_replaced_and_nothing_is_paid_twice(lab: Lab) -> None:
    lab.experiment(dates=3)
    lab.fake.control(defaults={"latency_s": 0.2})
    process = lab.start("run", "lab.yaml")
    wait_for(lambda: paid_calls(lab) > 10, "requests")
    supervisor = next(pid for pid, name in _below(process.pid).items() if " worker " in name)
    for pid in _below(supervisor):
        os.kill(pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0, output
    assert paid_calls(lab) == 6 * CALLS_PER_CELL == len(lab.rows("calls"))


def _below(parent: int) -> dict[int, str]:
    """Processes under one, with their command lines; parents before children."""
    found: dict[int, str] = {}
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = sorted((int(pid), int(above), args) for pid, above, args in (line.split(None, 2) for line in listed.splitlines()))
    for pid, above, args in rows:
        if above == parent or above in found:
            found[pid] = args
    return found


def test_a_cap_stops_the_run_and_a_higher_one_goes_on_without_paying_again(lab: Lab) -> None:
    lab.experiment(dates=3, budget={"run_usd": 0.06})

    said = lab.run(expect=3)

    assert "the budget is used up" in said
    assert sum(call["cost_usd"] or 0.0 for call in lab.rows("calls")) <= 0.06

    lab.run("--budget", "5")

    cells = lab.rows("cells")
    assert len(lab.runs) == 1
    assert {cell["status"] for cell in cells} == {"ok"}
    assert len(cells) == 6
    assert paid_calls(lab) == 6 * CALLS_PER_CELL


def test_pause_resume_and_stop_are_said_from_another_shell(lab: Lab) -> None:
    lab.experiment(dates=4)
    lab.fake.control(defaults={"latency_s": 4.0})
    process = lab.start("run", "lab.yaml")
    wait_for(lambda: paid_calls(lab) > 4, "requests")

    assert "pause" in lab.harness("pause", "lab")
    assert json.loads(lab.harness("status", "lab", "--json"))["state"] == "paused"
    lab.harness("resume", "lab")
    lab.harness("stop", "lab")
    output, _ = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 3, output
    lab.harness("stop", "lab", expect=2)


def test_failed_cells_are_reopened_and_their_calls_stay_in_the_bill(lab: Lab) -> None:
    lab.experiment(dates=1)
    lab.fake.control(rules=[{"do": {"status": 400, "error": "no"}, "model": HOSTED}])
    lab.run()
    failed = next(cell for cell in lab.rows("cells") if cell["arm"] == "paid")
    assert (failed["status"], failed["error_type"]) == ("failed", "bad_request")
    assert failed["error"].startswith(tuple(f"{call['role']}: " for call in lab.rows("calls") if call["error_type"]))
    assert f"paid {failed['case_id']}: failed (bad_request): " in lab.harness("status", "lab")
    lab.fake.control(rules=[])

    assert "1 cell reopened" in lab.harness("retry", "lab")
    lab.run()

    again = next(cell for cell in lab.rows("cells") if cell["arm"] == "paid")
    assert again["status"] == "ok"
    assert again["llm_calls"] == failed["llm_calls"] + CALLS_PER_CELL


def test_a_folder_that_cannot_be_written_is_said_without_a_traceback(lab: Lab, tmp_path: Path) -> None:
    lab.experiment(dates=1)
    (tmp_path / "results").write_text("a file where a folder should be")

    assert "Traceback" not in lab.run(expect=2)


def test_a_local_arm_costs_what_its_machine_did_in_status_tables_and_page(lab: Lab) -> None:
    lab.experiment(dates=3, arms={"own": {"all": "own"}}, local_cost={"usd_per_gpu_hour": 3600})
    lab.fake.control(defaults={"latency_s": 0.5})

    lab.run()

    calls = [call for call in lab.rows("calls") if call["arm"] == "own"]
    spans = sorted((call["started_at"].timestamp(), call["started_at"].timestamp() + call["duration_s"]) for call in calls)
    machine_s, busy_until = 0.0, 0.0
    for start, end in spans:
        machine_s += max(0.0, end - max(start, busy_until))
        busy_until = max(busy_until, end)
    assert machine_s < 0.7 * sum(call["duration_s"] for call in calls), "several requests were with the server at a time"
    assert sum(call["cost_usd"] for call in calls) == pytest.approx(machine_s), "a second costs a dollar"
    assert sum(cell["cost_usd"] for cell in lab.rows("cells")) == pytest.approx(machine_s)
    as_json = json.loads(lab.harness("status", "lab", "--json"))
    assert as_json["arms"]["own"]["paid_usd"] == pytest.approx(machine_s)
    (use,) = economics.local_use(load(str(lab.runs[0])))
    assert (use.machine_s, use.total.rented_usd) == pytest.approx((machine_s, machine_s))
