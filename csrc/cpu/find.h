// The k-th largest of a few keys.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../core/topk.h"
#include "simd.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

using namespace core;

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

// Copies the keys within the bracket to `to`, in order, and returns how many; adds the number of
// keys above the bracket to `above`. `to` may be `keys`, and needs room for all n.
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

// The range in which the wanted-th largest key may be: `above` keys are larger than all of the
// range, and `inside` lie in it.
template <class K>
struct Search {
  Bracket<K> range;
  int64_t above, inside;
};

// Narrows the search among n keys (whole groups) until at most `few` of them, or one value, are
// left in the range. Each round cuts the range in four, by magnitude; where that left more than
// half of the keys, the next round cuts it by key, so that the number of rounds is bounded. The
// rounds have no branches, as none could be predicted.
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

// A key of a row, its rank among its equals, from 1, and their number.
template <class K>
struct Found {
  K key;
  int64_t rank, equals;
};

// Finds the wanted-th largest of n <= kGroup keys; the keys behind these are zero.
template <class K>
Found<K> find_in_group(const K* keys, int64_t n, int64_t wanted) {
  K greater[kGroup] = {};
  for (int j = 0; j < kGroup; ++j)
    for (int i = 0; i < kGroup; ++i) greater[i] += keys[j] > keys[i];
  K key = 0, most = 0;  // the smallest key with fewer than `wanted` greater keys
  for (int i = 0; i < kGroup; ++i) {
    const bool candidate = int64_t(greater[i]) < wanted && greater[i] >= most;
    key = candidate ? keys[i] : key;
    most = candidate ? greater[i] : most;
  }
  int64_t equals = 0;
  for (int i = 0; i < kGroup; ++i) equals += keys[i] == key;
  return {key, wanted - int64_t(most), key == 0 ? equals - (kGroup - n) : equals};
}

// Finds the wanted-th largest of n keys, all within the range. Overwrites them, and needs room for
// another group.
template <class K>
Found<K> find(K* keys, int64_t n, Bracket<K> range, int64_t wanted) {
  constexpr int64_t kClosed = 1024;  // so few keys are searched without closing them up
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

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
