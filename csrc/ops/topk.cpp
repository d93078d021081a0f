// topk_compress: keep the k entries of largest magnitude of every row.
#include "topk.h"

namespace effebm::ops {
namespace {

void run_on_cpu(const TopkParams& params, const Tensor&) {
  cpu::kernels().topk(params, torch_threads());
}

Tensor topk_compress_cpu(const Tensor& x, int64_t k) { return topk_compress(x, k, &run_on_cpu); }

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) { m.def("topk_compress(Tensor x, SymInt k) -> Tensor"); }

STABLE_TORCH_LIBRARY_IMPL(effebm, CPU, m) {
  m.impl("topk_compress", TORCH_BOX(&effebm::ops::topk_compress_cpu));
}
