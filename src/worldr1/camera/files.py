"""Camera paths in files: RealEstate10K / CameraCtrl text (`.txt`) and NumPy archives (`.npz`).

`.txt` (Zhou et al., arXiv 1805.09817; the pose files of CameraCtrl, arXiv 2404.02101): the first line is a URL or a
comment and is skipped; then one line of 19 numbers per frame, separated by blanks:

    time  fx fy cx cy  0 0  r00 r01 r02 tx  r10 r11 r12 ty  r20 r21 r22 tz

The time (or an index) and the two zeros are not used. Intrinsics are divided by the image's width (fx, cx) or height
(fy, cy). The twelve numbers are the rows of camera_from_world (3 x 4), OpenCV axes.

`.npz`: `world_from_camera` [T, 4, 4], OpenCV axes, in any world frame; and `focal_per_width` or, the same under
another name, `fx`: the focal length divided by the image's width, one number or T equal ones. Pixels are square.

**Scale.** A file's translations are in a unit of its own, which no file states. Whoever reads it must know how many
of them make one depth unit (docs/conventions.md section 1: the median z-depth of the first frame) and say so as
`depth_unit`; files that worldr1 writes are in depth units.
"""

import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.errors import InputError
from worldr1.geometry.se3 import inverse, make_pose, relative_to_first
from worldr1.types import Trajectory

SUFFIXES = (".txt", ".npz")
"""The formats, by the end of the file's name."""
RIGID_TOLERANCE = 1e-3
"""Largest entry of |R^T R - I| that passes for rounding; the rotation is then replaced by the nearest exact one."""
CENTRE_TOLERANCE = 0.01
"""Largest offset of the principal point, as a part of the image's width or height."""
FOCAL_TOLERANCE = 0.01
"""Largest change of a focal length between frames (a zoom), as a part of frame 0's."""
ASPECT_TOLERANCE = 0.05
"""Wan rounds sizes to multiples of 16: 832 x 480 stands for 16:9, which is 2.6 % wider."""
MAX_FOCAL_PER_WIDTH = 10.0
"""A field of view of 5.7 degrees; larger numbers are pixels."""
MAX_DISTANCE = 1e3
"""Depth units from frame 0; a path that leads farther is in another unit."""

_TXT_HEADER = "# worldr1 camera path, RealEstate10K columns; translations in depth units (median z-depth of frame 0)"
_NUM_COLUMNS = 19
_NO_ZOOMS = "zooms are not supported, give all frames one focal length"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Poses:
    """What both formats hold, before it is checked."""

    matrices: Float[Tensor, "T 3 4"]
    is_camera_from_world: bool
    focal_per_width: Float[Tensor, " T"]
    where: list[str]
    """Names of the poses for messages: "line 3" or "pose 1"."""


def read_trajectory(
    path: Path, *, num_frames: int | None = None, depth_unit: float = 1.0, aspect: float | None = None
) -> Trajectory:
    """The path in a `.txt` or `.npz` file (formats and scale: see the module), relative to frame 0, float64.

    num_frames: how many poses the file must have; nothing is resampled.
    depth_unit: how many of the file's units are one depth unit; every translation is divided by it.
    aspect: width / height of the clip. Pixels are square, so a `.txt` file's fy / fx is the aspect of *its* images,
    and it must be the clip's to 5 %; None: the clip takes the file's. fx is what counts: the horizontal view.
    Raises InputError for a file that is missing, unreadable, of another format or length; and for poses that are not
    finite, rigid, of one focal length, centred, or within 1000 depth units.
    """
    if not (math.isfinite(depth_unit) and depth_unit > 0):
        raise InputError(f"the depth unit must be a positive number of the file's units, got {depth_unit}")
    poses = _read_txt(path, aspect) if _suffix(path) == ".txt" else _read_npz(path)
    found = len(poses.matrices)
    if found < 2:
        raise InputError(f"{path} has {found} pose{'s' * (found != 1)}: a camera path needs at least 2")
    if num_frames is not None and found != num_frames:
        raise InputError(
            f"{path} has {found} poses and the clip {num_frames} frames (nothing is resampled): "
            f"keep {num_frames} poses or make a clip of {found} frames"
        )
    focal_per_width = _one_focal(path, poses)
    rigid = make_pose(_nearest_rotations(path, poses), poses.matrices[:, :, 3] / depth_unit)
    world_from_camera = relative_to_first(inverse(rigid) if poses.is_camera_from_world else rigid)
    distance = float(world_from_camera[:, :3, 3].norm(dim=-1).max())
    if not distance <= MAX_DISTANCE:
        raise InputError(
            f"{path} leads {distance:.3g} depth units away: give the depth unit, the first frame's median depth "
            "in the file's own unit"
        )
    return Trajectory(world_from_camera=world_from_camera, focal_per_width=focal_per_width)


def write_trajectory(path: Path, trajectory: Trajectory, *, aspect: float | None = None) -> None:
    """Write a path as `.txt` (9 decimals, times are frame indices) or `.npz` (exact), in depth units.

    aspect: width / height of the clip; only `.txt`, which also states fy, needs it.
    Raises InputError for another suffix, a folder that does not exist, or a `.txt` without a positive aspect.
    """
    suffix = _suffix(path)
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist: create it or choose another place for {path.name}")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give a file name")
    world_from_camera = trajectory.world_from_camera.double().cpu()
    if suffix == ".npz":
        with path.open("wb") as file:
            focal = np.float64(trajectory.focal_per_width)
            np.savez(file, world_from_camera=world_from_camera.numpy(), focal_per_width=focal)
        return
    if aspect is None or not (math.isfinite(aspect) and aspect > 0):
        raise InputError(f"a .txt path also states fy: give the clip's aspect (width / height), not {aspect}")
    fx = trajectory.focal_per_width
    lines = [_TXT_HEADER]
    for index, camera_from_world in enumerate(inverse(world_from_camera)[:, :3].flatten(1).tolist()):
        numbers = (fx, fx * aspect, 0.5, 0.5, 0.0, 0.0, *camera_from_world)
        # One blank between columns and none at the ends: CameraCtrl splits lines at single blanks.
        lines.append(" ".join((str(index), *(f"{number:.9f}" for number in numbers))))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"a camera path is a {' or '.join(SUFFIXES)} file: rename or convert {path.name!r}")
    return suffix


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"the camera path {path} is not a file: check its name")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the camera path {path} cannot be read ({error.strerror}): check its permissions") from error


def _read_txt(path: Path, aspect: float | None) -> _Poses:
    lines = _content(path).decode("utf-8", errors="replace").splitlines()
    if lines and len(lines[0].split()) == _NUM_COLUMNS and not lines[0].startswith("#"):
        raise InputError(
            f"line 1 of {path} holds a pose, but readers of this format skip it: put a URL or comment first"
        )
    numbered = [(number, line.split()) for number, line in enumerate(lines, start=1) if number > 1 and line.strip()]
    where = [f"line {number}" for number, _ in numbered]
    rows = torch.tensor([_numbers(path, number, words) for number, words in numbered], dtype=torch.float64)
    rows = rows.reshape(-1, _NUM_COLUMNS)
    _check_intrinsics(path, where, rows[:, 1:5].tolist(), aspect)
    return _Poses(
        matrices=rows[:, 7:].reshape(-1, 3, 4), is_camera_from_world=True, focal_per_width=rows[:, 1], where=where
    )


def _numbers(path: Path, line: int, words: list[str]) -> list[float]:
    if len(words) != _NUM_COLUMNS:
        raise InputError(
            f"line {line} of {path} has {len(words)} columns instead of {_NUM_COLUMNS}: "
            "time, fx fy cx cy, two zeros and the 12 numbers of camera_from_world"
        )
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"line {line} of {path} holds something that is not a number: mend or remove it") from error
    if not all(math.isfinite(number) for number in numbers):
        raise InputError(f"line {line} of {path} holds a number that is not finite: mend or remove the pose")
    return numbers


def _check_intrinsics(path: Path, where: list[str], rows: list[list[float]], aspect: float | None) -> None:
    """The principal point and fy of every line (fx, fy, cx, cy); fx itself is checked for both formats."""
    for label, (fx, fy, cx, cy) in zip(where, rows, strict=True):
        if max(abs(cx - 0.5), abs(cy - 0.5)) > CENTRE_TOLERANCE:
            raise InputError(
                f"{label} of {path} has its principal point at ({cx:g}, {cy:g}) of the image: "
                "only (0.5, 0.5) is supported, crop the images about their principal point"
            )
        if min(fx, fy) <= 0:
            raise InputError(f"{label} of {path} has fx = {fx:g} and fy = {fy:g}: focal lengths are above 0")
        if abs(fy / rows[0][1] - 1) > FOCAL_TOLERANCE:
            raise InputError(f"{label} of {path} has fy = {fy:g} after {rows[0][1]:g} in frame 0: {_NO_ZOOMS}")
        if aspect is not None and abs(fy / fx / aspect - 1) > ASPECT_TOLERANCE:
            raise InputError(
                f"{label} of {path} has fx = {fx:g} and fy = {fy:g}, those of an image {fy / fx:.3f} times as wide as "
                f"high, but the clip's is {aspect:.3f} times: choose a size of that shape or rewrite fx and fy for it"
            )


def _read_npz(path: Path) -> _Poses:
    arrays = _arrays(path)
    focal_names = [name for name in ("focal_per_width", "fx") if name in arrays]
    if "world_from_camera" not in arrays or len(focal_names) != 1:
        raise InputError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}: it needs world_from_camera [T, 4, 4] and either "
            "focal_per_width or fx (focal length / image width)"
        )
    poses, focal = arrays["world_from_camera"], arrays[focal_names[0]]
    for name, array in (("world_from_camera", poses), (focal_names[0], focal)):
        if array.dtype.kind not in "fiu":
            raise InputError(f"{name} in {path} is of type {array.dtype}: it must hold real numbers")
        if not np.isfinite(array).all():
            raise InputError(f"{name} in {path} holds numbers that are not finite: mend or remove the poses")
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise InputError(f"world_from_camera in {path} has shape {list(poses.shape)}: it must be [T, 4, 4]")
    if focal.shape not in ((), (1,), (len(poses),)):
        raise InputError(f"{focal_names[0]} in {path} has shape {list(focal.shape)}: give one number or one per pose")
    if not np.allclose(poses[:, 3], (0, 0, 0, 1), rtol=0, atol=1e-6):
        raise InputError(f"world_from_camera in {path} has last rows other than 0 0 0 1: the poses may be transposed")
    return _Poses(
        matrices=torch.from_numpy(poses[:, :3].astype(np.float64)),
        is_camera_from_world=False,
        focal_per_width=torch.from_numpy(np.broadcast_to(focal, len(poses)).astype(np.float64)),
        where=[f"pose {index}" for index in range(len(poses))],
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive; nothing is unpickled."""
    content = io.BytesIO(_content(path))
    try:
        if not zipfile.is_zipfile(content):  # np.load would take a lone .npy too
            raise zipfile.BadZipFile
        with np.load(content, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path} is not an archive of plain arrays: write it with numpy.savez") from error


def _one_focal(path: Path, poses: _Poses) -> float:
    """Frame 0's focal length / width, after a check that it is one and that no frame zooms."""
    focals = poses.focal_per_width.tolist()
    for label, focal in zip(poses.where, focals, strict=True):
        if not 0 < focal <= MAX_FOCAL_PER_WIDTH:
            raise InputError(
                f"{label} of {path} has fx = {focal:g}: it must be the focal length / image width, "
                f"above 0 and at most {MAX_FOCAL_PER_WIDTH:g}"
            )
        if abs(focal / focals[0] - 1) > FOCAL_TOLERANCE:
            raise InputError(f"{label} of {path} has fx = {focal:g} after {focals[0]:g} in frame 0: {_NO_ZOOMS}")
    return focals[0]


def _nearest_rotations(path: Path, poses: _Poses) -> Float[Tensor, "T 3 3"]:
    """The rotation nearest to each matrix (polar decomposition), after a check that it is one but for rounding."""
    rotations = poses.matrices[:, :, :3]
    deviation = (rotations.mT @ rotations - torch.eye(3, dtype=torch.float64)).abs().amax(dim=(1, 2))
    bad = (~(deviation <= RIGID_TOLERANCE) | (torch.linalg.det(rotations) <= 0)).nonzero().flatten().tolist()
    if bad:
        raise InputError(
            f"{poses.where[bad[0]]} of {path} is not rigid (its 3 x 3 part is no rotation): "
            "remove scale, shear and mirroring from the poses"
        )
    left, _, right = torch.linalg.svd(rotations)
    return left @ right
