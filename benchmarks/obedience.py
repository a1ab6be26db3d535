"""Does better noise give better obedience? Camera errors of a mini base model under every start noise.

    python benchmarks/obedience.py measure --out FILE.json [--prompts 576] [--model FOLDER]    # minutes on a GPU
    python benchmarks/obedience.py report FILE.json ... [--plot FILE.png]                      # tables and a plot

Every setting films the same prompts from the same independent noise (and the same transported noise, mixed with it), so
settings are compared in pairs. The prompts are static, have camera words and are used nowhere else.
"""

import argparse
import gzip
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from release_injection import RELEASE_KERNEL, StepwiseDelta
from torch import Tensor

from worldr1.build import ModelConfig, build_policy, build_reward, check_clip, choose_device, load_experiment
from worldr1.camera.motion import parse_plan
from worldr1.camera.trajectory import synthesize
from worldr1.diffusion import kernels
from worldr1.evaluate.records import VideoRecord
from worldr1.evaluate.statistics.before_after import paired_difference
from worldr1.evaluate.statistics.values import record_value
from worldr1.mini.promptset import random_prompts
from worldr1.noise.inject import mix
from worldr1.rewards.trajectory import requested_extent
from worldr1.rollout.sampler import SamplerConfig
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise
from worldr1.seeding import derive_seed, make_generator
from worldr1.types import Prompt, Status, Trajectory

MIX_STRENGTHS = (0.25, 0.5, 0.7, 0.85, 1.0)
PUSH_STRENGTHS = (0.2, 0.35, 0.7, 1.0)
"""The release trains with 0.35 (1.3B) and 0.4 (14B)."""
SMALL_KERNEL = 3
"""The release's low pass is 9 of 60 latent pixels high; the mini world's latents are 8 pixels high."""
SEED = 1604
FRESH = "fresh 0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One way to begin a video."""

    method: str
    """fresh, canvas, flow, or release K (its injection with a low pass of K pixels)."""
    strength: float

    @property
    def name(self) -> str:
        """The key in the file."""
        return f"{self.method} {self.strength:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One prompt and what its noise is drawn from."""

    prompt: Prompt
    path: Trajectory
    seed: int


def settings() -> list[Setting]:
    """All that are measured."""
    mixed = [Setting(method=m, strength=a) for m in ("canvas", "flow") for a in MIX_STRENGTHS]
    kernels_px = (RELEASE_KERNEL, SMALL_KERNEL)
    pushed = [Setting(method=f"release {k}", strength=s) for k in kernels_px for s in PUSH_STRENGTHS]
    return [Setting(method="fresh", strength=0.0), *mixed, *pushed]


def shots(num: int, num_frames: int) -> list[Shot]:
    """The prompts."""
    prompts = random_prompts(num, seed=SEED, stream="obedience")
    return [
        Shot(prompt=p, path=synthesize(parse_plan(p.text).tokens, num_frames), seed=derive_seed(SEED, "shot", p.id))
        for p in prompts
    ]


class Noise:
    """The noises of a batch, drawn once for all settings."""

    def __init__(self, batch: Sequence[Shot], shape: tuple[int, int, int, int], plans: PlanCache) -> None:
        def draw(config: NoiseConfig) -> Tensor:
            return torch.cat([start_noise(shot.path, shape, [shot.seed], config, plans) for shot in batch])

        self.fresh = draw(NoiseConfig(strength=0.0))
        self.canvas = draw(NoiseConfig(strength=1.0))
        self.flow = draw(NoiseConfig(strength=1.0, transport="flow"))
        generators = [make_generator(shot.seed, "degradation") for shot in batch]
        self.degradation = torch.stack([torch.randn(shape, generator=g) for g in generators])

    def start(self, setting: Setting) -> Tensor:
        """Where sampling starts."""
        if setting.method in ("canvas", "flow"):
            return mix(self.fresh, getattr(self, setting.method), setting.strength)
        return self.fresh

    def pushes(self, setting: Setting, num_steps: int) -> StepwiseDelta | None:
        """What is added on the way."""
        if not setting.method.startswith("release"):
            return None
        kernel = int(setting.method.split()[1])
        return StepwiseDelta.plan(
            self.fresh, self.flow, self.degradation, strength=setting.strength, num_steps=num_steps, kernel=kernel
        )


@torch.no_grad()
def sample(policy, embeddings: Tensor, start: Tensor, sampler: SamplerConfig, pushes: StepwiseDelta | None) -> Tensor:
    """Euler, as `rollout.sampler.sample_ode`, with the release's pushes between the steps."""
    latents = start.to(embeddings.device)
    for step, (sigma, sigma_next) in enumerate(pairwise(sampler.sigmas)):
        latents = kernels.euler(latents, policy.velocity(latents, sigma, embeddings), sigma, sigma_next)
        latents = pushes.push(latents, step) if pushes else latents
    return latents


def measure(out: Path, num_prompts: int, model: str, batch: int) -> None:
    """Films and scores everything; writes {"command", "settings": {name: [record, ...]}}."""
    experiment = load_experiment("mini-gpu" if torch.cuda.is_available() else "mini")
    device = choose_device()
    policy = build_policy(ModelConfig(folder=model, tf32=True), device)
    shape = check_clip(experiment, policy)
    reward = build_reward(experiment.reward, device, experiment.clip)
    plans, everything = PlanCache(), shots(num_prompts, experiment.clip.frames)
    records: dict[str, list[VideoRecord]] = {setting.name: [] for setting in settings()}
    begin = time.monotonic()
    for first in range(0, len(everything), batch):
        group = everything[first : first + batch]
        noise = Noise(group, shape, plans)
        prompts, paths = [shot.prompt for shot in group], [shot.path for shot in group]
        embeddings = policy.encode([prompt.text for prompt in prompts])
        for setting in settings():
            pushes = noise.pushes(setting, experiment.sampler.num_steps)
            latents = sample(policy, embeddings, noise.start(setting), experiment.sampler, pushes)
            with torch.no_grad():
                results = reward(policy.decode(latents), prompts, paths, False)
            records[setting.name] += [_record(s, r) for s, r in zip(group, results, strict=True)]
        print(f"{first + len(group)} of {len(everything)} prompts, {time.monotonic() - begin:.0f} s", flush=True)
    table = {name: [asdict(record) for record in rows] for name, rows in records.items()}
    with gzip.open(out, "wt") as file:
        json.dump({"model": model, "prompts": num_prompts, "settings": table}, file)


def _record(shot: Shot, result) -> VideoRecord:
    """The reward's measures, and travelled / requested beside them."""
    measures, extent = dict(result.measures), requested_extent(shot.path)
    if extent > 0.01 and "travel_depth_units" in measures:
        measures["travel_ratio"] = measures["travel_depth_units"] / extent
    return VideoRecord(
        prompt_id=shot.prompt.id,
        prompt=shot.prompt.text,
        dynamic=False,
        tokens=parse_plan(shot.prompt.text).tokens,
        seed=shot.seed,
        status=result.status,
        reason=result.reason,
        reward=result.value,
        parts=dict(result.parts),
        measures=measures,
        requested_path=[[round(x, 5) for x in p] for p in shot.path.world_from_camera[:, :3, 3].tolist()],
    )


COLUMNS = {
    "rotation_error_deg": "rotation, deg",
    "translation_error": "translation, of the path",
    "s_traj": "S_traj",
    "travel_ratio": "travelled / requested",
    "s_meta": "S_meta",
    "s_recon": "S_recon",
    "r_gen": "R_gen",
    "image_gradient": "image gradient",
    "rejected_fraction": "rejected",
}


def load(path: Path) -> dict[str, list[VideoRecord]]:
    """Records by the setting's name."""
    with gzip.open(path, "rt") as file:
        table = json.load(file)["settings"]
    return {
        name: [VideoRecord(**{**row, "tokens": tuple(row["tokens"]), "status": Status(row["status"])}) for row in rows]
        for name, rows in table.items()
    }


def table(records: dict[str, list[VideoRecord]]) -> str:
    """One row per setting: means, and the paired change of S_traj against fresh noise with its 95 % interval."""
    head = ["noise", "strength", *COLUMNS.values(), "S_traj - fresh [95 %]"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, rows in records.items():
        method, strength = name.rsplit(" ", 1)
        change = paired_difference(records[FRESH], rows, "s_traj", seed=0)
        cells = [method, strength, *(f"{_mean(rows, column):.3f}" for column in COLUMNS)]
        lines.append("| " + " | ".join([*cells, f"{change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"]) + " |")
    return "\n".join(lines)


def _mean(rows: Sequence[VideoRecord], column: str) -> float:
    values = [value for row in rows if (value := record_value(row, column)) is not None]
    return sum(values) / len(values) if values else float("nan")


KINDS = {
    "turns and stills": {"pan_left", "pan_right", "fixed"},
    "along the view": {"push_in", "pull_out"},
    "sideways": {"move_left", "move_right"},
    "diagonal": {"pull_left", "pull_right"},
    "around": {"orbit_left", "orbit_right"},
}
"""Single moves, by how far from a plane's flow the scene's is. Sequences are in the other table only."""


def kind_table(records: dict[str, list[VideoRecord]]) -> str:
    """S_traj of each kind of move, with the paired change against fresh noise where the interval excludes 0."""
    lines = ["| noise | strength | " + " | ".join(KINDS) + " |", "|---" * (2 + len(KINDS)) + "|"]
    for name in records:
        cells = []
        for kind in KINDS:
            before, after = of_kind(records[FRESH], kind), of_kind(records[name], kind)
            change = paired_difference(before, after, "s_traj", seed=0)
            cells.append(f"{_mean(after, 's_traj'):.2f}" + (f" ({change.mean:+.2f})" if change.is_shown else ""))
        lines.append(f"| {' | '.join(name.rsplit(' ', 1))} | {' | '.join(cells)} |")
    return "\n".join(lines)


def of_kind(rows: Sequence[VideoRecord], kind: str) -> list[VideoRecord]:
    """The prompts that ask for one move of the kind."""
    return [row for row in rows if len(row.tokens) == 1 and row.tokens[0] in KINDS[kind]]


def plot(measured: dict[str, dict[str, list[VideoRecord]]], out: Path) -> None:
    """S_traj over strength, one panel per kind of move and base, one line per method, bands of 95 %."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = (3.0 * len(KINDS), 2.9 * len(measured))
    figure, grid = pyplot.subplots(
        len(measured), len(KINDS), figsize=size, sharex=True, sharey=True, squeeze=False, constrained_layout=True
    )
    for row, (title, records) in zip(grid, measured.items(), strict=True):
        row[0].set_ylabel(f"{title}\nS_traj")
        for axis, kind in zip(row, KINDS, strict=True):
            _draw(axis, {name: of_kind(rows, kind) for name, rows in records.items()})
            axis.set_title(kind, fontsize=10)
    for axis in grid[-1]:
        axis.set_xlabel("strength")
    grid[0][0].legend(fontsize=8)
    figure.savefig(out, dpi=90)


def _draw(axis: Any, records: dict[str, list[VideoRecord]]) -> None:
    base = _mean(records[FRESH], "s_traj")
    axis.axhline(base, color="grey", linewidth=1, linestyle="--")
    for method in dict.fromkeys(name.rsplit(" ", 1)[0] for name in records if name != FRESH):
        points = [(0.0, base, 0.0, 0.0)]
        for name, rows in records.items():
            if name.rsplit(" ", 1)[0] == method:
                change = paired_difference(records[FRESH], rows, "s_traj", seed=0)
                points.append((float(name.rsplit(" ", 1)[1]), base + change.mean, change.low, change.high))
        x, y, low, high = zip(*points, strict=True)
        (line,) = axis.plot(x, y, marker="o", markersize=3, label=method)
        band = [[base + value for value in side] for side in (low, high)]
        axis.fill_between(x, *band, color=line.get_color(), alpha=0.15, linewidth=0)
    axis.grid(alpha=0.25)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    measuring = actions.add_parser("measure")
    measuring.add_argument("--out", type=Path, required=True)
    measuring.add_argument("--prompts", type=int, default=576)
    measuring.add_argument("--model", default="mini", help="a pipeline folder of the mini world's size")
    measuring.add_argument("--batch", type=int, default=96)
    reporting = actions.add_parser("report")
    reporting.add_argument("files", type=Path, nargs="+", help="one per base model")
    reporting.add_argument("--titles", nargs="+", help="of the bases in the plot")
    reporting.add_argument("--plot", type=Path)
    args = parser.parse_args()
    if args.action == "measure":
        measure(args.out, args.prompts, args.model, args.batch)
        return
    titles = args.titles or [file.name for file in args.files]
    measured = {title: load(file) for title, file in zip(titles, args.files, strict=True)}
    for title, records in measured.items():
        print(f"{title}, {len(records[FRESH])} prompts\n\n{table(records)}\n\n{kind_table(records)}\n")
    if args.plot:
        plot(measured, args.plot)


if __name__ == "__main__":
    main()
