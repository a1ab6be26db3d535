"""Which model stands behind which role: profiles, one's own by name, places, and clips that are not mini's."""

from collections.abc import Callable
from typing import Any

import own_models
import pytest
import torch

from worldr1 import build
from worldr1.backends.depth_anything3 import Cameras, DepthAnything3, DepthAnything3Config
from worldr1.backends.mini import load_reconstructor
from worldr1.backends.swapping import Swapped
from worldr1.build import ClipConfig, ModelRequest, build_composite, build_reward, describe_reward, load_experiment
from worldr1.camera.trajectory import synthesize
from worldr1.errors import ConfigError, InputError
from worldr1.mini.networks.trunk import TrunkCritic, TrunkDistance
from worldr1.rewards.composite import R_GEN, S_META, S_RECON, S_TRAJ, CompositeReward
from worldr1.rewards.recipe import RewardConfig
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


def test_profiles_refuse_what_no_code_runs_yet_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match=r"The critic of reward.profile = \"paper\" \(Qwen3-VL-4B\) cannot be run"):
        build_reward(RewardConfig(profile="paper"), "cpu", WIDE)
    with pytest.raises(ConfigError, match="The quality of reward"):
        build_reward(recipe(*ALL_OWN[:2], "reward.profile=light"), "cpu", WIDE)
    with pytest.raises(ConfigError, match='"remote" can be planned and not run yet'):
        build_reward(recipe("reward.profile=light", "reward.placement=remote"), "cpu", WIDE)


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModelRequest]:
    """As if every published model could be loaded; role -> what was asked for."""
    asked: dict[str, ModelRequest] = {}

    def loader(role: str) -> Callable[[ModelRequest], Any]:
        def load(request: ModelRequest) -> Any:
            asked[role] = request
            return getattr(own_models, OWN[role])(request.device)

        return load

    monkeypatch.setattr(build, "LOADERS", {role: loader(role) for role in OWN})
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
    assert [loaders[role].weights for role in OWN] == [None, "/models/qwen", "random", None]
    assert loaders["critic"].clip == WIDE
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

    monkeypatch.setattr(build, "load_depth_anything3", load)
    videos = torch.rand(1, 9, 3, 48, 80, generator=torch.Generator().manual_seed(0))
    for weights, status in (("random", Status.OK), ("/models/da3", Status.FAULT)):
        config = recipe(*ALL_OWN[1:], "reward.profile=light", f"reward.models.reconstructor={weights}")
        found = build_composite(config, "cpu", WIDE).reconstructor(videos)[0]
        assert found.status is status, found.reason
    assert asked == ["da3-base random", "da3-base /models/da3"]
