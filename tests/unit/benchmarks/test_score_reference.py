"""Reference values from made-up records: quantiles, who belongs where, what separates, what should not score."""

from typing import Any

import pytest
from score_records import PathErrors, Record
from score_reference import auc, auc_interval, quantiles, reference_report

from worldr1.evaluate.scoring.scorer import ShotScore


def made(name: str = "clean-128-00", **given) -> Record:
    """A valid record. What is no field of a record is one of its score."""
    fields = {name for name in given if name in Record.__dataclass_fields__}
    score = {key: value for key, value in given.items() if key not in fields}
    labels = {
        "kind": name.split("-")[0],
        "tokens": ("move_left",),
        "texture": "unique",
        "surfaces": "",
        "motion": "goes",
    }
    labels |= {"height": 128, "width": 208, "num_frames": 17, "has_truth": True, "reconstructor": "sfm", "status": "ok"}
    row = (
        None
        if given.get("status", "ok") != "ok"
        else ShotScore(path=name, valid=True, reason="", reconstructor="sfm", **score)
    )
    return Record(**({"name": name, "score": row} | labels | {key: given[key] for key in fields}))


def line(text: str, start: str) -> list[str]:
    """The cells of the one row that begins so."""
    (found,) = (row for row in text.splitlines() if row.startswith(f"| {start} |"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_quantiles_by_hand() -> None:
    assert quantiles([float(x) for x in range(10, -1, -1)]) == pytest.approx((5, 1, 9))


def test_auc_by_hand() -> None:
    assert auc([3, 4], [1, 2]) == 1 and auc([1, 2], [3, 4]) == 0
    assert auc([1, 3], [2, 2]) == 0.5 and auc([2], [2]) == 0.5
    assert auc([3, 2, 1], [2, 0]) == pytest.approx((2 + 1.5 + 1) / 6)
    low, high = auc_interval([3.0, 2, 1, 5, 4, 6], [2.0, 0, 3, 1])
    assert 0.4 < low < auc([3, 2, 1, 5, 4, 6], [2, 0, 3, 1]) < high <= 1
    assert auc_interval([2, 3], [0, 1]) == (1, 1)


def test_values_are_told_by_kind_and_texture() -> None:
    records = [made(consistency=share, camera_travel=0.2) for share in (0.8, 0.9, 0.95)]
    records += [made(status="invalid"), made(texture="repetitive", consistency=0.5, camera_travel=0.3)]
    records += [made(motion="turns", camera_travel=0.0), made("noise_white-128-00", motion="", status="invalid")]
    text = reference_report(records)
    assert line(text, "clean, unique")[:6] == ["clean, unique", "4", "4", "75%", "75%", "90 % [82 %, 94 %]"]
    assert line(text, "clean, repetitive")[1:6] == ["1", "1", "100%", "100%", "50 % [50 %, 50 %]"]
    assert line(text, "clean, camera stays or turns")[1:6] == ["1", "0", "100%", "0%", "-"]
    assert line(text, "noise")[1:6] == ["1", "-", "0%", "0%", "-"]
    assert line(text, "clean, unique")[-1] == "0.200 [0.200, 0.200]"


def test_headlines_that_nobody_earned_are_listed() -> None:
    unreal = {"has_truth": False, "motion": ""}
    records = [made("swim-128-00", **unreal | {"motion": "goes"}, consistency=share) for share in (0.3, 0.7)]
    records += [made("noise_smooth-128-00", **unreal), made("still-128-00", motion="stands", consistency=0.2)]
    records += [made("cut-128-00/0", **unreal, split_right=True, consistency=0.9)]
    records += [made("cut-128-01/0", **unreal, split_right=False, consistency=0.4)]
    text = reference_report(records)
    assert "- swim: 2 of 2, median 50%, highest 70%" in text and "- noise_smooth: 0 of 1\n" in text
    assert "- cut: 1 of 1, median 40%, highest 40%" in text and "- still: 1 of 1, median 20%, highest 20%" in text
    assert "nowhere else: 1 of 2 files" in text


def test_separation_is_of_valid_clips_whose_camera_goes() -> None:
    records = [made(consistency=c, epipolar_px=e) for c, e in ((0.9, 0.2), (0.8, 0.4), (0.6, 0.1))]
    records += [made(motion="turns", consistency=0.0), made(status="invalid"), made("dynamic-128-00", consistency=0.1)]
    records += [made("swim-128-00", consistency=0.7, epipolar_px=0.3), made("warped_mild-128-00", consistency=0.1)]
    text = reference_report(records)
    row = line(text, "consistency (higher is better)")
    assert row[1] == "3" and row[2].startswith("0.83 [") and row[2].endswith("(2)")
    assert row[3:] == ["1.00 (1)", "0.67 (1)", "-"]
    assert line(text, "epipolar_px (lower is better)")[3:] == ["-", "0.67 (1)", "-"]
    assert line(text, "mvcs (higher is better)")[1:] == ["0", "-", "-", "-", "-"]


def test_motions_are_counted() -> None:
    invented = PathErrors(rotation_deg=0, translation=0, shape=None, direction_deg=None, true_travel=0, travel=0.2)
    records = [made(camera_travel=travel) for travel in (0.0, 0.2, 0.22)] + [made(status="invalid")]
    records += [made(motion="turns", camera_travel=0.2, errors=invented), made(motion="turns", camera_travel=0.0)]
    records += [made("tiny-128-00", motion="creeps", camera_travel=0.01), made("still-128-00", motion="stands")]
    text = reference_report(records)
    assert "called still or turning: 1 of 3\n" in text and "called travelling: 1 of 3\n" in text
    assert line(text, "clean | goes")[2:7] == ["4", "1", "1", "2", "0"]
    assert line(text, "clean | turns")[2:7] == ["2", "0", "1", "1", "1"]
    assert line(text, "tiny | creeps")[2:] == ["1", "0", "1", "0", "0", "0.010 / 0.010"]


def test_costs_are_told_by_size_and_depth() -> None:
    cost: dict[str, Any] = {"reconstruct_s": 2.0, "reconstruct_cpu_s": 1.5, "score_cpu_s": 3.0}
    records = [made(camera_travel=0.2, score_s=seconds, **cost) for seconds in (4.0, 6.0)]
    records += [
        made(camera_travel=0.0, score_s=0.5),
        made(height=256, width=416, status="invalid", score_s=1.0),
        made(),
    ]
    text = reference_report(records)
    assert line(text, "17 x 128 x 208 | with depth")[2:] == [
        "2",
        "2.00 / 2.00",
        "1.50 / 1.50",
        "5.00 / 5.80",
        "3.00 / 3.00",
    ]
    assert line(text, "17 x 128 x 208 | without: invalid, still or turning")[2:] == ["1", "-", "-", "0.50 / 0.50", "-"]
    assert line(text, "17 x 256 x 416 | without: invalid, still or turning")[2] == "1"
