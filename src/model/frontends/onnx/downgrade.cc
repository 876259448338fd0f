#include "model/frontends/onnx/downgrade.h"

#include <algorithm>

#include "base/checked.h"
#include "model/frontends/onnx/expand.h"
#include "model/frontends/onnx/versions.h"
#include "model/ir/control.h"
#include "model/ir/schema.h"

namespace slipway::onnx {
namespace {

using ir::Node;
using ir::Tensor;

Status Needs(const Node& n, const std::string& what, int opset) {
  return Unsupported(n.Describe() + ": " + what + " needs opset " + std::to_string(opset) +
                     "; export that");
}

// Attributes that came after opset 11: below `since` they may only say what the operator does
// anyway.
struct NewAttribute {
  const char* op;
  const char* name;
  int since;
};
constexpr NewAttribute kNewAttributes[] = {
    {"ArgMax", "select_last_index", 12},
    {"ArgMin", "select_last_index", 12},
    {"AveragePool", "dilations", 19},
    {"Cast", "round_mode", 24},
    {"Cast", "saturate", 19},
    {"Dropout", "seed", 12},
    {"GRU", "layout", 14},
    {"GatherND", "batch_dims", 12},
    {"LSTM", "layout", 14},
    {"LpPool", "ceil_mode", 18},
    {"LpPool", "dilations", 18},
    {"RNN", "layout", 14},
    {"ReduceL1", "noop_with_empty_axes", 18},
    {"ReduceL2", "noop_with_empty_axes", 18},
    {"ReduceMax", "noop_with_empty_axes", 18},
    {"ReduceMean", "noop_with_empty_axes", 18},
    {"ReduceMin", "noop_with_empty_axes", 18},
    {"ReduceProd", "noop_with_empty_axes", 18},
    {"ReduceSum", "noop_with_empty_axes", 13},
    {"ReduceSumSquare", "noop_with_empty_axes", 18},
    {"Reshape", "allowzero", 14},
    {"Resize", "antialias", 18},
    {"Resize", "axes", 18},
    {"Resize", "keep_aspect_ratio_policy", 18},
    {"ScatterElements", "reduction", 16},
    {"ScatterND", "reduction", 16},
    {"Shape", "start", 15},
};

Status CheckAttributes(const Node& n, int opset, OutNode* out) {
  for (const NewAttribute& row : kNewAttributes) {
    const auto* value =
        n.op() == row.op && opset < row.since ? n.attributes.Find(row.name) : nullptr;
    if (!value) continue;
    const auto* schema = n.schema() ? n.schema()->FindAttribute(row.name) : nullptr;
    bool harmless = schema && schema->default_value && *schema->default_value == *value;
    if (const auto* ints = std::get_if<std::vector<int64_t>>(value)) {
      harmless = std::all_of(ints->begin(), ints->end(), [](int64_t v) { return v == 1; });
    }
    if (!harmless) return Needs(n, std::string("attribute '") + row.name + "'", row.since);
    out->attributes.Erase(row.name);
  }
  if ((n.Is("ScatterND") || n.Is("ScatterElements")) && opset < 18) {
    const auto reduction = n.attributes.String("reduction", "none");
    if (reduction == "max" || reduction == "min") return Needs(n, "this reduction", 18);
  }
  if (n.Is("Resize") && opset < 19 &&
      n.attributes.String("coordinate_transformation_mode", "") == "half_pixel_symmetric") {
    return Needs(n, "half_pixel_symmetric", 19);
  }
  if (n.Is("RoiAlign") && opset < 16) {
    // The old operator is what output_half_pixel became.
    if (n.attributes.String("coordinate_transformation_mode", "half_pixel") != "output_half_pixel")
      return Needs(n, "coordinate_transformation_mode half_pixel", 16);
    out->attributes.Erase("coordinate_transformation_mode");
  }
  if (n.Is("GridSample") && opset < 20) {
    const auto& shape = n.input(0)->type().shape;
    if (shape && shape->size() != 4) return Needs(n, "sampling of other than images", 20);
    const auto mode = n.attributes.String("mode", "linear");
    if (mode == "linear" || mode == "cubic") out->attributes.Set("mode", "bi" + std::string(mode));
  }
  if (n.Is("Attention") && opset < 24 && n.input(6))
    return Needs(n, "input nonpad_kv_seqlen", 24);
  if (n.Is("Pad") && opset < 19 && n.attributes.String("mode", "") == "wrap")
    return Needs(n, "mode wrap", 19);
  return OkStatus();
}

// expand_types.cc has already rewritten what another type can compute.
Status CheckTypes(const Node& n, int opset) {
  for (const auto* values : {&n.inputs(), &n.outputs()}) {
    for (const ir::Value* v : *values) {
      if (!v || opset >= SinceOpset(v->dtype())) continue;
      return Needs(n, std::string("element type ") + DTypeName(v->dtype()), SinceOpset(v->dtype()));
    }
  }
  const ir::Value* data = n.input(n.Is("Where") ? 1 : 0);
  if (!data) return OkStatus();
  const TypeRule rule = RuleFor(n.op(), data->dtype());
  if (opset < rule.before)
    return Needs(n, std::string("element type ") + DTypeName(data->dtype()), rule.before);
  return OkStatus();
}

// Sequences came with opset 11 and 13 (in If and Loop) or 14 (Identity), optionals with 15 and 16.
Status CheckContainers(const Node& n, int opset) {
  for (const auto* values : {&n.inputs(), &n.outputs()}) {
    for (const ir::Value* v : *values) {
      if (!v || !v->type().is_container()) continue;
      const std::string type = v->type().ToString();
      if (n.Is("Scan"))
        return Unsupported(n.Describe() + ": ONNX has no Scan of " + type + "; use a Loop");
      if (SinceOpset(v->dtype()) > 11)
        return Unsupported(n.Describe() + ": ONNX has no " + type + "; cast what is in it");
      const int since = v->type().is_optional() ? (ir::IsControlFlow(n) || n.Is("Identity") ? 16 : 15)
                        : n.Is("Identity")      ? 14
                        : ir::IsControlFlow(n)  ? 13
                                                : 11;
      if (opset < since) return Needs(n, "a value " + type, since);
    }
  }
  const bool asks = n.Is("OptionalHasElement") || n.Is("OptionalGetElement");
  if (asks && opset < 18 && !(n.input(0) && n.input(0)->type().is_optional()))
    return Needs(n, "an input that is no optional", 18);
  return OkStatus();
}

// Turns constant integer input `index` into an attribute.
Status InputToInts(const Node& n, size_t index, const char* attribute, int since, OutNode* out) {
  if (!n.input(index)) return OkStatus();
  const Tensor* t = n.constant_input(index);
  if (!t) return Needs(n, std::string("a computed '") + attribute + "'", since);
  out->attributes.Set(attribute, t->ToInts());
  out->inputs.resize(index);
  return OkStatus();
}

Status Reduce(const Node& n, int opset, OutNode* out) {
  if (opset >= (n.Is("ReduceSum") ? 13 : 18)) return OkStatus();
  const Tensor* axes = n.constant_input(1);
  if (axes && axes->count() == 0) {  // means all axes, which older opsets say by saying nothing
    out->inputs.resize(1);
    return OkStatus();
  }
  return InputToInts(n, 1, "axes", n.Is("ReduceSum") ? 13 : 18, out);
}

Status Split(const Node& n, int opset, OutNode* out) {
  if (n.input(1)) return opset < 13 ? InputToInts(n, 1, "split", 13, out) : OkStatus();
  if (opset >= 18) {
    if (n.attributes.Int("num_outputs", 0) == 0)
      out->attributes.Set("num_outputs", static_cast<int64_t>(n.outputs().size()));
    return OkStatus();
  }
  // Before 18, leaving sizes out means equal parts; expand.cc has written unequal ones as sizes.
  out->attributes.Erase("num_outputs");
  return OkStatus();
}

void Resize(OutNode* out) {
  // Opsets 11 and 12 want roi and scales even when they mean nothing.
  out->inputs.resize(std::max<size_t>(out->inputs.size(), 3), nullptr);
  for (size_t i = 1; i < 3; ++i) {
    if (!out->inputs[i]) out->empty_inputs.push_back(i);
  }
}

// Up to opset 19 the axis is an attribute that counts from the front.
Status Dft(const Node& n, OutNode* out) {
  int64_t axis = -2;
  if (n.input(2)) {
    const Tensor* t = n.constant_input(2);
    if (!t || t->count() != 1) return Needs(n, "a computed axis", 20);
    axis = t->ToInts()[0];
  }
  const auto& shape = n.input(0)->type().shape;
  if (axis < 0 && !shape) return Needs(n, "an input of unknown rank", 20);
  if (axis < 0) axis += static_cast<int64_t>(shape->size());
  out->attributes.Set("axis", axis);
  if (out->inputs.size() > 2) out->inputs.resize(2);
  return OkStatus();
}

}  // namespace

Result<OutNode> Downgrade(const Node& n, int opset) {
  // Made for a file, by ExpandToQonnx and by quant/exporters, or left by ExpandQuantization as ONNX
  // has no form for it: written as they are.
  if (n.domain() == kQonnxDomain || n.domain() == "com.microsoft" ||
      n.domain() == "org.openvinotoolkit" || n.Is("QLinearConv") || n.Is("QLinearMatMul") ||
      n.IsSlipway("Quantize") || n.IsSlipway("Dequantize") ||
      (n.schema() && n.schema()->custom)) {
    OutNode out;
    out.op = n.op();
    out.inputs.assign(n.inputs().begin(), n.inputs().end());
    out.outputs.assign(n.outputs().begin(), n.outputs().end());
    out.attributes = n.attributes;
    return out;
  }
  if (n.Is("DetectionOutput", "slipway")) {
    return Unsupported(n.Describe() +
                       " has no form in ONNX; cut the net before it, compile it, or export to Caffe");
  }
  if (!n.domain().empty()) {
    return Unsupported(n.Describe() +
                       " is an integer operator that exists only inside a compiled package; export "
                       "the model before lowering");
  }
  if (n.op() != "QuantizeLinear" && n.op() != "DequantizeLinear" && !ir::FindOp("", n.op())) {
    return Unsupported(n.Describe() + " is not an operator that Slipway can export");
  }
  if (opset < SinceOpset(n.op())) return Needs(n, "the operator", SinceOpset(n.op()));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(n, opset));
  SLIPWAY_RETURN_IF_ERROR(CheckContainers(n, opset));
  OutNode out;
  out.op = n.op();
  out.inputs.assign(n.inputs().begin(), n.inputs().end());
  out.outputs.assign(n.outputs().begin(), n.outputs().end());
  out.attributes = n.attributes;
  SLIPWAY_RETURN_IF_ERROR(CheckAttributes(n, opset, &out));
  Status status;
  const std::string& op = n.op();
  if (op == "Squeeze" || op == "Unsqueeze") {
    if (opset < 13) status = InputToInts(n, 1, "axes", 13, &out);
  } else if (op.starts_with("Reduce")) {
    status = Reduce(n, opset, &out);
  } else if (op == "Split") {
    status = Split(n, opset, &out);
  } else if (op == "Resize") {
    if (opset < 13) Resize(&out);
  } else if (op == "Dropout") {
    if (opset < 12 && n.input(2)) return Needs(n, "a computed training_mode", 12);
    // Before, a mask outside training meant nothing.
    if (opset < 12 && n.output(1) && n.output(1)->IsUsed()) return Needs(n, "its mask", 12);
    if (opset < 12) out.inputs.resize(1);
  } else if (op == "DFT") {
    if (opset < 20) status = Dft(n, &out);
  } else if ((op == "Softmax" || op == "LogSoftmax" || op == "Hardmax") && opset < 13) {
    out.attributes.Set("axis", n.attributes.Int("axis", -1));  // the default was another
  }
  SLIPWAY_RETURN_IF_ERROR(status);
  if (!n.subgraphs.empty()) {
    // Captured values are not inputs there: bodies read them by name. Absent ones at the end count.
    SLIPWAY_ASSIGN_OR_RETURN(const ir::ControlForm form, ir::FormOf(n));
    out.inputs.resize(form.formal);
    out.attributes.Erase("carried");
    return out;
  }
  while (!out.inputs.empty() && !out.inputs.back() && out.empty_inputs.empty())
    out.inputs.pop_back();
  while (!out.outputs.empty() && !out.outputs.back()) out.outputs.pop_back();
  return out;
}

}  // namespace slipway::onnx
