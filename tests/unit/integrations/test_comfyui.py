"""The ComfyUI node and its workflow against ComfyUI's published interface; ComfyUI itself is not needed.

`PUBLISHED` and `first_model_input` were written after reading Comfy-Org/ComfyUI, each file at the commit named there.
"""

import importlib.util
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from older_adapter import write_older_adapter
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldr1.camera.files import read_trajectory
from worldr1.camera.trajectory import synthesize
from worldr1.cli import main
from worldr1.errors import InputError
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise
from worldr1.train.adapter_file import AdapterInfo, LoraConfig, TrainedWith
from worldr1.train.lora_formats import save_native

FOLDER = Path(__file__).parents[3] / "integrations" / "comfyui"
WORKFLOW: dict[str, Any] = json.loads((FOLDER / "worldr1_camera_noise.json").read_text(encoding="utf-8"))
PROMPT = "Camera push in, then orbit left. A red ball."

FILE, MAX_RESOLUTION = "a file's name", 16384
"""FILE: a choice among the files of a models folder."""
PUBLISHED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    # nodes.py @ 02217e36a45bcbe2dd8fa24187aa5e053d9aea2e
    "UNETLoader": (
        {"unet_name": FILE, "weight_dtype": ["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]},
        ("MODEL",),
    ),
    "LoraLoaderModelOnly": ({"model": "MODEL", "lora_name": FILE, "strength_model": (-100.0, 100.0)}, ("MODEL",)),
    "CLIPLoader": ({"clip_name": FILE, "type": ["sd3", "wan", "..."], "device": ["default", "cpu"]}, ("CLIP",)),
    "VAELoader": ({"vae_name": FILE}, ("VAE",)),
    "CLIPTextEncode": ({"text": str, "clip": "CLIP"}, ("CONDITIONING",)),
    "VAEDecode": ({"samples": "LATENT", "vae": "VAE"}, ("IMAGE",)),
    # comfy_extras/nodes_model_advanced.py @ 691e82787be231880314d980b49b06a8105c5de6
    "ModelSamplingSD3": ({"model": "MODEL", "shift": (0.0, 100.0)}, ("MODEL",)),
    # comfy_extras/nodes_primitive.py @ 02529c6d574aa455df00a16fc052b992be42570c (comfyanonymous/ComfyUI)
    "PrimitiveStringMultiline": ({"value": str}, ("STRING",)),
    # comfy_extras/nodes_hunyuan.py @ 9ca52b46479456b2746ced8c0a2377cabfe084ad
    "EmptyHunyuanLatentVideo": (
        {
            "width": (16, MAX_RESOLUTION),
            "height": (16, MAX_RESOLUTION),
            "length": (1, MAX_RESOLUTION),
            "batch_size": (1, 4096),
        },
        ("LATENT",),
    ),
    # comfy_extras/nodes_custom_sampler.py @ 4be318aa1a66b91c028028cb587b6c27848fb6bf
    "CFGGuider": (
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "cfg": (0.0, 100.0)},
        ("GUIDER",),
    ),
    "KSamplerSelect": ({"sampler_name": ["euler", "..."]}, ("SAMPLER",)),
    "BasicScheduler": (
        {"model": "MODEL", "scheduler": ["simple", "..."], "steps": (1, 10000), "denoise": (0.0, 1.0)},
        ("SIGMAS",),
    ),
    "SamplerCustomAdvanced": (
        {"noise": "NOISE", "guider": "GUIDER", "sampler": "SAMPLER", "sigmas": "SIGMAS", "latent_image": "LATENT"},
        ("LATENT", "LATENT"),
    ),
    # comfy_extras/nodes_video.py @ 0413db9da96134a570d506b540231253672ec369 (comfyanonymous/ComfyUI). At 39b885fa...
    # CreateVideo has more optional inputs, and SaveVideo's two choices are nested but have these values in this order.
    "CreateVideo": ({"images": "IMAGE", "fps": (1.0, 120.0)}, ("VIDEO",)),
    "SaveVideo": ({"video": "VIDEO", "filename_prefix": str, "format": ["auto", "mp4"], "codec": ["auto", "h264"]}, ()),
}
"""Node -> inputs in order, outputs. An upper-case name is a connection; str, (least, most) and lists are widgets.
Optional inputs that the workflow leaves alone are left out, and so are most of the choices of long lists."""


def load_custom_node() -> Any:
    """The folder as a package, the way ComfyUI imports what lies in custom_nodes (nodes.py: load_custom_node)."""
    spec = importlib.util.spec_from_file_location("custom_nodes_worldr1", FOLDER / "__init__.py")
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["custom_nodes_worldr1"] = package
    spec.loader.exec_module(package)
    return package


NODE = load_custom_node().NODE_CLASS_MAPPINGS["WorldR1CameraNoise"]


def make_noise(**changes: Any) -> Any:
    """What the node returns, called as ComfyUI calls it: the method named FUNCTION, inputs by name."""
    inputs = {"prompt": PROMPT, "seed": 9, "strength": 0.6, "frames": 17, "transport": "canvas"} | changes
    (noise,) = getattr(NODE(), NODE.FUNCTION)(**inputs)
    return noise


def empty_latent(batch: int = 1, frames: int = 17, height: int = 64, width: int = 96, **more: Any) -> dict[str, Any]:
    """EmptyHunyuanLatentVideo's."""
    return {"samples": torch.zeros(batch, 16, (frames - 1) // 4 + 1, height // 8, width // 8)} | more


def first_model_input(noise: Any, latent: dict[str, Any], sigma: float) -> Tensor:
    """What a flow model sees first, from SamplerCustomAdvanced (nodes_custom_sampler.py, commit above) over CFGGuider
    and KSAMPLER (comfy/samplers.py @ 311c01406130b2acbe8ab291043502de26cf3871) to CONST.noise_scaling
    (comfy/model_sampling.py @ 2fd2083913be0894287f5f1d2abef8c5f94d1d0a), with a stand-in for Wan21.process_in
    (comfy/latent_formats.py @ 75399d78ddcc01f46f9b94521b29f1fe8a90ed53)."""
    latent = latent.copy()
    image = latent["samples"]
    with torch.inference_mode():
        drawn = noise.generate_noise(latent)
        if torch.count_nonzero(image) > 0:
            image = (image + 0.7571) / 2.8184
        return torch.tensor(sigma) * drawn + (1.0 - torch.tensor(sigma)) * image


def expected_noise(seeds: list[int], strength: float = 0.6, **config: Any) -> Tensor:
    path = synthesize(["push_in", "orbit_left"], 17)
    return start_noise(path, (16, 5, 8, 12), seeds, NoiseConfig(strength=strength, **config), PlanCache())


def test_the_model_first_sees_the_start_noise_bit_for_bit() -> None:
    noise = make_noise()
    assert noise.seed == 9
    seen = first_model_input(noise, empty_latent(), 1.0)
    assert (seen.shape, seen.dtype, seen.device.type) == ((1, 16, 5, 8, 12), torch.float32, "cpu")
    assert torch.equal(seen, expected_noise([9]))
    assert torch.equal(first_model_input(noise, empty_latent(), 1.0), seen)  # sampled again: the same, and unchanged
    assert not torch.equal(seen, first_model_input(make_noise(strength=0.0), empty_latent(), 1.0))


@pytest.mark.parametrize("transport", ["canvas", "flow"])
def test_the_noise_is_what_the_command_writes(tmp_path: Path, transport: str) -> None:
    out = tmp_path / "noise.safetensors"
    size = ["--width", "96", "--height", "64", "--frames", "17", "--strength", "0.6", "--seed", "9"]
    assert main(["noise", "--prompt", PROMPT, "--out", str(out), *size, "--transport", transport]) == 0
    noise = make_noise(transport=transport).generate_noise(empty_latent())
    assert torch.equal(noise, load_file(out)["noise"][None])


def test_a_video_of_a_batch_is_the_same_alone() -> None:
    noise = make_noise()
    batch = noise.generate_noise(empty_latent(3))
    assert torch.equal(batch, expected_noise([9, 10, 11]))
    picked = noise.generate_noise(empty_latent(2, batch_index=[2, 0]))  # Latent From Batch
    assert torch.equal(picked, batch[[2, 0]])
    assert torch.equal(make_noise(seed=11).generate_noise(empty_latent()), batch[2:])
    largest = make_noise(seed=2**64 - 1).generate_noise(empty_latent(2))
    assert not torch.equal(largest[0], largest[1])


def test_the_noise_has_the_type_of_the_latent() -> None:
    latent = {"samples": empty_latent()["samples"].bfloat16()}
    assert torch.equal(make_noise().generate_noise(latent), expected_noise([9]).bfloat16())


def test_without_camera_words_the_noise_is_fresh_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        noise = make_noise(prompt="A red ball.", strength=1.0)
        drawn = [noise.generate_noise(empty_latent()) for _ in range(2)]
    assert torch.equal(drawn[0], expected_noise([9], strength=0.0))
    assert torch.equal(drawn[0], drawn[1])
    assert [record.getMessage() for record in caplog.records] == [
        "the prompt has no camera words, so the noise is independent and the camera free"
    ]


def write_poses(path: Path, *, num_frames: int = 17, fy: float = 0.75, last: float = 0.4) -> None:
    """A RealEstate10K file of a camera that goes to the right; its images are 1.5 times as wide as high (96 x 64)."""
    shifts = np.linspace(0.0, last, num_frames)
    rows = [f"{i} 0.5 {fy} 0.5 0.5 0 0 1 0 0 {-x} 0 1 0 0 0 0 1 0" for i, x in enumerate(shifts)]
    path.write_text("\n".join(("https://a.clip", *rows)))


def test_poses_take_the_place_of_camera_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_poses(tmp_path / "path.txt")
    inputs = {"poses": f" {tmp_path / 'path.txt'}\n", "depth_unit": 2.0}
    path = read_trajectory(tmp_path / "path.txt", depth_unit=2.0)
    expected = start_noise(path, (16, 5, 8, 12), [9], NoiseConfig(strength=0.6), PlanCache())
    with caplog.at_level(logging.WARNING):
        for prompt in (PROMPT, "A red ball.", "Camera zoom in."):
            assert torch.equal(make_noise(prompt=prompt, **inputs).generate_noise(empty_latent()), expected)
    assert caplog.records == []


def test_an_edited_file_of_poses_runs_the_node_again(tmp_path: Path) -> None:
    file = tmp_path / "path.txt"
    assert NODE.IS_CHANGED(poses="", seed=1) == NODE.IS_CHANGED(poses=None) == NODE.IS_CHANGED(poses=str(file)) == ""
    write_poses(file)
    before = NODE.IS_CHANGED(prompt=PROMPT, poses=str(file))
    assert before == NODE.IS_CHANGED(poses=str(file))
    os.utime(file, ns=(1, 1))
    assert before != NODE.IS_CHANGED(poses=str(file)) != ""


def write_lora(path: Path, **training: Any) -> None:
    """A LoRA as `worldr1 export` writes it."""
    noise = {"transport": "flow", "strength": 0.3, "parallax_strength": 0.2} | training
    trained = TrainedWith(**noise, shift=3.0, steps=20, frames=81, height=480, width=832)
    state = {f"blocks.0.attn1.to_q.lora_{x}.weight": torch.zeros(2, 2) for x in "AB"}
    save_native(path, state, AdapterInfo(config=LoraConfig(rank=2), base="Wan", guidance=5.0, training=trained))


def test_a_lora_brings_the_noise_of_its_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lora.safetensors"
    write_lora(file)
    expected = expected_noise([9], strength=0.2, transport="flow")  # the path has parallax
    for inputs in ({}, {"strength": 1.0, "transport": "canvas"}):
        assert torch.equal(make_noise(lora=f" {file}\n", **inputs).generate_noise(empty_latent()), expected)
    write_lora(file, parallax_strength=None)
    told = make_noise(lora=str(file)).generate_noise(empty_latent())
    assert torch.equal(told, expected_noise([9], strength=0.3, transport="flow"))
    assert torch.equal(make_noise(lora="").generate_noise(empty_latent()), expected_noise([9]))
    # in ComfyUI, by the name that its own loaders show
    found = SimpleNamespace(get_full_path=lambda kind, name: str(file) if (kind, name) == ("loras", "w/r1") else None)
    monkeypatch.setitem(sys.modules, "folder_paths", found)  # type: ignore[arg-type]
    for name in ("w/r1", str(file)):
        assert torch.equal(make_noise(lora=name).generate_noise(empty_latent()), told)


def test_another_lora_runs_the_node_again(tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    assert NODE.IS_CHANGED(lora=str(file)) == NODE.IS_CHANGED(lora=None) == ""
    write_lora(file)
    before = NODE.IS_CHANGED(lora=str(file))
    os.utime(file, ns=(1, 1))
    assert before != NODE.IS_CHANGED(lora=str(file)) != ""


@pytest.mark.parametrize(
    ("inputs", "latent", "complaint"),
    [
        ({}, {"samples": torch.zeros(1, 4, 8, 12)}, "is for video latents"),
        ({}, {"samples": SimpleNamespace(is_nested=True)}, "is for video latents"),
        ({}, empty_latent(frames=21), "latent is of a video of 21 frames and the camera noise of one of 17"),
        ({"prompt": "A red ball."}, empty_latent(frames=21), "latent is of a video of 21 frames"),
        ({"frames": 80}, empty_latent(), "frames must be 4 k + 1, got 80: use 77"),
        ({"frames": -3}, empty_latent(), "frames must be 4 k + 1, got -3: use 1"),
        ({"strength": 1.1}, empty_latent(), "between 0 and 1"),
        ({"strength": float("nan")}, empty_latent(), "between 0 and 1"),
        ({"prompt": "Camera zoom in."}, empty_latent(), "unknown camera move 'zoom in'"),
        ({"poses": "missing.txt"}, empty_latent(), "missing.txt is not a file"),
        ({"poses": "path.json"}, empty_latent(), "rename or convert 'path.json'"),
        ({"poses": "path.txt", "depth_unit": 0.0}, empty_latent(), "must be a positive number"),
        ({"poses": "path.txt"}, empty_latent(height=96), "but the clip's is 1.000"),
        ({"poses": "path.txt", "frames": 21}, empty_latent(frames=21), "has 17 poses and the clip 21 frames"),
        ({"poses": "nan.txt"}, empty_latent(), "holds a number that is not finite"),
        ({"lora": "missing.safetensors"}, empty_latent(), "no adapter file missing.safetensors"),
        ({"lora": "path.txt"}, empty_latent(), "path.txt is damaged or no safetensors file"),
        ({"lora": "other.safetensors"}, empty_latent(), "other.safetensors is no adapter of worldr1"),
        ({"lora": "older.safetensors"}, empty_latent(), "does not say which noise it was trained with"),
    ],
)
def test_bad_input_is_one_sentence(
    inputs: dict[str, Any],
    latent: dict[str, Any],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_poses(Path("path.txt"))
    write_poses(Path("nan.txt"), last=float("nan"))
    save_file({"x": torch.zeros(1)}, "other.safetensors")
    write_older_adapter(Path("older.safetensors"))
    with pytest.raises(InputError) as caught:
        make_noise(**inputs).generate_noise(latent)
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


def test_the_node_needs_neither_comfyui_nor_the_models_libraries() -> None:
    """README.md: torch, numpy and jaxtyping are enough."""
    absent = ["comfy", "av", "diffusers", "numba", "peft", "PIL", "rich", "safetensors", "scipy", "transformers"]
    script = f"import sys; sys.modules |= dict.fromkeys({absent}); sys.path.insert(0, {str(FOLDER.parent)!r})"
    subprocess.run([sys.executable, "-c", f"{script}; import comfyui; comfyui.NODE_CLASS_MAPPINGS"], check=True)


def interface(kind: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A published interface, or ours in the same form."""
    if kind != "WorldR1CameraNoise":
        return PUBLISHED[kind]
    inputs: dict[str, Any] = {}
    for group in NODE.INPUT_TYPES().values():
        for name, (what, options) in group.items():
            inputs[name] = what if isinstance(what, list) else str if what == "STRING" else None
            if what in ("INT", "FLOAT"):
                assert {type(options[key]) for key in ("default", "min", "max")} == {int if what == "INT" else float}
                inputs[name] = (options["min"], options["max"])
            if options.get("control_after_generate"):  # the page puts this widget after such a number
                inputs["control_after_generate"] = ["fixed", "increment", "decrement", "randomize"]
    return inputs, NODE.RETURN_TYPES


def is_connection(what: Any) -> bool:
    return isinstance(what, str) and what != FILE


def assert_widget(value: Any, what: Any) -> None:
    if isinstance(what, list):
        assert value in what
    elif isinstance(what, tuple):
        assert isinstance(value, type(what[0])) and what[0] <= value <= what[1]
    else:
        assert isinstance(value, str) and (what != FILE or value.endswith(".safetensors"))


def nodes_by_id() -> dict[int, dict[str, Any]]:
    nodes = {node["id"]: node for node in WORKFLOW["nodes"]}
    assert len(nodes) == len(WORKFLOW["nodes"])
    return nodes


def test_the_workflows_nodes_have_the_published_inputs_widgets_and_outputs() -> None:
    for node in nodes_by_id().values():
        inputs, outputs = interface(node["type"])
        connected = {entry["name"]: entry for entry in node["inputs"]}
        assert len(connected) == len(node["inputs"])
        for name, entry in connected.items():
            if is_connection(inputs[name]):
                assert entry["type"] == inputs[name] and "widget" not in entry
            else:  # a widget that takes its value from a link
                assert (entry["type"], entry["widget"], inputs[name]) == ("STRING", {"name": name}, str)
            assert entry["link"] is not None
        assert {name for name, what in inputs.items() if is_connection(what)} <= set(connected), node["type"]
        widgets = [what for what in inputs.values() if not is_connection(what)]
        for value, what in zip(node["widgets_values"], widgets, strict=True):
            assert_widget(value, what)
        assert tuple(output["type"] for output in node["outputs"]) == outputs


def test_the_workflows_links_join_what_they_say() -> None:
    nodes, ends = nodes_by_id(), set()
    for number, origin, origin_slot, target, target_slot, kind in WORKFLOW["links"]:
        output, entry = nodes[origin]["outputs"][origin_slot], nodes[target]["inputs"][target_slot]
        assert output["type"] == entry["type"] == kind
        assert number in output["links"] and entry["link"] == number
        assert nodes[origin]["order"] < nodes[target]["order"]
        ends.add(number)
    listed = [number for node in nodes.values() for output in node["outputs"] for number in output["links"] or ()]
    taken = [entry["link"] for node in nodes.values() for entry in node["inputs"]]
    assert sorted(listed) == sorted(taken) == sorted(ends)
    assert (WORKFLOW["last_node_id"], WORKFLOW["last_link_id"]) == (max(nodes), max(ends))


def test_the_workflow_samples_from_our_noise() -> None:
    nodes = nodes_by_id()
    by_type = {node["type"]: node for node in nodes.values()}
    source = {(link[3], link[4]): nodes[link[1]] for link in WORKFLOW["links"]}
    sampler, ours = by_type["SamplerCustomAdvanced"], by_type["WorldR1CameraNoise"]
    assert [source[sampler["id"], slot]["type"] for slot in (0, 4)] == ["WorldR1CameraNoise", "EmptyHunyuanLatentVideo"]
    guider = source[sampler["id"], 1]
    prompts = [source[guider["id"], slot] for slot in (1, 2)]
    text = source[prompts[0]["id"], 1]
    assert text is source[ours["id"], 0], "the model and the noise read one prompt"
    assert prompts[1]["inputs"][1:] == [], "the negative prompt is its own"
    _, _, length, batch = by_type["EmptyHunyuanLatentVideo"]["widgets_values"]
    inputs = dict(zip(interface("WorldR1CameraNoise")[0], ours["widgets_values"], strict=True))
    assert inputs.pop("control_after_generate") == "fixed"
    assert inputs["frames"] == length
    (prompt,) = text["widgets_values"]
    noise = make_noise(**(inputs | {"prompt": prompt})).generate_noise(empty_latent(batch, length, 48, 64))
    path = synthesize(["push_in", "pan_left"], 81)
    assert torch.equal(noise, start_noise(path, (16, 21, 6, 8), [0], NoiseConfig(), PlanCache()))
