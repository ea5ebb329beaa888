"""The lock of an experiment in a results folder: one command at a time opens and executes its runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    from harness.storage.folder import Folder

LEASE_S = 60.0
"""An object that was not renewed for so long belongs to a command that died."""
POLL_S = 1.0
WAITED, FREE, UNLOCKED = "waited", "free", "unlocked"
Wait = Callable[[str], None]
Warn = Callable[[str], None]


@contextlib.contextmanager
def experiment_lock(results: Folder, experiment: str, wait: Wait, warn: Warn) -> Iterator[str]:
    """Hold the lock; yields WAITED if another command held it before, FREE, or UNLOCKED if the store cannot lock.

    `wait` is called about once a second with the name of the holder; `warn` if the store cannot lock.
    """
    name = f".{experiment}.lock"
    if results.local is not None:
        with _file_lock(results.local / name, wait, warn) as state:
            yield state
        return
    with _object_lock(results.url, name, wait, warn) as state:
        yield state


def _owner() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


@contextlib.contextmanager
def _file_lock(path: Path, wait: Wait, warn: Warn) -> Iterator[str]:
    """The operating system releases the lock of a process that dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError:
        yield UNLOCKED  # the folder cannot be written: the run says so when it writes
        return
    with file:
        state = _lock(file, wait, warn)
        if state != UNLOCKED:
            file.truncate(0)
            file.write(_owner())
            file.flush()
        yield state


def _lock(file: IO[str], wait: Wait, warn: Warn) -> str:
    state = FREE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return state
        except BlockingIOError:
            state = WAITED
            file.seek(0)
            wait(file.read().strip() or "another process")
            time.sleep(POLL_S)
        except OSError as error:
            warn(f"the file system of {file.name} cannot lock ({error}): do not start this experiment twice at the same time")
            return UNLOCKED


@contextlib.contextmanager
def _object_lock(url: str, name: str, wait: Wait, warn: Warn) -> Iterator[str]:
    client = _client(url)
    if client is None:
        warn(
            "without the package boto3 a run on S3 is not locked: do not start this experiment twice at the same time, "
            "or `pip install boto3`"
        )
        yield UNLOCKED
        return
    parts = urlsplit(url)
    lock = _Object(client, parts.hostname or "", f"{parts.path.strip('/')}/{name}".lstrip("/"))
    state = lock.take(wait)
    try:
        if not lock.is_conditional():
            state = UNLOCKED
            warn(f"the store of {url} ignores conditional writes: do not start this experiment twice at the same time")
        with lock.renewed():
            yield state
    finally:
        lock.release()


def _client(url: str) -> Any:
    """An S3 client with the options that pyarrow reads from the address; None without boto3."""
    try:
        import boto3
    except ImportError:
        return None
    parts = urlsplit(url)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    endpoint = options.get("endpoint_override")
    return boto3.client(
        "s3",
        region_name=options.get("region")
        or os.environ.get("AWS_REGION")
        or os.environ.get("AWS_DEFAULT_REGION")
        or "us-east-1",
        endpoint_url=f"{options.get('scheme', 'https')}://{endpoint}" if endpoint and "://" not in endpoint else endpoint,
        aws_access_key_id=parts.username,
        aws_secret_access_key=parts.password,
    )


@dataclass
class _Object:
    """An object that only one process can create, renewed while that process lives."""

    client: Any
    bucket: str
    key: str
    etag: str = ""

    def take(self, wait: Wait) -> str:
        state = FREE
        while not (self._put(IfNoneMatch="*") or self._take_over()):
            state = WAITED
            wait(self._holder())
            time.sleep(POLL_S)
        return state

    def is_conditional(self) -> bool:
        """Whether the store refuses to create an object that exists."""
        return not self._put(IfNoneMatch="*")

    @contextlib.contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the object from a thread."""
        is_over = threading.Event()

        def renew() -> None:
            while not is_over.wait(LEASE_S / 4):
                with contextlib.suppress(Exception):  # the next renewal tries again; the lease is four times as long
                    self._put(IfMatch=self.etag)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def release(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        with contextlib.suppress(BotoCoreError, ClientError):  # an object that stays is taken over after its lease
            self.client.delete_object(Bucket=self.bucket, Key=self.key)

    def _take_over(self) -> bool:
        """Replace the object of a command that died."""
        head = self._read()
        if head is None:
            return False
        age_s = time.time() - head["LastModified"].timestamp()
        return age_s > LEASE_S and self._put(IfMatch=head["ETag"])

    def _holder(self) -> str:
        found = self._read()
        return str(json.loads(found["Body"].read())["owner"]) if found else "another process"

    def _read(self) -> Any:
        from botocore.exceptions import ClientError

        try:
            return self.client.get_object(Bucket=self.bucket, Key=self.key)
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise

    def _put(self, **condition: str) -> bool:
        """Write the object if the condition holds. A unique body gives every writer an ETag of its own."""
        from botocore.exceptions import ClientError

        body = json.dumps({"owner": _owner(), "renewed_at": time.time_ns()}).encode()
        try:
            self.etag = self.client.put_object(Bucket=self.bucket, Key=self.key, Body=body, **condition)["ETag"]
        except ClientError as error:
            if _status(error) in (404, 409, 412):
                return False
            raise
        return True


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
