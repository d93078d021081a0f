// Exact selection of the k largest keys of a row without sorting it.
//
// A sample brackets the k-th largest key; one pass over the row closes up the keys within the
// bracket, and the k-th largest is found among these few. Where the bracket missed it, or too many
// keys lie in it, digits are counted instead. Every step is linear in the row, on any input.
#pragma once

#include <cmath>
#include <vector>

#include "find.h"
#include "row.h"
#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

template <class T>
class Selector {
 public:
  using A = Compute<T>;
  using K = Key<A>;

  Selector(const RowInput<T>& row, int64_t dim, const Team& team, Scratch& scratch)
      : row_(row),
        dim_(dim),
        team_(team),
        slice_(std::min(dim / team.parts() + kChunk, kMaxSlice)),
        room_(scratch.room<K>(slice_ * team.parts() + kGroup)) {}

  // Finds the k-th largest key, 0 < k < dim.
  Found<K> run(int64_t k) const {
    if (dim_ <= kShortDim) {
      load_keys(0, int(dim_), room_);
      return find(room_, dim_, range_of(room_, dim_), k);
    }
    const Bracket<K> bracket = sample(k);
    const Part all = gather(bracket);
    const int64_t wanted = k - all.above;
    if (wanted <= 0 || wanted > all.within) return count_digits(k);
    if (bracket.low == bracket.high) return {bracket.low, wanted, all.within};
    if (all.kept < all.within) return count_digits(k);
    return find(room_, all.kept, bracket, wanted);
  }

 private:
  static constexpr int64_t kShortDim = 512;      // so few keys need no sample
  static constexpr int64_t kMaxSlice = 1 << 19;  // the most keys that a thread keeps
  static constexpr int64_t kMaxSample = 1 << 14;

  // How many keys of a part lie above the bracket, how many within it, and how many of the latter
  // were kept.
  struct Part {
    int64_t above, within, kept;
  };

  // Returns a bracket that holds the k-th largest key, except for rows that are out of the
  // ordinary.
  Bracket<K> sample(int64_t k) const {
    int64_t n = 128;
    while (n < kMaxSample && n * n < 16 * dim_) n *= 2;
    K* keys = room_;
    const uint64_t stride = uint64_t(dim_ / n);
    for (int64_t i = 0; i < n; ++i) {  // one of every `stride` keys, not always at the same place
      const uint64_t random = uint32_t(i) * 0x9E3779B9u;
      keys[i] = order_key(row_.at(i * int64_t(stride) + int64_t(random * stride >> 32)));
    }
    const double share = double(k) / double(dim_), expected = share * double(n);
    const double margin = 1 + 2.5 * std::sqrt(expected * (1 - share));
    const int64_t first = int64_t(expected - margin), last = int64_t(expected + margin) + 1;
    const int64_t few = int64_t(margin / 4) + 1;
    const Search<K> whole{range_of(keys, n), 0, n};
    Bracket<K> bracket{0, KeyOf<A>::infinity + 1};
    if (first >= 1) bracket.high = close_in(keys, n, whole, first, few).range.high;
    if (last <= n) bracket.low = close_in(keys, n, whole, last, few).range.low;
    return bracket;
  }

  void load_keys(int64_t at, int n, K* keys) const {
    A buffer[kChunk];
    const A* u = row_.load(at, n, buffer);
    for (int i = 0; i < n; ++i) keys[i] = order_key(u[i]);
  }

  // Gathers the keys within the bracket at the beginning of room_.
  Part gather(Bracket<K> bracket) const {
    if (team_.parts() == 1) return gather(0, dim_, bracket, room_);
    std::vector<Part> parts(size_t(team_.parts()));
    team_.run(dim_, kChunk, [&](int part, int64_t begin, int64_t end) {
      parts[size_t(part)] = gather(begin, end, bracket, room_ + part * slice_);
    });
    Part all{0, 0, 0};
    for (size_t part = 0; part < parts.size(); ++part) {
      const K* kept = room_ + int64_t(part) * slice_;
      std::copy(kept, kept + parts[part].kept, room_ + all.kept);
      all.above += parts[part].above;
      all.within += parts[part].within;
      all.kept += parts[part].kept;
    }
    return all;
  }

  Part gather(int64_t begin, int64_t end, Bracket<K> bracket, K* room) const {
    Part part{0, 0, 0};
    const int64_t size = bracket.low == bracket.high ? 0 : slice_;  // equal keys are only counted
    for_chunks(begin, end, [&](int64_t at, int n) {
      K keys[kChunk];
      load_keys(at, n, keys);
      const bool keep = part.kept + n <= size;
      const int64_t count = close_up(keys, n, bracket, keep ? room + part.kept : keys, part.above);
      part.within += count;
      part.kept += keep ? count : 0;
    });
    return part;
  }

  // Finds the k-th largest key digit by digit from the top, with one pass over the row for each:
  // the work is linear on every input.
  Found<K> count_digits(int64_t k) const {
    constexpr int kDigit = 11;
    K prefix = 0;
    int64_t wanted = k, equals = 0;
    for (int top = KeyOf<A>::bits; top > 0;) {
      const int shift = top > kDigit ? top - kDigit : 0;
      const K mask = (K(1) << (top - shift)) - 1;
      int64_t count[1 << kDigit] = {};
      for_chunks(0, dim_, [&](int64_t begin, int n) {
        K keys[kChunk];
        load_keys(begin, n, keys);
        for (int i = 0; i < n; ++i)
          if (keys[i] >> top == prefix) ++count[keys[i] >> shift & mask];
      });
      K digit = mask;
      while (count[digit] < wanted) wanted -= count[digit--];
      equals = count[digit];
      prefix = prefix << (top - shift) | digit;
      top = shift;
    }
    return {prefix, wanted, equals};
  }

  RowInput<T> row_;
  int64_t dim_;
  Team team_;
  int64_t slice_;
  K* room_;
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
