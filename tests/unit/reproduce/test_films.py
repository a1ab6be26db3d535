"""Films: the same prompts and noise for all, by the lowest seed, kept while the weights are the same."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from worldr1.assembly import prompts_with_scenes, training_prompts
from worldr1.backends.mini import mini_base
from worldr1.backends.wan import WanPolicy
from worldr1.build import load_experiment
from worldr1.camera.motion import parse_plan
from worldr1.config import dump_toml
from worldr1.errors import InputError
from worldr1.evaluate.evaluation import Task
from worldr1.evaluate.folder import RECORDS_FILE
from worldr1.evaluate.judging.judge import Looked, record_of
from worldr1.reproduce import films
from worldr1.reproduce.layout import Layout
from worldr1.reproduce.variants import RECIPE, VARIANTS, Variant
from worldr1.seeding import make_generator
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, save_adapter
from worldr1.train.lora import add_lora, lora_state
from worldr1.types import Status
from worldr1.video_io import read_comment, read_mp4

LORA = LoraConfig(rank=2, alpha=2)
WANTED = [VARIANTS["half"], VARIANTS["no-gen"], VARIANTS["no-transport"]]


def finish(layout: Layout, variant: Variant, seed: int, *, shift: float, strength: float = 0.5) -> None:
    """A run's recipe and result without the run: every number of the adapter moved by `shift`."""
    folder = layout.run(variant, seed)
    (folder / "final").mkdir(parents=True, exist_ok=True)
    recipe = load_experiment("mini-smoke", ("train.decode_batch=1", f"noise.strength={strength}"))
    (folder / "recipe.toml").write_text(dump_toml(recipe))
    state = {name: x + shift for name, x in fresh_adapter().items()}
    save_adapter(folder / "final" / "adapter.safetensors", state, AdapterInfo(config=LORA, base="mini", guidance=1.0))


@cache
def fresh_adapter() -> dict[str, torch.Tensor]:
    transformer = WanPolicy.from_folder(mini_base()).transformer
    add_lora(transformer, LORA, generator=make_generator(0, "test"))
    return lora_state(transformer)


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Two finished seeds of `half`, one run of `no-transport`, none of `no-gen`."""
    layout = Layout(tmp_path)
    for seed, shift in ((2, 0.02), (1, 0.05)):
        finish(layout, VARIANTS["half"], seed, shift=shift)
    finish(layout, VARIANTS["no-transport"], 0, shift=0.05, strength=0.0)
    monkeypatch.setattr(films, "RECIPE", "mini-smoke")
    return layout


def shorten(monkeypatch: pytest.MonkeyPatch, *places: int) -> None:
    """Only these of the prompts are filmed."""
    prompts, scenes = films.film_prompts(load_experiment(RECIPE).prompts)
    monkeypatch.setattr(films, "film_prompts", lambda numbers: ([prompts[place] for place in places], scenes))


class Painter:
    """Stands in for models and judge, in no time: a colour per model, nothing seen in it."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def build_policy(self, model: Any, device: str, lora: Path | None = None) -> Any:
        self.loaded.append("base" if lora is None else lora.parents[2].name)
        return SimpleNamespace(colour=0.1 * len(self.loaded), vae=None)

    def film(self, policy: Any, tasks: Sequence[Task], config: Any, plans: Any) -> torch.Tensor:
        return torch.full((len(tasks), 3, 3, 16, 16), policy.colour)

    def look(self, videos: torch.Tensor, tasks: Sequence[Task]) -> list[Looked]:
        return [Looked(record_of(task, Status.REJECTED, "it is one colour", {}), None) for task in tasks]

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(films, "build_policy", self.build_policy)
        monkeypatch.setattr(films, "film_tasks", self.film)
        monkeypatch.setattr(films, "build_judge", lambda *given, **more: SimpleNamespace(look=self.look))
        monkeypatch.setattr(films, "RenderedTruth", lambda *given: lambda tasks: torch.ones(len(tasks), 3, 3, 16, 16))


def test_the_prompts_are_chosen_by_their_words_and_seen_nowhere_else() -> None:
    numbers = load_experiment(RECIPE).prompts
    prompts, scenes = films.film_prompts(numbers)
    plans = [parse_plan(prompt.text).tokens for prompt in prompts]
    assert plans[:4] == [("push_in",), ("move_left",), ("orbit_right",), ("pull_left",)] and len(plans[4]) > 1
    assert plans[5] == ("fixed",) and [prompt.dynamic for prompt in prompts] == [False] * 5 + [True] * 2
    assert all(" moves " in prompt.text for prompt in prompts[5:])
    for prompt in prompts:
        scene = scenes[prompt.id, prompt.dynamic]
        assert int((scene.present & (scene.texture > 0)).sum()) >= 2
    train = training_prompts(numbers)
    judged, _ = prompts_with_scenes(replace(numbers, test=144, test_dynamic=48), "ablation")
    other = {prompt.text for prompt in (*train.main, *train.dynamic, *judged)}
    assert not other & {prompt.text for prompt in prompts}


def test_all_are_filmed_from_one_noise_and_judged(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, 0)
    made = films.film(layout, [VARIANTS["half"]])
    assert [folder.path.name for folder in made] == ["base", "truth", "half"]
    records = [folder.records[0] for folder in made]
    assert len({(record.prompt, record.seed, record.video) for record in records}) == 1
    for folder, record in zip(made, records, strict=True):
        assert len(folder.records) == 1 and "psnr_holdout_db" in record.measures and "words" in record.measures
        assert (folder.path / "redrawn" / str(record.video)).is_file()
    clips = [read_mp4(folder.path / "videos" / str(records[0].video)) for folder in made]
    assert clips[0].shape == (17, 3, 128, 192)
    assert all((clips[0] - clip).abs().mean() > 0.01 for clip in clips[1:])  # the adapter, and the truth
    assert records[1].measures["rotation_error_deg"] < 2  # the truth goes where the prompt says
    said = json.loads(read_comment(made[2].path / "videos" / str(records[0].video)))
    assert said["variant"] == "half" and said["lora_sha256"] == made[2].facts.source["lora_sha256"]


def test_what_is_filmed_is_kept_while_its_weights_are_the_same(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, 0, 6)
    painter = Painter()
    painter.patch(monkeypatch)
    seen: list[tuple[int, int]] = []
    made = films.film(layout, WANTED, on_progress=lambda done, total: seen.append((done, total)))
    assert [folder.path.name for folder in made] == ["base", "truth", "half", "no-transport"]
    assert seen == [(2, 8), (4, 8), (6, 8), (8, 8)] and painter.loaded == ["base", "half", "no-transport"]
    assert made[2].facts.source["seed"] == "1"  # the lowest
    assert [folder.facts.settings["strength"] for folder in made] == [0.5, 0.5, 0.5, 0.0]  # each by its own recipe
    assert set(films.filmed(layout, ["base", "truth", *VARIANTS])) == {"base", "truth", "half", "no-transport"}
    before = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*.mp4")}
    assert len(before) == 8

    def changed() -> set[str]:
        """Videos that were written since."""
        now = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*.mp4")}
        found = {path for path in now if now[path] != before.get(path)}
        before.update(now)
        return {f"{path.parent.parent.name}/{path.name}" for path in found}

    films.film(layout, WANTED)
    assert changed() == set() and len(painter.loaded) == 3  # not even a model is loaded
    names = sorted(str(record.video) for record in made[0].records)
    finish(layout, VARIANTS["half"], 1, shift=0.03)  # other weights
    records = layout.root / "films" / "no-transport" / RECORDS_FILE
    records.write_text(records.read_text().splitlines(keepends=True)[0])  # killed before its second record
    (layout.root / "films" / "truth" / "videos" / names[1]).unlink()
    films.film(layout, WANTED)
    assert changed() == {f"{side}/{name}" for side in ("half", "truth") for name in names} | {
        f"no-transport/{names[1]}"
    }
    assert films.filmed(layout, ["half"])["half"].facts.source != made[2].facts.source
    (layout.root / "films" / "base" / "evaluation.json").write_text("{")  # damaged
    with pytest.raises(InputError, match="delete the folder"):
        films.filmed(layout, ["base"])
    films.film(layout, WANTED)
    assert changed() == {f"base/{name}" for name in names}


def test_an_adapter_that_cannot_be_read_is_one_sentence(layout: Layout) -> None:
    (layout.run(VARIANTS["half"], 1) / "final" / "adapter.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"adapter\.safetensors"):
        films.film(layout, WANTED)
