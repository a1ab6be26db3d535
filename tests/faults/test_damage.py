"""Every damage to a checkpoint is found by its hashes, whatever byte it hits, and the one before is used."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worldr1.errors import CheckpointError
from worldr1.train.checkpoint import CHECKPOINTS, TrainState, find_newest, load_checkpoint, save_checkpoint


def _state(update: int) -> TrainState:
    generator = torch.Generator().manual_seed(update)

    def some() -> dict[str, torch.Tensor]:
        return {"a.lora_A": torch.randn(3, 4, generator=generator), "a.lora_B": torch.randn(4, generator=generator)}

    return TrainState(update=update, params=some(), ema=some(), optimizer=some(), extra={"skipped": 0, "norms": [0.5]})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints 1 and 2."""
    for update in (1, 2):
        save_checkpoint(tmp_path, _state(update), recipe="seed = 1\n")
    return tmp_path


def _files(run: Path) -> list[Path]:
    return sorted((run / CHECKPOINTS / "000002").iterdir())


def _flip(file: Path, draw: random.Random) -> None:
    data = bytearray(file.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


def _overwrite(file: Path, draw: random.Random) -> None:
    data = bytearray(file.read_bytes())
    start = draw.randrange(len(data))
    block = (
        bytes(len(data[start : start + 16])) if draw.random() < 0.5 else draw.randbytes(len(data[start : start + 16]))
    )
    if data[start : start + 16] == block:
        block = bytes(255 - byte for byte in block)
    data[start : start + 16] = block
    file.write_bytes(data)


def _truncate(file: Path, draw: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: draw.randrange(len(data))])


def _append(file: Path, draw: random.Random) -> None:
    file.write_bytes(file.read_bytes() + draw.choice([b"\n", b" ", b"\0", file.read_bytes()]))


def _delete(file: Path, draw: random.Random) -> None:
    file.unlink()


def _rename(file: Path, draw: random.Random) -> None:
    file.rename(file.with_name(draw.choice(["x", f"{file.name}.bak", file.name.upper()])))


def _from_before(file: Path, draw: random.Random) -> None:
    """The same file of checkpoint 1."""
    other = file.parents[1] / "000001" / file.name
    if other.read_bytes() == file.read_bytes():  # the recipe
        _flip(file, draw)
    else:
        shutil.copy(other, file)


def _swap(file: Path, draw: random.Random) -> None:
    """With another file of the checkpoint."""
    other = draw.choice([path for path in file.parent.iterdir() if path != file])
    a, b = file.read_bytes(), other.read_bytes()
    file.write_bytes(b)
    other.write_bytes(a)


MUTATIONS: tuple[Callable[[Path, random.Random], None], ...] = (
    _flip, _overwrite, _truncate, _append, _delete, _rename, _from_before, _swap,
)  # fmt: skip


@pytest.mark.parametrize("mutations", [pytest.param(4_000, marks=pytest.mark.slow), 200])
def test_every_damage_is_found(mutations: int, run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = tmp_path_factory.mktemp("whole") / "000002"
    victim = run / CHECKPOINTS / "000002"
    shutil.copytree(victim, whole)
    draw = random.Random(0)
    for number in range(mutations):
        shutil.rmtree(victim)
        shutil.copytree(whole, victim)
        mutate = MUTATIONS[number % len(MUTATIONS)]
        file = draw.choice(_files(run))
        mutate(file, draw)
        newest = find_newest(run)
        assert newest is not None
        assert newest.state.update == 1 and list(newest.problems) == [victim], f"{mutate.__name__} of {file.name}"
        assert len(newest.problems[victim].splitlines()) == 1
    newest = find_newest(run)
    assert newest is not None
    assert torch.equal(newest.state.params["a.lora_A"], _state(1).params["a.lora_A"])


def test_whole_folders_that_are_lost_renamed_or_exchanged(run: Path) -> None:
    folder = run / CHECKPOINTS
    (folder / "000002").rename(folder / "000003")
    newest = find_newest(run)
    assert newest is not None and newest.state.update == 1
    assert newest.problems[folder / "000003"].endswith("is that of update 2")
    (folder / "000001").rename(folder / "000002")
    with pytest.raises(CheckpointError, match="No checkpoint of"):
        find_newest(run)
    shutil.rmtree(folder / "000002")
    (folder / "000003").rename(folder / "000002")
    (folder / "000004").mkdir()  # empty, or a file
    (folder / "000005").touch()
    newest = find_newest(run)
    assert newest is not None and newest.state.update == 2


@pytest.mark.slow
def test_every_bit_of_every_file_counts(run: Path) -> None:
    found = 0
    for file in _files(run):
        whole = file.read_bytes()
        for bit in range(8 * len(whole)):
            data = bytearray(whole)
            data[bit // 8] ^= 1 << bit % 8
            file.write_bytes(data)
            with pytest.raises(CheckpointError):
                load_checkpoint(file.parent)
            found += 1
        file.write_bytes(whole)
    load_checkpoint(run / CHECKPOINTS / "000002")
    print(f"{found} flipped bits, all found")
