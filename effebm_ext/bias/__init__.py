"""The bias that compression and the step size leave in a Langevin chain, from closed forms."""

from effebm_ext.bias.prediction import PredictedBias, predicted_bias, step_size_for_bias

__all__ = ["PredictedBias", "predicted_bias", "step_size_for_bias"]
