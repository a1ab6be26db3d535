"""The labelled clips: truths that hold, damages that do what they say."""

import math
from collections import Counter
from pathlib import Path

import pytest
import score_cases
import torch
from score_cases import COUNTS, NOT_RIGID, Case, load_cases, make_cases, plan, reordered

from worldr1.camera.trajectory import MAGNITUDES
from worldr1.errors import InputError
from worldr1.geometry.se3 import rotation_y
from worldr1.mini.render import SKY

FRAMES, HEIGHT, WIDTH = 9, 24, 32
TINY_COUNTS = {kind: (11 if kind == "clean" else 1,) for kind in COUNTS}
SPECS = plan(TINY_COUNTS, ((HEIGHT, WIDTH),), FRAMES)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("cases")
    make_cases(folder, SPECS)
    return {case.name: case for case in load_cases(folder)}


def of_kind(cases: dict[str, Case], kind: str) -> Case:
    return cases[f"{kind}-{HEIGHT}-00"]


def test_the_plan_has_every_move_eight_times_and_200_clips() -> None:
    specs = plan()
    assert len(specs) == len({spec.name for spec in specs}) >= 200
    clean = Counter(spec.tokens[0] for spec in specs if spec.kind == "clean")
    assert set(clean) == set(MAGNITUDES) and min(clean.values()) == 8
    labels = Counter(spec.texture for spec in specs if spec.kind == "clean")
    assert abs(labels["unique"] - labels["repetitive"]) <= 2


def test_every_kind_is_made_with_its_labels(cases: dict[str, Case]) -> None:
    assert {case.kind for case in cases.values()} == set(COUNTS)
    for case in cases.values():
        assert case.video.dtype == torch.uint8 and case.video.shape[1:] == (3, HEIGHT, WIDTH)
        assert len(case.video) == (2 * FRAMES if case.kind == "cut" else FRAMES)
        assert (case.world_from_camera is None) == (case.kind in NOT_RIGID) == (case.depth is None)
        words = {"unique": {"marbled", "painted"}, "repetitive": {"checkered", "tiled"}}
        if case.texture != "none":
            assert case.surfaces.split()[0] in words[case.texture]
    assert of_kind(cases, "cut").cuts == (FRAMES,)


def test_truths_are_in_the_units_of_their_own_first_frame(cases: dict[str, Case]) -> None:
    for case in cases.values():
        if case.world_from_camera is not None and case.depth is not None and case.surface is not None:
            torch.testing.assert_close(case.world_from_camera[0], torch.eye(4).double())
            assert float(case.depth[0][case.surface[0] != SKY].float().median()) == pytest.approx(1, abs=0.02)


def test_cameras_go_as_far_as_their_kind_says(cases: dict[str, Case]) -> None:
    paths = {kind: of_kind(cases, kind).world_from_camera for kind in ("clean", "tiny", "fast", "still")}
    ends = {kind: path[-1] for kind, path in paths.items() if path is not None}
    assert float(ends["clean"][2, 3]) == pytest.approx(0.6)  # a push in
    assert float(ends["tiny"][2, 3]) == pytest.approx(0.6 / 20)
    angle = math.radians(48)  # asked for a push in, it goes twice round an orbit to the left
    torch.testing.assert_close(ends["fast"][:3, :3], rotation_y(torch.tensor(angle, dtype=torch.float64)))
    torch.testing.assert_close(ends["fast"][:3, 3], torch.tensor([-math.sin(angle), 0, 1 - math.cos(angle)]).double())
    assert of_kind(cases, "fast").tokens == ("push_in",)
    torch.testing.assert_close(ends["still"], torch.eye(4).double())


def test_damages_do_what_they_say(cases: dict[str, Case]) -> None:
    still = of_kind(cases, "still").video
    assert torch.equal(still, still[:1].expand_as(still))
    noisy = of_kind(cases, "still_noisy").video.float()
    assert float((noisy[1:] - noisy[:-1]).std()) == pytest.approx(2 * math.sqrt(2), rel=0.15)
    flat = of_kind(cases, "textureless")
    assert flat.surface is not None and flat.texture == "none"
    inside = torch.nn.functional.max_pool2d(flat.surface.float(), 7, 1, 3) == -torch.nn.functional.max_pool2d(
        -flat.surface.float(), 7, 1, 3
    )
    floor = flat.video.movedim(1, -1)[inside & (flat.surface == 0)].float()
    assert len(floor) > 50 and float(floor.std(0).max()) < 1


def test_warps_move_pixels_by_their_amplitude(cases: dict[str, Case]) -> None:
    clean = cases[f"clean-{HEIGHT}-02"]
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    mild, strong = (score_cases.DAMAGES[kind](clean, g) for kind, g in zip(NOT_RIGID[1:3], generators, strict=True))
    changes = [(case.video.float() - clean.video.float()).abs().mean((1, 2, 3)) for case in (mild, strong)]
    assert float(changes[0][0]) < 0.5 and float(changes[1][0]) < 0.5  # frame 0 stays
    assert 0 < float(changes[0][1:].mean()) < float(changes[1][1:].mean()) / 2


def test_a_reordered_clip_keeps_its_relative_poses(cases: dict[str, Case]) -> None:
    clean = cases[f"clean-{HEIGHT}-00"]
    turned = reordered(clean, torch.arange(FRAMES).flip(0))
    assert clean.world_from_camera is not None and turned.world_from_camera is not None
    assert clean.depth is not None and turned.depth is not None and clean.surface is not None
    unit = float(clean.depth[-1][clean.surface[-1] != SKY].float().median())
    assert unit < 0.95  # a push in: things came nearer
    assert float(turned.world_from_camera[-1, 2, 3]) == pytest.approx(-0.6 / unit)
    assert torch.equal(turned.video[0], clean.video[-1])
    swapped = of_kind(cases, "swapped")
    sources = [c.video for c in cases.values() if c.kind == "clean"]
    assert any(torch.equal(swapped.video, source.roll(FRAMES // 2, 0)) for source in sources)


def test_rendering_in_blocks_changes_nothing(cases: dict[str, Case], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(score_cases, "BLOCK_PIXELS", 3 * HEIGHT * WIDTH)
    make_cases(tmp_path, SPECS[:1])
    again, whole = next(load_cases(tmp_path)), cases[SPECS[0].name]
    assert torch.equal(again.video, whole.video) and again.depth is not None and whole.depth is not None
    assert torch.equal(again.depth, whole.depth)


def test_cases_are_made_once(tmp_path: Path) -> None:
    make_cases(tmp_path, SPECS[:1])
    before = next(tmp_path.iterdir()).stat().st_mtime_ns
    make_cases(tmp_path, SPECS[:1])
    assert next(tmp_path.iterdir()).stat().st_mtime_ns == before
    with pytest.raises(InputError, match="make them"):
        load_cases(tmp_path / "none")
