"""The provider libraries, imported before a process forks: seconds that each child would else spend by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agents.contract.lineup import Model, Server

if TYPE_CHECKING:
    from agents.llms.openai import OpenAI


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

    asyncio.run(_build_once(openai.OpenAI(Server("preload", "openai", url="http://127.0.0.1/v1"))))


async def _build_once(provider: OpenAI) -> None:
    """The SDK imports its parts only where a client is built."""
    await provider.prepare(Model("preload", provider.server.provider, "preload"))
    await provider.aclose()
