"""Full-size models without files: seeded, in their dtype from the start, with velocities of about 1."""

from typing import Any

import pytest
import torch
from tiny_models import TINY_COGVIDEOX, TINY_WAN
from tiny_wan import word_tokenizer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from worldr1.backends.architectures import ARCHITECTURES
from worldr1.backends.cogvideox import CogVideoXSampler
from worldr1.backends.models import ModelConfig
from worldr1.backends.random_weights import RandomEncoder, build_part, named_architecture
from worldr1.backends.wan import WanPolicy
from worldr1.errors import ConfigError, InputError

CPU = torch.device("cpu")


def _rms(tensor: Tensor) -> float:
    return float(tensor.float().square().mean().sqrt())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_velocities_are_about_one(dtype: torch.dtype) -> None:
    policy = WanPolicy.from_architecture(TINY_WAN, dtype=dtype, seed=3)
    latents = torch.randn(2, *policy.latent_shape(9, 32, 48), generator=torch.Generator().manual_seed(0))
    text = policy.encode(["a box", "a red ball"])
    for sigma in (1.0, 0.5, 0.1):
        assert _rms(policy.velocity(latents, sigma, text)) == pytest.approx(1, abs=0.15)
    model = CogVideoXSampler.from_architecture(TINY_COGVIDEOX, dtype=dtype, guidance=1.0)
    latents = torch.randn(1, 4, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    for timestep in (999, 500, 19):
        predicted = model._predict(latents, torch.tensor(timestep), model.encode(["a box"]))
        assert _rms(predicted) == pytest.approx(1, abs=0.15)


def test_a_seed_decides_everything_and_nothing_else_changes() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    policies = [WanPolicy.from_architecture(TINY_WAN, seed=seed) for seed in (1, 1, 2)]
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.rand(3), expected)
    first, same, other = (policy.transformer.state_dict() for policy in policies)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["proj_out.weight"], other["proj_out.weight"])
    a, b, c = (policy.encode(["a box"]) for policy in policies)
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_types_and_tables_are_those_of_a_loaded_folder(tmp_path: Any) -> None:
    built = WanPolicy.from_architecture(TINY_WAN, dtype=torch.bfloat16)
    built.pipeline().save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path / "tokenizer")  # random weights have none
    loaded = WanPolicy.from_folder(tmp_path, dtype=torch.bfloat16)
    for part in ("transformer", "vae"):
        a, b = getattr(built, part), getattr(loaded, part)
        assert {n: p.dtype for n, p in a.named_parameters()} == {n: p.dtype for n, p in b.named_parameters()}
        buffers = dict(b.named_buffers())  # rotary tables, which are in no file
        assert all(x.dtype == buffers[n].dtype and torch.equal(x, buffers[n]) for n, x in a.named_buffers())
    assert built.shift == loaded.shift == 3.0


class _Largest(TorchDispatchMode):
    """Most numbers of a float32 tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.dtype == torch.float32:
            self.numel = max(self.numel, out.numel())
        return out


def test_no_large_float32_tensor_is_made_on_the_way_to_bfloat16() -> None:
    with _Largest() as made:
        transformer = build_part(TINY_WAN.transformer, device=CPU, dtype=torch.bfloat16, seed=0)
    matrices = [p.numel() for p in transformer.parameters() if p.dtype == torch.bfloat16]
    kept = [p.numel() for p in transformer.parameters() if p.dtype == torch.float32]
    tables = [b.numel() for b in transformer.buffers()]
    assert made.numel <= max(*kept, *tables) < max(matrices)


def test_the_stand_in_tokenizer_takes_bytes_and_ends_prompts() -> None:
    encoder = RandomEncoder(part=TINY_WAN.text_encoder, dtype=torch.float32, device=CPU, seed=0)
    ids = encoder.tokenizer()("aé")["input_ids"]
    assert ids == [ord("a") + 3, 0xC3 + 3, 0xA9 + 3, 1]
    other = RandomEncoder(part=encoder.part, dtype=encoder.dtype, device=CPU, seed=1)
    assert encoder.fingerprint() != other.fingerprint()


def test_only_published_models_can_be_random() -> None:
    for name, architecture in ARCHITECTURES.items():
        assert named_architecture(name) is architecture is named_architecture(architecture.hub)
        ModelConfig(folder=name, weights="random")
    says = r"needs the name of a published model, not 'mini'; choose one of wan2\.1-1\.3b"
    with pytest.raises(InputError, match=says):
        named_architecture("mini")
    with pytest.raises(ConfigError, match="published model"):
        ModelConfig(weights="random")
