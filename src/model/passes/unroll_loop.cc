// Loops and scans of few nodes and few iterations: without the loop shapes become known, constants
// fold, and backends get plain nodes.

#include <algorithm>

#include "model/ir/control.h"
#include "model/passes/inline_body.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

constexpr int64_t kMaxNodes = 256;  // that may come out of one loop

// How often the body runs; nullopt when that is not known.
std::optional<int64_t> Iterations(const Node& node, const ir::ControlForm& form) {
  if (node.op() == "Loop") {
    const auto condition = ScalarOf(node.input(1));
    if (node.input(1) && !condition) return std::nullopt;
    if (condition && *condition == 0) return 0;
    const auto count = IntsOf(node.input(0));
    if (!count || count->size() != 1 || !ir::RunsToTripCount(node)) return std::nullopt;
    return std::max<int64_t>((*count)[0], 0);
  }
  const auto& shape = node.input(form.carried)->type().shape;
  if (!shape || shape->empty()) return std::nullopt;
  const int64_t axis =
      NormalAxis(ir::ScanAxis(node, "scan_input_axes", 0), static_cast<int>(shape->size()));
  if (axis < 0 || axis >= static_cast<int64_t>(shape->size())) return std::nullopt;
  const Dim& d = (*shape)[static_cast<size_t>(axis)];
  return d.known() ? std::optional(d.value()) : std::nullopt;
}

class Unroll {
 public:
  Unroll(Graph& graph, Node* node, const ir::ControlForm& form, int64_t iterations)
      : graph_(graph),
        node_(node),
        form_(form),
        iterations_(iterations),
        loop_(node->op() == "Loop") {}

  void Run() {
    const Graph& body = *node_->subgraphs.at("body");
    const size_t first = loop_ ? 2 : 0;
    std::vector<Value*> carried(
        node_->inputs().begin() + static_cast<ptrdiff_t>(first),
        node_->inputs().begin() + static_cast<ptrdiff_t>(first + form_.carried));
    std::vector<std::vector<Value*>> slices(node_->outputs().size() - form_.carried);
    for (int64_t at = 0; at < iterations_; ++at) {
      std::vector<Value*> inputs;
      if (loop_) {
        inputs.push_back(
            graph_.AddConstant(node_->name() + "/iteration", Tensor::Scalar<int64_t>(at)));
        inputs.push_back(
            graph_.AddConstant(node_->name() + "/condition", Tensor::Scalar<bool>(true)));
      }
      inputs.insert(inputs.end(), carried.begin(), carried.end());
      for (size_t i = 0; i < form_.scanned; ++i) inputs.push_back(SliceOf(i, at));
      inputs.insert(inputs.end(), node_->inputs().begin() + static_cast<ptrdiff_t>(form_.formal),
                    node_->inputs().end());
      const std::vector<Value*> made = InlineBody(graph_, body, inputs, node_);
      for (size_t k = 0; k < form_.carried; ++k) carried[k] = made[form_.first_result + k];
      for (size_t i = 0; i < slices.size(); ++i)
        slices[i].push_back(made[form_.first_result + form_.carried + i]);
    }
    for (size_t k = 0; k < form_.carried; ++k) ReplaceOutput(graph_, node_, k, carried[k]);
    for (size_t i = 0; i < slices.size(); ++i) {
      const size_t output = form_.carried + i;
      if (Value* old = node_->output(output); old && old->IsUsed())
        ReplaceOutput(graph_, node_, output, Stack(i, std::move(slices[i]), *old));
    }
    graph_.RemoveNode(node_);
  }

 private:
  Value* SliceOf(size_t i, int64_t at) {
    Value* whole = node_->input(form_.carried + i);
    if (ir::ScanAxis(*node_, "scan_input_directions", i) != 0) at = iterations_ - 1 - at;
    ir::Attributes attributes;
    attributes.Set("axis", ir::ScanAxis(*node_, "scan_input_axes", i));
    Value* index = graph_.AddConstant(node_->name() + "/index", Tensor::Scalar<int64_t>(at));
    return AddBefore(graph_, {.op = "Gather", .inputs = {whole, index}, .attributes = attributes},
                     {whole->dtype(), std::nullopt}, node_, node_);
  }

  Value* Stack(size_t i, std::vector<Value*> slices, const Value& old) {
    if (slices.empty()) {
      auto empty = Tensor::Allocate(old.dtype(), *StaticDimsOf(&old));  // 0 elements
      return graph_.AddConstant(old.name() + "/empty", std::move(*empty));
    }
    if (ir::ScanAxis(*node_, "scan_output_directions", i) != 0)
      std::reverse(slices.begin(), slices.end());
    const int64_t axis = ir::ScanAxis(*node_, "scan_output_axes", i);
    const Type type{old.dtype(), std::nullopt};
    for (Value*& v : slices) {
      Value* axes = AddInts(graph_, node_->name() + "/axes", {axis});
      v = AddBefore(graph_, {.op = "Unsqueeze", .inputs = {v, axes}}, type, node_, node_);
    }
    if (slices.size() == 1) return slices[0];
    ir::Attributes attributes;
    attributes.Set("axis", axis);
    return AddBefore(graph_, {.op = "Concat", .inputs = slices, .attributes = attributes}, type,
                     node_, node_);
  }

  Graph& graph_;
  Node* node_;
  const ir::ControlForm form_;
  const int64_t iterations_;
  const bool loop_;
};

}  // namespace

Result<int> UnrollLoop(ir::Graph& graph, const PassOptions&) {
  return VisitNodes(graph, [&](Node* node) {
    if (!node->Is("Loop") && !node->Is("Scan")) return false;
    const auto form = ir::FormOf(*node);
    if (!form.ok()) return false;
    const auto iterations = Iterations(*node, *form);
    if (!iterations) return false;
    // What starts as an optional may leave the loop as its element (model/ir/infer_control.cc).
    for (size_t k = 0; k < form->carried; ++k) {
      if (node->input(form->formal - form->carried - form->scanned + k)->type().is_optional())
        return false;
    }
    const int64_t size =
        CountNodes(*node->subgraphs.at("body")) + static_cast<int64_t>(form->scanned) + 1;
    // One iteration is never longer than the loop.
    if (*iterations > 1 && *iterations > kMaxNodes / size) return false;
    for (size_t i = form->carried; *iterations == 0 && i < node->outputs().size(); ++i) {
      const Value* v = node->output(i);
      if (v && v->IsUsed() && (v->dtype() == DType::kUndefined || !StaticDimsOf(v))) return false;
    }
    Unroll(graph, node, *form, *iterations).Run();
    return true;
  });
}

}  // namespace slipway::passes
