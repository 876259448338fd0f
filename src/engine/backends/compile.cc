#include "engine/backends/compile.h"

namespace slipway::backends {

Result<StepSpec> OpBackend::CompileNode(const ir::Node& node, const Candidate& candidate,
                                        const Target&) const {
  StepSpec step;
  step.node = &node;
  step.kernel = candidate.kernel;
  format::OpDesc op{node.domain(), node.op(), node.attributes};
  op.attributes.Set("kernel", candidate.kernel);
  step.blob = format::EncodeOp(op);
  step.inputs.assign(node.inputs().begin(), node.inputs().end());
  step.outputs.assign(node.outputs().begin(), node.outputs().end());
  step.in_place = candidate.in_place;
  return step;
}

Result<std::vector<StepSpec>> OpBackend::Compile(std::span<const PartitionNode> nodes,
                                                 const Target& target) const {
  std::vector<StepSpec> steps;
  for (const PartitionNode& p : nodes) {
    auto step = CompileNode(*p.node, *p.candidate, target);
    if (!step.ok()) return step.status().With(name() + " backend, " + p.node->Describe());
    steps.push_back(std::move(*step));
  }
  return steps;
}

Candidate PlainCandidate(const ir::Node& node, std::string kernel) {
  Candidate c;
  c.kernel = std::move(kernel);
  c.inputs.assign(node.inputs().size(), Layout::kPlain);
  c.outputs.assign(node.outputs().size(), Layout::kPlain);
  return c;
}

bool ChannelsMultipleOf(const ir::Node& node, int block) {
  auto fits = [&](const ir::Value* v) {
    if (!v || v->is_constant() || !v->type().shape || v->type().shape->size() < 3) return true;
    const Dim& c = (*v->type().shape)[1];
    return c.known() && c.value() % block == 0;
  };
  for (const ir::Value* v : node.inputs()) {
    if (!fits(v)) return false;
  }
  for (const ir::Value* v : node.outputs()) {
    if (!fits(v)) return false;
  }
  return true;
}

}  // namespace slipway::backends
