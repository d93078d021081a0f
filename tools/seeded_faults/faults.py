"""All faults."""

from __future__ import annotations

from fault import Fault
from faults_of_blocks import FAULTS_OF_BLOCKS
from faults_of_ops import FAULTS_OF_OPS
from faults_of_selection import FAULTS_OF_SELECTION

FAULTS: list[Fault] = [*FAULTS_OF_BLOCKS, *FAULTS_OF_SELECTION, *FAULTS_OF_OPS]
