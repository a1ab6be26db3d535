"""benchmarks/official_release.py without the release: what it changes in a recipe, what it makes of seconds, refusals.

The release itself is not here, so nothing of this runs its code; `measure CHECKOUT --tiny --device cpu` does.
"""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import official_release
import pytest
from official_release import compare, main, numbers, read_folder, settings

STAGES = {
    "everything else": 1.92, "start noise": 1.35, "rollout": 75.55, "decode": 2.87, "trained forwards": 10.32,
    "reference forwards": 8.04, "backward": 27.8, "optimizer": 0.07,
}  # fmt: skip
"""As measured on an H200 on 2026-11-30."""
CALLS = {"trained": 12, "without gradient": 112}
RUN: dict[str, Any] = {"samples": 1, "train_steps": 6, "num_steps": 50}


def update(preset: str, videos: int, *, updates: list[dict[str, float]], forwards: float = 1.0) -> dict[str, Any]:
    rows = [{"seconds": seconds, "metrics": {"loss": 0.0}} for seconds in updates]
    stopped = {"seconds": {"rollout": 1e9}, "metrics": {}}
    counts = {"videos": videos, "forwards": forwards, "trained": 2}
    return {"preset": preset, "rows": [*rows, stopped], "counts": counts}


GUIDED = update(
    "1.3b-guided",
    8,
    updates=[{"everything else": 0.56, "rollout": 151.43, "decode": 16.9, "step": 7.94}],
    forwards=236,
)


def test_a_sample_of_the_release_is_scaled_to_all_its_trained_steps() -> None:
    found = numbers(STAGES, {"backward": 17.67}, CALLS, **RUN)
    assert found["per_sample"] == pytest.approx(
        {"start noise": 1.35, "rollout": 75.55, "decode": 2.87, "update": 4 * (10.32 + 8.04 + 27.8) + 0.07}
    )
    calls = {"trained": 24, "without gradient": 224}
    two = numbers({name: 2 * s for name, s in STAGES.items()}, {}, calls, **RUN | {"samples": 2})
    assert two["per_sample"] == pytest.approx(found["per_sample"])
    with pytest.raises(RuntimeError, match="called its network"):
        numbers(STAGES, {}, CALLS | {"trained": 6}, **RUN)  # for example because guidance was off


def test_the_ratios_are_those_of_the_results() -> None:
    plain = update("1.3b", 4, updates=[{"rollout": 54.083}, {"rollout": 53.275}, {"rollout": 53.384}])
    compiled = update("1.3b-compiled", 8, updates=[{"rollout": 106.9}, {"rollout": 81.227}])
    official = numbers(STAGES, {"backward": 17.67, "rollout": 8.06}, CALLS, **RUN)
    lines = compare(official, {"1.3b-guided": GUIDED, "1.3b": plain, "1.3b-compiled": compiled})
    assert lines == [
        "release: 263.1 s a sample, camera noise 1.4 s more; peak 17.7 GiB without its text encoder",
        "our parts: half-velocity 0.642 s, decode 2.11 s, trained step with guidance and KL 7.94 s",
        "same work 1.02 times faster (256.8 s with our parts); 11.6 times less work",
        "1.3b-guided, 8 videos an update: 22.10 s a sample, 1 / 11.9 of the release's",
        "1.3b, 4 videos an update: 13.35 s a sample, 1 / 19.7 of the release's",
        "1.3b-compiled, 8 videos an update: 10.15 s a sample, 1 / 25.9 of the release's",
    ]


class Settings(SimpleNamespace):
    """As ml_collections' ConfigDict, of which the recipe is made."""

    __setitem__ = SimpleNamespace.__setattr__


@pytest.mark.parametrize(("tiny", "steps"), [(False, 50), (True, 12)])
def test_it_changes_in_the_recipe_what_its_head_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: bool, steps: int
) -> None:
    def recipe(name: str) -> Settings:
        assert name == "world_r1_small"
        sample = Settings(num_steps=50, guidance_scale=5.0, num_image_per_prompt=2, num_batches_per_epoch=24)
        train = Settings(gradient_accumulation_steps=24, timestep_fraction=0.49, beta=0.004)
        return Settings(height=480, width=832, frames=81, sample=sample, train=train)

    monkeypatch.setattr(official_release, "from_file", lambda name, file: SimpleNamespace(get_config=recipe))
    made = settings(tmp_path, tmp_path, samples=3, train_steps=6, tiny=tiny)
    assert (made.num_epochs, made.sample.num_image_per_prompt, made.sample.num_batches_per_epoch) == (3, 1, 3)
    assert made.train.gradient_accumulation_steps == 3 and int(steps * made.train.timestep_fraction) == 6
    assert (made.sample.num_steps, made.sample.guidance_scale, made.train.beta) == (steps, 5.0, 0.004)
    assert (made.frames, made.height, made.width) == ((9, 32, 48) if tiny else (81, 480, 832))
    assert Path(made.save_dir).parent == Path(made.logdir).parent == tmp_path


def test_what_is_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"holds no scripts/train_world_r1\.py; get the release by: git clone"):
        main(["measure", str(tmp_path)])
    for file in (official_release.SCRIPT, official_release.CONFIG):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
    monkeypatch.setattr(official_release, "PACKAGES", ("no_such_package",))
    with pytest.raises(SystemExit, match="the release imports no_such_package: pip install"):
        main(["measure", str(tmp_path)])
    with pytest.raises(SystemExit, match="1 to 24 trained steps"):
        main(["measure", str(tmp_path), "--train-steps", "25"])
    with pytest.raises(SystemExit, match=r"there is no .*official\.json; make it by"):
        main(["compare", str(tmp_path)])
    (tmp_path / "official.json").write_text(json.dumps(numbers(STAGES, {}, CALLS, **RUN)))
    with pytest.raises(SystemExit, match=r"update-1\.3b-guided\.json; make it by: python benchmarks/full_update"):
        main(["compare", str(tmp_path)])
    (tmp_path / "update-1.3b-guided.json").write_text(json.dumps(GUIDED))
    official, updates = read_folder(tmp_path)
    assert updates == {"1.3b-guided": GUIDED} and official["num_steps"] == 50


def test_the_checkouts_commit_is_said_and_not_that_of_a_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official_release, "PACKAGES", ())
    for folder in (tmp_path, tmp_path / "copy"):
        for file in (official_release.SCRIPT, official_release.CONFIG):
            (folder / file).parent.mkdir(parents=True)
            (folder / file).touch()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
    assert official_release.check(tmp_path) == head
    assert official_release.check(tmp_path / "copy") == "unknown"
