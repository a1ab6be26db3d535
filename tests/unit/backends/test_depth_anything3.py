"""Depth Anything 3 as a reconstructor: conventions on a stand-in network, and the package's own at a small size.

Whatever needs the package (the extra `da3`) is skipped without it.
"""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from da3_full_size import small_config
from torch import Tensor, nn

from worldr1.backends import depth_anything3_network as networks
from worldr1.backends.depth_anything3 import (
    Cameras,
    DepthAnything3,
    DepthAnything3Config,
    load_depth_anything3,
    place_gaussians,
    prepare,
    processed_size,
)
from worldr1.errors import InputError
from worldr1.geometry.se3 import inverse, make_pose, rotation_y
from worldr1.scene.gaussians import check_render_inputs
from worldr1.types import Reconstruction, Status

NEEDED = ("depth_anything_3", "einops", "addict", "omegaconf")
needs_package = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason=f"needs the extra da3: {networks.INSTALL}"
)
T, H, W = 5, 28, 42
VIDEO = torch.rand(T, 3, H, W, generator=torch.Generator().manual_seed(0))
INTRINSICS = torch.tensor([[50.0, 0, 21], [0, 47, 14], [0, 0, 1]]).repeat(T, 1, 1)


def moving_right() -> Tensor:
    """0.1 to the right and one degree each frame, in frame 0's own coordinates."""
    step = torch.arange(T, dtype=torch.float64)
    return make_pose(rotation_y(torch.deg2rad(step)), torch.stack([0.1 * step, 0 * step, 0 * step], -1))


def elsewhere() -> Tensor:
    """A frame of reference that is not frame 0."""
    turned = rotation_y(torch.tensor(0.7, dtype=torch.float64))
    return make_pose(turned, torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64))


class StandIn:
    """Answers as the package's network does; `changes` replace parts of the answer."""

    def __init__(self, **changes: Any) -> None:
        world_from_camera = elsewhere() @ moving_right()
        self.answer = {
            "depth": torch.full((1, T, H, W), 2.0),
            "depth_conf": torch.full((1, T, H, W), 3.0),
            "extrinsics": inverse(world_from_camera)[None, :, :3].float(),
            "intrinsics": INTRINSICS[None],
        } | changes
        self.seen: list[Tensor] = []

    def __call__(self, x: Tensor, *, infer_gs: bool) -> dict[str, Any]:
        assert infer_gs
        self.seen.append(x)
        return self.answer


def lift(network: StandIn, video: Tensor = VIDEO, **settings: Any) -> Reconstruction:
    """One video through a stand-in."""
    return DepthAnything3(network, licence="none", process_res_px=W, **settings)(video[None])[0]


# ------------------------------------------------------------------------------------------------ what goes in


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((480, 832), 504, (294, 504)),
        ((832, 480), 504, (504, 294)),
        ((64, 96), 504, (336, 504)),
        ((280, 280), 280, (280, 280)),
        ((35, 70), 70, (42, 70)),  # 35 is halfway: up, as the package does
        ((2, 1000), 504, (14, 504)),
    ],
)
def test_sides_become_the_nearest_multiples_of_14(
    size: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    assert processed_size(*size, longest) == expected


def test_frames_are_resized_and_normalised_as_imagenet_is() -> None:
    grey = prepare(torch.full((2, 3, 30, 40), 0.485), 42)
    assert grey.shape == (2, 3, 28, 42)
    expected = [0.0, (0.485 - 0.456) / 0.224, (0.485 - 0.406) / 0.225]
    torch.testing.assert_close(grey.mean((0, 2, 3)), torch.tensor(expected))
    network = StandIn()
    lift(network)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(network.seen[0][0] * std[:, None, None] + mean[:, None, None], VIDEO)


def test_other_shapes_are_refused() -> None:
    model = DepthAnything3(StandIn(), licence="none")
    for shape in ((T, 3, H, W), (1, T, 4, H, W), (1, 0, 3, H, W)):
        with pytest.raises(InputError, match=r"\[B, T, 3, H, W\]"):
            model(torch.zeros(shape))


# ----------------------------------------------------------------------------------------------- what comes out


def test_poses_are_inverted_and_relative_to_frame_0_whatever_the_reference() -> None:
    found = lift(StandIn())
    assert found.status is Status.OK
    torch.testing.assert_close(found.world_from_camera, moving_right(), atol=1e-6, rtol=0)
    assert torch.equal(found.world_from_camera[0], torch.eye(4, dtype=torch.float64))
    assert torch.equal(found.intrinsics_px, INTRINSICS)
    assert found.gaussians is None


def test_each_video_gets_its_own_answer() -> None:
    network = StandIn()
    blank = torch.full_like(VIDEO, 0.5)
    found = DepthAnything3(network, licence="none", process_res_px=W)(torch.stack([VIDEO, blank, VIDEO]))
    assert [r.status for r in found] == [Status.OK, Status.REJECTED, Status.OK]
    assert len(network.seen) == 2


def test_confidence_is_one_minus_the_inverse_and_never_says_sky() -> None:
    trust = torch.full((1, T, H, W), 4.0)
    trust[0, 0, 0, :3] = torch.tensor([1.0, 1.25, 2.0])
    confidence = lift(StandIn(depth_conf=trust)).confidence
    torch.testing.assert_close(confidence[0, 0, :4], torch.tensor([0.001, 0.2, 0.5, 0.75]))


def test_a_blank_or_untrusted_video_is_rejected() -> None:
    blank = lift(StandIn(), torch.full_like(VIDEO, 0.3))
    assert (blank.status, blank.reason) == (Status.REJECTED, "the video has no texture to reconstruct from")
    untrusted = lift(StandIn(depth_conf=torch.full((1, T, H, W), 1.2)))
    assert untrusted.status is Status.REJECTED
    assert untrusted.reason == "Depth Anything 3 trusts its geometry at only 0.0% of the pixels"


def raw_answer(value: float = 0.0) -> dict[str, Tensor]:
    """A Gaussian head's answer, equal everywhere; its quaternion is never zero."""
    raw = torch.full((1, T, H, W, 37), value)
    raw[..., 8] = 1.0
    return {"raw": raw, "opacities": torch.full((1, T, H, W), 0.5)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"depth": torch.full((1, T, H, W), torch.nan)}, "not finite"),
        ({"depth_conf": torch.full((1, T, H, W), torch.inf)}, "not finite"),
        ({"extrinsics": torch.full((1, T, 3, 4), torch.nan)}, "not finite"),
        ({"depth": torch.zeros(1, T, H, W)}, "not positive"),
        ({"intrinsics": INTRINSICS[None] * 1e6}, "fields of view of 0.0 to 0.0 degrees: its weights look random"),
        ({"intrinsics": INTRINSICS[None] * 1e-3}, "weights look random"),
        ({"gaussians": raw_answer(torch.nan)}, "Gaussian head"),
    ],
)
def test_an_answer_that_cannot_be_is_a_fault_with_a_reason(changes: dict[str, Any], reason: str) -> None:
    found = lift(StandIn(**changes))
    assert found.status is Status.FAULT
    assert reason in found.reason
    assert torch.isfinite(found.depth).all()
    assert found.gaussians is None


def test_injected_cameras_replace_the_networks() -> None:
    cameras = Cameras(world_from_camera=elsewhere() @ moving_right().flip(0), intrinsics_px=INTRINSICS * 1.1)
    found = lift(StandIn(intrinsics=INTRINSICS[None] * 1e6), cameras=cameras)
    assert found.status is Status.OK
    expected = inverse(moving_right()[-1:]) @ moving_right().flip(0)
    torch.testing.assert_close(found.world_from_camera, expected)
    assert torch.equal(found.intrinsics_px, INTRINSICS * 1.1)
    with pytest.raises(InputError, match="5 injected cameras do not fit videos of 3 frames"):
        lift(StandIn(), VIDEO[:3], cameras=cameras)


# ----------------------------------------------------------------------------------------------- own Gaussians


def rotations(quats: Tensor) -> Tensor:
    """Rotation matrices of quaternions (w, x, y, z), by the textbook."""
    w, x, y, z = nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def assert_near(a: Tensor, b: Tensor) -> None:
    """Equal to the six digits that are written down."""
    torch.testing.assert_close(a, b, atol=3e-6, rtol=1e-5)


def test_gaussians_equal_the_published_adapters() -> None:
    """Numbers of GaussianAdapter(sh_degree=2, pred_offset_depth=True) of depth-anything-3 0.1.1 on this input."""
    turned = rotation_y(torch.tensor([0.5, -0.3], dtype=torch.float64))
    poses = make_pose(turned, torch.tensor([[0.3, -0.1, 0.2], [1.0, 0.5, -0.4]], dtype=torch.float64))
    cameras = Cameras(
        world_from_camera=poses, intrinsics_px=torch.tensor([[2.0, 0, 1], [0, 3, 0.5], [0, 0, 1]]).repeat(2, 1, 1)
    )
    raw = torch.sin(torch.arange(2 * 1 * 2 * 37.0)).reshape(2, 1, 2, 37)
    depth, opacities = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), torch.tensor([[[0.1, 0.2]], [[0.3, 0.4]]])
    ours = place_gaussians(raw, opacities, depth, cameras)

    means = [[0.302001, -0.097841, 0.207676], [0.846985, 0.029757, 1.397874]]
    means += [[-1.371993, 0.194898, 1.336970], [-1.044285, -0.791306, 3.523865]]
    quats = [[0.573189, -0.493991, -0.332196, 0.563092], [0.411876, -0.588288, -0.676689, 0.162378]]
    quats += [[-0.353545, 0.266177, 0.722095, 0.531728], [0.206666, -0.297870, 0.576936, 0.731920]]
    scales = [[0.014651, 0.011000, 0.006563], [2.394650, 2.243246, 1.523126]]
    scales += [[4.713433, 5.401382, 4.623830], [5.481580, 7.913183, 8.298542]]
    colors = [[0.616256, 0.288150, 0.769789], [0.754390, 0.217974, 0.759535]]
    colors += [[0.773171, 0.280117, 0.627514], [0.663787, 0.445422, 0.435668]]
    world_from_first = poses[0].float()
    in_world = ours.means @ world_from_first[:3, :3].T + world_from_first[:3, 3]
    assert_near(in_world, torch.tensor(means))
    turned_in_world = world_from_first[:3, :3] @ rotations(ours.quats)
    assert_near(turned_in_world, rotations(torch.tensor(quats)))
    assert_near(ours.scales, torch.tensor(scales))
    assert_near(ours.colors, torch.tensor(colors))
    assert torch.equal(ours.opacities, opacities.flatten())


def test_without_offsets_a_gaussian_lies_on_its_pixels_ray_at_the_depth_as_distance() -> None:
    found = lift(StandIn(gaussians=raw_answer()))
    assert found.gaussians is not None
    check_render_inputs(found.gaussians, found.world_from_camera, found.intrinsics_px, height=H, width=W)
    means = found.gaussians.means.reshape(T, H, W, 3)
    frame, row, column = 3, 20, 7
    ray = torch.tensor([(column + 0.5 - 21) / 50, (row + 0.5 - 14) / 47, 1.0], dtype=torch.float64)
    point = moving_right()[frame, :3, :3] @ (ray / ray.norm() * 2.0) + moving_right()[frame, :3, 3]
    torch.testing.assert_close(means[frame, row, column].double(), point, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.gaussians.colors, torch.full((T * H * W, 3), 0.5))


def test_a_gaussian_behind_its_camera_is_invisible() -> None:
    answer = raw_answer()
    answer["raw"][0, 1, 2, 3, -1] = -2.5
    found = lift(StandIn(gaussians=answer))
    assert found.gaussians is not None
    opacities = found.gaussians.opacities.reshape(T, H, W)
    assert (opacities == 0).nonzero().tolist() == [[1, 2, 3]]
    assert bool((found.gaussians.scales > 0).all())


def test_names_licences_and_settings() -> None:
    assert "CC BY-NC 4.0" in networks.published_model("da3-giant-1.1").licence
    assert "CC BY-NC 4.0" in networks.published_model("da3-large-1.1").licence
    assert networks.published_model("da3-base").licence.startswith("Apache-2.0")
    assert networks.published_model("da3-small").hub_name == "depth-anything/DA3-SMALL"
    with pytest.raises(InputError, match=r"da3-giant was trained with a bug .* use da3-giant-1\.1 instead"):
        DepthAnything3Config(model="da3-giant")
    with pytest.raises(InputError, match="choose one of da3-giant-1"):
        DepthAnything3Config(model="da3-huge")
    with pytest.raises(InputError, match="at least 14"):
        DepthAnything3Config(process_res_px=13)
    cameras = Cameras(world_from_camera=moving_right(), intrinsics_px=INTRINSICS)
    with pytest.raises(InputError, match='for weights="random"'):
        load_depth_anything3(DepthAnything3Config(), cameras=cameras)


# -------------------------------------------------------------------------------------------- the package itself


@pytest.fixture(scope="module")
def package_network() -> nn.Module:
    """The package's code on random weights."""
    return networks.build_network(small_config(), device=torch.device("cpu"), seed=0)


@needs_package
def test_the_package_network_through_the_whole_way(
    package_network: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    intrinsics = torch.tensor([[150.0, 0, 63], [0, 140, 35], [0, 0, 1]]).repeat(T, 1, 1)
    cameras = Cameras(world_from_camera=elsewhere() @ moving_right(), intrinsics_px=intrinsics)
    model = DepthAnything3(package_network, licence="none", process_res_px=126, cameras=cameras)
    video = torch.rand(T, 3, 72, 128, generator=torch.Generator().manual_seed(1))
    found = model(video[None])[0]
    assert capsys.readouterr().out == ""  # the package prints; stdout is for --json
    assert found.status is Status.OK
    assert found.depth.shape == found.confidence.shape == (T, 70, 126)
    assert found.gaussians is not None
    assert found.gaussians.means.shape == (T * 70 * 126, 3)
    with torch.no_grad():
        answer = package_network(prepare(video, 126)[None], infer_gs=True)
    assert torch.equal(answer["depth"][0], found.depth)
    raw, means = answer["gaussians"]["raw"][0].double(), found.gaussians.means.reshape(T, 70, 126, 3)
    for frame, row, column in ((0, 0, 0), (2, 5, 100), (4, 69, 125)):
        there = raw[frame, row, column]
        place = torch.tensor([column + 0.5, row + 0.5, 1.0], dtype=torch.float64)
        place[:2] += there[:2]
        ray = torch.linalg.solve(intrinsics[frame].double(), place)
        point = ray / ray.norm() * (found.depth[frame, row, column] + there[-1])
        point = moving_right()[frame, :3, :3] @ point + moving_right()[frame, :3, 3]
        torch.testing.assert_close(means[frame, row, column].double(), point, atol=1e-5, rtol=0)


@needs_package
def test_random_weights_without_cameras_are_a_fault(package_network: nn.Module) -> None:
    video = torch.rand(1, 3, 3, 70, 126, generator=torch.Generator().manual_seed(1))
    found = DepthAnything3(package_network, licence="none", process_res_px=126)(video)[0]
    assert found.status is Status.FAULT
    assert "weights look random" in found.reason
