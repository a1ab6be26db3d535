"""The suites: what they ask is what they say, nothing is asked twice, and training has not seen it."""

from collections import Counter
from dataclasses import replace

import pytest

from worldr1.assembly import run_prompts
from worldr1.build import load_experiment
from worldr1.camera.motion import TOKENS, parse_plan
from worldr1.camera.trajectory import MAGNITUDES
from worldr1.data.check import check_texts
from worldr1.data.sets import NAMES, load_records
from worldr1.errors import InputError
from worldr1.evaluate.suites.suite import MINI_NUMS, SCENE_TYPES, STATIC, SUITES, load_suite, mini_scenes
from worldr1.mini.prompts import scene_sentences

REAL = [name for name in SUITES if name != "mini"]


@pytest.mark.parametrize("name", SUITES)
def test_every_prompt_says_what_its_fields_say(name: str) -> None:
    suite = load_suite(name)
    assert [prompt.id for prompt in suite.prompts] == list(range(len(suite.prompts)))
    assert len({prompt.text for prompt in suite.prompts}) == len(suite.prompts)
    for prompt in suite.prompts:
        assert parse_plan(prompt.text).tokens == prompt.camera, "the camera's sentence is read as its tokens"
        assert not parse_plan(prompt.scene).tokens, "the scene has no camera words of its own"
        assert prompt.scene_type in SCENE_TYPES
        assert prompt.long_horizon == (len(prompt.camera) > 2)
        assert prompt.prompt.dynamic == (prompt.scene_type != STATIC)


def test_the_paper_suite_has_the_shares_of_table_g() -> None:
    prompts = load_suite("paper").prompts
    counts = Counter(prompt.scene_type for prompt in prompts)
    assert [counts[kind] for kind in SCENE_TYPES] == [28, 27, 20, 18]
    assert [round(100 * counts[kind] / len(prompts), 2) for kind in SCENE_TYPES] == [30.11, 29.03, 21.51, 19.35]
    assert sum(prompt.long_horizon for prompt in prompts) == 12
    moves = Counter(token for prompt in prompts for token in prompt.camera)
    assert moves.keys() == set(TOKENS) and min(moves.values()) == 5


@pytest.mark.parametrize("name", ["paper", "mini"])
def test_a_beginning_is_spread_as_the_whole_is(name: str) -> None:
    types = [prompt.scene_type for prompt in load_suite(name).prompts]
    for num in (12, 24, 48):
        first = Counter(types[:num])
        assert all(abs(first[kind] - num * types.count(kind) / len(types)) < 1.5 for kind in SCENE_TYPES)


def test_the_camera_suite_has_every_move_in_every_scene_and_no_pair_twice() -> None:
    prompts = load_suite("camera").prompts
    scenes = {prompt.scene for prompt in prompts}
    single = [(p.camera[0], p.scene) for p in prompts if len(p.camera) == 1]
    assert sorted(single) == sorted((token, scene) for token in TOKENS for scene in scenes)
    pairs = [p.camera for p in prompts if len(p.camera) == 2]
    assert len(pairs) == len(set(pairs)) == 24
    assert set(Counter(token for pair in pairs for token in pair).values()) == {6}


def test_the_other_suites_are_what_they_are_called() -> None:
    assert all(prompt.dynamic for prompt in load_suite("dynamic").prompts)
    assert load_suite("long").frames == 121 and all(prompt.long_horizon for prompt in load_suite("long").prompts)
    with pytest.raises(InputError, match=r"no suite 'papers'; known are: paper, camera"):
        load_suite("papers")


def test_no_scene_is_near_another_or_near_the_prompt_sets_we_train_on() -> None:
    scenes = {f"{n} {p.id}": p.scene for n in REAL if n != "camera" for p in load_suite(n).prompts}
    scenes |= {scene: scene for scene in {p.scene for p in load_suite("camera").prompts}}
    sets = [record.scene for name in NAMES for split in ("train", "test") for record in load_records(name, split)]
    assert check_texts(scenes, against=sets) == []


def test_mini_prompts_are_of_a_stream_of_their_own_and_have_their_scenes() -> None:
    suite = load_suite("mini")
    scenes = mini_scenes(suite)
    assert Counter(prompt.dynamic for prompt in suite.prompts) == {False: MINI_NUMS[0], True: MINI_NUMS[1]}
    for prompt in suite.prompts:
        assert scene_sentences(scenes[prompt.id, prompt.dynamic]) == [prompt.scene]
    seen = {p.text for recipe in ("mini", "mini-gpu") for p in run_prompts(load_experiment(recipe)).all}
    assert len(seen) > 3000 and not seen & {prompt.text for prompt in suite.prompts}
    with pytest.raises(InputError, match="the suite paper has no rendered truth"):
        mini_scenes(load_suite("paper"))


def test_the_hash_tells_suites_apart_by_what_they_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = load_suite("long")
    assert suite.sha256 == load_suite("long").sha256
    first, *rest = suite.prompts
    others = [
        replace(first, id=99),
        replace(first, scene=first.scene + " At night."),
        replace(first, camera=first.camera[::-1]),
        replace(first, scene_type="non-rigid"),
    ]
    hashes = {replace(suite, prompts=(other, *rest)).sha256 for other in others}
    hashes |= {suite.sha256, replace(suite, frames=81).sha256}
    slower = {token: replace(magnitude, z=magnitude.z / 2) for token, magnitude in MAGNITUDES.items()}
    monkeypatch.setattr("worldr1.evaluate.suites.suite.MAGNITUDES", slower)
    assert len(hashes | {suite.sha256}) == 7, "and by how far a move goes"
