"""One kernel alone is attention: softmax(q k^T / sqrt(D)) v, tokens before heads."""

import pytest
import torch

from worldr1.backends.attention import run_kernel


@pytest.mark.parametrize("kernel", ["math", "flash"])
def test_a_kernel_alone_is_softmax_attention(kernel: str) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, num, 3, 8, generator=generator) for num in (5, 7, 7))
    weights = (torch.einsum("bqhd,bkhd->bhqk", q, k) / 8**0.5).softmax(-1)
    expected = torch.einsum("bhqk,bkhd->bqhd", weights, v)
    assert torch.allclose(run_kernel(kernel, q, k, v), expected, atol=1e-6)
