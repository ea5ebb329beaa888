"""The identity of a pipeline: a hash of everything that its models are told, and how."""

from __future__ import annotations

import json
from hashlib import sha256

from agents import flow, own, roles, rules
from agents.forms import FORMS
from agents.prompts import LAYOUT
from agents.types import Pipeline


def fingerprint(pipeline: Pipeline | None = None) -> str:
    """Hash of what the models are told and how: role files, forms, flow; of every role without a pipeline."""
    if pipeline is not None and pipeline.rule:
        return _digest("rule", rules.source_hash())
    if pipeline is not None and pipeline.entry:
        return _digest("entry", pipeline.entry, own.source_hash(pipeline.entry), _flow_hash(None))
    return _digest("flow", _flow_hash(pipeline))


def _flow_hash(pipeline: Pipeline | None) -> str:
    used = roles.all_roles().values() if pipeline is None else [seat.role for seat in flow.seats(pipeline)]
    forms = {name: form.schema() for name, form in FORMS.items()}
    texts = roles.source_hash({role.file for role in used} | {"_desk", "_repair"})
    return _digest(flow.VERSION, LAYOUT, json.dumps(forms, sort_keys=True), texts)


def _digest(*texts: str) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()
