"""A user's own code, named in a recipe as "package.module:Name".

Naming a module runs it, as importing does in any program. Only what Python itself finds is imported: what is installed,
or lies in a folder of PYTHONPATH. The recipe's folder and the current one are not searched, so that a recipe that
somebody sends together with a module runs nothing of it until its reader has put that folder on the path; and the
standard library is refused, whose functions do more than a recipe should. Reading a recipe (`--dry-run`, `plan`)
imports nothing.
"""

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from worldr1.errors import InputError

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def is_plugin(text: str) -> bool:
    """Whether a recipe's value names code ("my_pkg.mod:Name") and not a folder or a published model."""
    return _NAME.fullmatch(text) is not None


def find_plugin(name: str, *, key: str) -> Callable[..., Any]:
    """Imports the class or function that a recipe names. key: the recipe's key, for the sentence.

    Raises InputError, in one sentence, for a name of another form, a module that cannot be found or imported, and a
    missing or uncallable attribute.
    """
    if not is_plugin(name):
        raise InputError(f'{key} = "{name}" names no code: write "package.module:Name".')
    module_name, _, attribute = name.partition(":")
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise InputError(f"{key}: {module_name} belongs to Python itself; name a module of your own.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise InputError(
                f"{key}: there is no module {error.name}; install its package, or put the folder that holds it on "
                "PYTHONPATH (neither the recipe's folder nor the current one is searched)."
            ) from error
        raise InputError(
            f"{key}: {module_name} needs the module {error.name}, which is missing: install it."
        ) from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{key}: {module_name} cannot be imported: {_told(error)}.") from error
    if not hasattr(module, attribute):
        raise InputError(f"{key}: {module_name} has no {attribute}; it has {_public_names(module)}.")
    found = getattr(module, attribute)
    if not callable(found):
        raise InputError(
            f"{key}: {name} is neither a class nor a function that makes one, so nothing can be made of it."
        )
    return found


def make_plugin(name: str, *, key: str, device: str, options: Mapping[str, Any]) -> Any:
    """Name(device, **options): what a recipe's code makes. Raises InputError, in one sentence, if it cannot be made.

    device: "cpu" or "cuda". options: the recipe's table for it.
    """
    maker = find_plugin(name, key=key)
    try:
        signature = inspect.signature(maker)
    except ValueError:  # of builtins
        signature = None
    if signature is not None:
        try:
            signature.bind(device, **options)
        except TypeError as error:
            given = ", ".join(["device", *options])
            raise InputError(
                f"{key}: {name}{signature} cannot be called with ({given}): {error}; it is given the device, and the "
                "recipe's options for it by name."
            ) from error
    try:
        return maker(device, **options)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{key}: {name} cannot be made: {_told(error)}.") from error


def plugin_file(name: str) -> str:
    """Name of the file that an imported plug-in's module came from (no folder: paths say who a user is)."""
    file = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    return Path(file).name if file else "unknown file"


def _told(error: BaseException) -> str:
    """An exception in words, with the line that it came from."""
    text = " ".join(str(error).split()) or "no message"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
    return f"{type(error).__name__}: {text}{'' if isinstance(error, SyntaxError) else place}"


def _public_names(module: Any) -> str:
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return ", ".join(name for name in own if not name.startswith("_")) or "nothing of its own"
