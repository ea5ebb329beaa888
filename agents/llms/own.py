"""Providers of a user: a class that an experiment names as module:Class, or by an entry point, known by its file's hash."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agents.errors import Unsupported
from agents.llms.failures import CallFailed, failed
from agents.llms.hosted import ApiClient
from agents.llms.provider import ModelReport, ServerReport, Slot
from agents.llms.wire import Wire
from agents.types import Answer, Model, Request, Server
from domain.user_code import UserCodeError, called, digest, place_of

GROUP = "tradingagents_harness.providers"
"""Entry points of packages that bring a provider: name = module:Class."""
_REFERENCE = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)(?:@([0-9a-f]{12}))?")

_HTTP_LIBRARIES = ("httpx", "httpx2", "httpcore", "aiohttp", "requests")


class OwnProvider(ApiClient):
    """Base of a provider of a user, which defines `answer`: one request, one complete answer.

    `self.server` has name, url, api_key and timeout_s. Whatever `answer` raises becomes a failed call: OSError and the network
    errors of HTTP clients are tried again, TimeoutError too; `failed(cause, message, type)` names another cause."""

    async def answer(self, request: Request) -> Answer:
        """The model's answer. `request.model.name` is the model, `request.parts` the prompt, `usage` what is billed."""
        raise NotImplementedError

    async def prepare(self, model: Model) -> None:
        return None

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        """Nothing is asked; override it to report missing keys and models."""
        return ServerReport(self.server.name, True, models={model.alias: ModelReport(model.name, True) for model in models})

    async def send(self, request: Request, slot: Slot, wire: Wire) -> Answer:
        file = Path(inspect.getfile(type(self)))
        try:
            returned = await self.answer(request)
        except (CallFailed, OSError, TimeoutError):
            raise
        except Exception as error:
            _note_response(error, wire)
            if wire.status is not None or type(error).__module__.partition(".")[0] in _HTTP_LIBRARIES:
                raise
            raise failed("bad_request", place_of(error, [file]), type(error).__name__) from error
        if not isinstance(returned, Answer):
            raise failed("bad_request", f"{file.name}: answer returned {type(returned).__name__}; return an Answer", "NoAnswer")
        return returned


def _note_response(error: Exception, wire: Wire) -> None:
    """Read status and body from an HTTP library's error, so that a rate limit is waited for as its header asks."""
    response: Any = getattr(error, "response", None)
    if isinstance(getattr(response, "status_code", None), int):
        wire.status, wire.headers, wire.body = response.status_code, response.headers, response.content


def is_own_provider(name: str) -> bool:
    """Whether the name means a class, or an entry point of an installed package."""
    return bool(_REFERENCE.fullmatch(name)) or bool(entry_points(group=GROUP, name=name))


def declare_provider(name: str) -> str:
    """`module:Class@hash` of a class or an entry point, after loading it. Raises UserCodeError with file and line."""
    module, class_name, _ = _parts(name)
    provider_class = _loaded(module, class_name)
    return f"{module}:{class_name}@{digest(Path(inspect.getfile(provider_class)))[:12]}"


def connect(server: Server, owner: str) -> OwnProvider:
    """Client of one server of a user's provider. Raises Unsupported where the code is missing, broken or another one."""
    try:
        module, class_name, version = _parts(server.provider)
        provider_class = _loaded(module, class_name)
        path = Path(inspect.getfile(provider_class))
        if version and digest(path)[:12] != version:
            raise UserCodeError(f"{path.name} is not the file of this run: its hash is {digest(path)[:12]}, not {version}")
        return called(path, provider_class, server)
    except UserCodeError as error:
        raise Unsupported(f"provider {server.provider}: {error}") from error


def _parts(name: str) -> tuple[str, str, str]:
    """Module, class and hash; the hash is empty if it is not given."""
    found = list(entry_points(group=GROUP, name=name))
    written = _REFERENCE.fullmatch(found[0].value if found else name)
    if written is None:
        raise UserCodeError(f"{name}: write module:Class, for example my_provider:Mine")
    return written[1], written[2], written[3] or ""


def _loaded(module: str, class_name: str) -> type[OwnProvider]:
    """The class, searched among the installed modules and in the current folder."""
    with _current_folder_importable():
        try:
            spec = find_spec(module)
        except (ImportError, ValueError):
            spec = None
        if spec is None or not spec.origin or not Path(spec.origin).is_file():
            raise UserCodeError(f"no module {module!r} here; install it, or run from the folder that contains it")
        provider_class = getattr(called(Path(spec.origin), import_module, module), class_name, None)
    if not (inspect.isclass(provider_class) and issubclass(provider_class, OwnProvider)):
        raise UserCodeError(f"{Path(spec.origin).name}: {class_name} is no class derived from agents.llms.own.OwnProvider")
    return provider_class


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """The current folder is searched last, independent of how the process was started."""
    before = list(sys.path)
    sys.path.append(str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:] = before
