"""Pulling models happens on demand, and says what goes wrong."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import build
from harness.errors import InvalidInput

EXPERIMENT = """
name: pulled
tickers: [AAPL]
dates: [2012-06-15]
repeats: 1
data: demo
models:
  llama: {provider: ollama, model: "llama3.1:8b", num_ctx: 4096}
  tiny: {provider: llamacpp, model: smollm2-135m}
"""


class _Registry(http.server.BaseHTTPRequestHandler):
    """/api/pull as Ollama answers it: one JSON object a line."""

    asked: list[str]
    lines: list[object]
    status: int

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append(body["model"])
        answer = "".join(json.dumps(line) + "\n" for line in type(self).lines).encode()
        self.send_response(type(self).status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def registry() -> Iterator[tuple[type[_Registry], str]]:
    handler = type("Handler", (_Registry,), {"asked": [], "lines": [{"status": "success"}], "status": 200})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _files(folder: Path, url: str) -> list[str]:
    (folder / "pulled.yaml").write_text(EXPERIMENT)
    (folder / "servers.yaml").write_text(f"ollama: {{provider: ollama, url: '{url}'}}\n")
    return ["pull", str(folder / "pulled.yaml")]


def test_only_ollama_models_are_pulled(tmp_path: Path, registry: tuple[type[_Registry], str]) -> None:
    handler, url = registry
    handler.lines = [{"status": "pulling", "completed": 5, "total": 10}, {"status": "success"}]

    said = CliRunner().invoke(build(), _files(tmp_path, url), catch_exceptions=False)

    assert said.exit_code == 0
    assert handler.asked == ["llama3.1:8b"]
    assert "llama3.1:8b: pulling 50 %" in said.output


def test_a_model_that_nobody_knows_is_one_clear_error(tmp_path: Path, registry: tuple[type[_Registry], str]) -> None:
    handler, url = registry
    handler.lines = [{"error": "pull model manifest: file does not exist"}]

    with pytest.raises(InvalidInput, match=r"could not pull llama3\.1:8b: pull model manifest"):
        CliRunner().invoke(build(), _files(tmp_path, url), catch_exceptions=False)


@pytest.mark.parametrize("answer", [{"detail": "Not Found"}, "404: Not Found"])
def test_a_server_that_is_no_ollama_is_one_clear_error(
    tmp_path: Path, registry: tuple[type[_Registry], str], answer: object
) -> None:
    handler, url = registry
    handler.lines, handler.status = [answer], 404

    with pytest.raises(InvalidInput, match=r"with JSON|HTTP 404"):
        CliRunner().invoke(build(), _files(tmp_path, url), catch_exceptions=False)
