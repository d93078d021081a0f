// Top-k of one row.
#pragma once

#include <limits>

#include "../core/compressors.h"
#include "select.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

template <class T>
class TopkCompressor {
 public:
  using A = Compute<T>;

  TopkCompressor(const RowInput<T>& row, int64_t dim, const CompressorParams& p, int64_t,
                 const Team& team, Scratch& scratch) {
    const int64_t k = p.compressor_size;
    if (k == dim) selection_ = {0, kAll};
    if (k == 0 || k == dim) return;
    const Found<Key<A>> found = Selector<T>(row, dim, team, scratch).run(k);
    selection_ = {found.key, found.rank == found.equals ? kAll : found.rank};
    if (selection_.ties != kAll && team.parts() > 1) count_ties(row, dim, team);
  }

  // Compresses one part of the row from its begin to its end.
  class Walk {
   public:
    Walk(const TopkCompressor& whole, int part, int64_t)
        : threshold_(whole.selection_.threshold), ties_(whole.selection_.ties) {
      if (!whole.ties_before_.empty()) ties_ -= whole.ties_before_[size_t(part)];
    }

    // The compressed n <= kChunk elements from `at` on, of input u: in `room`, or where they are.
    const A* compress(int64_t, int n, const A* u, A* room) {
      int64_t equal = 0;
      if (0 < ties_ && ties_ < kAll) equal = count_equal(u, n, threshold_);
      if (ties_ <= 0 || equal <= ties_) {
        const Key<A> least = ties_ <= 0 ? threshold_ + 1 : threshold_;
        for (int i = 0; i < n; ++i) room[i] = order_key(u[i]) >= least ? u[i] : A(0);
        ties_ -= equal;
      } else {
        for (int i = 0; i < n; ++i) {
          const Key<A> key = order_key(u[i]);
          room[i] = key > threshold_ || (key == threshold_ && ties_-- > 0) ? u[i] : A(0);
        }
      }
      return room;
    }

   private:
    Key<A> threshold_;
    int64_t ties_;  // still to be kept
  };

 private:
  static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

  static int64_t count_equal(const A* u, int n, Key<A> key) {
    Key<A> count = 0;
    for (int i = 0; i < n; ++i) count += order_key(u[i]) == key;
    return int64_t(count);
  }

  void count_ties(const RowInput<T>& row, int64_t dim, const Team& team) {
    ties_before_.resize(size_t(team.parts()) + 1);
    team.run(dim, kChunk, [&](int part, int64_t begin, int64_t end) {
      for_chunks(begin, end, [&](int64_t at, int n) {
        A buffer[kChunk];
        ties_before_[size_t(part) + 1] +=
            count_equal(row.load(at, n, buffer), n, selection_.threshold);
      });
    });
    for (size_t part = 1; part < ties_before_.size(); ++part)
      ties_before_[part] += ties_before_[part - 1];
  }

  Selection<A> selection_{KeyOf<A>::infinity + 1, 0};  // nothing; ties are kAll if all are kept
  std::vector<int64_t> ties_before_;                   // every part, where threads share the row
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
