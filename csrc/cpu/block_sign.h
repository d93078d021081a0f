// Block-Sign of one row.
#pragma once

#include <vector>

#include "../core/block_sign.h"
#include "row.h"
#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

template <class T>
class BlockSignRow {
 public:
  using A = Compute<T>;

  BlockSignRow(const RowInput<T>& row, int64_t dim, int64_t block_size, const Team& team,
               Scratch& scratch)
      : row_(row), dim_(dim), block_size_(block_size) {
    if (team.parts() == 1) return;
    if (block_size > kChunk)
      find_scales(team, scratch);
    else
      find_carried(team);
  }

  // Compresses one part of the row from its begin to its end.
  class Walk {
   public:
    Walk(const BlockSignRow& row, int part, int64_t begin)
        : row_(row), part_(size_t(part)), block_(begin / row.block_size_ - 1), block_end_(begin) {
      if (begin % row.block_size_ == 0 || begin == row.dim_) return;
      ++block_;
      block_end_ = row.end_of(block_);
      scale_ = row.scales_.empty() ? row.carried_[part_] : row.scales_[size_t(block_)];
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
    // Of the next block; u are the n elements from `at` on, in which the block may lie.
    void start_block(int64_t at, int n, const A* u) {
      ++block_;
      const int64_t begin = block_ * row_.block_size_;
      block_end_ = row_.end_of(block_);
      const int64_t size = block_end_ - begin;
      if (!row_.scales_.empty())
        scale_ = row_.scales_[size_t(block_)];
      else if (block_end_ <= at + n)
        scale_ = core::divide(sum_of_magnitudes(u + (begin - at), int(size)), A(size));
      else if (part_ + 1 < row_.carried_.size() && block_end_ > row_.starts_[part_ + 1])
        scale_ = row_.carried_[part_ + 1];
      else
        scale_ = core::divide(row_.sum_of_magnitudes(begin, size), A(size));
    }

    const BlockSignRow& row_;
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

  A sum_of_magnitudes(int64_t begin, int64_t size) const {
    return canonical_sum<A>(begin, size, [this](int64_t at, int n, A* terms) {
      const A* u = row_.load(at, n, terms);
      for (int i = 0; i < n; ++i) terms[i] = core::abs(u[i]);
    });
  }

  int64_t end_of(int64_t block) const { return std::min((block + 1) * block_size_, dim_); }

  // A block that reaches from one part into the next: its scale is needed in both, and a thread may
  // have overwritten its half of the row when the other comes to it.
  void find_carried(const Team& team) {
    carried_.resize(size_t(team.parts()));
    starts_.resize(size_t(team.parts()));
    team.run(dim_, kChunk, [&](int part, int64_t at, int64_t) {
      starts_[size_t(part)] = at;
      const int64_t block = at / block_size_, begin = block * block_size_;
      if (begin == at || at == dim_) return;
      const int64_t size = end_of(block) - begin;
      carried_[size_t(part)] = core::divide(sum_of_magnitudes(begin, size), A(size));
    });
  }

  // Of blocks so long that the threads share each of them.
  void find_scales(const Team& team, Scratch& scratch) {
    for (int64_t begin = 0; begin < dim_; begin += block_size_) {
      const int64_t size = std::min(block_size_, dim_ - begin);
      const int64_t groups = (size + kSumWidth - 1) / kSumWidth;
      A* sums = scratch.room<A>(groups);
      team.run(groups, 1, [&](int, int64_t first, int64_t last) {
        for (int64_t g = first; g < last; ++g) {
          const int64_t at = g * kSumWidth;
          sums[g] = sum_of_magnitudes(begin + at, std::min<int64_t>(kSumWidth, size - at));
        }
      });
      const A sum = canonical_sum<A>(0, groups, [&](int64_t at, int n, A* terms) {
        std::copy(sums + at, sums + at + n, terms);
      });
      scales_.push_back(core::divide(sum, A(size)));
    }
  }

  RowInput<T> row_;
  int64_t dim_, block_size_;
  std::vector<A> scales_;        // of all blocks, where they are long and threads share the row
  std::vector<A> carried_;       // into each part, where they are short
  std::vector<int64_t> starts_;  // of the parts
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
