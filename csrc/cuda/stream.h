// Where a CUDA op runs: the device of its tensor, on torch's current stream.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>

#include "../ops/common.h"
#include "launch.h"

namespace effebm::cuda {

// launch(stream) with x's device current; a launch that fails becomes an error that names x.
template <class Launch>
void on_stream_of(const torch::stable::Tensor& x, const Launch& launch) {
  const int32_t device = x.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  launch(stream);
  const cudaError_t error = cudaGetLastError();
  STD_TORCH_CHECK(error == cudaSuccess, "x on cuda:", device,
                  ": the kernel did not launch: ", cudaGetErrorString(error));
}

// launch(params, workspace, stream) likewise.
template <class Params>
void run_with_workspace(const Params& params, const torch::stable::Tensor& x,
                        void (*launch)(const Params&, void*, void*)) {
  on_stream_of(x, [&](void* stream) {
    std::optional<torch::stable::Tensor> workspace;
    if (const int64_t bytes = workspace_of(params))
      workspace = torch::stable::new_empty(x, {bytes}, ops::ScalarType::Byte);
    launch(params, workspace ? workspace->mutable_data_ptr() : nullptr, stream);
  });
}

}  // namespace effebm::cuda
