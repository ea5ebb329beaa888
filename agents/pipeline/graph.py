"""The pipeline as a LangGraph: analysts in parallel, debates unrolled, one node for each turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from operator import add, or_
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langsmith import tracing_context

from agents.errors import Halt
from agents.pipeline import flow
from agents.pipeline.context import Context, severity
from agents.pipeline.flow import Step, Turn, TurnResult
from agents.pipeline.tools import take_turn
from agents.types import Pipeline


class State(TypedDict):
    """The progress of a cell."""

    results: Annotated[Mapping[str, TurnResult], or_]
    """Turn.key -> result."""
    failed: Annotated[list[Exception], add]
    """Errors of turns that ran in parallel; the join raises one of them."""


Node = Callable[[State, Runtime[Context]], Coroutine[Any, Any, Mapping[str, Any]]]


async def run(ctx: Context) -> tuple[list[TurnResult], Exception | None]:
    """The results in the order of the flow, and the error that ended the cell early, if any. Raises Halt."""
    steps = flow.steps(ctx.pipeline)
    latest: State = {"results": {}, "failed": []}
    error: Exception | None = None
    try:
        first_step = _first_of_graph(ctx, steps)
        for step in steps[:first_step]:
            await _take_step(ctx, step, latest)
        # Tracing variables in the environment must never send a cell's prompts to a third party.
        with tracing_context(enabled=False):
            config = {"recursion_limit": 2 * len(steps) + 10}
            graph = compiled(ctx.pipeline, first_step)
            async for state in graph.astream(latest, config, context=ctx, stream_mode="values"):
                latest = state
    except Halt:
        raise
    except Exception as problem:  # noqa: BLE001 - the error is part of the cell's result
        error = problem
    return _in_order(steps, latest), error


def _first_of_graph(ctx: Context, steps: tuple[Step, ...]) -> int:
    """Number of the first step in which an answer may have to be waited for; the last step is always run by the graph.

    Before it, each turn was answered in an earlier attempt, or it is answered later and suspends the cell."""

    def is_waited_for(turn: Turn) -> bool:
        name = turn.role.name
        return (name, turn.round) not in ctx.answered and not ctx.model(name).lane.is_deferred

    return next((number for number, step in enumerate(steps[:-1]) if any(map(is_waited_for, step))), len(steps) - 1)


async def _take_step(ctx: Context, step: Step, state: State) -> None:
    """Take the turns of a step without the bookkeeping of the graph.

    A cell whose calls are answered later runs once for each of its stages, mostly through such steps."""
    earlier = _in_order(flow.steps(ctx.pipeline), state)
    outcomes = await asyncio.gather(*(take_turn(ctx, turn, earlier) for turn in step), return_exceptions=True)
    results = {turn.key: outcome for turn, outcome in zip(step, outcomes, strict=True) if isinstance(outcome, TurnResult)}
    state["results"] = {**state["results"], **results}
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if errors:
        raise min(errors, key=severity)


def compiled(pipeline: Pipeline, first_step: int = 0) -> Any:
    """The graph of a pipeline from a step on, compiled once per shape; the cell's Context is passed to each run."""
    return _graph(pipeline.analysts, pipeline.depth, first_step)


@cache
def _graph(analysts: tuple[str, ...], depth: str, first_step: int) -> Any:
    shape = Pipeline(analysts=analysts, depth=depth)
    graph = StateGraph(State, context_schema=Context)
    before = [START]
    for number, step in enumerate(flow.steps(shape)[first_step:]):
        names = [_add_node(graph, turn, alone=len(step) == 1) for turn in step]
        for name in names:
            for earlier in before:
                graph.add_edge(earlier, name)
        before = [_add_join(graph, number, names)] if len(step) > 1 else names
    graph.add_edge(before[0], END)
    return graph.compile()


def _add_node(graph: Any, turn: Turn, *, alone: bool) -> str:
    name = turn.key.replace("/", "_")
    graph.add_node(name, _node(turn) if alone else _error_as_value(_node(turn)))
    return name


def _add_join(graph: Any, number: int, names: list[str]) -> str:
    join = f"join_{number}"
    graph.add_node(join, _raise_failed)
    graph.add_edge(names, join)
    return join


def _node(turn: Turn) -> Node:
    async def node(state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        earlier = _in_order(flow.steps(runtime.context.pipeline), state)
        return {"results": {turn.key: await take_turn(runtime.context, turn, earlier)}}

    return node


def _error_as_value(node: Node) -> Node:
    """A node that returns its error: an exception would cancel the parallel turns, which are already paid for."""

    async def safe_node(state: State, runtime: Runtime[Context]) -> Mapping[str, Any]:
        try:
            return await node(state, runtime)
        except Exception as problem:  # noqa: BLE001 - kept as a value and raised by the join
            return {"failed": [problem]}

    return safe_node


async def _raise_failed(state: State) -> Mapping[str, Any]:
    if state["failed"]:
        raise min(state["failed"], key=severity)
    return {}


def _in_order(steps: tuple[Step, ...], state: State) -> list[TurnResult]:
    return [state["results"][turn.key] for step in steps for turn in step if turn.key in state["results"]]
