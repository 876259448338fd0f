#pragma once
// The part of OpenVINO's C interface that the backend calls, found at run time by name, so that no
// header of OpenVINO is needed to build. Signatures and structures are those of the headers of 2024
// and 2025 (src/bindings/c/include/openvino/c); docs/openvino.md says which were read.

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace slipway::openvino {

// Objects of the library.
struct Core;
struct Model;
struct CompiledModel;
struct InferRequest;
struct Tensor;
struct Port;

// Its structures: ov_shape_t, ov_dimension_t (also a rank), ov_partial_shape_t, ov_version_t,
// ov_available_devices_t.
struct Shape {
  int64_t rank;
  int64_t* dims;
};
struct Dimension {
  int64_t min, max;
};
struct PartialShape {
  Dimension rank;
  Dimension* dims;
};
struct Version {
  const char* build;
  const char* description;
};
struct Devices {
  char** names;
  size_t size;
};

// ov_status_e: 0 is success, errors are negative. ov_element_type_e: codes differ from version to
// version, so they are asked for.
using Code = int32_t;
using ElementType = uint32_t;

// X(what it gives, name, arguments)
#define SLIPWAY_OPENVINO_FUNCTIONS(X)                                                           \
  X(void, ov_version_free, (Version*))                                                          \
  X(const char*, ov_get_error_info, (Code))                                                     \
  X(void, ov_free, (const char*))                                                               \
  X(Code, ov_core_create, (Core**))                                                             \
  X(Code, ov_core_get_available_devices, (const Core*, Devices*))                               \
  X(void, ov_available_devices_free, (Devices*))                                                \
  X(Code, ov_core_read_model_from_memory_buffer,                                                \
    (const Core*, const char* bytes, size_t size, const Tensor* weights, Model**))              \
  X(Code, ov_core_compile_model,                                                                \
    (const Core*, const Model*, const char* device, size_t arguments, CompiledModel**, ...))    \
  X(Code, ov_model_inputs_size, (const Model*, size_t*))                                        \
  X(Code, ov_model_outputs_size, (const Model*, size_t*))                                       \
  X(Code, ov_model_reshape, (const Model*, const char** names, const PartialShape*, size_t))    \
  X(void, ov_model_free, (Model*))                                                              \
  X(Code, ov_compiled_model_input_by_index, (const CompiledModel*, size_t, Port**))             \
  X(Code, ov_compiled_model_create_infer_request, (const CompiledModel*, InferRequest**))       \
  X(void, ov_compiled_model_free, (CompiledModel*))                                             \
  X(Code, ov_port_get_element_type, (const Port*, ElementType*))                                \
  X(void, ov_output_const_port_free, (Port*))                                                   \
  X(Code, ov_infer_request_set_input_tensor_by_index, (InferRequest*, size_t, const Tensor*))   \
  X(Code, ov_infer_request_get_output_tensor_by_index, (const InferRequest*, size_t, Tensor**)) \
  X(Code, ov_infer_request_infer, (InferRequest*))                                              \
  X(void, ov_infer_request_free, (InferRequest*))                                               \
  X(Code, ov_tensor_create_from_host_ptr, (ElementType, Shape, void*, Tensor**))                \
  X(Code, ov_tensor_get_shape, (const Tensor*, Shape*))                                         \
  X(Code, ov_tensor_get_element_type, (const Tensor*, ElementType*))                            \
  X(Code, ov_tensor_get_byte_size, (const Tensor*, size_t*))                                    \
  X(Code, ov_tensor_data, (const Tensor*, void**))                                              \
  X(void, ov_tensor_free, (Tensor*))                                                            \
  X(Code, ov_shape_free, (Shape*))

class Api {
 public:
  // The library is $SLIPWAY_OPENVINO (the file libopenvino_c.so*) where that is set, else what the
  // system finds as libopenvino_c.so. Loaded once a process, with one core. Unsupported says what
  // was tried, or what the library lacks, and what to do.
  static Result<const Api*> Get();

#define SLIPWAY_OPENVINO_MEMBER(result, name, arguments) result(*name) arguments = nullptr;
  SLIPWAY_OPENVINO_FUNCTIONS(SLIPWAY_OPENVINO_MEMBER)
#undef SLIPWAY_OPENVINO_MEMBER

  const Core* core() const { return core_; }
  const std::string& version() const { return version_; }
  // Names of devices, separated by commas; empty when it does not say.
  std::string DeviceNames() const;

  // What a call gave: Unsupported with the function's name and the library's message.
  Status Take(Code code, const char* function) const;

 private:
  Status Open();

  const char* (*last_error_)() = nullptr;  // ov_get_last_err_msg: not in every version
  Core* core_ = nullptr;
  std::string version_;
};

// Calls a function of the table by its name.
#define SLIPWAY_OPENVINO_CALL(api, name, ...) (api).Take((api).name(__VA_ARGS__), #name)

}  // namespace slipway::openvino
