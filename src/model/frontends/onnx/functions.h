#pragma once
// Model-local functions: nodes that call one become the function's own nodes, in the file's terms,
// before anything else looks at them.
// https://github.com/onnx/onnx/blob/main/docs/IR.md, "Functions"

#include <functional>

#include "base/status.h"
#include "model/frontends/onnx/proto.h"

namespace slipway::onnx {

// Functions that call functions that call functions: deeper files are refused.
inline constexpr size_t kMaxCallDepth = 64;

// Expands every call in the graph and its bodies. Values and nodes inside of a function get the
// name of the call in front ("layer1/y"), and a number where that is taken; the strings are kept in
// model->text. `is_operator`: nodes that are no calls even if the file has a function of that name,
// since Slipway knows the operator itself (the specification leaves the choice to the runtime).
//
// Errors: InvalidArgument names the function or the call (a function that calls itself, reads a
// value that it does not define or computes none of its outputs; a call with too many inputs or
// outputs), ResourceExhausted when calls expand to more nodes than `limits` has or to too much
// text.
Status ExpandFunctions(ModelProto* model, const ParseLimits& limits,
                       const std::function<bool(const NodeProto&)>& is_operator);

}  // namespace slipway::onnx
