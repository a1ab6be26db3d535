"""The SDE kernels against autograd, torch.distributions and exact Gaussian marginals."""

import math
from itertools import pairwise

import pytest
import torch

from worldr1.diffusion import kernels
from worldr1.diffusion.kernels import DEFAULT_LEVELS, KernelConfig
from worldr1.diffusion.schedule import sigma_grid

NAMES = tuple(DEFAULT_LEVELS)
SIGMAS = sigma_grid(20, 3.0).tolist()


def make_kernel(name, level=None, sigmas=SIGMAS):
    return KernelConfig(name=name, level=DEFAULT_LEVELS[name] if level is None else level, sigma_guard=sigmas[1])


def gaussian_std(kernel, num_steps, data_std):
    """Final std of the sampler on data N(0, data_std^2), all steps stochastic, by the exact variance recursion."""
    sigmas = sigma_grid(num_steps, 3.0).tolist()
    variance = 1.0
    for s, s_next in pairwise(sigmas):
        # The exact velocity of Gaussian data is linear in x: E[eps - x_0 | x] = slope * x.
        slope = (s - (1 - s) * data_std**2) / ((1 - s) ** 2 * data_std**2 + s**2)
        a, b, std = kernels.coefficients(make_kernel(kernel.name, kernel.level, sigmas), s, s_next)
        variance = (a + b * slope) ** 2 * variance + std**2
    return math.sqrt(variance)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("index", range(19))
def test_rectification_is_std_over_the_gradient_of_the_mean(name, index):
    kernel, s, s_next = make_kernel(name), SIGMAS[index], SIGMAS[index + 1]
    g = torch.Generator().manual_seed(index)
    x, v, noise = (torch.randn(1, 2, 3, generator=g, dtype=torch.float64) for _ in range(3))
    v.requires_grad_()
    taken = kernels.step(kernel, x, v, s, s_next, noise=noise)
    (gradient,) = torch.autograd.grad(taken.log_prob.sum() * v.numel(), v)
    # d log p / d v = -n / lambda for a negative gain (research/math.md C10).
    torch.testing.assert_close(gradient, -noise / kernels.rectification(kernel, s, s_next), rtol=1e-9, atol=1e-9)
    (gain,) = torch.autograd.grad(kernels.mean(kernel, x, v, s, s_next).sum(), v)
    torch.testing.assert_close(gain, torch.full_like(gain, kernels.mean_velocity_gain(kernel, s, s_next)))


def test_rectification_reproduces_the_checked_table():
    """Numbers of research/math.md 2: indices 0, 5, 9."""
    table = {"wan": (7.6158, 5.4470, 3.8348), "flow_sde": (40.60, 10.6679, 5.6970), "dance": (2.2847, 1.8879, 1.5682)}
    for name, expected in table.items():
        got = [kernels.rectification(make_kernel(name), SIGMAS[i], SIGMAS[i + 1]) for i in (0, 5, 9)]
        assert got == pytest.approx(expected, rel=1e-4)
    cps = [kernels.rectification(make_kernel("cps", 0.7), SIGMAS[i], SIGMAS[i + 1]) for i in (0, 5, 9)]
    assert cps == pytest.approx((50.79, 10.71, 5.41), rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("index", [0, 7, 18])
def test_log_prob_is_the_normal_density(name, index):
    kernel, s, s_next = make_kernel(name), SIGMAS[index], SIGMAS[index + 1]
    g = torch.Generator().manual_seed(1)
    x, v = (torch.randn(1, 4, 2, 3, generator=g) for _ in range(2))
    noise = torch.randn(5, 4, 2, 3, generator=g)
    taken = kernels.step(kernel, x, v, s, s_next, noise=noise)
    expected = torch.distributions.Normal(taken.mean, taken.std).log_prob(taken.next_x).mean((1, 2, 3))
    torch.testing.assert_close(taken.log_prob, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(taken.next_x, taken.mean + taken.std * noise)
    replayed = kernels.step(kernel, x, v, s, s_next, next_x=taken.next_x)
    assert torch.equal(replayed.log_prob, taken.log_prob)


@pytest.mark.parametrize("name", ["flow_sde", "wan", "dance", "ddim"])
def test_marginals_are_kept_as_steps_grow(name):
    """Level 0.5 is stronger than every default of dance and ddim."""
    kernel = make_kernel(name, max(DEFAULT_LEVELS[name], 0.5))
    errors = [abs(gaussian_std(kernel, steps, 0.5) / 0.5 - 1) for steps in (20, 320, 5120)]
    assert errors[0] < 0.17
    assert errors[1] < errors[0] / 8
    assert errors[2] < 2e-3


def test_marginals_reproduce_the_checked_table():
    """Error of the final std, research/math.md 1: 20 and 80 steps."""
    table = {("flow_sde", 0.7): (-0.082, -0.020), ("wan", 1.0): (-0.114, -0.031), ("dance", 0.3): (-0.122, -0.032)}
    for (name, level), expected in table.items():
        got = [gaussian_std(make_kernel(name, level), n, 0.5) / 0.5 - 1 for n in (20, 80)]
        assert got == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(("level", "lost"), [(0.7, 0.150), (0.3, 0.029)])
def test_cps_loses_variance_at_any_number_of_steps(level, lost):
    assert gaussian_std(make_kernel("cps", level), 5120, 0.5) / 0.5 - 1 == pytest.approx(-lost, abs=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_level_zero_is_euler(name):
    for s, s_next in pairwise(SIGMAS):
        a, b, std = kernels.coefficients(make_kernel(name, 0.0), s, s_next)
        assert (a, b, std) == pytest.approx((1.0, s_next - s, 0.0), abs=1e-15)


def test_dance_is_flow_sde_with_a_constant_g():
    s, s_next = SIGMAS[6], SIGMAS[7]
    constant = 0.7 * math.sqrt(s / (1 - s))
    dance = kernels.coefficients(make_kernel("dance", constant), s, s_next)
    assert dance == pytest.approx(kernels.coefficients(make_kernel("flow_sde", 0.7), s, s_next), rel=1e-14)


def test_flow_sde_is_guarded_just_below_sigma_one():
    """diffusers' UniPC grid starts at 0.999998987, where an unguarded g is 695 (research/math.md C2)."""
    near = kernels.coefficients(make_kernel("flow_sde"), 0.999998987, SIGMAS[1])
    at_one = kernels.coefficients(make_kernel("flow_sde"), 1.0, SIGMAS[1])
    assert near == pytest.approx(at_one, rel=1e-4)
    assert at_one.std == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("name", ["ddim", "cps"])
def test_renoising_kernels_add_nothing_at_the_last_step(name):
    assert kernels.coefficients(make_kernel(name), SIGMAS[-2], 0.0).std == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_step_refuses_transitions_without_density(name):
    x = torch.zeros(1, 2)
    with pytest.raises(AssertionError, match="no density"):
        kernels.step(make_kernel(name), x, x, SIGMAS[-2], 0.0, noise=x)
    with pytest.raises(AssertionError, match="no density"):
        kernels.step(make_kernel(name, 0.0), x, x, SIGMAS[5], SIGMAS[6], noise=x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("index", [0, 4, 9])
def test_replaced_noise_share_is_what_a_known_clip_loses(name, index):
    """Empirically: the squared correlation of the latent's noise after the step with the noise before it."""
    kernel, s, s_next = make_kernel(name), SIGMAS[index], SIGMAS[index + 1]
    g = torch.Generator().manual_seed(7)
    clip = 1.5
    eps, fresh = (torch.randn(1, 400_000, generator=g, dtype=torch.float64) for _ in range(2))
    taken = kernels.step(kernel, (1 - s) * clip + s * eps, eps - clip, s, s_next, noise=fresh)
    correlation = torch.corrcoef(torch.cat([taken.next_x, eps]))[0, 1]
    share = kernels.replaced_noise_share(kernel, s, s_next)
    assert 1 - float(correlation) ** 2 == pytest.approx(share, abs=4e-3)
    assert float((taken.next_x - (1 - s_next) * clip).mean()) == pytest.approx(0, abs=0.03)


def test_log_ratio_is_the_difference_of_log_probs():
    g = torch.Generator().manual_seed(3)
    mu, mu_old = (torch.randn(1, 6, 4, generator=g, dtype=torch.float64) for _ in range(2))
    next_x = torch.randn(5, 6, 4, generator=g, dtype=torch.float64)
    expected = kernels.log_prob(mu, next_x, 0.3) - kernels.log_prob(mu_old, next_x, 0.3)
    torch.testing.assert_close(kernels.log_ratio(mu, mu_old, next_x, 0.3), expected)
    assert torch.equal(kernels.log_ratio(mu, mu, next_x, 0.3), torch.zeros(5, dtype=torch.float64))


def test_log_ratio_survives_float32_where_subtraction_does_not():
    """A 480p-sized latent and a ratio of one small update: relative error < 1e-3 against float64."""
    g = torch.Generator().manual_seed(4)
    mu_old = torch.randn(1, 500_000, generator=g)
    mu = mu_old + 1e-5 * torch.randn(1, 500_000, generator=g)
    next_x = mu_old + 0.1 * torch.randn(1, 500_000, generator=g)
    exact = float(kernels.log_ratio(mu.double(), mu_old.double(), next_x.double(), 0.1))
    assert float(kernels.log_ratio(mu, mu_old, next_x, 0.1)) == pytest.approx(exact, rel=1e-3)
    assert float(kernels.log_prob(mu, next_x, 0.1) - kernels.log_prob(mu_old, next_x, 0.1)) != pytest.approx(
        exact, rel=1e-3
    )


def test_half_precision_inputs_are_computed_in_float32():
    x = torch.full((1, 4), 0.1, dtype=torch.bfloat16)
    assert kernels.euler(x, x, 0.9, 0.8).dtype == torch.float32
    assert kernels.mean(make_kernel("wan"), x, x, 0.9, 0.8).dtype == torch.float32
