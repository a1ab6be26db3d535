"""How hypotheses are read together, by hand."""

import math

from worldr1.evaluate.statistics.intervals import holm


def test_holm_steps_down_and_stops_at_the_first_that_holds() -> None:
    assert holm([0.04, 0.001, 0.02, math.nan]) == [True, True, True, False]  # 0.05 / 3, / 2, / 1
    assert holm([0.04, 0.001, 0.03]) == [False, True, False]  # 0.03 > 0.05 / 2 stops 0.04 < 0.05 / 1
    assert holm([]) == []
