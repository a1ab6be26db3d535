"""What is there already is somebody's work: every command that writes refuses it before its own work begins, in one
sentence, and --overwrite replaces it."""

from pathlib import Path

import pytest
import torch

from worldr1.cli import main
from worldr1.video_io import write_mp4

Lines = pytest.CaptureFixture[str]
PROMPT = ["--prompt", "Camera push in. A red ball."]
MINE = b"mine"
WORK = (
    "worldr1.cli.filming.make",
    "worldr1.cli.noise.requested_camera",
    "worldr1.cli.camera.write_trajectory",
    "worldr1.cli.compare.resolve",
    "worldr1.cli.score._read",
    "worldr1.cli.score_rewards._read_all",
    "worldr1.study.analysis.analyse_folder",
    "worldr1.cli.prompts._load",
    "worldr1.checkup.recipe.check_recipe",
    "worldr1.train.lora_formats.save_native",
    "worldr1.cli.mini_cost._policies",
    "worldr1.cli.mini_judge._recipe",
    "worldr1.pretrain.corpus.build_corpus",
)
"""Where each command's work begins."""
CASES = [
    (["generate", *PROMPT, "--out", "a.mp4"], "a.mp4", "--out"),
    (["generate", *PROMPT, "--out", "a.mp4", "--num", "3"], "a-001.mp4", "--out"),
    (["generate", *PROMPT, "--out", "a.mp4", "--seeds", "5", "6"], "a-001.mp4", "--out"),
    (["noise", *PROMPT, "--out", "n.safetensors"], "n.safetensors", "--out"),
    (["camera", *PROMPT, "--out", "path.npz"], "path.npz", "--out"),
    (["camera", *PROMPT, "--out", "path.txt", "--plot", "path.png"], "path.png", "--plot"),
    (["compare", "base", "truth"], "comparison.html", "--out"),
    (["compare", "base", "truth", "--out", "c.html"], "c.html", "--out"),
    (["score", "a.mp4", "--out", "page"], "page/score.html", "--out"),
    (["score", "a.mp4", "--out", "page"], "page/scores.json", "--out"),
    (["score", "a.mp4", "--rewards", "mini", "--out", "page"], "page/rewards.html", "--out"),
    (["score", "a.mp4", "--rewards", "mini", "--out", "page"], "page/rewards.json", "--out"),
    (["study", "analyse", "study", "--out", "r.html"], "r.html", "--out"),
    (["prompts", "stats", "--plot", "sets.svg"], "sets.svg", "--plot"),
    (["doctor", "--recipe", "mini", "--out", "d.json"], "d.json", "--out"),
    (["export", "mini-r1", "--out", "a.safetensors"], "a.safetensors", "--out"),
    (["export", "mini-r1", "--out", "a.safetensors"], "a.md", "--out"),
    (["mini", "cost", "--out", "cost.json"], "cost.json", "--out"),
    (["mini", "judge", "--run", "run", "--out", "judged"], "judged/judging.json", "--out"),
    (["mini", "judge", "--run", "run", "--out", "judged", "--reuse", "other"], "judged/table.md", "--out"),
    (["mini", "render", "--out", "clips", "--num", "2"], "clips/0001.mp4", "--out"),
    (["mini", "render", "--out", "clips", "--num", "2"], "clips/prompts.txt", "--out"),
]
"""A command, what is there, and the option that named it."""


@pytest.fixture
def taken(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is there, in the working folder; no work is done."""
    monkeypatch.chdir(tmp_path)
    for name in WORK:
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("work begun"))
    file = Path(request.param)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(MINE)
    return file


@pytest.mark.parametrize(("arguments", "taken", "option"), CASES, indirect=["taken"])
def test_what_is_there_is_refused_before_any_work(
    arguments: list[str], taken: Path, option: str, tmp_path: Path, capsys: Lines
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err == f"error: {taken} is there already: choose another {option}, or give --overwrite\n"
    assert printed.out == ""
    assert taken.read_bytes() == MINE
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / taken]


@pytest.mark.parametrize(("arguments", "taken", "option"), CASES, indirect=["taken"])
def test_work_begins_if_it_may_be_replaced(arguments: list[str], taken: Path, option: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="work begun"):
        main([*arguments, "--overwrite"])


@pytest.mark.parametrize("taken", ["judged/judging.json"], indirect=True)
@pytest.mark.usefixtures("taken")
def test_a_judging_goes_on_where_it_is_reused() -> None:
    """As `worldr1 reproduce` starts it with one more run."""
    with pytest.raises(pytest.fail.Exception, match="work begun"):
        main(["mini", "judge", "--run", "run", "--out", "judged", "--reuse", "other", "./judged/"])


@pytest.mark.parametrize("taken", ["doctor-mini.json"], indirect=True)
@pytest.mark.usefixtures("taken")
def test_a_doctor_s_own_report_is_of_the_last_time() -> None:
    """It is asked until nothing is wrong; a report that was given a name is kept (`CASES`)."""
    with pytest.raises(pytest.fail.Exception, match="work begun"):
        main(["doctor", "--recipe", "mini"])


def test_files_are_replaced_by_who_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--frames", "17", "--width", "96", "--height", "64", "--overwrite"]
    files = (
        "n.safetensors",
        "path.npz",
        "path.png",
        "sets.svg",
        "clips/0000.mp4",
        "clips/prompts.txt",
        "clips/own.txt",
    )
    Path("clips").mkdir()
    for file in files:
        Path(file).write_bytes(MINE)
    assert main(["noise", *PROMPT, "--out", files[0], *small]) == 0
    assert main(["camera", *PROMPT, "--out", files[1], "--plot", files[2], *small]) == 0
    assert main(["prompts", "stats", "dynamic", "--plot", files[3], "--overwrite"]) == 0
    assert main(["mini", "render", "--out", "clips", "--num", "1", "--overwrite"]) == 0
    assert [file for file in files if Path(file).read_bytes() == MINE] == ["clips/own.txt"]


def test_a_page_of_scores_is_replaced_only_by_who_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    """The 3D scene alone is something to lose as well."""
    monkeypatch.chdir(tmp_path)
    write_mp4(Path("a.mp4"), torch.full((9, 3, 64, 96), 0.5))
    command = ["score", "a.mp4", "--out", "page"]
    Path("page").mkdir()
    Path("page/000-a.ply").write_bytes(MINE)
    assert main(command) == 2
    assert capsys.readouterr().err.startswith("error: page/000-a.ply is there already: choose another --out, or give")
    assert [path.name for path in Path("page").iterdir()] == ["000-a.ply"]
    for more, code in (["--overwrite"], 0), ([], 2), (["--overwrite"], 0):
        assert main([*command, *more]) == code
    assert sorted(path.name for path in Path("page").iterdir()) == ["000-a.ply", "score.html", "scores.json"]


# ------------------------------------------------------------------------------------------- folders of other commands


def test_a_run_is_refused_before_its_models_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    monkeypatch.setattr("worldr1.session.assemble", lambda *_: pytest.fail("loaded"))
    for file, said in (
        (
            "recipe.toml",
            f"{tmp_path} already holds a run; go on with it by --resume {tmp_path}, or give another --out.",
        ),
        (
            "evaluation.json",
            f"{tmp_path} holds an evaluation, whose report the run's would replace; give another --out.",
        ),
    ):
        (tmp_path / file).write_bytes(MINE)
        assert main(["train", "mini-smoke", "--out", str(tmp_path)]) == 2
        assert capsys.readouterr().err == f"error: {said}\n"
        (tmp_path / file).unlink()
    with pytest.raises(pytest.fail.Exception, match="loaded"):
        main(["train", "mini-smoke", "--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["report.html", "records.jsonl"])
def test_an_evaluation_replaces_no_other_report(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    """For example that of a run."""
    monkeypatch.setattr("worldr1.cli.evaluate._make_and_judge", lambda *_, **__: pytest.fail("work begun"))
    (tmp_path / file).write_bytes(MINE)
    assert main(["evaluate", "--limit", "1", "--out", str(tmp_path)]) == 2
    said = f"{tmp_path} holds something else than an evaluation ({file}): choose another --out"
    assert capsys.readouterr().err == f"error: {said}\n"
    assert [path.name for path in tmp_path.iterdir()] == [file]
    assert (tmp_path / file).read_bytes() == MINE


@pytest.mark.parametrize("file", ["findings.json", "reproduction.html", "reproduction.md"])
def test_a_reproduction_replaces_no_other_one(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    """For example docs/reproduction.md."""
    monkeypatch.setattr("worldr1.cli.reproduce._work", lambda *_, **__: pytest.fail("work begun"))
    (tmp_path / file).write_bytes(MINE)
    assert main(["reproduce", "no-gen", "--device", "cpu", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path} holds {file} and no plan.json: choose another --out\n"
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_study_makes_its_own_folder(tmp_path: Path, capsys: Lines) -> None:
    (tmp_path / "file").write_bytes(MINE)
    for out in (tmp_path, tmp_path / "file"):
        assert main(["study", "new", "a", "b", "--out", str(out)]) == 2
        assert capsys.readouterr().err == f"error: {out} exists and is not empty; give another --out.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
