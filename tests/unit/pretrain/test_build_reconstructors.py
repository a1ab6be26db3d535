"""Two 3D models from one recipe: nothing shared, files that load, a re-rendering metric that knows good geometry."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from worldr1.backends.mini import JUDGE_CONFIG, load_judge, load_reconstructor
from worldr1.errors import InputError
from worldr1.mini.networks.reconstructor import MiniReconstructor, ReconstructorConfig
from worldr1.mini.render import SKY
from worldr1.pretrain import build_reconstructors as builders
from worldr1.pretrain import rerendering
from worldr1.pretrain.build import build
from worldr1.pretrain.build_reconstructors import Model3D, new_network
from worldr1.pretrain.corpus import Corpus, build_corpus
from worldr1.pretrain.parts import BuildConfig
from worldr1.pretrain.rerendering import rerendering_psnr, rigid_moving_clips
from worldr1.pretrain.vae import to_float
from worldr1.scene.splat import SplatRenderer
from worldr1.types import Reconstruction, Status, intrinsics_px

SMALL = ReconstructorConfig(dim=16, depth=2, heads=2, stem=(8, 8))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return build_corpus(8, seed=3, device="cpu", imperfect=False)


def test_the_judge_is_another_network_and_small() -> None:
    assert JUDGE_CONFIG.dim != ReconstructorConfig().dim and JUDGE_CONFIG.depth != ReconstructorConfig().depth
    with torch.device("meta"):
        judge = MiniReconstructor(JUDGE_CONFIG)
    megabytes = sum(2 * x.numel() for x in judge.parameters()) / 1e6
    assert megabytes <= 7, f"{megabytes:.1f} MB"


def test_weights_depend_on_the_part_and_the_seed_alone() -> None:
    def first(part: str, seed: int) -> Tensor:
        network = new_network(Model3D(part=part, network=SMALL, clips=builders.judge_corpus), seed)
        return network.state_dict()["pose_head.1.weight"]

    before = torch.random.get_rng_state()
    assert torch.equal(first("judge", 1), first("judge", 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(first("judge", 1), first("judge", 2))
    assert not torch.equal(first("judge", 1), first("reconstructor", 1))


def test_a_judge_is_built_on_its_own_clips_and_loads(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Corpus] = []
    own = corpus.rows(slice(0, 4))

    def clips(config: BuildConfig) -> Corpus:
        seen.append(own)
        return own

    monkeypatch.setattr(builders, "JUDGE_CONFIG", SMALL)
    monkeypatch.setattr("worldr1.backends.mini.JUDGE_CONFIG", SMALL)
    monkeypatch.setattr(builders, "judge_corpus", clips)
    corpus.rows(slice(4, 8)).save(tmp_path / "held_out")
    config = BuildConfig(
        state=tmp_path, out=tmp_path / "out", device="cpu", seconds=0.01, total_s=0.01, batch=2, held_out=2
    )
    metrics = build("judge", config)
    assert seen == [own] and metrics["steps"] >= 1
    assert {
        "rotation_deg_clean",
        "translation_share_clean",
        "log_depth_clean",
        "rotation_deg_clean_free",
    } <= metrics.keys()
    judge = load_judge(weights=tmp_path / "out")
    assert judge.network.config == SMALL
    video = to_float(corpus.video[:1])
    again = build("judge", replace(config, seconds=1e-9))
    assert again["steps"] >= metrics["steps"], "a second run goes on"
    poses = load_judge(weights=tmp_path / "out")(video)[0].world_from_camera
    assert torch.isfinite(poses).all()


def test_a_missing_judge_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"judge.safetensors is missing; build it with `worldr1 mini build judge"):
        load_judge(weights=tmp_path)
    with pytest.raises(InputError, match="install worldr1 again"):
        load_reconstructor(weights=tmp_path)


# -------------------------------------------------------------------------------------------------------- re-rendering


class Geometry:
    """The truth of a corpus, with depths `stretch` and paths `reach` times too long; `rejects` some of the clips."""

    licence = "none"

    def __init__(
        self, corpus: Corpus, *, stretch: float = 1.0, reach: float = 1.0, rejects: Sequence[int] = ()
    ) -> None:
        self.corpus, self.stretch, self.rejects = corpus, stretch, rejects
        self.scale = torch.tensor([1.0, 1.0, 1.0, reach])

    def __call__(self, videos: Tensor) -> list[Reconstruction]:
        return [self._find(video) for video in videos]

    def _find(self, video: Tensor) -> Reconstruction:
        c = self.corpus
        index = next(i for i in range(len(c.prompts)) if torch.equal(to_float(c.video[i]), video))
        frames, height, width = c.depth.shape[1:]
        return Reconstruction(
            world_from_camera=c.world_from_camera[index] * self.scale,
            depth=c.depth[index].float() * self.stretch,
            intrinsics_px=intrinsics_px(height, width).expand(frames, 3, 3),
            confidence=0.6 * (c.surface[index] != SKY).float(),
            status=Status.REJECTED if index in self.rejects else Status.OK,
        )


def no_vae(vae: Any, video: Tensor) -> Tensor:
    return video


def test_rerendering_loses_nothing_by_the_true_geometry_and_much_by_a_wrong_one(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerendering, "through_vae", no_vae)
    vae: Any = None
    rows = rigid_moving_clips(corpus)[:3]

    def lost(geometry: Geometry) -> dict[str, float]:
        return rerendering_psnr(geometry, corpus, vae, SplatRenderer(), max_clips=3, batch=2)

    exact = lost(Geometry(corpus))
    assert exact["rerendering_db_lost"] == pytest.approx(0, abs=1e-6)
    for wrong in (lost(Geometry(corpus, stretch=1.5)), lost(Geometry(corpus, reach=0.5))):
        assert wrong["rerendering_db_true_geometry"] == pytest.approx(exact["rerendering_db"], abs=1e-6)
        assert wrong["rerendering_db_lost"] > 1
    # all but one clip rejected: the pooled error is that clip's
    single = [lost(Geometry(corpus, rejects=[r for r in rows if r != keep]))["rerendering_db"] for keep in rows]
    pooled = -10 * torch.tensor([10 ** (-db / 10) for db in single]).mean().log10()
    assert exact["rerendering_db"] == pytest.approx(float(pooled), abs=1e-4)
    with pytest.raises(InputError, match="can be drawn again"):
        lost(Geometry(corpus, rejects=rows))


def test_only_rigid_clips_of_a_camera_that_travels_are_drawn_again(corpus: Corpus) -> None:
    prompts = list(corpus.prompts)
    rows = rigid_moving_clips(corpus)
    prompts[rows[0]] += " The red ball changes colour."
    poses, imperfection = corpus.world_from_camera.clone(), corpus.imperfection.clone()
    poses[rows[1], :, :3, 3] = 0
    imperfection[rows[2]] = 1
    spoilt = replace(corpus, prompts=prompts, world_from_camera=poses, imperfection=imperfection)
    assert len(rows) > 3 and rigid_moving_clips(spoilt) == rows[3:]
