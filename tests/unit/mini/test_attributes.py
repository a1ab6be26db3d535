"""The words of a prompt as numbers, against the scenes that the prompts describe."""

import pytest
import torch

from worldr1.errors import InputError
from worldr1.mini.attributes import MIRRORED_MOTION, NUM_COLOURS, prompt_labels
from worldr1.mini.promptset import random_scenes
from worldr1.mini.scenes import Motion

ROOM = "on a white tiled floor in an orange brick room."


@pytest.mark.parametrize("dynamic", [False, True])
def test_labels_are_those_of_the_scene(dynamic: bool) -> None:
    scenes, prompts = random_scenes(300, seed=7, stream="test-labels", dynamic=dynamic)
    labels = prompt_labels([prompt.text for prompt in prompts])
    for b in range(scenes.num):
        there = [k for k in range(3) if scenes.present[b, k]]
        assert int(labels.named[b].sum()) == len(there)
        for rank, k in enumerate(there):
            colour = int(scenes.colour[b, k])
            found = [int(x[b, colour]) for x in (labels.order, labels.kind, labels.texture, labels.motion)]
            assert found == [rank, *(int(x[b, k]) for x in (scenes.kind, scenes.texture, scenes.motion))]
    assert torch.equal((labels.motion != 0).any(1), scenes.dynamic)
    assert bool(scenes.dynamic.all()) == dynamic
    for name in ("floor_texture", "floor_colour", "is_room", "wall_colour"):
        assert torch.equal(getattr(labels, name), getattr(scenes, name)), name
    room = scenes.is_room
    assert torch.equal(labels.wall_texture[room], scenes.wall_texture[room])
    assert (labels.wall_texture[~room] == 0).all()
    assert 0 < int(room.sum()) < scenes.num


def test_a_part_of_the_labels() -> None:
    texts = [f"A plain red {kind} {ROOM}" for kind in ("box", "ball", "cone")]
    part = prompt_labels(texts)[torch.tensor([2, 0])]
    assert part.kind[:, 0].tolist() == [3, 0]
    assert part.order.shape == (2, NUM_COLOURS)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("A cat on a sofa.", "canonical"),
        (f"Camera push in. A box {ROOM}", "canonical"),
        ("A plain red box on a white tiled floor.", "canonical"),
        (f"A plain red box and a striped red cone {ROOM}", "its own"),
        (f"A plain red box {ROOM} The red ball turns.", "red ball"),
        (f"A plain red box {ROOM} The cyan box turns.", "cyan box"),
    ],
)
def test_a_prompt_without_a_certain_truth_is_refused(prompt: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prompt_labels([prompt])


def test_a_mirror_swaps_left_and_right_alone() -> None:
    assert MIRRORED_MOTION[Motion.MOVES_LEFT] == Motion.MOVES_RIGHT
    assert [MIRRORED_MOTION[MIRRORED_MOTION[motion]] for motion in Motion] == list(Motion)
    assert [motion for motion in Motion if MIRRORED_MOTION[motion] != motion] == [1, 2]
