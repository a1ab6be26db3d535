"""Pictures and questions -> the arguments of Qwen3-VL's forward pass, without torchvision.

transformers' own `Qwen3VLProcessor` cannot be made without torchvision, because it wants a video processor. What is
needed of it is little: its image processor exists on Pillow alone (`Qwen2VLImageProcessorPil`: resized to multiples of
32 pixels, cut into patches of 16), the text is the model's own chat template, the one image token of the text is
repeated once per 2 x 2 patches, and `mm_token_type_ids` says which tokens are image. transformers 5 needs the last for
the positions of the tokens and raises without it, which the release caught and called a score of 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from worldr1.errors import InputError

IMAGE_TOKEN = "<|image_pad|>"
_THINKING = "<think>"


class Qwen3VLInputs:
    """Makes batches for one model; every question has one picture before its text."""

    def __init__(self, tokenizer: Any, image_processor: Any, *, image_token_id: int) -> None:
        """tokenizer: with a chat template. image_processor: a `Qwen2VLImageProcessorPil`. image_token_id: the model's.

        Raises InputError if the template does not fit: no place for the picture, or a thought before the answer.
        """
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.image_token_id = image_token_id
        self._merged = image_processor.merge_size**2
        try:
            sample = self.text_of("?")
        except Exception as error:  # a template is a little program of the folder's, which may fail in any way
            raise InputError(f"The critic's chat template cannot be used ({error}); give another folder.") from error
        if self._ids(sample).count(image_token_id) != 1:
            raise InputError(
                f"The critic's chat template does not put its image token ({image_token_id}) into a question with a "
                "picture; give a Qwen3-VL Instruct folder with the files that belong together."
            )
        if sample.rstrip().endswith(_THINKING):
            raise InputError("This critic is a Thinking model, whose next token is a thought: give an Instruct one.")

    def __call__(self, pictures: Sequence[Image.Image], questions: Sequence[str]) -> dict[str, Tensor]:
        """Arguments for a batch: input_ids, attention_mask, mm_token_type_ids [B, S], padded on the left so that the
        last position is every question's end; pixel_values [patches, 1536]; image_grid_thw [B, 3].

        Raises ValueError if a question smuggles in an image token.
        """
        vision: Mapping[str, Tensor] = self.image_processor(images=list(pictures), return_tensors="pt")
        counts = (vision["image_grid_thw"].prod(dim=1) // self._merged).tolist()
        rows = [self._expanded(question, count) for question, count in zip(questions, counts, strict=True)]
        input_ids, attention_mask = pad_left(rows, self.tokenizer.pad_token_id or 0)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "mm_token_type_ids": (input_ids == self.image_token_id).int(),
            "pixel_values": vision["pixel_values"],
            "image_grid_thw": vision["image_grid_thw"],
        }

    def text_of(self, question: str) -> str:
        """The question in the model's own chat format, up to where the answer begins."""
        messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def _expanded(self, question: str, num_image_tokens: int) -> list[int]:
        """Token ids of the question with its image token repeated."""
        ids = self._ids(self.text_of(question))
        if ids.count(self.image_token_id) != 1:
            raise ValueError(f"the question holds {ids.count(self.image_token_id)} image tokens instead of one")
        place = ids.index(self.image_token_id)
        return ids[:place] + [self.image_token_id] * num_image_tokens + ids[place + 1 :]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Int[Tensor, "B S"], Int[Tensor, "B S"]]:
    """Token ids and attention mask of rows of different length, all with their last token in the last column."""
    length = max(map(len, rows))
    ids = [[pad_id] * (length - len(row)) + list(row) for row in rows]
    mask = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)
