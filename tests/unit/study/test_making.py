"""A new study: what is chosen, and that nothing in it but the sealed key says who made what."""

import base64
import json
from collections import Counter

import av
import pytest
from study_folders import NAMES, make_evaluation, make_study, study_key

from worldr1.errors import InputError
from worldr1.study.design import STUDY_FILE, Study, schedule
from worldr1.study.key import DESTROYED, KEY_FILE, REAL, SAME, open_key
from worldr1.study.making import StudyPlan, new_study
from worldr1.study.questions import QUESTIONS, camera_words, read_questions
from worldr1.video_io import read_comment, read_mp4

PLAN = StudyPlan(pairs=10, checks=4, participants=3, seed=5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("new")
    return path, make_study(path, PLAN)


def tags(path):
    with av.open(str(path)) as container:
        return dict(container.metadata), dict(container.streams.video[0].metadata)


def test_nothing_but_the_key_tells_the_models(made):
    path, study = made
    source = next((path / "a" / "videos").iterdir())
    assert NAMES[0] in read_comment(source)
    names = {pair.first for pair in study.pairs} | {pair.second for pair in study.pairs}
    files = sorted((path / "study" / "videos").iterdir())
    assert names == {file.name for file in files} and len(files) == 28
    assert len({json.dumps(tags(file)) for file in files}) == 1
    assert len({file.stat().st_mtime_ns for file in files}) == 1
    for file in (path / "study").rglob("*"):
        if file.is_file():
            assert not any(name.encode() in file.read_bytes() for name in (*NAMES, "comment")), file
    sealed = json.loads((path / "study" / KEY_FILE).read_text())["sealed"]
    assert all(name in base64.b64decode(sealed).decode() for name in NAMES)


def test_the_key_is_true(made):
    path, study = made
    key = study_key(path / "study")
    folders = dict(zip("AB", ("a", "b"), strict=True))
    for pair, sealed in zip(study.pairs, key.pairs, strict=True):
        if sealed.kind == REAL:
            source = path / folders[sealed.first_is] / "videos" / f"{sealed.prompt[0]:03d}.mp4"
            first, second = (read_mp4(path / "study" / "videos" / name) for name in (pair.first, pair.second))
            original = read_mp4(source)
            assert (first - original).abs().mean() < 0.02 < (second - original).abs().mean()


def test_checks_are_what_they_say(made):
    path, study = made
    key = study_key(path / "study")
    assert Counter(pair.kind for pair in key.pairs) == {REAL: 10, SAME: 2, DESTROYED: 2}
    for pair, sealed in zip(study.pairs, key.pairs, strict=True):
        first, second = (read_mp4(path / "study" / "videos" / name) for name in (pair.first, pair.second))
        if sealed.kind == SAME:
            assert first.equal(second) and pair.first != pair.second
        if sealed.kind == DESTROYED:
            rough = [float((video[..., 1:] - video[..., :-1]).abs().mean()) for video in (first, second)]
            assert (rough[1] > 3 * rough[0]) == (sealed.first_is == "intact")


def test_prompts_differ_and_scene_types_are_alike(made):
    path, _ = made
    real = [pair for pair in study_key(path / "study").pairs if pair.kind == REAL]
    assert len({pair.prompt for pair in real}) == 10
    assert set(Counter(pair.scene_type for pair in real).values()) == {2}
    assert {pair.first_is for pair in real} == {"A", "B"}


def test_orders_are_permutations_and_sides_are_even_over_two_participants(made):
    _, study = made
    for slot in range(0, 8, 2):
        one, other = schedule(study, slot), schedule(study, slot + 1)
        assert sorted(trial.pair for trial in one) == sorted(trial.pair for trial in other) == list(range(14))
        sides = {trial.pair: trial.first_is_left for trial in one}
        assert all(sides[trial.pair] != trial.first_is_left for trial in other)
    assert len({schedule(study, slot) for slot in range(20)}) == 20
    assert schedule(study, 3) == schedule(study, 3)


def test_a_seed_repeats_the_study_and_not_its_secrets(made, tmp_path):
    path, study = made
    again = new_study(path / "a", path / "b", tmp_path / "again", PLAN).study
    assert [pair.prompt for pair in again.pairs] == [pair.prompt for pair in study.pairs]
    assert [schedule(again, slot) for slot in range(3)] == [schedule(study, slot) for slot in range(3)]
    first, second = study_key(path / "study"), study_key(tmp_path / "again")
    assert first.pairs == second.pairs and first.salt != second.salt
    assert study.key_sha256 != again.key_sha256 and study.pairs[0].first != again.pairs[0].first
    tokens = [(folder / "tokens.txt").read_text().split() for folder in (path / "study", tmp_path / "again")]
    assert len(set(tokens[0] + tokens[1])) == 6 and all(len(token) >= 22 for token in tokens[0])
    assert study.seed != PLAN.seed  # or study.json would give away who is first


def test_another_key_is_refused(made, tmp_path):
    path, study = made
    again = new_study(path / "a", path / "b", tmp_path / "again", PLAN).study
    with pytest.raises(InputError, match="not the key that was sealed"):
        open_key(tmp_path / "again", study, set())
    with pytest.raises(InputError, match="not the key that was sealed"):
        open_key(path / "study", study, {again.key_sha256})
    (tmp_path / "again" / KEY_FILE).write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        open_key(tmp_path / "again", again, set())


def test_what_makes_no_study_is_one_sentence(made, tmp_path):
    path, _ = made
    with pytest.raises(InputError, match="not empty"):
        new_study(path / "a", path / "b", path / "study", PLAN)
    with pytest.raises(InputError, match=r"a video of 14 prompts, not 15"):
        new_study(path / "a", path / "b", tmp_path / "x", StudyPlan(pairs=15))
    with pytest.raises(InputError, match=r"evaluation\.json"):
        new_study(path / "study", path / "b", tmp_path / "x", PLAN)
    with pytest.raises(InputError, match="at least 1"):
        StudyPlan(pairs=0)
    with pytest.raises(InputError, match="knows geometry"):
        read_questions("geometry,beauty")
    with pytest.raises(InputError, match="at least one"):
        read_questions(" , ")
    (path / "study" / STUDY_FILE).with_name("copy.json").write_text("{}")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / STUDY_FILE).write_text('{"title": "x"}')
    with pytest.raises(InputError, match="damaged or of another version"):
        Study.load(broken)


def test_models_that_can_be_told_apart_by_their_size_are_noted(made, tmp_path):
    path, _ = made
    other = make_evaluation(tmp_path / "c", "third", 14, size=(5, 48, 64))
    made = new_study(path / "a", other, tmp_path / "study", StudyPlan(pairs=3, checks=0, participants=1))
    assert "3 frames of 48 x 32 at 30 per second and 5 frames of 64 x 48" in made.notes[0]
    assert study_key(tmp_path / "study").notes == made.notes


def test_words_name_every_question_and_camera():
    assert read_questions("overall, geometry") == ("geometry", "overall")
    assert camera_words(("push_in", "pan_left")) == (
        "The camera moves forward, then stays in its place and turns to the left."
    )
    assert camera_words(()) == ""
    assert set(QUESTIONS) == {"geometry", "camera", "overall", "editable"}
