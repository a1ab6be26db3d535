"""`worldr1 train` of a random tiny Wan with the example's reward: a whole run in seconds, for tests of processes.

    torchrun --nproc-per-node 2 tiny_run.py OUT [--set key=value ...]        # or --resume OUT

KILL=RANK:UPDATE in the environment has that rank kill itself (SIGKILL) in the rollout of that update, once.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "benchmarks"), str(HERE.parent / "examples" / "own_reward")]

from tiny_models import TINY_WAN  # noqa: E402

from worldr1.backends import architectures  # noqa: E402
from worldr1.cli import main  # noqa: E402
from worldr1.train.trainer import Trainer  # noqa: E402

WORDS = (
    "device=cpu", "model.folder=tiny-wan", "model.weights=random", "model.dtype=float32", "model.guidance=1.0",
    "clip.frames=5", "clip.height=32", "clip.width=32", "sampler.num_steps=4", "sampler.first_index=1",
    "sampler.last_index=2", "reward.custom=colour_reward:ColourReward", "reward.placement=resident", "prompts.main=4",
    "prompts.dynamic=1", "prompts.test=3", "prompts.test_dynamic=0", "phases.dynamic_updates=0", "train.updates=4",
    "train.groups_per_update=2", "train.group_size=2", "train.decode_batch=1", "train.checkpoint_every=2",
    "train.groups_in_flight=1",
)  # fmt: skip


def run(arguments: Sequence[str]) -> int:
    """Exit code of the command."""
    if arguments[0] == "--resume":
        words = list(arguments)
    else:
        settings = [f"model.text_cache={Path(arguments[0]).parent / 'text'}", *WORDS]
        sets = [word for setting in settings for word in ("--set", setting)]
        words = ["world-r1-small", *sets, "--out", *arguments]
    known = {**architectures.ARCHITECTURES, TINY_WAN.name: TINY_WAN}
    with patch.object(architectures, "ARCHITECTURES", known), patch.object(Trainer, "_roll_out", _roll_out):
        return main(["train", *words])


_original = Trainer._roll_out


def _roll_out(self: Trainer, number: int, *given: Any) -> Any:
    rank, _, update = os.environ.get("KILL", "").partition(":")
    first_time = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if rank == str(self.ranks.rank) and update == str(number) and first_time:
        os.kill(os.getpid(), signal.SIGKILL)
    return _original(self, number, *given)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
