// Block-Sign of one row.
#pragma once

#include <vector>

#include "../core/block_sign.h"
#include "sums.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

template <class T>
class BlockSignCompressor {
 public:
  using A = Compute<T>;

  BlockSignCompressor(const RowInput<T>& row, int64_t dim, const CompressorParams& p, int64_t,
                      const Team& team, Scratch& scratch)
      : row_(row), dim_(dim), blocks_(blocks_of(p, dim)) {
    if (team.parts() == 1) return;
    if (blocks_.from(dim) * kChunk < dim)  // of which there are fewer than chunks
      find_scales(team, scratch);
    else
      find_carried(team);
  }

  // Compresses one part of the row from its begin to its end.
  class Walk {
   public:
    Walk(const BlockSignCompressor& whole, int part, int64_t begin)
        : whole_(whole),
          part_(size_t(part)),
          block_(whole.blocks_.from(begin) - 1),
          block_end_(begin) {
      if (begin == whole.dim_ || block_ < 0 || whole.blocks_.end(block_) == begin) return;
      block_end_ = whole.blocks_.end(block_);
      scale_ = whole.scales_.empty() ? whole.carried_[part_] : whole.scales_[size_t(block_)];
    }

    // The compressed n <= kChunk elements from `at` on, of input u: in `room`, or where they are.
    const A* compress(int64_t at, int n, const A* u, A* room) {
      for (int i = 0; i < n;) {
        if (at + i == block_end_) start_block(at, n, u);
        const int stop = int(std::min<int64_t>(block_end_ - at, n));
        for (; i < stop; ++i) room[i] = signed_scale(u[i], scale_);
      }
      return room;
    }

   private:
    // Begins the next block; u are the n elements from `at` on, in which the block may lie.
    void start_block(int64_t at, int n, const A* u) {
      ++block_;
      const int64_t begin = whole_.blocks_.begin(block_);
      block_end_ = whole_.blocks_.end(block_);
      const int64_t size = block_end_ - begin;
      if (!whole_.scales_.empty())
        scale_ = whole_.scales_[size_t(block_)];
      else if (block_end_ <= at + n)
        scale_ = core::divide(sum_of_magnitudes(u + (begin - at), int(size)), A(size));
      else if (part_ + 1 < whole_.carried_.size() && block_end_ > whole_.starts_[part_ + 1])
        scale_ = whole_.carried_[part_ + 1];
      else
        scale_ = whole_.scale_of(block_);
    }

    const BlockSignCompressor& whole_;
    size_t part_;
    int64_t block_, block_end_;
    A scale_ = 0;
  };

 private:
  static A sum_of_magnitudes(const A* u, int n) {
    A terms[kSumWidth];
    for (int i = 0; i < n; ++i) terms[i] = core::abs(u[i]);
    return halving_sum(terms, n);
  }

  A scale_of(int64_t block, const Team& team, Scratch& scratch) const {
    const int64_t begin = blocks_.begin(block), size = blocks_.end(block) - begin;
    const A sum = row_sum<A>(size, team, scratch, [this, begin](int64_t at, int n, A* terms) {
      const A* u = row_.load(begin + at, n, terms);
      for (int i = 0; i < n; ++i) terms[i] = core::abs(u[i]);
    });
    return core::divide(sum, A(size));
  }

  A scale_of(int64_t block) const {
    Scratch unused;
    return scale_of(block, Team(), unused);
  }

  // A block that reaches from one part into the next: its scale is needed in both, and a thread may
  // have overwritten its half of the row when the other comes to it.
  void find_carried(const Team& team) {
    carried_.resize(size_t(team.parts()));
    starts_.resize(size_t(team.parts()));
    team.run(dim_, kChunk, [&](int part, int64_t at, int64_t) {
      starts_[size_t(part)] = at;
      if (at == 0 || at == dim_) return;
      const int64_t block = blocks_.at(at);
      if (blocks_.begin(block) < at) carried_[size_t(part)] = scale_of(block);
    });
  }

  // Finds the scales of blocks so long that the threads share each of them.
  void find_scales(const Team& team, Scratch& scratch) {
    for (int64_t block = 0; block < blocks_.from(dim_); ++block)
      scales_.push_back(scale_of(block, team, scratch));
  }

  RowInput<T> row_;
  int64_t dim_;
  Blocks blocks_;
  std::vector<A> scales_;        // of all blocks, where they are long and threads share the row
  std::vector<A> carried_;       // into each part, where they are short
  std::vector<int64_t> starts_;  // of the parts
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
