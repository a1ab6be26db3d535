"""The planner against everything that was measured on an H200 (research/h200.md): random weights, 832 x 480 x 81.

Fitted are `planning.speed`'s BETWEEN (a forward with cuDNN), BETWEEN_COMPILED (the compiled forward), BETWEEN_BACKWARD
(forward and backward without checkpointing) and CONVOLUTIONS, and `planning.decoder`'s LIVE_ACTIVATIONS. The kernels'
ceilings were measured by themselves. All other rows are predictions; no memory of a transformer is fitted at all.
The measurements had a LoRA whose arithmetic was bfloat16.
"""

import pytest

from worldr1.backends.architectures import WAN_1_3B, WAN_14B, Architecture
from worldr1.errors import InputError
from worldr1.planning.activations import Numbers, forward_bytes, step_bytes
from worldr1.planning.cards import CARDS
from worldr1.planning.decoder import Decoder, decode_bytes, decode_flops
from worldr1.planning.shapes import Latent, Lora, Pass, Transformer
from worldr1.planning.speed import Speed
from worldr1.planning.weights import part_bytes
from worldr1.train.adapter_file import LoraConfig

GIB, TOKENS, TEXT = 2.0**30, 32_760, 512
LORA = Lora(rank=32, targets=LoraConfig().targets, number_bytes=2)
LATENT = Latent(channels=16, frames=21, height=60, width=104)
DECODER = Decoder.of(WAN_1_3B.vae.config)


def _speed(attention: str = "cudnn", *, compiled: bool = False) -> Speed:
    return Speed.of(CARDS["h200"], attention=attention, dtype="bfloat16", compiled=compiled)


def _given(rows: int = 1) -> Pass:
    return Pass(rows=rows, tokens=TOKENS, text_tokens=TEXT)


def _network(model: Architecture) -> Transformer:
    return Transformer.of(model.transformer.config)


def _forward_s(model: Architecture, speed: Speed, rows: int = 1) -> float:
    return speed.forward(_network(model), _given(rows), None)


def _step_s(model: Architecture, *, checkpointing: bool) -> float:
    return _speed().step(_network(model), _given(), LORA, checkpointing=checkpointing)


def _forward_gib(model: Architecture) -> float:
    weights = part_bytes(model.transformer, 2)
    return (weights + forward_bytes(_network(model), _given(), Numbers(base_bytes=2))) / GIB


def _step_gib(model: Architecture, *, checkpointing: bool) -> float:
    network = _network(model)
    adapter = 2 * 2 * LORA.parameters(network)  # bfloat16, with gradients and without an optimizer
    peak = step_bytes(network, _given(), Numbers(base_bytes=2), LORA, checkpointing=checkpointing)
    return (part_bytes(model.transformer, 2) + adapter + peak) / GIB


def _decode_gib(dtype: str, weights_bytes: int) -> float:
    weights = part_bytes(WAN_1_3B.vae, weights_bytes)
    return (weights + decode_bytes(DECODER, LATENT, dtype=dtype, weights_dtype=dtype)) / GIB


def _decode_s(dtype: str) -> float:
    return _speed().decode(decode_flops(DECODER, LATENT), dtype)


def test_the_clip_has_the_tokens_of_the_measurements() -> None:
    assert LATENT.tokens(_network(WAN_1_3B)) == TOKENS


@pytest.mark.parametrize(
    ("predicted", "measured"),
    [
        pytest.param(_forward_s(WAN_1_3B, _speed("flash")), 0.834, id="forward, flash"),
        pytest.param(_forward_s(WAN_1_3B, _speed()), 0.620, id="forward (fitted)"),
        pytest.param(_forward_s(WAN_1_3B, _speed(compiled=True)), 0.531, id="forward, compiled (fitted)"),
        pytest.param(_forward_s(WAN_1_3B, _speed(), rows=2), 1.230, id="forward, batch of 2"),
        pytest.param(_forward_s(WAN_14B, _speed()), 3.27, id="forward, 14B"),
        pytest.param(_step_s(WAN_1_3B, checkpointing=False), 1.97, id="forward and backward (fitted)"),
        pytest.param(_step_s(WAN_1_3B, checkpointing=True), 2.60, id="forward and backward, checkpointed"),
        pytest.param(_step_s(WAN_14B, checkpointing=True), 13.1, id="forward and backward, checkpointed, 14B"),
        pytest.param(_decode_s("float32"), 2.78, id="decode, float32 (fitted)"),
        pytest.param(_decode_s("bfloat16"), 1.83, id="decode, bfloat16 (fitted)"),
    ],
)
def test_seconds(predicted: float, measured: float) -> None:
    assert predicted == pytest.approx(measured, rel=0.02)  # 15 % is asked for


def test_a_faster_kernel_saves_what_it_is_faster_by() -> None:
    """Alone 9.5 ms against 11.5 a layer, in one run (docs/results.md); 30 layers. cuDNN's ceiling is another run's."""
    for compiled in (False, True):
        cudnn, flash3 = (_forward_s(WAN_1_3B, _speed(name, compiled=compiled)) for name in ("cudnn", "flash3"))
        assert cudnn - flash3 == pytest.approx(30 * 0.0020, rel=0.15)


@pytest.mark.parametrize(
    ("compiled", "measured"), [pytest.param(False, 0.567, id="eager"), pytest.param(True, 0.460, id="compiled")]
)
def test_seconds_of_flash3(compiled: bool, measured: float) -> None:
    """Measured after the prediction was committed (docs/results.md)."""
    assert _forward_s(WAN_1_3B, _speed("flash3", compiled=compiled)) == pytest.approx(measured, rel=0.05)


def test_flash3_is_for_hopper_alone() -> None:
    for card in ("b200", "a100-80gb", "rtx4090"):
        with pytest.raises(InputError, match=f"not {card} and bfloat16"):
            Speed.of(CARDS[card], attention="flash3", dtype="bfloat16", compiled=False)


@pytest.mark.parametrize(
    ("predicted", "measured"),
    [
        pytest.param(_forward_gib(WAN_1_3B), 4.2, id="forward"),
        pytest.param(_step_gib(WAN_1_3B, checkpointing=False), 68.7, id="forward and backward"),
        pytest.param(_step_gib(WAN_1_3B, checkpointing=True), 9.0, id="forward and backward, checkpointed"),
        pytest.param(_decode_gib("float32", 4), 12.0, id="decode, float32 (fitted)"),
        pytest.param(_decode_gib("bfloat16", 2), 7.4, id="decode, bfloat16 (fitted)"),
    ],
)
def test_memory(predicted: float, measured: float) -> None:
    assert predicted == pytest.approx(measured, rel=0.02)  # 15 % is asked for


@pytest.mark.parametrize(
    ("predicted", "measured"),
    [
        pytest.param(_forward_gib(WAN_14B), 33.0, id="forward"),
        pytest.param(_step_gib(WAN_14B, checkpointing=True), 51.7, id="forward and backward, checkpointed"),
    ],
)
def test_memory_of_the_large_model(predicted: float, measured: float) -> None:
    """9 and 7 % below: both lie about 3 GiB under the measurement, for which no tensor of the model is known."""
    assert predicted == pytest.approx(measured, rel=0.1)
