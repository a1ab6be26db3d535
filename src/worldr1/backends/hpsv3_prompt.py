"""What HPSv3 reads beside a frame: its instruction with the frame's prompt in it, as token ids.

The instruction (2,590 characters of English, MIT) belongs to the weights, which were trained on exactly these words. It
is not repeated here: it is taken from the package hpsv3 1.0.0, of which only one file is parsed and nothing is run.
"""

import ast
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from transformers import AddedToken, AutoTokenizer

from worldr1.backends.hub import go_offline_if_unreachable
from worldr1.backends.published_files import Need, package_file
from worldr1.errors import InputError, first_line

REWARD, IMAGE = "<|Reward|>", "<|image_pad|>"
PACKAGE, VERSION = "hpsv3", "1.0.0"
TEMPLATE_FILE = "hpsv3/dataset/data_collator_qwen.py"
TEMPLATE_PARTS = ("INSTRUCTION", "prompt_with_special_token")
TEMPLATE_SHA256 = "f6ee57479d4e9eee76b49c00dc962e1e696a5a2b3cc32cebd9b1fa76fe27502c"
"""Of the two parts one after the other, in UTF-8."""
PLACEHOLDER = "{text_prompt}"
CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|>{image}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
)
"""Qwen2-VL's chat format for one image and one text (its chat template's default system message)."""
STAND_IN_LENGTH, CHARACTERS_PER_TOKEN = 529, 4.5
"""Tokens of instruction and chat format under Qwen's vocabulary, without image and prompt; English prose per token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One frame's tokens."""

    ids: Sequence[int]
    reward_place: int
    """Index of `<|Reward|>`."""


class PromptTokens(Protocol):
    """Makes the tokens of one frame."""

    def __call__(self, prompt: str, image_tokens: int) -> Row:
        """image_tokens: how many places the image takes."""
        ...


class ChatTokens:
    """`PromptTokens` of a tokenizer and a template with `{text_prompt}` and `<|Reward|>` in it."""

    def __init__(self, tokenizer: Any, template: str, *, place: str = "The tokenizer") -> None:
        """tokenizer: of transformers; it learns `<|Reward|>`. place: its name in messages."""
        self.tokenizer = tokenizer
        self.tokenizer.add_tokens([AddedToken(REWARD, special=True, normalized=False)])
        self.template = template
        self.place = place
        self.reward_id = self._id(REWARD)
        self.special = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())

    def __call__(self, prompt: str, image_tokens: int) -> Row:
        """Raises InputError for a prompt that holds a special token: it would stand in the model's own place."""
        if held := sorted(token for token in self.special if token in prompt):
            raise InputError(f"The prompt {prompt[:60]!r} holds {held[0]}, a special token of HPSv3: take it out.")
        text = CHAT.format(image=IMAGE * image_tokens, text=self.template.replace(PLACEHOLDER, prompt))
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Row(ids=ids, reward_place=ids.index(self.reward_id))

    def check(self, expected: Mapping[str, int]) -> None:
        """Raises InputError unless the tokenizer gives these special tokens these ids, as the weights have them."""
        for token, number in expected.items():
            if (found := self._id(token)) != number:
                raise InputError(
                    f"{self.place} gives {token} the id {found}, but HPSv3's weights have it at {number}: "
                    "use the tokenizer of Qwen/Qwen2-VL-7B-Instruct."
                )

    def _id(self, token: str) -> int | None:
        return self.tokenizer.get_vocab().get(token)


class StandInTokens:
    """`PromptTokens` for random weights, without a vocabulary: as many tokens as the real ones would be, all alike."""

    def __init__(self, *, image_id: int, reward_id: int) -> None:
        self.image_id = image_id
        self.reward_id = reward_id

    def __call__(self, prompt: str, image_tokens: int) -> Row:
        """The prompt decides the length and the ids of its own places."""
        own = [ord(c) for c in prompt[: round(len(prompt) / CHARACTERS_PER_TOKEN)]]
        # only ids that are no special token: the image's would ask for a picture
        text = [1 + code % (min(self.image_id, self.reward_id) - 1) for code in [*own, *range(STAND_IN_LENGTH)]]
        ids = [*[self.image_id] * image_tokens, *text, self.reward_id]
        return Row(ids=ids, reward_place=len(ids) - 1)


def published_prompt_tokens(tokenizer: str) -> ChatTokens:
    """HPSv3's own words under the base's tokenizer (a folder or a hub name). Raises InputError if either is missing."""
    template = _template()
    return ChatTokens(_tokenizer(tokenizer), template, place=tokenizer)


def prompt_needs(tokenizer: str) -> tuple[Need, ...]:
    """What `published_prompt_tokens` reads."""
    return _template, partial(_tokenizer, tokenizer)


def _template() -> str:
    return read_template(package_file(PACKAGE, TEMPLATE_FILE, version=VERSION))


def _tokenizer(tokenizer: str) -> Any:
    if not Path(tokenizer).is_dir():
        go_offline_if_unreachable()
    try:
        return AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"HPSv3's tokenizer cannot be loaded from {tokenizer} ({first_line(error)}); give a folder with the files "
            "tokenizer.json and tokenizer_config.json of Qwen/Qwen2-VL-7B-Instruct."
        ) from error


def read_template(path: Path) -> str:
    """The instruction out of the package's source file, which is parsed and not run.

    Raises InputError if it is not the one that the weights were trained on.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path} cannot be read; pip install --no-deps {PACKAGE}=={VERSION}.") from error
    texts = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    template = "".join(texts.get(part, "") for part in TEMPLATE_PARTS)
    if hashlib.sha256(template.encode()).hexdigest() != TEMPLATE_SHA256:
        raise InputError(
            f"{path} does not hold the instruction that HPSv3 was trained on: "
            f"pip install --no-deps {PACKAGE}=={VERSION}."
        )
    return template
