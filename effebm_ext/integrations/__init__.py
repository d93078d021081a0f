"""Samplers that other libraries take in the place of their own; each needs its library installed.

:mod:`effebm_ext.integrations.torchebm` and :mod:`effebm_ext.integrations.ebmkit` have a
``LangevinDynamics`` each, and docs/drop_in.md says which argument maps to which.
"""
