"""The sum, its validity, and which damage costs which part."""

import math
from collections.abc import Callable

import pytest
import torch

from worldr1.errors import ConfigError, InputError
from worldr1.rewards.composite import R_GEN, S_META, S_MOTION, S_RECON, S_TRAJ, RewardConfig, RewardWeights
from worldr1.rewards.motion import MotionConfig
from worldr1.rewards.quality import QualityConfig
from worldr1.rewards.reconstruction import ReconstructionConfig
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Prompt, RenderedViews, RewardResult, Status


def is_fault(result: RewardResult, reason: str) -> bool:
    """A fault carries no number that could be taken for a reward."""
    values = [result.value, *result.parts.values()]
    return result.status is Status.FAULT and reason in result.reason and all(map(math.isnan, values))


def test_a_true_video_earns_every_part(kit: Callable, clip: Callable, path: Callable) -> None:
    video = clip(path("push_in"), scale=7.0)
    result = kit(video).score(video, path("push_in"))
    assert (result.status, result.reason) == (Status.OK, "")
    assert list(result.parts) == [S_META, S_RECON, S_TRAJ, R_GEN]
    assert result.parts[S_TRAJ] == pytest.approx(1.0, abs=1e-4)
    assert result.parts[S_RECON] > 0.9
    assert result.value == pytest.approx(sum(result.parts.values()))
    measures = result.measures
    assert measures["median_depth"] == pytest.approx(7.0, abs=1e-4)
    assert measures["travel_depth_units"] == pytest.approx(0.6, abs=1e-5)
    assert measures["travel_deg"] == pytest.approx(0.0, abs=1e-3)
    assert measures["rotation_error_deg"] == pytest.approx(0.0, abs=1e-3)
    assert measures["translation_error"] == pytest.approx(0.0, abs=1e-5)
    assert measures["psnr_holdout_db"] > 20
    assert measures["coverage"] > 0.9
    assert measures["image_gradient"] > 0.01


def test_weights_multiply_parts_and_zero_leaves_a_part_out(kit: Callable, clip: Callable, path: Callable) -> None:
    video = clip(path("push_in"))
    full = kit(video).score(video, path("push_in")).parts
    weights = RewardWeights(meta=0.0, recon=2.0, traj=1.0, gen=0.5)
    some = kit(video, config=RewardConfig(weights=weights), critic=None)
    result = some.score(video, path("push_in"))
    assert S_META not in result.parts
    assert result.value == pytest.approx(2 * full[S_RECON] + full[S_TRAJ] + 0.5 * full[R_GEN])


def test_the_travel_gate_pays_meta_and_recon_by_the_way_that_was_gone(
    kit: Callable, clip: Callable, path: Callable
) -> None:
    video = clip(path("push_in"))
    plain, gated = (kit(video, config=RewardConfig(travel_gate=gate)) for gate in (False, True))
    for asked in ("push_in", "move_left"):  # 0.6 of 0.6, and more than enough of 0.22
        assert gated.score(video, path(asked)).parts == plain.score(video, path(asked)).parts
    short = clip(path("move_left"))  # 0.22 of 0.6
    full, part = (
        kit(short, config=RewardConfig(travel_gate=gate)).score(short, path("push_in")) for gate in (False, True)
    )
    share = part.measures["travel_share"]
    assert share == full.measures["travel_share"] == pytest.approx(0.22 / 0.6, abs=1e-4)
    for name in (S_META, S_RECON):
        assert part.parts[name] == pytest.approx(share * full.parts[name])
    for name in (S_TRAJ, R_GEN):
        assert part.parts[name] == full.parts[name]
    assert part.value == pytest.approx(sum(part.parts.values()))
    pan = clip(path("pan_left"))
    assert "travel_share" not in kit(pan).score(pan, path("pan_left")).measures


def test_the_wrong_camera_costs_s_traj_alone(kit: Callable, clip: Callable, path: Callable) -> None:
    video = clip(path("push_in"))
    scorer = kit(video)
    right, wrong = (scorer.score(video, path(token)).parts for token in ("push_in", "pull_out"))
    assert wrong[S_TRAJ] < 0.1 < right[S_TRAJ]
    assert {k: v for k, v in wrong.items() if k != S_TRAJ} == {k: v for k, v in right.items() if k != S_TRAJ}


def test_a_swimming_texture_costs_s_recon_and_not_s_traj(kit: Callable, clip: Callable, path: Callable) -> None:
    clips = [clip(path("orbit_left"), swim=swim) for swim in (0.0, 0.3, 0.8)]
    scorer = kit(*clips)
    parts = [scorer.score(c, path("orbit_left")).parts for c in clips]
    assert parts[0][S_RECON] > parts[1][S_RECON] + 0.02 > parts[2][S_RECON] + 0.04
    assert parts[0][S_TRAJ] == parts[1][S_TRAJ] == parts[2][S_TRAJ]


def test_without_holdout_a_swimming_texture_still_costs(kit: Callable, clip: Callable, path: Callable) -> None:
    config = RewardConfig(reconstruction=ReconstructionConfig(holdout=False))
    clips = [clip(path("orbit_left"), swim=swim) for swim in (0.0, 0.8)]
    true, swimming = (kit(*clips, config=config).score(c, path("orbit_left")) for c in clips)
    assert true.parts[S_RECON] > swimming.parts[S_RECON] + 0.02
    assert "psnr_db" in true.measures
    assert "psnr_holdout_db" not in true.measures


def test_a_dull_image_costs_r_gen(kit: Callable, clip: Callable, path: Callable, with_video: Callable) -> None:
    video = clip(path("push_in"))
    dull = with_video(video, 0.5 + 0.1 * (video.video - 0.5))
    scorer = kit(video, dull)
    assert scorer.score(dull, path("push_in")).parts[R_GEN] < scorer.score(video, path("push_in")).parts[R_GEN] - 0.05


def test_r_gen_sees_the_first_frames_only(kit: Callable, clip: Callable, path: Callable, with_video: Callable) -> None:
    video = clip(path("push_in"))
    spoiled = video.video.clone()
    spoiled[3:] = 0.5
    config = RewardConfig(quality=QualityConfig(num_frames=3))
    scorer = kit(video, config=config)
    whole, cut = (scorer.score(c, None, dynamic=True).parts[R_GEN] for c in (video, with_video(video, spoiled)))
    assert whole == cut


def test_parts_exist_by_request_alone(kit: Callable, clip: Callable, path: Callable) -> None:
    reward = kit(clip(path("push_in"))).reward
    prompt = Prompt(id=0, text="a wall")
    everything = (S_META, S_RECON, S_TRAJ, R_GEN)
    assert reward.part_names(prompt, path("push_in")) == everything
    assert reward.part_names(prompt, path("pan_left", "move_right")) == everything
    for still in ("fixed", "pan_left", "pan_right"):
        assert reward.part_names(prompt, path(still)) == (S_RECON, S_TRAJ, R_GEN)
    assert reward.part_names(prompt, None) == (S_META, S_RECON, R_GEN)
    assert reward.part_names(prompt, path("push_in"), phase_dynamic=True) == (R_GEN,)


def test_all_members_of_a_group_have_the_same_parts(
    kit: Callable, clip: Callable, path: Callable, with_truth: Callable
) -> None:
    request = path("pan_left")
    members = [
        clip(request),
        clip(path("move_left")),
        with_truth(clip(path("fixed")), status=Status.REJECTED, reason="no texture"),
        with_truth(clip(path("push_in")), depth=torch.full((9, 24, 36), torch.nan)),
    ]
    scorer = kit(*members)
    results = scorer.reward(
        torch.stack([m.video for m in members]), [Prompt(id=0, text="a wall")] * 4, [request] * 4, False
    )
    assert [r.status for r in results] == [Status.OK, Status.OK, Status.REJECTED, Status.FAULT]
    assert {tuple(r.parts) for r in results} == {(S_RECON, S_TRAJ, R_GEN)}


def test_only_r_gen_counts_in_the_dynamic_phase(kit: Callable, clip: Callable, path: Callable) -> None:
    video = clip(path("push_in"))
    scorer = kit(video, renderer=None, critic=None, perceptual=None)
    result = scorer.score(video, path("push_in"), dynamic=True)
    assert list(result.parts) == [R_GEN]
    assert result.value == result.parts[R_GEN]
    assert list(result.measures) == ["image_gradient", "quality"]
    assert scorer.oracle.calls == []


MOTION = RewardConfig(weights=RewardWeights(motion=2.0), motion=MotionConfig(reference=0.05))


def test_s_motion_is_of_dynamic_prompts_in_every_phase(kit: Callable, clip: Callable, path: Callable) -> None:
    reward = kit(clip(path("push_in")), config=MOTION).reward
    still, moving = Prompt(id=0, text="a wall"), Prompt(id=1, text="a wall", dynamic=True)
    for phase_dynamic, others in ((False, (S_META, S_RECON, S_TRAJ, R_GEN)), (True, (R_GEN,))):
        assert reward.part_names(still, path("push_in"), phase_dynamic=phase_dynamic) == others
        assert reward.part_names(moving, path("push_in"), phase_dynamic=phase_dynamic) == (*others, S_MOTION)


def test_s_motion_pays_what_the_camera_does_not_explain_up_to_the_reference(
    kit: Callable, clip: Callable, path: Callable
) -> None:
    request = path("orbit_left")
    clips = [clip(request, swim=swim) for swim in (0.0, 0.2, 2.0)]
    scorer = kit(*clips, config=MOTION, renderer=None, critic=None, perceptual=None)
    videos, prompts = torch.stack([c.video for c in clips]), [Prompt(id=1, text="a wall", dynamic=True)] * 3
    still, slow, fast = results = scorer.reward(videos, prompts, [request] * 3, True)
    measured = [result.measures["residual_motion"] for result in results]
    assert measured[0] < 0.01 < measured[1] < 0.05 < measured[2]
    assert still.parts[S_MOTION] == pytest.approx(measured[0] / 0.05)
    assert slow.parts[S_MOTION] == pytest.approx(measured[1] / 0.05)
    assert fast.parts[S_MOTION] == 1.0
    assert slow.value == pytest.approx(slow.parts[R_GEN] + 2 * slow.parts[S_MOTION])


def test_s_motion_of_a_rejected_video_is_the_floor(
    kit: Callable, clip: Callable, path: Callable, with_truth: Callable
) -> None:
    video = clip(path("push_in"))
    unlifted = with_truth(video, status=Status.REJECTED, reason="no texture")
    sky = with_truth(video, confidence=torch.zeros(9, 24, 36))
    for damaged, reason in ((unlifted, "no texture"), (sky, "no pixel of it can be followed")):
        prompt = [Prompt(id=1, text="a wall", dynamic=True)]
        (result,) = kit(damaged, config=MOTION).reward(damaged.video[None], prompt, [path("push_in")], True)
        assert result.status is Status.REJECTED and reason in result.reason
        assert result.parts[S_MOTION] == 0.0 < result.parts[R_GEN] == result.value


def test_motion_needs_a_scale() -> None:
    with pytest.raises(ConfigError, match="residual_motion of the base model's own samples"):
        RewardConfig(weights=RewardWeights(motion=1.0))
    with pytest.raises(ConfigError, match="must not be negative"):
        MotionConfig(reference=-0.1)


def test_the_prompt_rule_frees_dynamic_prompts_one_by_one(kit: Callable, clip: Callable, path: Callable) -> None:
    video = clip(path("push_in"))
    scorer = kit(video, config=RewardConfig(dynamic_rule="prompt"))
    prompts = [Prompt(id=0, text="a wall"), Prompt(id=1, text="a wall that moves", dynamic=True)]
    still, moving = scorer.reward(video.video.expand(2, -1, -1, -1, -1), prompts, [path("push_in")] * 2, False)
    assert list(still.parts) == [S_META, S_RECON, S_TRAJ, R_GEN]
    assert list(moving.parts) == [R_GEN]


def test_a_rejected_video_takes_the_floor_and_counts(
    kit: Callable, clip: Callable, path: Callable, with_truth: Callable
) -> None:
    video = with_truth(clip(path("push_in")), status=Status.REJECTED, reason="no texture")
    result = kit(video).score(video, path("push_in"))
    assert (result.status, result.reason) == (Status.REJECTED, "no texture")
    assert [result.parts[name] for name in (S_META, S_RECON, S_TRAJ)] == [0.0, 0.0, 0.0]
    assert result.value == result.parts[R_GEN] > 0


def test_too_little_coverage_is_a_rejection(
    kit: Callable, clip: Callable, path: Callable, with_truth: Callable
) -> None:
    video = clip(path("push_in"))
    confidence = torch.ones(9, 24, 36)
    confidence[:, :, 8:] = 0.1
    doubtful, hopeless = (with_truth(video, confidence=c) for c in (confidence, torch.full_like(confidence, 0.1)))
    for bad in (doubtful, hopeless):
        result = kit(bad).score(bad, path("push_in"))
        assert result.status is Status.REJECTED
        assert "less than 50%" in result.reason
        assert result.parts[S_TRAJ] == result.parts[S_RECON] == result.parts[S_META] == 0.0
    assert result.measures["coverage"] == 0.0
    assert "psnr_holdout_db" not in result.measures


def test_a_broken_reconstruction_masks_one_sample(
    kit: Callable, clip: Callable, path: Callable, with_truth: Callable
) -> None:
    good, other = clip(path("push_in")), clip(path("move_left"))
    broken = [
        (with_truth(other, depth=torch.full((9, 24, 36), torch.nan)), "not finite"),
        (with_truth(other, depth=-torch.ones(9, 24, 36)), "median depth"),
        (with_truth(other, status=Status.FAULT, reason="worker died"), "worker died"),
    ]
    for bad, reason in broken:
        scorer = kit(good, bad)
        results = scorer.reward(
            torch.stack([good.video, bad.video]), [Prompt(id=0, text="a wall")] * 2, [path("push_in")] * 2, False
        )
        assert results[0] == scorer.score(good, path("push_in"))
        assert is_fault(results[1], reason)


def test_a_video_with_nan_masks_itself(kit: Callable, clip: Callable, path: Callable, with_video: Callable) -> None:
    video = clip(path("push_in"))
    spoiled = video.video.clone()
    spoiled[4, 1, 2, 3] = torch.nan
    scorer = kit(video)
    assert is_fault(scorer.score(with_video(video, spoiled), path("push_in")), "pixels that are not finite")
    assert is_fault(scorer.score(with_video(video, spoiled), None, dynamic=True), "pixels that are not finite")


class NanRenderer(SplatRenderer):
    """Draws, and loses the alphas."""

    def __call__(self, *scene, **size):
        drawn = super().__call__(*scene, **size)
        return RenderedViews(colors=drawn.colors, alphas=drawn.alphas * torch.nan, depths=drawn.depths)


def crash(*_: object) -> torch.Tensor:
    raise RuntimeError("CUDA out of memory")


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ({"critic": crash}, "off-path view: RuntimeError: CUDA out of memory"),
        ({"critic": lambda images, _: torch.full((len(images), 10), torch.nan)}, "distribution"),
        ({"critic": lambda images, _: torch.zeros(len(images), 10)}, "distribution"),
        ({"perceptual": crash}, "re-rendering: RuntimeError"),
        ({"perceptual": lambda a, b: torch.full((len(a),), torch.nan)}, "not finite"),
        ({"quality": crash}, "quality: RuntimeError"),
        ({"quality": lambda frames, _: torch.full((len(frames),), torch.inf)}, "not finite"),
        ({"renderer": NanRenderer()}, "renderer"),
        ({"reconstructor": crash}, "reconstruction: RuntimeError"),
    ],
)
def test_no_failure_of_a_model_becomes_a_reward(
    kit: Callable, clip: Callable, path: Callable, models: dict, reason: str
) -> None:
    video = clip(path("push_in"))
    assert is_fault(kit(video, **models).score(video, path("push_in")), reason)


def test_one_bad_sample_does_not_kill_its_batch(kit: Callable, clip: Callable, path: Callable) -> None:
    video = clip(path("push_in"))
    scorer = kit(video)
    prompts = [Prompt(id=i, text=text) for i, text in enumerate(("a wall", "a nan", "a wall"))]
    results = scorer.reward(video.video.expand(3, -1, -1, -1, -1), prompts, [path("push_in")] * 3, False)
    assert [r.status for r in results] == [Status.OK, Status.FAULT, Status.OK]
    assert results[0] == results[2] == scorer.score(video, path("push_in"))


def test_a_batch_equals_its_singles(kit: Callable, clip: Callable, path: Callable) -> None:
    requests = [path("push_in"), None, path("pan_left"), path("orbit_right")]
    clips = [clip(path(token)) for token in ("push_in", "move_left", "fixed", "orbit_left")]
    for batch in (1, 3, 8):
        scorer = kit(*clips, config=RewardConfig(batch=batch))
        together = scorer.reward(
            torch.stack([c.video for c in clips]), [Prompt(id=0, text="a wall")] * 4, requests, False
        )
        assert max(scorer.oracle.calls) == min(batch, 4)
        for result, video, request in zip(together, clips, requests, strict=True):
            single = scorer.score(video, request)
            assert result.parts == pytest.approx(single.parts, abs=1e-6)
            assert result.measures == pytest.approx(single.measures, abs=1e-4)


def test_the_critic_is_told_of_the_scene_and_not_of_the_camera(kit: Callable, clip: Callable, path: Callable) -> None:
    heard: list[str] = []

    def listener(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        heard.extend(prompts)
        return torch.full((len(images), 10), 0.1)

    video = clip(path("push_in"))
    kit(video, critic=listener).score(video, path("push_in"), text="Camera push in. A wall of waves.")
    assert heard == ["A wall of waves."]


def test_holes_in_the_off_path_view_are_mid_grey(
    kit: Callable, clip: Callable, path: Callable, with_truth: Callable
) -> None:
    confidence = torch.full((9, 24, 36), 0.1)
    confidence[:, 10:14, 16:20] = 1.0
    video = with_truth(clip(path("push_in")), confidence=confidence)
    scorer = kit(video, config=RewardConfig(reconstruction=ReconstructionConfig(min_coverage=0.0)))
    scorer.score(video, path("push_in"))
    assert scorer.critic.images[0].shape == (1, 3, 24, 36)
    assert torch.equal(scorer.critic.images[0][0, :, 0, 0], torch.full((3,), 0.5))


def test_bad_input_is_the_caller_s(kit: Callable, clip: Callable, path: Callable) -> None:
    video = clip(path("push_in"))
    reward, prompt = kit(video).reward, [Prompt(id=0, text="a wall")]
    with pytest.raises(InputError, match="1 videos, 2 prompts"):
        reward(video.video[None], prompt * 2, [None], False)
    with pytest.raises(InputError, match=r"\[B, T, 3, H, W\]"):
        reward(video.video, prompt, [None], False)
    with pytest.raises(InputError, match="too short"):
        reward(video.video[None, :3], prompt, [None], False)
    with pytest.raises(InputError, match="7 frames"):
        reward(video.video[None, :7], prompt, [path("push_in")], False)
    no_gen = kit(video, config=RewardConfig(weights=RewardWeights(gen=0.0))).reward
    with pytest.raises(InputError, match="No reward part is left"):
        no_gen(video.video[None], prompt, [None], True)
    for make in (
        lambda: RewardWeights(meta=-1.0),
        lambda: RewardWeights(meta=0.0, recon=0.0, traj=0.0, gen=0.0),
        lambda: RewardConfig(batch=0),
        lambda: RewardConfig(rejected_value=0.5),
        lambda: ReconstructionConfig(min_coverage=2.0),
    ):
        with pytest.raises(ConfigError):
            make()


def test_every_frame_is_rated_against_its_own_prompt(kit: Callable, clip: Callable, path: Callable) -> None:
    def count_words(frames: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        return torch.tensor([float(len(p.split())) for p in prompts])

    video = clip(path("push_in"))
    texts = ("a", "a very long prompt indeed", "a wall")
    results = kit(video, quality=count_words).reward(
        video.video.expand(3, -1, -1, -1, -1), [Prompt(id=0, text=t) for t in texts], [None] * 3, True
    )
    assert [r.parts[R_GEN] for r in results] == pytest.approx([math.tanh(n / 2) for n in (1, 5, 2)])
