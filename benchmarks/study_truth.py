"""Does a study's analysis find the truth? On raters whose taste is known.

    python benchmarks/study_truth.py coverage [--studies 300]
    python benchmarks/study_truth.py browser [--raters 12] [--pairs 12]

`coverage`: simulated studies; how often each 95 % interval contains the true win rate. Raters and prompts have tastes
of their own (normal in log odds), ties and a side bias; truth is the expected share over new raters and prompts.
`browser`: raters who vote through the page in a real Chromium and nothing else, one after the other: watch both videos,
click, submit. Only the time that they say they took is made up.
"""

import argparse
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from machine import heading

from worldr1.study.intervals import clustered, pigeonhole, wilson

CASES = (
    # participants, prompts, log odds, sd of participants, sd of prompts, ties
    (25, 30, 0.0, 0.7, 0.7, 0.1),
    (25, 30, 0.7, 0.7, 0.7, 0.1),
    (25, 30, 1.6, 0.7, 0.7, 0.1),
    (25, 30, 2.8, 0.7, 0.7, 0.05),
    (25, 30, 0.7, 0.0, 0.0, 0.1),
    (25, 30, 0.7, 1.5, 0.3, 0.1),
    (25, 30, 0.7, 0.3, 1.5, 0.1),
    (10, 12, 0.7, 0.7, 0.7, 0.1),
    (8, 30, 0.7, 1.0, 0.5, 0.0),
)
SIDE_BIAS = 0.1
TASTE = {"geometry": 0.8, "camera": 0.5, "overall": 0.65, "editable": 0.7}


def coverage(num: int) -> int:
    """A table row per case."""
    print(heading())
    heads = [
        "participants",
        "prompts",
        "true share",
        "sd of participants, prompts",
        "ties",
        "Wilson",
        "two-way",
        "Owen",
    ]
    print(f"| {' | '.join([*heads, 'width: Wilson', 'two-way', 'Owen'])} |")
    print("|" + "---|" * 11)
    for case, (people, prompts, odds, sd_people, sd_prompts, ties) in enumerate(CASES):
        rng = np.random.default_rng(case)
        tastes = odds + math.hypot(sd_people, sd_prompts) * np.random.default_rng(99).normal(size=1_000_000)
        truth = ties / 2 + (1 - ties) * (SIDE_BIAS / 2 + (1 - SIDE_BIAS) * float((1 / (1 + np.exp(-tastes))).mean()))
        hits, widths = np.zeros(3), np.zeros(3)
        for study in range(num):
            shape = (people, prompts)
            taste = odds + rng.normal(0, sd_people, (people, 1)) + rng.normal(0, sd_prompts, (1, prompts))
            b_is_left = rng.random(shape) < 0.5
            votes = np.where(rng.random(shape) < 1 / (1 + np.exp(-taste)), 1.0, 0.0)
            votes = np.where(rng.random(shape) < SIDE_BIAS, b_is_left.astype(float), votes)
            votes[rng.random(shape) < ties] = 0.5
            found = (
                wilson(float(votes.mean()), votes.size),
                clustered(votes, seed=study),
                pigeonhole(votes, seed=study),
            )
            hits += [interval.low <= truth <= interval.high for interval in found]
            widths += [interval.high - interval.low for interval in found]
        cells = [people, prompts, f"{100 * truth:.1f} %", f"{sd_people}, {sd_prompts}", f"{100 * ties:.0f} %"]
        cells += [f"{100 * hit / num:.0f} %" for hit in hits] + [f"{100 * width / num:.0f}" for width in widths]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return 0


def browser(num_raters: int, num_pairs: int) -> int:
    """Raters in a real browser; the analysis beside the truth."""
    from browsing import ARGUMENTS, chromium
    from playwright.sync_api import expect, sync_playwright
    from study_folders import Rater, StudyServer, make_study, study_key

    from worldr1.study.analysis import analyse_folder, interval_words, percent, summary
    from worldr1.study.design import Study
    from worldr1.study.making import StudyPlan
    from worldr1.study.votes import VOTES_FILE, VoteStore

    start, num_lazy = time.perf_counter(), max(1, num_raters // 8)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        plan = StudyPlan(pairs=num_pairs, checks=3, participants=num_raters, seed=1)
        make_study(Path(work), plan, size=(3, 48, 64), fps=30)
        folder = Path(work) / "study"
        study, key = Study.load(folder), study_key(folder)
        raters = [
            Rater(study, key, slot, TASTE, side_bias=0.1, lazy=slot < num_lazy, dice=random.Random(slot))
            for slot in range(num_raters)
        ]
        chrome = playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS, "--no-sandbox"])
        with StudyServer(folder) as server:
            for rater in raters:
                page = chrome.new_page(viewport={"width": 390, "height": 844} if rater.slot % 2 else None)
                page.goto(server.links[rater.slot])
                page.locator("#start").click()
                for position in range(len(study.pairs)):
                    expect(page.locator("#count")).to_have_text(f"{position + 1} of {len(study.pairs)}", timeout=60_000)
                    expect(page.locator("#form input").first).to_be_enabled(timeout=60_000)
                    page.evaluate(f"lookedMs = {rater.ms(position)}")
                    for name, choice in rater.answers(position).items():
                        page.locator(f"input[name={name}][value={choice}]").check()
                    page.locator("#submit").click()
                page.wait_for_selector("#end:visible")
                page.close()
        chrome.close()
        store = VoteStore(folder / VOTES_FILE)
        store.seal()
        store.close()
        analysis = analyse_folder(folder)
    print(heading())
    print(f"{num_raters} raters ({num_lazy} lazy), {len(study.pairs)} pairs each, {time.perf_counter() - start:.0f} s")
    print(summary(analysis))
    print("| question | truth | found | two-way interval | contains it | for video 1 |\n|" + "---|" * 6)
    missed = 0
    for result in analysis.kept:
        truth, interval = raters[-1].truth(result.question), result.win.clustered
        inside = interval.low <= truth <= interval.high
        missed += not inside
        cells = [result.question, percent(truth, 1), percent(result.win.share, 1), interval_words(interval)]
        print(f"| {' | '.join([*cells, 'yes' if inside else 'NO', percent(result.left_share)])} |")
    out = [person.slot for person in analysis.participants if person.excluded]
    print(f"left out: {[slot + 1 for slot in out]}, lazy were {list(range(1, num_lazy + 1))}")
    return int(missed > 1 or out != list(range(num_lazy)))


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("coverage", "browser"))
    parser.add_argument("--studies", type=int, default=300, metavar="N")
    parser.add_argument("--raters", type=int, default=12, metavar="N")
    parser.add_argument("--pairs", type=int, default=12, metavar="N")
    args = parser.parse_args(argv)
    return coverage(args.studies) if args.action == "coverage" else browser(args.raters, args.pairs)


if __name__ == "__main__":
    sys.exit(main())
