"""Which model stands behind which role: profiles, one's own by name, places, and clips that are not mini's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import own_models
import pytest
import small_quality
import torch
from reward_pool import ThreadActors
from small_quality import write_hpsv3
from tiny_qwen3_vl import save_tiny_folder

from worldr1 import build, reward_models
from worldr1.backends import hpsv3
from worldr1.backends.depth_anything3 import Cameras, DepthAnything3, DepthAnything3Config
from worldr1.backends.mini import load_reconstructor
from worldr1.backends.swapping import Swapped
from worldr1.build import (
    ClipConfig,
    build_composite,
    build_local_reward,
    build_reward,
    describe_reward,
    load_experiment,
    release_reward,
)
from worldr1.camera.trajectory import synthesize
from worldr1.cluster.actor import Arithmetic, RewardActor
from worldr1.cluster.ray_actors import where
from worldr1.cluster.reward import RemoteReward
from worldr1.errors import ConfigError, InputError
from worldr1.mini.networks.trunk import TrunkCritic, TrunkDistance
from worldr1.reward_models import LOADERS, Loader, ModelRequest
from worldr1.rewards.composite import R_GEN, S_META, S_RECON, S_TRAJ, CompositeReward
from worldr1.rewards.own import OwnReward
from worldr1.rewards.profiles import Role
from worldr1.rewards.recipe import RewardConfig
from worldr1.rewards.remote import RemoteConfig
from worldr1.types import Prompt, Status

OWN = {
    "reconstructor": "SidewaysReconstructor",
    "critic": "BrightCritic",
    "quality": "ContrastQuality",
    "perceptual": "MeanDifference",
}
ALL_OWN = tuple(f"reward.models.{role}=own_models:{name}" for role, name in OWN.items())
WIDE = ClipConfig(frames=9, height=48, width=80)
MINI = ClipConfig()


def recipe(*sets: str, base: str = "mini") -> RewardConfig:
    return load_experiment(base, sets).reward


def test_one_role_of_ones_own_and_the_rest_as_before() -> None:
    reward = build_composite(recipe("reward.models.quality=own_models:ContrastQuality"), "cpu", MINI)
    assert isinstance(reward.quality, own_models.ContrastQuality) and isinstance(reward.critic, TrunkCritic)
    scaled = ("reward.models.quality=own_models:ContrastQuality", "reward.options.quality.factor=3")
    assert build_composite(recipe(*scaled), "cpu", MINI).quality.factor == 3  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="17 frames of 64 x 96 only"):
        build_composite(recipe(*scaled), "cpu", WIDE)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("own_models:Silent", "does not say its licence"),
        ("own_models:NotCallable", "cannot be called: give it a __call__"),
        ("own_models:Missing", "own_models has no Missing"),
        ("own_modelz:Critic", "there is no module own_modelz"),
    ],
)
def test_a_model_of_ones_own_that_cannot_stand_there(said: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        build_reward(recipe(f"reward.models.critic={said}"), "cpu", MINI)
    assert str(refused.value).startswith("reward.models.critic")


def test_a_real_size_reconstructor_and_clips_of_another_size() -> None:
    """The processed size (28 x 56) is neither the clip's nor mini's; every part must come through it."""
    config = recipe(*ALL_OWN, "reward.reconstruction.holdout=true")
    reward = build_composite(config, "cpu", WIDE)
    columns = torch.linspace(0, 6, 80 + 40)
    videos = torch.stack([_sliding(columns, step) for step in (0.22, 0.0)])  # a wall that moves as it must, and a still
    prompts = [Prompt(id=0, text="Camera move left. A wall.")] * 2
    moving, still = reward(videos, prompts, [synthesize(("move_left",), 9)] * 2, False)
    assert moving.status is Status.OK and still.status is Status.OK, (moving.reason, still.reason)
    assert set(moving.parts) == {S_META, S_RECON, S_TRAJ, R_GEN}
    assert moving.parts[S_TRAJ] == pytest.approx(1.0, abs=1e-4)
    assert moving.parts[S_RECON] > still.parts[S_RECON] + 0.02, "drawn with another size or camera"
    assert reward.critic.sizes == [(28, 56)]  # type: ignore[attr-defined]


def _sliding(columns: torch.Tensor, travel: float) -> torch.Tensor:
    """[9, 3, 48, 80] of stripes on a wall at depth 1 before a camera that goes left by `travel`."""
    shift_px = -1.2 * 80 * travel * torch.arange(9) / 8
    x = torch.arange(80)[None] + shift_px[:, None] + 20
    wave = 0.5 + 0.4 * torch.sin(columns[1] * x * 8)
    return wave[:, None, None].expand(9, 3, 48, 80).contiguous()


# ---------------------------------------------------------------------------------------------------------- real models


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("quality.bach=1", "reward.options.quality: unknown key 'bach'; did you mean 'batch'?"),
        ("critic.timeout_s=0", "timeout_s must be positive"),
        ("critic.min_digit_mass=x", "'min_digit_mass' must be a number"),
        ("perceptual.net=squeeze", "'net' must be one of 'alex', 'vgg'"),
        ("reconstructor.model=da4", "da4"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_loaded(
    option: str, words: str, loaders: dict[str, ModelRequest]
) -> None:
    with pytest.raises(InputError) as refused:
        build_reward(recipe(f"reward.options.{option}", base="world-r1-small"), "cpu", WIDE)
    assert words in str(refused.value) and not loaders


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModelRequest]:
    """As if every published model could be loaded; role -> what was asked for."""
    asked: dict[str, ModelRequest] = {}

    def loader(role: Role) -> Loader:
        def load(config: Any, request: ModelRequest) -> Any:
            asked[role] = request
            return getattr(own_models, OWN[role])(request.device)

        return LOADERS[role]._replace(load=load)

    replaced = {role: loader(role) for role in LOADERS}
    monkeypatch.setattr(build, "LOADERS", replaced)
    monkeypatch.setattr(reward_models, "LOADERS", replaced)
    return asked


def test_a_profile_is_a_composite_of_its_models(loaders: dict[str, ModelRequest]) -> None:
    config = recipe("reward.models.critic=/models/qwen", "reward.models.quality=random", base="world-r1-small")
    reward = build_composite(config, "cpu", WIDE)
    assert {role: request.model.name for role, request in loaders.items()} == {
        "reconstructor": "DA3-GIANT-1.1",
        "critic": "Qwen3-VL-4B",
        "quality": "HPSv3",
        "perceptual": "LPIPS (AlexNet)",
    }
    assert list(loaders) == ["perceptual", "reconstructor", "critic", "quality"]  # the smallest first
    assert [loaders[role].said for role in OWN] == ["profile", "/models/qwen", "random", "profile"]
    assert loaders["critic"].clip == (9, 48, 80)
    assert isinstance(reward, CompositeReward) and isinstance(reward.critic, own_models.BrightCritic)
    said = describe_reward(config, reward)
    assert said == "reward: DA3-GIANT-1.1, Qwen3-VL-4B, HPSv3, LPIPS (AlexNet) (resident); licence: test"


def test_models_without_work_are_not_loaded(loaders: dict[str, ModelRequest]) -> None:
    weights = ("reward.weights.meta=0", "reward.weights.recon=0", "reward.weights.traj=0")
    reward = build_composite(recipe(*weights, base="world-r1-small"), "cpu", WIDE)
    assert list(loaders) == ["quality"]
    with pytest.raises(RuntimeError, match="the reconstructor is not loaded"):
        reward.reconstructor(torch.rand(1, 9, 3, 48, 80))


def test_the_packaged_perceptual_trunk_may_stand_in_any_profile(loaders: dict[str, ModelRequest]) -> None:
    config = recipe("reward.models.perceptual=mini", base="world-r1-small")
    reward = build_composite(config, "cpu", WIDE)
    assert isinstance(reward.perceptual, TrunkDistance) and "perceptual" not in loaders


def test_swap_wraps_every_model_and_changes_no_number(loaders: dict[str, ModelRequest]) -> None:
    resident, swapped = (
        build_composite(recipe(f"reward.placement={place}", base="world-r1-small"), "cpu", WIDE)
        for place in ("resident", "swap")
    )
    models = (swapped.reconstructor, swapped.critic, swapped.quality, swapped.perceptual)
    assert all(isinstance(model, Swapped) for model in models)
    videos = torch.rand(2, 9, 3, 48, 80, generator=torch.Generator().manual_seed(0))
    arguments = (videos, [Prompt(id=0, text="A wall.")] * 2, [synthesize(("move_left",), 9)] * 2, False)
    assert resident(*arguments) == swapped(*arguments)


def test_swapped_networks_score_as_resident_ones() -> None:
    videos = torch.rand(1, 17, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    model = load_reconstructor()
    before = model(videos)[0]
    after = Swapped(model, "cpu")(videos)[0]
    assert torch.equal(before.depth, after.depth) and torch.equal(before.world_from_camera, after.world_from_camera)


def test_random_weights_of_depth_anything_3_get_cameras_that_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's own say a field of view of 0 or 180 degrees, which is a fault: nothing could be measured."""

    class Degenerate(own_models.Wall):
        def __call__(self, x: torch.Tensor, *, infer_gs: bool) -> dict[str, Any]:
            answer = super().__call__(x, infer_gs=infer_gs)
            return answer | {"intrinsics": 1e-6 * answer["intrinsics"]}

    asked: list[str] = []

    def load(config: DepthAnything3Config, device: str, *, cameras: Cameras | None) -> DepthAnything3:
        asked.append(f"{config.model} {config.weights}")
        size = config.process_res_px
        return DepthAnything3(Degenerate(), licence="none", device=device, process_res_px=size, cameras=cameras)

    monkeypatch.setattr(reward_models, "load_depth_anything3", load)
    videos = torch.rand(1, 9, 3, 48, 80, generator=torch.Generator().manual_seed(0))
    for weights, status in (("random", Status.OK), ("/models/da3", Status.FAULT)):
        config = recipe(*ALL_OWN[1:], "reward.profile=light", f"reward.models.reconstructor={weights}")
        found = build_composite(config, "cpu", WIDE).reconstructor(videos)[0]
        assert found.status is status, found.reason
    assert asked == ["da3-base random", "da3-base /models/da3"]


# ----------------------------------------------------------------------------------- the real classes on small weights


def test_what_the_recipe_says_arrives_at_each_backend() -> None:
    words = ("reward.models.critic=http://localhost:1/v1", "reward.options.critic.timeout_s=5")
    words += ("reward.models.quality=/models/hps", "reward.options.quality.batch=3", "reward.models.perceptual=random")
    words += ("reward.models.reconstructor=/models/da3", "reward.options.reconstructor.process_res_px=280")
    for profile, names in (
        ("paper", ("da3-giant-1.1", "Qwen/Qwen3-VL-4B-Instruct", "Hpsv3Config")),
        ("light", ("da3-base", "Qwen/Qwen3-VL-2B-Instruct", "Hpsv2Config")),
    ):
        config = recipe(f"reward.profile={profile}", *words)
        found = {
            model.role: LOADERS[model.role].configure(build._request(config, model, "cpu", WIDE))  # pyright: ignore[reportPrivateUsage]
            for model in config.published_models
        }
        depth, critic, quality, distance = (found[role] for role in OWN)
        assert (depth.model, critic.model, type(quality).__name__) == names
        assert (depth.weights, depth.process_res_px) == ("/models/da3", 280)
        assert (critic.base_url, critic.timeout_s, critic.min_digit_mass) == ("http://localhost:1/v1", 5.0, 0.5)
        assert (quality.weights, quality.batch) == ("/models/hps", 3)
        assert (distance.weights, distance.trunk) == ("random", "")
    folder = recipe("reward.profile=paper", "reward.models.critic=random", "reward.models.perceptual=/models/alex.pth")
    requests = {model.role: build._request(folder, model, "cpu", WIDE) for model in folder.published_models}  # pyright: ignore[reportPrivateUsage]
    critic = LOADERS["critic"].configure(requests["critic"])
    assert (critic.model, critic.weights, critic.min_digit_mass) == ("qwen3-vl-4b", "random", 0.0)
    assert LOADERS["perceptual"].configure(requests["perceptual"]).trunk == "/models/alex.pth"


@pytest.mark.parametrize("placement", ["resident", "swap"])
def test_a_reward_of_the_real_classes_scores_a_clip(
    placement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qwen3-VL and HPSv3 from small folders in their published layouts, a random LPIPS; the 3D model is our own."""
    monkeypatch.setattr(hpsv3, "QWEN2_VL_7B", small_quality.QWEN)
    save_tiny_folder(tmp_path / "qwen")
    quality = write_hpsv3(tmp_path / "hpsv3")
    small_quality.install_template(monkeypatch, tmp_path / "site")
    config = recipe(
        "reward.profile=paper",
        "reward.models.reconstructor=own_models:SidewaysReconstructor",
        "reward.options.reconstructor.process_res_px=112",
        f"reward.models.critic={tmp_path / 'qwen'}",
        "reward.options.critic.min_digit_mass=0",
        "reward.options.critic.dtype=float32",
        f"reward.models.quality={quality.weights}",
        f"reward.options.quality.tokenizer={quality.tokenizer}",
        "reward.options.quality.dtype=float32",
        "reward.models.perceptual=random",
        f"reward.placement={placement}",
        "reward.reconstruction.holdout=true",
    )
    reward = build_composite(config, "cpu", ClipConfig(frames=9, height=96, width=160))
    columns = torch.linspace(0, 6, 80 + 40)
    small = torch.stack([_sliding(columns, step) for step in (0.22, 0.1)])
    videos = small.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)  # LPIPS needs 31 pixels a side
    prompts = [Prompt(id=0, text="Camera move left. A wall.")] * 2
    paths = [synthesize(("move_left",), 9)] * 2
    both = reward(videos, prompts, paths, False)
    assert [result.status for result in both] == [Status.OK, Status.OK], both[0].reason
    assert set(both[0].parts) == {S_META, S_RECON, S_TRAJ, R_GEN}
    (alone,) = reward(videos[1:], prompts[1:], paths[1:], False)
    assert alone.parts == pytest.approx(both[1].parts, abs=1e-5)
    assert both[0].parts != both[1].parts


# ------------------------------------------------------------------------------------------------------------ elsewhere


def test_a_remote_reward_is_built_by_its_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Own code and whole rewards of one's own too; the actor's device is its own."""
    made: list[tuple[str, Any]] = []

    class Threads(ThreadActors):
        def __init__(self, config: RemoteConfig, make: Callable[[], Any], device: str) -> None:
            super().__init__(config.actors)
            reward = make()
            made.append((device, reward))
            self._worker = lambda: RewardActor(lambda: reward, "cpu", Arithmetic.here())  # type: ignore[method-assign, assignment, return-value]
            self._workers = [self._worker() for _ in range(self.num)]

    monkeypatch.setattr(build, "RayActors", Threads)
    videos = torch.rand(3, 9, 3, 48, 80, generator=torch.Generator().manual_seed(0))
    arguments = (videos, [Prompt(id=0, text="A wall.")] * 3, [synthesize(("move_left",), 9)] * 3, False)
    custom = "reward.custom=colour_reward:ColourReward"
    for sets, kind in ((ALL_OWN, CompositeReward), ((custom,), OwnReward)):
        config = recipe(*sets, "reward.placement=remote", "reward.remote.actors=2", "reward.batch=2")
        remote, local = build_reward(config, "cpu", WIDE), build_local_reward(config, "cpu", WIDE)
        assert isinstance(remote, RemoteReward) and isinstance(made[-1][1], kind)
        assert (remote.licence, dict(remote.part_weights)) == (local.licence, dict(local.part_weights))
        assert remote(*arguments) == local(*arguments)
        assert (remote.reconstructor is None) == (local.reconstructor is None)
        said = describe_reward(config, remote)
        assert "2 Ray actors, on the CPU, on a Ray of this machine" in said and "own code" in said
        release_reward(remote)


def test_without_ray_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldr1.cluster.ray_actors.ray_version", lambda: "")
    with pytest.raises(InputError, match=r"needs Ray, which is not installed: pip install 'worldr1\[cluster\]'"):
        build_reward(recipe("reward.placement=remote"), "cpu", MINI)


def test_gpus_of_an_actor_follow_the_run_s_device() -> None:
    assert [RemoteConfig().gpus_on(device) for device in ("cpu", "cuda")] == [0, 1]
    assert RemoteConfig(gpus=0.25).gpus_on("cpu") == 0.25
    assert "4 Ray actors, 0.25 GPU each" in where(RemoteConfig(actors=4, gpus=0.25), "cuda")
    assert "the Ray at host:6379" in where(RemoteConfig(address="host:6379"), "cuda")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("actors=0", "actors is 0"), ("gpus=1.5", "a fraction of one GPU"), ("gpus=-1", "a fraction"),
        ("timeout_s=0", "timeout_s is 0"), ("cpus=-1", "cpus"), ("in_flight=0", "in_flight"),
        ("start_timeout_s=inf", "inf"), ("retries=-1", "retries"),
    ],
)  # fmt: skip
def test_impossible_actors_are_refused(said: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        recipe("reward.placement=remote", f"reward.remote.{said}")
