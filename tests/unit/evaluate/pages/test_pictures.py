"""Pictures of an evaluated video: no frame is drawn from itself, and the cloud lies on the scene's surfaces."""

import json
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluated_folders import FACTS, FRAMES, clip_with_geometry, record, shrunk
from PIL import Image

from worldr1.errors import InputError
from worldr1.evaluate.folder import EvaluationFolder
from worldr1.evaluate.pages.embedding import embed, small_video
from worldr1.evaluate.pages.pictures import FARTHEST, MAX_POINTS, light_cloud, redraw_all, save_pictures
from worldr1.geometry.pinhole import project
from worldr1.rewards.reconstruction import ReconstructionConfig
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Reconstruction
from worldr1.video_io import read_mp4, video_facts, write_mp4

CONFIG = ReconstructionConfig()
Clip = tuple[torch.Tensor, Reconstruction]


@pytest.fixture(scope="module")
def filmed() -> Clip:
    return clip_with_geometry(3, "orbit_right")


def test_a_frame_is_drawn_from_the_frames_of_the_other_parity(filmed: Clip) -> None:
    clip, geometry = filmed
    drawn, covered = redraw_all(clip, geometry, SplatRenderer(), config=CONFIG)
    error = (drawn - clip).abs().mean(1)[covered]
    assert covered.float().mean() > 0.9 and float(error.mean()) < 0.05
    for frame in (2, 3):
        noisy = clip.clone()
        noisy[frame] = torch.rand(clip[frame].shape, generator=torch.Generator().manual_seed(0))
        again, _ = redraw_all(noisy, geometry, SplatRenderer(), config=CONFIG)
        same = [bool(torch.equal(again[i], drawn[i])) for i in range(FRAMES)]
        assert same == [i % 2 == frame % 2 for i in range(FRAMES)]  # its own and its parity's do not know of it


def test_the_cloud_is_light_lies_on_the_surfaces_and_has_no_sky(filmed: Clip) -> None:
    clip, geometry = filmed
    doubled = replace(
        geometry,
        depth=geometry.depth * 2,
        world_from_camera=torch.cat(
            (
                torch.cat((geometry.world_from_camera[:, :3, :3], 2 * geometry.world_from_camera[:, :3, 3:]), -1),
                geometry.world_from_camera[:, 3:],
            ),
            1,
        ),
    )
    points, colours = light_cloud(clip, doubled, config=CONFIG)  # in depth units whatever the 3D model's own
    assert MAX_POINTS // 2 < len(points) <= MAX_POINTS and len(colours) == len(points)
    assert float(points.norm(dim=-1).max()) <= FARTHEST
    pixels, z = project(points.double(), geometry.intrinsics_px[0].double())
    height, width = geometry.depth.shape[-2:]
    inside = (z > 0) & (pixels >= 0).all(-1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    column, row = pixels[inside].long().unbind(-1)
    there = geometry.depth[0, row, column]
    on_surface = (z[inside] - there).abs() < 0.1 * there
    hidden = z[inside] > there  # by what is nearer in the first frame
    assert float(on_surface.float().mean()) > 0.7 and float((on_surface | hidden).float().mean()) > 0.97
    marked, trust = clip.clone(), geometry.confidence.clone()
    marked[:, :, :10], trust[:, :10] = torch.tensor([1.0, 0.0, 1.0])[:, None, None], 0.0  # sky in loud magenta
    _, colours = light_cloud(marked, replace(geometry, confidence=trust), config=CONFIG)
    assert not bool((colours == torch.tensor([255, 0, 255])).all(-1).any())
    assert (
        len(light_cloud(clip, replace(geometry, confidence=torch.zeros_like(geometry.confidence)), config=CONFIG)[0])
        == 0
    )


def test_the_files_are_those_of_the_folder(filmed: Clip, tmp_path: Path) -> None:
    clip, geometry = filmed
    folder = EvaluationFolder.create(tmp_path, FACTS)
    kept = record(0, video="000.mp4")
    write_mp4(tmp_path / "videos" / "000.mp4", clip, upscale=4, fps=12)
    save_pictures(folder, kept, clip, geometry, SplatRenderer())
    film, again = (video_facts(tmp_path / name / "000.mp4") for name in ("videos", "redrawn"))
    assert (film.num_frames, film.frames_per_second) == (again.num_frames, again.frames_per_second) == (FRAMES, 12)
    assert not (tmp_path / "redrawn" / "000-seen.mp4").exists()
    with Image.open(tmp_path / "redrawn" / "000.png") as sheet:
        assert sheet.mode == "1" and sheet.size == (3 * clip.shape[-1], 3 * clip.shape[-2])
        unseen = np.asarray(sheet)
    _, covered = redraw_all(clip, geometry, SplatRenderer(), config=CONFIG)
    height, width = clip.shape[-2:]
    assert (unseen[height : 2 * height, width : 2 * width] == ~covered[4].numpy()).all()  # the fifth frame
    table = json.loads((tmp_path / "points" / "000.json").read_text())
    points = np.frombuffer(b64decode(table["points"]), dtype="<f4").reshape(-1, 3)
    colours = np.frombuffer(b64decode(table["colours"]), dtype=np.uint8).reshape(-1, 3)
    assert len(points) == len(colours) <= MAX_POINTS
    with pytest.raises(InputError, match="not kept"):
        save_pictures(folder, record(1), clip, geometry, SplatRenderer())


def test_a_video_that_was_cut_for_the_judge_is_shown_as_it_was_judged(filmed: Clip, tmp_path: Path) -> None:
    clip, _ = filmed
    folder = EvaluationFolder.create(tmp_path, FACTS)
    kept = record(0, video="000.mp4")
    write_mp4(tmp_path / "videos" / "000.mp4", clip, fps=9)
    seen = shrunk(clip, 6)
    geometry = Reconstruction(
        world_from_camera=torch.eye(4).expand(6, 4, 4),
        depth=torch.ones(6, *seen.shape[-2:]),
        intrinsics_px=torch.tensor([[60.0, 0, 24], [0, 60.0, 24], [0, 0, 1]]).expand(6, 3, 3),
        confidence=torch.ones(6, *seen.shape[-2:]),
    )
    save_pictures(folder, kept, seen, geometry, SplatRenderer())
    shown = embed(folder, kept, video_bytes=10**6)
    assert (shown.num_frames, shown.fps, shown.aspect) == (6, 6.0, 1.0)  # six frames in the file's second


def test_large_videos_are_made_smaller_until_they_fit(tmp_path: Path) -> None:
    noise = torch.rand(5, 3, 240, 320, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "noise.mp4"
    write_mp4(path, noise)
    whole = path.stat().st_size
    rate = video_facts(path).frames_per_second
    assert small_video(path, noise, rate, whole) == path.read_bytes()
    small = small_video(path, noise, rate, whole // 4)
    (tmp_path / "small.mp4").write_bytes(small)
    found = read_mp4(tmp_path / "small.mp4")
    assert len(small) <= whole // 4 and len(found) == 5 and found.shape[-1] % 2 == 0
    assert video_facts(tmp_path / "small.mp4").frames_per_second == rate


def test_points_are_packed_to_a_ten_thousandth(tmp_path: Path, filmed: Clip) -> None:
    clip, geometry = filmed
    folder = EvaluationFolder.create(tmp_path, FACTS)
    kept = record(0, video="000.mp4")
    write_mp4(tmp_path / "videos" / "000.mp4", clip)
    save_pictures(folder, kept, clip, geometry, SplatRenderer())
    packed = embed(folder, kept, video_bytes=10**6).data["points"]
    places = np.frombuffer(b64decode(packed["places"]), dtype="<u2").reshape(-1, 3)
    back = np.array(packed["low"]) + np.array(packed["step"]) * places
    points, _ = light_cloud(clip, geometry, config=CONFIG)
    assert np.abs(back - points.numpy()).max() < 1e-4 * float((points.amax(0) - points.amin(0)).max())
    (tmp_path / "points" / "000.json").write_text('{"points": "AAAA", "colours": ""}')
    with pytest.raises(InputError, match="no point cloud"):
        embed(folder, kept, video_bytes=10**6)
