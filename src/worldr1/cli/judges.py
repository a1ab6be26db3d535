"""The 3D models that `evaluate` may judge by, and which one judges where nobody says."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from worldr1.cli.model_options import merged_adapter
from worldr1.digests import file_sha256
from worldr1.errors import InputError

if TYPE_CHECKING:
    from worldr1.evaluate.suites.suite import Suite
    from worldr1.evaluate.suites.videos import FileJudge, Fitting

JUDGE, SFM, MINI = "judge", "sfm", "mini"
FRAMES = 24
"""Of a video that are judged, as `worldr1 score` takes them."""


def default_judge(suite: "Suite", *, real_model: bool) -> str:
    """Never a 3D model that rewards train with: the mini world's own judge, which knows nothing else, or sfm, which has
    no weights. real_model: the videos are a full-size model's, though the prompts may be the mini world's."""
    return JUDGE if suite.mini and not real_model else SFM


def check_judge(name: str, *, weights: str = "") -> None:
    """Raises InputError for a judge that is not known or not installed: before hours of sampling.

    weights: as `load_judge_model` takes them.
    """
    if name not in JUDGES:
        raise InputError(f"there is no judge {name!r}; known are: {', '.join(JUDGES)}")
    if weights and not name.startswith("da3"):
        raise InputError(f"--judge-weights belongs to Depth Anything 3 (--judge da3-...): {name} has none to choose")
    if name.startswith("da3"):
        from worldr1.backends.depth_anything3_network import INSTALL

        if find_spec("depth_anything_3") is None:
            raise InputError(f"the package depth-anything-3 is missing: {INSTALL}")


def judge_device(name: str) -> str:
    """Where a judge works: "cuda" or "cpu"."""
    from worldr1.build import choose_device

    return "cpu" if name == SFM else choose_device()


def load_judge_model(
    name: str, suite: "Suite", *, weights: str = "", lpips: Path | None = None, fitting: "Fitting | None" = None
) -> "FileJudge":
    """A judge that `check_judge` has passed. weights: of Depth Anything 3; lpips: of LPIPS's trunk; None: no LPIPS;
    fitting: as `load_fitting` makes it; None: nothing is optimised.

    Raises InputError for unusable weights.
    """
    judge = replace(JUDGES[name](name, suite, weights), fitting=fitting)
    if lpips is None:
        return judge
    from worldr1.backends.lpips import LpipsConfig, load_lpips

    return replace(judge, perceptual=load_lpips(LpipsConfig(trunk=str(lpips)), judge.device))


def load_fitting() -> "Fitting":
    """What optimises 3D Gaussians. Raises InputError where gsplat cannot: it needs an NVIDIA GPU and its compiler."""
    from worldr1.backends.gsplat import GsplatRenderer
    from worldr1.evaluate.metrics.splat_fit import FitConfig
    from worldr1.evaluate.suites.videos import Fitting

    try:
        return Fitting(GsplatRenderer("cuda"), "cuda", FitConfig())
    except InputError as error:
        raise InputError(f"--fit cannot be had here, leave it out: {error}") from error


def reward_model_of(lora: Path) -> str | None:
    """The 3D model that an adapter was rewarded by: its metadata say it, or else the recipe of its run, if it lies
    where training or packing puts it and is the recipe that the file names. "": none; None: nobody can say.

    Raises InputError if the file is no adapter.
    """
    from worldr1.build import load_experiment
    from worldr1.train.adapter_file import read_info
    from worldr1.train.checkpoint import RECIPE_FILE

    info = read_info(lora)
    if info.reward_model is not None:
        return info.reward_model
    for recipe in (lora.parent / RECIPE_FILE, lora.parent.parent / RECIPE_FILE):
        if recipe.is_file() and file_sha256(recipe) == info.recipe_sha256:
            return load_experiment(str(recipe)).reward.reconstructor_name
    return None


def reward_model_of_folder(model: str) -> str | None:
    """The same of --model: what is merged into it says it, a run that trained all parameters (RUN/final/model) has a
    recipe, and a base has no reward. Raises InputError if what is merged says nothing that can be read."""
    from worldr1.build import load_experiment
    from worldr1.train.checkpoint import RECIPE_FILE

    if (merged := merged_adapter(model)) is not None:
        return merged.reward_model
    recipe = Path(model).expanduser().resolve().parent.parent / RECIPE_FILE
    in_run = Path(model).expanduser().is_dir() and recipe.is_file()
    return load_experiment(str(recipe)).reward.reconstructor_name if in_run else ""


def _load_mini(name: str, suite: "Suite", weights: str) -> "FileJudge":
    from worldr1.backends.mini import CLIP_SIZE, load_judge, load_probe, load_reconstructor
    from worldr1.build import build_renderer
    from worldr1.evaluate.fitting import AtLength, ClipSize
    from worldr1.evaluate.judging.judge import Judge
    from worldr1.evaluate.metrics.probing import WordProbe
    from worldr1.evaluate.suites.videos import FileJudge

    device, (frames, height, width) = judge_device(name), CLIP_SIZE
    reconstructor = load_judge(device) if name == JUDGE else load_reconstructor(device)
    # the probe knows the words of its own world alone
    onlooker = WordProbe(load_probe(device)) if suite.mini else None
    return FileJudge(
        name=name,
        judge=Judge(AtLength(reconstructor, frames), build_renderer(device), onlooker=onlooker),
        licence=reconstructor.licence,
        device=device,
        frames=frames,
        size=ClipSize(num_frames=frames, height=height, width=width),
    )


def _load_sfm(name: str, suite: "Suite", weights: str) -> "FileJudge":
    from worldr1.backends.sfm.reconstructor import SfmReconstructor
    from worldr1.evaluate.judging.judge import Judge
    from worldr1.evaluate.suites.videos import FileJudge
    from worldr1.scene.splat import SplatRenderer

    reconstructor = SfmReconstructor()
    judge = Judge(reconstructor, SplatRenderer())
    return FileJudge(name=name, judge=judge, licence=reconstructor.licence, device="cpu", frames=FRAMES)


def _load_depth_anything_3(name: str, suite: "Suite", weights: str) -> "FileJudge":
    from worldr1.backends.depth_anything3 import DepthAnything3Config, load_depth_anything3
    from worldr1.build import build_renderer
    from worldr1.evaluate.judging.judge import Judge
    from worldr1.evaluate.suites.videos import FileJudge

    device = judge_device(name)
    reconstructor = load_depth_anything3(DepthAnything3Config(model=name, weights=weights), device)
    judge = Judge(reconstructor, build_renderer(device))
    return FileJudge(name=name, judge=judge, licence=reconstructor.licence, device=device, frames=FRAMES)


JUDGES: "dict[str, Callable[[str, Suite, str], FileJudge]]" = {
    JUDGE: _load_mini,
    MINI: _load_mini,
    SFM: _load_sfm,
    "da3-giant-1.1": _load_depth_anything_3,
    "da3-large-1.1": _load_depth_anything_3,
    "da3-base": _load_depth_anything_3,
    "da3-small": _load_depth_anything_3,
}
"""Name -> what loads it; names as in `worldr1 score --reconstructor`, and "judge"."""
