// Dynamically quantized products, as ONNX Runtime writes them: MatMulInteger by constant weights
// and a Cast to float32, scales behind. No backend but the plain loops has MatMulInteger.

#include <limits>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

constexpr char kDomain[] = "slipway";
constexpr auto kFloat = static_cast<int64_t>(DType::kFloat32);

// w less its zero points, column by column; empty when they are not constant.
std::vector<int64_t> Centered(const Node* node) {
  const Tensor* w = node->constant_input(1);
  if (!w || w->dims().rank() != 2) return {};
  std::vector<int64_t> zeros{0}, codes = w->ToInts();
  const int64_t columns = w->dims()[1];
  if (node->input(3)) {
    auto given = IntsOf(node->input(3));
    if (!given || (given->size() != 1 && static_cast<int64_t>(given->size()) != columns)) return {};
    zeros = *given;
  }
  for (size_t i = 0; i < codes.size(); ++i)
    codes[i] -= zeros[zeros.size() == 1 ? 0 : i % static_cast<size_t>(columns)];
  return codes;
}

Value* Add(Graph& graph, const Node* like, Node* before, std::string_view op,
           std::vector<Value*> inputs, ir::Attributes attributes = {},
           std::string_view domain = "") {
  Node* made = graph.AddNode({.op = std::string(op),
                              .inputs = std::move(inputs),
                              .attributes = std::move(attributes),
                              .domain = std::string(domain),
                              .name = like->name() + "/" + std::string(op)},
                             before);
  made->sources = like->sources.empty() ? std::vector<std::string>{like->name()} : like->sources;
  return made->output();
}

// float(sum of (x - z) * w) as a float product. Every operand is a whole number, so that sums below
// 2^24 are exact.
void ToFloat(Graph& graph, Node* node, Node* cast, const std::vector<int64_t>& codes) {
  const std::vector<float> weights(codes.begin(), codes.end());
  Value* w =
      AddFloats(graph, node->input(1)->name() + "_float", node->constant_input(1)->dims(), weights);
  Value* x = Add(graph, node, cast, "Cast", {node->input(0)}, {{"to", kFloat}});
  if (node->input(2)) {
    Value* zero = Add(graph, node, cast, "Cast", {node->input(2)}, {{"to", kFloat}});
    x = Add(graph, node, cast, "Sub", {x, zero});
  }
  Fuse(graph, {.op = "MatMul", .inputs = {x, w}}, node, {node, cast});
}

// QLinear around the middle of x's codes, so that what it rounds to float32 stays small, less what
// the zero point moves: (z - middle) times the sums of the weights. False when the weights do not
// fit int8 or the sums int32.
bool ToInteger(Graph& graph, Node* node, Node* cast, const std::vector<int64_t>& codes) {
  const Dims& dims = node->constant_input(1)->dims();
  const int64_t middle = node->input(0)->dtype() == DType::kUInt8 ? 128 : 0;
  std::vector<int8_t> weights(codes.size());
  std::vector<int64_t> sums(static_cast<size_t>(dims[1]), 0), sizes = sums;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (codes[i] < -128 || codes[i] > 127) return false;
    weights[i] = static_cast<int8_t>(codes[i]);
    sums[i % sums.size()] += codes[i];
    sizes[i % sums.size()] += std::abs(codes[i]);
  }
  for (int64_t size : sizes) {
    if (size * 255 > std::numeric_limits<int32_t>::max()) return false;
  }
  Value* w = graph.AddConstant(node->input(1)->name() + "_codes",
                               Tensor::Of<int8_t>(dims, std::span<const int8_t>(weights)));
  Value* one = AddFloats(graph, node->name() + "_multiplier", {1}, {1.0f});
  const auto constant = node->input(2) ? ScalarOf(node->input(2)) : std::optional<double>(0);
  ir::Attributes a{{"to", kFloat},
                   {"x_zero_point", constant ? static_cast<int64_t>(*constant) : middle}};
  Graph::NodeSpec spec{
      .op = "QLinear", .inputs = {node->input(0), w, one}, .attributes = a, .domain = kDomain};
  if (constant) {
    Fuse(graph, std::move(spec), node, {node, cast});
    return true;
  }
  Value* core = Add(graph, node, cast, spec.op, spec.inputs, spec.attributes, spec.domain);
  Value* zero = Add(graph, node, cast, "Cast", {node->input(2)}, {{"to", kFloat}});
  if (middle != 0) {
    Value* center = AddFloats(graph, node->name() + "_middle", {}, {static_cast<float>(middle)});
    zero = Add(graph, node, cast, "Sub", {zero, center});
  }
  const std::vector<float> columns(sums.begin(), sums.end());
  Value* total = AddFloats(graph, node->name() + "_sums", {dims[1]}, columns);
  Value* moved = Add(graph, node, cast, "Mul", {zero, total});
  Fuse(graph, {.op = "Sub", .inputs = {core, moved}}, node, {node, cast});
  return true;
}

bool Lower(Graph& graph, Node* node, bool integer) {
  if (!node->Is("MatMulInteger") || !node->output()) return false;
  Node* cast = node->output()->OnlyUser();
  if (!cast || !cast->Is("Cast") || cast->attributes.Int("to", 0) != kFloat) return false;
  if (RankOf(node->input(0)).value_or(0) < 2) return false;
  if (node->input(2)) {
    const auto dims = StaticDimsOf(node->input(2));
    if (!dims || dims->count() != 1 || dims->rank() > 1) return false;
  }
  const auto codes = Centered(node);
  if (codes.empty()) return false;
  if (integer && ToInteger(graph, node, cast, codes)) return true;
  ToFloat(graph, node, cast, codes);
  return true;
}

}  // namespace

Result<int> LowerDynamic(ir::Graph& graph, const PassOptions& options) {
  const bool integer = options.level == Level::kInteger;
  int changes = VisitNodes(graph, [&](Node* node) { return Lower(graph, node, integer); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
