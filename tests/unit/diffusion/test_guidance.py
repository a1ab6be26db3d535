import torch

from worldr1.diffusion.guidance import combine


def test_scale_one_is_the_conditional_velocity_to_the_bit():
    cond, uncond = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(combine(cond, uncond, 1.0), cond)


def test_guidance_extrapolates_from_the_unconditional():
    assert combine(torch.tensor([2.0]), torch.tensor([1.0]), 5.0).item() == 6.0
    assert combine(torch.tensor([2.0]), torch.tensor([1.0]), 0.0).item() == 1.0
