"""Text embeddings on disk, so that a text encoder of several billion parameters is needed once per prompt.

One safetensors file per prompt, named by the hash of everything that decides its content: prompt, encoder, length,
dtype. Rows that are zero at the end (Wan's padding) are not stored. A file is written beside and renamed, and carries
the hash of its own numbers: one that is damaged or half written counts as absent and is made again.
"""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldr1.errors import InputError

CACHE_VARIABLE = "WORLDR1_CACHE"
"""Environment variable that names another cache folder than the platform's."""
FORMAT = 1
"""Of the files; a new number makes all old ones misses."""
SAMPLES, SAMPLE_BYTES = 64, 4096
"""What is read of a weight file to tell it from others, besides its header: evenly spaced pieces."""
_TENSOR = "embeddings"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedPrompt:
    """A prompt's embeddings, and what of it did not fit."""

    embeddings: Float[Tensor, "S D"]
    """On the CPU."""
    tokens: int
    """Length of the whole prompt in tokens, before it was cut."""
    cut: str
    """The words that were cut off; usually none."""


def default_cache_folder() -> Path:
    """The platform's folder for caches, in it worldr1/text; `WORLDR1_CACHE` overrules it."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named) / "text"
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "worldr1" / "text"


class TextCache:
    """Embeddings by prompt, of one encoder at one length and dtype."""

    def __init__(self, folder: Path, *, fingerprint: str, max_length: int, dtype: torch.dtype) -> None:
        """folder: may be shared by all encoders. fingerprint: of the encoder and its tokenizer."""
        self._folder, self._max_length, self._dtype = folder, max_length, dtype
        self._identity = [FORMAT, fingerprint, max_length, str(dtype)]

    def path(self, prompt: str) -> Path:
        """Where a prompt's file is, or would be."""
        name = hashlib.sha256(self._key(prompt).encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.safetensors"

    def get(self, prompt: str) -> EncodedPrompt | None:
        """What is stored; None if there is nothing, or nothing that can be trusted."""
        try:
            with safe_open(self.path(prompt), framework="pt") as file:
                metadata: dict[str, str] = file.metadata() or {}
                rows: Tensor = file.get_tensor(_TENSOR)
            whole = rows.dtype == self._dtype and rows.ndim == 2 and 0 < len(rows) <= self._max_length
            if not whole or metadata["key"] != self._key(prompt) or metadata["sha256"] != _digest(rows):
                return None
            embeddings = rows.new_zeros(self._max_length, rows.shape[1])
            embeddings[: len(rows)] = rows
            return EncodedPrompt(embeddings=embeddings, tokens=int(metadata["tokens"]), cut=metadata["cut"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def put(self, prompt: str, encoded: EncodedPrompt) -> None:
        """Stores it, whole or not at all. Raises InputError if the folder cannot be written."""
        used = encoded.embeddings.ne(0).any(dim=1).nonzero()
        rows = encoded.embeddings[: int(used[-1]) + 1 if len(used) else 1].contiguous()
        metadata = {
            "key": self._key(prompt),
            "sha256": _digest(rows),
            "tokens": str(encoded.tokens),
            "cut": encoded.cut,
        }
        path = self.path(prompt)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _replacing(path) as temporary:
                save_file({_TENSOR: rows}, temporary, metadata=metadata)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"Text embeddings cannot be stored in {self._folder} ({error}); set model.text_cache to another folder."
            ) from error

    def _key(self, prompt: str) -> str:
        return json.dumps([*self._identity, prompt])


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path` that takes its place at the end, unless something fails; safe among processes."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(rows: Tensor) -> str:
    return hashlib.sha256(rows.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """Tells the text encoder and tokenizer of one model folder from all others, in a second and not in a minute.

    Small files (configuration, tokenizer) enter whole; of a weight file its size, its header (all names and shapes)
    and 64 pieces of 4 KiB: another training changes practically every piece.
    """
    digest = hashlib.sha256()
    files = sorted(path for part in ("text_encoder", "tokenizer") for path in (folder / part).iterdir())
    for path in files:
        if not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(json.dumps([path.parent.name, path.name, size]).encode())
        with path.open("rb") as file:
            if path.suffix == ".safetensors":
                _update_with_samples(digest, file, size)
            else:
                digest.update(file.read())
    return digest.hexdigest()


def _update_with_samples(digest: Any, file: Any, size: int) -> None:
    header = int.from_bytes(file.read(8), "little")
    digest.update(file.read(min(header, size)))
    for number in range(SAMPLES):
        file.seek(number * max(0, size - SAMPLE_BYTES) // (SAMPLES - 1))
        digest.update(file.read(SAMPLE_BYTES))
