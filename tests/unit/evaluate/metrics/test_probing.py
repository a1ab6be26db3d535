"""What the probe adds to the judge's measures; the probe itself is stood in for."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from worldr1.evaluate.metrics import probing
from worldr1.evaluate.metrics.probing import WordProbe
from worldr1.types import Prompt, Reconstruction, intrinsics_px

HEIGHT, WIDTH = 12, 16


def still() -> Reconstruction:
    return Reconstruction(
        world_from_camera=torch.eye(4).expand(3, 4, 4),
        depth=torch.ones(3, HEIGHT, WIDTH),
        intrinsics_px=intrinsics_px(HEIGHT, WIDTH).expand(3, 3, 3),
        confidence=torch.ones(3, HEIGHT, WIDTH),
    )


def test_motion_is_measured_inside_the_movers_of_dynamic_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five videos that flash on the left; only a mask that holds the flash sees it."""
    videos = torch.full((5, 3, 3, HEIGHT, WIDTH), 0.2)
    videos[:, 1, :, :, :6] = 0.8
    masks = torch.zeros(5, 3, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, ..., :6] = masks[3, ..., :6] = masks[4, ..., :6] = True
    masks[1, ..., 10:] = True
    dynamic = (True, True, True, False, True)
    prompts = [Prompt(id=i, text=f"prompt {i}", dynamic=moves) for i, moves in enumerate(dynamic)]

    def accuracy(sighting: Any, texts: Sequence[str]) -> list[dict[str, float]]:
        assert sighting == "seen" and list(texts) == [prompt.text for prompt in prompts]
        return [{"words": float(i)} for i in range(5)]

    def mover_masks(sighting: Any, texts: Sequence[str], *, height: int, width: int) -> Tensor:
        assert (height, width) == (HEIGHT, WIDTH)
        return masks

    monkeypatch.setattr(probing, "attribute_accuracy", accuracy)
    monkeypatch.setattr(probing, "mover_masks", mover_masks)
    probe: Any = lambda clips: "seen"  # noqa: E731
    found = WordProbe(probe)(videos, prompts, [still(), still(), still(), still(), None])
    assert [measures["words"] for measures in found] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert found[0]["mover_motion"] > 0.3
    assert found[1]["mover_motion"] == pytest.approx(0, abs=1e-6)
    assert found[2]["mover_motion"] == 0.0, "a mover that is not seen does not move"
    assert "mover_motion" not in found[3], "nothing was asked to move"
    assert "mover_motion" not in found[4], "without geometry nothing is known"
