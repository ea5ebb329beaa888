"""The log of worker processes: plain lines or JSON, without secrets, never blocking a cell."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

_KEPT = 10_000
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"\bsk-[A-Za-z0-9_-]{6,}|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)|(?<=Bearer )\S+")
_SHORTEST = 6


class PlainFormatter(logging.Formatter):
    """Plain lines."""

    def __init__(self, secrets: dict[str, str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")
        self.secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record), self.secrets)


class JsonFormatter(PlainFormatter):
    """One JSON object per line: time, level, logger, process, message, error."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return without_secrets(json.dumps(entry, ensure_ascii=False, default=str), self.secrets)


class PatientHandler(logging.Handler):
    """Writes from a thread of its own; if the reader stops reading, lines are dropped and cells go on."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[str] = queue.Queue(_KEPT)
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="log", daemon=True)
            self._writer.start()
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            return

    def flush(self) -> None:
        """Wait up to a second for the writer."""
        deadline = time.monotonic() + 1.0
        while not self._lines.empty() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            # Not sys.stderr: a fork while this thread holds its lock would block the child for ever.
            with contextlib.suppress(OSError):
                os.write(2, (line + "\n").encode(errors="replace"))


def start(*, as_json: bool) -> PatientHandler:
    """Send this process's log to stderr; call it again after a fork, since threads do not survive one."""
    handler = PatientHandler()
    formatter = JsonFormatter if as_json else PlainFormatter
    handler.setFormatter(formatter(secrets_of(os.environ)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # Dramatiq would log each skipped message whole.
    logging.getLogger("dramatiq.worker.WorkerThread").setLevel(logging.ERROR)
    logging.getLogger("harness").setLevel(logging.INFO if as_json else logging.WARNING)
    return handler


def secrets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Values that must never be logged, by variable name."""
    return {name: value for name, value in environment.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST}


def hide(name: str, value: str | None) -> None:
    """Add a value that must never be logged, for example a key from .env."""
    for handler in logging.getLogger().handlers:
        if value and isinstance(handler.formatter, PlainFormatter):
            handler.formatter.secrets[name] = value


def without_secrets(text: str, secrets: Mapping[str, str]) -> str:
    for name, value in secrets.items():
        text = text.replace(value, f"[{name}]")
    return _SECRET_TEXT.sub("[secret]", text)
