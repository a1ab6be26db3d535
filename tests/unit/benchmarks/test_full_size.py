"""benchmarks/full_size.py runs dry: every section makes its table, and what does not fit is said and not hidden."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import full_size
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from worldr1.backends.wan import WanPolicy
from worldr1.seeding import make_generator

DRY = ["--device", "cpu", "--repeats", "1"]


def _tables(text: str) -> dict[str, list[list[str]]]:
    """Rows of cells by the title of their table."""
    found: dict[str, list[list[str]]] = {}
    for part in text.split("### ")[1:]:
        title, _, rest = part.partition("\n")
        lines = [line for line in rest.splitlines() if line.startswith("| ")]
        found[title] = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    return found


def test_every_section_makes_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(WanPolicy, "compile", lambda self, **options: asked.append(options["dynamic"]))
    out = tmp_path / "numbers.md"
    full_size.main(["tiny", *DRY, "--out", str(out)])
    assert asked == [None, True, None, None, None, None]
    text = out.read_text()
    assert capsys.readouterr().out.rstrip("\n") == text.rstrip("\n")
    assert text.startswith("command: ") and "tiny-wan with random weights, bfloat16; 48 x 32, 9 frames" in text
    tables = _tables(text)
    assert list(tables) == list(full_size.SECTIONS)
    rows = [row for table in tables.values() for row in table]
    assert all(float(seconds) >= 0 and peak == "-" for _, seconds, peak, _ in rows)
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names) == 5 + 5 + 2 * (2 + full_size.NAMED + 2) + 6 + 4 + 3
    merged = next(row[3] for row in tables["merge"] if row[0] == "forward, LoRA merged")
    assert merged.startswith("merged / base = ")
    assert float(merged.rpartition(" ")[2]) > 0, "the LoRA changes something"
    assert f"of {full_size.PAIRS} pairs" in merged, "more than were asked for"
    graphs = next(row[3] for row in tables["merge"] if row[0] == "forward, base")
    assert re.fullmatch(r"graphs equal: \d{2,} modules, \d{2,} parameters", graphs)


class Refusing(TorchDispatchMode):
    """As a GPU does, refuses to fill its own tensors by a generator of the CPU: here every tensor that was there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.normal_.default:
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        return func(*args, **(kwargs or {}))


def test_a_lora_gets_values_wherever_the_model_is() -> None:
    """`tests/gpu/test_full_size_wan.py` does it on a GPU."""
    parameters = {f"attn1.to_q.lora_{x}.weight": torch.zeros(4, 4) for x in "AB"}
    with Refusing():
        full_size.fill_b(parameters, make_generator(0, "test"))
    a, b = parameters.values()
    expected = 0.01 * torch.randn(4, 4, generator=make_generator(0, "test"))
    assert torch.equal(b, expected) and not a.any()
    with torch.device("meta"):  # a default device changes nothing
        full_size.fill_b(parameters, make_generator(1, "test"))
    assert b.device.type == "cpu" and b.any() and not torch.equal(b, expected)


def test_graphs_that_differ_are_told_with_what_differs_first() -> None:
    plain, other, narrow = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Sequential()
    narrow.append(nn.Linear(2, 2, dtype=torch.bfloat16))
    assert full_size.compare_graphs(plain, plain) == "graphs equal: 2 modules, 2 parameters"
    said = full_size.compare_graphs(plain, other)
    assert said == "graphs DIFFER: 2 modules, 2 parameters and 3 modules, 2 parameters (first 1)"
    assert full_size.compare_graphs(plain, narrow).endswith("(first 0.bias)")


def test_in_turns_each_is_first_as_often_as_second(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(full_size, "timed", lambda setting, work: (work(), {"a": 1.0, "b": 2.0}[called[-1]])[1])
    setting: Any = SimpleNamespace(repeats=3)
    calls = {"a": lambda: called.append("a"), "b": lambda: called.append("b")}
    pairs = list(zip(*full_size.in_turns(setting, calls, rounds=full_size.PAIRS).values(), strict=True))
    assert pairs == [(1.0, 2.0)] * full_size.PAIRS and full_size.PAIRS >= 10
    assert "".join(called) == "abab" + "abba" * 5
    assert [len(times) for times in full_size.in_turns(setting, calls, rounds=15).values()] == [15, 15]


def test_kernels_are_sorted_by_kind_and_none_is_lost() -> None:
    seconds = {"cudnn_generated_fort_native_sdpa": 3.0, "nvjet_hsh_256": 2.0, "triton_a": 0.5, "Memcpy": 0.25}
    seconds |= {f"triton_{number}": 0.01 for number in range(full_size.NAMED)}
    rows = {row.what: row.seconds for row in full_size.kernel_rows("eager", seconds)}
    assert rows["eager: attention"] == 3.0 and rows["eager: matrix products"] == 2.0
    assert list(rows)[2:4] == ["eager: `triton_a`", "eager: `Memcpy`"]
    assert rows["eager: all others"] == pytest.approx(0.02)
    assert rows["eager: together"] == pytest.approx(5.75 + 0.01 * full_size.NAMED)


def test_cogvideox_has_two(capsys: pytest.CaptureFixture[str]) -> None:
    full_size.main(["tiny-cogvideox", *DRY, "--dtype", "float32"])
    tables = _tables(capsys.readouterr().out)
    assert {title: len(rows) for title, rows in tables.items()} == {"forward": 2, "decode": 4}


def test_what_does_not_fit_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    setting: Any = full_size.Setting(
        architecture=full_size.TINY_WAN,
        device=torch.device("cpu"),
        dtype=torch.float32,
        clip=(1, 16, 16),
        repeats=3,
        compile_backend="eager",
    )
    row = full_size.measure(setting, "step", fail, note="predicted")
    assert full_size.table("t", [row]).endswith("| step | - | - | predicted; does not fit |")
    seconds = iter([9.0, 9.0, 1.0, 3.0, 2.0])
    monkeypatch.setattr(full_size, "timed", lambda setting, work: next(seconds))
    row = full_size.measure(setting, "step", lambda: None)
    assert (row.seconds, row.note) == (2.0, "first two calls 18.0 s")
