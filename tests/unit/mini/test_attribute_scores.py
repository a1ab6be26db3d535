"""Shares of words that a video shows, from sightings made by hand."""

import pytest
import torch

from worldr1.mini.attribute_scores import attribute_accuracy, mean_accuracy, mover_masks
from worldr1.mini.attributes import prompt_labels
from worldr1.mini.networks.probe import AttributeProbe, Probe, ProbeConfig, Sighting, slot_features
from worldr1.mini.prompts import COLOUR_NAMES
from worldr1.mini.scenes import SOLIDS, Motion

RED, GREEN, BLUE, CYAN = (COLOUR_NAMES.index(name) for name in ("red", "green", "blue", "cyan"))
STATIC = "Camera push in. A plain red box and a striped blue cone on a white tiled floor in an orange brick room."
SKY = "A marbled green ball on a cyan painted floor under a white sky."
MOVING = STATIC + " The red box moves left. The blue cone grows."


def perfect(prompts: list[str]) -> Sighting:
    """What a probe sees in videos that show their prompts."""
    labels = prompt_labels(prompts)

    def sure(index: torch.Tensor, size: int) -> torch.Tensor:
        return 10 * torch.nn.functional.one_hot(index, size).float()

    return Sighting(
        classes=torch.zeros(len(prompts), 2, 10, 4, 6),
        present=20 * labels.named.float() - 10,
        kind=sure(labels.kind, 4),
        texture=sure(labels.texture, 4),
        motion=sure(labels.motion, 6),
        floor_texture=sure(labels.floor_texture, 4),
        floor_colour=sure(labels.floor_colour, 8),
        is_room=20 * labels.is_room.float() - 10,
        wall_texture=sure(labels.wall_texture, 3),
        wall_colour=sure(labels.wall_colour, 8),
        matches=torch.zeros(len(prompts), 2, 6, 2, 3),
    )


def test_everything_that_is_named_is_seen() -> None:
    static, sky, moving = attribute_accuracy(perfect([STATIC, SKY, MOVING]), [STATIC, SKY, MOVING])
    assert static.pop("extra_solids") == sky.pop("extra_solids") == moving.pop("extra_solids") == 0
    assert all(value == 1 for record in (static, sky, moving) for value in record.values())
    assert set(static) - set(sky) == {"wall_texture"}
    assert set(moving) - set(static) == {"motion"}


def test_a_missing_solid_shows_none_of_its_words() -> None:
    seen = perfect([MOVING])
    seen.present[0, RED] = -10
    (record,) = attribute_accuracy(seen, [MOVING])
    assert record["colour"] == record["solid"] == record["texture"] == record["motion"] == 0.5
    assert record["count"] == 0
    assert record["extra_solids"] == 0
    assert record["words"] == pytest.approx(8 / 11)
    assert record["dynamic"] == 1, "the cone still grows"


def test_a_wrong_colour_is_a_missing_and_an_extra_solid() -> None:
    seen = perfect([STATIC])
    seen.present[0, RED], seen.present[0, GREEN] = -10, 10
    (record,) = attribute_accuracy(seen, [STATIC])
    assert record["colour"] == 0.5
    assert record["count"] == 1
    assert record["extra_solids"] == 1


def test_an_extra_solid_costs_the_count_alone() -> None:
    seen = perfect([STATIC])
    seen.present[0, GREEN] = 10
    (record,) = attribute_accuracy(seen, [STATIC])
    assert record["count"] == 0
    assert record["extra_solids"] == 1
    assert record["words"] == record["colour"] == 1


def test_a_wrong_kind_and_a_wrong_floor_cost_a_word_each() -> None:
    seen = perfect([STATIC, SKY])
    seen.kind[0, BLUE] = 10 * torch.nn.functional.one_hot(torch.tensor(SOLIDS.index("ball")), 4)
    seen.floor_colour[1] = -seen.floor_colour[1]
    room, sky = attribute_accuracy(seen, [STATIC, SKY])
    assert room["solid"] == 0.5
    assert room["texture"] == room["colour"] == 1
    assert room["words"] == pytest.approx(10 / 11)
    assert sky["floor_colour"] == 0
    assert sky["floor_texture"] == 1
    assert sky["words"] == pytest.approx(6 / 7)


def test_a_room_that_is_a_sky() -> None:
    seen = perfect([STATIC])
    seen.is_room[0] = -10
    (record,) = attribute_accuracy(seen, [STATIC])
    assert record["place"] == 0
    assert record["wall_texture"] == 1, "its own word"


def test_a_mover_that_stands_still_and_a_static_solid_that_moves() -> None:
    seen = perfect([MOVING, MOVING, STATIC])
    still = 10 * torch.nn.functional.one_hot(torch.tensor(0), 6).float()
    seen.motion[0, RED] = still
    seen.motion[1, [RED, BLUE]] = still
    seen.motion[2, RED] = still.roll(int(Motion.TURNS))
    seen.motion[2, GREEN] = still.roll(int(Motion.TURNS))
    one, none, alive = attribute_accuracy(seen, [MOVING, MOVING, STATIC])
    assert (one["motion"], one["dynamic"]) == (0.5, 1)
    assert (none["motion"], none["dynamic"]) == (0, 0)
    assert alive["dynamic"] == 0
    assert "motion" not in alive
    assert one["words"] == none["words"] == alive["words"] == 1
    seen.motion[2, RED] = still
    assert attribute_accuracy(seen, [MOVING, MOVING, STATIC])[2]["dynamic"] == 1, "what is not there does not move"


def test_the_table_takes_each_word_where_it_is() -> None:
    table = mean_accuracy([{"words": 0.5, "motion": 1.0}, {"words": 1.0}])
    assert table == {"words": 0.75, "motion": 1.0}


def test_masks_are_the_pixels_of_the_named_movers() -> None:
    seen = perfect([MOVING, STATIC])
    for b in range(2):
        seen.classes[b, 0, 2 + RED, 1, 2] = 5
        seen.classes[b, 1, 2 + RED, 1, 3] = 5
        seen.classes[b, 1, 2 + BLUE, 3, 0] = 5
        seen.classes[b, :, 2 + GREEN, 0, 0] = 5
    mask = mover_masks(seen, [MOVING, STATIC], height=8, width=12)
    expected = torch.zeros(2, 8, 12, dtype=torch.bool)
    expected[0, 2:4, 4:6] = True
    expected[1, 2:4, 6:8] = True
    expected[1, 6:8, 0:2] = True
    assert torch.equal(mask[0], expected)
    assert not mask[1].any()


def test_slots_are_means_over_their_pixels() -> None:
    features = torch.arange(24.0).reshape(1, 1, 1, 4, 6)
    shares = torch.zeros(1, 1, 2, 8, 12)
    shares[..., 0, 2:6, 8:12] = 1  # rows 1 and 2, columns 4 and 5
    pooled = slot_features(features, shares)[0, 0]
    cells = torch.tensor([10.0, 11, 16, 17])
    assert float(pooled[0, 0]) == pytest.approx(float(cells.sum()) / 5)
    assert float(pooled[0, 1]) == pytest.approx(4 * 4 / 24)
    assert float(pooled[0, 3]) == 1
    assert float(pooled[0, 4]) == pytest.approx((0.5 + 5 / 6) / 2 * 4 / 5)
    assert float(pooled[0, 5]) == pytest.approx(0, abs=1e-6)
    assert pooled[1, [0, 1, 3, 4, 5]].tolist() == [0, 0, -1, 0, 0]


def test_heads_do_not_know_the_colour() -> None:
    """Two colours that have each other's pixels have each other's answers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AttributeProbe(ProbeConfig(height=16, width=24, dim=32, depth=2, slot_depth=1))
    video = torch.rand(2, 5, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    probe = Probe(network, batch=1)
    seen = probe(video)
    weight, bias = network.classes.weight.data, network.classes.bias
    assert bias is not None
    order = torch.arange(10)
    order[[2 + RED, 2 + CYAN]] = torch.tensor([2 + CYAN, 2 + RED])
    network.classes.weight.data, bias.data = weight[order], bias.data[order]
    swapped = probe(video)
    torch.testing.assert_close(swapped.kind[:, RED], seen.kind[:, CYAN])
    torch.testing.assert_close(swapped.motion[:, GREEN], seen.motion[:, GREEN])
    assert not torch.allclose(seen.kind[:, RED], seen.kind[:, CYAN], atol=1e-6)
