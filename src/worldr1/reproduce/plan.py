"""How long the runs of one folder are and what is judged: the same for all of them, or they cannot be compared."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from worldr1.backends.mini import CLIP_SIZE
from worldr1.errors import InputError
from worldr1.reproduce.variants import RECIPE, UPDATES, Length, Variant
from worldr1.train.checkpoint import write_whole

Device = Literal["cuda", "cpu"]
FULL_JUDGED, JUDGED = (450, 150), (144, 48)
"""Static and dynamic prompts that `full` is judged on, as published, and every other variant."""
FULL_STREAM, STREAM = "final", "ablation"
CLIPS = {"longer": (33, 64, 96), "larger": (17, 96, 144)}
"""Frames, height and width that the full runs are judged on too: twice as long, and 1.5 times a side. The runs trained
17 x 64 x 96."""
INFERENCE = "inference"
"""What is measured of no run: seconds, modules and parameters of base and LoRA."""
CPU_RECIPE = "mini"
CPU_UPDATES = {Length.FULL: 30, Length.HALF: 15}
CPU_JUDGED = (36, 12)
_OF_THE_PLAN = {"device": "--device", "train.updates": "--updates", "train.seed": "--seeds"}
"""Keys of a recipe that differ from run to run or fix its length: their own options."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What all runs of a folder share."""

    device: Device
    recipe: str
    full_updates: int
    half_updates: int
    settings: tuple[str, ...] = ()
    """`--set` of every run, before the variant's own."""
    full_judged: tuple[int, int] = FULL_JUDGED
    judged: tuple[int, int] = JUDGED

    @property
    def is_published(self) -> bool:
        """Whether its full runs are the published ones with other seeds: only such runs are held against them."""
        return self == Plan.make("cuda")

    @property
    def in_words(self) -> str:
        """How long its runs are and what differs, for people."""
        own = f", with {', '.join(self.settings)}" if self.settings else ""
        return (
            f"recipe {self.recipe}, {self.full_updates} updates (half-length ones {self.half_updates}){own}, judged on "
            f"{sum(self.full_judged)} and {sum(self.judged)} prompts."
        )

    def updates(self, variant: Variant) -> int:
        """Of one run."""
        return self.full_updates if variant.length is Length.FULL else self.half_updates

    def prompts(self, variant: Variant) -> tuple[int, int]:
        """Static and dynamic ones that the variant is judged on."""
        return self.full_judged if variant.length is Length.FULL else self.judged

    def stream(self, variant: Variant) -> str:
        """The list that they are of."""
        return FULL_STREAM if variant.length is Length.FULL else STREAM

    def overrides(self, variant: Variant, seed: int) -> tuple[str, ...]:
        """`--set` of one run."""
        return (
            f"device={self.device}",
            f"train.updates={self.updates(variant)}",
            f"train.seed={seed}",
            *self.settings,
            *variant.settings,
        )

    @classmethod
    def make(
        cls,
        device: Device,
        *,
        updates: int | None = None,
        settings: tuple[str, ...] = (),
        static: int | None = None,
        dynamic: int | None = None,
    ) -> "Plan":
        """The whole plan of a device, or a smaller one.

        updates: of a full run, half-length ones take half of them. static, dynamic: prompts that are judged, and those
        of each run's own evaluations. Raises InputError for less than one update or prompt.
        """
        if updates is not None and updates < 1:
            raise InputError(f"--updates {updates} is no training: give at least 1.")
        for text in settings:
            if (key := text.partition("=")[0].strip()) in _OF_THE_PLAN:
                raise InputError(f"--set {text}: use {_OF_THE_PLAN[key]}, by which the folder's plan knows {key}.")
        for name, number, least in (("--prompts", static, 1), ("--dynamic-prompts", dynamic, 0)):
            if number is not None and number < least:
                raise InputError(f"{name} {number} leaves nothing to compare: give at least {least}.")
        usual = UPDATES if device == "cuda" else CPU_UPDATES
        own = tuple(
            f"prompts.{key}={number}"
            for key, number in (("test", static), ("test_dynamic", dynamic))
            if number is not None
        )

        def prompts(on_gpu: tuple[int, int]) -> tuple[int, int]:
            whole = on_gpu if device == "cuda" else CPU_JUDGED
            return (whole[0] if static is None else static, whole[1] if dynamic is None else dynamic)

        return cls(
            device=device,
            recipe=RECIPE if device == "cuda" else CPU_RECIPE,
            full_updates=usual[Length.FULL] if updates is None else updates,
            half_updates=usual[Length.HALF] if updates is None else math.ceil(updates / 2),
            settings=(*own, *settings),
            full_judged=prompts(FULL_JUDGED),
            judged=prompts(JUDGED),
        )

    @classmethod
    def load(cls, path: Path) -> "Plan":
        """A folder's plan. Raises InputError if the file cannot be read."""
        try:
            table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            table |= {name: tuple(value) for name, value in table.items() if isinstance(value, list)}
            return cls(**table)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is damaged; bring it back from a copy, or give another --out.") from error

    def save(self, path: Path) -> None:
        """Writes it, or checks that it is what is there. Raises InputError for another plan, which it names."""
        if not path.is_file():
            write_whole(path, (json.dumps(asdict(self), indent=1) + "\n").encode())
            return
        before, after = asdict(Plan.load(path)), asdict(self)
        changed = [
            f"{name} {_words(before[name])} -> {_words(after[name])}" for name in after if before[name] != after[name]
        ]
        if changed:
            raise InputError(
                f"{path.parent} was begun with another plan ({'; '.join(changed)}), and its runs must be alike: leave "
                "the options out to go on with it, or give another --out."
            )


def relative_size(clip: tuple[int, int, int]) -> float:
    """Pixels of a clip (frames, height and width) over those of a trained one."""
    return math.prod(clip) / math.prod(CLIP_SIZE)


def _words(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, (tuple, list)) else str(value)
