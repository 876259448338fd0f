#pragma once
// What the double's engines ask of a GPU. There is none behind cudart/cudart_double.cc; behind
// gpu_cuda.cc there is one, and the real CUDA runtime.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace tensorrt_double {

int CurrentGpu();  // the thread's
std::string GpuName(int gpu);

// From the bytes of the inputs those of the outputs; false: it cannot.
using Compute =
    std::function<bool(const std::vector<const uint8_t*>&, const std::vector<uint8_t*>&)>;

// Where an execution context computes.
class Workplace {
 public:
  virtual ~Workplace() = default;
  // Puts it into the stream and does not wait. The addresses are of the GPU.
  virtual cudaError_t Enqueue(cudaStream_t stream, const std::vector<void*>& inputs,
                              const std::vector<void*>& outputs) = 0;
};
std::unique_ptr<Workplace> MakeWorkplace(std::vector<size_t> input_bytes,
                                         std::vector<size_t> output_bytes, Compute compute);

}  // namespace tensorrt_double
