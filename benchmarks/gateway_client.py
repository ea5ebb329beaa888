"""The client of benchmarks.gateway: python -m benchmarks.gateway_client URL CALLS PER_SECOND"""

from __future__ import annotations

import asyncio
import json
import sys

import openai

from benchmarks.gateway import PROMPT, paced


async def main(url: str, calls: int, per_second: float) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:

        async def ask(number: int) -> None:
            message = f"{number} {PROMPT}"
            await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": message}])

        await ask(-1)
        print(json.dumps(await paced(ask, calls, per_second)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
