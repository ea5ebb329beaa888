"""A provider of your own, for `provider: own_provider:Plain` in an experiment; see docs/your-code.md."""

from __future__ import annotations

import httpx

from agents import Answer, Request, Usage
from agents.llms.own import OwnProvider


class Plain(OwnProvider):
    """Texts only, by an API of chat completions."""

    async def answer(self, request: Request) -> Answer:
        body = {
            "model": request.model.name,
            "messages": [{"role": part.role, "content": part.text} for part in request.parts],
            "max_tokens": request.max_output_tokens,
        }
        headers = {"Authorization": f"Bearer {self.server.api_key}"}
        async with httpx.AsyncClient(timeout=self.server.timeout_s) as client:
            response = await client.post(f"{self.server.url}/chat/completions", json=body, headers=headers)
        response.raise_for_status()
        answer = response.json()
        tokens = Usage(input_tokens=answer["usage"]["prompt_tokens"], output_tokens=answer["usage"]["completion_tokens"])
        return Answer(answer["choices"][0]["message"]["content"], usage=tokens, model_returned=answer["model"])
