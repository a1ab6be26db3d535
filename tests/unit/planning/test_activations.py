"""What a forward keeps for its backward pass, counted tensor by tensor on small models that are run."""

import pytest
import torch
from planned_wan import ATTENTION_LAYERS, FEED_FORWARD, SmallWan, small_wan
from torch import Tensor

from worldr1.planning.activations import Numbers, forward_bytes, kept_bytes, step_bytes
from worldr1.planning.shapes import Lora, Pass, Transformer


def kept_by_autograd(wan: SmallWan) -> int:
    """Bytes of all different storages that autograd saves, parameters and buffers left out."""
    owned = [*wan.model.parameters(), *wan.model.buffers()]
    known = {tensor.untyped_storage().data_ptr() for tensor in owned}
    alive: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in known:
            alive[place] = tensor  # held, so that its place is not given to another one
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = wan.output()
    total = sum(tensor.untyped_storage().nbytes() for tensor in alive.values())
    del output
    return total


@pytest.mark.parametrize("ffn", [96, 256])
@pytest.mark.parametrize(
    ("dtype", "lora_in_base_dtype"), [(torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True)]
)
@pytest.mark.parametrize("targets", [ATTENTION_LAYERS, ("to_q", "to_v", *FEED_FORWARD)])
def test_what_is_kept(dtype: torch.dtype, lora_in_base_dtype: bool, ffn: int, targets: tuple[str, ...]) -> None:
    wan = small_wan(
        dtype=dtype, ffn=ffn, targets=targets, lora_in_base_dtype=lora_in_base_dtype, head_dim=24, layers=2, rows=1
    )
    numbers = Numbers(base_bytes=dtype.itemsize, fused_rms_norm=False)
    said = kept_bytes(wan.network, wan.given, numbers, wan.lora)
    assert said == pytest.approx(kept_by_autograd(wan), rel=0.05)  # 10 % is asked for


NETWORK = Transformer(
    layers=4,
    heads=4,
    head_dim=32,
    ffn=512,
    text_dim=64,
    freq_dim=32,
    in_channels=16,
    out_channels=16,
    patch=(1, 2, 2),
    cross_attn_norm=True,
)
LORA, BF16 = Lora(rank=8, targets=ATTENTION_LAYERS), Numbers(base_bytes=2)


def _pass(rows: int = 1, tokens: int = 1000) -> Pass:
    return Pass(rows=rows, tokens=tokens, text_tokens=16)


def _step(given: Pass, *, checkpointing: bool, forwards: int = 1) -> float:
    return step_bytes(NETWORK, given, BF16, LORA, checkpointing=checkpointing, forwards=forwards)


def test_rows_and_tokens_count_alike_and_checkpointing_keeps_less() -> None:
    for of in (
        lambda given: forward_bytes(NETWORK, given, BF16, LORA),
        lambda given: _step(given, checkpointing=False),
        lambda given: _step(given, checkpointing=True),
    ):
        assert of(_pass(rows=2)) == pytest.approx(2 * of(_pass()), rel=0.05)  # rotations are shared
        assert of(_pass(tokens=2000)) == pytest.approx(2 * of(_pass()), rel=0.05)
    assert forward_bytes(NETWORK, _pass(), BF16, LORA) < _step(_pass(), checkpointing=True)
    assert _step(_pass(), checkpointing=True) < _step(_pass(), checkpointing=False)


def test_two_forwards_before_one_backward_keep_twice_as_much_but_make_gradients_once() -> None:
    one, two = (_step(_pass(), checkpointing=False, forwards=n) for n in (1, 2))
    assert two - one == pytest.approx(kept_bytes(NETWORK, _pass(), BF16, LORA))
    one, two = (_step(_pass(), checkpointing=True, forwards=n) for n in (1, 2))
    assert one < two < 2 * one


def test_a_float32_adapter_on_a_bfloat16_base_keeps_a_wide_copy_for_every_layer() -> None:
    narrow = Lora(rank=8, targets=ATTENTION_LAYERS, number_bytes=2)
    difference = kept_bytes(NETWORK, _pass(), BF16, LORA) - kept_bytes(NETWORK, _pass(), BF16, narrow)
    tensor = 1000 * NETWORK.width * NETWORK.layers
    assert difference == pytest.approx((6 * 4 - 2 * 2) * tensor, rel=0.1)
