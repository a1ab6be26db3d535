"""The training clips: what each says about itself is true (docs/conventions.md section 5)."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from worldr1.camera.motion import parse_plan
from worldr1.mini.promptset import PLANS
from worldr1.pretrain import corpus as module
from worldr1.pretrain.corpus import (
    DYNAMIC_SHARE,
    IMPERFECTION_SHARES,
    NO_CAMERA_SHARE,
    NUM_FRAMES,
    TENSORS,
    Corpus,
    Imperfection,
    build_corpus,
    plan_paths,
    warp,
)

NUM = 240


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Very small pictures: most of what is tested here is not in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HEIGHT", 4)
        patch.setattr(module, "WIDTH", 6)
        return build_corpus(NUM, seed=1, device="cpu")


def _build(num: int, seed: int, monkeypatch: pytest.MonkeyPatch, **options: bool) -> Corpus:
    monkeypatch.setattr(module, "HEIGHT", 8)
    monkeypatch.setattr(module, "WIDTH", 12)
    return build_corpus(num, seed=seed, device="cpu", **options)


def _near(share: float, expected: float, num: int = NUM) -> bool:
    """Within three standard deviations of a binomial share."""
    return abs(share - expected) < 3 * (expected * (1 - expected) / num) ** 0.5


def test_shares_are_those_of_the_conventions(corpus: Corpus) -> None:
    for kind in Imperfection:
        share = float((corpus.imperfection == kind).double().mean())
        assert _near(share, IMPERFECTION_SHARES[kind]), f"{kind.name}: {share:.3f}"
    assert IMPERFECTION_SHARES == (0.5, 0.125, 0.125, 0.125, 0.125)
    dynamic = sum(" The " in prompt for prompt in corpus.prompts) / NUM
    assert _near(dynamic, DYNAMIC_SHARE)
    obeying = corpus.imperfection != Imperfection.DISOBEY
    assert _near(float((corpus.plan < 0)[obeying].double().mean()), NO_CAMERA_SHARE)
    assert not (corpus.plan < 0)[~obeying].any(), "a camera that disobeys was told something"


def test_prompts_ask_for_the_recorded_plan(corpus: Corpus) -> None:
    for prompt, plan in zip(corpus.prompts, corpus.plan.tolist(), strict=True):
        assert parse_plan(prompt).tokens == (PLANS[plan] if plan >= 0 else ())


def test_cameras_obey_unless_the_clip_says_otherwise(corpus: Corpus) -> None:
    told = corpus.plan >= 0
    asked = plan_paths()[corpus.plan.clamp(min=0)]
    apart = (corpus.world_from_camera - asked).abs().flatten(1).amax(1)
    disobeys = corpus.imperfection == Imperfection.DISOBEY
    assert (apart[told & ~disobeys] == 0).all()
    # `fixed` at a share of its speed is still fixed: the one request that cannot be disobeyed by slowness
    fixed = torch.tensor([plan == ("fixed",) for plan in PLANS])[corpus.plan.clamp(min=0)]
    assert (apart[disobeys & ~fixed] > 0.01).all()
    paths = {tuple(path.flatten().tolist()) for path in plan_paths()}
    is_other_move = torch.tensor([tuple(p.flatten().tolist()) in paths for p in corpus.world_from_camera])
    assert _near(float(is_other_move[disobeys & ~fixed].double().mean()), 0.5, int((disobeys & ~fixed).sum()))
    slow = disobeys & ~is_other_move & ~fixed
    reach, asked_reach = (p[slow, :, :3, 3].norm(dim=-1).amax(1) for p in (corpus.world_from_camera, asked))
    assert (reach <= asked_reach + 1e-6).all()


def test_the_first_frame_is_the_same_without_the_imperfection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defects and warps grow from frame 0 and never change the geometry that the 3D model learns from."""
    scenes_seen: list[Tensor] = []
    true_render = module.render

    def spy(scenes, paths, **options):
        clips = true_render(scenes.with_defects(module.Defects.none(scenes.num)), paths, **options)
        scenes_seen.append((clips.video * 255).round().to(torch.uint8))
        return true_render(scenes, paths, **options)

    monkeypatch.setattr(module, "render", spy)
    found = _build(48, 3, monkeypatch)
    clean = scenes_seen[0]
    difference = (found.video.int() - clean.int()).abs().flatten(2).amax(-1)
    assert (difference[:, 0] <= 1).all()
    changed = difference.amax(1) > 3
    spoiled = torch.isin(found.imperfection, torch.tensor([Imperfection.WARP, Imperfection.SWIM, Imperfection.DRIFT]))
    assert torch.equal(changed, spoiled)


def test_a_seed_gives_the_same_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again, other = (_build(6, seed, monkeypatch) for seed in (5, 5, 6))
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in TENSORS)
    assert first.prompts == again.prompts
    assert first.prompts != other.prompts
    assert not torch.equal(first.video, other.video)


def test_a_perfect_corpus_has_no_imperfection(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _build(12, 5, monkeypatch, imperfect=False)
    assert (found.imperfection == Imperfection.NONE).all()
    told = found.plan >= 0
    assert torch.equal(found.world_from_camera[told], plan_paths()[found.plan[told]])


def test_a_corpus_is_saved_and_cut(corpus: Corpus, tmp_path: Path) -> None:
    part = corpus.rows(slice(4, 9))
    part.save(tmp_path / "part")
    loaded = Corpus.load(tmp_path / "part", "cpu")
    assert loaded.prompts == corpus.prompts[4:9]
    for name in TENSORS:
        assert torch.equal(getattr(loaded, name), getattr(corpus, name)[4:9]), name
    assert loaded.video.dtype == torch.uint8
    assert loaded.video.shape == (5, NUM_FRAMES, 3, 4, 6)


def test_plan_paths_start_at_the_identity_and_differ() -> None:
    paths = plan_paths()
    assert paths.shape == (len(PLANS), NUM_FRAMES, 4, 4)
    assert torch.equal(paths[:, 0], torch.eye(4).expand(len(PLANS), 4, 4))
    distance = (paths[:, None] - paths).abs().flatten(2).amax(-1) + 1e9 * torch.eye(len(PLANS))
    assert distance.min() > 0.01


def test_warps_have_the_stated_amplitude_and_leave_the_first_frame() -> None:
    """The picture shows its own coordinates, so that the warped one shows where each pixel came from."""
    height, width, frames = 64, 96, 9
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    video = torch.stack([x, y, torch.zeros_like(x)]).expand(6, frames, 3, height, width).clone()
    amplitude = torch.tensor([0.5, 0.5, 1.0, 1.0, 3.0, 3.0])
    warped = warp(video, amplitude, torch.Generator().manual_seed(0))
    torch.testing.assert_close(warped[:, 0], video[:, 0], atol=1e-5, rtol=0)
    shift = (warped - video)[:, :, :2] * torch.tensor([width, height])[:, None, None]
    rms = shift.square().mean((1, 2, 3, 4)).sqrt()  # of one component, over the whole clip
    torch.testing.assert_close(rms, amplitude, rtol=0.1, atol=0)
    late = shift.square().mean((2, 3, 4)).sqrt()
    assert (late[:, 1:].amin(1) > 0.3 * amplitude).all()
    bend = shift.diff(dim=-1).abs().mean() / shift.abs().mean()
    assert bend < 0.2, "displacements are smooth"
    stretch = shift.std((-1, -2))[:, 1:].mean((1, 2)) / amplitude
    assert (stretch > 0.3).all(), "a warp is no shift of the whole picture"


def test_warping_nothing_is_no_error() -> None:
    empty = torch.zeros(0, 3, 3, 8, 8)
    assert warp(empty, torch.zeros(0), torch.Generator()).shape == empty.shape


def test_free_cameras_are_told_nothing_and_go_where_no_plan_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    free = build_corpus_of(60, monkeypatch, free_share=1.0)
    assert (free.plan == -1).all()
    assert not any(prompt.startswith("Camera") for prompt in free.prompts)
    distance = (free.world_from_camera[:, None] - plan_paths()[None]).abs().amax(dim=(2, 3, 4)).amin(dim=1)
    assert float((distance > 0.03).float().mean()) > 0.85
    half = build_corpus_of(NUM, monkeypatch, free_share=0.5)
    known = (half.world_from_camera[:, None] - plan_paths()[None]).abs().amax(dim=(2, 3, 4)).amin(dim=1) < 1e-6
    assert _near(float(known.double().mean()), 0.5)


def build_corpus_of(num: int, monkeypatch: pytest.MonkeyPatch, *, free_share: float) -> Corpus:
    monkeypatch.setattr(module, "HEIGHT", 4)
    monkeypatch.setattr(module, "WIDTH", 6)
    return build_corpus(num, seed=1, device="cpu", imperfect=False, free_share=free_share)
