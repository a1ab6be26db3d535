"""Strict TOML recipes -> nested frozen dataclasses, and back.

Every component owns its config class; this module only fills them in and knows none of them. Nothing is guessed:
an unknown key, a wrong type and a missing key are errors that name the key, the file and, where it helps, the
nearest valid spelling. Layers (base recipe, recipe, `--set`) are merged first, so that a combination is judged whole.

TOML has no null: the string "none" stands for None wherever the field allows it.
"""

import dataclasses
import difflib
import math
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from worldr1.errors import ConfigError, InputError

RECIPES_DIR = Path(__file__).parent / "recipes"
"""The recipes that come with the package."""

_BASE_KEY = "base"
_NONE = "none"

T = TypeVar("T")


def recipe_names(folder: Path = RECIPES_DIR) -> tuple[str, ...]:
    """Names of the packaged recipes, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def load_recipe(cls: type[T], name_or_path: str, overrides: Sequence[str] = (), *, folder: Path = RECIPES_DIR) -> T:
    """A recipe, with everything it inherits and `overrides` on top, as an instance of the dataclass `cls`.

    name_or_path: a packaged recipe ("mini") or a file ("my/recipe.toml"). Its top-level `base = "mini"` names the
    recipe it inherits from: another name, or a path relative to the recipe's own folder.
    overrides: "a.b=value" texts; the value is read as TOML, or else taken as a bare string.
    Raises InputError if there is no such recipe, ConfigError if its content is not valid.
    """
    table: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = _find(name_or_path, Path(), folder)
    for file, layer in _chain(path, folder):
        _merge(table, layer, str(file), origins)
    for text in overrides:
        _merge(table, _override_table(text), f"--set {text}", origins)
    return parse_config(cls, table, where=str(path), origins=origins)


def with_overrides(config: T, overrides: Sequence[str]) -> T:
    """A config dataclass with "a.b=value" texts on top, as `load_recipe` takes them. Raises ConfigError."""
    if not overrides:
        return config
    table, origins = tomllib.loads(dump_toml(config)), {}
    for text in overrides:
        _merge(table, _override_table(text), f"--set {text}", origins)
    return parse_config(type(config), table, where="the settings", origins=origins)


def parse_config(cls: type[T], table: Mapping[str, Any], *, where: str, origins: Mapping[str, str] | None = None) -> T:
    """A TOML table as an instance of the dataclass `cls`.

    where: the source that error messages name; origins: dotted key -> the source that set it, where that differs.
    Fields may be int, float, str, bool, Literal, tuple[X, ...], tuple[X, Y], X | None and dataclasses of these, or
    Mapping[str, Any]: a free table, taken as it is (texts, numbers, booleans, lists and tables of these). An int is
    accepted for a float, nothing else is converted. A field without a default must be given, except a dataclass
    whose own fields all have one. Raises ConfigError; a ConfigError of a class's own `__post_init__` is passed on
    with the place put in front.
    """
    return cast(T, _Parser(where, origins or {}).table(cls, table, ""))


def dump_toml(config: Any) -> str:
    """A config dataclass as TOML text, defaults included; `parse_config` on it gives an equal instance."""
    lines: list[str] = []
    _dump_table(config, "", lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def config_differences(before: Any, after: Any) -> list[str]:
    """Every key whose value differs between two configs of one class, as "train.lr 0.0001 -> 0.0003"."""
    here, there = _flat(before, ""), _flat(after, "")
    keys = [*here, *(key for key in there if key not in here)]
    return [
        f"{key} {here.get(key, 'absent')} -> {there.get(key, 'absent')}"
        for key in keys
        if here.get(key) != there.get(key)
    ]


def _flat(config: Any, prefix: str) -> dict[str, str]:
    """Dotted key -> value as TOML."""
    pairs = (
        config.items()
        if isinstance(config, Mapping)
        else [(field.name, getattr(config, field.name)) for field in dataclasses.fields(config) if field.init]
    )
    flat: dict[str, str] = {}
    for name, value in pairs:
        if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _toml_value(value)
    return flat


def _find(name_or_path: str, relative_to: Path, folder: Path) -> Path:
    if name_or_path.endswith(".toml"):
        path = relative_to / name_or_path
        if not path.is_file():
            raise InputError(f"there is no recipe file {path}; the packaged recipes are {_listing(folder)}")
        return path
    path = folder / f"{name_or_path}.toml"
    if name_or_path not in recipe_names(folder):
        hint = _nearest(name_or_path, recipe_names(folder))
        raise InputError(
            f"there is no recipe {name_or_path!r}{hint}; the packaged recipes are {_listing(folder)} "
            "(a file of your own must end in .toml)"
        )
    return path


def _listing(folder: Path) -> str:
    return ", ".join(recipe_names(folder)) or "none"


def _chain(path: Path, folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The recipe files from the root of the inheritance down to `path`, each with its own table."""
    layers: list[tuple[Path, dict[str, Any]]] = []
    seen: list[Path] = []
    current: Path | None = path
    while current is not None:
        if current.resolve() in seen:
            cycle = " -> ".join(file.stem for file in [*(p for p, _ in layers), current])
            raise ConfigError(f"{path}: recipes inherit in a circle: {cycle}; remove one `base`")
        seen.append(current.resolve())
        table = _read(current)
        base = table.pop(_BASE_KEY, None)
        layers.append((current, table))
        if base is not None and not isinstance(base, str):
            raise ConfigError(f"{current}: {_BASE_KEY!r} must be the name of a recipe, found {_found(base)}")
        current = None if base is None else _find(base, current.parent, folder)
    return layers[::-1]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _override_table(text: str) -> dict[str, Any]:
    key, equals, value_text = text.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise ConfigError(f"--set needs key=value, for example train.lr=1e-4; found {text!r}")
    value: Any = value_text.strip()
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        pass  # a bare word: --set reconstructor=mini needs no quotes
    else:
        value = parsed["value"] if parsed.keys() == {"value"} else value
    for name in reversed(names):
        value = {name: value}
    return value


def _merge(
    table: dict[str, Any], layer: Mapping[str, Any], source: str, origins: dict[str, str], path: str = ""
) -> None:
    """Put `layer` on top of `table`, in place, and note in `origins` who set which key."""
    for key, value in layer.items():
        dotted = f"{path}{key}"
        origins[dotted] = source
        if isinstance(value, dict):
            if not isinstance(table.get(key), dict):
                table[key] = {}
            _merge(table[key], value, source, origins, f"{dotted}.")
        else:
            table[key] = value


@dataclasses.dataclass(frozen=True, slots=True)
class _Parser:
    """Fills dataclasses from tables and knows whom to blame for each key."""

    where: str
    origins: Mapping[str, str]

    def error(self, key: str, problem: str) -> ConfigError:
        source = self.origins.get(key.partition("[")[0], self.where)
        return ConfigError(f"{source}: {problem}")

    def table(self, cls: type, table: Mapping[str, Any], path: str, base: Any = None) -> Any:
        """`base`: the instance whose values the keys that are not given keep (a parent's default for this field)."""
        prefix = f"{path}." if path else ""
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        hints = get_type_hints(cls)
        for key in table:
            if key not in fields:
                hint = _nearest(key, fields, prefix) or f"; the keys here are {', '.join(fields) or 'none'}"
                raise self.error(f"{prefix}{key}", f"unknown key {prefix + key!r}{hint}")
        values: dict[str, Any] = {}
        for name, field in fields.items():
            default = getattr(base, name) if base is not None else _default(field)
            if name in table:
                values[name] = self.value(hints[name], table[name], f"{prefix}{name}", default)
            elif default is not dataclasses.MISSING:
                values[name] = default
            elif dataclasses.is_dataclass(hints[name]):
                values[name] = self.table(hints[name], {}, f"{prefix}{name}")
            else:
                raise self.error(path, f"missing key {prefix + name!r} ({_describe(hints[name])})")
        try:
            return cls(**values)
        except InputError as error:
            raise self.error(path, f"[{path}] {error}" if path else str(error)) from error

    def value(self, hint: Any, value: Any, key: str, default: Any = dataclasses.MISSING) -> Any:
        """`value` checked against one type hint, tables and arrays turned into what the hint says."""
        origin, args = get_origin(hint), get_args(hint)
        if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
            base = default if isinstance(default, cast(type, hint)) else None
            return self.table(cast(type, hint), value, key, base)
        if origin in (Union, types.UnionType):
            return self.union(hint, value, key, default)
        if origin is Literal:
            # 1 == True == 1.0 in Python: the types have to agree as well.
            if any(value == choice and type(value) is type(choice) for choice in args):
                return value
            guess = _nearest(value, [c for c in args if isinstance(c, str)]) if isinstance(value, str) else ""
            raise self.error(key, f"{key!r} must be {_describe(hint)}, found {_found(value)}{guess}")
        if origin is Mapping and isinstance(value, Mapping):
            return self.free_table(value, key)
        if origin is tuple and isinstance(value, list):
            variadic = args[-1] is Ellipsis
            if variadic or len(args) == len(value):
                kinds = [args[0]] * len(value) if variadic else args
                return tuple(self.value(k, v, f"{key}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
        if hint is float and type(value) is int:
            return float(value)
        if hint is float and type(value) is float and not math.isfinite(value):
            raise self.error(key, f"{key!r} must be a finite number, found {_found(value)}")
        if hint in (int, float, str, bool) and type(value) is hint:
            return value
        raise self.error(key, f"{key!r} must be {_describe(hint)}, found {_found(value)}")

    def free_table(self, table: Mapping[str, Any], key: str) -> dict[str, Any]:
        """A copy of a table that belongs to somebody else's code. Dates are refused: they could not be written back."""

        def copied(value: Any, at: str) -> Any:
            if isinstance(value, Mapping):
                return {name: copied(item, f"{at}.{name}") for name, item in value.items()}
            if isinstance(value, list):
                return [copied(item, f"{at}[{i}]") for i, item in enumerate(value)]
            if isinstance(value, (str, bool, int, float)):
                return value
            raise self.error(key, f"{at!r} must be a text, a number, true or false, or a list or table of these")

        return copied(table, key)

    def union(self, hint: Any, value: Any, key: str, default: Any) -> Any:
        """The first member of the union that takes the value; one member beside None keeps its own message."""
        members = [member for member in get_args(hint) if member is not type(None)]
        if len(members) < len(get_args(hint)) and (value == _NONE or value is None):
            return None
        if len(members) == 1:
            return self.value(members[0], value, key, default)
        for member in members:
            try:
                return self.value(member, value, key, default)
            except ConfigError:
                continue
        raise self.error(key, f"{key!r} must be {_describe(hint)}, found {_found(value)}")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {prefix + matches[0]!r}?" if matches else ""


def _describe(hint: Any) -> str:
    """A type hint in a user's words."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is type(None):
        return repr(_NONE)
    if dataclasses.is_dataclass(hint):
        return f"a table ({', '.join(field.name for field in dataclasses.fields(hint))})"
    if origin is Mapping:
        return "a table"
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in args)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(member) for member in args)
    if origin is tuple:
        if args[-1] is Ellipsis:
            return f"a list (each item {_describe(args[0])})"
        return f"a list of {len(args)} ({', '.join(_describe(member) for member in args)})"
    names = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    return names.get(hint, str(hint))


def _found(value: Any) -> str:
    """A TOML value in a user's words."""
    if isinstance(value, Mapping):
        return "a table"
    return f"the string {value!r}" if isinstance(value, str) else _toml_value(value)


def _dump_table(config: Any, path: str, lines: list[str]) -> None:
    nested: list[tuple[str, Any]] = []
    for field in dataclasses.fields(config):
        if not field.init:
            continue
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
            nested.append((f"{path}.{field.name}" if path else field.name, value))
        else:
            lines.append(f"{field.name} = {_toml_value(value)}")
    for name, value in nested:
        lines += ["", f"[{name}]"]
        if isinstance(value, Mapping):
            lines += [f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items()]
        else:
            _dump_table(value, name, lines)


def _toml_value(value: Any) -> str:
    if value is None:
        return f'"{_NONE}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{"".join(_toml_character(character) for character in value)}"'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_toml_key(name)} = {_toml_value(item)}' for name, item in value.items())}}}"
    return repr(value)  # keeps every digit of a float


def _toml_key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else _toml_value(name)


def _toml_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    # TOML forbids control characters, and Python's own escapes differ from TOML's.
    return f"\\u{ord(character):04x}" if ord(character) < 0x20 or ord(character) == 0x7F else character
