"""`worldr1 prompts`: check prompt sets, say how varied they are, have a language model write more."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldr1.cli.options import check_distinct
from worldr1.cli.places import add_overwrite, check_file
from worldr1.errors import InputError

if TYPE_CHECKING:
    from worldr1.data.records import SceneRecord

_KEY = "OPENAI_API_KEY"
_WRITE = f"""Plan scenes and have them written by any language model with an OpenAI-compatible address, for example
Gemini: --base-url https://generativelanguage.googleapis.com/v1beta/openai/ --model NAME. The key is read from {_KEY};
local servers often need none. Every text is checked before it is kept. Interrupted or given up, the same command goes
on where it stopped; with a larger --num, or another --seed, the set grows."""
_ENRICHED = "of the world's train scenes, that get a long text (default: 0.15); all others have one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`prompts check`, `prompts stats` and `prompts write`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|stats|write")
    check = actions.add_parser("check", help="labels, camera words, near-duplicates, leakage, length")
    check.add_argument("--against", type=Path, nargs="+", default=[], metavar="FILE", help="texts to stay away from")
    check.add_argument("--tokenizer", type=Path, metavar="DIR", help="of the text encoder: count tokens exactly")
    stats = actions.add_parser("stats", help="tables: counts by domain and camera, variety of the words")
    stats.add_argument(
        "--beside", type=Path, nargs="+", default=[], metavar="FILE", help="other sets, in the same table"
    )
    stats.add_argument("--plot", type=Path, metavar="FILE.svg", help="cameras by domain, and lengths")
    add_overwrite(stats)
    stats.add_argument(
        "--show", type=int, default=0, metavar="N", help="print N at random with their nearest neighbours"
    )
    stats.add_argument("--seed", type=int, default=0, help="of --show")
    for action in (check, stats):
        action.add_argument(
            "sets", nargs="*", metavar="SET", help="world, dynamic, or a .txt or .jsonl file (default: both)"
        )
    _add_write(actions.add_parser("write", help="have a language model write more", description=_WRITE))


def run(args: argparse.Namespace) -> int:
    """Do what was asked. Raises InputError for sets with faults and for files that cannot be read."""
    for name, what in (("sets", "the set"), ("against", "--against"), ("beside", "--beside")):
        check_distinct(getattr(args, name, ()), what=what)
    return {"check": _check, "stats": _stats, "write": _write}[args.action](args)


def _check(args: argparse.Namespace) -> int:
    from worldr1.data.check import check_lengths, check_records, check_texts
    from worldr1.data.sets import load_prompts

    records, prompts = _load(args.sets)
    away = [prompt.text for path in args.against for prompt in load_prompts(str(path))]
    count = _token_counter(args.tokenizer)
    others = {f"prompt {number}": text for number, text in enumerate(prompts)}
    complaints = check_records(records)
    complaints += check_texts({record.id: record.scene for record in records}, against=[_scene(text) for text in away])
    complaints += check_texts({f"{r.id} (enriched)": r.enriched for r in records if r.enriched}, against=away)
    complaints += check_texts(others, against=away)
    if count is not None:
        complaints += check_lengths({record.id: record.text(enriched=True) for record in records} | others, count)
    for complaint in complaints:
        print(complaint)
    if complaints:
        raise InputError(f"{len(complaints)} faults; mend the lines above.")
    print(f"{len(records) + len(prompts)} prompts, no fault")
    return 0


def _stats(args: argparse.Namespace) -> int:
    import torch

    if args.show < 0:
        raise InputError(f"--show must be at least 0, got {args.show}")
    if args.plot is not None:
        check_file(args.plot, option="--plot", suffix=".svg", overwrite=args.overwrite)
    from worldr1.data.sets import load_prompts
    from worldr1.data.similarity import nearest
    from worldr1.data.statistics import balance_table, text_statistics, text_table, token_table
    from worldr1.seeding import make_generator

    records, prompts = _load(args.sets)
    found = {}
    if records:
        print(balance_table(records))
        print(token_table(records))
        found["scenes"] = text_statistics([record.scene for record in records])
        if long := [record.enriched for record in records if record.enriched]:
            found["enriched"] = text_statistics(long)
    if prompts:
        found["other prompts"] = text_statistics([_scene(text) for text in prompts])
    names = [path.name for path in args.beside]
    for path in args.beside:
        label = path.name if names.count(path.name) == 1 else str(path)
        found[label] = text_statistics([_scene(prompt.text) for prompt in load_prompts(str(path))])
    print(text_table(found))
    if args.plot is not None:
        _plot(args.plot, records)
    if args.show:
        texts = [record.scene for record in records] + [_scene(text) for text in prompts]
        order = torch.randperm(len(texts), generator=make_generator(args.seed, "prompts-shown"))[: args.show].tolist()
        for pair in nearest(texts, order):
            print(f"{texts[pair.first]}\n    nearest ({pair.similarity:.2f}): {texts[pair.second]}")
    return 0


def _add_write(write: argparse.ArgumentParser) -> None:
    write.add_argument("--out", type=Path, required=True, metavar="FILE", help="the set, a .jsonl file that grows")
    write.add_argument("--num", type=int, required=True, metavar="N", help="scenes in the plan")
    write.add_argument("--set", default="world", choices=("world", "dynamic"), help="default: world")
    write.add_argument("--split", default="train", choices=("train", "test"), help="default: train")
    write.add_argument("--enriched", type=float, default=0.15, metavar="SHARE", help=_ENRICHED)
    write.add_argument("--seed", type=int, default=0, help="of the plan (default: 0)")
    write.add_argument("--base-url", required=True, metavar="URL", help="without chat/completions")
    write.add_argument("--model", required=True, metavar="NAME", help="as the server names it")
    write.add_argument("--batch", type=int, default=10, metavar="N", help="scenes per request (default: 10)")
    write.add_argument("--dry-run", action="store_true", help="print the first request and the plan; ask nobody")


def _write(args: argparse.Namespace) -> int:
    from worldr1.data.chat import ChatClient, ChatConfig
    from worldr1.data.planning import plan_cards
    from worldr1.data.sets import NAMES, load_records
    from worldr1.data.statistics import balance_table, token_table
    from worldr1.data.writing import SetFile, WritingConfig, messages_for, unwritten, write_scenes

    cards = plan_cards(args.set, args.num, seed=args.seed, split=args.split, enriched_share=args.enriched)
    client = ChatClient(ChatConfig(base_url=args.base_url, model=args.model, key=os.environ.get(_KEY) or None))
    config = WritingConfig(batch=args.batch)
    output = SetFile(args.out)
    if args.dry_run:
        first = messages_for(unwritten(cards, output.records)[: config.batch], output.records)
        planned = [card.record() for card in cards]
        print(json.dumps(client.body(first), indent=2, ensure_ascii=False))
        print(f"\n{balance_table(planned)}\n{token_table(planned)}", end="")
        return 0
    packaged = [record for name in NAMES for split in ("train", "test") for record in load_records(name, split)]
    done = write_scenes(
        output, cards, client.ask, others=packaged, config=config, report=lambda line: print(line, file=sys.stderr)
    )
    left = f", {len(done.given_up)} given up: run again to try those anew" if done.given_up else ""
    print(f"{done.num_written} scenes written, {len(output.records)} in {args.out}{left}")
    return 0


def _plot(path: Path, records: "Sequence[SceneRecord]") -> None:
    from worldr1.data.plot import stats_svg

    if not records:
        raise InputError("--plot draws domains and cameras: name a packaged set or a .jsonl file of ours.")
    path.write_text(stats_svg(records), encoding="utf-8")
    print(f"plot: {path}")


def _load(sets: list[str]) -> "tuple[list[SceneRecord], list[str]]":
    """Records of the packaged sets named (all if none is) and of files of ours, and the prompts of other files."""
    from worldr1.data.sets import NAMES, load_file, load_records

    records: list[SceneRecord] = []
    prompts: list[str] = []
    for name in sets or NAMES:
        if name in NAMES:
            records += load_records(name, "train") + load_records(name, "test")
            continue
        found, texts = load_file(Path(name))
        if not found and not texts:
            raise InputError(f"{name} has no prompts.")
        records, prompts = records + found, prompts + texts
    return records, prompts


def _scene(text: str) -> str:
    """Without camera words; as it is if they are not understood."""
    from worldr1.camera.motion import scene_text
    from worldr1.errors import PromptError

    try:
        return scene_text(text)
    except PromptError:
        return text


def _token_counter(folder: Path | None) -> Callable[[str], int] | None:
    if folder is None:
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no tokenizer; give the folder `tokenizer` of a Wan model.") from error
    return lambda text: len(tokenizer(text).input_ids)
