"""Damage x part of the reward: which part must fall, and which must not (issue 2, DESIGN section 5).

Rendered clips stand in for generated ones. The billboard world is one: a flat picture filmed from a moving camera. Its
geometry is given to the reward as it is, because a 3D model that never saw a flat world would be fooled by it, and
the question here is what critic and re-rendering make of such a world once it is known.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from worldr1.backends.mini import load_heads, load_reconstructor, mini_base
from worldr1.backends.wan import WanPolicy
from worldr1.camera.trajectory import synthesize
from worldr1.geometry.pinhole import pixel_centres
from worldr1.mini.promptset import PLANS, canonical_prompts
from worldr1.mini.render import Clips, render
from worldr1.mini.scenes import NUM_SOLIDS, Defects, Scenes, sample_scenes
from worldr1.pretrain.corpus import warp
from worldr1.pretrain.damage import blur
from worldr1.pretrain.vae import through_vae
from worldr1.protocols import Reconstructor
from worldr1.rewards.composite import R_GEN, S_META, S_RECON, S_TRAJ, CompositeReward, RewardConfig, RewardWeights
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Prompt, Reconstruction, intrinsics_px

REQUESTED = ("move_left", "orbit_right", "pull_left")
DISOBEDIENT = ("move_right", "push_in", "push_in")
NUM = len(REQUESTED)
HEIGHT, WIDTH, FRAMES = 64, 96, 17
K = intrinsics_px(HEIGHT, WIDTH).float()


class KnownGeometry:
    """A reconstructor that was told the answer."""

    licence = "none"

    def __init__(self, answers: list[Reconstruction]) -> None:
        self.answers = answers

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        assert len(videos) == len(self.answers)
        return self.answers


def _scenes() -> Scenes:
    scenes = sample_scenes(NUM, generator=torch.Generator().manual_seed(99))
    return replace(scenes, present=torch.ones_like(scenes.present))


def _prompts(scenes: Scenes) -> list[Prompt]:
    texts = canonical_prompts(scenes, [PLANS.index((move,)) for move in REQUESTED])
    return [Prompt(id=index, text=text) for index, text in enumerate(texts)]


def _render(scenes: Scenes, moves: tuple[str, ...] = REQUESTED, num_frames: int = FRAMES) -> Clips:
    """The first frames of clips of the scenes."""
    paths = torch.stack([synthesize((move,), FRAMES).world_from_camera[:num_frames] for move in moves]).float()
    return render(scenes, paths, height=HEIGHT, width=WIDTH)


def _score(videos: Tensor, *parts: str, reconstructor: Reconstructor | None = None) -> dict[str, float]:
    """Mean of the wanted parts over the clips, against what `REQUESTED` and the undamaged scenes' prompts ask for."""
    names = {"meta": S_META, "recon": S_RECON, "traj": S_TRAJ, "gen": R_GEN}
    weights = RewardWeights(**{key: float(part in parts) for key, part in names.items()})
    critic, quality, distance = load_heads()
    reward = CompositeReward(
        reconstructor or load_reconstructor(),
        SplatRenderer(),
        critic,
        quality,
        distance,
        RewardConfig(weights=weights),
    )
    requests = [synthesize((move,), FRAMES) if set(parts) != {R_GEN} else None for move in REQUESTED]
    results = reward(videos, _prompts(_scenes()), requests, False)
    return {part: sum(result.parts[part] for result in results) / len(results) for part in parts}


@pytest.fixture(scope="module")
def clean() -> Clips:
    return _render(_scenes())


@pytest.fixture(scope="module")
def clean_parts(clean: Clips) -> dict[str, float]:
    return _score(clean.video, S_META, S_RECON, S_TRAJ, R_GEN)


def test_a_wrong_camera_lowers_s_traj_and_not_s_recon(clean_parts: dict[str, float]) -> None:
    wrong = _score(_render(_scenes(), DISOBEDIENT).video, S_RECON, S_TRAJ)
    measured = f"right camera {clean_parts}, wrong camera {wrong}"
    print(measured)
    assert wrong[S_TRAJ] < 0.5 * clean_parts[S_TRAJ], measured
    assert abs(wrong[S_RECON] - clean_parts[S_RECON]) < 0.06, measured


def test_swimming_textures_lower_s_recon(clean_parts: dict[str, float]) -> None:
    velocity = torch.randn(NUM, 2 + NUM_SOLIDS, 3, generator=torch.Generator().manual_seed(0))
    velocity = 0.4 * velocity / velocity.norm(dim=-1, keepdim=True)
    velocity[:, 2:] *= 2.5
    scenes = _scenes().with_defects(replace(Defects.none(NUM), texture_velocity=velocity))
    swims = _score(_render(scenes).video, S_RECON)
    measured = f"still textures {clean_parts}, swimming {swims}"
    print(measured)
    assert swims[S_RECON] < clean_parts[S_RECON] - 0.03, measured


@pytest.mark.parametrize("damage", ["blur", "missing"])
def test_blur_and_a_missing_object_lower_r_gen(clean: Clips, clean_parts: dict[str, float], damage: str) -> None:
    if damage == "blur":
        video = blur(clean.video[:, :4], torch.full((NUM,), 2.0))
    else:
        video = _render(_scenes().without(0), num_frames=4).video
    spoiled = _score(video, R_GEN)
    measured = f"clean {clean_parts[R_GEN]:.3f}, {damage} {spoiled[R_GEN]:.3f}"
    print(measured)
    assert spoiled[R_GEN] < clean_parts[R_GEN] - 0.03, measured


def _known(depth: Tensor, poses: Tensor, confidence: Tensor) -> KnownGeometry:
    k = K.expand(FRAMES, 3, 3)
    rows = zip(depth, poses, confidence, strict=True)
    return KnownGeometry(
        [Reconstruction(world_from_camera=p, depth=d, intrinsics_px=k, confidence=c) for d, p, c in rows]
    )


def _filmed_posters(scenes: Scenes, poses: Tensor) -> tuple[Tensor, Tensor]:
    """Videos and depths of flat pictures of the scenes, one depth unit ahead of the first camera."""
    focal_per_width, scale = 0.6, 3
    poster = render(
        scenes,
        torch.eye(4).expand(scenes.num, 1, 4, 4),
        height=scale * HEIGHT,
        width=scale * WIDTH,
        supersample=1,
        focal_per_width=focal_per_width,
    ).video[:, 0]
    rays = (pixel_centres(HEIGHT, WIDTH, dtype=torch.float32) - K[:2, 2]) / K[0, 0]
    rays = torch.cat([rays, torch.ones(HEIGHT, WIDTH, 1)], -1)
    directions = torch.einsum("btij,hwj->bthwi", poses[..., :3, :3], rays)
    origin = poses[:, :, None, None, :3, 3]
    depth = (1 - origin[..., 2]) / directions[..., 2]
    points = origin + directions * depth[..., None]
    grid = points[..., :2] * 2 * focal_per_width * torch.tensor([1.0, WIDTH / HEIGHT])
    frames = [
        F.grid_sample(poster, grid[:, t], mode="bilinear", padding_mode="border", align_corners=False)
        for t in range(FRAMES)
    ]
    return torch.stack(frames, 1), depth


def test_a_billboard_world_lowers_s_meta_and_not_s_recon(clean: Clips) -> None:
    poses = clean.world_from_camera
    solid = _score(clean.video, S_META, S_RECON, reconstructor=_known(clean.depth, poses, (~clean.sky).float()))
    video, depth = _filmed_posters(_scenes(), poses)
    flat = _score(video, S_META, S_RECON, reconstructor=_known(depth, poses, torch.ones_like(depth)))
    measured = f"solid world {solid}, billboard world {flat}"
    print(measured)
    assert flat[S_META] < solid[S_META] - 0.1, measured
    assert flat[S_RECON] > solid[S_RECON] - 0.05, measured


def test_undamaged_clips_score_at_least_seven_of_nine(clean: Clips) -> None:
    vae = WanPolicy.from_folder(mini_base()).vae
    parts = _score(through_vae(vae, clean.video), S_META)
    assert parts[S_META] >= 0.7, f"S_meta of real clips after the VAE: {parts[S_META]:.3f}"


def test_distance_is_zero_for_equal_frames_and_grows_with_damage(clean: Clips) -> None:
    frames = clean.video[:, ::8].flatten(0, 1)
    distance = load_heads()[2]
    assert (distance(frames, frames) == 0).all()
    blurred = [float(distance(frames, blur(frames, torch.full((len(frames),), s))).mean()) for s in (0.5, 1.0, 2.0)]
    still = torch.stack([frames, frames], 1)
    warped = []
    for amplitude_px in (0.5, 1.0, 2.0, 4.0):
        bent = warp(still, torch.full((len(frames),), amplitude_px), torch.Generator().manual_seed(0))[:, 1]
        warped.append(float(distance(frames, bent).mean()))
    other = float(distance(frames, frames.roll(3, 0)).mean())
    measured = f"blur {blurred}, warp {warped}, other scene {other:.3f}"
    print(measured)
    assert blurred == sorted(blurred), measured
    assert warped == sorted(warped), measured
    assert 0.02 < blurred[-1] < other, measured
    assert warped[-1] < other, measured
    assert other > 0.6, measured
