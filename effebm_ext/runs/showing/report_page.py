"""A page about a run, ``report.html``: one file that a browser shows without any other."""

from __future__ import annotations

import base64
import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import jinja2

from effebm_ext.runs.atomic_files import write_text
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.evaluation.saved import read_evaluation
from effebm_ext.runs.folder.checkpoint import CHECKPOINT
from effebm_ext.runs.folder.metrics_log import whole_lines
from effebm_ext.runs.folder.run_files import (
    ANIMATION,
    CONFIG,
    CURVES,
    ENVIRONMENT,
    EVALUATION,
    FRAMES,
    METRICS,
    REPORT,
    SAMPLES,
    numbered,
    read_config,
)
from effebm_ext.runs.recipes import recipe_of

_MEANINGS = {
    "loss": "what training makes smaller; with chains its value alone says nothing",
    "grad_norm": "the norm of the gradient of the parameters, before it is bounded",
    "energy_gap": "the mean energy of the chains minus that of the data; about 0 is good",
    "denoising_loss": "how badly the energy takes the noise off the data; it falls",
    "chain_std": "the standard deviation of the chains; near that of the data with noise is good",
    "virial": "a mean over the chains that is 1 for samples of the model",
    "n_diverged": "the number of chains whose energy was not finite",
    "acceptance": "the share of the steps of the chains that were accepted",
    "ess": "how many walkers the weights are worth, as a share of all",
    "log_z": "the estimated log of the normalising constant, in nats",
    "cross_entropy": "the estimated cross-entropy of the batch, in nats; lower is better",
    "cross_entropy_forward": "the held-out cross-entropy in nats, which is too low on average",
    "cross_entropy_reverse": "the held-out cross-entropy in nats, which is too high on average",
}
_STRIP = 6  # pictures of the chains over the iterations
_TEMPLATE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ name }}</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
         padding: 0 1rem; }
  h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
  .verdict { font-size: 1.15rem; border-left: .3rem solid #4a7ebb; padding-left: 1rem; }
  img { max-width: 100%; height: auto; background: #fff; }
  .strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem; }
  figure { margin: 0; } figcaption { color: gray; font-size: .9rem; }
  pre { overflow-x: auto; font-size: .85rem; line-height: 1.35; }
  table { border-collapse: collapse; } td { padding: .1rem 1.5rem .1rem 0; vertical-align: top; }
  td:last-child { overflow-wrap: anywhere; }
</style>
<h1>{{ name }}</h1>
<p>{{ about }}</p>
{% if how_to_go_on %}<p>It was stopped. Go on with <code>{{ how_to_go_on }}</code></p>{% endif %}
{% if verdict %}<p class="verdict">{{ verdict }}</p>{% endif %}
{% if samples %}
<h2>Samples</h2>
<img src="{{ samples }}" alt="chains beside data">
{% endif %}
{% if strip %}
<h2>Over the iterations</h2>
<div class="strip">
{% for iteration, picture in strip %}
<figure><img src="{{ picture }}" alt=""><figcaption>iteration {{ iteration }}</figcaption></figure>
{% endfor %}
{% if animation %}
<figure><img src="{{ animation }}" alt=""><figcaption>all of them</figcaption></figure>
{% endif %}
</div>
{% endif %}
{% if curves %}
<h2>Curves</h2>
<img src="{{ curves }}" alt="metrics against the iteration">
<dl>
{% for name, meaning in legend %}<dt>{{ name }}</dt><dd>{{ meaning }}</dd>
{% endfor %}
</dl>
{% endif %}
{% if evaluation %}
<h2>Evaluation</h2>
<pre>{{ evaluation }}</pre>
{% endif %}
{% for title, rows in tables %}
<h2>{{ title }}</h2>
<table>
{% for option, value in rows %}<tr><td>{{ option }}</td><td>{{ value }}</td></tr>
{% endfor %}
</table>
{% endfor %}
</html>
""")


def write_report(path: Path) -> Path:
    """Writes ``report.html`` from the files of a run in the folder ``path``: the configuration and
    the environment, and if they are there the metrics, the pictures and the evaluation. Returns its
    path.

    Raises:
        FileNotFoundError: the folder has no config.json.
        ValueError: config.json is not a configuration.
    """
    config, page = read_config(path / CONFIG), path / REPORT
    evaluation, metrics = read_evaluation(path / EVALUATION), _last_metrics(path / METRICS)
    frames = numbered(path, FRAMES)
    shown = frames[:: max(1, -(-len(frames) // _STRIP))]
    write_text(
        page,
        _TEMPLATE.render(
            name=path.resolve().name,
            about=_about(config, metrics),
            verdict=evaluation and evaluation.verdict(),
            samples=_embedded(path / SAMPLES),
            strip=[(int(frame.stem), _embedded(frame)) for frame in shown],
            animation=_embedded(path / ANIMATION),
            curves=_embedded(path / CURVES),
            legend=[(name, text) for name, text in _MEANINGS.items() if name in metrics],
            how_to_go_on=_how_to_go_on(config, path, int(metrics["iteration"])),
            evaluation=evaluation and evaluation.table(),
            tables=_tables(config, path),
        ),
    )
    return page


def _last_metrics(log: Path) -> dict[str, float]:
    """Returns the last value of every metric in the log, without lines that are damaged."""
    last = {"iteration": 0.0, "seconds": 0.0}
    for metrics in whole_lines(log):
        last |= metrics
    return last


def _how_to_go_on(config: TrainConfig, path: Path, made: int) -> str:
    """Returns the command that resumes a run which has a checkpoint and iterations to make."""
    if made >= (config.iterations or 0) or not (path / CHECKPOINT).exists():
        return ""
    return f"effebm train --resume {shlex.quote(str(path))}"


def _about(config: TrainConfig, last: dict[str, float]) -> str:
    minutes = last["seconds"] / 60
    return (
        f"{config.data}, objective {config.objective}, {recipe_of(config)}: "
        f"{last['iteration']:.0f} of {config.iterations} iterations in {minutes:.1f} minutes."
    )


def _tables(config: TrainConfig, path: Path) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Returns the options that are not as they are by default, the others, and the environment."""
    options = dataclasses.asdict(config)
    changed = {k: v for k, v in options.items() if v != getattr(TrainConfig, k, None)}
    others = {k: v for k, v in options.items() if k not in changed}
    tables = [
        ("Options chosen", changed),
        ("Other options", others),
        ("Environment", _json(path / ENVIRONMENT)),
    ]
    return [(title, [(k, _shown(v)) for k, v in rows.items()]) for title, rows in tables if rows]


def _shown(value: Any) -> Any:
    """Returns a value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not given" if value is None else value


def _json(path: Path) -> dict[str, Any]:
    """Returns the content of a JSON file; nothing if the file is missing or damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content


def _embedded(path: Path) -> str | None:
    """Returns a picture as the address of itself, or None if there is no such file."""
    if not path.exists():
        return None
    text = base64.b64encode(path.read_bytes()).decode()
    return f"data:image/{path.suffix[1:]};base64,{text}"
