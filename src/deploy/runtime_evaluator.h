#pragma once
// Calibration by the compiled model in place of the interpreter.

#include <memory>
#include <set>
#include <string>

#include "model/ir/graph.h"
#include "quant/calibrate/calibrate.h"

namespace slipway::deploy {

// Compiles the graph for this machine in float32, with every value of `names` as an output beside
// its own, and shows them where they lie. A batch whose first dimension is dynamic is run in parts,
// as many samples at a time as keep what is shown near 16 MiB: memory does not grow with the batch.
// Values agree with the interpreter's to float32 rounding, and do not depend on the number of
// threads. Errors are those of compiling (a node that no backend takes); Unsupported where a name
// is no value of the graph itself.
Result<quant::Evaluator> RuntimeEvaluator(const ir::Graph& graph,
                                          const std::set<std::string>& names, int threads);

// RuntimeEvaluator, or where it cannot be had InterpreterEvaluator; `why` then is the reason.
Result<quant::Evaluator> FastestEvaluator(const ir::Graph& graph,
                                          const std::set<std::string>& names, Parallel* pool,
                                          std::string* why = nullptr);

}  // namespace slipway::deploy
