#pragma once
// Graph passes: one .cc and one _test.cc each, listed, named, timed and switched in one table
// (passes.inc). docs/add-a-pass.md shows how to write one.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::passes {

// What a graph may contain afterwards. Each level includes those before it.
enum class Level : int {
  kOnnx =
      1,  // ONNX operators only: clean-up and recovery of operators that the exporter took apart
  kFused =
      2,  // plus the fused float operators of the slipway domain (Conv, Linear, Add with epilogues)
  kInteger = 3,  // plus the integer operators: QDQ patterns become QConv, QLinear, ...
  // Not for PassOptions::level: behind all others, at whichever level, operators that a backend
  // says it takes. Needs PassOptions::supported.
  kPlatform = 4,
};
const char* LevelName(Level level);                  // "onnx", "fused", "integer", "platform"
Result<Level> LevelFromName(std::string_view name);  // of the first three

struct PassOptions {
  Level level = Level::kFused;
  std::vector<std::string> disabled;  // names of passes that do not run
  std::vector<std::string> only;      // when not empty, only these run (whatever their level)
  // Check the graph with ir::Verify after every pass that changed it.
  bool verify_each =
#ifdef NDEBUG
      false;
#else
      true;
#endif
  int max_rounds = 10;  // per level; a round runs every pass once
  // Also rewrites whose results differ in the last bits: x / c as x * (1 / c) for any c. Fusions
  // that re-associate (batch normalisation into weights, recovered LayerNormalization and the like)
  // are always on: switch them off by name.
  bool allow_rounding = false;
  // Products of weights that lie around a zero point in 9 bits, and products and means of codes of
  // 16 bits, become integer too. Only the plain loops compute them: for exactness, not for speed.
  bool wide_codes = false;
  // Whether the graph's backends take a node as it is. Passes that take apart what no backend has
  // (lower-conv-transpose) leave it then; passes of the level kPlatform make only what they take.
  // Empty: nobody is known to take anything.
  std::function<bool(const ir::Node&)> supported;
};

struct PassInfo {
  const char* name;
  const char* description;
  Level level;
  // Rewrites the graph; returns how many places it changed. Nodes that it made useless are gone
  // afterwards, types of new values may be missing (RunPasses infers them again), the order of
  // nodes is topological.
  Result<int> (*run)(ir::Graph&, const PassOptions&);
};

// In the order in which they run.
std::span<const PassInfo> AllPasses();
const PassInfo* FindPass(std::string_view name);

struct PassReport {
  std::string name;
  int runs = 0;                           // rounds in which it ran
  int changes = 0;                        // places changed, all rounds
  double ms = 0;                          // all rounds, with shape inference after it
  int nodes_before = 0, nodes_after = 0;  // around its first and last run
};

// Runs the passes of the levels up to options.level, level after level, each in rounds until
// nothing changes, on the graph and on the bodies of its control flow. Needs no inferred shapes
// beforehand. Errors: InvalidArgument (an unknown name in `disabled` or `only`), what inference or
// the verifier says, with the pass named.
Result<std::vector<PassReport>> RunPasses(ir::Graph& graph, const PassOptions& options = {});

// A table for people: one line a pass that changed something, then the sum.
std::string ReportText(std::span<const PassReport> reports);

}  // namespace slipway::passes
