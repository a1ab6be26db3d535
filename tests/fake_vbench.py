"""A stand-in for the python of another environment, with a vbench that scores everything alike."""

import stat
import sys
from pathlib import Path


def fake_vbench(folder: Path, body: str) -> Path:
    """A python of another environment: this interpreter, that finds a vbench of the test's."""
    package = folder / "site" / "vbench" / "launch"
    package.mkdir(parents=True)
    for place in (package.parent, package):
        (place / "__init__.py").write_text("")
    (package / "evaluate.py").write_text(body)
    program = folder / "env with space" / "python"
    program.parent.mkdir()
    site = str(folder / "site")
    program.write_text(
        f"#!{sys.executable}\nimport os, runpy, sys\n"
        f"if sys.argv[1] == '-c':\n    os.execve({sys.executable!r}, sys.argv, {{'PYTHONPATH': {site!r}}})\n"
        f"sys.path.insert(0, {site!r})\nassert sys.argv[1] == '-m'\nname = sys.argv[2]\nsys.argv = sys.argv[2:]\n"
        "runpy.run_module(name, run_name='__main__')\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


SCORING = """
import argparse, json, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--dimension", nargs="+")
for name in ("videos_path", "output_path", "prompt_file", "mode"):
    parser.add_argument("--" + name)
args = parser.parse_args()
assert args.mode == "custom_input" and "PYTHONPATH" not in os.environ
prompts = json.loads(pathlib.Path(args.prompt_file).read_text())
assert sorted(prompts) == sorted(os.listdir(args.videos_path))
rows = [{"video_path": args.videos_path + "/" + name, "video_results": True} for name in prompts]
table = {name: [0.9, rows] for name in args.dimension}
pathlib.Path(args.output_path, "results_now_eval_results.json").write_text(json.dumps(table))
"""
