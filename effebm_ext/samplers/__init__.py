"""Samplers: states that move, one fused step at a time."""

from effebm_ext.samplers.langevin import Langevin
from effebm_ext.samplers.mala import MALA
from effebm_ext.samplers.sampler import Sampler
from effebm_ext.samplers.state import LangevinState, Run, StepInfo
from effebm_ext.samplers.trajectory import PackedTrajectory

__all__ = ["MALA", "Langevin", "LangevinState", "PackedTrajectory", "Run", "Sampler", "StepInfo"]
