"""`worldr1 doctor`: what works on this machine, and how to get the rest; with `--recipe`, `cli.doctor_recipe`."""

import argparse
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from packaging.requirements import Requirement

from worldr1 import __version__
from worldr1.cli.doctor_recipe import add_recipe_arguments, refuse_without_recipe, run_recipe
from worldr1.cluster.ray_actors import ADDRESS, HINT, ray_version
from worldr1.digests import file_sha256

WEIGHTS_DIR = Path(__file__).parent.parent / "mini" / "weights"
"""Where the mini models are shipped."""
INDEX_NAME = "index.json"
"""In WEIGHTS_DIR, written by `pretrain.pack`: {"sha256": {relative path: digest}, ...}."""

WAN_HEAD_DIM = 128
"""Width of an attention head of Wan 2.1."""
_MIN_FREE_BYTES = 2 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the diagnosis."""

    name: str
    ok: bool
    detail: str
    """What was found."""
    fix: str = ""
    """What to do if it is not ok."""
    core: bool = True
    """Without it the mini world does not run, and the exit code is 1."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--json`, and what a recipe's check takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    add_recipe_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the diagnosis; 0 if the core works (or all of the recipe's checks passed), 1 otherwise."""
    if args.recipe is not None:
        return run_recipe(args)
    refuse_without_recipe(args)
    checks = diagnose()
    works = all(check.ok for check in checks if check.core)
    if args.json:
        print(json.dumps({"ok": works, "checks": [asdict(check) for check in checks]}))
        return 0 if works else 1
    width = max(len(check.name) for check in checks) + 2
    for check in checks:
        mark = "ok" if check.ok else "MISSING" if check.core else "no"
        print(f"{mark:8}{check.name:{width}}{check.detail}")
        if not check.ok and check.fix:
            print(f"{'':{8 + width}}-> {check.fix}")
    verdict = "runs here." if works else "does not run here yet: see the lines marked MISSING."
    print(f"The mini world {verdict}")
    return 0 if works else 1


def diagnose(weights: Path = WEIGHTS_DIR) -> tuple[Check, ...]:
    """Every check, in the order they are printed. weights: the folder of the mini models."""
    works = (_video(), _optical_flow(), _camera_solver(), _mini_weights(weights))
    optional = (_real_models(), _depth_anything3(), _ray())
    return (_python(), *_libraries(), *works, _disk(), _processor(), *_gpu(), *optional)


def _python() -> Check:
    version = platform.python_version()
    return Check(
        name="python",
        ok=sys.version_info >= (3, 11),
        detail=f"{version}, worldr1 {__version__}, {platform.system()} {platform.machine()}",
        fix="use Python 3.11 or newer",
    )


def _libraries() -> Iterator[Check]:
    """One check for each requirement of the installed package, so that the ranges are said only in pyproject.toml."""
    try:
        requirements = [Requirement(text) for text in importlib.metadata.requires("worldr1") or ()]
    except importlib.metadata.PackageNotFoundError:
        fix = "run `pip install -e .` in the repository"
        yield Check(name="worldr1", ok=False, detail="used from its folder, not installed", fix=fix)
        return
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate():
            yield _library(requirement, core=True)


def _library(requirement: Requirement, *, core: bool) -> Check:
    wanted = str(requirement).partition(";")[0].strip()
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name=requirement.name, ok=False, detail="not installed", fix=f"pip install '{wanted}'", core=core)
    in_range = requirement.specifier.contains(version, prereleases=True)
    detail = version if in_range else f"{version}, outside the supported {requirement.specifier}"
    return Check(name=requirement.name, ok=in_range, detail=detail, fix=f"pip install '{wanted}'", core=core)


def _video() -> Check:
    """Encodes and decodes two frames: that PyAV imports does not mean that its encoder was built in."""
    fix = "pip install --force-reinstall av (the wheels from PyPI bring libx264)"
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for level in (0, 255):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        buffer.seek(0)
        with av.open(buffer, "r") as source:
            num_frames = sum(1 for _ in source.decode(video=0))
    except (FFmpegError, ValueError) as error:  # ValueError: an unknown codec, in some versions of PyAV
        return Check(name="h264", ok=False, detail=f"PyAV cannot encode: {error}", fix=fix)
    return Check(name="h264", ok=num_frames == 2, detail=f"{num_frames} of 2 frames encoded and read back", fix=fix)


def _optical_flow() -> Check:
    """Follows the corners of a square that moves by two pixels. `worldr1 score` does this with every video."""
    name = "optical flow"
    # OpenCV's four wheels all write the folder cv2: the last one wins, and removing one takes the others' files along
    fix = "pip uninstall opencv-python opencv-contrib-python, then pip install --force-reinstall opencv-python-headless"
    try:
        import cv2
    except ImportError as error:
        return Check(name=name, ok=False, detail=f"OpenCV cannot be imported: {error}", fix=fix, core=False)
    picture = np.zeros((64, 96), np.uint8)
    picture[20:44, 30:60] = 255
    corners = np.array([[[x, y]] for x in (29.5, 59.5) for y in (19.5, 43.5)], np.float32)
    try:
        found = cv2.calcOpticalFlowPyrLK(picture, np.roll(picture, 2, axis=1), corners, np.zeros_like(corners))[0]
    except cv2.error as error:
        return Check(name=name, ok=False, detail=f"OpenCV fails: {error}", fix=fix, core=False)
    error_px = float(np.abs(found - corners - (2, 0)).max())
    detail = f"OpenCV follows four corners to within {error_px:.2f} px"
    return Check(name=name, ok=error_px < 0.1, detail=detail, fix=fix, core=False)


def _camera_solver() -> Check:
    """Finds the camera that sees known points where they are: COLMAP's geometry, and Ceres behind it."""
    name, fix = "camera solver", "pip install --force-reinstall 'pycolmap>=4.2' (`worldr1 score` needs it)"
    points = np.array([(x, y, 4.0 + abs(x + 2 * y)) for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0)])
    pixels = 100 * (points[:, :2] + (0.5, 0)) / points[:, 2:] + (64, 48)  # by a camera that stands half a unit left
    try:
        import pycolmap

        pinhole = pycolmap.CameraModelId.SIMPLE_PINHOLE
        camera = pycolmap.Camera.create_from_model_id(1, pinhole, 100.0, 128, 96)
        found = pycolmap.estimate_and_refine_absolute_pose(pixels, points, camera)
    except (ImportError, AttributeError, RuntimeError, TypeError, ValueError) as error:  # or what other versions lack
        return Check(name=name, ok=False, detail=f"pycolmap fails: {error}", fix=fix, core=False)
    if found is None:
        return Check(name=name, ok=False, detail="pycolmap finds no camera where there is one", fix=fix, core=False)
    right = np.eye(3, 4)
    right[0, 3] = 0.5
    ok = bool(np.abs(found["cam_from_world"].matrix() - right).max() < 1e-6)
    detail = f"pycolmap finds a known camera{'' if ok else ' in a wrong place'}"
    return Check(name=name, ok=ok, detail=detail, fix=fix, core=False)


def _mini_weights(folder: Path) -> Check:
    """Every file that the index lists is there and is the one that was trained."""
    index = folder / INDEX_NAME
    fix = "clone the repository again, or train them: worldr1 mini build --help"
    try:
        digests = json.loads(index.read_text(encoding="utf-8"))["sha256"].items()
    except FileNotFoundError:
        return Check(name="mini weights", ok=False, detail=f"there is no {index}", fix=fix)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Check(name="mini weights", ok=False, detail=f"{index} is damaged", fix=fix)
    bad = [name for name, digest in digests if not _is_intact(folder / name, digest)]
    detail = f"missing or damaged in {folder}: {', '.join(bad)}" if bad else f"{len(digests)} files in {folder}"
    return Check(name="mini weights", ok=not bad, detail=detail, fix=fix)


def _is_intact(path: Path, digest: str) -> bool:
    return path.is_file() and file_sha256(path) == digest


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    return Check(
        name="disk",
        ok=free >= _MIN_FREE_BYTES,
        detail=f"{_gib(free)} free in {Path.cwd()}",
        fix=f"free {_gib(_MIN_FREE_BYTES)} for run folders, or choose another disk with --out",
        core=False,
    )


def _processor() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    detail = f"{cores} cores, torch uses {torch.get_num_threads()} threads"
    return Check(name="processor", ok=True, detail=detail)


def _gpu() -> Iterator[Check]:
    if not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        fix = "not needed for the mini world; the Wan recipes need an NVIDIA GPU, its driver and a CUDA build of torch"
        yield Check(name="gpu", ok=False, detail=f"none usable (torch built with {built})", fix=fix, core=False)
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        detail = f"{properties.name}, {_gib(properties.total_memory)}"
        yield Check(name=f"gpu {index}", ok=True, detail=detail, core=False)
    nvcc = shutil.which("nvcc")
    fix = "install the CUDA toolkit of torch's version and put its bin folder on PATH"
    yield Check(name="nvcc", ok=nvcc is not None, detail=nvcc or "not on PATH", fix=fix, core=False)
    found = importlib.util.find_spec("gsplat") is not None
    detail = f"{importlib.metadata.version('gsplat')}, builds its kernels on first use" if found else "not installed"
    fix = "pip install 'worldr1[gpu]'; until then Gaussians are rendered on the CPU"
    yield Check(name="gsplat", ok=found, detail=detail, fix=fix, core=False)


def _real_models() -> Check:
    """Whether Wan 2.1 and CogVideoX are of use here: a GPU with bfloat16, its attention kernels and its memory."""
    name = "real models"
    if not torch.cuda.is_available():
        detail = "Wan 2.1 and CogVideoX load here, but without a CUDA GPU a video takes hours"
        return Check(name=name, ok=False, detail=detail, fix="use a machine with an NVIDIA GPU", core=False)
    from worldr1.backends.attention import choose_kernel, problem_with

    device, dtype = torch.device("cuda"), torch.bfloat16
    free, total = torch.cuda.mem_get_info(device)
    memory = f"{_gib(free)} of {_gib(total)} free"
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        fix = "set model.dtype = float32 (generate --dtype float32): twice the memory, several times as slow"
        detail = f"{torch.cuda.get_device_name(device)} has no bfloat16; {memory}"
        return Check(name=name, ok=False, detail=detail, fix=fix, core=False)
    kernels = ("cudnn", "flash", "flash3", "efficient")
    run = [k for k in kernels if not problem_with(k, device=device, dtype=dtype, head_dim=WAN_HEAD_DIM)]
    chosen = choose_kernel("auto", device=device, dtype=dtype, head_dim=WAN_HEAD_DIM)
    automatic = "torch's choice" if chosen == "torch" else chosen
    detail = f"bfloat16; attention {', '.join(run) or 'math only'} (auto: {automatic}); {memory}"
    return Check(name=name, ok=True, detail=detail, core=False)


def _depth_anything3() -> Check:
    """Optional: a learnt reconstructor for `worldr1 score`."""
    name = "depth-anything-3"
    missing = [part for part in (name, "einops", "addict", "omegaconf") if not _is_installed(part)]
    # its metadata stops at 3.13.0, its code does not; its requirements (numpy<2, xformers, open3d) are not needed
    unasked = " --ignore-requires-python" if sys.version_info >= (3, 13, 1) else ""
    return Check(
        name=name,
        ok=not missing,
        detail=f"not installed: {', '.join(missing)}" if missing else importlib.metadata.version(name),
        fix=f"pip install 'worldr1[da3]' && pip install --no-deps{unasked} depth-anything-3==0.1.1 "
        "(optional; its two larger weights are not for commercial use)",
        core=False,
    )


def _ray() -> Check:
    """Optional: rewards on other GPUs and nodes."""
    version, address = ray_version(), os.environ.get(ADDRESS, "")
    found = f"{version}, {f'the Ray at {address} is used' if address else 'started on 127.0.0.1 when a run needs it'}"
    fix = f"{HINT} (optional; only for reward.placement = remote)"
    return Check(name="ray", ok=bool(version), detail=found if version else "not installed", fix=fix, core=False)


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 30):.1f} GiB"
