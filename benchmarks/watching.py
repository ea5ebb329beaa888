"""Worker processes watched from outside: their CPU and memory, and how busy the machine was."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Watch:
    """What /proc said of the worker processes."""

    cpu_s: dict[int, float] = field(default_factory=dict)
    base_s: dict[int, float] = field(default_factory=dict)
    rss: dict[int, int] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)
    machine: list[tuple[float, float]] = field(default_factory=list)
    """(time, CPU seconds that all cores have worked by then, for whomever)."""
    is_over: bool = False

    def follow(self, supervisor: int) -> None:
        while not self.is_over:
            for pid in _children(supervisor):
                cpu_s, rss = _usage(pid)
                self.base_s.setdefault(pid, cpu_s)
                self.cpu_s[pid] = max(cpu_s, self.cpu_s.get(pid, 0.0))
                self.rss[pid] = max(rss, self.rss.get(pid, 0))
            self.load.append(os.getloadavg()[0])
            self.machine.append((time.time(), _worked_s()))
            time.sleep(0.1)

    @property
    def worked_s(self) -> float:
        """CPU seconds since each process was first seen."""
        return sum(self.cpu_s[pid] - self.base_s[pid] for pid in self.cpu_s)

    def busy(self, since: float, until: float) -> float:
        """Share of all cores that worked between two moments."""
        inside = [(at, worked_s) for at, worked_s in self.machine if since <= at <= until]
        (first, before), (last, after) = inside[0], inside[-1]
        return (after - before) / (last - first) / (os.cpu_count() or 1)


@contextmanager
def watching(parent: int) -> Iterator[Watch]:
    """Watch the children of a process for as long as the block lasts."""
    watch = Watch()
    thread = threading.Thread(target=watch.follow, args=(parent,))
    thread.start()
    try:
        yield watch
    finally:
        watch.is_over = True
        thread.join()


def _children(parent: int) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


def _usage(pid: int) -> tuple[float, int]:
    """CPU seconds and resident bytes (its own, without what it shares with the process that forked it)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS, int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0.0, 0


def _worked_s() -> float:
    user, nice, system, _, _, irq, soft, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft) / TICKS
