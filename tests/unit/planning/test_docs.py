"""docs/models.md says what `worldr1 plan` says."""

import re
from pathlib import Path

import full_update
import pytest

from worldr1.build import load_experiment
from worldr1.planning.cards import CARDS
from worldr1.planning.plan import make_plan
from worldr1.rewards.profiles import PROFILES

PAGE = Path(__file__).parents[3] / "docs" / "models.md"
ROW = re.compile(
    r"^\| `(?P<recipe>[\w-]+)`[^|]*\| (?P<gpus>\d+) x (?P<gpu>[\w-]+) \| (?P<needed>[\d.]+) \| (?P<update>[\d,]+) "
    r"\| (?P<updates>\d+) \| (?P<hours>[\d,.]+) \|$",
    re.MULTILINE,
)
ROWS = [match.groupdict() for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))]


def test_the_table_is_there() -> None:
    assert {row["recipe"] for row in ROWS} == {
        "world-r1-small",
        "world-r1-large",
        "small-1gpu-day",
        "small-8gpu-day",
        "small-24gb",
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['recipe']} {row['gpus']} {row['gpu']}")
def test_every_row_is_what_the_command_says(row: dict[str, str]) -> None:
    config = load_experiment(row["recipe"])
    plan = make_plan(row["recipe"], config, CARDS[row["gpu"]], gpus=int(row["gpus"]), hours=24.0)
    whole = (plan.start_s + plan.evaluations_s + plan.updates_asked * plan.seconds.update) / 3600
    said = (row["needed"], row["update"], row["updates"], row["hours"])
    assert said == (f"{plan.needed_gib:.1f}", f"{plan.seconds.update:,.0f}", str(plan.updates), f"{whole:,.1f}")


def test_the_presets_of_whole_updates_are_what_the_benchmark_predicts() -> None:
    rows = [line.split("|")[1:7] for line in full_update.preset_table()[2:]]
    found = {
        cells[1].strip(): cells[1:7] for line in PAGE.read_text().splitlines() if len(cells := line.split("|")) == 9
    }
    assert len(rows) == len(full_update.PRESETS)
    for row in rows:
        assert found[row[0].strip()] == row


def test_the_reward_models_are_the_profiles() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for profile in ("paper", "light"):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{profile}`"))
        assert all(model.name in row for model in PROFILES[profile] if profile == "paper" or model.role != "perceptual")
        assert f"{sum(model.num_bytes for model in PROFILES[profile]) / 1e9:.1f} GB |" in row
