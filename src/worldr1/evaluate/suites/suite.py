"""Suites: the fixed prompts that models are evaluated on, each with its scene's type and the camera it asks for.

One file per suite in `prompts/`, one JSON object per line: {"id": 0, "camera": ["push_in"], "scene": "A ...",
"scene_type": "static", "long_horizon": false}. Lines are ordered so that every beginning of a suite is spread over its
types as the whole is: `--limit` takes a beginning. All text is our own; that of `mini` is the mini world's grammar.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from worldr1.camera.motion import camera_sentence
from worldr1.camera.trajectory import MAGNITUDES, ORBIT_RADIUS
from worldr1.errors import InputError
from worldr1.mini.promptset import random_scenes
from worldr1.mini.scenes import Scenes
from worldr1.types import Prompt

FOLDER = Path(__file__).parent / "prompts"
STATIC = "static"
SCENE_TYPES = (STATIC, "single object", "multi object", "non-rigid")
"""What a scene holds: nothing that moves, one thing, several, or what changes its shape (paper, Table G)."""
MINI_STREAM, MINI_SEED, MINI_NUMS = "suite", 0, (108, 36)
"""Of the mini suite's scenes: a stream of `mini.promptset` that nothing was trained, tuned or chosen on; static ones,
dynamic ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuitePrompt:
    """One prompt of a suite."""

    id: int
    """Unique in its suite, from 0, in its order."""
    camera: tuple[str, ...]
    """Tokens of the requested moves, in order."""
    scene: str
    """Without camera words."""
    scene_type: str
    """One of SCENE_TYPES."""
    long_horizon: bool = False
    """Three moves or more through a large place; beside the scene's type (Table G counts these twice)."""

    @property
    def text(self) -> str:
        """The prompt in canonical form: `Camera A, then B. Scene.`"""
        return f"{camera_sentence(self.camera)} {self.scene}"

    @property
    def dynamic(self) -> bool:
        """Whether something in the scene moves."""
        return self.scene_type != STATIC

    @property
    def prompt(self) -> Prompt:
        """For models and rewards."""
        return Prompt(id=self.id, text=self.text, dynamic=self.dynamic)


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A fixed list of prompts."""

    name: str
    purpose: str
    """One line for people."""
    prompts: tuple[SuitePrompt, ...]
    frames: int | None = None
    """Of its videos; None: as many as the model makes."""
    mini: bool = False
    """Of the mini world: every prompt has a scene whose geometry is known."""

    @property
    def sha256(self) -> str:
        """Of ids, prompts, types and requested paths: two evaluations with one of these were asked the same."""
        facts = [[asdict(p), p.text, [asdict(MAGNITUDES[token]) for token in p.camera]] for p in self.prompts]
        return hashlib.sha256(json.dumps([self.frames, ORBIT_RADIUS, facts]).encode()).hexdigest()

    def by_id(self) -> dict[int, SuitePrompt]:
        """Its prompts by their id."""
        return {prompt.id: prompt for prompt in self.prompts}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    purpose: str
    frames: int | None = None
    mini: bool = False


_KINDS = {
    "paper": _Kind(purpose="93 prompts in the shares of the paper's Table G: what T2, G, H and J are about"),
    "camera": _Kind(purpose="every camera move and 24 pairs over four static scenes: what C is about"),
    "dynamic": _Kind(purpose="36 scenes with strong motion: whether a model still lets things move"),
    "long": _Kind(purpose="24 large places, three or four moves, 121 frames: what F is about", frames=121),
    "mini": _Kind(purpose="144 prompts of the mini world, whose true geometry is known", mini=True),
}
SUITES = tuple(_KINDS)
"""Names of all suites."""


def load_suite(name: str) -> Suite:
    """A suite by its name. Raises InputError for an unknown one."""
    if name not in _KINDS:
        raise InputError(f"there is no suite {name!r}; known are: {', '.join(SUITES)}")
    kind = _KINDS[name]
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    prompts = tuple(SuitePrompt(**{**entry, "camera": tuple(entry["camera"])}) for entry in entries)
    return Suite(name=name, purpose=kind.purpose, prompts=prompts, frames=kind.frames, mini=kind.mini)


def mini_scenes(suite: Suite) -> dict[tuple[int, bool], Scenes]:
    """The scene behind every prompt of the mini suite, as `judging.judge.RenderedTruth` takes them; each of one row.

    Raises InputError for another suite, which has no scenes.
    """
    if not suite.mini:
        raise InputError(f"the suite {suite.name} has no rendered truth: only mini's scenes are known")
    found: dict[str, Scenes] = {}
    for num, dynamic in zip(MINI_NUMS, (False, True), strict=True):
        scenes, prompts = random_scenes(num, seed=MINI_SEED, stream=MINI_STREAM, dynamic=dynamic)
        found |= {prompt.text: scenes[row : row + 1] for row, prompt in enumerate(prompts)}
    return {(prompt.id, prompt.dynamic): found[prompt.text] for prompt in suite.prompts}
