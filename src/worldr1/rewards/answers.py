"""What the models of a reward must answer: the shapes and values of `protocols`, asked of every answer.

A wrong answer raises ValueError, in words, which `guard.call_each` turns into a fault of the sample: nothing is cut,
padded or broadcast into a reward. `worldr1.testing` asks the same and more.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from worldr1.types import Reconstruction, Status


def check_reconstructions(answers: Any, videos: Tensor) -> None:
    """One `Reconstruction` per video of [B, T, 3, H, W], its shapes those of T frames, and of one size."""
    if not isinstance(answers, Sequence) or len(answers) != len(videos):
        raise ValueError(f"the reconstructor answered with {_what(answers)} for {len(videos)} videos")
    frames = videos.shape[1]
    for answer in answers:
        if not isinstance(answer, Reconstruction):
            raise ValueError(f"the reconstructor answered with {_what(answer)}, not with a Reconstruction")
        if answer.status is not Status.OK:
            continue
        size = tuple(answer.depth.shape[1:])
        wanted = {
            "depth": (frames, *size[:2]),
            "confidence": (frames, *size[:2]),
            "world_from_camera": (frames, 4, 4),
            "intrinsics_px": (frames, 3, 3),
        }
        for name, shape in wanted.items():
            found = tuple(getattr(answer, name).shape)
            if found != shape or len(size) != 2:
                raise ValueError(f"the reconstructor's {name} has the shape {list(found)} for {frames} frames")


def check_digits(answer: Any, num: int) -> None:
    """[num, 10], each row a distribution (`meta_view.expected_digit_score` asks for the sum)."""
    if not isinstance(answer, Tensor) or tuple(answer.shape) != (num, 10):
        raise ValueError(f"the critic answered with {_what(answer)} for {num} images, not with [{num}, 10]")


def check_scores(answer: Any, num: int) -> None:
    """[num], finite."""
    _check_row(answer, num, "the quality model", "quality score")


def check_distances(answer: Any, num: int) -> None:
    """[num], finite."""
    _check_row(answer, num, "the perceptual model", "perceptual distance")


def _check_row(answer: Any, num: int, who: str, what: str) -> None:
    if not isinstance(answer, Tensor) or tuple(answer.shape) != (num,):
        raise ValueError(f"{who} answered with {_what(answer)} for {num} images, not with [{num}]")
    if not bool(torch.isfinite(answer).all()):
        raise ValueError(f"the {what} is not finite")


def _what(answer: Any) -> str:
    """An answer in words: its type, and its shape or length."""
    if isinstance(answer, Tensor):
        return f"a tensor {list(answer.shape)}"
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return f"a {type(answer).__name__} of {len(answer)}"
    return f"a {type(answer).__name__}"
