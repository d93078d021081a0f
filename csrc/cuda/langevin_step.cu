#include "../core/dtype.h"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Each storage type has a source of its own, so that a build compiles them at the same time.
template <class T>
void launch_step(const LangevinStepParams& p, const Execution& on);

extern template void launch_step<float>(const LangevinStepParams&, const Execution&);
extern template void launch_step<double>(const LangevinStepParams&, const Execution&);
extern template void launch_step<core::bfloat16>(const LangevinStepParams&, const Execution&);
extern template void launch_step<core::float16>(const LangevinStepParams&, const Execution&);

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

void langevin_step(const LangevinStepParams& p, const Execution& on) {
  core::dispatch(p.dtype, [&](auto zero) { cuda_kernels::launch_step<decltype(zero)>(p, on); });
}

}  // namespace effebm::cuda
