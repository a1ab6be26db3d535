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
from worldr1.cli import main
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
