"""The composition root: a recipe becomes objects. Only it and `reward_models` know which model stands behind a name."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from diffusers.utils import logging as diffusers_logging

from worldr1.backends.gsplat import GsplatRenderer
from worldr1.backends.mini import (
    CLIP_SIZE,
    load_distance,
    load_heads,
    load_judge,
    load_probe,
    load_reconstructor,
    mini_weights,
)
from worldr1.backends.models import (
    MINI,
    ModelConfig,
    VideoModel,
    compile_model,
    is_cogvideox,
    load_model,
    model_needs,
)
from worldr1.backends.published_files import Need
from worldr1.backends.swapping import Swapped
from worldr1.backends.wan import WanPolicy
from worldr1.cluster.ray_actors import RayActors, check_all_reach_ray, check_ray, where
from worldr1.cluster.reward import RemoteReward
from worldr1.config import load_recipe
from worldr1.errors import ConfigError, InputError
from worldr1.evaluate.evaluation import EvaluationConfig
from worldr1.evaluate.judging.judge import Judge
from worldr1.evaluate.metrics.probing import WordProbe
from worldr1.plugins import find_plugin, is_plugin, make_plugin, plugin_file
from worldr1.protocols import Renderer, VideoReward
from worldr1.reward_models import LOADERS, ModelRequest, load_published
from worldr1.rewards.composite import CompositeReward
from worldr1.rewards.own import OwnReward, SameParts, check_model_object
from worldr1.rewards.profiles import PROFILES, ROLES, RewardModel, Role
from worldr1.rewards.recipe import CUSTOM, RewardConfig
from worldr1.rl.objective import ObjectiveConfig
from worldr1.rl.phases import PhaseConfig
from worldr1.rollout.sampler import SamplerConfig
from worldr1.rollout.start_noise import NoiseConfig
from worldr1.scene.splat import SplatRenderer
from worldr1.train.adapter_file import LoraConfig
from worldr1.train.lora import load_adapter
from worldr1.train.lora_products import compute_in_base_dtype, merge_for_good
from worldr1.train.trainer import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """Size of the videos."""

    frames: int = CLIP_SIZE[0]
    height: int = CLIP_SIZE[1]
    width: int = CLIP_SIZE[2]

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width"):
            if (number := getattr(self, name)) < 1:
                raise ConfigError(f"{name} is {number}: give at least 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptConfig:
    """Prompt sets: where they come from and how many of them a run takes."""

    main_set: str = MINI
    """"mini": written from the mini world's random scenes; else a packaged set ("world") or a file (`data.sets`)."""
    dynamic_set: str = MINI
    """The same for dynamic prompts ("dynamic")."""
    enriched: bool = False
    """Take the long text of a packaged set's scenes where there is one."""
    main: int = 3000
    """Training prompts of the main phase."""
    dynamic: int = 500
    """Training prompts of the dynamic phase (and never of the main one)."""
    main_first: int | None = None
    """Train on the first so many of `main` alone: what a smaller number takes is a part of what a larger one takes, and
    the unseen prompts stay the same ones (another `main` draws other scenes). None: on all of them."""
    test: int = 144
    """Unseen prompts of the evaluations before and after."""
    test_dynamic: int = 24
    """Unseen dynamic ones beside them."""
    seed: int = 0
    """Of the mini world's prompts, and of which ones are taken of a set: a smaller number takes a part of them."""

    @property
    def mini(self) -> bool:
        """Whether every prompt has a scene of the mini world behind it."""
        return self.main_set == MINI == self.dynamic_set

    def __post_init__(self) -> None:
        if min(self.main, self.dynamic, self.test, self.test_dynamic) < 0 or self.test + self.test_dynamic == 0:
            raise ConfigError("Numbers of prompts must not be negative, and an evaluation needs at least one.")
        if self.main_first is not None and not 1 <= self.main_first <= self.main:
            raise ConfigError(
                f"prompts.main_first is {self.main_first}: give 1 to prompts.main = {self.main}, or none for all."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentConfig:
    """A whole recipe. Each section's class lies beside the code that it configures."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """"auto": a CUDA GPU if there is one."""
    model: ModelConfig = field(default_factory=ModelConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    prompts: PromptConfig = field(default_factory=PromptConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    phases: PhaseConfig = field(default_factory=PhaseConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        dynamic = self.phases.dynamic_updates > 0
        if self.prompts.main < 1 or (dynamic and self.prompts.dynamic < 1):
            raise ConfigError("A phase has no prompts: raise prompts.main or prompts.dynamic, or drop the phase.")
        if self.train.judge.every and not self.prompts.mini:
            raise ConfigError(
                "The judge knows the mini world only: set train.judge.every = 0, or both prompt sets to mini."
            )
        weights = self.reward.weights
        if dynamic and weights.gen == weights.motion == 0 and self.reward.custom is None:
            raise ConfigError(
                "Only R_gen and S_motion reward the dynamic phase: raise reward.weights.gen or motion, or set "
                "phases.dynamic_updates = 0."
            )
        if self.train.trainable == "full" and self.model.dtype != "float32":
            raise ConfigError('train.trainable = "full" needs model.dtype = "float32": bfloat16 rounds updates away.')
        if self.train.shard_base and (reason := self._unsharded()):
            raise ConfigError(f"train.shard_base deals out a frozen base and needs {reason}.")

    def _unsharded(self) -> str:
        """The first setting that a sharded base does not do; "" if there is none."""
        needed = {
            'train.trainable = "lora"': self.train.trainable == "lora",
            "sampler.exact_replay = true": self.sampler.exact_replay,
            'sampler.ode_dtype = "float32"': self.sampler.ode_dtype == "float32",
            "model.compile = false": not self.model.compile,
            'objective.kind = "flow-grpo"': self.objective.kind == "flow-grpo",
        }
        return next((setting for setting, given in needed.items() if not given), "")


def check_ranks(config: ExperimentConfig, world: int) -> None:
    """Raises ConfigError for a recipe that so many processes cannot share, InputError for actors that they cannot."""
    groups = config.train.groups_per_update
    if groups < world:
        raise ConfigError(
            f"An update has {groups} groups (train.groups_per_update) for {world} processes, and none is split: start "
            f"at most {groups} processes (torchrun --nproc-per-node), or raise it."
        )
    if config.reward.placement == "remote":
        check_all_reach_ray(config.reward.remote, world)


def load_experiment(recipe: str, overrides: tuple[str, ...] = ()) -> ExperimentConfig:
    """The recipe of a packaged name or a TOML path, with `key=value` overrides. Raises ConfigError or InputError."""
    return load_recipe(ExperimentConfig, recipe, overrides)


def choose_device(name: str = "auto") -> str:
    """ "cuda" or "cpu". Raises InputError if CUDA is asked for and absent."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError('This machine has no CUDA GPU; set device = "cpu" or "auto".')
    return name


def build_policy(
    model: ModelConfig, device: str, *, lora: Path | None = None, base_device: str | None = None
) -> WanPolicy:
    """The base model, with the adapter file `lora` on it if given. base_device: as `load_model` takes it.

    Raises InputError for an unusable folder or file.
    """
    if is_cogvideox(model):  # before its gigabytes are fetched
        raise InputError(f"{model.folder} is a CogVideoX model, which only generates; choose a Wan 2.1 model.")
    policy = _load(model, device, base_device)
    assert isinstance(policy, WanPolicy), "the other kind was refused"
    if lora is not None:
        info = load_adapter(lora, policy.transformer, model=model.folder)
        if info.guidance != model.guidance:
            raise InputError(
                f"{lora} was trained with guidance {info.guidance}; sample it with the same (guidance={info.guidance})."
            )
        if model.lora_products == "base":
            compute_in_base_dtype(policy.transformer)
    compile_model(policy, model)
    return policy


def build_generator(model: ModelConfig, device: str, *, lora: Path | None = None) -> VideoModel:
    """A model that makes videos, the adapter file `lora` merged into its weights: nothing of it costs time.

    Raises InputError for an unusable folder or file.
    """
    if lora is not None and is_cogvideox(model):
        raise InputError(f"Adapters are trained on Wan models, and {model.folder} is CogVideoX: leave out the LoRA.")
    generator = _load(model, device)
    if lora is not None:
        load_adapter(lora, generator.transformer, model=model.folder)
        merge_for_good(generator.transformer)
    compile_model(generator, model)
    return generator


def _load(model: ModelConfig, device: str, base_device: str | None = None) -> VideoModel:
    if not sys.stderr.isatty():  # nobody watches the libraries' bars, and they would bury our lines
        transformers.logging.disable_progress_bar()
        diffusers_logging.disable_progress_bar()
    torch.set_float32_matmul_precision("high" if model.tf32 else "highest")
    return load_model(model, device, base_device=base_device)


def build_renderer(device: str) -> Renderer:
    """gsplat on a GPU, the numba splatter on the CPU."""
    return GsplatRenderer(device) if device == "cuda" else SplatRenderer()


# ------------------------------------------------------------------------------------------------------------- rewards


def build_reward(config: RewardConfig, device: str, clip: ClipConfig) -> CompositeReward | OwnReward | RemoteReward:
    """The reward of a recipe, where it places it: in this process, or on actors elsewhere (then `release_reward`).

    Raises ConfigError for keys that cannot be and for mini models with clips of another size, InputError for weights or
    code of the user's own that cannot be used and for actors that cannot be had, ServerError if none starts.
    """
    if config.placement != "remote":
        return build_local_reward(config, device, clip)
    check_reward(config)
    make = partial(build_local_reward, config, "cuda" if config.remote.gpus_on(device) else "cpu", clip)
    same_parts = None if config.custom is None else SameParts(f"reward.{CUSTOM} = {config.custom}")
    actors = RayActors(config.remote, make, device)
    return RemoteReward(actors, config.remote, batch=config.batch, same_parts=same_parts)


def release_reward(reward: VideoReward) -> None:
    """Ends what a reward has elsewhere; nothing for one of this process."""
    if isinstance(reward, RemoteReward):
        reward.close()


def build_local_reward(config: RewardConfig, device: str, clip: ClipConfig) -> CompositeReward | OwnReward:
    """The reward of a recipe in this process, wherever the recipe places it: the composite with its models, or a whole
    one of the user's own. Raises ConfigError and InputError as `build_reward` does."""
    check_reward(config)
    if config.custom is None:
        return build_composite(config, device, clip)
    key = f"reward.{CUSTOM}"
    own = make_plugin(config.custom, key=key, device=device, options=config.options_of(CUSTOM))
    return OwnReward(own, name=f"{key} = {config.custom}", batch=config.batch)


def build_composite(config: RewardConfig, device: str, clip: ClipConfig) -> CompositeReward:
    """The four parts with their models, whatever `reward.custom` says. Raises as `build_reward` does."""
    check_reward(config)
    models: dict[str, Any] = {role: _NotLoaded(role) for role in ROLES} | _mini_models(config, device, clip)
    sizes = {model.role: model.parameters for model in PROFILES[config.profile]}
    for role in sorted(config.needed, key=lambda role: sizes.get(role, 0)):  # a file that is missing is missed soon
        said = config.models.of(role)
        if is_plugin(said):
            key = f"reward.models.{role}"
            models[role] = make_plugin(said, key=key, device=device, options=config.options_of(role))
            check_model_object(models[role], f"{key} = {said}")
        elif said == MINI:
            models[role] = load_distance(device)
        elif config.profile != MINI:
            (model,) = (model for model in PROFILES[config.profile] if model.role == role)
            models[role] = load_published(_request(config, model, device, clip))
        if config.placement == "swap":
            models[role] = Swapped(models[role], device)
    return CompositeReward(renderer=build_renderer(device), config=config, **models)


def check_reward(config: RewardConfig) -> None:
    """Imports the user's own code that a recipe names, and raises before anything large is loaded.

    ConfigError for options that a model does not have; InputError for code that cannot be imported, and without Ray
    where the recipe needs it.
    """
    if config.placement == "remote":
        check_ray()
    for key, name in config.plugins.items():
        find_plugin(name, key=key)
    for model in config.published_models:
        LOADERS[model.role].configure(_request(config, model, "cpu", ClipConfig()))


def recipe_needs(config: ExperimentConfig, device: str) -> Iterator[tuple[str, Need]]:
    """All that must be there before a recipe's models can be loaded, each with whom it is for.

    Raises ConfigError for options that a model does not have.
    """
    reward = config.reward
    yield from (("base model", need) for need in model_needs(config.model))
    if reward.placement == "remote":
        yield "reward actors", check_ray
    yield from ((key, partial(find_plugin, name, key=key)) for key, name in reward.plugins.items())
    for model in reward.published_models:
        loader = LOADERS[model.role]
        settings = loader.configure(_request(reward, model, device, config.clip))
        yield from ((f"{model.role} {model.name}", need) for need in loader.needs(settings))
    if reward.custom is None and device == "cuda":
        yield "renderer", partial(build_renderer, device)


def describe_reward(config: RewardConfig, reward: VideoReward, device: str = "cpu") -> str:
    """For the start of a run: who judges, whose code, where, under which licences. "" for the mini models alone in this
    process. device: of the run."""
    own = [f"own code {key} = {name} from {plugin_file(name)}" for key, name in config.plugins.items()]
    used = ", ".join(model.name for model in config.published_models)
    elsewhere = [where(config.remote, device)] if config.placement == "remote" else []
    if not own and not used and not elsewhere:
        return ""
    published = [f"{used} ({config.placement})"] if used else []
    return f"reward: {'; '.join([*published, *own, *elsewhere])}; licence: {reward.licence}"


class _NotLoaded:
    """Stands for a model that the weights leave nothing to do."""

    licence = "none"

    def __init__(self, role: Role) -> None:
        self.role = role

    def __call__(self, *args: Any) -> Any:
        raise RuntimeError(f"the {self.role} is not loaded, because the reward's weights leave it nothing to do")


def _mini_models(config: RewardConfig, device: str, clip: ClipConfig) -> dict[str, Any]:
    """Those that the mini profile keeps; raises ConfigError if they do not know clips of that size."""
    if config.profile != MINI:
        return {}
    kept = [role for role in ROLES if not is_plugin(config.models.of(role))]
    if set(kept) - {"perceptual"}:
        _check_mini_size(clip)
    models: dict[str, Any] = {}
    if "reconstructor" in kept:
        models["reconstructor"] = load_reconstructor(device)
    if {"critic", "quality"} & set(kept):
        models |= zip(("critic", "quality", "perceptual"), load_heads(device), strict=True)
    elif "perceptual" in kept:
        models["perceptual"] = load_distance(device)
    return models


def _request(config: RewardConfig, model: RewardModel, device: str, clip: ClipConfig) -> ModelRequest:
    return ModelRequest(
        model=model,
        said=config.models.of(model.role),
        options=config.options_of(model.role),
        device=device,
        clip=(clip.frames, clip.height, clip.width),
    )


def build_judge(device: str, *, weights: Path | None = None) -> Judge:
    """The judge that no reward meets: the second 3D model, and the attribute probe where there is one.

    weights: folder of judge.safetensors and probe.safetensors; None: the packaged ones. Raises InputError if the judge
    is missing.
    """
    has_probe = ((weights or mini_weights()) / "probe.safetensors").is_file()
    onlooker = WordProbe(load_probe(device, weights=weights)) if has_probe else None
    return Judge(load_judge(device, weights=weights), build_renderer(device), onlooker=onlooker)


def evaluation_config(config: ExperimentConfig, *, seed: int) -> EvaluationConfig:
    """How a recipe's videos are made when they are judged; seed: of their start noise."""
    return EvaluationConfig(
        sampler=config.sampler,
        noise=config.noise,
        clip=(config.clip.frames, config.clip.height, config.clip.width),
        guidance=config.model.guidance,
        seed=seed,
        batch=config.train.decode_batch,
    )


def check_clip(config: ExperimentConfig, policy: VideoModel) -> tuple[int, int, int, int]:
    """Latent shape of the recipe's clips. Raises InputError or ConfigError for sizes that a model cannot take."""
    clip = config.clip
    shape = policy.latent_shape(clip.frames, clip.height, clip.width)
    if config.model.folder == MINI:
        _check_mini_size(clip)
    return shape


def _check_mini_size(clip: ClipConfig) -> None:
    if (clip.frames, clip.height, clip.width) != CLIP_SIZE:
        frames, height, width = CLIP_SIZE
        raise ConfigError(f"The mini models know clips of {frames} frames of {height} x {width} only; set clip so.")
