"""A folder on a local disk or an object store, with atomic writes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from harness.errors import InvalidInput, Problem, StoreError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

_READS = 10
"""Attempts at an object that another process replaces meanwhile."""
_UPLOADED_AT_A_TIME = 8 * 1024 * 1024


@dataclass(frozen=True)
class Folder:
    """A folder and its file system; names are relative and use `/`."""

    url: str
    """A path, or s3://bucket/prefix."""
    path: str
    """The path within the file system, without scheme and options."""
    filesystem: fs.FileSystem

    @property
    def local(self) -> Path | None:
        """The folder as a path, or None when it is not on a disk."""
        return None if "://" in self.url else Path(self.path)

    def at(self, name: str) -> Folder:
        url, mark, options = self.url.partition("?")
        return Folder(f"{url.rstrip('/')}/{name}{mark}{options}", f"{self.path}/{name}", self.filesystem)

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError, and StoreError if an object is replaced faster than it can be read."""
        if self.local is not None:
            return (self.local / name).read_bytes()
        path = f"{self.path}/{name}"
        for _ in range(_READS):
            with self.filesystem.open_input_stream(path) as stream:
                data = bytes(stream.read())
            # An object store asks for the size first: an object that is replaced in between comes back cut to the old size.
            if len(data) == self.filesystem.get_file_info(path).size:
                return data
        raise StoreError(f"{self.url}: {name} is replaced again and again while it is read; run the same command again")

    def read_if_there(self, name: str) -> bytes | None:
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def exists(self, name: str) -> bool:
        if self.local is not None:
            return os.path.exists(self.local / name)

        from pyarrow import fs

        info = self.filesystem.get_file_info(f"{self.path}/{name}")
        return bool(info.type != fs.FileType.NotFound)

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically. Raises StoreError."""
        try:
            if self.local is not None:
                _replace(self.local / name, data)
            else:
                self._put(name, data)
        except OSError as error:
            raise self._unwritten(name, error) from error

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        """A stream for a file that is too large for memory; it becomes this file when the block ends. Raises StoreError."""
        try:
            if self.local is not None:
                with _replacing(self.local / name) as stream:
                    yield stream
            else:
                with tempfile.TemporaryFile() as stream:
                    yield stream
                    self._upload(name, stream)
        except OSError as error:
            raise self._unwritten(name, error) from error

    def open(self, name: str) -> pa.NativeFile:
        """The file for random access; an object, which another process may replace, is read as a whole.

        Raises FileNotFoundError."""
        import pyarrow as pa

        return self.filesystem.open_input_file(f"{self.path}/{name}") if self.local else pa.BufferReader(self.read(name))

    def delete(self, name: str) -> None:
        """Remove a file if it exists."""
        try:
            self.filesystem.delete_file(f"{self.path}/{name}")
        except FileNotFoundError:
            return

    def files(self) -> dict[str, float]:
        """Names of the files directly in this folder, with their modification time in Unix seconds."""
        if self.local is not None:
            return dict(_scan(self.local))
        return {info.base_name: info.mtime_ns / 1e9 for info in self._infos() if info.is_file}

    def folders(self) -> list[str]:
        """Names of the folders directly in this one."""
        if self.local is not None:
            return sorted(entry.name for entry in os.scandir(self.local) if entry.is_dir()) if self.local.is_dir() else []
        return sorted(info.base_name for info in self._infos() if not info.is_file)

    def sweep(self) -> None:
        """Remove temporary files of killed writers."""
        for name in self.files() if self.local is not None else ():
            if name.startswith(".") and name.endswith(".tmp"):
                self.delete(name)

    def _unwritten(self, name: str, error: OSError) -> StoreError:
        return StoreError(
            f"cannot write {self.url}/{name}: {error}; free space or fix the permissions, then run the same command again"
        )

    def _infos(self) -> list[Any]:
        from pyarrow import fs

        return list(self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True)))

    def _put(self, name: str, data: bytes) -> None:
        # All bytes are ready before the stream opens: an error inside an open stream would publish a partial object.
        with self.filesystem.open_output_stream(f"{self.path}/{name}") as stream:
            stream.write(data)

    def _upload(self, name: str, source: BinaryIO) -> None:
        source.seek(0)
        with self.filesystem.open_output_stream(f"{self.path}/{name}") as target:
            shutil.copyfileobj(source, target, _UPLOADED_AT_A_TIME)


def open_folder(url: str | Path) -> Folder:
    """A local path, or s3://bucket/prefix with pyarrow's options (`?endpoint_override=...`). Raises StoreError."""
    from pyarrow import fs

    text = str(url)
    if "://" not in text:
        path = Path(text).absolute()
        return Folder(str(path), str(path), fs.LocalFileSystem())
    try:
        filesystem, path_text = fs.FileSystem.from_uri(text)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot open {text}: {error}; allowed: a local folder, or s3://bucket/prefix") from error
    return Folder(text, path_text.rstrip("/"), filesystem)


def write_problem(folder: Path) -> Problem | None:
    """Why nothing can be written there, with the command that gives the folder to this user; None if it can be written."""
    existing = next(path for path in (folder, *folder.resolve().parents) if os.path.exists(path))
    probe = existing / f".harness-{uuid.uuid4().hex[:8]}"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return Problem("results", f"{folder} cannot be written: {error.strerror}{_ownership(existing)}", _fix(existing, error))
    return None


def require_writable(results: str) -> None:
    """Raises InvalidInput if this user cannot write to a local folder of results."""
    if "://" not in results and (problem := write_problem(Path(results))):
        raise InvalidInput([problem])


def _ownership(folder: Path) -> str:
    owner = folder.stat()
    return f" (it belongs to {owner.st_uid}:{owner.st_gid}, this process runs as {os.geteuid()}:{os.getegid()})"


def _fix(folder: Path, error: OSError) -> str:
    if not isinstance(error, PermissionError):
        return "name another folder with --results"
    return f"sudo chown -R {os.geteuid()}:{os.getegid()} {folder}, or name another folder with --results"


def _replace(path: Path, data: bytes) -> None:
    with _replacing(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a temporary file, sync it to disk, then rename it: a reader sees the old file or the new one."""
    folder = path.parent
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(folder)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _scan(path: Path) -> Iterator[tuple[str, float]]:
    if not path.is_dir():
        return
    with os.scandir(path) as entries:
        for entry in entries:
            # Another process may delete it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file():
                    yield entry.name, entry.stat().st_mtime
