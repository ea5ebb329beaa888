"""python docs/external_links.py [FILE.md ...]

Asks every external link of README.md, CONTRIBUTING.md and docs/ once and lists those that do not answer: exit code 1 then.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\((https?://[^)\s]+)\)")
AT_ONCE = 8
TIMEOUT_S = 20.0


def links(pages: Iterable[Path]) -> dict[str, list[str]]:
    """Address without its fragment -> the pages that link it."""
    found: dict[str, list[str]] = {}
    for page in pages:
        for address in LINK.findall(page.read_text(encoding="utf-8")):
            found.setdefault(address.partition("#")[0], []).append(page.name)
    return found


async def broken(addresses: Iterable[str]) -> dict[str, str]:
    """Address -> why it cannot be read. A refusal to serve a robot (401, 403, 429) is no broken link."""
    slots = asyncio.Semaphore(AT_ONCE)
    headers = {"User-Agent": "Mozilla/5.0 (link check)"}
    async with httpx.AsyncClient(follow_redirects=True, timeout=TIMEOUT_S, headers=headers) as client:

        async def reason(address: str) -> str | None:
            async with slots:
                try:
                    status = (await client.get(address)).status_code
                except httpx.HTTPError as error:
                    return f"{type(error).__name__}: {error}"
            return f"HTTP {status}" if status >= 400 and status not in (401, 403, 429) else None

        known = list(addresses)
        reasons = await asyncio.gather(*map(reason, known))
    return {address: why for address, why in zip(known, reasons, strict=True) if why}


def main() -> int:
    named = [Path(name) for name in sys.argv[1:]]
    pages = links(named or [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))])
    problems = asyncio.run(broken(pages))
    for address, why in problems.items():
        print(f"{address} ({', '.join(sorted(set(pages[address])))}): {why}")
    print(f"{len(pages)} external links, {len(problems)} broken")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
