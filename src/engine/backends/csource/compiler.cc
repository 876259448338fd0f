#include "engine/backends/csource/compiler.h"

#include "engine/backends/csource/source.h"
#include "engine/backends/views.h"

namespace slipway::backends {
namespace {

class CsourceCompiler final : public OpBackend {
 public:
  std::string name() const override { return "csource"; }
  std::string version() const override { return "1"; }
  Level level() const override { return Level::kCode; }
  Status Supports(const ir::Node& node, const Target&) const override {
    return csource::CanWrite(node);
  }
  std::vector<Candidate> Candidates(const ir::Node& node, const Target&) const override {
    Candidate c = PlainCandidate(node, node.op() + ":c");
    c.view = IsView(node);
    return {std::move(c)};
  }

 protected:
  Result<StepSpec> CompileNode(const ir::Node& node, const Candidate& candidate,
                               const Target& target) const override {
    SLIPWAY_ASSIGN_OR_RETURN(StepSpec step, OpBackend::CompileNode(node, candidate, target));
    step.workspace = csource::WorkspaceBytes(node);
    return step;
  }
};

}  // namespace

std::unique_ptr<CompileBackend> MakeCsourceCompiler() {
  return std::make_unique<CsourceCompiler>();
}

}  // namespace slipway::backends
