// A test double of OpenVINO's C interface. IT IS NOT OPENVINO: networks are run by this project's
// own interpreter. It exists because OpenVINO cannot be had where the tests run, and it shows that
// the backend `openvino` calls the interface as its headers say: in the right order, with live
// objects, the right shapes and properties that the device has, and that every error is answered.
//
// Misuse that would be undefined behaviour with the real library (a freed or wrong object, an
// object freed twice) ends the process with a message. What the real library answers with an error
// status (wrong shapes, unknown properties, devices that are not there) is answered so.
//
// Environment:
//   OPENVINO_DOUBLE_VERSION   the build number it reports; float32 has the code 4 from 2026 on, 5
//   before OPENVINO_DOUBLE_DEVICES   devices, separated by commas (CPU) OPENVINO_DOUBLE_FAIL what
//   fails: core, read, reshape, compile, request, input, infer, output, or what
//                             is wrong with outputs: shape, type, bytes
//   OPENVINO_DOUBLE_REPORT    a file: gets a line for each compilation and, at the end, the objects
//   still alive
//
// Declarations below are written after the headers in src/bindings/c/include/openvino/c of
// OpenVINO; docs/openvino.md says which. They are not those of src/engine/backends/openvino on
// purpose.

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "model/frontends/onnx/import.h"
#include "model/interp/interpreter.h"

#define DOUBLE_API extern "C" __attribute__((visibility("default")))

extern "C" {
typedef enum {
  OK = 0,
  GENERAL_ERROR = -1,
  PARAMETER_MISMATCH = -4,
  NOT_FOUND = -5,
  OUT_OF_BOUNDS = -6,
  INVALID_C_PARAM = -14,
} ov_status_e;
typedef unsigned int ov_element_type_e;
typedef struct {
  int64_t rank;
  int64_t* dims;
} ov_shape_t;
typedef struct {
  int64_t min;
  int64_t max;
} ov_dimension_t;
typedef ov_dimension_t ov_rank_t;
typedef struct {
  ov_rank_t rank;
  ov_dimension_t* dims;
} ov_partial_shape_t;
typedef struct {
  const char* buildNumber;
  const char* description;
} ov_version_t;
typedef struct {
  char** devices;
  size_t size;
} ov_available_devices_t;
}

namespace {

using slipway::Dims;
using slipway::ir::Graph;

std::string Setting(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? value : otherwise;
}
bool Fails(const char* what) { return Setting("OPENVINO_DOUBLE_FAIL", "") == what; }
std::string BuildNumber() { return Setting("OPENVINO_DOUBLE_VERSION", "2025.4.0-double"); }
unsigned Float32() { return std::atoi(BuildNumber().c_str()) >= 2026 ? 4 : 5; }
unsigned Float64() { return Float32() + 1; }

[[noreturn]] void Misuse(const std::string& what) {
  std::fprintf(stderr, "openvino double: misuse: %s\n", what.c_str());
  std::abort();
}

void Report(const std::string& line) {
  const std::string path = Setting("OPENVINO_DOUBLE_REPORT", "");
  if (path.empty()) return;
  if (FILE* file = std::fopen(path.c_str(), "a")) {
    std::fprintf(file, "%s\n", line.c_str());
    std::fclose(file);
  }
}

// Every object and array that the library has given away, with what it is.
class Registry {
 public:
  ~Registry() {
    std::map<std::string, int> left;
    for (const auto& [object, kind] : live_) ++left[kind];
    for (const auto& [kind, count] : left) Report("alive " + kind + " " + std::to_string(count));
    Report("end");
  }
  template <typename T>
  T* Add(T* object, const char* kind) {
    const std::lock_guard lock(mutex_);
    live_[object] = kind;
    return object;
  }
  void Check(const void* object, const char* kind, const char* function) {
    const std::lock_guard lock(mutex_);
    const auto it = live_.find(object);
    if (it == live_.end() || it->second != kind)
      Misuse(std::string(function) + " gets no live " + kind);
  }
  void Remove(const void* object, const char* kind, const char* function) {
    Check(object, kind, function);
    const std::lock_guard lock(mutex_);
    live_.erase(object);
  }

 private:
  std::mutex mutex_;
  std::map<const void*, std::string> live_;
};
Registry registry;

std::mutex error_mutex;
std::string last_error;
ov_status_e Error(ov_status_e code, const std::string& message) {
  const std::lock_guard lock(error_mutex);
  last_error = message;
  return code;
}
ov_status_e Failing(const char* what) {
  return Error(GENERAL_ERROR, std::string("Exception from the double:\nasked to fail at ") + what);
}

char* NewString(const std::string& text) {
  char* out = registry.Add(new char[text.size() + 1], "string");
  std::memcpy(out, text.c_str(), text.size() + 1);
  return out;
}
void FreeString(const char* text, const char* function) {
  registry.Remove(text, "string", function);
  delete[] text;
}

std::vector<std::string> Split(const std::string& list) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    if (end > at) out.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

// "" when the device has such a property with such a value.
std::string CheckProperty(const std::string& device, const std::string& key,
                          const std::string& value) {
  const bool cpu = device == "CPU";
  const auto is_count = [&] {
    return !value.empty() && value.find_first_not_of("0123456789") == std::string::npos &&
           std::atoi(value.c_str()) > 0;
  };
  if (key == "EXECUTION_MODE_HINT")
    return value == "ACCURACY" || value == "PERFORMANCE" ? "" : "no such mode: " + value;
  if (key == "INFERENCE_PRECISION_HINT" && device != "NPU")
    return value == "f32" || value == "f16" ? "" : "no such precision: " + value;
  if (cpu && (key == "INFERENCE_NUM_THREADS" || key == "NUM_STREAMS"))
    return is_count() ? "" : key + " is no count: " + value;
  return "Option not found: " + key;
}

}  // namespace

struct ov_core {};
struct ov_model {
  std::shared_ptr<std::vector<uint8_t>> bytes;
  std::shared_ptr<Graph> graph;
};
struct ov_compiled_model {
  std::shared_ptr<Graph> graph;
};
struct ov_output_const_port {
  unsigned type;
};
struct ov_tensor {
  unsigned type;
  std::vector<int64_t> dims;
  void* data;
  size_t bytes;
  std::shared_ptr<std::vector<float>> own;  // of outputs
};
struct ov_infer_request {
  std::shared_ptr<Graph> graph;
  std::shared_ptr<slipway::interp::Interpreter> interpreter;
  std::vector<std::unique_ptr<ov_tensor>> inputs, outputs;
};

namespace {

slipway::Status Import(ov_model& model, const std::map<std::string, std::vector<int64_t>>& shapes) {
  slipway::onnx::ImportOptions options;
  options.input_shapes = shapes;
  auto graph = slipway::onnx::ImportOnnxBytes(*model.bytes, model.bytes, options);
  if (!graph.ok()) return graph.status();
  model.graph = std::move(*graph);
  return slipway::OkStatus();
}

// Empty: a shape that is not static.
std::vector<int64_t> StaticDims(const slipway::ir::Value& v) {
  std::vector<int64_t> out;
  if (!v.type().shape) return out;
  for (const auto& d : *v.type().shape) {
    if (!d.known()) return {};
    out.push_back(d.value());
  }
  return out;
}

size_t CountOf(const std::vector<int64_t>& dims) {
  size_t count = 1;
  for (int64_t d : dims) count *= static_cast<size_t>(d);
  return count;
}

}  // namespace

DOUBLE_API ov_status_e ov_get_openvino_version(ov_version_t* version) {
  if (!version) return INVALID_C_PARAM;
  version->buildNumber = NewString(BuildNumber());
  version->description = NewString("a test double, no OpenVINO: tests/doubles/openvino_c.cc");
  return OK;
}

DOUBLE_API void ov_version_free(ov_version_t* version) {
  if (!version) return;
  FreeString(version->buildNumber, "ov_version_free");
  FreeString(version->description, "ov_version_free");
  *version = {};
}

DOUBLE_API const char* ov_get_error_info(ov_status_e status) {
  return status == OK                ? "success"
         : status == INVALID_C_PARAM ? "invalid c input parameters"
                                     : "general error";
}

DOUBLE_API const char* ov_get_last_err_msg() {
  const std::lock_guard lock(error_mutex);
  return last_error.empty() ? nullptr : NewString(last_error);
}

DOUBLE_API void ov_free(const char* content) {
  if (content) FreeString(content, "ov_free");
}

DOUBLE_API ov_status_e ov_core_create(ov_core** core) {
  if (!core) return INVALID_C_PARAM;
  if (Fails("core")) return Failing("core");
  *core = registry.Add(new ov_core, "core");
  return OK;
}

DOUBLE_API void ov_core_free(ov_core* core) {
  if (!core) return;
  registry.Remove(core, "core", "ov_core_free");
  delete core;
}

DOUBLE_API ov_status_e ov_core_get_available_devices(const ov_core* core,
                                                     ov_available_devices_t* devices) {
  if (!core || !devices) return INVALID_C_PARAM;
  registry.Check(core, "core", "ov_core_get_available_devices");
  const auto names = Split(Setting("OPENVINO_DOUBLE_DEVICES", "CPU"));
  devices->size = names.size();
  devices->devices = registry.Add(new char*[names.size()], "devices");
  for (size_t i = 0; i < names.size(); ++i) devices->devices[i] = NewString(names[i]);
  return OK;
}

DOUBLE_API void ov_available_devices_free(ov_available_devices_t* devices) {
  if (!devices) return;
  registry.Remove(devices->devices, "devices", "ov_available_devices_free");
  for (size_t i = 0; i < devices->size; ++i)
    FreeString(devices->devices[i], "ov_available_devices_free");
  delete[] devices->devices;
  *devices = {};
}

DOUBLE_API ov_status_e ov_core_read_model_from_memory_buffer(const ov_core* core,
                                                             const char* model_str,
                                                             const size_t str_len,
                                                             const ov_tensor* weights,
                                                             ov_model** model) {
  if (!core || !model_str || !str_len || !model) return INVALID_C_PARAM;
  registry.Check(core, "core", "ov_core_read_model_from_memory_buffer");
  if (weights) Misuse("weights beside an ONNX model, which has its own");
  if (Fails("read")) return Failing("read");
  auto out = std::make_unique<ov_model>();
  out->bytes = std::make_shared<std::vector<uint8_t>>(model_str, model_str + str_len);
  if (const auto s = Import(*out, {}); !s.ok()) return Error(GENERAL_ERROR, s.message());
  *model = registry.Add(out.release(), "model");
  return OK;
}

DOUBLE_API void ov_model_free(ov_model* model) {
  if (!model) return;
  registry.Remove(model, "model", "ov_model_free");
  delete model;
}

DOUBLE_API ov_status_e ov_model_inputs_size(const ov_model* model, size_t* size) {
  if (!model || !size) return INVALID_C_PARAM;
  registry.Check(model, "model", "ov_model_inputs_size");
  *size = model->graph->inputs().size();
  return OK;
}

DOUBLE_API ov_status_e ov_model_outputs_size(const ov_model* model, size_t* size) {
  if (!model || !size) return INVALID_C_PARAM;
  registry.Check(model, "model", "ov_model_outputs_size");
  *size = model->graph->outputs().size();
  return OK;
}

DOUBLE_API ov_status_e ov_model_reshape(const ov_model* model, const char** tensor_names,
                                        const ov_partial_shape_t* partial_shapes, size_t size) {
  if (!model || !tensor_names || !partial_shapes || size < 1) return INVALID_C_PARAM;
  registry.Check(model, "model", "ov_model_reshape");
  if (Fails("reshape")) return Failing("reshape");
  std::map<std::string, std::vector<int64_t>> shapes;
  for (size_t i = 0; i < size; ++i) {
    bool known = false;
    for (const auto* v : model->graph->inputs()) known |= v->name() == tensor_names[i];
    if (!known) return Error(GENERAL_ERROR, std::string("no input ") + tensor_names[i]);
    const ov_partial_shape_t& shape = partial_shapes[i];
    // As ov_dimension_is_dynamic: the double has static shapes of one dimension or more.
    if (shape.rank.min != shape.rank.max || shape.rank.max < 1)
      return Error(GENERAL_ERROR, "a dynamic rank");
    for (int64_t d = 0; d < shape.rank.max; ++d) {
      if (shape.dims[d].min != shape.dims[d].max || shape.dims[d].max < 1)
        return Error(GENERAL_ERROR, "a dynamic dimension");
      shapes[tensor_names[i]].push_back(shape.dims[d].max);
    }
  }
  if (const auto s = Import(*const_cast<ov_model*>(model), shapes); !s.ok())
    return Error(GENERAL_ERROR, s.message());
  return OK;
}

DOUBLE_API ov_status_e ov_core_compile_model(const ov_core* core, const ov_model* model,
                                             const char* device_name,
                                             const size_t property_args_size,
                                             ov_compiled_model** compiled_model, ...) {
  if (!core || !model || !compiled_model || property_args_size % 2 != 0) return INVALID_C_PARAM;
  registry.Check(core, "core", "ov_core_compile_model");
  registry.Check(model, "model", "ov_core_compile_model");
  if (Fails("compile")) return Failing("compile");
  const std::string device = device_name ? device_name : "AUTO";
  bool here = device.rfind("AUTO", 0) == 0;
  for (const std::string& name : Split(Setting("OPENVINO_DOUBLE_DEVICES", "CPU")))
    here |= name == device;
  if (!here)
    return Error(GENERAL_ERROR,
                 "Device with \"" + device + "\" name is not registered in the double");
  std::string line = "compile " + device, wrong;
  va_list arguments;
  va_start(arguments, compiled_model);
  for (size_t i = 0; i < property_args_size / 2; ++i) {
    const std::string key = va_arg(arguments, char*), value = va_arg(arguments, char*);
    line += " " + key + "=" + value;
    if (wrong.empty()) wrong = CheckProperty(device, key, value);
  }
  va_end(arguments);
  Report(line);
  if (!wrong.empty()) return Error(NOT_FOUND, wrong);
  for (const auto* v : model->graph->inputs()) {
    if (StaticDims(*v).empty()) return Error(GENERAL_ERROR, "input " + v->name() + " has no shape");
  }
  *compiled_model = registry.Add(new ov_compiled_model{model->graph}, "compiled model");
  return OK;
}

DOUBLE_API void ov_compiled_model_free(ov_compiled_model* compiled) {
  if (!compiled) return;
  registry.Remove(compiled, "compiled model", "ov_compiled_model_free");
  delete compiled;
}

DOUBLE_API ov_status_e ov_compiled_model_input_by_index(const ov_compiled_model* compiled,
                                                        const size_t index,
                                                        ov_output_const_port** port) {
  if (!compiled || !port) return INVALID_C_PARAM;
  registry.Check(compiled, "compiled model", "ov_compiled_model_input_by_index");
  if (index >= compiled->graph->inputs().size()) return Error(GENERAL_ERROR, "no such input");
  const bool wrong = Fails("type");
  *port = registry.Add(new ov_output_const_port{wrong ? Float64() : Float32()}, "port");
  return OK;
}

DOUBLE_API ov_status_e ov_port_get_element_type(const ov_output_const_port* port,
                                                ov_element_type_e* type) {
  if (!port || !type) return INVALID_C_PARAM;
  registry.Check(port, "port", "ov_port_get_element_type");
  *type = port->type;
  return OK;
}

DOUBLE_API void ov_output_const_port_free(ov_output_const_port* port) {
  if (!port) return;
  registry.Remove(port, "port", "ov_output_const_port_free");
  delete port;
}

DOUBLE_API ov_status_e ov_compiled_model_create_infer_request(const ov_compiled_model* compiled,
                                                              ov_infer_request** request) {
  if (!compiled || !request) return INVALID_C_PARAM;
  registry.Check(compiled, "compiled model", "ov_compiled_model_create_infer_request");
  if (Fails("request")) return Failing("request");
  auto interpreter = slipway::interp::Interpreter::Create(*compiled->graph);
  if (!interpreter.ok()) return Error(GENERAL_ERROR, interpreter.status().message());
  auto out = std::make_unique<ov_infer_request>();
  out->graph = compiled->graph;
  out->interpreter = std::make_shared<slipway::interp::Interpreter>(std::move(*interpreter));
  out->inputs.resize(compiled->graph->inputs().size());
  out->outputs.resize(compiled->graph->outputs().size());
  *request = registry.Add(out.release(), "request");
  return OK;
}

DOUBLE_API void ov_infer_request_free(ov_infer_request* request) {
  if (!request) return;
  registry.Remove(request, "request", "ov_infer_request_free");
  delete request;
}

DOUBLE_API ov_status_e ov_infer_request_set_input_tensor_by_index(ov_infer_request* request,
                                                                  const size_t idx,
                                                                  const ov_tensor* tensor) {
  if (!request || !tensor) return INVALID_C_PARAM;
  registry.Check(request, "request", "ov_infer_request_set_input_tensor_by_index");
  registry.Check(tensor, "tensor", "ov_infer_request_set_input_tensor_by_index");
  if (Fails("input")) return Failing("input");
  if (idx >= request->inputs.size()) return Error(OUT_OF_BOUNDS, "no such input");
  if (tensor->type != Float32()) return Error(PARAMETER_MISMATCH, "the input is float32");
  if (tensor->dims != StaticDims(*request->graph->inputs()[idx]))
    return Error(PARAMETER_MISMATCH, "the tensor has another shape than the input");
  request->inputs[idx] = std::make_unique<ov_tensor>(*tensor);
  return OK;
}

DOUBLE_API ov_status_e ov_infer_request_infer(ov_infer_request* request) {
  if (!request) return INVALID_C_PARAM;
  registry.Check(request, "request", "ov_infer_request_infer");
  if (Fails("infer")) return Failing("infer");
  std::vector<slipway::ir::Tensor> inputs;
  for (const auto& in : request->inputs) {
    if (!in) Misuse("ov_infer_request_infer before every input was set");
    auto t = slipway::ir::Tensor::Allocate(slipway::DType::kFloat32, Dims(in->dims));
    if (!t.ok()) return Error(GENERAL_ERROR, t.status().message());
    std::memcpy(t->mutable_data(), in->data, in->bytes);
    inputs.push_back(std::move(*t));
  }
  auto outputs = request->interpreter->Run(inputs);
  if (!outputs.ok()) return Error(GENERAL_ERROR, outputs.status().message());
  for (size_t i = 0; i < outputs->size(); ++i) {
    const slipway::ir::Tensor& t = (*outputs)[i];
    if (t.dtype() != slipway::DType::kFloat32) return Error(GENERAL_ERROR, "not float32");
    auto out = std::make_unique<ov_tensor>();
    out->type = Float32();
    out->dims.assign(t.dims().begin(), t.dims().end());
    out->bytes = t.bytes().size();
    out->own = std::make_shared<std::vector<float>>(CountOf(out->dims));
    if (out->bytes) std::memcpy(out->own->data(), t.bytes().data(), out->bytes);
    out->data = out->own->data();
    if (Fails("shape")) out->dims.push_back(1);
    if (Fails("bytes")) out->bytes += 4;
    request->outputs[i] = std::move(out);
  }
  return OK;
}

DOUBLE_API ov_status_e ov_infer_request_get_output_tensor_by_index(const ov_infer_request* request,
                                                                   const size_t idx,
                                                                   ov_tensor** tensor) {
  if (!request || !tensor) return INVALID_C_PARAM;
  registry.Check(request, "request", "ov_infer_request_get_output_tensor_by_index");
  if (Fails("output")) return Failing("output");
  if (idx >= request->outputs.size()) return Error(OUT_OF_BOUNDS, "no such output");
  if (!request->outputs[idx]) Misuse("an output is asked for before ov_infer_request_infer");
  *tensor = registry.Add(new ov_tensor(*request->outputs[idx]), "tensor");
  return OK;
}

DOUBLE_API ov_status_e ov_tensor_create_from_host_ptr(const ov_element_type_e type,
                                                      const ov_shape_t shape, void* host_ptr,
                                                      ov_tensor** tensor) {
  if (!tensor || !host_ptr) return INVALID_C_PARAM;
  if (type != Float32() && type != Float64()) return INVALID_C_PARAM;
  if (shape.rank < 1 || !shape.dims) Misuse("ov_tensor_create_from_host_ptr without dimensions");
  auto out = std::make_unique<ov_tensor>();
  out->type = type;
  out->dims.assign(shape.dims, shape.dims + shape.rank);
  out->data = host_ptr;
  out->bytes = CountOf(out->dims) * (type == Float64() ? 8 : 4);
  *tensor = registry.Add(out.release(), "tensor");
  return OK;
}

DOUBLE_API ov_status_e ov_tensor_get_shape(const ov_tensor* tensor, ov_shape_t* shape) {
  if (!tensor || !shape) return INVALID_C_PARAM;
  registry.Check(tensor, "tensor", "ov_tensor_get_shape");
  shape->rank = static_cast<int64_t>(tensor->dims.size());
  shape->dims = registry.Add(new int64_t[tensor->dims.size()], "dimensions");
  std::copy(tensor->dims.begin(), tensor->dims.end(), shape->dims);
  return OK;
}

DOUBLE_API ov_status_e ov_shape_free(ov_shape_t* shape) {
  if (!shape) return INVALID_C_PARAM;
  if (shape->dims) {
    registry.Remove(shape->dims, "dimensions", "ov_shape_free");
    delete[] shape->dims;
  }
  *shape = {};
  return OK;
}

DOUBLE_API ov_status_e ov_tensor_get_element_type(const ov_tensor* tensor,
                                                  ov_element_type_e* type) {
  if (!tensor || !type) return INVALID_C_PARAM;
  registry.Check(tensor, "tensor", "ov_tensor_get_element_type");
  *type = tensor->type;
  return OK;
}

DOUBLE_API ov_status_e ov_tensor_get_byte_size(const ov_tensor* tensor, size_t* byte_size) {
  if (!tensor || !byte_size) return INVALID_C_PARAM;
  registry.Check(tensor, "tensor", "ov_tensor_get_byte_size");
  *byte_size = tensor->bytes;
  return OK;
}

DOUBLE_API ov_status_e ov_tensor_data(const ov_tensor* tensor, void** data) {
  if (!tensor || !data) return INVALID_C_PARAM;
  registry.Check(tensor, "tensor", "ov_tensor_data");
  *data = tensor->data;
  return OK;
}

DOUBLE_API void ov_tensor_free(ov_tensor* tensor) {
  if (!tensor) return;
  registry.Remove(tensor, "tensor", "ov_tensor_free");
  delete tensor;
}
