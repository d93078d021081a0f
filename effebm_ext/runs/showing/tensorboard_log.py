"""Writes the curves and pictures of a run as event files, for ``tensorboard --logdir RUN``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from effebm_ext.runs.folder.run_files import TENSORBOARD, numbered


def check_installed() -> None:
    """Raises ModuleNotFoundError, which says what to install, if TensorBoard is missing."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ModuleNotFoundError(
            "tensorboard: it is missing: pip install 'effebm_ext[tensorboard]'"
        ) from error


class TensorBoardLog:
    """Writes event files into a folder, as a context manager.

    Args:
        folder: the folder of the event files. Iterations that come are perhaps made again, and
            TensorBoard no longer shows their earlier events (purge_step of SummaryWriter).
        history: the metrics of the iterations so far; written if there are no event files yet.
        iterations: how many have been made; ``history`` may lack some.
    """

    def __init__(self, folder: Path, history: Sequence[dict[str, float]], iterations: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        known = bool(numbered(folder.parent, TENSORBOARD))
        self._writer = SummaryWriter(str(folder), purge_step=iterations + 1 if known else 1)
        for metrics in history if not known else ():
            self.metrics(metrics)

    def metrics(self, metrics: dict[str, float]) -> None:
        """Writes a scalar for each metric; TensorBoard keeps the time itself."""
        for name, value in metrics.items():
            if name not in ("iteration", "seconds"):
                self._writer.add_scalar(name, value, int(metrics["iteration"]))

    def samples(self, figure: Figure, iteration: int) -> None:
        """Writes the figure; on return everything given so far is in the file."""
        self._writer.add_figure("samples", figure, iteration)
        self._writer.flush()

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
