"""Finds code that can run, write or trust what it must not (SECURITY.md), by syntax tree: names are followed through
imports and aliases, so that `from torch import load as read` is found where a search for words is blind.

It reads code that its authors want to be safe; who wants to hide something from it can.
"""

import ast
from collections.abc import Iterator

MODULES = frozenset(
    {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "jsonpickle"}
)
"""Whose import alone is a problem: they run what they read."""
NEVER = frozenset(
    {
        *(f"builtins.{name}" for name in ("eval", "exec", "compile", "__import__")),
        *(f"os.{name}" for name in ("system", "popen")),
        *(f"subprocess.{name}" for name in ("getoutput", "getstatusoutput")),
        "asyncio.create_subprocess_shell",
        *(f"yaml.{name}" for name in ("load", "load_all", "full_load", "full_load_all", "unsafe_load")),
        *(f"torch.{name}" for name in ("save", "jit.load", "package.PackageImporter", "serialization.load")),
        *(f"torch.distributed.{name}_object" for name in ("all_gather", "gather")),
        *(f"torch.distributed.{name}_object_list" for name in ("broadcast", "scatter", "send", "recv")),
        "torch.distributed.distributed_c10d._object_to_tensor",
        "torch.multiprocessing.SimpleQueue",
        "multiprocessing.managers.BaseManager",
        "multiprocessing.connection.Listener",
        "multiprocessing.connection.Client",
        "pandas.read_pickle",
        "tempfile.mktemp",
        "ssl._create_unverified_context",
        "ssl.CERT_NONE",
        "shutil.unpack_archive",
    }
)
"""Whatever the arguments."""
NEVER_BELOW = ("torch.hub.",)
NEEDS = {"torch.load": ("weights_only", "True"), "tarfile.TarFile.extractall": ("filter", "'data'")}
"""Calls that need a keyword."""
SHELLS = frozenset(f"subprocess.{name}" for name in ("run", "Popen", "call", "check_call", "check_output"))
"""Which take a list of words; a text is for a shell, or breaks at a space."""
KEYWORDS = {
    "trust_remote_code": "False",
    "shell": "False",
    "allow_pickle": "False",
    "verify": "True",
    "check_hostname": "True",
    "use_safetensors": "True",
    "safe_serialization": "True",
    "weights_only": "True",
}
"""Of any call, and the one value that they may have."""


def problems(source: str) -> list[str]:
    """What is unsafe in a module, each as "line: code"."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found: dict[tuple[int, str], None] = {}
    for node in ast.walk(tree):
        if _is_unsafe(node, names, is_called=id(node) in called):
            at = node.lineno  # type: ignore[attr-defined]
            found[at, ast.unparse(node).splitlines()[0]] = None
    return [f"{line}: {code}" for line, code in found]


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Local name -> full name, of imports and of plain second names (`read = torch.load`)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.partition(".")[0]
                yield local, alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _full_name(node: ast.AST, names: dict[str, str]) -> str:
    """ "torch.load" for what is that function here; "" for anything that no import stands behind."""
    if isinstance(node, ast.Name):
        builtin = node.id in {"eval", "exec", "compile", "__import__"}
        return names.get(node.id, f"builtins.{node.id}" if builtin else "")
    if isinstance(node, ast.Attribute):
        base = _full_name(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name) and function.id == "getattr" and len(node.args) > 1:
            base, wanted = _full_name(node.args[0], names), node.args[1]
            return f"{base}.{wanted.value}" if base and isinstance(wanted, ast.Constant) else ""
        if _full_name(function, names) == "importlib.import_module" and node.args:
            return str(node.args[0].value) if isinstance(node.args[0], ast.Constant) else ""
    return ""


def _is_unsafe(node: ast.AST, names: dict[str, str], *, is_called: bool) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] in MODULES
    if isinstance(node, ast.Subscript):  # hides GPUs from a torch that has counted them already
        return "CUDA_VISIBLE_DEVICES" in ast.unparse(node) and isinstance(node.ctx, ast.Store)
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return False  # a field or a variable that is called `compile`
    if isinstance(node, (ast.Name, ast.Attribute, ast.Call)):
        name = _full_name(node, names)
        if name in NEVER or name.startswith(NEVER_BELOW) or name.partition(".")[0] in MODULES:
            return True
        if name in NEEDS and not is_called:  # handed on, nobody knows with which arguments
            return True
    return isinstance(node, ast.Call) and _is_unsafe_call(node, names)


def _is_auto_class(name: str) -> bool:
    """Whether it is a class of transformers that takes its own from a folder: the class, or its `from_pretrained`."""
    return name.removesuffix(".from_pretrained").startswith("transformers.Auto") and not name.endswith("_config")


def _is_unsafe_call(call: ast.Call, names: dict[str, str]) -> bool:
    name = _full_name(call.func, names)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg}
    if any(word in given and given[word] != allowed for word, allowed in KEYWORDS.items()):
        return True
    if any(_is_auto_class(_full_name(part, names)) for part in (call.func, *call.args)):
        return given.get("trust_remote_code") != "False"  # left out, transformers asks whoever sits at the terminal
    if name in NEEDS:
        keyword, value = NEEDS[name]
        return given.get(keyword) != value
    if name in SHELLS:
        words = call.args[0] if call.args else None
        return isinstance(words, ast.JoinedStr) or (isinstance(words, ast.Constant) and isinstance(words.value, str))
    is_archive = isinstance(call.func, ast.Attribute) and call.func.attr == "extractall"
    return is_archive and given.get("filter") != "'data'"
