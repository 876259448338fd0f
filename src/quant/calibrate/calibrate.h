#pragma once
// Running a graph on calibration data and remembering what its values look like.

#include <functional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/ir/graph.h"
#include "quant/observers/observer.h"

namespace slipway::quant {

// Sees every value of one run, in the order in which they are computed.
using ValueObserver = std::function<void(const ir::Value& value, const ir::Tensor& tensor)>;
// Runs the graph on one batch. The interpreter is one (InterpreterEvaluator); a faster engine may
// take its place.
using Evaluator = std::function<Result<std::vector<ir::Tensor>>(
    const std::vector<ir::Tensor>& inputs, const ValueObserver& observer)>;
// The i-th batch of inputs; an empty vector after the last.
using BatchSource = std::function<Result<std::vector<ir::Tensor>>(int64_t index)>;

Result<Evaluator> InterpreterEvaluator(const ir::Graph& graph, Parallel* pool);

using Observers = std::unordered_map<std::string, Observer>;  // by value name

// Observes the float32 values named in `names`. `progress` is told after each batch.
// InvalidArgument when there is no data, or when a value was never finite (the message names it and
// the node that made it).
Result<Observers> Calibrate(const ir::Graph& graph, const Evaluator& evaluator,
                            const BatchSource& data, const std::set<std::string>& names,
                            const std::function<void(int64_t batches)>& progress = {});

}  // namespace slipway::quant
