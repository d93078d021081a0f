// block_sign_compress: every entry becomes its sign times the mean magnitude of its block.
#include "../core/block_sign.h"

#include "../cpu/kernels.h"
#include "common.h"

namespace effebm::ops {
namespace {

Tensor block_sign_compress_cpu(const Tensor& x, int64_t block_size,
                               std::optional<Tensor> block_offsets) {
  STD_TORCH_CHECK(!block_offsets, "block_offsets: not implemented yet");
  STD_TORCH_CHECK(block_size >= 1, "block_size: expected at least 1, got ", block_size);
  const Rows rows = rows_of(x);
  const Tensor in = torch::stable::contiguous(x);
  const Tensor out = new_contiguous(in);
  const BlockSignParams params{dtype_of(in), rows.count,          rows.dim,
                               block_size,   in.const_data_ptr(), out.mutable_data_ptr()};
  parallel_rows(rows,
                [&](int64_t begin, int64_t end) { cpu::kernels().block_sign(params, begin, end); });
  return out;
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def("block_sign_compress(Tensor x, SymInt block_size, Tensor? block_offsets) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(effebm, CPU, m) {
  m.impl("block_sign_compress", TORCH_BOX(&effebm::ops::block_sign_compress_cpu));
}
