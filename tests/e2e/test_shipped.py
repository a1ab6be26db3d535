"""The run that ships: what `mini ship` takes and refuses, and where its evaluations and its adapter turn up."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from worldr1.backends.mini import mini_index
from worldr1.build import ExperimentConfig, build_policy, evaluation_config, load_experiment
from worldr1.errors import InputError
from worldr1.evaluate.evaluation import film, plan_tasks, save_evaluation
from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.rewards.composite import CompositeReward
from worldr1.rollout.start_noise import PlanCache
from worldr1.shipped import copy_evaluations, evaluate_shipped, find_adapter, ship, shipped_adapter
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, save_adapter
from worldr1.types import Prompt, Reconstruction, RewardResult, Status
from worldr1.video_io import read_mp4


def evaluation(reward: float) -> Evaluation:
    record = VideoRecord(
        prompt_id=0, prompt="Camera push in. A.", dynamic=False, tokens=("push_in",), seed=1, status=Status.OK,
        reason="", reward=reward, video="000.mp4",
    )  # fmt: skip
    return Evaluation(records=(record,), seconds=1.0, guidance=1.0, strength=0.5)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "index.json").write_text(json.dumps({"metrics": {"vae": {"psnr_db": 25.5}}, "sha256": {}}))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for name, reward in (("before", 1.0), ("after", 1.5)):
        evaluation(reward).save(folder / "previews" / name)
        (folder / "previews" / name / "000.mp4").write_bytes(b"film")
        (folder / "previews" / name / "000.png").write_bytes(b"strip")
    (folder / "recipe.toml").write_text("device = 'cuda'\n")
    save(folder / "final" / "adapter.safetensors", base="mini")
    return folder


def save(path: Path, *, base: str) -> None:
    path.parent.mkdir(exist_ok=True)
    state = {"blocks.0.attn1.to_q.lora_A.weight": torch.full((2, 8), 1 / 3)}
    save_adapter(path, state, AdapterInfo(config=LoraConfig(rank=2), base=base, guidance=1.0))


def test_a_shipped_run_turns_up_in_the_previews_of_others(run: Path, weights: Path, tmp_path: Path) -> None:
    assert copy_evaluations(tmp_path / "previews", weights) is None
    ship(run, weights)
    adapter = shipped_adapter(weights)
    (tensor,) = load_file(adapter).values()
    assert tensor.dtype == torch.bfloat16 and float(tensor[0, 0]) == pytest.approx(1 / 3, rel=0.01)
    index = mini_index(weights)
    assert index["metrics"] == {"vae": {"psnr_db": 25.5}} and list(index["sha256"]) == ["adapter/adapter.safetensors"]
    assert "adapter/adapter.safetensors" in (weights / "README.md").read_text()
    assert (adapter.parent / "recipe.toml").read_text() == "device = 'cuda'\n"

    shown = copy_evaluations(tmp_path / "previews", weights)
    assert shown is not None and shown.notes == ()
    assert (shown.before.records[0].reward, shown.after.records[0].reward) == (1.0, 1.5)
    copied = sorted(p.relative_to(tmp_path / "previews").as_posix() for p in (tmp_path / "previews").rglob("*.*"))
    assert copied == [f"shipped_{name}/{file}" for name in ("after", "before") for file in ("000.mp4", "records.json")]


def test_what_cannot_ship_is_refused_and_nothing_is_lost(run: Path, weights: Path) -> None:
    ship(run, weights)
    kept = shipped_adapter(weights).read_bytes()
    save(run / "final" / "adapter.safetensors", base="elsewhere")
    with pytest.raises(InputError, match="trained elsewhere, not the packaged model"):
        ship(run, weights)
    save(run / "final" / "adapter.safetensors", base="mini")
    shutil.rmtree(run / "previews" / "after")
    with pytest.raises(InputError, match="cannot ship: There is no evaluation after"):
        ship(run, weights)
    shutil.rmtree(run / "final")
    with pytest.raises(InputError, match="There is no adapter file"):
        ship(run, weights)
    assert shipped_adapter(weights).read_bytes() == kept


def test_without_a_packaged_adapter_the_sentence_says_so(weights: Path) -> None:
    with pytest.raises(InputError, match="no packaged adapter"):
        shipped_adapter(weights)


# ------------------------------------------------------------------------------------ filming with the packaged adapter

PROMPTS = [
    Prompt(id=0, text="Camera push in. A plain red ball on a blue tiled floor in a green brick room.", dynamic=False),
    Prompt(id=1, text="Camera pan left. A plain red box on a blue tiled floor in a green brick room.", dynamic=False),
]


class Mean:
    """A reward that knows every video's brightness, and a 3D model that reconstructs nothing."""

    def __init__(self) -> None:
        self.films: list[Tensor] = []

    def __call__(self, videos: Tensor, *_: Any) -> list[RewardResult]:
        self.films += list(videos)
        return [RewardResult(value=float(video.mean()), parts={}) for video in videos]

    def reconstructor(self, videos: Tensor) -> Sequence[Reconstruction]:
        raise ValueError("nothing to see")


class Bar:
    """Remembers what was shown."""

    def __init__(self) -> None:
        self.shown: list[object] = []

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Any]:
        self.shown += [what, total]
        yield self.shown.append


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, ExperimentConfig]:
    """A run of the packaged model that kept one of its two videos, and its recipe."""
    folder, clip = tmp_path / "trained", torch.zeros(5, 3, 16, 16)
    records = [replace(evaluation(1.0).records[0], prompt_id=i, video="000.mp4" if i == 0 else None) for i in (0, 1)]
    save_evaluation(replace(evaluation(1.0), records=tuple(records)), {0: clip}, folder / "previews" / "after")
    return folder, load_experiment("mini-smoke", ("device=cpu",))


def test_the_packaged_adapter_films_the_same_prompts_from_the_same_noise(
    trained: tuple[Path, ExperimentConfig],
) -> None:
    (run, config), reward, bar = trained, Mean(), Bar()
    found = evaluate_shipped(config, PROMPTS, cast(CompositeReward, reward), run, bar=bar)
    assert found is not None and bar.shown == ["evaluation mini-r1", 2, 2]
    settings = evaluation_config(config, seed=config.prompts.seed)
    tasks = plan_tasks(PROMPTS, settings)
    assert [record.seed for record in found.records] == [task.seed for task in tasks]
    assert [record.video for record in found.records] == ["000.mp4", None]  # as in previews/after
    own = film(build_policy(config.model, "cpu", lora=shipped_adapter()), tasks, settings, PlanCache())
    torch.testing.assert_close(torch.stack(reward.films), own, atol=1e-4, rtol=0)
    base = film(build_policy(config.model, "cpu"), tasks, settings, PlanCache())
    assert float((torch.stack(reward.films) - base).abs().mean()) > 0.002, "another model than the base"
    folder = run / "previews" / "mini-r1"
    assert Evaluation.load(folder) == found and read_mp4(folder / "000.mp4").shape[0] == 17

    reward.films.clear()
    assert evaluate_shipped(config, PROMPTS, cast(CompositeReward, reward), run, bar=bar) == found
    assert not reward.films, "a resumed run does not film again"


def test_runs_of_other_models_and_packages_without_an_adapter_have_no_third_column(
    trained: tuple[Path, ExperimentConfig], weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run, config), reward, bar = trained, cast(CompositeReward, Mean()), Bar()
    elsewhere = replace(config, model=replace(config.model, folder="elsewhere"))
    assert evaluate_shipped(elsewhere, PROMPTS, reward, run, bar=bar) is None
    assert evaluate_shipped(config, PROMPTS, reward, run, bar=bar, weights=weights) is None
    assert capsys.readouterr().err == ""
    (weights / "adapter").mkdir()
    save(weights / "adapter" / "adapter.safetensors", base="mini")  # of a base of another shape
    assert evaluate_shipped(config, PROMPTS, reward, run, bar=bar, weights=weights) is None
    assert "note: mini-r1 is not in the report: " in capsys.readouterr().err
    assert bar.shown == [] and not (run / "previews" / "mini-r1").exists()


def test_an_adapter_is_found_by_its_name_or_as_a_file(weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "adapter.safetensors"
    save(file, base="mini")
    assert find_adapter(str(file)) == file
    assert find_adapter("mini-r1") == shipped_adapter()
    with pytest.raises(InputError, match="no packaged adapter"):
        find_adapter("mini-r1", weights)
    with pytest.raises(InputError, match=r"no adapter file mini-r2: .* or mini-r1, the packaged one"):
        find_adapter("mini-r2")
