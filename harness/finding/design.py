"""The design of a `find`, fixed before the first answer: candidates, margins, cases of the screen, and blocks of dates."""

from __future__ import annotations

import datetime as dt

from domain import units
from domain.case import case_id
from harness.errors import InvalidInput, Problem
from harness.experiment import cases, matrix
from harness.experiment.spec import Experiment
from harness.experiment.yaml_file import closest_name
from reports.finding import SearchDesign
from reports.roles import screening
from reports.stats import sequential
from reports.stats.sequential import NotWorseTest
from reports.verdict import MARGINS, not_worse_test

FEWEST_DATES = 2
"""Dates of a block: one date has no spread."""
ENOUGH_DATES = 12
"""Below this many tested dates the t test is too bold, and the terminal warns of that."""


def make(experiment: Experiment, margins: str | None, now: dt.datetime | None = None) -> SearchDesign:
    """The design of this experiment. Raises InvalidInput with every reason why it cannot be tested."""
    baseline, candidates = experiment.baseline or "", candidates_of(experiment)
    gate = _gate(experiment, margins)
    dates = sequential.shuffled(date.isoformat() for date in cases.decision_dates(experiment.dates, now))
    tickers, looks = experiment.tickers, experiment.find.blocks
    screen_dates = -(-screening.CASES // len(tickers))
    tested = dates[screen_dates:]
    looks = looks or (4 if len(tested) >= 20 else 3 if len(tested) >= 9 else 2)
    problems = [*_problems(experiment, baseline, candidates), *_too_few(len(dates), screen_dates, looks)]
    if problems:
        raise InvalidInput(problems)
    screened = [case_id(ticker, dt.date.fromisoformat(date)) for date in dates[:screen_dates] for ticker in tickers]
    return SearchDesign(
        baseline=baseline,
        candidates=candidates,
        gate=gate,
        screen_cases=tuple(screened[: screening.CASES]),
        blocks=tuple(sequential.blocks(tested, looks)),
        tickers=tickers,
        baseline_repeats=experiment.repeats.baseline,
        arm_repeats=experiment.repeats.arms,
    )


def candidates_of(experiment: Experiment) -> tuple[str, ...]:
    """Arms with models, except the baseline."""
    arms = matrix.arms(experiment)
    return tuple(name for name, arm in arms.items() if name != experiment.baseline and not arm.rule)


def _problems(experiment: Experiment, baseline: str, candidates: tuple[str, ...]) -> list[Problem]:
    arms, problems = matrix.arms(experiment), []
    if baseline not in arms:
        problems.append(Problem("compare.baseline", f"unknown arm {baseline!r}", closest_name(baseline, arms)))
    elif arms[baseline].rule:
        what = f"the baseline {baseline!r} is a rule, which always agrees with itself"
        problems.append(Problem("compare.baseline", what, "name an arm with models"))
    if not candidates:
        what = f"there is no candidate: {baseline!r} is the only arm with models"
        problems.append(Problem("arms", what, "add an arm, or a sweep: arms: {sweep: {model: M, reasoning_effort: [...]}}"))
    if experiment.repeats.baseline < 2:
        what = f"the baseline {baseline!r} decides each case once, so how often it agrees with itself stays unknown"
        problems.append(Problem("repeats", what, "set repeats to 3"))
    return problems


def _too_few(dates: int, screen_dates: int, looks: int) -> list[Problem]:
    needed = screen_dates + looks * FEWEST_DATES
    if dates >= needed:
        return []
    what = (
        f"{dates} dates are too few for {looks} looks: the screen takes {screen_dates} of them ({screening.CASES} cases), and "
        f"each of {looks} blocks needs {FEWEST_DATES}"
    )
    return [Problem("dates", what, f"give at least {needed} dates; 12 tested dates or more make the test honest")]


def _gate(experiment: Experiment, margins: str | None) -> NotWorseTest:
    """Margins: of --margin, else of compare.metrics, else the defaults of "good enough"."""
    given = _read_margins(margins)
    declared = {name: terms.margin for name, terms in experiment.compare.metrics.items() if terms.margin is not None}
    return not_worse_test(declared | given)


def _read_margins(margins: str | None) -> dict[str, float]:
    """same_rating=10pp,usable=10pp -> fractions. Raises InvalidInput."""
    known, given, problems = list(MARGINS), {}, []
    for pair in filter(None, (margins or "").split(",")):
        name, _, text = (part.strip() for part in pair.partition("="))
        if name not in known:
            what = f"unknown metric {name!r}; known: {', '.join(known)}"
            problems.append(Problem("--margin", what, "write --margin " + ",".join(f"{metric}=10pp" for metric in known)))
            continue
        try:
            given[name] = units.share(text)
        except ValueError as error:
            problems.append(Problem("--margin", str(error), f"write {name}=10pp"))
            continue
        if not 0 < given[name] < 1:
            problems.append(
                Problem("--margin", f"{pair}: a margin is more than 0 and less than 100 points", f"write {name}=10pp")
            )
    if problems:
        raise InvalidInput(problems)
    return given
