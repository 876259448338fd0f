#include "engine/backends/onnx_network.h"

#include <algorithm>
#include <cmath>

#include "engine/backends/subgraph.h"
#include "engine/kernels/vendor/network_blob.h"
#include "model/frontends/onnx/export.h"

namespace slipway::backends {
namespace {

// Shares of the machine's rates: see docs/onnxruntime.md.
struct Row {
  const char* domain;
  const char* op;
  double compute, memory;
  // Inputs from this one on say how (a shape, axes, bounds) and must be constants.
  size_t constants_from = 99;
};
constexpr Row kRows[] = {
    {"slipway", "Conv", 0.6, 0.5},
    {"slipway", "Linear", 0.6, 0.5},
    {"slipway", "Add", 0.5, 0.4},
    {"", "Conv", 0.6, 0.5},
    {"", "ConvTranspose", 0.3, 0.5},
    {"", "Gemm", 0.6, 0.5},
    {"", "MatMul", 0.6, 0.5},
    {"", "MaxPool", 0.2, 0.3},
    {"", "AveragePool", 0.2, 0.3},
    {"", "GlobalAveragePool", 0.2, 0.3},
    {"", "GlobalMaxPool", 0.2, 0.3},
    {"", "BatchNormalization", 0.3, 0.3},
    {"", "InstanceNormalization", 0.3, 0.3},
    {"", "LayerNormalization", 0.3, 0.3},
    {"", "LRN", 0.1, 0.1},
    {"", "Relu", 0.5, 0.5},
    {"", "LeakyRelu", 0.3, 0.3},
    {"", "PRelu", 0.3, 0.3},
    {"", "Elu", 0.2, 0.2},
    {"", "Selu", 0.2, 0.2},
    {"", "HardSigmoid", 0.2, 0.2},
    {"", "HardSwish", 0.2, 0.2},
    {"", "Sigmoid", 0.2, 0.3},
    {"", "Tanh", 0.2, 0.3},
    {"", "Softplus", 0.1, 0.1},
    {"", "Erf", 0.2, 0.3},
    {"", "Gelu", 0.2, 0.2},
    {"", "Exp", 0.2, 0.2},
    {"", "Log", 0.2, 0.2},
    {"", "Sqrt", 0.2, 0.2},
    {"", "Neg", 0.3, 0.3},
    {"", "Abs", 0.3, 0.3},
    {"", "Reciprocal", 0.2, 0.2},
    {"", "Floor", 0.2, 0.2},
    {"", "Ceil", 0.2, 0.2},
    {"", "Clip", 0.5, 0.5, 1},
    {"", "Add", 0.5, 0.4},
    {"", "Sub", 0.5, 0.4},
    {"", "Mul", 0.5, 0.4},
    {"", "Div", 0.3, 0.3},
    {"", "Softmax", 0.3, 0.3},
    {"", "LogSoftmax", 0.3, 0.3},
    {"", "Concat", 0.5, 0.5},
    {"", "Flatten", 1, 1},
    {"", "Reshape", 1, 1, 1},
    {"", "Transpose", 0.3, 0.2},
    {"", "Squeeze", 1, 1, 1},
    {"", "Unsqueeze", 1, 1, 1},
    {"", "Slice", 0.5, 0.5, 1},
    {"", "Split", 0.5, 0.5, 1},
    {"", "Pad", 0.3, 0.3, 1},
    {"", "DepthToSpace", 0.2, 0.2},
    {"", "SpaceToDepth", 0.2, 0.2},
    {"", "ReduceMean", 0.3, 0.3, 1},
    {"", "ReduceSum", 0.3, 0.3, 1},
    {"", "ReduceMax", 0.3, 0.3, 1},
    {"", "ReduceMin", 0.3, 0.3, 1},
    {"", "ReduceL2", 0.2, 0.2, 1},
    {"", "Attention", 0.4, 0.3},
    {"", "Identity", 0.5, 0.5},
    {"", "Resize", 0.2, 0.2, 1},
    {"", "Gather", 0.3, 0.3, 1},
    {"", "Tile", 0.3, 0.3, 1},
    {"", "Expand", 0.3, 0.3, 1},
    {"", "CumSum", 0.1, 0.1, 1},
    {"", "Pow", 0.1, 0.1},
    {"", "Min", 0.3, 0.3},
    {"", "Max", 0.3, 0.3},
    {"", "Mish", 0.1, 0.1},
    {"", "Softsign", 0.1, 0.1},
    {"", "ThresholdedRelu", 0.2, 0.2},
    {"", "Sign", 0.2, 0.2},
    {"", "Round", 0.2, 0.2},
    {"", "Sin", 0.1, 0.1},
    {"", "Cos", 0.1, 0.1},
    {"", "GroupNormalization", 0.2, 0.2},
    {"", "RMSNormalization", 0.2, 0.2},
};

const Row* FindRow(const ir::Node& node) {
  for (const Row& row : kRows) {
    if (node.Is(row.op, row.domain)) return &row;
  }
  return nullptr;
}

bool HasEmpty(const ir::Value& v) {
  if (!v.type().shape) return true;
  return std::any_of(v.type().shape->begin(), v.type().shape->end(),
                     [](const Dim& d) { return d.known() && d.value() < 1; });
}

// Images alone: ONNX Runtime 1.30 refuses other linear resizing, and its cubic one differs at
// borders.
Status CheckResizing(const ir::Node& node) {
  const ops::Attributes& a = node.attributes;
  const std::string_view mode = a.String("mode", "nearest"),
                         where = a.String("coordinate_transformation_mode", "half_pixel");
  if (a.Int("antialias", 0) != 0 || a.Has("axes") || a.Has("keep_aspect_ratio_policy") ||
      a.Int("exclude_outside", 0) != 0 || (where != "half_pixel" && where != "asymmetric"))
    return Unsupported("resizing other than half_pixel or asymmetric without antialias and axes");
  if ((mode != "nearest" && mode != "linear") || node.input(0)->type().shape->size() != 4)
    return Unsupported("resizing other than of images, by nearest or linear");
  // By scales that are whole: it takes extents that stay for no resizing at all, whatever the
  // scale.
  const ir::Tensor* scales = node.constant_input(2);
  if (!scales || scales->count() != 4) return Unsupported("resizing without scales");
  const std::vector<double> by = scales->ToDoubles();
  if (by[0] != 1 || by[1] != 1 || by[2] != std::floor(by[2]) || by[3] != std::floor(by[3]))
    return Unsupported("resizing by other than whole scales of height and width");
  return OkStatus();
}

Status CheckDetails(const ir::Node& node) {
  const ops::Attributes& a = node.attributes;
  if (node.outputs().size() > 1 && !node.Is("Split")) {
    for (size_t i = 1; i < node.outputs().size(); ++i) {
      if (node.output(i)) return Unsupported("further outputs");
    }
  }
  if (node.Is("BatchNormalization") && a.Int("training_mode", 0) != 0)
    return Unsupported("training");
  if (node.Is("Pad") && a.String("mode", "constant") == "wrap")
    return Unsupported("padding by repetition, which the operators of opset 17 have not");
  if (node.Is("Resize")) return CheckResizing(node);
  return OkStatus();
}

}  // namespace

Status OnnxNetworkCompiler::Supports(const ir::Node& node, const Target& target) const {
  const Row* row = FindRow(node);
  if (!row) return Unsupported("no " + node.FullOp());
  if (target.arch != "x86_64" && target.arch != "aarch64") return Unsupported("no " + target.arch);
  bool data = false;
  for (size_t i = 0; i < node.inputs().size(); ++i) {
    const ir::Value* v = node.input(i);
    if (!v) continue;
    if (i >= row->constants_from) {
      if (!v->is_constant()) return Unsupported("input " + std::to_string(i) + " is no constant");
      continue;
    }
    if (v->dtype() != DType::kFloat32)
      return Unsupported(std::string(DTypeName(v->dtype())) + " values");
    if (v->type().is_container() || HasEmpty(*v)) return Unsupported("no shape, or an empty one");
    data |= !v->is_constant();
  }
  if (!data) return Unsupported("constants alone");
  for (const ir::Value* v : node.outputs()) {
    if (!v) continue;
    if (v->dtype() != DType::kFloat32)
      return Unsupported(std::string(DTypeName(v->dtype())) + " values");
    if (HasEmpty(*v)) return Unsupported("no shape, or an empty one");
  }
  SLIPWAY_RETURN_IF_ERROR(CheckDetails(node));
  return Declines(node);
}

std::vector<Candidate> OnnxNetworkCompiler::Candidates(const ir::Node& node, const Target&) const {
  const Row& row = *FindRow(node);
  Candidate c = PlainCandidate(node, "session");
  c.compute_efficiency = row.compute;
  c.memory_efficiency = row.memory;
  if (node.Is("Conv", node.domain()) && node.attributes.Int("group", 1) > 1)
    c.compute_efficiency = 0.15;
  c.overhead_us = 2;
  return {std::move(c)};
}

Result<std::vector<StepSpec>> OnnxNetworkCompiler::Compile(std::span<const PartitionNode> nodes,
                                                           const Target&) const {
  SLIPWAY_ASSIGN_OR_RETURN(const Subgraph part, CutOut(nodes, {}));
  onnx::ExportOptions options;
  options.opset = 17;
  options.value_info = false;
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<uint8_t> onnx,
                           onnx::ExportOnnxBytes(*part.graph, options));
  return std::vector<StepSpec>{
      StepOf(nodes, part, "session",
             kernels::EncodeNetwork(mark_, static_cast<uint32_t>(part.inputs.size()),
                                    static_cast<uint32_t>(part.outputs.size()), onnx))};
}

}  // namespace slipway::backends
