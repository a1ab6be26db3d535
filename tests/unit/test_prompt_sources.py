"""A recipe names its prompt sets: the mini world, a packaged set, or a file; tests never see a training prompt."""

from pathlib import Path

import pytest

from worldr1.assembly import prompts_with_scenes, run_prompts, training_prompts
from worldr1.build import ExperimentConfig, load_experiment
from worldr1.errors import ConfigError, InputError


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "train.txt"
    path.write_text("\n".join(f"Camera push in. A lake with {i} boats." for i in range(20)))
    return path


def _config(*overrides: str) -> ExperimentConfig:
    return load_experiment("mini-smoke", overrides)


def test_a_file_gives_training_and_unseen_test_prompts(lines: Path) -> None:
    config = _config(f'prompts.main_set="{lines}"', "prompts.main=12", "prompts.test=8", "prompts.test_dynamic=2")
    found = run_prompts(config)
    texts = [prompt.text for prompt in found.train.main]
    assert len(texts) == 12 and set(texts) < set(lines.read_text().splitlines())
    unseen = [prompt.text for prompt in found.test if not prompt.dynamic]
    assert len(unseen) == 8 and not set(unseen) & set(texts)
    assert all(prompt.dynamic for prompt in found.train.dynamic) and sum(p.dynamic for p in found.test) == 2
    assert len({(p.id, p.dynamic) for p in found.test}) == len(found.test) == 10


def test_fewer_prompts_are_a_part_of_more(lines: Path) -> None:
    few, more = (
        training_prompts(_config(f'prompts.main_set="{lines}"', f"prompts.main={num}").prompts).main for num in (5, 15)
    )
    assert {prompt.id for prompt in few} < {prompt.id for prompt in more}


def test_what_is_drawn_and_not_trained_on_is_no_test_prompt(lines: Path) -> None:
    """Runs that train on fewer of the same prompts are tested on the same unseen ones."""
    settings = (f'prompts.main_set="{lines}"', "prompts.main=12", "prompts.test=8", "prompts.test_dynamic=2")
    few, whole = (run_prompts(_config(*settings, *more)) for more in (("prompts.main_first=3",), ()))
    assert few.train.main == whole.train.main[:3] and few.test == whole.test


def test_packaged_sets_have_test_prompts_of_their_own() -> None:
    found = run_prompts(_config('prompts.main_set="world"', 'prompts.dynamic_set="dynamic"', "prompts.main=30"))
    assert len(found.train.main) == 30 and not any(prompt.dynamic for prompt in found.train.main)
    assert found.train.dynamic and all(prompt.dynamic for prompt in found.train.dynamic)
    assert not {p.text for p in found.test} & {p.text for p in (*found.train.main, *found.train.dynamic)}


def test_a_set_that_is_too_small_or_missing_is_said(lines: Path) -> None:
    with pytest.raises(InputError, match="has 20 prompts, not 21"):
        training_prompts(_config(f'prompts.main_set="{lines}"', "prompts.main=21").prompts)
    with pytest.raises(InputError, match="has 8 prompts, not 9"):
        run_prompts(_config(f'prompts.main_set="{lines}"', "prompts.main=12", "prompts.test=9"))
    with pytest.raises(InputError, match="is no prompt set: give world, dynamic"):
        training_prompts(_config('prompts.main_set="worlds"').prompts)


def test_the_judge_refuses_what_has_no_scene_behind_it(lines: Path) -> None:
    with pytest.raises(ConfigError, match="judge knows the mini world only"):
        _config(f'prompts.main_set="{lines}"', "train.judge.every=5")
    with pytest.raises(InputError, match="judge knows the mini world only"):
        prompts_with_scenes(_config(f'prompts.main_set="{lines}"').prompts)
