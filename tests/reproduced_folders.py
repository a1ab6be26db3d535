"""A folder as `worldr1 reproduce` fills it, with numbers of the test's choice instead of videos."""

import json
import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.variants import UPDATES, VARIANTS
from worldr1.types import Status

NUM_STATIC, NUM_DYNAMIC = 24, 12
MOVES = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.6]]
STAYS = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
TOKENS = ("push_in", "orbit_left", "pan_left")

BASE: Mapping[str, float] = {
    "psnr_holdout_db": 22.0,
    "mvcs_scale_free": 0.98,
    "rotation_error_deg": 2.0,
    "translation_error": 0.2,
    "travel_ratio": 0.8,
    "words": 0.90,
    "motion": 0.5,
    "mover_motion": 0.04,
    "residual_motion": 0.02,
    "image_gradient": 0.040,
    "s_meta": 0.60,
    "s_recon": 0.60,
    "s_traj": 0.60,
    "r_gen": 0.10,
}
TRUTH: Mapping[str, float] = {
    **BASE,
    "psnr_holdout_db": 24.0,
    "rotation_error_deg": 0.4,
    "translation_error": 0.05,
    "travel_ratio": 1.0,
    "words": 0.99,
    "image_gradient": 0.050,
}
GOOD: Mapping[str, float] = {
    **BASE,
    "psnr_holdout_db": 23.2,
    "rotation_error_deg": 1.2,
    "translation_error": 0.12,
    "travel_ratio": 0.92,
    "words": 0.93,
    "image_gradient": 0.042,
    "s_meta": 0.70,
    "s_recon": 0.70,
    "s_traj": 0.70,
    "r_gen": 0.20,
}
"""What the whole recipe reaches: everything better, nothing lost."""
PARTS = ("s_meta", "s_recon", "s_traj", "r_gen")
STATIC_ONLY, DYNAMIC_ONLY = ("travel_ratio",), ("motion", "mover_motion")


_NORMAL = [random.Random(number).gauss(0, 1) for number in range(8191)]


def normal(of: str) -> float:
    """A standard normal number, always the same for the same text."""
    return _NORMAL[zlib.crc32(of.encode()) % len(_NORMAL)]


@dataclass(frozen=True)
class Side:
    """How a model's videos come out."""

    values: Mapping[str, float]
    run: int = 0
    """Whose noise: the same for the same number."""
    spread: float = 0.004
    """Of runs, relative to each value."""
    rejected: int = 0
    """Of the first static prompts."""


@dataclass(frozen=True)
class Folder:
    """Writes judged variants and their runs."""

    root: Path
    num_static: int = NUM_STATIC
    tokens: Sequence[str] = TOKENS
    stream: str = "ablation"
    written: list[str] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        """Of it."""
        return Layout(self.root)

    def write(
        self,
        name: str,
        values: Mapping[str, float] = GOOD,
        *,
        base: Mapping[str, float] = BASE,
        seeds: int = 3,
        spread: float = 0.004,
        rejected: int = 0,
        updates: int | None = None,
        own: bool = True,
        prompts: str = "a list",
    ) -> None:
        """One variant. values: means of its trained runs; what is not said is as in `GOOD`."""
        variant = VARIANTS[name]
        values, base = {**GOOD, **values}, {**BASE, **base}
        judged = self.layout.judged(variant)
        sides = {"base": Side(base), "truth": Side(TRUTH)}
        first = 10 * (list(VARIANTS).index(name) + 1)
        sides |= {f"trained-{k}": Side(values, first + k, spread, rejected) for k in range(seeds)}
        for side, about in sides.items():
            self._evaluation(about, own=False).save(judged / "records" / "judge" / f"{side}-noise-0")
        facts = {
            "runs": [f"runs/{name}/seed-{k}" for k in range(seeds)],
            "adapters_sha256": [f"{name}-{k}" for k in range(seeds)],
            "seeds": [0],
            "stream": self.stream,
            "num_prompts": self.num_static + NUM_DYNAMIC,
            "prompts_sha256": prompts,
        }
        (judged / "judging.json").write_text(json.dumps(facts))
        for k in range(seeds):
            run = self.layout.run(variant, k)
            run.mkdir(parents=True, exist_ok=True)
            (run / "metrics.jsonl").write_text("{}\n" * (UPDATES[variant.length] if updates is None else updates))
            if own:
                self._evaluation(Side(base), own=True).save(run / "previews" / "before")
                self._evaluation(sides[f"trained-{k}"], own=True).save(run / "previews" / "after")
        self.written.append(name)

    def _evaluation(self, side: Side, *, own: bool) -> Evaluation:
        records = [self._record(side, i, dynamic=False, own=own) for i in range(self.num_static)]
        records += [self._record(side, i, dynamic=True, own=own) for i in range(NUM_DYNAMIC)]
        return Evaluation(records=tuple(records), seconds=1.0, guidance=1.0, strength=0.5)

    def _record(self, side: Side, prompt_id: int, *, dynamic: bool, own: bool) -> VideoRecord:
        token = self.tokens[prompt_id % len(self.tokens)]
        return video_record(side, prompt_id, token=token, dynamic=dynamic, own=own)


def video_record(side: Side, prompt_id: int, *, token: str, dynamic: bool, own: bool) -> VideoRecord:
    """One prompt's video."""
    known = {}
    places = (1000 * side.run, 7 * prompt_id + dynamic, 100_000 * side.run + 7 * prompt_id + dynamic)
    shares = (side.spread if side.run else 0.0, 0.02, 0.004)
    for name, value in side.values.items():
        noises = [
            normal(f"{name} {what} {place}") for what, place in zip(("run", "prompt", "both"), places, strict=True)
        ]
        known[name] = value * (1 + sum(share * noise for share, noise in zip(shares, noises, strict=True)))
    absent = STATIC_ONLY if dynamic else DYNAMIC_ONLY
    measures = {name: value for name, value in known.items() if name not in (*PARTS, *absent)}
    rejected = not dynamic and prompt_id < side.rejected
    fields: dict[str, Any] = {
        "parts": {name: known[name] for name in PARTS} if own else {},
        "reward": 1.0 if own else None,
    }
    return VideoRecord(
        prompt_id=prompt_id,
        prompt=f"Camera {token}. Scene {prompt_id}.",
        dynamic=dynamic,
        tokens=(token,),
        seed=prompt_id,
        status=Status.REJECTED if rejected else Status.OK,
        reason="",
        measures=measures,
        requested_path=STAYS if token == "pan_left" else MOVES,
        **fields,
    )
