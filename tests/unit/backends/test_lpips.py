"""LPIPS on random weights in the published layouts; its numbers: tests/numerics/test_quality_parity.py."""

import sys
from pathlib import Path
from typing import Any

import pytest
import quality_reference as reference
import small_quality as small
import torch
from safetensors.torch import save_file

from worldr1.backends import lpips
from worldr1.backends.lpips import Lpips, LpipsConfig, load_lpips
from worldr1.errors import ConfigError, InputError
from worldr1.protocols import PerceptualDistance
from worldr1.rewards.profiles import PROFILES

SIZE = reference.LPIPS_SIZE


@pytest.fixture
def config(tmp_path: Path) -> LpipsConfig:
    """Published files of AlexNet."""
    return small.write_lpips(tmp_path / "published", "alex")


@pytest.fixture
def model(config: LpipsConfig) -> Lpips:
    """Loaded from them."""
    return load_lpips(config)


def test_it_is_a_perceptual_distance(model: Lpips) -> None:
    distance: PerceptualDistance = model
    assert "BSD" in distance.licence
    assert model.version == "0.1"
    a, b = small.frames(SIZE), small.frames(SIZE, seed=1)
    answer = distance(a, b)
    assert answer.shape == (3,)
    assert not answer.requires_grad
    assert not any(p.requires_grad for p in model.network.parameters())
    assert float(answer.min()) > 0.01
    torch.testing.assert_close(distance(b, a), answer, atol=1e-6, rtol=0)
    assert distance(a, a).tolist() == [0, 0, 0]


def test_more_damage_is_farther(model: Lpips) -> None:
    a, b = small.frames(SIZE, count=1), small.frames(SIZE, count=1, seed=1)
    found = [float(model(a, a + share * (b - a))) for share in (0.0, 0.1, 0.3, 1.0)]
    assert found == sorted(found)
    assert found[1] > 0


def test_every_pair_keeps_its_own_distance(model: Lpips) -> None:
    """Defect M: in any order, alone or together, however the batch is cut."""
    a, b = small.frames(SIZE), small.frames(SIZE, seed=1)
    together = model(a, b)
    order = [2, 0, 1]
    torch.testing.assert_close(model(a[order], b[order]), together[order], atol=1e-6, rtol=0)
    for batch in (1, 3):
        model.batch = batch
        torch.testing.assert_close(model(a, b), together, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(67, 94), (512, 512)])
def test_images_are_never_resized_to_fit(model: Lpips, size: tuple[int, int]) -> None:
    """Defect B: the official reward stretches one of the two, and compares what is not the same place."""
    with pytest.raises(InputError, match="compares images of one shape"):
        model(torch.rand(1, 3, *SIZE), torch.rand(1, 3, *size))


@pytest.mark.parametrize(("net", "side"), [("alex", 31), ("vgg", 16)])
def test_the_smallest_image(net: Any, side: int) -> None:
    model = load_lpips(LpipsConfig(net=net, weights="random"))
    a, b = torch.rand(2, 1, 3, side, side)
    assert bool(model(a, b).isfinite().all())
    with pytest.raises(InputError, match=f"at least {side} pixels a side, not {side} x {side - 1}"):
        model(a[..., 1:, :], b[..., 1:, :])


def test_a_broken_image_gets_no_number_and_harms_no_other(model: Lpips) -> None:
    """Defect H: the official reward calls a failure 0, which S_recon then pays in full."""
    a, b = small.frames(SIZE), small.frames(SIZE, seed=1)
    whole = model(a, b)
    b[1, 0, 3, 3] = torch.nan
    broken = model(a, b)
    assert bool(broken[1].isnan())
    torch.testing.assert_close(broken[[0, 2]], whole[[0, 2]], atol=1e-6, rtol=0)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_a_missing_trunk_is_a_sentence_and_never_random(
    net: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = lpips.NETS[net].file
    with pytest.raises(
        InputError, match=rf"trunk .*hub/checkpoints/{name} is missing; download .*/{name} there, or give its path"
    ):
        load_lpips(LpipsConfig(net=net))


def test_torchvisions_own_download_is_found(
    config: LpipsConfig, model: Lpips, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    place.parent.mkdir(parents=True)
    Path(config.trunk).rename(place)
    again = load_lpips(LpipsConfig(heads=config.heads))
    a, b = small.frames(SIZE), small.frames(SIZE, seed=1)
    assert torch.equal(again(a, b), model(a, b))


def test_heads_come_from_the_installed_package_which_is_not_imported(
    config: LpipsConfig, model: Lpips, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    inside = site / "lpips" / "weights" / "v0.1" / "alex.pth"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(Path(config.heads).read_bytes())
    (site / "lpips" / "__init__.py").write_text("import torchvision")
    (site / "lpips-0.1.4.dist-info").mkdir()
    (site / "lpips-0.1.4.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: lpips\nVersion: 0.1.4\n")
    monkeypatch.syspath_prepend(str(site))
    again = load_lpips(LpipsConfig(trunk=config.trunk))
    a, b = small.frames(SIZE), small.frames(SIZE, seed=1)
    assert torch.equal(again(a, b), model(a, b))
    assert "lpips" not in sys.modules


def test_without_heads_it_says_how_to_get_them(config: LpipsConfig) -> None:
    if any((Path(entry) / "lpips" / "weights").is_dir() for entry in sys.path):
        pytest.skip("lpips is installed")
    with pytest.raises(InputError, match=r"pip install --no-deps lpips==0\.1\.4"):
        load_lpips(LpipsConfig(trunk=config.trunk))


def test_safetensors_are_the_same(config: LpipsConfig, model: Lpips, tmp_path: Path) -> None:
    trunk, _ = small.lpips_tensors("alex")
    save_file(trunk, tmp_path / "trunk.safetensors")
    again = load_lpips(LpipsConfig(trunk=str(tmp_path / "trunk.safetensors"), heads=config.heads))
    a, b = small.frames(SIZE), small.frames(SIZE, seed=1)
    assert torch.equal(again(a, b), model(a, b))


def test_files_of_another_network_are_named(config: LpipsConfig, tmp_path: Path) -> None:
    vgg = small.write_lpips(tmp_path / "vgg", "vgg")
    with pytest.raises(InputError, match=r"trunk\.pth is of another model"):
        load_lpips(LpipsConfig(trunk=vgg.trunk, heads=config.heads))
    with pytest.raises(InputError, match=r"heads\.pth is of another model .*1 \[128\] instead of \[192\]"):
        load_lpips(LpipsConfig(trunk=config.trunk, heads=vgg.heads))
    with pytest.raises(InputError, match=r"heads\.pth is missing"):
        load_lpips(LpipsConfig(trunk=config.trunk, heads=str(tmp_path / "heads.pth")))


def test_negative_heads_are_none(config: LpipsConfig, tmp_path: Path) -> None:
    _, heads = small.lpips_tensors("alex")
    heads["lin2.model.1.weight"][0, 5] = -1e-3
    torch.save(heads, tmp_path / "heads.pth")
    with pytest.raises(InputError, match="negative weights"):
        load_lpips(LpipsConfig(trunk=config.trunk, heads=str(tmp_path / "heads.pth")))


def test_random_only_by_name() -> None:
    a, b = small.frames(SIZE), small.frames(SIZE, seed=1)
    first, again, other = (load_lpips(LpipsConfig(weights="random", seed=seed))(a, b) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ConfigError, match="reads no files"):
        LpipsConfig(weights="random", trunk="a.pth")
    with pytest.raises(ConfigError, match="at least one pair"):
        LpipsConfig(batch=0)


def test_alexnet_has_the_profiles_parameters() -> None:
    profile = next(m for m in PROFILES["paper"] if m.role == "perceptual")
    assert sum(p.numel() for p in lpips.LpipsNetwork("alex").parameters()) == profile.parameters
    assert sum(p.numel() for p in lpips.LpipsNetwork("vgg").features.parameters()) == 14_714_688  # torchvision's


def test_it_may_be_moved(model: Lpips) -> None:
    assert model.device.type == "cpu"
    model.network.to_empty(device="meta")
    assert model.device.type == "meta"
