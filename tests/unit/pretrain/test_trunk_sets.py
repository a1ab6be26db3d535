"""Damage of known grade for critic, quality and distance: the grades mean what they say."""

import re

import pytest
import torch
from torch import Tensor

from worldr1.geometry.se3 import geodesic_rad
from worldr1.mini.prompts import named_solids
from worldr1.mini.promptset import random_prompts
from worldr1.mini.render import SKY_DEPTH
from worldr1.pretrain.presence import misname
from worldr1.pretrain.trunk import Damage, damage_geometry, damage_pair, digit_targets
from worldr1.types import Reconstruction, intrinsics_px

HEIGHT, WIDTH, FRAMES = 32, 48, 4


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _reconstruction(farthest: float = 2.5) -> Reconstruction:
    """A floor whose depth falls from the horizon down, a box before it, a sky above."""
    rows = torch.linspace(farthest, 0.6, HEIGHT)
    depth = rows[:, None].expand(HEIGHT, WIDTH).clone()
    depth[12:22, 16:30] = 0.8
    depth[:6] = SKY_DEPTH
    poses = torch.eye(4).repeat(FRAMES, 1, 1)
    poses[:, 0, 3] = torch.linspace(0, 0.22, FRAMES)
    return Reconstruction(
        world_from_camera=poses,
        depth=depth.repeat(FRAMES, 1, 1),
        intrinsics_px=intrinsics_px(HEIGHT, WIDTH).float().expand(FRAMES, 3, 3),
        confidence=(depth < SKY_DEPTH).float().repeat(FRAMES, 1, 1),
    )


def _change(damage: Damage, grade: float, seed: int = 0) -> float:
    """Mean |log depth| or displacement that a damage does."""
    clean = _reconstruction()
    spoiled = damage_geometry(clean, damage, grade, _generator(seed))
    moved = (spoiled.world_from_camera - clean.world_from_camera)[:, :3, 3].norm(dim=-1).mean()
    return float((spoiled.depth.log() - clean.depth.log()).abs().mean() + moved)


@pytest.mark.parametrize("damage", list(Damage))
def test_grade_zero_is_no_damage(damage: Damage) -> None:
    clean = _reconstruction()
    spoiled = damage_geometry(clean, damage, 0.0, _generator())
    torch.testing.assert_close(spoiled.depth, clean.depth, atol=1e-5, rtol=0)
    assert torch.equal(spoiled.world_from_camera, clean.world_from_camera)
    assert torch.equal(spoiled.confidence, clean.confidence)


@pytest.mark.parametrize("damage", [Damage.FLOATERS, Damage.BILLBOARD, Damage.STRETCH, Damage.GHOSTING])
def test_damage_grows_with_its_grade_and_leaves_the_sky(damage: Damage) -> None:
    amounts = [_change(damage, grade) for grade in (0.0, 0.3, 0.6, 1.0)]
    assert amounts[0] < 1e-5
    assert amounts == sorted(amounts)
    assert amounts[1] > 1e-3
    assert len(set(amounts)) == 4
    sky = _reconstruction().depth == SKY_DEPTH
    spoiled = damage_geometry(_reconstruction(), damage, 1.0, _generator())
    if damage != Damage.FLOATERS:  # a floater may hang in the sky
        assert (spoiled.depth[sky] == SKY_DEPTH).all()
    assert torch.isfinite(spoiled.depth).all()
    assert (spoiled.depth > 0).all()


@pytest.mark.parametrize("damage", [Damage.NONE, Damage.WARPED_VIDEO])
def test_damage_of_the_video_or_none_leaves_the_geometry(damage: Damage) -> None:
    assert _change(damage, 1.0) == 0


def test_damages_look_as_they_are_called() -> None:
    clean = _reconstruction()
    ground = clean.depth < SKY_DEPTH
    flat = damage_geometry(clean, Damage.BILLBOARD, 1.0, _generator()).depth[ground]
    assert float(flat.std()) < 1e-5
    assert float(flat[0]) == pytest.approx(float(clean.depth[ground].median()), rel=0.05)
    floaters = damage_geometry(clean, Damage.FLOATERS, 1.0, _generator()).depth
    assert (floaters <= clean.depth).all(), "floaters hang before what is there"
    ghosts = damage_geometry(clean, Damage.GHOSTING, 1.0, _generator())
    assert torch.equal(ghosts.world_from_camera[0], clean.world_from_camera[0])
    assert float(geodesic_rad(ghosts.world_from_camera[:, :3, :3], torch.eye(3).expand(FRAMES, 3, 3)).max()) == 0


def test_stretch_of_grade_zero_leaves_far_ground_where_it_is() -> None:
    clean = _reconstruction(farthest=6.0)
    spoiled = damage_geometry(clean, Damage.STRETCH, 0.0, _generator())
    torch.testing.assert_close(spoiled.depth, clean.depth)


def test_digit_targets_are_distributions_with_the_grades_mean() -> None:
    grade = torch.linspace(0, 1, 101, dtype=torch.float64)
    targets = digit_targets(grade)
    assert (targets >= 0).all()
    torch.testing.assert_close(targets.sum(1), torch.ones_like(grade))
    torch.testing.assert_close(targets @ torch.arange(10.0, dtype=torch.float64), 9 * (1 - grade))
    assert ((targets > 0).sum(1) <= 2).all()
    assert targets[0, 9] == targets[-1, 0] == 1


SOLID = r"(plain|striped|checkered|marbled) COLOUR (box|ball|cylinder|cone)"
GRAMMAR = (
    rf"Camera [a-z ]+(, then [a-z ]+)?\. A {SOLID}(, a {SOLID})*( and a {SOLID})* on an? COLOUR \w+ floor "
    r"(in an? COLOUR \w+ room|under an? COLOUR sky)\."
    r"( The COLOUR \w+ (moves left|moves right|turns|grows|changes colour)\.)*"
).replace("COLOUR", "(red|green|blue|yellow|purple|orange|white|cyan)")


@pytest.mark.parametrize("dynamic", [False, True])
def test_misnamed_prompts_name_one_solid_that_is_not_there(dynamic: bool) -> None:
    generator = _generator()
    added = changed = 0
    for prompt in random_prompts(300, seed=5, stream="test", dynamic=dynamic):
        true = [(s.texture, s.colour, s.solid) for s in named_solids(prompt.text)]
        text, share = misname(prompt.text, generator)
        named = [(s.texture, s.colour, s.solid) for s in named_solids(text)]
        missing = [solid for solid in named if solid not in true]
        assert len(missing) == 1
        assert share == pytest.approx(len(missing) / len(named))
        assert missing[0][1] not in {colour for _, colour, _ in true}, "not even its colour is there"
        assert f" {missing[0][1]} " not in prompt.text
        assert re.fullmatch(GRAMMAR, text), text
        assert len(named) <= 3
        added += len(named) > len(true)
        changed += len(named) == len(true)
    assert min(added, changed) > 50


def test_a_prompt_without_solids_cannot_be_misnamed() -> None:
    assert misname("A cat.", _generator()) == ("A cat.", 0.0)


def test_damaged_pairs_differ_by_their_grade() -> None:
    frames = torch.rand(400, 3, 16, 24, generator=_generator(1))
    frames = torch.nn.functional.avg_pool2d(frames, 3, 1, 1)
    other, grade = damage_pair(frames, _generator())
    assert 0 <= other.min() <= other.max() <= 1
    assert 0 <= grade.min() <= grade.max() <= 1
    change: Tensor = (other - frames).abs().flatten(1).mean(1)
    replaced = grade == 1
    assert 0.1 < replaced.double().mean() < 0.3
    assert torch.equal(other[replaced], frames.roll(1, 0)[replaced])
    weak, strong = (change[~replaced & mask].mean() for mask in (grade < 0.15, grade > 0.7))
    assert weak < 0.3 * strong
