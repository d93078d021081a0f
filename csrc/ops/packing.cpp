// signs_pack, signs_unpack, entries_pack: compressed rows in less memory, without loss.
#include <tuple>

#include "blocks.h"
#include "kernels.h"

namespace effebm::ops {
namespace {

void check_compute_type(const Tensor& c) {
  STD_TORCH_CHECK(c.scalar_type() == compute_type_of(c), "c: expected float32 or float64, got ",
                  torch::headeronly::toString(c.scalar_type()));
}

Tensor new_flags(const Tensor& c, int64_t n) {
  Tensor flags = torch::stable::new_empty(c, {n}, ScalarType::Int);
  return torch::stable::zero_(flags);
}

SignsParams signs_params(const Tensor& c, int64_t dim, int64_t block_size,
                         const std::optional<Tensor>& block_offsets) {
  const BlockArguments blocks = block_arguments(c, dim, block_size, block_offsets);
  SignsParams p{};
  p.dtype = dtype_of(c);
  p.rows = c.size(0);
  p.dim = dim;
  p.block_size = block_size;
  p.block_offsets = blocks.offsets;
  p.n_blocks = blocks.offsets ? blocks.count : dim / block_size + (dim % block_size != 0);
  return p;
}

// Packs c (n_chains, dim) into signs and zeros int32 (n_chains, words), scales (n_chains,
// n_blocks), and flags int32 (2,): some entry is zero; some entry is not of its block's scale.
std::tuple<Tensor, Tensor, Tensor, Tensor> signs_pack(const Tensor& c, int64_t block_size,
                                                      std::optional<Tensor> block_offsets) {
  check_compute_type(c);
  const Tensor in = dense(c);
  SignsParams p = signs_params(in, rows_of(in).dim, block_size, block_offsets);
  const int64_t words = core::words_of(p.dim);
  const Tensor signs = torch::stable::new_empty(in, {p.rows, words}, ScalarType::Int);
  const Tensor zeros = torch::stable::new_empty(in, {p.rows, words}, ScalarType::Int);
  const Tensor scales = torch::stable::new_empty(in, {p.rows, p.n_blocks}, in.scalar_type());
  const Tensor flags = new_flags(in, 2);
  p.c = const_cast<void*>(in.const_data_ptr());
  p.signs = static_cast<uint32_t*>(signs.mutable_data_ptr());
  p.zeros = static_cast<uint32_t*>(zeros.mutable_data_ptr());
  p.scales = scales.mutable_data_ptr();
  p.flags = static_cast<int32_t*>(flags.mutable_data_ptr());
  if (in.numel() > 0) run(&Kernels::pack_signs, p, in);
  return {signs, zeros, scales, flags};
}

// Returns the c (n_chains, dim) that was packed, of the dtype of scales.
Tensor signs_unpack(const Tensor& signs, std::optional<Tensor> zeros, const Tensor& scales,
                    int64_t dim, int64_t block_size, std::optional<Tensor> block_offsets) {
  check_compute_type(scales);
  SignsParams p = signs_params(scales, dim, block_size, block_offsets);
  const auto check_words = [&](const Tensor& t, const char* name) {
    check_dtype_and_device(scales, t, ScalarType::Int, name);
    STD_TORCH_CHECK(t.dim() == 2 && t.size(0) == p.rows && t.size(1) == core::words_of(dim) &&
                        t.is_contiguous(),
                    name, ": expected contiguous int32 (n_chains, ceil(dim / 32))");
  };
  check_words(signs, "signs");
  if (zeros) check_words(*zeros, "zeros");
  STD_TORCH_CHECK(scales.dim() == 2 && scales.size(1) == p.n_blocks && scales.is_contiguous(),
                  "scales: expected a contiguous tensor (n_chains, n_blocks)");
  const Tensor c = torch::stable::new_empty(scales, {p.rows, dim});
  p.c = c.mutable_data_ptr();
  p.signs = const_cast<uint32_t*>(static_cast<const uint32_t*>(signs.const_data_ptr()));
  if (zeros) p.zeros = const_cast<uint32_t*>(static_cast<const uint32_t*>(zeros->const_data_ptr()));
  p.scales = const_cast<void*>(scales.const_data_ptr());
  if (c.numel() > 0) run(&Kernels::unpack_signs, p, c);
  return c;
}

// Packs c (n_chains, dim) into values (n_chains, k), indices int32 (n_chains, k), and flags int32
// (1,): some row has more than k entries.
std::tuple<Tensor, Tensor, Tensor> entries_pack(const Tensor& c, int64_t k) {
  check_compute_type(c);
  const Tensor in = dense(c);
  const Rows rows = rows_of(in);
  STD_TORCH_CHECK(k >= 0 && k <= rows.dim, "k: expected 0 <= k <= ", rows.dim, ", got ", k);
  STD_TORCH_CHECK(rows.dim <= int64_t(1) << 31, "c: expected at most 2**31 elements per chain");
  const Tensor values = torch::stable::new_empty(in, {rows.count, k});
  const Tensor indices = torch::stable::new_empty(in, {rows.count, k}, ScalarType::Int);
  const Tensor flags = new_flags(in, 1);
  const EntriesParams p{dtype_of(in),
                        rows.count,
                        rows.dim,
                        k,
                        in.const_data_ptr(),
                        values.mutable_data_ptr(),
                        static_cast<int32_t*>(indices.mutable_data_ptr()),
                        static_cast<int32_t*>(flags.mutable_data_ptr())};
  if (in.numel() > 0) run(&Kernels::pack_entries, p, in);
  return {values, indices, flags};
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def(
      "signs_pack(Tensor c, SymInt block_size, Tensor? block_offsets) -> (Tensor, Tensor, Tensor, "
      "Tensor)");
  m.def(
      "signs_unpack(Tensor signs, Tensor? zeros, Tensor scales, SymInt dim, SymInt block_size, "
      "Tensor? block_offsets) -> Tensor");
  m.def("entries_pack(Tensor c, SymInt k) -> (Tensor, Tensor, Tensor)");
}

EFFEBM_IMPLEMENTATIONS(m) {
  m.impl("signs_pack", TORCH_BOX(&effebm::ops::signs_pack));
  m.impl("signs_unpack", TORCH_BOX(&effebm::ops::signs_unpack));
  m.impl("entries_pack", TORCH_BOX(&effebm::ops::entries_pack));
}
