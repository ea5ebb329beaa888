"""The fake model server as a process, told what to do over HTTP. Needs no test library: benchmarks use it, too."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents import Server

_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class FakeModels:
    """A running fake, told what to do and asked what happened over its own HTTP."""

    url: str

    def control(self, **told: Any) -> None:
        """Behaviour from now on: defaults={...}, rules=[{...}], ollama={...}, api_key=..., models=[...], later={...},
        shutdown_dates={model: date} (None: a list without that field)."""
        self._ask("/control", told)

    def rule(self, **do: Any) -> None:
        """One rule for every request from now on, in place of all others."""
        self.control(rules=[{"do": do}])

    def ledger(self, *, full: bool = False) -> dict[str, Any]:
        told: dict[str, Any] = self._ask("/ledger?full=1" if full else "/ledger")
        return told

    def reset(self) -> None:
        self._ask("/reset", {})

    def openai(self, name: str = "openai", **more: Any) -> Server:
        """Answers as OpenAI's Responses API."""
        return Server(name, "openai", self.url, **({"api": "responses", "api_key": "sk-fake"} | more))

    def compatible(self, name: str = "vllm", **more: Any) -> Server:
        """Answers as a server of Chat Completions."""
        return Server(name, "openai_compatible", self.url, **more)

    def anthropic(self, name: str = "anthropic", **more: Any) -> Server:
        """Answers as Anthropic, with its prompt cache."""
        given: dict[str, Any] = {"api_key": "sk-fake", "cache_marks": True}
        return Server(name, "anthropic", self.url, **(given | more))

    def google(self, name: str = "google", **more: Any) -> Server:
        """Answers as Google."""
        return Server(name, "google", self.url, **({"api_key": "sk-fake"} | more))

    def ollama(self, name: str = "ollama", **more: Any) -> Server:
        return Server(name, "ollama", self.url, **more)

    def _ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def fake_server(*options: str) -> Iterator[FakeModels]:
    """The fake as a process of its own, which ends with whoever started it."""
    command = [sys.executable, "-m", "tests.fakes.model_server", *options]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield FakeModels(json.loads(process.stdout.readline())["url"])
        finally:
            process.stdin.close()
            process.wait(timeout=10)
