"""Whether `agents`, `domain` and `reports` are ours. Imports none of them: with a foreign one, they cannot be imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

import harness

DISTRIBUTION = "tradingagents-harness"
PACKAGES = ("agents", "domain", "reports")
FIX = (
    f"install {DISTRIBUTION} in an environment of its own (python3 -m venv .venv), "
    "and start it where PYTHONPATH and the current folder have no package of this name"
)


@dataclass(frozen=True)
class ForeignPackage:
    """Code of another project under the name of one of our packages."""

    name: str
    found: str
    """Whose code it is and where it is, in one sentence."""

    def __str__(self) -> str:
        return f"package {self.name}: {self.found}\n    fix: {FIX}"


def foreign() -> list[ForeignPackage]:
    """Packages that Python finds in another folder than `harness`, or whose folder another distribution also writes to."""
    return [ForeignPackage(name, folder) for name in PACKAGES if (folder := _foreign_code(name))]


def _foreign_code(name: str) -> str | None:
    ours = Path(str(harness.__file__)).resolve().parent.with_name(name)
    spec = find_spec(name)
    folder = Path(spec.origin).resolve().parent if spec and spec.origin else None
    owners = ", ".join(_owners(name, (folder or ours).parent))
    if folder != ours:
        source = f"the one of {owners}" if owners else "another project's"
        return f"`import {name}` finds {source} ({folder or 'a folder without __init__.py'}), not ours ({ours})"
    return f"{owners} also installs a package of this name into {ours}" if owners else None


def _owners(name: str, folder: Path) -> Iterator[str]:
    """Other distributions that install this package into a folder."""
    for distribution in distributions(path=[str(folder)]):
        if distribution.name != DISTRIBUTION and _installs(distribution, name):
            yield f"{distribution.name} {distribution.version}"


def _installs(distribution: Distribution, name: str) -> bool:
    return any(file.parts[0] == name for file in distribution.files or ())
