"""The private home and the environment of an attached program in one case."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.errors import InvalidInput, Problem
from harness.experiment.attached import Attached

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "SYSTEMROOT")
"""Variables of this machine that a program gets; keys of vendors and tracing are not among them."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


def private_home(program: Attached) -> Path:
    """A new folder with copies of the caches. Blocks while it copies."""
    home = Path(tempfile.mkdtemp(prefix="case-"))
    (home / "tmp").mkdir()
    for entry, source in program.cache_folders().items():
        if source.exists():
            target = _target(home, entry, source)
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, target)
    return home


def variables(program: Attached, home: Path, url: str, token: str, machine: Mapping[str, str]) -> dict[str, str]:
    """Every address that a program may read leads to the gateway. Raises InvalidInput for a missing $NAME of `env`."""
    base = f"{url}/c/{token}"
    passed_on = {name: machine[name] for name in (*_PASSED_ON, *_PROXIES) if name in machine}
    private = {
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
    }
    addresses = {
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_BASE": f"{base}/v1",
        "OPENAI_API_KEY": token,
        "OLLAMA_HOST": base,
        "OLLAMA_BASE_URL": f"{base}/v1",
        "BACKEND_URL": f"{base}/v1",
        "TRADINGAGENTS_LLM_BACKEND_URL": "",
        # A proxy of this machine would catch requests to loopback as well.
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    caches = {
        entry.partition("=")[0]: str(_target(home, entry, source))
        for entry, source in program.cache_folders().items()
        if "=" in entry
    }
    unbuffered = {"PYTHONUNBUFFERED": "1"}
    return passed_on | private | unbuffered | addresses | caches | declared(program.env, machine)


def declared(env: Mapping[str, str], machine: Mapping[str, str]) -> dict[str, str]:
    """`env` of the experiment, with $NAME read from this machine's environment."""
    if missing := missing_names(env, machine):
        fix = "set it, or write it to .env next to the experiment"
        raise InvalidInput([Problem("pipeline.env", f"{name} is not set on this machine", fix) for name in missing])
    return {name: machine[value[1:]] if value.startswith("$") else value for name, value in env.items()}


def missing_names(env: Mapping[str, str], machine: Mapping[str, str]) -> list[str]:
    """Names that `env` passes on and this machine does not have."""
    return [value[1:] for value in env.values() if value.startswith("$") and value[1:] not in machine]


def _target(home: Path, entry: str, source: Path) -> Path:
    if "=" in entry:
        return home / "caches" / entry.partition("=")[0]
    return home / entry.removeprefix("~/") if entry.startswith("~/") else home / "caches" / source.name
