"""The cheapest change of a recipe that makes it fit a card; the smallest other card where there is none."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from worldr1.build import ExperimentConfig
from worldr1.planning.cards import CARDS, Card
from worldr1.planning.plan import Plan, make_plan

Load = Callable[[tuple[str, ...]], ExperimentConfig]
"""The recipe with some more `--set` words."""
Sacrifices = Sequence[tuple[str, ...]]
"""Words for `--set` that change the training, from none to most."""

LEAST_FRAMES, LEAST_SIDE_PX = 17, 192
FRAME_STEP, SIDE_STEP_PX = 16, 16
SCALES = (1.0, 5 / 6, 2 / 3, 1 / 2)
"""Of height and width, from the largest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What to type, and what comes of it."""

    words: tuple[str, ...]
    """For `--set`, one each."""
    plan: Plan
    """Its card is the one that the recipe was planned for, or a larger one."""
    same_training: bool
    """Whether the words leave what is trained as it is."""


def advise(recipe: str, load: Load, card: Card, *, gpus: int, hours: float) -> Advice | None:
    """The first change that fits, in order of what it costs; None if no GPU that is known takes any of them.

    First what leaves the training as it is and costs seconds at most: checkpointing, reward models moved in and out,
    tiles, smaller batches. As few of these as possible, of equally many the fastest. Then, beside them, the light
    reward profile, then fewer frames, then a smaller picture. Where none of it helps, the smallest card with more
    memory that takes the same training, again with as few changes as possible: who must change the card need not change
    the training. At last the smallest that takes any.
    """
    same: Sacrifices = ((),)
    others = tuple(_sacrifices(load(())))[1:]
    larger = sorted((c for c in CARDS.values() if c.memory_gib > card.memory_gib), key=lambda c: c.memory_gib)
    tried = [(card, (*same, *others)), *((c, same) for c in larger), *((c, others) for c in larger)]
    found = (_advise(recipe, load, c, sacrifices, gpus, hours) for c, sacrifices in tried)
    return next((advice for advice in found if advice is not None), None)


def _advise(recipe: str, load: Load, card: Card, sacrifices: Sacrifices, gpus: int, hours: float) -> Advice | None:
    for sacrifice in sacrifices:
        harmless = _harmless(load(sacrifice))
        if not _plan(recipe, load, (*sacrifice, *harmless), card, gpus, hours).fits:
            continue
        for number in range(len(harmless) + 1):
            tried = (
                Advice(words=words, plan=_plan(recipe, load, words, card, gpus, hours), same_training=not sacrifice)
                for words in ((*sacrifice, *chosen) for chosen in combinations(harmless, number))
            )
            if fitting := [advice for advice in tried if advice.plan.fits]:
                return min(fitting, key=lambda advice: advice.plan.seconds.update)
    return None


def _plan(recipe: str, load: Load, words: Sequence[str], card: Card, gpus: int, hours: float) -> Plan:
    return make_plan(recipe, load(tuple(words)), card, gpus=gpus, hours=hours)


def _harmless(config: ExperimentConfig) -> list[str]:
    """Changes after which the same is trained, up to rounding and the seams of tiles."""
    model, reward, train = config.model, config.reward, config.train
    applicable = {
        "model.gradient_checkpointing=true": model.gradient_checkpointing is False,
        "reward.placement=swap": bool(reward.published_models) and reward.placement == "resident",
        "model.decode=tiled": model.decode == "whole",
        "model.guidance_batch=separate": model.guidance != 1.0 and model.guidance_batch == "joint",
        "model.text_encoder=free": model.text_encoder == "resident",
        "model.lora_products=base": model.lora_products == "float32" and model.dtype == "bfloat16",
        "train.groups_in_flight=1": (train.groups_in_flight or train.groups_per_update) > 1,
        f"train.decode_batch={train.group_size}": train.decode_batch > train.group_size,
        "sampler.batch=1": config.sampler.batch > 1,
        "reward.batch=1": reward.batch > 1,
    }
    return [words for words, able in applicable.items() if able]


def _sacrifices(config: ExperimentConfig) -> Iterator[tuple[str, ...]]:
    """What changes the training or its videos, from none to most."""
    clip, real = config.clip, config.reward.profile == "paper" and bool(config.reward.published_models)
    for scale in SCALES:
        height, width = (SIDE_STEP_PX * round(scale * side / SIDE_STEP_PX) for side in (clip.height, clip.width))
        if min(height, width) < LEAST_SIDE_PX and scale < 1.0:
            return
        size = () if scale == 1.0 else (f"clip.height={height}", f"clip.width={width}")
        for frames in range(clip.frames, min(LEAST_FRAMES, clip.frames) - 1, -FRAME_STEP):
            fewer = () if frames == clip.frames else (f"clip.frames={frames}",)
            for light in ((), ("reward.profile=light",)) if real else ((),):
                yield (*light, *fewer, *size)
