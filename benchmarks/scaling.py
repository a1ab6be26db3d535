"""What an update takes on 8, 48 and 96 GPUs, and which of them should be the reward's: a simulation, not a measurement.

    python benchmarks/scaling.py                                   # the tables of docs/scaling.md
    python benchmarks/scaling.py --svg docs/images/scaling.svg     # and its picture

Stage times are the measured ones of single calls on one H200 (docs/results.md, docs/scoring.md), times how often an
update makes them; what is assumed is marked. `cluster_simulation` says what is simulated.
"""

import argparse
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from html import escape
from pathlib import Path
from statistics import fmean

from cluster_simulation import Layout, Times, Update, rollout_seconds, simulate

from worldr1.planning.reward_cost import HOST_BYTES_PER_S

GPUS = (8, 48, 96)
UPDATES = 20
"""Simulated of every layout; their SDE steps are drawn as the trainer draws them, from one seed."""
FIRST, LAST = 2, 9
"""SDE steps that are drawn: sampler.first_index, last_index of world-r1-small."""
GUIDED = 2
"""Calls that one velocity takes with guidance."""

# Measured on one H200, 832 x 480 x 81, random weights (docs/results.md, "Real models at full size").
FORWARD = {"small": 0.637, "large": 3.33}
MERGED = 0.642 / 0.637
"""With the LoRA merged in, as sampler.ode_dtype = "bfloat16" has it; of the 14B model taken to be the same."""
BESIDE = 0.769 / 0.637
"""With the LoRA beside: the SDE step; the same holds."""
TRAINED = {"small": 2.61, "large": 13.1}
"""Forward and backward with checkpointing, LoRA in bfloat16; of the 14B model stock diffusers (docs/models.md)."""
TRAINED_UNGUIDED = 1.96
"""Of the 1.3B model without checkpointing, for which one half of guidance leaves room."""
DECODE = 2.11
"""bfloat16, a latent frame at a time."""
REWARDS = {"3D model": 1.80, "renderer": 0.26, "critic": 0.10, "quality": 0.13, "all else": 0.04}
"""A video, by the paper's models beside the policy (docs/results.md, "The whole system once")."""
POOL = 0.7665
"""A video of 81 x 480 x 832 through Ray's memory, measured on two CPU cores: half at the rank, half at the actor."""

# Assumed.
VIDEO_BYTES = 4.0 * 81 * 3 * 480 * 832
NETWORK_BYTES_PER_S, HOP_S = 25e9, 20e-6
"""Of an all-reduce between nodes, per GPU, and the latency of one of its 2 (n - 1) hops."""
LAYERS = {"small": (30, 1536), "large": (40, 5120)}
"""Blocks and width: LoRA of rank 32 on eight square projections each (docs/models.md)."""


def gradient_bytes(model: str) -> float:
    """Of the LoRA's gradient in float32."""
    layers, width = LAYERS[model]
    return 4.0 * layers * 8 * 2 * width * 32


def _reduce(ranks: int, *, model: str) -> float:
    if ranks == 1:
        return 0.0
    return 2 * (ranks - 1) * (gradient_bytes(model) / ranks / NETWORK_BYTES_PER_S + HOP_S)


def stage_times(model: str, *, guided: bool = True) -> Times:
    """Of "small" or "large"."""
    calls = GUIDED if guided else 1
    trained = TRAINED[model] if guided else TRAINED_UNGUIDED
    return Times(
        velocity=calls * MERGED * FORWARD[model],
        sde_velocity=calls * BESIDE * FORWARD[model],
        decode=DECODE,
        copy=VIDEO_BYTES / HOST_BYTES_PER_S,
        hand_over=POOL / 2,
        unpack=POOL / 2,
        score=sum(REWARDS.values()),
        step=calls * (trained + FORWARD[model]),
        reduce=partial(_reduce, model=model),
    )


@dataclass(frozen=True, slots=True)
class Case:
    """A layout with what its updates take on average."""

    layout: Layout
    updates: Sequence[Update]

    @property
    def seconds(self) -> float:
        """Of an update."""
        return fmean(update.seconds for update in self.updates)

    def mean(self, name: str) -> float:
        """Of a rank's time of that name."""
        return fmean(update.mean(name) for update in self.updates)

    @property
    def utilisation(self) -> float:
        """Of all GPUs."""
        return fmean(update.utilisation for update in self.updates)

    @property
    def reward_utilisation(self) -> float:
        """Of the reward's GPUs."""
        return fmean(update.reward_utilisation for update in self.updates)

    @property
    def name(self) -> str:
        """The GPUs."""
        layout = self.layout
        return f"{layout.policy} + {layout.reward}" if layout.reward else f"{layout.policy}"


def drawn(groups: int, updates: int = UPDATES, *, per_update: bool = False) -> list[list[int]]:
    """SDE steps of every group of every update; per_update: one for all groups of an update."""
    rng = random.Random(0)
    return [
        [rng.randint(FIRST, LAST)] * groups if per_update else [rng.randint(FIRST, LAST) for _ in range(groups)]
        for _ in range(updates)
    ]


def run(times: Times, layout: Layout, *, updates: int = UPDATES, per_update: bool = False) -> Case:
    """Simulates a layout's updates."""
    return Case(layout, [simulate(times, layout, x) for x in drawn(layout.groups, updates, per_update=per_update)])


def reward_gpus(gpus: int) -> list[int]:
    """Numbers of reward GPUs that are tried; some of them leave a number of ranks that divides 48."""
    tried = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64} | {gpus - policy for policy in (48, 24, 16, 12, 8, 6)}
    return sorted(number for number in tried if 0 < number < gpus)


def best(
    times: Times, gpus: int, *, ahead: int, in_place: bool = False, groups: int = 48, per_update: bool = False
) -> Case:
    """The fastest layout of so many GPUs; of equally fast ones (to 0.5 %) the one with the most reward GPUs spared."""
    if in_place:
        return run(times, Layout(policy=gpus, reward=0, groups=groups), per_update=per_update)
    cases = [
        run(times, Layout(policy=gpus - reward, reward=reward, ahead=ahead, groups=groups), per_update=per_update)
        for reward in reward_gpus(gpus)
    ]
    least = min(case.seconds for case in cases)
    return next(case for case in cases if case.seconds <= 1.005 * least)


@cache
def three_ways(model: str, gpus: int) -> tuple[Case, Case, Case]:
    """Rewards in place; elsewhere and waited for; elsewhere with overlap."""
    times = stage_times(model)
    return (
        best(times, gpus, ahead=0, in_place=True),
        best(times, gpus, ahead=0),
        best(times, gpus, ahead=2),
    )


# -------------------------------------------------------------------------------------------------------------- tables

WAYS = ("in place", "elsewhere, waited for", "elsewhere, overlapped")


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [_line(head), "|---" * len(head) + "|", *map(_line, rows)]


def stage_table() -> list[str]:
    """Seconds per group."""
    rows = []
    for model in ("small", "large"):
        times, layout = stage_times(model), Layout(policy=1, reward=0)
        each = [rollout_seconds(times, layout, index) for index in range(FIRST, LAST + 1)]
        size = layout.group_size
        rows.append(
            [
                model.capitalize(),
                f"{fmean(each):.0f} ({min(each):.0f} to {max(each):.0f})",
                f"{size * times.decode:.1f}",
                f"{size * times.score:.1f}",
                f"{times.step:.1f}",
                f"{gradient_bytes(model) / 1e6:.0f} MB, {1000 * times.reduce(48):.0f} ms",
            ]
        )
    return _table(("a group of 8", "rollout", "decode", "rewards", "step", "all-reduce over 48 ranks"), rows)


def main_table(gpus: Sequence[int] = GPUS) -> list[str]:
    """Where the seconds of an update go."""
    head = ("", "GPUs", "rewards", "policy + reward", "update, s", "rollout", "decode", "reward", "wait", "step")
    rows = []
    for model in ("small", "large"):
        for number in gpus:
            for way, case in zip(WAYS, three_ways(model, number), strict=True):
                parts = [f"{case.mean(name):.0f}" for name in ("rollout", "decode", "score", "wait", "step", "barrier")]
                reward = f"{case.reward_utilisation:.0%}" if case.layout.reward else ""
                cells = [model.capitalize(), number, way, case.name, f"**{case.seconds:.0f}**", *parts]
                rows.append([*cells, f"{case.utilisation:.0%}", reward])
    return _table((*head, "barrier", "GPUs busy", "reward GPUs busy"), rows)


def sweep_table(model: str, gpus: int) -> list[str]:
    """An update's seconds by number of reward GPUs."""
    times = stage_times(model)
    rows = []
    for reward in reward_gpus(gpus):
        cases = [run(times, Layout(policy=gpus - reward, reward=reward, ahead=ahead)) for ahead in (0, 2)]
        most = -(-48 // (gpus - reward))
        rows.append([f"{gpus - reward} + {reward}", most, *(f"{case.seconds:.0f}" for case in cases)])
        rows[-1].append(f"{cases[1].reward_utilisation:.0%}")
    head = (f"{model.capitalize()}, {gpus} GPUs", "groups of the busiest rank", "waited for, s", "overlapped, s")
    return _table((*head, "reward GPUs busy"), rows)


def changes(model: str) -> Mapping[str, Times]:
    """Uncertain inputs, one at a time."""
    times = stage_times(model)
    changed = {
        "as above": times,
        "critic and quality 10 x slower": replace(
            times, score=times.score + 9 * (REWARDS["critic"] + REWARDS["quality"])
        ),
        "all rewards 2 x slower": replace(times, score=2 * times.score),
        "all rewards 4 x slower": replace(times, score=4 * times.score),
        "all rewards 10 x slower": replace(times, score=10 * times.score),
        "Ray's memory 4 x slower": replace(times, hand_over=4 * times.hand_over, unpack=4 * times.unpack),
        "rollouts 15 % faster": replace(times, velocity=0.85 * times.velocity),
    }
    if model == "small":
        changed["no guidance"] = stage_times(model, guided=False)
    return changed


def change_table(model: str, gpus: int) -> list[str]:
    """The three ways under other inputs."""
    rows = []
    for name, times in changes(model).items():
        cases = best(times, gpus, ahead=0, in_place=True), best(times, gpus, ahead=0), best(times, gpus, ahead=2)
        rows.append([name, *(f"{case.seconds:.0f} ({case.name})" for case in cases)])
    return _table((f"{model.capitalize()}, {gpus} GPUs", *WAYS), rows)


def rule_table(model: str) -> list[str]:
    """What another rule of drawing the SDE step, and an ideal queue, would bring."""
    times, rows = stage_times(model), []
    for gpus in GPUS:
        in_place, _, plain = three_ways(model, gpus)
        alike = [best(times, gpus, ahead=2, in_place=there, per_update=True) for there in (True, False)]
        queue = run(times, replace(plain.layout, one_queue=True))
        cells = [f"{case.seconds:.0f}" for case in (in_place, alike[0], plain, alike[1], queue)]
        rows.append([gpus, *cells])
    draw = "one SDE step an update"
    head = (f"{model.capitalize()}, GPUs", "in place", draw, "overlapped", draw, "overlapped, one queue for all ranks")
    return _table(head, rows)


def fitted_table(model: str, gpus: int = 48) -> list[str]:
    """With as many groups as the ranks can share out evenly: seconds per 48 groups."""
    times, rows = stage_times(model), []
    for reward in (0, 1, 2, 4, 6, 8, 12, 16):
        policy, row = gpus - reward, list[object]()
        for each in (1, 2, 4):
            groups = each * policy
            cases = [run(times, Layout(policy=policy, reward=reward, ahead=x, groups=groups)) for x in (0, 2)]
            seconds = [48 * case.seconds / groups for case in cases[: 1 + (reward > 0)]]
            row.append(" / ".join(f"{value:.0f}" for value in seconds))
        rows.append([f"{policy} + {reward}" if reward else f"{policy}, in place", *row])
    head = (f"{model.capitalize()}, {gpus} GPUs", *(f"{x} group{'s' * (x > 1)} a rank" for x in (1, 2, 4)))
    return _table(head, rows)


def tables() -> list[str]:
    """All of the page's."""
    blocks = [stage_table(), main_table(), sweep_table("small", 8), sweep_table("small", 96)]
    blocks += [sweep_table("large", 8), sweep_table("large", 96)]
    blocks += [fitted_table("small"), fitted_table("large")]
    blocks += [change_table("small", 8), change_table("small", 96), change_table("large", 96)]
    blocks += [rule_table("small"), rule_table("large")]
    return [line for block in blocks for line in (*block, "")]


# --------------------------------------------------------------------------------------------------------------- chart

COLOURS = {
    "rollout": "#3b6ea5", "decode": "#7fb2d9", "score": "#e0a030", "wait": "#f3d9a0", "step": "#4f9d69",
    "barrier": "#d5d5d5",
}  # fmt: skip
LEGEND = {
    "rollout": "rollout", "decode": "decode", "score": "rewards, in place", "wait": "waiting for rewards",
    "step": "trained step", "barrier": "waiting for ranks, idle",
}  # fmt: skip


def chart() -> str:
    """Where the mean policy GPU's seconds go: one bar a layout, Small on the left and Large on the right."""
    width, bar, left, column = 1000, 18, 250, 370
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 372" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="372" fill="white"/>',
        '<text x="12" y="22" font-size="15">Simulated: seconds of an update, and where the mean policy GPU spends them '
        "(each number of GPUs has a scale of its own)</text>",
    ]
    for number, (name, words) in enumerate(LEGEND.items()):
        x = 12 + 163 * number
        out.append(f'<rect x="{x}" y="36" width="12" height="12" fill="{COLOURS[name]}"/>')
        out.append(f'<text x="{x + 17}" y="46">{words}</text>')
    for number, model in enumerate(("small", "large")):
        x = left + number * (column + 6)
        out.append(f'<text x="{x}" y="76" font-weight="bold">World-R1-{model.capitalize()}</text>')
        y = 84
        for gpus in GPUS:
            cases = three_ways(model, gpus)
            scale = (column - 122) / max(case.seconds for case in cases)
            for way, case in zip(WAYS, cases, strict=True):
                out += _bar(case, x, y, bar, scale)
                if not number:
                    label = f"{gpus} GPUs, {escape(way)}"
                    out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{label}</text>')
                y += bar + 8
            y += 14
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _bar(case: Case, x: float, y: float, height: float, scale: float) -> list[str]:
    out = []
    for name, colour in COLOURS.items():
        wide = scale * case.mean(name)
        if wide >= 0.1:
            out.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{height}" fill="{colour}"/>')
        x += wide
    return [*out, f'<text x="{x + 5:.1f}" y="{y + 13}">{case.seconds:,.0f} s ({case.name})</text>']


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--svg", type=Path, help="write the picture there too")
    args = parser.parse_args()
    if args.svg:
        args.svg.write_text(chart(), encoding="utf-8")
    print("\n".join(tables()))


if __name__ == "__main__":
    main()
