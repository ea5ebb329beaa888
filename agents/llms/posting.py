"""Posting JSON to one server: one request, sent once, and noted on its wire as it happens.

An SDK costs 10 to 20 times the CPU of the request itself, for retries and types of which we use none: retries are the
gate's, and answers are read from the wire as billed.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from agents.llms.wire import Wire, params_of

CONNECT_TIMEOUT_S = 15.0


class HttpError(Exception):
    """The server answered with an error status; what it said is on the wire."""


class Poster:
    """The connections of one event loop to one server; as many as the gate admits."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url = url
        self._proxy = proxy_of(url)
        self._headers = {
            "Authorization": f"Bearer {api_key or 'none'}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self._session: Any = None

    async def open(self) -> None:
        """Import and build what a request needs, which must not count as the first answer's time."""
        if self._session is None:
            self._session = _session(self._headers, secure=self._url.startswith("https:"))

    async def post(self, path: str, body: Mapping[str, Any], wire: Wire, timeout_s: float) -> None:
        """Send once and read the answer whole. Raises HttpError for an error status, else what the connection raises."""
        from aiohttp import ClientTimeout

        await self.open()
        wire.sent = params_of(body)
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        timeout = ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        async with self._session.post(self._url + path, data=content, proxy=self._proxy, timeout=timeout) as response:
            wire.status, wire.headers = response.status, response.headers
            wire.body = await response.read()
        if wire.status >= 400:
            raise HttpError(f"HTTP {wire.status}")

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


def proxy_of(url: str) -> str | None:
    """The proxy that HTTPS_PROXY and NO_PROXY say for this address; this machine is never reached through one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _session(headers: Mapping[str, str], *, secure: bool) -> Any:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, ssl=_certificates() if secure else False)
    # Not trust_env: beside proxies it reads ~/.netrc, whose entry for a server would replace our key.
    return aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


def _certificates() -> Any:
    """SSL_CERT_FILE where it is set, else the bundle that Python packages share."""
    import httpx

    return httpx.create_ssl_context()
