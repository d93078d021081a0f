// The CPU kernels, torch-free. They are compiled once per instruction set into a table each;
// kernels() is the table for this machine.
#pragma once

#include "../core/kernels.h"

namespace effebm::cpu {

// The kernels for one instruction set by its name, or null where the machine lacks it.
const Kernels* kernels_for(const char* name);

// Chosen at the first call: the best the processor has, lowered by the environment variable
// ATEN_CPU_CAPABILITY (default, avx2, avx512) as PyTorch's own kernels are.
const Kernels& kernels();

}  // namespace effebm::cpu

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

EFFEBM_KERNELS(EFFEBM_DECLARE_KERNEL)

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
