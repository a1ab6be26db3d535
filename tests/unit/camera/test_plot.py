"""The pictures of a path show where it goes, which side is up, and where a move ends."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from worldr1.camera.motion import TOKENS
from worldr1.camera.plot import FROM_ABOVE, FROM_BEHIND, View, draw_view, plot_path
from worldr1.camera.trajectory import synthesize
from worldr1.types import Trajectory

SIZE = (600, 500)
VIEWS = pytest.mark.parametrize("view", [FROM_ABOVE, FROM_BEHIND], ids=["above", "behind"])


def helix(scale: float = 1.0) -> Trajectory:
    """A path of a user's own: it climbs, looks up, pans and rolls."""
    u = np.linspace(0, 1, 41)
    poses = np.tile(np.eye(4), (len(u), 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("YXZ", np.outer(u, (-40, 20, 35)), degrees=True).as_matrix()
    poses[:, :3, 3] = scale * np.stack((0.4 * np.sin(6 * u), -0.6 * u, 0.4 * (1 - np.cos(6 * u))), axis=1)
    return Trajectory(world_from_camera=torch.from_numpy(poses), focal_per_width=0.9)


def place(picture: Image.Image, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Mean (column, row) of the pixels of a colour."""
    rows, columns = np.nonzero(np.abs(np.asarray(picture).astype(int) - colour).max(axis=2) < 12)
    assert len(rows) > 20, "the colour is not in the picture"
    return float(columns.mean()), float(rows.mean())


def ends(trajectory: Trajectory, view: View) -> tuple[float, float]:
    """From the start (blue) to the end (red): pixels to the right and up."""
    picture = draw_view(trajectory, view, size=SIZE)
    (x0, y0), (x1, y1) = place(picture, (38, 103, 214)), place(picture, (224, 73, 44))
    return x1 - x0, y0 - y1


def margins_are_white(picture: np.ndarray, top: int) -> bool:
    """Nothing but paper at the edges: nothing is cut off."""
    edges = (picture[top : top + 2], picture[-2:], picture[top:, :2], picture[top:, -2:])
    return all(bool((edge == 255).all()) for edge in edges)


@pytest.mark.parametrize("token", TOKENS)
@VIEWS
def test_every_move_fits_into_its_picture(token: str, view: View) -> None:
    picture = draw_view(synthesize([token], 17), view, size=SIZE)
    assert picture.size == SIZE
    assert margins_are_white(np.asarray(picture), top=0)


@pytest.mark.parametrize("scale", [0.01, 1.0, 40.0])
@VIEWS
def test_paths_of_any_extent_fit(scale: float, view: View) -> None:
    assert margins_are_white(np.asarray(draw_view(helix(scale), view, size=SIZE)), top=0)


def test_from_above_x_is_right_and_z_is_up() -> None:
    for token, expected in (("move_left", (-1, 0)), ("move_right", (1, 0)), ("push_in", (0, 1)), ("pull_out", (0, -1))):
        moved = ends(synthesize([token], 17), FROM_ABOVE)
        assert tuple(np.sign(np.round(np.array(moved) / 20))) == expected, token


def test_from_behind_forward_is_right_and_up_and_a_climb_goes_up() -> None:
    right, up = ends(synthesize(["push_in"], 17), FROM_BEHIND)
    assert right > 30 and up > 15
    right, up = ends(synthesize(["move_right"], 17), FROM_BEHIND)
    assert right > 15 and up < -5
    climb = torch.eye(4, dtype=torch.float64).repeat(9, 1, 1)
    climb[:, 1, 3] = torch.linspace(0, -0.5, 9)
    right, up = ends(Trajectory(world_from_camera=climb), FROM_BEHIND)
    assert abs(right) < 10 and up > 60


@pytest.mark.parametrize(("roll_deg", "side"), [(90, 1), (-90, -1)])
def test_the_tab_turns_with_the_cameras_upper_side(roll_deg: float, side: int) -> None:
    # Rolling clockwise (+90 about the view) turns the camera's up, -y, to the right; from above that is what shows.
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[1, :3, :3] = torch.from_numpy(Rotation.from_euler("z", roll_deg, degrees=True).as_matrix())
    poses[1, 2, 3] = -0.6  # apart from frame 0
    picture = draw_view(Trajectory(world_from_camera=poses), FROM_ABOVE, size=SIZE)
    red = np.abs(np.asarray(picture).astype(int) - (224, 73, 44)).max(axis=2) < 60  # seen edge-on, the tab is thin
    apex = place(picture, (38, 103, 214))[0]
    columns = np.nonzero(red)[1] - apex
    assert side * (columns.max() + columns.min()) > 3, "the frustum reaches farther on the tab's side"


def test_a_ring_marks_where_the_next_move_begins() -> None:
    ink = (40, 44, 52)
    trajectory = synthesize(["push_in", "move_left"], 17)
    plain, ringed = (draw_view(trajectory, FROM_ABOVE, size=SIZE, num_moves=n) for n in (1, 2))
    changed = np.abs(np.asarray(plain).astype(int) - np.asarray(ringed)).max(axis=2) > 8
    rows, columns = np.nonzero(changed)
    assert np.ptp(rows) < 20 and np.ptp(columns) < 20, "one ring and nothing else"
    assert columns.mean() == pytest.approx(place(ringed, (38, 103, 214))[0], abs=8), "before it goes left"
    red = np.abs(np.asarray(ringed).astype(int) - (224, 73, 44)).max(axis=2) < 12
    lowest = np.nonzero(red)[0].max()  # the edge of the dot at the path's end
    assert rows.mean() == pytest.approx(lowest - 5, abs=4), "as far forward as the end"
    assert np.abs(np.asarray(ringed).astype(int) - ink).max(axis=2)[rows.min() : rows.max() + 1].min() < 12


@pytest.mark.parametrize("tokens", [["fixed"], ["push_in", "orbit_right"], ["a-file's-name"]])
def test_the_whole_picture_has_both_views_below_a_title(tokens: list[str]) -> None:
    trajectory = helix() if tokens == ["a-file's-name"] else synthesize(tokens, 81)
    picture = np.asarray(plot_path(trajectory, tokens))
    assert picture.shape == (760, 1440, 3)
    assert margins_are_white(picture, top=0)
    for part in (picture[:76], picture[76:, :720], picture[76:, 720:]):
        assert (part < 255).any(axis=2).sum() > 500
    again = np.asarray(plot_path(trajectory, tokens))
    assert np.array_equal(picture, again)
