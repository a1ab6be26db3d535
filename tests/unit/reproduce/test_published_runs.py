"""The published runs: their intervals are those of their values, and their values those of docs/results.md."""

import json
import math
from pathlib import Path

import published_intervals
import pytest
from reproduced_folders import Folder

from worldr1.reproduce.claims.gain import rows_of
from worldr1.reproduce.evidence import load_evidence
from worldr1.reproduce.published_runs import FILE, load_published_runs, save_published_runs, values_of

ROOT = Path(__file__).parents[3]


def test_the_numbers_are_those_of_the_results_page() -> None:
    """`70, 77, 64` of the gap, `-35, -31, -33` of rotation: per run, as docs/results.md has them."""
    published = load_published_runs()
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    shares = ", ".join(f"{100 * value:.0f}" for value in published.values["gap_closed"])
    rotation = ", ".join(f"{100 * value:.0f}" for value in published.values["rotation_error"])
    assert f"**+70 %** ({shares})" in page and f"**-33 %** ({rotation})" in page
    assert published.prompts_sha256 in page and (published.stream, published.num_prompts) == ("final", 600)
    assert [run.seed for run in published.runs] == [0, 1, 2]
    assert all(len(run.judging_sha256) == len(run.adapter_sha256) == 64 for run in published.runs)


def test_an_interval_by_hand() -> None:
    low, high = load_published_runs().intervals["psnr_gain"]
    runs = load_published_runs().values["psnr_gain"]
    mean = sum(runs) / 3
    spread = math.sqrt(sum((run - mean) ** 2 for run in runs) / 2)
    assert (low, high) == pytest.approx([mean + sign * 4.302653 * spread * math.sqrt(4 / 3) for sign in (-1, 1)])
    assert "rejected" not in load_published_runs().intervals


def test_a_file_whose_intervals_are_not_those_of_its_values_is_refused(tmp_path: Path) -> None:
    table = json.loads(FILE.read_text())
    table["values"]["psnr_gain"][0] += 0.1
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(table))
    with pytest.raises(ValueError, match="interval of psnr_gain is not that of its values"):
        load_published_runs(path)
    table["values"]["psnr_gain"].pop()
    path.write_text(json.dumps(table))
    with pytest.raises(ValueError, match="not one number for each of 3 runs"):
        load_published_runs(path)


def test_it_is_written_from_judged_folders(tmp_path: Path) -> None:
    """`benchmarks/published_intervals.py`: two folders of judged runs become one list of values."""
    folder = Folder(tmp_path / "one", stream="final")
    folder.write("full")
    other = Folder(tmp_path / "two", stream="final")
    other.write("full", seeds=1)
    about = {"command": "judge", "runs": []}
    origin = {"commit": "abc", "command": "train", "machine": "here", "updates": 202}
    about["runs"] = [{"seed": seed, **origin} for seed in range(4)]
    (tmp_path / "about.json").write_text(json.dumps(about))
    out = tmp_path / "published.json"
    judged = [str(tmp_path / name / "judged" / "full") for name in ("one", "two")]
    published_intervals.main(["--judged", *judged, "--about", str(tmp_path / "about.json"), "--out", str(out)])
    published = load_published_runs(out)
    first = values_of(rows_of(load_evidence(folder.layout).runs["full"]))["psnr_gain"]
    assert published.values["psnr_gain"] == (*first, first[0]), "the fourth run is the first one again"
    assert published.runs[3].judging_sha256 != published.runs[0].judging_sha256
    copy = tmp_path / "copy.json"
    save_published_runs(published, copy)
    assert copy.read_text() == out.read_text()
