#include "engine/compiler/data_shapes.h"

#include <algorithm>
#include <string>

#include "engine/compiler/sequence.h"
#include "model/ir/control.h"
#include "model/ir/infer.h"
#include "model/ir/schema.h"
#include "model/ops/kernel.h"

namespace slipway::compiler {
namespace {

// Control flow decides extents by how often and which way it goes, sequences by what they hold.
bool ReadsComputedData(const ir::Node& node) {
  if (ir::IsControlFlow(node) || IsSequenceNode(node)) return true;
  if (node.schema() && node.schema()->custom) return true;  // where it leaves an extent open
  const ops::ShapeEntry* entry = ops::FindShapeFunction(node.domain(), node.op());
  if (!entry) return false;
  for (size_t i = 0; i < node.inputs().size(); ++i) {
    if (entry->ReadsData(i) && node.input(i) && !node.input(i)->is_constant()) return true;
  }
  return false;
}

// Adds the symbols of `shape`; whether one is new.
bool AddSymbols(const std::optional<SymShape>& shape, std::set<std::string>& known) {
  bool added = false;
  for (const Dim& d : shape ? *shape : SymShape()) {
    for (std::string& s : d.Symbols()) added |= known.insert(std::move(s)).second;
  }
  return added;
}

}  // namespace

Result<std::set<const ir::Node*>> NodesWithDataShapes(const ir::Graph& graph) {
  std::set<const ir::Node*> out;
  if (std::none_of(graph.nodes().begin(), graph.nodes().end(),
                   [](const auto& n) { return ReadsComputedData(*n); }))
    return out;
  std::unique_ptr<ir::Graph> copy = graph.Clone();
  ir::InferOptions options;
  options.forget_declared = true;
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*copy, options));
  std::set<std::string> known;
  // Extents in a sequence are no value's own.
  for (const ir::Value* v : copy->inputs()) {
    if (!v->type().is_container()) AddSymbols(v->type().shape, known);
  }
  auto mine = graph.nodes().begin();
  for (const auto& node : copy->nodes()) {
    bool fresh = false;
    for (const ir::Value* v : node->outputs())
      fresh |= v && !v->type().is_container() && AddSymbols(v->type().shape, known);
    if (fresh && ReadsComputedData(*node)) out.insert(mine->get());
    ++mine;
  }
  return out;
}

}  // namespace slipway::compiler
