// signs_pack, signs_unpack, entries_pack: compressed rows in less memory, without loss.
#include "packing.h"

namespace effebm::ops {
namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor> signs_pack_cpu(const Tensor& c, int64_t block_size,
                                                          std::optional<Tensor> block_offsets) {
  return signs_pack(c, block_size, block_offsets, [](const SignsParams& p, const Tensor&) {
    cpu::kernels().pack_signs(p, torch_threads());
  });
}

Tensor signs_unpack_cpu(const Tensor& signs, std::optional<Tensor> zeros, const Tensor& scales,
                        int64_t dim, int64_t block_size, std::optional<Tensor> block_offsets) {
  return signs_unpack(
      signs, zeros, scales, dim, block_size, block_offsets,
      [](const SignsParams& p, const Tensor&) { cpu::kernels().unpack_signs(p, torch_threads()); });
}

std::tuple<Tensor, Tensor, Tensor> entries_pack_cpu(const Tensor& c, int64_t k) {
  return entries_pack(c, k, [](const EntriesParams& p, const Tensor&) {
    cpu::kernels().pack_entries(p, torch_threads());
  });
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

STABLE_TORCH_LIBRARY_IMPL(effebm, CPU, m) {
  m.impl("signs_pack", TORCH_BOX(&effebm::ops::signs_pack_cpu));
  m.impl("signs_unpack", TORCH_BOX(&effebm::ops::signs_unpack_cpu));
  m.impl("entries_pack", TORCH_BOX(&effebm::ops::entries_pack_cpu));
}
