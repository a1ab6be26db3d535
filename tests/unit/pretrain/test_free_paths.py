"""Random camera paths: rigid, within reach, continuous, and not the vocabulary's."""

import math

import torch

from worldr1.camera.trajectory import synthesize
from worldr1.geometry.se3 import geodesic_rad
from worldr1.mini.promptset import PLANS
from worldr1.pretrain import free_paths as module
from worldr1.pretrain.free_paths import free_paths

EYE = torch.eye(4)


def paths(num: int = 400, seed: int = 0) -> torch.Tensor:
    return free_paths(num, 17, torch.Generator().manual_seed(seed))


def test_paths_begin_at_the_identity_and_are_rigid() -> None:
    drawn = paths()
    assert torch.allclose(drawn[:, 0], EYE.expand(400, 4, 4), atol=1e-6)
    rotation = drawn[..., :3, :3]
    assert float((rotation.mT @ rotation - torch.eye(3)).abs().max()) < 1e-5
    assert float((torch.linalg.det(rotation) - 1).abs().max()) < 1e-5


def test_paths_stay_within_reach_and_use_it() -> None:
    drawn = paths()
    x, y, z = drawn[..., :3, 3].unbind(-1)
    orbit_x, orbit_z = math.sin(module.REACH * math.radians(24)), 1 - math.cos(module.REACH * math.radians(24))
    # headings add up to a turn of the travelled vector, so the bound is on the length
    bound = module.REACH * (0.22 + 0.60) + orbit_x + orbit_z
    assert float(drawn[..., :3, 3].norm(dim=-1).max()) < bound
    assert float(y.abs().max()) < 0.04 + 0.05, "a tilted camera that goes ahead climbs a little"
    assert float(z.max()) > 0.6 and float(z.min()) < -0.6 and float(x.abs().max()) > 0.4
    angle = geodesic_rad(drawn[:, :, :3, :3], drawn[:, :1, :3, :3])
    assert math.radians(25) < float(angle.max()) < module.REACH * math.radians(14 + 24) + 0.1


def test_steps_are_small_and_speeds_are_of_every_size() -> None:
    drawn = paths()
    steps = (drawn[:, 1:, :3, 3] - drawn[:, :-1, :3, 3]).norm(dim=-1)
    assert float(steps.max()) < 0.2, "no jump: a canonical push takes 0.04 a step"
    length = drawn[:, -1, :3, 3].norm(dim=-1)
    shares = torch.histc(length, bins=5, min=0.0, max=0.8) / len(drawn)
    assert float(shares.min()) > 0.02, "no gap between still and far"


def test_few_paths_are_near_one_of_the_vocabulary() -> None:
    known = torch.stack([synthesize(plan, 17).world_from_camera for plan in PLANS]).float()
    drawn = paths(200)
    distance = (drawn[:, None] - known[None]).abs().amax(dim=(2, 3, 4)).amin(dim=1)
    assert float((distance < 0.03).float().mean()) < 0.1


def test_some_are_shaken_some_are_level() -> None:
    level = (paths()[:, :, 1, 3].abs() < 1e-7).all(1).float().mean()
    assert 0.5 < float(level) < 0.8


def test_paths_are_seeded() -> None:
    assert torch.equal(paths(8, seed=3), paths(8, seed=3))
    assert not torch.equal(paths(8, seed=3), paths(8, seed=4))
