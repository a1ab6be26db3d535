"""S_recon, R_gen and the guard, each against numbers worked out by hand."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch

from worldr1.errors import ConfigError, InputError
from worldr1.rewards.guard import Fault, call_each
from worldr1.rewards.quality import QualityConfig, quality_reward
from worldr1.rewards.reconstruction import (
    ReconstructionConfig,
    at_size,
    compare_redrawn,
    reconstruction_score,
    redraw_jobs,
    split_frames,
)
from worldr1.rewards.rendering import render_jobs
from worldr1.scene.splat import SplatRenderer
from worldr1.types import RenderedViews


def views(colors: torch.Tensor, alphas: torch.Tensor) -> RenderedViews:
    return RenderedViews(colors=colors, alphas=alphas, depths=alphas)


def test_held_out_frames_are_never_seen() -> None:
    assert split_frames(5, holdout=True) == ([0, 2, 4], [1, 3])
    assert split_frames(3, holdout=False) == ([0, 1, 2], [0, 1, 2])
    with pytest.raises(InputError, match="at least 2"):
        split_frames(1, holdout=True)


def test_the_scene_of_a_held_out_redraw_holds_even_frames_only(path: Callable, clip: Callable) -> None:
    video = clip(path("push_in"))
    painted = video.video.clone()
    painted[1::2] = 0.0
    job = redraw_jobs([painted], [video.truth], config=ReconstructionConfig())[0]
    assert float(job.gaussians.colors.min()) >= 0.04
    assert torch.equal(job.world_from_camera, video.truth.world_from_camera[1::2])


def test_uncovered_pixels_are_unknown_not_wrong() -> None:
    video = torch.full((2, 3, 4, 4), 0.8)
    alphas = torch.ones(1, 4, 4)
    alphas[:, :, 2:] = 0.1
    colors = torch.full((1, 3, 4, 4), 0.6) * alphas[:, None]
    redrawn = compare_redrawn(video, views(colors, alphas), config=ReconstructionConfig())
    assert redrawn.coverage == 0.5
    assert redrawn.psnr_db == pytest.approx(-10 * math.log10(0.04), abs=1e-4)
    assert torch.equal(redrawn.drawn[..., 2:], video[1:, ..., 2:])
    assert redrawn.drawn[..., :2].mean() == pytest.approx(0.6, abs=1e-6)


def test_the_background_is_divided_out_of_half_covered_pixels() -> None:
    video = torch.full((2, 3, 2, 2), 0.5)
    redrawn = compare_redrawn(
        video, views(torch.full((1, 3, 2, 2), 0.5 * 0.7), torch.full((1, 2, 2), 0.7)), config=ReconstructionConfig()
    )
    assert torch.allclose(redrawn.drawn, redrawn.target, atol=1e-6)


def test_nothing_covered_has_no_psnr() -> None:
    redrawn = compare_redrawn(
        torch.rand(2, 3, 2, 2), views(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2)), config=ReconstructionConfig()
    )
    assert redrawn.coverage == 0.0
    assert math.isnan(redrawn.psnr_db)


def test_a_true_reconstruction_redraws_its_video(path: Callable, clip: Callable) -> None:
    video = clip(path("orbit_left"))
    job = redraw_jobs([video.video], [video.truth], config=ReconstructionConfig())[0]
    drawn = render_jobs(SplatRenderer(), [job], height=24, width=36, background=torch.zeros(3))[0]
    redrawn = compare_redrawn(video.video, drawn, config=ReconstructionConfig())
    assert redrawn.coverage > 0.9
    assert redrawn.psnr_db > 20.0


def test_score_is_clamped_to_its_range() -> None:
    assert reconstruction_score(0.3) == pytest.approx(0.7, abs=1e-7)
    assert reconstruction_score(1.4) == 0.0
    assert reconstruction_score(-0.1) == 1.0


def test_the_video_is_compared_at_the_reconstructor_s_size(path: Callable, clip: Callable) -> None:
    video = clip(path("fixed"))
    larger = video.video.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    assert at_size(larger, video.truth).shape == video.video.shape
    assert float((at_size(larger, video.truth) - video.video).abs().mean()) < 0.02
    assert at_size(video.video, video.truth) is video.video


def test_scenes_are_drawn_alone_or_together_with_the_same_result(path: Callable, clip: Callable) -> None:
    class Batching(SplatRenderer):
        calls = 0

        def render_scenes(self, scenes, world_from_camera, intrinsics_px, **size):
            self.calls += 1
            return [self(s, w, k, **size) for s, w, k in zip(scenes, world_from_camera, intrinsics_px, strict=True)]

    clips = [clip(path(token)) for token in ("push_in", "pan_left")]
    jobs = [redraw_jobs([c.video], [c.truth], config=ReconstructionConfig())[0] for c in clips]
    size = {"height": 24, "width": 36, "background": torch.zeros(3)}
    renderer = Batching()
    together, alone = render_jobs(renderer, jobs, **size), render_jobs(SplatRenderer(), jobs, **size)
    assert renderer.calls == 1
    assert all(torch.equal(a.colors, b.colors) for a, b in zip(together, alone, strict=True))


def test_quality_is_centred_and_scaled_by_the_base_model() -> None:
    config = QualityConfig(base_mean=3.0, base_std=0.5)
    assert quality_reward(3.0, config) == 0.0
    assert quality_reward(4.0, config) == pytest.approx(math.tanh(1.0))
    assert quality_reward(-1e6, config) == -1.0
    with pytest.raises(ConfigError):
        QualityConfig(base_std=0.0)
    with pytest.raises(ConfigError):
        QualityConfig(num_frames=0)


def test_one_bad_item_costs_one_item() -> None:
    calls: list[int] = []

    def halve(items: Sequence[int]) -> list[float]:
        calls.append(len(items))
        return [1 / item for item in items]

    results = call_each(halve, [2, 0, 4], "halving")
    assert results == [0.5, Fault(reason="halving: ZeroDivisionError: division by zero"), 0.25]
    assert calls == [3, 1, 1, 1]
    assert call_each(halve, [], "halving") == []


def test_a_passing_failure_is_mended_by_the_retry() -> None:
    failures = iter([RuntimeError("out of memory")])

    def flaky(items: Sequence[int]) -> list[int]:
        for error in failures:
            raise error
        return list(items)

    assert call_each(flaky, [7], "call") == [7]


def test_a_bug_is_not_a_fault_and_a_short_answer_is() -> None:
    def buggy(items: Sequence[int]) -> list[int]:
        raise TypeError("a bug")

    with pytest.raises(TypeError):
        call_each(buggy, [1], "call")
    (result,) = call_each(lambda items: [], [1], "call")
    assert isinstance(result, Fault)
    assert "0 results" in result.reason
