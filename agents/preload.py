"""What deciding needs, got ready before a process forks, so that its children share the memory and none spends the seconds."""

from __future__ import annotations


def preload() -> None:
    """Import the graph, the rules, the tools and the provider libraries, and build what the usual pipeline needs; nothing is
    connected and nothing runs. Raises PipelineError for a role file that is wrong."""
    from agents import deciding, flow, graph, own, prompts, rules, toolkit  # noqa: F401
    from agents.contract.pipeline import Pipeline
    from agents.llms import preload as providers

    providers()
    usual = Pipeline()
    graph.compiled(usual)
    for step in flow.steps(usual):
        for seat in step:
            prompts.instruction(seat, None)
