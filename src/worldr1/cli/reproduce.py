"""`worldr1 reproduce`: the paper's claims tried in the mini world, from the training runs to one page."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from worldr1.errors import InputError

if TYPE_CHECKING:  # torch takes seconds to import: --help and a wrong word do not wait for it
    from rich.console import Console

    from worldr1.reproduce.job import Job
    from worldr1.reproduce.jobs import Jobs
    from worldr1.reproduce.layout import Layout
    from worldr1.reproduce.ledger import Ledger
    from worldr1.reproduce.plan import Plan
    from worldr1.reproduce.runner import Ended, Runner, Slot

_ABOUT = """Without a claim: lists them, with what each needs, its price and what is there. With claims: trains the
runs that they need, judges them, and writes findings.json and one page into --out. Seed 0 of every variant comes first,
then seed 1 of every variant: a --budget that ends early leaves something of each claim. It can be stopped at any time
(Ctrl-C); the same command goes on, and runs that are there are used again. The first start fixes how long the runs of a
folder are."""
MPS_PIPES = "/tmp/nvidia-mps"
"""CUDA's own default of CUDA_MPS_PIPE_DIRECTORY, fixed by NVIDIA on every machine whatever TMPDIR says."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `reproduce`."""
    parser.description = _ABOUT
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="names of the list that no name prints")
    parser.add_argument("--all", action="store_true", help="every claim, in the order of the list")
    parser.add_argument("--out", type=Path, default=Path("reproduction"), metavar="DIR", help="(default: reproduction)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each variant (default: 3)")
    parser.add_argument(
        "--budget", type=float, metavar="MINUTES", help="begin nothing that would not be done in time from now"
    )
    parser.add_argument(
        "--side-by-side", type=int, metavar="N", help="jobs per GPU at a time (default: 2), or on the CPU (default: 1)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    smaller = parser.add_argument_group(
        "smaller runs", "of a new folder; the page then says so, and nothing is held against the published runs"
    )
    smaller.add_argument("--updates", type=int, metavar="N", help="of a full run; half-length ones take half of them")
    smaller.add_argument("--groups", type=int, metavar="N", help="prompts per update")
    smaller.add_argument("--prompts", type=int, metavar="N", help="static prompts that are judged")
    smaller.add_argument("--dynamic-prompts", type=int, metavar="N", help="dynamic ones")
    smaller.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every run's recipe")


def run(args: argparse.Namespace) -> int:
    """List the claims, or do what they need; 1 if something failed. Raises InputError for what cannot be done."""
    _check_numbers(args)
    from worldr1.reproduce.claims import CLAIMS, find_claim

    for claim in args.claims:
        find_claim(claim)
    if args.out.exists() and not args.out.is_dir():
        raise InputError(f"--out {args.out} is a file: give a folder")
    claims = list(CLAIMS) if args.all else list(dict.fromkeys(args.claims))
    if not claims:
        if _smaller(args) or args.budget is not None or args.side_by_side is not None:
            raise InputError("nothing is run without a claim: name some, or give --all (no options: the list of them)")
        return _list(args)
    return _reproduce(args, claims)


def _check_numbers(args: argparse.Namespace) -> None:
    if args.all and args.claims:
        raise InputError("--all stands for every claim: give it alone, or the claims")
    for name in ("seeds", "side_by_side", "groups"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value} is not possible: give at least 1")
    if args.budget is not None and not args.budget > 0:
        raise InputError(f"--budget {args.budget:g} allows nothing: give minutes above 0")


# --------------------------------------------------------------------------------------------------------------- plan


def _smaller(args: argparse.Namespace) -> bool:
    return bool(args.set) or any(
        getattr(args, name) is not None for name in ("updates", "groups", "prompts", "dynamic_prompts")
    )


def _plan(args: argparse.Namespace, layout: "Layout") -> "Plan":
    """What the options say; without any, what the folder was begun with."""
    from worldr1.build import choose_device
    from worldr1.reproduce.plan import Plan

    if layout.plan.is_file() and not _smaller(args):
        plan = Plan.load(layout.plan)
        if args.device == "auto" or args.device == plan.device:
            return plan
    device = choose_device(args.device)
    groups = () if args.groups is None else (f"train.groups_per_update={args.groups}",)
    return Plan.make(
        "cuda" if device == "cuda" else "cpu",
        updates=args.updates,
        settings=(*groups, *args.set),
        static=args.prompts,
        dynamic=args.dynamic_prompts,
    )


# --------------------------------------------------------------------------------------------------------------- list


def _list(args: argparse.Namespace) -> int:
    from rich.table import Table

    from worldr1.reproduce.claims import CLAIMS
    from worldr1.reproduce.job import State
    from worldr1.reproduce.jobs import Jobs
    from worldr1.reproduce.layout import Layout
    from worldr1.reproduce.needs import needed
    from worldr1.reproduce.plan import Plan
    from worldr1.reproduce.prices import H200, Kind

    layout = Layout(args.out.absolute())
    begun = layout.plan.is_file()
    plan = Plan.load(layout.plan) if begun else Plan.make("cuda")
    table = Table("claim", "what it says", "variants", "minutes", *(("there",) if begun else ()), box=None)
    for name, claim in CLAIMS.items():
        jobs = Jobs(layout=layout, plan=plan, prices=H200, needed=needed([name], args.seeds))
        names = ", ".join((*jobs.needed.seeds, *(f"+ {one}" for one in claim.files)))
        try:
            todo = jobs.all()
            minutes = jobs.missing_minutes() if begun else sum(job.minutes() for job in todo)
        except InputError:  # a variant's settings and the folder's do not go together
            table.add_row(name, claim.title, names, "-", *(("not with this folder's --set",) if begun else ()))
            continue
        there = []
        for kinds, word in (
            ((Kind.TRAIN,), "runs"),
            ((Kind.JUDGE,), "judged"),
            ((Kind.CLIPS, Kind.INFERENCE), "measured"),
        ):
            of_kind = [job for job in todo if job.kind in kinds]
            if of_kind:
                there.append(f"{sum(job.state() is State.DONE for job in of_kind)} of {len(of_kind)} {word}")
        price = f"{minutes:.0f}" if todo else "-"
        table.add_row(name, claim.title, names, price, *((", ".join(there),) if begun else ()))
    _console().print(table)
    what = f"what {args.out} lacks" if begun else "everything"
    print(
        f"minutes: one H200, one job after the other, {args.seeds} seed(s), for {what}; claims share runs. "
        "worldr1 reproduce CLAIM... --out DIR"
    )
    return 0


# ---------------------------------------------------------------------------------------------------------------- run


def _reproduce(args: argparse.Namespace, claims: list[str]) -> int:
    from worldr1.build import choose_device
    from worldr1.reproduce.jobs import Jobs
    from worldr1.reproduce.layout import Layout
    from worldr1.reproduce.ledger import Ledger
    from worldr1.reproduce.needs import needed
    from worldr1.reproduce.prices import on_card, on_cpu
    from worldr1.train.run_lock import RunLock, unwritable

    layout = Layout(args.out.absolute())
    for file in (layout.findings, layout.page, layout.markdown):
        if file.exists() and not layout.plan.exists():
            raise InputError(f"{args.out} holds {file.name} and no {layout.plan.name}: choose another --out")
    plan = _plan(args, layout)
    if plan.device != choose_device("auto") and plan.device == "cuda":
        raise InputError(f"{args.out} was begun on a GPU, and there is none here: go on where one is, or give --out.")
    slots = _slots(plan.device, args.side_by_side)
    threads = int(slots[0].environment["OMP_NUM_THREADS"])
    mps = plan.device == "cuda" and _has_mps()
    prices = on_card(_per_card(slots), mps=mps) if plan.device == "cuda" else on_cpu(threads)
    jobs = Jobs(layout=layout, plan=plan, prices=prices, needed=needed(claims, args.seeds))
    for variant in jobs.needed.variants:
        jobs.recipe(variant, 0)  # a wrong --set is said before there is a folder
    try:
        layout.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(args.out, error) from error
    with closing(RunLock(layout.root)):
        plan.save(layout.plan)
        ledger = Ledger(layout.ledger, layout.under_way)
        ledger.close_leftovers(_say)
        return _work(args, jobs, slots, ledger, mps=mps)


def _work(args: argparse.Namespace, jobs: "Jobs", slots: "list[Slot]", ledger: "Ledger", *, mps: bool) -> int:
    from worldr1.reproduce.job import State
    from worldr1.reproduce.ledger import Outcome, code_commit, device_name
    from worldr1.reproduce.outputs import write_all, write_findings
    from worldr1.reproduce.prices import Kind, Pace
    from worldr1.reproduce.runner import Runner

    layout, plan, device = jobs.layout, jobs.plan, device_name(jobs.plan.device)
    pace = Pace()
    for attempt in ledger.read():
        if attempt.outcome is Outcome.FINISHED and attempt.device == device and attempt.seconds is not None:
            pace.add(attempt.kind, taken=attempt.seconds / 60, priced=attempt.priced_minutes)
    problems: dict[str, str] = {}

    def write(job: "Job | None" = None) -> None:
        """Findings after a judging, page at the end; that this fails must not cost the runs that are still to come."""
        try:
            if job is None:
                files[:] = write_all(layout, plan, args.seeds)
            elif job.kind in (Kind.JUDGE, Kind.CLIPS, Kind.INFERENCE):
                write_findings(layout, args.seeds)
            problems.pop("findings", None)
        except Exception as error:
            problems["findings"] = f"{type(error).__name__}: {error}"
            _say(f"failed: findings and page: {problems['findings']}")

    files: list[Path] = []
    runner = Runner(
        root=layout.root,
        jobs=jobs.all(),
        slots=slots,
        ledger=ledger,
        pace=pace,
        say=_say,
        budget_minutes=args.budget,
        device=device,
        commit=code_commit(),
        on_done=write,
    )
    todo = [job for job in runner.jobs if job.state() is not State.DONE]
    _say_what(runner, todo, plan, device, mps=mps)
    ended = runner.run()
    if ended.interrupted:
        _say_failed(ended)
        done = len(todo) - len(ended.left) - len(ended.failed)
        raise KeyboardInterrupt(
            f"stopped with {done} of {len(todo)} jobs done; the same command goes on, with the runs where they stopped"
        )
    write()
    return _report(runner, ended, files, problems)


def _say_what(runner: "Runner", todo: "list[Job]", plan: "Plan", device: str, *, mps: bool) -> None:
    """What will be done and how long it will take, before it begins."""
    from worldr1.reproduce.prices import in_words

    threads, rest = runner.slots[0].environment["OMP_NUM_THREADS"], runner.rest_minutes(todo)
    where = f"{device}, {len(runner.slots)} job(s) at a time, {threads} thread(s) each"
    if plan.device == "cuda":
        where += f", {_per_card(runner.slots)} per GPU {'with' if mps else 'without'} MPS"
    there = len(runner.jobs) - len(todo)
    _say(f"{len(todo)} jobs to do, {there} done already: about {in_words(rest)} on {where}")
    if runner.budget_minutes is not None and rest > runner.budget_minutes:
        _say(f"the budget of {runner.budget_minutes:g} minutes does not allow all of it: what is first comes first")
    if plan.device == "cpu" and rest > 60:
        _say("this is without a GPU; --updates, --groups, --prompts and --dynamic-prompts make it smaller")
    if not plan.is_published:
        _say(f"these runs are not planned as the published ones: {plan.in_words}")


def _report(runner: "Runner", ended: "Ended", files: list[Path], problems: dict[str, str]) -> int:
    """Prints what was made and what is left; the exit code."""
    from rich.table import Table

    print(*files, sep="\n")
    if ended.left:
        table = Table("left", "minutes here", box=None)
        for job in ended.left:
            table.add_row(job.name, f"{runner.minutes(job):.1f}")
        table.add_row("all, side by side", f"{runner.rest_minutes(ended.left):.1f}")
        _console().print(table)
    _say_left(ended, runner.budget_minutes)
    _say_failed(ended)
    return 1 if ended.failed or problems else 0


def _say_left(ended: "Ended", budget: float | None) -> None:
    """Why jobs are left, if it is the budget."""
    waiting = {job.name for job in ended.left if job.after in ended.failed}
    if budget is not None and len(ended.left) > len(waiting):
        num = len(ended.left) - len(waiting)
        _say(f"{num} job(s) would not have ended within {budget:g} minutes; the same command goes on with them")
    if waiting:
        _say(f"{len(waiting)} job(s) wait for one that is not done")


def _say_failed(ended: "Ended") -> None:
    """What was not done and why: one sentence for all jobs that met the same."""
    jobs: dict[str, list[str]] = {}
    for name, problem in ended.failed.items():
        jobs.setdefault(problem, []).append(name)
    for problem, names in jobs.items():
        what = names[0] if len(names) == 1 else f"{len(names)} jobs ({'; '.join(names)})"
        _say(f"not done: {what}: {problem}")


# -------------------------------------------------------------------------------------------------------------- slots


def _slots(device: str, side_by_side: int | None) -> "list[Slot]":
    """For every GPU that this process may use, or for the CPU."""
    from worldr1.reproduce.runner import Slot

    each = side_by_side or (2 if device == "cuda" else 1)
    cards = [{"CUDA_VISIBLE_DEVICES": card} for card in _cards()] if device == "cuda" else [{}]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if not (threads.isdecimal() and int(threads) > 0):
        threads = str(max(1, cores // (len(cards) * each)))
    return [Slot({**card, "OMP_NUM_THREADS": threads}) for _ in range(each) for card in cards]


def _per_card(slots: "Sequence[Slot]") -> int:
    """Jobs that share a GPU."""
    return len(slots) // len({slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots})


def _has_mps() -> bool:
    """Whether NVIDIA's MPS daemon serves the jobs' GPUs: by its socket, where CUDA looks for it."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or MPS_PIPES) / "control").is_socket()


def _cards() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    num = torch.cuda.device_count()
    return named[:num] if named else [str(number) for number in range(num)]


def _console() -> "Console":
    """For tables on standard output, whose rows are cut for a terminal only."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
