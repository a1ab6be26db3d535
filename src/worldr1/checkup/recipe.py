"""All checks of a recipe, one after the other; the base model is gone before the reward's models come."""

import gc
from collections.abc import Callable

import torch

from worldr1.build import (
    ExperimentConfig,
    build_local_reward,
    build_policy,
    check_clip,
    check_reward,
    choose_device,
    recipe_needs,
)
from worldr1.checkup.actors import actors, not_asked
from worldr1.checkup.findings import Finding, attempted
from worldr1.checkup.judging import judging, make_clips
from worldr1.checkup.missing import check_needs
from worldr1.checkup.sampling import nothing_sampled, sampling


def check_recipe(config: ExperimentConfig, *, say: Callable[[str], None] = lambda line: None) -> list[Finding]:
    """Loads what the recipe names and asks it what `checkup.sampling`, `judging` and `actors` ask.

    say: shows the user a line. Raises InputError for a recipe, weights or code that cannot be used at all: for
    all that is missing in one go.
    """
    device = choose_device(config.device)
    check_needs(recipe_needs(config, device))
    check_reward(config.reward)
    first = _sampled(config, device, say)
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    say("loading the reward's models")
    reward = build_local_reward(config.reward, device, config.clip)
    say("rendering clips, clean and damaged, and scoring them")
    clips = make_clips(config.clip, device)
    found = [first, *judging(reward, clips)]
    if config.reward.placement == "remote":
        say("starting the reward actors, and scoring the clean clips there")
        otherwise = not_asked(config, device)
        found.append(attempted(lambda: actors(config, device, reward, clips.example), otherwise))
    return found


def _sampled(config: ExperimentConfig, device: str, say: Callable[[str], None]) -> Finding:
    """The base model's check; it is let go of at the end."""
    say("loading the base model")
    policy = build_policy(config.model, device)
    check_clip(config, policy)
    say("sampling with it and with stock diffusers")
    return attempted(lambda: sampling(config, policy), nothing_sampled(config))
