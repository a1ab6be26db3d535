"""Random scenes: the shares and bounds that docs/conventions.md promises."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from worldr1.mini.scenes import FLOORS, SOLID_TEXTURES, SOLIDS, WALLS, Defects, Motion, Scenes, sample_scenes

NUM = 4000
NON_REPEATING = ("marbled", "painted")


def _scenes(num: int = NUM, seed: int = 0, dynamic_share: float = 0.0) -> Scenes:
    return sample_scenes(num, generator=torch.Generator().manual_seed(seed), dynamic_share=dynamic_share)


def _tensors(scenes: Scenes) -> dict[str, Tensor]:
    found = {f.name: getattr(scenes, f.name) for f in fields(scenes) if f.name != "defects"}
    return found | {f.name: getattr(scenes.defects, f.name) for f in fields(scenes.defects)}


def test_at_least_half_of_the_floors_and_walls_do_not_repeat() -> None:
    scenes = _scenes()
    floors = torch.tensor([name in NON_REPEATING for name in FLOORS])[scenes.floor_texture].double().mean()
    walls = torch.tensor([name in NON_REPEATING for name in WALLS])[scenes.wall_texture].double().mean()
    assert float(floors) == pytest.approx(0.6, abs=0.03)
    assert float(walls) == pytest.approx(0.7, abs=0.03)


def test_every_choice_occurs() -> None:
    scenes = _scenes()
    for choices, options in (
        (scenes.floor_texture, FLOORS),
        (scenes.wall_texture, WALLS),
        (scenes.kind[scenes.present], SOLIDS),
        (scenes.texture[scenes.present], SOLID_TEXTURES),
    ):
        share = torch.bincount(choices.flatten(), minlength=len(options)).double() / choices.numel()
        assert share.min() > 0.15, options


def test_colours_are_unique_in_a_scene() -> None:
    scenes = _scenes(dynamic_share=1.0)
    places = torch.cat([scenes.colour, scenes.floor_colour[:, None], scenes.wall_colour[:, None]], 1)
    assert all(len(set(row)) == 5 for row in places.tolist())
    after = torch.cat([scenes.colour, scenes.next_colour], 1)
    assert all(len(set(row)) == 6 for row in after.tolist()), "a changed colour does not become another solid's"


def test_solids_keep_their_size_and_there_is_always_one() -> None:
    scenes = _scenes()
    assert scenes.present[:, 0].all()
    assert scenes.size.min() >= 0.11
    assert scenes.size.max() <= 0.17
    assert set(scenes.present.sum(1).tolist()) == {1, 2, 3}


def test_dynamic_scenes_have_a_mover_and_static_ones_have_none() -> None:
    assert not _scenes().dynamic.any()
    moving = _scenes(dynamic_share=1.0)
    assert moving.dynamic.all()
    assert (moving.motion[~moving.present] == Motion.NONE).all()
    assert set(moving.motion[moving.present].tolist()) == set(Motion)
    turning_unseen = (
        (moving.motion == Motion.TURNS)
        & (moving.kind != SOLIDS.index("box"))
        & (moving.texture == SOLID_TEXTURES.index("plain"))
    )
    assert not turning_unseen.any(), "a plain solid of revolution that turns looks still"
    share = float(_scenes(dynamic_share=0.15).dynamic.double().mean())
    assert share == pytest.approx(0.15, abs=0.02)


def test_a_seed_gives_the_same_scenes_and_another_seed_others() -> None:
    first, again, other = (_tensors(_scenes(20, seed, dynamic_share=0.5)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["position"], other["position"])


def test_indexing_and_removing_keep_the_rest() -> None:
    scenes = _scenes(6, dynamic_share=0.5)
    part = _tensors(scenes[2:4])
    assert all(torch.equal(part[name], value[2:4]) for name, value in _tensors(scenes).items())
    without = _tensors(scenes.without(0))
    assert not without["present"][:, 0].any()
    assert torch.equal(without["present"][:, 1:], scenes.present[:, 1:])
    assert all(torch.equal(without[name], value) for name, value in _tensors(scenes).items() if name != "present")
    assert scenes.present[:, 0].all(), "the original is untouched"


def test_scenes_are_free_of_defects_until_they_are_given_some() -> None:
    scenes = _scenes(3)
    none = _tensors(scenes.with_defects(Defects.none(3)))
    assert all(torch.equal(value, none[name]) for name, value in _tensors(scenes).items())
    assert sum(float(getattr(scenes.defects, f.name).abs().sum()) for f in fields(scenes.defects)) == 0
