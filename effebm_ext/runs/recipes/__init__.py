"""The objectives that a run can train by, one recipe for each."""

from effebm_ext.runs.recipes.contrastive import CONTRASTIVE
from effebm_ext.runs.recipes.jarzynski import JARZYNSKI
from effebm_ext.runs.recipes.particle import PARTICLE
from effebm_ext.runs.recipes.recipe import Recipe
from effebm_ext.runs.recipes.score_matching import SCORE_MATCHING

RECIPES = {r.name: r for r in (CONTRASTIVE, JARZYNSKI, PARTICLE, *SCORE_MATCHING)}

__all__ = ["RECIPES", "Recipe"]
