"""The branch that looks for named solids: what it is asked, what it is told is absent, and that it can learn it."""

import torch
from transformers import PreTrainedTokenizerBase

from worldr1.mini.networks.base import train_tokenizer
from worldr1.mini.networks.trunk import ATTRIBUTES, MISSING_PENALTY, Trunk, TrunkConfig, TrunkQuality, named_ids
from worldr1.mini.prompts import named_solids
from worldr1.mini.promptset import random_prompts
from worldr1.pretrain.presence import PresenceTask, draw_absent, prompt_preference

RED_BOX = "Camera push in. A plain red box on a white tiled floor under a blue sky."
TWO = "A plain red box and a striped cyan cone on a white tiled floor under a blue sky."


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def words(ids: torch.Tensor) -> list[str]:
    return [ATTRIBUTES[i] for i in ids.tolist()]


def trunk() -> Trunk:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Trunk(TrunkConfig())


def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer([RED_BOX, TWO])


def test_named_solids_become_their_attributes() -> None:
    ids = named_ids([RED_BOX, TWO, "A cat."])
    assert ids.shape == (3, 2, 3)
    assert words(ids[0, 0]) == words(ids[1, 0]) == ["plain", "red", "box"]
    assert words(ids[1, 1]) == ["striped", "cyan", "cone"]
    assert (ids[0, 1] == -1).all() and (ids[2] == -1).all()
    assert named_ids(["A cat."]).shape == (1, 1, 3)


def test_absent_solids_are_whole_and_never_named() -> None:
    prompts = [prompt.text for prompt in random_prompts(200, seed=3, stream="test", dynamic=False)]
    absent = draw_absent(named_ids(prompts), 6, generator())
    kinds = [set(ATTRIBUTES[:4]), set(ATTRIBUTES[4:12]), set(ATTRIBUTES[12:])]
    near_misses = 0
    for prompt, rows in zip(prompts, absent, strict=True):
        own = [(s.texture, s.colour, s.solid) for s in named_solids(prompt)]
        for row in rows:
            if row[0] < 0:
                assert (row == -1).all()
                continue
            solid = words(row)
            assert all(word in kind for word, kind in zip(solid, kinds, strict=True))
            assert tuple(solid) not in own
            near_misses += any(sum(a != b for a, b in zip(solid, mine, strict=True)) == 1 for mine in own)
    asked = int((absent[..., 0] >= 0).sum())
    assert asked > 0.75 * 200 * 6, "some draw an attribute's old value"
    assert near_misses > 0.3 * asked, "one wrong word must be enough"


def test_a_prompt_without_solids_gives_no_examples() -> None:
    assert (draw_absent(named_ids(["A cat."]), 4, generator()) == -1).all()


def test_the_branch_learns_colours_and_leaves_the_rest_of_the_trunk_alone() -> None:
    colours = {"red": (0.8, 0.1, 0.1), "green": (0.1, 0.7, 0.2), "blue": (0.1, 0.2, 0.8), "yellow": (0.8, 0.8, 0.1)}
    prompts = [f"A plain {colour} box on a white tiled floor." for colour in colours] * 8
    frames = torch.full((32, 3, 64, 96), 0.5)
    for row, rgb in enumerate(list(colours.values()) * 8):
        frames[row, :, 20:44, 30:60] = torch.tensor(rgb)[:, None, None]
    frames = (frames * 255).to(torch.uint8)
    network = trunk()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    task = PresenceTask(network, frames, prompts, batch=16, generator=generator())
    optimizer = torch.optim.Adam(network.presence.parameters(), lr=5e-3)
    for _ in range(80):
        loss, _ = task()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    changed = {name.split(".")[0] for name, x in network.state_dict().items() if not torch.equal(x, before[name])}
    assert changed == {"presence"}
    quality = TrunkQuality(network, tokenizer())
    found = prompt_preference(quality, frames, prompts, generator(1))
    assert found["quality_prefers_true_prompt"] > 0.9
    assert 0.05 < found["quality_drop_missing"] <= MISSING_PENALTY


def test_the_score_loses_the_share_of_named_solids_that_are_not_seen() -> None:
    network = trunk()
    with torch.no_grad():
        network.presence.attributes.weight.zero_()
        network.presence.bias.fill_(-50.0)
        blind = TrunkQuality(network, tokenizer())(torch.rand(2, 3, 64, 96, generator=generator()), [RED_BOX, "A cat."])
        network.presence.bias.fill_(50.0)
        seeing = TrunkQuality(network, tokenizer())(
            torch.rand(2, 3, 64, 96, generator=generator()), [RED_BOX, "A cat."]
        )
    torch.testing.assert_close(seeing - blind, torch.tensor([MISSING_PENALTY, 0.0]), atol=1e-5, rtol=0)
