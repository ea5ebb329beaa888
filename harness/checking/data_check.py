"""Checks of the data of an experiment: its dates, sources and tickers, and whether its cases are frozen already."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import agents
from domain.data_kinds import DATA_KINDS
from harness.checking.checks import Check, fail, of_problems, ok, warn
from harness.checking.resolved import ResolvedRun
from harness.errors import InvalidInput
from harness.experiment import cases, matrix
from harness.experiment.cases import Data, archive_folder
from harness.storage.snapshots import CaseInputs, SnapshotLibrary

TIMEOUT_S = 2.0


def checks(resolved: ResolvedRun, snapshots: Path, *, freezes: bool) -> list[Check]:
    """The dates; sources and tickers only if cases will be frozen (`freezes`)."""
    experiment, found = resolved.experiment, []
    try:
        days = cases.decision_dates(experiment.dates)
        found.append(ok("dates", f"{len(days)} from {days[0]} to {days[-1]}"))
    except InvalidInput as error:
        days = ()
        found += of_problems(error)
    if freezes:
        is_frozen = asks_network(experiment.data) and _are_frozen(resolved, days, snapshots)
        found += source_checks(experiment.data, resolved.experiment_dir, resolved.contact, is_frozen=is_frozen)
        found += unknown_tickers(experiment.data, experiment.tickers, resolved.experiment_dir)
    return found


def _are_frozen(resolved: ResolvedRun, days: Iterable[dt.date], snapshots: Path) -> bool:
    """Whether the snapshot of every case exists, made from the same sources and settings."""
    data = matrix.data_of(resolved.experiment)
    library = SnapshotLibrary(snapshots, resolved.archive)
    wanted = [CaseInputs(ticker, day, data) for ticker in resolved.experiment.tickers for day in days]
    try:
        return bool(wanted) and all(library.has(case) for case in wanted)
    except agents.SnapshotError:
        return False


def source_checks(
    data: Data, experiment_dir: Path | None = None, contact: str | None = None, *, is_frozen: bool = False
) -> Iterator[Check]:
    """One check per named source; `is_frozen`: every case is frozen already, so no source is contacted."""
    named = {getattr(data, kind) for kind in DATA_KINDS} - {None}
    for name in sorted(named):
        if name == "archive":
            yield _archive(data.archive or "", experiment_dir)
        elif (package := agents.missing_package(name)) and not is_frozen:
            yield fail(f"source {name}", f"the package {package} is not installed", agents.install_line(name))
        elif host := agents.source_host(name):
            yield _host(name, host, is_frozen)
        else:
            yield ok(f"source {name}", "a source of your own" if agents.is_own_source(name) else "comes with the package")
    if "edgar" in named and not contact and not is_frozen:
        fix = "put SEC_CONTACT=you@example.org into .env next to the experiment: the SEC requires a contact"
        yield fail("contact of edgar", "SEC_CONTACT is not set", fix)


def missing_packages(data: Data) -> Iterator[Check]:
    """A failed check for each source whose package is not installed."""
    for name in sorted({getattr(data, kind) for kind in DATA_KINDS} - {None}):
        if package := agents.missing_package(name):
            yield fail(f"source {name}", f"the package {package} is not installed", agents.install_line(name))


def unknown_tickers(data: Data, tickers: Iterable[str], experiment_dir: Path | None = None) -> Iterator[Check]:
    """A failed check for the tickers that a source on this machine does not have; a network is not asked."""
    if agents.source_host(data.prices) or "://" in (data.archive or ""):
        return
    archive = str(archive_folder(data.archive, experiment_dir)) if data.archive else None
    try:
        tickers_of_source = agents.open_sources({"prices": data.prices}, archive)["prices"].tickers()
    except (agents.SourceFailed, agents.BadSource) as error:
        yield fail(f"source {data.prices}", str(error), "see the message")
        return
    except agents.BadArchive:
        return  # The check of the archive's folder, or the freezing of its cases, says what is wrong with it.
    # A source without a list of its tickers is asked when a case is frozen.
    if tickers_of_source and (unknown := [ticker for ticker in tickers if ticker not in tickers_of_source]):
        names = ", ".join(repr(ticker) for ticker in unknown)
        listed = ", ".join(tickers_of_source[:40]) + (
            f" and {len(tickers_of_source) - 40} more" if len(tickers_of_source) > 40 else ""
        )
        yield fail("tickers", f"the source {data.prices!r} has no prices of {names}; known: {listed}", "take a known one")


def asks_network(data: Data) -> bool:
    """Whether freezing a case asks a source over the network."""
    named = {getattr(data, kind) for kind in DATA_KINDS} - {None}
    return any(agents.source_host(name) for name in named)


def _host(name: str, host: str, is_frozen: bool) -> Check:
    try:
        with socket.create_connection((host, 443), timeout=TIMEOUT_S):
            return ok(f"source {name}", f"{host} answers")
    except OSError as error:
        if is_frozen:
            return warn(f"source {name}", f"{host} cannot be reached, but every case is frozen already")
        fix = "check the network; or use data: {prices: archive, archive: DIR} with data of your own"
        return fail(f"source {name}", f"{host} cannot be reached: {error}", fix)


def _archive(address: str, experiment_dir: Path | None) -> Check:
    if "://" in address:
        return ok("source archive", address)
    folder = archive_folder(address, experiment_dir)
    if not folder.is_dir():
        return fail("source archive", f"{folder} is no folder", "set data.archive: DIR, or pass --archive DIR")
    if not (folder / "prices.parquet").exists():
        fix = "see `python -m harness snapshot check DIR` for what an archive holds"
        return fail("source archive", f"{folder} has no prices.parquet", fix)
    return ok("source archive", f"{folder} has prices")
