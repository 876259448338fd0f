#pragma once
// What running a node in one way is expected to cost, in milliseconds. The performance database
// implements this interface with measurements; the analytic roofline below answers where it knows
// nothing.

#include <string>

#include "engine/backends/compile.h"
#include "model/ir/graph.h"

namespace slipway::compiler {

class CostModel {
 public:
  virtual ~CostModel() = default;
  virtual double StepMs(const ir::Node& node, const std::string& backend,
                        const backends::Candidate& candidate,
                        const backends::Target& target) const = 0;
  // Moving a tensor of `bytes` from one layout to another.
  virtual double ConvertMs(double bytes, format::Layout from, format::Layout to,
                           const backends::Target& target) const = 0;
  // A tensor that enters or leaves a step of a network-level backend: such a step has memory of its
  // own, so that its inputs and outputs are copied.
  virtual double HandOverMs(double bytes, const backends::Target& target) const;
};

// max(arithmetic, memory) + overhead, with the candidate's efficiencies on the target's rates.
// Symbolic dimensions count as 1.
class AnalyticCost : public CostModel {
 public:
  double StepMs(const ir::Node& node, const std::string& backend,
                const backends::Candidate& candidate,
                const backends::Target& target) const override;
  double ConvertMs(double bytes, format::Layout from, format::Layout to,
                   const backends::Target& target) const override;
};

// Operator, attributes, input and output types and the kernel: equal signatures cost the same on
// one machine.
std::string KernelSignature(const ir::Node& node, const std::string& backend,
                            const std::string& kernel);

// Bytes of a value with symbolic dimensions taken as 1.
double ValueBytes(const ir::Value& value);

}  // namespace slipway::compiler
