"""Preflight: everything that a run needs, looked at together and at once; `doctor` shows the same."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from agents import ServerReport
from domain.providers import PROVIDERS
from harness.checking import arms_check, data_check, gpu_host, machine, models_check, servers_check
from harness.checking.checks import Check, require
from harness.checking.resolved import ResolvedRun, read
from harness.experiment.spec import Experiment


@dataclass(frozen=True)
class Preflight:
    """What was found."""

    checks: tuple[Check, ...]
    reports: Mapping[str, ServerReport] = field(default_factory=dict)
    """server -> its report on itself and its models."""
    resolved: ResolvedRun | None = None
    """The experiment with what was found; None without an experiment."""

    @property
    def is_ready(self) -> bool:
        return not any(check.status == "fail" for check in self.checks)

    @property
    def windows(self) -> dict[str, int]:
        """model's name in the experiment -> context of a self-hosted server that was started with a fixed one."""
        specs = self.resolved.servers if self.resolved else {}
        fixed = [name for name, spec in specs.items() if spec.url and not PROVIDERS[spec.provider].keeps_models]
        reports = [report for name in fixed if name in self.reports for report in self.reports[name].models.items()]
        return {alias: model.context_length for alias, model in reports if model.context_length}

    def require(self) -> ResolvedRun:
        """The experiment, ready to run. Raises InvalidInput with everything that failed."""
        require(self.checks)
        return self.readable()

    def readable(self) -> ResolvedRun:
        """The experiment, whatever its servers answer. Raises InvalidInput if a file cannot be read."""
        assert self.resolved is not None, "only a preflight of an experiment is asked for it"
        self.resolved.require_readable()
        return self.resolved


def look(
    experiment: Experiment | None,
    *,
    experiment_dir: Path | None = None,
    servers_file: Path | None = None,
    results: str = "results",
    broker: str | None = None,
    snapshots: Path = Path("snapshots"),
    freezes: bool = True,
    now: dt.datetime | None = None,
) -> Preflight:
    """Read what surrounds an experiment and check it (see `check`); without one, only this machine is checked."""
    if experiment is None:
        return Preflight((*machine.checks(results, broker), *gpu_host.checks(gpu_host.read())))
    resolved = read(experiment, experiment_dir, servers_file)
    return check(resolved, results=results, broker=broker, snapshots=snapshots, freezes=freezes, now=now)


def check(
    resolved: ResolvedRun,
    *,
    results: str = "results",
    broker: str | None = None,
    snapshots: Path = Path("snapshots"),
    freezes: bool = True,
    now: dt.datetime | None = None,
) -> Preflight:
    """Look at everything at once, in a few seconds at most; changes nothing and costs nothing.

    Data sources matter only where cases will be frozen (`freezes`). `now`: default: the clock."""
    now = now or dt.datetime.now(dt.UTC)
    with ThreadPoolExecutor(4) as pool:
        machine_checks = pool.submit(lambda: list(machine.checks(results, broker)))
        gpu = pool.submit(gpu_host.read)
        data_checks = pool.submit(data_check.checks, resolved, snapshots, freezes=freezes)
        reports = pool.submit(lambda: asyncio.run(servers_check.probe(resolved))).result()
        server_checks = list(servers_check.checks(resolved, reports, gpu.result()))
        models = models_check.known_models(resolved, reports)
        model_checks = [*models_check.checks(models, resolved, now)]
        arm_checks = [*arms_check.checks(resolved, models)]
        checks = (*machine_checks.result(), *server_checks, *model_checks, *arm_checks, *data_checks.result())
    resolved = replace(
        resolved,
        digests={alias: model.digest for report in reports.values() for alias, model in report.models.items()},
        versions={name: report.version for name, report in reports.items() if report.version},
        shutdowns=models_check.shutdowns(models),
        model_warnings=tuple(check for check in checks if _matters_to_a_run(check)),
    )
    return Preflight(checks, reports, resolved)


def _matters_to_a_run(check: Check) -> bool:
    return check.name.startswith((models_check.SHUTDOWN, arms_check.LOADED)) and check.status == "warn"
