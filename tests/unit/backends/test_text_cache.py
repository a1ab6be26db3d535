"""Prompts encoded once: hits equal misses bit for bit, damaged files are made again, the encoder comes and goes."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldr1.backends.folder_encoder import FolderEncoder
from worldr1.backends.prompts import TextOptions
from worldr1.backends.text_cache import (
    EncodedPrompt,
    TextCache,
    default_cache_folder,
    folder_fingerprint,
)
from worldr1.backends.wan import WanPolicy
from worldr1.errors import InputError, TrainingError
from worldr1.train.startup import check_text_cache

PROMPTS = ["camera push in a red ball on the floor", "a box", "a box"]
LENGTH = 16
Loads = list[Path]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    """Folders whose text encoder was loaded, in order."""
    seen: Loads = []
    load: Callable[[FolderEncoder], nn.Module] = FolderEncoder.encoder

    def counted(self: FolderEncoder) -> nn.Module:
        seen.append(self.folder)
        return load(self)

    monkeypatch.setattr(FolderEncoder, "encoder", counted)
    return seen


def _policy(folder: Path, cache: Path | None, *, keep: bool = False, **options: Any) -> WanPolicy:
    text = TextOptions(keep=keep, cache_folder=cache, max_length=LENGTH)
    return WanPolicy.from_folder(folder, text=text, **options)


def _files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


# ----------------------------------------------------------------------------------------------- prompts, with a policy


def test_hits_equal_misses_bit_for_bit_and_need_no_encoder(tiny_wan_folder: Path, tmp_path: Path, loads: Loads) -> None:
    resident = WanPolicy.from_folder(tiny_wan_folder, max_text_length=LENGTH)
    alone = torch.cat([resident.encode([prompt]) for prompt in PROMPTS])
    loads.clear()
    policy = _policy(tiny_wan_folder, tmp_path)
    misses = policy.encode(PROMPTS)
    assert len(loads) == 1 and len(_files(tmp_path)) == 2
    hits, again = policy.encode(PROMPTS), _policy(tiny_wan_folder, tmp_path).encode(PROMPTS[::-1]).flip(0)
    assert len(loads) == 1
    assert torch.equal(misses, alone)
    assert torch.equal(hits, misses) and torch.equal(again, misses)
    rows = sum(len(load_file(path)["embeddings"]) for path in _files(tmp_path))
    assert rows == 10 + 3  # words and end marks: padding is not stored


def test_the_encoder_is_freed_and_comes_back_for_a_new_prompt(
    tiny_wan_folder: Path, tmp_path: Path, loads: Loads
) -> None:
    policy = _policy(tiny_wan_folder, tmp_path, guidance=3.0, negative_prompt="the floor")
    assert loads == []
    shown: list[int] = []
    policy.prepare_prompts(PROMPTS, on_progress=shown.append)
    assert len(loads) == 1 and shown == [0, 1, 2, 3]
    policy.encode(PROMPTS)
    latents = torch.randn(1, 8, 2, 4, 4)
    policy.velocity(latents, 0.5, policy.encode(["a box"]))  # with its negative prompt
    assert len(loads) == 1
    policy.encode(["a red box", "a red floor"])
    assert len(loads) == 2
    assert policy.prompts._encoder is None
    assert policy.pipeline().text_encoder is not None and len(loads) == 3


def test_a_resident_encoder_stays(tiny_wan_folder: Path, tmp_path: Path, loads: Loads) -> None:
    policy = _policy(tiny_wan_folder, tmp_path, keep=True)
    for prompt in ("a box", "a ball", "the floor"):
        policy.encode([prompt])
    assert len(loads) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_encoder_length_or_dtype_is_another_entry(
    tiny_wan_folder: Path, tmp_path: Path, loads: Loads, dtype: torch.dtype
) -> None:
    cache, other = tmp_path / "cache", Path(shutil.copytree(tiny_wan_folder, tmp_path / "other"))
    weights = load_file(other / "text_encoder" / "model.safetensors")
    weights["encoder.final_layer_norm.weight"] *= 2
    save_file(weights, other / "text_encoder" / "model.safetensors", metadata={"format": "pt"})
    first = _policy(tiny_wan_folder, cache, dtype=dtype).encode(["a box"])
    second = _policy(other, cache, dtype=dtype).encode(["a box"])
    assert len(loads) == 2 and not torch.equal(first, second)
    longer = TextOptions(keep=False, cache_folder=cache, max_length=LENGTH + 1)
    assert WanPolicy.from_folder(other, text=longer, dtype=dtype).encode(["a box"]).shape[1] == LENGTH + 1
    half = _policy(other, cache, dtype=torch.float64).encode(["a box"])
    assert half.dtype == torch.float64 and len(_files(cache)) == 4
    assert first.dtype == dtype and torch.equal(_policy(tiny_wan_folder, cache, dtype=dtype).encode(["a box"]), first)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x10
    path.write_bytes(bytes(data))


def _swap(path: Path) -> None:
    """Sound, but another prompt's."""
    others = [file for file in _files(path.parent.parent) if file != path]
    path.write_bytes(others[0].read_bytes())


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    save_file({"embeddings": torch.zeros(3, 32)}, path)


@pytest.mark.parametrize("damage", [_truncate, _flip, _swap, _empty, _foreign])
def test_a_damaged_file_is_made_again(
    tiny_wan_folder: Path, tmp_path: Path, loads: Loads, damage: Callable[[Path], None]
) -> None:
    policy = _policy(tiny_wan_folder, tmp_path)
    whole = policy.encode(PROMPTS)
    before = {path: load_file(path)["embeddings"].clone() for path in _files(tmp_path)}
    for path in before:
        damage(path)
    assert torch.equal(policy.encode(PROMPTS), whole)
    assert len(loads) == 2
    assert _files(tmp_path) == list(before)
    assert all(torch.equal(load_file(path)["embeddings"], rows) for path, rows in before.items())
    policy.encode(PROMPTS)
    assert len(loads) == 2


def test_a_stored_prompt_is_examined_where_the_encoder_is_loaded_anyway(
    tiny_wan_folder: Path, tmp_path: Path, loads: Loads
) -> None:
    seen: list[tuple[str, Tensor, Tensor]] = []
    policy = _policy(tiny_wan_folder, tmp_path)
    assert policy.prepare_prompts([*PROMPTS[:1], *PROMPTS[:1]], examine=lambda *found: seen.append(found)) == 1
    assert policy.prepare_prompts(PROMPTS[:1], examine=lambda *found: seen.append(found)) == 0
    assert seen == [] and len(loads) == 1  # nothing was stored before; then nothing had to be encoded
    policy.prepare_prompts(PROMPTS, examine=lambda *found: seen.append(found))
    ((prompt, stored, encoded),) = seen
    assert prompt == PROMPTS[0] and len(loads) == 2
    assert torch.equal(stored, encoded)
    check_text_cache(prompt, stored, encoded)
    with pytest.raises(TrainingError, match="delete the cache of text embeddings"):
        _policy(tiny_wan_folder, tmp_path).prepare_prompts(
            [PROMPTS[0], "a ball"], examine=lambda prompt, a, b: check_text_cache(prompt, a + 1, b)
        )


# ----------------------------------------------------------------------------------------------------- prompts too long


def test_a_prompt_that_is_too_long_is_cut_and_said_once(
    tiny_wan_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "a red ball " * 5 + "on the floor"
    shown = "a red ball a red ball a red ball a red ball a red ball on th..."
    expected = f"note: the prompt '{shown}' has 19 tokens, the text encoder takes 16; cut off: 'on the floor'\n"
    transformers.logging.disable_progress_bar()  # as build does
    policy = _policy(tiny_wan_folder, tmp_path)
    cut = policy.encode([long, "a box", long])
    assert capsys.readouterr().err == expected
    policy.encode([long])
    assert capsys.readouterr().err == ""
    _policy(tiny_wan_folder, tmp_path).encode([long])  # another run, from the cache
    assert capsys.readouterr().err == expected
    WanPolicy.from_folder(tiny_wan_folder, max_text_length=LENGTH).encode([long])  # without a cache
    assert capsys.readouterr().err == expected
    assert torch.equal(cut[0], policy.encode(["a red ball " * 5])[0])


def test_words_that_the_tokenizer_does_not_know_are_not_cut_in_silence(
    tiny_wan_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _policy(tiny_wan_folder, tmp_path).encode(["a red ball " * 5 + "zebra quagga"])
    assert "has 18 tokens, the text encoder takes 16; cut off: '<unk> <unk>'" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ the files


def _cache(folder: Path) -> TextCache:
    return TextCache(folder, fingerprint="f", max_length=4, dtype=torch.float32)


ENCODED = EncodedPrompt(
    embeddings=torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 0.0], [0.0, 0.0]]), tokens=9, cut="words"
)


def test_only_zero_rows_at_the_end_are_left_out(tmp_path: Path) -> None:
    cache = _cache(tmp_path)
    nothing = dataclasses.replace(ENCODED, embeddings=torch.zeros(4, 2))
    for prompt, encoded, rows in (("a", ENCODED, 3), ("b", nothing, 1)):
        cache.put(prompt, encoded)
        with safe_open(cache.path(prompt), framework="pt") as file:
            assert file.get_slice("embeddings").get_shape() == [rows, 2]
        found = cache.get(prompt)
        assert found is not None
        assert torch.equal(found.embeddings, encoded.embeddings)
        assert (found.tokens, found.cut) == (9, "words")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("worldr1.backends.text_cache.save_file", fail)
    with pytest.raises(InputError, match=r"cannot be stored in .*no space left.*set model\.text_cache"):
        _cache(tmp_path).put("a", ENCODED)
    assert _files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"set model\.text_cache to another folder"):
        _cache(tmp_path / "file").put("a", ENCODED)


def test_the_default_folder_is_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_cache_folder().name == "text"
    monkeypatch.delenv("WORLDR1_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "worldr1" / "text"
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_cache_folder() == Path.home() / "Library" / "Caches" / "worldr1" / "text"


def test_the_fingerprint_sees_every_part_and_no_path(tiny_wan_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_wan_folder, tmp_path / "copy"))
    original = folder_fingerprint(tiny_wan_folder)
    assert folder_fingerprint(copy) == original
    for part, name in (("tokenizer", "tokenizer.json"), ("text_encoder", "config.json")):
        path = copy / part / name
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        assert folder_fingerprint(copy) != original
        path.write_bytes(content)
    weights = copy / "text_encoder" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert folder_fingerprint(copy) != original
