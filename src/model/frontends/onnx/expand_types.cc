#include "base/dtype.h"
#include "model/frontends/onnx/expand.h"
#include "model/frontends/onnx/rewriter.h"
#include "model/frontends/onnx/versions.h"

namespace slipway::onnx {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

bool OnlyFirstOutput(const Node& n) {
  for (size_t i = 1; i < n.outputs().size(); ++i) {
    if (n.output(i) && n.output(i)->IsUsed()) return false;
  }
  return true;
}

// The operands of type `from` are cast to `via`, the result back.
void Through(Graph* g, Node* n, DType from, DType via) {
  Rewriter r(g, n);
  auto cast = [&](Value* v, DType to) {
    return r.Op("Cast", {v}, {{"to", static_cast<int64_t>(to)}});
  };
  // Up to opset 11 both operands of Pow have one type.
  const bool all = n->Is("Pow");
  std::vector<Value*> inputs;
  for (Value* v : n->inputs())
    inputs.push_back(v && (all || v->dtype() == from) ? cast(v, via) : v);
  const DType result = n->output()->dtype();
  Value* y = r.Op(n->op(), inputs, n->attributes);
  if (result != from && result != DType::kUndefined)
    y->set_type({result, std::nullopt});  // a comparison, an index
  else
    y = cast(y, from);
  r.Finish(y);
}

// The larger or the smaller of two, by comparing: for 64-bit integers, which no older type of Max
// and Min holds exactly.
Value* Extreme(Rewriter& r, bool larger, Value* a, Value* b) {
  return r.Op("Where", {r.Op("Less", {larger ? a : b, larger ? b : a}), b, a});
}

// Max, Min, Clip and Relu of 64-bit integers before opset 12.
void ByComparing(Graph* graph, Node* n) {
  Rewriter r(graph, n);
  Value* y = n->input(0);
  if (n->Is("Relu")) {
    Value* zero = r.Op("Cast", {r.Constant("zero", ir::Tensor::Scalar<int32_t>(0))},
                       {{"to", static_cast<int64_t>(y->dtype())}});
    y = Extreme(r, true, y, zero);
  } else if (n->Is("Clip")) {
    if (n->input(1)) y = Extreme(r, true, y, n->input(1));
    if (n->input(2)) y = Extreme(r, false, y, n->input(2));
  } else {
    for (size_t i = 1; i < n->inputs().size(); ++i) y = Extreme(r, n->Is("Max"), y, n->input(i));
  }
  r.Finish(y == n->input(0) ? r.Op("Identity", {y}) : y);
}

}  // namespace

Status ExpandTypes(Graph* graph, int opset) {
  for (Node* n : graph->NodeList()) {
    if (!n->domain().empty() || !n->output()) continue;
    const Value* data = n->input(n->Is("Where") ? 1 : 0);
    if (!data) continue;
    const DType type = data->dtype();
    if (n->Is("Pow") && opset < 12 && n->input(1) && n->input(1)->dtype() != type &&
        (type == DType::kFloat32 || type == DType::kFloat64)) {
      Rewriter r(graph, n);
      graph->SetInput(n, 1, r.Op("Cast", {n->input(1)}, {{"to", static_cast<int64_t>(type)}}));
      continue;
    }
    const TypeRule rule = RuleFor(n->op(), type);
    if (opset >= rule.before) continue;
    if (opset < 12 && (type == DType::kInt64 || type == DType::kUInt64) &&
        (n->Is("Max") || n->Is("Min") || n->Is("Clip") || n->Is("Relu"))) {
      ByComparing(graph, n);
      continue;
    }
    if (n->Is("Relu") && opset >= 12 && type != DType::kBFloat16) {
      Rewriter r(graph, n);
      Value* zero = r.Op("Cast", {r.Constant("zero", ir::Tensor::Scalar<int32_t>(0))},
                         {{"to", static_cast<int64_t>(type)}});
      r.Finish(r.Op("Max", {n->input(0), zero}));
      continue;
    }
    // What cannot be rewritten is named by downgrade.cc.
    if (rule.via == DType::kUndefined || opset < SinceOpset(type) || !OnlyFirstOutput(*n)) continue;
    Through(graph, n, type, rule.via);
  }
  return OkStatus();
}

}  // namespace slipway::onnx
