"""Ollama's native wire format, as its server writes it, and which of its models are loaded."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from tests.fakes.composing import Composed
from tests.fakes.openai_wire import pieces
from tests.fakes.script import Behaviour

VERSION = "0.17.0"
_NANO = 1_000_000_000
_FOR_EVER = dt.timedelta(days=365 * 290)


@dataclass
class Pulled:
    """One model on the server's disk."""

    name: str
    context_length: int = 131072
    capabilities: list[str] = field(default_factory=lambda: ["completion", "tools"])
    quantisation: str = "Q4_K_M"
    family: str = "llama"
    size: int = 4_900_000_000
    weights: str = ""
    """Other weights under the same name."""
    parameters: str = ""
    """Lines of PARAMETER in its Modelfile."""

    @property
    def digest(self) -> str:
        return sha256((self.weights or self.name).encode()).hexdigest()

    def details(self) -> dict[str, Any]:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": "8.0B",
            "quantization_level": self.quantisation,
        }


PULLED = (
    Pulled("llama3.1:8b"),
    Pulled("gpt-oss:20b", capabilities=["completion", "tools", "thinking"], quantisation="MXFP4", family="gptoss"),
    Pulled("qwen3:8b", context_length=40960, capabilities=["completion", "tools", "thinking"], family="qwen3"),
    Pulled("gemma3:4b", capabilities=["completion", "vision"], family="gemma3"),
)


@dataclass
class Loaded:
    """One model in memory."""

    pulled: Pulled
    num_ctx: int
    expires_at: dt.datetime
    shift: bool = True


class Memory:
    """What the fake server has on disk and in memory."""

    def __init__(self) -> None:
        self.pulled = {one.name: one for one in PULLED}
        self.loaded: dict[str, Loaded] = {}
        self.loads = 0
        self.load_s = 0.0
        self.vram_share = 1.0
        self.most_context: int | None = None
        """A machine that cannot hold more shrinks the context on load, silently."""
        self.knows_truncate = True
        """0.12 and later obey `truncate: false`; older servers cut whatever is asked."""
        self.version = VERSION
        self.most_loaded: int | None = None
        """OLLAMA_MAX_LOADED_MODELS."""
        self.forgets = False
        """Models are unloaded as soon as they have answered."""
        self.answers_at_root = False
        """Whether GET / says that Ollama is running."""
        self.shift_loads = False
        """0.30 and later load a model again for a request with another `shift`, which defaults to true."""
        self.old_cut = False
        """Servers up to 0.17 cut to the whole context, later ones to half of it."""

    def find(self, name: str) -> Pulled | None:
        return self.pulled.get(name) or self.pulled.get(f"{name}:latest")

    def change(self, told: Mapping[str, Any]) -> None:
        """Attributes of this class by name; `models` adds pulled models, `remove` takes some away."""
        for key, value in told.items():
            if key == "models":
                self.pulled |= {one["name"]: Pulled(**one) for one in value}
            elif key == "remove":
                self.pulled = {name: one for name, one in self.pulled.items() if name not in value}
            else:
                setattr(self, key, value)

    def use(self, pulled: Pulled, body: Mapping[str, Any]) -> tuple[Loaded, bool]:
        """The loaded model and whether it had to be loaded; another num_ctx loads it again."""
        self.expire()
        num_ctx = (body.get("options") or {}).get("num_ctx", 4096)
        shift = body.get("shift") is not False
        effective = min(num_ctx, self.most_context or num_ctx)
        loaded = self.loaded.get(pulled.name)
        is_same = loaded is not None and loaded.pulled.digest == pulled.digest
        is_new = loaded is None or not is_same or loaded.num_ctx != effective or (self.shift_loads and loaded.shift != shift)
        if is_new:
            self.loads += 1
            others = [name for name in self.loaded if name != pulled.name]
            for name in others[: max(0, len(others) + 1 - (self.most_loaded or 1000))]:
                del self.loaded[name]
        self.loaded[pulled.name] = Loaded(pulled, effective, _expiry(body.get("keep_alive")), shift)
        return self.loaded[pulled.name], is_new

    def ended(self, loaded: Loaded, keep_alive: Any) -> None:
        """The keep-alive counts from the end of a request."""
        loaded.expires_at = _expiry(0 if self.forgets else keep_alive)

    def expire(self) -> None:
        now = dt.datetime.now(dt.UTC)
        self.loaded = {name: one for name, one in self.loaded.items() if one.expires_at > now}

    def tags(self) -> dict[str, Any]:
        return {"models": [_line(one) | {"modified_at": "2026-06-01T00:00:00Z"} for one in self.pulled.values()]}

    def running(self) -> dict[str, Any]:
        self.expire()
        return {
            "models": [
                _line(one.pulled)
                | {
                    "expires_at": one.expires_at.isoformat(),
                    "size_vram": int(one.pulled.size * self.vram_share),
                    "context_length": one.num_ctx,
                }
                for one in self.loaded.values()
            ]
        }

    def show(self, pulled: Pulled) -> dict[str, Any]:
        info = {"general.architecture": pulled.family, f"{pulled.family}.context_length": pulled.context_length}
        return {
            "modelfile": f"FROM {pulled.name}",
            "template": "{{ .Prompt }}",
            "parameters": pulled.parameters,
            "details": pulled.details(),
            "model_info": info,
            "capabilities": pulled.capabilities,
            "modified_at": "2026-06-01T00:00:00Z",
        }


def messages(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(role, text) of each message, tool calls included."""
    return [(one["role"], one.get("content", "") + json.dumps(one.get("tool_calls") or "")) for one in body["messages"]]


def schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return body["format"] if isinstance(body.get("format"), dict) else None


def lines(
    body: Mapping[str, Any], behaviour: Behaviour, composed: Composed, load_s: float, seconds: float
) -> Iterator[dict[str, Any]]:
    """The objects of one answer; without `stream` the last one carries everything."""
    base = {"model": body["model"], "created_at": dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")}
    calls = [
        {"id": f"call_{index}", "function": {"index": index, "name": call["name"], "arguments": json.loads(call["arguments"])}}
        for index, call in enumerate(behaviour.tool_calls)
    ]
    whole: dict[str, Any] = {"role": "assistant", "content": composed.text}
    if behaviour.thinking:
        whole["thinking"] = behaviour.thinking
    if calls:
        whole["tool_calls"] = calls
    if body.get("stream", True):
        for thought in pieces(behaviour.thinking, behaviour.chunk_tokens):
            yield base | {"message": {"role": "assistant", "content": "", "thinking": thought}, "done": False}
        tokens = {"logprobs": behaviour.logprobs} if body.get("logprobs") and behaviour.logprobs else {}
        for piece in pieces(composed.text, behaviour.chunk_tokens):
            yield base | {"message": {"role": "assistant", "content": piece}, "done": False} | tokens
            tokens = {}
        if calls:
            yield base | {"message": {"role": "assistant", "content": "", "tool_calls": calls}, "done": False}
        whole = {"role": "assistant", "content": ""}
    yield base | {"message": whole, "done": True} | _end(behaviour, composed, load_s, seconds)


def _end(behaviour: Behaviour, composed: Composed, load_s: float, seconds: float) -> dict[str, Any]:
    prefill = 1 + composed.input_tokens * 100_000
    decode = max(int(seconds * _NANO), 1 + composed.output_tokens * 1_000_000)
    told: dict[str, Any] = {
        "done_reason": behaviour.finish or ("length" if composed.length else "stop"),
        "total_duration": int(load_s * _NANO) + prefill + decode,
        "load_duration": int(load_s * _NANO) + 1,
        "prompt_eval_count": composed.input_tokens,
        "prompt_eval_duration": prefill,
        "eval_count": composed.output_tokens,
        "eval_duration": decode,
    }
    if not behaviour.usage:
        del told["prompt_eval_count"], told["eval_count"]
    return told


def _line(pulled: Pulled) -> dict[str, Any]:
    return {
        "name": pulled.name,
        "model": pulled.name,
        "size": pulled.size,
        "digest": pulled.digest,
        "details": pulled.details(),
    }


def _expiry(keep_alive: Any) -> dt.datetime:
    seconds = _seconds(keep_alive)
    return dt.datetime.now(dt.UTC) + (_FOR_EVER if seconds < 0 else dt.timedelta(seconds=seconds))


def _seconds(keep_alive: Any) -> float:
    """A number is seconds, a text has a unit; 5 minutes where nothing is said."""
    if keep_alive is None:
        return 300.0
    if isinstance(keep_alive, (int, float)):
        return float(keep_alive)
    units = {"s": 1, "m": 60, "h": 3600}
    return float(keep_alive[:-1]) * units[keep_alive[-1]] if keep_alive[-1:] in units else float(keep_alive)
