"""Damage x part of the reward: which part must fall, and which must not (numbers: `benchmarks/damage_table.py`)."""

from statistics import fmean

import damage_table as table
import pytest
import torch
from torch import Tensor

from worldr1.backends.mini import load_heads, load_reconstructor, mini_base
from worldr1.backends.wan import WanPolicy
from worldr1.pretrain.corpus import warp
from worldr1.pretrain.damage import blur
from worldr1.pretrain.vae import through_vae
from worldr1.rewards.composite import R_GEN, S_META, S_RECON, S_TRAJ
from worldr1.types import Status

Rows = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Mean of every part over two clips, by the kind of damage; none is rejected."""
    measured = table.measure(2, seed=99)
    assert all(result.status is Status.OK for results in measured.values() for result in results)
    means = {
        name: {part: fmean(r.parts[part] for r in found) for part in table.PARTS} for name, found in measured.items()
    }
    print(table.table(measured))
    return means


@pytest.mark.parametrize(
    ("damage", "part", "at_least"),
    [
        ("another camera path", S_TRAJ, 0.4),
        ("still (frame 0 repeated)", S_TRAJ, 0.4),
        ("frames shuffled", S_TRAJ, 0.4),
        ("textures that swim", S_RECON, 0.03),
        ("colours and sizes that drift", S_RECON, 0.03),
        ("2D warp, 1 px", S_RECON, 0.03),
        ("2D warp, 3 px", S_RECON, 0.1),
        ("2D warp, 3 px", S_META, 0.1),
        ("blur (1.5 px)", R_GEN, 0.1),
        ("one solid missing", R_GEN, 0.03),
        ("noise (std 0.1)", R_GEN, 0.1),
    ],
)
def test_damage_lowers_the_part_that_is_there_for_it(rows: Rows, damage: str, part: str, at_least: float) -> None:
    assert rows[damage][part] < rows["clean"][part] - at_least, (rows["clean"], rows[damage])


def test_a_wrong_camera_does_not_lower_s_recon(rows: Rows) -> None:
    assert rows["another camera path"][S_RECON] > rows["clean"][S_RECON] - 0.06


def test_a_billboard_world_lowers_s_meta_and_not_s_recon(rows: Rows) -> None:
    solid, flat = rows["clean, true geometry"], rows["billboard, true geometry"]
    assert flat[S_META] < solid[S_META] - 0.1
    assert flat[S_RECON] > solid[S_RECON] - 0.05


def test_undamaged_clips_score_at_least_seven_of_nine() -> None:
    case = table.Case(6, seed=5)
    video = through_vae(WanPolicy.from_folder(mini_base()).vae, case.film().video)
    digits = [10 * result.parts[S_META] for result in table.score(case, video, load_reconstructor())]
    assert fmean(digits) >= 7.0, digits


@pytest.fixture(scope="module")
def frames() -> Tensor:
    """Three frames of each of three clean clips."""
    return table.Case(3, seed=99).film().video[:, ::8].flatten(0, 1)


def test_distance_is_zero_for_equal_frames_and_grows_with_damage(frames: Tensor) -> None:
    distance = load_heads()[2]
    assert (distance(frames, frames) == 0).all()
    blurred = [float(distance(frames, blur(frames, torch.full((len(frames),), s))).mean()) for s in (0.5, 1.0, 2.0)]
    still = torch.stack([frames, frames], 1)
    warped = []
    for amplitude_px in (0.5, 1.0, 2.0, 4.0):
        bent = warp(still, torch.full((len(frames),), amplitude_px), torch.Generator().manual_seed(0))[:, 1]
        warped.append(float(distance(frames, bent).mean()))
    other = float(distance(frames, frames.roll(3, 0)).mean())
    measured = f"blur {blurred}, warp {warped}, other scene {other:.3f}"
    print(measured)
    assert blurred == sorted(blurred), measured
    assert warped == sorted(warped), measured
    assert 0.02 < blurred[-1] < other, measured
    assert warped[-1] < other, measured
    assert other > 0.6, measured
