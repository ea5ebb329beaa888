"""Frozen inputs: made once for each case before any cell starts, and read by workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import agents
from agents import Snapshot, SnapshotError
from domain.case import Case
from harness.cells import Cell, digest_of
from harness.errors import InvalidInput, Problem
from harness.experiment import environment
from harness.storage.folder import Folder

INDEX = "index.jsonl"
SHOWN_PROBLEMS = 12
OnProgress = Callable[[int, int], None]


def _no_progress(done: int, total: int) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class CaseInputs(Case):
    """A case with the data settings that its snapshot is made by."""

    data: Mapping[str, Any]


def freeze_cells(
    cells: Iterable[Cell],
    run_folder: Folder,
    shared: Path,
    archive: str | None = None,
    progress: OnProgress = _no_progress,
    contact: str | None = None,
) -> dict[str, str]:
    """case_id -> sha256 of its snapshot, all of them in the run folder. Raises InvalidInput with every case that cannot be."""
    cases = {cell.case_id: CaseInputs(cell.ticker, cell.date, cell.data) for cell in cells}
    shelf = SnapshotLibrary(shared, archive, contact)
    names: dict[str, str] = {}
    problems: list[Problem] = []
    run = run_folder.at("snapshots")
    there = set(run.files())
    for case_id, case in cases.items():
        try:
            names[case_id] = _freeze(case, shelf, run, there)
        except agents.NoSuchCase as problem:
            problems.append(Problem(case_id, str(problem)))
        except agents.SnapshotError as problem:
            kept = "run again later: what was frozen is kept" if isinstance(problem, agents.SourceFailed) else ""
            raise InvalidInput([Problem(case_id, str(problem), kept)]) from problem
        progress(len(names) + len(problems), len(cases))
    if problems:
        raise InvalidInput(_shortened(problems))
    return names


class SnapshotLibrary:
    """The shared folder: snapshots by their hash, and an index of what each was made from."""

    def __init__(self, folder: Path, archive: str | None = None, contact: str | None = None) -> None:
        self.folder = folder
        self.archive = archive
        self.contact = contact or environment.read().get("SEC_CONTACT")
        self._desks: dict[str, tuple[agents.Desk, str]] = {}
        self._index = dict(_read_index(folder / INDEX))

    def get(self, case: CaseInputs) -> tuple[str, bytes]:
        """Hash and bytes of the case's snapshot, frozen now unless an intact one was made by the same settings."""
        desk, made_from = self._desk(case.data)
        key = sha256(f"{case.case_id} {made_from}".encode()).hexdigest()
        name = self._index.get(key)
        raw = _intact(self.folder, name) if name else None
        if name is None or raw is None:
            snapshot = agents.freeze_case(case.ticker, case.date, desk, case.data)
            raw = snapshot.to_bytes()
            name = sha256(raw).hexdigest()
            put_snapshot(self.folder, name, raw)
            self._note(key, case, name)
        return name, raw

    def known(self, case: CaseInputs) -> bytes | None:
        """Bytes of the case's snapshot if it was frozen before; asks no source."""
        _, made_from = self._desk(case.data)
        name = self._index.get(sha256(f"{case.case_id} {made_from}".encode()).hexdigest())
        return _intact(self.folder, name) if name else None

    def _desk(self, data: Mapping[str, Any]) -> tuple[agents.Desk, str]:
        """The opened sources of these settings, with a hash of all that a snapshot depends on besides its case."""
        settings = digest_of(dict(data))
        if settings not in self._desks:
            desk = agents.open_sources(data, self.archive, self.folder / "cache", self.contact)
            known = {key: value for key, value in data.items() if key != "archive"}
            self._desks[settings] = desk, digest_of([known, desk.fingerprint(), agents.recipe()])
        return self._desks[settings]

    def _note(self, key: str, case: CaseInputs, name: str) -> None:
        self._index[key] = name
        line = json.dumps({"key": key, "case": case.case_id, "sha256": name}) + "\n"
        with (self.folder / INDEX).open("a", encoding="utf-8") as index:
            index.write(line)


def put_snapshot(folder: Path, name: str, raw: bytes) -> None:
    """Put a snapshot into a local folder at once; not forced to disk, since its name tells whether it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{name}.{uuid.uuid4().hex[:8]}.tmp"
    draft.write_bytes(raw)
    os.replace(draft, folder / f"{name}.json")


def _freeze(case: CaseInputs, shelf: SnapshotLibrary, run: Folder, there: set[str]) -> str:
    name, raw = shelf.get(case)
    if f"{name}.json" not in there:
        if run.local is not None:
            put_snapshot(run.local, name, raw)
        else:
            run.write(f"{name}.json", raw)
        there.add(f"{name}.json")
    return name


def _intact(folder: Path, name: str) -> bytes | None:
    try:
        raw = (folder / f"{name}.json").read_bytes()
    except FileNotFoundError:
        return None
    return raw if sha256(raw).hexdigest() == name else None


def _read_index(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that a crash cut short are skipped: the case is frozen again."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            yield str(entry["key"]), str(entry["sha256"])
        except (ValueError, KeyError, TypeError):
            continue


def _shortened(problems: list[Problem]) -> list[Problem]:
    more = len(problems) - SHOWN_PROBLEMS
    if more <= 0:
        return problems
    return [*problems[:SHOWN_PROBLEMS], Problem("snapshots", f"{more} more cases cannot be frozen")]


_CACHED = 64


class SnapshotCache:
    """Snapshots of one run by their hash."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._kept: OrderedDict[str, Snapshot] = OrderedDict()

    async def load(self, cell: Cell) -> Snapshot:
        """Raises SnapshotError when it is missing or altered."""
        name = cell.snapshot_sha256
        if name not in self._kept:
            self._kept[name] = await asyncio.to_thread(self._read, name)
        self._kept.move_to_end(name)
        while len(self._kept) > _CACHED:
            self._kept.popitem(last=False)
        return self._kept[name]

    async def read_ahead(self, cell: Cell) -> None:
        """Read it before it is needed, if it can be read."""
        if cell.snapshot_sha256:
            with contextlib.suppress(SnapshotError, OSError):
                await self.load(cell)

    def _read(self, name: str) -> Snapshot:
        raw = self._folder.read_if_there(f"{name}.json")
        if raw is None:
            raise SnapshotError(f"no snapshot {name[:12]} in {self._folder.url}; run the experiment again to freeze it")
        if sha256(raw).hexdigest() != name:
            raise SnapshotError(f"{self._folder.url}/{name}.json was altered; delete it and run again")
        return Snapshot.from_bytes(raw)
