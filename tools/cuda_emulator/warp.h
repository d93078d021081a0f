// Synchronization of a block and of a warp.
#pragma once

#include <concepts>
#include <cstring>
#include <type_traits>

#include "runtime.h"

namespace effebm::emulator {

using Location = std::source_location;

template <class T>
uint64_t pack(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  uint64_t packed = 0;
  std::memcpy(&packed, &value, sizeof value);
  return packed;
}

template <class T>
T unpack(uint64_t packed) {
  T value;
  std::memcpy(&value, &packed, sizeof value);
  return value;
}

// Integers wrap around, as on the device; for a signed type C++ would call it undefined.
template <class T>
T wrapping_add(T a, T b) {
  if constexpr (std::integral<T>) {
    using Unsigned = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b));
  } else {
    return a + b;
  }
}

// `source` maps the caller's lane to the lane it reads. A lane outside of the mask gives garbage:
// CUDA leaves its value undefined.
template <class T, class Source>
T shuffle(unsigned mask, T value, int width, Source source, const Site& site) {
  if (width < 1 || width > 32 || (width & (width - 1))) fail("the width of a shuffle is wrong");
  const Lanes lanes = collective(mask, pack(value), false, site);
  const int lane = source(static_cast<int>(lane_id()));
  const bool present = lanes.present >> lane & 1;
  return unpack<T>(present ? lanes.value[lane] : 0xDEADBEEFDEADBEEFull);
}

template <class T, class Combine>
T reduce(unsigned mask, T value, Combine combine, const Site& site) {
  static_assert(std::same_as<T, int> || std::same_as<T, unsigned>, "as in CUDA");
  const Lanes lanes = collective(mask, pack(value), false, site);
  T result = value;
  for (unsigned lane = 0; lane < 32; ++lane)
    if ((lanes.present >> lane & 1) && lane != lane_id())
      result = combine(result, unpack<T>(lanes.value[lane]));
  return result;
}

// Returns the lanes whose value satisfies the predicate.
template <class Predicate>
unsigned select(const Lanes& lanes, Predicate predicate) {
  unsigned selected = 0;
  for (unsigned lane = 0; lane < 32; ++lane)
    if ((lanes.present >> lane & 1) && predicate(lanes.value[lane])) selected |= 1u << lane;
  return selected;
}

inline unsigned ballot(unsigned mask, int predicate, const Site& site) {
  return select(collective(mask, predicate != 0, false, site), [](uint64_t v) { return v != 0; });
}

namespace device {

inline void __syncthreads(Location where = Location::current()) {
  block_barrier(false, {"__syncthreads", where});
}
inline int __syncthreads_count(int predicate, Location where = Location::current()) {
  return block_barrier(predicate != 0, {"__syncthreads_count", where});
}
inline int __syncthreads_or(int predicate, Location where = Location::current()) {
  return block_barrier(predicate != 0, {"__syncthreads_or", where}) != 0;
}
inline int __syncthreads_and(int predicate, Location where = Location::current()) {
  return block_barrier(predicate == 0, {"__syncthreads_and", where}) == 0;
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, Location where = Location::current()) {
  collective(mask, 0, true, {"__syncwarp", where});
}

// Only the caller is sure to be active; a kernel must not count on more.
inline unsigned __activemask() { return 1u << lane_id(); }

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              Location where = Location::current()) {
  const auto source = [=](int own) { return (own & -width) | (lane & (width - 1)); };
  return shuffle(mask, value, width, source, {"__shfl_sync", where});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  Location where = Location::current()) {
  const auto source = [=](int own) {
    const int lane = (own ^ lane_mask) & 31;
    return lane > (own | (width - 1)) ? own : lane;
  };
  return shuffle(mask, value, width, source, {"__shfl_xor_sync", where});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 Location where = Location::current()) {
  const auto source = [=](int own) {
    const int lane = own - static_cast<int>(delta & 31);
    return lane < (own & -width) ? own : lane;
  };
  return shuffle(mask, value, width, source, {"__shfl_up_sync", where});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   Location where = Location::current()) {
  const auto source = [=](int own) {
    const int lane = own + static_cast<int>(delta & 31);
    return lane > (own | (width - 1)) ? own : lane;
  };
  return shuffle(mask, value, width, source, {"__shfl_down_sync", where});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, Location where = Location::current()) {
  return ballot(mask, predicate, {"__ballot_sync", where});
}
inline int __any_sync(unsigned mask, int predicate, Location where = Location::current()) {
  return ballot(mask, predicate, {"__any_sync", where}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, Location where = Location::current()) {
  return ballot(mask, !predicate, {"__all_sync", where}) == 0;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, Location where = Location::current()) {
  const uint64_t own = pack(value);
  return select(collective(mask, own, false, {"__match_any_sync", where}),
                [own](uint64_t other) { return other == own; });
}

template <class T>
T __reduce_add_sync(unsigned mask, T value, Location where = Location::current()) {
  return reduce(mask, value, wrapping_add<T>, {"__reduce_add_sync", where});
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, Location where = Location::current()) {
  return reduce(mask, value, [](T a, T b) { return a < b ? b : a; }, {"__reduce_max_sync", where});
}
template <class T>
T __reduce_min_sync(unsigned mask, T value, Location where = Location::current()) {
  return reduce(mask, value, [](T a, T b) { return b < a ? b : a; }, {"__reduce_min_sync", where});
}

}  // namespace device
}  // namespace effebm::emulator
