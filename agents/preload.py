"""What deciding needs, imported before a process forks, so that its children share the memory and none spends the seconds."""

from __future__ import annotations


def preload() -> None:
    """Import the graph, the rules, the tools and the provider libraries; nothing is connected and nothing runs."""
    from agents import deciding, graph, own, rules, toolkit  # noqa: F401
    from agents.llms.preload import preload as providers

    providers()
