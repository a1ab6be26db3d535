"""Code of the user's own by name: found where Python looks, and one sentence for everything that can be wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worldr1.errors import InputError
from worldr1.plugins import find_plugin, is_plugin, make_plugin, plugin_file

KEY = "reward.custom"
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """write(source) -> the name of a module of that source on the path; another one in every test."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(source: str) -> str:
        name = f"own_{abs(hash(request.node.nodeid)):x}_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return make


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("my_pkg.mod:Name", True),
        ("mod:make", True),
        ("depth-anything/DA3-BASE", False),
        ("/models/da3", False),
        ("C:\\models\\da3", False),
        ("http://localhost:8000/v1", False),
        ("profile", False),
        ("mod:", False),
        ("mod:Name()", False),
    ],
)
def test_names_of_code_are_no_places_of_weights(text: str, named: bool) -> None:
    assert is_plugin(text) == named


def test_it_is_given_the_device_and_its_options(write: Write) -> None:
    module = write("class Made:\n    def __init__(self, device, *, size=1):\n        self.got = device, size\n")
    made = make_plugin(f"{module}:Made", key=KEY, device="cuda", options={"size": 3})
    assert made.got == ("cuda", 3)
    assert make_plugin(f"{module}:Made", key=KEY, device="cpu", options={}).got == ("cpu", 1)
    assert plugin_file(f"{module}:Made") == f"{module}.py"


def test_a_function_may_make_it(write: Write) -> None:
    module = write("def make(device):\n    return [device]\n")
    assert make_plugin(f"{module}:make", key=KEY, device="cpu", options={}) == ["cpu"]


@pytest.mark.parametrize(
    ("source", "attribute", "options", "words"),
    [
        ("x = 1\n", "Name", {}, ("has no Name", "nothing of its own")),
        ("class Other:\n    pass\n", "Name", {}, ("has no Name", "it has Other")),
        ("Name = 3\n", "Name", {}, ("neither a class nor a function",)),
        ("def Name(:\n", "Name", {}, ("cannot be imported: SyntaxError",)),
        ("raise OSError('no disk')\n", "Name", {}, ("cannot be imported: OSError: no disk", "line 1")),
        ("import sys\nsys.exit(3)\n", "Name", {}, ("cannot be imported: SystemExit",)),
        ("import no_such_library\n", "Name", {}, ("needs the module no_such_library", "install it")),
        ("class Name:\n    pass\n", "Name", {}, ("cannot be called with (device)",)),
        ("def Name(device):\n    pass\n", "Name", {"size": 1}, ("cannot be called with (device, size)",)),
        ("def Name(device, path):\n    pass\n", "Name", {}, ("missing a required argument: 'path'",)),
        ("def Name(device):\n    raise FileNotFoundError('w.bin')\n", "Name", {}, ("cannot be made: FileN", "line 2")),
    ],
)
def test_what_cannot_be_made_is_one_sentence(
    write: Write, source: str, attribute: str, options: dict[str, Any], words: tuple[str, ...]
) -> None:
    name = f"{write(source)}:{attribute}"
    with pytest.raises(InputError) as refused:
        make_plugin(name, key=KEY, device="cpu", options=options)
    said = str(refused.value)
    assert said.startswith(KEY) and "\n" not in said
    assert all(word in said for word in words), said


def test_a_refusal_of_its_own_is_passed_on(write: Write) -> None:
    source = "from worldr1.errors import InputError\ndef Name(device):\n    raise InputError('give a size')\n"
    with pytest.raises(InputError, match=r"^give a size$"):
        make_plugin(f"{write(source)}:Name", key=KEY, device="cpu", options={})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_package.mod:Name", "there is no module no_such_package.*PYTHONPATH"),
        ("worldr1.no_such_module:Name", r"there is no module worldr1\.no_such_module"),
        ("os:system", "os belongs to Python itself"),
        ("os.path:join", r"os\.path belongs to Python itself"),
        ("not code", "write .package.module:Name"),
    ],
)
def test_names_that_lead_nowhere(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        find_plugin(name, key=KEY)


def test_neither_the_current_folder_nor_the_recipes_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lies_beside_the_recipe.py").write_text("raise RuntimeError('it ran')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no module lies_beside_the_recipe"):
        find_plugin("lies_beside_the_recipe:Name", key=KEY)
