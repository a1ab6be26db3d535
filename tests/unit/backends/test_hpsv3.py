"""HPSv3 on small random weights in the published layout; its numbers: tests/numerics/test_quality_parity.py."""

import sys
from pathlib import Path

import pytest
import quality_reference as reference
import small_quality as small
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from worldr1.backends import hpsv3, hpsv3_prompt
from worldr1.backends.frame_batches import normalised
from worldr1.backends.hpsv3 import Hpsv3, Hpsv3Config, load_hpsv3, patchify, processed_size
from worldr1.errors import ConfigError, InputError
from worldr1.protocols import QualityModel
from worldr1.rewards.profiles import PROFILES

SIZE = (61, 45)


@pytest.fixture(autouse=True)
def small_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of Qwen2-VL-7B."""
    monkeypatch.setattr(hpsv3, "QWEN2_VL_7B", small.QWEN)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installed package; its source file."""
    return small.install_template(monkeypatch, tmp_path / "site")


@pytest.fixture
def config(site: Path, tmp_path: Path) -> Hpsv3Config:
    """Published files."""
    assert site.is_file()
    return small.write_hpsv3(tmp_path / "published")


@pytest.fixture
def model(config: Hpsv3Config) -> Hpsv3:
    """Loaded from them."""
    return load_hpsv3(config)


def scores(model: Hpsv3, count: int = 3) -> Tensor:
    """Of the reference's pictures."""
    return model(small.frames(SIZE)[:count], reference.PROMPTS[:count])


def test_it_is_a_quality_model(model: Hpsv3) -> None:
    judge: QualityModel = model
    assert "MIT" in judge.licence
    answer = scores(model)
    assert answer.shape == (3,)
    assert answer.dtype is torch.float32
    assert not answer.requires_grad
    assert not any(p.requires_grad for p in model.network.parameters())
    assert not model.network.training


def test_every_frame_keeps_its_own_score(model: Hpsv3) -> None:
    """Defect M: in any order, alone or together, however the batch is cut and whoever pads it."""
    together = scores(model)
    assert together.std() > 0.05
    order = [2, 0, 1]
    turned = model(small.frames(SIZE)[order], [reference.PROMPTS[i] for i in order])
    torch.testing.assert_close(turned, together[order], atol=1e-5, rtol=0)
    for batch in (1, 3):
        model.batch = batch
        torch.testing.assert_close(scores(model), together, atol=1e-5, rtol=0)


def test_prompt_and_frame_both_count(model: Hpsv3) -> None:
    first, again, other_prompt, other_frame = (
        float(model(small.frames(SIZE)[[frame]], [prompt]))
        for frame, prompt in ((0, "a"), (0, "a"), (0, "b"), (1, "a"))
    )
    assert first == again
    assert abs(first - other_prompt) > 1e-3
    assert abs(first - other_frame) > 1e-3


def test_a_broken_frame_gets_no_number_and_harms_no_other(model: Hpsv3) -> None:
    """Defect H: what cannot be judged must not become a score."""
    whole = scores(model)
    frames = small.frames(SIZE)
    frames[1, 0, 3, 3] = torch.nan
    broken = model(frames, reference.PROMPTS)
    assert bool(broken[1].isnan())
    torch.testing.assert_close(broken[[0, 2]], whole[[0, 2]], atol=1e-5, rtol=0)


def test_the_head_stays_in_float32(config: Hpsv3Config) -> None:
    model = load_hpsv3(Hpsv3Config(weights=config.weights, tokenizer=config.tokenizer, dtype="bfloat16"))
    assert {p.dtype for p in model.network.head.parameters()} == {torch.float32}
    assert {p.dtype for p in model.network.backbone.parameters()} == {torch.bfloat16}
    # the rotations' frequencies must not be rounded
    assert {b.dtype for b in model.network.backbone.buffers()} == {torch.float32}
    torch.testing.assert_close(scores(model), scores(load_hpsv3(config)), atol=0.1, rtol=0)


def test_weights_are_in_memory_once_loaded(config: Hpsv3Config, model: Hpsv3) -> None:
    """Not read again at every score, as hpsv2 does it, nor mapped."""
    before = scores(model)
    (Path(config.weights) / hpsv3.FILE).unlink()
    assert torch.equal(scores(model), before)


def test_names_of_newer_transformers_are_understood(config: Hpsv3Config, model: Hpsv3) -> None:
    path = Path(config.weights) / hpsv3.FILE
    before = scores(model)
    renamed = {
        ("model.visual." + name.removeprefix("visual."))
        if name.startswith("visual.")
        else ("model.language_model." + name.removeprefix("model."))
        if name.startswith("model.")
        else name: x
        for name, x in load_file(path).items()
    }
    save_file({name: x.clone() for name, x in renamed.items()}, path)
    assert torch.equal(scores(load_hpsv3(config)), before)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rm_head.5.bias", "1 missing, such as head.5.bias"),
        ("model.layers.1.mlp.up_proj.weight", "1 missing, such as backbone.language_model.layers.1.mlp.up_proj.weight"),
    ],
)
def test_a_missing_tensor_is_named(config: Hpsv3Config, name: str, said: str) -> None:
    path = Path(config.weights) / hpsv3.FILE
    tensors = load_file(path)
    kept = {key: x.clone() for key, x in tensors.items() if key != name}
    save_file(kept, path)
    with pytest.raises(InputError, match=said):
        load_hpsv3(config)
    save_file({**kept, name: tensors[name].clone(), "other.weight": torch.ones(1)}, path)
    with pytest.raises(InputError, match=r"1 unknown, such as other\.weight"):
        load_hpsv3(config)


def test_missing_files_are_a_sentence(config: Hpsv3Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"HPSv3\.safetensors is missing; give the path .*MizzenAI/HPSv3"):
        load_hpsv3(Hpsv3Config(weights=str(tmp_path), tokenizer=config.tokenizer))
    with pytest.raises(InputError, match=r"tokenizer cannot be loaded from .*tokenizer\.json"):
        load_hpsv3(Hpsv3Config(weights=config.weights, tokenizer=str(tmp_path / "nowhere")))


def test_another_tokenizer_is_refused(config: Hpsv3Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reference, "HPSV3_SPECIAL", (*reference.HPSV3_SPECIAL, "<|more|>"))
    reference.write_hpsv3_tokenizer(tmp_path / "other")
    with pytest.raises(InputError, match=r"gives <\|Reward\|> the id 263, but HPSv3's weights have it at 262"):
        load_hpsv3(Hpsv3Config(weights=config.weights, tokenizer=str(tmp_path / "other")))


def test_the_package_is_read_and_never_run(site: Path) -> None:
    # its file imports what nobody has and divides by zero
    assert hpsv3_prompt.read_template(site) == "".join(reference.HPSV3_TEMPLATE)
    assert not any(name == "hpsv3" or name.startswith("hpsv3.") for name in sys.modules)


def test_other_words_than_the_published_ones_are_refused(site: Path) -> None:
    site.write_text(site.read_text().replace("Rate", "rate"))
    with pytest.raises(InputError, match="does not hold the instruction that HPSv3 was trained on"):
        hpsv3_prompt.read_template(site)
    site.write_text("INSTRUCTION = (")
    with pytest.raises(InputError, match="cannot be read"):
        hpsv3_prompt.read_template(site)


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path) -> None:
    if any((Path(entry) / hpsv3_prompt.TEMPLATE_FILE).is_file() for entry in sys.path):
        pytest.skip("hpsv3 is installed")
    config = small.write_hpsv3(tmp_path)
    with pytest.raises(InputError, match=r"pip install --no-deps hpsv3==1\.0\.0"):
        load_hpsv3(config)


@pytest.mark.parametrize("token", ["<|Reward|>", "<|image_pad|>", "<|im_end|>"])
def test_a_prompt_cannot_hold_special_tokens(model: Hpsv3, token: str) -> None:
    with pytest.raises(InputError, match="a special token of HPSv3: take it out"):
        model(small.frames(SIZE)[:1], [f"a ball {token}"])


def test_the_row_reads_as_published(model: Hpsv3) -> None:
    row = model.prompt_tokens("a {red} ball", 2)
    assert isinstance(model.prompt_tokens, hpsv3_prompt.ChatTokens)
    assert model.prompt_tokens.tokenizer.decode(list(row.ids)) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|><|vision_end|>Rate this picture.\n"
        "Its prompt - a {red} ball\n\n\nThe rating: <|Reward|>\n\nEND\n<|im_end|>\n<|im_start|>assistant\n"
    )
    assert row.ids[row.reward_place] == 262
    assert list(row.ids).count(262) == 1


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 832), (336, 588)), ((720, 1280), (336, 588)), ((448, 448), (448, 448)), ((64, 96), (392, 560))],
)
def test_processed_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert processed_size(*size) == expected


@pytest.mark.parametrize("size", [(480, 832), (832, 480), (61, 45), (1080, 1920), (100, 2000), (704, 1280)])
def test_sizes_and_patches_are_those_of_transformers(size: tuple[int, int]) -> None:
    limits = {"shortest_edge": hpsv3.MAX_PIXELS, "longest_edge": hpsv3.MAX_PIXELS}
    processor = Qwen2VLImageProcessorPil(size=limits)
    picture = reference.images(*size, count=2)
    made = processor(images=list(picture), return_tensors="pt")
    height, width = processed_size(*size)
    assert made["image_grid_thw"].tolist() == [[1, height // 14, width // 14]] * 2
    frames = hpsv3.resize_like_pil(torch.from_numpy(picture).movedim(-1, 1) / 255, height, width)
    torch.testing.assert_close(patchify(normalised(frames)), made["pixel_values"], atol=2e-6, rtol=0)


def test_a_sliver_is_refused() -> None:
    with pytest.raises(InputError, match="4 x 1000 pixels are too narrow"):
        processed_size(1000, 4)


def test_the_published_file_has_so_many_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published file holds a language head too; the profile counts what is loaded."""
    monkeypatch.undo()
    config = Qwen2VLConfig(**hpsv3.QWEN2_VL_7B)
    with torch.device("meta"):
        ours = sum(p.numel() for p in hpsv3.RewardNetwork(config).parameters())
        whole = sum(p.numel() for p in Qwen2VLForConditionalGeneration(config).parameters())
    head = 3_687_474
    hidden = 3584
    profile = next(m for models in PROFILES.values() for m in models if m.name == "HPSv3")
    assert whole + head == 8_292_152_882
    assert ours == whole + head - 151_658 * hidden == profile.parameters == 7_748_610_610


def test_random_weights_need_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    model = load_hpsv3(Hpsv3Config(weights="random", dtype="float32"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_default_dtype() is torch.float32
    answer = scores(model)
    assert bool(answer.isfinite().all())
    again = load_hpsv3(Hpsv3Config(weights="random", dtype="float32"))
    assert torch.equal(scores(again), answer)
    assert not torch.equal(scores(load_hpsv3(Hpsv3Config(weights="random", dtype="float32", seed=1))), answer)


def test_a_batch_is_at_least_one() -> None:
    with pytest.raises(ConfigError, match="at least one frame"):
        Hpsv3Config(batch=0)


def test_it_may_be_moved(model: Hpsv3) -> None:
    assert model.device.type == "cpu"
    model.network.to_empty(device="meta")
    assert model.device.type == "meta"
