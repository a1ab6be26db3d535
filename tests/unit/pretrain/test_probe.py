"""The probe's training: its pixels and words are those of the scene, mirrors turn left into right, and it can learn."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldr1.backends.mini import load_probe
from worldr1.errors import InputError
from worldr1.mini.attribute_scores import attribute_accuracy, mean_accuracy
from worldr1.mini.attributes import prompt_labels
from worldr1.mini.networks.probe import AttributeProbe, Probe, ProbeConfig
from worldr1.mini.prompts import scene_sentences
from worldr1.mini.render import render
from worldr1.mini.scenes import Motion, Scenes, sample_scenes
from worldr1.pretrain import corpus as corpus_module
from worldr1.pretrain.corpus import TENSORS, Corpus, Imperfection, build_corpus
from worldr1.pretrain.parts import BuildConfig, judge_corpus, judge_held_out
from worldr1.pretrain.probe import UNTAUGHT, ProbeTask, probe_loss, probe_metrics, true_classes

HEIGHT, WIDTH = 32, 48
TINY = ProbeConfig(height=HEIGHT, width=WIDTH, stem=(16, 32), dim=64, depth=2, slot_depth=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(config: ProbeConfig = TINY) -> AttributeProbe:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AttributeProbe(config)


def film(scenes: Scenes, num_frames: int) -> Corpus:
    """Clips of a camera that stands still, consistent as far as they say."""
    poses = torch.eye(4).expand(scenes.num, num_frames, 4, 4)
    clips = render(scenes, poses, height=HEIGHT, width=WIDTH, supersample=1)
    return Corpus(
        video=(clips.video * 255).round().to(torch.uint8),
        depth=clips.depth.half(),
        world_from_camera=poses.clone(),
        plan=torch.full((scenes.num,), -1),
        imperfection=torch.zeros(scenes.num, dtype=torch.long),
        surface=clips.surface,
        prompts=scene_sentences(scenes),
    )


def task(corpus: Corpus, module: torch.nn.Module | None = None, seed: int = 0) -> ProbeTask:
    return ProbeTask(module or torch.nn.Identity(), corpus, batch=len(corpus.prompts), generator=generator(seed))


def test_pixels_have_the_class_of_the_surface_that_is_seen() -> None:
    scenes = sample_scenes(60, generator=generator(), dynamic_share=0.3)
    clips = film(scenes, 1)
    found = true_classes(clips.surface, prompt_labels(clips.prompts))[:, 0]
    surface = clips.surface[:, 0, ::2, ::2]
    gaps = 0
    for b in range(scenes.num):
        gaps += scenes.present[b].tolist() == [True, False, True] and bool((surface[b] == 4).any())
        for y in range(HEIGHT // 2):
            for x in range(WIDTH // 2):
                hit = int(surface[b, y, x])
                expected = {-1: 1, 0: 0, 1: 1}.get(hit, 2 + int(scenes.colour[b, max(hit - 2, 0)]))
                assert int(found[b, y, x]) == expected
    assert gaps > 3, "the second in the list is not always the scene's second"


def test_mirrored_clips_move_the_other_way() -> None:
    scenes = sample_scenes(24, generator=generator(1), dynamic_share=1.0)
    scenes = replace(scenes, motion=torch.where(scenes.motion > 0, torch.full_like(scenes.motion, 1), scenes.motion))
    clips = film(scenes, 5)
    across = torch.linspace(-1, 1, WIDTH // 2)
    asked = 0
    for mirrored, motion, way in ((False, Motion.MOVES_LEFT, -1), (True, Motion.MOVES_RIGHT, 1)):
        video, truth = task(clips).examples(torch.arange(24), mirrored=mirrored)
        assert torch.equal(video.flip(-1) if mirrored else video, clips.video.float() / 255)
        for b, colour in (truth.visible & (truth.labels.motion > 0)).nonzero().tolist():
            assert truth.labels.motion[b, colour] == motion
            pixels = (truth.classes[b] == 2 + colour).float().sum(-2)
            first, last = (float((pixels[t] * across).sum() / pixels[t].sum()) for t in (0, 4))
            if pixels.sum(1).amin() > 40:  # neither cut by the border nor hidden
                assert (last - first) * way > 0.02
                asked += 1
    assert asked > 6


def test_solids_that_are_not_in_the_picture_are_taught_as_absent() -> None:
    scenes = sample_scenes(8, generator=generator(2))
    scenes = replace(scenes, present=torch.tensor([True, True, False]).expand(8, 3))
    whole = film(scenes, 1)
    clips = replace(film(scenes.without(1), 1), prompts=whole.prompts)
    _, truth = task(clips).examples(torch.arange(8))
    lost = torch.nn.functional.one_hot(scenes.colour[:, 1], 8).bool()
    assert (truth.certain & ~truth.visible)[lost].all()
    assert task(whole).examples(torch.arange(8))[1].visible[lost].all()


def test_warps_teach_no_pixels_and_movers_no_matches() -> None:
    scenes = sample_scenes(8, generator=generator(3), dynamic_share=1.0)
    clips = film(scenes, 3)
    clips.imperfection[0] = Imperfection.WARP
    _, truth = task(clips).examples(torch.arange(8))
    assert (truth.classes[0] == UNTAUGHT).all() and (truth.classes[1:] >= 0).all()
    assert not truth.matched[0].any()
    solid = clips.surface[:, :, None, 2::4, 2::4] >= 2
    assert not truth.matched[solid].any()
    assert truth.matched[1:][~solid[1:]].all(), "the camera stands still: everything else is found"
    assert truth.visible[0].any()


def test_every_weight_is_taught() -> None:
    module = network()
    loss, log = task(film(sample_scenes(12, generator=generator(4), dynamic_share=0.7), 3), module)()
    loss.backward()
    idle = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    for head in (module.floor, module.backdrop, module.solid[-1]):
        assert isinstance(head.weight.grad, torch.Tensor)
        assert head.weight.grad.any(1).all(), "every answer of every word"
    assert all(float(value) > 0 for name, value in log.items() if name != "matching")


def test_words_do_not_bend_the_pixels() -> None:
    module = network()
    video, truth = task(film(sample_scenes(4, generator=generator(5)), 3)).examples(torch.arange(4))
    seen = module(video)
    seen.kind.sum().backward()
    assert module.classes.weight.grad is None
    loss, _ = probe_loss(seen, truth)
    assert float(loss.detach()) > 0


@pytest.fixture(scope="module")
def tiny_corpus() -> Corpus:
    """A few small moving clips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "HEIGHT", HEIGHT)
        patch.setattr(corpus_module, "WIDTH", WIDTH)
        return build_corpus(8, seed=8, device="cpu", imperfect=False, dynamic_share=0.6, num_frames=3)


def test_the_probe_learns_a_few_clips_by_heart(tiny_corpus: Corpus) -> None:
    module = network()
    learn = ProbeTask(module, tiny_corpus, batch=6, generator=generator())
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, betas=(0.9, 0.98))
    steps = 240
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, (step + 1) / 20, 2 * (1 - step / steps))
        loss, _ = learn()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    found = probe_metrics(Probe(module), tiny_corpus, None)
    assert found["words"] > 0.95, found
    assert found["motion"] > 0.95 and found["dynamic"] > 0.9, found
    assert found["count"] > 0.9 and found["iou_solids"] > 0.5, found


def test_metrics_are_those_of_all_clips_whatever_the_batch(tiny_corpus: Corpus) -> None:
    probe = Probe(network())
    table = probe_metrics(probe, tiny_corpus, None, batch=3)
    records = attribute_accuracy(probe(tiny_corpus.video.float() / 255), tiny_corpus.prompts)
    assert {name: value for name, value in table.items() if not name.startswith("iou")} == pytest.approx(
        mean_accuracy(records)
    )


def test_the_judges_clips_are_their_own_and_are_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "HEIGHT", 4)
    monkeypatch.setattr(corpus_module, "WIDTH", 6)
    config = BuildConfig(state=tmp_path, out=tmp_path, device="cpu", clips=90, held_out=6)
    train, held_out = judge_corpus(config), judge_held_out(config)
    assert (len(train.prompts), len(held_out.prompts)) == (60, 6)
    assert (held_out.imperfection == Imperfection.NONE).all() and train.imperfection.any()
    assert 0.2 < sum(" The " in prompt for prompt in train.prompts) / 60 < 0.5
    others = build_corpus(60, seed=config.seed, device="cpu")
    assert not set(train.prompts) & set(others.prompts)
    monkeypatch.setattr("worldr1.pretrain.parts.build_corpus", None)
    again = judge_corpus(config)
    assert all(torch.equal(getattr(again, name), getattr(train, name)) for name in TENSORS)


def test_a_missing_probe_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mini build probe"):
        load_probe(weights=tmp_path)
