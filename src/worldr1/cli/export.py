"""`worldr1 export`: a trained LoRA as a file for ComfyUI and diffusers, or merged into its base; with a model card."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldr1.cli.places import add_overwrite, check_absent, check_file, check_parent
from worldr1.cli.progress import bar
from worldr1.errors import InputError

if TYPE_CHECKING:
    from worldr1.train.merging import Merged

_ABOUT = """native: the original Wan repository's names, with alpha; ComfyUI and diffusers both read it. diffusers: the
names and metadata that WanPipeline.load_lora_weights reads, which is also what train writes. merged: a whole pipeline
folder with the LoRA in its weights, each in the type it had; it is as large as the base. A model card is written beside
the export (FILE.md, or README.md in the folder)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `export`."""
    parser.description = _ABOUT
    parser.add_argument("lora", metavar="LORA", help="adapter.safetensors of a run, or mini-r1: the packaged one")
    parser.add_argument(
        "--format", choices=("native", "diffusers", "merged"), default="native", help="(default: native)"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="PATH", help="FILE.safetensors; of merged the folder to make"
    )
    parser.add_argument(
        "--model",
        metavar="DIR",
        help="the base's pipeline folder, or mini: merged needs it; else it is checked that the LoRA fits",
    )
    add_overwrite(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Write the export and its card; 0. Raises InputError for unusable files, folders and places."""
    from worldr1.backends.architectures import find_architecture
    from worldr1.shipped import find_adapter
    from worldr1.train.adapter_file import BaseShape, check_base, read_adapter, save_adapter
    from worldr1.train.lora_formats import adapter_layers, save_native
    from worldr1.train.model_card import model_card

    source = find_adapter(args.lora)
    card: Path = args.out / "README.md"
    if args.format != "merged":  # whose place is held against the base's
        card = _check_file_place(args.out, source, overwrite=args.overwrite)
    info, state = read_adapter(source)
    model: str = args.model or ""
    architecture = find_architecture(model)
    if architecture is not None:  # before its gigabytes are fetched
        if architecture.kind != "wan":
            raise InputError(f"--model {model} takes no LoRA: they are made for Wan alone")
        check_base(source, info, state, BaseShape.of_config(architecture.transformer.config), model=model)
    base = _base(args.model)
    if base is not None and (shape := BaseShape.of_folder(base)) is not None:
        check_base(source, info, state, shape, model=model)
    facts: dict[str, Any] = {"layers": len(adapter_layers(state))}
    merged: Merged | None = None
    if args.format == "merged":
        if base is None:
            raise InputError(f"--format merged needs the base: give --model DIR, the pipeline folder of {info.base}.")
        _check_folder_place(args.out, base, overwrite=args.overwrite)
        merged = _merge(base, args.out, state, info)
        facts |= {"dtype": merged.dtype, "rounding": merged.rounding}
    else:
        save = save_native if args.format == "native" else save_adapter
        save(args.out, state, info)
    card.write_text(model_card(info, args.format, args.out.name, merged=merged), encoding="utf-8")
    facts |= {"base": info.base, "rank": info.config.rank, "alpha": info.config.alpha}
    if args.json:
        print(json.dumps({"format": args.format, "out": str(args.out), "card": str(card), **facts}))
        return 0
    print(f"{args.format}: {facts['layers']} layers of {info.base}, scale {info.config.scale:g}")
    if merged is not None and merged.rounding:
        print(f"rounding to {merged.dtype}, the base's type, lost {merged.rounding:.1%} of the change")
    print(args.out, card, sep="\n")
    return 0


def _base(model: str | None) -> Path | None:
    if model is None:
        return None
    from worldr1.backends.mini import mini_base
    from worldr1.backends.model_folder import check_folder, find_folder

    folder = mini_base() if model == "mini" else find_folder(model)
    check_folder(folder, pipeline="WanPipeline")
    return folder


def _check_file_place(out: Path, source: Path, *, overwrite: bool) -> Path:
    """The card's place."""
    if out.exists() and out.samefile(source):
        raise InputError(f"--out {out} is the LoRA itself: choose another --out")
    check_file(out, suffix=".safetensors", overwrite=overwrite)
    card = out.with_suffix(".md")
    if card.is_dir():
        raise InputError(f"{card} is a folder: choose another --out")
    check_absent(card, overwrite=overwrite)
    return card


def _check_folder_place(out: Path, base: Path, *, overwrite: bool) -> None:
    check_parent(out)
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"the folder {out.parent} cannot be written: choose another --out")
    here, there = out.resolve(), base.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise InputError(f"--out {out} and the base {base} lie in one another: choose another --out")
    if out.is_file():
        raise InputError(f"--out {out} is a file: merged makes a folder, choose another --out")
    if not out.is_dir() or not any(out.iterdir()):
        return
    check_absent(out, overwrite=overwrite)
    if not (out / "model_index.json").is_file():
        raise InputError(f"{out} holds something else than a model, so it is not replaced: choose another --out")


def _merge(base: Path, out: Path, state: Any, info: Any) -> "Merged":
    from worldr1.train.merging import merge_folder

    with bar("merging") as update:
        return merge_folder(base, out, state, info, on_progress=lambda done, total: update(completed=done, total=total))
