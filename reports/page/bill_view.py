"""Data of the bill: a row per arm for the decisions a month that a reader types, the prices to edit, where a dollar goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from domain.hardware import HOURS_PER_MONTH, Hardware
from reports.answer import table
from reports.format import known, significant
from reports.money import bill
from reports.money.bill import ArmBill, BreakEven, Dollar

if TYPE_CHECKING:
    from reports.answer.findings import Findings
    from reports.load import Run

VOLUMES = (100, 1_000, 10_000, 100_000)
SHADES = 6
"""Greys of the role groups."""


@dataclass(frozen=True)
class EditablePrice:
    """One price that a reader may change."""

    name: str
    key: str
    """How the script finds it."""
    value: str
    """Empty if unknown."""
    step: str


@dataclass(frozen=True)
class PriceGroup:
    """The prices of one hosted model or of one machine."""

    title: str
    prices: tuple[EditablePrice, ...]


@dataclass(frozen=True)
class BillRow:
    """One arm at the first volume."""

    bill: ArmBill
    month: float | None
    saved: float | None
    """Against the baseline; None for the baseline itself and where a cost is unknown."""
    hosted_share: float
    """Width of its bars, as shares of the dearest arm."""
    local_share: float
    against_base: BreakEven | None
    against_hosted: BreakEven | None
    """Against the cheapest arm without a machine, if that is not the baseline."""


class BillView:
    """The bill of a month."""

    volumes = VOLUMES

    def __init__(self, run: Run, findings: Findings) -> None:
        self.run, self.findings = run, findings

    @property
    def volume(self) -> int:
        """Decisions a month that the bill starts with."""
        return self.reconciled_volume or bill.DECISIONS

    @cached_property
    def reconciled_volume(self) -> int | None:
        """What a reconciled usage export paid for the baseline's models a month, in decisions of the baseline."""
        text = self.run.read_text(bill.USAGE)
        usage = json.loads(text) if text else {}
        base = next((one for one in self.bills if one.arm == self.findings.baseline), None)
        if base is None or not base.hosted_usd or usage.get("baseline") != base.arm:
            return None
        return max(round(float(usage["usd_a_month"]) / base.hosted_usd), 1)

    @cached_property
    def bills(self) -> list[ArmBill]:
        usd = {arm: one.value for arm, one in self.findings.row("cost").values.items()}
        return bill.bills(self.run, usd, {arm: one.usable for arm, one in self.findings.counts.items()})

    @cached_property
    def machines(self) -> Mapping[str, Hardware]:
        """Machines that an arm used, by server."""
        declared = self.run.record.hardware or {}
        used = dict.fromkeys(server for one in self.bills for server in one.machine_s)
        return {server: declared.get(server, Hardware("unknown")) for server in used}

    @property
    def is_there(self) -> bool:
        return any(one.usd for one in self.bills)

    @cached_property
    def cheapest_hosted(self) -> str | None:
        """The cheapest arm without a machine, if it is not the baseline."""
        hosted = [one for one in self.bills if one.usd and not one.machine_s]
        cheapest = min(hosted, key=lambda one: one.usd or 0.0, default=None)
        return cheapest.arm if cheapest and cheapest.arm != self.findings.baseline else None

    @cached_property
    def rows(self) -> list[BillRow]:
        dearest = max((one.usd for one in self.bills if one.usd), default=1.0)
        return [self._row(one, dearest) for one in self.bills]

    def _row(self, one: ArmBill, dearest: float) -> BillRow:
        base = self._usd(self.findings.baseline)
        is_compared = one.arm != self.findings.baseline and one.usd is not None and base is not None
        other = self._usd(self.cheapest_hosted)
        return BillRow(
            one,
            None if one.usd is None else one.usd * self.volume,
            ((base or 0.0) - (one.usd or 0.0)) * self.volume if is_compared else None,
            one.hosted_usd / dearest,
            sum(one.local.values()) / dearest,
            bill.break_even(one, base, self.machines) if is_compared else None,
            bill.break_even(one, other, self.machines) if other is not None else None,
        )

    def _usd(self, arm: str | None) -> float | None:
        return next((one.usd for one in self.bills if one.arm == arm), None)

    @cached_property
    def groups(self) -> list[PriceGroup]:
        """Prices to edit: per cent of the list price of each hosted model, and those of each machine."""
        models = dict.fromkeys(model for one in self.bills for model in one.hosted)
        hosted = [
            PriceGroup(model, (EditablePrice("% of its price in this run", f"m:{model}", "100", "5"),)) for model in models
        ]
        return hosted + [_machine_prices(server, machine) for server, machine in self.machines.items()]

    @property
    def has_rent(self) -> bool:
        """Whether the run priced its machines by the hour; else by electricity."""
        return any(machine.usd_per_hour is not None for machine in self.machines.values())

    @staticmethod
    def data(one: ArmBill) -> str:
        """What the script needs of one arm."""
        return json.dumps({"hosted": one.hosted, "local": one.local, "seconds": one.machine_s}) if one.usd else ""

    @cached_property
    def settings(self) -> str:
        """What the script needs besides."""
        base, other = self.findings.baseline, self.cheapest_hosted
        machines = {server: {"utilisation": machine.utilisation or 1.0} for server, machine in self.machines.items()}
        month = {"seconds": HOURS_PER_MONTH * 3600, "base": base, "other": other, "machines": machines}
        return json.dumps(month)

    @cached_property
    def dollars(self) -> list[Dollar]:
        return bill.dollars(self.run, self.bills)

    @cached_property
    def groups_of_roles(self) -> list[str]:
        """Names of the parts of all dollars, in order of the flow."""
        names = dict.fromkeys(name for one in self.dollars for name, _ in one.parts)
        lost = [name for name in (bill.REPAIRS, bill.UNUSABLE) if name in names]
        return [name for name in names if name not in lost] + lost

    def shade(self, part: str) -> str:
        """CSS class of a part of a dollar."""
        if part in (bill.REPAIRS, bill.UNUSABLE):
            return "gw" if part == bill.UNUSABLE else "gr"
        roles = [name for name in self.groups_of_roles if name not in (bill.REPAIRS, bill.UNUSABLE)]
        return f"g{roles.index(part) % SHADES + 1}"

    @staticmethod
    def usd(value: float | None) -> str:
        """Dollars of a month; empty if unknown."""
        return table.usd(value).replace("$-", "\u2212$") if value is not None and known(value) else ""

    @staticmethod
    def share(value: float, whole: float) -> str:
        return f"{value / whole * 100:.0f}\u202f%" if whole else ""


def _machine_prices(server: str, machine: Hardware) -> PriceGroup:
    months = None if machine.lifetime_years is None else machine.lifetime_years * 12
    fields = (
        ("rent, $ an hour", "rent", machine.usd_per_hour, "0.05"),
        ("purchase, $", "purchase", machine.purchase_usd, "100"),
        ("months of use", "months", months, "1"),
        ("watts when busy", "watts", machine.watts, "10"),
        ("$ per kWh", "kwh", machine.usd_per_kwh, "0.01"),
    )
    prices = (EditablePrice(name, f"{key}:{server}", _number(value), step) for name, key, value, step in fields)
    return PriceGroup(server, tuple(prices))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    text = significant(value, 6).replace(",", "")
    return text.rstrip("0").rstrip(".") if "." in text else text
