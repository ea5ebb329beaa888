"""The stage of a fault: an experiment against the fake model server, real processes, and the promises that hold after it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import pytest
import yaml

from tests.fakes.process import FakeModels

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 600.0
"""Only a hang takes so long, also on a machine that is busy with other things."""
BREAKS = Path(__file__).with_name("breaks")
USD_PER_MILLION = {"gpt-5": (1.25, 0.125, 10.0), "gpt-5-mini": (0.25, 0.025, 2.0), "gpt-5-nano": (0.05, 0.005, 0.4)}
"""Input, cached input, output; gpt-5.1 costs what gpt-5 does."""


@dataclass
class Stage:
    """One experiment in its own folder; every process that it starts is known by a mark in its environment."""

    folder: Path
    models: FakeModels
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def describe(self, tickers: Sequence[str] = ("AAPL", "IBM", "MSFT"), dates: int = 4, **more: Any) -> None:
        """Write the experiment and its servers."""
        days = [f"2010-{month:02d}-15" for month in (3, 4, 6, 7, 9, 10, 11, 12)][:dates]
        experiment = {
            "name": "fault",
            "tickers": list(tickers),
            "dates": days,
            "repeats": 1,
            "data": "demo",
            "models": {"gpt": self.model()},
            "budget": {"run_usd": 100.0},
        }
        (self.folder / "fault.yaml").write_text(yaml.safe_dump(experiment | more))
        self.servers()

    def break_in(self, *breaks: str) -> None:
        """Processes of this stage that start from now on break, once for each of these (see breaks/sitecustomize.py)."""
        folder = self.folder / "breaks"
        folder.mkdir()
        for number, what in enumerate(breaks):
            (folder / str(number)).write_text(what)
        self.environment |= {"BREAKS": str(folder), "PYTHONPATH": f"{BREAKS}:{ROOT}"}

    def bend_clock(self) -> Path:
        """A file: the seconds in it are added to the wall clock of processes that start from now on."""
        clock = self.folder / "clock"
        clock.write_text("0")
        self.environment |= {"CLOCK": str(clock), "PYTHONPATH": f"{BREAKS}:{ROOT}"}
        return clock

    def breaks_left(self) -> int:
        return len(list((self.folder / "breaks").iterdir()))

    @staticmethod
    def model() -> dict[str, Any]:
        return {"provider": "openai", "model": "gpt-5", "server": "cloud", "reasoning_effort": "low", "max_output_tokens": 2000}

    def servers(self, **more: Any) -> None:
        cloud = {"provider": "openai", "url": f"{self.models.url}/v1", "hosted": True, "parallel": 32, "timeout": "30s"}
        gpu = {"provider": "ollama", "url": self.models.url, "parallel": 2, "usd_per_gpu_hour": 0.5}
        (self.folder / "servers.yaml").write_text(yaml.safe_dump({"cloud": cloud | more, "gpu-box": gpu}))

    def start(self, *options: str, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        """`harness run` in a process group of its own."""
        arguments = ["run", "fault.yaml", "--yes", *options]
        return self._spawn([*prefix, sys.executable, "-m", "harness", *arguments], "run.log")

    def start_find(self, *options: str) -> subprocess.Popen[str]:
        """`harness find` in a process group of its own."""
        return self._spawn([sys.executable, "-m", "harness", "find", "fault.yaml", *options], "run.log")

    def start_worker(self, broker: str, *options: str) -> subprocess.Popen[str]:
        """`harness worker` as on another machine."""
        return self._spawn([sys.executable, "-m", "harness", "worker", "--broker", broker, *options], "worker.log")

    def _spawn(self, words: Sequence[str], log: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "STAGE": self.mark, "PYTHONWARNINGS": "default"} | self.environment
        with (self.folder / log).open("a") as stream:
            process = subprocess.Popen(
                words, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                text=True, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[str], code: int | None = 0, patience_s: float = PATIENCE_S) -> None:
        """Wait for a runner; `code` None takes any."""
        try:
            ended = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {patience_s:g} s\n{self.said()}")
        assert code is None or ended == code, f"exit code {ended}\n{self.said()}"

    def said(self) -> str:
        """What runner and workers said, for a failing test."""
        logs = [*self.folder.glob("*.log"), *self.folder.glob("results/*/*/*.log")]
        return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-6000:]}" for log in logs)

    def processes(self) -> dict[int, str]:
        """pid -> command line of everything of this stage that lives."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if f"STAGE={self.mark}".encode() in (entry / "environ").read_bytes() and not _is_zombie(entry):
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def workers(self) -> list[int]:
        """Forked worker processes, without their supervisor."""
        serving = self._serving()
        return sorted(pid for pid in serving if _parent(pid) in serving)

    def supervisors(self) -> list[int]:
        """Processes that fork workers."""
        serving = self._serving()
        return sorted(pid for pid in serving if _parent(pid) not in serving)

    def _serving(self) -> set[int]:
        return {pid for pid, command in self.processes().items() if "harness worker" in command}

    def kill_all(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def until(self, happened: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
        """Wait until something is seen, and return it."""
        deadline = time.monotonic() + patience_s
        while not (seen := happened()):
            if time.monotonic() > deadline:
                pytest.fail(f"not seen in {patience_s:g} s: {what}\n{self.said()}")
            time.sleep(0.05)
        return seen

    def answered(self, at_least: int) -> None:
        """Wait until the fake has answered so many requests."""
        self.until(lambda: self.models.ledger()["answered"] >= at_least, f"{at_least} answers")

    @property
    def run(self) -> Path:
        (run,) = [path for path in (self.folder / "results" / "fault").iterdir() if path.is_dir()]
        return run

    def table(self, name: str) -> list[dict[str, Any]]:
        return list(pq.read_table(self.run / f"{name}.parquet").to_pylist())

    def receipts(self) -> int:
        return len(list((self.folder / "results").glob("fault/*/parts/*.cell.parquet")))


@dataclass(frozen=True)
class Promise:
    """What must hold after whatever happened."""

    cells: int
    statuses: frozenset[str] = frozenset({"ok"})
    cut_off: int | None = None
    """Most requests that may have been in flight when something died; None looks at the killed rows only."""

    late: int = 0
    """Most requests that a stalled process had out: they are asked again meanwhile, and both answers are kept and billed."""

    def check(self, stage: Stage, ledger: dict[str, Any] | None = None) -> None:
        self._receipts(stage)
        self._calls(stage)
        self._nothing_left(stage)
        if ledger is not None:
            self._money(stage, ledger)

    def _receipts(self, stage: Stage) -> None:
        cells = stage.table("cells")
        assert len(cells) == self.cells == stage.receipts(), f"{len(cells)} cells, {stage.receipts()} receipts\n{stage.said()}"
        assert len({cell["cell_id"] for cell in cells}) == self.cells
        wrong = [(cell["status"], cell["error_type"], cell["error"]) for cell in cells if cell["status"] not in self.statuses]
        assert not wrong, f"{wrong}\n{stage.said()}"

    def _calls(self, stage: Stage) -> None:
        """Every answer that was paid stands in the tables or is flagged; none was asked for twice beyond those in flight."""
        calls, truth = stage.table("calls"), stage.models.ledger(full=True)
        outcomes = Counter(call["outcome"] for call in calls)
        assert len({call["call_id"] for call in calls}) == len(calls)
        killed = outcomes["killed"]
        assert truth["answered"] - killed <= outcomes["answered"] <= truth["answered"], (outcomes, truth["models"])
        asked = Counter((one["model"], one["prompt"]) for one in truth["requests"] if one["outcome"] == "answered")
        assert sum(asked.values()) - len(asked) <= killed + self.late, (outcomes, asked.most_common(3))
        if self.cut_off is not None:
            assert killed <= self.cut_off, outcomes
        places = Counter(_place(call) for call in calls if call["outcome"] == "answered")
        twice = sum(count - 1 for count in places.values())
        assert twice <= self.late, f"{twice} places were answered twice"
        paid, told = sum(_usd(call) for call in calls), true_usd(truth["models"])
        assert sum(call["cost_usd"] for call in calls) == pytest.approx(paid)
        assert paid >= told - 1e-9, f"settled and estimated {paid} is below the truth {told}"
        if not killed and set(outcomes) == {"answered"}:
            assert paid == pytest.approx(told, abs=1e-9)
            assert sum(call["input_tokens"] for call in calls) == truth["input_tokens"]
            assert sum(call["output_tokens"] for call in calls) == truth["output_tokens"]

    @staticmethod
    def _money(stage: Stage, ledger: dict[str, Any]) -> None:
        """The ledger in Redis says what the tables say, and nothing is reserved any more."""
        paid = sum(call["cost_usd"] for call in stage.table("calls"))
        assert ledger["settled_usd"] + ledger["estimated_usd"] == pytest.approx(paid, abs=1e-9)
        assert ledger["reserved_usd"] == pytest.approx(0.0, abs=1e-12)
        assert ledger["settled_usd"] + ledger["estimated_usd"] >= true_usd(stage.models.ledger()["models"]) - 1e-9

    @staticmethod
    def _nothing_left(stage: Stage) -> None:
        stage.until(lambda: not stage.processes(), f"an end of {stage.processes()}")
        drafts = [path for path in (stage.folder / "results").rglob("*") if path.name.endswith(".tmp")]
        assert not drafts


def _place(call: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(call[name] for name in ("cell_id", "role", "round", "kind", "index"))


def _usd(call: dict[str, Any]) -> float:
    return float(call["cost_usd"] or 0.0)


def true_usd(models: Mapping[str, Mapping[str, int]]) -> float:
    """What the fake's answers cost, by its own count of tokens per model."""
    return sum(_model_usd(USD_PER_MILLION.get(name, USD_PER_MILLION["gpt-5"]), told) for name, told in models.items())


def _model_usd(rates: tuple[float, float, float], told: Mapping[str, int]) -> float:
    fresh = told["input_tokens"] - told["cached_tokens"]
    return (fresh * rates[0] + told["cached_tokens"] * rates[1] + told["output_tokens"] * rates[2]) / 1e6


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _is_zombie(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"


@contextlib.contextmanager
def stage(folder: Path, models: FakeModels, **environment: str) -> Iterator[Stage]:
    """A stage that is cleared whatever happens on it."""
    set_up = Stage(folder, models, environment)
    try:
        yield set_up
    finally:
        set_up.kill_all()
        for process in set_up.started:
            process.wait(10)


def read_ledger(url: str) -> dict[str, Any]:
    """The money of the one run that this Redis knows."""
    import redis

    from harness.admission import ledger

    with redis.Redis.from_url(url) as client:
        (key,) = list(client.scan_iter(match="tah:*:ledger"))
        return dict(ledger.totals(client, key.decode().split(":")[1]).money.__dict__)
