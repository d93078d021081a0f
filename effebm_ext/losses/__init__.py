"""Losses: pure functions of energies, or of an energy or a score and a batch."""

from effebm_ext.losses.contrastive import ContrastiveLoss, contrastive_divergence
from effebm_ext.losses.fd_score_matching import fd_dsm, fd_ssm, fd_ssm_vr
from effebm_ext.losses.finite_differences import directional_derivative
from effebm_ext.losses.score_matching import ScoreMatchingLoss, dsm, sm, ssm, ssm_vr

__all__ = [
    "ContrastiveLoss",
    "ScoreMatchingLoss",
    "contrastive_divergence",
    "directional_derivative",
    "dsm",
    "fd_dsm",
    "fd_ssm",
    "fd_ssm_vr",
    "sm",
    "ssm",
    "ssm_vr",
]
