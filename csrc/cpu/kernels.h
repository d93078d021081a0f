// The CPU kernels, torch-free. They are compiled once per instruction set into a table each;
// kernels() is the table for this machine.
#pragma once

#include <cstdint>

#include "../core/block_sign.h"
#include "../core/langevin_step.h"
#include "../core/topk.h"

namespace effebm::cpu {

// Every kernel works on rows [begin, end), so that the caller can spread rows over threads.
struct Kernels {
  const char* name;
  void (*langevin_step)(const LangevinStepParams&, int64_t begin, int64_t end);
  void (*topk)(const TopkParams&, int64_t begin, int64_t end);
  void (*block_sign)(const BlockSignParams&, int64_t begin, int64_t end);
};

// The kernels for one instruction set by its name, or null where the machine lacks it.
const Kernels* kernels_for(const char* name);

// Chosen at the first call: the best the processor has, lowered by the environment variable
// ATEN_CPU_CAPABILITY (default, avx2, avx512) as PyTorch's own kernels are.
const Kernels& kernels();

// For tests: runs these kernels instead from now on, or the machine's own again for null.
void use_kernels(const Kernels*);

}  // namespace effebm::cpu

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

void langevin_step(const LangevinStepParams&, int64_t begin, int64_t end);
void topk(const TopkParams&, int64_t begin, int64_t end);
void block_sign(const BlockSignParams&, int64_t begin, int64_t end);

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
