// compress: the op that only compresses.
#include "compressor.h"
#include "kernels.h"

namespace effebm::ops {
namespace {

void compress(StableIValue* stack, uint64_t, uint64_t) {
  Arguments next(stack);
  const Tensor in = dense(next.take<Tensor>());
  const CompressorArguments compressor{next};
  const KeyArguments<OptionalTensor> key{next};
  CompressParams p{};
  static_cast<CompressorParams&>(p) = compressor_params(in, compressor);
  add_key(in, key, p);
  const Rows rows = rows_of(in);
  const Tensor out = new_contiguous(in);
  p.dtype = dtype_of(in);
  p.rows = rows.count;
  p.dim = rows.dim;
  p.x = in.const_data_ptr();
  p.out = out.mutable_data_ptr();
  if (in.numel() > 0) run(&Kernels::compress, p, in);
  stack[0] = torch::stable::detail::from(out);
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def("compress(Tensor x, " EFFEBM_COMPRESSOR_SCHEMA ", " EFFEBM_KEY_SCHEMA ") -> Tensor");
}

EFFEBM_IMPLEMENTATIONS(m) { m.impl("compress", &effebm::ops::compress); }
