#pragma once
// onnx-data.proto's SequenceProto and OptionalProto, the values of backend test cases that are not
// single tensors. https://github.com/onnx/onnx/blob/main/onnx/onnx-data.proto

#include <string>

#include "base/status.h"
#include "model/ir/graph.h"
#include "model/ir/tensor.h"

namespace slipway::onnx {

// A file that holds one value of this type's kind; an empty file is an optional without a value.
// `type.dtype` is that of sequences that hold nothing; extents are not compared. Errors name the
// file: what ReadTensorProtoFile refuses, maps, sequences of sequences, more than ir::kMaxSequence
// tensors, a tensor where a sequence should be. `name`, when given, receives the value's name.
Result<ir::Tensor> ReadValueProtoFile(const std::string& path, const ir::Type& type,
                                      std::string* name = nullptr);

}  // namespace slipway::onnx
