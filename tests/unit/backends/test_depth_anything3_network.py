"""Depth Anything 3's weights: folders, the hub, and what is said when something is missing.

Whatever needs the package (the extra `da3`) is skipped without it.
"""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from da3_full_size import small_config
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import Tensor, nn

from worldr1.backends import depth_anything3_network as networks
from worldr1.backends.depth_anything3 import DepthAnything3Config, load_depth_anything3
from worldr1.errors import InputError

NEEDED = ("depth_anything_3", "einops", "addict", "omegaconf")
needs_package = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason=f"needs the extra da3: {networks.INSTALL}"
)


class Tiny(nn.Module):
    """One layer in the network's place."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 1)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_network` builds a `Tiny`."""
    monkeypatch.setattr(networks, "architecture_config", lambda _: {})
    monkeypatch.setattr(networks, "build_network", lambda *_, **__: Tiny())


def published(folder: Path, tensors: dict[str, Tensor], config: str = '{"model_name": "da3-small"}') -> str:
    """A folder in the published layout."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config)
    save_file(tensors, folder / "model.safetensors")
    return str(folder)


def load_small(weights: str) -> nn.Module:
    """The network of da3-small."""
    return networks.load_network(networks.MODELS["da3-small"], weights, device=torch.device("cpu"), seed=0)


WHOLE = {"model.head.weight": torch.tensor([[3.0, 4.0]]), "model.head.bias": torch.tensor([5.0])}


@pytest.mark.usefixtures("tiny")
def test_a_folder_fills_every_parameter(tmp_path: Path) -> None:
    network = load_small(published(tmp_path, WHOLE))
    assert network.get_parameter("head.weight").tolist() == [[3.0, 4.0]]
    assert network.get_parameter("head.bias").tolist() == [5.0]


def without(name: str) -> Callable[[Path], None]:
    """Takes a file away."""
    return lambda folder: (folder / name).unlink()


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (without("config.json"), "config.json is missing; download the whole folder of depth-anything/DA3-SMALL"),
        (without("model.safetensors"), "model.safetensors is missing"),
        (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "describes None, not 'da3-small'"),
        (lambda f: (f / "config.json").write_text('{"model_name": "da3-base"}'), "describes 'da3-base'"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80 not a tensor"), "is damaged or of another model"),
        (lambda f: published(f, {"model.head.weight": torch.zeros(1, 2)}), "1 missing, such as head.bias"),
        (lambda f: published(f, WHOLE | {"model.gs_head.x": torch.zeros(1)}), "1 unknown, such as gs_head.x"),
        (lambda f: published(f, WHOLE | {"model.head.bias": torch.zeros(9)}), "size mismatch for head.bias"),
    ],
)
def test_a_damaged_folder_is_one_sentence(tmp_path: Path, damage: Callable[[Path], Any], sentence: str) -> None:
    weights = published(tmp_path, WHOLE)
    damage(tmp_path)
    with pytest.raises(InputError, match=sentence) as caught:
        load_small(weights)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("tiny")
def test_the_hub_is_asked_for_two_files_and_its_failure_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    folder = Path(published(tmp_path / "snapshot", WHOLE))

    def download(name: str, file: str) -> str:
        asked.append((name, file))
        return str(folder / file)

    monkeypatch.setattr(networks, "hf_hub_download", download)
    assert load_small("").get_parameter("head.bias").tolist() == [5.0]
    assert asked == [("depth-anything/DA3-SMALL", name) for name in ("config.json", "model.safetensors")]

    def offline(name: str, file: str) -> str:
        raise LocalEntryNotFoundError("Cannot reach the hub.\nTry later.")

    monkeypatch.setattr(networks, "hf_hub_download", offline)
    with pytest.raises(InputError, match=r"cannot be downloaded \(Cannot reach the hub\); give the path of a folder"):
        load_small("")
    with pytest.raises(InputError, match=r"deprecated; use depth-anything/DA3-GIANT-1\.1"):
        load_small("depth-anything/DA3-GIANT")


def test_a_path_that_does_not_exist_is_one_sentence() -> None:
    with pytest.raises(InputError, match="neither a folder nor a name on the hub"):
        load_small("no/such/folder")


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> Any:
        raise ModuleNotFoundError(f"No module named {module!r}")

    monkeypatch.setattr(networks, "import_module", missing)
    with pytest.raises(InputError, match=r"'depth_anything_3\.cfg'.*pip install 'worldr1\[da3\]'"):
        load_small(networks.RANDOM)


@needs_package
def test_a_saved_network_is_loaded_again_and_seeds_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config()
    network = networks.build_network(config, device=torch.device("cpu"), seed=0)
    monkeypatch.setattr(networks, "architecture_config", lambda _: config)
    tensors = {f"model.{name}": value for name, value in network.state_dict().items()}
    for level in (1, 2, 3):  # one normalisation under four names: publishing keeps one
        for part in ("weight", "bias"):
            del tensors[f"model.head.scratch.output_conv2_aux.{level}.2.{part}"]
    weights = published(tmp_path, tensors, json.dumps({"model_name": "da3-giant", "config": {"net": "ignored"}}))
    state = torch.get_rng_state()
    model = load_depth_anything3(DepthAnything3Config(weights=weights, seed=7))
    assert torch.equal(torch.get_rng_state(), state)
    assert "CC BY-NC" in model.licence
    assert isinstance(model.network, nn.Module)
    for name, value in network.named_parameters():
        assert torch.equal(model.network.get_parameter(name), value)
    other = networks.build_network(config, device=torch.device("cpu"), seed=7)
    name = "head.projects.0.weight"
    assert not torch.equal(other.get_parameter(name), network.get_parameter(name))


@needs_package
@pytest.mark.parametrize("name", networks.MODELS)
def test_every_model_is_described_by_the_package_and_only_giant_has_gaussians(name: str) -> None:
    config = networks.architecture_config(networks.MODELS[name].architecture)
    assert ("gs_head" in config) == (name == "da3-giant-1.1")
    if "gs_head" in config:
        assert config["gs_head"]["output_dim"] == networks.RawGaussians.d_in + 1
        adapter = {key: value for key, value in config["gs_adapter"].items() if key != "__object__"}
        assert adapter == {
            "sh_degree": 2,
            "pred_color": False,
            "pred_offset_depth": True,
            "pred_offset_xy": True,
            "gaussian_scale_min": 1e-5,
            "gaussian_scale_max": 30.0,
        }
