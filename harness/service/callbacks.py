"""Callbacks: the end of a job, posted to an allowed address and signed.

Only listed hosts are asked, redirects are not followed, and an address inside a private network must be listed itself: a name
that resolves to one is refused. The connection goes to the address that was checked.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from harness.errors import InvalidInput, Problem
from harness.service.errors import ApiError

SECRET_VARIABLE = "HARNESS_CALLBACK_SECRET"
_TIMEOUT_S = 10.0
TRIES = 5
"""Attempts at one callback; the pauses between them double."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class CallbackRefused(Exception):
    """This callback may not be sent."""


@dataclass(frozen=True)
class CallbackRules:
    """Hosts and networks that callbacks may go to."""

    allowed: Sequence[str] = ()

    def __post_init__(self) -> None:
        for entry in self.allowed:
            if not entry.strip() or "://" in entry:
                what = f"{entry!r} is no host, host:port or network"
                raise InvalidInput([Problem("--allow-callback", what, "write n8n.example.org, n8n:5678 or 10.0.0.0/8")])

    def check(self, url: str) -> None:
        """Refuse what can be refused before a name is looked up. Raises ApiError."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if parts.username or parts.password:
            raise ApiError(422, "callback_not_allowed", "callback_url: it holds a login", "leave user and password out")
        if not self._lists(host, port):
            listed = ", ".join(self.allowed) or "none"
            raise ApiError(
                422,
                "callback_not_allowed",
                f"callback_url: {host[:100]}:{port} is not allowed; allowed: {listed}",
                "start the service with --allow-callback HOST",
            )

    def addresses(self, host: str, port: int) -> list[str]:
        """Addresses of the host that may be asked. Raises CallbackRefused or OSError."""
        found = {entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        for text in sorted(map(str, found)):
            address = ipaddress.ip_address(text.partition("%")[0])
            if not (address.is_global or self._lists_address(address)):
                raise CallbackRefused(f"{host} resolves to {text}, a private address that --allow-callback does not list")
        return sorted(map(str, found))

    def _lists(self, host: str, port: int) -> bool:
        if host.lower() in {entry.lower() for entry in self.allowed} or f"{host}:{port}".lower() in self.allowed:
            return True
        try:
            return self._lists_address(ipaddress.ip_address(host))
        except ValueError:
            return False

    def _lists_address(self, address: Address) -> bool:
        return any(address in network for network in map(_network, self.allowed) if network is not None)


def _network(entry: str) -> Network | None:
    host = entry.rpartition(":")[0] if entry.count(":") == 1 else entry
    try:
        return ipaddress.ip_network(host, strict=False)
    except ValueError:
        return None


def load_secret(state: Path) -> bytes:
    """The key of signatures: from the environment, else made once and kept in the state folder."""
    if given := os.environ.get(SECRET_VARIABLE):
        return given.encode()
    path = state / "callback.secret"
    state.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_hex(32).encode())
    return path.read_bytes()


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """sha256=HEX of the HMAC over `TIMESTAMP.BODY`."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, sha256).hexdigest()


def post(rules: CallbackRules, secret: bytes, url: str, content: Mapping[str, Any]) -> None:
    """Send one callback. Raises CallbackRefused if it may not be sent, OSError or httpx.HTTPError if it did not arrive."""
    import httpx

    try:
        rules.check(url)
    except ApiError as error:
        raise CallbackRefused(error.message) from error
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    address = rules.addresses(host, port)[0]
    pinned = urlunsplit(parts._replace(netloc=f"[{address}]:{port}" if ":" in address else f"{address}:{port}"))
    body, timestamp = json.dumps(content).encode(), str(int(time.time()))
    headers = {
        "host": parts.netloc,
        "content-type": "application/json",
        "x-harness-timestamp": timestamp,
        "x-harness-signature": signature(secret, timestamp, body),
    }
    with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
        answer = client.post(pinned, content=body, headers=headers, extensions={"sni_hostname": host})
    if answer.status_code >= 300:
        raise OSError(f"{host} answered {answer.status_code}")
