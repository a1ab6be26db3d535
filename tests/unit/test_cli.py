"""The launcher's table, its exit codes and its messages; the doctor."""

import errno
import hashlib
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pycolmap
import pytest
import torch

from worldr1 import __version__, cli
from worldr1.backends import attention
from worldr1.cli import doctor
from worldr1.errors import CheckpointError, InputError, TrainingError

Lines = pytest.CaptureFixture[str]

FAKE_COMMAND = """
import os
from worldr1.errors import *

def add_arguments(parser):
    parser.add_argument("--code", type=int, default=0)

def run(args):
    print("threads wait", os.environ.get("OMP_WAIT_POLICY"), os.environ.get("MALLOC_TRIM_THRESHOLD_"))
    return args.code
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A command named "fake"; every other command's module does not exist."""
    (tmp_path / "fake_command.py").write_text(FAKE_COMMAND)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "COMMANDS", {"fake": ("fake_command", "does nothing"), "other": ("no.such.module", "-")})
    monkeypatch.delitem(sys.modules, "fake_command", raising=False)
    return "fake"


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def run(args: object) -> int:
        raise error

    monkeypatch.setattr(importlib.import_module("fake_command"), "run", run)
    return cli.main(["fake"])


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_module(name: str) -> None:
    module = importlib.import_module(cli.COMMANDS[name][0])
    assert callable(module.add_arguments)
    assert callable(module.run)


def test_help_lists_every_command_and_version_is_ours(capsys: Lines) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(summary in text for _, summary in cli.COMMANDS.values())
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"worldr1 {__version__}\n"


def test_help_imports_no_heavy_library() -> None:
    code = "import sys, worldr1.cli as c; c.main(['--help']); print({'torch', 'numpy', 'rich'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.endswith("set()\n")


def test_only_the_chosen_command_is_imported_and_its_code_is_returned(fake: str) -> None:
    assert cli.main([fake, "--code", "7"]) == 7


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["fake", "--nonsense"], ["fake", "--cod", "1"], ["--nonsense"]]
)
def test_wrong_arguments_are_exit_2(fake: str, arguments: list[str], capsys: Lines) -> None:
    assert cli.main(arguments) == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("give a prompt with --prompt."), 2, "error: give a prompt with --prompt.\n"),
        (CheckpointError("x is damaged"), 2, "error: x is damaged\n"),
        (TrainingError("too many faults"), 1, "error: too many faults\n"),
        (
            PermissionError(13, "Permission denied", "a.txt"),
            2,
            "error: a.txt is not yours to use (Permission denied): choose another place\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_expected_errors_are_one_line(
    fake: str, error: BaseException, code: int, line: str, capsys: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fail_with(error, monkeypatch) == code
    assert capsys.readouterr() == ("", line)


def test_a_bug_of_ours_shows_its_traceback(fake: str, capsys: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fail_with(ZeroDivisionError("oops"), monkeypatch) == 1
    assert "Traceback" in capsys.readouterr().err


def full_disk_as_oserror() -> Exception:
    return OSError(errno.ENOSPC, "write failed")


def full_disk_wrapped() -> Exception:
    error = CheckpointError("could not save")
    error.__cause__ = RuntimeError("inner")
    error.__cause__.__context__ = full_disk_as_oserror()
    return error


def full_disk_as_text() -> Exception:
    return RuntimeError('IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })')


@pytest.mark.parametrize("make_error", [full_disk_as_oserror, full_disk_wrapped, full_disk_as_text])
def test_a_full_disk_is_one_sentence(
    fake: str, make_error: type[Exception], capsys: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fail_with(make_error(), monkeypatch) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: the disk is full")
    assert message.count("\n") == 1


def run_launcher(folder: Path, stdout: int = subprocess.PIPE, **variables: str) -> subprocess.CompletedProcess[str]:
    """The console script's `entry` in a process of its own, with the fake command, in an untuned environment."""
    (folder / "fake_command.py").write_text(FAKE_COMMAND)
    code = "import worldr1.cli as c; c.COMMANDS['fake'] = ('fake_command', ''); c.entry()"
    ours = ("OMP_WAIT_POLICY", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "WORLDR1_TUNED")
    plain = {key: value for key, value in os.environ.items() if key not in ours}
    path = os.pathsep.join([str(folder), plain.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code, "fake", "--code", "3"],
        env={**plain, "PYTHONPATH": path, **variables},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_left_is_no_error_message(tmp_path: Path, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = run_launcher(tmp_path, writer, PYTHONUNBUFFERED=unbuffered)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_the_output(tmp_path: Path, unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        result = run_launcher(tmp_path, full.fileno(), PYTHONUNBUFFERED=unbuffered)
    assert result.returncode == 1
    assert result.stderr.startswith("error: the disk is full")
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the environment is tuned on Linux only")
@pytest.mark.parametrize(
    ("variables", "output"),
    [
        ({}, f"threads wait PASSIVE {8 << 30}\n"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, f"threads wait ACTIVE {8 << 30}\n"),
        ({"WORLDR1_TUNED": "1"}, "threads wait None None\n"),
    ],
)
def test_the_launcher_tunes_a_fresh_process_and_respects_the_user(
    tmp_path: Path, variables: dict[str, str], output: str
) -> None:
    result = run_launcher(tmp_path, subprocess.PIPE, **variables)
    assert (result.returncode, result.stdout) == (3, output)


def test_doctor_prints_one_json_object_and_its_verdict_is_the_exit_code(capsys: Lines) -> None:
    code = cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in report["checks"]}
    assert {"python", "mini weights", "disk", "processor", "depth-anything-3"} <= checks.keys()
    assert all(checks[name]["ok"] for name in ("h264", "optical flow", "camera solver"))
    assert code == (0 if report["ok"] else 1)
    assert report["ok"] == all(check["ok"] for check in report["checks"] if check["core"])


def test_doctor_says_how_to_mend_each_line(monkeypatch: pytest.MonkeyPatch, capsys: Lines) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["torch>=99", "not-there<2", "x; extra == 'gpu'"])
    assert cli.main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "outside the supported >=99" in text
    assert "-> pip install 'torch>=99'" in text
    assert "-> pip install 'not-there<2'" in text
    assert "\nMISSING x " not in text


def test_doctor_keeps_its_columns_apart(monkeypatch: pytest.MonkeyPatch, capsys: Lines) -> None:
    checks = (
        doctor.Check(name="a", ok=True, detail="1"),
        doctor.Check(name="a-long-name", ok=False, detail="2", fix="3"),
    )
    monkeypatch.setattr(doctor, "diagnose", lambda: checks)
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0].index("1"), lines[1].index("2"), lines[2].index("->")] == [8 + len("a-long-name") + 2] * 3


@pytest.mark.parametrize(("module", "name"), [("cv2", "optical flow"), ("pycolmap", "camera solver")])
def test_doctor_says_when_a_library_cannot_be_imported(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # import then raises ImportError
    check = next(check for check in doctor.diagnose(tmp_path) if check.name == name)
    assert not check.ok and not check.core
    assert "--force-reinstall" in check.fix


def test_doctor_uses_opencv_and_pycolmap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._optical_flow().ok and doctor._camera_solver().ok
    flow = cv2.calcOpticalFlowPyrLK
    monkeypatch.setattr(cv2, "calcOpticalFlowPyrLK", lambda a, b, xy, out: flow(a, a, xy, out))
    assert not doctor._optical_flow().ok
    for found in (None, {"cam_from_world": pycolmap.Rigid3d()}):
        monkeypatch.setattr(pycolmap, "estimate_and_refine_absolute_pose", lambda *_, found=found: found)
        assert not doctor._camera_solver().ok


def test_doctor_says_what_depth_anything_3_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"depth-anything-3": "0.1.1", "einops": "0.8.2", "omegaconf": "2.4.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr("importlib.metadata.version", version)
    check = doctor._depth_anything3()
    assert (check.ok, check.core, check.detail) == (False, False, "not installed: addict")
    assert "--no-deps" in check.fix
    versions["addict"] = "2.4.0"
    check = doctor._depth_anything3()
    assert (check.ok, check.detail) == (True, "0.1.1")


def weights_check(folder: Path) -> doctor.Check:
    return next(check for check in doctor.diagnose(folder) if check.name == "mini weights")


def test_doctor_checks_every_file_that_the_index_lists(tmp_path: Path) -> None:
    assert "there is no" in weights_check(tmp_path).detail
    index = tmp_path / doctor.INDEX_NAME
    for text in ("{", "[]", "{}", '{"sha256": 3}'):
        index.write_text(text)
        assert weights_check(tmp_path).detail == f"{index} is damaged"
    digest = hashlib.sha256(b"weights").hexdigest()
    index.write_text(json.dumps({"sha256": {"a.safetensors": digest, "b/b.safetensors": digest}}))
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    assert weights_check(tmp_path).detail == f"missing or damaged in {tmp_path}: b/b.safetensors"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "b.safetensors").write_bytes(b"Weights")
    assert not weights_check(tmp_path).ok
    (tmp_path / "b" / "b.safetensors").write_bytes(b"weights")
    assert weights_check(tmp_path).ok


def _real_models(
    monkeypatch: pytest.MonkeyPatch, *, cuda: bool, bf16: bool = True, run: tuple[str, ...] = ("cudnn", "flash")
) -> doctor.Check:
    def problem(kernel: str, **_: object) -> str:
        return "" if kernel in run else "no kernel"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 << 30, 24 << 30))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(attention, "problem_with", problem)
    return doctor._real_models()


def test_doctor_knows_what_real_models_need(monkeypatch: pytest.MonkeyPatch) -> None:
    without = _real_models(monkeypatch, cuda=False)
    assert not without.ok and not without.core and "without a CUDA GPU" in without.detail
    old = _real_models(monkeypatch, cuda=True, bf16=False)
    assert not old.ok and old.detail == "Tesla T4 has no bfloat16; 20.0 GiB of 24.0 GiB free"
    assert "--dtype float32" in old.fix
    hopper = _real_models(monkeypatch, cuda=True)
    assert hopper.ok
    assert hopper.detail == "bfloat16; attention cudnn, flash (auto: cudnn); 20.0 GiB of 24.0 GiB free"
    built = _real_models(monkeypatch, cuda=True, run=("cudnn", "flash", "flash3"))
    assert "attention cudnn, flash, flash3 (auto: cudnn)" in built.detail
    other = _real_models(monkeypatch, cuda=True, run=("flash",))
    assert "attention flash (auto: torch's choice)" in other.detail
