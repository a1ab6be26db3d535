"""What rendered clips must show: the depth unit, motions, and defects that spoil only what they say."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from worldr1.camera.trajectory import synthesize
from worldr1.mini.render import FLOOR, SKY_DEPTH, WALL, Clips, render
from worldr1.mini.scenes import COLOURS, NUM_SOLIDS, SOLID_TEXTURES, Defects, Motion, Scenes, sample_scenes

HEIGHT, WIDTH = 16, 24
COLOUR_TABLE = torch.tensor(list(COLOURS.values()))


def _scenes(num: int, seed: int = 0, dynamic_share: float = 0.0) -> Scenes:
    return sample_scenes(num, generator=torch.Generator().manual_seed(seed), dynamic_share=dynamic_share)


def _render(scenes: Scenes, tokens: tuple[str, ...] = ("fixed",), num_frames: int = 3, size: int = 1) -> Clips:
    path = synthesize(tokens, num_frames).world_from_camera.float()
    paths = path.expand(scenes.num, -1, -1, -1)
    return render(scenes, paths, height=HEIGHT * size, width=WIDTH * size, supersample=1)


def _with_motion(scenes: Scenes, motion: Motion) -> Scenes:
    """Solid 0 alone moves."""
    motions = torch.zeros_like(scenes.motion)
    motions[:, 0] = int(motion)
    return replace(scenes, motion=motions)


def _changed(clips: Clips) -> Tensor:
    """[B, T, H, W]: where a frame's colour differs from frame 0's."""
    return (clips.video - clips.video[:, :1]).abs().amax(2) > 1e-4


def test_depth_is_in_units_of_the_first_frames_median_without_sky() -> None:
    clips = _render(_scenes(40), ("push_in",), num_frames=2)
    medians = torch.stack([clips.depth[b, 0][~clips.sky[b, 0]].median() for b in range(40)])
    torch.testing.assert_close(medians, torch.ones(40), atol=1e-5, rtol=0)
    assert clips.depth.min() > 0.1, "the camera runs into a solid"
    assert 0.8 < clips.depth_unit.min() <= clips.depth_unit.max() < 1.7


def test_sky_is_where_nothing_is_hit() -> None:
    scenes = _scenes(40)
    clips = _render(scenes)
    assert (clips.depth[clips.sky] == SKY_DEPTH).all()
    assert (clips.depth[~clips.sky] < SKY_DEPTH).all()
    has_sky = clips.sky.flatten(1).any(1)
    assert torch.equal(has_sky, ~scenes.is_room), "rooms are closed, everything else has a sky"
    assert not (clips.surface == WALL).flatten(1).any(1)[~scenes.is_room].any()


def test_every_solid_is_seen_and_only_those_that_are_there() -> None:
    scenes = _scenes(40)
    clips = _render(scenes, size=2)
    for solid in range(NUM_SOLIDS):
        seen = (clips.surface[:, 0] == 2 + solid).flatten(1).any(1)
        assert torch.equal(seen, scenes.present[:, solid])
        gone = _render(scenes.without(solid)).surface
        assert not (gone == 2 + solid).any()


def test_a_still_scene_under_a_fixed_camera_does_not_change() -> None:
    clips = _render(_scenes(10))
    assert torch.equal(clips.video[:, 0], clips.video[:, 2])
    assert torch.equal(clips.depth[:, 0], clips.depth[:, 2])


@pytest.mark.parametrize(("motion", "sign"), [(Motion.MOVES_LEFT, -1), (Motion.MOVES_RIGHT, 1)])
def test_movers_move_to_their_side_and_the_rest_stays(motion: Motion, sign: int) -> None:
    scenes = _with_motion(_scenes(12), motion)
    clips = _render(scenes, size=2)
    mine = clips.surface == 2
    columns = torch.arange(clips.video.shape[-1]) + 0.5
    x = (mine * columns).sum((-1, -2)) / mine.sum((-1, -2))
    alone = (scenes.present.sum(1) == 1) & mine.flatten(2).any(-1).all(1)
    assert int(alone.sum()) >= 2
    assert (sign * x.diff(dim=1)[alone] > 1).all()
    may_change = mine | mine[:, :1]
    assert not (_changed(clips) & ~may_change).any(), "a pixel changed where the mover is not"
    assert _changed(clips)[:, 2].flatten(1).any(1).all()


def test_a_growing_solid_covers_more_and_stands_on_the_floor() -> None:
    scenes = _with_motion(_scenes(12), Motion.GROWS)
    clips = _render(scenes, size=2)
    mine = clips.surface == 2
    counts = mine.sum((-1, -2)).double()
    assert (counts[:, 2] / counts[:, 0]).median() == pytest.approx(1.5**2, rel=0.15)
    alone = scenes.present.sum(1) == 1
    stays = (mine[:, 2] & mine[:, 0]).sum((-1, -2)) / counts[:, 0]
    assert (stays[alone] > 0.97).all(), "it grows around its foot point"
    assert not (_changed(clips) & ~(mine | mine[:, :1])).any()


def test_a_turning_solid_changes_within_itself() -> None:
    scenes = _with_motion(_scenes(12), Motion.TURNS)
    scenes = replace(scenes, texture=torch.full_like(scenes.texture, SOLID_TEXTURES.index("striped")))
    clips = _render(scenes, size=2)
    changed, mine = _changed(clips)[:, 2], clips.surface == 2
    assert not (changed & ~(mine[:, 0] | mine[:, 2])).any()
    assert (changed & mine[:, 0]).flatten(1).any(1).all()


def test_a_colour_change_ends_at_its_colour_and_leaves_geometry_alone() -> None:
    scenes = _with_motion(_scenes(12), Motion.CHANGES_COLOUR)
    scenes = replace(scenes, texture=torch.zeros_like(scenes.texture))  # plain
    clips = _render(scenes, size=2)
    assert torch.equal(clips.depth[:, 0], clips.depth[:, 2])
    mine = clips.surface[:, 0] == 2
    assert not (_changed(clips) & ~mine[:, None]).any()
    for b in range(12):
        pixels = clips.video[b, :, :, mine[b]].movedim(1, 2)
        for frame, colours in ((0, scenes.colour), (2, scenes.next_colour)):
            hue = torch.cosine_similarity(pixels[frame], COLOUR_TABLE[colours[b, 0]][None], dim=-1)
            assert hue.min() > 0.9999, "shading scales a plain colour and does not tint it"


def _defects(**changes: Tensor) -> Defects:
    return replace(Defects.none(8), **changes)


def _spoiled(scenes: Scenes, defects: Defects) -> tuple[Clips, Clips]:
    """Clean and spoiled clips under the same camera."""
    return _render(scenes, ("move_left",), size=2), _render(scenes.with_defects(defects), ("move_left",), size=2)


SURFACES = [FLOOR, WALL, 2]


@pytest.mark.parametrize("surface", SURFACES)
def test_a_swimming_texture_changes_its_surface_and_no_depth(surface: int) -> None:
    velocity = torch.zeros(8, 2 + NUM_SOLIDS, 3)
    velocity[:, surface, :] = 0.3
    scenes = _scenes(8, seed=3)
    scenes = replace(scenes, texture=scenes.texture.clamp(min=SOLID_TEXTURES.index("striped")))  # plain cannot swim
    clean, spoiled = _spoiled(scenes, _defects(texture_velocity=velocity))
    assert torch.equal(clean.depth, spoiled.depth)
    _only_on(surface, clean, spoiled)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_colour_drift_changes_its_surface_and_no_depth(surface: int) -> None:
    drift = torch.zeros(8, 2 + NUM_SOLIDS, 3)
    drift[:, surface, :] = -0.2
    clean, spoiled = _spoiled(_scenes(8, seed=3), _defects(colour_drift=drift))
    assert torch.equal(clean.depth, spoiled.depth)
    _only_on(surface, clean, spoiled)


def _only_on(surface: int, clean: Clips, spoiled: Clips) -> None:
    changed = (clean.video - spoiled.video).abs().amax(2) > 1e-4
    on = clean.surface == surface
    assert not changed[:, 0].any(), "a defect grows from frame 0"
    assert not (changed & ~on).any(), "a defect changed another surface"
    shown = on[:, 2].flatten(1).any(1)
    assert shown.any()
    assert changed[:, 2].flatten(1).any(1)[shown].all()


def test_a_wobbling_size_changes_depth_at_its_solid_only() -> None:
    wobble = torch.zeros(8, NUM_SOLIDS)
    wobble[:, 0] = 0.25
    scenes = _scenes(8, seed=3)
    clean, spoiled = (
        _render(s, num_frames=5, size=2) for s in (scenes, scenes.with_defects(_defects(size_wobble=wobble)))
    )
    changed = (clean.depth - spoiled.depth).abs() > 1e-4
    near = (clean.surface == 2) | (spoiled.surface == 2)
    assert not changed[:, 0].any()
    assert not (changed & ~near).any()
    assert changed[:, 1].flatten(1).any(1).all()
    counts = (spoiled.surface == 2).sum((-1, -2))
    assert (counts[:, 1] > counts[:, 3]).all(), "larger in the first half of the clip, smaller in the second"


def test_a_scene_is_rendered_the_same_alone_and_in_a_batch() -> None:
    scenes = _scenes(12, dynamic_share=0.5)
    together = _render(scenes, ("orbit_left",))
    for index in range(0, 12, 3):
        alone = _render(scenes[index : index + 1], ("orbit_left",))
        torch.testing.assert_close(alone.depth[0], together.depth[index], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.video[0], together.video[index], atol=1e-5, rtol=0)
        assert torch.equal(alone.surface[0], together.surface[index])


def test_supersampling_is_a_mean_of_finer_pixels() -> None:
    scenes = _scenes(4)
    path = synthesize(("orbit_left",), 2).world_from_camera.float().expand(4, -1, -1, -1)
    fine = render(scenes, path, height=2 * HEIGHT, width=2 * WIDTH, supersample=1)
    coarse = render(scenes, path, height=HEIGHT, width=WIDTH, supersample=2)
    averaged = torch.nn.functional.avg_pool2d(fine.video.flatten(0, 1), 2).unflatten(0, (4, 2))
    # frame 0 alone: its camera does not depend on the depth unit, which the picture's size changes a little
    torch.testing.assert_close(coarse.video[:, 0], averaged[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(coarse.depth_unit, fine.depth_unit, atol=0.05, rtol=0)
