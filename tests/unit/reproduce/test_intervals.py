"""The intervals hold what they say as often as they say: simulated experiments whose truth is known."""

import math
from statistics import stdev, variance

import pytest
import torch
from scipy import stats
from torch import Tensor

from worldr1.reproduce.intervals import (
    Estimate,
    Spread,
    difference_estimate,
    mean_estimate,
    pooled,
    prediction_interval,
    prompt_spread,
    satterthwaite,
)
from worldr1.reproduce.measures import Measure, Table, difference_of, run_values

MEASURE = Measure(name="any", text="any", key="any", better=1)
NUM_PROMPTS = 40


def experiment(
    generator: torch.Generator, num: int, *, runs: int, seed_std: float, effect: float, wild: float = 1.0
) -> list[Table]:
    """Tables of `num` variants on the same new prompts; the first one's mean is `effect` above the others'.

    wild: by how much more the first one's runs vary. Every variant answers the prompts a little in its own way, and
    every run a little more.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    prompts = normal(NUM_PROMPTS)
    tables = []
    for index in range(num):
        of_variant = prompts + 0.3 * normal(NUM_PROMPTS) + effect * (index == 0)
        std = seed_std * (wild if index == 0 else 1)
        trained = of_variant + std * normal(runs, 1) + 0.3 * normal(runs, NUM_PROMPTS)
        keys = tuple((i, False, "") for i in range(NUM_PROMPTS))
        nothing = torch.zeros(NUM_PROMPTS, dtype=torch.float64)
        tables.append(Table(measure=MEASURE, keys=keys, base_N=nothing, trained_SN=trained, truth_N=nothing))
    return tables


@pytest.mark.parametrize(
    ("variants", "seed_std", "wild", "least"),
    [(6, 0.1, 1.0, 0.915), (2, 0.1, 1.0, 0.915), (6, 0.02, 1.0, 0.915), (6, 0.1, 3.0, 0.87)],
    ids=["pool", "pair", "prompts rule", "one varies more"],
)
def test_an_interval_of_a_difference_holds_the_truth(variants: int, seed_std: float, wild: float, least: float) -> None:
    """New prompts and new seeds each time. 160 trials: 95 % -> 0.95 +- 0.035 (two standard errors)."""
    generator, held, trials, effect = torch.Generator().manual_seed(0), 0, 160, 0.2
    for _ in range(trials):
        tables = experiment(generator, variants, runs=3, seed_std=seed_std, effect=effect, wild=wild)
        found = difference_of(tables[0], tables[1], pooled([run_values(table) for table in tables[2:]]))
        low, high = found.interval()
        held += low < effect < high
    assert held / trials >= least


def test_prompts_alone_would_hold_it_far_less_often() -> None:
    """What the seeds' term is for: without it the same experiments are missed by every third interval."""
    generator, held, trials = torch.Generator().manual_seed(0), 0, 100
    for _ in range(trials):
        tables = experiment(generator, 2, runs=1, seed_std=0.1, effect=0.2)
        found = difference_of(tables[0], tables[1], None)
        assert not found.knows_seeds
        low, high = found.interval()
        held += low < 0.2 < high
    assert held / trials < 0.85


def test_a_pool_makes_intervals_narrower() -> None:
    """Two degrees of freedom each are little: six variants together know more."""
    widths = []
    for pool in (True, False):
        generator, total = torch.Generator().manual_seed(1), 0.0
        for _ in range(40):
            tables = experiment(generator, 6, runs=3, seed_std=0.1, effect=0.0)
            spread = pooled([run_values(table) for table in tables[2:]]) if pool else None
            low, high = difference_of(tables[0], tables[1], spread).interval()
            total += (high - low) / 40
        widths.append(total)
    assert widths[0] < widths[1]


def test_a_pool_lends_its_spread_to_single_runs() -> None:
    control, others = [0.1, 0.0, -0.1], Spread(0.04, 10)
    found = difference_estimate(1.0, [1.0], control, Spread(0.0, 20), 21, others)
    pool = (10 * 0.04 + 2 * 0.01) / 12
    assert found.knows_seeds and found.error == pytest.approx(math.sqrt(pool * (1 + 1 / 3)))
    assert found.df == pytest.approx(12)
    by_control = difference_estimate(1.0, [1.0], control, Spread(0.0, 20), 21)
    assert by_control.knows_seeds and by_control.error == pytest.approx(math.sqrt(0.01 * (1 + 1 / 3)))
    alone = difference_estimate(1.0, [1.0], [0.0], Spread(0.01, 20), 21)
    assert not alone.knows_seeds and alone.error == pytest.approx(0.1)


def test_a_pair_that_varies_more_than_the_others_keeps_its_own_spread() -> None:
    wild, control, others = [0.0, 1.0, 2.0], [0.0, 0.1, 0.2], Spread(0.01, 12)
    found = difference_estimate(0.9, wild, control, Spread(0.0, 20), 21, others)
    assert found.error == pytest.approx(math.sqrt((variance(wild) + variance(control)) / 3))
    assert found.df == pytest.approx((1 + 0.01) ** 2 / ((1 + 0.0001) / 2))
    single = difference_estimate(0.9, [0.9], wild, Spread(0.0, 20), 21, others)
    assert single.error == pytest.approx(math.sqrt(1 + 1 / 3)), "a single run is thought to vary like its wild control"
    assert single.df == pytest.approx(2), "of which three runs are all that is known, on both sides"


def test_one_variance_on_both_sides_is_known_once() -> None:
    """A single run against three: the control's two degrees of freedom, not 3.2 as if its variance had come twice."""
    single = difference_estimate(1.0, [1.0], [0.1, 0.0, -0.1], Spread(0.0, 20), 21)
    assert single.df == pytest.approx(2)
    values, held = torch.randn(2000, 4, generator=torch.Generator().manual_seed(6)).tolist(), 0
    for run, *control in values:
        value = run - sum(control) / 3
        low, high = difference_estimate(value, [run], control, Spread(0.0, 20), 21).interval()
        held += low <= 0 <= high
    assert held / len(values) == pytest.approx(0.95, abs=0.012)


def test_a_third_seed_of_the_control_alone_makes_the_interval_narrower() -> None:
    others = Spread(0.01, 6)
    two, three = (
        difference_estimate(0.5, [0.0, 0.2], control, Spread(0.0, 20), 21, others)
        for control in ([0.0, 0.2], [0.0, 0.1, 0.2])
    )
    pool = (6 * 0.01 + 1 * 0.02 + 2 * 0.01) / 9
    assert three.error == pytest.approx(math.sqrt(pool * (1 / 2 + 1 / 3))) and three.df == pytest.approx(9)
    assert three.error < two.error and two.df == pytest.approx(8)


def test_satterthwaite_by_hand() -> None:
    assert satterthwaite([Spread(2.0, 4), Spread(1.0, 2)]) == (3.0, pytest.approx(9 / (4 / 4 + 1 / 2)))
    assert satterthwaite([Spread(0.0, 4), Spread(0.0, 2)]) == (0.0, 4)
    assert satterthwaite([Spread(2.0, 7)]) == (2.0, pytest.approx(7))
    assert satterthwaite([Spread(math.inf, 1), Spread(2.0, 7)]).variance == math.inf


def test_a_mean_of_runs_by_hand() -> None:
    found = mean_estimate(2.0, [1.0, 2.0, 3.0], Spread(0.0, 50), 51)
    assert found.error == pytest.approx(1 / math.sqrt(3))
    half = 4.302653 / math.sqrt(3)
    assert found.interval() == pytest.approx((2 - half, 2 + half), rel=1e-5)
    assert found.interval(among=5).low < found.interval().low, "one of five is searched for"
    single = mean_estimate(2.0, [2.0], Spread(0.25, 50), 51)
    assert (single.error, single.knows_seeds) == (0.5, False)
    assert single.new_run == (-math.inf, math.inf), "one run predicts nothing"


def test_too_few_prompts_say_nothing() -> None:
    spread = prompt_spread(-math.inf, math.inf, 5)
    found = mean_estimate(2.0, [1.0, 2.0, 3.0], spread, 5)
    assert found.interval() == (-math.inf, math.inf)


def test_the_prompt_spread_is_that_of_the_mean() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    table = experiment(torch.Generator().manual_seed(3), 1, runs=1, seed_std=0.0, effect=0.0)[0]
    spread = difference_of(table, table, None).error
    assert spread == 0.0, "the same runs on both sides differ by nothing"
    half = float(stats.t.ppf(0.975, 49)) * float(values.std()) / math.sqrt(50)
    assert math.sqrt(prompt_spread(-half, half, 50).variance) == pytest.approx(float(values.std()) / math.sqrt(50))


def test_a_pool_leaves_out_the_wild_one() -> None:
    calm = [[0.0, 0.1, 0.2], [0.0, 0.2, 0.1], [0.3, 0.2, 0.1], [0.1, 0.2, 0.3]]
    assert pooled([]) is None and pooled([[0.5]]) is None, "a single run has no variance"
    assert pooled([calm[0], [0.5]]) == (pytest.approx(0.01), 2)
    assert pooled(calm) == (pytest.approx(0.01), 8)
    assert pooled([*calm, [0.0, 5.0, -5.0]]) == (pytest.approx(0.01), 8), (
        "a variant that collapses in one of three runs"
    )
    half_as_wild = pooled([*calm, [0.0, 0.2, -0.2]])
    assert half_as_wild is not None and half_as_wild.df == 10, "what may be chance stays in"


def test_a_prediction_interval_holds_a_new_run() -> None:
    """Three runs and a fourth: 2,000 times."""
    values = torch.randn(2000, 4, generator=torch.Generator().manual_seed(5)).tolist()
    held = 0
    for *runs, new in values:
        low, high = prediction_interval(runs)
        held += low <= new <= high
    assert held / len(values) == pytest.approx(0.95, abs=0.012)
    low, high = prediction_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 * math.sqrt(4 / 3), 2 + 4.302653 * math.sqrt(4 / 3)), rel=1e-5)
    assert stdev([1.0, 2.0, 3.0]) == 1.0


def test_an_estimate_without_error_is_a_point() -> None:
    point = Estimate(value=0.0, error=0.0, df=5, seeds=(0.0, 0.0), num=20, knows_seeds=True)
    assert point.interval() == (0.0, 0.0)
