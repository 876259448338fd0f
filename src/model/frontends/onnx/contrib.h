#pragma once
// Operators outside ONNX's default domain that exporters and quantizers write, taken apart into
// operators of the IR: ONNX Runtime's com.microsoft
// (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md) and QONNX
// (https://github.com/fastmachinelearning/qonnx/tree/main/docs/qonnx-custom-ops).

#include <string_view>

#include "model/frontends/onnx/upgrade.h"

namespace slipway::onnx {

// Makes what comes before a node and leaves its last operator in `node`, in terms of ir::kOpset.
// Errors: Unsupported or InvalidArgument, with the node and the form that is not understood.
using ContribUpgrade = Status (*)(OldNode& node, Upgrader& upgrader);

// Null when the operator is not known.
ContribUpgrade FindContrib(std::string_view domain, std::string_view op);

// The tables, one a file.
struct ContribRow {
  const char* op;
  ContribUpgrade upgrade;
};
std::span<const ContribRow> MicrosoftQuantized();  // contrib_quantized.cc
std::span<const ContribRow> MicrosoftFloat();      // contrib_float.cc
std::span<const ContribRow> MicrosoftAttention();  // contrib_attention.cc
std::span<const ContribRow> QonnxOperators();      // qonnx.cc

// Turns the node into another one.
inline Status Become(OldNode& n, std::string_view op, std::vector<ir::Value*> inputs,
                     ir::Attributes attributes = {}, std::string_view domain = "") {
  n.op = std::string(op);
  n.domain = std::string(domain);
  n.inputs = std::move(inputs);
  n.attributes = std::move(attributes);
  return OkStatus();
}
// The first `count` inputs are there.
Status NeedInputs(const OldNode& n, size_t count);
// Nobody reads outputs from `first` on (results given before do not count).
Status NoOutputsFrom(const OldNode& n, size_t first);
Status NoInputsFrom(const OldNode& n, size_t first, std::string_view what);
// x with its dimensions in another order; the rank must be known.
Result<int64_t> NeedRank(const OldNode& n, Upgrader& u, const ir::Value* x);
ir::Value* ChannelsFirst(const OldNode& n, Upgrader& u, ir::Value* x, int64_t rank);
ir::Value* ChannelsLast(const OldNode& n, Upgrader& u, ir::Value* x, int64_t rank);

}  // namespace slipway::onnx
