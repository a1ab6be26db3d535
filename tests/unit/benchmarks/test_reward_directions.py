"""Which way a reward pushes: correlations inside groups, against ones that are known."""

import math

import pytest
import reward_directions as bench
from reward_directions import Weighting

from worldr1.rewards.composite import R_GEN, S_META, S_MOTION, S_RECON, S_TRAJ, TRAVEL_SHARE


def member(recon: float, traj: float, share: float, **measures: float) -> dict[str, float]:
    return {S_RECON: recon, S_TRAJ: traj, TRAVEL_SHARE: share, **measures}


def test_a_weighting_adds_what_is_there() -> None:
    whole = {S_META: 0.5, S_RECON: 0.8, S_TRAJ: 0.6, R_GEN: -0.2, TRAVEL_SHARE: 0.5}
    assert Weighting.parse("1,4,2,0.5")(whole) == pytest.approx(0.5 + 3.2 + 1.2 - 0.1)
    assert Weighting.parse("1,4,2,0.5g")(whole) == pytest.approx(0.25 + 1.6 + 1.2 - 0.1)
    assert Weighting.parse("1,1,1,1")({R_GEN: 0.3}) == 0.3
    assert Weighting.parse("0,0,0,0.5,2")({R_GEN: 0.3, S_MOTION: 0.4}) == pytest.approx(0.95)
    with pytest.raises(ValueError, match="meta,recon,traj,gen"):
        Weighting.parse("1,2")


def test_groups_count_alike_whatever_their_level_and_spread() -> None:
    rising = [member(0.1 * i, 0.0, 1.0, psnr_holdout_db=20.0 + i) for i in range(5)]
    falling = [member(5.0 + 9.0 * i, 0.0, 1.0, psnr_holdout_db=30.0 - 0.01 * i) for i in range(5)]
    flat = [member(0.5, 0.0, 1.0, psnr_holdout_db=20.0 + i) for i in range(5)]
    recon = Weighting.parse("0,1,0,0")
    assert bench.correlation([rising, rising], recon, "psnr_holdout_db") == pytest.approx((1.0, 0.0))
    mean, error = bench.correlation([rising, falling, flat], recon, "psnr_holdout_db")  # nothing differs in flat
    assert (mean, error) == pytest.approx((0.0, 1.0))
    assert math.isnan(bench.correlation([rising], recon, "psnr_holdout_db")[0])
    assert math.isnan(bench.correlation([rising, rising], recon, "words")[0])


def test_the_gate_turns_a_reward_for_standing_still_around() -> None:
    group = [member(0.9 - 0.02 * i, 0.0, 0.2 * i, travel_ratio=0.2 * i, rotation_error_deg=float(i)) for i in range(6)]
    plain, gated = (Weighting.parse(text) for text in ("0,1,0,0", "0,1,0,0g"))
    assert bench.correlation([group, group], plain, "travel_ratio")[0] == pytest.approx(-1.0)
    assert bench.correlation([group, group], gated, "travel_ratio")[0] > 0.99
    text = bench.table([group, group], [plain])
    assert "| 0,1,0,0 | +1.00 (0.00) | -1.00 (0.00) |" in text  # less rotation error is better: its sign is turned
