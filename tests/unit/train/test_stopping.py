"""The stop rule: the judge falls while the reward rises."""

import pytest

from worldr1.errors import ConfigError
from worldr1.train.stopping import JudgeConfig, Look, best_look, reason_to_stop

CONFIG = JudgeConfig(every=10, patience=2, tolerance=0.02)


def looks(*numbers: tuple[float, float, float]) -> list[Look]:
    """(reward, words, geometry) of updates 0, 10, 20, ..."""
    return [Look(update=10 * i, reward=r, scores={"words": w, "geometry": g}) for i, (r, w, g) in enumerate(numbers)]


def test_a_score_that_stays_down_while_the_reward_rises_stops() -> None:
    history = looks((1.0, 0.90, 0.5), (1.1, 0.91, 0.6), (1.2, 0.85, 0.7), (1.3, 0.84, 0.8))
    reason = reason_to_stop(history, CONFIG)
    assert reason == (
        "the judge's words fell from 0.910 (update 10) to 0.840 while the reward rose from 1.100 to 1.300"
    )
    assert reason_to_stop(history[:3], CONFIG) is None, "one bad look is not enough"


@pytest.mark.parametrize(
    "history",
    [
        looks((1.0, 0.9, 0.5), (1.1, 0.9, 0.6), (1.2, 0.89, 0.7), (1.3, 0.89, 0.8)),  # within the tolerance
        looks((1.0, 0.9, 0.5), (1.1, 0.8, 0.6), (1.2, 0.9, 0.7), (1.3, 0.8, 0.8)),  # not in a row
        looks((1.0, 0.9, 0.5), (1.1, 0.91, 0.6), (1.0, 0.8, 0.7), (0.9, 0.7, 0.8)),  # the reward fell too
        looks((1.0, 0.9, 0.5), (1.2, 0.95, 0.6)),
        [],
    ],
)
def test_other_histories_go_on(history: list[Look]) -> None:
    assert reason_to_stop(history, CONFIG) is None


def test_the_best_look_has_the_highest_reward_among_those_that_lost_nothing() -> None:
    history = looks((1.0, 0.9, 0.5), (1.2, 0.92, 0.6), (1.1, 0.95, 0.6), (1.5, 0.8, 0.9))
    assert best_look(history).update == 10
    assert best_look(looks((1.0, 0.9, 0.5), (1.2, 0.8, 0.6))).update == 0
    with pytest.raises(ValueError, match="no look"):
        best_look([])


@pytest.mark.parametrize("bad", [{"every": -1}, {"prompts": 0}, {"patience": 0}, {"tolerance": -0.1}])
def test_impossible_numbers_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="judge needs"):
        JudgeConfig(**bad)  # pyright: ignore[reportArgumentType]
