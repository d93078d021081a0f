"""Methods hold what a configuration, the command line and a run must know about an objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from effebm_ext.objectives import Objective
from effebm_ext.runs.methods.setting import Setting
from effebm_ext.runs.options.common import CommonOptions


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """An objective without options of its own."""


@dataclasses.dataclass(frozen=True)
class Method:
    """Describes how runs train by one objective.

    Attributes:
        name: the value of the option ``objective``.
        make: makes the objective from the setting of a run and from its own options.
        options: a frozen dataclass of the options that only objectives like this one have, made by
            :func:`effebm_ext.runs.options.fields.option`. Methods may share an option: it must be
            the same in all of them.
        check: raises ValueError for options that do not go with the objective.
        defaults: maps a configuration and the kind of the data
            (:func:`effebm_ext.runs.data.dataset.kind_of`) to the options that a run of this
            objective chooses for None in place of the general defaults.
        shown: the metrics that the progress bar shows, if an iteration has them, with their
            formats.
        estimates: the metrics that the bar shows besides, with their formats, if an iteration has
            them and their standard error, ``NAME_error``.
        adds_noise: says of the objective's own options whether its loss adds ``data_noise`` to the
            data itself.
        moves_rarely: whether the chains move only once every ``checkpoint_every`` iterations, since
            the loss does not need them.
        takes_any_chains: whether the chains may be other than samples of ``exp(-E)`` on the whole
            space: of another temperature or noise, or within bounds.
        compresses_samples: whether samples that are drawn after training are compressed as the
            chains were.
    """

    name: str
    make: Callable[[Setting, Any], Objective]
    options: type = NoOptions
    check: Callable[[CommonOptions, Any], None] = lambda config, own: None
    defaults: Callable[[Any, str], Mapping[str, Any]] = lambda config, kind: {}
    shown: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"energy_gap": "+.3f"})
    estimates: Mapping[str, str] = dataclasses.field(default_factory=dict)
    adds_noise: Callable[[Any], bool] = lambda own: False
    moves_rarely: bool = False
    takes_any_chains: bool = False
    compresses_samples: bool = True

    def own(self, config: CommonOptions) -> Any:
        """Returns the options in ``config`` that belong to this objective, as an object of
        ``options``."""
        names = (field.name for field in dataclasses.fields(self.options))
        return self.options(**{name: getattr(config, name) for name in names})

    def progress(self, metrics: Mapping[str, float]) -> str:
        """Returns the text that the progress bar shows for an iteration's metrics."""
        texts = [
            f"{name.replace('_', ' ')} {metrics[name]:{form}}"
            for name, form in self.shown.items()
            if name in metrics
        ]
        texts += [
            f"{name.replace('_', ' ')} {metrics[name]:{form}} ± {metrics[f'{name}_error']:{form}}"
            for name, form in self.estimates.items()
            if f"{name}_error" in metrics
        ]
        return ", ".join(texts)
