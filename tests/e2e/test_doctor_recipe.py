"""`worldr1 doctor --recipe` on the mini world: all is well; and whatever is damaged is found by the check for it."""

import json
import shutil
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from worldr1.backends.critics.digits import DigitAnswers
from worldr1.build import ExperimentConfig, build_composite, build_policy, load_experiment
from worldr1.checkup import sampling as sampling_check
from worldr1.checkup.judging import Clips, judging, make_clips
from worldr1.checkup.sampling import sampling
from worldr1.cli import main
from worldr1.rewards.composite import CompositeReward
from worldr1.rewards.own import OwnReward
from worldr1.rollout.sampler import sample_ode
from worldr1.testing import Example
from worldr1.types import Reconstruction, Status

Lines = pytest.CaptureFixture[str]
MINI = load_experiment("mini", ("device=cpu",))
CHECKS = ["sampling", "camera path", "S_recon", "critic", "quality"]


def test_the_mini_recipe_is_well_and_its_report_says_so(
    tmp_path: Path, capsys: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worldr1.checkup.judging.CLIPS", 1)
    out = tmp_path / "report.json"
    assert main(["doctor", "--recipe", "mini", "--set", "device=cpu", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "All checks passed" in printed.out and "FAILED" not in printed.out
    record = json.loads(out.read_text())
    assert record["ok"] and [check["name"] for check in record["checks"]] == CHECKS
    assert all(check["verdict"] == "ok" and check["seconds"] > 0 for check in record["checks"])
    assert record["checks"][0]["value"] < 1e-5
    assert str(tmp_path) not in out.read_text() and str(Path.home()) not in out.read_text()


@pytest.fixture(scope="module")
def clips() -> Clips:
    """The first clip and its damaged copies."""
    (videos, prompts, paths), kinds = make_clips(MINI.clip, "cpu")
    return Clips(Example(videos[:1], prompts[:1], paths[:1]), {kind: v[:1] for kind, v in kinds.items()})


class Remembering:
    """A 3D model that lifts a video once: the tests ask it the same ones."""

    def __init__(self, model: Any) -> None:
        self.model, self.licence, self.known = model, model.licence, {}

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        return [self.known.setdefault(float(v.double().sum()), None) or self._lift(v) for v in videos]

    def _lift(self, video: Tensor) -> Reconstruction:
        self.known[float(video.double().sum())] = found = self.model(video[None])[0]
        return found


@pytest.fixture(scope="module")
def sound() -> CompositeReward:
    made = build_composite(MINI.reward, "cpu", MINI.clip)
    made.reconstructor = Remembering(made.reconstructor)
    return made


@pytest.fixture
def reward(sound: CompositeReward) -> CompositeReward:
    """Of the mini models, to be damaged."""
    return copy(sound)


def failed(reward: Any, clips: Clips) -> list[str]:
    return [finding.name for finding in judging(reward, clips) if finding.verdict != "ok"]


def swayed(model: Any, change: Callable[..., Any]) -> Any:
    """`Swayed`, for the type checker of any kind."""
    return Swayed(model, change)


class Swayed:
    """A model whose answer is changed."""

    licence = "test"

    def __init__(self, model: Any, change: Callable[..., Any]) -> None:
        self.model, self.change = model, change

    def __call__(self, *args: Any) -> Any:
        return self.change(self.model(*args))


def turned(found: Any) -> Any:
    """Cameras that turn on by 3 degrees too much."""
    angle = torch.linspace(0, 0.1, 17)
    turn = torch.eye(4).repeat(17, 1, 1)
    turn[:, 0, 0], turn[:, 0, 2], turn[:, 2, 0], turn[:, 2, 2] = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
    return [replace(r, world_from_camera=r.world_from_camera @ turn) for r in found]


DAMAGES: list[tuple[str, Callable[[Any], Any], str]] = [
    ("reconstructor", turned, "camera path"),
    ("reconstructor", lambda found: [replace(r, status=Status.FAULT, reason="gone") for r in found], "camera path"),
    ("critic", lambda digits: digits.flip(-1), "critic"),
    ("quality", lambda scores: -scores, "quality"),
    ("quality", lambda scores: scores * torch.nan, "quality"),
    ("perceptual", lambda distances: 1 - distances, "S_recon"),
]


@pytest.mark.parametrize(("role", "damage", "check"), DAMAGES)
def test_a_damaged_model_is_found(
    reward: CompositeReward, clips: Clips, role: str, damage: Callable[..., Any], check: str
) -> None:
    setattr(reward, role, swayed(getattr(reward, role), damage))
    found = {finding.name: finding for finding in judging(reward, clips)}
    assert found[check].verdict == "FAILED" and found[check].fix
    if role in ("critic", "perceptual"):
        assert [name for name, finding in found.items() if finding.verdict != "ok"] == [check], "and it alone"


def test_a_critic_that_answers_in_prose_is_found(reward: CompositeReward, clips: Clips) -> None:
    class Chatty(Swayed):
        def judge(self, images: Tensor, prompts: list[str]) -> DigitAnswers:
            assert "Camera" not in prompts[0]
            return DigitAnswers(probabilities=self.model(images, prompts), mass=torch.full((len(images),), 0.3))

    setattr(reward, "critic", Chatty(reward.critic, lambda digits: digits))  # noqa: B010
    assert failed(reward, clips) == ["digit mass"]


def test_a_wrong_sampler_or_text_is_found(monkeypatch: pytest.MonkeyPatch, published_wan_folder: Path) -> None:
    policy = build_policy(replace(MINI.model, folder=str(published_wan_folder), guidance=3.0), "cpu")
    assert sampling(MINI, policy).verdict == "ok"
    changes: list[Callable[..., Tensor]] = [
        lambda p, text, start, config: sample_ode(p, text, start, replace(config, shift=5.0)),
        lambda p, text, start, config: sample_ode(p, p.encode(["another prompt"]), start, config),
        lambda p, text, start, config: sample_ode(p, text, start, config) * torch.nan,
    ]
    for change in changes:
        monkeypatch.setattr(sampling_check, "sample_ode", change)
        assert sampling(MINI, policy).verdict == "FAILED"


def test_a_custom_reward_is_asked_whether_it_tells_clips_apart(clips: Clips) -> None:
    from colour_reward import ColourReward

    own = OwnReward(ColourReward("cpu"), name="own", batch=2)
    (found,) = judging(own, clips)
    assert (found.name, found.verdict) == ("custom reward", "ok") and "warped" in found.detail
    flat = ColourReward("cpu", vivid=0.0, steady=0.0)
    assert failed(OwnReward(flat, name="own", batch=2), clips) == ["custom reward"]


def test_a_recipe_whose_hub_is_out_of_reach_names_every_model(capsys: Lines, tmp_path: Path) -> None:
    assert main(["doctor", "--recipe", "world-r1-small", "--out", str(tmp_path / "x.json")]) == 2
    table = capsys.readouterr().err
    assert "MISSING base model" in table and "There is no model folder wan2.1-1.3b, and the hub's" in table
    for whose in ("reconstructor DA3-GIANT-1.1", "critic Qwen3-VL-4B", "quality HPSv3"):
        assert f"MISSING {whose}" in table


def test_all_that_is_missing_is_said_before_anything_is_loaded(
    tmp_path: Path, capsys: Lines, monkeypatch: pytest.MonkeyPatch, published_wan_folder: Path
) -> None:
    """Once and not one after the other: files of the base, packages, and files of every reward model."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("worldr1.checkup.recipe.build_policy", never)
    monkeypatch.setattr("worldr1.checkup.recipe.build_local_reward", never)
    monkeypatch.setitem(sys.modules, "depth_anything_3.cfg", None)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(published_wan_folder, "wan")
    shutil.rmtree("wan/vae")
    Path("wan/transformer/config.json").unlink()
    places = {
        "model.folder": "wan",
        "reward.models.reconstructor": "da3",
        "reward.models.critic": "qwen",
        "reward.models.quality": "hps.pt",
        "reward.options.quality.tokenizer": "clip",
        "reward.models.perceptual": "alex.pth",
        "reward.options.perceptual.heads": "heads.pth",
    }
    changes = [word for key, value in places.items() for word in ("--set", f"{key}={value}")]
    assert main(["doctor", "--recipe", "small-24gb", "--set", "device=cpu", *changes]) == 2
    printed = capsys.readouterr()
    first, *table = printed.err.splitlines()
    assert first == f"error: {len(table)} things that the recipe needs are missing:" and printed.out == ""
    expected = [
        ("base model", "vae is missing"),
        ("base model", "wan/transformer/config.json cannot be read"),
        ("reconstructor DA3-BASE", "pip install --no-deps depth-anything-3==0.1.1"),
        ("reconstructor DA3-BASE", "The weights da3 "),
        ("critic Qwen3-VL-2B", "qwen"),
        ("quality HPSv2.1", "HPSv2's tokenizer cannot be loaded from clip"),
        ("quality HPSv2.1", "hps.pt is missing"),
        ("perceptual LPIPS (AlexNet)", "alex.pth is missing"),
        ("perceptual LPIPS (AlexNet)", "heads.pth is missing"),
    ]
    assert len(table) == len(expected)
    for line, (whose, words) in zip(table, expected, strict=True):
        assert line.startswith(f"MISSING {whose:28}") and words in line[36:]
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "minii"], "no recipe 'minii'"),
        (["--recipe", "mini", "--set", "reward.custom=nowhere:Reward"], "there is no module nowhere"),
        (["--recipe", "mini", "--set", "model.folder=/no/such"], "no model folder"),
        (["--recipe", "mini", "--out", "/no/such/folder/x.json"], "folder /no/such/folder does not exist"),
        (["--set", "device=cpu"], "--set belongs to a recipe"),
        (["--out", "x.json"], "--out belongs to a recipe"),
        (["--overwrite"], "--overwrite belongs to a recipe"),
    ],
)
def test_bad_input(
    arguments: list[str], words: str, tmp_path: Path, capsys: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", *arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert words in line


def test_a_failing_check_is_exit_code_1(
    tmp_path: Path, capsys: Lines, monkeypatch: pytest.MonkeyPatch, clips: Clips
) -> None:
    from worldr1.checkup import recipe

    def flattened(config: ExperimentConfig, device: str, say: Any) -> Any:
        return replace(sampling_check.nothing_sampled(config), value=1e-6)

    monkeypatch.setattr(recipe, "_sampled", flattened)
    monkeypatch.setattr(recipe, "make_clips", lambda clip, device: clips)
    out = tmp_path / "report.json"
    flat = ["--set", "reward.custom=colour_reward:ColourReward", "--set", "reward.options.custom.vivid=0"]
    flat += ["--set", "reward.options.custom.steady=0"]
    assert main(["doctor", "--recipe", "mini", *flat, "--out", str(out), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads(out.read_text())
    assert [check["verdict"] for check in record["checks"]] == ["ok", "FAILED"]
