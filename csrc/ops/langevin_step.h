// langevin_step_ and langevin_step on any device: arguments, checks, and the parameters of the
// kernel.
#pragma once

#include "../core/langevin_step.h"
#include "common.h"

namespace effebm::ops {

using OptionalTensor = std::optional<Tensor>;

// Takes the arguments of a boxed call one after the other.
class Arguments {
 public:
  explicit Arguments(StableIValue* stack) : next_(stack) {}
  template <class T>
  T take() {
    return torch::stable::detail::to<T>(*next_++);
  }

 private:
  StableIValue* next_;
};

// Members initialise from top to bottom: the order of the schema.
struct StepArguments {
  Arguments& from;
  Tensor key = from.take<Tensor>();
  int64_t offset = from.take<int64_t>();
  int64_t first_chain = from.take<int64_t>();
  double step_size = from.take<double>();
  OptionalTensor step_sizes = from.take<OptionalTensor>();
  std::optional<double> noise_std = from.take<std::optional<double>>();
  OptionalTensor noise_stds = from.take<OptionalTensor>();
  Compressor compressor = Compressor(from.take<int64_t>());
  int64_t compressor_size = from.take<int64_t>();
  OptionalTensor block_offsets = from.take<OptionalTensor>();
  Clip clip = Clip(from.take<int64_t>());
  double clip_limit = from.take<double>();
  Bounds bounds = Bounds(from.take<int64_t>());
  double lower = from.take<double>();
  double upper = from.take<double>();
  Rounding rounding = Rounding(from.take<int64_t>());
};

struct ChainScalar {
  OptionalTensor tensor;
  const void* data = nullptr;
  int64_t stride = 0;
};

// A 0-d tensor serves every chain, a 1-d tensor has one value per chain.
inline ChainScalar chain_scalar(const OptionalTensor& t, const Tensor& x, const char* name) {
  if (!t) return {};
  check_dtype(*t, compute_type_of(x), name);
  STD_TORCH_CHECK(t->dim() == 0 || (t->dim() == 1 && t->size(0) == x.size(0)), name,
                  ": expected shape () or (n_chains,)");
  const Tensor values = dense(*t);
  return {values, values.const_data_ptr(), t->dim()};
}

inline void check_arguments(const Tensor& x, const Tensor& grad, const StepArguments& a) {
  const Rows rows = rows_of(x);
  check_same_shape(x, grad, "grad");
  check_dtype(grad, x.scalar_type(), "grad");
  check_dtype(a.key, ScalarType::Long, "key");
  STD_TORCH_CHECK(a.key.numel() == 2 && a.key.is_contiguous(), "key: expected int64[2]");
  STD_TORCH_CHECK(a.first_chain >= 0 && a.first_chain + rows.count <= int64_t(1) << 32,
                  "first_chain: expected chains below 2**32, got ", a.first_chain);
  STD_TORCH_CHECK(rows.dim <= int64_t(1) << 34, "x: expected at most 2**34 elements per chain");
  if (a.compressor == Compressor::topk)
    STD_TORCH_CHECK(a.compressor_size >= 0 && a.compressor_size <= rows.dim,
                    "k: expected 0 <= k <= ", rows.dim, ", got ", a.compressor_size);
  if (a.compressor == Compressor::block_sign)
    STD_TORCH_CHECK(a.compressor_size >= 1, "block_size: expected at least 1, got ",
                    a.compressor_size);
  STD_TORCH_CHECK(a.compressor >= Compressor::none && a.compressor <= Compressor::block_sign &&
                      a.clip >= Clip::none && a.clip <= Clip::norm && a.bounds >= Bounds::none &&
                      a.bounds <= Bounds::reflect,
                  "compressor, clip, bounds: unknown code");
  STD_TORCH_CHECK(!a.block_offsets, "block_offsets: not implemented yet");
  STD_TORCH_CHECK(a.clip != Clip::norm, "clip by norm: not implemented yet");
  STD_TORCH_CHECK(a.rounding == Rounding::nearest, "stochastic rounding: not implemented yet");
}

// Runs the kernel on the device of x; there is at least one element.
using RunStep = void (*)(const LangevinStepParams&, const Tensor& x);

// Steps x, whose rows are contiguous, into out.
inline void step_into(const Tensor& x, const Tensor& out, const Tensor& grad,
                      const OptionalTensor& residual, const StepArguments& a, RunStep run) {
  check_arguments(x, grad, a);
  const Rows rows = rows_of(x);
  const Tensor dense_grad = dense(grad);
  check_no_overlap(out, dense_grad, "x and grad", true);
  const ChainScalar steps = chain_scalar(a.step_sizes, x, "step_size");
  const ChainScalar noises = chain_scalar(a.noise_stds, x, "noise_std");
  const LangevinStepParams params{.dtype = dtype_of(x),
                                  .rows = rows.count,
                                  .dim = rows.dim,
                                  .x = x.const_data_ptr(),
                                  .out = out.mutable_data_ptr(),
                                  .grad = dense_grad.const_data_ptr(),
                                  .residual = residual ? residual->mutable_data_ptr() : nullptr,
                                  .key = a.key.const_data_ptr<int64_t>(),
                                  .offset = a.offset,
                                  .first_chain = a.first_chain,
                                  .step_size = a.step_size,
                                  .step_sizes = steps.data,
                                  .step_sizes_stride = steps.stride,
                                  .has_noise_std = a.noise_std.has_value(),
                                  .noise_std = a.noise_std.value_or(0.0),
                                  .noise_stds = noises.data,
                                  .noise_stds_stride = noises.stride,
                                  .compressor = a.compressor,
                                  .compressor_size = a.compressor_size,
                                  .clip = a.clip,
                                  .clip_limit = a.clip_limit,
                                  .bounds = a.bounds,
                                  .lower = a.lower,
                                  .upper = a.upper};
  if (x.numel() > 0) run(params, x);
}

// The boxed langevin_step_ of a device.
inline void langevin_step_inplace(StableIValue* stack, RunStep run) {
  Arguments next(stack);
  const Tensor x = next.take<Tensor>();
  const Tensor grad = next.take<Tensor>();
  const OptionalTensor residual = next.take<OptionalTensor>();
  const OptionalTensor row_sums = next.take<OptionalTensor>();
  const StepArguments arguments{next};
  STD_TORCH_CHECK(!row_sums, "row_sums: not implemented yet");
  if (residual) {
    check_same_shape(x, *residual, "residual");
    check_dtype(*residual, compute_type_of(x), "residual");
    check_no_overlap(*residual, x, "residual and x", false);
    check_no_overlap(*residual, grad, "residual and grad", false);
  }
  Writable state(x);
  std::optional<Writable> memory;
  if (residual) memory.emplace(*residual);
  step_into(state.tensor(), state.tensor(), grad,
            memory ? OptionalTensor(memory->tensor()) : std::nullopt, arguments, run);
  state.write_back();
  if (memory) memory->write_back();
}

// The boxed langevin_step of a device.
inline void langevin_step_functional(StableIValue* stack, RunStep run) {
  Arguments next(stack);
  const Tensor x = next.take<Tensor>();
  const Tensor grad = next.take<Tensor>();
  const StepArguments arguments{next};
  const Tensor in = dense(x);
  const Tensor out = new_contiguous(in);
  step_into(in, out, grad, std::nullopt, arguments, run);
  stack[0] = torch::stable::detail::from(out);
}

}  // namespace effebm::ops
