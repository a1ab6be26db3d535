"""A seeded sample of benchmarks/malformed_videos.py: damaged files are read or refused, never anything else."""

from collections import Counter
from pathlib import Path

from malformed_videos import make_videos, mutated, read


def test_damaged_files_are_read_or_refused_in_one_sentence(tmp_path: Path) -> None:
    videos = make_videos(tmp_path)
    assert all(read(tmp_path / f"valid.{suffix}").kind == "read" for suffix in videos)
    kinds: Counter[str] = Counter()
    for index in range(64):
        suffix, mutation, data = mutated(videos, index, seed=1)
        path = tmp_path / f"damaged.{suffix}"
        path.write_bytes(data)
        outcome = read(path)
        assert outcome.kind in ("read", "refused"), (index, suffix, mutation, outcome)
        assert outcome.seconds < 10
        kinds[outcome.kind] += 1
    assert kinds["read"] > 10 and kinds["refused"] > 10, "the sample shows both"


def test_what_the_benchmark_calls_refused_is_one_sentence_that_names_the_file(tmp_path: Path) -> None:
    outcome = read(tmp_path / "missing.mp4")
    assert outcome.kind == "refused"
    assert "missing.mp4" in outcome.message
