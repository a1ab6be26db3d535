"""What the paper reports, as the package keeps it."""

import json
from copy import deepcopy
from typing import Any

import pytest

from worldr1.evaluate.suites.published import FILE, PUBLISHED, load_published, read_published


def value(table: str, method: str, metric: str, *, variant: str = "", scene_type: str = "") -> float:
    (found,) = (t for t in load_published().tables if t.id == table)
    (row,) = (r for r in found.rows if (r.method, r.variant, r.scene_type) == (method, variant, scene_type))
    return row.values[metric]


def test_numbers_of_every_table_are_the_papers() -> None:
    assert value("T1", "World-R1-Small", "vbench_imaging") == 67.53
    assert value("T2", "Wan2.1-T2V-1.3B", "psnr_db") == 17.40
    assert value("T2", "World-R1-Large", "lpips") == 0.162
    assert value("A", "World-R1", "preferred_camera_percent") == 76
    assert value("B", "the paper's 3D metric", "agreement_percent") == 91.17
    assert value("C", "CamCloneMaster", "cammc_sum") == 3.05
    assert value("D", "Wan2.1-T2V-14B", "mvcs") == 0.963
    assert value("E", "World-R1-Small", "vbench_average", variant="1K prompts") == 83.23
    assert value("F", "World-R1-Large", "ssim") == 0.828
    assert value("G", "World-R1-Small", "mvcs", scene_type="long horizon") == 0.974
    assert value("H", "VerseCrafter", "vbench_background_consistency") == 94.88
    assert value("I", "World-R1-Small", "psnr_db", variant="w/o S_recon") == 25.14
    assert value("J", "World-R1-Small", "s_gen", variant="w/o noise wrapping") == -0.42
    counts = {table.id: len(table.rows) for table in load_published().tables}
    numbered = {"T1": 7, "T2": 7, "A": 1, "B": 1, "C": 7, "D": 4, "E": 3, "F": 2, "G": 10, "H": 10, "I": 4, "J": 5}
    assert counts == numbered | {"curves": 5}


def test_tables_that_repeat_a_number_agree() -> None:
    for metric in ("psnr_db", "ssim", "lpips"):
        small = {value("T2", "World-R1-Small", metric), value("H", "World-R1-Small", metric)}
        small |= {value(t, "World-R1-Small", metric, variant="full") for t in ("I", "J")}
        assert len(small) == 1
    five = [m for m in load_published().metrics if m.startswith("vbench") and m != "vbench_average"]
    mean = sum(value("T1", "World-R1-Small", metric) for metric in five) / 5
    assert mean == pytest.approx(value("J", "World-R1-Small", "vbench_average", variant="full"), abs=0.01)
    shares = [r.values["share_percent"] for t in load_published().tables if t.id == "G" for r in t.rows]
    assert sum(shares[:8:2]) == pytest.approx(100, abs=0.02)


def test_a_suite_gets_its_tables_and_the_mini_world_none() -> None:
    published = load_published()
    assert [table.id for table in published.for_suite("long")] == ["F"]
    assert [table.id for table in published.for_suite("camera")] == ["C"]
    assert {"T1", "T2", "G", "H"} <= {table.id for table in published.for_suite("paper")}
    assert published.for_suite("mini") == ()
    assert PUBLISHED == "published, not measured here"


def spoil(content: dict[str, Any], how: str) -> None:
    table = content["tables"][0]
    match how:
        case "status":
            content["status"] = "measured"
        case "metric":
            table["metrics"].append("fvd")
        case "row":
            table["rows"].append(deepcopy(table["rows"][0]))
        case "table":
            content["tables"].append(deepcopy(table))
        case "value":
            table["rows"][0]["values"]["psnr_db"] = 1.0
        case "number":
            table["rows"][0]["values"]["vbench_imaging"] = float("nan")
        case "empty":
            table["rows"][0]["values"] = {}


@pytest.mark.parametrize("how", ["status", "metric", "row", "table", "value", "number", "empty"])
def test_a_spoilt_file_is_noticed(how: str) -> None:
    content = json.loads(FILE.read_text(encoding="utf-8"))
    assert read_published(content) == load_published()
    spoil(content, how)
    with pytest.raises(ValueError):
        read_published(content)
