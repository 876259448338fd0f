#pragma once
// The little of the CUDA runtime that the backend needs: a GPU, a stream, memory.

#include <cuda_runtime_api.h>

#include <string>
#include <utility>

#include "base/status.h"

namespace slipway::tensorrt {

inline Status CudaStatus(cudaError_t code, const char* function) {
  if (code == cudaSuccess) return OkStatus();
  const char* text = cudaGetErrorString(code);
  const std::string message = "CUDA: " + std::string(function) + " (" +
                              std::to_string(static_cast<int>(code)) +
                              "): " + (text ? text : "an error without a message");
  if (code == cudaErrorMemoryAllocation) return ResourceExhausted(message);
  return Unsupported(message);
}
#define SLIPWAY_CUDA(function, ...) \
  ::slipway::tensorrt::CudaStatus(function(__VA_ARGS__), #function)

class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  ~Stream() {
    if (stream_) (void)cudaStreamDestroy(stream_);
  }
  Status Create() {
    return SLIPWAY_CUDA(cudaStreamCreateWithFlags, &stream_, cudaStreamNonBlocking);
  }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Of the GPU; aligned as TensorRT wants it (256 bytes), which cudaMalloc's is.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  ~DeviceMemory() {
    if (data_) (void)cudaFree(data_);
  }
  Status Allocate(size_t bytes) {
    bytes_ = bytes;
    return SLIPWAY_CUDA(cudaMalloc, &data_, bytes);
  }
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace slipway::tensorrt
