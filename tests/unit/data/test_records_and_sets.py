"""Prompt sets: what is written is read, other people's files load, and what is no set is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scene_record import record

from worldr1.camera.motion import parse_plan
from worldr1.camera.words import TOKENS
from worldr1.data.records import CAMERA_CLASSES, camera_class, read_records, write_records
from worldr1.data.sets import load_prompts, subset
from worldr1.errors import InputError
from worldr1.types import Prompt


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    records = [record(), record(id="dynamic-water-001", tags=("water",), enriched="Long.", camera=(), scene="Ü ☂.")]
    write_records(tmp_path / "set.jsonl", records)
    assert read_records(tmp_path / "set.jsonl") == records


def test_the_prompt_is_read_back_as_the_camera_plan() -> None:
    assert record().text() == "Camera push in, then pan left. " + record().scene
    assert record(camera=()).text() == record().scene
    assert record(enriched="Long text.").text(enriched=True) == "Camera push in, then pan left. Long text."
    assert record().text(enriched=True) == record().text(), "no long text: the short one"
    assert parse_plan(record().text()).tokens == ("push_in", "pan_left")


def test_every_move_has_its_class() -> None:
    single = {token: camera_class((token,)) for token in TOKENS}
    assert {token for token, found in single.items() if found == "intra"} == {"push_in", "orbit_left", "orbit_right"}
    assert single["fixed"] == "still" and sum(found == "inter" for found in single.values()) == 7
    assert camera_class(()) == "none" and camera_class(("fixed", "push_in")) == "composite"
    assert set(single.values()) | {"none", "composite"} == set(CAMERA_CLASSES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.pop("scene"), "exactly the keys"),
        (lambda v: v.update(extra=1), "exactly the keys"),
        (lambda v: v["plan"].pop("mood"), "the plan of set.jsonl line 2"),
        (lambda v: v.update(scene=3), "wrong kind"),
        (lambda v: v.update(camera="push_in"), "wrong kind"),
        (lambda v: v.update(enriched=[]), "enriched is text or null"),
    ],
)
def test_a_broken_line_is_named(change: Callable[[dict[str, Any]], Any], said: str, tmp_path: Path) -> None:
    values = json.loads(record().to_json())
    change(values)
    (tmp_path / "set.jsonl").write_text(f"{record().to_json()}\n{json.dumps(values)}\n")
    with pytest.raises(InputError, match=said):
        read_records(tmp_path / "set.jsonl")


def test_official_text_files_and_hugging_face_rows_load(tmp_path: Path) -> None:
    lines = ["Camera push in. A lake.", "", "  A wood.  "]
    (tmp_path / "train.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    rows = [{"id": f"final-train-{i}", "prompt": text} for i, text in enumerate(("Camera push in. A lake.", "A wood."))]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    wanted = [Prompt(id=0, text="Camera push in. A lake."), Prompt(id=1, text="A wood.")]
    assert load_prompts(str(tmp_path / "train.txt")) == wanted
    assert load_prompts(str(tmp_path / "train.jsonl")) == wanted
    assert all(prompt.dynamic for prompt in load_prompts(str(tmp_path / "train.txt"), dynamic=True))


def test_our_own_files_load_with_their_tags_and_long_texts(tmp_path: Path) -> None:
    write_records(tmp_path / "own.jsonl", [record(), record(id="x", tags=("water",), enriched="Long.", camera=())])
    short, long = (load_prompts(str(tmp_path / "own.jsonl"), enriched=enriched) for enriched in (False, True))
    assert [prompt.dynamic for prompt in short] == [False, True]
    assert short[1].text == record().scene and long[1].text == "Long." and short[0] == long[0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "x", "is no prompt set: give world, dynamic"),
        ("a.txt", "\n \n", "has no prompts"),
        ("a.jsonl", "", "has no prompts"),
        ("a.jsonl", '{"prompt": "A lake."}\n{"text": "A wood."}', "row 2 is not"),
        ("a.jsonl", '{"prompt": " "}', "row 1 has no text"),
        ("a.jsonl", "A lake.", "line 1 is not JSON"),
        ("missing.txt", None, "cannot be read"),
    ],
)
def test_what_is_no_set_is_said(name: str, content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        load_prompts(str(tmp_path / name))


def test_subsets_are_nested_and_keep_the_order() -> None:
    prompts = [Prompt(id=i, text=str(i)) for i in range(300)]
    parts = [subset(prompts, num, seed=4) for num in (100, 200, 300)]
    assert {p.id for p in parts[0]} < {p.id for p in parts[1]} and parts[2] == prompts
    assert [p.id for p in parts[0]] == sorted(p.id for p in parts[0])
    assert subset(prompts, 100, seed=5) != parts[0]
    with pytest.raises(InputError, match="has 300 prompts, not 301"):
        subset(prompts, 301, seed=4)
