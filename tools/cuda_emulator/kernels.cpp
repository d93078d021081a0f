// The emulated CUDA kernels as one more table of CPU kernels, so that every test of an op runs on
// them unchanged.
#include "../../csrc/cpu/kernels.h"

#include <type_traits>
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
  if constexpr (std::is_invocable_v<decltype(launch), const Params&, void*, void*>) {
    const size_t doubles = size_t(cuda::workspace_of(p) + 7) / 8;
    std::vector<double> workspace(doubles, -0x1.5a5a5a5a5a5a5p400);  // as good as garbage
    launch(p, workspace.data(), nullptr);
  } else {
    launch(p, nullptr);
  }
}

}  // namespace
}  // namespace effebm::emulator

extern "C" __attribute__((visibility("default"))) const effebm::cpu::Kernels*
effebm_emulated_kernels() {
  using namespace effebm;
  using emulator::run;
  static const cpu::Kernels table = {"emulated CUDA",
                                     &run<&cuda::launch_langevin_step>,
                                     &run<&cuda::launch_topk>,
                                     &run<&cuda::launch_block_sign>,
                                     &run<&cuda::launch_pack_signs>,
                                     &run<&cuda::launch_unpack_signs>,
                                     &run<&cuda::launch_pack_entries>,
                                     &run<&cuda::launch_perturb>};
  return &table;
}
