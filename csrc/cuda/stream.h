// Where a CUDA op runs: the device of its tensor, on torch's current stream.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>

#include "../ops/common.h"

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

}  // namespace effebm::cuda
