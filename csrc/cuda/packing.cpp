// signs_pack, signs_unpack and entries_pack on CUDA.
#include "../ops/packing.h"

#include "launch.h"
#include "stream.h"

namespace effebm::cuda {
namespace {

using torch::stable::Tensor;

std::tuple<Tensor, Tensor, Tensor, Tensor> signs_pack(const Tensor& c, int64_t block_size,
                                                      std::optional<Tensor> block_offsets) {
  return ops::signs_pack(c, block_size, block_offsets, [](const SignsParams& p, const Tensor& c) {
    on_stream_of(c, [&](void* stream) { launch_pack_signs(p, stream); });
  });
}

Tensor signs_unpack(const Tensor& signs, std::optional<Tensor> zeros, const Tensor& scales,
                    int64_t dim, int64_t block_size, std::optional<Tensor> block_offsets) {
  return ops::signs_unpack(signs, zeros, scales, dim, block_size, block_offsets,
                           [](const SignsParams& p, const Tensor& c) {
                             on_stream_of(c, [&](void* s) { launch_unpack_signs(p, s); });
                           });
}

std::tuple<Tensor, Tensor, Tensor> entries_pack(const Tensor& c, int64_t k) {
  return ops::entries_pack(c, k, [](const EntriesParams& p, const Tensor& c) {
    on_stream_of(c, [&](void* stream) { launch_pack_entries(p, stream); });
  });
}

}  // namespace
}  // namespace effebm::cuda

STABLE_TORCH_LIBRARY_IMPL(effebm, CUDA, m) {
  m.impl("signs_pack", TORCH_BOX(&effebm::cuda::signs_pack));
  m.impl("signs_unpack", TORCH_BOX(&effebm::cuda::signs_unpack));
  m.impl("entries_pack", TORCH_BOX(&effebm::cuda::entries_pack));
}
