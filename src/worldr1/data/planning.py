"""What the scenes of a set are to be written from: seeded cards, balanced over the taxonomy, and camera plans.

Plans of one seed are prefixes of each other: asking for more later leaves the cards asked for before as they were.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, permutations
from typing import Any, TypeVar

import torch

from worldr1.camera.words import TOKENS
from worldr1.data.records import ScenePlan, SceneRecord, camera_class
from worldr1.data.sets import NAMES, Split
from worldr1.data.taxonomy import DAYLIGHT, DOMAINS, DYNAMIC_TAGS, FORMS, LAMPLIGHT, MOODS, SCALES
from worldr1.errors import InputError
from worldr1.seeding import derive_seed, make_generator

T = TypeVar("T")
CAMERA_SHARES = {"none": 0.16, "still": 0.05, "intra": 0.21, "inter": 0.22, "two moves": 0.27, "three moves": 0.09}
"""Of the prompts."""
STEPS = tuple(token for token in TOKENS if token not in ("fixed", "pull_left", "pull_right"))
"""Moves of a sequence; a pull is two moves at once already."""
_OPPOSITES = (
    ("push_in", "pull_out"),
    *((f"{verb}_left", f"{verb}_right") for verb in ("move", "pan", "orbit", "pull")),
)
_CAMERA_STEP, _ENRICHED_STEP = 5**0.5 % 1, 2**0.5 % 1
"""Irrational and unrelated, so that no share falls in step with another one or with the round of sub-domains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """The plan of one scene, before anything is written."""

    id: str
    split: Split
    domain: str
    subdomain: str
    """For dynamic scenes the tag."""
    tags: tuple[str, ...]
    light: str
    weather: str
    """"" where the plan names none; so for the material."""
    material: str
    scale: str
    mood: str
    form: str
    """How the sentence is built."""
    camera: tuple[str, ...]
    enriched: bool
    """Whether the long text is wanted."""

    def record(
        self, *, place: str = "", subject: str = "", foreground: str = "", scene: str = "", enriched: str | None = None
    ) -> SceneRecord:
        """The line of the set that this card becomes with these texts."""
        return SceneRecord(
            id=self.id,
            split=self.split,
            domain=self.domain,
            subdomain=self.subdomain,
            tags=self.tags,
            camera=self.camera,
            camera_class=camera_class(self.camera),
            plan=ScenePlan(
                place=place,
                subject=subject,
                foreground=foreground,
                light=self.light,
                material=self.material,
                scale=self.scale,
                mood=self.mood,
                weather=self.weather,
            ),
            scene=scene,
            enriched=enriched,
        )


def plan_cards(name: str, num: int, *, seed: int, split: Split = "train", enriched_share: float = 0.15) -> list[Card]:
    """Cards of a set to come, in rounds over its sub-domains (or tags and, among them, domains).

    name: "world" or "dynamic". enriched_share: 0 to 1, of the world scenes for training that get a long text; all
    others have one anyway. Raises InputError for an unknown set, a share that is none, or nothing to plan.
    """
    if name not in NAMES:
        raise InputError(f"There is no prompt set {name!r}: name one of {', '.join(NAMES)}.")
    if num < 1:
        raise InputError(f"{num} scenes cannot be planned: ask for at least one.")
    if not 0 <= enriched_share <= 1:
        raise InputError(f"The share of long texts is {enriched_share:g}: give one from 0 to 1.")
    share = 1.0 if name == "dynamic" or split == "test" else enriched_share
    own_seed = derive_seed(seed, f"prompt-plan-{name}-{split}")
    cameras = plan_cameras(num, seed=own_seed)
    long = _spread(num, _ENRICHED_STEP, make_generator(own_seed, "prompt-enriched"))
    sources = [_Source(name, group, own_seed) for group in _groups(name)]
    return [
        Card(
            id=f"{source.label}-{split}-s{seed}-{index // len(sources):04d}",
            split=split,
            camera=camera,
            enriched=place < share,
            **source.draw(),
        )
        for index, (camera, place) in enumerate(zip(cameras, long, strict=True))
        for source in [sources[index % len(sources)]]
    ]


def plan_cameras(num: int, *, seed: int) -> list[tuple[str, ...]]:
    """Tokens of `num` camera plans: classes as in CAMERA_SHARES, the moves of a class equally often.

    No move is followed by itself or by its opposite, which would show nothing new.
    """
    bounds = list(accumulate(CAMERA_SHARES.values()))
    decks: dict[str, Iterator[tuple[str, ...]]] = {
        kind: _deck(plans, seed, f"prompt-camera-{kind}") for kind, plans in _camera_plans().items()
    }
    places = _spread(num, _CAMERA_STEP, make_generator(seed, "prompt-camera"))
    kinds = [next((k for k, bound in zip(decks, bounds, strict=True) if x < bound), "three moves") for x in places]
    return [next(decks[kind]) for kind in kinds]


def undoes(first: str, second: str) -> bool:
    """Whether the second move takes back the first, or only repeats it."""
    return first == second or (first, second) in _OPPOSITES or (second, first) in _OPPOSITES


def _camera_plans() -> dict[str, list[tuple[str, ...]]]:
    """All plans of each kind, in the order of CAMERA_SHARES."""
    single = [(token,) for token in TOKENS]
    classes = {kind: [plan for plan in single if camera_class(plan) == kind] for kind in ("still", "intra", "inter")}
    sequences = {
        kind: [plan for plan in permutations(STEPS, length) if not any(map(undoes, plan, plan[1:]))]
        for kind, length in (("two moves", 2), ("three moves", 3))
    }
    return {"none": [()], **classes, **sequences}


def _spread(num: int, step: float, generator: torch.Generator) -> list[float]:
    """`num` points of 0 to 1 that cover it evenly however many are taken (multiples of an irrational number)."""
    start = float(torch.rand((), generator=generator, dtype=torch.float64))
    return [(start + index * step) % 1 for index in range(num)]


def _deck(values: Sequence[T], seed: int, stream: str) -> Iterator[T]:
    """The values shuffled, then shuffled again, for ever."""
    generator = make_generator(seed, stream)
    while True:
        yield from (values[index] for index in torch.randperm(len(values), generator=generator).tolist())


def _groups(name: str) -> list[tuple[str, str]]:
    """Domain and sub-domain of a world set; "" and the tag of a dynamic one."""
    if name == "dynamic":
        return [("", tag) for tag in DYNAMIC_TAGS]
    return [(domain, subdomain) for domain, subdomains in DOMAINS.items() for subdomain in subdomains]


class _Source:
    """Attributes for the cards of one sub-domain or tag, each value as often as the others."""

    def __init__(self, name: str, group: tuple[str, str], seed: int) -> None:
        domain, subdomain = group
        self.label = f"{domain or name}-{subdomain}"
        self._fixed = {"subdomain": subdomain, "tags": () if domain else (subdomain,)}
        nothing = ("",)
        if domain:
            about = DOMAINS[domain][subdomain]
            values = {"domain": (domain,), "light": about.light, "weather": about.weather}
            values |= {"material": about.material, "scale": about.scale}
        else:
            values = {"domain": tuple(DOMAINS), "light": DAYLIGHT + LAMPLIGHT, "weather": nothing}
            values |= {"material": nothing, "scale": SCALES}
        values |= {"mood": MOODS, "form": FORMS}
        self._decks = {key: _deck(deck, seed, f"prompt-{self.label}-{key}") for key, deck in values.items()}

    def draw(self) -> dict[str, Any]:
        """Values of the next card."""
        return self._fixed | {key: next(deck) for key, deck in self._decks.items()}
