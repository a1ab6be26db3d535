"""From a recipe to objects: the right models for the right names, and refusals before anything long begins."""

from pathlib import Path

import pytest
import torch

from worldr1.backends.wan import WanPolicy
from worldr1.build import (
    ClipConfig,
    ExperimentConfig,
    ModelConfig,
    PromptConfig,
    build_policy,
    build_renderer,
    build_reward,
    check_clip,
    check_ranks,
    choose_device,
    load_experiment,
)
from worldr1.errors import ConfigError, InputError
from worldr1.mini.networks.base import MAX_TEXT_LENGTH
from worldr1.rewards.recipe import RewardConfig, RewardWeights
from worldr1.rl.phases import PhaseConfig
from worldr1.scene.splat import SplatRenderer
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, save_adapter
from worldr1.train.lora import add_lora, lora_parameters, lora_state
from worldr1.train.trainer import TrainConfig


@pytest.fixture(scope="module")
def mini() -> WanPolicy:
    return build_policy(ModelConfig(), "cpu")


def test_the_packaged_model_and_a_folder(mini: WanPolicy, tiny_wan_folder: Path) -> None:
    assert mini.latent_shape(17, 64, 96) == (48, 5, 8, 12)
    assert mini.encode(["Camera push in. A ball."]).shape[1] == MAX_TEXT_LENGTH
    other = build_policy(ModelConfig(folder=str(tiny_wan_folder), dtype="bfloat16", guidance=5.0), "cpu")
    assert other.latent_shape(17, 64, 96) == (8, 5, 8, 12)
    assert other.encode(["a ball"]).shape[1] == 512
    assert (other.guidance, other.transformer.get_parameter("proj_out.weight").dtype) == (5.0, torch.bfloat16)


def test_a_missing_model_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no model folder {tmp_path / 'none'}"):
        build_policy(ModelConfig(folder=str(tmp_path / "none")), "cpu")


def test_an_adapter_is_loaded_and_only_sampled_with_its_guidance(tiny_wan_folder: Path, tmp_path: Path) -> None:
    model, config = ModelConfig(folder=str(tiny_wan_folder)), LoraConfig(rank=2)
    trained = build_policy(model, "cpu")
    add_lora(trained.transformer, config, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in lora_parameters(trained.transformer).values():
            parameter.add_(0.3)
    path, state = tmp_path / "adapter.safetensors", lora_state(trained.transformer)
    save_adapter(path, state, AdapterInfo(config=config, base=model.folder, guidance=1.0))
    loaded = lora_state(build_policy(model, "cpu", lora=path).transformer)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    with pytest.raises(InputError, match=r"trained with guidance 1\.0"):
        build_policy(ModelConfig(folder=model.folder, guidance=5.0), "cpu", lora=path)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (ClipConfig(frames=16), r"frames: 4 k \+ 1.*nearest that does is 17 frames of 64 x 96"),
        (ClipConfig(height=60), r"multiples of 16.*nearest that does is 17 frames of 64 x 96"),
        (ClipConfig(width=8), r"nearest that does is 17 frames of 64 x 16"),
        (ClipConfig(frames=33), r"17 frames of 64 x 96 only"),
    ],
)
def test_clips_that_the_packaged_model_cannot_make_are_refused(mini: WanPolicy, clip: ClipConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_clip(ExperimentConfig(clip=clip), mini)
    assert check_clip(ExperimentConfig(), mini) == (48, 5, 8, 12)


def test_a_model_of_other_clips_is_fine_but_the_mini_reward_is_not(tiny_wan_folder: Path) -> None:
    model, clip = ModelConfig(folder=str(tiny_wan_folder)), ClipConfig(frames=33)
    assert check_clip(ExperimentConfig(model=model, clip=clip), build_policy(model, "cpu")) == (8, 9, 8, 12)
    with pytest.raises(ConfigError, match="17 frames of 64 x 96 only"):
        build_reward(RewardConfig(), "cpu", clip)


def test_the_cpu_renders_with_the_splatter() -> None:
    assert isinstance(build_renderer("cpu"), SplatRenderer)


@pytest.mark.parametrize(("there", "automatic"), [(False, "cpu"), (True, "cuda")])
def test_devices(monkeypatch: pytest.MonkeyPatch, there: bool, automatic: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert (choose_device(), choose_device("cpu")) == (automatic, "cpu")
    if there:
        assert choose_device("cuda") == "cuda"
    else:
        with pytest.raises(InputError, match="no CUDA GPU"):
            choose_device("cuda")


def test_sections_that_contradict_each_other_are_refused() -> None:
    no_gen, one_phase = RewardConfig(weights=RewardWeights(gen=0.0)), PhaseConfig(dynamic_updates=0)
    with pytest.raises(ConfigError, match="Only R_gen and S_motion reward the dynamic phase"):
        ExperimentConfig(reward=no_gen)
    ExperimentConfig(reward=no_gen, phases=one_phase)
    with pytest.raises(ConfigError, match=r"prompts\.dynamic"):
        ExperimentConfig(prompts=PromptConfig(dynamic=0))
    ExperimentConfig(prompts=PromptConfig(dynamic=0), phases=one_phase)
    with pytest.raises(ConfigError, match="float32"):
        ExperimentConfig(train=TrainConfig(trainable="full"), model=ModelConfig(dtype="bfloat16"))
    with pytest.raises(ConfigError, match="Numbers of prompts"):
        PromptConfig(main=-1)
    with pytest.raises(ConfigError, match="Numbers of prompts"):
        PromptConfig(test=0, test_dynamic=0)


def test_overrides_reach_their_section() -> None:
    config = load_experiment("mini-smoke", ("train.seed=7", "noise.strength=0", "model.folder=some/where"))
    assert (config.train.seed, config.noise.strength, config.model.folder) == (7, 0.0, "some/where")
    assert config.train.updates == load_experiment("mini-smoke").train.updates


def test_more_processes_than_groups_are_refused() -> None:
    config = load_experiment("mini-smoke", ("device=cpu", "train.groups_per_update=3"))
    for world in (1, 2, 3):
        check_ranks(config, world)
    with pytest.raises(ConfigError, match=r"has 3 groups .* for 4 processes.*at most 3 processes"):
        check_ranks(config, 4)


@pytest.mark.parametrize("gpus", [0, 1])
def test_processes_that_share_actors_need_a_ray_that_all_reach(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    remote = ("device=cpu", "reward.placement=remote", f"reward.remote.gpus={gpus}", "train.groups_per_update=4")
    config = load_experiment("mini-smoke", remote)
    check_ranks(config, 1)
    with pytest.raises(InputError, match=r"2 ranks share the reward's actors.*reward\.remote\.address or RAY_ADDRESS"):
        check_ranks(config, 2)
    check_ranks(load_experiment("mini-smoke", (*remote, "reward.remote.address=host:6379")), 2)
    check_ranks(load_experiment("mini-smoke", ("device=cpu", "train.groups_per_update=4")), 2)  # no actors at all
    monkeypatch.setenv("RAY_ADDRESS", "host:6379")
    check_ranks(config, 2)


@pytest.mark.parametrize(
    "word",
    [
        "train.trainable=full", "sampler.exact_replay=false", "sampler.ode_dtype=bfloat16", "model.compile=true",
        "objective.kind=best-of-n",
    ],
)  # fmt: skip
def test_a_sharded_base_names_what_it_does_not_do(word: str) -> None:
    with pytest.raises(ConfigError, match=rf"train.shard_base .* needs {word.partition('=')[0]} = "):
        load_experiment("mini-smoke", ("train.shard_base=true", word))
