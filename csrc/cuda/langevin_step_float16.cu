#include "langevin_step.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template void launch_step<core::float16>(const LangevinStepParams&, const Execution&);

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
