"""One step of a flow model from sigma down to sigma_next: Euler, or a Gaussian transition that can be scored.

Every kernel is affine: x' = a x + b v + std n, n ~ N(0, 1), with scalars a, b, std of (sigma, sigma_next) alone, so
one `coefficients` holds all that differs between them and mean, log-probability and lambda follow. The same functions
serve the rollout and its replay: equal velocities give bit-equal log-probabilities.

Names: s = sigma, s' = sigma_next, dt = s' - s < 0, velocity v = eps - x_0 (docs/conventions.md 1).
- Reverse-SDE family (Flow-GRPO, arXiv 2505.05470; DanceGRPO, 2505.07818), a function of its diffusion g:
  mean = x (1 + g^2 dt / 2s) + v (1 + g^2 (1 - s) / 2s) dt,  std = g sqrt(-dt).
- Re-noising family (DDIM, 2010.02502; Flow-CPS, 2509.05952), a function of its std:
  mean = (1 - s') x_0hat + sqrt(s'^2 - std^2) epshat,  x_0hat = x - s v,  epshat = x + (1 - s) v.

Different from the published code (research/math.md 1): the guard of `flow_sde` acts at every index, and all
log-probabilities, that of `cps` included, are true Gaussian ones.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import ConfigError, InputError

KernelName = Literal["flow_sde", "wan", "ddim", "dance", "cps"]

DEFAULT_LEVELS: dict[KernelName, float] = {"flow_sde": 0.7, "wan": 1.0, "ddim": 0.5, "dance": 0.3, "cps": 0.3}
"""The level of each kernel when a recipe names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelConfig:
    """Which transition, and how much noise it adds. Level 0 is the deterministic step; such a step has no density.

    `flow_sde`, `wan`, `dance` and `ddim` keep the marginals as steps grow; `cps` loses variance at any number of steps.
    Raises ConfigError for an unknown name, a level out of range, or `flow_sde` without its guard.
    """

    name: KernelName
    level: float
    """flow_sde: a in g = a sqrt(s / (1 - s)). wan: factor on g = s (1 = as published). dance: the constant g.
    ddim: eta in 0..1 (1 = ancestral). cps: std = s' sin(level pi / 2), in 0..1."""
    sigma_guard: float | None = None
    """`flow_sde` only: sigmas[1] of the grid. g uses 1 - min(s, sigma_guard), or it would be infinite at s = 1."""

    def __post_init__(self) -> None:
        if self.name not in DEFAULT_LEVELS:
            raise ConfigError(f"There is no kernel {self.name!r}: choose one of {', '.join(DEFAULT_LEVELS)}.")
        limit = 1.0 if self.name in ("ddim", "cps") else math.inf
        if not 0 <= self.level <= limit:
            raise ConfigError(f"The level of kernel {self.name} is {self.level}: give a number from 0 to {limit}.")
        if self.name == "flow_sde" and (self.sigma_guard is None or not 0 < self.sigma_guard < 1):
            raise ConfigError(f"Kernel flow_sde needs sigma_guard = sigmas[1] of its grid, not {self.sigma_guard}.")


class Coefficients(NamedTuple):
    """x' = state * x + velocity * v + std * n."""

    state: float
    velocity: float
    std: float


class SdeStep(NamedTuple):
    """One scored transition."""

    next_x: Float[Tensor, "B ..."]
    mean: Float[Tensor, "#B ..."]
    std: float
    log_prob: Float[Tensor, " B"]
    """Gaussian log-density of next_x, mean over the latent's dimensions (nats per dimension)."""


def coefficients(kernel: KernelConfig, sigma: float, sigma_next: float) -> Coefficients:
    """The three scalars of a step. 1 >= sigma > sigma_next >= 0 is asserted."""
    assert 1 >= sigma > sigma_next >= 0, f"a step leads down inside [0, 1], not from {sigma} to {sigma_next}"
    if kernel.name in ("ddim", "cps"):
        std = _renoising_std(kernel, sigma, sigma_next)
        kept = math.sqrt(max(sigma_next**2 - std**2, 0.0))
        return Coefficients(1 - sigma_next + kept, kept * (1 - sigma) - (1 - sigma_next) * sigma, std)
    dt = sigma_next - sigma
    diffusion = _diffusion(kernel, sigma)
    drift = diffusion**2 / (2 * sigma)
    return Coefficients(1 + drift * dt, (1 + drift * (1 - sigma)) * dt, diffusion * math.sqrt(-dt))


def _diffusion(kernel: KernelConfig, sigma: float) -> float:
    """g(s) of the reverse-SDE family."""
    if kernel.name == "wan":
        return kernel.level * sigma
    if kernel.name == "dance":
        return kernel.level
    assert kernel.sigma_guard is not None
    return kernel.level * math.sqrt(sigma / (1 - min(sigma, kernel.sigma_guard)))


def _renoising_std(kernel: KernelConfig, sigma: float, sigma_next: float) -> float:
    """std of the re-noising family. For ddim the root vanishes as dt -> 0, which is what keeps the marginals."""
    if kernel.name == "cps":
        return sigma_next * math.sin(kernel.level * math.pi / 2)
    kept_ratio = (1 - sigma) * sigma_next / ((1 - sigma_next) * sigma)
    return kernel.level * sigma_next * math.sqrt(1 - kept_ratio**2)


def mean(
    kernel: KernelConfig,
    x: Float[Tensor, "#B ..."],
    velocity: Float[Tensor, "#B ..."],
    sigma: float,
    sigma_next: float,
) -> Float[Tensor, "#B ..."]:
    """Mean of the transition, in float32 (float64 if the inputs are)."""
    a, b, _ = coefficients(kernel, sigma, sigma_next)
    return a * _at_least_float32(x) + b * _at_least_float32(velocity)


def step(
    kernel: KernelConfig,
    x: Float[Tensor, "#B ..."],
    velocity: Float[Tensor, "#B ..."],
    sigma: float,
    sigma_next: float,
    *,
    noise: Float[Tensor, "B ..."] | None = None,
    next_x: Float[Tensor, "B ..."] | None = None,
) -> SdeStep:
    """Take a step with given standard normal `noise` (rollout), or score a given `next_x` (replay): one of the two.

    `x` and `velocity` may have leading dimension 1 while noise or next_x has one row per member of a group.
    next_x is a constant for autograd (the score-function estimator differentiates the mean alone).
    sigma_next > 0 and std > 0 are asserted: the last step, and level 0, have no density.
    """
    if (noise is None) == (next_x is None):
        raise InputError("Give `step` either noise (to sample) or next_x (to score), not both or neither.")
    std = coefficients(kernel, sigma, sigma_next).std
    assert sigma_next > 0 and std > 0, f"{kernel.name} has no density from sigma {sigma} to {sigma_next} (std {std})"
    mean_x = mean(kernel, x, velocity, sigma, sigma_next)
    if noise is not None:
        next_x = mean_x + std * _at_least_float32(noise)
    assert next_x is not None
    return SdeStep(next_x.detach(), mean_x, std, log_prob(mean_x, next_x.detach(), std))


def euler(
    x: Float[Tensor, "B ..."], velocity: Float[Tensor, "B ..."], sigma: float, sigma_next: float
) -> Float[Tensor, "B ..."]:
    """x + v dt: the deterministic step, in float32 (float64 if the inputs are)."""
    return _at_least_float32(x) + (sigma_next - sigma) * _at_least_float32(velocity)


def log_prob(mean: Float[Tensor, "#B ..."], next_x: Float[Tensor, "B ..."], std: float) -> Float[Tensor, " B"]:
    """log N(next_x; mean, std^2), mean over the latent's dimensions."""
    constant = math.log(std) + 0.5 * math.log(2 * math.pi)
    return -((next_x - mean) / std).square().flatten(1).mean(1) / 2 - constant


def log_ratio(
    mean: Float[Tensor, "#B ..."], mean_old: Float[Tensor, "#B ..."], next_x: Float[Tensor, "B ..."], std: float
) -> Float[Tensor, " B"]:
    """log_prob(mean) - log_prob(mean_old) without cancellation: mean[(mu - mu_old)(2 x' - mu - mu_old)] / (2 std^2).

    Exactly 0 where the means are equal. The difference of two float32 log-probabilities is wrong by 1 % at 2.1 million
    dimensions (research/math.md 1).
    """
    return ((mean - mean_old) * (2 * next_x - mean - mean_old)).flatten(1).mean(1) / (2 * std**2)


def mean_velocity_gain(kernel: KernelConfig, sigma: float, sigma_next: float) -> float:
    """d mean / d velocity, a scalar (negative)."""
    return coefficients(kernel, sigma, sigma_next).velocity


def rectification(kernel: KernelConfig, sigma: float, sigma_next: float) -> float:
    """lambda = std / |d mean / d velocity|: times it, the push on the velocity is equal at all steps.

    Temporal rectification of Flash-GRPO (arXiv 2605.15980), in the form that holds for any kernel (research/math.md 2).
    """
    _, gain, std = coefficients(kernel, sigma, sigma_next)
    return std / abs(gain)


def replaced_noise_share(kernel: KernelConfig, sigma: float, sigma_next: float) -> float:
    """Share of the next latent's noise variance that is fresh, in 0..1: what start noise made for a camera loses.

    For a model that knows the clip (v = eps - x_0 exactly), x' = (..) x_0 + q eps + std n with q = a s + b; the share
    is std^2 / (q^2 + std^2), that is 1 - corr(noise of x', eps)^2. For ddim and cps the denominator is s'^2.
    """
    a, b, std = coefficients(kernel, sigma, sigma_next)
    return std**2 / ((a * sigma + b) ** 2 + std**2)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
