"""Objectives: methods of training, each of which joins a loss with its chains."""

from effebm_ext.objectives.contrastive import Contrastive
from effebm_ext.objectives.jarzynski import Jarzynski
from effebm_ext.objectives.objective import Chains, Loss, Objective
from effebm_ext.objectives.particle import ParticleDynamics
from effebm_ext.objectives.score_matching import ScoreMatching

__all__ = [
    "Chains",
    "Contrastive",
    "Jarzynski",
    "Loss",
    "Objective",
    "ParticleDynamics",
    "ScoreMatching",
]
