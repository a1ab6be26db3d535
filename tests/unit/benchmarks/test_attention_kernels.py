"""benchmarks/attention_kernels.py runs dry, and its differences are those of the kernels alone."""

from pathlib import Path

import attention_kernels
import pytest

from worldr1.backends.wan import WanPolicy
from worldr1.errors import InputError

DRY = ["tiny", "--device", "cpu", "--repeats", "1", "--kernels", "math", "flash"]


def test_every_section_holds_the_kernels_against_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(WanPolicy, "compile", lambda self, **options: compiled.append(self))
    out = tmp_path / "numbers.md"
    attention_kernels.main([*DRY, "--out", str(out)])
    assert len(compiled) == 4, "two kernels, forward and step"
    text = out.read_text()
    assert [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")] == list(
        attention_kernels.SECTIONS
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    rows = [row for row in rows if row[1] in ("math", "flash")]
    assert [row[1] for row in rows] == ["math", "flash"] * 8
    assert all(float(row[2]) >= 0 for row in rows)
    assert {float(row[5]) for row in rows[0::2]} == {0.0}
    assert all(0 < float(row[5]) < 0.02 for row in rows[1::2]), "one model, one LoRA, another order of sums"
    assert rows[0][0] == "forward, 18 to 18 tokens, 2 heads of 16" and rows[4][0].startswith(
        "forward, 18 to 512 tokens"
    )


def test_a_kernel_that_does_not_run_is_refused_before_anything_is_built() -> None:
    with pytest.raises(InputError, match="flash3"):
        attention_kernels.main([*DRY[:-1], "flash3"])
