"""The warning about a part that decides alone, without a run."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from worldr1.rewards.composite import RewardWeights
from worldr1.session import Session


def warning(weights: RewardWeights, metrics: dict[str, float]) -> str:
    """What is said after a first update with these metrics."""
    said = io.StringIO()
    session = SimpleNamespace(
        config=SimpleNamespace(reward=SimpleNamespace(weights=weights)), console=Console(file=said, width=200)
    )
    Session._warn_of_dominance(session, metrics)  # type: ignore[arg-type]
    return said.getvalue()


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"s_recon_std": 0.09, "r_gen_std": 0.01}, "s_recon makes up 90%"),
        ({"s_recon_std": 0.25, "r_gen_std": 1.0}, ""),  # 80 % is not more than 80 %
        ({"s_recon_std": 0.0, "r_gen_std": 0.0}, ""),
        ({"reward_std": 3.0}, ""),
    ],
)
def test_one_part_that_holds_most_of_the_spread_is_named(metrics: dict[str, float], said: str) -> None:
    text = warning(RewardWeights(), metrics)
    assert said in text and bool(text) == bool(said)


def test_spreads_count_by_their_weight() -> None:
    metrics = {"s_recon_std": 0.09, "r_gen_std": 0.01}
    assert warning(RewardWeights(gen=9.0), metrics) == ""
    assert "r_gen makes up 100%" in warning(RewardWeights(recon=0.0), metrics)
