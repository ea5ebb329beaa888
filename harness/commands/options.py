"""Options that several commands share: each is declared once, so that it reads the same in every --help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# --- what a command works on --------------------------------------------------------------------------------------------

ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="Experiment file.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="results/EXPERIMENT/RUN_ID, or EXPERIMENT for its latest run.")]
ServedExperiment = Annotated[
    Path, typer.Option("--experiment", envvar="HARNESS_EXPERIMENT", help="Experiment whose arms decide.")
]
Only = Annotated[str | None, typer.Option(help="Part of the matrix: arm=A,ticker=T,date=D.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many cells.")]

# --- where things are ---------------------------------------------------------------------------------------------------

Folder = Annotated[
    Path | None, typer.Option(help="Folder of .env, servers.yaml and other files that the experiment names; default: its own.")
]
Servers = Annotated[Path | None, typer.Option(help="servers.yaml to use; default: the one next to the experiment.")]
Results = Annotated[str, typer.Option(help="Folder or s3:// address of all results.")]
Snapshots = Annotated[Path, typer.Option(help="Folder of frozen inputs, shared by all runs.")]
Archive = Annotated[str | None, typer.Option(help="Folder or s3:// address of the archive source.")]
Prices = Annotated[Path | None, typer.Option(help="Your own price file, on top of the public table.")]
State = Annotated[
    Path | None, typer.Option(envvar="HARNESS_STATE", help="Folder of jobs and tokens; default: RESULTS/.service.")
]

# --- how it runs --------------------------------------------------------------------------------------------------------

Broker = Annotated[str | None, typer.Option(envvar="HARNESS_BROKER", help="redis://... to use; default: a private Redis.")]
BrokerOfRun = Annotated[
    str | None, typer.Option("--broker", envvar="HARNESS_BROKER", help="Redis of the run, if it was started with --broker.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes for hosted models here; with --broker, default: none.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start a new run that reuses nothing.")]
Lane = Annotated[
    str | None,
    typer.Option(
        help="When and at what price hosted answers are fetched: now, fast, flex, background_2h, background_8h, batch."
    ),
]
Within = Annotated[
    str | None, typer.Option(help="Time limit: 12h, 90m. Chooses the cheapest lane that ends in time, and the blocks of find.")
]
By = Annotated[str | None, typer.Option(help="The same limit as a time of this machine: 08:00, or a date and time.")]
HostNames = Annotated[
    list[str] | None, typer.Option("--host-name", help="Further name under which clients reach it. Repeat it.")
]

# --- money --------------------------------------------------------------------------------------------------------------

Budget = Annotated[
    float | None, typer.Option(min=0, help="Budget of the run in USD, earlier sessions included; default: the file.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before spending.")]
