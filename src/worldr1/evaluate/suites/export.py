"""A suite as files for other programs: prompts, camera text, poses, and the manifest by which the videos come back."""

import json
from pathlib import Path
from string import Template

from worldr1.camera.files import write_trajectory
from worldr1.camera.motion import camera_sentence
from worldr1.camera.trajectory import synthesize
from worldr1.errors import InputError
from worldr1.evaluate.suites.manifest import MANIFEST
from worldr1.evaluate.suites.suite import Suite

VIDEOS, POSES = "videos", "poses"
README = Path(__file__).parent / "export_readme.md"
"""With $placeholders."""


def export_suite(suite: Suite, folder: Path, *, clip: tuple[int, int, int], samples: int) -> None:
    """Writes the folder whole. clip: frames, height and width of the poses; samples: videos per prompt to ask for.

    Raises InputError if the folder exists and is not empty: a manifest or videos may lie there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; give --export-suite a new folder.")
    for name in (VIDEOS, POSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
    frames, height, width = clip
    rows = []
    for prompt in suite.prompts:
        path = synthesize(prompt.camera, frames)
        files = {suffix: f"{POSES}/{prompt.id:03d}.{suffix}" for suffix in ("txt", "npz")}
        for file in files.values():
            write_trajectory(folder / file, path, aspect=width / height)
        rows.append(
            {
                "prompt_id": prompt.id,
                "prompt": prompt.text,
                "scene": prompt.scene,
                "camera_text": camera_sentence(prompt.camera),
                "camera": prompt.camera,
                "scene_type": prompt.scene_type,
                "long_horizon": prompt.long_horizon,
                "poses_txt": files["txt"],
                "poses_npz": files["npz"],
            }
        )
    template = [
        {"file": f"{VIDEOS}/{prompt.id:03d}-{sample}.mp4", "prompt_id": prompt.id, "sample": sample}
        for prompt in suite.prompts
        for sample in range(samples)
    ]
    for name, table in (("prompts.jsonl", rows), (MANIFEST, template)):
        _write(folder / name, [json.dumps(row, ensure_ascii=False) for row in table])
    for name, key in (("prompts.txt", "prompt"), ("scenes.txt", "scene"), ("camera.txt", "camera_text")):
        _write(folder / name, [str(row[key]) for row in rows])
    (folder / "README.md").write_text(_readme(suite, clip, samples), encoding="utf-8")


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _readme(suite: Suite, clip: tuple[int, int, int], samples: int) -> str:
    frames, height, width = clip
    return Template(README.read_text(encoding="utf-8")).substitute(
        name=suite.name,
        purpose=suite.purpose,
        num=len(suite.prompts),
        sha256=suite.sha256[:12],
        how_many="one video" if samples == 1 else f"{samples} videos",
        frames=frames,
        height=height,
        width=width,
        last=f"{len(suite.prompts) - 1:03d}",
        last_sample=samples - 1,
    )
