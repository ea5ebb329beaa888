"""Attached programs: a user's own pipeline, what identifies it, and who speaks in its requests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from agents import Model, deep_roles
from harness.cells import digest_of
from harness.errors import InvalidInput, Problem

ATTACHED_VERSION = 1
"""Raise it when the same requests of a program are translated or its decision is read differently."""
OTHER = "other"
"""Role of a request that no rule names."""
TIERS = ("deep", "quick", "role")
"""Values of `pipeline.models` besides names of models; `role`: deep for the roles that are deep in our own pipeline."""
_SHIPPED = Path(__file__).parent / "attached_roles.yaml"
_LOOKED_AT_CHARS = 4000
_SOURCES = frozenset(
    {
        *(".py", ".js", ".ts", ".sh", ".md", ".txt", ".prompt", ".j2", ".jinja", ".jinja2"),
        *(".toml", ".yaml", ".yml", ".cfg", ".ini"),
    }
)
_WRITTEN_FOLDERS = re.compile(r"^\.|^(venv|env|node_modules|site-packages)$|cache|results|logs")
"""Folders of an environment, and those that programs write to."""
_LARGEST_SOURCE_BYTES = 1 << 20
_GIT_S = 30.0


@dataclass(frozen=True)
class Rule:
    """One rule: the role of the requests that it fits."""

    role: str
    tool: re.Pattern[str] | None = None
    system: re.Pattern[str] | None = None
    user: re.Pattern[str] | None = None
    debates: bool = False
    decides: bool = False


@dataclass(frozen=True)
class Roles:
    """The rules that name roles, and the patterns of text that differs each time a program asks."""

    rules: tuple[Rule, ...] = ()
    volatile: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule.role for rule in self.rules))

    @property
    def debaters(self) -> frozenset[str]:
        return frozenset(rule.role for rule in self.rules if rule.debates)

    @property
    def deciders(self) -> frozenset[str]:
        return frozenset(rule.role for rule in self.rules if rule.decides)

    def name(self, forced_tool: str, system: str, user: str) -> str:
        """The role of a request; `other` if no rule fits."""
        texts = (forced_tool, system[:_LOOKED_AT_CHARS].lstrip(), user[:_LOOKED_AT_CHARS].lstrip())
        for role, searched, pattern in self._patterns:
            if texts[searched] and pattern.search(texts[searched]):
                return role
        return OTHER

    @cached_property
    def _patterns(self) -> list[tuple[str, int, re.Pattern[str]]]:
        """(role, which of the three texts of `name` is searched, pattern), in the order of the rules."""
        patterns = ((rule.role, (rule.tool, rule.system, rule.user)) for rule in self.rules)
        return [(role, number, each) for role, three in patterns for number, each in enumerate(three) if each]


@cache
def shipped_roles() -> Roles:
    """The rules for TradingAgents, TradingAgents-CN and ai-hedge-fund."""
    programs = yaml.safe_load(_SHIPPED.read_text(encoding="utf-8"))
    read = [_roles(program, f"{_SHIPPED.name}: {name}") for name, program in programs.items()]
    return Roles(tuple(rule for each in read for rule in each.rules), tuple(text for each in read for text in each.volatile))


def roles_of(path: Path | None) -> Roles:
    """The user's rules before the shipped ones. Raises InvalidInput if the file is missing or wrong."""
    shipped = shipped_roles()
    if path is None:
        return shipped
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput([Problem(f"{path}", f"cannot be read as YAML: {error}", "see docs/attach.md")]) from error
    own = _roles({"rules": document} if isinstance(document, list) else document, str(path))
    return Roles((*own.rules, *shipped.rules), (*own.volatile, *shipped.volatile))


def _roles(document: Any, where: str) -> Roles:
    if not isinstance(document, Mapping) or not isinstance(document.get("rules", []), list):
        raise InvalidInput(
            [Problem(where, "expected a list of rules, or {rules: [...], volatile: [...]}", "see docs/attach.md")]
        )
    rules = tuple(_rule(raw, f"{where}: rule {number}") for number, raw in enumerate(document.get("rules", []), 1))
    return Roles(rules, tuple(str(text) for text in document.get("volatile", [])))


def _rule(raw: Any, where: str) -> Rule:
    known = {"role", "tool", "system", "user", "debates", "decides"}
    if not isinstance(raw, Mapping) or not isinstance(raw.get("role"), str) or set(raw) - known:
        raise InvalidInput([Problem(where, f"expected role and some of {', '.join(sorted(known - {'role'}))}", "correct it")])
    patterns = {key: compiled(str(raw[key]), where) for key in ("tool", "system", "user") if raw.get(key)}
    if not patterns:
        raise InvalidInput([Problem(where, "it fits nothing: name tool, system or user", "add a regular expression")])
    return Rule(raw["role"], debates=bool(raw.get("debates")), decides=bool(raw.get("decides")), **patterns)


def compiled(text: str, where: str) -> re.Pattern[str]:
    """A regular expression of the user. Raises InvalidInput."""
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidInput([Problem(where, f"{text!r} is no regular expression: {error}", "correct it")]) from error


def played_by(lineup: Mapping[str, Model], target: str, role: str) -> Model | None:
    """The model of a lineup behind a value of `pipeline.models`; None if the lineup has none for it."""
    if f"model:{target}" in lineup:
        return lineup[f"model:{target}"]
    tier = ("deep" if role in deep_roles() else "quick") if target == "role" else target
    return lineup.get(role) or lineup.get(tier)


@dataclass(frozen=True)
class Attached:
    """An attached program as an experiment describes it, with paths of this machine."""

    command: tuple[str, ...]
    folder: Path
    experiment_dir: Path
    models: Mapping[str, str] = field(default_factory=lambda: {"*": "role"})
    """Program's model name -> deep, quick, role, or the name of one of the experiment's models; * is any other."""
    roles: Roles = field(default_factory=shipped_roles)
    volatile: tuple[str, ...] = ()
    cache: tuple[str, ...] = ()
    result: Mapping[str, str] = field(default_factory=dict)
    time_limit_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    """Patterns of files that a case writes and that are kept; not part of an identity."""

    def identity(self) -> dict[str, Any]:
        """What makes its cells other cells; paths of this machine are not in it."""
        rules = [[rule.role, *(part.pattern if part else None for part in (rule.tool, rule.system, rule.user))]
                 for rule in self.roles.rules]  # fmt: skip
        return {
            "version": ATTACHED_VERSION,
            "command": list(self.command),
            "driver": self._driver_hash(),
            "program": program_identity(self.folder),
            "models": dict(self.models),
            "rules": digest_of(rules)[:16],
            "volatile": list(self.volatile_texts),
            "cache": {name: cache_hash(path) for name, path in self.cache_folders().items()},
            "result": dict(self.result),
            "env": dict(self.env),
        }

    @property
    def volatile_texts(self) -> tuple[str, ...]:
        return (*self.volatile, *self.roles.volatile)

    def patterns(self) -> list[re.Pattern[str]]:
        return [compiled(text, "pipeline.volatile") for text in self.volatile_texts]

    def words(self, values: Mapping[str, str]) -> list[str]:
        """The command with {ticker}, {date}, {repeat}, {experiment} and {python} (that of the harness) filled in."""
        filled = {**values, "experiment": str(self.experiment_dir), "python": sys.executable}
        return [_filled(word, filled) for word in self.command]

    def kept(self, values: Mapping[str, str]) -> list[str]:
        """The patterns of files to keep, with {ticker}, {date} and {repeat} filled in."""
        return [_filled(pattern, values) for pattern in self.keep]

    def cache_folders(self) -> dict[str, Path]:
        """As listed -> the folder or file that is copied into each cell."""
        return {entry: self._cache_path(entry) for entry in self.cache}

    def _cache_path(self, entry: str) -> Path:
        _, _, path = entry.rpartition("=")
        return Path(os.path.expanduser(path)) if path.startswith("~") else self.folder / path

    def _driver_hash(self) -> str | None:
        """Hash of the files that the command names, which may lie outside the program's folder."""
        words = self.words({"ticker": "", "date": "", "repeat": ""})[1:]
        files = [path for word in words if word and (path := self.folder / word).is_file()]
        return sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16] if files else None


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word


@cache
def program_identity(folder: Path) -> dict[str, Any]:
    """Commit and hash of the changes since; hash of all source files where there is no repository."""
    top, commit = _git(folder, "rev-parse", "--show-toplevel"), _git(folder, "rev-parse", "HEAD")
    if commit is None or top is None or Path(os.fsdecode(top.rstrip(b"\n"))) != folder.resolve():
        return {"files": _hash_of_files(folder, _source_files(folder))}
    changes = _git(folder, "diff", "HEAD", "--", ".") or b""
    listed = _git(folder, "ls-files", "--others", "--exclude-standard", "-z", "--", ".") or b""
    untracked = [folder / name for name in map(os.fsdecode, listed.split(b"\0")) if name and _is_source(Path(name))]
    changed = sha256(changes + _hash_of_files(folder, untracked).encode()).hexdigest()[:16] if changes or untracked else None
    return {"commit": commit.decode().strip(), "changes": changed}


@cache
def cache_hash(path: Path) -> str | None:
    """Hash of the names, sizes and contents of a folder's files; None where there is nothing yet."""
    if not path.exists():
        return None
    files = [path] if path.is_file() else sorted(inner for inner in path.rglob("*") if inner.is_file())
    return _hash_of_files(path, files)


def _source_files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _WRITTEN_FOLDERS.search(name))
        yield from (Path(root, name) for name in sorted(files) if _is_source(Path(name)))


def _is_source(path: Path) -> bool:
    return path.suffix in _SOURCES and not any(_WRITTEN_FOLDERS.search(part) for part in path.parent.parts)


def _hash_of_files(folder: Path, files: Sequence[Path] | Iterator[Path]) -> str:
    digest = sha256()
    for path in files:
        size = path.stat().st_size
        content = path.read_bytes() if size <= _LARGEST_SOURCE_BYTES else str(size).encode()
        digest.update(f"{os.path.relpath(path, folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _git(folder: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=_GIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
