import pytest
import torch

from worldr1.diffusion import kernels
from worldr1.diffusion.kernels import KernelConfig
from worldr1.errors import ConfigError, InputError


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"name": "heun", "level": 0.1}, "no kernel 'heun'"),
        ({"name": "cps", "level": 1.1}, "from 0 to 1.0"),
        ({"name": "wan", "level": -0.1}, "from 0 to"),
        ({"name": "flow_sde", "level": 0.7}, "sigma_guard"),
        ({"name": "flow_sde", "level": 0.7, "sigma_guard": 1.0}, "sigma_guard"),
    ],
)
def test_bad_kernels_are_refused(keys, words):
    with pytest.raises(ConfigError, match=words):
        KernelConfig(**keys)


def test_step_wants_noise_or_next_x():
    x, kernel = torch.zeros(1, 2), KernelConfig(name="wan", level=1.0)
    with pytest.raises(InputError, match="either"):
        kernels.step(kernel, x, x, 0.9, 0.8)
    with pytest.raises(InputError, match="either"):
        kernels.step(kernel, x, x, 0.9, 0.8, noise=x, next_x=x)


@pytest.mark.parametrize(("sigma", "sigma_next"), [(0.8, 0.9), (0.8, 0.8), (1.1, 0.9), (0.5, -0.1)])
def test_steps_lead_down(sigma, sigma_next):
    with pytest.raises(AssertionError, match="leads down"):
        kernels.coefficients(KernelConfig(name="wan", level=1.0), sigma, sigma_next)


def test_the_sampled_latent_is_a_constant_for_autograd():
    v = torch.zeros(1, 2, requires_grad=True)
    taken = kernels.step(KernelConfig(name="wan", level=1.0), torch.ones(1, 2), v, 0.9, 0.8, noise=torch.ones(3, 2))
    assert not taken.next_x.requires_grad and taken.log_prob.requires_grad
