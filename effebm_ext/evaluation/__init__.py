"""Functions of tensors that judge whether a trained energy is a good model."""

from effebm_ext.evaluation.ais import (
    AIS,
    annealed_by_class,
    annealed_importance_sampling,
    gaussian_base,
)
from effebm_ext.evaluation.bennett import bennett
from effebm_ext.evaluation.convergence import bulk_ess, split_r_hat, tail_ess
from effebm_ext.evaluation.estimates import Estimate, cross_entropy, ess, log_mean_exp
from effebm_ext.evaluation.kernel_two_sample import TwoSample, kernel_two_sample
from effebm_ext.evaluation.mixture import (
    labelled_cross_entropy,
    mixture_cross_entropy,
    negative_log_density,
)
from effebm_ext.evaluation.ranking import auroc
from effebm_ext.evaluation.stein import SteinDiscrepancy, kernel_stein_discrepancy
from effebm_ext.evaluation.trajectory import (
    effective_sample_size,
    integrated_autocorrelation_time,
)
from effebm_ext.evaluation.virial import virial

__all__ = [
    "AIS",
    "Estimate",
    "SteinDiscrepancy",
    "TwoSample",
    "annealed_by_class",
    "annealed_importance_sampling",
    "auroc",
    "bennett",
    "bulk_ess",
    "cross_entropy",
    "effective_sample_size",
    "ess",
    "gaussian_base",
    "integrated_autocorrelation_time",
    "kernel_stein_discrepancy",
    "kernel_two_sample",
    "labelled_cross_entropy",
    "log_mean_exp",
    "mixture_cross_entropy",
    "negative_log_density",
    "split_r_hat",
    "tail_ess",
    "virial",
]
