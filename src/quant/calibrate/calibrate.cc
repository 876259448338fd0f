#include "quant/calibrate/calibrate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "model/interp/interpreter.h"

namespace slipway::quant {
namespace {

// Elements that one thread counts at a time.
constexpr int64_t kPiece = int64_t{1} << 17;

Status NotFinite(const ir::Value& value, int64_t elements) {
  const std::string maker = value.producer() ? " made by " + value.producer()->Describe() : "";
  return InvalidArgument("value '" + value.name() + "'" + maker +
                         " is not finite on the calibration data (" + std::to_string(elements) +
                         " elements); check the preprocessing and the model in float first");
}

Status NeverComputed(const ir::Value& value) {
  const std::string maker = value.producer() ? " made by " + value.producer()->Describe() : "";
  return InvalidArgument("value '" + value.name() + "'" + maker +
                         " was never computed on the calibration data; it cannot be quantized: "
                         "use data that reach it, or --keep-float the nodes that read it");
}

Status NoData() {
  return InvalidArgument(
      "there is no calibration data; give --calib a folder or file with samples");
}

// Per channel: sums relative to the first value, which keeps differences of large numbers exact.
struct Moments {
  int axis = 1;
  std::vector<double> lo, hi, shift, sum, square;
  int64_t count = 0;

  Status Add(const ir::Value& value, const ir::Tensor& tensor, Parallel* pool) {
    const int rank = tensor.dims().rank();
    const int at = axis < 0 ? rank + axis : axis;
    if (at < 0 || at >= rank)
      return InvalidArgument("value '" + value.name() + "' is " + tensor.Describe() +
                             ", which has no channels in dimension " + std::to_string(axis));
    const int64_t channels = tensor.dims()[static_cast<size_t>(at)];
    const int64_t inner = tensor.dims().count(at + 1, rank), outer = tensor.dims().count(0, at);
    const float* x = tensor.data<float>();
    if (tensor.count() == 0) return OkStatus();
    if (sum.empty()) {
      const auto n = static_cast<size_t>(channels);
      lo.assign(n, std::numeric_limits<double>::infinity());
      hi.assign(n, -std::numeric_limits<double>::infinity());
      shift.resize(n);
      for (int64_t c = 0; c < channels; ++c) shift[static_cast<size_t>(c)] = x[c * inner];
      sum.assign(n, 0);
      square.assign(n, 0);
    } else if (static_cast<int64_t>(sum.size()) != channels) {
      return InvalidArgument("value '" + value.name() + "' changes its number of channels");
    }
    const auto work = [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        const auto i = static_cast<size_t>(c);
        double least = lo[i], most = hi[i], s = 0, q = 0;
        for (int64_t o = 0; o < outer; ++o) {
          const float* from = x + (o * channels + c) * inner;
          for (int64_t k = 0; k < inner; ++k) {
            const double v = from[k], d = v - shift[i];
            least = std::min(least, v);
            most = std::max(most, v);
            s += d;
            q += d * d;
          }
        }
        lo[i] = least;
        hi[i] = most;
        sum[i] += s;
        square[i] += q;
      }
    };
    if (pool) {
      pool->ParallelFor(channels, std::max<int64_t>(1, kPiece * channels / tensor.count()), work);
    } else {
      work(0, channels);
    }
    count += outer * inner;
    return OkStatus();
  }
};

}  // namespace

Result<Evaluator> InterpreterEvaluator(const ir::Graph& graph, Parallel* pool) {
  SLIPWAY_ASSIGN_OR_RETURN(auto interpreter, interp::Interpreter::Create(graph));
  auto shared = std::make_shared<interp::Interpreter>(std::move(interpreter));
  return Evaluator(
      [shared, pool](const std::vector<ir::Tensor>& inputs, const ValueObserver& observer) {
        interp::RunOptions options;
        options.pool = pool;
        options.observer = observer;
        return shared->Run(inputs, options);
      });
}

Result<Observers> Calibrate(const ir::Graph& graph, const Evaluator& evaluator,
                            const BatchSource& data, const std::set<std::string>& names,
                            const std::function<void(int64_t)>& progress, Parallel* pool) {
  Observers observers;
  for (const std::string& name : names) observers[name];
  int64_t batches = 0;
  std::mutex mutex;
  const auto observe = [&](const ir::Value& value, const ir::Tensor& tensor) {
    if (tensor.dtype() != DType::kFloat32) return;
    const auto it = observers.find(value.name());
    if (it == observers.end()) return;
    const auto count = [&](int64_t begin, int64_t end) {
      static thread_local Histogram histogram;  // a megabyte: not one a piece
      for (int64_t at = begin; at < end; at += kPiece) {
        histogram.Count(
            {tensor.data<float>() + at, static_cast<size_t>(std::min(kPiece, end - at))});
        const std::lock_guard lock(mutex);
        it->second.Add(batches, histogram);
      }
    };
    if (pool && tensor.count() > kPiece) {
      pool->ParallelFor(tensor.count(), kPiece, count);
    } else {
      count(0, tensor.count());
    }
  };
  for (;; ++batches) {
    SLIPWAY_ASSIGN_OR_RETURN(auto inputs, data(batches));
    if (inputs.empty()) break;
    auto outputs = evaluator(inputs, observe);
    if (!outputs.ok()) return outputs.status().With("calibration batch " + std::to_string(batches));
    for (auto& [name, observer] : observers) observer.EndBatch(batches);
    if (progress) progress(batches + 1);
  }
  if (batches == 0) return NoData();
  for (const auto& value : graph.values()) {
    const auto it = observers.find(value->name());
    if (it == observers.end()) continue;
    if (const int64_t n = it->second.not_finite(); n > 0) return NotFinite(*value, n);
    if (it->second.count() == 0) return NeverComputed(*value);
  }
  return observers;
}

Result<std::map<std::string, ChannelStatistics>> ObserveChannels(
    const ir::Graph& graph, const Evaluator& evaluator, const BatchSource& data,
    const std::map<std::string, int>& channels, Parallel* pool) {
  std::map<std::string, Moments> moments;
  for (const auto& [name, axis] : channels) moments[name].axis = axis;
  Status failed;
  const auto observe = [&](const ir::Value& value, const ir::Tensor& tensor) {
    if (tensor.dtype() != DType::kFloat32 || !failed.ok()) return;
    if (const auto it = moments.find(value.name()); it != moments.end())
      failed = it->second.Add(value, tensor, pool);
  };
  int64_t batches = 0;
  for (;; ++batches) {
    SLIPWAY_ASSIGN_OR_RETURN(auto inputs, data(batches));
    if (inputs.empty()) break;
    auto outputs = evaluator(inputs, observe);
    if (!outputs.ok()) return outputs.status().With("calibration batch " + std::to_string(batches));
    SLIPWAY_RETURN_IF_ERROR(failed);
  }
  if (batches == 0) return NoData();
  std::map<std::string, ChannelStatistics> out;
  for (auto& [name, m] : moments) {
    const ir::Value* value = graph.FindValue(name);
    if (!value) return InvalidArgument("there is no value '" + name + "'");
    if (m.count == 0) return NeverComputed(*value);
    ChannelStatistics& s = out[name];
    s.count = m.count;
    const auto n = static_cast<double>(m.count);
    for (size_t i = 0; i < m.sum.size(); ++i) {
      const double mean = m.sum[i] / n;
      s.mean.push_back(m.shift[i] + mean);
      s.deviation.push_back(std::sqrt(std::max(0.0, m.square[i] / n - mean * mean)));
      if (!std::isfinite(s.mean[i]) || !std::isfinite(s.deviation[i])) return NotFinite(*value, 1);
    }
    s.lo = std::move(m.lo);
    s.hi = std::move(m.hi);
  }
  return out;
}

}  // namespace slipway::quant
