#include "langevin_step.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template void launch_step<float>(const LangevinStepParams&, const Execution&);

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
