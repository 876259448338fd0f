// libslipway_tensorrt.so: the way from steps to engines of TensorRT, behind the C interface alone.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/backends/tensorrt/run/backend.h"
#include "engine/backends/tensorrt/run/cuda.h"
#include "engine/backends/tensorrt/run/engine.h"
#include "engine/kernels/backend_glue.h"
#include "engine/kernels/vendor/network_step.h"

namespace slipway::tensorrt {
namespace {

using nvinfer1::DataType;
using nvinfer1::TensorFormat;
using nvinfer1::TensorIOMode;
using nvinfer1::TensorLocation;

// An engine with its memory on the GPU, for one session and its set of shapes. The engine goes
// first, the stream last.
struct Bound {
  std::string name;
  Gpu gpu;
  Stream stream;
  std::vector<DeviceMemory> inputs, outputs;
  Engine engine;
};

Status CheckTensor(const slipway_tensor& t, bool sized) {
  SLIPWAY_RETURN_IF_ERROR(kernels::CheckFloatTensor("TensorRT", t, sized));
  if (t.rank > nvinfer1::Dims::MAX_DIMS)
    return InvalidArgument("TensorRT gets tensors of " + std::to_string(nvinfer1::Dims::MAX_DIMS) +
                           " dimensions at most");
  for (int i = 0; sized && i < t.rank; ++i) {
    if (t.dims[i] < 1) return InvalidArgument("TensorRT gets no tensor without elements");
  }
  return OkStatus();
}

size_t BytesOf(const slipway_tensor& t) {
  size_t bytes = sizeof(float);
  for (int i = 0; i < t.rank; ++i) bytes *= static_cast<size_t>(t.dims[i]);
  return bytes;
}

nvinfer1::Dims DimsOf(const slipway_tensor& t) {
  nvinfer1::Dims dims{};
  dims.nbDims = t.rank;
  std::copy(t.dims, t.dims + t.rank, dims.d);
  return dims;
}

std::string NameOf(char kind, uint32_t index) { return kind + std::to_string(index); }

// A library that does not keep to its interface, as far as this backend knows it.
Status Surprise(const std::string& what) {
  return Unsupported("TensorRT " + Version() + " " + what +
                     "; this backend was not made for that version: compile for another platform");
}

template <typename F>
int Guard(const std::string& name, slipway_error* error, F&& f) {
  return kernels::CatchToError(
      error, [&]() -> Status { return f().With("tensorrt, step '" + name + "'"); });
}

int Load(void*, const slipway_step* step, void** program, slipway_error* error) {
  const std::string name = step->name ? step->name : "";
  return Guard(name, error, [&]() -> Status {
    SLIPWAY_RETURN_IF_ERROR(Start().status());
    SLIPWAY_ASSIGN_OR_RETURN(auto p, kernels::LoadNetwork(backends::kTensorrtMark, "TensorRT",
                                                          *step, [](const slipway_tensor& t) {
                                                            return CheckTensor(t, false);
                                                          }));
    *program = p.release();
    return OkStatus();
  });
}

void Unload(void*, void* program) { delete static_cast<kernels::NetworkProgram*>(program); }

// Plain float32 on the GPU, in this direction.
Status CheckKind(const Bound& b, const std::string& name, TensorIOMode mode) {
  const nvinfer1::ICudaEngine& e = *b.engine.engine;
  if (e.getTensorIOMode(name.c_str()) != mode)
    return Surprise("has built an engine without " +
                    std::string(mode == TensorIOMode::kINPUT ? "input " : "output ") + name);
  if (e.getTensorDataType(name.c_str()) != DataType::kFLOAT ||
      e.getTensorFormat(name.c_str()) != TensorFormat::kLINEAR ||
      e.getTensorLocation(name.c_str()) != TensorLocation::kDEVICE)
    return Surprise("has built an engine whose " + name + " is no plain float32 on the GPU");
  return OkStatus();
}

Status Connect(Bound& b, const std::string& name, size_t bytes, std::vector<DeviceMemory>& to) {
  SLIPWAY_RETURN_IF_ERROR(to.emplace_back().Allocate(bytes).With(
      "the memory of " + name + " (" + std::to_string(bytes) + " bytes)"));
  if (!b.engine.context->setTensorAddress(name.c_str(), to.back().data()))
    return Failed("IExecutionContext::setTensorAddress of " + name);
  return OkStatus();
}

Status ConnectAll(Bound& b, const slipway_step& step) {
  nvinfer1::IExecutionContext& context = *b.engine.context;
  const int tensors = b.engine.engine->getNbIOTensors();
  if (tensors != static_cast<int>(step.num_inputs + step.num_outputs))
    return Surprise("has built an engine with " + std::to_string(tensors) +
                    " inputs and outputs instead of " +
                    std::to_string(step.num_inputs + step.num_outputs));
  for (uint32_t i = 0; i < step.num_inputs; ++i) {
    const std::string name = NameOf('i', i);
    SLIPWAY_RETURN_IF_ERROR(CheckKind(b, name, TensorIOMode::kINPUT));
    if (!context.setInputShape(name.c_str(), DimsOf(step.inputs[i])))
      return Failed("IExecutionContext::setInputShape of " + name);
    SLIPWAY_RETURN_IF_ERROR(Connect(b, name, BytesOf(step.inputs[i]), b.inputs));
  }
  for (uint32_t i = 0; i < step.num_outputs; ++i) {
    const std::string name = NameOf('o', i);
    SLIPWAY_RETURN_IF_ERROR(CheckKind(b, name, TensorIOMode::kOUTPUT));
    const nvinfer1::Dims dims = context.getTensorShape(name.c_str());
    if (dims.nbDims != step.outputs[i].rank ||
        !std::equal(dims.d, dims.d + dims.nbDims, step.outputs[i].dims))
      return Surprise("gives output " + std::to_string(i) + " another shape");
    SLIPWAY_RETURN_IF_ERROR(Connect(b, name, BytesOf(step.outputs[i]), b.outputs));
  }
  return OkStatus();
}

Status Enqueue(Bound& b, const slipway_tensor* inputs, const slipway_tensor* outputs) {
  for (size_t i = 0; i < b.inputs.size(); ++i)
    SLIPWAY_RETURN_IF_ERROR(SLIPWAY_CUDA(cudaMemcpyAsync, b.inputs[i].data(), inputs[i].data,
                                         b.inputs[i].bytes(), cudaMemcpyHostToDevice,
                                         b.stream.get()));
  if (!b.engine.context->enqueueV3(b.stream.get())) return Failed("IExecutionContext::enqueueV3");
  for (size_t i = 0; i < b.outputs.size(); ++i)
    SLIPWAY_RETURN_IF_ERROR(SLIPWAY_CUDA(cudaMemcpyAsync, outputs[i].data, b.outputs[i].data(),
                                         b.outputs[i].bytes(), cudaMemcpyDeviceToHost,
                                         b.stream.get()));
  return OkStatus();
}

Status Forward(Bound& b, const slipway_tensor* inputs, const slipway_tensor* outputs) {
  SLIPWAY_RETURN_IF_ERROR(SLIPWAY_CUDA(cudaSetDevice, b.gpu.index));  // the thread's
  const Status enqueued = Enqueue(b, inputs, outputs);
  // Also when that failed: copies may be under way to memory that is the caller's.
  const Status done = SLIPWAY_CUDA(cudaStreamSynchronize, b.stream.get());
  return enqueued.ok() ? done : enqueued;
}

int Prepare(void*, void* program, const slipway_step* step, slipway_requirements* requirements,
            void** bound, slipway_error* error) {
  const auto& p = *static_cast<const kernels::NetworkProgram*>(program);
  return Guard(p.name, error, [&]() -> Status {
    SLIPWAY_RETURN_IF_ERROR(
        kernels::CheckTensors(*step, [](const slipway_tensor& t) { return CheckTensor(t, true); }));
    auto b = std::make_unique<Bound>();
    b->name = p.name;
    SLIPWAY_ASSIGN_OR_RETURN(b->gpu, Start());
    SLIPWAY_RETURN_IF_ERROR(b->stream.Create());
    std::vector<Input> inputs;
    for (uint32_t i = 0; i < step->num_inputs; ++i)
      inputs.push_back({NameOf('i', i), DimsOf(step->inputs[i])});
    SLIPWAY_ASSIGN_OR_RETURN(b->engine, MakeEngine(p.parts.onnx, inputs, b->gpu));
    SLIPWAY_RETURN_IF_ERROR(ConnectAll(*b, *step));
    // Once with zeros: what TensorRT makes at the first run is made.
    const kernels::ZeroTensors in(step->inputs, step->num_inputs),
        out(step->outputs, step->num_outputs);
    SLIPWAY_RETURN_IF_ERROR(Forward(*b, in.data(), out.data()));
    requirements->workspace_bytes = 0;
    *bound = b.release();
    return OkStatus();
  });
}

void Release(void*, void* bound) {
  auto* b = static_cast<Bound*>(bound);
  (void)cudaSetDevice(b->gpu.index);
  delete b;
}

int Run(void*, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
        const slipway_execution* /*execution*/, slipway_error* error) {
  Bound& b = *static_cast<Bound*>(bound);
  return Guard(b.name, error, [&] { return Forward(b, inputs, outputs); });
}

constexpr slipway_backend kBackend =
    kernels::HostBackend("tensorrt", "TensorRT 10", Load, Unload, Prepare, Release, Run);

}  // namespace
}  // namespace slipway::tensorrt

extern "C" __attribute__((visibility("default"))) const slipway_backend* slipway_backend_main(
    uint32_t host_abi_version) {
  if (host_abi_version != SLIPWAY_BACKEND_ABI_VERSION) return nullptr;
  return &slipway::tensorrt::kBackend;
}
