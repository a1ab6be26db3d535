"""HPSv2.1 on small random weights in the published layout; its numbers: tests/numerics/test_quality_parity.py."""

from dataclasses import replace
from pathlib import Path

import pytest
import quality_reference as reference
import small_quality as small
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from worldr1.backends import hpsv2
from worldr1.backends.hpsv2 import Hpsv2, Hpsv2Config, cleaned, letterbox, load_hpsv2, our_names
from worldr1.errors import ConfigError, InputError
from worldr1.protocols import QualityModel
from worldr1.rewards.profiles import PROFILES

SIZE = (61, 45)


@pytest.fixture(autouse=True)
def small_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of ViT-H/14."""
    monkeypatch.setattr(hpsv2, "CLIP_VIT_H_14", small.CLIP)


@pytest.fixture
def config(tmp_path: Path) -> Hpsv2Config:
    """Published files."""
    return small.write_hpsv2(tmp_path / "published")


@pytest.fixture
def model(config: Hpsv2Config) -> Hpsv2:
    """Loaded from them."""
    return load_hpsv2(config)


def scores(model: Hpsv2) -> Tensor:
    """Of the reference's pictures."""
    return model(small.frames(SIZE), reference.PROMPTS)


def test_it_is_a_quality_model(model: Hpsv2) -> None:
    judge: QualityModel = model
    assert "Apache-2.0" in judge.licence
    answer = scores(model)
    assert answer.shape == (3,)
    assert answer.dtype is torch.float32
    assert float(answer.abs().max()) <= 100
    assert not answer.requires_grad
    assert not any(p.requires_grad for p in model.network.parameters())
    assert not model.network.training


def test_every_frame_keeps_its_own_score(model: Hpsv2) -> None:
    """Defect M: in any order, alone or together, however the batch is cut."""
    together = scores(model)
    assert together.std() > 0.5
    order = [2, 0, 1]
    turned = model(small.frames(SIZE)[order], [reference.PROMPTS[i] for i in order])
    torch.testing.assert_close(turned, together[order], atol=1e-4, rtol=0)
    for batch in (1, 3):
        model.batch = batch
        torch.testing.assert_close(scores(model), together, atol=1e-4, rtol=0)


def test_a_text_is_read_once_however_often_it_is_asked(model: Hpsv2, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ids = model._ids
    monkeypatch.setattr(model, "_ids", lambda prompt: asked.append(prompt) or ids(prompt))
    model(small.frames(SIZE), ["a", "b", "a"])
    assert asked == ["a", "b"]


def test_a_broken_frame_gets_no_number_and_harms_no_other(model: Hpsv2) -> None:
    """Defect H: what cannot be judged must not become a score."""
    whole = scores(model)
    frames = small.frames(SIZE)
    frames[1, 0, 3, 3] = torch.nan
    broken = model(frames, reference.PROMPTS)
    assert bool(broken[1].isnan())
    torch.testing.assert_close(broken[[0, 2]], whole[[0, 2]], atol=1e-4, rtol=0)


def test_weights_are_read_once_and_each_model_has_its_own(config: Hpsv2Config, model: Hpsv2) -> None:
    """hpsv2 reads its file again at every call, into one model that all of its callers share."""
    other = load_hpsv2(config)
    before = scores(model)
    (Path(config.weights) / hpsv2.FILE).unlink()
    torch.nn.init.zeros_(other.network.visual_projection.weight)
    assert torch.equal(scores(model), before)


def test_safetensors_are_the_same(config: Hpsv2Config, model: Hpsv2, tmp_path: Path) -> None:
    save_file(small.hpsv2_tensors(), tmp_path / "hps.safetensors")
    again = load_hpsv2(replace(config, weights=str(tmp_path / "hps.safetensors")))
    torch.testing.assert_close(scores(again), scores(model), atol=1e-4, rtol=0)


def test_half_precision_is_close(config: Hpsv2Config, model: Hpsv2) -> None:
    half = load_hpsv2(Hpsv2Config(weights=config.weights, tokenizer=config.tokenizer))
    assert half.network.dtype is torch.float16
    torch.testing.assert_close(scores(half), scores(model), atol=0.2, rtol=0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("visual.proj", "1 missing, such as visual_projection.weight"),
        ("transformer.resblocks.1.attn.in_proj_bias", "3 missing, such as text_model.encoder.layers.1.self_attn"),
        ("visual.transformer.resblocks.0.ln_2.weight", "1 missing, .*vision_model.encoder.layers.0.layer_norm2.weight"),
    ],
)
def test_a_missing_tensor_is_named(config: Hpsv2Config, name: str, said: str) -> None:
    path = Path(config.weights) / hpsv2.FILE
    tensors = small.hpsv2_tensors()
    missing = tensors.pop(name)
    torch.save(tensors, path)
    with pytest.raises(InputError, match=said):
        load_hpsv2(config)
    torch.save({**tensors, name: missing, "module.weight": torch.ones(1)}, path)
    with pytest.raises(InputError, match=r"1 unknown, such as module\.weight"):
        load_hpsv2(config)


def test_every_published_tensor_has_one_place() -> None:
    placed = our_names(small.hpsv2_tensors())
    assert sum(x.numel() for x in placed.values()) == small.clip_parameters()


def test_missing_files_are_a_sentence(config: Hpsv2Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"HPS_v2\.1_compressed\.pt is missing; give the path .*xswu/HPSv2"):
        load_hpsv2(Hpsv2Config(weights=str(tmp_path), tokenizer=config.tokenizer))
    with pytest.raises(InputError, match=r"tokenizer cannot be loaded from .*CLIP's tokenizer"):
        load_hpsv2(Hpsv2Config(weights=config.weights, tokenizer=str(tmp_path / "nowhere")))
    # of a name on a hub that is out of reach transformers makes a tokenizer without words
    with pytest.raises(InputError, match=r"tokenizer cannot be loaded from nobody/clip \(none of its files"):
        load_hpsv2(Hpsv2Config(weights=config.weights, tokenizer="nobody/clip"))


def test_another_tokenizer_is_refused(config: Hpsv2Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vocabulary = reference.clip_vocabulary()
    monkeypatch.setattr(reference, "clip_vocabulary", lambda: [*vocabulary[:-2], "word</w>", *vocabulary[-2:]])
    reference.write_clip_tokenizer(tmp_path / "other")
    with pytest.raises(InputError, match="has its end of text at 514"):
        load_hpsv2(Hpsv2Config(weights=config.weights, tokenizer=str(tmp_path / "other")))


def test_long_prompts_are_cut_and_not_refused(model: Hpsv2) -> None:
    words = "ball " * 60
    ids = model._ids(words)
    assert len(ids) == 77
    assert (ids[0], ids[-1]) == (512, 513)
    assert torch.equal(model(small.frames(SIZE)[:1], [words]), model(small.frames(SIZE)[:1], [words + "and more"]))


def test_a_prompt_cannot_end_itself(model: Hpsv2) -> None:
    assert model._ids("a <|endoftext|> b").count(513) == 1


def test_prompts_are_cleaned_as_open_clip_does() -> None:
    assert cleaned("  A CafÃ© &amp;amp; a\n\tball ") == "a café & a ball"
    # ftfy leaves entities alone beside a "<"
    assert cleaned("a <b> &amp;amp; c") == "a <b> & c"


@pytest.mark.parametrize(
    ("size", "inside"), [((480, 832), (slice(47, 176), slice(0, 224))), ((61, 45), (slice(0, 224), slice(29, 194)))]
)
def test_frames_keep_their_aspect(size: tuple[int, int], inside: tuple[slice, slice]) -> None:
    """Defect B: the official reward stretches 832 x 480 to a square."""
    boxed = letterbox(torch.ones(1, 3, *size), 224)
    black = torch.ones(224, 224, dtype=torch.bool)
    black[inside] = False
    assert boxed.shape == (1, 3, 224, 224)
    assert not bool(boxed[..., black].any())
    torch.testing.assert_close(boxed[..., ~black], torch.ones_like(boxed[..., ~black]))


def test_random_weights_need_no_files() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    model = load_hpsv2(Hpsv2Config(weights="random", dtype="float32"))
    assert torch.equal(torch.random.get_rng_state(), state)
    answer = scores(model)
    assert bool(answer.isfinite().all())
    assert torch.equal(scores(load_hpsv2(Hpsv2Config(weights="random", dtype="float32"))), answer)
    assert not torch.equal(scores(load_hpsv2(Hpsv2Config(weights="random", dtype="float32", seed=1))), answer)


def test_full_size_has_the_profiles_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with torch.device("meta"):
        count = sum(p.numel() for p in CLIPModel(CLIPConfig(**hpsv2.CLIP_VIT_H_14)).parameters())
    profile = next(m for models in PROFILES.values() for m in models if m.name == "HPSv2.1")
    assert count == profile.parameters == 986_109_441


def test_a_batch_is_at_least_one() -> None:
    with pytest.raises(ConfigError, match="at least one frame"):
        Hpsv2Config(batch=0)


def test_it_may_be_moved(model: Hpsv2) -> None:
    assert model.device.type == "cpu"
    model.network.to_empty(device="meta")
    assert model.device.type == "meta"
