"""Weights as others publish them: found, read without running anything, and put into a network whole or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import nn

from worldr1.backends import published_files
from worldr1.backends.published_files import fill, find_file, package_file, read_tensors
from worldr1.errors import InputError

TENSORS = {"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.tensor([5.0])}


class Opens:
    """A pickle of it would make a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_torch_files_of_both_ages(tmp_path: Path, zipped: bool, nested: bool) -> None:
    saved = {"epoch": 1, "state_dict": TENSORS} if nested else TENSORS
    torch.save(saved, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "a.pt")
    assert found.keys() == TENSORS.keys()
    assert torch.equal(found["weight"], TENSORS["weight"])


def test_safetensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    assert torch.equal(read_tensors(tmp_path / "a.safetensors")["bias"], TENSORS["bias"])


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_of_a_file_runs(tmp_path: Path, zipped: bool) -> None:
    saved = {"weight": Opens(tmp_path / "made")}
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"a\.pth cannot be read"):
        read_tensors(tmp_path / "a.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken"])
def test_damaged_files_are_a_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read .* download it again"):
        read_tensors(tmp_path / name)


def test_a_file_without_tensors_by_name(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds no tensors by name"):
        read_tensors(tmp_path / "a.pt")
    with pytest.raises(InputError, match="missing"):
        read_tensors(tmp_path / "b.pt")


def test_every_tensor_is_put_in_the_networks_dtype() -> None:
    network = nn.Linear(2, 1).half()
    fill(network, TENSORS, path=Path("a"))
    assert network.weight.dtype is torch.float16
    assert torch.equal(network.weight, TENSORS["weight"].half())
    assert torch.equal(network.bias, TENSORS["bias"].half())


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"weight": TENSORS["weight"]}, "1 missing, such as bias"),
        ({**TENSORS, "extra": torch.ones(1)}, "1 unknown, such as extra"),
        ({**TENSORS, "bias": torch.ones(3)}, r"1 of another shape, such as bias \[3\] instead of \[1\]"),
        ({"Weight": torch.ones(1), "bias": torch.ones(2)}, "1 missing, .* 1 unknown, .* 1 of another shape"),
    ],
)
def test_anything_else_is_named_and_nothing_is_copied(tensors: Any, said: str) -> None:
    network = nn.Linear(2, 1)
    before = network.weight.clone()
    with pytest.raises(InputError, match=rf"file is of another model \(tensors: {said}"):
        fill(network, tensors, path=Path("file"))
    assert torch.equal(network.weight, before)


def test_files_are_found_by_path_and_by_folder(tmp_path: Path) -> None:
    (tmp_path / "a.pt").touch()
    assert find_file(str(tmp_path / "a.pt"), name="b.pt", hub="who/what") == tmp_path / "a.pt"
    assert find_file(str(tmp_path), name="a.pt", hub="who/what") == tmp_path / "a.pt"
    with pytest.raises(InputError, match=r"b\.pt is missing; give the path of b\.pt \(published as who/what\)"):
        find_file(str(tmp_path), name="b.pt", hub="who/what")


def test_the_hub_is_asked_only_without_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(hub: str, name: str) -> str:
        raise LocalEntryNotFoundError(f"no {name} of {hub} here.")

    monkeypatch.setattr(published_files, "hf_hub_download", download)
    with pytest.raises(InputError, match=r"who/what cannot be downloaded .*; give the path of a\.pt"):
        find_file("", name="a.pt", hub="who/what")


def test_a_package_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"pip install --no-deps no-such-package==3 \(none of its code is run\)"):
        package_file("no-such-package", "a.txt", version="3")
    (tmp_path / "half_there-3.dist-info").mkdir()
    (tmp_path / "half_there-3.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: half-there\nVersion: 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"a\.txt is missing, which half-there 3 has"):
        package_file("half-there", "a.txt", version="3")
