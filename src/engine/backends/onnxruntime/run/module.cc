// libslipway_onnxruntime.so: the way from steps to sessions of ONNX Runtime, behind the C interface
// alone.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/backends/onnxruntime/run/api.h"
#include "engine/backends/onnxruntime/run/backend.h"
#include "engine/backends/onnxruntime/run/providers.h"
#include "engine/kernels/backend_glue.h"
#include "engine/kernels/vendor/network_step.h"

namespace slipway::ort {
namespace {

// A session of ONNX Runtime, and its values for the memory of the last run.
struct Bound {
  const Api* api = nullptr;
  std::string name;
  OrtSession* session = nullptr;
  std::vector<std::string> names;
  std::vector<const char*> input_names, output_names;
  std::vector<OrtValue*> inputs, outputs;
  std::vector<void*> memory;  // of inputs, then outputs

  void Forget() {
    for (auto* values : {&inputs, &outputs}) {
      for (OrtValue*& v : *values) {
        api->Release(kReleaseValue, v);
        v = nullptr;
      }
    }
    std::fill(memory.begin(), memory.end(), nullptr);
  }
  ~Bound() {
    if (!api) return;
    Forget();
    api->Release(kReleaseSession, session);
  }
};

Status CheckTensor(const slipway_tensor& t, bool sized) {
  return kernels::CheckFloatTensor("ONNX Runtime", t, sized);
}

template <typename F>
int Guard(const std::string& name, slipway_error* error, F&& f) {
  return kernels::CatchToError(
      error, [&]() -> Status { return f().With("onnxruntime, step '" + name + "'"); });
}

int Load(void*, const slipway_step* step, void** program, slipway_error* error) {
  const std::string name = step->name ? step->name : "";
  return Guard(name, error, [&]() -> Status {
    SLIPWAY_RETURN_IF_ERROR(Api::Get().status());
    SLIPWAY_ASSIGN_OR_RETURN(
        auto p,
        kernels::LoadNetwork(backends::kOnnxruntimeMark, "ONNX Runtime", *step,
                             [](const slipway_tensor& t) { return CheckTensor(t, false); }));
    *program = p.release();
    return OkStatus();
  });
}

void Unload(void*, void* program) { delete static_cast<kernels::NetworkProgram*>(program); }

// Values over the memory that this run's tensors lie in: made again only when that has moved, or at
// first.
Status UseMemory(Bound& b, const slipway_tensor* inputs, const slipway_tensor* outputs) {
  const size_t n = b.inputs.size(), m = b.outputs.size();
  bool same = true;
  for (size_t i = 0; i < n; ++i) same &= b.inputs[i] && b.memory[i] == inputs[i].data;
  for (size_t i = 0; i < m; ++i) same &= b.outputs[i] && b.memory[n + i] == outputs[i].data;
  if (same) return OkStatus();
  b.Forget();
  const auto wrap = [&](const slipway_tensor& t, OrtValue** value) {
    size_t bytes = 4;
    for (int d = 0; d < t.rank; ++d) bytes *= static_cast<size_t>(t.dims[d]);
    constexpr int kFloat = 1;
    return b.api->Call(kCreateTensorWithDataAsOrtValue, b.api->cpu(), t.data, bytes,
                       static_cast<const int64_t*>(t.dims), static_cast<size_t>(t.rank),
                       int{kFloat}, value);
  };
  for (size_t i = 0; i < n; ++i) {
    SLIPWAY_RETURN_IF_ERROR(wrap(inputs[i], &b.inputs[i]));
    b.memory[i] = inputs[i].data;
  }
  for (size_t i = 0; i < m; ++i) {
    SLIPWAY_RETURN_IF_ERROR(wrap(outputs[i], &b.outputs[i]));
    b.memory[n + i] = outputs[i].data;
  }
  return OkStatus();
}

Status Forward(Bound& b, const slipway_tensor* inputs, const slipway_tensor* outputs) {
  SLIPWAY_RETURN_IF_ERROR(UseMemory(b, inputs, outputs));
  struct OrtRunOptions;
  // Outputs that are given are written where they lie; another shape than theirs is an error.
  return b.api->Call(kRun, b.session, static_cast<const OrtRunOptions*>(nullptr),
                     static_cast<const char* const*>(b.input_names.data()),
                     const_cast<const OrtValue* const*>(b.inputs.data()), b.inputs.size(),
                     static_cast<const char* const*>(b.output_names.data()), b.output_names.size(),
                     b.outputs.data());
}

Status MakeSession(const Api& api, const kernels::NetworkProgram& p, int threads,
                   OrtSession** session) {
  OrtSessionOptions* options = nullptr;
  SLIPWAY_RETURN_IF_ERROR(api.Call(kCreateSessionOptions, &options));
  constexpr int kAll = 99, kFatal = 4;
  Status s = api.Call(kSetIntraOpNumThreads, options, threads);
  if (s.ok()) s = api.Call(kSetInterOpNumThreads, options, 1);
  if (s.ok()) s = api.Call(kSetSessionGraphOptimizationLevel, options, int{kAll});
  if (s.ok()) s = api.Call(kSetSessionLogSeverityLevel, options, int{kFatal});
  if (s.ok()) s = AppendProviders(api, options);
  if (s.ok())
    s = api.Call(kCreateSessionFromArray, static_cast<const OrtEnv*>(api.env()),
                 static_cast<const void*>(p.parts.onnx.data()), p.parts.onnx.size(),
                 static_cast<const OrtSessionOptions*>(options), session);
  api.Release(kReleaseSessionOptions, options);
  return s;
}

int Prepare(void*, void* program, const slipway_step* step, slipway_requirements* requirements,
            void** bound, slipway_error* error) {
  const auto& p = *static_cast<const kernels::NetworkProgram*>(program);
  return Guard(p.name, error, [&]() -> Status {
    SLIPWAY_ASSIGN_OR_RETURN(const Api* api, Api::Get());
    SLIPWAY_RETURN_IF_ERROR(
        kernels::CheckTensors(*step, [](const slipway_tensor& t) { return CheckTensor(t, true); }));
    auto b = std::make_unique<Bound>();
    b->api = api;
    b->name = p.name;
    SLIPWAY_RETURN_IF_ERROR(
        MakeSession(*api, p, requirements->threads > 0 ? requirements->threads : 1, &b->session));
    size_t inputs = 0, outputs = 0;
    SLIPWAY_RETURN_IF_ERROR(
        api->Call(kSessionGetInputCount, const_cast<const OrtSession*>(b->session), &inputs));
    SLIPWAY_RETURN_IF_ERROR(
        api->Call(kSessionGetOutputCount, const_cast<const OrtSession*>(b->session), &outputs));
    if (inputs != p.parts.inputs || outputs != p.parts.outputs)
      return DataLoss("the network in the step has other inputs or outputs than the step");
    for (uint32_t i = 0; i < p.parts.inputs; ++i) b->names.push_back("i" + std::to_string(i));
    for (uint32_t i = 0; i < p.parts.outputs; ++i) b->names.push_back("o" + std::to_string(i));
    for (size_t i = 0; i < b->names.size(); ++i)
      (i < inputs ? b->input_names : b->output_names).push_back(b->names[i].c_str());
    b->inputs.resize(inputs);
    b->outputs.resize(outputs);
    b->memory.resize(inputs + outputs);
    // Once with zeros: its buffers are made, and shapes that are not the step's are found here.
    const kernels::ZeroTensors in(step->inputs, step->num_inputs),
        out(step->outputs, step->num_outputs);
    SLIPWAY_RETURN_IF_ERROR(Forward(*b, in.data(), out.data()));
    b->Forget();
    requirements->workspace_bytes = 0;
    *bound = b.release();
    return OkStatus();
  });
}

void Release(void*, void* bound) { delete static_cast<Bound*>(bound); }

int Run(void*, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
        const slipway_execution* /*execution*/, slipway_error* error) {
  Bound& b = *static_cast<Bound*>(bound);
  return Guard(b.name, error, [&] { return Forward(b, inputs, outputs); });
}

constexpr slipway_backend kBackend =
    kernels::HostBackend("onnxruntime", "C API 12", Load, Unload, Prepare, Release, Run);

}  // namespace
}  // namespace slipway::ort

extern "C" __attribute__((visibility("default"))) const slipway_backend* slipway_backend_main(
    uint32_t host_abi_version) {
  if (host_abi_version != SLIPWAY_BACKEND_ABI_VERSION) return nullptr;
  return &slipway::ort::kBackend;
}
