"""Training runs made from a configuration: the layer between the command line and the library."""

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.model import TrainedModel, load_model
from effebm_ext.runs.trainer import make_sampler, make_trainer

__all__ = [
    "Dataset",
    "TrainConfig",
    "TrainedModel",
    "load",
    "load_model",
    "make_sampler",
    "make_trainer",
]
