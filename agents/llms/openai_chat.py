"""langchain-openai's client, told to send the long parts of a request as they are."""

from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI

_LONG = ("input", "messages", "text", "tools")
"""The conversation, the schema and the tools: plain JSON already."""


class PlainChatOpenAI(ChatOpenAI):
    """The SDK walks every argument through its types before it sends it, a sixth of the CPU of a cell; what stands in
    `extra_body` goes out as it is. The body on the wire is the same."""

    def _get_request_payload(self, input_: Any, *, stop: list[str] | None = None, **more: Any) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, stop=stop, **more)
        long = {name: payload.pop(name) for name in _LONG if name in payload}
        if "messages" in long:
            payload["messages"] = ()  # the SDK requires the argument; extra_body has the last word
        return payload | {"extra_body": {**(payload.get("extra_body") or {}), **long}}
