"""Random prompts of the mini world: camera plans and scene sentences, from a seed."""

from collections.abc import Container, Sequence
from dataclasses import replace
from itertools import permutations

import torch
from jaxtyping import Int
from torch import Tensor

from worldr1.camera.motion import TOKENS, camera_sentence
from worldr1.mini.prompts import scene_sentences
from worldr1.mini.scenes import Scenes, sample_scenes
from worldr1.seeding import make_generator
from worldr1.types import Prompt

SEQUENCE_SHARE = 0.3
STEPS = tuple(token for token in TOKENS if token not in ("fixed", "pull_left", "pull_right"))
PLANS: tuple[tuple[str, ...], ...] = tuple((token,) for token in TOKENS) + tuple(permutations(STEPS, 2))
"""Every camera plan of the mini world: the eleven moves, then all ordered pairs of two different plain moves."""


def sample_plans(num: int, generator: torch.Generator) -> Int[Tensor, " N"]:
    """Random indices into PLANS: single moves evenly, SEQUENCE_SHARE of two-step sequences."""
    single = torch.randint(len(TOKENS), (num,), generator=generator)
    pair = torch.randint(len(TOKENS), len(PLANS), (num,), generator=generator)
    return torch.where(torch.rand(num, generator=generator) < SEQUENCE_SHARE, pair, single)


def canonical_prompts(scenes: Scenes, plans: Sequence[int]) -> list[str]:
    """`Camera A, then B. Scene.` of each scene; plan -1 leaves the camera sentence out."""
    return [
        sentence if plan < 0 else f"{camera_sentence(PLANS[plan])} {sentence}"
        for plan, sentence in zip(plans, scene_sentences(scenes), strict=True)
    ]


def random_scenes(num: int, *, seed: int, stream: str, dynamic: bool = False) -> tuple[Scenes, list[Prompt]]:
    """Scenes and their prompts (ids 0 .. num - 1), all static or all dynamic, every one with a camera sentence.

    The same (seed, stream) gives the same prompts; two streams ("train", "test") share none but by chance.
    """
    generator = make_generator(seed, f"prompts/{stream}", int(dynamic))
    scenes = sample_scenes(num, generator=generator, dynamic_share=float(dynamic))
    texts = canonical_prompts(scenes, sample_plans(num, generator).tolist())
    return scenes, [Prompt(id=index, text=text, dynamic=dynamic) for index, text in enumerate(texts)]


def unseen_scenes(
    nums: tuple[int, int], *, seed: int, stream: str, known: Container[str]
) -> list[tuple[Prompt, Scenes]]:
    """Prompts of a list with their scenes (of one row each), without those whose text is known.

    nums: drawn static and dynamic ones. Ids count through both.
    """
    drawn: list[tuple[Prompt, Scenes]] = []
    for num, dynamic in zip(nums, (False, True), strict=True):
        if num:
            scenes, prompts = random_scenes(num, seed=seed, stream=stream, dynamic=dynamic)
            drawn += [(prompt, scenes[row : row + 1]) for row, prompt in enumerate(prompts)]
    return [
        (replace(prompt, id=index), scene) for index, (prompt, scene) in enumerate(drawn) if prompt.text not in known
    ]


def random_prompts(num: int, *, seed: int, stream: str, dynamic: bool = False) -> list[Prompt]:
    """The prompts of `random_scenes`."""
    return random_scenes(num, seed=seed, stream=stream, dynamic=dynamic)[1]
