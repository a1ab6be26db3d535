"""`measure` and the catalogue: one list of names, and nothing measured that it does not name."""

from dataclasses import replace

import pytest
import torch

from worldr1.backends.mini import CLIP_SIZE, load_distance, load_probe
from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError
from worldr1.evaluate.labels import LABELS
from worldr1.evaluate.metrics import CATALOGUE, MEASURED_BY_DEFAULT, JudgedClip, depth_model_note, measure
from worldr1.evaluate.metrics.splat_fit import FitConfig
from worldr1.evaluate.scoring.figures import SCORE_METRICS
from worldr1.evaluate.scoring.scorer import ShotScore
from worldr1.evaluate.statistics.values import PSNR_NAMES
from worldr1.mini.promptset import random_scenes
from worldr1.mini.render import render
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Prompt, Reconstruction, intrinsics_px

FRAMES, HEIGHT, WIDTH = 9, 32, 48


@pytest.fixture(scope="module")
def clip() -> JudgedClip:
    """A clean clip with its true geometry."""
    return film(FRAMES, HEIGHT, WIDTH)


def film(num_frames: int, height: int, width: int) -> JudgedClip:
    scenes, _ = random_scenes(1, seed=5, stream="test-measuring", dynamic=False)
    path = synthesize(("move_right",), num_frames)
    clips = render(scenes, path.world_from_camera.float()[None], height=height, width=width)
    found = Reconstruction(
        world_from_camera=clips.world_from_camera[0],
        depth=clips.depth[0],
        intrinsics_px=intrinsics_px(height, width).expand(num_frames, 3, 3),
        confidence=(~clips.sky[0]).float(),
    )
    return JudgedClip(video=clips.video[0], fps=8, requested=path, reconstruction=found)


def test_a_perfect_clip_is_measured_as_one(clip: JudgedClip) -> None:
    found = measure([clip], renderer=SplatRenderer(), perceptual=load_distance())[0]
    assert found["psnr_holdout_db"] > 20 and found["mvcs_scale_free"] > 0.99
    assert found["travel_depth_units"] == pytest.approx(0.22, abs=1e-6)
    assert found["rotation_error_deg"] == pytest.approx(0, abs=1e-3)
    assert found["trans_err_sum"] == pytest.approx(0, abs=1e-5)
    assert found["residual_motion"] < 0.02
    assert found["consistency"] > 0.5
    absent = set(MEASURED_BY_DEFAULT) - set(found)
    probed = {name for name, info in CATALOGUE.items() if "probe" in info.source} | {"mover_motion"}
    assert absent <= probed | {"trans_err_sum_still", "cam_mc_sum_still", "epipolar_px"}


def test_values_come_in_the_catalogue_s_order_whatever_was_asked_first(clip: JudgedClip) -> None:
    found = measure([clip], renderer=SplatRenderer(), names=["image_gradient", "travel_deg", "psnr_all_db"])[0]
    assert list(found) == ["psnr_all_db", "travel_deg", "image_gradient"]


def test_without_geometry_the_image_is_measured_alone(clip: JudgedClip) -> None:
    bare = replace(clip, reconstruction=None)
    both = measure([bare, clip], renderer=SplatRenderer(), names=["image_gradient", "mvcs", "dis_motion_px"])
    assert list(both[0]) == ["dis_motion_px", "image_gradient"]
    assert both[0]["image_gradient"] == both[1]["image_gradient"] and "mvcs" in both[1]


def test_clips_of_two_sizes_are_measured_as_each_alone(clip: JudgedClip) -> None:
    assert clip.reconstruction is not None
    found = clip.reconstruction
    shorter = replace(
        clip,
        video=clip.video[:5],
        requested=None,
        reconstruction=replace(
            found,
            **{n: getattr(found, n)[:5] for n in ("world_from_camera", "depth", "intrinsics_px", "confidence")},
        ),
    )
    names = ["psnr_holdout_db", "image_gradient", "residual_motion"]
    together = measure([clip, shorter, clip], renderer=SplatRenderer(), names=names)
    alone = [measure([one], renderer=SplatRenderer(), names=names)[0] for one in (clip, shorter)]
    assert together == [alone[0], alone[1], alone[0]] and alone[0] != alone[1]


def test_words_need_a_prompt_and_a_probe() -> None:
    clip = replace(film(*CLIP_SIZE), reconstruction=None)
    text = "Camera moves right. A striped red ball on a blue marbled floor in a green marbled room."
    asked = [replace(clip, prompt=Prompt(id=0, text=text)), replace(clip, prompt=None)]
    found = measure(asked, renderer=SplatRenderer(), names=["words", "colour"], probe=load_probe())
    assert set(found[0]) == {"words", "colour"} and found[1] == {}
    assert measure(asked, renderer=SplatRenderer(), names=["words"]) == [{}, {}]


def test_a_blank_clip_has_no_value_rather_than_a_wrong_one(clip: JudgedClip) -> None:
    blank = replace(clip, video=torch.full_like(clip.video, 0.5))
    assert measure([blank], renderer=SplatRenderer(), names=["epipolar_px", "consistency"])[0] == {}


def test_names_that_cannot_be_measured_are_refused(clip: JudgedClip) -> None:
    with pytest.raises(InputError, match="There is no measure 'psnr'"):
        measure([clip], renderer=SplatRenderer(), names=["psnr"])
    with pytest.raises(InputError, match="run_vbench"):
        measure([clip], renderer=SplatRenderer(), names=["vbench_avg5"])
    with pytest.raises(InputError, match="gradients"):
        measure([clip], renderer=SplatRenderer(), names=["psnr_fit_all_db"], fit=FitConfig(steps=1))


def test_every_measure_of_the_catalogue_can_be_had() -> None:
    fitted = {name for name in CATALOGUE if "_fit_" in name}
    vbench = {name for name in CATALOGUE if name.startswith("vbench_")}
    assert set(MEASURED_BY_DEFAULT) | fitted | vbench == set(CATALOGUE)
    assert not set(MEASURED_BY_DEFAULT) & (fitted | vbench)


def test_titles_are_unique_and_every_measure_says_whose_it_is_and_which_frames() -> None:
    assert len({info.title for info in CATALOGUE.values()}) == len(CATALOGUE)
    assert all(name == info.name and info.source and info.frames for name, info in CATALOGUE.items())
    for name, info in CATALOGUE.items():
        if name.startswith(("psnr", "ssim", "perceptual")):
            assert ("holdout" in name) == (info.frames == "held out") == ("held-out" in info.title), name


def test_one_list_of_titles() -> None:
    assert LABELS["travel_deg"].text == "Camera turn (degrees)"
    assert {m.field for m in SCORE_METRICS} <= set(ShotScore.__dataclass_fields__)
    assert all(metric.measure in CATALOGUE for metric in SCORE_METRICS)
    assert {name for name, info in CATALOGUE.items() if info.unit == "dB"} <= set(PSNR_NAMES)


def test_the_depth_model_is_named_and_the_reward_s_is_warned_of() -> None:
    assert "Warning" in depth_model_note("mini", "mini") and "mini" in depth_model_note("mini", "mini")
    assert depth_model_note("sfm", "mini") == "Depth and poses by sfm."
    assert "not known" in depth_model_note("sfm", None)
    assert depth_model_note("sfm", "") == "Depth and poses by sfm."
