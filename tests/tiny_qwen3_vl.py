"""A Qwen3-VL of a few thousand weights with a byte-level tokenizer, in the layout that the hub publishes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer(*, merges: tuple[tuple[str, str], ...] = (), template: str | None = TEMPLATE) -> Any:
    """Every byte is a token, and so is every merge."""
    pieces = [*sorted(ByteLevel.alphabet()), *(left + right for left, right in merges)]
    tokenizer = Tokenizer(BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=list(merges)))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in (*SPECIAL, "<|video_pad|>")])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL[0], chat_template=template)


def tiny_model(tokenizer: Any, *, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """Two layers each, all of Qwen3-VL's parts (deepstack, interleaved M-RoPE, tied embeddings); its answers differ."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
        "tie_word_embeddings": True,
        "initializer_range": 0.4,  # loud enough that a wrong position or picture shows
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 48,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
        "initializer_range": 0.4,
    }
    ids = {
        name: tokenizer.convert_tokens_to_ids(mark)
        for name, mark in {
            "image_token_id": "<|image_pad|>",
            "video_token_id": "<|video_pad|>",
            "vision_start_token_id": "<|vision_start|>",
            "vision_end_token_id": "<|vision_end|>",
        }.items()
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
        return Qwen3VLForConditionalGeneration(config).eval().requires_grad_(False)


def tiny_image_processor() -> Qwen2VLImageProcessorPil:
    """Qwen3-VL's, from 4 merged patches up instead of 64."""
    return Qwen2VLImageProcessorPil(
        patch_size=16,
        size={"shortest_edge": 64 * 64, "longest_edge": 256 * 256},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def save_tiny_folder(folder: Path, *, template: str = TEMPLATE, seed: int = 0) -> None:
    """The files of Qwen/Qwen3-VL-4B-Instruct, by name, kind and keys: written by transformers 4.57."""
    tokenizer = tiny_tokenizer(template=None)
    tokenizer.save_pretrained(folder)
    tiny_model(tokenizer, seed=seed).save_pretrained(folder)
    tiny_image_processor().save_pretrained(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    with _edited(folder / "tokenizer_config.json") as tokens:
        tokens["tokenizer_class"] = "Qwen2Tokenizer"
        tokens.pop("backend", None)
    with _edited(folder / "preprocessor_config.json") as images:
        images |= {"image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen3VLProcessor"}
    with _edited(folder / "config.json") as config:
        rope = config["text_config"].pop("rope_parameters")
        config["text_config"] |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
        config["vision_config"]["model_type"] = "qwen3_vl"


def to_newer_layout(folder: Path) -> None:
    """What transformers 5 writes instead: the image processor inside processor_config.json, the template as a file."""
    images = json.loads((folder / "preprocessor_config.json").read_text())
    template = json.loads((folder / "chat_template.json").read_text())["chat_template"]
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": images}))
    (folder / "chat_template.jinja").write_text(template)
    for name in ("preprocessor_config.json", "chat_template.json"):
        (folder / name).unlink()


@contextmanager
def _edited(path: Path) -> Iterator[dict[str, Any]]:
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))
