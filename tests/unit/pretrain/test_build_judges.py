"""The critic's pictures are drawn in shards: each loads its own clips alone and still knows them by their number."""

from pathlib import Path

import pytest
import torch

from worldr1.backends.mini import mini_weights
from worldr1.pretrain import build_judges
from worldr1.pretrain.corpus import ALL, Corpus, build_corpus
from worldr1.pretrain.pack import unpack
from worldr1.pretrain.parts import BuildConfig, load_corpus


def test_a_shard_loads_its_rows_alone_and_numbers_clips_as_the_corpus_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BuildConfig(state=tmp_path, out=tmp_path, device="cpu")
    whole = build_corpus(5, seed=3, device="cpu", imperfect=False)
    whole.save(tmp_path / "train")
    unpack(mini_weights(), tmp_path)
    loaded: list[Corpus] = []

    def watched(config: BuildConfig, name: str, rows: slice = ALL) -> Corpus:
        loaded.append(load_corpus(config, name, rows))
        return loaded[-1]

    monkeypatch.setattr(build_judges, "load_corpus", watched)
    made = build_judges._critic_set(config, "train", torch.tensor([2, 4]), 2)
    assert made.clip.tolist() == [2, 4, 2, 4] and len(made.images) == 4
    assert loaded[0].prompts == whole.prompts[2:5] and torch.equal(loaded[0].video, whole.video[2:5])
