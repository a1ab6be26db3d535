"""Bytes that a Wan transformer needs besides its weights: in a forward, and to train a LoRA on it.

Counted tensor by tensor from diffusers' block as it runs without compiling, so nothing here is fitted. What a block
keeps for its backward pass (`tests/unit/planning/test_activations.py` counts it on small models):

    norms                float32 inputs of the three layer norms; inputs of the RMS norms of queries and keys
    attention            q, k, v and the output, twice; of the cross-attention k and v are the text's
    LoRA                 the input of every layer that carries one, once per tensor; or, where the adapter's numbers are
                         wider than the base's, a wider copy for every layer; and what lies between its two factors
    feed-forward         the input of its activation

Other linear layers keep nothing, because they are frozen.
"""

from dataclasses import dataclass

from worldr1.planning.shapes import Lora, Pass, Source, Transformer

FLOAT_BYTES = 4
HALF_BYTES = 2
KEPT_ANYWAY: tuple[Source, ...] = ("attended1", "attended2")
"""Inputs of linear layers that attention keeps for its own backward pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """How wide the numbers are."""

    base_bytes: int
    """Of the frozen base: 2 for bfloat16, 4 for float32."""
    fused_rms_norm: bool = True
    """The RMS norm keeps its input as it is, as on a GPU; False: a float32 copy of it, as on a CPU."""


def forward_bytes(network: Transformer, given: Pass, numbers: Numbers, lora: Lora | None = None) -> float:
    """Most that is alive inside a forward without gradient; lora: None where it is switched off or merged.

    Three moments can be the peak: the output projection of an attention with its adapter, while q, k and v still
    exist; the feed-forward's activation; the float32 sum at the block's end.
    """
    b, n = numbers.base_bytes, given.rows * given.tokens * network.width
    hidden = given.rows * given.tokens * network.ffn
    wider = _widened(numbers, lora)
    adapter = 0 if lora is None else 3 * lora.number_bytes if wider else b
    summed = 3 * FLOAT_BYTES if b < FLOAT_BYTES else 2 * FLOAT_BYTES
    moments = (
        7 * b * n + adapter * n,  # input, norm, q, k, v, attended, result; adapter: input, product, sum
        4 * b * n + 2 * b * hidden,  # input, hidden state, attended, norm; before and after the activation
        5 * b * n + summed * n,
    )
    return max(moments) + _rotary_bytes(network, given) + given.rows * given.text_tokens * network.width * b


def block_bytes(network: Transformer, given: Pass, numbers: Numbers, lora: Lora) -> float:
    """What one block keeps for its backward pass."""
    b = numbers.base_bytes
    n, text = given.rows * given.tokens * network.width, given.rows * given.text_tokens * network.width
    rms = b if numbers.fused_rms_norm else FLOAT_BYTES
    norms = (2 + network.cross_attn_norm) * FLOAT_BYTES * n + rms * (3 * n + text)
    attention = b * (6 * n + 2 * text)
    activation = b * given.rows * given.tokens * network.ffn
    # softmax sums of two attentions; mean and deviation of three norms and three RMS norms
    per_token = FLOAT_BYTES * given.rows * given.tokens * (2 * network.heads + 9)
    return norms + attention + activation + per_token + _lora_kept(network, given, numbers, lora)


def kept_bytes(network: Transformer, given: Pass, numbers: Numbers, lora: Lora) -> float:
    """What a forward keeps for its backward pass without checkpointing."""
    # the first block's input has no gradient, so that its norm keeps nothing; the last norm keeps as much
    return network.layers * block_bytes(network, given, numbers, lora) + _rotary_bytes(network, given)


def step_bytes(
    network: Transformer, given: Pass, numbers: Numbers, lora: Lora, *, checkpointing: bool, forwards: int = 1
) -> float:
    """Peak of a forward and its backward pass, besides weights and their gradients.

    It comes when the backward pass begins: all is kept, and the last feed-forward makes two gradients. With
    checkpointing every block keeps its input alone, and one at a time what it computes again.
    forwards: how many are kept for one backward pass (2 where the halves of guidance go one after the other).
    """
    b, n = numbers.base_bytes, given.rows * given.tokens * network.width
    gradients = FLOAT_BYTES * n + 2 * b * given.rows * given.tokens * network.ffn
    if not checkpointing:
        return forwards * kept_bytes(network, given, numbers, lora) + gradients
    inputs = network.layers * b * n + _rotary_bytes(network, given)
    return forwards * inputs + block_bytes(network, given, numbers, lora) + gradients


def _widened(numbers: Numbers, lora: Lora | None) -> bool:
    return lora is not None and lora.number_bytes > numbers.base_bytes


def _lora_kept(network: Transformer, given: Pass, numbers: Numbers, lora: Lora) -> float:
    layers = lora.layers(network)
    between = sum(given.rows_of(x) * lora.rank for x in layers) * lora.number_bytes
    if _widened(numbers, lora):
        return between + sum(given.rows_of(x) * x.inputs for x in layers) * lora.number_bytes
    # the text is the same tensor in every block
    read = {x.source: given.rows_of(x) * x.inputs for x in layers if x.source not in (*KEPT_ANYWAY, "text")}
    return between + sum(read.values()) * numbers.base_bytes


def _rotary_bytes(network: Transformer, given: Pass) -> float:
    """Cosines and sines of all positions, for all blocks and rows."""
    return 2.0 * given.tokens * network.head_dim * FLOAT_BYTES
