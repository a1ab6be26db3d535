"""Films the same few prompts from the same start noise with every variant, the base model and the rendered truth.

Each lands in an evaluation folder of its own (`evaluate.folder`): films/VARIANT/videos/NNN.mp4, what the judge says of
it, and every frame drawn again from its 3D scene. Numbers are never taken from these few prompts: they are to be seen.
"""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from worldr1 import __version__
from worldr1.assembly import prompts_sha256, prompts_with_scenes
from worldr1.backends.wan import WanPolicy, decode_latents, encode_video
from worldr1.build import (
    ExperimentConfig,
    PromptConfig,
    build_judge,
    build_policy,
    choose_device,
    evaluation_config,
    load_experiment,
)
from worldr1.camera.motion import parse_plan
from worldr1.digests import file_sha256
from worldr1.errors import InputError
from worldr1.evaluate.evaluation import EvaluationConfig, Task, plan_tasks
from worldr1.evaluate.evaluation import film as film_tasks
from worldr1.evaluate.folder import FACTS_FILE, VIDEOS, EvaluationFolder, Facts
from worldr1.evaluate.judging.judge import Judge, RenderedTruth, Source
from worldr1.evaluate.pages.pictures import save_pictures
from worldr1.mini.scenes import Motion, Scenes
from worldr1.reproduce.inventory import finished_runs
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.variants import RECIPE, Variant
from worldr1.rollout.start_noise import PlanCache
from worldr1.train.adapter_file import read_info
from worldr1.train.checkpoint import RECIPE_FILE
from worldr1.types import Prompt, Status
from worldr1.video_io import write_mp4

SUITE = "films"
"""The list of prompts: neither trained on, nor judged."""
BASE, TRUTH = "base", "truth"
"""Folders beside the variants'."""
TITLES = {BASE: "base model", TRUTH: "rendered truth"}
NOISE_SEED = 0
MOVES = ("push_in", "move_left", "orbit_right", "pull_left")
"""Of the camera, in static scenes; a sequence and two dynamic scenes follow."""
DRAWN = (256, 256)
"""Static and dynamic prompts that the films are chosen from."""
TEXTURED_SOLIDS = 2
"""That a scene has at least: solids and textures are what a reward of geometry alone gives up."""
UPSCALE, RATE_FACTOR = 2, 20
"""Of the files, which a page carries by the hundred: chroma is then as fine as the clip's pixels, a file has 20 to 30
kilobytes and loses little (38 to 40 dB)."""


def film(
    layout: Layout,
    variants: Iterable[Variant],
    *,
    device: str = "auto",
    weights: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[EvaluationFolder]:
    """Films with the lowest seed whose adapter is there of every variant, with the base model and of the truth.

    A variant is filmed by its own recipe (without noise transport it is filmed without); prompts and seeds of the noise
    are the same for all. What is filmed already with the same weights is kept; films of other weights are made anew.
    weights: folder of the judge's files; the packaged ones if None. on_progress: called with (videos done, videos in
    all). Several processes may film at once: a folder is one's at a time. Raises InputError for a recipe or an adapter
    that cannot be used.
    """
    sets = _Sets(load_experiment(RECIPE), choose_device(device), weights)
    sides = [_side_of_base(sets), _side_of_truth(sets)]
    for variant in variants:
        runs = [run for run in finished_runs(layout, variant) if run.adapter.is_file()]
        if runs:
            sides.append(_side_of_run(variant, runs[0].seed, runs[0].folder, runs[0].adapter, sets))
    done, total = 0, len(sides) * len(sets.prompts)
    folders = []
    for side in sides:
        folders.append(_film_side(layout.root / "films" / side.name, side, sets))
        done += len(sets.prompts)
        on_progress(done, total)
    return folders


def filmed(layout: Layout, names: Iterable[str]) -> dict[str, EvaluationFolder]:
    """Those of `BASE`, `TRUTH` and variants' names that have films, by name. Raises InputError for damaged ones."""
    found = {}
    for name in names:
        path = layout.root / "films" / name
        if (path / FACTS_FILE).is_file():
            try:
                found[name] = EvaluationFolder.load(path)
            except InputError as error:
                raise InputError(
                    f"The films in {path} are damaged: delete the folder, and they are made anew."
                ) from error
    return found


def film_prompts(numbers: PromptConfig) -> tuple[list[Prompt], dict[tuple[int, bool], Scenes]]:
    """The prompts that are filmed, and the scene behind each.

    Chosen by their words alone: the first of the list with each camera of `MOVES`, the first sequence, the first with
    a mover before a still camera and before a moving one; all with `TEXTURED_SOLIDS`.
    """
    drawn, scenes = prompts_with_scenes(replace(numbers, test=DRAWN[0], test_dynamic=DRAWN[1]), SUITE)
    rich = [prompt for prompt in drawn if _num_textured(scenes[prompt.id, prompt.dynamic]) >= TEXTURED_SOLIDS]
    static = [prompt for prompt in rich if not prompt.dynamic]
    movers = [prompt for prompt in rich if prompt.dynamic and _travels(scenes[prompt.id, prompt.dynamic])]

    def first(among: Sequence[Prompt], fits: Callable[[tuple[str, ...]], bool]) -> Prompt:
        return next(prompt for prompt in among if fits(parse_plan(prompt.text).tokens))

    chosen = [first(static, lambda tokens, move=move: tokens == (move,)) for move in MOVES]
    chosen.append(first(static, lambda tokens: len(tokens) > 1))
    chosen.append(first(movers, lambda tokens: tokens == ("fixed",)))
    chosen.append(first(movers, lambda tokens: tokens != ("fixed",)))
    return chosen, {(prompt.id, prompt.dynamic): scenes[prompt.id, prompt.dynamic] for prompt in chosen}


def _num_textured(scene: Scenes) -> int:
    """Solids that are not plain."""
    return int((scene.present & (scene.texture > 0)).sum())


def _travels(scene: Scenes) -> bool:
    """Whether a solid moves sideways, which is seen best."""
    sideways = (scene.motion == Motion.MOVES_LEFT) | (scene.motion == Motion.MOVES_RIGHT)
    return bool((scene.present & sideways).any())


@dataclass(frozen=True)
class _Sets:
    """What all sides share; models are loaded when the first side needs them."""

    config: ExperimentConfig
    device: str
    weights: Path | None
    plans: PlanCache = field(default_factory=PlanCache)

    @cached_property
    def _list(self) -> tuple[list[Prompt], dict[tuple[int, bool], Scenes]]:
        return film_prompts(self.config.prompts)

    @property
    def prompts(self) -> list[Prompt]:
        return self._list[0]

    @property
    def scenes(self) -> Mapping[tuple[int, bool], Scenes]:
        return {key: scene.to(self.device) for key, scene in self._list[1].items()}

    @cached_property
    def base(self) -> WanPolicy:
        return build_policy(self.config.model, self.device)

    @cached_property
    def judge(self) -> Judge:
        return build_judge(self.device, weights=self.weights)

    @property
    def sha256(self) -> str:
        return prompts_sha256(self.prompts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """One to film with."""

    name: str
    facts: Facts
    evaluation: EvaluationConfig
    source: Callable[[], Source]
    """Loads what is needed."""


def _side_of_base(sets: _Sets) -> _Side:
    return _side(BASE, TITLES[BASE], {"model": BASE}, sets.config, sets, lambda: sets.base)


def _side_of_run(variant: Variant, seed: int, folder: Path, adapter: Path, sets: _Sets) -> _Side:
    config = load_experiment(str(folder / RECIPE_FILE))
    source = {"variant": variant.name, "seed": str(seed), "lora_sha256": file_sha256(adapter)}
    reward_model = read_info(adapter).reward_model or ""
    return _side(
        variant.name,
        variant.text,
        source,
        config,
        sets,
        lambda: build_policy(config.model, sets.device, lora=adapter),
        reward_model=reward_model,
    )


def _side(
    name: str,
    title: str,
    source: Mapping[str, str],
    config: ExperimentConfig,
    sets: _Sets,
    load: Callable[[], WanPolicy],
    *,
    reward_model: str = "",
) -> _Side:
    """A model's side."""
    evaluation = evaluation_config(config, seed=NOISE_SEED)

    def films() -> Source:
        policy = load()
        return lambda tasks: film_tasks(policy, tasks, evaluation, sets.plans)

    facts = _facts(title, source, evaluation, sets, reward_model)
    return _Side(name=name, facts=facts, evaluation=evaluation, source=films)


def _side_of_truth(sets: _Sets) -> _Side:
    evaluation = evaluation_config(sets.config, seed=NOISE_SEED)

    def renders() -> Source:
        vae = sets.base.vae
        return RenderedTruth(sets.scenes, evaluation.clip, lambda video: decode_latents(vae, encode_video(vae, video)))

    facts = _facts(TITLES[TRUTH], {"model": TRUTH}, evaluation, sets, "")
    return _Side(name=TRUTH, facts=facts, evaluation=evaluation, source=renders)


def _facts(
    title: str, source: Mapping[str, str], evaluation: EvaluationConfig, sets: _Sets, reward_model: str
) -> Facts:
    settings = {
        "seed": NOISE_SEED,
        "guidance": evaluation.guidance,
        "strength": evaluation.noise.strength,
        "transport": evaluation.noise.transport,
        "steps": evaluation.sampler.num_steps,
        "shift": evaluation.sampler.shift,
    }
    return Facts(
        title=title,
        source=source,
        suite=SUITE,
        suite_sha256=sets.sha256,
        clip=evaluation.clip,
        samples=1,
        judge="judge",
        reward_model=reward_model,
        settings=settings,
        worldr1=__version__,
        devices={"sampling": sets.device, "judging": sets.device},
    )


def _film_side(path: Path, side: _Side, sets: _Sets) -> EvaluationFolder:
    """Films what is missing, batch by batch; a video counts once its record is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # base and truth: the second to come waits, and finds them there
        return _complete(_opened(path, side.facts), side, sets)


def _complete(folder: EvaluationFolder, side: _Side, sets: _Sets) -> EvaluationFolder:
    known = {record.prompt_key for record in folder.records}
    tasks = plan_tasks(sets.prompts, side.evaluation)
    left = [task for task in tasks if (task.prompt.id, task.prompt.dynamic) not in known]
    if not left:
        return folder
    source = side.source()
    for first in range(0, len(left), side.evaluation.batch):
        batch = left[first : first + side.evaluation.batch]
        _keep(folder, batch, source, sets)
    return folder


def _keep(folder: EvaluationFolder, tasks: Sequence[Task], source: Source, sets: _Sets) -> None:
    """Films and judges some prompts, writes their videos and pictures, and last their records."""
    videos = source(tasks)
    for task, video, looked in zip(tasks, videos, sets.judge.look(videos, tasks), strict=True):
        name = f"{task.prompt.id:03d}.mp4"
        said = {"prompt": task.prompt.text, "noise_seed": task.seed, **folder.facts.source, **folder.facts.settings}
        comment = json.dumps(said, ensure_ascii=False)
        write_mp4(folder.path / VIDEOS / name, video, upscale=UPSCALE, rate_factor=RATE_FACTOR, comment=comment)
        record = replace(looked.record, video=name)
        if record.status is Status.OK and looked.reconstruction is not None:
            save_pictures(
                folder,
                record,
                video,
                looked.reconstruction,
                sets.judge.renderer,
                upscale=UPSCALE,
                rate_factor=RATE_FACTOR,
            )
        folder.append(record)


def _opened(path: Path, facts: Facts) -> EvaluationFolder:
    """The films of these facts as far as they are there; what is of other weights, or lost a video, is begun anew."""
    try:
        folder = EvaluationFolder.create(path, facts)
        if all((video := folder.video(record)) is None or video.is_file() for record in folder.records):
            return folder
    except InputError:
        pass
    shutil.rmtree(path)
    return EvaluationFolder.create(path, facts)
