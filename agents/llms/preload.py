"""The provider libraries, imported before a process forks: seconds that each child would else spend by itself."""

from __future__ import annotations


def preload() -> None:
    """Import every provider that is installed; nothing is connected."""
    import aiohttp  # noqa: F401
    import langchain_ollama  # noqa: F401

    from agents.llms import (  # noqa: F401
        llamacpp,
        ollama,
        openai,
        openai_chat,
    )
