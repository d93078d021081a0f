// stochastic_round: numbers in a shorter type, rounded at random so that their mean stays.
#include "../core/stochastic_round.h"

#include "kernels.h"

namespace effebm::ops {
namespace {

Rounded rounded_to(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::BFloat16:
      return Rounded::bfloat16;
    case ScalarType::Half:
      return Rounded::float16;
    case ScalarType::Float8_e5m2:
      return Rounded::float8;
    case ScalarType::Byte:
      return Rounded::code;
    default:
      STD_TORCH_CHECK(false, "out: expected bfloat16, float16, float8_e5m2 or uint8, got ",
                      torch::headeronly::toString(dtype));
  }
}

// Writes x rounded into out.
void stochastic_round(const Tensor& x, const Tensor& out, const Tensor& key, int64_t offset,
                      int64_t first_chain, int64_t purpose, double lower, double upper) {
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float, "x: expected float32, got ",
                  torch::headeronly::toString(x.scalar_type()));
  check_same_shape(x, out, "out");
  const Rounded to = rounded_to(out.scalar_type());
  check_dtype_and_device(x, out, out.scalar_type(), "out");
  check_chains(x, key, first_chain);
  STD_TORCH_CHECK(purpose >= 0 && purpose < 256, "purpose: expected 0 to 255, got ", purpose);
  STD_TORCH_CHECK(to != Rounded::code || lower < upper, "lower: expected less than upper ", upper,
                  ", got ", lower);
  const Tensor in = dense(x);
  check_no_overlap(in, out, "x and out", false);
  Writable target(out, "out");
  const Rows rows = rows_of(in);
  if (x.numel() > 0)
    run(&Kernels::stochastic_round,
        StochasticRoundParams{to, rows.count, rows.dim, in.const_data_ptr<float>(),
                              target.tensor().mutable_data_ptr(), key.const_data_ptr<int64_t>(),
                              offset, first_chain, int32_t(purpose), float(lower),
                              float(255.0 / (upper - lower))},
        in);
  target.write_back();
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def(
      "stochastic_round(Tensor x, Tensor(a!) out, Tensor key, SymInt offset, SymInt first_chain, "
      "int purpose, float lower, float upper) -> ()");
}

EFFEBM_IMPLEMENTATIONS(m) { m.impl("stochastic_round", TORCH_BOX(&effebm::ops::stochastic_round)); }
