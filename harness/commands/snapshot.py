"""`snapshot`: show what the analysts see of a case; check or build an archive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import Archive, ExperimentFile
from harness.json_output import Json, emit

if TYPE_CHECKING:
    from rich.console import Console

    from agents import Snapshot, Source

app = typer.Typer(no_args_is_help=True, help="Show what the analysts see of a case; check or build an archive.")


@app.command()
def show(
    ticker: Annotated[str, typer.Argument(help="Ticker of the case.")],
    date: Annotated[dt.datetime, typer.Argument(formats=["%Y-%m-%d"], help="Decision date.")],
    archive: Archive = None,
    experiment: Annotated[Path | None, typer.Option(help="Take the data settings of this experiment.")] = None,
    mask: Annotated[bool, typer.Option("--mask", help="Show it masked.")] = False,
    as_json: Json = False,
) -> None:
    """Freeze one case now and show what the analysts see, with the origin of each part."""
    import agents
    from harness.experiment import servers

    data = _data(experiment, archive) | ({"mask": True} if mask else {})
    contact = servers.read_environment(experiment).get("SEC_CONTACT")
    desk = agents.open_sources(data, archive, Path("snapshots") / "cache", contact)
    snapshot = agents.freeze_case(ticker, date.date(), desk, data)
    emit("snapshot/1", _plain(snapshot)) if as_json else _print(snapshot)


@app.command()
def check(
    archive: Annotated[str, typer.Argument(metavar="DIR", help="Archive folder or s3:// address.")],
    as_json: Json = False,
) -> None:
    """Check every table, column and row of an archive; note optional data that is missing."""
    from rich.table import Table

    import agents

    report = agents.check_archive(archive)
    if as_json:
        tables = [vars(checked_table) for checked_table in report.tables]
        emit("archive/1", {"archive": archive, "tables": tables, "notes": list(report.notes)})
        return
    table = Table()
    for heading in ("table", "rows", "tickers", "from", "to", "rows without a time"):
        table.add_column(heading, justify="right" if heading in ("rows", "tickers", "rows without a time") else "left")
    for checked_table in report.tables:
        table.add_row(
            checked_table.name,
            f"{checked_table.rows:,}",
            f"{checked_table.tickers:,}",
            checked_table.first,
            checked_table.last,
            f"{checked_table.undated:,}",
        )
    from harness.terminal import print_hanging, print_sentence

    console = _console()
    print_sentence(console, f"{archive} is a sound archive")
    console.print(table)
    for note in report.notes:
        print_hanging(console, "note: ", note)


@app.command()
def freeze(
    experiment: ExperimentFile,
    _today: Annotated[bool, typer.Option("--today", hidden=True)] = True,
    archive: Archive = None,
) -> None:
    """Add what the sources know now to an archive, with the time of retrieval; cases are frozen by `run`."""
    import agents
    from harness.errors import InvalidInput, Problem
    from harness.experiment import matrix, servers, spec

    loaded = spec.load(experiment, spec.of_archive(archive))
    folder = _address(loaded.data.archive, experiment)
    if not folder:
        raise InvalidInput([Problem("snapshot freeze", "no archive to add to", "pass --archive DIR, or set data.archive")])
    contact = servers.read_environment(experiment).get("SEC_CONTACT")
    desk = agents.open_sources(matrix.data_of(loaded), folder, Path("snapshots") / "cache", contact)
    _grow(folder, agents.live_sources(desk), loaded.tickers)


def _grow(folder: str, sources: Sequence[Source], tickers: Sequence[str]) -> None:
    """Add ticker by ticker, so that a failing vendor loses nothing already fetched."""
    import agents

    console, now = _console(), dt.datetime.now(dt.UTC)
    for ticker in tickers:
        for source in sources:
            dated_elsewhere = source.name != "edgar" and any(other.name == "edgar" for other in sources)
            added = agents.grow(folder, agents.today_rows(source, ticker, now, not dated_elsewhere))
            counts = ", ".join(f"{count} {table}" for table, count in added.items() if count) or "nothing new"
            console.print(f"{ticker} from {source.name}: {counts}", highlight=False)
    console.print(f"{folder} now has everything known at {now:%Y-%m-%d %H:%M} UTC", highlight=False)


def _address(archive: str | None, experiment: Path) -> str | None:
    from harness.experiment.cases import archive_address

    return archive_address(archive, experiment.parent) if archive else None


def _data(experiment: Path | None, archive: str | None) -> dict[str, Any]:
    """Settings of the experiment, else everything from the archive, else the demo source."""
    if experiment is not None:
        from harness.experiment import matrix, spec

        loaded = spec.load(experiment, spec.of_archive(archive))
        return {**matrix.data_of(loaded), "archive": _address(loaded.data.archive, experiment)}
    if archive:
        from domain.data_kinds import DATA_KINDS

        return dict.fromkeys(DATA_KINDS, "archive")
    return {"prices": "demo"}


def _print(snapshot: Snapshot) -> None:
    from rich.panel import Panel
    from rich.text import Text

    import agents

    console = _console()
    console.print(Text(agents.instrument(snapshot), style="bold"))
    console.print(_provenance(snapshot))
    for analyst in (name.removesuffix("_analyst") for name in agents.analyst_names()):
        console.print(Panel(Text(agents.view(snapshot, analyst)), title=f"what the {analyst} analyst sees", title_align="left"))
    console.print(f"sha256 {snapshot.sha256}", highlight=False)


def _provenance(snapshot: Snapshot) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"nothing later than {snapshot.decision_time:%Y-%m-%d %H:%M} UTC", title_justify="left")
    for heading in ("part", "data", "first known", "last known", "remarks"):
        table.add_column(heading)
    for part in _parts(snapshot):
        table.add_row(part["part"], f"{part['data']:,}", *(part[end] or "" for end in ("first", "last")), Text(part["remarks"]))
    return table


def _parts(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Each kind of data with its count, the first and last time at which it became known, and remarks."""
    parts = []
    moments: dict[str, list[dt.datetime]] = {}
    for part, datum in snapshot.data():
        moments.setdefault(part, []).append(datum.available_at)
    for part in dict.fromkeys([*moments, *snapshot.absent, *snapshot.left_out]):
        available_at = sorted(moments.get(part, []))
        first, last = (f"{available_at[end]:%Y-%m-%d %H:%M}" if available_at else None for end in (0, -1))
        counted = {"part": part, "data": len(available_at), "first": first, "last": last}
        parts.append({**counted, "remarks": _remarks(snapshot, part)})
    return parts


def _plain(snapshot: Snapshot) -> dict[str, Any]:
    import agents

    analysts = [name.removesuffix("_analyst") for name in agents.analyst_names()]
    return {
        "ticker": snapshot.ticker,
        "date": snapshot.date,
        "sha256": snapshot.sha256,
        "decision_time": snapshot.decision_time.isoformat(),
        "parts": _parts(snapshot),
        "views": {analyst: agents.view(snapshot, analyst) for analyst in analysts},
    }


def _remarks(snapshot: Snapshot, part: str) -> str:
    remarks = [f"source {snapshot.sources[part]}"] if part in snapshot.sources else []
    remarks += [snapshot.absent[part]] if part in snapshot.absent else []
    remarks += [f"{snapshot.left_out[part]} rows without a known time left out"] if part in snapshot.left_out else []
    remarks += [f"{snapshot.cut[part]} older ones not kept"] if part in snapshot.cut else []
    return "; ".join(remarks)


def _console() -> Console:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=140)
