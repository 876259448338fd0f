#pragma once
// The cases of `slipway conformance`: ONNX's backend tests, and models against the interpreter.

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::conformance {

inline constexpr char kC[] = "c";  // the model's C file, compiled here

struct CaseOptions {
  std::string platform;           // or "interpreter", or kC
  std::set<std::string> plugins;  // those of the platform's own backends that a plugin brought
  int timeout = 60;               // seconds of a run on a device
  double tolerance = 0;           // outputs may be off by this share of their largest magnitude
  int inputs = 3;                 // of a model without data: so many random sets
  uint64_t seed = 1;

  bool IsPlatform() const { return platform != "interpreter" && platform != kC; }
};

struct Case {
  std::string name;
  std::string folder;  // with model.onnx and test_data_set_*; empty:
  std::string model;   // a file, for random inputs and what the interpreter gives for them
};

struct CaseNode {
  std::string op, backend, kernel, reason;  // reason: why the own backends declined it
  double macs = 0;
};

struct CaseOutcome {
  std::string status = "failed", reason;  // passed, failed, unsupported
  std::string note;                       // what of the model was not believed
  double own_node_share = -1;             // < 0: not compiled
  double macs = 0, own_macs = 0;
  // Where plugins are tested: it failed, and the interpreter gives or refuses the very same.
  bool as_interpreter = false;
  std::vector<CaseNode> nodes;

  bool RanOn(const std::set<std::string>& backends) const;
};

// Every folder under `root` (itself included) with a model and at least one data set, sorted by
// name.
Result<std::vector<Case>> FindCases(const std::string& root, const std::string& filter);
CaseOutcome JudgeCase(const Case& c, const CaseOptions& o);

// To another process.
std::string ToText(const CaseOutcome& outcome);
bool FromText(const std::string& text, CaseOutcome* outcome);

}  // namespace slipway::conformance
