"""Writes the curves and pictures of a run as event files, for ``tensorboard --logdir RUN``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure


def check_installed() -> None:
    """Raises ModuleNotFoundError, which says what to install, if TensorBoard is missing."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ModuleNotFoundError(
            "tensorboard: it is missing: pip install 'effebm_ext[tensorboard]'"
        ) from error


def event_files(folder: Path) -> list[Path]:
    """Returns the event files in the folder, which need not exist."""
    return list(folder.glob("events.out.tfevents.*"))


class TensorBoardLog:
    """Writes event files into a folder, as a context manager.

    Args:
        folder: the folder of the event files. Iterations after ``history`` are made again, and
            TensorBoard no longer shows their earlier events (purge_step of SummaryWriter).
        history: the metrics of all iterations so far; written if there are no event files yet.
    """

    def __init__(self, folder: Path, history: Sequence[dict[str, float]]) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        known = len(history) if event_files(folder) else 0
        self._writer = SummaryWriter(str(folder), purge_step=known + 1)
        for metrics in history[known:]:
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
