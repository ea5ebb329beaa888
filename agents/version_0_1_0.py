"""Fingerprints that version 0.1.0 gave to content that is unchanged since, so that nothing it recorded is paid for again.

Version 0.1.0 hashed the text of its source modules. These hashes are frozen here; role files and forms are hashed as they are
today. A fingerprint of 0.1.0 is valid only while today's fingerprint of the same content is the one that its code gives: an
edited role, prompt or rule makes it None. Delete this module, and the harness module of the same name, to drop the support.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256

from agents.decisions.forms import FORMS
from agents.pipeline import custom, flow, identity, roles
from agents.sources import DataSources, freezing
from agents.types import Pipeline

_PARSER_VERSION = 1
_CODE = {
    "prefetch": "ea0d78df0757129e0bbe6cfc5f227e5ea2a02940af8d5c8cab04f2e5c3d79ac4",
    "tools": "4e5357f07f77b20a21d6084d38db6fd50e8dbb514e039fe891e71e3fe3cbe7ed",
}
_RULES = "24407ae8c10705536cfec3ded66927b736750f60d971212190dfc79225b7219c"
_JUDGE = "42b50e5d1af7d2547c5621712dda0ad499182b6a5fad81f37af83abe4c06deee"
_RECIPE = "ddba4dd5da197c49d6e33641e588accf8bec2714c4f78266c150a472f5626305"
"""What 0.1.0 computed from its own source text."""

_CONTENT = {
    ("shallow", "prefetch"): "08815a4693b1721f2d73461c5759232533f0ee38ce211a9520497d50d2709bc3",
    ("shallow", "tools"): "34aa4d0ca93abfa97433c50a416302bdc281448b27a0e940e0f9ac92d1ef76f4",
    ("medium", "prefetch"): "8ae8972ebb390749db10e0a7a60e5685b53c286e483052c78f84744ed916ad71",
    ("medium", "tools"): "41f86e0be87ad2a01cfac9ea8d53e79a6ccd99e69265b97309467cd98acf418a",
    ("deep", "prefetch"): "90a290cbabec1d796e0c38af52aa272f08f126aacd4bff0e15d6d1c6f975cdf0",
    ("deep", "tools"): "bf4304551b052deeae18c75a8e3faefdd0d20d576eb5bff4485517ff9d467c04",
    ("single_call", "prefetch"): "72d9a21e0f9020c1d31b55b2cc27b849756dc49d295264b1466cdb8b27a82222",
    ("single_call", "tools"): "ae26f91b4c6b434c76180fe89e1a5da372070349906f81ea4cc78f44a7038157",
}
_RULE_CONTENT = {
    "always_hold": "fb487f6a0f574dad16b2ffca6f96be59e75845411de0b9468314fcf4123aa9db",
    "macd": "c3539d59e68634189ad53374d5d158a17cfda70d3e339628c238ff6f897998be",
    "kdj_rsi": "5c1268b1144012ee2aff4ff53225a7026091ea8fa801edcb4d0d73bf64d4581c",
    "zmr": "8c0d0ee43b94bf793ac4e8a10f3727e6d6d612cd467d261b3a993bc497e2d2d0",
    "sma": "4e1283764a42720177464c19b59fa0d893bfcd85d9d81df29b8c6915b1f9d7e6",
}
_JUDGE_CONTENT = "0e4edfecccfe7aa8aee26a1c6a842b3f2626905db1246cd64bc1741a8e7d8829"
"""What `agents.pipeline.identity` gives for the code of 0.1.0, with all analysts in their default order."""


def fingerprint_0_1_0(pipeline: Pipeline) -> str | None:
    """The fingerprint of this pipeline in 0.1.0; None if the pipeline asks, reads or decides differently today.

    The parser's version does not count: see `is_read_as_0_1_0`.
    """
    if pipeline.rule:
        same = identity.fingerprint(pipeline) == _RULE_CONTENT.get(pipeline.rule)
        return _digest("rule", _RULES) if same else None
    if pipeline.entry:
        if not all(_is_unchanged(depth, inputs) for depth, inputs in _CONTENT):
            return None
        return _digest("entry", pipeline.entry, custom.source_hash(pipeline.entry), _flow_hash())
    if not _is_unchanged(pipeline.depth, pipeline.inputs):
        return None
    return _digest("flow", _flow_hash(pipeline.analysts, pipeline.depth, pipeline.inputs))


def is_read_as_0_1_0() -> bool:
    """Whether today's parser is the one of 0.1.0."""
    return identity.PARSER_VERSION == _PARSER_VERSION


def judge_fingerprint_0_1_0() -> str | None:
    """The fingerprint of judges in 0.1.0; None if judges are asked differently today."""
    return _JUDGE if identity.judge_fingerprint(_PARSER_VERSION) == _JUDGE_CONTENT else None


def recipe_0_1_0(sources: DataSources) -> str | None:
    """The hash of the snapshot code in 0.1.0; None if these sources make snapshots differently today."""
    versions = {freezing.SNAPSHOT_VERSION, *(source.version for source in sources.by_part.values())}
    return _RECIPE if versions == {1} else None


def _is_unchanged(depth: str, inputs: str) -> bool:
    today = identity.fingerprint(Pipeline(depth=depth, inputs=inputs), _PARSER_VERSION)
    return today == _CONTENT[depth, inputs]


@cache
def _flow_hash(analysts: tuple[str, ...] = (), depth: str = "", inputs: str = "tools") -> str:
    """Without a depth, the hash covers every role: a custom pipeline might use any of them."""
    turns = flow.turns(Pipeline(analysts=analysts, depth=depth)) if depth else ()
    files = {turn.role.file for turn in turns} if depth else set(roles.all_roles())
    forms = {name: form.schema() for name, form in FORMS.items()}
    texts = roles.source_hash(files | {"_desk", "_repair"})
    return _digest(_CODE[inputs], json.dumps(forms, sort_keys=True), texts)


def _digest(*texts: str) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()
