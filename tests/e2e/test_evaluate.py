"""`worldr1 evaluate` as a user runs it, with the mini models: killed, gone on with, on others' videos, on the truth."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_vbench import SCORING, fake_vbench
from merged_folder import merged_folder
from torch import Tensor

from worldr1.cli import main
from worldr1.evaluate.folder import MODELS_OWN, RECORDS_FILE, VIDEOS, EvaluationFolder
from worldr1.evaluate.metrics.splat_fit import FitConfig
from worldr1.evaluate.statistics.sampling import share_noise, unlike_settings
from worldr1.evaluate.suites.suite import load_suite
from worldr1.evaluate.suites.videos import Fitting
from worldr1.shipped import shipped_adapter
from worldr1.train.adapter_file import TrainedWith
from worldr1.types import Gaussians, RenderedViews, Status
from worldr1.video_io import read_comment, write_mp4

Lines = pytest.CaptureFixture[str]
TWO = ["evaluate", "--suite", "mini", "--limit", "2", "--set", "sampler.num_steps=2"]
SUITE = load_suite("mini")


def evaluate(*arguments: str, capsys: Lines) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def never(*arguments: object, **keywords: object) -> None:
    raise AssertionError("all is there")


def measures(folder: Path) -> list[dict[str, float]]:
    return [record.measures for record in EvaluationFolder.load(folder).records]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of two prompts, in one go."""
    out = tmp_path_factory.mktemp("evaluate") / "whole"
    assert main([*TWO, "--out", str(out)]) == 0
    return out


def test_records_facts_and_videos_say_what_was_done(whole: Path) -> None:
    folder = EvaluationFolder.load(whole)
    facts = folder.facts
    assert (facts.suite, facts.suite_sha256, facts.judge, facts.clip) == ("mini", SUITE.sha256, "judge", (17, 64, 96))
    assert facts.source == {"model": "mini", "weights": "published"} and facts.title == "mini"
    assert facts.settings["steps"] == 2 and facts.settings["seed"] == 0
    assert not facts.judged_by_reward and facts.notes == ()
    assert facts.devices.keys() == {"sampling", "judging"} == facts.seconds.keys()
    assert facts.seconds["sampling"] > 0 < facts.seconds["judging"]
    for record, prompt in zip(folder.records, SUITE.prompts, strict=False):
        assert (record.prompt, record.scene_type, record.dynamic) == (prompt.text, prompt.scene_type, prompt.dynamic)
        assert {"psnr_holdout_db", "words", "rotation_error_deg"} <= record.measures.keys()
        file = folder.video(record)
        assert file is not None and json.loads(read_comment(file))["prompt"] == prompt.text


def test_what_a_kill_leaves_is_gone_on_with_and_nothing_is_made_twice(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "worldr1", *TWO, "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        records = out / RECORDS_FILE
        while process.poll() is None and not (records.exists() and records.stat().st_size):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was killed before it was done"
    assert len(EvaluationFolder.load(out).records) == 1
    first = records.read_bytes()
    records.write_bytes(first + b'{"prompt_id": 1, "prom')  # as a kill in the middle of a line leaves it
    (out / VIDEOS / "001-0.mp4").unlink()  # and as one while sampling does
    kept = (out / VIDEOS / "000-0.mp4").stat().st_mtime_ns
    assert main([*TWO, "--out", str(out)]) == 0
    assert records.read_bytes().startswith(first), "not judged again"
    assert (out / VIDEOS / "000-0.mp4").stat().st_mtime_ns == kept, "not sampled again"
    assert [asdict(r) for r in EvaluationFolder.load(out).records] == [
        asdict(r) for r in EvaluationFolder.load(whole).records
    ], "as if nothing had happened"

    monkeypatch.setattr("worldr1.cli.filming.Filmer", never)
    monkeypatch.setattr("worldr1.cli.evaluate.load_judge_model", never)
    assert main([*TWO, "--out", str(out)]) == 0


def test_an_interrupt_says_how_to_go_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    (out / RECORDS_FILE).unlink()

    def interrupted(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worldr1.cli.evaluate.load_judge_model", interrupted)
    assert main([*TWO, "--out", str(out)]) == 130
    assert f"interrupted; the same command goes on: {out} has all that is done" in capsys.readouterr().err


def test_another_evaluation_in_the_same_folder_is_refused(whole: Path, capsys: Lines) -> None:
    assert main([*TWO, "--seed", "1", "--out", str(whole)]) == 2
    assert "holds another evaluation (it differs in settings)" in capsys.readouterr().err


def test_an_exported_suite_comes_back_as_videos_with_the_same_figures(
    whole: Path, tmp_path: Path, capsys: Lines
) -> None:
    folder, out = tmp_path / "closed-model", tmp_path / "out"
    assert main(["evaluate", "--export-suite", str(folder), "--suite", "mini"]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    assert "17 frames of 96 x 64" in (folder / "README.md").read_text(), "the mini world's own clip"
    assert len((folder / "poses" / "000.txt").read_text().splitlines()) == 1 + 17
    template = (folder / "manifest.jsonl").read_text().splitlines()
    for num in (1, 2):  # the manifest grows, and so does the evaluation
        (folder / "manifest.jsonl").write_text("\n".join(template[:num]) + "\n")
        name = json.loads(template[num - 1])["file"]
        shutil.copyfile(whole / name, folder / name)
        told = evaluate("evaluate", "--videos", str(folder), "--suite", "mini", "--out", str(out), capsys=capsys)
    assert measures(out) == measures(whole)
    assert told["title"] == "closed-model" and told["source"] == {"videos": "closed-model"}
    given = [note for note in told["notes"] if "were given" in note]
    assert given == ["videos of 2 of the suite's 144 prompts were given"], "and no longer of 1"
    assert any("rewarded by is not known" in note for note in told["notes"])
    assert "sampling" not in told["seconds"]


def test_the_truth_and_the_rewards_own_model(whole: Path, tmp_path: Path, capsys: Lines) -> None:
    truth, own = tmp_path / "truth", tmp_path / "own"
    told = evaluate("evaluate", "--model", "truth", "--limit", "1", "--out", str(truth), capsys=capsys)
    assert told["title"] == "rendered truth" and told["valid_share"] == 1
    assert measures(truth)[0]["rotation_error_deg"] < 2 and measures(truth)[0]["words"] == 1
    command = ["evaluate", "--lora", "mini-r1", "--judge", "mini", "--limit", "1", "--set", "sampler.num_steps=2"]
    assert main([*command, "--out", str(own)]) == 0
    printed = capsys.readouterr()
    sentence = "the judge mini is the 3D model that these weights were rewarded by: its figures flatter them"
    assert f"warning: {sentence}" in printed.err and f"note: {sentence}" in printed.out
    facts = EvaluationFolder.load(own).facts
    assert facts.judged_by_reward and sentence in facts.notes
    base, trained = EvaluationFolder.load(whole), EvaluationFolder.load(own)
    assert base.facts.settings["shift"] == MODELS_OWN and trained.facts.settings["shift"] == 3, "in two words"
    assert unlike_settings(base, trained) == () and share_noise(base, trained)
    assert not share_noise(base, EvaluationFolder.load(truth))
    assert (
        facts.title == "mini + mini-r1" and facts.source["lora"] == "mini-r1" and len(facts.source["lora_sha256"]) == 64
    )
    for word in ("valid: 100.0%", "PSNR of held-out frames (dB)", "words that the video shows", "cost: sampling"):
        assert word in printed.out


def test_a_real_models_videos_are_judged_without_weights(tiny_wan_folder: Path, tmp_path: Path, capsys: Lines) -> None:
    size = [x for text in ("clip.frames=9", "clip.height=64", "clip.width=96") for x in ("--set", text)]
    command = ["evaluate", "--model", str(tiny_wan_folder), "--suite", "paper", "--limit", "1", "--samples", "2", *size]
    told = evaluate(*command, "--set", "sampler.num_steps=2", "--out", str(tmp_path / "out"), capsys=capsys)
    assert (told["judge"], told["reward_model"], told["samples"], told["num_videos"]) == ("sfm", "", 2, 2)
    assert told["statuses"] == {"ok": 0, "fault": 0, "rejected": 2} and told["valid_share"] == 0, "noise is no scene"
    assert {"T1", "T2", "G"} <= {table["id"] for table in told["published"]["tables"]}
    records = EvaluationFolder.load(tmp_path / "out").records
    assert [record.sample for record in records] == [0, 1] and records[0].seed != records[1].seed


def test_a_model_whose_every_clip_is_rejected_leaves_pages_without_numbers(tmp_path: Path, capsys: Lines) -> None:
    """Grey pictures: there is no geometry, yet the probe has looked, and its numbers are of rejected clips alone."""
    folder, outs = tmp_path / "grey", [tmp_path / "one", tmp_path / "two"]
    assert main(["evaluate", "--export-suite", str(folder), "--suite", "mini"]) == 0
    line = (folder / "manifest.jsonl").read_text().splitlines()[0]
    (folder / "manifest.jsonl").write_text(f"{line}\n")
    write_mp4(folder / json.loads(line)["file"], torch.full((17, 3, 64, 96), 0.5), upscale=4)
    command = ["evaluate", "--videos", str(folder), "--suite", "mini", "--judge", "judge"]
    assert main([*command, "--out", str(outs[0])]) == 0
    assert "valid: 0.0% (1 rejected, 0 faults)" in capsys.readouterr().out
    (rejected,) = EvaluationFolder.load(outs[0]).records
    assert rejected.status is Status.REJECTED and "words" in rejected.measures
    told = (outs[0] / "report.html").read_text()
    assert "No clip is valid, so there is no number." in told and "By kind of prompt" not in told

    shutil.copytree(outs[0], outs[1])
    page = tmp_path / "compared.html"
    assert main(["compare", *map(str, outs), "--out", str(page)]) == 0
    assert "0 intervals in all" in capsys.readouterr().out
    told = page.read_text()
    assert "No clip is valid in both, so there is no difference." in told and "By kind of prompt" not in told


def test_a_merged_model_is_evaluated_as_its_lora_was_trained(
    tiny_wan_folder: Path, tmp_path: Path, capsys: Lines
) -> None:
    training = TrainedWith(
        transport="flow", strength=0.3, parallax_strength=0.1, shift=5.0, steps=2, frames=9, height=64, width=96
    )
    folder = merged_folder(tiny_wan_folder, tmp_path / "mine", training=training, reward_model="da3-base")
    command = ["evaluate", "--model", str(folder), "--suite", "paper", "--limit", "1", "--set", "clip.frames=5"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert f"defaults as {folder} was trained: 9 frames of 96 x 64, 2 steps" in capsys.readouterr().err
    facts = EvaluationFolder.load(tmp_path / "out").facts
    expected = {"guidance": 1.0, "strength": 0.3, "parallax_strength": 0.1, "transport": "flow", "steps": 2}
    expected |= {"shift": 5.0, "frames": 5, "height": 64, "width": 96}
    assert {key: facts.settings[key] for key in expected} == expected
    assert facts.reward_model == "da3-base", "which must not judge it"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--suite", "papers"], "there is no suite 'papers'"),
        (["--limit", "0"], "--limit must be at least 1"),
        (["--model", "base"], "--model base names no model; the mini world's base is --model mini"),
        (["--model", "mini-r1"], "the mini world's mini-r1 is --lora mini-r1"),
        (["--model", "truth", "--suite", "paper"], "give --suite mini, not paper"),
        (["--model", "truth", "--samples", "2"], "leave out --samples: --model truth is rendered once, by no model"),
        (["--model", "truth", "--dtype", "bfloat16"], "leave out --dtype: --model truth"),
        (["--videos", "nowhere", "--lora", "mini-r1"], "leave out --lora: --videos are made already"),
        (["--videos", "nowhere", "--seed", "1"], "leave out --seed: --videos are made already"),
        (["--videos", "nowhere", "--compile"], "leave out --compile: --videos are made already"),
        (["--set", "train.lr=1"], "has the keys of model, clip, noise, sampler only"),
        (["--set", "noise.strenth=1"], "strength"),
        (["--negative-prompt", "a floor"], "guidance 1 is none: leave it out"),
        (["--set", "model.folder=x"], "give --model instead"),
        (["--judge", "vggt"], "there is no judge 'vggt'; known are: judge, mini, sfm"),
        (["--judge-weights", "x"], "belongs to Depth Anything 3"),
        (["--lpips", "nowhere.pth"], "--lpips nowhere.pth is no file"),
        (["--lora", "nowhere"], "There is no adapter file nowhere"),
        (["--videos", "nowhere"], "There is no nowhere/manifest.jsonl"),
        (["--export-suite", "new", "--limit", "2"], "leave out --limit: --export-suite writes the whole suite"),
        (["--export-suite", "new", "--lora", "x"], "leave out --lora: --export-suite writes the whole suite"),
        (["--videos", "pyproject.toml"], "is a file: give the folder that its manifest.jsonl lies in"),
        (["--out", "pyproject.toml"], "--out pyproject.toml cannot be used as a folder"),
        (["--vbench", "nowhere/python"], "There is no program nowhere/python"),
        (["--vbench", sys.executable], "pip install vbench==0.1.5 in that environment"),
        (["--export-suite", "src", "--set", "noise.strength=1"], "an export has clip.frames"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(arguments: list[str], sentence: str, capsys: Lines) -> None:
    assert main(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error


def test_a_lora_is_no_cogvideox_models(published_cogvideox_folder: Path, tmp_path: Path, capsys: Lines) -> None:
    """Its shift, which nobody gave, is not spoken of."""
    command = ["evaluate", "--model", str(published_cogvideox_folder), "--lora", "mini-r1", "--suite", "paper"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "adapter.safetensors was trained on mini" in line and "is CogVideoX: give the model that it was" in line


def test_an_optimisation_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Lines) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["evaluate", "--fit", "--out", str(tmp_path / "out")]) == 2
    assert "--fit cannot be had here, leave it out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "asked before anything is done"


def test_the_packaged_adapter_says_by_its_recipe_what_rewarded_it() -> None:
    from worldr1.cli.judges import reward_model_of

    assert reward_model_of(shipped_adapter()) == "mini"


def test_compare_evaluates_what_it_knows_by_name_and_leaves_a_report_that_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "base", "truth", "--limit", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["comparisons"][0]["against"] == "base" and told["comparisons"][0]["paired_by"] == "prompt"
    assert told["comparisons"][0]["sampled_differently"] == {}, "the truth is not sampled"
    base, truth = (EvaluationFolder.load(tmp_path / "evaluations" / f"mini-{name}") for name in ("base", "truth"))
    assert [len(folder.records) for folder in (base, truth)] == [1, 1]
    assert {"psnr_holdout_db", "psnr_all_db", "mvcs", "dis_motion_px", "words"} <= set(base.records[0].measures)
    assert len(list(base.path.glob("redrawn/*.mp4"))) == len(list(base.path.glob("points/*.json"))) == 1
    made = {file: file.stat().st_mtime_ns for file in base.path.rglob("*.mp4")}
    assert main(["compare", "base", "truth", "--limit", "1", "--out", "again.html"]) == 0
    assert {file: file.stat().st_mtime_ns for file in base.path.rglob("*.mp4")} == made


def test_vbench_s_scores_are_added_to_what_is_judged_already(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    out, python = Path(shutil.copytree(whole, tmp_path / "out")), str(fake_vbench(tmp_path, SCORING))
    monkeypatch.setattr("worldr1.cli.evaluate.load_judge_model", never)
    monkeypatch.setattr("worldr1.cli.evaluate._write_report", lambda *_: "report.html")
    for _ in range(2):  # the second time there is nothing left to score
        assert main([*TWO, "--vbench", python, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("scores 2 videos") == 1
    for word in ("VBench mean of five (the paper's AVG)", "VBench dynamic degree", "VBench quality score", "cost: "):
        assert word in printed.out
    facts = EvaluationFolder.load(out).facts
    assert facts.seconds["VBench"] > 0 and facts.devices["VBench"] == "cuda"
    for before, after in zip(measures(whole), measures(out), strict=True):
        assert {name: after[name] for name in before} == before and after["vbench_dynamic_degree"] == 1


def test_a_measure_asked_for_later_has_valid_videos_judged_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps of an optimisation whose renderer paints the mean colour: what gsplat does needs a GPU."""

    class MeanColour:
        def __call__(
            self,
            gaussians: Gaussians,
            world_from_camera: Tensor,
            intrinsics_px: Tensor,
            *,
            height: int,
            width: int,
            background: Tensor,
        ) -> RenderedViews:
            size = (len(world_from_camera), height, width)
            colours = gaussians.colors.mean(0)[None, :, None, None].expand(size[0], 3, height, width)
            return RenderedViews(colors=colours, alphas=torch.ones(size), depths=torch.ones(size))

    out = Path(shutil.copytree(whole, tmp_path / "out"))
    fitting = Fitting(MeanColour(), "cpu", FitConfig(steps=2))
    monkeypatch.setattr("worldr1.cli.evaluate.load_fitting", lambda: fitting)
    monkeypatch.setattr("worldr1.cli.evaluate._write_report", lambda *_: "report.html")
    assert main([*TWO, "--fit", "--out", str(out)]) == 0
    for before, after in zip(measures(whole), measures(out), strict=True):
        assert after.keys() - before.keys() == {
            *("psnr_fit_holdout_db", "ssim_fit_holdout", "psnr_fit_all_db", "ssim_fit_all")
        }
        assert {name: after[name] for name in before} == pytest.approx(before)
    assert len(EvaluationFolder.load(out).records) == 2
    monkeypatch.setattr("worldr1.cli.evaluate.load_judge_model", never)
    assert main([*TWO, "--fit", "--out", str(out)]) == 0
    assert main([*TWO, "--out", str(out)]) == 0


def test_a_perceptual_network_adds_its_distances_and_changes_nothing_else(whole: Path) -> None:
    from worldr1.backends.mini import load_distance
    from worldr1.cli.judges import load_judge_model
    from worldr1.evaluate.suites.videos import suite_videos

    judge = replace(load_judge_model("judge", SUITE), perceptual=load_distance())
    (video,) = suite_videos(SUITE, samples=1, seed=0, limit=1)
    (judged,) = judge([whole / VIDEOS / video.name], [video])
    found = judged.record.measures
    kept = EvaluationFolder.load(whole).records[0].measures
    assert set(found) - set(kept) == {"perceptual_holdout", "perceptual_all"}
    assert {name: found[name] for name in kept} == pytest.approx(kept)
