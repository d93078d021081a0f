"""Files and recipes that take the place of the options' defaults."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import cloup

from effebm_ext.runs.command_line.cli_options import PATH, Command, objective_group, run_group
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.did_you_mean import did_you_mean
from effebm_ext.runs.folder.run_files import FORMAT
from effebm_ext.runs.options.fields import as_declared, declared_types, kind_of, wrong_choice
from effebm_ext.runs.recipes import RECIPES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DECLARED = {"integer": int, "integer range": int, "float": float, "boolean": bool}  # by click
# What a context knows the recipe and the configuration file by, each with its values; the values of
# a later one win.
_RECIPE, _FILE = _SOURCES = ("effebm_ext.recipe", "effebm_ext.file")


def config_file(command: Command) -> Command:
    """Gives a command the option ``--config``, whose file sets other options."""
    return cloup.option(
        "--config", type=PATH, is_eager=True, expose_value=False,
        callback=_read_config, metavar="FILE", group=run_group,
        help="Take options by their names from a TOML file, or from the config.json of a run to "
        "repeat it; flags on the command line win over the file.",
    )(command)  # fmt: skip


def chain_config_file(command: Command) -> Command:
    """Gives a command the option ``--config``, whose file sets options of the command and may have
    all those of a run (:func:`values_of_file`)."""
    return cloup.option(
        "--config", type=PATH, is_eager=True, expose_value=False,
        callback=_read_chain, metavar="FILE",
        help="Take the chain and the data that train makes of the config.json of a run, or of a "
        "TOML file; flags on the command line win over the file.",
    )(command)  # fmt: skip


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Lets the values in the file take the place of the options' defaults."""
    if path is not None:
        values, declared = _values(path), _declared(context)
        _take_recipe_of(context, path, values)
        unknown = sorted(values.keys() - declared)
        if unknown:
            meant = did_you_mean(unknown[0], declared)
            raise ValueError(f"config: {path} has names that are no options: {unknown}{meant}")
        _take_from_file(context, path, values, declared)


def _read_chain(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """The same with all options of the configuration, without those that only train has."""
    if path is not None:
        declared = {
            name: kind_of(kind) for name, kind in declared_types(TrainConfig).items()
        } | _declared(context)
        values = _values(path)
        _take_recipe_of(context, path, values)
        known = {name: value for name, value in values.items() if name in declared}
        _take_from_file(context, path, known, declared)


def _values(path: Path) -> dict[str, Any]:
    """Reads the values of options, under the names of their fields."""
    content = _content(path)
    if content.get("format") == FORMAT:
        del content["format"]
    values = {name.replace("-", "_"): value for name, value in content.items()}
    if len(values) < len(content):
        raise ValueError(f"config: {path} has a name twice, with - and with _")
    return values


def _declared(context: click.Context) -> dict[str, type]:
    """Returns the types of the options that a file may set."""
    return {
        parameter.name: _DECLARED.get(parameter.type.name, str)
        for parameter in context.command.params
        if parameter.name is not None and parameter.name not in ("config", "recipe")
    }


def _take_from_file(
    context: click.Context, path: Path, values: dict[str, Any], declared: dict[str, type]
) -> None:
    told = f"config: {path}"
    _take(context, _FILE, told, {
        name: as_declared(value, declared[name], f"{told}: {name}")
        for name, value in values.items()
        if value is not None  # in JSON it means that the option is not given
    })  # fmt: skip


def _take_recipe_of(context: click.Context, path: Path, values: dict[str, Any]) -> None:
    """Takes the recipe out of the values in a file, and its options unless the command line names
    a recipe, which wins whether it comes before the file or after it."""
    told, name = f"config: {path}", values.pop("recipe", None)
    if name is None:
        return
    name = as_declared(name, str, f"{told}: recipe")
    try:
        options = _options_of(name)
    except ValueError as error:
        raise ValueError(f"{told}: {error}") from error
    if _RECIPE not in context.meta:
        _take(context, _RECIPE, f"recipe: {name}", options)


def recipe(command: Command) -> Command:
    """Gives a command the option ``--recipe``, which sets other options."""
    return cloup.option(
        "--recipe", is_eager=True, expose_value=False, callback=_read_recipe,
        metavar=f"[{'|'.join(RECIPES)}]", group=objective_group,
        help="Take the options of this recipe, which effebm recipes lists; a file and flags on the "
        "command line win over it. [default: the recipe of the kind of the data]",
    )(command)  # fmt: skip


def _read_recipe(context: click.Context, _: click.Parameter, name: str | None) -> None:
    if name is None:
        return
    _take(context, _RECIPE, f"recipe: {name}", _options_of(name))


def _options_of(name: str) -> dict[str, Any]:
    """Returns the options of the recipe of this name."""
    if name not in RECIPES:
        raise ValueError(wrong_choice("recipe", tuple(RECIPES), name))
    return RECIPES[name].options


def _take(context: click.Context, source: str, told: str, values: dict[str, Any]) -> None:
    """Lets values take the place of the options' defaults; those of a file before a recipe's.
    Errors tell of their source by ``told``."""
    context.meta[source] = (told, values)
    context.default_map = {k: v for _, layer in _layers(context) for k, v in layer.items()}


def _layers(context: click.Context) -> list[tuple[str, dict[str, Any]]]:
    return [context.meta[source] for source in _SOURCES if source in context.meta]


def _content(path: Path) -> dict[str, Any]:
    """Reads a JSON file if it is called so, and else a TOML file."""
    if path.is_dir():
        raise IsADirectoryError(f"config: expected a file, {path} is a folder")
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text(encoding="utf-8-sig")  # a byte-order mark may come first
        content = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"config: no such file: {path}") from error
    except ValueError as error:
        raise ValueError(f"config: {path} is not a {kind} file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"config: expected names and values in {path}, got {content!r}")
    return content


def configuration(context: click.Context, options: dict[str, Any]) -> TrainConfig:
    """Makes the configuration of a command's options.

    Raises:
        TypeError, ValueError: as :class:`TrainConfig`; a message about a value that comes from the
            configuration file or from the recipe names this source.
        ValueError: step sizes shall begin anew in every iteration, and have no end.
    """
    try:
        config = TrainConfig(**options)
        _check_schedule(config)
        return config
    except ValueError as error:
        name = str(error).partition(":")[0]
        told = [told for told, values in _layers(context) if name in values]
        if not told or is_typed(context, name):
            raise
        raise ValueError(f"{told[-1]}: {error}") from error


def values_of_file(context: click.Context) -> dict[str, Any] | None:
    """Returns what the configuration file sets, or None if there is no file."""
    return context.meta[_FILE][1] if _FILE in context.meta else None


def _check_schedule(config: TrainConfig) -> None:
    """Refuses a schedule without an end. TrainConfig itself takes it, as earlier runs may have
    it."""
    anew = config.step_size_schedule == "iteration" and not config.verbatim  # which resolves to it
    if anew and config.step_size_end is None:
        raise ValueError(
            "step_size_schedule: expected none without a step_size_end, which the steps of an "
            "iteration go to, got iteration"
        )


def is_given(context: click.Context, name: str) -> bool:
    """Returns whether the command line or the configuration file sets a parameter."""
    source = context.get_parameter_source(name)
    given = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.DEFAULT_MAP)
    return source in given


def is_typed(context: click.Context, name: str) -> bool:
    """Returns whether the command line itself sets a parameter."""
    return context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
