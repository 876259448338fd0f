// The compile side of a backend with nothing left out and nothing in the way: copy this folder,
// rename it, and replace what the three functions answer. The contract is
// engine/backends/compile.h; add one line to engine/backends/cts/backends.cc and the conformance
// suite tests it.

#include "engine/backends/null/compile/compiler.h"

namespace slipway::backends {
namespace {

// A code- or operator-level backend derives from OpBackend, which turns each node into one step
// whose blob is the operator with its attributes. A network-level one derives from CompileBackend
// and compiles its whole partition into one blob.
class NullCompiler final : public OpBackend {
 public:
  // The run side's slipway_backend.name: packages say which backend runs a step by this name.
  std::string name() const override { return "null"; }
  std::string version() const override { return "1"; }
  Level level() const override { return Level::kCode; }

  // Yes, or why not in a few words that a user can act on. Ask about everything the run side would
  // refuse: operator, element types, attributes, constants that must be constant. Shapes may be
  // symbolic or unknown here.
  Status Supports(const ir::Node& node, const Target&) const override {
    if (!node.Is("Identity"))
      return Unsupported("no " + node.FullOp() + " (the null backend runs Identity only)");
    return OkStatus();
  }

  // The ways to run a supported node: the layouts it takes and gives, and its price as shares of
  // what the machine can do. The compiler weighs them against other backends and against the
  // conversions between neighbours.
  std::vector<Candidate> Candidates(const ir::Node& node, const Target&) const override {
    Candidate c = PlainCandidate(node, "identity");
    c.memory_efficiency = 0.5;  // measured, not wished
    c.overhead_us = 1;          // what a call costs before the first element
    c.in_place = 0;             // the output may lie in the memory of input 0
    return {std::move(c)};
  }
};

}  // namespace

std::unique_ptr<CompileBackend> MakeNullCompiler() { return std::make_unique<NullCompiler>(); }

}  // namespace slipway::backends
