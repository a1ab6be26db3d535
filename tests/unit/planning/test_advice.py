"""Advice makes a recipe fit, and asks for no more than it must."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldr1.build import ExperimentConfig, load_experiment
from worldr1.planning.advice import Advice, advise
from worldr1.planning.cards import CARDS, Card, find_card
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
    assert found is not None, "with changes the largest card takes all of these"
    if found.plan.card != card:
        assert not plain.fits and found.plan.card.memory_gib > card.memory_gib
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
        card = found.plan.card
        plain = make_plan(recipe, load(()), card, gpus=1, hours=24.0)
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
    found = [(a.plan.card.memory_gib, {w.split("=")[0] for w in a.words}) for a in seen if a is not None]
    assert found[0] == (21.0, {"reward.placement"}) and found[-1] == (24.0, set())


def fits(words: tuple[str, ...], card: Card) -> bool:
    load = loader("world-r1-small", "model.folder=wan2.1-14b")
    return make_plan("14b", load(words), card, gpus=1, hours=24.0).fits


def test_where_nothing_helps_it_is_the_smallest_card_that_trains_the_same_with_what_it_needs() -> None:
    """A larger one needs no change, and a smaller one would train other videos."""
    found = advice("world-r1-small", "model.folder=wan2.1-14b", gpu="rtx4090")
    assert found is not None and found.same_training
    assert (found.plan.card.name, found.words) == ("h100", ("reward.placement=swap",))
    assert fits((), CARDS["h200"]) and not fits((), CARDS["h100"])
    harmless = ("reward.placement=swap", "train.groups_in_flight=1", "model.gradient_checkpointing=true")
    assert not any(fits((*harmless, "model.decode=tiled"), CARDS[name]) for name in ("l40s", "a6000"))
    sacrificed = advice("world-r1-small", "model.folder=wan2.1-14b", gpu="l40s")
    assert sacrificed is not None and not sacrificed.same_training and sacrificed.plan.card.name == "l40s"


def test_where_no_card_trains_the_same_the_smallest_that_takes_any_of_it_is_named() -> None:
    huge = ("clip.height=4096", "clip.width=4096", "clip.frames=17", "model.folder=wan2.1-14b")
    found = advice("world-r1-small", *huge, gpu="h100")
    assert found is not None and not found.same_training
    assert (found.plan.card.name, found.words[0]) == ("h200", "clip.height=2048")
    refused = advice("world-r1-small", *huge, gpu="a100-80gb")
    assert refused is not None and refused.plan.card.name == "h200", "no words help the card between"
    assert advice("world-r1-small", "clip.height=8192", "clip.width=8192", *huge[2:]) is None
