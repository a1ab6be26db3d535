"""3DGS optimisation, on a handful of Gaussians drawn by the differentiable definition of splatting."""

from dataclasses import replace

import pytest
import torch

from worldr1.errors import ConfigError, InputError
from worldr1.evaluate.metrics.clip import JudgedClip
from worldr1.evaluate.metrics.splat_fit import FitConfig, GaussianParameters, fit_metrics, fit_scene
from worldr1.rewards.reconstruction import ReconstructionConfig
from worldr1.scene.gaussians import LiftConfig, gaussians_from_depth
from worldr1.scene.splat import SplatRenderer
from worldr1.scene.splat_reference import ReferenceRenderer
from worldr1.types import Reconstruction, intrinsics_px

HEIGHT, WIDTH, FRAMES = 12, 16, 4
LIFT = LiftConfig(stride_px=2)
FAST = FitConfig(steps=40, rate_color_logits=0.1, rate_log_scales=0.02)


def case() -> tuple[torch.Tensor, Reconstruction]:
    """A gradient on a wall, filmed by a camera that moves sideways; the even frames are right, the odd ones darker."""
    x = torch.linspace(0.2, 0.8, WIDTH).expand(HEIGHT, WIDTH)
    video = torch.stack([x * (1.0 if i % 2 == 0 else 0.6) for i in range(FRAMES)])[:, None].expand(-1, 3, -1, -1)
    poses = torch.eye(4).repeat(FRAMES, 1, 1)
    poses[:, 0, 3] = torch.arange(FRAMES) * 0.02
    found = Reconstruction(
        world_from_camera=poses,
        depth=torch.ones(FRAMES, HEIGHT, WIDTH),
        intrinsics_px=intrinsics_px(HEIGHT, WIDTH).expand(FRAMES, 3, 3),
        confidence=torch.ones(FRAMES, HEIGHT, WIDTH),
    )
    return video.contiguous(), found


def test_fitting_explains_the_training_frames_better() -> None:
    video, found = case()
    video = video[::2].repeat_interleave(2, 0)  # nothing is wrong with it
    redrawing = ReconstructionConfig(holdout=False, lift=LIFT)
    few = fit_scene(
        video, found, ReferenceRenderer(), holdout=False, config=replace(FAST, steps=1), redrawing=redrawing
    )[1]
    many = fit_scene(video, found, ReferenceRenderer(), holdout=False, config=FAST, redrawing=redrawing)[1]
    assert many.psnr_db > few.psnr_db + 3


def test_held_out_frames_are_not_trained_on() -> None:
    """Odd frames are darker: what was fitted to the even ones stays wrong by their difference."""
    video, found = case()
    redrawing = ReconstructionConfig(holdout=True, lift=LIFT)
    drawn = fit_scene(video, found, ReferenceRenderer(), holdout=True, config=FAST, redrawing=redrawing)[1]
    expected = (0.4 * video[0]).square().mean()
    assert drawn.psnr_db == pytest.approx(float(-10 * expected.log10()), abs=1.0)


def test_every_part_of_the_gaussians_moves_and_stays_drawable() -> None:
    video, found = case()
    redrawing = ReconstructionConfig(holdout=True, lift=LIFT)
    before = gaussians_from_depth(video, found, [0, 2], config=LIFT)
    after, _ = fit_scene(video, found, ReferenceRenderer(), holdout=True, config=FAST, redrawing=redrawing)
    for name in ("means", "scales", "quats", "opacities", "colors"):
        assert not torch.equal(getattr(before, name), getattr(after, name)), name
        assert not getattr(after, name).requires_grad
    assert (after.scales > 0).all() and (after.opacities < 1).all()


def test_the_parameters_are_the_gaussians() -> None:
    video, found = case()
    start = gaussians_from_depth(video, found, [0], config=LIFT)
    scene = GaussianParameters(start).scene()
    for name in ("means", "scales", "quats", "opacities", "colors"):
        assert torch.allclose(getattr(scene, name), getattr(start, name), atol=1e-5), name


def test_the_names_say_the_protocol_and_one_seed_gives_one_result() -> None:
    video, found = case()
    clip = JudgedClip(video=video, fps=8, reconstruction=found)
    config = FitConfig(steps=1)
    first, again = (fit_metrics([clip], ReferenceRenderer(), None, holdout=True, config=config) for _ in range(2))
    assert set(first[0]) == {"psnr_fit_holdout_db", "ssim_fit_holdout"} and first == again
    assert set(fit_metrics([clip], ReferenceRenderer(), None, holdout=False, config=config)[0]) == {
        "psnr_fit_all_db",
        "ssim_fit_all",
    }


def test_a_renderer_without_gradients_is_refused() -> None:
    video, found = case()
    with pytest.raises(InputError, match="use gsplat"):
        fit_scene(video, found, SplatRenderer(), holdout=True)


def test_nothing_to_fit_is_refused() -> None:
    video, found = case()
    with pytest.raises(InputError, match="no Gaussians"):
        fit_scene(
            video, replace(found, confidence=torch.full_like(found.confidence, 0.1)), ReferenceRenderer(), holdout=True
        )


def test_no_steps_are_refused() -> None:
    with pytest.raises(ConfigError):
        FitConfig(steps=0)
