"""The order of turns in a pipeline, and the result of a turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from agents.decisions.forms import Value
from agents.errors import PipelineError
from agents.pipeline import roles
from agents.pipeline.roles import Role
from agents.types import Pipeline, ToolSkill

ROUNDS = {"shallow": 1, "medium": 3, "deep": 5}
DEPTHS = (*ROUNDS, "single_call")
INPUTS = ("prefetch", "tools")


@dataclass(frozen=True)
class Turn:
    """One turn of one role."""

    role: Role
    round: int = 0
    rounds: int = 0
    opens: bool = False
    """Whether it is the first turn of its debate."""

    @property
    def key(self) -> str:
        """Key of the turn's text in `Result.reports`."""
        return f"{self.role.name}/{self.round}" if self.round else self.role.name


@dataclass(frozen=True)
class TurnResult:
    """What a role wrote in one turn."""

    turn: Turn
    text: str
    note: str = ""
    """A caveat for later roles: cut off, refused, empty, or not in the required form."""
    status: str = "typed"
    """For a form one of DECISION_STATUSES; for free text typed, truncated, refused, missing, or unparsed if it is no report."""
    value: Value | None = None
    """The typed object of a form."""
    parsed: Mapping[str, str] = field(default_factory=dict)
    """CallSite.key -> JSON of the object read from that call's answer."""
    skill: ToolSkill = field(default_factory=ToolSkill)


Step = tuple[Turn, ...]
"""Turns that are taken in parallel."""


def steps(pipeline: Pipeline) -> tuple[Step, ...]:
    """The whole pipeline in order. Raises PipelineError for an unknown depth, input mode or analyst."""
    _check(pipeline)
    return _steps(pipeline.analysts, pipeline.depth)


@cache
def _steps(analysts: tuple[str, ...], depth: str) -> tuple[Step, ...]:
    if depth == "single_call":
        return tuple((Turn(role),) for role in roles.of_stage("single_call"))
    rounds = ROUNDS[depth]
    return (
        tuple(Turn(roles.analyst(name)) for name in analysts),
        *_debate("debate", rounds),
        *_single_turns("plan"),
        *_single_turns("trade"),
        *_debate("risk", rounds),
        *_single_turns("decision"),
    )


def turns(pipeline: Pipeline) -> tuple[Turn, ...]:
    """Every turn in order."""
    return tuple(turn for step in steps(pipeline) for turn in step)


def role_turns(pipeline: Pipeline) -> dict[str, int]:
    """Role -> number of its turns, in the order of the flow.

    A custom pipeline may ask every role but analysts that are not selected; its turns are assumed to be those of its depth.
    Raises PipelineError as `steps` does.
    """
    is_argued = pipeline.entry is not None and pipeline.depth == "single_call"
    counts = Counter(turn.role.name for turn in turns(replace(pipeline, depth="shallow") if is_argued else pipeline))
    return {name: counts[name] for name in roles.role_names() if name in counts}


def _check(pipeline: Pipeline) -> None:
    for key, value, known in (("depth", pipeline.depth, DEPTHS), ("inputs", pipeline.inputs, INPUTS)):
        if value not in known:
            raise PipelineError(f"unknown {key} {value!r} in pipeline; known: {', '.join(known)}")
    if not pipeline.analysts:
        raise PipelineError(f"pipeline.analysts is empty; known: {', '.join(sorted(roles.analyst_names()))}")
    if len(set(pipeline.analysts)) < len(pipeline.analysts):
        raise PipelineError(f"pipeline.analysts names one twice: {', '.join(pipeline.analysts)}")


def _debate(stage: str, rounds: int) -> list[Step]:
    speakers = roles.of_stage(stage)
    return [
        (Turn(role, number, rounds, opens=number == 1 and role == speakers[0]),)
        for number in range(1, rounds + 1)
        for role in speakers
    ]


def _single_turns(stage: str) -> list[Step]:
    return [(Turn(role),) for role in roles.of_stage(stage)]
