"""HPSv3, HPSv2 and LPIPS against the packages that publish them, on the same small random weights.

The packages' answers are in tests/data/quality_parity.json (`benchmarks/quality_parity.py` made it, in environments
of their own): hpsv3 1.0.0 under transformers 4.45.2, from PIL pictures and prompts to (mu, sigma); hpsv2 1.2.0 with
its own CLIP, tokenizer and preprocessing under torchvision 0.28; lpips 0.1.4 with torchvision's trunks.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import quality_reference as reference
import small_quality as small
import torch

from worldr1.backends import hpsv2, hpsv3, lpips

ANSWERS = json.loads((Path(__file__).parents[1] / "data" / "quality_parity.json").read_text())


def test_hpsv3_answers_as_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpsv3, "QWEN2_VL_7B", small.QWEN)
    small.install_template(monkeypatch, tmp_path / "site")
    model = hpsv3.load_hpsv3(small.write_hpsv3(tmp_path / "published"))
    for size, expected in zip(reference.SIZES, ANSWERS["hpsv3"]["preferences"], strict=True):
        # measured: 1.6e-6; transformers' own three-dimensional positions would be 0.06 away
        torch.testing.assert_close(
            model.preferences(small.frames(size), reference.PROMPTS), torch.tensor(expected), atol=2e-5, rtol=0
        )
        torch.testing.assert_close(
            model(small.frames(size), reference.PROMPTS), torch.tensor(expected)[:, 0], atol=2e-5, rtol=0
        )


def test_hpsv2_answers_as_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpsv2, "CLIP_VIT_H_14", small.CLIP)
    model = hpsv2.load_hpsv2(small.write_hpsv2(tmp_path))
    for size, expected in zip(reference.SIZES, ANSWERS["hpsv2"]["scores"], strict=True):
        torch.testing.assert_close(
            model(small.frames(size), reference.PROMPTS), torch.tensor(expected), atol=1e-4, rtol=0
        )


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_answers_as_its_package(net: Any, tmp_path: Path) -> None:
    model = lpips.load_lpips(small.write_lpips(tmp_path, net))
    a, b = (small.frames(reference.LPIPS_SIZE, seed=seed) for seed in (0, 1))
    torch.testing.assert_close(model(a, b), torch.tensor(ANSWERS["lpips"]["distances"][net]), atol=1e-6, rtol=0)
