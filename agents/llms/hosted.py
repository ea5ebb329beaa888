"""What clients of HTTP APIs have in common: one HTTP client, no models to load, and answers that are read from the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from agents.errors import Unsupported
from agents.llms.failures import CallFailed, from_status
from agents.llms.provider import ModelReport, ServerReport, Slot, Warmth, no_wait
from agents.llms.wire import Wire, hooks
from agents.types import Answer, Model, Request, Server
from domain.providers import PROVIDERS, Provider

CONNECT_TIMEOUT_S = 15.0
PROBE_TIMEOUT_S = 4.0
MAX_CONNECTIONS = 10_000
"""Explicit because aiohttp turns None into 100; admission limits the requests in flight."""
_KEEP_ALIVE_S = 5.0
"""Servers on uvicorn, vLLM among them, close an idle connection after so long."""


def installed(provider: Provider) -> None:
    """Raises Unsupported with the line that installs it if the provider's package is missing."""
    missing = [package for package in provider.packages if not _is_installed(package)]
    if missing:
        raise Unsupported(
            f"provider {provider.name} needs {' and '.join(missing)}, which is not installed; "
            f"fix: pip install 'tradingagents-harness[{provider.extra}]', or pip install {' '.join(missing)}"
        )


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


@contextmanager
def wire_decides(wire: Wire) -> Iterator[None]:
    """Drop an error of the SDK if the answer arrived: it may reject one that is complete and billed."""
    try:
        yield
    except Exception:
        if wire.status is None or wire.status >= 400 or wire.body is None:
            raise


class HttpConnection:
    """Posts JSON bodies to one address over kept connections; belongs to the event loop that first uses it.

    aiohttp without the SDK's client around it, whose requests, headers and URLs take nearly as much CPU time again.
    """

    def __init__(self, url: str, *, trusts_environment: bool) -> None:
        """`trusts_environment`: whether HTTPS_PROXY and SSL_CERT_FILE count."""
        self._url, self._trusts_environment = url, trusts_environment
        self._session: Any = None

    async def post(self, path: str, content: bytes, headers: Mapping[str, str], wire: Wire) -> None:
        """Send one request and record its response. Raises CallFailed for an error status, and what aiohttp raises."""
        async with self._opened().post(self._url + path, data=content, headers=headers) as response:
            wire.status, wire.headers = response.status, response.headers
            wire.body = await _read(response, wire)
        if wire.status >= 400:
            raise CallFailed(from_status(wire, "HTTPStatusError"))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> Any:
        if self._session is None:
            import aiohttp
            import httpx2

            is_encrypted = self._url.startswith("https:")
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=MAX_CONNECTIONS,
                    keepalive_timeout=_KEEP_ALIVE_S,
                    ssl=httpx2.create_ssl_context(trust_env=self._trusts_environment) if is_encrypted else True,
                ),
                # An answer depends on its request alone.
                cookie_jar=aiohttp.DummyCookieJar(),
                # `ask` applies the timeout of each request: models with the same name but different lanes share this session.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                proxy=proxy_of(self._url) if self._trusts_environment else None,
            )
        return self._session


async def _read(response: Any, wire: Wire) -> bytes:
    if wire.first_token is None:
        return bytes(await response.read())
    chunks: list[bytes] = []
    async for chunk in response.content.iter_any():
        wire.note_chunk(chunk)
        chunks.append(chunk)
    return b"".join(chunks)


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address. aiohttp's `trust_env` would also send passwords of ~/.netrc."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def unused_client() -> Any:
    """An HTTP client for LangChain, which only composes bodies here: without one it would open its own. It cannot send."""
    import httpx2

    return httpx2.AsyncClient(transport=httpx2.AsyncBaseTransport())


class ApiClient:
    """A server behind one HTTP client; it queues requests itself and has no models to load."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._http: Any = None

    def context_window(self, model: Model) -> int | None:
        return None

    def timeout_s(self, model: Model) -> float:
        return self.server.timeout_s

    def slot(self, model: Model) -> Any:
        return no_wait()

    async def warm(self, model: Model) -> Warmth:
        return Warmth()

    async def release(self, model: Model, before: Warmth) -> None:
        return None

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()


class HostedApi(ApiClient):
    """A hosted API as one event loop reaches it; subclasses compose the requests and read the answers."""

    api_version: str
    """First part of its paths."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.url = (server.url or PROVIDERS[server.provider].url or "").rstrip("/")
        self.chats: dict[str, Any] = {}
        self.connection: Any = None

    def build(self, model: Model) -> Any:
        """LangChain's chat model, which composes the requests."""
        raise NotImplementedError

    def client(self) -> Any:
        """The SDK's client, over `http_client`."""
        raise NotImplementedError

    async def send(self, request: Request, slot: Slot, wire: Wire) -> Answer:
        raise NotImplementedError

    async def prepare(self, model: Model) -> None:
        if model.name not in self.chats:
            self.chats[model.name] = self.build(model)
        if self.connection is None:
            self.connection = self.client()

    def http_client(self) -> Any:
        """One client for all models; the SDK's own would not show what went over the wire."""
        import httpx2

        if self._http is None:
            limits, timeout = httpx2.Limits(max_connections=MAX_CONNECTIONS), httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S)
            self._http = httpx2.AsyncClient(event_hooks=hooks(stream=False), limits=limits, timeout=timeout)
        return self._http

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        """Ask for each model, which is free."""
        import httpx

        provider = PROVIDERS[self.server.provider]
        try:
            installed(provider)
        except Unsupported as error:
            problem, _, fix = str(error).partition("; fix: ")
            return ServerReport(self.server.name, False, problem=problem, fix=fix)
        if not self.server.api_key:
            fix = f"set {provider.key_env} in .env next to the experiment"
            return ServerReport(self.server.name, False, problem=f"no {provider.key_env}", fix=fix)
        reports: dict[str, ModelReport] = {}
        try:
            async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S) as client:
                for model in models:
                    response = await client.get(f"{self.url}/{self.api_version}/models/{model.name}", headers=self.headers())
                    if response.status_code in (400, 401, 403) and "key" in response.text.lower():
                        problem = f"{self.url} refuses the key (HTTP {response.status_code})"
                        return ServerReport(self.server.name, True, problem=problem, fix=f"set a valid {provider.key_env}")
                    reports[model.alias] = self._report(model, response.status_code)
        except httpx.HTTPError as error:
            problem = f"{self.url} does not answer ({type(error).__name__})"
            return ServerReport(self.server.name, False, problem=problem, fix="check the network, or a proxy in HTTPS_PROXY")
        return ServerReport(self.server.name, True, models=reports)

    def headers(self) -> dict[str, str]:
        """The key, as the API takes it."""
        raise NotImplementedError

    def _report(self, model: Model, status: int) -> ModelReport:
        if status == 404:
            return ModelReport(model.name, False, f"{self.url} has no model {model.name!r}", "correct its name")
        if status == 403:
            return ModelReport(model.name, False, f"the key may not use {model.name!r}", "enable the model for this key")
        return ModelReport(model.name, True)
