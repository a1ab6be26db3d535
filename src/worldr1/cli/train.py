"""`worldr1 train`: post-train a model, with an evaluation before and after, and a report."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldr1.errors import InputError, WorldR1Error

if TYPE_CHECKING:
    from worldr1.build import ExperimentConfig
    from worldr1.rewards.remote import RemoteConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `train`."""
    parser.add_argument("recipe", nargs="?", help="packaged recipe or TOML file (default: mini)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/RECIPE)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR, by its own recipe")
    parser.add_argument("--override", action="store_true", help="with --resume: go on although the recipe differs")
    parser.add_argument("--dry-run", action="store_true", help="check and print the resolved recipe, then stop")


def run(args: argparse.Namespace) -> int:
    """Train, or check the recipe. Started by torchrun this is one of several processes, of which rank 0 speaks."""
    from worldr1.torchrun import speaks

    try:
        return _run(args)
    except (WorldR1Error, KeyboardInterrupt) as error:
        if speaks():
            raise
        return 130 if isinstance(error, KeyboardInterrupt) else 2 if isinstance(error, InputError) else 1


def _run(args: argparse.Namespace) -> int:
    from worldr1.build import choose_device, load_experiment
    from worldr1.config import dump_toml
    from worldr1.train.checkpoint import RECIPE_FILE
    from worldr1.train.runlog import check_is_run

    if args.resume is not None:
        _refuse_with_resume(args)
        check_is_run(args.resume)
        config = load_experiment(args.recipe or str(args.resume / RECIPE_FILE), tuple(args.set))
        return _train(config, args.resume, resume=True, override=args.override)
    if args.override:
        raise InputError("--override goes with --resume; leave it out.")
    recipe = args.recipe or "mini"
    config = load_experiment(recipe, tuple(args.set))
    if args.dry_run:
        print(dump_toml(config), end="")
        if config.reward.placement == "remote":
            device = config.device if config.device == "cuda" else choose_device(config.device)
            _say_where(config.reward.remote, device)
        return 0
    return _train(config, args.out or Path("runs") / Path(recipe).stem)


def _train(config: "ExperimentConfig", folder: Path, *, resume: bool = False, override: bool = False) -> int:
    from worldr1.build import choose_device
    from worldr1.config import dump_toml
    from worldr1.session import Session
    from worldr1.train.checkpoint import RECIPE_FILE
    from worldr1.train.ranks import Ranks

    def begun() -> bool:
        """Whether this very run was begun, and torchrun has started its processes again."""
        file = folder / RECIPE_FILE
        return ranks.begun and file.is_file() and file.read_text(encoding="utf-8") == dump_toml(config)

    ranks = Ranks.join(choose_device(config.device))
    try:
        if not resume and ranks.share(begun):
            resume = True
            if ranks.is_first:
                print(f"started again by torchrun: going on with the run in {folder}", file=sys.stderr)
        if resume:
            session = Session.resume(config, folder, ranks, override=override)
        else:
            session = Session.create(config, folder, ranks)
        ranks.mark_begun()
        for line in session.run():
            print(line)
        return 0
    finally:
        ranks.leave()


def _say_where(remote: "RemoteConfig", device: str) -> None:
    """What a run would do with its reward; starts and imports nothing."""
    from worldr1.cluster.ray_actors import HINT, ray_version, where

    version = ray_version()
    known = f"ray {version} is installed" if version else f"Ray is not installed: {HINT}"
    print(f"rewards: {where(remote, device)}; {known}", file=sys.stderr)


def _refuse_with_resume(args: argparse.Namespace) -> None:
    given: Sequence[str] = [name for name, value in (("--out", args.out), ("--dry-run", args.dry_run)) if value]
    if given:
        raise InputError(f"--resume goes on in the run's own folder; leave out {given[0]}.")
