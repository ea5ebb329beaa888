"""Who may do what: bearer tokens, hashed at rest, and the audit log."""

from __future__ import annotations

import datetime as dt
import fcntl
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InvalidInput, Problem
from harness.service.errors import ApiError

if TYPE_CHECKING:
    from fastapi import Request

READ, SUBMIT = "read", "submit"
SCOPES = (READ, SUBMIT)
LOCAL = "local"
"""Name of every caller of a service that only this machine reaches."""
COOKIE = "harness_token"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_PREFIX = "tah_"
_BUCKETS = 1024


@dataclass(frozen=True)
class Caller:
    """Who asks: the name of its token, and what it may do."""

    name: str
    scopes: frozenset[str]

    @property
    def sees_only(self) -> str | None:
        """The owner whose jobs it sees; None: all. A token that may read sees every job."""
        return None if READ in self.scopes else self.name


class TokenStore:
    """Tokens of all services over one state folder. Only hashes are stored."""

    def __init__(self, state: Path) -> None:
        self.path = state / "tokens.json"
        self._read_at: tuple[int, int] | None = None
        self._tokens: Mapping[str, Mapping[str, Any]] = {}

    def create(self, name: str, scopes: frozenset[str]) -> str:
        """Add a token and return it; it cannot be read again. Raises InvalidInput."""
        if not _NAME.fullmatch(name) or name == LOCAL:
            raise InvalidInput([Problem("--name", f"{name!r} is no name of a token", "use letters, digits, dots and dashes")])
        if not scopes or scopes - set(SCOPES):
            raise InvalidInput([Problem("--scope", f"unknown scope; known: {', '.join(SCOPES)}", "name one or both")])
        text = _PREFIX + secrets.token_urlsafe(32)
        with self._locked():
            tokens = dict(self._load())
            if any(entry["name"] == name for entry in tokens.values()):
                raise InvalidInput([Problem("--name", f"a token {name!r} exists", "choose another name, or revoke it")])
            now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            self._write(tokens | {_hash(text): {"name": name, "scopes": sorted(scopes), "created_at": now}})
        return text

    def revoke(self, name: str) -> bool:
        """Remove a token; returns whether there was one."""
        with self._locked():
            tokens = self._load()
            left = {hashed: entry for hashed, entry in tokens.items() if entry["name"] != name}
            if len(left) < len(tokens):
                self._write(left)
            return len(left) < len(tokens)

    def listed(self) -> list[Mapping[str, Any]]:
        """Name, scopes and time of creation of every token."""
        return list(self._load().values())

    def caller(self, text: str) -> Caller | None:
        """Who has this token."""
        hashed = _hash(text)
        for known, entry in self._load().items():
            if hmac.compare_digest(known, hashed):
                return Caller(entry["name"], frozenset(entry["scopes"]))
        return None

    def _load(self) -> Mapping[str, Mapping[str, Any]]:
        """Read again only after the file has changed."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._read_at, self._tokens = None, {}
            return self._tokens
        if self._read_at != (stat.st_mtime_ns, stat.st_ino):
            self._tokens = json.loads(self.path.read_text())
            self._read_at = (stat.st_mtime_ns, stat.st_ino)
        return self._tokens

    def _write(self, tokens: Mapping[str, Mapping[str, Any]]) -> None:
        temporary = self.path.with_name(f".tokens.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump(tokens, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _hash(text: str) -> str:
    """A token has 256 random bits, so that a fast hash is enough."""
    return sha256(text.encode(errors="replace")).hexdigest()


@dataclass(frozen=True)
class Audit:
    """The audit log: one JSON line for each submission, stop and token."""

    path: Path

    def write(self, caller: str, action: str, **fields: Any) -> None:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": now, "caller": caller, "action": action, **fields}) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


@dataclass
class RateLimit:
    """A bucket of requests for each caller, in this process."""

    per_s: float
    burst: int
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, caller: str) -> None:
        """Count one request. Raises ApiError if the caller sends too many."""
        now = time.monotonic()
        left, at = self._buckets.get(caller, (float(self.burst), now))
        left = min(float(self.burst), left + (now - at) * self.per_s)
        if left < 1:
            wait_s = (1 - left) / self.per_s
            what = f"more than {self.per_s:g} submissions a second"
            raise ApiError(429, "rate_limited", what, "send fewer", {"retry-after": str(max(1, round(wait_s)))})
        if len(self._buckets) > _BUCKETS:
            self._buckets.clear()
        self._buckets[caller] = (left - 1, now)


def needs(scope: str) -> Callable[[Request], Caller]:
    """A dependency of a route: the caller, who must have this scope. A `submit` token may read what it submitted."""

    def authorized(request: Request) -> Caller:
        service = request.app.state.service
        if service.is_open:
            return Caller(LOCAL, frozenset(SCOPES))
        caller: Caller | None = service.tokens.caller(_token_of(request))
        if caller is None:
            fix = "send `Authorization: Bearer TOKEN`; `python -m harness token create --scope submit` makes one"
            raise ApiError(401, "unauthorized", "no token, or an unknown one", fix, {"www-authenticate": "Bearer"})
        if scope == SUBMIT and SUBMIT not in caller.scopes:
            raise ApiError(403, "forbidden", f"this token may not {scope}", f"create one with --scope {scope}")
        return caller

    from fastapi import Request

    # FastAPI reads the class itself: this module must not import the framework, since `token` works without it.
    authorized.__annotations__["request"] = Request
    return authorized


def _token_of(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else request.cookies.get(COOKIE, "")
