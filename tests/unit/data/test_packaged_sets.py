"""The packaged sets: as many prompts as the card says, balanced as planned, without a fault."""

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scene_record import record

from worldr1.backends.mini import mini_weights
from worldr1.camera.words import TOKENS
from worldr1.cli import main
from worldr1.data.records import CAMERA_CLASSES, SceneRecord, write_records
from worldr1.data.sets import NAMES, load_prompts, load_records
from worldr1.data.taxonomy import DOMAINS, DYNAMIC_TAGS


def _all(name: str) -> list[SceneRecord]:
    return load_records(name, "train") + load_records(name, "test")


def test_there_are_as_many_as_the_card_says() -> None:
    sizes = {(name, split): len(load_prompts(name, split)) for name in NAMES for split in ("train", "test")}
    assert sizes == {
        ("world", "train"): 3000,
        ("world", "test"): 300,
        ("dynamic", "train"): 500,
        ("dynamic", "test"): 50,
    }
    assert not any(prompt.dynamic for prompt in load_prompts("world"))
    assert all(prompt.dynamic for prompt in load_prompts("dynamic"))


def test_every_subdomain_and_tag_has_its_share() -> None:
    counts = Counter((record.domain, record.subdomain, record.split) for record in _all("world"))
    wanted = {(d, s): n for d, subs in DOMAINS.items() for s in subs for n in (200,)}
    assert {key[:2]: n for key, n in counts.items() if key[2] == "train"} == wanted
    assert {n for key, n in counts.items() if key[2] == "test"} == {20}
    tags = Counter(tag for record in _all("dynamic") for tag in record.tags)
    assert set(tags) == set(DYNAMIC_TAGS) and min(tags.values()) >= 40
    domains = Counter(record.domain for record in _all("dynamic"))
    assert set(domains) == set(DOMAINS) and min(domains.values()) >= 100


@pytest.mark.parametrize("name", NAMES)
def test_cameras_are_balanced(name: str) -> None:
    records = load_records(name, "train")
    shares = {c: n / len(records) for c, n in Counter(record.camera_class for record in records).items()}
    planned = {"none": 0.16, "still": 0.05, "intra": 0.21, "inter": 0.22, "composite": 0.36}
    assert set(shares) == set(CAMERA_CLASSES)
    assert all(shares[c] == pytest.approx(planned[c], abs=0.02) for c in CAMERA_CLASSES)
    moves = Counter(token for record in records for token in record.camera)
    sides = [(f"{move}_left", f"{move}_right") for move in ("move", "pan", "orbit", "pull")]
    assert set(moves) == set(TOKENS)
    assert all(abs(moves[left] - moves[right]) <= 0.15 * moves[left] for left, right in sides)


def test_long_texts_are_where_they_are_promised() -> None:
    world = load_records("world", "train")
    assert sum(record.enriched is not None for record in world) >= 500
    assert all(record.enriched for record in _all("dynamic") + load_records("world", "test"))


def test_the_command_finds_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "check"]) == 0
    assert capsys.readouterr().out == "3850 prompts, no fault\n"
    assert main(["prompts", "check", "dynamic"]) == 0, "a set alone"


def test_tokens_are_counted_by_a_tokenizer_of_yours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mini world's own knows each of these words, so every one is a token."""
    long = "Camera push in. " + "red box on a white floor " * 100
    (tmp_path / "long.txt").write_text(f"{long}\nA red box.\n")
    tokenizer = str(mini_weights() / "base" / "tokenizer")
    assert main(["prompts", "check", str(tmp_path / "long.txt"), "--tokenizer", tokenizer]) == 2
    assert "prompt 0 has 60" in capsys.readouterr().out
    assert main(["prompts", "check", "dynamic", "--tokenizer", str(tmp_path)]) == 2
    assert "holds no tokenizer" in capsys.readouterr().err


def test_the_command_tells_the_faults_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.txt").write_text(
        "The camera zooms in on a lake.\nA lake with two boats.\nA lake with two boats.\n"
    )
    assert main(["prompts", "check", str(tmp_path / "bad.txt")]) == 2
    out, err = capsys.readouterr()
    assert "prompt 0: " in out and "prompt 1 and prompt 2 are near-duplicates" in out
    assert err == "error: 3 faults; mend the lines above.\n"


def test_a_file_of_ours_is_checked_as_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its camera sentences are no repeated phrases, and its labels count."""
    path = tmp_path / "own.jsonl"
    write_records(path, [r for r in load_records("world", "train") if r.camera == ("push_in",)])
    assert main(["prompts", "check", str(path)]) == 0
    write_records(path, [record(camera_class="still")])
    assert main(["prompts", "check", str(path)]) == 2
    assert "its camera class is composite, not still" in capsys.readouterr().out


def test_the_command_shows_tables_and_neighbours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "stats", "dynamic", "--show", "3"]) == 0
    out = capsys.readouterr().out
    assert "| all | |" in out and "| scenes | 550 | 550 |" in out and out.count("nearest (") == 3


def test_the_plot_draws_every_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sets.svg"
    assert main(["prompts", "stats", "world", "--plot", str(path)]) == 0
    drawn = ElementTree.parse(path).getroot()
    texts = [element.text or "" for element in drawn.iter() if element.tag.endswith("text")]
    records = _all("world")
    for domain in DOMAINS:
        numbers = Counter(record.camera_class for record in records if record.domain == domain)
        start = texts.index(domain)
        assert texts[start + 1 : start + 6] == [str(numbers[name]) for name in CAMERA_CLASSES]
    assert main(["prompts", "stats", "world", "--plot", str(tmp_path / "sets.png")]) == 2
    assert "--plot needs a name that ends in .svg" in capsys.readouterr().err
