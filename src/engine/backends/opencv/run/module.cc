// libslipway_opencv.so: a backend like a vendor's closed one, behind the C interface alone.

#include <atomic>
#include <cstring>
#include <memory>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/dnn.hpp>
#include <string>
#include <vector>

#include "engine/backends/opencv/run/backend.h"
#include "engine/kernels/backend_glue.h"
#include "engine/kernels/vendor/network_step.h"

namespace slipway::opencv {
namespace {

// One network a session and set of shapes: cv::dnn::Net keeps its buffers and is for one thread.
struct Bound {
  std::string name;
  cv::dnn::Net net;
  std::vector<cv::String> inputs, outputs;
  std::vector<cv::Mat> results;
  int threads = 1;
};

std::vector<int> DimsOf(const slipway_tensor& t) {
  std::vector<int> dims;
  for (int i = 0; i < t.rank; ++i) dims.push_back(static_cast<int>(t.dims[i]));
  return dims;
}

Status CheckTensor(const slipway_tensor& t, bool sized) {
  constexpr uint32_t kFloat = 1;
  if (t.dtype != kFloat || t.layout != 0 || t.rank < 1 || t.rank > 5)
    return InvalidArgument("OpenCV takes plain float32 tensors of one to five dimensions");
  if (!sized) return OkStatus();
  uint64_t count = 1;
  for (int i = 0; i < t.rank; ++i) {
    if (t.dims[i] < 1 || t.dims[i] > (1 << 28))
      return InvalidArgument("a tensor without elements or too large");
    count *= static_cast<uint64_t>(t.dims[i]);
    if (count > (uint64_t{1} << 32)) return InvalidArgument("a tensor is too large");
  }
  if (count * 4 > t.bytes) return InvalidArgument("a tensor without room for its elements");
  return OkStatus();
}

// OpenCV's number of threads is the process's.
void UseThreads(int threads) {
  static std::atomic<int> used{0};
  if (used.exchange(threads) != threads) cv::setNumThreads(threads);
}

void SetInputs(Bound& b, const slipway_tensor* inputs) {
  for (size_t i = 0; i < b.inputs.size(); ++i) {
    const std::vector<int> dims = DimsOf(inputs[i]);
    // It reads from there and writes nowhere.
    b.net.setInput(cv::Mat(dims, CV_32F, inputs[i].data), b.inputs[i]);
  }
}

Status Forward(Bound& b, const slipway_tensor* outputs, bool copy) {
  UseThreads(b.threads);
  b.results.clear();
  b.net.forward(b.results, b.outputs);
  if (b.results.size() != b.outputs.size())
    return Internal("OpenCV gives " + std::to_string(b.results.size()) + " outputs of " +
                    std::to_string(b.outputs.size()));
  for (size_t i = 0; i < b.results.size(); ++i) {
    const cv::Mat& m = b.results[i];
    std::vector<int> got(m.size.p, m.size.p + m.dims);
    const std::vector<int> want = DimsOf(outputs[i]);
    if (want.size() == 1 && got.size() == 2 && got[1] == 1) got.pop_back();
    if (m.type() != CV_32F || got != want || !m.isContinuous())
      return Internal("OpenCV gives output " + std::to_string(i) + " another shape or type");
    if (copy) std::memcpy(outputs[i].data, m.ptr(), m.total() * sizeof(float));
  }
  return OkStatus();
}

// What OpenCV throws says where; its own lines on the terminal stay away.
template <typename F>
int Guard(const std::string& name, slipway_error* error, F&& f) {
  return kernels::CatchToError(error, [&]() -> Status {
    try {
      return f().With("opencv, step '" + name + "'");
    } catch (const cv::Exception& e) {
      return Unsupported("opencv, step '" + name + "': " + e.err + " (" + e.func + ")");
    }
  });
}

int Load(void*, const slipway_step* step, void** program, slipway_error* error) {
  const std::string name = step->name ? step->name : "";
  return Guard(name, error, [&]() -> Status {
    SLIPWAY_ASSIGN_OR_RETURN(auto p, kernels::LoadNetwork(backends::kOpencvMark, "OpenCV", *step,
                                                          [](const slipway_tensor& t) {
                                                            return CheckTensor(t, false);
                                                          }));
    *program = p.release();
    return OkStatus();
  });
}

void Unload(void*, void* program) { delete static_cast<kernels::NetworkProgram*>(program); }

int Prepare(void*, void* program, const slipway_step* step, slipway_requirements* requirements,
            void** bound, slipway_error* error) {
  const auto& p = *static_cast<const kernels::NetworkProgram*>(program);
  return Guard(p.name, error, [&]() -> Status {
    auto b = std::make_unique<Bound>();
    b->name = p.name;
    b->threads = requirements->threads > 0 ? requirements->threads : 1;
    SLIPWAY_RETURN_IF_ERROR(
        kernels::CheckTensors(*step, [](const slipway_tensor& t) { return CheckTensor(t, true); }));
    b->net = cv::dnn::readNetFromONNX(reinterpret_cast<const char*>(p.parts.onnx.data()),
                                      p.parts.onnx.size());
    b->net.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
    b->net.setPreferableTarget(cv::dnn::DNN_TARGET_CPU);
    for (uint32_t i = 0; i < p.parts.inputs; ++i) b->inputs.push_back("i" + std::to_string(i));
    for (uint32_t i = 0; i < p.parts.outputs; ++i) b->outputs.push_back("o" + std::to_string(i));
    // Once with zeros: buffers are made, and shapes that are not the step's are found here.
    const kernels::ZeroTensors zeros(step->inputs, step->num_inputs);
    SetInputs(*b, zeros.data());
    SLIPWAY_RETURN_IF_ERROR(Forward(*b, step->outputs, false));
    requirements->workspace_bytes = 0;
    *bound = b.release();
    return OkStatus();
  });
}

void Release(void*, void* bound) { delete static_cast<Bound*>(bound); }

int Run(void*, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
        const slipway_execution* /*execution*/, slipway_error* error) {
  Bound& b = *static_cast<Bound*>(bound);
  return Guard(b.name, error, [&]() -> Status {
    SetInputs(b, inputs);
    return Forward(b, outputs, true);
  });
}

int Silent(int, const char*, const char*, const char*, int, void*) { return 0; }

constexpr slipway_backend kBackend = kernels::HostBackend(
    "opencv", "OpenCV " SLIPWAY_OPENCV_VERSION, Load, Unload, Prepare, Release, Run);

}  // namespace
}  // namespace slipway::opencv

extern "C" __attribute__((visibility("default"))) const slipway_backend* slipway_backend_main(
    uint32_t host_abi_version) {
  if (host_abi_version != SLIPWAY_BACKEND_ABI_VERSION) return nullptr;
  cv::redirectError(slipway::opencv::Silent);
  cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
  return &slipway::opencv::kBackend;
}
