"""The objectives that a run can train by, one method for each."""

from effebm_ext.runs.methods.contrastive import CONTRASTIVE
from effebm_ext.runs.methods.jarzynski import JARZYNSKI
from effebm_ext.runs.methods.method import Method
from effebm_ext.runs.methods.particle import PARTICLE
from effebm_ext.runs.methods.score_matching import SCORE_MATCHING

METHODS = {r.name: r for r in (CONTRASTIVE, JARZYNSKI, PARTICLE, *SCORE_MATCHING)}

__all__ = ["METHODS", "Method"]
