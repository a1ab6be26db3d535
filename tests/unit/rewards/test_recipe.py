"""The reward's section of a recipe: who stands behind which role, and which names lead nowhere."""

import tomllib

import pytest

from worldr1.build import ExperimentConfig, load_experiment
from worldr1.config import dump_toml, parse_config
from worldr1.errors import ConfigError
from worldr1.rewards.profiles import PROFILES
from worldr1.rewards.recipe import RewardConfig, RewardModels, RewardWeights


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (RewardConfig(), "mini"),
        (RewardConfig(profile="paper"), "da3-giant-1.1"),
        (RewardConfig(profile="light"), "da3-base"),
        (RewardConfig(models=RewardModels(reconstructor="mine.models:Lift")), "mine.models:Lift"),
        (RewardConfig(weights=RewardWeights(meta=0, recon=0, traj=0)), ""),
        (RewardConfig(custom="mine.rewards:Whole"), None),
    ],
)
def test_the_3d_model_has_the_name_that_judges_go_by(config: RewardConfig, name: str | None) -> None:
    assert config.reconstructor_name == name


def test_options_come_through_a_recipe_unchanged() -> None:
    sets = (
        "reward.custom=my_pkg.mod:Reward",
        "reward.options.custom.size=3",
        "reward.options.custom.names=['a', 'b']",
        "reward.options.custom.deep.er=1.5",
        "reward.options.custom.on=true",
    )
    config = load_experiment("mini", sets)
    options = {"size": 3, "names": ["a", "b"], "deep": {"er": 1.5}, "on": True}
    assert config.reward.options_of("custom") == options
    again = parse_config(ExperimentConfig, tomllib.loads(dump_toml(config)), where="dump")
    assert again == config and again.reward.options_of("custom") == options
    assert load_experiment("mini").reward.options_of("custom") == {}


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (("reward.custom=my_pkg",), 'names no code: write "package.module:Name"'),
        (("reward.models.critic=/models/qwen",), "the mini profile has its own critic"),
        (("reward.models.critic=mini",), "the mini profile has its own critic"),
        (("reward.models.critik=a:B",), "did you mean 'reward.models.critic'"),
        (("reward.options.critic.size=1",), "options.critic would be read by nobody"),
        (("reward.options.perceptual.batch=1", "reward.profile=paper", "reward.models.perceptual=mini"), "by nobody"),
        (("reward.options.critik.size=1",), "options.critik belongs to nothing"),
        (("reward.options.critic=1", "reward.models.critic=a:B"), "must be a table"),
        (("reward.options=1",), "'reward.options' must be a table, found 1"),
        (("reward.custom=a:B", "reward.profile=light", "reward.placement=swap"), "a custom reward places its own"),
        (("reward.options.custom.when=2026-01-01", "reward.custom=a:B"), "must be a text, a number"),
    ],
)
def test_what_contradicts_itself_is_refused(sets: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_experiment("mini", sets)
    assert words in str(refused.value)


def test_which_models_a_recipe_really_uses() -> None:
    def names(**keys: object) -> list[str]:
        return [m.role for m in RewardConfig(profile="light", **keys).published_models]  # type: ignore[arg-type]

    assert names() == [model.role for model in PROFILES["light"]]
    assert names(weights=RewardWeights(meta=0.0)) == ["reconstructor", "quality", "perceptual"]
    assert names(weights=RewardWeights(meta=0.0, recon=0.0, traj=0.0)) == ["quality"]
    own = RewardModels(critic="my:Critic", perceptual="mini")
    assert names(models=own) == ["reconstructor", "quality"]
    assert RewardConfig(profile="light", models=own).plugins == {"reward.models.critic": "my:Critic"}
    assert names(custom="my:Reward") == []
    idle = RewardConfig(models=own, weights=RewardWeights(meta=0.0))
    assert idle.plugins == {}, "code that would not be called is not run"
