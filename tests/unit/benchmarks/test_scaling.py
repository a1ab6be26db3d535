"""docs/scaling.md says what `benchmarks/scaling.py` prints, and its stage times are what `worldr1 plan` counts."""

import re
import xml.dom.minidom
from pathlib import Path
from statistics import fmean

import pytest
import scaling
from cluster_simulation import Layout, rollout_seconds, simulate

from worldr1.build import load_experiment
from worldr1.planning.cards import CARDS
from worldr1.planning.plan import make_plan
from worldr1.planning.shapes import Lora, Transformer

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "scaling.md").read_text(encoding="utf-8")


def test_the_page_has_the_script_s_tables() -> None:
    """Those that are made in a second; all others come from the same call."""
    for table in (scaling.stage_table(), scaling.sweep_table("large", 8)):
        assert "\n".join(table) in PAGE
    times = scaling.stage_times("small")
    in_place = scaling.run(times, Layout(policy=48, reward=0))
    assert f"| Small | 48 | in place | 48 | **{in_place.seconds:.0f}** |" in PAGE


def test_the_picture_is_of_the_same_numbers() -> None:
    picture = (DOCS / "images" / "scaling.svg").read_text(encoding="utf-8")
    xml.dom.minidom.parseString(picture)
    drawn = sorted(number.replace(",", "") for number in re.findall(r">([\d,]+) s \(", picture))
    said = sorted(re.findall(r"\| \*\*(\d+)\*\* \|", PAGE))
    assert len(said) == 18 and drawn == said


@pytest.mark.parametrize("model", ["small", "large"])
def test_stage_times_are_near_the_plan_s(model: str) -> None:
    config = load_experiment(f"world-r1-{model}", ("sampler.ode_dtype=bfloat16",))
    plan = make_plan(model, config, CARDS["h200"], gpus=48, hours=24.0)
    times, layout = scaling.stage_times(model), Layout(policy=48, reward=0)
    sampler = config.sampler
    assert (sampler.allowed_indices[0], sampler.allowed_indices[-1]) == (scaling.FIRST, scaling.LAST)
    assert (layout.groups, layout.group_size) == (config.train.groups_per_update, config.train.group_size)
    rollouts = [rollout_seconds(times, layout, index) for index in sampler.allowed_indices]
    assert fmean(rollouts) == pytest.approx(plan.seconds.rollout, rel=0.05)
    assert times.step == pytest.approx(plan.seconds.step, rel=0.05)


@pytest.mark.parametrize(("model", "folder"), [("small", "wan2.1-1.3b"), ("large", "wan2.1-14b")])
def test_the_gradient_is_the_lora_s(model: str, folder: str) -> None:
    from worldr1.planning.job import find_parts

    config = load_experiment("world-r1-small")
    network = Transformer.of(find_parts(folder).transformer.config)
    lora = Lora(rank=config.lora.rank, targets=config.lora.targets, number_bytes=4)
    numbers = network.layers * sum(lora.rank * (layer.inputs + layer.outputs) for layer in lora.layers(network))
    assert scaling.gradient_bytes(model) == 4 * numbers


def test_the_best_layout_is_the_fastest_with_the_fewest_reward_gpus() -> None:
    times = scaling.stage_times("large")
    found = scaling.best(times, 8, ahead=2, groups=8)
    for reward in scaling.reward_gpus(8):
        case = scaling.run(times, Layout(policy=8 - reward, reward=reward, groups=8))
        assert found.seconds <= 1.005 * case.seconds
        assert reward >= found.layout.reward or case.seconds > found.seconds / 1.005


def test_sde_steps_are_the_same_for_every_layout() -> None:
    assert scaling.drawn(48) == scaling.drawn(48) and len(scaling.drawn(48)) == scaling.UPDATES
    assert {len(set(indices)) for indices in scaling.drawn(48, per_update=True)} == {1}
    update = simulate(scaling.stage_times("small"), Layout(policy=4, reward=1, groups=8), scaling.drawn(8)[0])
    assert update.ranks[0].reduce > 0
