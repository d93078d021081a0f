"""The options of the commands: those of a configuration, by groups, and what other options need."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import cloup
import torch

from effebm_ext.runs.config import TrainConfig, choices, option_group
from effebm_ext.runs.options.fields import declared_types, flag, kind_of

Command = TypeVar("Command", bound=Callable[..., Any])
# The headings of the help, in their order; the options of single objectives come after them.
GROUPS = ("Data", "Objective", "Model", "Chains", "Replay buffer", "Optimiser", "Evaluation",
          "Speed", "Run")  # fmt: skip
_GROUPS = {title: cloup.OptionGroup(title) for title in GROUPS}
_TYPES = declared_types(TrainConfig)


class _Path(click.Path):
    """A path; a leading ``~`` is the home folder, also where the shell leaves it in quotes."""

    def convert(self, value: Any, parameter: Any, context: Any) -> Any:
        return super().convert(os.path.expanduser(value), parameter, context)


class _Folder(_Path):
    """A path that is not empty: an empty one, as of a variable that is not set, would be the
    current folder."""

    def convert(self, value: Any, parameter: Any, context: Any) -> Any:
        if not str(value):
            self.fail("expected a folder, got an empty name", parameter, context)
        return super().convert(value, parameter, context)


PATH, FOLDER = _Path(path_type=Path), _Folder(path_type=Path)

objective_group, speed_group = _GROUPS["Objective"], _GROUPS["Speed"]
run_group = _GROUPS["Run"]


def config_options(command: Command) -> Command:
    """Gives a command an option for every field of the configuration, under its heading."""
    titles = {field.name: option_group(field.name) for field in dataclasses.fields(TrainConfig)}
    groups = dict(_GROUPS)
    for title in titles.values():
        groups.setdefault(title, cloup.OptionGroup(title))
    order = list(groups)
    for name in sorted(titles, key=lambda name: order.index(titles[name]))[::-1]:
        command = _config_option(name, groups[titles[name]])(command)
    return command


def _config_option(name: str, group: cloup.OptionGroup) -> Callable[[Command], Command]:
    field = TrainConfig.__dataclass_fields__[name]
    declaration, kind = flag(name), kind_of(_TYPES[name])
    shape: dict[str, Any] = {"type": kind, "show_default": True}
    if kind is bool:  # a file may set what a flag has to take back
        declaration, shape = f"{flag(name)}/{flag(f'no_{name}')}", {}
    elif field.metadata["metavar"]:
        shape["metavar"] = field.metadata["metavar"]
    elif choices(name):  # the configuration checks them, also those from a file
        shape["metavar"] = f"[{'|'.join(choices(name))}]"
    text = field.metadata["help"]
    return cloup.option(declaration, default=field.default, help=text, group=group, **shape)


def threads(group: cloup.OptionGroup | None = None) -> Callable[[Command], Command]:
    """Makes the option ``--threads``, torch's number of threads until the command ends. It belongs
    to the call and not to the configuration of a run."""
    return cloup.option(
        "--threads", type=click.IntRange(min=1), expose_value=False, callback=_set_threads,
        metavar="N", group=group,
        help="Compute on this many threads in this call. [default: torch's own choice]",
    )  # fmt: skip


def _set_threads(context: click.Context, _: click.Parameter, n: int | None) -> None:
    if n is not None:
        before = torch.get_num_threads()
        context.call_on_close(lambda: torch.set_num_threads(before))
        torch.set_num_threads(n)
