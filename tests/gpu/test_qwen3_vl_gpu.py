"""Qwen3-VL as a critic on a GPU: the 4B model at its true size on random weights, and a small one beside the CPU."""

import pytest
import torch
from tiny_qwen3_vl import tiny_image_processor, tiny_model, tiny_tokenizer

from worldr1.backends.critics import CriticConfig
from worldr1.backends.critics.digits import digit_token_ids
from worldr1.backends.critics.qwen3_vl import Qwen3VLCritic, load_qwen3_vl
from worldr1.backends.critics.qwen3_vl_inputs import Qwen3VLInputs

pytestmark = pytest.mark.gpu
PROMPTS = ["A red box on a wooden floor.", "Fog over a harbour, with nets and bollards in the foreground."]


def test_the_4b_model_judges_off_path_views_in_12_gib() -> None:
    torch.cuda.reset_peak_memory_stats()
    critic = load_qwen3_vl(CriticConfig(weights="random", min_digit_mass=0.0), "cuda")
    images = torch.rand(8, 3, 294, 504, generator=torch.Generator().manual_seed(0)).cuda()
    found = critic.judge(images, PROMPTS * 4)
    assert found.probabilities.shape == (8, 10) and bool(torch.isfinite(found.probabilities).all())
    assert float((found.probabilities.sum(-1) - 1).abs().max()) < 1e-5
    assert 0 < float(found.mass.min()) <= float(found.mass.max()) < 0.5  # ten of 151,936 tokens, by chance
    assert torch.cuda.max_memory_allocated() < 12 * 2**30


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.1)])
def test_the_gpu_agrees_with_the_cpu(dtype: torch.dtype, tolerance: float) -> None:
    tokenizer = tiny_tokenizer()
    images = torch.nn.functional.interpolate(
        torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), size=(64, 96), mode="bilinear"
    )
    found = []
    for device, kind in (("cpu", torch.float32), ("cuda", dtype)):
        model = tiny_model(tokenizer).to(device, kind)  # type: ignore[arg-type]
        critic = Qwen3VLCritic(
            model,
            Qwen3VLInputs(tokenizer, tiny_image_processor(), image_token_id=model.config.image_token_id),
            digit_ids=digit_token_ids(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]),
            licence="none",
            min_digit_mass=0.0,
        )
        found.append(critic(images, PROMPTS))
    torch.testing.assert_close(found[1], found[0], atol=tolerance, rtol=0)
