"""Agreement against published and hand-computed numbers."""

import math

import numpy as np
import pytest

from worldr1.study.agreement import krippendorff_alpha, same_answer_share, side_bias

_ = math.nan
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)
"""Four observers, twelve units, with missing values: Krippendorff 2011, section C to E."""


def test_alpha_of_krippendorffs_own_example():
    assert krippendorff_alpha(KRIPPENDORFF, metric="nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(KRIPPENDORFF, metric="interval") == pytest.approx(0.849, abs=5e-4)


def test_alpha_by_hand():
    # Two raters, three pairs: (1, 1), (0, 0), (1, 0). Observed: one unit differs, 2 ordered pairs x 1 / 6 = 1/3.
    # Expected: three 1 and three 0: 2 x 9 / (6 x 5) = 0.6. Alpha = 1 - (1/3) / 0.6 = 4/9.
    votes = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert krippendorff_alpha(votes) == pytest.approx(4 / 9)
    # A tie instead of the last 0: observed (1/2)^2 x 2 / 6 = 1/12; values 1, 1, 0, 0, 1, 1/2: ordered squares
    # 2 (3 x 2 x 1 + 3 x 1 x 1/4 + 2 x 1 x 1/4) = 14.5, / 30; alpha = 1 - (1/12) / (14.5 / 30)
    votes[1, 2] = 0.5
    assert krippendorff_alpha(votes) == pytest.approx(1 - (1 / 12) / (14.5 / 30))


def test_alpha_where_there_is_nothing_to_compare():
    assert math.isnan(krippendorff_alpha(np.array([[1.0, math.nan], [math.nan, 0.0]])))
    assert krippendorff_alpha(np.ones((3, 3))) == 1.0
    random = np.random.default_rng(0).integers(0, 2, (30, 40)).astype(float)
    assert abs(krippendorff_alpha(random)) < 0.05


def test_equal_answers_by_hand():
    # Columns: 1 1 0 -> one of three pairs of raters; 1/2 1/2 - -> one of one.
    votes = np.array([[1.0, 0.5], [1.0, 0.5], [0.0, math.nan]])
    assert same_answer_share(votes) == pytest.approx(2 / 4)
    assert math.isnan(same_answer_share(votes[:1]))


def test_side_bias_by_hand():
    assert side_bias(5, 0) == (1.0, pytest.approx(2 / 32))
    assert side_bias(10, 10) == (0.5, 1.0)
    assert math.isnan(side_bias(0, 0)[0])
