"""One command at a time executes an experiment; a second one follows the first and continues from its result."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.runs.display import PLAIN_EVERY_S, line
from harness.storage import run_folder
from harness.storage.experiment_lock import POLL_S, WAITED, experiment_lock
from harness.storage.folder import open_folder
from harness.terminal import print_sentence

if TYPE_CHECKING:
    from rich.console import Console

    from harness.runs.session import RunOptions
    from harness.storage.folder import Folder


@contextlib.contextmanager
def exclusively(options: RunOptions, console: Console) -> Iterator[dt.datetime | None]:
    """Hold the experiment's lock in the results folder; yields since when another command was followed, if one was."""
    since = dt.datetime.now(dt.UTC)
    experiment = options.experiment.name
    results = open_folder(options.results)
    follower = _HolderProgress(results, experiment, options.broker, console)
    with experiment_lock(results, experiment, follower.wait, follower.say) as state:
        yield since if state == WAITED else None


class _HolderProgress:
    """Shows the progress of the command that holds the lock."""

    def __init__(self, results: Folder, experiment: str, broker: str | None, console: Console) -> None:
        self._results = results
        self._experiment = experiment
        self._broker = broker
        self._console = console
        self._polls = 0
        self._last = ""

    def say(self, sentence: str) -> None:
        if sentence != self._last:
            self._last = sentence
            print_sentence(self._console, sentence)

    def wait(self, holder: str) -> None:
        if self._polls == 0:
            self.say(f"{self._experiment} is executed by {holder}: following it")
        elif self._polls * POLL_S % PLAIN_EVERY_S == 0:
            self._show()
        self._polls += 1

    def _show(self) -> None:
        from harness.runs import status  # imports the Redis library, which a run with invalid input never needs

        runs = run_folder.runs(self._results, self._experiment)
        if runs:
            self.say(f"{runs[0].run_id}: {line(status.read_status(runs[0], self._broker).progress)}")
