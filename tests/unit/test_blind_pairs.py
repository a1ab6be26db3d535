"""benchmarks/blind_pairs.py: fair sides, a key that does not show itself, and nothing revealed before all is judged."""

import csv
import json
from pathlib import Path

import blind_pairs
import numpy as np
import pytest
import torch
from blind_pairs import AFTER, BEFORE, Answer, Films, Pick, Result, count, main, shuffled, write_pairs
from PIL import Image

from worldr1.errors import InputError
from worldr1.evaluate.evaluation import save_evaluation
from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.types import Status
from worldr1.video_io import read_mp4

BLACK, WHITE = torch.zeros(9, 3, 16, 24), torch.ones(9, 3, 16, 24)
"""The videos "before" and "after": a picture shows by its brightness who is who."""


def films(num: int) -> list[Films]:
    return [Films(prompt=f"Camera push in. Scene {index}.", before=BLACK, after=WHITE) for index in range(num)]


def judged(out: Path, picks: list[tuple[str, str, str]]) -> None:
    """Fills in picks.csv."""
    with (out / "picks.csv").open("w", newline="") as file:
        csv.writer(file).writerows([blind_pairs.COLUMNS, *((n, *pick) for n, pick in enumerate(picks, 1))])


def test_sides_and_order_are_even_and_independent() -> None:
    num, seeds = 20, 400
    drawn = [shuffled([str(i) for i in range(num)], seed=seed) for seed in range(seeds)]
    is_a = torch.tensor([[answer.a == AFTER for answer in answers] for _, answers in drawn]).double()
    assert abs(float(is_a.mean()) - 0.5) < 4 * 0.5 / (num * seeds) ** 0.5
    assert float((is_a.mean(0) - 0.5).abs().max()) < 4.5 * 0.5 / seeds**0.5  # at every place
    assert float(is_a.sum(1).std()) == pytest.approx((num / 4) ** 0.5, rel=0.15)  # coins of their own, no balancing
    places = torch.tensor([order for order, _ in drawn]).double()
    assert float((places.mean(0) - (num - 1) / 2).abs().max()) < 4.5 * (num**2 / 12 / seeds) ** 0.5
    assert all(sorted(order) == list(range(num)) for order, _ in drawn)
    assert shuffled(["a", "b"], seed=3) == shuffled(["a", "b"], seed=3)
    order, answers = drawn[0]
    assert [answer.prompt for answer in answers] == [str(i) for i in order]


def test_pictures_and_videos_show_what_the_key_says(tmp_path: Path) -> None:
    digest = write_pairs(films(6), tmp_path, seed=1)
    _, answers = shuffled([f"Camera push in. Scene {i}." for i in range(6)], seed=1)
    assert {answer.a for answer in answers} == {BEFORE, AFTER}
    for answer in answers:
        page = np.asarray(Image.open(tmp_path / f"pair-{answer.pair:02d}.png").convert("L"))
        assert page.shape[1] == 44 + 8 * (288 + 6)
        top, bottom = page[100, 60:], page[300, 60:]
        expected = (1.0, 0.0) if answer.a == AFTER else (0.0, 1.0)
        assert (np.median(top) / 255, np.median(bottom) / 255) == expected
        film = read_mp4(tmp_path / f"pair-{answer.pair:02d}.mp4")
        third = film.shape[-1] // 3
        assert float(film[..., :third].mean()) == pytest.approx(expected[0], abs=0.02)
        assert float(film[..., -third:].mean()) == pytest.approx(expected[1], abs=0.02)
    sealed = (tmp_path / "key.json").read_text()
    assert json.loads(sealed)["sha256"] == digest and "before" not in sealed and "Scene" not in sealed
    assert (tmp_path / "picks.csv").read_text().splitlines()[1] == "1,,,"
    with pytest.raises(InputError, match="holds pairs already"):
        write_pairs(films(6), tmp_path, seed=2)


def test_counting_turns_letters_into_models() -> None:
    answers = [Answer(pair=i, prompt="", a=a) for i, a in enumerate((BEFORE, AFTER, AFTER, BEFORE, BEFORE), 1)]
    geometry = ("B", "A", "A", "A", "=")  # after, after, after, before, neither
    flaws = [("-", "ball gone"), ("-", "-"), ("-", "cone melts"), ("-", "-"), ("red", "blue")]
    picks = [Pick(geometry=g, missing=f) for g, f in zip(geometry, flaws, strict=True)]
    found = count(picks, answers)
    assert found == Result(after=3, before=1, ties=1, flawed_before=2, flawed_after=2)
    assert found.p_value == pytest.approx(10 / 16)  # 3 or more of 4, both ways: 2 (4 + 1) / 2^4


@pytest.mark.parametrize(("after", "before", "p"), [(15, 5, 0.041389), (20, 0, 2 / 2**20), (10, 10, 1.0), (0, 0, 1.0)])
def test_p_values_are_those_of_the_binomial_table(after: int, before: int, p: float) -> None:
    result = Result(after=after, before=before, ties=0, flawed_before=0, flawed_after=0)
    assert result.p_value == pytest.approx(p, rel=1e-4)


def test_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(films(4), tmp_path, seed=1)
    answers = shuffled([f"Camera push in. Scene {i}." for i in range(4)], seed=1)[1]
    right = ["A" if answer.a == AFTER else "B" for answer in answers]
    judged(tmp_path, [(right[0], "-", "-"), (right[1], "a | b", "a | b"), (right[2], "-", "-"), ("=", "-", "-")])
    assert main(["reveal", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "Geometry: after 3, before 0, equal 1 of 4 pairs; two-sided binomial p = 0.25" in text
    assert "Something missing or wrong: in 1 videos before, in 1 after." in text
    row = f"| 2 | {answers[1].prompt} | {answers[1].a} | {right[1]} | after | a / b | a / b |"
    assert row in text and text.count("\n| ") == 5

    sealed = json.loads((tmp_path / "key.json").read_text())
    (tmp_path / "key.json").write_text(json.dumps(sealed | {"sha256": "0" * 64}))
    assert main(["reveal", "--out", str(tmp_path)]) == 2
    assert "was changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("picks", "sentence"),
    [
        ([("A", "-", "-"), ("", "-", "-")], "Pair 2 is not judged yet"),
        ([("A", "-", ""), ("B", "-", "-")], "Pair 1 is not judged yet"),
        ([("A", "-", "-"), ("C", "-", "-")], "write A, B or ="),
        ([("A", "-", "-")], "one line for each of the 2 pairs"),
    ],
)
def test_nothing_is_revealed_before_everything_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], picks: list[tuple[str, str, str]], sentence: str
) -> None:
    write_pairs(films(2), tmp_path, seed=1)
    judged(tmp_path, picks)
    assert main(["reveal", "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err and printed.out == ""


def test_pairs_of_two_evaluations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, clip in (("before", BLACK), ("after", WHITE)):
        records = [
            VideoRecord(
                prompt_id=i, prompt=f"Camera push in. Scene {i}.", dynamic=False, tokens=("push_in",), seed=i,
                status=Status.OK, reason="", reward=1.0, video=f"{i:03d}.mp4" if i < 3 else None,
            )
            for i in range(4)
        ]  # fmt: skip
        made = Evaluation(records=tuple(records), seconds=1.0, guidance=1.0, strength=0.5)
        save_evaluation(made, dict.fromkeys(range(3), clip), tmp_path / name)
    folders = ["make", "--before", str(tmp_path / "before"), "--after", str(tmp_path / "after"), "--seed", "1"]
    assert main([*folders, "--pairs", "3", "--out", str(tmp_path / "pairs")]) == 0
    assert "3 pairs in" in capsys.readouterr().out
    assert len(list((tmp_path / "pairs").glob("pair-*.png"))) == 3
    for wrong, sentence in (
        ([*folders, "--pairs", "4"], "both kept 3 videos, not 4"),
        ([*folders, "--lora", "mini-r1"], "or --lora alone"),
        (["make", "--pairs", "2"], "Give --before and --after"),
        (["make", "--lora", "missing"], "no adapter file missing"),
    ):
        assert main([*wrong, "--out", str(tmp_path / "other")]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_pairs_of_an_adapter_and_its_base(tmp_path: Path) -> None:
    made = ["make", "--lora", "mini-r1", "--recipe", "mini-smoke", "--pairs", "2", "--device", "cpu"]
    assert main([*made, "--out", str(tmp_path)]) == 0
    film = read_mp4(tmp_path / "pair-01.mp4")
    a, b = film[..., : 96 * 4], film[..., -96 * 4 :]
    assert 0.002 < float((a - b).abs().mean()) < 0.1
