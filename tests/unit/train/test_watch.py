"""The judge's looks: when they are due, what is kept of them, and what an interrupted run takes up."""

from pathlib import Path

import torch

from worldr1.train.stopping import JudgeConfig, Look
from worldr1.train.watch import LOOKS_FILE, Watch

CONFIG = JudgeConfig(every=10, patience=1, tolerance=0.0)


def look(update: int, reward: float, words: float) -> Look:
    return Look(update=update, reward=reward, scores={"words": words})


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((2,), value), "b": torch.full((3, 1), -value)}


def test_looks_are_due_before_the_run_and_after_every_so_many_updates(tmp_path: Path) -> None:
    watch = Watch(CONFIG, tmp_path, updates_done=0)
    assert [n for n in range(31) if watch.is_due(n)] == [0, 10, 20, 30]
    watch.add(look(10, 1.0, 0.9), weights(1.0))
    assert not watch.is_due(10), "a resumed run does not look twice"
    assert not Watch(JudgeConfig(), tmp_path, updates_done=0).is_due(0), "every = 0 is never"


def test_the_best_weights_come_back_after_a_stop(tmp_path: Path) -> None:
    watch = Watch(CONFIG, tmp_path, updates_done=0)
    for number, (reward, words) in enumerate([(1.0, 0.90), (1.2, 0.91), (1.3, 0.80)]):
        assert watch.reason_to_stop is None
        watch.add(look(10 * number, reward, words), weights(float(number)))
    assert "words fell from 0.910 (update 10) to 0.800" in str(watch.reason_to_stop)
    averages = weights(7.0)
    assert watch.restore_best(averages).update == 10
    assert all(torch.equal(averages[name], value) for name, value in weights(1.0).items())


def test_a_resumed_run_knows_the_looks_before_its_checkpoint(tmp_path: Path) -> None:
    first = Watch(CONFIG, tmp_path, updates_done=0)
    for number in range(3):
        first.add(look(10 * number, 1.0 + number, 0.9), weights(float(number)))
    assert len((tmp_path / LOOKS_FILE).read_text().splitlines()) == 3
    resumed = Watch(CONFIG, tmp_path, updates_done=15)
    assert resumed.looks == first.looks[:2]
    resumed.add(look(20, 5.0, 0.9), weights(9.0))
    assert [one.reward for one in Watch(CONFIG, tmp_path, updates_done=20).looks] == [1.0, 2.0, 5.0]
