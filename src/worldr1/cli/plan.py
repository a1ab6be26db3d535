"""`worldr1 plan`: memory, seconds and updates of a recipe before it is run, and what to change if it does not fit."""

import argparse
import json
from typing import TYPE_CHECKING

from worldr1.errors import InputError

if TYPE_CHECKING:
    from worldr1.build import ExperimentConfig
    from worldr1.planning.cards import Card


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `plan`."""
    parser.add_argument("recipe", help="packaged recipe or TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="groups are dealt out to so many (default: 1)")
    parser.add_argument("--hours", type=float, default=24.0, metavar="H", help="time for the run (default: 24)")
    parser.add_argument(
        "--gpu", metavar="NAME", help="h200, h100, a100-80gb, rtx4090, ... (default: this machine's, or h100)"
    )
    parser.add_argument("--memory", type=float, metavar="GB", help="of the GPU, if not the usual (GiB, as nvidia-smi)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Print the plan; 0 if the recipe fits. Raises InputError, after the plan is printed, if it does not."""
    from worldr1.build import MINI, load_experiment
    from worldr1.planning.advice import advise
    from worldr1.planning.plan import make_plan
    from worldr1.planning.tables import misfit_sentence, plan_json, plan_text

    config = load_experiment(args.recipe, tuple(args.set))
    if config.model.folder == MINI:
        return _mini(args)
    card = _card(args.gpu, args.memory)
    plan = make_plan(args.recipe, config, card, gpus=args.gpus, hours=args.hours)
    advice = None
    if not plan.fits:

        def load(words: tuple[str, ...]) -> "ExperimentConfig":
            return load_experiment(args.recipe, (*args.set, *words))

        advice = advise(args.recipe, load, card, gpus=args.gpus, hours=args.hours)
    print(json.dumps(plan_json(plan, advice), allow_nan=False) if args.json else plan_text(plan))
    if not plan.fits:
        raise InputError(misfit_sentence(plan, advice))
    return 0


def _mini(args: argparse.Namespace) -> int:
    sentence = (
        f"{args.recipe} trains the packaged mini model, whose networks have 15 million parameters: it fits any machine "
        f"and needs no plan, just run it (worldr1 train {args.recipe})"
    )
    print(json.dumps({"recipe": args.recipe, "fits": True, "notes": [sentence]}) if args.json else sentence)
    return 0


def _card(name: str | None, memory_gib: float | None) -> "Card":
    """The card that was named, or this machine's, or the usual one."""
    import torch

    from worldr1.planning.cards import CARDS, DEFAULT_CARD, find_card, recognise

    if name is not None or not torch.cuda.is_available():
        return find_card(name or DEFAULT_CARD, memory_gib=memory_gib)
    device = torch.cuda.get_device_name()
    found = recognise(device)
    if found is None:
        raise InputError(f"plan does not know this machine's {device}: give --gpu, one of {', '.join(CARDS)}.")
    return find_card(found, memory_gib=memory_gib or torch.cuda.mem_get_info()[1] / 2**30)
