"""Evaluations are paired, do not depend on the batch, and keep what they found; models are stood in for by formulas."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from worldr1.camera.trajectory import synthesize
from worldr1.errors import ConfigError, InputError
from worldr1.evaluate.evaluation import EvaluationConfig, evaluate, save_evaluation, spread
from worldr1.evaluate.records import Evaluation, MotionGroup
from worldr1.rollout.sampler import SamplerConfig
from worldr1.rollout.start_noise import NoiseConfig
from worldr1.types import Prompt, Reconstruction, RewardResult, Status, Trajectory, intrinsics_px
from worldr1.video_io import read_mp4

CLIP = (9, 16, 24)
LATENT = (3, 3, 2, 3)
CONFIG = EvaluationConfig(
    sampler=SamplerConfig(num_steps=6, first_index=1, last_index=2),
    noise=NoiseConfig(strength=0.5, min_cells=4),
    clip=CLIP,
    guidance=1.0,
    seed=5,
    batch=3,
    keep_videos=2,
)
PROMPTS = [
    Prompt(id=0, text="Camera push in. A red ball on a tiled blue floor under a cyan sky."),
    Prompt(id=1, text="Camera pan left. A red ball on a tiled blue floor under a cyan sky."),
    Prompt(id=2, text="A red ball on a tiled blue floor under a cyan sky."),
    Prompt(id=3, text="Camera move left, then push in. A red ball on a tiled blue floor under a cyan sky."),
    Prompt(
        id=0, text="Camera fixed. A red ball on a tiled blue floor under a cyan sky. The red ball turns.", dynamic=True
    ),
]


class Policy:
    """Elementwise, so that a batch cannot change a sample. drift: what "training" changed."""

    def __init__(self, drift: float = 0.0) -> None:
        self.transformer: nn.Module = nn.Identity()
        self.drift = drift
        self.starts: dict[str, list[Tensor]] = {}
        self._texts: list[str] = []

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        assert (num_frames, height, width) == CLIP
        return LATENT

    def encode(self, prompts: Sequence[str]) -> Tensor:
        self._texts = list(prompts)
        return torch.tensor([[[float(len(text))]] for text in prompts])

    def velocity(self, latents: Tensor, sigma: float | Tensor, embeddings: Tensor) -> Tensor:
        if sigma == 1.0:
            for text, latent in zip(self._texts, latents, strict=True):
                self.starts.setdefault(text, []).append(latent.clone())
        return 0.5 * latents + self.drift + 0.001 * embeddings[..., None, None]

    def decode(self, latents: Tensor) -> Tensor:
        frames = latents.repeat_interleave(4, dim=2)[:, :, 3:].transpose(1, 2)
        return torch.sigmoid(frames.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4))


def brightness(
    videos: Tensor, prompts: Sequence[Prompt], paths: Sequence[Trajectory | None], phase_dynamic: bool
) -> list[RewardResult]:
    """The reward. A prompt without camera words is a fault, the pan is rejected."""
    assert not phase_dynamic
    results = []
    for video, prompt, path in zip(videos, prompts, paths, strict=True):
        value = float(video.double().mean())
        if path is None:
            results.append(RewardResult(value=math.nan, parts={"r_gen": math.nan}, status=Status.FAULT, reason="lost"))
        elif "pan" in prompt.text:
            results.append(RewardResult(value=0.0, parts={"s_traj": 0.0}, status=Status.REJECTED, reason="flat"))
        else:
            measures = {"travel_deg": 2.0, "psnr_db": math.inf}
            results.append(RewardResult(value=value, parts={"r_gen": value}, measures=measures))
    return results


class Oracle:
    """A 3D model whose own unit is twice ours: it finds a push of 0.6 and a turn, whatever it is shown."""

    licence = "test"

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        poses = synthesize(["pull_right"], CLIP[0]).world_from_camera.clone()
        poses[:, :3, 3] *= 2.0
        found = Reconstruction(
            world_from_camera=poses.float(),
            depth=torch.full((CLIP[0], 4, 6), 2.0),
            intrinsics_px=intrinsics_px(4, 6).float().expand(CLIP[0], 3, 3),
            confidence=torch.ones(CLIP[0], 4, 6),
        )
        return [found] * len(videos)


class Blind(Oracle):
    """Rejects the first video of every call and breaks on more than one."""

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        if len(videos) > 1:
            raise RuntimeError("out of memory")
        if float(videos.mean()) > 0.5:
            raise ValueError("no texture")
        return [replace(found, status=Status.REJECTED) for found in super().__call__(videos)]


def test_before_and_after_start_from_the_same_noise() -> None:
    before, after = Policy(), Policy(drift=0.2)
    first = evaluate(before, brightness, Oracle(), PROMPTS, config=CONFIG).evaluation
    second = evaluate(after, brightness, Oracle(), PROMPTS[::-1], config=CONFIG).evaluation
    assert before.starts.keys() == after.starts.keys() == {prompt.text for prompt in PROMPTS}
    for text, (start,) in before.starts.items():
        assert torch.equal(start, after.starts[text][0])
    starts = torch.stack([start for (start,) in before.starts.values()])
    assert len(starts.flatten(1).unique(dim=0)) == len(PROMPTS)  # ids 0 (static) and 0 (dynamic) differ too
    assert len({r.seed for r in first.records}) == len(PROMPTS)
    assert [r.seed for r in first.records] == [r.seed for r in second.records[::-1]]
    assert first.records[0].reward != second.records[-1].reward


def test_the_batch_changes_nothing() -> None:
    whole = evaluate(Policy(), brightness, Oracle(), PROMPTS, config=CONFIG)
    single = evaluate(Policy(), brightness, Oracle(), PROMPTS, config=replace(CONFIG, batch=1))
    assert whole.evaluation.records == single.evaluation.records
    assert whole.videos.keys() == single.videos.keys() and len(whole.videos) == 2
    assert all(torch.equal(video, single.videos[index]) for index, video in whole.videos.items())


def test_a_record_says_what_was_found() -> None:
    evaluation = evaluate(Policy(), brightness, Oracle(), PROMPTS, config=CONFIG).evaluation
    push, pan, silent, pair, dynamic = evaluation.records
    assert (evaluation.guidance, evaluation.strength) == (1.0, 0.5)
    assert [r.group for r in evaluation.records] == [
        MotionGroup.MOVING,
        MotionGroup.STILL,
        MotionGroup.FREE,
        MotionGroup.MOVING,
        MotionGroup.DYNAMIC,
    ]
    assert push.parts == {"r_gen": push.reward} and push.measures == {"travel_deg": 2.0}  # no infinity
    assert (pan.status, pan.reward, pan.reason) == (Status.REJECTED, 0.0, "flat")
    assert (silent.status, silent.reward, silent.parts, silent.reason) == (Status.FAULT, None, {}, "lost")
    assert silent.requested_path is None and silent.tokens == ()
    assert pair.tokens == ("move_left", "push_in") and dynamic.tokens == ("fixed",)
    assert push.requested_path and push.requested_path[-1] == [0.0, 0.0, 0.6] and len(push.requested_path) == 9
    assert pan.requested_yaw_deg and pan.requested_yaw_deg[-1] == -14.0
    # in depth units: the oracle's unit is 2
    assert push.recovered_path and push.recovered_path[-1] == [0.16, 0.0, -0.3]
    assert push.recovered_yaw_deg and push.recovered_yaw_deg[-1] == pytest.approx(8.0, abs=1e-3)


def test_a_reward_that_is_not_finite_is_a_fault() -> None:
    def broken(videos: Tensor, *_: object) -> list[RewardResult]:
        return [RewardResult(value=math.inf, parts={"r_gen": math.inf})] * len(videos)

    evaluation = evaluate(Policy(), broken, Oracle(), PROMPTS, config=CONFIG).evaluation
    assert {(r.status, r.reward) for r in evaluation.records} == {(Status.FAULT, None)}


@pytest.mark.parametrize("drift", [3.0, -3.0])
def test_a_video_without_geometry_has_no_path(drift: float) -> None:
    """Rejected (bright) or with a 3D model that fails (dark): the evaluation goes on."""
    evaluation = evaluate(Policy(drift), brightness, Blind(), PROMPTS, config=CONFIG).evaluation
    assert [r.recovered_path for r in evaluation.records] == [None] * len(PROMPTS)
    assert evaluation.records[0].requested_path is not None


def test_paths_can_be_kept_for_the_kept_videos_alone() -> None:
    asked: list[int] = []

    class Counting(Oracle):
        def __call__(self, videos: Tensor) -> list[Reconstruction]:
            asked.append(len(videos))
            return super().__call__(videos)

    config = replace(CONFIG, all_paths=False, keep_videos=1)
    records = evaluate(Policy(), brightness, Counting(), PROMPTS, config=config).evaluation.records
    assert [r.recovered_path is not None for r in records] == [r.video is not None for r in records]
    assert asked == [1]


def test_progress_is_told_after_every_batch() -> None:
    told: list[tuple[int, int]] = []
    evaluate(Policy(), brightness, Oracle(), PROMPTS, config=CONFIG, on_progress=lambda *at: told.append(at))
    assert told == [(3, 5), (5, 5)]


def test_bad_requests_are_refused() -> None:
    with pytest.raises(InputError, match="at least one prompt"):
        evaluate(Policy(), brightness, Oracle(), [], config=CONFIG)
    with pytest.raises(InputError, match="one id"):
        evaluate(Policy(), brightness, Oracle(), PROMPTS[:1] * 2, config=CONFIG)
    with pytest.raises(ConfigError, match="batch"):
        replace(CONFIG, batch=0)


def test_the_shown_videos_are_spread_over_kinds_and_moves() -> None:
    moving, still, dynamic = MotionGroup.MOVING, MotionGroup.STILL, MotionGroup.DYNAMIC
    requests = [
        (("push_in",), moving),
        (("push_in",), moving),
        (("push_in",), moving),
        (("orbit_left",), moving),
        (("pan_left",), still),
        (("fixed",), still),
        (("push_in",), dynamic),
        (("orbit_right",), dynamic),
    ]
    assert spread(requests, 4) == [0, 3, 4, 7]  # two moving ones; in each kind the least familiar move
    assert spread(requests, 0) == []
    assert spread(requests, 99) == list(range(8))


def test_saving_and_loading_keeps_everything(tmp_path: Path) -> None:
    evaluation, videos = evaluate(Policy(), brightness, Oracle(), PROMPTS, config=CONFIG)
    folder = save_evaluation(evaluation, videos, tmp_path / "previews" / "before")
    assert Evaluation.load(folder) == evaluation
    json.loads((folder / "records.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    kept = [record.video for record in evaluation.records if record.video]
    assert kept == ["000.mp4", "001.mp4"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        [*kept, *(name.replace("mp4", "png") for name in kept), "records.json"]
    )
    index = min(videos)
    assert read_mp4(folder / kept[0]).shape == (9, 3, 256, 384)  # 16 x 24, enlarged by 16
    strip = torch.tensor(np.asarray(Image.open(folder / kept[0].replace("mp4", "png"))))
    assert strip.shape == (16, 5 * 24, 3)
    for slot, frame in enumerate((0, 2, 4, 6, 8)):
        shown = strip[:, slot * 24 : (slot + 1) * 24].permute(2, 0, 1)
        assert torch.equal(shown, (videos[index][frame] * 255).round().byte())


def test_damaged_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no .*records.json"):
        Evaluation.load(tmp_path)
    evaluation = evaluate(Policy(), brightness, Oracle(), PROMPTS, config=CONFIG).evaluation
    path = evaluation.save(tmp_path)
    table = json.loads(path.read_text())
    del table["records"][1]["reason"]
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match="VideoRecord lacks or does not know the field 'reason'"):
        Evaluation.load(tmp_path)
    path.write_text('{"records": [')
    with pytest.raises(InputError, match="damaged"):
        Evaluation.load(tmp_path)


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "a/b.mp4", "..", "", "a\\b.mp4", 3])
def test_a_video_elsewhere_is_refused(tmp_path: Path, name: object) -> None:
    """A report embeds the files that records name: a folder from a stranger must not choose them."""
    evaluation = evaluate(Policy(), brightness, Oracle(), PROMPTS, config=CONFIG).evaluation
    path = evaluation.save(tmp_path)
    table = json.loads(path.read_text())
    table["records"][0]["video"] = name
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match="is not the name of a file beside it"):
        Evaluation.load(tmp_path)


def test_names_of_the_file_are_stable(tmp_path: Path) -> None:
    """records.json is an interface: a change here is a change for its readers."""
    evaluation = evaluate(Policy(), brightness, Oracle(), PROMPTS[:1], config=CONFIG).evaluation
    table = json.loads(evaluation.save(tmp_path).read_text())
    assert list(table) == ["records", "seconds", "guidance", "strength"]
    assert " ".join(table["records"][0]) == (
        "prompt_id prompt dynamic tokens seed status reason reward parts measures "
        "requested_path requested_yaw_deg recovered_path recovered_yaw_deg video scene_type sample "
        "long_horizon"
    )
