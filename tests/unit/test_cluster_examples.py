"""examples/cluster: the scripts are sound, every key that they set exists, and node.sh starts what it says."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from worldr1.build import load_experiment

FOLDER = Path(__file__).parents[2] / "examples" / "cluster"
NODE, BATCH, README = FOLDER / "node.sh", FOLDER / "train.sbatch", FOLDER / "README.md"
ELSEWHERE = FOLDER.parents[1] / "docs" / "rewards_elsewhere.md"
SET = re.compile(r"--set ([\w.]+)=(\S+)")
STUB = """#!/usr/bin/env bash
trap 'echo "$name ended" >>"$LOG"; exit 0' TERM INT
name="${0##*/}"
echo "$name CUDA=${CUDA_VISIBLE_DEVICES-} RAY_ADDRESS=${RAY_ADDRESS-} auth=${RAY_AUTH_MODE-} $*" >>"$LOG"
if [[ "$1" == status ]]; then until grep -q "^ray .* start" "$LOG"; do sleep 0.05; done; exit; fi
if [[ "$name" == ray ]]; then for _ in {1..200}; do sleep 0.05; done; fi
for _ in $(seq 1 "${TORCHRUN_TICKS:-0}"); do sleep 0.05; done
exit "${TORCHRUN_RC:-0}"
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize("script", [NODE, BATCH], ids=lambda path: path.name)
def test_the_scripts_parse_and_are_clean(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    if shellcheck := shutil.which("shellcheck"):
        found = subprocess.run([shellcheck, script], capture_output=True, text=True)
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("page", [BATCH, README, ELSEWHERE], ids=lambda path: path.name)
def test_every_key_that_is_set_is_a_recipe_s(page: Path) -> None:
    words = SET.findall(page.read_text(encoding="utf-8"))
    assert words
    for key, value in words:
        said = value.strip("`.,\"'").replace("$actors", "6").replace("HOST", "host")
        load_experiment("world-r1-small", (f"{key}={said}",))


def test_every_option_is_explained_and_nothing_is_of_one_machine() -> None:
    text, said = NODE.read_text(), README.read_text()
    options = set(re.findall(r"^    (--[\w| -]+)\)$", text, re.MULTILINE)[0].split(" | "))
    usage = text[text.index("usage()") : text.index("END\n}")]
    assert len(options) == 10 and all(f"  {option} " in usage for option in options)
    assert set(re.findall(r"--[a-z-]+", BATCH.read_text().partition('node.sh" \\')[2])) <= options | {"--node", "--"}
    for page in (text, BATCH.read_text(), said):
        assert not re.search(r"/(home|work|mnt|scratch|data|tmp)/|\d+\.\d+\.\d+\.\d+", page)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    for name in ("ray", "torchrun"):
        stub = tmp_path / name
        stub.write_text(STUB)
        stub.chmod(0o755)
    token = tmp_path / "token"
    token.write_text("secret")
    kept = {name: os.environ[name] for name in ("PATH",)}

    def started(*words: str, **environment: str) -> "subprocess.Popen[str]":
        given = {"LOG": str(tmp_path / "log"), "RAY_AUTH_TOKEN_PATH": str(token), **environment}
        return subprocess.Popen(
            [NODE, *words],
            env={"PATH": f"{tmp_path}:{kept['PATH']}", **given},
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


def _words(node: int, policy: int, reward: int, *more: str) -> list[str]:
    counts = ("--policy-gpus", str(policy), "--reward-gpus", str(reward))
    return ["--head", "n0", "--nodes", "2", "--node", str(node), *counts, *more, "--", "mini", "--out", "my run"]


def _log(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_the_head_scores_and_trains_on_different_gpus_and_takes_its_ray_with_it(start: Start, tmp_path: Path) -> None:
    process = start(*_words(0, 3, 2, "--object-gib", "2", "--run-id", "7"), CUDA_VISIBLE_DEVICES="4,5,6,7,8,9")
    assert process.wait(30) == 0
    lines = _log(tmp_path)
    assert next(line for line in lines if line.startswith("ray ") and "start" in line) == (
        "ray CUDA=7,8 RAY_ADDRESS= auth=token start --num-gpus=2 --disable-usage-stats --block "
        "--object-store-memory=2147483648 --head --port=6379 --include-dashboard=false"
    )
    assert next(line for line in lines if line.startswith("torchrun CUDA")) == (
        "torchrun CUDA=4,5,6 RAY_ADDRESS=n0:6379 auth=token --nnodes=2 --node-rank=0 --nproc-per-node=3 --rdzv-id=7 "
        "--master-addr=n0 --master-port=29500 --max-restarts=0 -m worldr1 train mini --out my run"
    )
    assert lines[-1] == "ray ended"


def test_the_ranks_exit_code_is_the_script_s(start: Start, tmp_path: Path) -> None:
    assert start(*_words(1, 2, 1), TORCHRUN_RC="3").wait(30) == 3
    lines = _log(tmp_path)
    assert any("start" in line and "--address=n0:6379" in line for line in lines) and lines[-1] == "ray ended"


@pytest.mark.parametrize(("node", "policy"), [(1, 2), (5, 0)])
def test_other_nodes_go_on_scoring_until_the_head_is_gone(start: Start, tmp_path: Path, node: int, policy: int) -> None:
    process = start(*_words(node, policy, 1))
    deadline = time.monotonic() + 20
    while not (tmp_path / "log").exists() or (policy and not any("torchrun" in line for line in _log(tmp_path))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    assert process.poll() is None, "its GPUs may hold actors that node 0 still asks"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143 and _log(tmp_path)[-1] == "ray ended"


def test_a_stop_reaches_the_ranks_first(start: Start, tmp_path: Path) -> None:
    process = start(*_words(0, 2, 1), TORCHRUN_TICKS="400")
    deadline = time.monotonic() + 20
    while not (tmp_path / "log").exists() or not any("torchrun CUDA" in line for line in _log(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert _log(tmp_path)[-2:] == ["torchrun ended", "ray ended"]


@pytest.mark.parametrize(
    ("words", "environment", "sentence"),
    [
        (["--frames", "3"], {}, "unknown option --frames"),
        (["--head"], {}, "--head needs a value"),
        (["--head", "n0"], {}, "--nodes is missing"),
        (_words(0, 0, 2), {}, "node 0 of 2 trains: give it policy GPUs"),
        (_words(2, 2, 2), {}, "node 2 is none of the 2 that train"),
        (_words(5, 0, 0), {}, "would do nothing"),
        ([*_words(0, 1, 1)[:-4], "--restarts", "often"], {}, "--restarts is often: give a whole number"),
        (_words(0, 2, 1), {"RAY_AUTH_TOKEN_PATH": ""}, "RAY_AUTH_TOKEN_PATH names no file"),
        (_words(0, 2, 1), {"CUDA_VISIBLE_DEVICES": "0,1"}, "2 + 1 GPUs are more than the 2"),
    ],
)
def test_mistakes_are_one_sentence(
    start: Start, words: list[str], environment: Mapping[str, str], sentence: str
) -> None:
    process = start(*words, **environment)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 2 and said.count("\n") == 1 and sentence in said
