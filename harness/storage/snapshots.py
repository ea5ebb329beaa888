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
from harness.storage.folder import Folder

INDEX = "index.jsonl"
SHOWN_PROBLEMS = 12
OnProgress = Callable[[int, int], None]


def _no_progress(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class CaseInputs(Case):
    """A case with the data settings of its snapshot."""

    data: Mapping[str, Any]


def freeze_cells(
    cells: Iterable[Cell],
    run_folder: Folder,
    shared: Path,
    archive: str | None = None,
    progress: OnProgress = _no_progress,
    contact: str | None = None,
    skipped: dict[str, str] | None = None,
) -> dict[str, str]:
    """Put the snapshot of every case into the run folder; returns case_id -> sha256. Raises InvalidInput.

    `skipped` gets the cases that no source has, with the reason, unless that is every case; without it they are a problem."""
    cases = {cell.case_id: CaseInputs(cell.ticker, cell.date, cell.data) for cell in cells}
    library = SnapshotLibrary(shared, archive, contact)
    names: dict[str, str] = {}
    problems: list[Problem] = []
    run = run_folder.at("snapshots")
    existing = set(run.files())
    for case_id, case in cases.items():
        try:
            names[case_id] = freeze_into(run, case, library, existing)
        except agents.NoSuchCase as problem:
            problems.append(Problem(case_id, str(problem)))
        except agents.SnapshotError as problem:
            raise InvalidInput([Problem(case_id, str(problem), _fix(problem))]) from problem
        progress(len(names) + len(problems), len(cases))
    if problems and (skipped is None or not names):
        raise InvalidInput(_shortened(problems))
    if skipped is not None:
        skipped |= {problem.where: problem.what for problem in problems}
    return names


def _fix(problem: SnapshotError) -> str:
    if isinstance(problem, agents.BadSource):
        return "correct the file, and run again; see docs/your-code.md"
    return "run again later; finished snapshots are kept" if isinstance(problem, agents.SourceFailed) else ""


class SnapshotLibrary:
    """The snapshot folder that all runs share: snapshots by hash, and an index of what each was made from."""

    def __init__(self, folder: Path, archive: str | None = None, contact: str | None = None) -> None:
        self.folder = folder
        self.archive = archive
        self.contact = contact or os.environ.get("SEC_CONTACT")
        self._desks: dict[str, tuple[agents.DataSources, tuple[str, ...]]] = {}
        self._index = dict(_read_index(folder / INDEX))

    def get(self, case: CaseInputs) -> tuple[str, bytes]:
        """Hash and bytes of the case's snapshot; frozen now unless an intact one with the same settings exists."""
        desk, keys = self._keys(case)
        if (frozen := self._intact(keys)) is not None:
            return frozen
        raw = agents.freeze_case(case.ticker, case.date, desk, case.data).to_bytes()
        name = sha256(raw).hexdigest()
        put_snapshot(self.folder, name, raw)
        self._note(keys[0], case, name)
        return name, raw

    def find(self, case: CaseInputs) -> bytes | None:
        """Bytes of the case's snapshot if it is frozen already; contacts no source."""
        frozen = self._intact(self._keys(case)[1])
        return frozen[1] if frozen else None

    def has(self, case: CaseInputs) -> bool:
        """Whether a snapshot made from the same sources and settings exists; reads none and contacts no source."""
        names = (self._index[key] for key in self._keys(case)[1] if key in self._index)
        return any((self.folder / f"{name}.json").exists() for name in names)

    def _intact(self, keys: Iterable[str]) -> tuple[str, bytes] | None:
        names = [self._index[key] for key in keys if key in self._index]
        return next(((name, raw) for name in names if (raw := _intact(self.folder, name)) is not None), None)

    def _keys(self, case: CaseInputs) -> tuple[agents.DataSources, list[str]]:
        """The case's sources, and the keys of its snapshot in the index: today's, then that of version 0.1.0."""
        desk, made_from = self._desk(case.data)
        return desk, [sha256(f"{case.case_id} {content}".encode()).hexdigest() for content in made_from]

    def _desk(self, data: Mapping[str, Any]) -> tuple[agents.DataSources, tuple[str, ...]]:
        """The opened sources of these settings, with hashes of everything but the case that a snapshot depends on."""
        settings = digest_of(dict(data))
        if settings not in self._desks:
            desk = agents.open_sources(data, self.archive, self.folder / "cache", self.contact)
            identifying = {key: value for key, value in data.items() if key != "archive"}
            content = desk.fingerprint()
            recipes = [recipe for recipe in (agents.recipe(desk), agents.recipe_0_1_0(desk)) if recipe]
            self._desks[settings] = desk, tuple(digest_of([identifying, content, recipe]) for recipe in recipes)
        return self._desks[settings]

    def _note(self, key: str, case: CaseInputs, name: str) -> None:
        self._index[key] = name
        line = json.dumps({"key": key, "case": case.case_id, "sha256": name}) + "\n"
        with (self.folder / INDEX).open("a", encoding="utf-8") as index:
            index.write(line)


def put_snapshot(folder: Path, name: str, raw: bytes) -> None:
    """Put a snapshot into a local folder atomically; not synced to disk, since its name is its hash."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.{uuid.uuid4().hex[:8]}.tmp"
    temporary.write_bytes(raw)
    os.replace(temporary, folder / f"{name}.json")


def freeze_into(run: Folder, case: CaseInputs, library: SnapshotLibrary, existing: set[str]) -> str:
    """Put the snapshot of a case into the snapshot folder of a run; `existing`: the files in it. Returns its hash.

    Raises NoSuchCase or SnapshotError."""
    name, raw = library.get(case)
    if f"{name}.json" not in existing:
        if run.local is not None:
            put_snapshot(run.local, name, raw)
        else:
            run.write(f"{name}.json", raw)
        existing.add(f"{name}.json")
    return name


def _intact(folder: Path, name: str) -> bytes | None:
    try:
        raw = (folder / f"{name}.json").read_bytes()
    except FileNotFoundError:
        return None
    return raw if sha256(raw).hexdigest() == name else None


def _read_index(path: Path) -> Iterator[tuple[str, str]]:
    """Incomplete lines of a crash are skipped: the case is frozen again."""
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
    """Snapshots of one run by hash; the last ones stay in memory."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._snapshots: OrderedDict[str, Snapshot] = OrderedDict()

    async def load(self, cell: Cell) -> Snapshot:
        """Raises SnapshotError if it is missing or altered."""
        name = cell.snapshot_sha256
        if name not in self._snapshots:
            self._snapshots[name] = await asyncio.to_thread(self._read, name)
        self._snapshots.move_to_end(name)
        while len(self._snapshots) > _CACHED:
            self._snapshots.popitem(last=False)
        return self._snapshots[name]

    async def read_ahead(self, cell: Cell) -> None:
        """Load it early; errors are left to `load`."""
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
