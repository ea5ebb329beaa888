"""What one decision of an arm costs: the forecast of `plan`, and what jobs of this arm have cost."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.service.service import ServiceOptions

_KEEP_S = 3600.0
_PLAN_S = 120.0


@dataclass(frozen=True)
class ArmPrice:
    """Cost of one decision in US dollars, as an 80 % interval; None: unknown."""

    low_usd: float | None = None
    mid_usd: float | None = None
    high_usd: float | None = None
    hosted_usd: float | None = None
    """The part that hosted models bill."""
    basis: str = ""
    """What the forecast is from, or why there is none."""


@dataclass
class Prices:
    """Forecasts of the served arms. A plan needs more memory than the API: a process of its own makes it, once an hour."""

    options: ServiceOptions
    _by_arm: Mapping[str, ArmPrice] = field(default_factory=dict, init=False)
    _made_at: float = field(default=float("-inf"), init=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def of(self, arm: str) -> ArmPrice:
        async with self._lock:
            if time.monotonic() - self._made_at > _KEEP_S:
                self._by_arm, self._made_at = await self._planned(), time.monotonic()
        return self._by_arm.get(arm, ArmPrice(basis="the plan has no such arm"))

    async def _planned(self) -> Mapping[str, ArmPrice]:
        plan = await self._plan(self.options.results)
        arms: dict[str, Any] = plan.get("arms") or {}
        if any(not arm["cells"] for arm in arms.values()):
            # What has run already costs nothing in a plan: a new decision is one of an empty folder of results.
            with tempfile.TemporaryDirectory() as empty:
                arms = {**(await self._plan(empty)).get("arms", {}), **{n: arm for n, arm in arms.items() if arm["cells"]}}
        return {name: _price(arm) for name, arm in arms.items()}

    async def _plan(self, results: str) -> Mapping[str, Any]:
        """The plan of the served experiment; empty if it cannot be made."""
        given = {"--servers": self.options.servers, "--archive": self.options.archive, "--snapshots": self.options.snapshots}
        options = [word for name, value in given.items() if value for word in (name, str(value))]
        command = ["-m", "harness", "plan", str(self.options.experiment), "--json", "--results", results, *options]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            output, _ = await asyncio.wait_for(process.communicate(), _PLAN_S)
            return dict(json.loads(output)) if process.returncode == 0 else {}
        except (TimeoutError, ValueError):
            return {}
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _price(arm: Mapping[str, Any]) -> ArmPrice:
    cells = arm["cells"]
    if not cells:
        return ArmPrice(basis="the plan has no decision of this arm")

    def each(value: float | None) -> float | None:
        return None if value is None else value / cells

    cost, api = arm["cost_usd"], arm["api_cost_usd"]
    return ArmPrice(each(cost["low"]), each(cost["mid"]), each(cost["high"]), each(api["mid"]), str(arm["basis"]))
