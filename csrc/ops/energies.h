// Checks of what the ops know of each chain's step.
#pragma once

#include <initializer_list>
#include <string>

#include "common.h"

namespace effebm::ops {

// Writes sizes as Python does.
template <class Sizes>
std::string text_of(const Sizes& sizes) {
  std::string text;
  for (int64_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + (sizes.size() == 1 ? ",)" : ")");
}

inline void check_shape(const Tensor& t, std::initializer_list<int64_t> shape, const char* name) {
  const auto sizes = t.sizes();
  STD_TORCH_CHECK(
      sizes.size() == shape.size() && std::equal(shape.begin(), shape.end(), sizes.begin()), name,
      ": expected shape ", text_of(shape), ", got ", text_of(sizes));
}

// Checks the energies before and after a step. Their device is that of x.
inline void check_energies(const Tensor& x, const Tensor& energy, const Tensor& new_energy,
                           int64_t n) {
  dtype_of(energy);  // refuses what is no floating-point number
  check_shape(energy, {n}, "energy");
  check_dtype_and_device(x, energy, energy.scalar_type(), "energy");
  check_shape(new_energy, {n}, "new_energy");
  check_dtype_and_device(x, new_energy, energy.scalar_type(), "new_energy");
}

}  // namespace effebm::ops
