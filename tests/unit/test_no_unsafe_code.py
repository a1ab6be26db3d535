"""What the package never does: unpickle, run a model folder's code, go through a shell, hide GPUs behind torch."""

import ast
from pathlib import Path

import pytest

import worldr1

SOURCES = sorted(Path(worldr1.__file__).parent.rglob("*.py"))


def problems(source: str) -> list[str]:
    """What is unsafe in a module, by line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"{node.lineno}: {name}" for name in names if name.split(".")[0] in {"pickle", "dill", "shelve"}]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            unsafe = (
                called in {"eval", "exec"}
                or (called == "torch.load" and given.get("weights_only") != "True")
                or given.get("trust_remote_code", "False") != "False"
                or given.get("shell", "False") != "False"
                or given.get("allow_pickle", "False") != "False"
            )
            found += [f"{node.lineno}: {ast.unparse(node)}"] * unsafe
        if isinstance(node, ast.Subscript) and "CUDA_VISIBLE_DEVICES" in ast.unparse(node):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def test_nothing_unsafe_is_in_the_package() -> None:
    assert len(SOURCES) > 200
    found = {path.name: lines for path in SOURCES if (lines := problems(path.read_text(encoding="utf-8")))}
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "load(name, trust_remote_code=True)",
        "run(words, shell=True)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        'os.environ["CUDA_VISIBLE_DEVICES"] = "1"',
    ],
)
def test_the_search_finds_it(source: str) -> None:
    assert problems(source)
