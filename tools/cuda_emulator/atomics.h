// CUDA's atomic functions: relaxed, on shared and global memory, for the types for which CUDA has
// them.
#pragma once

#include "warp.h"

namespace effebm::emulator {

template <class T, class... Allowed>
concept OneOf = (std::same_as<T, Allowed> || ...);

// The operand is converted to the type of the memory, as in CUDA's overloads.
template <class T>
using Operand = std::type_identity_t<T>;

template <class T, class Update>
T read_modify_write(T* address, Update update) {
  check_alignment(address, sizeof(T));
  preemption_point();
  T before;
  __atomic_load(address, &before, __ATOMIC_RELAXED);
  for (;;) {
    T after = update(before);
    if (__atomic_compare_exchange(address, &before, &after, false, __ATOMIC_RELAXED,
                                  __ATOMIC_RELAXED))
      return before;
  }
}

namespace device {

template <OneOf<int, unsigned, unsigned long long, float, double> T>
T atomicAdd(T* address, Operand<T> value) {
  return read_modify_write(address, [=](T before) { return wrapping_add(before, value); });
}
template <OneOf<int, unsigned> T>
T atomicSub(T* address, Operand<T> value) {
  const T negated = static_cast<T>(0u - static_cast<unsigned>(value));
  return read_modify_write(address, [=](T before) { return wrapping_add(before, negated); });
}
template <OneOf<int, unsigned, long long, unsigned long long> T>
T atomicMax(T* address, Operand<T> value) {
  return read_modify_write(address, [=](T before) { return before < value ? value : before; });
}
template <OneOf<int, unsigned, long long, unsigned long long> T>
T atomicMin(T* address, Operand<T> value) {
  return read_modify_write(address, [=](T before) { return value < before ? value : before; });
}
template <OneOf<int, unsigned, unsigned long long> T>
T atomicOr(T* address, Operand<T> value) {
  return read_modify_write(address, [=](T before) { return before | value; });
}
template <OneOf<int, unsigned, unsigned long long> T>
T atomicAnd(T* address, Operand<T> value) {
  return read_modify_write(address, [=](T before) { return before & value; });
}
template <OneOf<int, unsigned, unsigned long long> T>
T atomicXor(T* address, Operand<T> value) {
  return read_modify_write(address, [=](T before) { return before ^ value; });
}
template <OneOf<int, unsigned, unsigned long long, float> T>
T atomicExch(T* address, Operand<T> value) {
  return read_modify_write(address, [=](T) { return value; });
}
template <OneOf<int, unsigned, unsigned long long> T>
T atomicCAS(T* address, Operand<T> expected, Operand<T> value) {
  return read_modify_write(address, [=](T before) { return before == expected ? value : before; });
}
inline unsigned atomicInc(unsigned* address, unsigned limit) {
  return read_modify_write(address,
                           [=](unsigned before) { return before >= limit ? 0 : before + 1; });
}

}  // namespace device
}  // namespace effebm::emulator
