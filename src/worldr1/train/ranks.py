"""The processes of a run, as torchrun starts them: rank 0 to N - 1, each with some of an update's groups.

Every rank holds the trained parameters, their averages and the optimizer whole, and steps them alike; what differs is
which groups it samples, scores and differentiates. So two things travel: messages (JSON, by gloo, never pickled), from
which every rank decides alike, and the sum of the gradients (by NCCL between GPUs). An update runs several forwards and
backwards and different numbers of them on different ranks, which DistributedDataParallel's hooks do not stand; one sum
after the last backward does, and is a few hundred MB for a LoRA.

What a rank does for itself happens inside `Ranks.together`: whatever befalls it there, a fault, a mistake of the user
or an interrupt, the others learn at its end, and all go on or all stop. A rank that is killed breaks the connection:
the others end with `RankLost`, and torchrun starts all of them again (`--max-restarts`).
"""

import json
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from worldr1 import torchrun
from worldr1.errors import (
    CheckpointError,
    ConfigError,
    InputError,
    PromptError,
    ServerError,
    TrainingError,
    WorldR1Error,
    first_line,
)
from worldr1.train.interrupts import Interrupts

T = TypeVar("T")
KINDS: Mapping[str, type[WorldR1Error]] = {
    kind.__name__: kind for kind in (CheckpointError, ConfigError, InputError, PromptError, ServerError, TrainingError)
}
"""Errors that stay what they are on the way to another rank."""
INTERRUPTED = KeyboardInterrupt.__name__
BEGUN = "worldr1/begun"
BUCKET = 2**26
"""Numbers summed in one call: 256 MiB beside the gradients."""
MEETING = timedelta(minutes=10)
"""Longest wait for the others to be started, and for a sum of gradients, which all come to at once."""
PATIENCE = timedelta(days=7)
"""Longest wait for a message: another rank may be filming an evaluation. One that is dead is noticed at once."""


class RankLost(TrainingError):
    """Another rank is gone, in the middle of the run."""


class RanksApart(TrainingError):
    """The ranks do not hold the same parameters: what any of them holds is not to be saved."""


class Ranks:
    """This process among those of its run. `Ranks()` is a run of one process, where every method is trivial."""

    def __init__(self, rank: int = 0, world: int = 1, local_rank: int = 0) -> None:
        """rank of world; local_rank: among those of this machine."""
        self.rank, self.world, self.local_rank = rank, world, local_rank
        self.pass_time: Callable[[], None] = lambda: None
        """What a rank does between the end of its own work and the end of everyone's (`train.sharding`)."""
        self.may_give_up = True
        """Whether an interrupt may end work in the middle."""
        self.working = False
        """Whether this rank is inside `together`."""
        self._interrupts = Interrupts()
        self._messages: Any = None  # a group for which torch has several types
        self._store: Any = None

    @classmethod
    def join(cls, device: str) -> Self:
        """Meets the other processes that torchrun started, and takes this one's GPU; `Ranks()` where there are none.

        From here on interrupts act at the ends of `together` alone. Raises InputError on all ranks for an environment
        that is not torchrun's, or too few GPUs; ServerError if the others do not come.
        """
        rank, world, local_rank = torchrun.place()
        if world == 1:
            return cls()
        if device == "cuda":
            _take_gpu(local_rank)
        ranks = cls(rank, world, local_rank)
        ranks._interrupts.catch()
        try:
            ranks._store, *_ = next(dist.rendezvous("env://", timeout=MEETING))
            store = dist.PrefixStore(_meeting_place(ranks._store, rank, world), ranks._store)
            backend = "nccl" if device == "cuda" else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=MEETING)
            ranks._messages = dist.new_group(backend="gloo", timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise ServerError(
                f"The {world} processes of this run could not meet ({first_line(error)}); start all of them with "
                "torchrun, with one --rdzv-endpoint that every machine reaches."
            ) from error
        if device == "cuda":
            ranks._check_gpus()
        return ranks

    @property
    def begun(self) -> bool:
        """Whether `mark_begun` was called under this torchrun before: it has started its processes again since."""
        return self._store is not None and self._store.check([BEGUN])

    def mark_begun(self) -> None:
        """Remembered by torchrun, not by this process."""
        if self._store is not None:
            self._store.set(BEGUN, "")

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for the run."""
        return self.rank == 0

    def deal(self, num: int) -> range:
        """This rank's share of `num` things: every world-th, so that shares differ by one at most."""
        return range(num)[self.rank :: self.world]

    def in_order(self, shares: Sequence[Sequence[T]]) -> list[T]:
        """Puts together what all ranks made of their shares, as `deal` gave them."""
        return [shares[i % self.world][i // self.world] for i in range(sum(map(len, shares)))]

    # ---------------------------------------------------------------------------------------------------- messages

    def gather(self, message: Any) -> list[Any]:
        """The JSON messages of all ranks, in order. Raises RankLost if one is gone."""
        if self.world == 1:
            return [message]
        data = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        with _noticing():
            dist.all_gather(sizes, torch.tensor([len(data)]), group=self._messages)
            longest = max(int(size) for size in sizes)
            padded = torch.zeros(longest, dtype=torch.uint8)
            padded[: len(data)] = data
            found = [torch.empty_like(padded) for _ in sizes]
            dist.all_gather(found, padded, group=self._messages)
        return [json.loads(one[: int(size)].numpy().tobytes()) for one, size in zip(found, sizes, strict=True)]

    def together(self, work: Callable[[], Any], *, interruptible: bool = True) -> list[Any]:
        """What `work`, which asks nothing of the other ranks, returns on each of them: JSON, in order of the ranks.

        If it fails on one, all raise: that one its own exception, the others one of the same kind (TrainingError for
        what is no `WorldR1Error`). An interrupt of one interrupts all. interruptible: False lets interrupts wait for
        the next call, for what must not be left half done.
        """
        if self.world == 1:
            return [work()]
        outcome: dict[str, Any] = {}
        failure: BaseException | None = None
        self.working = True
        try:
            if interruptible and self.may_give_up:
                outcome["result"] = self._interrupts.run(work)
            elif interruptible and self._interrupts.pending:
                raise KeyboardInterrupt
            else:
                outcome["result"] = work()
        except RankLost:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, torch.OutOfMemoryError) and not self.may_give_up:
                raise  # in the middle of a forward that the others make too: there is no going on together
            failure = error
            outcome = {"failed": type(error).__name__, "said": str(error) or first_line(error)}
        finally:
            self.working = False
        self.pass_time()
        outcomes = self.gather(outcome)
        _raise_what_failed(outcomes, failure)
        return [one["result"] for one in outcomes]

    def share(self, work: Callable[[], Any], *, interruptible: bool = True) -> Any:
        """What `work` returns on rank 0 (JSON), which alone does it while the others wait; raises as `together`."""
        return self.together(work if self.is_first else lambda: None, interruptible=interruptible)[0]

    def any_at_work(self, mine: bool) -> bool:
        """Whether any rank says so; all are asked at once."""
        said = torch.tensor([int(mine)])
        with _noticing():
            dist.all_reduce(said, op=dist.ReduceOp.MAX, group=self._messages)
        return bool(said)

    # ----------------------------------------------------------------------------------------------------- tensors

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gives every rank the sum of all ranks' gradients, the same bits everywhere.

        A parameter that has a gradient on some ranks has one on all afterwards; one without stays so.
        """
        if self.world == 1:
            return
        known = list(parameters)
        there = torch.tensor([p.grad is not None for p in known], dtype=torch.int32)
        with _noticing():
            dist.all_reduce(there, op=dist.ReduceOp.MAX, group=self._messages)
        for bucket in _buckets([p for p, some in zip(known, there.tolist(), strict=True) if some]):
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
            with _noticing():
                dist.all_reduce(flat)
            for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                parameter.grad = part.view_as(parameter)

    def share_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rank 0's tensors, on the CPU of every rank; what the others hand in does not matter."""
        if self.world == 1:
            return dict(tensors)
        headers = self.gather([[name, list(t.shape), str(t.dtype)] for name, t in tensors.items()] * self.is_first)[0]
        found = {}
        with _noticing():
            for name, shape, dtype in headers:
                values = tensors[name].detach().cpu().contiguous() if self.is_first else _empty(shape, dtype)
                dist.broadcast(_bytes(values), src=0, group=self._messages)
                found[name] = values
        return found

    def send_to_first(self, tensors: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """All ranks' tensors (numbered apart) on rank 0's CPU; on the others nothing."""
        if self.world == 1:
            return dict(tensors)
        mine = {number: t.detach().cpu().contiguous() for number, t in tensors.items()}
        headers = self.gather([[number, list(t.shape), str(t.dtype)] for number, t in mine.items()])
        found = mine if self.is_first else {}
        with _noticing():
            for rank, sent in enumerate(headers[1:], start=1):
                for number, shape, dtype in sent:
                    if rank == self.rank:
                        dist.send(_bytes(mine[number]), dst=0, group=self._messages)
                    elif self.is_first:
                        found[number] = _empty(shape, dtype)
                        dist.recv(_bytes(found[number]), src=rank, group=self._messages)
        return found

    def leave(self) -> None:
        """Waits until every rank is done, so that none is ended by torchrun before; nothing if one is gone already.

        Nothing can be said to the others afterwards.
        """
        if self.world == 1:
            return
        with suppress(RankLost):
            self.gather(None)
            dist.destroy_process_group()  # gloo's threads, left alone, may abort a process that ends well

    def _check_gpus(self) -> None:
        place = f"{socket.gethostname()} {torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
        places = self.gather(place)
        for rank, found in enumerate(places):
            if (other := places.index(found)) < rank:
                raise InputError(
                    f"Ranks {other} and {rank} are on one GPU: start at most one process per GPU "
                    "(torchrun --nproc-per-node gpu), or --set device=cpu."
                )


# ----------------------------------------------------------------------------------------------------------- launching


def _meeting_place(store: Any, rank: int, world: int) -> str:
    """A name that all present processes agree on, and none that torchrun has ended.

    torchrun's store outlives them, with the addresses of the dead in it. So rank 0 makes a name up and answers every
    rank's own greeting with it, until the greetings are those of the living: they thank.
    """
    if rank > 0:
        greeting = secrets.token_hex(8)
        store.set(f"worldr1/hello/{rank}", greeting)
        name = store.get(f"worldr1/answer/{greeting}").decode()
        store.set(f"worldr1/thanks/{name}/{rank}", "")
        return name
    name, missing, deadline = secrets.token_hex(8), set(range(1, world)), time.monotonic() + MEETING.total_seconds()
    while missing:
        for other in [other for other in missing if store.check([f"worldr1/hello/{other}"])]:
            store.set(f"worldr1/answer/{store.get(f'worldr1/hello/{other}').decode()}", name)
        missing = {other for other in missing if not store.check([f"worldr1/thanks/{name}/{other}"])}
        if missing and time.monotonic() > deadline:
            raise RuntimeError(f"rank {min(missing)} did not come")
        time.sleep(0.05)
    return name


def _take_gpu(local_rank: int) -> None:
    """Makes "cuda" mean this process's GPU. With one visible that one: some launchers show each process its own."""
    found = torch.cuda.device_count()
    if found > 1 and local_rank >= found:
        raise InputError(
            f"This machine has {found} GPUs and more processes: start at most one per GPU "
            f"(torchrun --nproc-per-node {found}), or --set device=cpu."
        )
    torch.cuda.set_device(local_rank if found > 1 else 0)


# ------------------------------------------------------------------------------------------------------------- details


@contextmanager
def _noticing() -> Iterator[None]:
    """What torch says of a broken connection, as RankLost."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(
            f"The connection to another process of this run broke ({first_line(error)}); torchrun --max-restarts N "
            "goes on by itself, and worldr1 train --resume does by hand."
        ) from error


def _raise_what_failed(outcomes: Sequence[Mapping[str, Any]], own: BaseException | None) -> None:
    """Raises on every rank if any failed; an interrupt counts only where nothing else went wrong."""
    failed = {rank: one for rank, one in enumerate(outcomes) if "failed" in one}
    if not failed:
        return
    broken = {rank: one for rank, one in failed.items() if one["failed"] != INTERRUPTED}
    if not broken:
        raise KeyboardInterrupt
    if own is not None and not isinstance(own, KeyboardInterrupt):
        raise own
    rank, first = next(iter(broken.items()))
    kind = KINDS.get(first["failed"])
    if kind is None:
        raise TrainingError(f"Rank {rank} failed with {first['failed']}: {first['said']}")
    raise kind(f"Rank {rank}: {first['said']}")


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """In order, of one dtype and about `BUCKET` numbers each."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        full = sum(p.numel() for p in bucket) + parameter.numel() > BUCKET
        if bucket and (full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def _empty(shape: Sequence[int], dtype: str) -> Tensor:
    return torch.empty(list(shape), dtype=getattr(torch, dtype.removeprefix("torch.")))


def _bytes(values: Tensor) -> Tensor:
    """The same memory, of whatever dtype: gloo does not know all."""
    return values.reshape(-1).view(torch.uint8)
