#include <algorithm>

#include "model/ir/schema.h"
#include "model/passes/evaluate.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// A result that is much larger than what it is made of costs more in the package than at run time.
constexpr int64_t kMaxGrowth = 16;
constexpr int64_t kSmallBytes = 1 << 20;
// What one run of the pass may add to the model: many such results add up, and each may be the
// input of the next.
constexpr int64_t kMaxAdded = int64_t{256} << 20;

std::vector<Tensor> InputTensors(const Node* node) {
  std::vector<Tensor> tensors;
  for (const Value* v : node->inputs()) tensors.push_back(v ? *v->constant() : Tensor());
  return tensors;
}

bool MayFold(const Node* node) {
  if (!node->schema() || !node->subgraphs.empty() || node->outputs().empty()) return false;
  // Dequantized weights are what the quantization lowering looks for; fold-dequantize takes what it
  // leaves.
  if (node->IsSlipway("Dequantize")) return false;
  if (ir::IsRandom(*node)) return false;
  for (const Value* v : node->inputs()) {
    if (v && !v->is_constant()) return false;
  }
  return std::none_of(node->outputs().begin(), node->outputs().end(),
                      [](const Value* v) { return v && v->is_output(); });
}

bool TooLarge(const Node* node, const std::vector<Tensor>& inputs, int64_t* added) {
  int64_t in = 0, out = 0;
  for (const Tensor& t : inputs) in += static_cast<int64_t>(t.bytes().size());
  for (const Value* v : node->outputs()) {
    auto dims = StaticDimsOf(v);
    if (!dims) continue;
    auto bytes = CheckedBytes(v->dtype(), *dims);
    if (!bytes) return true;
    out = CheckedAdd(out, *bytes).value_or(INT64_MAX);
  }
  if (out > kSmallBytes && out / kMaxGrowth > in) return true;
  const int64_t growth = std::max<int64_t>(out - in, 0);
  if (growth > kMaxAdded - *added) return true;
  *added += growth;
  return false;
}

// Shape, Size and selections from a Shape whose dimensions are known, though others may not be.
std::optional<Tensor> FoldShape(const Node* node) {
  if (node->Is("Size")) {
    if (!node->input(0)->type().shape) return std::nullopt;
    Dim count = Count(*node->input(0)->type().shape);
    if (!count.known()) return std::nullopt;
    return Tensor::Scalar<int64_t>(count.value());
  }
  const Node* shape = node->Is("Shape") ? node : ProducerOf(node->input(0), "Shape");
  if (!shape || !shape->input(0)->type().shape) return std::nullopt;
  const SymShape& dims = *shape->input(0)->type().shape;
  int64_t rank = static_cast<int64_t>(dims.size());
  auto bound = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  int64_t start = bound(shape->attributes.Int("start", 0)),
          end = bound(shape->attributes.Int("end", rank));
  SymShape all(dims.begin() + start, dims.begin() + std::max(start, end));
  std::vector<int64_t> picked;  // indices into `all`
  bool scalar = false;
  int64_t n = static_cast<int64_t>(all.size());
  if (node == shape) {
    for (int64_t i = 0; i < n; ++i) picked.push_back(i);
  } else if (node->Is("Gather")) {
    auto indices = IntsOf(node->input(1));
    if (!indices || node->constant_input(1)->dims().rank() > 1) return std::nullopt;
    scalar = node->constant_input(1)->dims().rank() == 0;
    for (int64_t i : *indices) picked.push_back(i < 0 ? i + n : i);
  } else if (node->Is("Slice")) {
    auto starts = IntsOf(node->input(1)), ends = IntsOf(node->input(2));
    bool step_one = !node->input(4) || IsScalar(node->input(4), 1);
    if (!starts || !ends || starts->size() != 1 || ends->size() != 1 || !step_one)
      return std::nullopt;
    auto clamp = [&](int64_t v) {
      return std::clamp<int64_t>(v < 0 ? std::max<int64_t>(v, -n) + n : v, 0, n);
    };
    for (int64_t i = clamp((*starts)[0]); i < clamp((*ends)[0]); ++i) picked.push_back(i);
  } else {
    return std::nullopt;
  }
  std::vector<int64_t> values;
  for (int64_t i : picked) {
    if (i < 0 || i >= n || !all[static_cast<size_t>(i)].known()) return std::nullopt;
    values.push_back(all[static_cast<size_t>(i)].value());
  }
  return scalar ? Tensor::Scalar<int64_t>(values[0]) : Tensor::Vector<int64_t>(values);
}

void Replace(Graph& graph, Node* node, size_t i, Tensor tensor) {
  Value* out = node->output(i);
  std::string name = out->name();
  graph.Rename(out, name + "_folded");
  graph.ReplaceAllUses(out, graph.AddConstant(name, std::move(tensor)));
}

}  // namespace

Result<int> FoldConstants(ir::Graph& graph, const PassOptions&) {
  int changes = 0;
  int64_t added = 0;
  for (Node* node : graph.NodeList()) {
    if (node->domain().empty() && (node->op() == "Shape" || node->op() == "Size" ||
                                   node->op() == "Gather" || node->op() == "Slice")) {
      if (node->output() && !node->output()->is_output()) {
        if (auto tensor = FoldShape(node)) {
          Replace(graph, node, 0, std::move(*tensor));
          ++changes;
          continue;
        }
      }
    }
    if (!MayFold(node)) continue;
    std::vector<Tensor> inputs = InputTensors(node);
    if (TooLarge(node, inputs, &added)) continue;
    auto outputs = EvaluateNode(*node, inputs);
    // A node that cannot be evaluated here stays: whoever runs it reports why.
    if (!outputs.ok()) continue;
    for (size_t i = 0; i < outputs->size(); ++i) {
      if (node->output(i)) Replace(graph, node, i, std::move((*outputs)[i]));
    }
    ++changes;
  }
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
