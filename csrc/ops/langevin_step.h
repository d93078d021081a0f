// Langevin steps and their parts: arguments, checks, and the parameters of the kernel.
#pragma once

#include "../core/langevin_step.h"
#include "compressor.h"
#include "kernels.h"

namespace effebm::ops {

// Members initialise from top to bottom: the order of the schemas.
struct ScaleArguments {
  Arguments& from;
  double step_size = from.take<double>();
  OptionalTensor step_sizes = from.take<OptionalTensor>();
  std::optional<double> noise_std = from.take<std::optional<double>>();
  OptionalTensor noise_stds = from.take<OptionalTensor>();
};

struct DriftArguments {
  Arguments& from;
  CompressorArguments compressor{from};
  Clip clip = Clip(from.take<int64_t>());
  double clip_limit = from.take<double>();
};

struct StoreArguments {
  Arguments& from;
  Bounds bounds = Bounds(from.take<int64_t>());
  double lower = from.take<double>();
  double upper = from.take<double>();
  bool stochastic_rounding = from.take<bool>();
  bool averaged_noise = from.take<bool>();
};

// Parameters of what a step does to the gradient before it moves the state.
inline LangevinStepParams drift_params(const Tensor& grad, const DriftArguments& a) {
  const Rows rows = rows_of(grad);
  STD_TORCH_CHECK(a.clip >= Clip::none && a.clip <= Clip::norm, "clip: unknown code");
  LangevinStepParams p{};
  static_cast<CompressorParams&>(p) = compressor_params(grad, a.compressor);
  p.dtype = dtype_of(grad);
  p.rows = rows.count;
  p.dim = rows.dim;
  p.grad = grad.const_data_ptr();
  p.clip = a.clip;
  p.clip_limit = a.clip_limit;
  return p;
}

// The tensors that a step writes. Their rows are contiguous.
struct StepOutputs {
  Tensor x;
  OptionalTensor residual = std::nullopt, drift = std::nullopt, row_sums = std::nullopt;
  RowSums row_sums_of = RowSums::none;
};

inline void* data_of(const OptionalTensor& t) { return t ? t->mutable_data_ptr() : nullptr; }

// t, or a copy of it where the step writes into it: rows are written before the scalars of others
// are read.
inline OptionalTensor unaliased(const OptionalTensor& t, const StepOutputs& out) {
  if (!t) return t;
  const Extent read(*t);
  const auto writes = [&](const OptionalTensor& o) { return o && Extent(*o).overlaps(read); };
  if (writes(out.x) || writes(out.residual) || writes(out.row_sums))
    return torch::stable::clone(*t);
  return t;
}

// Steps x, whose rows are contiguous; takes the arguments from the key on.
inline void step(const Tensor& x, const Tensor& grad, const StepOutputs& out, Arguments& next) {
  const KeyArguments<Tensor> k{next};
  const ScaleArguments scales{next};
  const DriftArguments drift{next};
  const StoreArguments s{next};
  check_same_shape(x, grad, "grad");
  check_dtype_and_device(x, grad, x.scalar_type(), "grad");
  STD_TORCH_CHECK(s.bounds >= Bounds::none && s.bounds <= Bounds::reflect, "bounds: unknown code");
  STD_TORCH_CHECK(s.bounds == Bounds::none || s.lower <= s.upper,
                  "bounds: expected lower <= upper, got ", s.lower, " and ", s.upper);
  STD_TORCH_CHECK(!s.stochastic_rounding || x.element_size() == 2,
                  "stochastic_rounding: expected x in bfloat16 or float16, got ",
                  torch::headeronly::toString(x.scalar_type()));
  const Tensor dense_grad = dense(grad);
  check_no_overlap(out.x, dense_grad, "x and grad", true);
  const ChainScalar steps = element_scalar(unaliased(scales.step_sizes, out), x, "step_size");
  const ChainScalar noises = element_scalar(unaliased(scales.noise_stds, out), x, "noise_std");
  LangevinStepParams p = drift_params(dense_grad, drift);
  add_key(x, k, p);
  p.x = x.const_data_ptr();
  p.out = out.x.mutable_data_ptr();
  p.residual = data_of(out.residual);
  p.drift = data_of(out.drift);
  p.row_sums = data_of(out.row_sums);
  p.row_sums_of = out.row_sums_of;
  p.step_size = scales.step_size;
  p.step_sizes = {steps.data, steps.stride, steps.element_stride};
  p.has_noise_std = scales.noise_std.has_value();
  p.noise_std = scales.noise_std.value_or(0.0);
  p.noise_stds = {noises.data, noises.stride, noises.element_stride};
  p.bounds = s.bounds;
  p.lower = s.lower;
  p.upper = s.upper;
  p.stochastic_rounding = s.stochastic_rounding;
  p.averaged_noise = s.averaged_noise;
  if (x.numel() > 0) run(&Kernels::langevin_step, p, x);
}

inline void check_residual(const Tensor& residual, const Tensor& x, const Tensor& grad) {
  check_same_shape(x, residual, "residual");
  check_dtype_and_device(x, residual, compute_type_of(x), "residual");
  check_no_overlap(residual, x, "residual and x", false);
  check_no_overlap(residual, grad, "residual and grad", false);
}

// Sums over the rows of x, which are zero where there is nothing to sum.
inline Tensor new_row_sums(const Tensor& x) {
  Tensor sums = torch::stable::new_empty(x, {x.size(0), kRowSums}, compute_type_of(x));
  if (x.numel() == 0) torch::stable::zero_(sums);
  return sums;
}

}  // namespace effebm::ops

// The arguments of a step besides its tensors, in the order of the schemas. Scalars also come as
// tensors, so that torch.compile need not recompile when they change.
#define EFFEBM_DRIFT_SCHEMA EFFEBM_COMPRESSOR_SCHEMA ", int clip=0, float clip_limit=0"
#define EFFEBM_STEP_SCHEMA                                                         \
  "Tensor key, SymInt offset, SymInt first_chain, "                                \
  "float step_size, Tensor? step_sizes=None, float? noise_std=None, "              \
  "Tensor? noise_stds=None, " EFFEBM_DRIFT_SCHEMA                                  \
  ", int bounds=0, float lower=0, float upper=0, bool stochastic_rounding=False, " \
  "bool averaged_noise=False"
