"""The pipeline as a LangGraph: analysts side by side, debates unrolled, one node for each turn."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from operator import add, or_
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langsmith import tracing_context

from agents import flow
from agents.contract.pipeline import Pipeline
from agents.errors import Halt
from agents.flow import Seat, Step
from agents.speaking import speak
from agents.statement import Statement
from agents.turn import Hearing


class State(TypedDict):
    """What the cell has so far."""

    said: Annotated[Mapping[str, Statement], or_]
    """seat key -> statement."""
    failed: Annotated[list[Exception], add]
    """What went wrong in turns that ran side by side; the join raises it."""


Node = Callable[[State, Runtime[Hearing]], Coroutine[Any, Any, Mapping[str, Any]]]


async def run(hearing: Hearing) -> tuple[list[Statement], Exception | None]:
    """What was said, in the order of the flow, and why the cell ended early, if it did. Raises Halt."""
    steps = flow.steps(hearing.pipeline)
    state: State = {"said": {}, "failed": []}
    error: Exception | None = None
    try:
        # Tracing variables of the environment must never send a cell's prompts anywhere.
        with tracing_context(enabled=False):
            config = {"recursion_limit": 2 * len(steps) + 10}
            async for now in compiled(hearing.pipeline).astream(state, config, context=hearing, stream_mode="values"):
                state = now
    except Halt:
        raise
    except Exception as problem:  # noqa: BLE001 - a cell's trouble is part of its result
        error = problem
    return _in_order(steps, state), error


def _in_order(steps: tuple[Step, ...], state: State) -> list[Statement]:
    return [state["said"][seat.key] for step in steps for seat in step if seat.key in state["said"]]


def compiled(pipeline: Pipeline) -> Any:
    """The graph of a pipeline; everything of a cell comes in as the run's context."""
    return _graph(pipeline.analysts, pipeline.depth)


@cache
def _graph(analysts: tuple[str, ...], depth: str) -> Any:
    """Compiled once per shape."""
    shape = Pipeline(analysts=analysts, depth=depth)
    graph = StateGraph(State, context_schema=Hearing)
    before = [START]
    for number, step in enumerate(flow.steps(shape)):
        names = [_add(graph, seat, alone=len(step) == 1) for seat in step]
        for name in names:
            for earlier in before:
                graph.add_edge(earlier, name)
        before = [_join(graph, number, names)] if len(step) > 1 else names
    graph.add_edge(before[0], END)
    return graph.compile()


def _add(graph: Any, seat: Seat, *, alone: bool) -> str:
    name = seat.key.replace("/", "_")
    graph.add_node(name, _turn(seat) if alone else _sheltered(_turn(seat)))
    return name


def _join(graph: Any, number: int, names: list[str]) -> str:
    join = f"join_{number}"
    graph.add_node(join, _raise_failed)
    graph.add_edge(names, join)
    return join


def _turn(seat: Seat) -> Node:
    async def turn(state: State, runtime: Runtime[Hearing]) -> Mapping[str, Any]:
        return {"said": {seat.key: await speak(runtime.context, seat, _heard(state, runtime.context))}}

    return turn


def _heard(state: State, hearing: Hearing) -> list[Statement]:
    return _in_order(flow.steps(hearing.pipeline), state)


def _sheltered(turn: Node) -> Node:
    """A turn that returns its error as a value: an exception would cancel its siblings, which are paid for."""

    async def sheltered(state: State, runtime: Runtime[Hearing]) -> Mapping[str, Any]:
        try:
            return await turn(state, runtime)
        except Exception as problem:  # noqa: BLE001 - kept as a value, and raised by the join
            return {"failed": [problem]}

    return sheltered


async def _raise_failed(state: State) -> Mapping[str, Any]:
    failed = sorted(state["failed"], key=lambda problem: not isinstance(problem, Halt))
    if failed:
        raise failed[0]
    return {}
