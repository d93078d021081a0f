// The selection of a row's k largest by the threads that share the row. They hold the row's values
// in registers, or read a list of them again and again.
#pragma once

#include "row_group.cuh"
#include "threshold_search.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Values that the threads of a row hold in registers: thread t has the quads t, t + size, ....
// Behind the row's end there are zeros, which come after all zeros of the row.
template <class A>
struct HeldValues {
  A (&u)[kHeldQuads][kQuad];
  const RowGroup& group;

  __device__ int begin(int q) const { return (q * group.size() + group.thread()) * kQuad; }

  // Calls f(key, position) for this thread's values.
  template <class F>
  __device__ void each(const F& f) const {
#pragma unroll
    for (int q = 0; q < kHeldQuads; ++q)
      for (int i = 0; i < kQuad; ++i)
        f(order_key(opaque(u[q][i])), uint32_t(begin(q)) + uint32_t(i));
  }

  // Returns the sum of magnitudes, and the largest key. NaN makes the sum NaN.
  __device__ float measure(Key<A>& largest) const {
    A sum = 0, most = 0;
#pragma unroll
    for (int q = 0; q < kHeldQuads; ++q)
      for (int i = 0; i < kQuad; ++i) {
        const A magnitude = core::abs(u[q][i]);
        sum = sum + magnitude;
        most = most < magnitude ? magnitude : most;
      }
    largest = sum == sum ? to_bits(most) : KeyOf<A>::infinity + 1;
    return float(sum);
  }

  // The sign of a difference tells which of two values is smaller, exactly, in fewer instructions
  // than keys take. The difference with NaN has no sign, as if NaN were larger.
  __device__ uint32_t count_from(Key<A> least) const {
    const A limit = from_bits(least);
    if (least >= KeyOf<A>::infinity) {
      const bool only_nan = least > KeyOf<A>::infinity;
      uint32_t count = 0;
#pragma unroll
      for (int q = 0; q < kHeldQuads; ++q)
        for (int i = 0; i < kQuad; ++i)
          count += only_nan ? u[q][i] != u[q][i] : !(core::abs(u[q][i]) < limit);
      return count;
    }
    uint32_t below = 0;
#pragma unroll
    for (int q = 0; q < kHeldQuads; ++q)
      for (int i = 0; i < kQuad; ++i)
        below += uint32_t(to_bits(core::abs(u[q][i]) - limit) >> (8 * sizeof(A) - 1));
    return uint32_t(kHeld) - below;
  }
};

// Keys and their positions in a row, which all threads of the row read.
template <class A>
struct ListedKeys {
  const Key<A>* keys;
  const uint32_t* positions;
  uint32_t count;
  const RowGroup& group;

  template <class F>
  __device__ void each(const F& f) const {
#pragma unroll 4
    for (uint32_t i = uint32_t(group.thread()); i < count; i += uint32_t(group.size()))
      f(keys[i], positions[i]);
  }

  __device__ uint32_t count_from(Key<A> least) const {
    uint32_t from = 0;
#pragma unroll 4
    for (uint32_t i = uint32_t(group.thread()); i < count; i += uint32_t(group.size()))
      from += keys[i] >= least;
    return from;
  }
};

template <class A>
__device__ Key<A> first_guess(float sum, int64_t count, Key<A> largest,
                              const Expectation& expected) {
  if (expected.key) return Key<A>(expected.key);
  const A by_mean = A(divide(expected.of_mean * sum, float(count)));
  const A by_largest = A(expected.of_largest) * from_bits(largest);
  const A guess = by_largest < by_mean ? by_largest : by_mean;
  const bool usable = guess > A(0) && guess < from_bits(KeyOf<A>::infinity);
  return usable ? to_bits(guess) : largest / 2;
}

// Brings a search to its end. The threads of a row agree on what is asked. Group is RowGroup, or in
// tests what stands in for it.
template <class A, class Group, class Values>
__device__ void search_threshold(Group& group, const Values& values, ThresholdSearch<A>& search) {
  while (group.any(!search.found())) {
    if (group.any(search.stuck())) {
      const bool below = search.looks_below_high();
      Key<A> neighbour = 0;  // the smallest is the one with the largest complement
      values.each([&](Key<A> key, uint32_t) {
        const Key<A> own = below ? (key < search.high() ? key : 0) : key < search.low() ? 0 : ~key;
        if (own > neighbour) neighbour = own;
      });
      neighbour = group.largest(neighbour);
      if (search.stuck()) search.tell_neighbour(below ? neighbour : ~neighbour);
    }
    const Key<A> asked = search.ask();
    const uint32_t count = group.sum(values.count_from(asked));
    if (!search.found()) search.tell(count);
  }
}

// Returns an end of the first `wanted` of the keys that equal the threshold, by halving positions.
template <class A, class Group, class Values>
__device__ uint32_t end_of_ties(Group& group, const Values& values, Key<A> threshold,
                                uint32_t wanted, bool are_cut, int64_t dim) {
  if (!group.any(are_cut)) return kAllTies;
  uint32_t low = 0, high = uint32_t(dim);  // fewer than wanted before low, enough before high
  bool is_found = !are_cut;
  while (group.any(!is_found)) {
    const uint32_t middle = low + (high - low) / 2;
    uint32_t own = 0;
    values.each(
        [&](Key<A> key, uint32_t position) { own += key == threshold && position < middle; });
    const uint32_t before = group.sum(own);
    if (is_found) continue;
    (before < wanted ? low : high) = middle;
    is_found = before == wanted || high - low == 1;
  }
  return are_cut ? high : kAllTies;
}

// Returns the finished search for the k-th largest of `count` values, 0 < k < count.
template <class A, class Group, class Values>
__device__ ThresholdSearch<A> find_threshold(Group& group, const Values& values, uint32_t count,
                                             uint32_t k, const Expectation& expected) {
  Key<A> largest;
  const float sum = values.measure(largest);
  largest = group.largest(largest);
  const Key<A> first = first_guess<A>(expected.key ? 0 : group.sum(sum), count, largest, expected);
  ThresholdSearch<A> search(count, k, 0, largest + 1, first, expected.slope);
  search_threshold(group, values, search);
  return search;
}

// Returns the cutoff that a finished search amounts to, for a row of dim elements.
template <class A, class Group, class Values>
__device__ Cutoff<A> cutoff_of(Group& group, const Values& values, const ThresholdSearch<A>& search,
                               int64_t dim) {
  const bool are_cut = search.wanted() < search.ties();
  return {search.low(), end_of_ties<A>(group, values, search.low(), search.wanted(), are_cut, dim)};
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
