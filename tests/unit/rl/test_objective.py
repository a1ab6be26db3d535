"""The loss by hand, its gradient uphill, and its independence of how the group's forward is batched."""

import math

import pytest
import torch

from worldr1.diffusion import kernels
from worldr1.diffusion.kernels import KernelConfig
from worldr1.diffusion.schedule import sigma_grid
from worldr1.errors import ConfigError, InputError
from worldr1.rl.advantage import group_advantages
from worldr1.rl.objective import ObjectiveConfig, StepScale, group_loss

PLAIN = StepScale(rectification=1.0, mean_rectification=1.0, mean_inverse_square=1.0)
KERNEL = KernelConfig(name="wan", level=1.0)
SIGMAS = sigma_grid(20, 3.0).tolist()
SIGMA, SIGMA_NEXT = SIGMAS[5], SIGMAS[6]


def members(count):
    return torch.ones(count, dtype=torch.bool)


def surrogate_loss(config, ratios, advantages, valid=None):
    """The loss without KL for given ratios; 4 dimensions."""
    return group_loss(
        config,
        torch.tensor(ratios, dtype=torch.float64).log(),
        torch.zeros(1, 4),
        None,
        advantages=torch.tensor(advantages, dtype=torch.float64),
        valid=members(len(ratios)) if valid is None else torch.tensor(valid),
        scale=PLAIN,
    )


def test_ppo_clips_only_the_side_that_gains():
    config = ObjectiveConfig(kl_beta=0.0, clip=0.1)
    terms = surrogate_loss(config, [1.5, 0.5, 1.5, 0.5], [1.0, 1.0, -1.0, -1.0])
    # max(-A rho, -A clip(rho)): gains stop at 1.1 and 0.9, losses count in full.
    assert float(terms.loss) == pytest.approx((-1.1 - 0.5 + 1.5 + 0.9) / 4)
    assert terms.clip_fraction == 1.0
    assert terms.ratio_mean == pytest.approx(1.0)
    assert terms.ratio_deviation == pytest.approx(0.5)


def test_absent_members_count_nowhere():
    config = ObjectiveConfig(kl_beta=0.0, clip=0.1)
    terms = surrogate_loss(config, [1.05, math.nan, 1.0], [1.0, 0.0, -1.0], [True, False, True])
    assert float(terms.loss) == pytest.approx((-1.05 + 1.0) / 2)
    assert terms.ratio_deviation == pytest.approx(0.05)


def test_clip_follows_the_dimensions_and_is_off_for_one_update():
    assert ObjectiveConfig().clip_range(7680) == math.inf
    assert ObjectiveConfig(updates_per_rollout=2).clip_range(7680) == pytest.approx(1.14e-4, rel=1e-2)
    assert ObjectiveConfig(clip=0.2).clip_range(7680) == 0.2
    assert surrogate_loss(ObjectiveConfig(kl_beta=0.0), [1.5], [1.0]).clip_fraction == 0.0
    assert surrogate_loss(ObjectiveConfig(kl_beta=0.0, updates_per_rollout=2), [1.5], [1.0]).clip_fraction == 1.0


def test_lambda_multiplies_outside_the_clip():
    scale = StepScale.of(6.0, [2.0, 6.0])
    config = ObjectiveConfig(kl_beta=0.0, clip=0.1)
    terms = group_loss(
        config,
        torch.tensor([1.5]).log(),
        torch.zeros(1, 4),
        None,
        advantages=torch.tensor([1.0]),
        valid=members(1),
        scale=scale,
    )
    assert float(terms.loss) == pytest.approx(-1.1 * 6 / 4)
    assert terms.surrogate == pytest.approx(-1.1)
    assert scale.mean_inverse_square == pytest.approx((1 / 4 + 1 / 36) / 2)


@pytest.mark.parametrize("rectify", [False, True])
def test_kl_is_that_of_torch_distributions(rectify):
    """Unrectified it is the Gaussians' KL per dimension; rectified it weighs the velocity gap alike at all steps."""
    g = torch.Generator().manual_seed(0)
    x, v, v_ref = (torch.randn(1, 3, 8, generator=g, dtype=torch.float64) for _ in range(3))
    std = kernels.coefficients(KERNEL, SIGMA, SIGMA_NEXT).std
    normals = [torch.distributions.Normal(kernels.mean(KERNEL, x, u, SIGMA, SIGMA_NEXT), std) for u in (v, v_ref)]
    kl = float(torch.distributions.kl_divergence(*normals).mean())
    lambda_k = kernels.rectification(KERNEL, SIGMA, SIGMA_NEXT)
    terms = group_loss(
        ObjectiveConfig(kl_beta=0.05, rectify=rectify),
        torch.zeros(2, dtype=torch.float64),
        v,
        v_ref,
        advantages=torch.zeros(2, dtype=torch.float64),
        valid=members(2),
        scale=StepScale.of(lambda_k, [lambda_k, 2 * lambda_k]),
    )
    assert terms.kl == pytest.approx(kl)
    assert terms.kl_sum == pytest.approx(24 * kl)
    matched = lambda_k**2 * (lambda_k**-2 + (2 * lambda_k) ** -2) / 2
    assert float(terms.loss) == pytest.approx(0.05 * kl * (matched if rectify else 1.0))


def test_one_velocity_for_the_group_equals_one_per_member():
    """Gradients of a shared network through [1, ...] and through [G, ...] agree."""
    g = torch.Generator().manual_seed(2)
    weight = torch.randn(8, 8, generator=g, dtype=torch.float64, requires_grad=True)
    x, v_ref, v_old = (torch.randn(1, 8, generator=g, dtype=torch.float64) for _ in range(3))
    next_x = x + torch.randn(6, 8, generator=g, dtype=torch.float64)
    advantages = torch.randn(6, generator=g, dtype=torch.float64)
    valid = torch.tensor([True, True, False, True, True, True])
    std = kernels.coefficients(KERNEL, SIGMA, SIGMA_NEXT).std
    mean_old = kernels.mean(KERNEL, x, v_old, SIGMA, SIGMA_NEXT)
    gradients = []
    for rows in (1, 6):
        state = x.expand(rows, -1)
        velocity = state @ weight
        ratio = kernels.log_ratio(kernels.mean(KERNEL, state, velocity, SIGMA, SIGMA_NEXT), mean_old, next_x, std)
        config = ObjectiveConfig(kl_beta=0.1)
        terms = group_loss(config, ratio, velocity, v_ref, advantages=advantages, valid=valid, scale=PLAIN)
        gradients.append(torch.autograd.grad(terms.loss, weight)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("index", [2, 9])
def test_the_gradient_points_uphill(index):
    """Linear reward w.x': E[A n] = w / |w|, d log p / dv = -n / lambda, so -D dL/dv = -w / |w| / lambda_bar exactly."""
    g = torch.Generator().manual_seed(index)
    sigma, sigma_next = SIGMAS[index], SIGMAS[index + 1]
    dims, count = 4, 60_000
    direction = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
    x, v = (torch.randn(1, dims, generator=g, dtype=torch.float64) for _ in range(2))
    v.requires_grad_()
    noise = torch.randn(count, dims, generator=g, dtype=torch.float64)
    taken = kernels.step(KERNEL, x, v, sigma, sigma_next, noise=noise)
    old_mean = taken.mean.detach()
    rewards = (taken.next_x @ direction)[None]
    advantages = group_advantages(rewards, members(count)[None], std_floor=1e-3).values[0]
    ratio = kernels.log_ratio(taken.mean, old_mean, taken.next_x, taken.std)
    scale = StepScale.of(kernels.rectification(KERNEL, sigma, sigma_next), [5.0])
    terms = group_loss(
        ObjectiveConfig(kl_beta=0.0), ratio, v, None, advantages=advantages, valid=members(count), scale=scale
    )
    ascent = -torch.autograd.grad(terms.loss, v)[0][0] * dims
    expected = -direction / direction.norm() / 5.0
    torch.testing.assert_close(ascent, expected, rtol=0, atol=4e-3)
    moved = kernels.mean(KERNEL, x, v.detach() + ascent, sigma, sigma_next)
    assert float((moved - old_mean) @ direction) > 0


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="valid"):
        surrogate_loss(ObjectiveConfig(kl_beta=0.0), [1.0], [1.0], [False])
    with pytest.raises(InputError, match="reference"):
        surrogate_loss(ObjectiveConfig(kl_beta=0.1), [1.0], [1.0])
    with pytest.raises(ConfigError):
        ObjectiveConfig(kl_beta=-1.0)
    with pytest.raises(ConfigError):
        ObjectiveConfig(updates_per_rollout=0)
    with pytest.raises(ConfigError):
        ObjectiveConfig(clip=0.0)
