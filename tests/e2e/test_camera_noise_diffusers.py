"""examples/camera_noise_diffusers.py as a user runs it, on the mini world's pipeline folder with stock diffusers."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from safetensors.torch import load_file

from worldr1.backends.mini import mini_base
from worldr1.camera.trajectory import synthesize
from worldr1.cli import main
from worldr1.rollout.start_noise import NoiseConfig, PlanCache, start_noise
from worldr1.shipped import shipped_adapter
from worldr1.train.adapter_file import AdapterInfo, TrainedWith, read_adapter
from worldr1.train.lora_formats import save_native
from worldr1.train.merging import merge_folder
from worldr1.video_io import read_mp4

EXAMPLE = Path(__file__).parents[2] / "examples" / "camera_noise_diffusers.py"
PROMPT = "Camera push in. A plain red ball on a blue tiled floor in a green brick room."
SIZE = {"frames": 9, "height": 48, "width": 64}


def test_the_example_films_with_the_noise_that_the_command_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, Any]] = []
    stock = WanPipeline.__call__

    def few_steps(pipe: Any, prompt: str, **inputs: Any) -> Any:
        result: Any = stock(pipe, prompt, **inputs, num_inference_steps=2)
        calls.append({"prompt": prompt, "frames": result.frames, "guidance": pipe.guidance_scale} | inputs)
        return result

    monkeypatch.setattr(WanPipeline, "__call__", few_steps)
    out = tmp_path / "out.mp4"
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(out), PROMPT, str(mini_base()), *map(str, SIZE.values())])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert capsys.readouterr().out.startswith("camera: push_in\n")

    (call,) = calls
    assert call["prompt"] == PROMPT
    assert call["guidance"] > 1
    video = call["frames"][0]
    assert video.shape == (9, 3, 48, 64)
    assert (read_mp4(out) - video.float()).abs().mean() < 0.03

    file = tmp_path / "noise.safetensors"
    size = [text for name, number in SIZE.items() for text in (f"--{name}", str(number))]
    assert main(["noise", "--prompt", PROMPT, "--out", str(file), "--channels", "48", *size]) == 0
    assert torch.equal(call["latents"], load_file(file)["noise"][None])


@pytest.mark.parametrize("form", ["native", "merged"])
def test_a_lora_brings_what_it_was_trained_with(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packaged adapter, exported, as if it had been trained so."""
    info, state = read_adapter(shipped_adapter())
    trained = TrainedWith(
        transport="flow", strength=0.6, parallax_strength=0.4, shift=5.0, steps=2, frames=9, height=48, width=64
    )
    told = AdapterInfo(config=info.config, base="mini", guidance=1.0, training=trained)
    if form == "native":
        save_native(tmp_path / "lora.safetensors", state, told)
        model = [str(mini_base()), "--lora", str(tmp_path / "lora.safetensors")]
    else:
        merge_folder(mini_base(), tmp_path / "merged", state, told)
        model = [str(tmp_path / "merged")]
    calls: list[dict[str, Any]] = []
    stock = WanPipeline.__call__

    def watched(pipe: Any, prompt: str, **inputs: Any) -> Any:
        result: Any = stock(pipe, prompt, **inputs)
        shift, layers = (
            pipe.scheduler.config.flow_shift,
            [n for n, _ in pipe.transformer.named_modules() if "lora_B" in n],
        )
        calls.append({"guidance": pipe.guidance_scale, "shift": shift, "layers": layers} | inputs)
        return result

    monkeypatch.setattr(WanPipeline, "__call__", watched)
    arguments = [str(tmp_path / "out.mp4"), PROMPT, *model]
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    (call,) = calls
    assert (call["guidance"], call["shift"], call["num_inference_steps"]) == (1.0, 5.0, 2)
    assert read_mp4(tmp_path / "out.mp4").shape == (9, 3, 48, 64)
    assert any("blocks.7.attn2.to_v" in name for name in call["layers"]) == (form == "native")
    noise = NoiseConfig(strength=0.4, transport="flow")  # a push has parallax
    path = synthesize(["push_in"], 9)
    assert torch.equal(call["latents"], start_noise(path, (48, 3, 6, 8), [0], noise, PlanCache()))
