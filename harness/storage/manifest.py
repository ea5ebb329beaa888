"""The manifest of a run: versions, machine and environment; never a secret."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from domain.providers import PROVIDERS

_PACKAGES = (
    "tradingagents-harness",
    "dramatiq",
    "redis",
    "langgraph",
    "langchain-core",
    *(package for provider in PROVIDERS.values() for package in provider.packages),
    "pyarrow",
    "pandas",
    "stockstats",
    "genai-prices",
)
_REDIRECTING = frozenset(
    {
        *(name for provider in PROVIDERS.values() for name in (provider.url_env, *provider.other_env) if name),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    }
)
_TRACING = ("LANGSMITH_", "LANGCHAIN_")


def describe(redis_info: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, commit, host, GPUs and environment."""
    return {
        "versions": _versions() | {"redis_server": str(redis_info.get("redis_version", "unknown"))},
        "git_commit": _commit(),
        "host": {
            "name": socket.gethostname(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "memory_gib": _memory_gib(),
        },
        "gpu": _gpus(),
        "environment": redirecting(os.environ),
    }


def redirecting(environment: Mapping[str, str]) -> list[str]:
    """Names of variables that redirect or trace a client; never their values."""
    return sorted(name for name in environment if name in _REDIRECTING or name.startswith(_TRACING))


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _commit() -> str | None:
    """The commit of this checkout, marked if it was changed since."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    return commit and commit + ("-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _git(root: Path, *arguments: str) -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()
    return None


def _memory_gib() -> float | None:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None


def _gpus() -> list[dict[str, Any]]:
    """Name, memory and driver of each NVIDIA GPU; empty without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        return [_gpu(pynvml, handle) | {"driver": driver} for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    memory_gib = round(nvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30, 1)
    return {"name": str(nvml.nvmlDeviceGetName(handle)), "memory_gib": memory_gib}
