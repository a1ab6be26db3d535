"""Plans of new scenes: balanced over everything at every length, seeded, and longer ones begin like shorter ones."""

from collections import Counter
from itertools import pairwise

import pytest

from worldr1.camera.words import TOKENS
from worldr1.data.planning import CAMERA_SHARES, plan_cameras, plan_cards, undoes
from worldr1.data.taxonomy import DOMAINS, DYNAMIC_TAGS, FORMS, MOODS
from worldr1.errors import InputError


def _kind(tokens: tuple[str, ...]) -> str:
    if len(tokens) != 1:
        return {0: "none", 2: "two moves", 3: "three moves"}[len(tokens)]
    if tokens == ("fixed",):
        return "still"
    return "intra" if tokens[0] in ("push_in", "orbit_left", "orbit_right") else "inter"


def _uneven(counts: Counter[str]) -> int:
    return max(counts.values()) - min(counts.values())


def test_the_shares_are_those_asked_for() -> None:
    assert sum(CAMERA_SHARES.values()) == pytest.approx(1)
    for num in (20, 100, 333, 3000):
        counts = Counter(map(_kind, plan_cameras(num, seed=num)))
        assert all(abs(counts[kind] - share * num) <= 3 for kind, share in CAMERA_SHARES.items()), (num, counts)


def test_moves_of_a_kind_come_equally_often_and_none_is_taken_back() -> None:
    cameras = plan_cameras(3000, seed=1)
    singles = Counter(tokens[0] for tokens in cameras if len(tokens) == 1)
    assert _uneven(Counter({t: singles[t] for t in ("push_in", "orbit_left", "orbit_right")})) <= 1
    inter = {t: n for t, n in singles.items() if t not in ("push_in", "orbit_left", "orbit_right", "fixed")}
    assert len(inter) == 7 and _uneven(Counter(inter)) <= 1
    pairs = Counter(tokens for tokens in cameras if len(tokens) == 2)
    assert len(pairs) == 8 * 6 and max(pairs.values()) - min(pairs.values()) <= 1
    assert not any(undoes(*step) for tokens in cameras for step in pairwise(tokens))


def test_every_move_has_one_opposite_at_most() -> None:
    taken_back = {first: [t for t in TOKENS if t != first and undoes(first, t)] for first in TOKENS}
    assert taken_back.pop("fixed") == []
    assert all(len(found) == 1 for found in taken_back.values())
    assert taken_back["push_in"] == ["pull_out"] and taken_back["pull_left"] == ["pull_right"]
    assert undoes("pan_left", "pan_left") and not undoes("pan_left", "orbit_right")


def test_world_cards_are_balanced_over_all_they_are_planned_from() -> None:
    cards = plan_cards("world", 15 * 70, seed=3, enriched_share=0.2)
    groups = Counter((card.domain, card.subdomain) for card in cards)
    assert set(groups) == {(domain, sub) for domain, subs in DOMAINS.items() for sub in subs}
    assert set(groups.values()) == {70} and len({card.id for card in cards}) == len(cards)
    for domain, subdomain in groups:
        part = [card for card in cards if card.subdomain == subdomain]
        about = DOMAINS[domain][subdomain]
        for name, values in {"mood": MOODS, "form": FORMS, "light": about.light, "scale": about.scale}.items():
            counts = Counter(getattr(card, name) for card in part)
            assert set(counts) == set(values) and _uneven(counts) <= 1
        assert all(card.material in about.material and card.weather in about.weather for card in part)
        assert abs(sum(card.enriched for card in part) - 14) <= 2
        kinds = Counter(_kind(card.camera) for card in part)
        assert all(abs(kinds[kind] - 70 * share) <= 4 for kind, share in CAMERA_SHARES.items()), kinds
    assert len({(card.light, card.mood, card.form) for card in cards}) > 600, "attributes must not move together"


def test_dynamic_cards_are_balanced_and_all_long() -> None:
    cards = plan_cards("dynamic", 6 * 20, seed=3)
    assert Counter(card.tags for card in cards) == {(tag,): 20 for tag in DYNAMIC_TAGS}
    assert set(Counter((card.subdomain, card.domain) for card in cards).values()) == {4}
    assert all(card.enriched and card.weather == card.material == "" for card in cards)
    assert all(card.enriched for card in plan_cards("world", 30, seed=0, split="test"))
    assert not any(card.enriched for card in plan_cards("world", 300, seed=0, enriched_share=0))


def test_plans_are_seeded_and_longer_ones_begin_like_shorter_ones() -> None:
    cards = plan_cards("world", 100, seed=5)
    assert plan_cards("world", 160, seed=5)[:100] == cards
    assert not {card.id for card in cards} & {card.id for card in plan_cards("world", 100, seed=6)}
    test = plan_cards("world", 100, seed=5, split="test")
    assert [card.camera for card in test] != [card.camera for card in cards]
    assert not {card.id for card in cards} & {card.id for card in test}


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"name": "sea"}, "no prompt set 'sea'"), ({"num": 0}, "at least one"), ({"enriched_share": 1.5}, "from 0 to 1")],
)
def test_what_cannot_be_planned_is_said(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan_cards(**({"name": "world", "num": 3, "seed": 0} | changes))
