"""`worldr1 mini judge` as a user runs it, with a judge and a probe of random weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from worldr1.assembly import prompts_with_scenes, run_prompts
from worldr1.backends.mini import JUDGE_CONFIG, mini_base
from worldr1.backends.wan import WanPolicy
from worldr1.build import PromptConfig, load_experiment
from worldr1.cli import main
from worldr1.config import dump_toml
from worldr1.evaluate import evaluation
from worldr1.evaluate.judging import judge as judging
from worldr1.evaluate.records import Evaluation
from worldr1.mini.networks.probe import AttributeProbe, ProbeConfig
from worldr1.mini.networks.reconstructor import MiniReconstructor
from worldr1.mini.prompts import scene_sentences
from worldr1.pretrain.loop import bf16_state
from worldr1.seeding import make_generator
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, read_adapter, save_adapter
from worldr1.train.lora import add_lora, lora_state


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's recipe and result, without the run: an adapter that changes much."""
    folder = tmp_path_factory.mktemp("run")
    recipe = load_experiment("mini-smoke", ("train.decode_batch=3", "prompts.main=4", "prompts.dynamic=4"))
    (folder / "recipe.toml").write_text(dump_toml(recipe))
    transformer, config = WanPolicy.from_folder(mini_base()).transformer, LoraConfig(rank=2, alpha=2)
    add_lora(transformer, config, generator=make_generator(0, "test"))
    state = {name: x + 0.05 for name, x in lora_state(transformer).items()}
    (folder / "final").mkdir()
    info = AdapterInfo(config=config, base="mini", guidance=1.0)
    save_adapter(folder / "final" / "adapter.safetensors", state, info)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = {"judge": MiniReconstructor(JUDGE_CONFIG), "probe": AttributeProbe(ProbeConfig())}
    for name, network in networks.items():
        save_file(bf16_state(network), folder / f"{name}.safetensors")
    return folder


def judge(run: Path, weights: Path, out: Path, *more: str) -> None:
    numbers = ["--prompts", "1", "--dynamic-prompts", "1", "--device", "cpu"]
    code = main(["mini", "judge", "--run", str(run), "--weights", str(weights), "--out", str(out), *numbers, *more])
    assert code == 0


def test_base_adapter_and_truth_are_filmed_and_judged(
    run: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first"
    judge(run, weights, first)
    table = (first / "table.md").read_text()
    assert capsys.readouterr().out.strip() == table.strip()
    assert "## By the judge" in table and "## By the reward's own 3D model" in table
    found = json.loads((first / "judging.json").read_text())
    assert (found["num_prompts"], found["seeds"], found["runs"]) == (2, [0], [str(run)])
    assert found["judges_sha256"].keys() == {"judge.safetensors", "probe.safetensors"}
    rows = {name: {row["name"]: row for row in judged} for name, judged in found["judges"].items()}
    assert rows["judge"]["words"]["num"] == 2 and rows["reward"]["words"]["num"] == 0
    assert rows["judge"]["words"]["base"] is not None
    records = {
        side: Evaluation.load(first / "records" / "reward" / f"{side}-noise-0").records
        for side in ("base", "trained-0", "truth")
    }
    assert [[r.prompt for r in side] for side in records.values()] == [[r.prompt for r in records["base"]]] * 3
    assert [r.dynamic for r in records["base"]] == [False, True]
    for base, trained, truth in zip(*records.values(), strict=True):
        assert base.seed == trained.seed == truth.seed
        assert base.measures["image_gradient"] != trained.measures["image_gradient"]
        # the packaged 3D model follows the rendered truth
        assert truth.measures["rotation_error_deg"] < 2


def test_what_was_judged_alike_before_is_taken_over_and_nothing_else(
    run: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again, other = tmp_path / "first", tmp_path / "again", tmp_path / "other"
    few = ["--dynamic-prompts", "0"]
    judge(run, weights, first, *few)
    filmed: list[Any] = []
    original = judging.judge_source

    def count(source: judging.Source, *args: Any, **keywords: Any) -> Any:
        filmed.append(source)
        return original(source, *args, **keywords)

    monkeypatch.setattr(judging, "judge_source", count)
    judge(run, weights, again, *few, "--reuse", str(first))
    assert filmed == []
    for file in sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file()):
        assert (again / file).read_bytes() == (first / file).read_bytes(), file
    # another adapter: base and truth are the same, and its records take the place of the earlier ones
    info, state = read_adapter(run / "final" / "adapter.safetensors")
    save_adapter(tmp_path / "other.safetensors", {name: x + 0.05 for name, x in state.items()}, info)
    judge(run, weights, first, *few, "--reuse", str(first), "--lora", str(tmp_path / "other.safetensors"))
    assert len(filmed) == 1
    for side in ("base", "truth", "trained-0"):
        file = Path("records", "judge", f"{side}-noise-0", "records.json")
        assert ((first / file).read_bytes() == (again / file).read_bytes()) is (side != "trained-0")
    # other start noise, other prompts: nothing is the same
    monkeypatch.setattr(judging, "judge_source", lambda *args, **keywords: pytest.fail("filmed"))
    for words in (["--seeds", "1"], ["--stream", "tuning"], ["--prompts", "2"]):
        with pytest.raises(pytest.fail.Exception, match="filmed"):
            judge(run, weights, other, *few, "--reuse", str(again), *words)
    capsys.readouterr()
    out = ["--out", str(other), "--weights", str(weights)]
    assert main(["mini", "judge", "--run", str(run), "--reuse", str(tmp_path), *out]) == 2
    assert "holds no judging to use again" in capsys.readouterr().err


@pytest.mark.slow
def test_longer_and_larger_clips_are_filmed_as_such_and_judged_at_the_size_that_the_judge_knows(
    run: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filmed: list[tuple[int, ...]] = []
    original = evaluation.film

    def note(*args: Any) -> Any:
        videos = original(*args)
        filmed.append(tuple(videos.shape))
        return videos

    monkeypatch.setattr(evaluation, "film", note)
    judge(run, weights, tmp_path, "--dynamic-prompts", "0", "--frames", "21", "--height", "96", "--width", "144")
    assert filmed == [(1, 21, 3, 96, 144)] * 2
    assert json.loads((tmp_path / "judging.json").read_text())["clip"] == [21, 96, 144]
    truth = Evaluation.load(tmp_path / "records" / "reward" / "truth-noise-0").records
    assert len(truth[0].requested_path or []) == 17
    assert truth[0].measures["rotation_error_deg"] < 2  # the packaged 3D model follows it as it does a plain clip


def test_best_of_one_is_the_base_and_has_its_own_table(run: Path, weights: Path, tmp_path: Path) -> None:
    judge(run, weights, tmp_path, "--best-of", "1", "--dynamic-prompts", "0")
    for name in ("judge", "reward"):
        base, best = (
            Evaluation.load(tmp_path / "records" / name / f"{side}-noise-0").records for side in ("base", "best-of-n")
        )
        assert base == best
    table = (tmp_path / "table.md").read_text()
    for title in (
        "## By the judge, which no reward met: the base model's best of 1\n",
        "3D model: the base model's best of 1\n",
    ):
        assert title in table
    assert "| what | base | best of 1 | truth |" in table and "| what | base | trained | truth |" in table
    found = json.loads((tmp_path / "judging.json").read_text())
    chosen = found["best-of-n"]
    assert (chosen["num"], chosen["reward_own"]) == (1, chosen["reward_kept"])
    assert 0 < chosen["seconds_one_sample"] == chosen["seconds_filming"] < chosen["seconds"]
    assert [row["name"] for row in chosen["judges"]["judge"]] == [row["name"] for row in found["judges"]["judge"]]
    assert found["judges"]["judge"] != chosen["judges"]["judge"]


@pytest.mark.slow
def test_judging_twice_writes_the_same_bytes(run: Path, weights: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    judge(run, weights, first)
    judge(run, weights, again)
    for name in ("judging.json", "table.md"):
        assert (first / name).read_bytes() == (again / name).read_bytes()


def test_the_prompts_are_those_that_a_run_tests_with_and_the_scenes_are_theirs() -> None:
    numbers = PromptConfig(main=40, dynamic=20, test=5, test_dynamic=3, seed=2)
    prompts, scenes = prompts_with_scenes(numbers)
    assert prompts == run_prompts(replace(load_experiment("mini"), prompts=numbers)).test
    for prompt in prompts:
        scene = scenes[prompt.id, prompt.dynamic]
        assert prompt.text.endswith(scene_sentences(scene)[0])
    other, _ = prompts_with_scenes(numbers, "tuning")
    assert not {prompt.text for prompt in other} & {prompt.text for prompt in prompts}


def test_what_cannot_be_judged_is_one_sentence(
    run: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out"), "--device", "cpu"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.toml").write_text((run / "recipe.toml").read_text().replace("num_steps = 4", "num_steps = 5"))
    rewarded = tmp_path / "rewarded"
    rewarded.mkdir()
    (rewarded / "recipe.toml").write_text((run / "recipe.toml").read_text().replace("meta = 2.0", "meta = 0.5"))
    adapter = str(run / "final" / "adapter.safetensors")
    cases = [
        (["--run", str(run), "--weights", str(tmp_path), *out], "worldr1 mini build judge"),
        (["--run", str(tmp_path / "nowhere"), *out], "holds no run: give the folder that train --out wrote"),
        (["--run", str(run), str(other), *out], "judge them one by one"),
        (["--run", str(run), str(run), "--lora", adapter, *out], "give one --run folder"),
        (["--run", str(run), f"{run}/../{run.name}", *out], "is given twice: give different ones"),
        (["--run", str(run), "--seeds", "3", "3", *out], "--seeds 3 is given twice: give different ones"),
        (["--run", str(other), *out], "There is no adapter file"),
        (["--run", str(run), "--best-of", "0", *out], "choose among at least 1"),
        (["--run", str(run), "--best-of", "2", "--frames", "33", *out], "leave out their size"),
        (["--run", str(run), "--frames", "13", *out], "give at least as many frames"),
        (["--run", str(run), "--height", "128", *out], "give 128 x 192"),
        (["--run", str(run), "--frames", "18", *out], "the nearest that does is 17 frames"),
        (["--run", str(run), str(rewarded), "--best-of", "2", *out], "The runs differ in their reward"),
    ]
    for arguments, sentence in cases:
        assert main(["mini", "judge", *arguments]) == 2
        error = capsys.readouterr().err
        assert sentence in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()
