"""3DGS optimisation, on a handful of Gaussians drawn by the differentiable definition of splatting."""

from dataclasses import replace

import pytest
import torch

from worldr1.errors import ConfigError, InputError
from worldr1.evaluate.metrics import splat_fit
from worldr1.evaluate.metrics.clip import JudgedClip
from worldr1.evaluate.metrics.splat_fit import FitConfig, GaussianParameters, fit_metrics, fit_scenes
from worldr1.protocols import Renderer
from worldr1.rewards.reconstruction import ReconstructionConfig, Redrawn
from worldr1.scene.gaussians import LiftConfig, gaussians_from_depth
from worldr1.scene.splat import SplatRenderer
from worldr1.scene.splat_reference import ReferenceRenderer
from worldr1.types import Gaussians, Reconstruction, intrinsics_px

HEIGHT, WIDTH, FRAMES = 12, 16, 4
REFERENCE = ReferenceRenderer()
PARTS = ("means", "scales", "quats", "opacities", "colors")
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


def fitted(
    video: torch.Tensor,
    found: Reconstruction,
    *,
    holdout: bool,
    renderer: Renderer = REFERENCE,
    config: FitConfig = FAST,
) -> tuple[Gaussians, Redrawn]:
    """Of one video."""
    redrawing = ReconstructionConfig(holdout=holdout, lift=LIFT)
    return fit_scenes([video], [found], renderer, config=config, redrawing=redrawing)[0]


def test_fitting_explains_the_training_frames_better() -> None:
    video, found = case()
    video = video[::2].repeat_interleave(2, 0)  # nothing is wrong with it
    few = fitted(video, found, holdout=False, config=replace(FAST, steps=1))[1]
    many = fitted(video, found, holdout=False)[1]
    assert many.psnr_db > few.psnr_db + 3


def test_held_out_frames_are_not_trained_on() -> None:
    """Odd frames are darker: what was fitted to the even ones stays wrong by their difference."""
    video, found = case()
    expected = (0.4 * video[0]).square().mean()
    assert fitted(video, found, holdout=True)[1].psnr_db == pytest.approx(float(-10 * expected.log10()), abs=1.0)


def test_every_part_of_the_gaussians_moves_and_stays_drawable() -> None:
    video, found = case()
    before = gaussians_from_depth(video, found, [0, 2], config=LIFT)
    after, _ = fitted(video, found, holdout=True)
    for name in PARTS:
        assert not torch.equal(getattr(before, name), getattr(after, name)), name
        assert not getattr(after, name).requires_grad
    assert (after.scales > 0).all() and (after.opacities < 1).all()


def test_the_parameters_are_the_gaussians() -> None:
    video, found = case()
    starts = [gaussians_from_depth(video, found, frames, config=LIFT) for frames in ([0], [1, 2])]
    for start, scene in zip(starts, GaussianParameters(starts, [1.0, 3.0]).scenes(), strict=True):
        for name in PARTS:
            assert torch.allclose(getattr(scene, name), getattr(start, name), atol=1e-5), name


def scaled(found: Reconstruction, factor: float) -> Reconstruction:
    """The same in another unit of length."""
    poses = found.world_from_camera.clone()
    poses[:, :3, 3] *= factor
    return replace(found, depth=found.depth * factor, world_from_camera=poses)


def test_the_unit_of_length_does_not_matter() -> None:
    video, found = case()
    config = replace(FAST, rate_means=0.02)
    small, large = (fitted(video, scaled(found, factor), holdout=False, config=config) for factor in (1.0, 40.0))
    assert torch.allclose(40 * small[0].means, large[0].means, rtol=1e-3, atol=0.05)
    assert small[1].psnr_db == pytest.approx(large[1].psnr_db, abs=0.05)


def others() -> tuple[list[torch.Tensor], list[Reconstruction]]:
    """Three clips: of another picture, and of another geometry, depth unit and number of Gaussians."""
    video, found = case()
    trusted = found.confidence.clone()
    trusted[:, :4] = 0.1
    deeper = replace(scaled(found, 2.5), confidence=trusted)
    return [video, video.flip(-1), 0.5 * video], [found, found, deeper]


def test_scenes_side_by_side_become_what_they_become_alone() -> None:
    videos, lifted = others()
    config, redrawing = replace(FAST, steps=12, rate_means=0.01), ReconstructionConfig(holdout=True, lift=LIFT)
    together = fit_scenes(videos, lifted, REFERENCE, config=config, redrawing=redrawing)
    assert len(together[0][0].means) > len(together[2][0].means)
    for (scene, redrawn), one, its in zip(together, videos, lifted, strict=True):
        alone, drawn = fitted(one, its, holdout=True, config=config)
        for name in PARTS:
            assert torch.allclose(getattr(scene, name), getattr(alone, name), atol=2e-4), name
        assert redrawn.psnr_db == pytest.approx(drawn.psnr_db, abs=0.01)


def test_what_is_too_much_at_once_is_optimised_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [JudgedClip(video=video, fps=8, reconstruction=found) for video, found in zip(*others(), strict=True)]
    config, measured = replace(FAST, steps=3), []
    for pixels in (1, 2 * HEIGHT * WIDTH * FRAMES, 10**9):
        monkeypatch.setattr(splat_fit, "MAX_PIXELS", pixels)
        measured.append(fit_metrics(clips, REFERENCE, None, holdout=True, config=config))
    expected = [pytest.approx(values, abs=1e-3) for values in measured.pop()]
    assert measured == [expected, expected]
    assert len({values["psnr_fit_holdout_db"] for values in measured[0]}) == 3


def test_all_frames_are_better_explained_than_those_held_out() -> None:
    video, found = case()
    clip = JudgedClip(video=video, fps=8, reconstruction=found)
    held_out, every = (fit_metrics([clip], REFERENCE, None, holdout=h, config=FAST)[0] for h in (True, False))
    assert every["psnr_fit_all_db"] > held_out["psnr_fit_holdout_db"] + 2


def test_the_names_say_the_protocol_and_one_seed_gives_one_result() -> None:
    video, found = case()
    clip = JudgedClip(video=video, fps=8, reconstruction=found)
    config = FitConfig(steps=1)
    first, again = (fit_metrics([clip], REFERENCE, None, holdout=True, config=config) for _ in range(2))
    assert set(first[0]) == {"psnr_fit_holdout_db", "ssim_fit_holdout"} and first == again
    assert set(fit_metrics([clip], REFERENCE, None, holdout=False, config=config)[0]) == {
        "psnr_fit_all_db",
        "ssim_fit_all",
    }


def test_a_renderer_without_gradients_is_refused() -> None:
    video, found = case()
    with pytest.raises(InputError, match="use gsplat"):
        fitted(video, found, holdout=True, renderer=SplatRenderer())


def test_nothing_to_fit_is_refused() -> None:
    video, found = case()
    with pytest.raises(InputError, match="no Gaussians"):
        fitted(video, replace(found, confidence=torch.full_like(found.confidence, 0.1)), holdout=True)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ConfigError):
        FitConfig(steps=0)
