"""Prompts say what is in the scene and what the camera does, and can be read back."""

import re

import torch

from worldr1.camera.motion import TOKENS, camera_sentence, parse_plan, scene_text
from worldr1.mini.prompts import COLOUR_NAMES, MOTION_WORDS, named_solids, scene_sentences
from worldr1.mini.promptset import PLANS, SEQUENCE_SHARE, random_prompts, random_scenes, sample_plans
from worldr1.mini.scenes import NUM_SOLIDS, SOLID_TEXTURES, SOLIDS, Motion, Scenes, sample_scenes


def _solids(scenes: Scenes, index: int) -> list[tuple[str, str, str]]:
    return [
        (
            SOLID_TEXTURES[int(scenes.texture[index, k])],
            COLOUR_NAMES[int(scenes.colour[index, k])],
            SOLIDS[int(scenes.kind[index, k])],
        )
        for k in range(NUM_SOLIDS)
        if scenes.present[index, k]
    ]


def test_plans_are_all_single_moves_and_all_pairs_of_plain_ones() -> None:
    assert PLANS[: len(TOKENS)] == tuple((token,) for token in TOKENS)
    plain = [t for t in TOKENS if t not in ("fixed", "pull_left", "pull_right")]
    assert set(PLANS[len(TOKENS) :]) == {(a, b) for a in plain for b in plain if a != b}
    assert len(set(PLANS)) == len(PLANS) == 11 + 8 * 7


def test_every_plan_is_drawn_and_in_its_share() -> None:
    plans = sample_plans(20_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(plans, minlength=len(PLANS)).double()
    single, pair = counts[: len(TOKENS)], counts[len(TOKENS) :]
    assert abs(float(pair.sum()) / 20_000 - SEQUENCE_SHARE) < 0.015
    assert single.min() / single.mean() > 0.85
    assert pair.min() / pair.mean() > 0.6


def test_every_plan_reads_back_from_its_prompt() -> None:
    scene = scene_sentences(sample_scenes(1, generator=torch.Generator().manual_seed(1)))[0]
    for plan in PLANS:
        prompt = f"{camera_sentence(plan)} {scene}"
        assert parse_plan(prompt).tokens == plan
        assert scene_text(prompt) == scene


def test_no_scene_sentence_has_camera_words() -> None:
    scenes = sample_scenes(200, generator=torch.Generator().manual_seed(2), dynamic_share=1.0)
    for sentence in scene_sentences(scenes):
        assert parse_plan(sentence).tokens == ()


def test_the_solids_of_a_prompt_are_those_of_its_scene() -> None:
    scenes, prompts = random_scenes(200, seed=0, stream="test", dynamic=False)
    for index, prompt in enumerate(prompts):
        named = named_solids(prompt.text)
        assert [(s.texture, s.colour, s.solid) for s in named] == _solids(scenes, index)
        assert [prompt.text[slice(*s.span)] for s in named] == [" ".join(s) for s in _solids(scenes, index)]


def test_prompts_follow_the_frozen_grammar() -> None:
    solid = "(plain|striped|checkered|marbled) COLOUR (box|ball|cylinder|cone)"
    article = "(a (?=[^o ])|an (?=o))"  # orange is the only word of ours that begins with a vowel
    grammar = (
        f"Camera [a-z ]+(, then [a-z ]+)?\\. A {solid}((, a {solid})? and a {solid})? "
        f"on {article}COLOUR (checkered|tiled|marbled|painted) floor "
        f"(in {article}COLOUR (brick|marbled|painted) room|under {article}COLOUR sky)\\."
        "( The COLOUR (box|ball|cylinder|cone) (moves left|moves right|turns|grows|changes colour)\\.)*"
    ).replace("COLOUR", "(red|green|blue|yellow|purple|orange|white|cyan)")
    texts = [p.text for dynamic in (False, True) for p in random_prompts(300, seed=3, stream="train", dynamic=dynamic)]
    unlike = [text for text in texts if not re.fullmatch(grammar, text)]
    assert not unlike, unlike[:3]
    assert any(", a " in text for text in texts)
    assert any(" an orange" in text for text in texts)


def test_dynamic_prompts_have_one_sentence_per_mover() -> None:
    scenes, prompts = random_scenes(200, seed=4, stream="train", dynamic=True)
    for index, prompt in enumerate(prompts):
        expected = [
            f" The {COLOUR_NAMES[int(scenes.colour[index, k])]} {SOLIDS[int(scenes.kind[index, k])]} "
            f"{MOTION_WORDS[Motion(int(scenes.motion[index, k]))]}."
            for k in range(NUM_SOLIDS)
            if scenes.motion[index, k] != Motion.NONE
        ]
        assert prompt.dynamic
        assert expected
        assert prompt.text.endswith("".join(expected))
        assert prompt.text.count(" The ") == len(expected)
    static = random_prompts(50, seed=4, stream="train")
    assert not any(prompt.dynamic or " The " in prompt.text for prompt in static)


def test_streams_differ_and_repeat() -> None:
    train, again, test, seeded = (
        [p.text for p in random_prompts(300, seed=seed, stream=stream)]
        for seed, stream in ((0, "train"), (0, "train"), (0, "test"), (1, "train"))
    )
    assert train == again
    assert not set(train) & set(test)
    assert not set(train) & set(seeded)
    assert [p.id for p in random_prompts(5, seed=0, stream="test")] == list(range(5))


def test_nothing_is_named_where_no_solid_is() -> None:
    assert named_solids("A cat on a red checkered floor in a blue brick room.") == []
