"""HPSv3, HPSv2.1 and LPIPS at their true sizes on a GPU, on random weights: do they run, in how much memory, and do
frames keep their scores?"""

from collections.abc import Callable, Sequence

import pytest
import torch
from small_quality import frames
from torch import Tensor

from worldr1.backends.frame_batches import resize_like_pil
from worldr1.backends.hpsv2 import Hpsv2Config, load_hpsv2
from worldr1.backends.hpsv3 import Hpsv3Config, load_hpsv3
from worldr1.backends.lpips import LpipsConfig, load_lpips

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")
SIZE = (480, 832)
PROMPTS = ["A red ball on a tiled floor.", "A lighthouse above a rough sea at dusk, seen from the pier."] * 2


@pytest.mark.parametrize(
    ("load", "weights_gib", "parameters"),
    [
        (lambda: load_hpsv3(Hpsv3Config(weights="random"), CUDA), 14.5, 7_748_610_610),
        (lambda: load_hpsv2(Hpsv2Config(weights="random"), CUDA), 1.9, 986_109_441),
    ],
    ids=["hpsv3", "hpsv2"],
)
def test_quality_models(
    load: Callable[[], Callable[[Tensor, Sequence[str]], Tensor]], weights_gib: float, parameters: int
) -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    model = load()
    assert sum(p.numel() for p in model.network.parameters()) == parameters  # pyright: ignore[reportFunctionMemberAccess]
    held = (torch.cuda.memory_allocated() - before) / 2**30
    assert held == pytest.approx(weights_gib, rel=0.05)
    pictures = frames(SIZE, count=4).to(CUDA)
    answer = model(pictures, PROMPTS)
    assert answer.device.type == "cuda"
    assert bool(answer.isfinite().all())
    order = [2, 3, 1, 0]
    turned = model(pictures[order], [PROMPTS[i] for i in order])
    torch.testing.assert_close(turned, answer[order], atol=0.05 * float(answer.std()) + 1e-3, rtol=0)
    assert (torch.cuda.max_memory_allocated() - before) / 2**30 < 1.3 * weights_gib + 2


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_agrees_with_the_cpu(net: str) -> None:
    config = LpipsConfig(net="alex" if net == "alex" else "vgg", weights="random")
    a, b = frames((294, 504), count=2), frames((294, 504), count=2, seed=1)
    on_cpu, on_gpu = load_lpips(config), load_lpips(config, CUDA)
    on_gpu.network.load_state_dict(on_cpu.network.state_dict())  # GPUs draw other numbers
    torch.testing.assert_close(on_gpu(a, b).cpu(), on_cpu(a, b), atol=1e-3, rtol=1e-2)


def test_resizing_is_the_cpus_bit_for_bit() -> None:
    pictures = frames(SIZE, count=2)
    assert torch.equal(resize_like_pil(pictures.to(CUDA), 336, 588).cpu(), resize_like_pil(pictures, 336, 588))
