"""Model folders: the published layout loads, and what is wrong with one is said with the file's name."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from worldr1.backends import model_folder
from worldr1.backends.cogvideox import CogVideoXSampler
from worldr1.backends.model_folder import check_folder, find_folder
from worldr1.backends.wan import WanPolicy
from worldr1.errors import InputError

PUBLISHED = {  # of Wan-AI/Wan2.1-T2V-1.3B-Diffusers; shards are numbered
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors.index.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    "vae/config.json",
}
TRANSFORMER = "transformer/diffusion_pytorch_model"


@pytest.fixture
def broken(published_wan_folder: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(published_wan_folder, tmp_path / "broken"))


def _shards(folder: Path, part: str) -> list[Path]:
    return sorted((folder / part).glob("*-of-*.safetensors"))


def test_the_fixture_has_the_published_layout(published_wan_folder: Path) -> None:
    files = {str(p.relative_to(published_wan_folder)) for p in published_wan_folder.rglob("*") if p.is_file()}
    assert files >= PUBLISHED
    assert len(_shards(published_wan_folder, "transformer")) >= 2
    assert len(_shards(published_wan_folder, "text_encoder")) >= 2


def test_shards_load_as_one_file_does(published_wan_folder: Path, tmp_path: Path) -> None:
    sharded = WanPolicy.from_folder(published_wan_folder)
    whole = tmp_path / "whole"
    sharded.pipeline().save_pretrained(whole)
    assert (whole / f"{TRANSFORMER}.safetensors").is_file()
    one = WanPolicy.from_folder(whole)
    for part in ("transformer", "vae"):
        a, b = getattr(sharded, part).state_dict(), getattr(one, part).state_dict()
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert torch.equal(sharded.encode(["a box"]), one.encode(["a box"]))


def test_an_absent_shard_is_named(broken: Path) -> None:
    first, *others = _shards(broken, "transformer")
    first.unlink()
    with pytest.raises(InputError, match=f"transformer/{first.name} is missing; fetch or build the model again"):
        WanPolicy.from_folder(broken)
    others[0].unlink()
    with pytest.raises(InputError, match=rf"{first.name} is missing and 1 of {1 + len(others)} more"):
        WanPolicy.from_folder(broken)


def test_a_truncated_shard_names_its_part(broken: Path) -> None:
    shard = _shards(broken, "text_encoder")[-1]
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(InputError, match="broken/text_encoder cannot be loaded"):
        WanPolicy.from_folder(broken)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model-00001-of-00002.bin"])
def test_pickled_weights_are_refused(broken: Path, name: str) -> None:
    for file in (broken / "transformer").glob("*.safetensors*"):
        file.unlink()
    (broken / "transformer" / name).write_bytes(b"not even looked at")
    with pytest.raises(InputError, match=rf"pickled weights \({name}\), which are not loaded.*\.safetensors"):
        WanPolicy.from_folder(broken)


def test_a_git_lfs_pointer_is_not_taken_for_weights(broken: Path) -> None:
    shard = _shards(broken, "transformer")[0]
    shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(InputError, match=f"{shard.name} is a Git LFS pointer .*git lfs pull"):
        WanPolicy.from_folder(broken)


@pytest.mark.parametrize("text", ["{}", '{"weight_map": {}}', '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_an_index_without_weights_is_refused(broken: Path, text: str) -> None:
    (broken / f"{TRANSFORMER}.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match=r"diffusion_pytorch_model\.safetensors\.index\.json lists no weights"):
        WanPolicy.from_folder(broken)


@pytest.mark.parametrize(("text", "says"), [("{", "cannot be read"), ("[]", "holds no JSON object")])
def test_a_damaged_configuration_is_named(broken: Path, text: str, says: str) -> None:
    (broken / "vae" / "config.json").write_text(text)
    with pytest.raises(InputError, match=rf"vae/config\.json {says}"):
        WanPolicy.from_folder(broken)


def test_a_folder_of_the_other_kind_is_refused(published_wan_folder: Path, published_cogvideox_folder: Path) -> None:
    with pytest.raises(InputError, match="holds a CogVideoXPipeline; give a WanPipeline folder"):
        WanPolicy.from_folder(published_cogvideox_folder)
    with pytest.raises(InputError, match="holds a WanPipeline; give a CogVideoXPipeline folder"):
        CogVideoXSampler.from_folder(published_wan_folder)
    check_folder(published_cogvideox_folder, pipeline="CogVideoXPipeline")


def test_an_absent_tokenizer_is_named(broken: Path) -> None:
    (broken / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer/tokenizer\.json is missing"):
        check_folder(broken)
    (broken / "tokenizer" / "spiece.model").touch()
    check_folder(broken)


def test_the_original_release_is_told_from_an_incomplete_folder(tmp_path: Path) -> None:
    for name in ("config.json", "Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"layout of Wan's own release \(models_t5.*ends in -Diffusers"):
        check_folder(tmp_path)


def test_an_index_that_names_no_pipeline_is_refused(broken: Path) -> None:
    (broken / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match=r"model_index\.json names no pipeline"):
        check_folder(broken)


def test_an_unknown_scheduler_is_refused(broken: Path) -> None:
    path = broken / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "DDPMScheduler"}))
    with pytest.raises(InputError, match=r"is a DDPMScheduler; the known ones are FlowMatchEuler.*, UniPC"):
        WanPolicy.from_folder(broken)


# ----------------------------------------------------------------------------------------------------------- the hub


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "hub"),
    [
        ("wan2.1-14b", "Wan-AI/Wan2.1-T2V-14B-Diffusers"),
        ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
        ("models/mistyped", "models/mistyped"),
    ],
)
def test_a_hub_name_without_network_says_how_to_give_a_folder(name: str, hub: str) -> None:
    with pytest.raises(InputError) as refused:
        find_folder(name)
    said = str(refused.value)
    assert said.startswith(f"There is no model folder {name}, and the hub's {hub} cannot be fetched (")
    assert "give the path of a folder that holds model_index.json and the sub-folders transformer, vae" in said
    assert "\n" not in said


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["/no/where", "no/such/folder", "nothing", "../up", ""])
def test_what_can_be_no_hub_name_is_a_missing_folder(name: str) -> None:
    if name == "":  # Path("") is the working directory, which holds no model
        with pytest.raises(InputError, match="incomplete"):
            check_folder(find_folder(name))
        return
    with pytest.raises(InputError, match=r"There is no model folder .* or one of wan2\.1-1\.3b, wan2\.1-14b"):
        find_folder(name)


@pytest.mark.usefixtures("offline")
def test_a_folder_comes_before_the_hub_and_only_harmless_files_are_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, list[str]]] = []

    def fetch(hub: str, allow_patterns: list[str]) -> str:
        asked.append((hub, allow_patterns))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(model_folder, "snapshot_download", fetch)
    assert find_folder("wan2.1-1.3b") == tmp_path / "snapshot"
    ((hub, patterns),) = asked
    assert hub == "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    assert "model_index.json" in patterns and "transformer/*.safetensors" in patterns
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in patterns)
    (tmp_path / "Wan-AI" / "Wan2.1-T2V-1.3B-Diffusers").mkdir(parents=True)
    assert find_folder("Wan-AI/Wan2.1-T2V-1.3B-Diffusers") == Path("Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
    assert len(asked) == 1


def test_code_in_a_folder_does_not_run(broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers asks at a terminal whether to run it, and runs it at a yes: nobody is asked here."""
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w').close()\nclass Evil:\n    pass\n"
    config = broken / "tokenizer" / "tokenizer_config.json"
    for part in ("tokenizer", "text_encoder", "transformer", "vae", "."):
        (broken / part / "evil.py").write_text(code)
    table = json.loads(config.read_text())
    table |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    config.write_text(json.dumps(table))
    for part in ("text_encoder", "transformer", "vae"):
        path = broken / part / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoModel": "evil.Evil"}}))
    monkeypatch.setattr("builtins.input", lambda *asked: pytest.fail("it asked"))
    monkeypatch.setattr("sys.stdin", None)
    with contextlib.suppress(InputError):
        WanPolicy.from_folder(broken).encode(["a box"])
    assert not ran.exists()
