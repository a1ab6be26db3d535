"""Qwen3-VL in this process as S_meta's critic: one forward pass, the distribution of the next token, ten digits of it.

Nothing is generated: the release let the model write up to 128 tokens per video, printed them, and took its score from
a second pass.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.backends.architectures import VISION_LANGUAGE_MODELS, VisionLanguageModel, find_vision_language_model
from worldr1.backends.critics.config import CriticConfig
from worldr1.backends.critics.digits import (
    DigitAnswers,
    MassRecord,
    TokenIds,
    answers_of_logits,
    digit_token_ids,
    require_digits,
)
from worldr1.backends.critics.instruction import instruction
from worldr1.backends.critics.pictures import to_pictures
from worldr1.backends.critics.qwen3_vl_inputs import IMAGE_TOKEN, Qwen3VLInputs
from worldr1.backends.critics.stand_in_tokenizer import stand_in_tokenizer
from worldr1.backends.model_folder import AGAIN, check_one_of, check_weights, fetch_folder, load_part, read_json
from worldr1.backends.models import check_dtype
from worldr1.backends.published_files import Need
from worldr1.backends.random_weights import build_language_model
from worldr1.errors import InputError

MODEL_TYPE = "qwen3_vl"
_CHAT_TEMPLATE = "chat_template.json"
_WANTED = ("*.json", "*.jinja", "*.safetensors", "merges.txt")
_ONE_OF = (
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer.json", "vocab.json"),
    ("tokenizer_config.json",),
)
"""Files of which a folder needs one each, besides config.json and the weights; what is asked for first."""


class Qwen3VLCritic:
    """`protocols.Critic` on a Qwen3-VL; `load_qwen3_vl` makes one."""

    def __init__(
        self,
        model: Any,
        inputs: Qwen3VLInputs,
        *,
        digit_ids: TokenIds,
        licence: str,
        batch: int = 8,
        min_digit_mass: float = 0.5,
    ) -> None:
        """model: a `Qwen3VLForConditionalGeneration`. digit_ids: of `digits.digit_token_ids`. batch: pictures per
        forward pass. min_digit_mass: least share of the next token that digits must have."""
        self.model = model
        self.inputs = inputs
        self.digit_ids = digit_ids
        self.licence = licence
        self.batch = batch
        self.min_digit_mass = min_digit_mass
        self.digit_mass = MassRecord()

    def __call__(
        self, images: Float[Tensor, "B 3 H W"] | list[Float[Tensor, "3 _ _"]], prompts: Sequence[str]
    ) -> Float[Tensor, "B 10"]:
        """Probability of each digit among the ten, float32 on the CPU.

        images: 0..1; a list may hold different sizes. prompts: the scenes, without camera words. Raises ValueError if
        an answer is hardly a digit, or a number is not finite.
        """
        return require_digits(self.judge(images, prompts), self.min_digit_mass).probabilities

    @torch.no_grad()
    def judge(
        self, images: Float[Tensor, "B 3 H W"] | list[Float[Tensor, "3 _ _"]], prompts: Sequence[str]
    ) -> DigitAnswers:
        """Probabilities with their digit mass, whatever it is."""
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} pictures for {len(prompts)} prompts")
        pictures, questions = to_pictures(images), [instruction(prompt) for prompt in prompts]
        found: list[DigitAnswers] = []
        for start in range(0, len(pictures), self.batch):
            rows = slice(start, start + self.batch)
            batch = {name: x.to(self.model.device) for name, x in self.inputs(pictures[rows], questions[rows]).items()}
            logits = self.model(**batch, logits_to_keep=1, use_cache=False).logits[:, -1]
            found.append(answers_of_logits(logits, self.digit_ids))
        answers = DigitAnswers(
            probabilities=torch.cat([torch.empty(0, 10), *(a.probabilities for a in found)]),
            mass=torch.cat([torch.empty(0), *(a.mass for a in found)]),
        )
        self.digit_mass.add(answers.mass)
        return answers


def load_qwen3_vl(config: CriticConfig, device: str | torch.device = "cpu") -> Qwen3VLCritic:
    """The critic of `config.model` on `device`, from a folder, the hub or its cache, or with random weights.

    Raises InputError if there is no such model, it is incomplete, damaged or no Qwen3-VL Instruct model, or the device
    cannot compute in the dtype.
    """
    place = torch.device(device)
    check_dtype(config.dtype, place.type)
    published, dtype = find_vision_language_model(config.model), getattr(torch, config.dtype)
    if config.weights == "random":
        assert published is not None, "CriticConfig checks it"
        return _critic(*_random(published, place, dtype, config.seed), published.licence, config)
    folder = find_qwen3_vl(config.model)
    licence = f"{published.licence} ({published.hub})" if published else f"unknown: read the card of {config.model}"
    return _critic(*_load(folder, place, dtype), licence, config)


def find_qwen3_vl(name: str) -> Path:
    """The folder of a short name, a hub name or a path. Raises InputError, with the file's name, unless it holds a
    whole Qwen3-VL in the hub's layout."""
    folder = _find(name, find_vision_language_model(name))
    for need in qwen3_vl_folder_needs(folder):
        need()
    return folder


def qwen3_vl_folder_needs(folder: Path) -> tuple[Need, ...]:
    """Its files."""
    files = (partial(check_one_of, folder, names) for names in _ONE_OF)
    return partial(_check_type, folder), *files, partial(check_weights, folder, "model")


def _check_type(folder: Path) -> None:
    model_type = read_json(folder / "config.json").get("model_type")
    if model_type != MODEL_TYPE:
        raise InputError(f"{folder} holds a model of type {model_type!r}; give a dense Qwen3-VL ({MODEL_TYPE}).")


def _find(name: str, published: VisionLanguageModel | None) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if published is None and "/" not in name:
        known = ", ".join(VISION_LANGUAGE_MODELS)
        raise InputError(f"There is no critic {name!r}: give {known}, a name on the hub, or a folder.")
    contents = "config.json, preprocessor_config.json, the tokenizer and the weights (.safetensors)"
    return fetch_folder(name, published.hub if published else name, _WANTED, contents=contents)


def _load(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """Model, tokenizer, image processor."""
    from transformers import AutoTokenizer, Qwen2VLImageProcessorPil, Qwen3VLForConditionalGeneration

    tokenizer = load_part(AutoTokenizer, folder, "", trust_remote_code=False)
    if (folder / _CHAT_TEMPLATE).is_file():  # the processor's, which a server would use too
        tokenizer.chat_template = read_json(folder / _CHAT_TEMPLATE).get("chat_template")
    if not tokenizer.chat_template:
        raise InputError(f"The model file {folder / _CHAT_TEMPLATE} is missing or says nothing; {AGAIN}.")
    image_processor = load_part(Qwen2VLImageProcessorPil, folder, "")
    options = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
    model = load_part(Qwen3VLForConditionalGeneration, folder, "", **options)
    return model.to(device).eval().requires_grad_(False), tokenizer, image_processor


def _random(model: VisionLanguageModel, device: torch.device, dtype: torch.dtype, seed: int) -> tuple[Any, Any, Any]:
    """Model, tokenizer, image processor."""
    from transformers import Qwen2VLImageProcessorPil

    network = build_language_model(model.network, device=device, dtype=dtype, seed=seed)
    special = {IMAGE_TOKEN: model.network.config["image_token_id"]}
    return (
        network,
        stand_in_tokenizer(instruction("a scene"), special),
        Qwen2VLImageProcessorPil(**model.image_processor),
    )


def _critic(model: Any, tokenizer: Any, image_processor: Any, licence: str, config: CriticConfig) -> Qwen3VLCritic:
    return Qwen3VLCritic(
        model,
        Qwen3VLInputs(tokenizer, image_processor, image_token_id=model.config.image_token_id),
        digit_ids=digit_token_ids(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]),
        licence=licence,
        batch=config.batch,
        min_digit_mass=config.min_digit_mass,
    )
