// block_sign_compress on any device.
#pragma once

#include "../core/block_sign.h"
#include "common.h"

namespace effebm::ops {

// `run` does the work on the device of x; there is at least one element.
inline Tensor block_sign_compress(const Tensor& x, int64_t block_size,
                                  std::optional<Tensor> block_offsets,
                                  void (*run)(const BlockSignParams&, const Tensor& x)) {
  const Rows rows = rows_of(x);
  STD_TORCH_CHECK(!block_offsets, "block_offsets: not implemented yet");
  STD_TORCH_CHECK(block_size >= 1, "block_size: expected at least 1, got ", block_size);
  const Tensor in = dense(x);
  const Tensor out = new_contiguous(in);
  const BlockSignParams params{dtype_of(in), rows.count,          rows.dim,
                               block_size,   in.const_data_ptr(), out.mutable_data_ptr()};
  if (x.numel() > 0) run(params, in);
  return out;
}

}  // namespace effebm::ops
