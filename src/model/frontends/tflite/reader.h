#pragma once
// A TensorFlow Lite file ("TFL3") as plain structures whose indices, sizes and byte ranges have
// been checked. Strings and buffers are views into the file. https://www.tensorflow.org/lite,
// tensorflow/lite/schema/schema.fbs.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dims.h"
#include "base/dtype.h"
#include "base/status.h"
#include "model/frontends/tflite/tflite_generated.h"

namespace slipway::tflite {

using Bytes = std::span<const uint8_t>;

// What an honest model stays below; a file over a limit is refused (ResourceExhausted).
struct ReadLimits {
  size_t subgraphs = 1000;
  size_t tensors = 1000000;    // all sub-graphs together
  size_t operators = 1000000;  // all sub-graphs together
  uint32_t tables = 8000000;   // FlatBuffers tables
};

// real = scale * (code - zero_point); empty `scale`: not quantized.
struct Quantization {
  std::vector<float> scale;
  std::vector<int64_t> zero;  // as many as scale, or empty (all 0)
  int32_t axis = 0;           // of the scales when there are several
  bool present() const { return !scale.empty(); }
  friend bool operator==(const Quantization&, const Quantization&) = default;
};

struct TensorInfo {
  std::string_view name;  // may be empty or repeated: see Model::Name
  DType dtype = DType::kUndefined;
  fb::TensorType type = fb::TensorType::FLOAT32;
  Dims shape;  // what the file says; for dynamic tensors the converter's example
  std::vector<int32_t> signature;  // with -1 for dynamic extents; empty: none
  bool has_shape = false;          // false: perhaps a scalar, perhaps of unknown rank
  bool constant = false;           // has bytes of its own
  Bytes bytes;
  Quantization quantization;
  bool is_variable = false;
  const fb::SparsityParameters* sparsity = nullptr;
};

struct OperatorInfo {
  fb::BuiltinOperator code = fb::BuiltinOperator::ADD;
  std::string_view custom;  // the name of a custom operator
  int32_t version = 1;
  std::vector<int32_t> inputs, outputs;  // indices of tensors; -1: absent (inputs only)
  std::vector<int32_t> intermediates;
  const fb::Operator* options = nullptr;  // for builtin_options_as_*()
  Bytes custom_options;
};

struct SubGraphInfo {
  std::string_view name;
  std::vector<TensorInfo> tensors;
  std::vector<int32_t> inputs, outputs;
  std::vector<OperatorInfo> operators;
};

// A signature of the main sub-graph: tensor index -> the name that a caller uses.
struct SignatureInfo {
  std::string_view key;
  std::vector<std::pair<int32_t, std::string_view>> inputs, outputs;
};

struct Model {
  uint32_t version = 0;
  std::string_view description;
  std::vector<SubGraphInfo> subgraphs;    // the first is the main one
  std::vector<SignatureInfo> signatures;  // of the main sub-graph
  std::vector<std::pair<std::string_view, Bytes>> metadata;
};

// "CONV_2D", "CUSTOM 'TFLite_Detection_PostProcess'", "operator code 175": how errors name an
// operator.
std::string OperatorName(const OperatorInfo& op);
// "float32", ...; "string", "resource" and the like for types without tensors.
std::string TypeName(fb::TensorType type);

// Errors: InvalidArgument (no TFLite file, indices out of range, impossible shapes, buffers of
// another size than their tensors), DataLoss (a buffer outside the file), Unsupported (versions
// other than 3), ResourceExhausted (limits). `bytes` must be aligned to 16 bytes, as a map is.
Result<Model> ReadModel(Bytes bytes, const ReadLimits& limits = {});

}  // namespace slipway::tflite
