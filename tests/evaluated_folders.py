"""Folders as `worldr1 evaluate` makes them: of made-up records, and of rendered scenes whose geometry is known."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from worldr1.camera.trajectory import synthesize
from worldr1.evaluate.evaluation import positions, yaw_deg
from worldr1.evaluate.folder import EvaluationFolder, Facts
from worldr1.evaluate.pages.pictures import save_pictures
from worldr1.evaluate.records import VideoRecord
from worldr1.mini.render import render
from worldr1.mini.scenes import sample_scenes
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Reconstruction, Status, intrinsics_px
from worldr1.video_io import write_mp4

FRAMES, HEIGHT, WIDTH = 9, 48, 72
SETTINGS = {
    **{"seed": 0, "guidance": 1.0, "negative_prompt": "", "strength": 0.5, "transport": "canvas", "steps": 20},
    **{"shift": 3.0, "frames": FRAMES, "height": HEIGHT, "width": WIDTH, "fps": 8, "dtype": "float32"},
}
FACTS = Facts(
    title="base",
    source={"model": "mini"},
    suite="mini",
    suite_sha256="00",
    clip=(FRAMES, HEIGHT, WIDTH),
    samples=1,
    judge="judge",
    reward_model="reward",
    settings=SETTINGS,
    worldr1="0",
    machine="a machine",
    devices={"sampling": "cpu", "judging": "cpu"},
    seconds={"sampling": 12.0, "judging": 3.0},
)
TOKENS = ("push_in", "move_left", "orbit_right", "pan_left")
HOSTILE = 'Camera push in. A <script>alert("1")</script> & a "ball".'


def record(prompt_id: int, *, sample: int = 0, valid: bool = True, **fields: Any) -> VideoRecord:
    """A record; measures are dropped if it is not valid."""
    token = TOKENS[prompt_id % len(TOKENS)]
    path = synthesize((token,), FRAMES).world_from_camera
    given: dict[str, Any] = {
        "prompt_id": prompt_id,
        "prompt": f"Camera {token.replace('_', ' ')}. Scene {prompt_id}.",
        "dynamic": False,
        "tokens": (token,),
        "seed": 100 * prompt_id + sample,
        "status": Status.OK if valid else Status.REJECTED,
        "reason": "" if valid else "it has no texture",
        "reward": None,
        "requested_path": positions(path),
        "requested_yaw_deg": yaw_deg(path),
        "scene_type": ("single object", "multi object")[prompt_id % 2],
        "sample": sample,
    }
    made = VideoRecord(**given | fields)
    return made if valid else replace(made, measures={})


def folder_of(path: Path, values: Mapping[Any, Mapping[str, float] | None], **facts: Any) -> EvaluationFolder:
    """A folder with a record for every prompt (or prompt and sample); None: that clip is rejected."""
    folder = EvaluationFolder.create(path, replace(FACTS, title=path.name, **facts))
    for key, measures in values.items():
        prompt_id, sample = key if isinstance(key, tuple) else (key, 0)
        folder.append(record(prompt_id, sample=sample, valid=measures is not None, measures=dict(measures or {})))
    return folder


def clip_with_geometry(seed: int, token: str) -> tuple[Tensor, Reconstruction]:
    """A rendered clip [T, 3, H, W] and its true geometry."""
    scene = sample_scenes(1, generator=torch.Generator().manual_seed(seed))
    poses = synthesize((token,), FRAMES).world_from_camera
    clips = render(scene, poses.float()[None], height=HEIGHT, width=WIDTH)
    geometry = Reconstruction(
        world_from_camera=clips.world_from_camera[0],
        depth=clips.depth[0],
        intrinsics_px=intrinsics_px(HEIGHT, WIDTH).float().expand(FRAMES, 3, 3),
        confidence=(~clips.sky[0]).float(),
    )
    return clips.video[0], geometry


def filmed_pair(home: Path, num: int = 3) -> list[EvaluationFolder]:
    """ "base", whose frames swim, and "mini-r1", whose do not: videos, pictures, points; the second loses its last."""
    made = []
    for title, swim in (("base", 2), ("mini-r1", 0)):
        folder = EvaluationFolder.create(home / title, replace(FACTS, title=title))
        for number in range(8):
            valid = not (title == "mini-r1" and number == num - 1)
            psnr = 20.0 + 0.3 * number + (0.0 if swim else 1.0 + 0.1 * number * (-1) ** number)
            measures = {"psnr_holdout_db": psnr, "rotation_error_deg": 0.5 + 0.05 * number * swim}
            about: dict[str, Any] = {"measures": measures, "video": f"{number:03d}.mp4" if number < num else None}
            if number == 0:
                about["prompt"] = HOSTILE
            if number < num:
                clip, geometry = clip_with_geometry(number, TOKENS[number % len(TOKENS)])
                clip = torch.stack([torch.roll(frame, swim * (i % 2), dims=-1) for i, frame in enumerate(clip)])
                recovered = geometry.world_from_camera
                about |= {"recovered_path": positions(recovered), "recovered_yaw_deg": yaw_deg(recovered)}
                made_of = record(number, valid=valid, **about)
                write_mp4(folder.path / "videos" / f"{number:03d}.mp4", clip, upscale=4)
                if valid:
                    save_pictures(folder, made_of, clip, geometry, SplatRenderer())
            folder.append(record(number, valid=valid, **about))
        made.append(folder)
    return made


def shrunk(clip: Tensor, num: int) -> Tensor:
    """The first frames of a clip, cut to a square: as a judge may see a video."""
    return F.interpolate(clip[:num, :, :, : clip.shape[-2]], size=(HEIGHT, HEIGHT))
