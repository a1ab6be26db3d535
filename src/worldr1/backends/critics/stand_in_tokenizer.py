"""A tokenizer for a critic with random weights: the real vocabulary is a file that cannot be had.

One token per word, digit or mark, which for this kind of English is about what Qwen's makes, so that measured times
are those of the real model.
"""

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

_PAD, _UNKNOWN = "<|endoftext|>", "<unknown>"
_MARKS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
_PIECES = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]|\s")
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen3-VL's chat format for one question."""


def stand_in_tokenizer(words: str, special: dict[str, int]) -> Any:
    """A transformers tokenizer that knows the pieces of `words`, the digits, and the `special` tokens by their ids."""
    from transformers import PreTrainedTokenizerFast

    split = Split(_PIECES, behavior="isolated")
    pieces = [piece for piece, _ in split.pre_tokenize_str(words)]
    ordinary = dict.fromkeys([_PAD, _UNKNOWN, *"0123456789", *_MARKS, "\n", "user", "assistant", *pieces])
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(ordinary)} | special, _UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in (_PAD, *_MARKS, *special)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=_PAD, chat_template=_CHAT_TEMPLATE)
