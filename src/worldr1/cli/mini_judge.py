"""`worldr1 mini judge`: the base model, a run's adapter and the rendered truth, judged by a 3D model of its own."""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldr1.errors import InputError

if TYPE_CHECKING:  # the models' libraries take seconds to import: --help does not wait for them
    from worldr1.build import ExperimentConfig, PromptConfig
    from worldr1.evaluate.evaluation import EvaluationConfig
    from worldr1.evaluate.judging import Judge, Source
    from worldr1.evaluate.records import Evaluation
    from worldr1.evaluate.targets import Trial
    from worldr1.mini.scenes import Scenes
    from worldr1.types import Prompt

JUDGE, OWN = "judge", "reward"
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
    parser.add_argument("--weights", type=Path, metavar="DIR", help="of judge.safetensors and probe.safetensors")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def run(args: argparse.Namespace) -> int:
    """Judge everything and print the table. Raises InputError for runs, adapters or judges that cannot be used."""
    from worldr1.build import build_policy, choose_device
    from worldr1.evaluate.targets import target_rows

    device, config = choose_device(args.device), _recipe(args.run)
    adapters = _adapters(args)
    judges = _judges(device, args.weights)
    prompts, scenes = prompts_with_scenes(_numbers(args, config.prompts), args.stream)
    print(f"{len(prompts)} prompts, {len(adapters)} adapter(s), on {device}", file=sys.stderr)
    policies = [build_policy(config.model, device, lora=lora) for lora in (None, *adapters)]
    seeds = args.seeds or [config.prompts.seed]
    films = _Films(config, judges, prompts, args.out)
    trials = films.judge_all(policies, {key: scene.to(device) for key, scene in scenes.items()}, seeds)
    facts = {
        "runs": [str(folder) for folder in args.run],
        "adapters_sha256": [_sha256(path) for path in adapters],
        "judges_sha256": {path.name: _sha256(path) for path in _judge_files(args.weights) if path.is_file()},
        "stream": args.stream,
        "num_prompts": len(prompts),
        "prompts_sha256": hashlib.sha256("\n".join(prompt.text for prompt in prompts).encode()).hexdigest(),
        "seeds": seeds,
    }
    rows = {name: target_rows(found) for name, found in trials.items()}
    print(_write(args.out, facts, rows, trials))
    return 0


# ----------------------------------------------------------------------------------------------------- what is judged


def _recipe(runs: Sequence[Path]) -> "ExperimentConfig":
    from worldr1.build import load_experiment
    from worldr1.train.checkpoint import RECIPE_FILE

    configs = [load_experiment(str(folder / RECIPE_FILE)) for folder in runs]
    first = configs[0]
    if any(
        (c.model, c.clip, c.prompts, c.noise, c.sampler)
        != (first.model, first.clip, first.prompts, first.noise, first.sampler)
        for c in configs
    ):
        raise InputError("The runs differ in model, clip, prompts, noise or sampler: judge them one by one.")
    return first


def _adapters(args: argparse.Namespace) -> list[Path]:
    from worldr1.shipped import FINAL
    from worldr1.train.lora import ADAPTER_FILE, read_adapter

    if args.lora is not None and len(args.run) > 1:
        raise InputError("--lora stands in for the result of one run: give one --run folder.")
    found = [args.lora] if args.lora is not None else [folder / FINAL / ADAPTER_FILE for folder in args.run]
    for path in found:
        read_adapter(path)  # before minutes of filming
    return found


def _numbers(args: argparse.Namespace, recipe: "PromptConfig") -> "PromptConfig":
    static = recipe.test if args.prompts is None else args.prompts
    dynamic = recipe.test_dynamic if args.dynamic_prompts is None else args.dynamic_prompts
    return replace(recipe, test=static, test_dynamic=dynamic)


def prompts_with_scenes(
    numbers: "PromptConfig", stream: str = "test"
) -> "tuple[list[Prompt], dict[tuple[int, bool], Scenes]]":
    """The prompts that `session` tests with (stream "test"), and the scene of each by (id, dynamic)."""
    from worldr1.mini.promptset import unseen_scenes
    from worldr1.session import training_prompts

    train = training_prompts(numbers)
    known = {prompt.text for prompt in (*train.main, *train.dynamic)}
    kept = unseen_scenes((numbers.test, numbers.test_dynamic), seed=numbers.seed, stream=stream, known=known)
    return [prompt for prompt, _ in kept], {(prompt.id, prompt.dynamic): scene for prompt, scene in kept}


# ------------------------------------------------------------------------------------------------------------ judging


def _judge_files(weights: Path | None) -> list[Path]:
    from worldr1.backends.mini import mini_weights

    return [(weights or mini_weights()) / f"{name}.safetensors" for name in ("judge", "probe")]


def _judges(device: str, weights: Path | None) -> "dict[str, Judge]":
    """The judge, which the probe helps where there is one, and beside it the reward's own 3D model."""
    from worldr1.backends.mini import load_reconstructor
    from worldr1.build import build_judge, build_renderer
    from worldr1.evaluate.judging import Judge

    own = Judge(load_reconstructor(device), build_renderer(device))
    return {JUDGE: build_judge(device, weights=weights), OWN: own}


@dataclass(frozen=True, slots=True)
class _Films:
    """Films, judges and keeps the records."""

    config: "ExperimentConfig"
    judges: "Mapping[str, Judge]"
    prompts: "Sequence[Prompt]"
    out: Path

    def judge_all(
        self, policies: Sequence[Any], scenes: "Mapping[tuple[int, bool], Scenes]", seeds: Sequence[int]
    ) -> "dict[str, list[Trial]]":
        """By judge: one trial per trained policy (all but the first, which is the base) and start noise."""
        from worldr1.backends.wan import decode_latents, encode_video
        from worldr1.build import evaluation_config
        from worldr1.evaluate.evaluation import film, plan_tasks
        from worldr1.evaluate.judging import RenderedTruth
        from worldr1.evaluate.targets import Trial
        from worldr1.rollout.start_noise import PlanCache

        plans, vae = PlanCache(), policies[0].vae
        clip = self.config.clip.frames, self.config.clip.height, self.config.clip.width
        truth = RenderedTruth(scenes, clip, lambda video: decode_latents(vae, encode_video(vae, video)))
        trials: dict[str, list[Trial]] = {name: [] for name in self.judges}
        for seed in seeds:
            config = evaluation_config(self.config, seed=seed)
            sources: dict[str, Source] = {
                "truth": truth,
                "base": lambda tasks, c=config: film(policies[0], tasks, c, plans),
            }
            for number, policy in enumerate(policies[1:]):
                sources[f"trained-{number}"] = lambda tasks, p=policy, c=config: film(p, tasks, c, plans)
            tasks = plan_tasks(self.prompts, config)
            found = {side: self._judge(side, source, tasks, config) for side, source in sources.items()}
            for name in self.judges:
                trained = [found[side][name] for side in sources if side.startswith("trained")]
                trials[name] += [Trial(found["base"][name], one, found["truth"][name]) for one in trained]
        return trials

    def _judge(
        self, side: str, source: "Source", tasks: Sequence[Any], config: "EvaluationConfig"
    ) -> "dict[str, Evaluation]":
        from worldr1.evaluate.judging import judge_source

        with _bar(f"{side}, start noise {config.seed}", len(tasks)) as show:
            found = judge_source(source, tasks, self.judges, config=config, on_progress=lambda done, total: show(done))
        for name, evaluation in found.items():
            evaluation.save(self.out / "records" / name / f"{side}-noise-{config.seed}")
        return found


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda completed: progress.update(task, completed=completed)


# ------------------------------------------------------------------------------------------------------------- output


def _write(out: Path, facts: dict[str, Any], rows: Mapping[str, Any], trials: "Mapping[str, Sequence[Trial]]") -> str:
    """judging.json and table.md; returns the latter's text."""
    from worldr1.evaluate.judgement_tables import markdown_table, means_table, rows_as_json

    out.mkdir(parents=True, exist_ok=True)
    record = facts | {"judges": {name: rows_as_json(found) for name, found in rows.items()}}
    (out / "judging.json").write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    text = [
        "# Judged",
        f"{facts['num_prompts']} prompts of the list {facts['stream']!r} (sha256 {facts['prompts_sha256'][:12]}), "
        f"start noises {facts['seeds']}, runs {', '.join(facts['runs'])}. Intervals resample prompts.",
    ]
    for name, found in rows.items():
        sides = {
            side: [record for trial in trials[name] for record in getattr(trial, side).records]
            for side in ("base", "trained", "truth")
        }
        text += [f"## {TITLES[name]}", markdown_table(found).rstrip(), means_table(sides).rstrip()]
    page = "\n\n".join(text) + "\n"
    (out / "table.md").write_text(page, encoding="utf-8")
    return page


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
