// topk_compress on any device.
#pragma once

#include "../core/topk.h"
#include "common.h"

namespace effebm::ops {

// `run` does the work on the device of x; there is at least one element.
inline Tensor topk_compress(const Tensor& x, int64_t k,
                            void (*run)(const TopkParams&, const Tensor& x)) {
  const Rows rows = rows_of(x);
  STD_TORCH_CHECK(k >= 0 && k <= rows.dim, "k: expected 0 <= k <= ", rows.dim, ", got ", k);
  const Tensor in = dense(x);
  const Tensor out = new_contiguous(in);
  const TopkParams params{dtype_of(in),          rows.count, rows.dim, k, in.const_data_ptr(),
                          out.mutable_data_ptr()};
  if (x.numel() > 0) run(params, in);
  return out;
}

}  // namespace effebm::ops
