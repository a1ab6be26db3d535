"""Checkpoints are whole or absent, damage is found, and training goes on bit for bit."""

import dataclasses
import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from worldr1.errors import CheckpointError, TrainingError
from worldr1.train import checkpoint
from worldr1.train.checkpoint import (
    CHECKPOINTS,
    TrainState,
    find_newest,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    load_optimizer_state,
    optimizer_state,
    save_checkpoint,
    set_aside,
    write_tensors,
)
from worldr1.train.ema import Ema

RECIPE = 'recipe = "mini"\n'


def _state(update: int, value: float = 1.0) -> TrainState:
    return TrainState(
        update=update,
        params={"w": torch.full((3,), value)},
        ema={"w": torch.full((3,), 0.5), "num_updates": torch.tensor(update)},
        optimizer={"exp_avg/w": torch.full((3,), 0.25), "step/w": torch.tensor(float(update))},
        extra={"cursor": 17, "grad_norms": [0.1, 1e-30]},
    )


def _updates(run: Path) -> list[int]:
    return [int(path.name) for path in list_checkpoints(run)]


def test_round_trip(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, _state(3), recipe=RECIPE)
    assert path == tmp_path / CHECKPOINTS / "000003"
    assert (path / "recipe.toml").read_text() == RECIPE
    loaded, saved = load_checkpoint(path), _state(3)
    assert (loaded.update, loaded.extra) == (3, saved.extra)
    for part in ("params", "ema", "optimizer"):
        ours, theirs = getattr(loaded, part), getattr(saved, part)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[k], theirs[k]) and ours[k].dtype == theirs[k].dtype for k in theirs)


def _network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


class _Run:
    """A small training whose data come from the update's number alone."""

    def __init__(self) -> None:
        self.network = _network()
        self.parameters = dict(self.network.named_parameters())
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=1e-2, weight_decay=1e-4, eps=1e-15)
        self.ema = Ema(self.parameters, decay=0.9)
        self.update = 0

    def advance(self, num_updates: int) -> None:
        for _ in range(num_updates):
            data = torch.randn(5, 4, generator=torch.Generator().manual_seed(self.update))
            self.optimizer.zero_grad()
            self.network(data).square().mean().backward()
            self.optimizer.step()
            self.ema.update(self.parameters)
            self.update += 1

    def state(self) -> TrainState:
        return TrainState(
            update=self.update,
            params={name: p.detach().clone() for name, p in self.parameters.items()},
            ema=self.ema.state_dict(),
            optimizer=optimizer_state(self.optimizer, self.parameters),
        )

    def restore(self, state: TrainState) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state.params[name])
        self.ema.load_state_dict(state.ema)
        load_optimizer_state(self.optimizer, self.parameters, state.optimizer)
        self.update = state.update


def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    whole, first, second = _Run(), _Run(), _Run()
    whole.advance(6)
    first.advance(3)
    save_checkpoint(tmp_path, first.state(), recipe=RECIPE)
    second.advance(1)  # something else, that must leave no trace
    second.restore(load_checkpoint(latest_checkpoint(tmp_path)))
    second.advance(3)
    one, other = whole.state(), second.state()
    assert one.update == other.update == 6
    for part in ("params", "ema", "optimizer"):
        assert len(getattr(one, part)) > 0
        assert all(torch.equal(value, getattr(other, part)[name]) for name, value in getattr(one, part).items())


def test_optimizer_state_of_another_model_is_refused() -> None:
    run, other = _Run(), _Run()
    run.advance(1)
    state = optimizer_state(run.optimizer, run.parameters)
    with pytest.raises(CheckpointError, match="another model"):
        load_optimizer_state(other.optimizer, {"x": torch.zeros(1)}, state)
    with pytest.raises(CheckpointError, match=r"exp_avg of 0\.weight"):
        load_optimizer_state(other.optimizer, other.parameters, state | {"exp_avg/0.weight": torch.zeros(2)})


FILES = ["params.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json", "recipe.toml", "manifest.json"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_damage_names_the_file_and_what_to_do(tmp_path: Path, file: str, damage: str) -> None:
    victim = save_checkpoint(tmp_path, _state(1), recipe=RECIPE) / file
    data = bytearray(victim.read_bytes())
    if damage == "delete":
        victim.unlink()
    elif damage == "truncate":
        victim.write_bytes(data[: len(data) // 2])
    else:
        data[0 if file == "manifest.json" else -2] ^= 1
        victim.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{file} is damaged or missing; use the checkpoint before it"):
        load_checkpoint(victim.parent)


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path: Path) -> None:
    for update in (1, 2, 3):
        save_checkpoint(tmp_path, _state(update, float(update)), recipe=f"seed = {update}\n")
    (tmp_path / CHECKPOINTS / "000003" / "ema.safetensors").write_bytes(b"")
    newest = find_newest(tmp_path)
    assert newest is not None and (newest.state.update, newest.recipe) == (2, "seed = 2\n")
    assert _updates(tmp_path) == [1, 2, 3], "looking changes nothing"
    said = set_aside(newest)
    damaged = tmp_path / CHECKPOINTS / "000003" / "ema.safetensors"
    assert said.startswith(
        f"warning: The checkpoint file {damaged} is damaged or missing. Going on from the checkpoint"
    )
    assert "of update 2;" in said and len(said.splitlines()) == 1
    assert sorted(path.name for path in (tmp_path / CHECKPOINTS).iterdir()) == ["000001", "000002", "damaged-000003"]
    # what is set aside does not count among the last ones, so what is saved now stays
    save_checkpoint(tmp_path, _state(3), recipe=RECIPE, keep_last=1)
    assert _updates(tmp_path) == [3] and latest_checkpoint(tmp_path).name == "000003"
    again = find_newest(tmp_path)
    assert again is not None and set_aside(again) == ""


def test_without_one_whole_checkpoint_nothing_is_begun_again_in_silence(tmp_path: Path) -> None:
    assert find_newest(tmp_path) is None
    for update in (1, 2):
        (save_checkpoint(tmp_path, _state(update), recipe=RECIPE) / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"No checkpoint of .* can be used: .*000002/state\.json is damaged"):
        find_newest(tmp_path)
    assert _updates(tmp_path) == [1, 2]


def test_a_folder_with_another_number_is_not_that_checkpoint(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, _state(3), recipe=RECIPE)
    path.rename(path.with_name("000007"))
    with pytest.raises(CheckpointError, match="000007 is that of update 3"):
        load_checkpoint(path.with_name("000007"))
    path.with_name("000007").rename(tmp_path / "copy")
    assert load_checkpoint(tmp_path / "copy").update == 3  # a copy may have any name


@pytest.mark.parametrize("part", ["params", "ema", "optimizer"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_neither_saved_nor_loaded(
    tmp_path: Path, part: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, _state(1), recipe=RECIPE)
    tensors = dict(getattr(_state(2), part))
    name = "exp_avg/w" if part == "optimizer" else "w"
    tensors[name] = torch.tensor([1.0, value, 1.0])
    bad = dataclasses.replace(_state(2), **{part: tensors})
    with pytest.raises(TrainingError, match=rf"After update 2 {part}/{name} is not finite, so no checkpoint"):
        save_checkpoint(tmp_path, bad, recipe=RECIPE, keep_last=1)
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == ["000001"]
    monkeypatch.setattr(checkpoint, "first_not_finite", lambda tensors: "")
    save_checkpoint(tmp_path, bad, recipe=RECIPE)
    monkeypatch.undo()
    assert latest_checkpoint(tmp_path).name == "000001"


def test_a_damaged_old_checkpoint_does_not_stop_the_saving(tmp_path: Path) -> None:
    damaged = save_checkpoint(tmp_path, _state(1), recipe=RECIPE, score=9.0)
    (damaged / "state.json").write_text("{}")
    for update in (2, 3, 4):
        save_checkpoint(tmp_path, _state(update), recipe=RECIPE, score=1.0 / update, keep_last=2)
    assert _updates(tmp_path) == [2, 3, 4]


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    manifest = save_checkpoint(tmp_path, _state(1), recipe=RECIPE) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(CheckpointError, match="format 2"):
        load_checkpoint(manifest.parent)


def test_missing_checkpoints_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        latest_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / CHECKPOINTS / "000001")


def test_retention_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    scores = {1: 0.1, 2: 0.9, 3: 0.3, 4: None, 5: 0.2}
    for update, score in scores.items():
        save_checkpoint(tmp_path, _state(update), recipe=RECIPE, score=score, keep_last=2)
    assert _updates(tmp_path) == [2, 4, 5]
    save_checkpoint(tmp_path, _state(6), recipe=RECIPE, score=float("nan"), keep_last=2)
    assert _updates(tmp_path) == [2, 5, 6]
    save_checkpoint(tmp_path, _state(7), recipe=RECIPE, score=0.95, keep_last=2)
    assert _updates(tmp_path) == [6, 7]


def test_saving_the_same_update_again_replaces_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _state(1, 1.0), recipe=RECIPE)
    path = save_checkpoint(tmp_path, _state(1, 2.0), recipe=RECIPE)
    assert load_checkpoint(path).params["w"].tolist() == [2.0, 2.0, 2.0]
    assert [p.name for p in path.parent.iterdir()] == ["000001"]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files cannot grow past 4 KiB: the operating system itself fails the write in the middle of a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_disk")
def test_a_write_that_fails_leaves_the_earlier_checkpoints_and_nothing_else(tmp_path: Path) -> None:
    good = save_checkpoint(tmp_path, _state(1), recipe=RECIPE)
    big = TrainState(update=2, params={"w": torch.zeros(10_000)}, ema={}, optimizer={})
    with pytest.raises(OSError) as caught:
        save_checkpoint(tmp_path, big, recipe=RECIPE)
    assert caught.value.errno == errno.EFBIG
    assert [p.name for p in good.parent.iterdir()] == ["000001"]
    assert load_checkpoint(latest_checkpoint(tmp_path)).update == 1


@pytest.mark.usefixtures("small_disk")
def test_a_single_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    write_tensors(path, {"w": torch.ones(2)}, metadata={"format": "pt"})
    before = path.read_bytes()
    with pytest.raises(OSError, match="large"):
        write_tensors(path, {"w": torch.ones(10_000)}, metadata={"format": "pt"})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_while_writing_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _state(1), recipe=RECIPE)
    child = os.fork()
    if child == 0:  # dies at the rename: everything is written, nothing is published
        Path.replace = lambda *_: os._exit(9)  # type: ignore[method-assign,assignment]
        save_checkpoint(tmp_path, _state(2), recipe=RECIPE)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WEXITSTATUS(status) == 9
    assert _updates(tmp_path) == [1]
    assert load_checkpoint(latest_checkpoint(tmp_path)).update == 1
    save_checkpoint(tmp_path, _state(2), recipe=RECIPE)
    assert sorted(p.name for p in (tmp_path / CHECKPOINTS).iterdir()) == ["000001", "000002"]  # the rest is swept
