// topk_compress: keep the k entries of largest magnitude of every row.
#include "kernels.h"

namespace effebm::ops {
namespace {

Tensor topk_compress(const Tensor& x, int64_t k) {
  const Rows rows = rows_of(x);
  STD_TORCH_CHECK(k >= 0 && k <= rows.dim, "k: expected 0 <= k <= ", rows.dim, ", got ", k);
  const Tensor in = dense(x);
  const Tensor out = new_contiguous(in);
  const TopkParams params{dtype_of(in),          rows.count, rows.dim, k, in.const_data_ptr(),
                          out.mutable_data_ptr()};
  if (x.numel() > 0) run(&Kernels::topk, params, in);
  return out;
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) { m.def("topk_compress(Tensor x, SymInt k) -> Tensor"); }

EFFEBM_IMPLEMENTATIONS(m) { m.impl("topk_compress", TORCH_BOX(&effebm::ops::topk_compress)); }
