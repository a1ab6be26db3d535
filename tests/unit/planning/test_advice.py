"""Advice makes a recipe fit, and asks for no more than it must."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldr1.build import ExperimentConfig, load_experiment
from worldr1.planning.advice import Advice, advise, smallest_card
from worldr1.planning.cards import CARDS, find_card
from worldr1.planning.plan import make_plan

RECIPES = ("world-r1-small", "world-r1-large", "small-1gpu-day", "small-8gpu-day", "small-24gb")
SETTINGS = (
    (),
    ("model.gradient_checkpointing=false", "model.decode=whole"),
    ("model.guidance_batch=joint", "model.lora_products=float32", "sampler.batch=4"),
    ("train.groups_in_flight=none", "reward.batch=8", "model.text_encoder=resident"),
)


def loader(recipe: str, *given: str) -> Callable[[tuple[str, ...]], ExperimentConfig]:
    return lambda words: load_experiment(recipe, (*given, *words))


def advice(recipe: str, *given: str, gpu: str = "h100", memory_gib: float | None = None) -> Advice | None:
    card = find_card(gpu, memory_gib=memory_gib)
    return advise(recipe, loader(recipe, *given), card, gpus=1, hours=24.0)


@settings(max_examples=20)
@given(
    recipe=st.sampled_from(RECIPES),
    set_words=st.sampled_from(SETTINGS),
    gpu=st.sampled_from(list(CARDS)),
    memory_gib=st.none() | st.floats(12.0, 160.0),
)
def test_what_is_advised_fits_and_none_of_it_can_be_left_out(
    recipe: str, set_words: tuple[str, ...], gpu: str, memory_gib: float | None
) -> None:
    card = find_card(gpu, memory_gib=memory_gib)
    load = loader(recipe, *set_words)
    plain = make_plan(recipe, load(()), card, gpus=1, hours=24.0)
    found = advice(recipe, *set_words, gpu=gpu, memory_gib=memory_gib)
    if found is None:
        assert not plain.fits
        most = (
            "model.gradient_checkpointing=true",
            "model.decode=tiled",
            "model.text_encoder=free",
            "reward.placement=remote",
            "clip.frames=17",
            "clip.height=192",
            "clip.width=192",
        )
        base = make_plan(recipe, load(most), card, gpus=1, hours=24.0).memory.always["transformer"]
        assert base > 20 or card.memory_gib < 18  # the 14B model, or no room for text encoder and small model
        return
    again = make_plan(recipe, load(found.words), card, gpus=1, hours=24.0)
    assert again.fits and again.needed_gib == found.plan.needed_gib
    assert (found.words == ()) == plain.fits
    for left_out in found.words:
        fewer = tuple(words for words in found.words if words != left_out)
        if left_out.startswith("clip.height") or left_out.startswith("clip.width"):
            continue  # one picture size, two words
        assert not make_plan(recipe, load(fewer), card, gpus=1, hours=24.0).fits


@pytest.mark.parametrize(
    ("recipe", "given_words", "gpu", "words"),
    [
        ("world-r1-large", (), "h100", ("reward.placement=swap",)),
        ("small-8gpu-day", ("model.gradient_checkpointing=false",), "h100", ("model.gradient_checkpointing=true",)),
        ("world-r1-small", ("train.groups_in_flight=none",), "h100", ("train.groups_in_flight=1",)),
        ("world-r1-small", ("model.decode=whole", "model.decode_dtype=float32"), "h100", ()),
    ],
)
def test_the_cheapest_change(recipe: str, given_words: tuple[str, ...], gpu: str, words: tuple[str, ...]) -> None:
    found = advice(recipe, *given_words, gpu=gpu)
    assert found is not None and found.words == words


def test_nothing_that_is_trained_changes_while_something_harmless_helps() -> None:
    found = advice("world-r1-small", "model.decode=whole", "model.gradient_checkpointing=false", memory_gib=33.0)
    assert found is not None
    assert {words.partition("=")[0] for words in found.words} <= {
        "model.gradient_checkpointing",
        "reward.placement",
        "model.decode",
    }


def test_then_the_light_profile_then_frames_then_size() -> None:
    """On ever smaller cards; text encoding alone asks for 15.7 GiB."""
    light = advice("world-r1-small", "reward.placement=swap", memory_gib=22.0)
    assert light is not None and light.words == ("reward.profile=light",)
    tight = ("reward.profile=light", "reward.placement=resident", "model.text_encoder=free")
    seen = [advice("world-r1-small", *tight, memory_gib=size) for size in (21.0, 17.0, 16.0, 15.5)]
    kinds = [{w.split("=")[0] for w in a.words} if a else None for a in seen]
    assert kinds[0] == {"reward.placement"} and kinds[-1] is None


def test_where_nothing_helps_a_card_is_named() -> None:
    assert advice("world-r1-large", gpu="rtx4090") is None
    needy = make_plan("world-r1-large", load_experiment("world-r1-large"), CARDS["rtx4090"], gpus=1, hours=1.0)
    card = smallest_card(needy)
    assert card is not None and needy.memory.peak < card.memory_gib
    assert all(c.memory_gib < needy.needed_gib for c in CARDS.values() if c.memory_gib < card.memory_gib)
    vast = make_plan(
        "vast",
        load_experiment("world-r1-large", ("model.gradient_checkpointing=false",)),
        CARDS["h200"],
        gpus=1,
        hours=1,
    )
    assert smallest_card(vast) is None
