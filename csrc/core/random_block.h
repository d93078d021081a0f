// Random-block of a row: k neighbours from a random one on, where the first element follows the
// last.
#pragma once

#include "compressors.h"

namespace effebm::inline EFFEBM_ISA::core {

class RandomBlock {
 public:
  // The block of a chain; its random number is that of the chain's first element.
  EFFEBM_HD RandomBlock(const CompressorParams& p, int64_t row, int64_t dim)
      : dim_(dim), k_(p.compressor_size) {
    const uint64_t word = draw(stream_of(p, Purpose::compression), chain_of(p, row), 0).w[0];
    const uint64_t upper = uint64_t(dim) >> 32, lower = uint64_t(dim) & 0xFFFFFFFFu;
    start_ = int64_t(word * upper + (word * lower >> 32));  // word * dim >> 32
  }

  EFFEBM_HD int64_t start() const { return start_; }

  EFFEBM_HD bool holds(int64_t i) const {
    return (i < start_ ? i - start_ + dim_ : i - start_) < k_;
  }

  // f(first, last) for the stretches of [begin, end) that the block holds, at most two.
  template <class F>
  void for_parts(int64_t begin, int64_t end, const F& f) const {
    const int64_t over = start_ + k_ - dim_;  // how many elements from the first one on
    const auto part = [&](int64_t first, int64_t last) {
      first = first < begin ? begin : first;
      last = last < end ? last : end;
      if (first < last) f(first, last);
    };
    part(0, over);
    part(start_, over > 0 ? dim_ : start_ + k_);
  }

 private:
  int64_t dim_, k_, start_;
};

}  // namespace effebm::inline EFFEBM_ISA::core
