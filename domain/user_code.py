"""Python files of a user, and entry points of installed packages, that an experiment names; their errors name file and line."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from hashlib import sha256
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TypeVar

Returned = TypeVar("Returned")


class UserCodeError(Exception):
    """A user's code cannot be found or loaded; the message names file and line."""


def path_of(reference: str, folder: Path, group: str) -> Path:
    """The file behind a path, relative to `folder`, or behind the name of an entry point. Raises UserCodeError."""
    if reference.endswith(".py"):
        path = (folder / reference).absolute()
        if not path.is_file():
            raise UserCodeError(f"{reference}: there is no such file in {folder}")
        return path
    found = entry_points(group=group, name=reference)
    if not found:
        known = ", ".join(sorted({entry.name for entry in entry_points(group=group)})) or "none"
        raise UserCodeError(f"{reference}: neither a .py file nor an entry point of the group {group} (known: {known})")
    try:
        return Path(inspect.getfile(next(iter(found)).load()))
    except Exception as error:
        raise UserCodeError(f"entry point {reference}: {type(error).__name__}: {error}") from error


def digest(path: Path) -> str:
    """sha256 of the file."""
    return sha256(path.read_bytes()).hexdigest()


def load(path: Path) -> ModuleType:
    """Execute the file as a module of its own. Raises UserCodeError for whatever it raises."""
    spec = spec_from_file_location(f"user_code_{digest(path)[:16]}", path)
    if spec is None or spec.loader is None:
        raise UserCodeError(f"{path.name}: not a Python file")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    called(path, spec.loader.exec_module, module)
    return module


def called(path: Path, function: Callable[..., Returned], *arguments: object) -> Returned:
    """What a function of this file returns; what it prints goes to stderr, because stdout may be JSON for another program.

    Raises UserCodeError with file and line for whatever it raises, sys.exit() included."""
    try:
        with redirect_stdout(sys.stderr):
            return function(*arguments)
    except (Exception, SystemExit) as error:
        raise UserCodeError(place_of(error, [path])) from error


def place_of(error: BaseException, files: Sequence[Path]) -> str:
    """File, line and error, the line being the last one in these files that was executed."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    names = {str(file): file.name for file in files}
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in names]
    return f"{names[lines[-1].filename]}, line {lines[-1].lineno}: {text}" if lines else text
