// Block-Sign in flat kernels: of blocks so short that they lie in the registers of a warp, and of
// blocks whose scales are known.
#pragma once

#include "../core/block_sign.h"
#include "flat_index.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// A block has `size` elements, a power of two, or fewer if it ends its row. It takes a power of two
// of neighbouring lanes, with N elements each.
class SignInLanes {
 public:
  static constexpr bool kCollective = true;

  SignInLanes() = default;
  SignInLanes(unsigned size, int64_t dim)
      : size_(size), are_whole_(dim % size == 0), reciprocal_(1.0f / float(size)) {}

  // Returns the number of neighbouring threads that have to be of one row, or 0 if a thread cannot
  // have so many elements.
  int unit(int N) const { return int(size_) / N; }

  template <class A, class Params, int N>
  __device__ void operator()(const Params& p, const Place& place, const A (&u)[N],
                             A (&c)[N]) const {
    const unsigned lanes = size_ / N;
    A magnitude[N];
    for (int i = 0; i < N; ++i) magnitude[i] = core::abs(u[i]);
    const A total = lanes_sum(magnitude, lanes);
    A scale = total * A(reciprocal_);
    if (!are_whole_) {
      const int64_t begin = place.begin - int64_t(unsigned(lane()) % lanes) * N;
      // The lanes of a block past the row's end have no use for the scale.
      if (p.dim - begin < int64_t(size_)) scale = divide(total, A(p.dim - begin));
    }
    for (int i = 0; i < N; ++i) c[i] = signed_scale(u[i], scale);
  }

 private:
  unsigned size_ = 0;
  bool are_whole_ = true;  // all blocks of a row
  float reciprocal_ = 0;   // of the size: exact, so that it multiplies as the size divides
};

// Returns the size of blocks that lie in the lanes of a warp: 4, 8, ..., 128; or 0 for others. A
// row that is one block is padded with zeros, which do not change its sum.
inline int size_in_lanes(int64_t dim, int64_t block_size) {
  for (int size = kQuad; size <= kWarpSize * kQuad; size *= 2)
    if (block_size == size || (block_size >= dim && dim <= size)) return size;
  return 0;
}

// The sums of the groups of 1024 entries into which a row's blocks are cut, and then the scales of
// the blocks.
struct GroupSums {
  void* sums;  // compute type
  int64_t per_row;

  // Returns the index of the sum of the group that begins at `begin` in a block. The block's next
  // group has the next index, and groups of other blocks have other indices. The first is also the
  // index of the block's scale.
  static __device__ int64_t index(int64_t block, int64_t begin) {
    return block + begin / kSumWidth;
  }
  static int64_t count(int64_t dim, int64_t n_blocks) { return n_blocks + dim / kSumWidth + 1; }
};

// Block-Sign of any blocks whose scales are known.
class SignByScales {
 public:
  static constexpr bool kCollective = false;

  SignByScales() : blocks_(0, 1, nullptr, 0), groups_{} {}
  SignByScales(const Blocks& blocks, const GroupSums& groups, int64_t dim)
      : blocks_(blocks), groups_(groups) {
    if (blocks.size() == 0 || dim >= int64_t(1) << 31) return;
    of_block_ = Divider(uint32_t(std::min(blocks.size(), dim)));
    divides_ = true;
  }

  int unit(int) const { return 1; }

  template <class A, class Params, int N>
  __device__ void operator()(const Params&, const Place& place, const A (&u)[N], A (&c)[N]) const {
    const A* scales = static_cast<const A*>(groups_.sums) + place.row * groups_.per_row;
    int64_t block =
        divides_ ? int64_t(of_block_.quotient(uint32_t(place.begin))) : blocks_.at(place.begin);
    int64_t end = blocks_.end(block);
    A scale = scales[GroupSums::index(block, blocks_.begin(block))];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (place.begin + i == end && i < place.n) {
        scale = scales[GroupSums::index(++block, end)];
        end = blocks_.end(block);
      }
      c[i] = signed_scale(u[i], scale);
    }
  }

 private:
  Blocks blocks_;
  GroupSums groups_;
  Divider of_block_;
  bool divides_ = false;  // in 32 bits
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
