"""The parts of a reward for finished videos: the numbers are training's own, and the pictures belong to the numbers."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from worldr1.backends.mini import mini_weights
from worldr1.build import build_composite, load_experiment
from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import requested_path, synthesize
from worldr1.evaluate.pages.reward_page import parts_table, reward_page
from worldr1.evaluate.scoring.reward_findings import as_json, findings
from worldr1.evaluate.scoring.reward_parts import (
    PARTS,
    PromptedVideo,
    RewardGroup,
    absent_parts,
    score_groups,
    spread_shares,
)
from worldr1.rewards.composite import R_GEN, S_META, S_MOTION, S_RECON, S_TRAJ, CompositeReward, weight_of
from worldr1.rewards.meta_view import expected_digit_score
from worldr1.rewards.motion import MotionConfig
from worldr1.rewards.quality import quality_reward
from worldr1.rewards.recipe import RewardConfig, RewardWeights
from worldr1.rewards.reconstruction import reconstruction_score
from worldr1.rewards.trajectory import trajectory_errors
from worldr1.rollout.collector import collect, reward_metrics
from worldr1.types import Prompt, RewardResult, Rollout, Status, Trajectory
from worldr1.video_io import read_mp4

CONFIG = load_experiment("mini")
FLOOR = CONFIG.train.std_floor
PROMPT = Prompt(
    id=0,
    text="Camera pull out. A plain cyan box and a checkered white cone on a yellow marbled floor under an orange sky.",
)
FIXED = Prompt(id=1, text="Camera fixed. A plain cyan box.")


def packaged(side: str) -> Tensor:
    """Clip 000 of the shipped run, at the models' size."""
    return F.avg_pool2d(read_mp4(mini_weights() / "adapter" / side / "000.mp4"), 4)


@pytest.fixture(scope="module")
def reward() -> CompositeReward:
    return build_composite(CONFIG.reward, "cpu", CONFIG.clip)


@pytest.fixture(scope="module")
def videos() -> list[Tensor]:
    """Two true clips and one in which there is nothing to reconstruct."""
    before = packaged("before")
    return [before, packaged("after"), torch.full_like(before, 0.4)]


@pytest.fixture(scope="module")
def group(reward: CompositeReward, videos: list[Tensor]) -> RewardGroup:
    """These three, scored with their pictures."""
    clips = [PromptedVideo(f"{i}.mp4", video, PROMPT) for i, video in enumerate(videos)]
    return score_groups(reward, clips, std_floor=FLOOR, with_pictures=True)[0]


class Canned:
    """A reward whose results are known beforehand; which parts exist for a prompt the true reward says."""

    def __init__(self, results: Sequence[RewardResult], config: RewardConfig) -> None:
        self._results, self.config = list(results), config

    def __call__(
        self, videos: Tensor, prompts: Sequence[Prompt], trajectories: Sequence[Trajectory | None], phase_dynamic: bool
    ) -> list[RewardResult]:
        assert len(videos) == len(prompts) == len(trajectories)
        assert not phase_dynamic
        taken, self._results = self._results[: len(videos)], self._results[len(videos) :]
        return taken

    def part_names(self, prompt: Prompt, trajectory: Trajectory | None) -> tuple[str, ...]:
        return CompositeReward.part_names(cast(CompositeReward, self), prompt, trajectory)


def result(meta: float, recon: float, traj: float, gen: float, *, travel: float = 0.6) -> RewardResult:
    parts = {S_META: meta, S_RECON: recon, S_TRAJ: traj, R_GEN: gen}
    return RewardResult(value=sum(parts.values()), parts=parts, measures={"travel_depth_units": travel})


FAULT = RewardResult(
    value=math.nan,
    parts=dict.fromkeys(PARTS, math.nan),
    status=Status.FAULT,
    reason="quality: RuntimeError: no <memory>",
)
REJECTED = replace(result(0.0, 0.0, 0.0, -0.3), status=Status.REJECTED, reason="the video has no texture")


def canned_group(
    *results: RewardResult, prompt: Prompt = PROMPT, weights: RewardWeights | None = None, pictures: bool = False
) -> RewardGroup:
    """The group that these results make."""
    reward = cast(CompositeReward, Canned(results, RewardConfig(weights=weights or RewardWeights())))
    clips = [PromptedVideo(f"clip-{i}.mp4", torch.zeros(17, 3, 4, 6), prompt) for i in range(len(results))]
    return score_groups(reward, clips, std_floor=FLOOR, with_pictures=pictures)[0]


# ------------------------------------------------------------------------------------------------------------- numbers


def test_the_values_are_those_of_the_reward(reward: CompositeReward, videos: list[Tensor], group: RewardGroup) -> None:
    path = requested_path(parse_plan(PROMPT.text).tokens, CONFIG.clip.frames)
    expected = reward(torch.stack(videos), [PROMPT] * 3, [path] * 3, False)
    assert [member.result for member in group.members] == expected
    assert [r.status for r in expected] == [Status.OK, Status.OK, Status.REJECTED]


def test_std_and_advantages_are_those_of_training() -> None:
    results = (result(0.3, 0.6, 0.9, 0.1), result(0.5, 0.5, 0.7, -0.4), FAULT, result(0.4, 0.8, 0.9, 0.3), REJECTED)
    group = canned_group(*results)
    state = torch.zeros(5, 1, 1, 1, 1)
    rollout = Rollout(
        prompt=PROMPT,
        trajectory=None,
        seeds=tuple(range(5)),
        policy_version=0,
        step_indices=(0,),
        states=(state,),
        next_states=(state,),
        old_velocities=(state,),
        latents=state,
    )
    batch = collect([rollout], [results], std_floor=FLOOR)
    torch.testing.assert_close(torch.tensor([m.advantage for m in group.members]), batch[0].advantages)
    assert [m.valid for m in group.members] == batch[0].valid.tolist() == [True, True, False, True, True]
    logged = reward_metrics(batch)
    assert group.std == pytest.approx({name: logged[f"{name}_std"] for name in ("reward", *results[0].parts)})


def test_prompts_are_groups_of_their_own() -> None:
    results = [result(0.1, 0.1, 0.1, 0.1), result(0.9, 0.9, 0.9, 0.9), result(0.2, 0.2, 0.2, 0.2)]
    reward = cast(CompositeReward, Canned([results[0], results[2], results[1]], RewardConfig()))
    video = torch.zeros(17, 3, 4, 6)
    prompts = [PROMPT, FIXED, replace(PROMPT, id=7)]
    clips = [PromptedVideo(f"{i}.mp4", video, prompt) for i, prompt in enumerate(prompts)]
    done: list[int] = []
    first, second = score_groups(reward, clips, std_floor=FLOOR, on_progress=done.append)
    assert [m.path for m in first.members] == ["0.mp4", "2.mp4"]
    assert [m.path for m in second.members] == ["1.mp4"]
    assert (second.std, second.share, second.members[0].advantage) == ({}, {}, 0.0)
    assert done == [2, 3]


def test_shares_weigh_the_spread() -> None:
    weights = weight_of(RewardWeights(meta=2.0, recon=1.0, traj=0.0, gen=1.0))
    shares = spread_shares(weights, {"reward": 9.0, S_META: 0.1, S_RECON: 0.2, R_GEN: 0.1})
    assert shares == pytest.approx({S_META: 0.4, S_RECON: 0.4, R_GEN: 0.2})
    assert spread_shares(weights, {"reward": 0.0, S_META: 0.0}) == {}


def test_a_part_that_is_absent_says_why(reward: CompositeReward) -> None:
    push, fixed = synthesize(["push_in"], 17), synthesize(["fixed"], 17)
    assert list(absent_parts(reward, PROMPT, push)) == [S_MOTION]  # nothing is asked to move by itself
    assert "parallax" in absent_parts(reward, FIXED, fixed)[S_META]
    assert list(absent_parts(reward, FIXED, fixed)) == [S_META, S_MOTION]
    assert "no camera words" in absent_parts(reward, Prompt(id=0, text="A box."), None)[S_TRAJ]
    weights = RewardWeights(meta=0.0)
    off = build_composite(replace(CONFIG.reward, weights=weights, dynamic_rule="prompt"), "cpu", CONFIG.clip)
    assert absent_parts(off, PROMPT, push) == {S_META: "reward.weights.meta is 0"}
    moving = absent_parts(off, replace(PROMPT, dynamic=True), push)
    assert "dynamic" in moving[S_RECON]
    assert "dynamic" in moving[S_TRAJ]


# ------------------------------------------------------------------------------------------------------------ pictures


def test_the_pictures_give_the_parts(reward: CompositeReward, group: RewardGroup) -> None:
    assert group.trajectory is not None
    for member in group.members[:2]:
        seen, parts = member.pictures, member.result.parts
        assert seen is not None
        assert seen.redrawn is not None
        assert seen.digits is not None
        assert seen.off_path is not None
        assert seen.reconstruction is not None
        assert seen.target_frames == tuple(range(1, 17, 2))
        torch.testing.assert_close(seen.redrawn.target, member.video[1::2])
        distance = float(reward.perceptual(seen.redrawn.drawn, seen.redrawn.target).mean())
        assert reconstruction_score(distance) == pytest.approx(parts[S_RECON], abs=1e-5)
        assert float(expected_digit_score(seen.digits[None])) == pytest.approx(parts[S_META], abs=1e-4)
        mean = sum(seen.frame_scores) / len(seen.frame_scores)
        assert quality_reward(mean, CONFIG.reward.quality) == pytest.approx(parts[R_GEN], abs=1e-5)
        assert trajectory_errors(seen.reconstruction, group.trajectory).score == pytest.approx(parts[S_TRAJ], abs=1e-4)
        assert "Camera" not in seen.critic_text


def test_s_motion_has_its_picture_and_its_reason(videos: list[Tensor]) -> None:
    weights = RewardWeights(meta=0, recon=0, traj=0, motion=1.0)
    config = replace(CONFIG.reward, weights=weights, motion=MotionConfig(reference=0.02))
    reward = build_composite(config, "cpu", CONFIG.clip)
    dynamic = replace(PROMPT, dynamic=True)
    prompted = [PromptedVideo(str(i), v, dynamic) for i, v in enumerate(videos[:2])]
    (group,) = score_groups(reward, prompted, std_floor=0.01, with_pictures=True)
    for member in group.members:
        assert member.pictures is not None and member.pictures.residual is not None
        residual = member.pictures.residual
        assert residual.shape == (13, 64, 96)  # the last of 17 frames: a quarter of the clip has nothing before it
        measured = float(residual[~residual.isnan()].mean())
        assert member.result.parts[S_MOTION] == pytest.approx(min(1.0, measured / 0.02), rel=1e-5)
    page = reward_page([group], recipe="mini", model_frames=4)
    assert page.count("S_motion ") == 2 and "beyond what the camera explains" in page
    # per video 5 frames, K rated ones, and 4 frames with their motion
    assert page.count('src="data:image/png;base64,') == 2 * (5 + 4 + 2 * 4)
    assert "not a dynamic one" in absent_parts(reward, PROMPT, group.trajectory)[S_MOTION]


def test_of_a_rejected_video_only_the_rated_frames_are_shown(group: RewardGroup) -> None:
    seen = group.members[2].pictures
    assert seen is not None
    assert len(seen.frame_scores) == CONFIG.reward.quality.num_frames
    assert (seen.reconstruction, seen.redrawn, seen.off_path) == (None, None, None)


# ------------------------------------------------------------------------------------------------------------ in words


def test_findings_name_the_trouble() -> None:
    said = " ".join(findings(canned_group(result(0.3, 0.6, 0.9, 0.1), result(0.5, 0.7, 0.7, 0.2), FAULT, REJECTED)))
    assert "clip-2.mp4: a model of the reward failed (quality: RuntimeError: no <memory>)" in said
    assert "clip-3.mp4: rejected, the video has no texture" in said


def test_a_healthy_group_has_no_findings() -> None:
    assert findings(canned_group(result(0.3, 0.6, 0.9, 0.1), result(0.5, 0.7, 0.7, 0.2))) == []


def test_one_usable_video_is_no_group() -> None:
    group = canned_group(result(0.3, 0.6, 0.9, 0.1), FAULT)
    assert "One video alone is no group" in findings(group)[-1]
    assert group.std == {}


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (result(0.5, 0.6, 0.9, 0.1), result(0.51, 0.61, 0.91, 0.11), "score alike"),
        (result(0.5, 0.6, 0.9, 0.1), result(0.52, 0.61, 0.91, 0.9), "R_gen holds 95% of the spread"),
        (result(0.3, 0.6, 0.9, 0.96), result(0.5, 0.7, 0.7, 0.99), "R_gen is at its end (+0.97"),
        (result(0.3, 0.6, 0.04, 0.1), result(0.5, 0.7, 0.01, 0.2), "S_traj is below 0.05"),
        (result(0.3, 0.6, 0.9, 0.1, travel=0.1), result(0.5, 0.7, 0.7, 0.2), "camera of 1 of 2 videos goes less than"),
    ],
)
def test_each_finding_alone(first: RewardResult, second: RewardResult, words: str) -> None:
    said = findings(canned_group(first, second))
    assert len(said) == 1
    assert words in said[0]


def test_one_part_alone_is_not_called_dominant() -> None:
    gen_only = [RewardResult(value=v, parts={R_GEN: v}) for v in (0.1, 0.4)]
    assert findings(canned_group(*gen_only, weights=RewardWeights(meta=0, recon=0, traj=0))) == []


# ---------------------------------------------------------------------------------------------------------------- out


def test_json_is_strict_and_keeps_the_numbers() -> None:
    group = canned_group(result(0.3, 0.6, 0.9, 0.1), FAULT)
    data = json.loads(json.dumps(as_json(group), allow_nan=False))
    first, fault = data["videos"]
    assert first["parts"] == group.members[0].result.parts
    assert first["measures"] == {"travel_depth_units": 0.6}
    assert (fault["reward"], fault["parts"][S_META], fault["status"]) == (None, None, "fault")


def test_the_table_says_what_each_part_has_to_say() -> None:
    group = canned_group(result(0.3, 0.6, 0.9, 0.1), result(0.5, 0.6, 0.9, 0.3), prompt=PROMPT)
    table = parts_table(group)
    assert table.titles == ["", "reward", "S_meta", "S_recon", "S_traj", "R_gen", "advantage", "status"]
    assert table.rows[0] == ["1", "1.900", "0.300", "0.600", "0.900", "0.100", "-0.71", "ok"]
    assert table.rows[2] == ["std in group", "0.283", "0.141", "0.000", "0.000", "0.141", "", ""]
    assert table.rows[3] == ["share of spread", "", "50%", "0%", "0%", "50%", "", ""]


def test_nothing_of_the_user_becomes_html() -> None:
    text = 'Camera push in. <script>alert("1")</script> & co.'
    group = canned_group(FAULT, REJECTED, prompt=Prompt(id=0, text=text))
    members = [replace(member, path=f"<b>{member.path}") for member in group.members]
    page = reward_page([replace(group, members=tuple(members))], recipe="<i>mini", model_frames=4)
    for raw in ("<script", "<b>clip", "<i>mini", "no <memory>"):
        assert raw not in page
    for kept in ("&lt;script&gt;", "&lt;b&gt;clip-0.mp4", "&lt;i&gt;mini", "no &lt;memory&gt;"):
        assert kept in page


def test_the_page_is_one_offline_file_with_every_picture(group: RewardGroup, tmp_path: Path) -> None:
    page = reward_page([group], recipe="mini", model_frames=4)
    assert "http" not in page
    # per video 5 frames and K rated ones; 3 x 4 redrawn and 2 of the off-path view where it could be reconstructed
    assert page.count('src="data:image/png;base64,') == 3 * (5 + 4) + 2 * (12 + 2)
    assert page.count('<svg class="bars"') == page.count('<svg class="plan"') == 2
    assert "the video has no texture to reconstruct from" in page
