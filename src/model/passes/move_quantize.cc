#include <algorithm>
#include <string_view>

#include "model/ir/schema.h"
#include "model/passes/evaluate.h"
#include "model/passes/pass.h"
#include "model/passes/qdq.h"

namespace slipway::passes {
namespace {

// Operators that only select, order or copy elements, or take the largest: they commute with
// Quantize and Dequantize exactly.
bool MovesData(const Node* node) {
  if (node && ir::IsCustom(*node, SLIPWAY_QUANTIZE_CODES)) return true;
  if (node && node->Is("Resize")) {
    return node->attributes.String("mode", "nearest") == "nearest" &&
           node->attributes.String("coordinate_transformation_mode", "half_pixel") !=
               "tf_crop_and_resize";
  }
  static const std::vector<std::string_view> kOps = {
      "Reshape",  "Flatten",      "Squeeze",      "Unsqueeze",      "Transpose", "Concat",
      "Slice",    "Split",        "Pad",          "Gather",         "Expand",    "Tile",
      "Identity", "DepthToSpace", "SpaceToDepth", "GatherElements", "MaxPool"};
  if (!node || !node->domain().empty() ||
      std::find(kOps.begin(), kOps.end(), node->op()) == kOps.end())
    return false;
  // The second output of MaxPool counts positions, not values.
  return !(node->Is("MaxPool") && node->outputs().size() > 1);
}

size_t DataInputs(const Node* node) { return node->Is("Concat") ? node->inputs().size() : 1; }

// The value that a constant-mode Pad fills in; nullopt when it is not constant.
std::optional<double> FillOf(const Node* pad) {
  if (pad->attributes.String("mode", "constant") != "constant" || !pad->input(2)) return 0.0;
  return ScalarOf(pad->input(2));
}

// A copy of `node` on codes; `inputs` its data inputs.
Node* OnCodes(Graph& graph, Node* node, const std::vector<Value*>& inputs, const QParams& params,
              int32_t fill, Node* before) {
  Graph::NodeSpec spec{.op = node->op(),
                       .inputs = node->inputs(),
                       .attributes = node->attributes,
                       .domain = node->domain(),
                       .name = node->name(),
                       .outputs = std::vector<std::string>(node->outputs().size())};
  std::copy(inputs.begin(), inputs.end(), spec.inputs.begin());
  if (node->Is("Pad") && node->attributes.String("mode", "constant") == "constant") {
    Value* value = params.codes == DType::kInt8
                       ? graph.AddConstant("", Tensor::Scalar<int8_t>(static_cast<int8_t>(fill)))
                       : graph.AddConstant("", Tensor::Scalar<uint8_t>(static_cast<uint8_t>(fill)));
    if (spec.inputs.size() < 3) spec.inputs.resize(3);
    spec.inputs[2] = value;
  }
  for (size_t i = 0; i < node->outputs().size(); ++i) {
    if (!node->output(i)) spec.outputs[i].assign(1, '-');
  }
  Node* made = graph.AddNode(std::move(spec), before);
  made->sources = node->sources.empty() ? std::vector<std::string>{node->name()} : node->sources;
  for (size_t i = 0; i < node->outputs().size(); ++i) {
    if (made->output(i)) made->output(i)->set_type({params.codes, node->output(i)->type().shape});
  }
  return made;
}

Node* CopyQuantization(Graph& graph, const Node* like, Value* input, DType dtype, Node* before) {
  std::vector<Value*> inputs = like->inputs();
  inputs[0] = input;
  Node* made = graph.AddNode({.op = like->op(),
                              .inputs = inputs,
                              .attributes = like->attributes,
                              .domain = ir::kSlipwayDomain,
                              .name = like->name()},
                             before);
  made->sources = like->sources;
  made->output()->set_type({dtype, input->type().shape});
  return made;
}

// Quantize(Dequantize(codes)) with equal parameters is codes.
bool Cancel(Graph& graph, Node* node) {
  auto params = node->IsSlipway("Quantize") ? PerTensorParams(node) : std::nullopt;
  if (!params) return false;
  Dequantized from = DequantizedValue(node->input(0));
  return from && from.params == *params && BypassNode(graph, node, from.codes);
}

// Quantize(move(x)) -> move(Quantize(x)).
bool PullUp(Graph& graph, Node* node) {
  auto params = node->IsSlipway("Quantize") ? PerTensorParams(node) : std::nullopt;
  Node* move = params ? node->input(0)->producer() : nullptr;
  if (!MovesData(move) || move->outputs().size() != 1 || !node->input(0)->OnlyUser()) return false;
  if (move->output()->dtype() != DType::kFloat32) return false;
  bool selects = move->Is("Slice") || move->Is("Gather") || move->Is("GatherElements");
  // Quantizing all for the sake of a part does not pay.
  if (selects && !move->input(0)->OnlyUser()) return false;
  int32_t fill = 0;
  bool zero_fill = true;
  if (move->Is("Pad")) {
    auto value = FillOf(move);
    if (!value) return false;
    fill = params->CodeOf(*value);
    zero_fill = *value == 0;
  }
  // Codes already: PushDown() moves the Dequantize here instead.
  Dequantized from = DequantizedValue(move->input(0));
  if (from && !from.codes->is_constant() && !move->Is("Concat") && zero_fill) return false;
  std::vector<Value*> inputs;
  for (size_t i = 0; i < DataInputs(move); ++i) {
    inputs.push_back(CopyQuantization(graph, node, move->input(i), params->codes, node)->output());
  }
  Node* made = OnCodes(graph, move, inputs, *params, fill, node);
  if (!ReplaceValue(graph, node->output(), made->output())) return false;
  std::string name = move->name();
  graph.RemoveNode(node);
  graph.RemoveNode(move);
  graph.Rename(made, name);
  return true;
}

// The same above a Split whose parts are all quantized alike.
bool PullUpSplit(Graph& graph, Node* split) {
  if (!split->Is("Split") || split->output()->dtype() != DType::kFloat32) return false;
  std::vector<Node*> quantizes(split->outputs().size());
  std::optional<QParams> params;
  for (size_t i = 0; i < quantizes.size(); ++i) {
    Value* part = split->output(i);
    if (!part || !part->IsUsed()) continue;
    Node* user = part->OnlyUser();
    auto own = user && user->IsSlipway("Quantize") ? PerTensorParams(user) : std::nullopt;
    if (!own || (params && !(*params == *own)) || user->output()->is_output()) return false;
    params = own;
    quantizes[i] = user;
  }
  Dequantized from = DequantizedValue(split->input(0));
  if (!params || (from && !from.codes->is_constant())) return false;
  const Node* like =
      *std::find_if(quantizes.begin(), quantizes.end(), [](Node* q) { return q != nullptr; });
  Node* quantize = CopyQuantization(graph, like, split->input(0), params->codes, split);
  Node* made = OnCodes(graph, split, {quantize->output()}, *params, 0, split);
  for (size_t i = 0; i < quantizes.size(); ++i) {
    if (!quantizes[i]) continue;
    graph.ReplaceAllUses(quantizes[i]->output(), made->output(i));
    graph.RemoveNode(quantizes[i]);
  }
  std::string name = split->name();
  graph.RemoveNode(split);
  graph.Rename(made, name);
  return true;
}

// move(Dequantize(codes)) -> Dequantize(move(codes)).
bool PushDown(Graph& graph, Node* move) {
  if (!MovesData(move) || move->inputs().empty()) return false;
  Dequantized first = DequantizedValue(move->input(0));
  if (!first || first.codes->is_constant()) return false;
  std::vector<Value*> codes;
  for (size_t i = 0; i < DataInputs(move); ++i) {
    Dequantized d = DequantizedValue(move->input(i));
    if (!d || !(d.params == first.params)) return false;
    codes.push_back(d.codes);
  }
  if (move->Is("Pad")) {
    // The filling must be a code: zero is.
    if (FillOf(move) != 0.0 || first.params.zero < first.params.q_min ||
        first.params.zero > first.params.q_max)
      return false;
  }
  if (std::none_of(move->outputs().begin(), move->outputs().end(),
                   [](const Value* v) { return v && v->IsUsed(); }))
    return false;
  Node* dequantize = move->input(0)->producer();
  Node* made = OnCodes(graph, move, codes, first.params, first.params.zero, move);
  for (size_t i = 0; i < move->outputs().size(); ++i) {
    Value* old = move->output(i);
    if (!old || !old->IsUsed()) continue;
    Node* after = CopyQuantization(graph, dequantize, made->output(i), old->dtype(), move);
    ReplaceValue(graph, old, after->output());
  }
  std::string name = move->name();
  graph.RemoveNode(move);
  graph.Rename(made, name);
  return true;
}

// Transpose(Dequantize(constant, per channel)): the weights of a linear layer as PyTorch exports
// them.
bool TransposeWeights(Graph& graph, Node* move) {
  if (!move->Is("Transpose")) return false;
  Node* node = SlipwayProducerOf(move->input(0), "Dequantize");
  auto perm = move->attributes.Ints("perm");
  if (!node || !node->input(0)->is_constant() || node->attributes.Int("group", 0) != 0 ||
      perm.empty())
    return false;
  auto codes =
      EvaluateOp("Transpose", "", move->attributes, std::vector<Tensor>{*node->constant_input(0)});
  if (!codes.ok()) return false;
  int64_t axis = NormalAxis(node->attributes.Int("axis", 1), static_cast<int>(perm.size()));
  std::vector<Value*> inputs = node->inputs();
  inputs[0] = graph.AddConstant(node->input(0)->name(), std::move(*codes));
  ir::Attributes attributes = node->attributes;
  auto at = std::find(perm.begin(), perm.end(), axis);
  if (at != perm.end()) attributes.Set("axis", static_cast<int64_t>(at - perm.begin()));
  Fuse(graph,
       {.op = "Dequantize",
        .inputs = inputs,
        .attributes = attributes,
        .domain = ir::kSlipwayDomain},
       node, {node, move});
  return true;
}

}  // namespace

Result<int> MoveQuantize(ir::Graph& graph, const PassOptions&) {
  int changes = 0;
  // A chain of operators takes as many sweeps as it is long.
  for (int sweep = 0; sweep < 64; ++sweep) {
    int moved = VisitNodes(
        graph,
        [&](Node* node) {
          return Cancel(graph, node) || PullUp(graph, node) || PullUpSplit(graph, node);
        },
        true);
    moved += VisitNodes(graph, [&](Node* node) {
      return TransposeWeights(graph, node) || PushDown(graph, node) || Cancel(graph, node);
    });
    if (moved == 0) break;
    graph.RemoveUnused();
    changes += moved;
  }
  return changes;
}

}  // namespace slipway::passes
