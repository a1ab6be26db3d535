"""From a recipe to what a run needs: its prompts, and a trainer that knows the processes it shares them with."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Self

import torch

from worldr1.backends.wan import WanPolicy
from worldr1.build import (
    MINI,
    ExperimentConfig,
    PromptConfig,
    build_judge,
    build_policy,
    build_reward,
    check_clip,
    check_ranks,
    check_reward,
    choose_device,
)
from worldr1.config import dump_toml
from worldr1.data.sets import load_prompts, subset
from worldr1.errors import InputError
from worldr1.evaluate.judging.judge import Judge
from worldr1.mini.promptset import random_prompts, unseen_scenes
from worldr1.mini.scenes import Scenes
from worldr1.protocols import VideoReward
from worldr1.seeding import make_generator
from worldr1.train.algorithm import Method
from worldr1.train.lora import prepare_trainable
from worldr1.train.lora_products import compute_in_base_dtype
from worldr1.train.ranks import Ranks
from worldr1.train.sharding import shard_base
from worldr1.train.trackers import check_trackers
from worldr1.train.trainer import PromptSets, Trainer
from worldr1.types import Prompt


@dataclass(frozen=True, slots=True)
class RunPrompts:
    """All prompts of a run."""

    train: PromptSets
    test: list[Prompt]

    @property
    def all(self) -> list[Prompt]:
        """Every prompt that the run trains or tests with."""
        return [*self.train.main, *self.train.dynamic, *self.test]


def training_prompts(numbers: PromptConfig) -> PromptSets:
    """What a recipe trains with. Raises InputError for a set that cannot be read or is too small."""
    return _first(drawn_prompts(numbers), numbers)


def _first(drawn: PromptSets, numbers: PromptConfig) -> PromptSets:
    return replace(drawn, main=drawn.main[: numbers.main_first])


def drawn_prompts(numbers: PromptConfig) -> PromptSets:
    """What it draws, `main_first` or not: no prompt of these is an unseen one. Raises as `training_prompts`."""

    def some(source: str, num: int, dynamic: bool) -> list[Prompt]:
        if not num:
            return []
        if source == MINI:
            return random_prompts(num, seed=numbers.seed, stream="train", dynamic=dynamic)
        return subset(load_prompts(source, dynamic=dynamic, enriched=numbers.enriched), num, seed=numbers.seed)

    return PromptSets(
        main=some(numbers.main_set, numbers.main, False), dynamic=some(numbers.dynamic_set, numbers.dynamic, True)
    )


def prompts_with_scenes(
    numbers: PromptConfig, stream: str = "test"
) -> tuple[list[Prompt], dict[tuple[int, bool], Scenes]]:
    """Unseen prompts of the mini world, and the scene of each by (id, dynamic); stream "test": those of `run_prompts`.

    Raises InputError for a recipe whose prompts are not all of the mini world.
    """
    if not numbers.mini:
        raise InputError("The judge knows the mini world only: give a run whose prompt sets are both mini.")
    drawn = drawn_prompts(numbers)
    known = {prompt.text for prompt in (*drawn.main, *drawn.dynamic)}
    kept = unseen_scenes((numbers.test, numbers.test_dynamic), seed=numbers.seed, stream=stream, known=known)
    return [prompt for prompt, _ in kept], {(prompt.id, prompt.dynamic): scene for prompt, scene in kept}


def prompts_sha256(prompts: Sequence[Prompt]) -> str:
    """What a list of prompts is known by: of their texts, in order."""
    return hashlib.sha256("\n".join(prompt.text for prompt in prompts).encode()).hexdigest()


def run_prompts(config: ExperimentConfig) -> RunPrompts:
    """What a recipe trains and tests with; no test prompt is trained on. Raises InputError as `training_prompts`."""
    numbers = config.prompts
    drawn = drawn_prompts(numbers)
    known = {prompt.text for prompt in (*drawn.main, *drawn.dynamic)}
    nums = (numbers.test * (numbers.main_set == MINI), numbers.test_dynamic * (numbers.dynamic_set == MINI))
    unseen = unseen_scenes(nums, seed=numbers.seed, stream="test", known=known)
    test = [prompt for prompt, _ in unseen]
    for source, num, dynamic in (
        (numbers.main_set, numbers.test, False),
        (numbers.dynamic_set, numbers.test_dynamic, True),
    ):
        if source != MINI and num:
            # of a file, which has one split, what training does not take
            found = load_prompts(source, "test", dynamic=dynamic, enriched=numbers.enriched)
            test += subset([prompt for prompt in found if prompt.text not in known], num, seed=numbers.seed)
    return RunPrompts(_first(drawn, numbers), test)


def judge_prompts(config: ExperimentConfig, others: RunPrompts) -> list[Prompt]:
    """What the judge looks at while training: neither training nor test prompts, a quarter of them dynamic."""
    num, known = config.train.judge.prompts, {prompt.text for prompt in others.all}
    static, dynamic = num - num // 4, num // 4
    drawn = random_prompts(2 * static, seed=config.prompts.seed, stream="judge")
    moving = random_prompts(2 * dynamic, seed=config.prompts.seed, stream="judge", dynamic=True) if dynamic else []
    unseen = [[p for p in found if p.text not in known][:n] for found, n in ((drawn, static), (moving, dynamic))]
    return [*unseen[0], *unseen[1]]


class Parts(NamedTuple):
    """What a session has beside its trainer."""

    test: list[Prompt]
    judge: Judge | None
    """None: nobody looks on."""
    judge_prompts: list[Prompt]

    @classmethod
    def make(cls, config: ExperimentConfig, prompts: RunPrompts) -> Self:
        if not config.train.judge.every:
            return cls(prompts.test, None, [])
        return cls(prompts.test, build_judge(choose_device(config.device)), judge_prompts(config, prompts))


def assemble(config: ExperimentConfig, ranks: Ranks) -> tuple[Trainer, Parts]:
    """A trainer that has its ranks, and what the session has beside it."""
    if len(set(ranks.gather(dump_toml(config)))) > 1:
        raise InputError("The processes of this run were started with different recipes; start all by one command.")
    built: list[tuple[RunPrompts, _Models, Parts]] = []

    def build() -> None:
        check_ranks(config, ranks.world)  # of its own environment too: one rank alone may know no Ray
        prompts = run_prompts(config)
        built.append((prompts, _load_models(config, ranks), Parts.make(config, prompts)))

    ranks.together(build)
    prompts, models, parts = built[0]
    return _trainer(config, prompts.train, models, ranks), parts


class _Models(NamedTuple):
    policy: WanPolicy
    latent_shape: tuple[int, int, int, int]
    reward: VideoReward


def _load_models(config: ExperimentConfig, ranks: Ranks) -> _Models:
    check_reward(config.reward)
    check_trackers(config.train.log)
    device = choose_device(config.device)
    base_device = "cpu" if _sharded(config, ranks) else None  # it would not fit
    policy: WanPolicy = build_policy(config.model, device, base_device=base_device)
    return _Models(policy, check_clip(config, policy), build_reward(config.reward, device, config.clip))


def _sharded(config: ExperimentConfig, ranks: Ranks) -> bool:
    return config.train.shard_base and ranks.world > 1


def _trainer(config: ExperimentConfig, prompts: PromptSets, models: _Models, ranks: Ranks) -> Trainer:
    policy = models.policy
    base_state = None
    if config.train.trainable == "full":
        base_state = {name: p.detach().clone() for name, p in policy.transformer.named_parameters()}
    parameters = prepare_trainable(
        policy.transformer,
        config.train.trainable,
        lora=config.lora,
        generator=make_generator(config.train.seed, "lora"),
    )
    if config.train.trainable == "lora" and config.model.lora_products == "base":
        compute_in_base_dtype(policy.transformer)
    if _sharded(config, ranks):
        device = torch.device(choose_device(config.device))
        shard_base(policy.transformer, parameters.values(), ranks, device=device, dtype=policy.dtype)
    method = Method(sampler=config.sampler, noise=config.noise, objective=config.objective, phases=config.phases)
    clip = (config.clip.frames, config.clip.height, config.clip.width)
    trainer = Trainer(
        policy, parameters, models.reward, prompts, config=config.train, method=method, clip=clip, base_state=base_state
    )
    trainer.ranks = ranks
    rows = trainer.algorithm.trained_rows(
        len(trainer.ranks.deal(config.train.groups_per_update)), config.train.group_size
    )
    checkpoint = partial(
        policy.checkpoint_gradients,
        rows=rows,
        latent_shape=models.latent_shape,
        lora_float32=config.model.lora_products == "float32",
    )
    checkpoint(config.model.gradient_checkpointing)
    if ranks.world > 1:  # all alike, whatever memory each has free
        checkpoint(any(ranks.gather(policy.checkpointed)))
    return trainer
