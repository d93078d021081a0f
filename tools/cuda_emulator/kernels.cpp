// The emulated CUDA kernels as one more table of kernels on the CPU, so that every test of an op
// runs on them unchanged.
#include "../../csrc/cuda/kernels.h"

#include <vector>

#include "../../csrc/cpu/denormals.h"
#include "runtime.h"

namespace effebm::emulator {
namespace {

// Returns memory that is filled with garbage.
void* allocate(void* owner, int64_t bytes) {
  if (diversion().allocate) return diversion().allocate(bytes);
  auto& memory = *static_cast<std::vector<double>*>(owner);
  memory.assign(size_t(bytes + 7) / 8, -0x1.5a5a5a5a5a5a5p400);
  return memory.data();
}

// Nothing is launched where there is nothing to do, as in the ops.
template <class Params, Kernel<Params> kernel>
void run(const Params& p, const Execution&) {
  if (p.rows == 0 || p.dim == 0) return;
  const cpu_kernels::KeepDenormals as_a_gpu_does;
  std::vector<double> memory;
  kernel(p, {.allocator = &allocate, .owner = &memory});
}

#define EFFEBM_ENTRY(name, Params) &run<Params, &cuda::name>,
const Kernels table = {"emulated CUDA", EFFEBM_KERNELS(EFFEBM_ENTRY)};

}  // namespace
}  // namespace effebm::emulator

extern "C" __attribute__((visibility("default"))) const effebm::Kernels* effebm_emulated_kernels() {
  return &effebm::emulator::table;
}
