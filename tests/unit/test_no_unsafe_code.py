"""What no code of this repository does: unpickle, run a model folder's code, go through a shell, trust any server."""

from pathlib import Path

import pytest
from unsafe_code import problems

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "benchmarks", "examples", "integrations")
PUBLISHED = ("torch.save",)
"""Tests make small files in the format in which others publish theirs, and read them as we do."""
ALLOWED: dict[str, tuple[str, ...]] = {
    "src/worldr1/backends/lpips.py": ("torch.hub.get_dir",),  # the name of a folder
    "tests/e2e/test_export.py": ("exec",),  # the model card's own example, as a reader would run it
    "tests/small_quality.py": PUBLISHED,
    "tests/unit/backends/test_hpsv2.py": PUBLISHED,
    "tests/unit/backends/test_lpips.py": PUBLISHED,
    "tests/unit/backends/test_published_files.py": PUBLISHED,
    "tests/unit/camera/test_files.py": ("np.savez(path, allow_pickle=True",),  # to be refused
}
"""File -> beginnings of what is allowed in it, each with its reason."""


def found_in(root: Path, folders: tuple[str, ...] = FOLDERS) -> dict[str, list[str]]:
    """File -> what is unsafe in it, but for what is allowed."""
    found: dict[str, list[str]] = {}
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        lines = [
            line
            for line in problems(path.read_text(encoding="utf-8"))
            if not line.partition(": ")[2].startswith(ALLOWED.get(name, ("\0",)))
        ]
        if lines:
            found[name] = lines
    return found


def test_nothing_unsafe_is_in_the_repository() -> None:
    assert all((ROOT / folder).is_dir() for folder in FOLDERS)
    assert len(list((ROOT / "src").rglob("*.py"))) > 200
    assert found_in(ROOT) == {}


def test_every_exception_is_still_needed() -> None:
    for name, beginnings in ALLOWED.items():
        lines = [line.partition(": ")[2] for line in problems((ROOT / name).read_text(encoding="utf-8"))]
        assert all(any(line.startswith(beginning) for line in lines) for beginning in beginnings), name
        assert not name.startswith("src/") or beginnings == ("torch.hub.get_dir",)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import cloudpickle as safe",
        "from pickle import loads",
        "from joblib import load",
        "importlib = 1\nimport importlib\nimportlib.import_module('dill').loads(data)",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=flag)",
        "import torch\ntorch.load(path, **options)",
        "import torch as t\nt.load(path)",
        "from torch import load as read\nread(path)",
        "import torch\nread = torch.load",
        "import torch\ngetattr(torch, 'load')(path)",
        "import torch\ntorch.save(state, path)",
        "import torch\ntorch.hub.load('a/b', 'c')",
        "import torch\ntorch.jit.load(path)",
        "import torch.distributed as dist\ndist.all_gather_object(found, mine)",
        "from torch.distributed import broadcast_object_list\nbroadcast_object_list(found)",
        "load(name, trust_remote_code=True)",
        "from transformers import AutoTokenizer\nAutoTokenizer.from_pretrained(folder)",
        "from transformers import AutoModel\nload_part(AutoModel, folder)",
        "load(name, use_safetensors=False)",
        "model.save_pretrained(path, safe_serialization=False)",
        "run(words, shell=True)",
        "import subprocess\nsubprocess.run('ls -l')",
        "import subprocess\nsubprocess.check_output(f'ls {folder}')",
        "from subprocess import getoutput\ngetoutput('ls')",
        "import os\nos.system('ls')",
        "from os import popen\npopen('ls')",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.FullLoader)",
        "import yaml\nyaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "run = eval",
        "__import__(name)",
        "compile(text, 'x', 'exec')",
        "import tempfile\ntempfile.mktemp()",
        "import requests\nrequests.get(url, verify=False)",
        "import ssl\nssl._create_unverified_context()",
        "import ssl\ncontext.verify_mode = ssl.CERT_NONE",
        "archive.extractall(folder)",
        "import shutil\nshutil.unpack_archive(file)",
        "from multiprocessing.connection import Listener\nListener(address)",
        'os.environ["CUDA_VISIBLE_DEVICES"] = "1"',
    ],
)
def test_the_search_finds_it(source: str) -> None:
    assert problems(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path, weights_only=True)",
        "model.eval()",
        "import re\nre.compile('a')",
        "model.compile(dynamic=True)",
        "import subprocess\nsubprocess.run(['ls', folder], shell=False)",
        "import subprocess\nsubprocess.run(command)",
        "load(name, trust_remote_code=False)",
        "from transformers import AutoTokenizer\nAutoTokenizer.from_pretrained(folder, trust_remote_code=False)",
        "import json\njson.load(file)",
        "import yaml\nyaml.safe_load(text)",
        "import torch.distributed as dist\ndist.all_gather(found, mine)",
        "archive.extractall(folder, filter='data')",
        "text = 'pickle.loads and torch.load(path)'",
    ],
)
def test_and_leaves_the_safe_form_alone(source: str) -> None:
    assert problems(source) == []


def test_a_file_of_every_folder_is_read(tmp_path: Path) -> None:
    for folder in FOLDERS:
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "bad.py").write_text("import pickle\n")
    assert len(found_in(tmp_path)) == len(FOLDERS)
