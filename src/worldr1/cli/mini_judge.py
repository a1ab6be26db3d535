"""`worldr1 mini judge`: the base model, a run's adapter and the rendered truth, judged by a 3D model of its own."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from worldr1.cli.options import check_distinct
from worldr1.cli.places import add_overwrite, check_absent, make_folder
from worldr1.cli.progress import bar
from worldr1.digests import file_sha256
from worldr1.errors import InputError

if TYPE_CHECKING:  # the models' libraries take seconds to import: --help does not wait for them
    from worldr1.build import ExperimentConfig, PromptConfig
    from worldr1.evaluate.evaluation import EvaluationConfig, Reward
    from worldr1.evaluate.fitting import ClipSize
    from worldr1.evaluate.judging.judge import Judge, Source
    from worldr1.evaluate.judging.targets import TargetRow, Trial
    from worldr1.evaluate.known_records import KnownRecords
    from worldr1.evaluate.records import Evaluation
    from worldr1.mini.scenes import Scenes
    from worldr1.types import Prompt

JUDGE, OWN = "judge", "reward"
BEST = "best-of-n"
DATA_FILE, TABLE_FILE = "judging.json", "table.md"
TITLES = {JUDGE: "By the judge, which no reward met", OWN: "By the reward's own 3D model"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mini judge`."""
    parser.add_argument("--run", type=Path, required=True, nargs="+", metavar="DIR", help="run folders of one recipe")
    parser.add_argument("--lora", type=Path, metavar="FILE", help="another adapter than the (one) run's result")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for judging.json, table.md, records")
    parser.add_argument("--prompts", type=int, metavar="N", help="static prompts (default: the recipe's test prompts)")
    parser.add_argument("--dynamic-prompts", type=int, metavar="N", help="dynamic ones (default: likewise)")
    parser.add_argument("--stream", default="test", help="list of prompts; training's is called train (default: test)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="of start noises (default: the recipe's one)")
    parser.add_argument(
        "--best-of", type=int, metavar="N", help="judge the base's best of N by the recipe's reward too"
    )
    parser.add_argument("--weights", type=Path, metavar="DIR", help="of judge.safetensors and probe.safetensors")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    for name in ("frames", "height", "width"):
        parser.add_argument(f"--{name}", type=int, metavar="N", help="of the clips (default: the recipe's)")
    parser.add_argument(
        "--reuse",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="earlier --out folders: what was filmed and judged alike there is taken over; if --out itself is one of "
        "them, the rest of it is replaced",
    )
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Judge everything and print the table. Raises InputError for runs, adapters or judges that cannot be used."""
    from worldr1.assembly import prompts_with_scenes
    from worldr1.build import build_policy, build_reward, choose_device

    if args.best_of is not None and args.best_of < 1:
        raise InputError(f"--best-of {args.best_of} is no video: choose among at least 1.")
    check_distinct(args.seeds or (), what="--seeds")
    goes_on = args.out.resolve() in (folder.resolve() for folder in args.reuse)
    check_absent(args.out / DATA_FILE, args.out / TABLE_FILE, overwrite=args.overwrite or goes_on)
    device, config = choose_device(args.device), _recipe(args.run, with_reward=args.best_of is not None)
    config = _with_clip(args, config)
    adapters = _adapters(args)
    judges = _judges(device, args.weights)
    prompts, scenes = prompts_with_scenes(_numbers(args, config.prompts), args.stream)
    print(f"{len(prompts)} prompts, {len(adapters)} adapter(s), on {device}", file=sys.stderr)
    policies = [build_policy(config.model, device, lora=lora) for lora in (None, *adapters)]
    policies[0].latent_shape(*_clip(config))  # that the model can make such clips, before the truth is rendered
    make_folder(args.out)
    seeds = args.seeds or [config.prompts.seed]
    best_of = None if args.best_of is None else (args.best_of, build_reward(config.reward, device, config.clip))
    known = _known(args, config, device, prompts, adapters)
    sha256_of = known.facts["judges_sha256"]
    films = _Films(config, judges, prompts, args.out, best_of, known)
    judged = films.judge_all(policies, {key: scene.to(device) for key, scene in scenes.items()}, seeds)
    facts = {
        "runs": [str(folder) for folder in args.run],
        "adapters_sha256": [sha256 for sha256 in known.sources.values() if sha256],
        "judges_sha256": {path.name: sha256_of[path.name] for path in _judge_files(args.weights) if path.is_file()},
        "stream": args.stream,
        "num_prompts": len(prompts),
        "prompts_sha256": known.facts["prompts_sha256"],
        "seeds": seeds,
        "clip": list(_clip(config)),
    }
    print(_write(args.out, facts, judged))
    return 0


# ----------------------------------------------------------------------------------------------------- what is judged


def _recipe(runs: Sequence[Path], *, with_reward: bool) -> "ExperimentConfig":
    from worldr1.build import load_experiment
    from worldr1.train.checkpoint import RECIPE_FILE

    for folder in runs:
        if not (folder / RECIPE_FILE).is_file():
            raise InputError(f"{folder} holds no run: give the folder that train --out wrote.")
    configs = [load_experiment(str(folder / RECIPE_FILE)) for folder in runs]
    first = configs[0]
    if any(
        (c.model, c.clip, c.prompts, c.noise, c.sampler)
        != (first.model, first.clip, first.prompts, first.noise, first.sampler)
        for c in configs
    ):
        raise InputError("The runs differ in model, clip, prompts, noise or sampler: judge them one by one.")
    if with_reward and any(c.reward != first.reward for c in configs):
        raise InputError("The runs differ in their reward: give --best-of one of them.")
    return first


def _with_clip(args: argparse.Namespace, config: "ExperimentConfig") -> "ExperimentConfig":
    """With the clips that were asked for. Raises InputError for those that the judge cannot look at."""
    from worldr1.evaluate.resampled import check_resampling

    asked = {name: n for name in ("frames", "height", "width") if (n := getattr(args, name)) is not None}
    if not asked:
        return config
    if args.best_of is not None:
        raise InputError("--best-of chooses by the reward, which knows the recipe's clips only: leave out their size.")
    config = replace(config, clip=replace(config.clip, **asked))
    check_resampling(_clip(config), _judged_size())
    return config


def _clip(config: "ExperimentConfig") -> tuple[int, int, int]:
    return config.clip.frames, config.clip.height, config.clip.width


def _judged_size() -> "ClipSize":
    from worldr1.backends.mini import CLIP_SIZE
    from worldr1.evaluate.fitting import ClipSize

    frames, height, width = CLIP_SIZE
    return ClipSize(num_frames=frames, height=height, width=width)


def _known(
    args: argparse.Namespace,
    config: "ExperimentConfig",
    device: str,
    prompts: "Sequence[Prompt]",
    adapters: Sequence[Path],
) -> "KnownRecords":
    """What decides every record but the side and the start noise."""
    import torch

    from worldr1 import __version__
    from worldr1.assembly import prompts_sha256
    from worldr1.backends.mini import mini_weights
    from worldr1.evaluate.known_records import KnownRecords

    files = [*_judge_files(args.weights), mini_weights() / "reconstructor.safetensors"]
    facts = {
        "worldr1": __version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "recipe": {name: asdict(getattr(config, name)) for name in ("model", "clip", "noise", "sampler")},
        "batch": config.train.decode_batch,
        "judges_sha256": {path.name: file_sha256(path) for path in files if path.is_file()},
        "prompts_sha256": prompts_sha256(prompts),
    }
    adapter_of = {f"trained-{number}": file_sha256(path) for number, path in enumerate(adapters)}
    sources = {"base": "", "truth": "", **adapter_of}
    return KnownRecords.read(args.reuse, facts, sources)


def _adapters(args: argparse.Namespace) -> list[Path]:
    from worldr1.shipped import FINAL
    from worldr1.train.adapter_file import ADAPTER_FILE, read_adapter

    if args.lora is not None and len(args.run) > 1:
        raise InputError("--lora stands in for the result of one run: give one --run folder.")
    found = [args.lora] if args.lora is not None else [folder / FINAL / ADAPTER_FILE for folder in args.run]
    check_distinct(args.run, what="--run")  # as two runs they would make the intervals too narrow
    for path in found:
        read_adapter(path)  # before minutes of filming
    return found


def _numbers(args: argparse.Namespace, recipe: "PromptConfig") -> "PromptConfig":
    static = recipe.test if args.prompts is None else args.prompts
    dynamic = recipe.test_dynamic if args.dynamic_prompts is None else args.dynamic_prompts
    return replace(recipe, test=static, test_dynamic=dynamic)


# ------------------------------------------------------------------------------------------------------------ judging


def _judge_files(weights: Path | None) -> list[Path]:
    from worldr1.backends.mini import mini_weights

    return [(weights or mini_weights()) / f"{name}.safetensors" for name in ("judge", "probe")]


def _judges(device: str, weights: Path | None) -> "dict[str, Judge]":
    """The judge, which the probe helps where there is one, and beside it the reward's own 3D model."""
    from worldr1.backends.mini import load_reconstructor
    from worldr1.build import build_judge, build_renderer
    from worldr1.evaluate.judging.judge import Judge

    own = Judge(load_reconstructor(device), build_renderer(device))
    return {JUDGE: build_judge(device, weights=weights), OWN: own}


class _Judged(NamedTuple):
    """Trials by judge, one per adapter and start noise."""

    trained: "dict[str, list[Trial]]"
    best: "dict[str, list[Trial]]"
    """With the base's best of N as the trained side; empty without --best-of."""
    chosen: dict[str, Any] | None
    """What choosing the best took."""


@dataclass(frozen=True, slots=True)
class _Films:
    """Films, judges and keeps the records."""

    config: "ExperimentConfig"
    judges: "Mapping[str, Judge]"
    prompts: "Sequence[Prompt]"
    out: Path
    best_of: "tuple[int, Reward] | None"
    """N and the reward that chooses."""
    known: "KnownRecords"
    """Of earlier judgings."""

    def judge_all(
        self, policies: Sequence[Any], scenes: "Mapping[tuple[int, bool], Scenes]", seeds: Sequence[int]
    ) -> _Judged:
        """policies: the base, then trained ones."""
        from worldr1.build import evaluation_config
        from worldr1.evaluate.evaluation import plan_tasks
        from worldr1.evaluate.judging.best_of_n import BestOfN
        from worldr1.evaluate.judging.targets import Trial

        sources = self._sources(policies, scenes)
        chooser = None if self.best_of is None else BestOfN(sources["base"], self.best_of[1], self.best_of[0])
        if chooser is not None:
            sources[BEST] = chooser
        trained: dict[str, list[Trial]] = {name: [] for name in self.judges}
        best: dict[str, list[Trial]] = {name: [] for name in self.judges if chooser is not None}
        for seed in seeds:
            config = evaluation_config(self.config, seed=seed)
            tasks = plan_tasks(self.prompts, config)
            found = {side: self._judge(side, source, tasks, config) for side, source in sources.items()}
            for name in self.judges:
                trials = {side: Trial(found["base"][name], found[side][name], found["truth"][name]) for side in sources}
                trained[name] += [trial for side, trial in trials.items() if side.startswith("trained")]
                if chooser is not None:
                    best[name].append(trials[BEST])
        return _Judged(trained, best, None if chooser is None else chooser.facts())

    def _sources(self, policies: Sequence[Any], scenes: "Mapping[tuple[int, bool], Scenes]") -> "dict[str, Source]":
        """By side: "truth", "base", "trained-0", ..."""
        from worldr1.backends.wan import decode_latents, encode_video
        from worldr1.build import evaluation_config
        from worldr1.evaluate.evaluation import film
        from worldr1.evaluate.judging.judge import RenderedTruth
        from worldr1.rollout.start_noise import PlanCache

        plans, vae = PlanCache(), policies[0].vae
        config = evaluation_config(self.config, seed=0)  # the start noise's seed is each task's own
        truth = RenderedTruth(scenes, config.clip, lambda video: decode_latents(vae, encode_video(vae, video)))
        sides = ["base", *(f"trained-{number}" for number in range(len(policies) - 1))]
        models = {
            side: lambda tasks, p=policy: film(p, tasks, config, plans)
            for side, policy in zip(sides, policies, strict=True)
        }
        return {"truth": truth, **models}

    def _judge(
        self, side: str, source: "Source", tasks: Sequence[Any], config: "EvaluationConfig"
    ) -> "dict[str, Evaluation]":
        from worldr1.evaluate.judging.judge import judge_source
        from worldr1.evaluate.resampled import Resampled

        size = _judged_size()
        if config.clip != (size.num_frames, size.height, size.width):
            source = Resampled(source=source, clip=config.clip, size=size)
            tasks = source.judged(tasks)
        found = self.known.find(side, config.seed, self.judges, tasks)
        if found is None:
            with bar(f"{side}, start noise {config.seed}", len(tasks)) as show:
                found = judge_source(
                    source, tasks, self.judges, config=config, on_progress=lambda done, _: show(completed=done)
                )
        else:
            print(f"{side}, start noise {config.seed}: judged alike before", file=sys.stderr)
        for name, evaluation in found.items():
            self.known.save(evaluation, self.out / "records" / name / f"{side}-noise-{config.seed}", side, config.seed)
        return found


# ------------------------------------------------------------------------------------------------------------- output


def _write(out: Path, facts: dict[str, Any], judged: _Judged) -> str:
    """judging.json and table.md; returns the latter's text."""
    from worldr1.evaluate.judging.tables import best_of_line, rows_as_json
    from worldr1.evaluate.judging.targets import target_rows

    rows = {name: target_rows(trials) for name, trials in judged.trained.items()}
    best_rows = {name: target_rows(trials) for name, trials in judged.best.items()}
    record = facts | {"judges": {name: rows_as_json(found) for name, found in rows.items()}}
    text = [
        "# Judged",
        f"{facts['num_prompts']} prompts of the list {facts['stream']!r} (sha256 {facts['prompts_sha256'][:12]}), "
        f"start noises {facts['seeds']}, runs {', '.join(facts['runs'])}. Intervals resample prompts.",
    ]
    for name, found in rows.items():
        text += [f"## {TITLES[name]}", *_tables(found, judged.trained[name], "trained")]
    if judged.chosen is not None:
        record[BEST] = judged.chosen | {"judges": {name: rows_as_json(found) for name, found in best_rows.items()}}
        side = f"best of {judged.chosen['num']}"
        for name, found in best_rows.items():
            text += [f"## {TITLES[name]}: the base model's {side}", best_of_line(judged.chosen)]
            text += _tables(found, judged.best[name], side)
    out.mkdir(parents=True, exist_ok=True)
    (out / DATA_FILE).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    page = "\n\n".join(text) + "\n"
    (out / TABLE_FILE).write_text(page, encoding="utf-8")
    return page


def _tables(rows: "Sequence[TargetRow]", trials: "Sequence[Trial]", trained: str) -> list[str]:
    """Targets and means; trained: what the side beside base and truth is called."""
    from worldr1.evaluate.judging.tables import markdown_table, means_table

    names = {"base": "base", "trained": trained, "truth": "truth"}
    sides = {
        name: [record for trial in trials for record in getattr(trial, side).records] for side, name in names.items()
    }
    return [markdown_table(rows, trained=trained).rstrip(), means_table(sides).rstrip()]
