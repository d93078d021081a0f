"""Objectives as pure functions of energies or of an energy and a batch."""

from effebm_ext.losses.contrastive import ContrastiveLoss, contrastive_divergence

__all__ = ["ContrastiveLoss", "contrastive_divergence"]
