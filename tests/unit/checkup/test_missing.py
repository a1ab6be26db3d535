"""What a recipe lacks is said together; what the loaders look for is what is asked for."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from worldr1.build import load_experiment, recipe_needs
from worldr1.checkup.missing import check_needs
from worldr1.errors import InputError


def lacking(sentence: str) -> Any:
    def need() -> None:
        raise InputError(sentence)

    return need


def test_nothing_is_said_where_all_is_there() -> None:
    check_needs([("base model", lambda: Path("there")), ("critic", lambda: None)])


def test_one_thing_has_its_own_sentence() -> None:
    with pytest.raises(InputError) as caught:
        check_needs([("base model", lambda: None), ("critic", lacking("a is missing; give it."))])
    assert str(caught.value) == "a is missing; give it."


def test_several_things_are_a_table_without_repetition() -> None:
    needs = [
        ("base model", lacking("a is missing.")),
        ("critic", lambda: None),
        ("quality HPSv3", lacking("b cannot be\n  fetched.")),
        ("perceptual", lacking("a is missing.")),
    ]
    with pytest.raises(InputError) as caught:
        check_needs(needs)
    assert str(caught.value).splitlines() == [
        "2 things that the recipe needs are missing:",
        "MISSING base model     a is missing.",
        "MISSING quality HPSv3  b cannot be fetched.",
    ]


def test_a_bug_is_no_missing_thing() -> None:
    with pytest.raises(ZeroDivisionError):
        check_needs([("base model", lambda: 1 // 0)])


def told(recipe: str, *changes: str) -> list[tuple[str, str]]:
    found = []
    for whose, need in recipe_needs(load_experiment(recipe, changes), "cpu"):
        try:
            need()
        except InputError as error:
            found.append((whose, str(error)))
    return found


def test_the_mini_recipe_and_random_weights_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldr1.backends.depth_anything3_network._check_package", lambda: None)
    assert told("mini") == []
    roles = [f"reward.models.{role}=random" for role in ("reconstructor", "critic", "quality", "perceptual")]
    assert told("world-r1-small", "model.weights=random", *roles) == []
    assert told("small-24gb", "model.weights=random", *roles) == []


def test_a_critic_behind_an_address_needs_no_files() -> None:
    found = told("small-24gb", "model.weights=random", "reward.models.critic=http://localhost:1/v1")
    assert found and not [whose for whose, _ in found if whose.startswith("critic")]


def test_of_the_papers_models_every_file_and_package_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worldr1.backends.hpsv3_prompt.package_file", lambda *_, **__: tmp_path / "no_template.py")
    monkeypatch.setattr("worldr1.backends.lpips.package_file", lacking_package)
    monkeypatch.setattr("worldr1.backends.depth_anything3_network._check_package", lambda: None)
    places = {"reconstructor": "da3", "critic": "qwen", "quality": "hpsv3", "perceptual": "alex.pth"}
    (tmp_path / "da3").mkdir()
    (tmp_path / "qwen").mkdir()
    changes = [f"reward.models.{role}={tmp_path / name}" for role, name in places.items()]
    found = told("world-r1-small", "model.weights=random", *changes, f"reward.options.quality.tokenizer={tmp_path}/tok")
    words = [
        ("reconstructor DA3-GIANT-1.1", "da3/config.json is missing"),
        ("reconstructor DA3-GIANT-1.1", "da3/model.safetensors is missing"),
        ("critic Qwen3-VL-4B", "qwen/config.json cannot be read"),
        ("critic Qwen3-VL-4B", "qwen/preprocessor_config.json is missing"),
        ("critic Qwen3-VL-4B", "qwen/tokenizer.json is missing"),
        ("critic Qwen3-VL-4B", "qwen/tokenizer_config.json is missing"),
        ("critic Qwen3-VL-4B", "qwen/model.safetensors is missing"),
        ("quality HPSv3", "no_template.py cannot be read; pip install --no-deps hpsv3==1.0.0"),
        ("quality HPSv3", "HPSv3's tokenizer cannot be loaded from"),
        ("quality HPSv3", "hpsv3 is missing; give the path of HPSv3.safetensors"),
        ("perceptual LPIPS (AlexNet)", "trunk"),
        ("perceptual LPIPS (AlexNet)", "The package lpips is not installed"),
    ]
    assert sorted(whose for whose, _ in found) == sorted(whose for whose, _ in words), found
    for whose, word in words:
        assert any(word in sentence for who, sentence in found if who == whose), (word, found)


def lacking_package(package: str, inside: str, *, version: str) -> Path:
    raise InputError(f"The package {package} is not installed: pip install --no-deps {package}=={version}.")


def test_of_a_models_folder_every_part_is_asked_for(published_wan_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wan"
    shutil.copytree(published_wan_folder, folder)
    assert told("mini", f"model.folder={folder}") == []
    (folder / "transformer" / "config.json").unlink()
    (folder / "text_encoder" / "config.json").write_text("{")
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    shutil.rmtree(folder / "vae")
    sentences = [sentence for whose, sentence in told("mini", f"model.folder={folder}") if whose == "base model"]
    words = ("vae is missing", "transformer/config.json", "text_encoder/config.json", "tokenizer/tokenizer.json")
    assert len(sentences) == len(words)
    assert all(word in sentence for word, sentence in zip(words, sentences, strict=True))


def test_code_of_ones_own_and_ray_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldr1.cluster.ray_actors.ray_version", lambda: "")
    found = told("mini", "reward.models.critic=nowhere:Critic", "reward.placement=remote")
    assert [whose for whose, _ in found] == ["reward actors", "reward.models.critic"]


def test_on_a_gpu_the_renderer_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [whose for whose, _ in recipe_needs(load_experiment("mini"), "cpu")] == []
    ((whose, need),) = recipe_needs(load_experiment("mini"), "cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="gsplat renderer needs an NVIDIA GPU"):
        need()
    assert whose == "renderer"
