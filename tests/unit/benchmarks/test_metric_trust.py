"""The damages do to the picture what the true error says, and the correlations are rank correlations."""

from dataclasses import replace
from pathlib import Path

import metric_trust as trust
import numpy as np
import pytest
import torch
from damage_table import Case
from known_damages import FIELDS, KINDS, damaged_video, geometry_of, make_damage
from scipy.stats import spearmanr
from torch.nn import functional as F
from true_error import true_error

from worldr1.mini.render import Clips
from worldr1.seeding import make_generator


@pytest.fixture(scope="module")
def clips() -> Clips:
    return Case(1, seed=4).film(moves=["orbit_right"])


def test_the_damaged_picture_shows_what_the_field_says(clips: Clips) -> None:
    """A ramp of colour (column, row) tells where each pixel came from: q + b(q)."""
    height, width = clips.video.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    ramp = torch.stack([x / width, y / height, torch.zeros_like(x)]).expand(17, -1, -1, -1).contiguous()
    damage = make_damage("warp", 0.6, clips, 0, make_generator(0, "test"))
    shown = damaged_video(ramp, damage)[:, :2] * torch.tensor([width, height])[:, None, None]
    asked = torch.stack([x, y]) + damage.displacement_px
    inside = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    assert (shown - asked)[inside].abs().max() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_stronger_is_more_wrong_and_little_is_lost(clips: Clips, kind: str) -> None:
    levels = (0.05, 1.0)
    damages = [make_damage(kind, level, clips, 0, make_generator(0, f"test/{kind}")) for level in levels]
    found = [true_error(geometry_of(clips, 0), damage) for damage in damages]
    errors = [one.error_px for one in found]
    assert errors[0] > 0.05 and errors[1] > 2 * errors[0], errors
    assert max(one.lost for one in found) < 0.2
    moved = max(one.deformation_px for one in found)
    assert moved > 0.2 if kind in FIELDS else moved < 0.05
    pictures = [damaged_video(clips.video[0], damage) for damage in damages]
    assert all(float((picture - clips.video[0]).abs().mean()) > 1e-4 for picture in pictures)


def test_one_seed_makes_one_damage(clips: Clips) -> None:
    a, b, c = (make_damage("jelly", 0.5, clips, 0, make_generator(seed, "test")) for seed in (0, 0, 1))
    assert torch.equal(a.displacement_px, b.displacement_px)
    assert not torch.equal(a.displacement_px, c.displacement_px)


def test_spearman_is_scipy_s_with_ties_and_leaves_out_what_is_missing() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 6, (2, 3, 40)).astype(float)
    found = trust.spearman(a, b)
    assert found == pytest.approx([spearmanr(x, y)[0] for x, y in zip(a, b, strict=True)])
    a[:, :5], b[:, 5:8] = np.nan, np.nan
    assert trust.spearman(a, b) == pytest.approx([spearmanr(x[8:], y[8:])[0] for x, y in zip(a, b, strict=True)])
    assert np.isnan(trust.spearman(np.array([1.0, 2.0, np.nan]), np.array([1.0, 2.0, 3.0])))


def samples(
    values: dict[str, float], kinds: tuple[str, ...] = ("warp", "shake"), scenes: int = 8
) -> list[trust.Sample]:
    """Errors 0, 1, 2, ...; each measure is its factor times the error."""
    made = []
    for scene in range(scenes):
        for kind in kinds:
            error = float(len(made))
            sample = trust.Sample(
                scene=scene,
                kind=kind,
                move="push_in",
                prompt="",
                video=torch.zeros(1),
                error_px=error,
                deformation_px=-error,
            )
            sample.asked.add("judge")
            sample.values.update({("judge", name): factor * error for name, factor in values.items()})
            made.append(sample)
    return made


def test_a_metric_that_gets_worse_with_the_error_correlates_whichever_way_it_points() -> None:
    made = samples({"psnr_holdout_db": -1.0, "rotation_error_deg": 1.0, "ssim_holdout": 1.0})
    for name, expected in (("psnr_holdout_db", 1), ("rotation_error_deg", 1), ("ssim_holdout", -1)):
        value, low, high = trust.correlation(made, ("judge", name), ("warp", "shake"), "error_px")
        assert (value, low, high) == pytest.approx((expected, expected, expected))
    assert trust.correlation(made, ("judge", "psnr_holdout_db"), ("warp",), "deformation_px")[0] == pytest.approx(-1)


def test_the_interval_is_over_scenes_and_needs_six() -> None:
    few = samples({"psnr_holdout_db": -1.0}, scenes=4)
    value, low, high = trust.correlation(few, ("judge", "psnr_holdout_db"), ("warp", "shake"), "error_px")
    assert value == pytest.approx(1) and low == -np.inf and high == np.inf


def test_references_are_what_they_are_called(clips: Clips) -> None:
    video = clips.video[0]
    found = trust.references(video, make_generator(0, "test"))
    assert tuple(found) == trust.REFERENCES
    assert torch.equal(found["perfect"], video) and torch.equal(found["still"][9], video[0])
    assert not torch.equal(found["shuffled"], video)
    assert torch.equal(found["shuffled"].sum(), video.sum()) or F.l1_loss(found["shuffled"].sum(), video.sum()) < 1
    assert float((found["warped"] - video).abs().mean()) > 0.01


def test_a_stopped_run_goes_on_and_one_that_lacks_a_measure_adds_it(clips: Clips, tmp_path: Path) -> None:
    """What the file holds is not measured again; nothing is optimised without a GPU."""
    prompt = "Camera orbit right. A striped yellow cone on a blue painted floor in an orange painted room."
    made = [replace(sample, video=clips.video[0], prompt=prompt) for sample in samples({}, scenes=2)]
    for sample in made:
        sample.asked.clear()
    values, fits = [{"epipolar_px": float(i)} for i in range(4)], [{"psnr_fit_all_db": 30.0}] * 4
    known = {trust.IMAGE: (trust.IMAGE, values), "mini": ("mini", values), "judge": ("judge", values)}
    known[f"{trust.FITTED}, 7 steps"] = (trust.FITTED, fits)
    records = tmp_path / "records.jsonl"
    with records.open("w") as file:
        for name, (model, found) in known.items():
            names = [measured for measured in trust.names_of(model) if measured != "words"]
            line = {"job": f"{name} 0 warp 4", "names": names, "values": found, "seconds": 2.0}
            file.write(f"{trust.json.dumps(line)}\n")
    before = records.read_text()
    seconds = trust.measure_all(made, 0, 1, records, fit_steps=7)
    added = [trust.json.loads(line) for line in records.read_text().removeprefix(before).splitlines()]
    assert [(line["job"], line["names"]) for line in added] == [(f"{trust.IMAGE} 0 warp 4", ["words"])]
    assert seconds == {trust.IMAGE: 2.0 + added[0]["seconds"], "mini": 2.0, "judge": 2.0, "sfm": 0.0, trust.FITTED: 2.0}
    assert made[3].values["mini", "epipolar_px"] == 3.0 and made[3].asked == {trust.IMAGE, "mini", "judge"}
    assert all(0 <= sample.values[trust.IMAGE, "words"] <= 1 for sample in made)
    assert made[0].values["judge", "psnr_fit_all_db"] == 30.0, "beside what the judge says without optimisation"
    assert ("judge", "epipolar_px") in made[0].values


def test_the_tables_hold_every_measure() -> None:
    made = samples({"psnr_holdout_db": -1.0, "travel_deg": 1.0}, kinds=KINDS, scenes=6)
    made += [
        trust.Sample(scene=0, kind=kind, move="push_in", prompt="", video=torch.zeros(1), asked={"judge"})
        for kind in trust.REFERENCES
    ]
    made[-5].values["judge", "psnr_holdout_db"] = 25.0
    text = trust.report(made, {"judge": 1.0}, "python x (commit y)")
    assert "| `psnr_holdout_db` | higher | judge | **25.00** | - | - | - | - |" in text
    assert "`travel_deg` (raw)" in text and "commit y" in text
    assert "- judge: 4 of 89 clips refused: noise 1, shuffled 1, still 1, warped 1" in text
    assert "(`fit`)" not in text
    made[0].values["judge", trust.MEASURED_BY_FITTING[0]] = 20.0
    assert "3DGS optimisation (`fit`): 1 of 89 clips, scenes 0 to 0." in trust.report(made, {"judge": 1.0}, "")
