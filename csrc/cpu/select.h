// Exact selection of the k largest keys of a row without sorting it.
//
// A sample brackets the k-th largest key; one pass over the row closes up the keys within the
// bracket, and the k-th largest is found among these few. Where the bracket missed it, or too many
// keys lie in it, digits are counted instead. Every step is linear in the row, on any input.
#pragma once

#include <cmath>
#include <vector>

#include "../core/topk.h"
#include "row.h"
#include "simd.h"
#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

template <class K>
struct Bracket {
  K low, high;  // both inclusive
};

template <class K>
Bracket<K> range_of(const K* keys, int64_t n) {
  Bracket<K> range{keys[0], keys[0]};
  for (int64_t i = 0; i < n; ++i) {
    range.low = keys[i] < range.low ? keys[i] : range.low;
    range.high = keys[i] > range.high ? keys[i] : range.high;
  }
  return range;
}

// Copies the n keys within the bracket to `to`, in order, and returns how many; adds those above it
// to `above`. `to` may be `keys`, and needs room for all n.
template <class K>
int64_t close_up(const K* keys, int64_t n, Bracket<K> bracket, K* to, int64_t& above) {
  int64_t count = 0, i = 0;
#if defined(EFFEBM_SIMD)
  constexpr int kLanes = int(sizeof(simd::Vector) / sizeof(K));
  for (; i + kLanes <= n; i += kLanes) {
    const simd::Vector v = simd::load(keys + i);
    const simd::Lanes lanes = simd::compare(v, bracket.low, bracket.high);
    simd::store(to + count, simd::close_up(v, lanes.between, K()));
    count += __builtin_popcount(lanes.between);
    above += __builtin_popcount(lanes.above);
  }
#endif
  for (; i < n; ++i) {
    const K key = keys[i];
    to[count] = key;
    count += key >= bracket.low && key <= bracket.high;
    above += key > bracket.high;
  }
  return count;
}

// Loops over keys see whole groups, the last one filled up with zeros, so that they have no odd
// ends.
constexpr int kGroup = 16;

template <class K>
int64_t fill_up(K* keys, int64_t n) {
  for (int i = 0; i < kGroup; ++i) keys[n + i] = 0;
  return (n + kGroup - 1) / kGroup * kGroup;
}

// Where the wanted-th largest key may be: `above` keys are larger than all of the range, and
// `inside` lie in it.
template <class K>
struct Search {
  Bracket<K> range;
  int64_t above, inside;
};

// Narrows the search among n keys (whole groups) down to `few` in the range, or one value. Cuts the
// range in four, as magnitudes go; where that leaves more than half of the keys, as keys go, so
// that the end comes after as many rounds as a key has bits. Without branches, as none could be
// foretold.
template <class K>
Search<K> close_in(const K* keys, int64_t n, Search<K> search, int64_t wanted, int64_t few) {
  using A = std::conditional_t<sizeof(K) == 4, float, double>;
  auto [range, above, inside] = search;
  bool as_keys = false;
  while (inside > few && range.low < range.high) {
    const K width = range.high - range.low;
    K cut[3] = {K(range.low + width / 4), K(range.low + width / 2), K(range.high - width / 4)};
    if (!as_keys && range.high < KeyOf<A>::infinity) {
      const A low = from_bits(range.low), quarter = A(0.25) * (from_bits(range.high) - low);
      cut[0] = to_bits(low + quarter);
      cut[1] = to_bits(low + (quarter + quarter));
      cut[2] = to_bits(from_bits(range.high) - quarter);
    }
    for (K& c : cut) c = std::clamp(c, K(range.low + 1), range.high);
    K count[3] = {};
    for (int64_t i = 0; i < n / kGroup * kGroup; ++i) {
      count[0] += keys[i] >= cut[0];
      count[1] += keys[i] >= cut[1];
      count[2] += keys[i] >= cut[2];
    }
    const int64_t before = inside, c0 = int64_t(count[0]), c1 = int64_t(count[1]),
                  c2 = int64_t(count[2]), all = above + inside;
    const bool in3 = wanted <= c2, in2 = wanted <= c1, in1 = wanted <= c0;
    range.high = in3 ? range.high : K((in2 ? cut[2] : in1 ? cut[1] : cut[0]) - 1);
    range.low = in3 ? cut[2] : in2 ? cut[1] : in1 ? cut[0] : range.low;
    above = in3 ? above : in2 ? c2 : in1 ? c1 : c0;
    inside = (in3 ? c2 : in2 ? c1 : in1 ? c0 : all) - above;
    as_keys = inside > before / 2;
  }
  return {range, above, inside};
}

// A key of a row: its rank among its equals, from 1, and how many they are.
template <class K>
struct Found {
  K key;
  int64_t rank, equals;
};

// The wanted-th largest of n <= kGroup keys; those behind are zero.
template <class K>
Found<K> find_in_group(const K* keys, int64_t n, int64_t wanted) {
  K greater[kGroup] = {};
  for (int j = 0; j < kGroup; ++j)
    for (int i = 0; i < kGroup; ++i) greater[i] += keys[j] > keys[i];
  K key = 0, most = 0;  // of those with fewer greater ones than wanted, the smallest key
  for (int i = 0; i < kGroup; ++i) {
    const bool candidate = int64_t(greater[i]) < wanted && greater[i] >= most;
    key = candidate ? keys[i] : key;
    most = candidate ? greater[i] : most;
  }
  int64_t equals = 0;
  for (int i = 0; i < kGroup; ++i) equals += keys[i] == key;
  return {key, wanted - int64_t(most), key == 0 ? equals - (kGroup - n) : equals};
}

// The wanted-th largest of n keys, all within the range. Overwrites them, and needs room for a
// group more.
template <class K>
Found<K> find(K* keys, int64_t n, Bracket<K> range, int64_t wanted) {
  constexpr int64_t kClosed = 1024;  // as many are looked at where they are
  while (range.low < range.high && n > kGroup) {
    const int64_t few = n > kClosed ? n / 8 : kGroup;
    const Search<K> found = close_in(keys, fill_up(keys, n), {range, 0, n}, wanted, few);
    range = found.range;
    wanted -= found.above;
    int64_t above = 0;
    n = close_up(keys, n, range, keys, above);
  }
  if (range.low == range.high) return {range.low, wanted, n};
  fill_up(keys, n);
  return find_in_group(keys, n, wanted);
}

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

  // The k-th largest key, 0 < k < dim.
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
  static constexpr int64_t kShortDim = 512;      // no sample is taken of so few
  static constexpr int64_t kMaxSlice = 1 << 19;  // keys that a thread keeps
  static constexpr int64_t kMaxSample = 1 << 14;

  // Keys of a part that lie above the bracket and within it; of these, how many were kept.
  struct Part {
    int64_t above, within, kept;
  };

  // A bracket that holds the k-th largest key except on rows that are out of the ordinary.
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

  // The keys within the bracket, to the beginning of room_.
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

  // Linear on every input: digit by digit from the top, one pass over the row for each.
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
