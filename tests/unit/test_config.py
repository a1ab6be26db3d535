"""Recipes: what is accepted, what is refused and with which words."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldr1.config import dump_toml, load_recipe, parse_config, recipe_names, with_overrides
from worldr1.errors import ConfigError, InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    lr: float = 1e-4
    warmup: int | None = None
    kind: Literal["adamw", "sgd"] = "adamw"


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    group_size: int = 8
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(lr=3e-5))
    betas: tuple[float, float] = (0.9, 0.95)

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise ConfigError("group_size must be at least 2")


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    name: str = "x"
    train: Train
    layers: tuple[int, ...] = ()
    stages: tuple[Optimizer, ...] = ()
    share: bool = True
    judge: Optimizer | None = None
    speed: float | Literal["free"] = "free"


@dataclass(frozen=True, kw_only=True, slots=True)
class Required:
    steps: int


def parse(text: str) -> Root:
    return parse_config(Root, tomllib.loads(text), where="r.toml")


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_table_gives_every_default() -> None:
    assert parse("") == Root(train=Train())


def test_all_kinds_of_values() -> None:
    config = parse(
        'name = "n"\nlayers = [1, 2]\nshare = false\nspeed = 2\nstages = [{lr = 1, kind = "sgd"}]\n'
        "[train]\nbetas = [1, 0.5]\n[judge]\nwarmup = 3\n"
    )
    assert config == Root(
        name="n",
        train=Train(betas=(1.0, 0.5)),
        layers=(1, 2),
        stages=(Optimizer(lr=1.0, kind="sgd"),),
        share=False,
        judge=Optimizer(warmup=3),
        speed=2.0,
    )
    assert type(config.speed) is float
    assert type(config.train.betas[0]) is float


def test_a_partly_given_table_keeps_the_parents_default() -> None:
    assert parse("[train.optimizer]\nwarmup = 5\n").train.optimizer == Optimizer(lr=3e-5, warmup=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\ngroup_sise = 4", "r.toml: unknown key 'train.group_sise'; did you mean 'train.group_size'?"),
        ("zzz = 4", "r.toml: unknown key 'zzz'; the keys here are name, train, layers, stages, share, judge, speed"),
        ("[train]\ngroup_size = 4.0", "r.toml: 'train.group_size' must be an integer, found 4.0"),
        ("[train]\ngroup_size = true", "r.toml: 'train.group_size' must be an integer, found true"),
        ('share = "yes"', "r.toml: 'share' must be true or false, found the string 'yes'"),
        ("share = 1", "r.toml: 'share' must be true or false, found 1"),
        ("name = 1", "r.toml: 'name' must be a string, found 1"),
        ("layers = [1, 2.5]", "r.toml: 'layers[1]' must be an integer, found 2.5"),
        ("layers = 3", "r.toml: 'layers' must be a list (each item an integer), found 3"),
        ("[train]\nbetas = [1]", "r.toml: 'train.betas' must be a list of 2 (a number, a number), found [1]"),
        ("[train.optimizer]\nlr = true", "r.toml: 'train.optimizer.lr' must be a number, found true"),
        (
            '[train.optimizer]\nkind = "adam"',
            "r.toml: 'train.optimizer.kind' must be one of 'adamw', 'sgd', found the string 'adam'; "
            "did you mean 'adamw'?",
        ),
        ('speed = "fast"', "r.toml: 'speed' must be a number or one of 'free', found the string 'fast'"),
        ("train = 3", "r.toml: 'train' must be a table (group_size, optimizer, betas), found 3"),
        ("[name]\na = 1", "r.toml: 'name' must be a string, found a table"),
        ("speed = nan", "r.toml: 'speed' must be a number or one of 'free', found nan"),
        ("[train.optimizer]\nlr = inf", "r.toml: 'train.optimizer.lr' must be a finite number, found inf"),
        ("[train]\ngroup_size = 1", "r.toml: [train] group_size must be at least 2"),
        ("[judge]\nlrr = 1.0", "r.toml: unknown key 'judge.lrr'; did you mean 'judge.lr'?"),
    ],
)
def test_refusals_name_the_key_the_file_and_the_remedy(text: str, message: str) -> None:
    assert refusal(text) == message


def test_a_required_key_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"^r.toml: missing key 'steps' \(an integer\)$"):
        parse_config(Required, {}, where="r.toml")


_OPTIMIZERS = st.builds(
    Optimizer,
    lr=st.floats(allow_nan=False, allow_infinity=False),
    warmup=st.none() | st.integers(-(2**62), 2**62),
    kind=st.sampled_from(["adamw", "sgd"]),
)


@given(
    st.builds(
        Root,
        name=st.text(st.characters(exclude_categories=["Cs"])),
        train=st.builds(Train, group_size=st.integers(2, 99), optimizer=_OPTIMIZERS),
        layers=st.lists(st.integers(-9, 9), max_size=3).map(tuple),
        stages=st.lists(_OPTIMIZERS, max_size=2).map(tuple),
        share=st.booleans(),
        judge=st.none() | _OPTIMIZERS,
        speed=st.just("free") | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_the_dump_reads_back_as_the_same_config(config: Root) -> None:
    assert parse_config(Root, tomllib.loads(dump_toml(config)), where="dump") == config


def test_the_dump_is_plain_readable_toml() -> None:
    assert dump_toml(Train(optimizer=Optimizer(lr=1e-15))) == (
        'group_size = 8\nbetas = [0.9, 0.95]\n\n[optimizer]\nlr = 1e-15\nwarmup = "none"\nkind = "adamw"\n'
    )


def test_every_character_survives_the_dump() -> None:
    config = Root(name='"\\ \x7f\x00\t\n\u00e9\U0001f600', train=Train())
    assert parse(dump_toml(config)) == config


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_recipe_inherits_and_overrides_win(tmp_path: Path) -> None:
    write(tmp_path, "root.toml", 'name = "root"\nlayers = [1, 2]\n[train]\ngroup_size = 4\n[train.optimizer]\nlr = 1.0')
    write(tmp_path, "middle.toml", 'base = "root"\n[train.optimizer]\nwarmup = 7')
    leaf = write(tmp_path, "leaf.toml", 'base = "middle.toml"\nlayers = [3]')
    overrides = ["train.optimizer.kind=sgd", "train.optimizer.warmup=none", "train.optimizer.lr = 2e-3", "name=a=b"]
    config = load_recipe(Root, leaf, overrides, folder=tmp_path)
    assert config == Root(
        name="a=b",
        layers=(3,),
        train=Train(group_size=4, optimizer=Optimizer(lr=2e-3, kind="sgd")),
    )
    assert load_recipe(Root, "leaf", folder=tmp_path).train.optimizer == Optimizer(lr=1.0, warmup=7)


def test_layers_are_judged_together(tmp_path: Path) -> None:
    write(tmp_path, "bad-alone.toml", "[train]\ngroup_size = 1")
    leaf = write(tmp_path, "leaf.toml", 'base = "bad-alone"\n[train]\ngroup_size = 2')
    assert load_recipe(Root, leaf, folder=tmp_path).train.group_size == 2


def test_the_layer_at_fault_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, "root.toml", "[train]\ngroup = 4")
    leaf = write(tmp_path, "leaf.toml", 'base = "root"')
    with pytest.raises(ConfigError) as in_base:
        load_recipe(Root, leaf, folder=tmp_path)
    assert str(in_base.value).startswith(f"{root}: unknown key 'train.group'")
    good = write(tmp_path, "good.toml", "")
    with pytest.raises(ConfigError, match=r"^--set layers=\[1,'a'\]: 'layers\[1\]' must be an integer"):
        load_recipe(Root, good, ["layers=[1,'a']"], folder=tmp_path)


@pytest.mark.parametrize("text", ["train.lr", "=3", "a..b=1", ".a=1"])
def test_a_malformed_override_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "r.toml", "")
    with pytest.raises(ConfigError, match="--set needs key=value"):
        load_recipe(Root, path, [text])


def test_an_override_sets_one_key_only(tmp_path: Path) -> None:
    path = write(tmp_path, "r.toml", "")
    assert load_recipe(Root, path, ["name=1\nshare = false"]).share is True


def test_overrides_go_on_top_of_a_config_too() -> None:
    config = parse('name = "a"\nlayers = [1]\n[train]\ngroup_size = 5\n[judge]\nlr = 0.5')
    changed = with_overrides(config, ["train.group_size=7", "speed=2.0"])
    assert changed == parse('name = "a"\nlayers = [1]\nspeed = 2.0\n[train]\ngroup_size = 7\n[judge]\nlr = 0.5')
    assert with_overrides(config, []) is config
    with pytest.raises(ConfigError, match=r"--set train.group_siz=7.*group_size"):
        with_overrides(config, ["train.group_siz=7"])


def test_a_circle_of_recipes_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", 'base = "b"')
    path = write(tmp_path, "b.toml", 'base = "a"')
    with pytest.raises(ConfigError, match="inherit in a circle: b -> a -> b"):
        load_recipe(Root, path, folder=tmp_path)


def test_a_missing_recipe_lists_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, "mini.toml", "")
    write(tmp_path, "world-r1-small.toml", "")
    with pytest.raises(InputError, match=r"no recipe 'mimi'; did you mean 'mini'\?; .* are mini, world-r1-small"):
        load_recipe(Root, "mimi", folder=tmp_path)
    with pytest.raises(InputError, match=r"no recipe file .*gone.toml; .* mini, world-r1-small"):
        load_recipe(Root, str(tmp_path / "gone.toml"), folder=tmp_path)
    assert recipe_names(tmp_path) == ("mini", "world-r1-small")


@pytest.mark.parametrize("content", [b"a = ", b"a = \xff", b"base = 3"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"r\.toml"):
        load_recipe(Root, str(path))
