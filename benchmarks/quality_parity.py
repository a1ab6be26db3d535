"""Answers of the packages hpsv3, hpsv2 and lpips on small networks, which worldr1's own are tested against.

    python benchmarks/quality_parity.py hpsv3 --source DIR      hpsv3 1.0.0 unpacked, under transformers 4.45.2
    python benchmarks/quality_parity.py hpsv2 --source DIR      hpsv2 1.2.0 unpacked, with torchvision
    python benchmarks/quality_parity.py lpips --source DIR      lpips 0.1.4 unpacked, with torchvision

Each adds its part to `--out` (default tests/data/quality_parity.json). Made for throw-away environments: the packages
cannot live beside worldr1, and what they import besides torch and transformers (trl, deepspeed, matplotlib, ...) is
replaced by empty modules. Never needed to run the tests.
"""

import argparse
import importlib.abc
import importlib.machinery
import json
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))
import quality_reference as reference  # noqa: E402

CHAT = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class _Empty(types.ModuleType):
    """Any name is a new class."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _EmptyModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, *names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if any(name == known or name.startswith(known + ".") for known in self.names):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Empty(spec.name)

    def exec_module(self, module):
        pass


def put(module, values):
    """Fills a module's parameters with the reference's numbers, found by their own names."""
    state = {name: x for name, x in module.state_dict().items() if name in values}
    module.load_state_dict({name: torch.from_numpy(values[name]) for name in state}, strict=False)


def hpsv3(_):
    """(mu, sigma) of the package's own path from pictures to logits, for each size."""
    absent = (
        "trl",
        "omegaconf",
        "qwen_vl_utils",
        "decord",
        "datasets",
        "matplotlib",
        "pandas",
        "deepspeed",
        "fire",
        "torchvision",
        "torch.utils.tensorboard",
    )
    sys.meta_path.insert(0, _EmptyModules(*absent))
    import hpsv3.inference as package
    from hpsv3.model.qwen2vl_trainer import Qwen2VLRewardModelBT
    from transformers import Qwen2TokenizerFast, Qwen2VLConfig, Qwen2VLProcessor
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    rope = {"type": "mrope", "mrope_section": reference.HPSV3_SECTIONS}
    config = Qwen2VLConfig(
        **reference.HPSV3_TEXT,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        rope_scaling=rope,
        vision_config=reference.HPSV3_VISION,
        pad_token_id=256,
        image_token_id=261,
        tie_word_embeddings=False,
    )
    model = Qwen2VLRewardModelBT(
        config, output_dim=2, reward_token="special", special_token_ids=[262], rm_head_type="ranknet"
    ).eval()
    put(model, reference.weights({name: tuple(x.shape) for name, x in model.state_dict().items()}))
    with tempfile.TemporaryDirectory() as folder:
        reference.write_hpsv3_tokenizer(Path(folder))
        tokenizer = Qwen2TokenizerFast.from_pretrained(folder, padding_side="right")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|Reward|>"]})
    inferencer = object.__new__(package.HPSv3RewardInferencer)
    inferencer.processor = Qwen2VLProcessor(Qwen2VLImageProcessor(), tokenizer, chat_template=CHAT)
    inferencer.model, inferencer.device, inferencer.use_special_tokens = model, "cpu", True
    package.INSTRUCTION, package.prompt_with_special_token = reference.HPSV3_TEMPLATE
    found = []
    for size in reference.SIZES:
        pictures = [Image.fromarray(picture) for picture in reference.images(*size)]
        with torch.no_grad():
            found.append(inferencer.reward(pictures, list(reference.PROMPTS)).tolist())
    return {"package": "hpsv3 1.0.0", "preferences": found}


def hpsv2(source):
    """100 * cosine of the package's own preprocessing, tokenizer and CLIP, for each size."""
    sys.path.insert(0, str(source / "hpsv2" / "src"))
    merges = source / "hpsv2" / "src" / "open_clip" / "bpe_simple_vocab_16e6.txt.gz"
    reference.write_clip_merges(merges)
    from open_clip.model import CLIP
    from open_clip.tokenizer import tokenize
    from open_clip.transform import image_transform

    parts = (reference.HPSV2["embed_dim"], reference.HPSV2["vision_cfg"], reference.HPSV2["text_cfg"])
    model = _clip(CLIP, *parts)
    put(model, reference.weights({name: tuple(x.shape) for name, x in model.state_dict().items()}))
    prepare = image_transform(224, is_train=False, resize_longest_max=True)
    found = []
    for size in reference.SIZES:
        pictures = torch.stack([prepare(Image.fromarray(picture)) for picture in reference.images(*size)])
        with torch.no_grad():
            answer = model(pictures, tokenize(list(reference.PROMPTS)))
        cosines = answer["image_features"] @ answer["text_features"].T
        found.append((100 * cosines.diagonal()).tolist())
    return {"package": "hpsv2 1.2.0", "torchvision": _version("torchvision"), "scores": found}


def _clip(kind, embed_dim, vision, text):
    from open_clip.model import CLIPTextCfg

    return kind(embed_dim, dict(vision), CLIPTextCfg(**text), output_dict=True).eval()


def lpips(_):
    """Distances of three pairs for each network."""
    import lpips as package

    a, b = (
        torch.from_numpy(reference.images(*reference.LPIPS_SIZE, seed=seed)).movedim(-1, 1) / 255 for seed in (0, 1)
    )
    found = {}
    for net in ("alex", "vgg"):
        model = package.LPIPS(net=net, pnet_rand=True, pretrained=False, verbose=False)
        shapes = {torchvision_name(name): tuple(x.shape) for name, x in model.state_dict().items()}
        values = reference.weights({name: shape for name, shape in shapes.items() if name})
        put(model, {name: values[torchvision_name(name)] for name in model.state_dict() if torchvision_name(name)})
        with torch.no_grad():
            found[net] = model(a, b, normalize=True).flatten().tolist()
    return {"package": "lpips 0.1.4", "distances": found}


def torchvision_name(name):
    """`net.slice2.3.weight` is torchvision's `features.3.weight`; heads keep theirs; buffers and doubles have none."""
    parts = name.split(".")
    if parts[0] == "net":
        return ".".join(["features", *parts[2:]])
    return name if parts[0].startswith("lin") and parts[0] != "lins" else ""


def _version(package):
    from importlib.metadata import version

    return version(package)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("hpsv3", "hpsv2", "lpips"))
    parser.add_argument("--source", type=Path, required=True, help="folder of the unpacked wheel")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "tests" / "data" / "quality_parity.json")
    given = parser.parse_args()
    sys.path.insert(0, str(given.source))
    if given.what != "hpsv3":
        # its fake kernels want operators that a CPU build of torch lacks
        sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
    torch.manual_seed(0)
    np.random.seed(0)
    part = {"hpsv3": hpsv3, "hpsv2": hpsv2, "lpips": lpips}[given.what](given.source)
    part |= {
        "made_by": f"benchmarks/quality_parity.py {given.what}",
        "torch": torch.__version__,
        "transformers": _version("transformers"),
    }
    known = json.loads(given.out.read_text()) if given.out.is_file() else {}
    given.out.write_text(json.dumps(known | {given.what: part}, indent=1) + "\n")


if __name__ == "__main__":
    main()
