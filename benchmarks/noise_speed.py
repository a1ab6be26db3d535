"""Seconds and memory of the two transports, and of the released warper beside them."""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import official_warper
import torch
from noise_cases import CHANNELS, MIN_CELLS, PATHS, WAN, Size, name_of, verdict
from torch import Tensor

from worldr1.camera.trajectory import latent_poses, synthesize
from worldr1.noise.canvas import plan_canvas, sample_canvas
from worldr1.noise.flow import plan_flow, sample_flow
from worldr1.types import FOCAL_PER_WIDTH

OFFICIAL_MOVES = ("push_in", "pan_left", "orbit_left")
OFFICIAL_STEPS = 3
"""Timed of each move; a sample takes 80."""
SLOWEST_RATIO, MEDIAN_RATIO, COLD_SECONDS = 900, 5000, 8.0
"""The targets of issue 3."""
EXPLANATION = """
## Speed

One thread on both sides and every case in a new process; the ratios are of CPU seconds, because wall seconds depend on
what else the machine does. Medians: of {repeats} calls after one that is not timed, and of all timed steps of the
official side, for which one sample is extrapolated from them, whatever the path."""
LARGER = (
    Size(width=832, height=480, num_frames=121),
    Size(width=1280, height=720, num_frames=81),
    Size(width=1280, height=720, num_frames=121),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seconds:
    """Of one call in one thread."""

    cpu: float
    """Depends less on what else the machine does."""
    wall: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What one case costs."""

    plan: Seconds
    sample: Seconds
    peak_mb: float
    """Of a process that did nothing else, with the 0.3 GB that Python and torch take by themselves."""

    @property
    def both_cpu(self) -> float:
        """Plan and one sample: what the first sample of a path costs."""
        return self.plan.cpu + self.sample.cpu


def time_case(path: tuple[str, ...], transport: Literal["canvas", "flow"], size: Size, repeats: int) -> Timing:
    """Plan and sample of one path, medians of `repeats` calls; to be called in a process of its own."""
    torch.set_num_threads(1)
    _, height, width = size.latent
    sizes = {"height": height, "width": width, "min_cells": MIN_CELLS}

    def make_plan() -> Any:
        poses = latent_poses(synthesize(path, size.num_frames))
        plan = plan_flow if transport == "flow" else plan_canvas
        return plan(poses, focal_per_width=FOCAL_PER_WIDTH, **sizes)

    def draw() -> Tensor:
        sample = sample_flow if transport == "flow" else sample_canvas
        return sample(plan, num_channels=CHANNELS, seeds=[0])

    plan = make_plan()
    planning, drawing = (median([timed(f) for _ in range(repeats)]) for f in (make_plan, draw))
    return Timing(plan=planning, sample=drawing, peak_mb=peak_mb())


def time_official(folder: Path, move: str) -> tuple[list[Seconds], float]:
    """Its first steps and peak memory in MB; to be called in a process of its own."""
    torch.set_num_threads(1)
    return [timed(step) for step in official_warper.first_steps(folder, move, OFFICIAL_STEPS)], peak_mb()


def timed(function: Callable[[], object]) -> Seconds:
    """One call."""
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return Seconds(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)


def median(calls: Sequence[Seconds]) -> Seconds:
    """Of both clocks, each by itself."""
    return Seconds(cpu=statistics.median(c.cpu for c in calls), wall=statistics.median(c.wall for c in calls))


def cold_seconds(path: tuple[str, ...], transport: str, repeats: int = 3) -> list[float]:
    """Wall seconds of `worldr1 noise` at Wan's size, from the start of the process to its end, imports included."""
    words = ", then ".join(token.replace("_", " ") for token in path)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "worldr1", "noise", "--prompt", f"Camera {words}. A red ball."]
        command += ["--transport", transport, "--out", f"{folder}/noise.safetensors", "--overwrite"]
        for _ in range(repeats):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
    return seconds


def peak_mb() -> float:
    """Peak resident memory of this process in MB.

    From /proc where there is one: ru_maxrss begins with the parent's memory on Linux.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def in_fresh_process(function: Callable[..., Any], *args: object) -> Any:
    """function(*args), in a new interpreter that ends with it."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def report(official: Path | None, repeats: int, say: Callable[[str], None]) -> None:
    """All tables and verdicts, line by line."""
    say(EXPLANATION.format(repeats=repeats))
    official_cpu = None
    if official is not None and official_warper.is_there(official):
        official_cpu = _report_official(official, say)
    else:
        say(f"\n{official_warper.HOW_TO_GET_IT}")
    timings = _report_wan(official_cpu, repeats, say)
    _report_larger(repeats, say)
    coldest = _report_cold(say)
    say("")
    for transport, cases in timings.items():
        if official_cpu is not None:
            ratios = [official_cpu / timing.both_cpu for timing in cases]
            slowest, middle = min(ratios), statistics.median(ratios)
            met = (verdict(slowest >= SLOWEST_RATIO), verdict(middle >= MEDIAN_RATIO))
            say(f"{transport}, plan included: slowest path {slowest:,.0f} x (>= {SLOWEST_RATIO}): {met[0]}")
            say(f"{transport}, plan included: median path {middle:,.0f} x (>= {MEDIAN_RATIO:,}): {met[1]}")
            cached = [official_cpu / timing.sample.cpu for timing in cases]
            middle = statistics.median(cached)
            say(f"{transport}, plan cached: slowest path {min(cached):,.0f} x, median path {middle:,.0f} x")
    met_cold = verdict(coldest < COLD_SECONDS)
    say(f"`worldr1 noise` from a cold start: {coldest:.1f} s at most (< {COLD_SECONDS:.0f}): {met_cold}")


def _report_official(folder: Path, say: Callable[[str], None]) -> float:
    """CPU seconds of one official sample, extrapolated from the median step of all moves."""
    num_steps = official_warper.NUM_FRAMES - 1
    say(f"\n| official warper, {OFFICIAL_STEPS} of {num_steps} steps timed | cpu s a step | wall s a step | peak MB |")
    say("|---|---|---|---|")
    everything: list[Seconds] = []
    for move in OFFICIAL_MOVES:
        steps, peak = in_fresh_process(time_official, folder, move)
        everything += steps
        cpu, wall = (", ".join(f"{s:.1f}" for s in column) for column in zip(*map(astuple, steps), strict=True))
        say(f"| {move} | {cpu} | {wall} | {peak:,.0f} |")
    step = median(everything)
    say(
        f"\nOne official sample, extrapolated from the median of these {len(everything)} steps: {num_steps} x "
        f"{step.cpu:.1f} = **{num_steps * step.cpu:,.0f} cpu s** ({num_steps * step.wall:,.0f} wall s). It has no plan."
    )
    return num_steps * step.cpu


def _report_wan(official_cpu: float | None, repeats: int, say: Callable[[str], None]) -> dict[str, list[Timing]]:
    say(f"\n{WAN}: {CHANNELS} x {' x '.join(map(str, WAN.latent))}\n")
    say(f"| path | transport | {_COLUMNS} | official / both | official / sample |\n|{'---|' * 9}")
    timings: dict[str, list[Timing]] = {"canvas": [], "flow": []}
    for transport, cases in timings.items():
        for path in PATHS:
            timing: Timing = in_fresh_process(time_case, path, transport, WAN, repeats)
            cases.append(timing)
            ratios = "- | -"
            if official_cpu is not None:
                ratios = f"{official_cpu / timing.both_cpu:,.0f} | {official_cpu / timing.sample.cpu:,.0f}"
            say(f"| {name_of(path)} | {transport} | {_row(timing)} | {ratios} |")
    return timings


def _report_larger(repeats: int, say: Callable[[str], None]) -> None:
    say(f"\n| size | path | transport | {_COLUMNS} |\n|{'---|' * 8}")
    for size in LARGER:
        for transport in ("canvas", "flow"):
            for path in (("push_in",), ("pan_left",)):
                timing: Timing = in_fresh_process(time_case, path, transport, size, repeats)
                say(f"| {size} | {name_of(path)} | {transport} | {_row(timing)} |")


def _report_cold(say: Callable[[str], None]) -> float:
    """The longest of all runs, seconds."""
    say("\n| `worldr1 noise` at Wan's size, cold start | transport | wall s |\n|---|---|---|")
    longest = 0.0
    for path in (("push_in",), ("pan_left",)):
        for transport in ("canvas", "flow"):
            seconds = cold_seconds(path, transport)
            longest = max(longest, *seconds)
            say(f"| {name_of(path)} | {transport} | {', '.join(f'{s:.1f}' for s in seconds)} |")
    return longest


_COLUMNS = "plan cpu s | sample cpu s | both cpu s | both wall s | peak MB"


def _row(timing: Timing) -> str:
    wall = timing.plan.wall + timing.sample.wall
    seconds = (timing.plan.cpu, timing.sample.cpu, timing.both_cpu, wall)
    return f"{' | '.join(f'{s:.3f}' for s in seconds)} | {timing.peak_mb:,.0f}"
