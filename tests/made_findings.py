"""Findings of nothing, for tests of how they are written: every verdict, one seed, missing numbers, hostile texts."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluated_folders import FACTS, FRAMES, HOSTILE, TOKENS, clip_with_geometry, record

from worldr1.evaluate.folder import FACTS_FILE, EvaluationFolder
from worldr1.evaluate.pages.pictures import save_pictures
from worldr1.reproduce.finding import Finding, Measured, Published, Verdict
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.variants import VARIANTS
from worldr1.scene.splat import SplatRenderer
from worldr1.video_io import write_mp4

LONG = "a word that goes on and on, " * 12 + "and_one_that_cannot_be_broken_" * 6
FILMED = {"base": "base model", "truth": "rendered truth", "half": "the recipe, half as long", "no-gen": HOSTILE}


def measured(name: str = "words", seeds: Sequence[float] = (0.90, 0.92, 0.97), **fields: Any) -> Measured:
    """A mean of seeds with intervals; with one seed there are none."""
    mean, several = math.fsum(seeds) / len(seeds), len(seeds) > 1
    given: dict[str, Any] = {
        "name": name,
        "text": name.replace("_", " "),
        "value": mean,
        "low": mean - 0.03 if several else None,
        "high": mean + 0.03 if several else None,
        "new_low": mean - 0.08 if several else None,
        "new_high": mean + 0.08 if several else None,
        "seeds": tuple(seeds),
        "num": 144,
    }
    return Measured(**given | fields)


def finding(claim: str, verdict: Verdict = Verdict.HOLDS, **fields: Any) -> Finding:
    """One claim."""
    given: dict[str, Any] = {
        "title": f"Claim {claim}",
        "says": f"What the paper says of {claim}.",
        "rule": f"Holds if {claim}.",
        "reason": f"Because of {claim}.",
    }
    return Finding(claim=claim, verdict=verdict, **given | fields)


def findings() -> list[Finding]:
    """One of every verdict; among them all that is awkward."""
    return [
        finding(
            "main-gain",
            measured=(measured("gap_closed", percent=True), measured("travel", (1.0,)), measured("mvcs")),
            published=(
                Published(text="PSNR, dB", value=27.63, source="table 2"),
                Published(text="World-R1-Small, MVCS: 0.989", value=0.989, source="table D"),
            ),
            variants=("half",),
            num_runs=3,
        ),
        finding(
            "no-gen",
            Verdict.PARTLY,
            title=HOSTILE,
            says=f"{HOSTILE} | {LONG}",
            rule=f"{HOSTILE} {LONG}",
            reason=HOSTILE,
            measured=(
                measured("half.words", (0.98, 0.99), text=f"control {HOSTILE}"),
                measured("no-gen.words", (0.91,), text=LONG),
                measured("nothing", (math.nan,), value=math.nan),
            ),
            published=(Published(text=HOSTILE, value=1.5, source=HOSTILE),),
            variants=("half", "no-gen"),
            num_runs=1,
            notes=(HOSTILE, LONG),
        ),
        finding("no-traj", Verdict.FAILS, measured=(measured("change", (-0.2, 0.1)),), variants=("no-traj",)),
        finding("rollouts", Verdict.UNTESTABLE),
        finding("no-phase", Verdict.OPEN, missing_minutes=7.4, variants=("no-phase",)),
    ]


def made_run(layout: Layout, name: str, seed: int, *, updates: int = 100, finished: bool = True) -> Path:
    """A run folder as far as inventories look: nothing can be filmed with it."""
    folder = layout.run(VARIANTS[name], seed)
    (folder / "final").mkdir(parents=True)
    (folder / "recipe.toml").write_text("")
    rows = [json.dumps({"update": update, "seconds": 3.0}) for update in range(updates)]
    (folder / "metrics.jsonl").write_text("".join(f"{row}\n" for row in rows))
    if finished:
        (folder / "final" / "adapter.safetensors").touch()
    return folder


def made_films(layout: Layout) -> None:
    """Films of two static prompts and a dynamic one by all of `FILMED`: one clip, drawn again for the first."""
    first = layout.root / "films" / "base"
    folder = EvaluationFolder.create(first, replace(FACTS, title=FILMED["base"], suite="films"))
    clip, geometry = clip_with_geometry(0, TOKENS[0])
    for number in range(3):
        about: dict[str, Any] = {"measures": {"psnr_holdout_db": 22.0, "words": 0.875}, "dynamic": number == 2}
        about |= {"prompt": HOSTILE} if number == 0 else {}
        made = record(number, video=f"{number:03d}.mp4", **about)
        write_mp4(first / "videos" / f"{number:03d}.mp4", clip, upscale=2)
        if number == 0:
            save_pictures(folder, made, clip, geometry, SplatRenderer(), upscale=2)
        folder.append(made)
    for name, title in FILMED.items():
        if name != "base":
            shutil.copytree(first, layout.root / "films" / name)
            facts = json.loads((first / FACTS_FILE).read_text()) | {"title": title, "source": {"seed": "4"}}
            (layout.root / "films" / name / FACTS_FILE).write_text(json.dumps(facts))


__all__ = ["FILMED", "FRAMES", "HOSTILE", "LONG", "finding", "findings", "made_films", "made_run", "measured"]
