"""An answer of another shape is a fault in words, where broadcasting would have made a reward of it."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from worldr1.types import Status


class Answering:
    """A model that says one thing."""

    licence = "test"

    def __init__(self, answer: Callable[..., Any]) -> None:
        self.answer = answer

    def __call__(self, first: Tensor, *_: Any) -> Any:
        return self.answer(first)


@pytest.mark.parametrize(
    ("role", "answer", "words"),
    [
        ("critic", lambda x: torch.full((1, 10), 0.1).expand(2, 10), r"a tensor \[2, 10\] for 1 images"),
        ("critic", lambda x: torch.full((10,), 0.1), r"a tensor \[10\] for 1 images"),
        ("critic", lambda x: [0.1] * 10, "a list of 10"),
        ("quality", lambda x: torch.zeros(len(x), 1), r"a tensor \[4, 1\] for 4 images"),
        ("quality", lambda x: torch.zeros(1), r"a tensor \[1\] for 4 images"),
        ("quality", lambda x: torch.full((len(x),), torch.nan), "the quality score is not finite"),
        ("perceptual", lambda x: torch.zeros(len(x), 1, 1, 1), "a tensor"),
        ("perceptual", lambda x: x.new_zeros(()), "a tensor"),
    ],
)
def test_no_shape_is_made_to_fit(
    kit: Callable, clip: Callable, path: Callable, role: str, answer: Callable[..., Any], words: str
) -> None:
    video = clip(path("push_in"))
    result = kit(video, **{role: Answering(answer)}).score(video, path("push_in"))
    assert result.status is Status.FAULT and re.search(words, result.reason), result.reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda truth: [truth, truth], "a list of 2 for 1 videos"),
        (lambda truth: truth, "a Reconstruction for 1 videos"),
        (lambda truth: [truth.depth], "not with a Reconstruction"),
        (
            lambda truth: [replace(truth, depth=truth.depth[:-1], confidence=truth.confidence[:-1])],
            "depth has the shape",
        ),
        (lambda truth: [replace(truth, confidence=truth.confidence[:, 1:])], "confidence has the shape"),
        (lambda truth: [replace(truth, intrinsics_px=truth.intrinsics_px[0])], "intrinsics_px has the shape"),
    ],
)
def test_no_reconstruction_is_made_to_fit(
    kit: Callable, clip: Callable, path: Callable, change: Callable[..., Any], words: str
) -> None:
    video = clip(path("push_in"))
    result = kit(video, reconstructor=Answering(lambda videos: change(video.truth))).score(video, path("push_in"))
    assert result.status is Status.FAULT and words in result.reason, result.reason
