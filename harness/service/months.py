"""The run that a month's jobs belong to: its id, its folder, what announces it to workers, and the bill of the month."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import agents
from harness.admission.keys import Keys
from harness.admission.ledger import PICO
from harness.cells import IDENTITY
from harness.experiment.matrix import POOLS
from harness.queue import registry
from harness.queue.registry import RunInfo
from harness.storage.store import Store

if TYPE_CHECKING:
    from harness.checking.resolved import ResolvedRun
    from harness.storage.folder import Folder


def current_month() -> str:
    """YYYY-MM, in UTC."""
    return f"{dt.datetime.now(dt.UTC):%Y-%m}"


def end_of(month: str) -> dt.datetime:
    """The first moment after a month."""
    year, number = (int(part) for part in month.split("-"))
    return dt.datetime(year + number // 12, number % 12 + 1, 1, tzinfo=dt.UTC)


def run_id(experiment: str, month: str) -> str:
    """Id of the month's run; it names the experiment, since several services may share a broker."""
    return f"{experiment}-{month}"


def store_of(results: Folder, experiment: str, month: str) -> Store:
    """The month's run folder; `report`, `status` and `export` work on it."""
    return Store(results.at(f"{experiment}/{run_id(experiment, month)}"))


def open_run(store: Store, resolved: ResolvedRun, month: str) -> None:
    """Write experiment and manifest of a month's run; its state is always done, so that a report shows what there is."""
    now = dt.datetime.now(dt.UTC).isoformat()
    experiment, old = resolved.experiment, store.manifest()
    fields = {
        "run_id": run_id(experiment.name, month),
        "experiment": experiment.name,
        "identity": IDENTITY,
        "state": "done",
        "command": "python -m harness serve",
        "experiment_dir": str(resolved.experiment_dir or ""),
        "digests": dict(resolved.digests),
        "server_versions": {name: [version] for name, version in resolved.versions.items()},
        "roles": agents.role_records(),
        "budget": experiment.resolved().get("budget"),
        "prices": resolved.prices.manifest(),
        "started_at": old.get("started_at") or now,
        "sessions": [*old.get("sessions", [])[-99:], now],
    }
    store.folder.write("experiment.yaml", experiment.to_yaml().encode())
    store.write_manifest(old | fields)


def info_of(resolved: ResolvedRun, month: str) -> RunInfo:
    """What workers must know to serve the month's run."""
    experiment = resolved.experiment
    pipelines = registry.pipelines_of(resolved.matrix)
    pools = tuple(pool for pool in POOLS if pool == "hosted" or set(resolved.servers) - resolved.hosted)
    return RunInfo(
        run_id=run_id(experiment.name, month),
        experiment=experiment.name,
        terms=experiment.resolved(),
        pipelines=pipelines,
        prices=resolved.prices.to_plain(),
        code=registry.code_of(pipelines),
        experiment_dir=str(resolved.experiment_dir or ""),
        hosted=tuple(sorted(resolved.hosted)),
        pools=pools,
        month=month,
    )


@dataclass(frozen=True)
class Bill:
    """What hosted models have cost in a month, over all runs that share its cap, in US dollars."""

    month: str
    cap_usd: float | None
    spent_usd: float
    reserved_usd: float

    @property
    def is_used_up(self) -> bool:
        return self.cap_usd is not None and self.spent_usd >= self.cap_usd

    @classmethod
    def of(cls, month: str, cap_usd: float | None, ledger: dict[bytes, bytes]) -> Bill:
        """From the month's ledger in Redis."""
        settled, estimated, reserved = (
            int(ledger.get(f"run|{kind}".encode(), 0)) / PICO for kind in ("settled", "estimated", "reserved")
        )
        return cls(month, cap_usd, settled + estimated, reserved)


def bill_key(month: str) -> str:
    return Keys("", month).month_ledger


def cap_usd(resolved: ResolvedRun) -> float | None:
    return resolved.experiment.budget.month_usd


def now() -> float:
    """Unix seconds."""
    return dt.datetime.now(dt.UTC).timestamp()
