"""A small random Qwen3-VL, end to end: against transformers' own processor and generate, in batches, and from files."""

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_qwen3_vl import TEMPLATE, save_tiny_folder, tiny_image_processor, tiny_model, tiny_tokenizer, to_newer_layout
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from worldr1.backends.architectures import QWEN3_VL_4B, VISION_LANGUAGE_MODELS
from worldr1.backends.critics import CriticConfig, load_critic
from worldr1.backends.critics.digits import DIGITS, digit_token_ids
from worldr1.backends.critics.instruction import instruction
from worldr1.backends.critics.pictures import to_pictures
from worldr1.backends.critics.qwen3_vl import Qwen3VLCritic, load_qwen3_vl
from worldr1.backends.critics.qwen3_vl_inputs import Qwen3VLInputs, pad_left
from worldr1.backends.critics.stand_in_tokenizer import stand_in_tokenizer
from worldr1.errors import ConfigError, InputError
from worldr1.protocols import Critic
from worldr1.rewards.guard import Fault, call_each
from worldr1.rewards.profiles import PROFILES

PROMPTS = ["A red box.", "Two balls and a cone on a checkered floor, in a room with marbled walls.", "Fog."]
SIZES = [(64, 96), (112, 64), (200, 40)]


@pytest.fixture(scope="module")
def critic() -> Qwen3VLCritic:
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    return Qwen3VLCritic(
        model,
        Qwen3VLInputs(tokenizer, tiny_image_processor(), image_token_id=model.config.image_token_id),
        digit_ids=digit_token_ids(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]),
        licence="none",
        min_digit_mass=0.0,
    )


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    """Smooth pictures of different sizes."""
    generator = torch.Generator().manual_seed(0)
    coarse = [torch.rand(1, 3, 4, 4, generator=generator) for _ in SIZES]
    return [torch.nn.functional.interpolate(x, size=s, mode="bilinear")[0] for x, s in zip(coarse, SIZES, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published")
    save_tiny_folder(path)
    return path


def _theirs(critic: Qwen3VLCritic) -> Any:
    """transformers' processor around our parts; its constructor wants a video processor, and that wants torchvision."""
    theirs = Qwen3VLProcessor.__new__(Qwen3VLProcessor)
    theirs.image_processor, theirs.tokenizer = critic.inputs.image_processor, critic.inputs.tokenizer
    theirs.image_token, theirs.video_token = "<|image_pad|>", "<|video_pad|>"
    theirs.image_token_id, theirs.video_token_id = (
        critic.model.config.image_token_id,
        critic.model.config.video_token_id,
    )
    theirs.video_processor, theirs.chat_template = None, TEMPLATE
    return theirs


def test_the_arguments_are_those_of_transformers_own_processor(critic: Qwen3VLCritic, images: list[Tensor]) -> None:
    """Defect E: the release picked arguments by hand, and left out the one that transformers 5 needs."""
    pictures, questions = to_pictures(images), [instruction(prompt) for prompt in PROMPTS]
    ours = critic.inputs(pictures, questions)
    texts = [critic.inputs.text_of(question) for question in questions]
    theirs = _theirs(critic)(images=pictures, text=texts, padding=True, padding_side="left", return_tensors="pt")
    assert set(ours) == set(theirs) and "mm_token_type_ids" in ours
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, atol=0, rtol=0, check_dtype=False)


def test_the_scores_are_those_of_generate(critic: Qwen3VLCritic, images: list[Tensor]) -> None:
    answers = critic.judge(images, PROMPTS)
    for row, (picture, prompt) in enumerate(zip(to_pictures(images), PROMPTS, strict=True)):
        inputs = _theirs(critic)(
            images=[picture], text=[critic.inputs.text_of(instruction(prompt))], return_tensors="pt"
        )
        said = critic.model.generate(
            **inputs, max_new_tokens=1, do_sample=False, return_dict_in_generate=True, output_logits=True
        )
        everything = said.logits[0][0].double().softmax(-1)
        digits = everything[[tokens[0] for tokens in critic.digit_ids]]
        torch.testing.assert_close(answers.probabilities[row].double(), digits / digits.sum(), atol=1e-5, rtol=0)
        assert float(answers.mass[row]) == pytest.approx(float(digits.sum()), abs=1e-6)


def test_a_score_does_not_depend_on_its_company(critic: Qwen3VLCritic, images: list[Tensor]) -> None:
    together = critic.judge(images, PROMPTS).probabilities
    order = [2, 0, 1]
    turned = critic.judge([images[i] for i in order], [PROMPTS[i] for i in order]).probabilities
    alone = torch.cat([critic.judge([x], [prompt]).probabilities for x, prompt in zip(images, PROMPTS, strict=True)])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)
    torch.testing.assert_close(turned, together[order], atol=2e-5, rtol=0)
    # or the above would say nothing
    others = [critic.judge([images[i]], [PROMPTS[j]]).probabilities[0] for i, j in ((0, 1), (1, 0))]
    assert min(float((together[0] - other).abs().max()) for other in (*others, together[1])) > 1e-3


def test_a_batch_is_cut_into_passes(critic: Qwen3VLCritic, images: list[Tensor]) -> None:
    passes: list[int] = []
    hook = critic.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: passes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    critic.batch, before = 2, critic.digit_mass.count
    try:
        found = critic(images, PROMPTS)
    finally:
        critic.batch = 8
        hook.remove()
    assert passes == [2, 1] and critic.digit_mass.count == before + 3  # defect G: and no generate afterwards
    torch.testing.assert_close(found, critic(images, PROMPTS), atol=2e-5, rtol=0)
    assert critic([], []).shape == (0, 10)


def test_it_is_a_critic(critic: Qwen3VLCritic) -> None:
    a_critic: Critic = critic
    found = a_critic(torch.rand(2, 3, 64, 64), PROMPTS[:2])
    assert found.shape == (2, 10) and found.dtype == torch.float32 and not found.requires_grad


def test_padding_is_on_the_left() -> None:
    ids, mask = pad_left([[5, 6, 7], [8]], 9)
    assert ids.tolist() == [[5, 6, 7], [9, 9, 8]] and mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_pixels_are_rounded_and_must_be_finite(critic: Qwen3VLCritic) -> None:
    """Defect Q: the release cut off the fraction, and sent JPEG."""
    picture = to_pictures([torch.tensor([0.4999, 1.2, -0.3])[:, None, None].expand(3, 8, 8)])[0]
    assert picture.getpixel((0, 0)) == (127, 255, 0) and 0.4999 * 255 > 127.4
    assert to_pictures(torch.full((1, 3, 4, 4), 0.5))[0].getpixel((3, 3)) == (128, 128, 128)
    bad = torch.rand(2, 3, 64, 64)
    bad[1, 0, 3, 3] = torch.nan
    found = call_each(lambda pairs: list(critic(torch.stack([bad[i] for i in pairs]), ["x"] * len(pairs))), [0, 1], "c")
    assert isinstance(found[0], Tensor)
    assert isinstance(found[1], Fault) and "not finite" in found[1].reason


def test_an_answer_that_is_hardly_a_digit_is_a_fault_of_its_sample(
    critic: Qwen3VLCritic, images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defects F and H: no check of what the model would rather say, and 0.0 for whatever went wrong."""
    masses = critic.judge(images, PROMPTS).mass
    between = float(masses.sort().values[:2].mean())
    monkeypatch.setattr(critic, "min_digit_mass", between)
    items = list(zip(images, PROMPTS, strict=True))
    found = call_each(lambda rows: list(critic([x for x, _ in rows], [p for _, p in rows])), items, "off-path view")
    for result, mass in zip(found, masses.tolist(), strict=True):
        assert isinstance(result, Fault) == (mass < between)
        assert not isinstance(result, Fault) or f"digit mass {mass:.3g}, needed {between:g}" in result.reason


def test_a_broken_model_is_a_fault_and_no_score(critic: Qwen3VLCritic, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_arguments: Any) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(critic.model, "forward", broken)
    found = call_each(
        lambda xs: list(critic(torch.stack(list(xs)), ["x"] * len(xs))), [torch.rand(3, 64, 64)], "critic"
    )
    assert found == [Fault(reason="critic: RuntimeError: CUDA out of memory")]


def test_one_prompt_per_picture(critic: Qwen3VLCritic) -> None:
    with pytest.raises(ValueError, match="2 pictures for 1 prompts"):
        critic(torch.rand(2, 3, 64, 64), ["a"])


# ------------------------------------------------------------------------------------------------------------- loading


def test_a_published_folder_scores_as_the_model_in_it(
    folder: Path, critic: Qwen3VLCritic, images: list[Tensor]
) -> None:
    config = CriticConfig(model=str(folder), dtype="float32", min_digit_mass=0)
    loaded = load_critic(config)
    assert loaded.licence.startswith("unknown: read the card")
    torch.testing.assert_close(loaded(images[:1], PROMPTS[:1]), critic(images[:1], PROMPTS[:1]), atol=1e-6, rtol=0)  # type: ignore[arg-type]
    half = load_qwen3_vl(CriticConfig(model=str(folder), min_digit_mass=0))
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    assert float((half(images, PROMPTS).sum(-1) - 1).abs().max()) < 1e-5


def test_both_layouts_of_a_folder_say_the_same(folder: Path, tmp_path: Path, images: list[Tensor]) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(folder, newer)
    to_newer_layout(newer)
    older, new = (load_qwen3_vl(CriticConfig(model=str(f), dtype="float32", min_digit_mass=0)) for f in (folder, newer))
    assert torch.equal(older(images, PROMPTS), new(images, PROMPTS))


def _remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _put(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def _put_template(template: str) -> Callable[[Path], object]:
    return _put("chat_template.json", json.dumps({"chat_template": template}))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_remove("config.json"), "config.json cannot be read"),
        (_put("config.json", '{"model_type": "qwen2_vl"}'), "holds a model of type 'qwen2_vl'; give a dense Qwen3-VL"),
        (_remove("preprocessor_config.json"), "preprocessor_config.json is missing"),
        (_remove("tokenizer.json"), "tokenizer.json is missing"),
        (_put("tokenizer.json", "{"), "cannot be loaded"),
        (_remove("chat_template.json"), "chat_template.json is missing or says nothing"),
        (_put_template("{{ messages[0].role }}"), "does not put its image token"),
        (_put_template("{{ raise_exception('no') }}"), "chat template cannot be used (no)"),
        (_put_template(TEMPLATE + "<think>\n"), "is a Thinking model"),
        (_remove("model.safetensors"), "model.safetensors is missing"),
        (_put("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
        (_put("model.safetensors", "rubbish"), "cannot be loaded"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_sentence(
    folder: Path, tmp_path: Path, harm: Callable[[Path], object], says: str
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    harm(copy)
    with pytest.raises(InputError) as caught:
        load_qwen3_vl(CriticConfig(model=str(copy), dtype="float32"))
    assert says in str(caught.value) and str(caught.value).count("\n") == 0


def test_weights_that_are_missing_are_not_made_up(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    del tensors["model.visual.merger.linear_fc1.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks 1 weights"):
        load_qwen3_vl(CriticConfig(model=str(copy)))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="no critic 'qwen3-vl-3b': give qwen3-vl-4b, qwen3-vl-2b, a name on the hub"):
        load_qwen3_vl(CriticConfig(model="qwen3-vl-3b"))


def test_a_hub_that_cannot_be_reached_says_what_to_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def offline(hub: str, *, allow_patterns: list[str]) -> str:
        asked.append((hub, allow_patterns))
        raise OSError("no route to host")

    monkeypatch.setattr("worldr1.backends.model_folder.snapshot_download", offline)
    with pytest.raises(
        InputError, match=r"Qwen/Qwen3-VL-4B-Instruct cannot be fetched \(no route to host\).*config.json"
    ):
        load_qwen3_vl(CriticConfig())
    assert asked[0][0] == QWEN3_VL_4B.hub and "*.safetensors" in asked[0][1] and "merges.txt" in asked[0][1]


# ------------------------------------------------------------------------------------------------------ random weights


@pytest.mark.parametrize("published", VISION_LANGUAGE_MODELS.values(), ids=list(VISION_LANGUAGE_MODELS))
def test_the_published_sizes(published: Any) -> None:
    kind = getattr(transformers, published.network.class_name)
    config = kind.config_class(**published.network.config)
    for part in ("text_config", "vision_config"):
        wanted = published.network.config[part]
        assert {key: getattr(getattr(config, part), key) for key in wanted} == wanted
    with torch.device("meta"):
        counted = sum(parameter.numel() for parameter in kind(config).parameters())
    listed = {model.hub: model.parameters for models in PROFILES.values() for model in models}
    assert counted == listed[published.hub]


def test_random_weights_run_as_the_real_model_would(monkeypatch: pytest.MonkeyPatch, images: list[Tensor]) -> None:
    small = {**QWEN3_VL_4B.network.config}
    small["text_config"] = {**small["text_config"], "num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32}
    small["text_config"] |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    small["vision_config"] = {**small["vision_config"], "depth": 1, "hidden_size": 32, "intermediate_size": 32}
    small["vision_config"] |= {"num_heads": 2, "out_hidden_size": 32, "deepstack_visual_indexes": [0]}
    tiny = type(QWEN3_VL_4B)(
        name="tiny",
        hub="a/tiny",
        licence="none",
        network=type(QWEN3_VL_4B.network)(class_name=QWEN3_VL_4B.network.class_name, config=small),
        image_processor=QWEN3_VL_4B.image_processor,
    )
    monkeypatch.setattr("worldr1.backends.critics.qwen3_vl.find_vision_language_model", lambda name: tiny)
    config = CriticConfig(weights="random", min_digit_mass=0, dtype="float32", seed=1)
    critic = load_qwen3_vl(config)
    assert isinstance(critic.model, Qwen3VLForConditionalGeneration) and critic.licence == "none"
    found = critic(images[:1], PROMPTS[:1])
    assert torch.equal(found, load_qwen3_vl(config)(images[:1], PROMPTS[:1]))
    assert 0 < critic.digit_mass.mean < 0.1
    batch = critic.inputs(to_pictures(torch.rand(1, 3, 294, 504)), [instruction(PROMPTS[0])])
    assert int((batch["input_ids"] == 151655).sum()) == (288 // 32) * (512 // 32)
    words = len(instruction(PROMPTS[0]).split())
    assert words < batch["input_ids"].shape[1] - 144 < 1.6 * words


def test_the_stand_in_knows_digits_and_special_tokens() -> None:
    tokenizer = stand_in_tokenizer("one box", {"<|image_pad|>": 500})
    assert tokenizer("<|image_pad|>7box", add_special_tokens=False)["input_ids"][:2] == [
        500,
        tokenizer.convert_tokens_to_ids("7"),
    ]
    ids = digit_token_ids(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
    assert [tokenizer.convert_ids_to_tokens(i)[0] for i in ids] == list(DIGITS)


def test_every_key_is_explained() -> None:
    table = (
        (Path(__file__).parents[4] / "docs" / "critics.md").read_text().partition("## Keys")[2].partition("\n## ")[0]
    )
    assert all(f"`{key.name}`" in table for key in fields(CriticConfig))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"model": " "}, "name of a model"),
        ({"min_digit_mass": 1.0}, "from 0 to below 1"),
        ({"min_digit_mass": float("nan")}, "from 0 to below 1"),
        ({"batch": 0}, "at least 1"),
        ({"concurrency": 0}, "at least 1"),
        ({"max_tries": 0}, "at least 1"),
        ({"timeout_s": 0.0}, "must be positive"),
        ({"retry_wait_s": -1.0}, "not negative"),
        ({"weights": "random"}, "set its min_digit_mass = 0"),
        ({"weights": "random", "model": "my/own", "min_digit_mass": 0.0}, "name of a published model, not 'my/own'"),
        ({"weights": "random", "base_url": "http://h/v1", "min_digit_mass": 0.0}, "leave out its base_url"),
        ({"base_url": "https://me:secret@host/v1"}, "use key_variable"),
    ],
)
def test_impossible_keys(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        CriticConfig(**keys)
