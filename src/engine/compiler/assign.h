#pragma once
// Chooses for every node a backend, kernel and layout so that the whole graph costs least,
// conversions between layouts included.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/backends/compile.h"
#include "engine/compiler/cost.h"

namespace slipway::compiler {

struct Choice {
  const backends::CompileBackend* backend =
      nullptr;  // null: control flow, which the session runs itself
  backends::Candidate candidate;
  double cost_ms = 0;
  Source source = Source::kEstimated;
};

// Of its backend; "session" for control flow.
std::string NameOf(const Choice& choice);

struct Alternative {  // for --explain
  std::string backend, kernel;
  double cost_ms;
  bool chosen;
  Source source = Source::kEstimated;
};

// A price beside those of the kernels that decided, for --explain: a tensor that a node may get in
// another layout than it is in, or that may enter or leave a step of a network-level backend there.
struct Move {
  std::string value;
  std::string backend;  // whose step it enters or leaves; "reference" converts
  std::string what;     // ConvertKernel or HandOverKernel
  Price price;
  bool paid = false;  // the plan has it
  std::string signature = {};  // ConvertSignature or HandOverSignature
};

struct Assignment {
  std::map<const ir::Node*, Choice> nodes;
  std::set<const ir::Node*> data_shapes;  // NodesWithDataShapes
  // Why the platform's own backends declined a node, "backend: reason".
  std::map<const ir::Node*, std::vector<std::string>> declined;
  std::map<const ir::Node*, std::vector<Alternative>> alternatives;
  std::map<const ir::Node*, std::vector<Move>> moves;  // empty with `greedy`
  double cost_ms = 0;
  bool exact = true;  // false: the graph was too entangled for elimination, the best of several
                      // local searches was taken
};

struct AssignOptions {
  // Tables larger than this in variable elimination make it give up and search locally.
  size_t max_table = size_t{1} << 22;
  // Each node gets its cheapest kernel, whatever it costs to hand tensors over: what others do, for
  // comparison.
  bool greedy = false;
  // What If, Loop and Scan are expected to cost, with their bodies; every such node is here.
  std::map<const ir::Node*, double> session_ms = {};
};

// `own` are the platform's backends, `fallback` serve nodes that none of `own` supports.
// Unsupported names the first node nobody takes, with every backend's reason. Exact by variable
// elimination (Bertele & Brioschi, "Nonserial Dynamic Programming", 1972): a variable per node over
// its candidates and one per value with several readers over the set of layouts it is kept in.
Result<Assignment> Assign(const ir::Graph& graph,
                          const std::vector<const backends::CompileBackend*>& own,
                          const std::vector<const backends::CompileBackend*>& fallback,
                          const backends::Target& target, const CostModel& cost,
                          const AssignOptions& options = {});

}  // namespace slipway::compiler
