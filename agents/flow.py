"""The order in which roles speak: which seats a pipeline has, and which of them wait for which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from agents import roles
from agents.contract.pipeline import Pipeline
from agents.errors import PipelineError
from agents.roles import Role

ROUNDS = {"shallow": 1, "medium": 3, "deep": 5}
DEPTHS = (*ROUNDS, "single_call")
INPUTS = ("prefetch", "tools")


@dataclass(frozen=True)
class Seat:
    """One turn of one role."""

    role: Role
    round: int = 0
    rounds: int = 0
    opens: bool = False
    """First of its debate: nobody has spoken yet."""

    @property
    def key(self) -> str:
        """Under which the reports keep what was said."""
        return f"{self.role.name}/{self.round}" if self.round else self.role.name


Step = tuple[Seat, ...]
"""Seats that speak side by side."""


def steps(pipeline: Pipeline) -> tuple[Step, ...]:
    """The whole pipeline, step after step. Raises PipelineError for an unknown depth, input mode or analyst."""
    _check(pipeline)
    return _steps(pipeline.analysts, pipeline.depth)


@cache
def _steps(analysts: tuple[str, ...], depth: str) -> tuple[Step, ...]:
    if depth == "single_call":
        return tuple((Seat(role),) for role in roles.of_stage("single_call"))
    rounds = ROUNDS[depth]
    return (
        tuple(Seat(roles.analyst(name)) for name in analysts),
        *_debate("debate", rounds),
        *_once("plan"),
        *_once("trade"),
        *_debate("risk", rounds),
        *_once("decision"),
    )


def seats(pipeline: Pipeline) -> tuple[Seat, ...]:
    """Every turn in the order of the flow."""
    return tuple(seat for step in steps(pipeline) for seat in step)


def _check(pipeline: Pipeline) -> None:
    for key, value, known in (("depth", pipeline.depth, DEPTHS), ("inputs", pipeline.inputs, INPUTS)):
        if value not in known:
            raise PipelineError(f"unknown {key} {value!r} in pipeline; known: {', '.join(known)}")
    if not pipeline.analysts:
        raise PipelineError(f"pipeline.analysts is empty; known: {', '.join(sorted(roles.analyst_names()))}")
    if len(set(pipeline.analysts)) < len(pipeline.analysts):
        raise PipelineError(f"pipeline.analysts names one twice: {', '.join(pipeline.analysts)}")


def _debate(stage: str, rounds: int) -> list[Step]:
    voices = roles.of_stage(stage)
    return [
        (Seat(role, number, rounds, opens=number == 1 and role == voices[0]),)
        for number in range(1, rounds + 1)
        for role in voices
    ]


def _once(stage: str) -> list[Step]:
    return [(Seat(role),) for role in roles.of_stage(stage)]
