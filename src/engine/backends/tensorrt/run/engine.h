#pragma once
// From ONNX bytes to something that runs: TensorRT's builder, its ONNX parser and its runtime, with
// built engines kept in files (cache.h). Interface: TensorRT 10, nothing of it deprecated;
// docs/tensorrt.md says which headers were read.

#include <NvInfer.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::tensorrt {

// The version of the library that runs, "10.7.0.23".
std::string Version();
// What TensorRT calls `call` has done wrong, with what it has logged since the last error.
Status Failed(const std::string& call);

struct Gpu {
  int index = 0;
  std::string name;          // "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0;  // compute capability
};
// The library is one that this was compiled for, and the GPU of SLIPWAY_TENSORRT_DEVICE (a number,
// 0 by default) is here.
Result<Gpu> Start();

struct Input {
  std::string name;
  nvinfer1::Dims dims;
};

// Destroyed in the order that TensorRT wants: contexts before engines before runtimes.
struct Engine {
  std::unique_ptr<nvinfer1::IRuntime> runtime;
  std::unique_ptr<nvinfer1::ICudaEngine> engine;
  std::unique_ptr<nvinfer1::IExecutionContext> context;
};

// An engine for exactly these extents on this GPU, which is the thread's current one; from the
// cache, else built. One at a time in a process: the builder measures.
Result<Engine> MakeEngine(std::span<const uint8_t> onnx, const std::vector<Input>& inputs,
                          const Gpu& gpu);

}  // namespace slipway::tensorrt
