"""A trainer of a tiny random Wan with a reward that costs nothing, for tests of updates."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from worldr1.backends.wan import WanPolicy
from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path
from worldr1.rl.objective import ObjectiveConfig
from worldr1.rl.phases import PhaseConfig
from worldr1.rollout.sampler import SamplerConfig, sample_ode
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise
from worldr1.train.adapter_file import LoraConfig
from worldr1.train.algorithm import Method
from worldr1.train.checkpoint import TrainState
from worldr1.train.lora import prepare_trainable
from worldr1.train.metrics import untimed as untimed
from worldr1.train.trainer import PromptSets, TrainConfig, Trainer
from worldr1.types import Prompt, RewardResult, Status, Trajectory

CLIP = (5, 16, 16)
CONFIG = TrainConfig(updates=4, group_size=4, groups_per_update=2, lr=3e-3, decode_batch=8, max_fault_fraction=1.0)
METHOD = Method(
    sampler=SamplerConfig(num_steps=4, first_index=1, last_index=2),
    noise=NoiseConfig(strength=0.5, min_cells=2),
    objective=ObjectiveConfig(kl_beta=0.0),
    phases=PhaseConfig(main_updates=2, dynamic_updates=1),
)
MOVES = ("pushes in", "pans left", "moves right")
PROMPTS = PromptSets(
    main=[Prompt(id=i, text=f"Camera {move}. A red ball on the floor.") for i, move in enumerate(MOVES)],
    dynamic=[Prompt(id=i, text=f"A red {solid} in the box.", dynamic=True) for i, solid in enumerate(("ball", "box"))],
)
SCORES = (0.1, 0.9, 0.4, 0.3)
FAULT = RewardResult(value=math.nan, parts={"look": math.nan}, status=Status.FAULT, reason="it crashed")
NOT_FINITE = RewardResult(value=math.nan, parts={"look": math.nan})
REJECTED = RewardResult(value=0.0, parts={"look": 0.0}, status=Status.REJECTED, reason="nothing to see")


class FakeReward:
    """Scores by the brightness of the video, or (cyclically) by a fixed list that does not look at it."""

    licence = "none"
    part_weights: ClassVar = {"look": 1.0}

    def __init__(self, *fixed: float | RewardResult) -> None:
        self.fixed = fixed
        self.calls: list[tuple[list[Prompt], list[Trajectory | None], bool]] = []

    def __call__(
        self, videos: Tensor, prompts: Sequence[Prompt], paths: Sequence[Trajectory | None], phase_dynamic: bool
    ) -> list[RewardResult]:
        self.calls.append((list(prompts), list(paths), phase_dynamic))
        brightness = videos.mean((1, 2, 3, 4)).tolist()
        given = [self.fixed[i % len(self.fixed)] for i in range(len(videos))] if self.fixed else None
        return [_result(score) for score in given or [20 * b for b in brightness]]


def _result(score: float | RewardResult) -> RewardResult:
    if isinstance(score, RewardResult):
        return score
    return RewardResult(value=score, parts={"look": score}, measures={"doubled": 2 * score})


Make = Callable[..., Trainer]
"""`build_trainer` without its folder."""


def build_trainer(
    folder: Path,
    reward: Any = None,
    *,
    method: Method = METHOD,
    prompts: PromptSets = PROMPTS,
    clip: Any = CLIP,
    **changes: Any,
) -> Trainer:
    """Trainers of equal parameters. Keywords other than `method`, `prompts` and `clip` are `TrainConfig`'s."""
    config = dataclasses.replace(CONFIG, **changes)
    policy = WanPolicy.from_folder(folder, max_text_length=16)
    transformer: Any = policy.transformer
    with torch.no_grad():  # diffusers initialises the output to almost nothing: no two videos would differ
        weight = transformer.proj_out.weight
        weight.copy_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    is_full = config.trainable == "full"
    base_state = {name: p.detach().clone() for name, p in transformer.named_parameters()} if is_full else None
    lora, generator = LoraConfig(rank=4, alpha=8.0), torch.Generator().manual_seed(2)
    parameters = prepare_trainable(transformer, config.trainable, lora=lora, generator=generator)
    reward = reward or FakeReward()
    return Trainer(policy, parameters, reward, prompts, config=config, method=method, clip=clip, base_state=base_state)


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_state(a: TrainState, b: TrainState) -> bool:
    tensors = same(a.params, b.params) and same(a.ema, b.ema) and same(a.optimizer, b.optimizer)
    return tensors and (a.update, a.extra) == (b.update, b.extra)


def mean_reward(trainer: Trainer) -> float:
    """Of noise-free samples of the main prompts, four start noises each."""
    prompts = list(PROMPTS.main) * 4
    paths = [requested_path(parse_plan(prompt.text).tokens, CLIP[0]) for prompt in prompts]
    plans = PlanCache()
    start = [start_noise(p, trainer.latent_shape, [i], METHOD.noise, plans) for i, p in enumerate(paths)]
    embeddings = trainer.policy.encode([prompt.text for prompt in prompts])
    with torch.no_grad():
        latents = sample_ode(trainer.policy, embeddings, torch.cat(start), METHOD.sampler)
    return 20 * float(trainer.policy.decode(latents).mean())
