#pragma once
// Placement by measured plans. Kernels timed alone (deploy/tune.h) do not say what they take inside
// a network: caches are cold or warm, neighbours share them, a network-level step stands for many
// nodes. So the plan that the compiler finds is run with a clock at every step, the times go back
// into the prices, and the compiler chooses again, until it stays with its choice or finds no plan
// that it expects to be faster by more than clocks can tell. On a device every
// pass of a plan is one call of slipway-run. At the end all
// plans, among them each of the platform's backends alone, are timed in turns and the fastest is
// kept: it is never one that is slower than a single backend in that measurement.

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "deploy/runner.h"
#include "deploy/tune.h"

namespace slipway::deploy {

// A whole network's plan, tried.
struct PlanRow {
  std::string name;                  // "estimated", "kernels", "in place 2", "greedy", "x86 alone"
  std::vector<std::string> also;     // names of later plans that turned out to be this one
  std::map<std::string, int> nodes;  // how many each backend has
  int conversions = 0;
  double expected_ms = 0;  // by the prices it was chosen by
  // By the prices of kernels, conversions and crossings alone, nothing seen in a network; and what
  // of it are conversions and crossings. Nothing where the network has bodies of control flow.
  struct Alone {
    double ms = 0, conversions_ms = 0, hand_overs_ms = 0;
  };
  std::optional<Alone> alone;
  // The same by the prices of PlaceOptions::compare.
  std::optional<Alone> compared;
  double p50_ms = 0;               // the median of the rounds' times of one run
  double spread_ms = 0;            // the 90th percentile less the 10th
  std::vector<double> samples_ms;  // a round's mean each, rounds in the order of time
  bool single = false;  // one backend (with the platform's others where it takes a node not at all)
  bool chosen = false;
};

struct PlaceOptions {
  int rounds = 15;              // of timing all plans in turns: once to choose, once more to tell
  double round_seconds = 0.02;  // of each plan in each round, and at least one run
  int refinements = 6;  // at most so many times the choice is made again from times in place
  bool greedy = false;  // also tries each node's cheapest kernel, for comparison; it may be chosen
  // Other first prices: the way is gone from them too, for comparison; what it finds may be chosen.
  const compiler::CostModel* compare = nullptr;
  std::function<void(int64_t, int64_t)> progress = {};  // (plans done, plans at most)
};

struct Placed {
  CompiledModel model;         // the chosen plan
  std::vector<PlanRow> plans;  // in the order they were tried; one is chosen
  int rounds = 0;              // of choosing again from times in place, the last without a change
  std::optional<int> compared_rounds;
};

// `options.cost` gives the first prices (null: estimates). A backend of the platform that cannot
// take part (no plan with it compiles) is left out. Errors: those of compiling, and Unsupported
// where its packages cannot be timed (CanTime).
Result<Placed> Place(const ir::Graph& graph, const compiler::Platform& platform,
                     const compiler::CompileOptions& options, const PlaceOptions& place = {},
                     const std::string& model_path = {}, const std::string& weights_path = {});

// Everything alone (Tune), then Place by these prices: what `--tune` does. `options.cost` and
// `place.compare` are not used; `compare_estimates`: Place also goes from measured kernels with
// estimated conversions and crossings. `progress` gets what is being done, and how much of it.
struct Tuned {
  TuneReport report;
  Placed placed;
};
Result<Tuned> TuneAndPlace(
    const ir::Graph& graph, const compiler::Platform& platform,
    const compiler::CompileOptions& options, PlaceOptions place, bool compare_estimates,
    perfdb::Store& store,
    const std::function<void(const std::string& stage, int64_t done, int64_t all)>& progress,
    const std::string& model_path = {}, const std::string& weights_path = {});

nlohmann::json ToJson(const std::vector<PlanRow>& plans);
// "13 onednn, 17 x86".
std::string NodesText(const PlanRow& plan);
// Its name and those of later plans that turned out to be the same.
std::string NamesText(const PlanRow& plan);

}  // namespace slipway::deploy
