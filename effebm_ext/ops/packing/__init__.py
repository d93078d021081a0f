"""Compressed tensors in less memory, without loss: one file for every form."""

from effebm_ext.ops.packing.block import PackedBlock
from effebm_ext.ops.packing.entries import PackedEntries
from effebm_ext.ops.packing.packed import Packed
from effebm_ext.ops.packing.signs import PackedSigns
from effebm_ext.ops.packing.upper_bits import PackedUpperBits

__all__ = ["Packed", "PackedBlock", "PackedEntries", "PackedSigns", "PackedUpperBits"]
