"""`worldr1 mini`: build the mini world's models, judge what training did and cost, or render scenes to watch."""

import argparse
import math
from pathlib import Path

from worldr1.cli import mini_cost, mini_judge
from worldr1.cli.places import add_overwrite, check_absent, make_folder
from worldr1.errors import InputError

PARTS = ("corpus", "vae", "reconstructor", "judge", "probe", "base", "trunk", "presence", "pack", "unpack")
FILE_PARTS = ("pack", "unpack")
"""These move files and need no GPU."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`mini build PART`, `mini judge`, `mini cost`, `mini ship RUN` and `mini render`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|judge|cost|ship|render")
    build = actions.add_parser("build", help="train one part of the mini world, resumable (one GPU, minutes a part)")
    build.add_argument(
        "part",
        choices=PARTS,
        help="in this order: " + ", ".join(PARTS[:-1]) + "; unpack: begin from the shipped weights",
    )
    build.add_argument("--state", type=Path, required=True, help="folder for corpora and training state (20 GB)")
    build.add_argument("--out", type=Path, required=True, help="folder for weights, metrics and pictures")
    build.add_argument("--seconds", type=float, default=400.0, help="training time of this run")
    build.add_argument("--total", type=float, help="training time over all runs (default: --seconds)")
    build.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    build.add_argument("--clips", type=int, default=24_000)
    build.add_argument("--batch", type=int, default=32)
    build.add_argument(
        "--transported-share", type=float, default=0.5, metavar="P", help="of the base's examples (default: 0.5)"
    )
    build.add_argument("--workers", type=int, default=1, help="processes that draw the critic's pictures")
    mini_judge.add_arguments(
        actions.add_parser("judge", help="base, trained model and rendered truth by a judge that no reward met")
    )
    mini_cost.add_arguments(
        actions.add_parser("cost", help="what inference costs with a LoRA, with it merged, and without one")
    )
    ship = actions.add_parser("ship", help="put a finished run's adapter and evaluations into the package")
    ship.add_argument("run", type=Path, help="its folder")
    render = actions.add_parser("render", help="write rendered clips (mp4) and their prompts")
    render.add_argument("--out", type=Path, required=True, help="folder for the clips")
    render.add_argument("--num", type=int, default=8)
    render.add_argument("--seed", type=int, default=0)
    render.add_argument("--imperfect", action="store_true", help="with the corpus's share of inconsistent clips")
    add_overwrite(render)


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    return {
        "build": _build,
        "judge": mini_judge.run,
        "cost": mini_cost.run,
        "ship": _ship,
        "render": _render,
    }[args.action](args)


def _build(args: argparse.Namespace) -> int:
    import torch

    from worldr1.pretrain.build import build
    from worldr1.pretrain.parts import BuildConfig

    if args.device == "cuda" and args.part not in FILE_PARTS and not torch.cuda.is_available():
        raise InputError("this machine has no CUDA GPU; give --device cpu (slow) or use another machine")
    for name in ("seconds", "total", "clips", "batch", "workers"):
        if (number := getattr(args, name)) is not None and not 0 < number < math.inf:
            raise InputError(f"--{name} must be above 0, got {number}")
    if not 0 <= args.transported_share <= 1:
        raise InputError(f"--transported-share must lie between 0 and 1, got {args.transported_share}")
    config = BuildConfig(
        state=args.state,
        out=args.out,
        seconds=args.seconds,
        total_s=args.total or args.seconds,
        device=args.device,
        clips=args.clips,
        batch=args.batch,
        workers=args.workers,
        transported_share=args.transported_share,
    )
    build(args.part, config)
    return 0


def _ship(args: argparse.Namespace) -> int:
    from worldr1.shipped import ship

    print(f"the packaged weights are now {ship(args.run)['megabytes']} MB")
    return 0


def _render(args: argparse.Namespace) -> int:
    from worldr1.pretrain.corpus import Imperfection, build_corpus
    from worldr1.video_io import write_mp4

    if args.num < 1:
        raise InputError("--num must be at least 1")
    clips, prompts = [args.out / f"{index:04d}.mp4" for index in range(args.num)], args.out / "prompts.txt"
    check_absent(*clips, prompts, overwrite=args.overwrite)
    make_folder(args.out)
    corpus = build_corpus(args.num, seed=args.seed, device="cpu", imperfect=args.imperfect, batch=4)
    for index, (path, prompt) in enumerate(zip(clips, corpus.prompts, strict=True)):
        write_mp4(path, corpus.video[index].float() / 255, upscale=4)
        flaw = Imperfection(int(corpus.imperfection[index])).name.lower()
        print(f"{path}  {prompt}" + (f"  [{flaw}]" if flaw != "none" else ""))
    prompts.write_text("\n".join(corpus.prompts) + "\n")
    return 0
