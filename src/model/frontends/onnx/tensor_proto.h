#pragma once
// ONNX's TensorProto (onnx.proto3) to and from ir::Tensor: initialisers, tensor attributes, and the
// test_data_set_*/input_0.pb files of the ONNX backend tests.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/frontends/wire.h"
#include "model/ir/tensor.h"

namespace slipway::onnx {

using wire::Field;
using wire::ForEachFixed;
using wire::ForEachVarint;
using wire::WireReader;
using wire::WireType;
using wire::WireWriter;

// The fields of one message, still in its bytes.
struct TensorProto {
  std::string_view name;
  int64_t data_type = 0;  // DType's values
  std::vector<int64_t> dims;
  std::optional<std::span<const uint8_t>> raw;
  bool external = false;  // the data is in another file:
  std::string_view location;
  int64_t offset = 0;
  std::optional<int64_t> length;
  std::span<const uint8_t> message;  // where the typed *_data fields are read from

  // "tensor 'w'": how errors name it.
  std::string Describe() const;
};

Result<TensorProto> ParseTensorProto(std::span<const uint8_t> message);

// Element type and extent, checked: a known sized type, rank <= kMaxRank, byte count within int64.
struct TensorType {
  DType dtype;
  Dims dims;
  size_t bytes;
};
Result<TensorType> CheckTensorType(const TensorProto& proto);

// raw_data is shared with `owner` (which must keep the message's bytes alive); the typed *_data
// fields are copied. Booleans other than 0 and 1 are copied and become 1. Errors name the tensor:
// strings, segments, a wrong number of bytes or elements, external data (the importer resolves it).
Result<ir::Tensor> TensorFromProto(const TensorProto& proto, std::shared_ptr<const void> owner);

// A file that holds one TensorProto. `name`, when given, receives the tensor's name.
Result<ir::Tensor> ReadTensorProtoFile(const std::string& path, std::string* name = nullptr);

// The tensor's bytes are referenced, not copied: it must outlive the writer.
WireWriter WriteTensorProto(std::string_view name, const ir::Tensor& tensor);

// Text of a file in an error: quoted, cut to 120 characters, control characters replaced.
std::string Quote(std::string_view text);

}  // namespace slipway::onnx
