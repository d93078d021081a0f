// drift on CUDA.
#include "../ops/drift.h"

#include "step.h"

namespace effebm::cuda {
namespace {

void drift(StableIValue* stack, uint64_t, uint64_t) { ops::drift(stack, &run_step); }

}  // namespace
}  // namespace effebm::cuda

STABLE_TORCH_LIBRARY_IMPL(effebm, CUDA, m) { m.impl("drift", &effebm::cuda::drift); }
