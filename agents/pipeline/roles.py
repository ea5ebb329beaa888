"""The roles of the pipeline: one Markdown file each, with front matter and a strict Jinja prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from agents.errors import PipelineError

FOLDER = Path(__file__).parents[1] / "roles"
STAGES = ("analysis", "debate", "plan", "trade", "risk", "decision", "single_call")
TIERS = ("quick", "deep")
READS = ("snapshot", "reports", "debate", "plan", "proposal", "risk")
OUTPUTS = ("report", "argument", "sentiment", "plan", "proposal", "decision")
DEBATES = ("debate", "risk")
"""Stages whose roles speak one after the other, once per round."""
SINGLE = ("plan", "trade", "decision")
"""Stages of exactly one role."""
RATED = ("plan", "proposal", "decision")
"""Outputs with a rating or an action, which is recorded in `Result.stage_ratings`."""

_FRONT = re.compile(r"\A---\n(.*?)\n---\n(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Role:
    """One role as described by its file."""

    file: str
    """Name of the file without `.md`."""
    prompt: str
    """Jinja text of the instruction, the last part of the prompt."""
    title: str
    stage: str
    tier: str
    reads: tuple[str, ...]
    """The inputs before the instruction, in this order."""
    output: str
    words: int
    """Limit on words that the instruction asks for."""
    order: int = 1
    """Position within the stage."""
    plays: str = ""
    """The role under which a lineup names its model; default: the file's name."""
    data: tuple[str, ...] = ()
    """Sections of the snapshot that an analyst reads."""

    @property
    def name(self) -> str:
        return self.plays or self.file

    @property
    def is_analyst(self) -> bool:
        return self.stage == "analysis"

    @property
    def is_debater(self) -> bool:
        return self.stage in DEBATES

    @property
    def decides(self) -> bool:
        return self.output in RATED


def role_names() -> tuple[str, ...]:
    """The roles that a lineup can name, in the order of the flow."""
    return tuple(dict.fromkeys(role.name for role in all_roles().values()))


def deep_roles() -> tuple[str, ...]:
    """The roles played by a lineup's `deep` model; `quick` plays the others."""
    return tuple(dict.fromkeys(role.name for role in all_roles().values() if role.tier == "deep"))


def analyst_roles() -> tuple[str, ...]:
    """The roles that read the snapshot and report; with `inputs: tools` they call tools."""
    return tuple(role.name for role in of_stage("analysis"))


def final_role() -> str:
    """The role whose rating is the decision."""
    return of_stage("decision")[0].name


def role_records() -> list[dict[str, Any]]:
    """What a run's manifest keeps of the roles, in the order of the flow, so that reports need no role by name."""
    return [
        {"role": role.name, "title": role.title, "stage": role.stage, "is_debater": role.is_debater, "decides": role.decides}
        for role in all_roles().values()
        if not role.plays
    ]


def analyst_names() -> tuple[str, ...]:
    """The values of `pipeline.analysts`: the analysts' role names without `_analyst`."""
    return tuple(role.name.removesuffix("_analyst") for role in of_stage("analysis"))


def analyst(name: str) -> Role:
    """The role for one entry of `pipeline.analysts`. Raises PipelineError if there is none."""
    for role in of_stage("analysis"):
        if name in (role.name, role.name.removesuffix("_analyst")):
            return role
    raise PipelineError(f"unknown analyst {name!r} in pipeline.analysts; known: {', '.join(sorted(analyst_names()))}")


@cache
def of_stage(stage: str) -> tuple[Role, ...]:
    return tuple(role for role in all_roles().values() if role.stage == stage)


@cache
def snippet(name: str) -> str:
    """The text of a prompt that is not a role (`_desk`, `_repair`)."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8").strip()


def source_hash(names: Iterable[str]) -> str:
    """sha256 of these files with normalised line ends."""
    texts = ((FOLDER / f"{name}.md").read_text(encoding="utf-8") for name in sorted(names))
    return sha256("\0".join(texts).encode()).hexdigest()


@cache
def all_roles() -> Mapping[str, Role]:
    """Every role file by its name, in the order of the flow; raises PipelineError for an invalid file."""
    return load(FOLDER)


def load(folder: Path) -> Mapping[str, Role]:
    """The role files of a folder; a name that starts with `_` is not a role."""
    roles = [_read(path) for path in sorted(folder.glob("*.md")) if not path.name.startswith("_")]
    for stage in SINGLE:
        _require_one(roles, stage, folder)
    roles.sort(key=lambda role: (STAGES.index(role.stage), role.order, role.file))
    return {role.file: role for role in roles}


def _require_one(roles: list[Role], stage: str, folder: Path) -> None:
    players = [f"{role.file}.md" for role in roles if role.stage == stage]
    if len(players) != 1:
        raise PipelineError(f"{folder}: stage {stage} needs exactly one role, found {', '.join(players) or 'none'}")


def _read(path: Path) -> Role:
    import yaml

    parts = _FRONT.match(path.read_text(encoding="utf-8"))
    if parts is None:
        raise PipelineError(f"{path}: a role starts with front matter between two lines of ---")
    try:
        head = yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        raise PipelineError(f"{path}: front matter is no YAML: {error}") from error
    return _role(path, head if isinstance(head, dict) else {}, parts[2].strip())


def _role(path: Path, head: dict[str, Any], prompt: str) -> Role:
    _check_keys(path, head, {field.name for field in fields(Role)} - {"file", "prompt"})
    for key, choices in (("stage", STAGES), ("tier", TIERS), ("output", OUTPUTS)):
        _check_choice(path, key, head[key], choices)
    for key in ("reads", "data"):
        head[key] = _names(path, key, head.get(key, []))
    for read in head["reads"]:
        _check_choice(path, "reads", read, READS)
    return Role(file=path.stem, prompt=prompt, **head)


def _check_keys(path: Path, head: dict[str, Any], allowed: set[str]) -> None:
    needed = {"title", "stage", "tier", "reads", "output", "words"}
    for key in sorted(set(head) - allowed):
        raise PipelineError(f"{path}: unknown key {key!r}; known: {', '.join(sorted(allowed))}")
    for key in sorted(needed - set(head)):
        raise PipelineError(f"{path}: the front matter lacks {key!r}")


def _check_choice(path: Path, key: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise PipelineError(f"{path}: unknown {key} {value!r}; known: {', '.join(choices)}")


def _names(path: Path, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise PipelineError(f"{path}: {key} is a list of names, not {value!r}")
    return tuple(value)
