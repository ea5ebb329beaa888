"""The Redis keys of admission; no other file spells one."""

from __future__ import annotations

from dataclasses import dataclass

SHARED = "tah:shared:"
"""Prefix of what all runs of a broker share: servers with their slots, and the processes that hold them."""


@dataclass(frozen=True)
class Keys:
    """The keys of one run, and those shared by all runs."""

    run_id: str
    month: str = ""
    """Month (YYYY-MM) whose bill the run counts to; empty: none."""

    @property
    def prefix(self) -> str:
        return f"tah:{self.run_id}:"

    def cell(self, cell_id: str) -> str:
        """Hash: lease (token, holder), number of attempts, money, requests in flight."""
        return f"{self.prefix}cell:{cell_id}"

    def journal(self, cell_id: str) -> str:
        """Hash: call_id -> finished call of an unfinished cell."""
        return f"{self.prefix}journal:{cell_id}"

    @property
    def ledger(self) -> str:
        """Hash: settled, estimated and reserved pico-dollars and tokens of the run and of each model."""
        return f"{self.prefix}ledger"

    @property
    def month_ledger(self) -> str:
        """Hash: the same kinds of money of every run that counts to the month's bill; empty: no such bill."""
        return f"tah:month:{self.month}" if self.month else ""

    @property
    def servers(self) -> str:
        """Hash: server -> the slots that this run declared for it."""
        return f"{self.prefix}servers"

    def limit(self, server: str) -> str:
        """Hash: window, model and timers of a server's slots."""
        return f"{SHARED}limit:{server}"

    def slots(self, server: str) -> str:
        """Hash: call_id -> holder of a server's slot."""
        return f"{SHARED}slots:{server}"

    def waiters(self, server: str) -> str:
        """Sorted set: requests that wait for a slot, by arrival."""
        return f"{SHARED}waiters:{server}"

    def history(self, server: str) -> str:
        """List: changes of a server's window."""
        return f"{SHARED}history:{server}"

    @property
    def control(self) -> str:
        """String: what the user requested: run, pause or stop."""
        return f"{self.prefix}control"

    def alive(self, holder: str) -> str:
        """String that expires: this process is alive."""
        return f"{SHARED}alive:{holder}"

    def wake(self, holder: str) -> str:
        """List: call_ids of this process that got a slot."""
        return f"{SHARED}wake:{holder}"

    @property
    def suspects(self) -> str:
        """Hash: holder -> when it was first seen without a heartbeat."""
        return f"{SHARED}suspects"

    def of_call(self, cell_id: str, server: str) -> list[str]:
        """KEYS of every script, in the order of lua/prelude.lua."""
        return [
            self.cell(cell_id),
            self.journal(cell_id),
            self.ledger,
            self.limit(server),
            self.slots(server),
            self.waiters(server),
            self.history(server),
            self.control,
            self.suspects,
            self.servers,
            self.month_ledger,
        ]
