// Block-Sign of a row: every entry becomes its sign times the mean magnitude of its block.
#pragma once

#include "arith.h"
#include "compressors.h"

namespace effebm::inline EFFEBM_ISA::core {

// The blocks of one row of dim elements: consecutive runs of `size` elements, the last of which may
// be short; or, where there are offsets, `count` from offsets[b] to offsets[b + 1], none empty.
class Blocks {
 public:
  EFFEBM_HD Blocks(int64_t dim, int64_t size, const int64_t* offsets, int64_t count)
      : dim_(dim), size_(size), offsets_(offsets), count_(count) {}

  // The length of all blocks but perhaps the last; 0 if there are offsets.
  EFFEBM_HD int64_t size() const { return offsets_ ? 0 : size_; }

  EFFEBM_HD int64_t begin(int64_t block) const {
    return offsets_ ? offsets_[block] : block * size_;
  }

  EFFEBM_HD int64_t end(int64_t block) const {
    if (offsets_) return offsets_[block + 1];
    const int64_t left = dim_ - block * size_;
    return left < size_ ? dim_ : block * size_ + size_;
  }

  // The block that holds position i < dim.
  EFFEBM_HD int64_t at(int64_t i) const {
    if (!offsets_) return i / size_;
    int64_t low = 0, high = count_;  // it is in [low, high)
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (offsets_[middle] <= i ? low : high) = middle;
    }
    return low;
  }

  // The first block that begins at i <= dim or later.
  EFFEBM_HD int64_t from(int64_t i) const { return i == 0 ? 0 : at(i - 1) + 1; }

  // Whether offsets give a block some elements, the first one those from the row's start and the
  // last one those up to its end. Where they do for every block, all blocks lie in the row.
  EFFEBM_HD bool is_sound(int64_t block) const {
    return begin(block) < end(block) && (block > 0 || begin(block) == 0) &&
           (block < count_ - 1 || end(block) == dim_);
  }

  EFFEBM_HD int64_t count() const { return count_; }  // where there are offsets

 private:
  int64_t dim_, size_;
  const int64_t* offsets_;
  int64_t count_;
};

EFFEBM_HD Blocks blocks_of(const CompressorParams& p, int64_t dim) {
  return {dim, p.compressor_size, p.block_offsets, p.n_blocks};
}

// An exact zero stays (positive) zero, also where the scale is not finite.
template <class A>
EFFEBM_HD A signed_scale(A v, A scale) {
  return v == A(0) ? A(0) : copysign(scale, v);
}

}  // namespace effebm::inline EFFEBM_ISA::core
