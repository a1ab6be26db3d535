"""The small networks' structure, with random weights: what holds before any training."""

import pytest
import torch
from torch import Tensor

from worldr1.geometry.se3 import geodesic_rad
from worldr1.mini.networks.base import train_tokenizer
from worldr1.mini.networks.reconstructor import (
    Matching,
    MiniReconstructor,
    Reconstruct,
    ReconstructorConfig,
    _poses,
)
from worldr1.mini.networks.trunk import Trunk, TrunkConfig, TrunkCritic, TrunkDistance, TrunkQuality, prompt_ids
from worldr1.types import Status, intrinsics_px

HEIGHT, WIDTH, FRAMES = 16, 24, 5


def _video(num: int, seed: int = 0) -> Tensor:
    return torch.rand(num, FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def reconstructor() -> MiniReconstructor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = ReconstructorConfig(
            height=HEIGHT, width=WIDTH, max_frames=FRAMES, dim=24, depth=2, heads=2, stem=(8, 12)
        )
        return MiniReconstructor(config).eval()


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = TrunkConfig(max_text_length=16, height=HEIGHT, width=WIDTH, channels=(8, 8, 16), layers=2, heads=2)
        return Trunk(config).eval()


def test_poses_are_rigid_and_start_at_the_identity() -> None:
    raw = torch.randn(50, 7, 9, generator=torch.Generator().manual_seed(0)) * 2
    poses = _poses(raw)
    rotation = poses[..., :3, :3]
    identity = torch.eye(3).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.mT, identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(poses[:, 0], torch.eye(4).expand(50, 4, 4))
    assert (poses[..., 3, :] == torch.tensor([0.0, 0, 0, 1])).all()
    torch.testing.assert_close(poses[..., :3, 3], raw[..., 6:] - raw[:, :1, 6:])
    assert geodesic_rad(rotation[:, 1:], rotation[:, :1]).mean() > 0.5  # far from the trivial answer


@torch.no_grad()
def test_matching_finds_a_shifted_feature_map() -> None:
    """Frame t shows frame 0 moved by t * (2, 1) cells, so what is at x now was at x - 2 t."""
    torch.manual_seed(0)
    channels, height, width, step = 64, 8, 12, (2, 1)
    matching = Matching(channels)
    matching.key.load_state_dict(matching.query.state_dict())
    matching.sharpness.fill_(100.0)
    first = torch.randn(channels, height, width)
    frames = torch.stack([first.roll((t * step[1], t * step[0]), (1, 2)) for t in range(3)])[None]
    found = matching(frames)[0]
    for t in range(3):
        inside = (slice(t * step[1], None), slice(t * step[0], None))
        for reference, shift in ((0, t), (3, min(t, 1))):
            dx, dy, best = (found[t, reference + k][inside] for k in range(3))
            torch.testing.assert_close(dx, torch.full_like(dx, -float(shift * step[0])), atol=0.02, rtol=0)
            torch.testing.assert_close(dy, torch.full_like(dy, -float(shift * step[1])), atol=0.02, rtol=0)
            assert best.min() > 0.99


@torch.no_grad()
def test_a_video_is_lifted_the_same_alone_and_in_a_batch(reconstructor: MiniReconstructor) -> None:
    videos = _video(3)
    together = Reconstruct(reconstructor, batch=2)(videos)
    assert len(together) == 3
    for index, lifted in enumerate(together):
        alone = Reconstruct(reconstructor)(videos[index : index + 1])[0]
        torch.testing.assert_close(lifted.depth, alone.depth, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(lifted.world_from_camera, alone.world_from_camera, atol=1e-5, rtol=0)
        torch.testing.assert_close(lifted.world_from_camera[0], torch.eye(4))
        torch.testing.assert_close(lifted.intrinsics_px, intrinsics_px(HEIGHT, WIDTH).float().expand(FRAMES, 3, 3))
        assert lifted.depth.min() > 0
        assert 0 <= lifted.confidence.min() <= lifted.confidence.max() <= 1
    assert not torch.allclose(together[0].depth, together[1].depth)


@torch.no_grad()
def test_sky_has_no_confidence_and_errors_lower_it(reconstructor: MiniReconstructor) -> None:
    geometry = reconstructor(_video(1))
    lifted = Reconstruct(reconstructor)(_video(1))[0]
    sky = geometry.sky_logit[0] >= 0
    assert 0 < sky.double().mean() < 1
    assert (lifted.confidence[sky] == 0).all()
    ground = ~sky
    torch.testing.assert_close(lifted.confidence[ground], 1 / (1 + geometry.log_error[0][ground].exp() / 0.05))


def test_a_blank_video_is_rejected(reconstructor: MiniReconstructor) -> None:
    videos = torch.cat([_video(1), torch.full((1, FRAMES, 3, HEIGHT, WIDTH), 0.4)])
    textured, blank = Reconstruct(reconstructor)(videos)
    assert (textured.status, textured.reason) == (Status.OK, "")
    assert blank.status is Status.REJECTED
    assert "texture" in blank.reason


def test_the_heads_answer_as_their_protocols_say(trunk: Trunk) -> None:
    prompts = ["a red ball", "a blue box under an orange sky", ""]
    tokenizer = train_tokenizer(prompts)
    images = _video(3)[:, 0]
    digits = TrunkCritic(trunk, tokenizer)(images, prompts)
    assert digits.shape == (3, 10)
    torch.testing.assert_close(digits.sum(1), torch.ones(3))
    quality = TrunkQuality(trunk, tokenizer)(images, prompts)
    again = TrunkQuality(trunk, tokenizer)(images.flip(0), prompts[::-1]).flip(0)
    torch.testing.assert_close(quality, again, atol=1e-5, rtol=0)
    swapped = TrunkQuality(trunk, tokenizer)(images, [prompts[1], prompts[0], prompts[2]])
    assert (swapped - quality).abs()[:2].min() > 1e-5, "the prompt is read"


def test_distance_is_zero_symmetric_and_below_one(trunk: Trunk) -> None:
    distance, a, b = TrunkDistance(trunk), _video(4)[:, 0], _video(4, seed=1)[:, 0]
    assert (distance(a, a) == 0).all()
    torch.testing.assert_close(distance(a, b), distance(b, a))
    slight, strong = (distance(a, a + level * (b - a)) for level in (0.2, 1.0))
    assert (slight > 0).all()
    assert (slight < strong).all()
    assert (strong < 1).all()


def test_prompts_are_padded_with_zero_and_cut() -> None:
    tokenizer = train_tokenizer(["a red ball on a floor", "a box"])
    ids = prompt_ids(tokenizer, ["a box", "", "a red ball " * 20], 8)
    assert ids.shape == (3, 8)
    end = tokenizer.eos_token_id
    assert ids[1].tolist() == [end] + [0] * 7
    length = int((ids[0] != 0).sum())
    assert ids[0, length - 1] == end
    assert (ids[0, length:] == 0).all()
    assert (ids[2] != 0).all()
    assert tokenizer.decode(ids[0, : length - 1]).strip() == "a box"
