"""Several processes train as one does: gloo on the CPU, a tiny Wan, every rule of what is done together."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import ranks_at_work
import torch
from ranks_at_work import OF_THREE, SCENARIOS

from worldr1.errors import InputError, TrainingError
from worldr1.train.ranks import Ranks, _raise_what_failed

TOLERANCE = 2e-5
"""Of parameters, absolutely, and of metrics, relatively: another order of sums, which AdamW's tiny eps makes larger."""


@pytest.fixture(scope="module")
def found(tiny_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the ranks of a scenario wrote, in their order."""
    out = tmp_path_factory.mktemp("ranks")
    ranks_at_work.meet(tiny_wan_folder, out)
    return lambda name: [json.loads(path.read_text()) for path in sorted(out.glob(f"{name}-[0-9].json"))]


def check_equal(ranks: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    """Every rank says the same, up to the tolerance what one process says, and the parameters moved far past it."""
    rows, params = [rank["rows"] for rank in ranks], [torch.tensor(rank["params"]) for rank in ranks]
    assert all(row == rows[0] for row in rows) and all(torch.equal(p, params[0]) for p in params)
    for several, one in zip(rows[0], alone["rows"], strict=True):
        assert len(several.pop("parameter_hash")) == len(one.pop("parameter_hash")) == 16  # of rounded values
        assert several.pop("phase") == one.pop("phase")
        assert several == pytest.approx(one, rel=100 * TOLERANCE, abs=TOLERANCE, nan_ok=True)
    moved = (torch.tensor(alone["params"]) - torch.tensor(alone["before"])).abs().max()
    assert float((params[0] - torch.tensor(alone["params"])).abs().max()) < TOLERANCE
    assert float(moved) > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["equal", "at-once", "two-steps", "best-of-n", "full", "dropped", "three"])
def test_several_processes_equal_one_and_one_with_accumulation(tiny_wan_folder: Path, found: Any, name: str) -> None:
    alone = (SCENARIOS | OF_THREE)[name](tiny_wan_folder, Ranks())
    check_equal(found(name), alone)
    if name == "at-once":  # the same three groups in one flight, and (on two ranks) in flights of one
        alone = SCENARIOS[name](tiny_wan_folder, Ranks())
        check_equal(found("equal"), alone)
    if name == "dropped":
        kept = [row["kept_groups"] for row in alone["rows"]]
        assert 1.0 in kept, kept  # one rank had nothing to train on


def test_a_sharded_base_equals_a_whole_one(tiny_wan_folder: Path, found: Any) -> None:
    ranks, alone = found("sharded"), ranks_at_work.sharded(tiny_wan_folder, Ranks())
    assert alone["held"] == 1.0 and all(0.4 < rank["held"] < 0.7 for rank in ranks)  # with the adapter, which is whole
    check_equal(ranks, alone)


def test_a_gradient_that_is_not_finite_on_one_rank_is_skipped_on_all(found: Any) -> None:
    first, second = found("not-finite")
    assert first == second
    assert (first["skipped"], first["unchanged"]) == ([1.0, 1.0], True) and math.isfinite(first["norm"])


def test_what_fails_on_one_rank_stops_all_with_its_own_words(found: Any) -> None:
    first, second = found("failing")
    assert first["bug"] == ["TrainingError", "Rank 1 failed with RuntimeError: the reward has a bug"]
    assert second["bug"] == ["RuntimeError", "the reward has a bug"]
    assert first["mistake"] == ["InputError", "Rank 1: No such file."]
    assert second["mistake"] == ["InputError", "No such file."]
    assert first["faults"] == second["faults"] and first["faults"][0] == "TrainingError"
    assert first["faults"][1].startswith("4 of 8 rewards failed in update 0 (it crashed)")
    assert first["wait"] == ["InputError", "The folder is taken."]
    assert second["wait"] == ["InputError", "Rank 0: The folder is taken."]
    assert all(rank["unchanged"] and rank["then"] == 0 for rank in (first, second))


def test_an_interrupt_of_one_rank_stops_all_before_the_same_update(found: Any) -> None:
    first, second = found("interrupted")
    assert first == second
    assert first["rollout"] == {"raised": ["KeyboardInterrupt"] * 2, "done": 0, "rows": 0}
    assert first["step"] == {"raised": ["nothing", "KeyboardInterrupt"], "done": 1, "rows": 1}


def test_ranks_whose_parameters_differ_stop(found: Any) -> None:
    first, second = found("apart")
    assert first == second and first["raised"][0] == "RanksApart"
    assert "Rank 1 does not hold the trained parameters of rank 0" in first["raised"][1]


def test_the_state_that_rank_0_loaded_is_everyones(tiny_wan_folder: Path, found: Any) -> None:
    first, second = found("caught-up")
    assert first == second and first["row"]["update"] == 2
    alone = ranks_at_work.train(tiny_wan_folder, Ranks(), updates=3)
    assert first["params"] != alone["before"]


def test_messages_and_tensors_arrive_as_they_were(found: Any) -> None:
    first, second = found("tensors")
    assert first["gathered"] == second["gathered"]
    assert [one["rank"] for one in first["gathered"]] == [0, 1] and first["gathered"][1]["text"] == "ä" * 51
    assert first["gathered"][0]["x"] == 0.1 + 0.2
    assert first["sent"] == {"0": [[0.0] * 3] * 2, "1": [[1.0] * 3] * 2, "10": [0], "11": [0, 1]}
    assert second["sent"] == {}
    assert first["shared"] == second["shared"] == {"a": ["torch.int64", 7], "b": ["torch.bfloat16", [1.0, 1.0]]}
    assert (first["deal"], second["deal"]) == ([0, 2, 4], [1, 3])
    assert first["order"] == [0, 1, 2, 3, 4]


def test_a_run_of_one_process_needs_nobody() -> None:
    alone = Ranks()
    assert alone.together(lambda: 5) == [5] and alone.share(lambda: {1: 2}) == {1: 2}
    assert list(alone.deal(3)) == [0, 1, 2] and alone.in_order([[1, 2]]) == [1, 2]
    with pytest.raises(ZeroDivisionError):
        alone.together(lambda: 1 / 0)


def test_an_interrupt_gives_way_to_what_went_wrong() -> None:
    stopped = {"failed": "KeyboardInterrupt", "said": ""}
    with pytest.raises(KeyboardInterrupt):
        _raise_what_failed([stopped, {"result": 1}], None)
    with pytest.raises(TrainingError, match="Rank 1: too many"):
        _raise_what_failed([stopped, {"failed": "TrainingError", "said": "too many"}], KeyboardInterrupt())
    _raise_what_failed([{"result": 1}], None)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "3", "MASTER_ADDR": "a"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"has 2 GPUs and more processes.*--nproc-per-node 2"):
        Ranks.join("cuda")
