// The emulated CUDA kernels as one more table of CPU kernels, so that every test of an op runs on
// them unchanged.
#include "../../csrc/cpu/kernels.h"

#include <vector>

#include "../../csrc/cpu/denormals.h"
#include "../../csrc/cuda/launch.h"

namespace effebm::emulator {
namespace {

// As the ops do, nothing is launched where there is nothing to do.
template <auto launch, class Params>
void run(const Params& p, const cpu::Threads&) {
  if (p.rows == 0 || p.dim == 0) return;
  const cpu_kernels::KeepDenormals as_a_gpu_does;
  launch(p, nullptr);
}

void launch_step(const LangevinStepParams& p, void* stream) {
  std::vector<double> workspace(size_t(cuda::step_workspace(p)));  // wide enough for any type
  cuda::launch_langevin_step(p, workspace.data(), stream);
}

}  // namespace
}  // namespace effebm::emulator

extern "C" __attribute__((visibility("default"))) const effebm::cpu::Kernels*
effebm_emulated_kernels() {
  using namespace effebm;
  using emulator::run;
  static const cpu::Kernels table = {"emulated CUDA",
                                     &run<&emulator::launch_step>,
                                     &run<&cuda::launch_topk>,
                                     &run<&cuda::launch_block_sign>,
                                     &run<&cuda::launch_pack_signs>,
                                     &run<&cuda::launch_unpack_signs>,
                                     &run<&cuda::launch_pack_entries>};
  return &table;
}
