"""The .ply that viewers read: bytes and values computed by hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from worldr1.errors import InputError
from worldr1.scene.ply import PROPERTIES, write_ply
from worldr1.types import Gaussians

SCENE = Gaussians(
    means=torch.tensor([[1.0, -2.0, 3.0], [0.0, 0.5, 8.0]]),
    quats=torch.tensor([[1.0, 0.0, 0.0, 0.0], [3.0, 0.0, 4.0, 0.0]]),
    scales=torch.tensor([[1.0, math.e, 0.1], [0.01, 0.01, 0.01]]),
    opacities=torch.tensor([0.5, 0.9]),
    colors=torch.tensor([[0.5, 0.5 + 0.28209479, 0.0], [1.0, 0.5, 0.5]]),
)


def read(path: Path) -> tuple[list[str], dict[str, list[float]]]:
    """Header lines, and the columns by the header's own names."""
    header, body = path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode("ascii").splitlines()
    names = [line.split()[2] for line in lines if line.startswith("property")]
    rows = np.frombuffer(body, dtype=[(name, "<f4") for name in names])
    return lines, {name: rows[name].tolist() for name in names}


def test_the_header_is_what_viewers_expect(tmp_path: Path) -> None:
    lines, _ = read(write_ply(tmp_path / "scene.ply", SCENE))
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert lines[2].startswith("comment axes: OpenCV") and "y down" in lines[2]
    assert lines[3] == "element vertex 2"
    assert lines[4:] == [f"property float {name}" for name in PROPERTIES]
    assert " ".join(PROPERTIES) == (
        "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    )


def test_values_are_stored_as_the_release_optimises_them(tmp_path: Path) -> None:
    _, columns = read(write_ply(tmp_path / "scene.ply", SCENE))
    expected = {
        "x": [1, 0],
        "y": [-2, 0.5],
        "z": [3, 8],
        "f_dc_0": [0, 0.5 / 0.28209479],
        "f_dc_1": [1, 0],
        "f_dc_2": [-0.5 / 0.28209479, 0],
        "opacity": [0, math.log(9)],
        "scale_0": [0, math.log(0.01)],
        "scale_1": [1, math.log(0.01)],
        "scale_2": [math.log(0.1), math.log(0.01)],
        "rot_0": [1, 0.6],
        "rot_1": [0, 0],
        "rot_2": [0, 0.8],
        "rot_3": [0, 0],
    }
    assert {name: pytest.approx(values, abs=1e-6) for name, values in expected.items()} == columns


def test_the_first_bytes_after_the_header(tmp_path: Path) -> None:
    body = write_ply(tmp_path / "scene.ply", SCENE).read_bytes().split(b"end_header\n", 1)[1]
    assert len(body) == 2 * 14 * 4
    assert body[:12].hex(" ", 4) == "0000803f 000000c0 00004040"  # 1, -2, 3 as little-endian float32


def test_certain_and_flat_gaussians_stay_finite(tmp_path: Path) -> None:
    scene = replace(SCENE, opacities=torch.tensor([0.0, 1.0]), scales=torch.zeros(2, 3))
    _, columns = read(write_ply(tmp_path / "scene.ply", scene))
    assert columns["opacity"] == pytest.approx([-math.log(1e6), math.log(1e6)], rel=1e-4)
    assert columns["scale_0"] == pytest.approx([math.log(1e-9)] * 2)


@pytest.mark.parametrize(
    "scene",
    [
        Gaussians(**{name: getattr(SCENE, name)[:0] for name in ("means", "quats", "scales", "opacities", "colors")}),
        replace(SCENE, colors=torch.zeros(2, 4)),
        replace(SCENE, means=torch.tensor([[0.0, 0.0, math.nan], [0.0, 0.0, 1.0]])),
        replace(SCENE, quats=torch.zeros(2, 4)),
    ],
    ids=["none", "shape", "nan", "quaternion"],
)
def test_what_no_viewer_can_draw_is_refused(tmp_path: Path, scene: Gaussians) -> None:
    with pytest.raises(InputError, match="Gaussian"):
        write_ply(tmp_path / "scene.ply", scene)
    assert not (tmp_path / "scene.ply").exists()
