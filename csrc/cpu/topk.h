// Top-k of one row.
#pragma once

#include "select.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

template <class T>
class TopkRow {
 public:
  using A = Compute<T>;

  TopkRow(const RowInput<T>& row, int64_t dim, int64_t k, const Team& team, Scratch& scratch)
      : selection_{KeyOf<A>::infinity + 1, 0} {
    if (k == dim) selection_ = {0, dim};
    if (0 < k && k < dim) selection_ = Selector<T>(row, dim, team, scratch).run(k);
    if (team.parts() > 1) count_ties(row, dim, team);
  }

  // Compresses one part of the row from its begin to its end.
  class Walk {
   public:
    Walk(const TopkRow& row, int part, int64_t)
        : threshold_(row.selection_.threshold),
          ties_(row.selection_.ties - (part > 0 ? row.ties_before_[size_t(part)] : 0)) {}

    // The compressed n <= kChunk elements from `at` on, of input u: in `room`, or where they are.
    const A* compress(int64_t, int n, const A* u, A* room) {
      int64_t equal = 0;
      for (int i = 0; i < n; ++i) equal += order_key(u[i]) == threshold_;
      if (equal <= ties_ || ties_ <= 0) {
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
  void count_ties(const RowInput<T>& row, int64_t dim, const Team& team) {
    ties_before_.resize(size_t(team.parts()) + 1);
    team.run(dim, kChunk, [&](int part, int64_t begin, int64_t end) {
      int64_t ties = 0;
      for_chunks(begin, end, [&](int64_t at, int n) {
        A buffer[kChunk];
        const A* u = row.load(at, n, buffer);
        Key<A> equal = 0;
        for (int i = 0; i < n; ++i) equal += order_key(u[i]) == selection_.threshold;
        ties += int64_t(equal);
      });
      ties_before_[size_t(part) + 1] = ties;
    });
    for (size_t part = 1; part < ties_before_.size(); ++part)
      ties_before_[part] += ties_before_[part - 1];
  }

  Selection<A> selection_;
  std::vector<int64_t> ties_before_;  // every part, of a team of more than one
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
