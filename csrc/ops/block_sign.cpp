// block_sign_compress: every entry becomes its sign times the mean magnitude of its block.
#include "block_sign.h"

#include "kernels.h"

namespace effebm::ops {
namespace {

Tensor block_sign_compress(const Tensor& x, int64_t block_size, OptionalTensor block_offsets) {
  const Rows rows = rows_of(x);
  const BlockArguments blocks = block_arguments(x, rows.dim, block_size, block_offsets);
  const Tensor in = dense(x);
  const Tensor out = new_contiguous(in);
  const BlockSignParams params{dtype_of(in),
                               rows.count,
                               rows.dim,
                               block_size,
                               blocks.offsets,
                               blocks.count,
                               in.const_data_ptr(),
                               out.mutable_data_ptr()};
  if (x.numel() > 0) run(&Kernels::block_sign, params, in);
  return out;
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def("block_sign_compress(Tensor x, SymInt block_size, Tensor? block_offsets) -> Tensor");
}

EFFEBM_IMPLEMENTATIONS(m) {
  m.impl("block_sign_compress", TORCH_BOX(&effebm::ops::block_sign_compress));
}
