#pragma once
// What running a node in one way is expected to cost, in milliseconds. The performance database
// implements this interface with measurements; the analytic roofline below answers where it knows
// nothing.

#include <cstdint>
#include <string>

#include "engine/backends/compile.h"
#include "model/ir/graph.h"

namespace slipway::compiler {

// Where a price comes from.
enum class Source : uint8_t {
  kEstimated = 0,  // the machine's rates
  kMeasured = 1,   // timed by itself
  kScaled = 2,     // timed by itself, times what its like take longer inside this network
  kInPlace = 3,    // timed inside this network
};
// "estimated", "measured", "measured, scaled", "measured in place".
const char* SourceName(Source source);

struct Price {
  double ms = 0;
  Source source = Source::kEstimated;
};

// A tensor at the border of a step of a network-level backend. Such a step has memory of its own,
// or must be called at all: that has a price.
enum class Crossing : uint8_t { kEnters = 0, kLeaves = 1 };

class CostModel {
 public:
  virtual ~CostModel() = default;
  virtual Price Step(const ir::Node& node, const std::string& backend,
                     const backends::Candidate& candidate,
                     const backends::Target& target) const = 0;
  // Moving a tensor of `type` from one layout to another.
  virtual Price Convert(const ir::Type& type, format::Layout from, format::Layout to,
                        const backends::Target& target) const = 0;
  // Default: a copy and a constant, estimated.
  virtual Price HandOver(const ir::Type& type, const std::string& backend, Crossing crossing,
                         const backends::Target& target) const;
};

// max(arithmetic, memory) + overhead, with the candidate's efficiencies on the target's rates.
// Symbolic dimensions count as 1.
class AnalyticCost : public CostModel {
 public:
  Price Step(const ir::Node& node, const std::string& backend, const backends::Candidate& candidate,
             const backends::Target& target) const override;
  Price Convert(const ir::Type& type, format::Layout from, format::Layout to,
                const backends::Target& target) const override;
};

// Operator, attributes, input and output types and the kernel: equal signatures cost the same on
// one machine.
std::string KernelSignature(const ir::Node& node, const std::string& backend,
                            const std::string& kernel);

// The same for what stands between steps: a conversion (the backend "reference" runs all of them),
// and a tensor that crosses the border of a backend's steps.
inline constexpr char kConvertOp[] = "engine.Reorder";
inline constexpr char kHandOverOp[] = "engine.HandOver";
std::string ConvertKernel(format::Layout from, format::Layout to);  // "plain->nchw16c"
std::string ConvertSignature(const ir::Type& type, format::Layout from, format::Layout to);
const char* HandOverKernel(Crossing crossing);  // "in", "out"
std::string HandOverSignature(const ir::Type& type, const std::string& backend, Crossing crossing);

// Bytes of a value with symbolic dimensions taken as 1.
double TypeBytes(const ir::Type& type);
double ValueBytes(const ir::Value& value);

}  // namespace slipway::compiler
