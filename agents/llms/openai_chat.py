"""langchain-openai's client, as the door uses it: LangChain writes the request, the SDK sends it, the wire tells the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx2
from langchain_core.messages import BaseMessage
from langchain_openai import ChatOpenAI

from agents.llms.wire import note_sent


class PostingChatOpenAI(ChatOpenAI):
    """`ainvoke` walks request and answer through the SDK's and LangChain's types, more than half of the CPU of a cell, to
    build a message that nobody reads: what is billed and recorded comes from the wire. The body that leaves is the same."""

    async def post(self, messages: Sequence[BaseMessage], **arguments: Any) -> None:
        """Send one request. Raises what the SDK raises; the answer is with whoever tapped the wire."""
        payload = self._get_request_payload(list(messages), **arguments)
        extra = payload.pop("extra_body", None) or {}
        body = payload | extra
        note_sent(body)
        # A whole address: the SDK would put it together, and read it again, for every request.
        base = str(self.openai_api_base).rstrip("/")
        address = f"{base}/responses" if self.use_responses_api else f"{base}/chat/completions"
        await self.root_async_client.post(address, cast_to=httpx2.Response, body=body)
