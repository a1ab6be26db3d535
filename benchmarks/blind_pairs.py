"""Judge pairs of videos without knowing which model made which.

    python benchmarks/blind_pairs.py make --before DIR --after DIR --out DIR    # two folders of evaluations
    python benchmarks/blind_pairs.py make --lora FILE --recipe mini-gpu --out DIR    # films base and adapter itself
    python benchmarks/blind_pairs.py reveal --out DIR

`make` writes pair-01.png (eight frames of A above eight of B) and pair-01.mp4 (A left, B right) for every pair, in
random order with random sides; picks.csv to fill in; and key.json, which says who is who, encoded so that nobody reads
it by accident. Its sha256 is printed: note it beside the picks, and nobody can change it afterwards. `reveal` wants all
picks, then counts them. From one --seed the same key follows: without it, one is drawn that nobody knows.
"""

import argparse
import base64
import csv
import hashlib
import json
import secrets
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import binomtest
from torch import Tensor

from worldr1.digests import file_sha256
from worldr1.errors import InputError
from worldr1.evaluate.evaluation import film, plan_tasks, spread
from worldr1.evaluate.records import Evaluation, VideoRecord
from worldr1.evaluate.statistics.values import matched
from worldr1.rollout.start_noise import PlanCache
from worldr1.seeding import make_generator
from worldr1.video_io import read_mp4, write_mp4

KEY_FILE, PICKS_FILE = "key.json", "picks.csv"
COLUMNS = ("pair", "geometry", "missing_or_wrong_in_A", "missing_or_wrong_in_B")
NOTHING = "-"
"""What a judge writes where nothing is missing: an empty cell is a pair that was not looked at."""
BEFORE, AFTER, TIE = "before", "after", "="
NUM_FRAMES = 8
FRAME_HEIGHT_PX = 192
"""Three times that of the mini world."""
GAP_PX, FONT_PX = 6, 22


@dataclass(frozen=True, kw_only=True, slots=True)
class Films:
    """Two videos of one prompt from one start noise."""

    prompt: str
    before: Float[Tensor, "T 3 H W"]
    after: Float[Tensor, "T 3 H W"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One pair of the key."""

    pair: int
    """From 1."""
    prompt: str
    a: str
    """Who is A: "before" or "after"; B is the other."""

    @property
    def b(self) -> str:
        """Who is B."""
        return AFTER if self.a == BEFORE else BEFORE


@dataclass(frozen=True, kw_only=True, slots=True)
class Pick:
    """What the judge wrote about one pair."""

    geometry: str
    """ "A", "B" or "=": whose world is the more solid one."""
    missing: tuple[str, str]
    """What is missing or wrong in A, and in B; "-" is nothing."""


# ------------------------------------------------------------------------------------------------------------- making


def shuffled(prompts: Sequence[str], *, seed: int) -> tuple[list[int], list[Answer]]:
    """The order of the pairs (indices into `prompts`), and who is A in each: an even coin of its own for every pair."""
    generator = make_generator(seed, "blind pairs")
    order: list[int] = torch.randperm(len(prompts), generator=generator).tolist()
    coins = torch.randint(2, (len(prompts),), generator=generator).tolist()
    answers = [
        Answer(pair=number, prompt=prompts[index], a=(BEFORE, AFTER)[coin])
        for number, (index, coin) in enumerate(zip(order, coins, strict=True), 1)
    ]
    return order, answers


def write_pairs(films: Sequence[Films], out: Path, *, seed: int) -> str:
    """Pictures, videos, picks.csv and key.json into `out`; returns the key's sha256.

    Raises InputError if `out` holds pairs already: picks are not to be lost.
    """
    if (out / KEY_FILE).exists():
        raise InputError(f"{out} holds pairs already; choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    order, answers = shuffled([pair.prompt for pair in films], seed=seed)
    for index, answer in zip(order, answers, strict=True):
        pair = films[index]
        a, b = (pair.before, pair.after) if answer.a == BEFORE else (pair.after, pair.before)
        sheet(a, b, title=f"{answer.pair}. {pair.prompt}").save(out / f"pair-{answer.pair:02d}.png")
        gap = torch.ones(*a.shape[:3], 2 * round(a.shape[-1] / 48))
        side_by_side = torch.cat([a, gap, b], dim=-1)
        write_mp4(out / f"pair-{answer.pair:02d}.mp4", side_by_side, upscale=max(1, 256 // a.shape[-2]))
    with (out / PICKS_FILE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *([answer.pair, "", "", ""] for answer in answers)])
    key = json.dumps({"seed": seed, "answers": [asdict(answer) for answer in answers]}).encode()
    digest = hashlib.sha256(key).hexdigest()
    (out / KEY_FILE).write_text(json.dumps({"sha256": digest, "key": base64.b64encode(key).decode()}) + "\n")
    return digest


def sheet(a: Float[Tensor, "T 3 H W"], b: Float[Tensor, "T 3 H W"], *, title: str) -> Image.Image:
    """Eight evenly spaced frames of A above those of B, and the prompt below."""
    rows = [[_enlarged(frame) for frame in video[_evenly(len(video))]] for video in (a, b)]
    width, height = rows[0][0].size
    font, margin = ImageFont.load_default(size=FONT_PX), 2 * FONT_PX
    page_width = margin + NUM_FRAMES * (width + GAP_PX)
    lines = textwrap.wrap(title, width=int(page_width / (0.55 * FONT_PX)))
    text_top = 2 * (height + GAP_PX) + GAP_PX
    page = Image.new("RGB", (page_width, text_top + round(1.4 * FONT_PX * len(lines)) + GAP_PX), "white")
    draw = ImageDraw.Draw(page)
    for name, row, top in zip("AB", rows, (GAP_PX, 2 * GAP_PX + height), strict=True):
        draw.text((FONT_PX // 2, top + height // 2 - FONT_PX // 2), name, fill="black", font=font)
        for column, frame in enumerate(row):
            page.paste(frame, (margin + column * (width + GAP_PX), top))
    draw.multiline_text((margin, text_top), "\n".join(lines), fill="black", font=font)
    return page


def _evenly(num: int) -> Tensor:
    return torch.linspace(0, num - 1, NUM_FRAMES).round().long()


def _enlarged(frame: Float[Tensor, "3 H W"]) -> Image.Image:
    pixels = (frame.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(force=True)
    width = round(FRAME_HEIGHT_PX * frame.shape[-1] / frame.shape[-2])
    return Image.fromarray(pixels).resize((width, FRAME_HEIGHT_PX), Image.Resampling.BICUBIC)


# ---------------------------------------------------------------------------------------------- where films come from


def films_of_folders(before: Path, after: Path, num: int) -> list[Films]:
    """The videos that two evaluations of the same prompts and start noises both kept, `num` of them.

    Raises InputError if they are not paired or kept too few.
    """
    pairs = matched(*(Evaluation.load(folder).records for folder in (before, after)))
    kept = [(b, a) for b, a in pairs if b.video and a.video]
    if len(kept) < num:
        raise InputError(
            f"{before} and {after} both kept {len(kept)} videos, not {num}: lower --pairs, or film anew with --lora."
        )

    def read(folder: Path, record: VideoRecord) -> Tensor:
        return read_mp4(folder / (record.video or ""))

    chosen = [kept[i] for i in spread([(b.tokens, b.group) for b, _ in kept], num)]
    return [Films(prompt=b.prompt, before=read(before, b), after=read(after, a)) for b, a in chosen]


def films_of_adapter(lora: str, recipe: str, num: int, *, device: str) -> list[Films]:
    """Films `num` of the recipe's test prompts with its base model and with the adapter, from the same start noises.

    Raises InputError for unusable recipes or adapters, or if there are too few test prompts.
    """
    from worldr1.assembly import prompts_with_scenes
    from worldr1.build import build_policy, choose_device, evaluation_config, load_experiment
    from worldr1.shipped import find_adapter
    from worldr1.train.adapter_file import read_adapter

    adapter, config = find_adapter(lora), load_experiment(recipe)
    guidance = read_adapter(adapter)[0].guidance
    settings = evaluation_config(config, seed=config.prompts.seed)
    tasks = plan_tasks(prompts_with_scenes(config.prompts)[0], settings)
    if len(tasks) < num:
        raise InputError(
            f"{recipe} has {len(tasks)} test prompts, not {num}: lower --pairs or choose another --recipe."
        )
    tasks = [tasks[i] for i in spread([(task.tokens, task.group) for task in tasks], num)]
    sides = []
    for file, model in ((None, config.model), (adapter, replace(config.model, guidance=guidance))):
        policy, plans = build_policy(model, choose_device(device), lora=file), PlanCache()
        batches = [tasks[i : i + settings.batch] for i in range(0, num, settings.batch)]
        with torch.no_grad():
            sides.append(torch.cat([film(policy, batch, settings, plans).float().cpu() for batch in batches]))
    return [Films(prompt=t.prompt.text, before=b, after=a) for t, b, a in zip(tasks, *sides, strict=True)]


# ---------------------------------------------------------------------------------------------------------- revealing


def read_picks(path: Path, num: int) -> list[Pick]:
    """One pick per pair, in order. Raises InputError if one is missing or not understood: the key stays closed."""
    if not path.is_file():
        raise InputError(f"There is no {path}; make the pairs first.")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    if [row[0] for row in rows] != [COLUMNS[0], *(str(number) for number in range(1, num + 1))]:
        raise InputError(f"{path} must have its header and one line for each of the {num} pairs, in order.")
    for row in rows[1:]:
        if len(row) != len(COLUMNS) or row[1] not in ("A", "B", TIE) or not all(row[2:]):
            raise InputError(
                f"Pair {row[0]} is not judged yet: in {path} write A, B or = under geometry, and what is missing or "
                f"wrong in A and in B ({NOTHING} for nothing). The key stays closed until all pairs are judged."
            )
    return [Pick(geometry=row[1], missing=(row[2], row[3])) for row in rows[1:]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What the picks say."""

    after: int
    """Pairs in which "after" has the better geometry."""
    before: int
    ties: int
    flawed_before: int
    """Videos of "before" in which something is missing or wrong."""
    flawed_after: int

    @property
    def p_value(self) -> float:
        """Exact two-sided binomial test of an even coin on the pairs that are no ties; 1 if all are."""
        decided = self.after + self.before
        return float(binomtest(self.after, decided, 0.5).pvalue) if decided else 1.0


def count(picks: Sequence[Pick], answers: Sequence[Answer]) -> Result:
    """Joins picks and key."""
    chosen = [winner(pick, answer) for pick, answer in zip(picks, answers, strict=True)]
    flaws = [_flaws(pick, answer) for pick, answer in zip(picks, answers, strict=True)]
    return Result(
        after=chosen.count(AFTER),
        before=chosen.count(BEFORE),
        ties=chosen.count(TIE),
        flawed_before=sum(flaw[BEFORE] != NOTHING for flaw in flaws),
        flawed_after=sum(flaw[AFTER] != NOTHING for flaw in flaws),
    )


def winner(pick: Pick, answer: Answer) -> str:
    """ "before", "after" or "="."""
    return {"A": answer.a, "B": answer.b, TIE: TIE}[pick.geometry]


def _flaws(pick: Pick, answer: Answer) -> dict[str, str]:
    return dict(zip((answer.a, answer.b), pick.missing, strict=True))


def reveal(out: Path) -> str:
    """The result in Markdown. Raises InputError if a pick is missing, or if key.json was changed."""
    if not (out / KEY_FILE).is_file():
        raise InputError(f"There is no {out / KEY_FILE}; make the pairs first.")
    sealed = json.loads((out / KEY_FILE).read_text())
    key = base64.b64decode(sealed["key"])
    if hashlib.sha256(key).hexdigest() != sealed["sha256"]:
        raise InputError(f"{out / KEY_FILE} was changed: its key has not the sha256 that it says.")
    answers = [Answer(**answer) for answer in json.loads(key)["answers"]]
    picks = read_picks(out / PICKS_FILE, len(answers))
    found = count(picks, answers)
    picked = file_sha256(out / PICKS_FILE)
    lines = [
        f"Geometry: after {found.after}, before {found.before}, equal {found.ties} of {len(answers)} pairs; two-sided "
        f"binomial p = {found.p_value:.3g} (without the equal ones). Something missing or wrong: in "
        f"{found.flawed_before} videos before, in {found.flawed_after} after.",
        f"Key sha256 {sealed['sha256']}, picks sha256 {picked}.",
        "",
        "| pair | prompt | A is | pick | better geometry | missing or wrong before | missing or wrong after |",
        "|" + "---|" * 7,
    ]
    for pick, answer in zip(picks, answers, strict=True):
        flaws = {side: text.replace("|", "/") for side, text in _flaws(pick, answer).items()}
        cells = [answer.pair, answer.prompt, answer.a, pick.geometry, winner(pick, answer), flaws[BEFORE], flaws[AFTER]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


# -------------------------------------------------------------------------------------------------------- command line


def main(argv: Sequence[str] | None = None) -> int:
    """Makes pairs or reveals them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    make = actions.add_parser("make", help="write the pairs, an empty picks.csv and the key")
    make.add_argument("--before", type=Path, metavar="DIR", help="folder of an evaluation (previews/before)")
    make.add_argument("--after", type=Path, metavar="DIR", help="another of the same prompts (previews/after)")
    make.add_argument("--lora", metavar="FILE", help="or: an adapter (or mini-r1) to film beside its base model")
    make.add_argument("--recipe", default="mini-gpu", help="whose test prompts and sampler (default: mini-gpu)")
    make.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    make.add_argument("--pairs", type=int, default=20, metavar="N", help="(default: 20)")
    make.add_argument("--seed", type=int, metavar="N", help="of order and sides (default: one that nobody knows)")
    show = actions.add_parser("reveal", help="join picks and key")
    for action in (make, show):
        action.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    try:
        print(reveal(args.out) if args.action == "reveal" else _make(args))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _make(args: argparse.Namespace) -> str:
    num_folders = sum(folder is not None for folder in (args.before, args.after))
    if num_folders != (2 if args.lora is None else 0) or args.pairs < 1:
        raise InputError("Give --before and --after, or --lora alone, and at least one pair.")
    if (args.out / KEY_FILE).exists():
        raise InputError(f"{args.out} holds pairs already; choose another --out.")
    if args.lora is None:
        films = films_of_folders(args.before, args.after, args.pairs)
    else:
        films = films_of_adapter(args.lora, args.recipe, args.pairs, device=args.device)
    digest = write_pairs(films, args.out, seed=secrets.randbits(63) if args.seed is None else args.seed)
    return f"{len(films)} pairs in {args.out}; fill in {PICKS_FILE} before `reveal`. sha256 of the key: {digest}"


if __name__ == "__main__":
    sys.exit(main())
