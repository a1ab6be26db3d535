"""The file for an issue: all numbers, and nothing of the user's."""

import json
import math
from pathlib import Path

import pytest

from worldr1.build import load_experiment
from worldr1.checkup.findings import Finding, attempted
from worldr1.checkup.record import make_record, scrub


def finding(value: float, *, low: float | None = None, high: float | None = None, broken: str = "") -> Finding:
    return Finding(name="n", value=value, at_least=low, at_most=high, detail="d", fix="f", broken=broken)


@pytest.mark.parametrize(
    ("found", "verdict", "threshold"),
    [
        (finding(0.9, high=1.0), "ok", "at most 1"),
        (finding(1.0, high=1.0), "ok", "at most 1"),
        (finding(1.1, high=1.0), "FAILED", "at most 1"),
        (finding(math.nan, high=1.0), "FAILED", "at most 1"),
        (finding(-math.inf, high=1.0), "FAILED", "at most 1"),
        (finding(0.5, low=0.5), "ok", "at least 0.5"),
        (finding(0.4, low=0.5), "FAILED", "at least 0.5"),
        (finding(0.1, low=0.0), "ok", "above 0"),
        (finding(0.0, low=0.0), "FAILED", "above 0"),
        (finding(0.1, low=0.0, broken="fault"), "FAILED", "above 0"),
    ],
)
def test_verdicts(found: Finding, verdict: str, threshold: str) -> None:
    assert (found.verdict, found.threshold) == (verdict, threshold)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("There is no file /home/ann/secret project/x", "There is no file .../secret project/x"),
        (
            "RuntimeError: /home/ann/models/wan2.1/vae/config.json is damaged",
            "RuntimeError: .../config.json is damaged",
        ),
        ("see ~/models/qwen and C:\\Users\\ann\\w.bin", "see .../qwen and .../w.bin"),
        ("http://ann:key@host:8000/v1?token=1 is gone", "http://... is gone"),
        ("depth-anything/DA3-BASE at 3/4 of 0.5 px, and/or", "depth-anything/DA3-BASE at 3/4 of 0.5 px, and/or"),
    ],
)
def test_paths_and_addresses_are_cut(text: str, kept: str) -> None:
    assert scrub(text) == kept


def test_nothing_of_the_users_is_in_it() -> None:
    home = str(Path.home() / "weights" / "wan")
    sets = (
        f"model.folder={home}",
        "reward.models.critic=my_pkg.mod:Critic",
        "reward.options.critic.api_key=sk-secret",
        "reward.options.critic.url='http://ann@host/v1'",
    )
    config = load_experiment("mini", sets)
    broken = finding(math.nan, high=1.0, broken=f"OSError: {home}/vae is damaged")
    text = json.dumps(make_record(f"{home}/own.toml", config, [broken], 1.234), allow_nan=False)
    for secret in (home, str(Path.home() / "weights"), "sk-secret", "ann@host"):
        assert secret not in text
    record = json.loads(text)
    assert record["ok"] is False and record["recipe"] == ".../own.toml" and len(record["recipe_sha256"]) == 64
    assert record["settings"]["model"]["name"] == ".../wan"
    assert record["settings"]["reward"]["critic"] == "my_pkg.mod:Critic"
    assert record["checks"][0] == {
        "name": "n",
        "verdict": "FAILED",
        "value": None,
        "threshold": "at most 1",
        "seconds": 0.0,
        "detail": "d",
        "error": "OSError: .../vae is damaged",
    }
    assert record["machine"]["libraries"]["torch"]


def test_a_failing_model_is_a_finding_and_a_bug_is_not() -> None:
    otherwise = finding(math.nan, high=1.0)

    def out_of_memory() -> Finding:
        raise RuntimeError("CUDA out\nof memory")

    def bug() -> Finding:
        raise KeyError("oops")

    assert attempted(out_of_memory, otherwise).broken == "RuntimeError: CUDA out of memory"
    assert attempted(lambda: finding(0.5, high=1.0), otherwise).verdict == "ok"
    with pytest.raises(KeyError):
        attempted(bug, otherwise)
