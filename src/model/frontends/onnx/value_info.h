#pragma once
// What a file's TypeProto means to the IR.

#include <optional>
#include <string>

#include "base/status.h"
#include "model/frontends/onnx/proto.h"
#include "model/ir/graph.h"

namespace slipway::onnx {

// Errors name `what`: maps, sparse tensors, sequences of sequences; no type at all.
Result<ir::Container> ContainerOf(const ValueInfoProto& info, const std::string& what);
// Of the tensor, or of the tensors in it. Errors name `what`: strings, types that nobody knows.
Result<DType> ElementType(const ValueInfoProto& info, const std::string& what);
// The shape when all of it is numbers.
std::optional<SymShape> KnownShape(const ValueInfoProto& info);

}  // namespace slipway::onnx
