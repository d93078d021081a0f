// The module _C_cuda. Importing it gives the CUDA kernels to the ops of _C; it binds nothing.
#include <Python.h>
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>

#include <type_traits>

#include "../ops/kernels.h"
#include "kernels.h"

namespace effebm::cuda {
namespace {

template <class Params>
void check(const Params& p) {
  STD_TORCH_CHECK(p.dim <= kMaxDim, "x: expected at most ", kMaxDim,
                  " elements per row on CUDA, got ", p.dim);
  if constexpr (std::is_base_of_v<CompressorParams, Params>) {
    const bool selects = p.compressor == Compressor::topk || p.compressor == Compressor::random_k ||
                         p.compressor == Compressor::biased_random_k;
    STD_TORCH_CHECK(!selects || p.dim <= kMaxTopkDim,
                    "x: expected fewer than 2**32 elements per row for Top-k and Random-k on CUDA");
  }
}

// The kernel on torch's current stream of the GPU. A launch that fails becomes an error.
template <class Params, Kernel<Params> kernel>
void run(const Params& params, const Execution& on) {
  check(params);
  const torch::stable::accelerator::DeviceGuard guard(on.gpu);
  Execution here = on;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(on.gpu, &here.stream));
  kernel(params, here);
  const cudaError_t error = cudaGetLastError();
  STD_TORCH_CHECK(error == cudaSuccess, "x on cuda:", on.gpu,
                  ": the kernel did not launch: ", cudaGetErrorString(error));
}

#define EFFEBM_ENTRY(name, Params) &run<Params, &name>,
const Kernels table = {"CUDA", EFFEBM_KERNELS(EFFEBM_ENTRY)};

}  // namespace
}  // namespace effebm::cuda

PyMODINIT_FUNC PyInit__C_cuda(void) {
  using namespace effebm;
  void* const found = PyCapsule_Import(ops::kRegisterKernels, 0);
  if (!found) return nullptr;
  reinterpret_cast<ops::RegisterKernels>(found)(ops::Backend::cuda, &cuda::table);
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                                   "_C_cuda",
                                   "CUDA kernels of effebm_ext.",
                                   -1,
                                   nullptr,
                                   nullptr,
                                   nullptr,
                                   nullptr,
                                   nullptr};
  return PyModule_Create(&definition);
}
