"""The cheapest change of a recipe that makes it fit a card."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from worldr1.build import ExperimentConfig
from worldr1.planning.cards import CARDS, Card
from worldr1.planning.plan import Plan, make_plan

Load = Callable[[tuple[str, ...]], ExperimentConfig]
"""The recipe with some more `--set` words."""

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


def advise(recipe: str, load: Load, card: Card, *, gpus: int, hours: float) -> Advice | None:
    """The first change that fits, in order of what it costs; None if there is none.

    First what leaves the training as it is and costs seconds at most: checkpointing, reward models moved in and out,
    tiles, smaller batches. As few of these as possible, of equally many the fastest. Then, beside them, the light
    reward profile, then fewer frames, then a smaller picture.
    """
    for sacrifice in _sacrifices(load(())):
        harmless = _harmless(load(sacrifice))
        if not _plan(recipe, load, (*sacrifice, *harmless), card, gpus, hours).fits:
            continue
        for number in range(len(harmless) + 1):
            tried = (
                Advice(words=words, plan=_plan(recipe, load, words, card, gpus, hours))
                for words in ((*sacrifice, *chosen) for chosen in combinations(harmless, number))
            )
            if fitting := [advice for advice in tried if advice.plan.fits]:
                return min(fitting, key=lambda advice: advice.plan.seconds.update)
    return None


def smallest_card(plan: Plan) -> Card | None:
    """The card with least memory that takes a plan as it is; None if none does."""
    able = [card for card in CARDS.values() if plan.needed_gib <= card.memory_gib]
    return min(able, key=lambda card: card.memory_gib, default=None)


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
