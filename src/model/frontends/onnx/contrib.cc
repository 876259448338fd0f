#include "model/frontends/onnx/contrib.h"

#include "model/frontends/onnx/tensor_proto.h"

namespace slipway::onnx {

using ir::Value;

ContribUpgrade FindContrib(std::string_view domain, std::string_view op) {
  auto find = [&](std::span<const ContribRow> rows) -> ContribUpgrade {
    for (const ContribRow& row : rows) {
      if (op == row.op) return row.upgrade;
    }
    return nullptr;
  };
  if (domain == "com.microsoft") {
    for (auto rows : {MicrosoftQuantized(), MicrosoftFloat(), MicrosoftAttention()}) {
      if (ContribUpgrade upgrade = find(rows)) return upgrade;
    }
  }
  if (domain == "qonnx.custom_op.general" || domain == "finn.custom_op.general" ||
      domain == "onnx.brevitas")
    return find(QonnxOperators());
  // As our exporter writes what ONNX cannot hold; attributes are checked with the operator.
  if (domain == ir::kSlipwayDomain && (op == "Quantize" || op == "Dequantize"))
    return [](OldNode& n, Upgrader&) { return NeedInputs(n, 2); };
  return nullptr;
}

Status NeedInputs(const OldNode& n, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!n.input(i))
      return InvalidArgument(n.Describe() + ": input " + std::to_string(i) + " is missing");
  }
  return OkStatus();
}

Status NoOutputsFrom(const OldNode& n, size_t first) {
  for (size_t i = first; i < n.used.size(); ++i) {
    if (n.used[i] && !(i < n.results.size() && n.results[i])) {
      return Unsupported(n.Describe() + ": output " + std::to_string(i) + " (" +
                         Quote(n.outputs[i]) + ") is not supported");
    }
  }
  return OkStatus();
}

Status NoInputsFrom(const OldNode& n, size_t first, std::string_view what) {
  for (size_t i = first; i < n.inputs.size(); ++i) {
    if (n.inputs[i]) {
      return Unsupported(n.Describe() + ": input " + std::to_string(i) + " (" +
                         Quote(n.inputs[i]->name()) + ") is not supported; " + std::string(what));
    }
  }
  return OkStatus();
}

Result<int64_t> NeedRank(const OldNode& n, Upgrader& u, const Value* x) {
  const int64_t rank = u.RankOf(x);
  if (rank < 0) {
    return Unsupported(n.Describe() +
                       ": the rank of its input must be known; export the model "
                       "with shapes (onnx.shape_inference)");
  }
  return rank;
}

Value* ChannelsFirst(const OldNode& n, Upgrader& u, Value* x, int64_t rank) {
  std::vector<int64_t> perm{0, rank - 1};
  for (int64_t i = 1; i < rank - 1; ++i) perm.push_back(i);
  return u.Emit(n, "Transpose", {x}, {{"perm", perm}});
}

Value* ChannelsLast(const OldNode& n, Upgrader& u, Value* x, int64_t rank) {
  std::vector<int64_t> perm{0};
  for (int64_t i = 2; i < rank; ++i) perm.push_back(i);
  perm.push_back(1);
  return u.Emit(n, "Transpose", {x}, {{"perm", perm}});
}

}  // namespace slipway::onnx
