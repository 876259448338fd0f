#pragma once
// Running a graph on calibration data and remembering what its values look like.

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/ir/graph.h"
#include "quant/observers/observer.h"

namespace slipway::quant {

// Sees values of one run. A tensor may be shown in several pieces along its first dimension, and is
// valid during the call only.
using ValueObserver = std::function<void(const ir::Value& value, const ir::Tensor& tensor)>;
// Runs the graph on one batch. The interpreter is one (InterpreterEvaluator: it shows every value,
// whole, in the order in which they are computed); deploy::RuntimeEvaluator is a faster one.
using Evaluator = std::function<Result<std::vector<ir::Tensor>>(
    const std::vector<ir::Tensor>& inputs, const ValueObserver& observer)>;
// The i-th batch of inputs; an empty vector after the last.
using BatchSource = std::function<Result<std::vector<ir::Tensor>>(int64_t index)>;

Result<Evaluator> InterpreterEvaluator(const ir::Graph& graph, Parallel* pool);

using Observers = std::unordered_map<std::string, Observer>;  // by value name

// Observes the float32 values named in `names`, one batch in memory at a time. `progress` is told
// after each batch; `pool` counts (the evaluator must not be in a loop of it when it shows values).
// The result does not depend on the number of threads. InvalidArgument when there is no data, or
// when a value was not finite or never computed (the message names it and the node that made it).
Result<Observers> Calibrate(const ir::Graph& graph, const Evaluator& evaluator,
                            const BatchSource& data, const std::set<std::string>& names,
                            const std::function<void(int64_t batches)>& progress = {},
                            Parallel* pool = nullptr);

// Of every channel of a value.
struct ChannelStatistics {
  std::vector<double> lo, hi, mean, deviation;  // deviation: the standard one
  int64_t count = 0;                            // values of a channel
};
// `channels`: for each value the dimension that counts channels (negative: from the end).
// InvalidArgument as of Calibrate, and where a value has no such dimension.
Result<std::map<std::string, ChannelStatistics>> ObserveChannels(
    const ir::Graph& graph, const Evaluator& evaluator, const BatchSource& data,
    const std::map<std::string, int>& channels, Parallel* pool = nullptr);

}  // namespace slipway::quant
