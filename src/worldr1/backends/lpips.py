"""LPIPS 0.1 (Zhang et al. 2018, arXiv 1801.03924) as a `PerceptualDistance`.

d(a, b) = sum over layers l of the mean over places of sum_c w_lc (f_lc(a) - f_lc(b))^2, where f_l are a trunk's
activations after its ReLUs, scaled to length 1 over channels at every place, and w_l >= 0 the published linear heads.

The trunk is AlexNet or VGG16 up to its last ReLU, built here (torchvision stays out) under torchvision's names, so that
its published file fits. Neither trunk nor heads are ever random unless that is asked for by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldr1.backends.building import drawing
from worldr1.backends.frame_batches import chunks
from worldr1.backends.published_files import RANDOM, Need, fill, given_file, package_file, read_tensors
from worldr1.errors import ConfigError, InputError

NetName = Literal["alex", "vgg"]
VERSION = "0.1"
"""Of the heads; 0.0 had no input scaling."""
PACKAGE, PACKAGE_VERSION = "lpips", "0.1.4"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's normalisation for images in -1..1."""
EPSILON = 1e-10


@dataclass(frozen=True, kw_only=True, slots=True)
class _Net:
    file: str
    """Torchvision's name of the trunk's weights; the digits are the start of its sha256."""
    taps: tuple[int, ...]
    """Indices of the ReLUs that are compared."""
    channels: tuple[int, ...]
    """At the taps."""
    min_side_px: int
    """Smaller images vanish in the pooling."""


NETS: Mapping[NetName, _Net] = {
    "alex": _Net(
        file="alexnet-owt-7be5be79.pth", taps=(1, 4, 7, 9, 11), channels=(64, 192, 384, 256, 256), min_side_px=31
    ),
    "vgg": _Net(file="vgg16-397923af.pth", taps=(3, 8, 15, 22, 29), channels=(64, 128, 256, 512, 512), min_side_px=16),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LpipsConfig:
    """Which network, and where its two files are."""

    net: NetName = "alex"
    """alex is what papers report; vgg is heavier."""
    weights: Literal["published", "random"] = "published"
    """"random": trunk and heads without files, for tests and measurements; the distance then means nothing."""
    trunk: str = ""
    """File of torchvision's ImageNet weights (.pth or .safetensors); "": in torch.hub's cache folder."""
    heads: str = ""
    """File of the linear heads; "": of the installed package lpips, which is not imported."""
    batch: int = 16
    """Pairs at once."""
    seed: int = 0
    """Of random weights."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError("LPIPS needs a batch of at least one pair: set batch to 1 or more.")
        if self.weights == RANDOM and (self.trunk or self.heads):
            raise ConfigError('LPIPS with weights = "random" reads no files: leave trunk and heads out.')


class LpipsNetwork(nn.Module):
    """Trunk (`features`) and heads (`heads`), one weight a channel."""

    def __init__(self, net: NetName) -> None:
        super().__init__()
        self.taps = NETS[net].taps
        self.features = _alexnet() if net == "alex" else _vgg16()
        self.heads = nn.ParameterList(nn.Parameter(torch.rand(count) / count) for count in NETS[net].channels)

    def activations(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Unit activations at the taps, of images in 0..1."""
        shift, scale = (images.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        x = (2 * images - 1 - shift) / scale
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + EPSILON))
        return found

    def forward(self, a: Float[Tensor, "B 3 H W"], b: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        """Distance of each pair of images in 0..1; differentiable."""
        # together: half the launches of a small network
        pairs = [x.chunk(2) for x in self.activations(torch.cat((a, b)))]
        layers = [
            torch.einsum("bchw,c->bhw", (x - y).square(), weight).mean((1, 2))
            for (x, y), weight in zip(pairs, self.heads, strict=True)
        ]
        return torch.stack(layers).sum(0)


class Lpips:
    """`protocols.PerceptualDistance` in float32; `load_lpips` makes one. No gradients."""

    licence = "BSD-2-Clause (LPIPS), on BSD-3-Clause (torchvision's ImageNet weights)"
    version = VERSION

    def __init__(self, network: LpipsNetwork, *, min_side_px: int = 31, batch: int = 16) -> None:
        self.network = network.eval().requires_grad_(False)
        self.min_side_px = min_side_px
        self.batch = batch

    @property
    def device(self) -> torch.device:
        """Where the network is now: it may be moved."""
        return next(self.network.parameters()).device

    @torch.no_grad()
    def __call__(self, a: Float[Tensor, "B 3 H W"], b: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        """Distance of each pair, in their order, on the model's device.

        a, b: in 0..1, on any device. Raises InputError for images of two shapes (they are never resized to fit each
        other), or smaller than the network's pooling.
        """
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3 or len(a) == 0:
            shapes = f"{list(a.shape)} and {list(b.shape)}"
            raise InputError(f"LPIPS compares images of one shape [B, 3, H, W], not {shapes}.")
        height, width = a.shape[-2:]
        if min(height, width) < self.min_side_px:
            raise InputError(f"LPIPS needs at least {self.min_side_px} pixels a side, not {width} x {height}.")
        parts = chunks(len(a), self.batch)
        return torch.cat([self.network(*(x[part].to(self.device).float() for x in (a, b))) for part in parts])


def load_lpips(config: LpipsConfig, device: str | torch.device = "cpu") -> Lpips:
    """LPIPS on `device`. Raises InputError if a file is missing, damaged or another network's."""
    net, place = NETS[config.net], torch.device(device)
    with drawing(place, torch.float32, config.seed):
        network = LpipsNetwork(config.net)
    if config.weights != RANDOM:
        trunk, heads = _trunk_file(config), _heads_file(config)
        # the classifier on top of the trunk has no use here
        kept = {name: x for name, x in read_tensors(trunk).items() if not name.startswith("classifier.")}
        fill(network.features, {name.removeprefix("features."): x for name, x in kept.items()}, path=trunk)
        fill(network.heads, _our_heads(read_tensors(heads)), path=heads)
        if any(bool((weight < 0).any()) for weight in network.heads):
            raise InputError(f"{heads} holds negative weights, which LPIPS has none of; give the published file.")
    return Lpips(network, min_side_px=net.min_side_px, batch=config.batch)


def lpips_needs(config: LpipsConfig) -> tuple[Need, ...]:
    """Its two files."""
    if config.weights == RANDOM:
        return ()
    return partial(_trunk_file, config), partial(_heads_file, config)


def _heads_file(config: LpipsConfig) -> Path:
    """Where it was given, or in the package."""
    if not config.heads:
        return package_file(PACKAGE, f"{PACKAGE}/weights/v{VERSION}/{config.net}.pth", version=PACKAGE_VERSION)
    return given_file(Path(config.heads))


def _trunk_file(config: LpipsConfig) -> Path:
    """Where it was given, or where torchvision would have put it."""
    name = NETS[config.net].file
    path = Path(config.trunk).expanduser() if config.trunk else Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    raise InputError(
        f"LPIPS's trunk {path} is missing; "
        f"download https://download.pytorch.org/models/{name} there, or give its path (in a recipe "
        "reward.models.perceptual, else trunk)."
    )


def _our_heads(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`lin0.model.1.weight` [1, C, 1, 1] is our `0` [C]; other names are left as they are, to be complained about."""
    return {
        name.removeprefix("lin").removesuffix(".model.1.weight"): x[0, :, 0, 0] if x.ndim == 4 else x
        for name, x in published.items()
    }


def _alexnet() -> nn.Sequential:
    """Krizhevsky's one-column variant (arXiv 1404.5997), without its last pooling."""
    sizes = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
    layers: list[nn.Module] = []
    for index, (inputs, outputs, kernel, stride, padding) in enumerate(sizes):
        layers += [nn.MaxPool2d(3, 2)] if index in (1, 2) else []
        layers += [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()]
    return nn.Sequential(*layers)


def _vgg16() -> nn.Sequential:
    """Configuration D of Simonyan and Zisserman (arXiv 1409.1556), without its last pooling."""
    layers: list[nn.Module] = []
    inputs = 3
    for block, (outputs, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        layers += [nn.MaxPool2d(2, 2)] if block else []
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
    return nn.Sequential(*layers)
