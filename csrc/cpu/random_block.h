// Random-block of one row.
#pragma once

#include <algorithm>

#include "../core/random_block.h"
#include "row.h"
#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

template <class T>
class RandomBlockCompressor {
 public:
  using A = Compute<T>;

  RandomBlockCompressor(const RowInput<T>&, int64_t dim, const CompressorParams& p, int64_t r,
                        const Team&, Scratch&)
      : block_(p, r, dim) {}

  class Walk {
   public:
    Walk(const RandomBlockCompressor& whole, int, int64_t) : block_(whole.block_) {}

    const A* compress(int64_t at, int n, const A* u, A* room) {
      std::fill_n(room, n, A(0));
      block_.for_parts(at, at + n, [&](int64_t begin, int64_t end) {
        std::copy(u + (begin - at), u + (end - at), room + (begin - at));
      });
      return room;
    }

   private:
    const RandomBlock& block_;
  };

 private:
  RandomBlock block_;
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
