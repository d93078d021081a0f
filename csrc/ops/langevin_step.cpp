// langevin_step_ and langevin_step: compress + step + noise + bounds in one pass.
#include "langevin_step.h"

namespace effebm::ops {
namespace {

void run_on_cpu(const LangevinStepParams& params, const Tensor&) {
  cpu::kernels().langevin_step(params, torch_threads());
}

void langevin_step_inplace_cpu(StableIValue* stack, uint64_t, uint64_t) {
  langevin_step_inplace(stack, &run_on_cpu);
}

void langevin_step_cpu(StableIValue* stack, uint64_t, uint64_t) {
  langevin_step_functional(stack, &run_on_cpu);
}

}  // namespace
}  // namespace effebm::ops

// What both ops take besides their tensors, in the order of the schemas. Sizes are SymInt, and
// scalars also come as tensors, so that torch.compile need not recompile when they change.
#define EFFEBM_STEP_SCHEMA                                                           \
  "Tensor key, SymInt offset, SymInt first_chain, "                                  \
  "float step_size, Tensor? step_sizes=None, "                                       \
  "float? noise_std=None, Tensor? noise_stds=None, "                                 \
  "int compressor=0, SymInt compressor_size=0, Tensor? block_offsets=None, "         \
  "int clip=0, float clip_limit=0, int bounds=0, float lower=0, float upper=0, int " \
  "rounding=0"

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def(
      "langevin_step_(Tensor(a!) x, Tensor grad, Tensor(b!)? residual, Tensor(c!)? "
      "row_sums, " EFFEBM_STEP_SCHEMA ") -> ()");
  m.def("langevin_step(Tensor x, Tensor grad, " EFFEBM_STEP_SCHEMA ") -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(effebm, CPU, m) {
  m.impl("langevin_step_", &effebm::ops::langevin_step_inplace_cpu);
  m.impl("langevin_step", &effebm::ops::langevin_step_cpu);
}
