"""Whole runs of attached programs: what is recorded, what counts as a decision, and what a crash costs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.fixtures.runs import Lab, wait_for
from tests.gateway.conftest import attached, scripted

ARMS = {"paid": {"all": "paid"}, "hybrid": {"deep": "paid", "quick": "own"}}


def programs(lab: Lab) -> dict[str, dict[str, Any]]:
    cells = [row for row in lab.rows("cells") if row["kind"] == "pipeline"]
    return {row["arm"]: row | {"program": json.loads(row["program"])} for row in cells}


def test_a_program_is_run_unmodified_with_every_lineup(desk: Lab) -> None:
    desk.experiment(pipeline=attached(), arms=ARMS, replay={"from": "paid", "to": ["own"], "noise_floor": 0})
    desk.run("--yes")
    cells = programs(desk)
    assert {arm: (row["status"], row["rating"], row["decision_status"]) for arm, row in cells.items()} == {
        "paid": ("ok", "Overweight", "typed"),
        "hybrid": ("ok", "Overweight", "typed"),
    }
    assert cells["paid"]["program"]["calls"] == cells["paid"]["program"]["named"] == 7
    assert cells["paid"]["program"]["source"] == "forced tool"
    calls = desk.rows("calls")
    hybrid = [(row["role"], row["server"]) for row in calls if row["arm"] == "hybrid"]
    assert set(hybrid) == {
        ("market_analyst", "box"),
        ("bull", "box"),
        ("bear", "box"),
        ("portfolio_manager", "cloud"),
    }
    assert all(row["cost_usd"] for row in calls if row["server"] == "cloud")
    places = [(row["role"], row["round"], row["kind"], row["index"]) for row in calls if row["arm"] == "paid"]
    assert ("market_analyst", 0, "tool_round", 1) in places
    assert ("bull", 2, "primary", 0) in places
    replayed = {(row["role"], row["round"]) for row in calls if row["kind"] == "replay"}
    assert replayed == {
        *(("bull", round_) for round_ in (1, 2)),
        *(("bear", round_) for round_ in (1, 2)),
        ("market_analyst", 0),
        ("portfolio_manager", 0),
    }
    page = (desk.runs[-1] / "report.html").read_text()
    assert "1 of 1 cases: all arms read the same data" in page, "time stamps in tool results do not count"
    assert "the program fetched its own data" in page
    assert "the same frozen inputs" not in page, "a program reads what it fetches"


def arm_of(how: str, **more: Any) -> dict[str, Any]:
    return {"all": "paid", "pipeline": {"command": attached(how)["command"], **more}}


def test_a_misbehaving_program_never_counts_as_a_decision(desk: Lab) -> None:
    hows = ("nothing", "elsewhere", "unmapped", "flood", "stubborn", "missing", "otherdata")
    arms = {how: arm_of(how) for how in hows} | {"stubborn": arm_of("stubborn", time_limit=8)}
    arms["missing"]["pipeline"]["command"] = ["no-such-program"]
    desk.experiment(pipeline=attached(), arms=arms)
    desk.run("--yes")
    cells = {row["arm"]: row for row in desk.rows("cells")}
    assert {arm: (row["status"], row["rating"]) for arm, row in cells.items()} == {
        "nothing": ("failed", None),
        "elsewhere": ("failed", None),
        "unmapped": ("failed", None),
        "flood": ("ok", "Overweight"),
        "stubborn": ("timeout", None),
        "missing": ("failed", None),
        "otherdata": ("ok", "Overweight"),
    }
    assert "no call reached the gateway" in cells["nothing"]["error"]
    assert "could not reach my own address" in cells["elsewhere"]["error"]
    assert "bull: model 'gpt-99' is not mapped" in cells["unmapped"]["error"]
    assert "went on without its answer" in cells["unmapped"]["error"]
    assert "raise pipeline.time_limit" in cells["stubborn"]["error"]
    assert "cannot be started" in cells["missing"]["error"]
    assert json.loads(cells["unmapped"]["program"])["word"] == "Overweight", "the program's own word is shown"
    assert not left_over_processes(), "a program leaves nothing behind"
    page = (desk.runs[-1] / "report.html").read_text()
    assert "0 of 1 cases: all arms read the same data" in page
    assert "get_prices({&#34;ticker&#34;: &#34;AAPL&#34;}) was not the same for" in page, "the page names what differed"


def test_roles_are_suggested_from_a_run_and_name_every_call_of_the_next(desk: Lab) -> None:
    desk.experiment(pipeline=attached("officer"), arms={"paid": {"all": "paid"}})
    desk.run("--yes")
    proposed = desk.harness("roles", "suggest", "lab")
    assert "# 7 of 8 calls are named already." in proposed
    assert "- {role: risk_officer, system: '^You are a Risk Officer who checks limits" in proposed
    page = (desk.runs[-1] / "report.html").read_text()
    assert "Replay and role advice do not cover other" in page
    (desk.folder / "roles.yaml").write_text(proposed)
    desk.experiment(pipeline=attached("officer", roles="roles.yaml"), arms={"paid": {"all": "paid"}})
    assert "8 of 8 calls named" in desk.harness("check", "lab.yaml")


def test_named_files_of_a_program_are_kept_without_the_secrets_that_it_was_given(desk: Lab) -> None:
    desk.environment["DATA_KEY"] = "market-data-key-1"
    pipeline = attached("writes", keep=["~/results/**/*.json"], env={"DATA_KEY": "$DATA_KEY"})
    desk.experiment(pipeline=pipeline, arms={"paid": {"all": "paid"}})
    desk.run("--yes")
    (cell,) = desk.rows("cells")
    assert (cell["status"], cell["rating"]) == ("ok", "Overweight")
    program = json.loads(cell["program"])
    kept = ["results/a <b>&'.json", "results/deep/log.json", "results/state.json"]
    assert program["files"] == {"kept": kept, "left_out": ["results/huge.json"]}
    folder = desk.runs[-1] / "files" / cell["cell_id"]
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"a <b>&'.json", "state.json", "log.json"}, (
        "no link, nothing huge"
    )
    assert (folder / "results/state.json").read_text() == "[DATA_KEY]"
    assert "my key is [DATA_KEY], my address http://127.0.0.1:" in program["stdout"]
    assert "/c/[token]/v1" in program["stdout"]
    page = (desk.runs[-1] / "report.html").read_text()
    assert f'href="files/{cell["cell_id"]}/results/a%20%3Cb%3E%26%27.json"' in page
    assert "a <b>" not in page
    desk.experiment(pipeline=pipeline, arms={"paid": {"all": "paid"}}, tickers=["AAPL", "MSFT"])
    desk.run("--yes", "--limit", "1")
    assert len(desk.runs) == 2
    assert desk.paid()["calls"] == 7, "the case is reused"
    reused = desk.runs[-1] / "files" / cell["cell_id"]
    assert {path.relative_to(reused).as_posix() for path in reused.rglob("*.json")} == set(kept)
    for pattern in ("/etc/*", "~/../*", "~/", "**.json"):
        desk.experiment(pipeline=attached(keep=[pattern]))
        assert "write ~/results/**/*.json" in desk.harness("plan", "lab.yaml", expect=2)


def left_over_processes() -> list[str]:
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if "desk.py" in line and "stubborn" in line]


def test_a_capped_case_is_ended_and_a_killed_worker_pays_only_what_was_in_flight_again(desk: Lab) -> None:
    desk.experiment(pipeline=attached(), arms={"paid": {"all": "paid"}}, budget={"cell_usd": 0.042})
    desk.run("--yes")
    (cell,) = desk.rows("cells")
    assert (cell["status"], cell["rating"]) == ("over_budget", None)
    paid_before = desk.paid()["calls"]
    assert 0 < paid_before < 7
    desk.fake.control(defaults={"latency_s": 1.5})
    desk.experiment(pipeline=attached(), arms={"paid": {"all": "paid"}}, budget={"cell_usd": 100})
    running = desk.start("run", "lab.yaml", "--yes")
    wait_for(lambda: desk.paid()["calls"] > paid_before + 1, "the calls that were not paid before")
    kill_tree(running.pid)
    desk.fake.control(defaults={"latency_s": 0.0})
    scripted(desk)
    desk.run("--yes")
    (cell,) = desk.rows("cells")
    assert (cell["status"], cell["rating"]) == ("ok", "Overweight")
    calls = desk.rows("calls")
    assert sum(row["outcome"] == "answered" for row in calls) == 7
    assert desk.paid()["calls"] <= 8, "paid twice: only what was in flight"


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and its descendants, as an out-of-memory killer would."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed)}
    doomed = {pid}
    for _ in range(6):
        doomed |= {child for child, parent in parents.items() if parent in doomed}
    # The watchdog and Redis live on: one ends what is left, the other keeps the journal.
    for each in doomed:
        name = Path(f"/proc/{each}/cmdline").read_text(errors="replace") if Path(f"/proc/{each}").exists() else ""
        if "watchdog" not in name and "redis-server" not in name and "valkey" not in name:
            with contextlib.suppress(OSError):
                os.kill(each, signal.SIGKILL)
