"""Small HPSv3, HPSv2 and LPIPS for comparison with the packages that publish them.

numpy only, because `benchmarks/quality_parity.py` runs the packages themselves in environments of another age; its
answers are `tests/data/quality_parity.json`. Weights come from numpy's RandomState, whose numbers never change.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

PROMPTS = (
    "A red ball on a tiled floor; it isn't moving.",
    "Camera orbits left.  A café &amp; {two} chairs, 35mm",
    "A red ball on a tiled floor; it isn't moving.",
)
SIZES = ((120, 208), (61, 45))
"""Height and width: one shrinks for HPSv2, both grow for HPSv3."""

HPSV3_TEXT: dict[str, Any] = {
    "vocab_size": 263,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
HPSV3_VISION: dict[str, Any] = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2}
HPSV3_SECTIONS = [2, 3, 3]
HPSV3_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
)
"""Ids 256 to 261; the reward token is 262."""
HPSV3_TEMPLATE = "Rate this picture.\nIts prompt - {text_prompt}\n\n", "\nThe rating: <|Reward|>\n\nEND\n"

HPSV2 = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 32, "head_width": 8, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 514, "width": 40, "heads": 4, "layers": 2},
}
LPIPS_SIZE = (67, 95)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A float32 tensor for every name, of its own random stream: norms about 1, biases small, products kept in size."""
    found = {}
    for name, shape in shapes.items():
        drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        if name.startswith("lin"):  # LPIPS's heads
            drawn = np.abs(drawn) / 10
        elif len(shape) > 1:
            drawn = drawn * np.sqrt(2 / np.prod(shape[1:]))
        else:
            drawn = 0.1 * drawn + (1 if name.endswith("weight") else 0)
        found[name] = np.asarray(drawn, dtype=np.float32)
    return found


def images(height: int, width: int, count: int = 3, seed: int = 0) -> np.ndarray:
    """8-bit pictures [count, H, W, 3]: coloured waves under noise."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width]
    found = np.empty((count, height, width, 3))
    for picture in found:
        for channel in range(3):
            a, b, phase = rng.uniform(0.02, 0.4, 3)
            picture[..., channel] = 127 + 90 * np.sin(a * x + b * y + 20 * phase)
    return np.clip(found + rng.normal(0, 30, found.shape), 0, 255).astype(np.uint8)


def write_hpsv3_tokenizer(folder: Path) -> None:
    """Qwen's kind of tokenizer with bytes for tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(HPSV3_SPECIAL))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": HPSV3_SPECIAL[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def clip_vocabulary() -> list[str]:
    """CLIP's order: bytes, bytes at a word's end, start, end."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    letters = [*map(chr, kept), *(chr(256 + i) for i in range(len(others)))]
    return [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]


def write_clip_tokenizer(folder: Path) -> None:
    """In the layout that transformers reads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(clip_vocabulary())}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))


def write_clip_merges(path: Path) -> None:
    """In the layout that open_clip reads: a heading and no merges."""
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("#version: 0.2")
