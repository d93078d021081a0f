// Checks and conversions of tensors that every op makes, on the LibTorch stable ABI.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/macros/Macros.h>

#include <algorithm>
#include <optional>

#include "../core/dtype.h"

namespace effebm::ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

// A state (n_chains, *event) seen as rows of dim elements.
struct Rows {
  int64_t count, dim;
};

inline Rows rows_of(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() >= 1, "expected a tensor of shape (n_chains, *event), got 0 dimensions");
  const auto sizes = x.sizes();
  int64_t dim = 1;
  for (size_t i = 1; i < sizes.size(); ++i) dim *= sizes[i];
  return {sizes[0], dim};
}

inline DType dtype_of(const Tensor& x) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return DType::float32;
    case ScalarType::Double:
      return DType::float64;
    case ScalarType::BFloat16:
      return DType::bfloat16;
    case ScalarType::Half:
      return DType::float16;
    default:
      STD_TORCH_CHECK(false, "expected float32, float64, bfloat16 or float16, got ",
                      torch::headeronly::toString(x.scalar_type()));
  }
}

inline ScalarType compute_type_of(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline void check_same_shape(const Tensor& x, const Tensor& other, const char* name) {
  const auto a = x.sizes(), b = other.sizes();
  STD_TORCH_CHECK(a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin()), name,
                  ": expected the shape of x");
}

// Checks a tensor that belongs to x: it has the expected dtype and lies on the device of x.
inline void check_dtype_and_device(const Tensor& x, const Tensor& t, ScalarType expected,
                                   const char* name) {
  STD_TORCH_CHECK(t.scalar_type() == expected, name, ": expected ",
                  torch::headeronly::toString(expected), ", got ",
                  torch::headeronly::toString(t.scalar_type()));
  STD_TORCH_CHECK(t.device() == x.device(), name, ": expected a tensor on the device of x");
}

// Returns t, or a contiguous copy if it is not contiguous. (Asking first saves a call of an op.)
inline Tensor dense(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

// Returns an uninitialised tensor of t's shape and dtype. empty_like would keep unusual strides of
// axes of size 1, which the fake kernels do not promise.
inline Tensor new_contiguous(const Tensor& t) { return torch::stable::new_empty(t, t.sizes()); }

// The memory from the first to the last element of a tensor. Views that interleave overlap.
struct Extent {
  uintptr_t begin, end;

  explicit Extent(const Tensor& t) : begin(reinterpret_cast<uintptr_t>(t.const_data_ptr())) {
    uintptr_t elements = t.numel() > 0;
    for (int64_t i = 0; elements && i < t.dim(); ++i) elements += (t.size(i) - 1) * t.stride(i);
    end = begin + elements * t.element_size();
  }
  bool operator==(const Extent&) const = default;
  bool overlaps(const Extent& other) const { return end > other.begin && other.end > begin; }
};

// Kernels read and write chunk by chunk, so a written tensor may share memory with another only if
// both are the same elements.
inline void check_no_overlap(const Tensor& a, const Tensor& b, const char* names,
                             bool may_be_same) {
  const Extent one(a), other(b);
  STD_TORCH_CHECK((may_be_same && one == other) || !one.overlaps(other), names,
                  ": expected tensors that do not overlap in memory");
}

// A tensor that a kernel writes: contiguous while the kernel runs, copied back if it was not.
class Writable {
 public:
  Writable(const Tensor& t, const char* name) : target_(t), work_(dense(t)) {
    if (t.is_contiguous() || t.numel() == 0) return;
    for (int64_t i = 0; i < t.dim(); ++i)
      STD_TORCH_CHECK(t.stride(i) != 0 || t.size(i) == 1, name,
                      ": expected a tensor of its own, got an expanded one");
  }

  const Tensor& tensor() const { return work_; }

  void write_back() {
    if (!target_.is_contiguous()) torch::stable::copy_(target_, work_);
  }

 private:
  Tensor target_, work_;
};

// A number of which each chain may have its own, or each element of a chain. The stride from one
// element to the next is 0 or 1.
struct ChainScalar {
  OptionalTensor tensor;
  const void* data = nullptr;
  int64_t stride = 0, element_stride = 0;
};

// A 0-d tensor serves every chain, a 1-d tensor has one value per chain.
inline ChainScalar chain_scalar(const OptionalTensor& t, const Tensor& x, const char* name) {
  if (!t) return {};
  check_dtype_and_device(x, *t, compute_type_of(x), name);
  STD_TORCH_CHECK(t->dim() == 0 || (t->dim() == 1 && t->size(0) == x.size(0)), name,
                  ": expected shape () or (n_chains,)");
  const Tensor values = dense(*t);
  return {values, values.const_data_ptr(), t->dim()};
}

// The same, but a tensor with the shape of x has one value per element, which all chains share
// where it has one row.
inline ChainScalar element_scalar(const OptionalTensor& t, const Tensor& x, const char* name) {
  if (!t || t->dim() < 2) return chain_scalar(t, x, name);
  check_dtype_and_device(x, *t, compute_type_of(x), name);
  const bool shared = t->dim() == x.dim() && t->size(0) == 1;
  bool fits = t->dim() == x.dim() && (shared || t->size(0) == x.size(0));
  for (int64_t i = 1; fits && i < x.dim(); ++i) fits = t->size(i) == x.size(i);
  STD_TORCH_CHECK(fits, name,
                  ": expected shape (), (n_chains,), (1, *event) or (n_chains, *event)");
  const Tensor values = dense(*t);
  return {values, values.const_data_ptr(), shared ? 0 : rows_of(x).dim, 1};
}

// Checks that a key has numbers for n chains.
inline void check_key(const Tensor& key, int64_t first_chain, int64_t n) {
  STD_TORCH_CHECK(key.scalar_type() == ScalarType::Long && key.numel() == 2 && key.is_contiguous(),
                  "key: expected int64[2]");
  STD_TORCH_CHECK(n >= 0, "n: expected at least 0, got ", n);
  STD_TORCH_CHECK(first_chain >= 0 && first_chain <= (int64_t(1) << 32) - n,
                  "first_chain: expected chains below 2**32, got ", first_chain);
}

// Checks that a key has noise for these rows.
inline void check_chains(const Tensor& x, const Tensor& key, int64_t first_chain) {
  const Rows rows = rows_of(x);
  check_dtype_and_device(x, key, ScalarType::Long, "key");
  check_key(key, first_chain, rows.count);
  STD_TORCH_CHECK(rows.dim <= int64_t(1) << 34, "x: expected at most 2**34 elements per chain");
}

}  // namespace effebm::ops

// Implements ops for tensors of every backend alike: run() of kernels.h looks the kernels up.
#define EFFEBM_IMPLEMENTATIONS(m)                                          \
  static void implement(torch::stable::detail::StableLibrary&);            \
  STABLE_TORCH_LIBRARY_IMPL(effebm, CPU, library) { implement(library); }  \
  STABLE_TORCH_LIBRARY_IMPL(effebm, CUDA, library) { implement(library); } \
  static void implement(torch::stable::detail::StableLibrary& m)
