// The blocks of Block-Sign, checked.
#pragma once

#include "../core/block_sign.h"
#include "common.h"

namespace effebm::ops {

// The blocks as the kernels take them.
struct BlockArguments {
  const int64_t* offsets = nullptr;
  int64_t count = 0;
};

// The blocks of rows of dim, which lie where x does. Offsets on the CPU are looked at here; those
// on a GPU, for which the host would have to wait, by the kernels.
inline BlockArguments block_arguments(const Tensor& x, int64_t dim, int64_t block_size,
                                      const OptionalTensor& offsets) {
  if (!offsets) {
    STD_TORCH_CHECK(block_size >= 1, "block_size: expected at least 1, got ", block_size);
    return {};
  }
  check_dtype_and_device(x, *offsets, ScalarType::Long, "block_offsets");
  STD_TORCH_CHECK(offsets->dim() == 1 && offsets->size(0) >= 2 && offsets->is_contiguous(),
                  "block_offsets: expected int64 (n_blocks + 1,)");
  const BlockArguments blocks{offsets->const_data_ptr<int64_t>(), offsets->size(0) - 1};
  const core::Blocks found(dim, block_size, blocks.offsets, blocks.count);
  const int64_t seen = offsets->is_cpu() ? blocks.count : 0;
  for (int64_t b = 0; b < seen; ++b)
    STD_TORCH_CHECK(found.is_sound(b), "block_offsets: expected integers that rise from 0 to ", dim,
                    ", the elements of a row, got block ", b, " from ", found.begin(b), " to ",
                    found.end(b));
  return blocks;
}

}  // namespace effebm::ops
