"""The command line: one module per command, found in the table below and imported only when it is asked for.

Exit codes: 0 success, 1 our fault or the machine's, 2 bad input (one sentence on stderr that says what to do),
130 interrupted. Standard output carries results only.
"""

import argparse
import errno
import importlib
import os
import select
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from worldr1 import __version__
from worldr1.errors import InputError, TrainingError, WorldR1Error

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("worldr1.cli.train", "post-train a video model from a recipe"),
    "plan": ("worldr1.cli.plan", "predict memory, seconds and updates of a recipe on a GPU"),
    "generate": ("worldr1.cli.generate", "make videos from a prompt with camera words"),
    "export": ("worldr1.cli.export", "write a trained LoRA for ComfyUI, diffusers, or merged"),
    "score": ("worldr1.cli.score", "measure the 3D consistency of video files"),
    "evaluate": ("worldr1.cli.evaluate", "measure a model or a folder of videos on a suite of prompts"),
    "study": ("worldr1.cli.study", "ask people which of two models they prefer, blind"),
    "compare": ("worldr1.cli.compare", "show what evaluations of one suite differ in, prompt by prompt"),
    "camera": ("worldr1.cli.camera", "show what a prompt's camera words or a file's poses mean"),
    "noise": ("worldr1.cli.noise", "write the start noise that follows a prompt's or a file's camera"),
    "prompts": ("worldr1.cli.prompts", "check, describe and write prompt sets"),
    "reproduce": ("worldr1.cli.reproduce", "try the paper's claims in the mini world, with honest intervals"),
    "mini": ("worldr1.cli.mini", "render or rebuild the mini world"),
    "doctor": ("worldr1.cli.doctor", "say what works on this machine and how to get the rest"),
}
"""Name -> (module, one line of help)."""

_TUNED = "WORLDR1_TUNED"
"""Set once the launcher has tuned the environment; set it yourself to keep yours as it is."""

_TUNING = {
    # glibc gives large tensors back to the kernel after every use; keeping them halves the VAE's time on a CPU.
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    # Idle OpenMP threads that spin make everything else on the machine several times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}


class Command(Protocol):
    """What a command's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do the work; the exit code."""
        ...


def entry() -> None:
    """The console script: tunes the environment (which needs a fresh process), then leaves with `main`'s code."""
    if sys.platform == "linux" and _chosen(sys.argv[1:]) is not None and _TUNED not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**_TUNING, **os.environ, _TUNED: "1"})
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. argv: the arguments after the program's name (default: sys.argv)."""
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", 130)
    except Exception as error:
        reader_left = isinstance(error, BrokenPipeError) and _reader_left()
        _drop_unwritable_output()
        if reader_left:
            return 1  # `worldr1 camera ... | head`: there is nobody to tell
        if _disk_is_full(error) and not isinstance(error, TrainingError):  # which says what is safe, and what to run
            return _fail("error: the disk is full; free some space and run the same command again", 1)
        if isinstance(error, InputError):
            return _fail(f"error: {error}", 2)
        if isinstance(error, PermissionError) and error.filename is not None:
            return _fail(f"error: {error.filename} is not yours to use ({error.strerror}): choose another place", 2)
        if isinstance(error, WorldR1Error):
            return _fail(f"error: {error}", 1)
        traceback.print_exc()  # a bug of ours: the whole story
        return 1


def _run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="worldr1",
        description="Reinforcement learning that makes a text-to-video model keep a coherent 3D world.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"worldr1 {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = _chosen(argv)
    command: Command | None = None
    for name, (module, summary) in COMMANDS.items():
        subparser = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name == chosen:
            command = cast(Command, importlib.import_module(module))
            command.add_arguments(subparser)
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # argparse's way to say "done" (--help) or "wrong" (2)
        return stop.code if isinstance(stop.code, int) else 0
    assert command is not None, "argparse lets only a known command through"
    return command.run(args)


def _chosen(argv: Sequence[str]) -> str | None:
    """The command, if there is one: the first argument that is no option (no option before it takes a value)."""
    first = next((argument for argument in argv if not argument.startswith("-")), None)
    return first if first in COMMANDS else None


def _fail(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


def _reader_left() -> bool:
    """Whether it is our standard output that broke, and not some other pipe or socket."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _drop_unwritable_output() -> None:
    """Send what standard output cannot take nowhere, or Python would fail on it a second time at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _disk_is_full(error: BaseException) -> bool:
    return any(
        (isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT))
        or os.strerror(errno.ENOSPC) in str(link)  # safetensors reports it as text
        for link in _cause_chain(error)
    )


def _cause_chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
