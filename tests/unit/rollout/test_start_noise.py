"""Start latents: fresh and transported parts, seeds, the plan cache."""

from typing import Any

import pytest
import torch

from worldr1.camera.trajectory import synthesize
from worldr1.errors import ConfigError, InputError
from worldr1.geometry.se3 import make_pose, rotation_y
from worldr1.noise.canvas import CanvasPlan
from worldr1.noise.flow import FlowPlan
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise
from worldr1.types import Trajectory

SHAPE = (6, 5, 8, 12)
PUSH = synthesize(["push_in"], 17)
FIXED = synthesize(["fixed"], 17)


def test_without_camera_or_strength_the_noise_is_the_fresh_part_bit_for_bit() -> None:
    none = start_noise(None, SHAPE, [1, 2], NoiseConfig(strength=0.7), PlanCache())
    off = start_noise(PUSH, SHAPE, [1, 2], NoiseConfig(strength=0.0), PlanCache())
    assert torch.equal(none, off)
    moved = start_noise(FIXED, SHAPE, [1, 2], NoiseConfig(strength=1.0), PlanCache())
    mixed = start_noise(FIXED, SHAPE, [1, 2], NoiseConfig(strength=0.6), PlanCache())
    assert torch.allclose(mixed, 0.8 * off + 0.6 * moved, atol=1e-6)
    assert torch.equal(moved, moved[:, :, :1].expand_as(moved)), "a fixed camera's transported noise stands still"


def test_strength_zero_takes_paths_that_the_canvas_refuses() -> None:
    poses = make_pose(rotation_y(torch.linspace(0.0, 3.0, 17, dtype=torch.float64)), torch.zeros(17, 3).double())
    turning = Trajectory(world_from_camera=poses)
    with pytest.raises(InputError, match="at most 50"):
        start_noise(turning, SHAPE, [0], NoiseConfig(strength=0.1), PlanCache())
    assert start_noise(turning, SHAPE, [0], NoiseConfig(strength=0.0), PlanCache()).shape == (1, *SHAPE)


def test_fresh_and_transported_parts_are_independent() -> None:
    seeds = range(40)
    fresh = start_noise(None, SHAPE, seeds, NoiseConfig(), PlanCache())
    moved = start_noise(PUSH, SHAPE, seeds, NoiseConfig(), PlanCache())
    assert abs(float((fresh * moved).mean())) < 4 / fresh.numel() ** 0.5
    standing = start_noise(FIXED, SHAPE, seeds, NoiseConfig(min_cells=1), PlanCache())  # one cell a pixel: its number
    repeated = torch.isin(standing[0], fresh[0]).float().mean()  # a few float32 numbers always occur twice
    assert float(repeated) < 0.02, "two streams, not one"
    assert float(moved[:, :, 4].var()) == pytest.approx(1.0, abs=4 * (2 / moved[:, :, 4].numel()) ** 0.5)


def test_a_sample_depends_on_its_seed_alone() -> None:
    batch = start_noise(PUSH, SHAPE, [7, -3, 2**62], NoiseConfig(strength=0.8), PlanCache())
    for index, seed in enumerate([7, -3, 2**62]):
        assert torch.equal(start_noise(PUSH, SHAPE, [seed], NoiseConfig(strength=0.8), PlanCache())[0], batch[index])
    assert not torch.equal(batch[0], batch[1])


def test_paths_with_parallax_can_have_a_strength_of_their_own() -> None:
    config = NoiseConfig(strength=1.0, parallax_strength=0.25)
    for path, strength in ((PUSH, 0.25), (FIXED, 1.0), (synthesize(["pan_left"], 17), 1.0)):
        assert config.strength_for(path) == strength
        expected = start_noise(path, SHAPE, [1], NoiseConfig(strength=strength), PlanCache())
        assert torch.equal(start_noise(path, SHAPE, [1], config, PlanCache()), expected)
    assert NoiseConfig(strength=0.5).strength_for(PUSH) == 0.5
    off = start_noise(PUSH, SHAPE, [1], NoiseConfig(parallax_strength=0.0), PlanCache())
    assert torch.equal(off, start_noise(None, SHAPE, [1], NoiseConfig(), PlanCache()))
    with pytest.raises(ConfigError, match="parallax_strength must lie between 0 and 1"):
        NoiseConfig(parallax_strength=1.1)


def test_flow_is_another_transport_with_the_same_fresh_part_and_rules() -> None:
    flow = NoiseConfig(strength=1.0, transport="flow")
    standing = start_noise(FIXED, SHAPE, [1, 2], flow, PlanCache())
    assert torch.equal(standing, standing[:, :, :1].expand_as(standing))
    mixed = start_noise(FIXED, SHAPE, [1, 2], NoiseConfig(strength=0.6, transport="flow"), PlanCache())
    fresh = start_noise(None, SHAPE, [1, 2], flow, PlanCache())
    assert torch.allclose(mixed, 0.8 * fresh + 0.6 * standing, atol=1e-6)
    seeds = range(40)
    along_flow = start_noise(PUSH, SHAPE, seeds, flow, PlanCache())
    assert torch.equal(start_noise(PUSH, SHAPE, [7], flow, PlanCache())[0], along_flow[7])
    assert float(along_flow[:, :, 4].var()) == pytest.approx(1.0, abs=4 * (2 / along_flow[:, :, 4].numel()) ** 0.5)
    others = torch.stack(
        (
            start_noise(None, SHAPE, seeds, flow, PlanCache()),
            start_noise(PUSH, SHAPE, seeds, NoiseConfig(), PlanCache()),
        )
    )
    assert float((along_flow * others).mean(dim=(1, 2, 3, 4, 5)).abs().max()) < 4 / along_flow.numel() ** 0.5


def test_plans_are_made_once_a_path_and_the_oldest_goes_first() -> None:
    sizes: dict[str, Any] = {"height": 8, "width": 12, "min_cells": 4}
    sizes_mb = [PlanCache().plan(path, **sizes).megabytes for path in (PUSH, FIXED)]
    assert sizes_mb[0] > sizes_mb[1] == pytest.approx(1e-6 * 5 * 96 * (4 * 4 + 4 + 4)), "cells, starts, scale"
    plans = PlanCache(max_mb=sum(sizes_mb))
    push = plans.plan(PUSH, **sizes)
    fixed = plans.plan(FIXED, **sizes)
    assert plans.plan(synthesize(["push_in"], 17), **sizes) is push, "equal paths share a plan"
    assert plans.plan(FIXED, **{**sizes, "min_cells": 1}) is not fixed, (
        "this one drops `fixed`, the least recently used"
    )
    assert plans.plan(PUSH, **sizes) is push
    assert plans.plan(FIXED, **sizes) is not fixed
    along_flow = plans.plan(PUSH, height=8, width=12, min_cells=4, transport="flow")
    assert isinstance(along_flow, FlowPlan), "a transport has plans of its own"
    assert isinstance(plans.plan(PUSH, height=8, width=12, min_cells=4), CanvasPlan)


def test_bad_values_are_refused() -> None:
    with pytest.raises(InputError, match="17 frames, which is 5 latent frames, but the latent has 6"):
        start_noise(PUSH, (6, 6, 8, 12), [0], NoiseConfig(), PlanCache())
    with pytest.raises(InputError, match="4 k \\+ 1"):
        start_noise(synthesize(["push_in"], 16), SHAPE, [0], NoiseConfig(), PlanCache())
    with pytest.raises(InputError, match="at least one seed"):
        start_noise(None, SHAPE, [], NoiseConfig(), PlanCache())
    for strength in (1.5, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="strength must lie between 0 and 1"):
            NoiseConfig(strength=strength)
    with pytest.raises(ConfigError, match="min_cells must be at least 1"):
        NoiseConfig(min_cells=0)
