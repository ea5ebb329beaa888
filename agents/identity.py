"""The identity of a pipeline: a hash of everything that says what its models are told and how they are read."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

from agents import flow, own, roles, rules
from agents.contract.pipeline import Pipeline
from agents.decisions.forms import FORMS

_TELLING = (
    "inputs/views",
    "inputs/sheets",
    "inputs/statements",
    "inputs/text",
    "inputs/budget",
    "decisions/forms",
    "prompts",
    "flow",
    "graph",
    "turn",
)
_READING = ("decisions/decision", "decisions/ladder", "decisions/claims", "decisions/plain", "deciding")
_TOOLS = ("tools", "toolkit")
"""Files of this folder: another wording of a view or another rung of the ladder makes other cells."""


def fingerprint(pipeline: Pipeline | None = None) -> str:
    """Hash of the role files used, the forms, and the code that tells and reads; of everything without a pipeline."""
    if pipeline is not None and pipeline.rule:
        return _digest("rule", rules.source_hash())
    if pipeline is not None and pipeline.entry:
        return _digest("entry", pipeline.entry, own.source_hash(pipeline.entry), _flow_hash(None))
    return _digest("flow", _flow_hash(pipeline))


def _flow_hash(pipeline: Pipeline | None) -> str:
    used = roles.all_roles().values() if pipeline is None else [seat.role for seat in flow.seats(pipeline)]
    forms = {name: form.schema() for name, form in FORMS.items()}
    texts = roles.source_hash({role.file for role in used} | {"_desk", "_repair"})
    with_tools = pipeline is None or pipeline.inputs == "tools"
    code = _code_hash(_TELLING + _READING + (_TOOLS if with_tools else ()))
    return _digest(code, json.dumps(forms, sort_keys=True), texts)


@cache
def _code_hash(names: tuple[str, ...]) -> str:
    folder = Path(__file__).parent
    return _digest(*((folder / f"{name}.py").read_text(encoding="utf-8") for name in names))


def _digest(*texts: str) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()
