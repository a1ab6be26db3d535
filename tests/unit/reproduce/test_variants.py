"""Every variant is a recipe, as long as its control and different in one thing."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from worldr1.assembly import prompts_with_scenes, run_prompts, training_prompts
from worldr1.build import ExperimentConfig, load_experiment
from worldr1.errors import ConfigError
from worldr1.reproduce.claims import CLAIMS
from worldr1.reproduce.claims.data_size import SIZES, STRESS
from worldr1.reproduce.needs import needed
from worldr1.reproduce.prices import H200, judging_minutes, missing_minutes, run_minutes
from worldr1.reproduce.variants import OFF, RECIPE, UPDATES, VARIANTS, Length
from worldr1.rl.phases import Phase

TERMS = {"no-meta": "meta", "no-recon": "recon", "no-traj": "traj", "no-gen": "gen"}


def recipe(name: str) -> ExperimentConfig:
    return load_experiment(RECIPE, VARIANTS[name].settings)


def changed(name: str) -> dict[str, Any]:
    """Keys that differ from the recipe's."""

    def flat(table: dict[str, Any], where: str = "") -> dict[str, Any]:
        parts = [flat(v, f"{where}{k}.") if isinstance(v, dict) else {where + k: v} for k, v in table.items()]
        return {key: value for part in parts for key, value in part.items()}

    mine, theirs = flat(asdict(recipe(name))), flat(asdict(load_experiment(RECIPE)))
    return {key: value for key, value in mine.items() if value != theirs[key]}


@pytest.mark.parametrize("name", VARIANTS)
def test_its_settings_are_a_recipe_and_change_what_they_say(name: str) -> None:
    settings = VARIANTS[name].settings
    assert sorted(changed(name)) == sorted(setting.split("=")[0] for setting in settings), "no setting is the default"


def test_a_variant_is_as_long_as_its_control_and_has_one() -> None:
    for variant in VARIANTS.values():
        if variant.settings and variant.name != SIZES[-1]:
            assert variant.control is not None and VARIANTS[variant.control].length is variant.length
    assert UPDATES[Length.HALF] < UPDATES[Length.FULL]
    assert {VARIANTS[name].control for name in (STRESS, *SIZES[:-1])} == {SIZES[-1]}, "lists of prompts: the largest"
    assert needed(["data-size"], 3).seeds.keys() == {*SIZES, STRESS}, "which need no run of the recipe"


@pytest.mark.parametrize(("name", "part"), TERMS.items())
def test_a_part_left_out_is_measured_and_moves_nothing(name: str, part: str) -> None:
    config = recipe(name)
    weight = getattr(config.reward.weights, part)
    assert weight == float(OFF) > 0, "weight 0 would leave it out of the run's own evaluations too"
    assert weight * 1.0 / config.train.std_floor < 1e-7, "what it moves an advantage by at most"


def test_groups_of_another_size_are_as_many_videos() -> None:
    videos = {
        n: recipe(n).train.group_size * recipe(n).train.groups_per_update for n in ("half", "group-6", "group-24")
    }
    assert set(videos.values()) == {192}


def test_prompt_lists_are_nested_and_the_unseen_ones_stay() -> None:
    """Of 120 drawn prompts here, and not of 3,000: what is drawn is what `main` says, whatever is used of it."""
    numbers = recipe("half").prompts
    assert [recipe(name).prompts.main_first for name in (STRESS, *SIZES)] == [50, 500, 1000, 1500]
    assert all(recipe(name).prompts == replace(numbers, main_first=recipe(name).prompts.main_first) for name in SIZES)
    few = [replace(recipe("half"), prompts=replace(numbers, main=120, main_first=n)) for n in (20, 60, None)]
    runs = [run_prompts(config) for config in few]
    for config, run, num in zip(few, runs, (20, 60, 120), strict=True):
        assert run.train.main == runs[-1].train.main[:num] == training_prompts(config.prompts).main
        assert run.train.dynamic == runs[-1].train.dynamic and run.test == runs[-1].test


def test_what_training_leaves_aside_is_judged_by_no_run() -> None:
    """A prompt that is drawn and not used is no unseen one: all sizes are judged on one list."""
    few = replace(recipe("half").prompts, main=200, main_first=1, test=200, test_dynamic=0)
    drawn = prompts_with_scenes(few, "train")[0]
    assert drawn == [], "a list of the training prompts themselves: each of them is known"


@pytest.mark.parametrize("first", [0, 3001])
def test_more_than_all_or_none_are_no_list(first: int) -> None:
    with pytest.raises(ConfigError, match=f"prompts.main_first is {first}: give 1 to prompts.main = 3000"):
        load_experiment(RECIPE, (f"prompts.main_first={first}",))


def test_a_half_run_draws_as_often_as_the_page_says() -> None:
    phases = recipe("half").phases
    main = sum(phases.phase_at(update) is Phase.MAIN for update in range(UPDATES[Length.HALF]))
    assert (main, main * recipe("half").train.groups_per_update) == (93, 1488)
    assert any("93 x 16 = 1,488" in note for note in CLAIMS["data-size"].notes)


def test_every_claim_names_variants_that_exist_and_every_variant_is_named() -> None:
    named = {name for claim in CLAIMS.values() for name in (*claim.variants, *claim.beside)}
    assert named == set(VARIANTS)


def test_the_price_of_what_is_missing() -> None:
    half, beyond = VARIANTS["half"], VARIANTS["no-prefix"]
    run = run_minutes("half")
    assert run == pytest.approx((100 * 1.461 + 8 + 25) / 60), "updates, evaluations, start"

    def judging(sides: int) -> float:
        return judging_minutes(H200, sides=sides, prompts=(144, 48))

    assert missing_minutes(half, (), 3) == pytest.approx(3 * run + judging(5))
    assert missing_minutes(half, (0, 2), 3) == pytest.approx(run + judging(1)), "base and truth are known"
    assert missing_minutes(half, (0, 1, 2), 3) == missing_minutes(half, (0, 1, 2, 3), 3) == 0.0
    assert beyond.num_runs(3) == 1 and missing_minutes(beyond, (0,), 3) == 0.0
