// libslipway_openvino.so: the way from steps to compiled models of OpenVINO, behind the C interface
// alone.

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/backends/openvino/run/api.h"
#include "engine/backends/openvino/run/backend.h"
#include "engine/kernels/backend_glue.h"
#include "engine/kernels/vendor/network_step.h"

namespace slipway::openvino {
namespace {

// An object of the library with the function that frees it.
template <typename T>
struct Owned {
  explicit Owned(void (*free)(T*)) : free_(free) {}
  Owned(const Owned&) = delete;
  ~Owned() {
    if (object) free_(object);
  }
  T* object = nullptr;

 private:
  void (*free_)(T*);
};

// A compiled model with one request, for one session and its set of shapes.
struct Bound {
  explicit Bound(const Api& a)
      : api(a), compiled(a.ov_compiled_model_free), request(a.ov_infer_request_free) {}
  const Api& api;
  std::string name, device;
  Owned<CompiledModel> compiled;
  Owned<InferRequest> request;
  ElementType float32 = 0;  // its code in this version
  uint32_t inputs = 0, outputs = 0;
  std::vector<void*> memory;  // of the inputs that the request has
};

Status CheckTensor(const slipway_tensor& t, bool sized) {
  SLIPWAY_RETURN_IF_ERROR(kernels::CheckFloatTensor("OpenVINO", t, sized));
  if (t.rank < 1) return InvalidArgument("OpenVINO gets tensors of one dimension or more");
  for (int i = 0; sized && i < t.rank; ++i) {
    if (t.dims[i] < 1) return InvalidArgument("OpenVINO gets no tensor without elements");
  }
  return OkStatus();
}

size_t BytesOf(const slipway_tensor& t) {
  size_t bytes = sizeof(float);
  for (int i = 0; i < t.rank; ++i) bytes *= static_cast<size_t>(t.dims[i]);
  return bytes;
}

// A library that does not keep to its interface, as far as this backend knows it.
Status Surprise(const Bound& b, const std::string& what) {
  return Unsupported("OpenVINO " + b.api.version() + " " + what +
                     "; this backend was not made for that version: compile for another platform");
}

template <typename F>
int Guard(const std::string& name, slipway_error* error, F&& f) {
  return kernels::CatchToError(
      error, [&]() -> Status { return f().With("openvino, step '" + name + "'"); });
}

int Load(void*, const slipway_step* step, void** program, slipway_error* error) {
  const std::string name = step->name ? step->name : "";
  return Guard(name, error, [&]() -> Status {
    SLIPWAY_RETURN_IF_ERROR(Api::Get().status());
    SLIPWAY_ASSIGN_OR_RETURN(auto p, kernels::LoadNetwork(backends::kOpenvinoMark, "OpenVINO",
                                                          *step, [](const slipway_tensor& t) {
                                                            return CheckTensor(t, false);
                                                          }));
    *program = p.release();
    return OkStatus();
  });
}

void Unload(void*, void* program) { delete static_cast<kernels::NetworkProgram*>(program); }

// "CPU", "GPU.1", "AUTO:GPU,CPU": what ov_core_compile_model takes.
Result<std::string> DeviceName() {
  const char* given = std::getenv("SLIPWAY_OPENVINO_DEVICE");
  if (!given || !*given) return std::string("CPU");
  const std::string device = given;
  const auto usual = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           std::strchr("_.:,()-", c) != nullptr;
  };
  for (char c : device) {
    if (!usual(c))
      return InvalidArgument("SLIPWAY_OPENVINO_DEVICE is '" + device +
                             "'; a device is named as in CPU, GPU, GPU.1, NPU or AUTO:GPU,CPU");
  }
  return device;
}

// The model with the step's shapes for the device.
Status Compile(Bound& b, const kernels::NetworkProgram& p, const slipway_step& step, int threads) {
  const Api& api = b.api;
  Owned<Model> model(api.ov_model_free);
  SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(api, ov_core_read_model_from_memory_buffer,
                                                api.core(),
                                                reinterpret_cast<const char*>(p.parts.onnx.data()),
                                                p.parts.onnx.size(), nullptr, &model.object));
  size_t inputs = 0, outputs = 0;
  SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(api, ov_model_inputs_size, model.object, &inputs));
  SLIPWAY_RETURN_IF_ERROR(
      SLIPWAY_OPENVINO_CALL(api, ov_model_outputs_size, model.object, &outputs));
  if (inputs != b.inputs || outputs != b.outputs)
    return DataLoss("the network in the step has other inputs or outputs than the step");
  std::vector<std::string> names;
  std::vector<const char*> name_pointers;
  std::vector<std::vector<Dimension>> dims(inputs);
  std::vector<PartialShape> shapes;
  for (uint32_t i = 0; i < b.inputs; ++i) {
    const slipway_tensor& t = step.inputs[i];
    names.push_back("i" + std::to_string(i));
    for (int d = 0; d < t.rank; ++d) dims[i].push_back({t.dims[d], t.dims[d]});
    shapes.push_back({{t.rank, t.rank}, dims[i].data()});
  }
  for (const std::string& n : names) name_pointers.push_back(n.c_str());
  if (!names.empty())
    SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(
        api, ov_model_reshape, model.object, name_pointers.data(), shapes.data(), names.size()));
  // Keys and values of ov_property.h, as C strings: the call takes any number of them. The CPU is
  // told everything; other devices get the one hint that every device has.
  Status s;
  if (b.device == "CPU") {
    const std::string count = std::to_string(threads);
    s = SLIPWAY_OPENVINO_CALL(api, ov_core_compile_model, api.core(), model.object,
                              b.device.c_str(), size_t{6}, &b.compiled.object,
                              "INFERENCE_NUM_THREADS", count.c_str(), "NUM_STREAMS", "1",
                              "INFERENCE_PRECISION_HINT", "f32");
  } else {
    s = SLIPWAY_OPENVINO_CALL(api, ov_core_compile_model, api.core(), model.object,
                              b.device.c_str(), size_t{2}, &b.compiled.object,
                              "EXECUTION_MODE_HINT", "ACCURACY");
  }
  if (!s.ok()) {
    const std::string here = api.DeviceNames();
    return s.With("device " + b.device + " (here are: " + (here.empty() ? "none" : here) +
                  "; SLIPWAY_OPENVINO_DEVICE chooses)");
  }
  return OkStatus();
}

// The code of float32: what the model's inputs have. Another type with this code would show in the
// bytes of tensors.
Status AskFloat(Bound& b) {
  Owned<Port> port(b.api.ov_output_const_port_free);
  SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(b.api, ov_compiled_model_input_by_index,
                                                b.compiled.object, size_t{0}, &port.object));
  return SLIPWAY_OPENVINO_CALL(b.api, ov_port_get_element_type, port.object, &b.float32);
}

// Tensors over the memory of this run's inputs: made again only when that has moved, or at first.
Status SetInputs(Bound& b, const slipway_tensor* inputs) {
  for (uint32_t i = 0; i < b.inputs; ++i) {
    if (b.memory[i] == inputs[i].data) continue;
    int64_t dims[SLIPWAY_MAX_RANK];
    std::copy(inputs[i].dims, inputs[i].dims + inputs[i].rank, dims);
    Owned<Tensor> tensor(b.api.ov_tensor_free);
    SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(b.api, ov_tensor_create_from_host_ptr, b.float32,
                                                  Shape{inputs[i].rank, dims}, inputs[i].data,
                                                  &tensor.object));
    size_t bytes = 0;
    SLIPWAY_RETURN_IF_ERROR(
        SLIPWAY_OPENVINO_CALL(b.api, ov_tensor_get_byte_size, tensor.object, &bytes));
    if (bytes != BytesOf(inputs[i])) return Surprise(b, "takes the inputs for no float32 tensors");
    SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(b.api, ov_infer_request_set_input_tensor_by_index,
                                                  b.request.object, size_t{i}, tensor.object));
    b.memory[i] = inputs[i].data;
  }
  return OkStatus();
}

Status CheckOutput(const Bound& b, const Tensor* tensor, uint32_t index,
                   const slipway_tensor& want) {
  ElementType type = 0;
  SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(b.api, ov_tensor_get_element_type, tensor, &type));
  Shape shape{};
  SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(b.api, ov_tensor_get_shape, tensor, &shape));
  const bool same = shape.rank == want.rank && shape.dims &&
                    std::equal(shape.dims, shape.dims + shape.rank, want.dims);
  b.api.ov_shape_free(&shape);
  if (type != b.float32 || !same)
    return Surprise(b, "gives output " + std::to_string(index) + " another shape or type");
  return OkStatus();
}

// `check`: shapes and types too, which do not change from run to run.
Status Forward(Bound& b, const slipway_tensor* inputs, const slipway_tensor* outputs, bool check) {
  SLIPWAY_RETURN_IF_ERROR(SetInputs(b, inputs));
  SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(b.api, ov_infer_request_infer, b.request.object));
  for (uint32_t i = 0; i < b.outputs; ++i) {
    Owned<Tensor> tensor(b.api.ov_tensor_free);
    SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(b.api,
                                                  ov_infer_request_get_output_tensor_by_index,
                                                  b.request.object, size_t{i}, &tensor.object));
    if (check) SLIPWAY_RETURN_IF_ERROR(CheckOutput(b, tensor.object, i, outputs[i]));
    size_t bytes = 0;
    void* data = nullptr;
    SLIPWAY_RETURN_IF_ERROR(
        SLIPWAY_OPENVINO_CALL(b.api, ov_tensor_get_byte_size, tensor.object, &bytes));
    SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(b.api, ov_tensor_data, tensor.object, &data));
    if (bytes != BytesOf(outputs[i]) || !data)
      return Surprise(b, "gives output " + std::to_string(i) + " " + std::to_string(bytes) +
                             " bytes instead of " + std::to_string(BytesOf(outputs[i])));
    std::memcpy(outputs[i].data, data, bytes);
  }
  return OkStatus();
}

int Prepare(void*, void* program, const slipway_step* step, slipway_requirements* requirements,
            void** bound, slipway_error* error) {
  const auto& p = *static_cast<const kernels::NetworkProgram*>(program);
  return Guard(p.name, error, [&]() -> Status {
    SLIPWAY_ASSIGN_OR_RETURN(const Api* api, Api::Get());
    SLIPWAY_RETURN_IF_ERROR(
        kernels::CheckTensors(*step, [](const slipway_tensor& t) { return CheckTensor(t, true); }));
    auto b = std::make_unique<Bound>(*api);
    b->name = p.name;
    SLIPWAY_ASSIGN_OR_RETURN(b->device, DeviceName());
    b->inputs = p.parts.inputs;
    b->outputs = p.parts.outputs;
    if (b->inputs == 0) return DataLoss("a network without inputs");
    b->memory.resize(b->inputs);
    SLIPWAY_RETURN_IF_ERROR(
        Compile(*b, p, *step, requirements->threads > 0 ? requirements->threads : 1));
    SLIPWAY_RETURN_IF_ERROR(AskFloat(*b));
    SLIPWAY_RETURN_IF_ERROR(SLIPWAY_OPENVINO_CALL(*api, ov_compiled_model_create_infer_request,
                                                  b->compiled.object, &b->request.object));
    // Once with zeros: its buffers are made, and shapes that are not the step's are found here.
    const kernels::ZeroTensors in(step->inputs, step->num_inputs),
        out(step->outputs, step->num_outputs);
    SLIPWAY_RETURN_IF_ERROR(Forward(*b, in.data(), out.data(), true));
    std::fill(b->memory.begin(), b->memory.end(), nullptr);
    requirements->workspace_bytes = 0;
    *bound = b.release();
    return OkStatus();
  });
}

void Release(void*, void* bound) { delete static_cast<Bound*>(bound); }

int Run(void*, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
        const slipway_execution* /*execution*/, slipway_error* error) {
  Bound& b = *static_cast<Bound*>(bound);
  return Guard(b.name, error, [&] { return Forward(b, inputs, outputs, false); });
}

constexpr slipway_backend kBackend =
    kernels::HostBackend("openvino", "C API 2023.2", Load, Unload, Prepare, Release, Run);

}  // namespace
}  // namespace slipway::openvino

extern "C" __attribute__((visibility("default"))) const slipway_backend* slipway_backend_main(
    uint32_t host_abi_version) {
  if (host_abi_version != SLIPWAY_BACKEND_ABI_VERSION) return nullptr;
  return &slipway::openvino::kBackend;
}
