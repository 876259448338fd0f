#include "engine/backends/reference/compile/compiler.h"

#include "engine/backends/views.h"
#include "model/ops/custom.h"
#include "model/ops/kernel.h"

namespace slipway::backends {
namespace {

class ReferenceCompiler final : public OpBackend {
 public:
  std::string name() const override { return "reference"; }
  std::string version() const override { return "1"; }
  Level level() const override { return Level::kCode; }

  Status Supports(const ir::Node& node, const Target&) const override {
    if (!node.subgraphs.empty())
      return Unsupported("control flow, which the session runs");
    if (!ops::FindKernel(node.domain(), node.op()))
      return Unsupported("no kernel for " + node.FullOp());
    for (const auto* list : {&node.inputs(), &node.outputs()}) {
      for (const ir::Value* v : *list) {
        if (!v) continue;
        if (v->type().is_container())
          return Unsupported("value '" + v->name() + "' is " + v->type().ToString() +
                             ": sequences and optionals do not run inside of packages");
        if (!v->type().known()) return Unsupported("value '" + v->name() + "' has no known shape");
        if (!IsKnown(v->dtype()))
          return Unsupported(std::string("elements of type ") + DTypeName(v->dtype()));
      }
    }
    return OkStatus();
  }

  bool GivesDataDims(const ir::Node& node) const override {
    return (ops::FindShapeFunction(node.domain(), node.op()) != nullptr ||
            ops::FindCustomOp(node.domain(), node.op()) != nullptr) &&
           node.inputs().size() <= 64 &&
           node.outputs().size() <= 64;  // as its run side
  }

  std::vector<Candidate> Candidates(const ir::Node& node, const Target&) const override {
    Candidate c = PlainCandidate(node, node.op() + ":loops");
    c.compute_efficiency = 0.08;  // of the blocked loops in model/ops/tiled_gemm.h, measured
    c.memory_efficiency = 0.03;
    c.overhead_us = 2;
    c.view = IsView(node);
    return {std::move(c)};
  }
};

}  // namespace

std::unique_ptr<CompileBackend> MakeReferenceCompiler() {
  return std::make_unique<ReferenceCompiler>();
}

}  // namespace slipway::backends
