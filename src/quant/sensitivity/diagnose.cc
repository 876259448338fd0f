#include "quant/sensitivity/diagnose.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "quant/adjust/layer.h"
#include "quant/schemes/placement.h"
#include "quant/sensitivity/isolated.h"

namespace slipway::quant {
namespace {

using ir::Node;
using ir::Tensor;
using ir::Value;

// The pair in front of an input of the node.
const Node* DequantizeOf(const Node& node, size_t input) {
  const Node* p = node.input(input) ? node.input(input)->producer() : nullptr;
  return p && p->IsSlipway("Dequantize") ? p : nullptr;
}

// The float value behind a pair, through what only moves codes.
const Value* Source(const Node* dequantize) {
  const Value* v = dequantize->input(0);
  while (v && v->producer() && !v->producer()->IsSlipway("Quantize")) v = v->producer()->input(0);
  return v && v->producer() ? v->producer()->input(0) : nullptr;
}

struct Pair {
  CodeRange codes;
  std::vector<double> scales, zeros;
  int bits = 8;
  bool plain = true;  // affine, without blocks
};

std::optional<Pair> PairOf(const Node& dequantize) {
  const Tensor* scales = dequantize.constant_input(1);
  if (!scales) return std::nullopt;
  Pair p;
  p.bits = static_cast<int>(dequantize.attributes.Int("bits", 8));
  const std::string_view kind = dequantize.attributes.String("kind", "affine");
  p.plain = (kind == "affine" || kind == "power_of_two") && scales->dims().rank() <= 1 &&
            p.bits >= 2 && p.bits <= 16;
  p.scales = scales->ToDoubles();
  if (const Tensor* z = dequantize.constant_input(2)) p.zeros = z->ToDoubles();
  const bool is_signed = dequantize.attributes.Int("signed", 1) != 0;
  const bool narrow = dequantize.attributes.Int("narrow", 0) != 0;
  const int64_t top = int64_t{1} << (is_signed ? p.bits - 1 : p.bits);
  p.codes = {is_signed ? -top + narrow : 0, top - 1,
             std::all_of(p.zeros.begin(), p.zeros.end(), [](double z) { return z == 0; }),
             kind == "power_of_two"};
  return p;
}

CodeRange WithBits(const CodeRange& codes, int bits) {
  CodeRange out = codes;
  const int64_t top = int64_t{1} << (codes.lo < 0 ? bits - 1 : bits);
  out.hi = top - 1;
  out.lo = codes.lo < 0 ? -top + (codes.lo + codes.hi == 0) : 0;
  return out;
}

std::span<const float> Floats(const Tensor& t) {
  return {t.data<float>(), static_cast<size_t>(t.count())};
}

double DbOf(std::span<const float> reference, std::span<const float> value) {
  Similarity s;
  s.Add(reference.data(), value.data(), static_cast<int64_t>(reference.size()));
  return s.Db();
}

// Rounded to codes.
Result<Tensor> Rounded(const Tensor& t, const QuantParams& q, const CodeRange& codes) {
  SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(DType::kFloat32, t.dims()));
  auto* to = reinterpret_cast<float*>(out.mutable_data());
  for (int64_t i = 0; i < t.count(); ++i) {
    const double code = std::clamp(
        std::nearbyint(double{t.data<float>()[i]} / q.scale) + static_cast<double>(q.zero_point),
        static_cast<double>(codes.lo), static_cast<double>(codes.hi));
    to[i] = static_cast<float>((code - static_cast<double>(q.zero_point)) * q.scale);
  }
  return out;
}

// Weights anew, per channel of dimension `axis` or for the whole (-1).
Result<Tensor> RoundedWeights(const Tensor& w, const std::string& observer, const CodeRange& codes,
                              int axis) {
  SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(DType::kFloat32, w.dims()));
  const int64_t channels = axis < 0 ? 1 : w.dims()[static_cast<size_t>(axis)];
  const int64_t inner = axis < 0 ? w.count() : w.dims().count(axis + 1, w.dims().rank());
  std::vector<std::vector<float>> parts(static_cast<size_t>(channels));
  for (int64_t i = 0; i < w.count(); ++i)
    parts[static_cast<size_t>(i / inner % channels)].push_back(w.data<float>()[i]);
  std::vector<QuantParams> params;
  for (const auto& part : parts) {
    SLIPWAY_ASSIGN_OR_RETURN(const Range range, ChooseWeightRange(part, observer, codes));
    params.push_back(ParamsFor(range, codes));
  }
  auto* to = reinterpret_cast<float*>(out.mutable_data());
  for (int64_t i = 0; i < w.count(); ++i) {
    const QuantParams& q = params[static_cast<size_t>(i / inner % channels)];
    const double zero = static_cast<double>(q.zero_point);
    const double code = std::clamp(std::nearbyint(double{w.data<float>()[i]} / q.scale) + zero,
                                   static_cast<double>(codes.lo), static_cast<double>(codes.hi));
    to[i] = static_cast<float>((code - zero) * q.scale);
  }
  return out;
}

double Imbalance(std::vector<double> magnitudes) {
  std::sort(magnitudes.begin(), magnitudes.end());
  const double middle = magnitudes.empty() ? 0 : magnitudes[magnitudes.size() / 2];
  return middle > 0 ? magnitudes.back() / middle : 1;
}

std::vector<double> ChannelMagnitudes(const Tensor& t, int axis) {
  const int at = axis < 0 ? t.dims().rank() + axis : axis;
  if (at < 0 || at >= t.dims().rank()) return {};
  const int64_t channels = t.dims()[static_cast<size_t>(at)];
  const int64_t inner = t.dims().count(at + 1, t.dims().rank());
  std::vector<double> out(static_cast<size_t>(channels), 0);
  for (int64_t i = 0; i < t.count(); ++i) {
    double& to = out[static_cast<size_t>(i / inner % channels)];
    to = std::max(to, std::fabs(double{t.data<float>()[i]}));
  }
  return out;
}

TensorDiagnosis Describe(const std::string& name, const Tensor& exact, const Tensor& rounded,
                         const Pair& pair) {
  TensorDiagnosis d;
  d.name = name;
  d.bits = pair.bits;
  d.scales = static_cast<int64_t>(pair.scales.size());
  const std::span<const float> x = Floats(exact), y = Floats(rounded);
  if (x.empty()) return d;
  const auto [lo, hi] = std::minmax_element(x.begin(), x.end());
  d.seen = {*lo, *hi};
  for (size_t i = 0; i < pair.scales.size(); ++i) {
    const double zero = i < pair.zeros.size() ? pair.zeros[i] : 0;
    d.range.lo =
        std::min(d.range.lo,
                 static_cast<float>((static_cast<double>(pair.codes.lo) - zero) * pair.scales[i]));
    d.range.hi =
        std::max(d.range.hi,
                 static_cast<float>((static_cast<double>(pair.codes.hi) - zero) * pair.scales[i]));
  }
  d.db = DbOf(x, y);
  d.bins.assign(kChartBins, 0);
  const double width = (double{d.seen.hi} - d.seen.lo) / kChartBins;
  int64_t clipped = 0;
  const double half = pair.scales.size() == 1 ? pair.scales[0] / 2 : 0;
  for (const float v : x) {
    clipped += v < d.range.lo - half || v > d.range.hi + half;
    const int bin = width > 0 ? static_cast<int>((v - d.seen.lo) / width) : 0;
    ++d.bins[static_cast<size_t>(std::clamp(bin, 0, kChartBins - 1))];
  }
  d.clipped = static_cast<double>(clipped) / static_cast<double>(x.size());
  return d;
}

// One layer with its float and quantized operands.
class Bench {
 public:
  Bench(const Node& node, const Tensor& reference, Parallel* pool)
      : node_(node), reference_(reference), pool_(pool) {}

  std::vector<Tensor> exact, rounded;                // by input
  std::vector<std::pair<size_t, Pair>> activations;  // the inputs behind pairs, residuals too

  Result<Tensor> Run(const std::vector<Tensor>& inputs) const {
    return RunNode(node_, inputs, reference_, pool_);
  }
  Result<double> Db(const std::vector<Tensor>& inputs) const {
    SLIPWAY_ASSIGN_OR_RETURN(const Tensor out, Run(inputs));
    return DbOf(Floats(reference_), Floats(out));
  }
  // With the activations rounded anew for `observer`; `bits`: 0 as they are, else at least so many.
  Result<double> WithActivations(const ObserverSpec& spec, int bits) const {
    std::vector<Tensor> inputs = rounded;
    for (const auto& [i, pair] : activations) {
      Distribution seen = Distribution::Of(Floats(exact[i]));
      const CodeRange codes = pair.bits < bits ? WithBits(pair.codes, bits) : pair.codes;
      SLIPWAY_ASSIGN_OR_RETURN(const Range range, ChooseRange(seen, spec, codes));
      SLIPWAY_ASSIGN_OR_RETURN(inputs[i], Rounded(exact[i], ParamsFor(range, codes), codes));
    }
    return Db(inputs);
  }
  // With one operand replaced.
  Result<double> With(size_t input, const Tensor& t, bool others_rounded = true) const {
    std::vector<Tensor> inputs = others_rounded ? rounded : exact;
    inputs[input] = t;
    return Db(inputs);
  }

  const Node& node_;
  const Tensor& reference_;
  Parallel* pool_;
};

// What is left when the channels' means of the error are taken away.
void Centre(const Bench& bench, const Tensor& out, int axis, LayerDiagnosis* d, double* db) {
  const std::span<const float> x = Floats(bench.reference_), y = Floats(out);
  const int at = axis < 0 ? out.dims().rank() + axis : axis;
  const int64_t channels = out.dims()[static_cast<size_t>(at)];
  const int64_t inner = out.dims().count(at + 1, out.dims().rank());
  const double each = static_cast<double>(out.count()) / static_cast<double>(channels);
  std::vector<double> mean(static_cast<size_t>(channels), 0);
  double noise = 0, signal = 0, removed = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double e = double{y[i]} - x[i];
    mean[static_cast<size_t>(static_cast<int64_t>(i) / inner % channels)] += e;
    noise += e * e;
    signal += double{x[i]} * x[i];
  }
  for (const double m : mean) removed += m * m / each;
  // Of so few values a mean takes noise away even where there is no shift.
  removed = std::max(0.0, removed - noise / each);
  d->mean_share = noise > 0 ? removed / noise : 0;
  *db = signal > 0 && noise > removed ? 10 * std::log10(signal / (noise - removed))
                                      : d->error.alone_db;
}

// What the layer would be with other ranges, more bits or float, all else as it is.
Status Try(const Bench& bench, const Node* float_node, LayerDiagnosis* d) {
  const Node& node = bench.node_;
  const Node* dw = HasWeights(node) ? DequantizeOf(node, 1) : nullptr;
  const auto pw = dw && dw->constant_input(0) ? PairOf(*dw) : std::nullopt;
  const auto add = [&](const std::string& what, const std::string& option, double db, bool free,
                       bool bound = false) {
    d->tried.push_back({what, option, db, free, bound});
  };
  const bool plain = !bench.activations.empty() &&
                     std::all_of(bench.activations.begin(), bench.activations.end(), [](auto& a) {
                       return a.second.plain && a.second.scales.size() == 1;
                     });
  if (plain) {
    for (const char* observer : {"minmax", "mse", "percentile:0.9999", "percentile:0.999", "kl"}) {
      SLIPWAY_ASSIGN_OR_RETURN(const ObserverSpec spec, compiler::ParseObserver(observer));
      SLIPWAY_ASSIGN_OR_RETURN(const double db, bench.WithActivations(spec, 0));
      add(std::string("activations by ") + observer, std::string("--observer ") + observer, db,
          true);
    }
    if (std::any_of(bench.activations.begin(), bench.activations.end(),
                    [](auto& a) { return a.second.bits < 8; })) {
      SLIPWAY_ASSIGN_OR_RETURN(const ObserverSpec spec, compiler::ParseObserver("mse"));
      SLIPWAY_ASSIGN_OR_RETURN(const double db, bench.WithActivations(spec, 8));
      add("activations of 8 bits", "--bits with A8", db, false);
    }
    if (d->input && d->input->imbalance > 4 && float_node->input(0) &&
        float_node->input(0)->producer() &&
        float_node->input(0)->producer()->Is("LayerNormalization")) {
      // All of the channels' imbalance gone: a bound of what smoothing gives.
      SLIPWAY_ASSIGN_OR_RETURN(const double db, bench.With(0, bench.exact[0]));
      add("smoothing", "--adjust smooth", db, true, true);
    }
  }
  if (pw && pw->plain && bench.exact[1].dtype() == DType::kFloat32) {
    const bool conv = node.op() == "Conv";
    const int last = bench.exact[1].dims().rank() - 1;
    const bool first = conv || node.attributes.Int(node.Is("Gemm") ? "transB" : "transW", 0) != 0;
    const int axis = first ? 0 : last;
    const bool many = pw->scales.size() > 1;
    for (const char* observer : {"minmax", "mse", "mse:2.4"}) {
      SLIPWAY_ASSIGN_OR_RETURN(
          const Tensor w, RoundedWeights(bench.exact[1], observer, pw->codes, many ? axis : -1));
      SLIPWAY_ASSIGN_OR_RETURN(const double db, bench.With(1, w));
      add(std::string("weights by ") + observer, std::string("--weight-observer ") + observer, db,
          true);
    }
    if (!many && d->weights && d->weights->imbalance > 2) {
      SLIPWAY_ASSIGN_OR_RETURN(const Tensor w,
                               RoundedWeights(bench.exact[1], "mse", pw->codes, axis));
      SLIPWAY_ASSIGN_OR_RETURN(const double db, bench.With(1, w));
      add("equalisation", "--adjust equalize", db, true, true);
    }
    if (pw->bits < 8) {
      SLIPWAY_ASSIGN_OR_RETURN(
          const Tensor w,
          RoundedWeights(bench.exact[1], "mse", WithBits(pw->codes, 8), many ? axis : -1));
      SLIPWAY_ASSIGN_OR_RETURN(const double db, bench.With(1, w));
      add("weights of 8 bits", "--bits with W8", db, false);
    }
  }
  add("float", "--keep-float " + node.name(), std::numeric_limits<double>::infinity(), false);
  return OkStatus();
}

// The same for the weights of a recurrent layer, which are codes alone or not at all.
Status TryRecurrent(const Bench& bench, int bits, LayerDiagnosis* d) {
  const auto with = [&](const std::string& observer, int width) -> Result<double> {
    const int64_t top = (int64_t{1} << (width - 1)) - 1;
    std::vector<Tensor> inputs = bench.rounded;
    for (const size_t i : {1, 2}) {
      const Dims dims = bench.exact[i].dims();
      SLIPWAY_ASSIGN_OR_RETURN(
          const Tensor rows, RoundedWeights(bench.exact[i].Reshaped({dims[0] * dims[1], dims[2]}),
                                            observer, {-top, top, true}, 0));
      inputs[i] = rows.Reshaped(dims);
    }
    return bench.Db(inputs);
  };
  for (const char* observer : {"minmax", "mse", "mse:2.4"}) {
    SLIPWAY_ASSIGN_OR_RETURN(const double db, with(observer, bits));
    d->tried.push_back({std::string("weights by ") + observer,
                        std::string("--weight-observer ") + observer, db, true});
  }
  if (bits < 8) {
    SLIPWAY_ASSIGN_OR_RETURN(const double db, with("minmax", 8));
    d->tried.push_back(
        {"weights of 8 bits", "--config with layers: " + d->error.node + ": 8", db, false});
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<LayerDiagnosis>> Diagnose(const ir::Graph& original, const ir::Graph& quantized,
                                             const BatchSource& data,
                                             const DiagnoseOptions& options, Parallel* pool) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<LayerError> errors,
                           LayerErrors(original, quantized, data, pool));
  SLIPWAY_ASSIGN_OR_RETURN(auto batch, data(0));
  FloatValues values;
  for (size_t i = 0; i < batch.size(); ++i) values[original.inputs()[i]->name()] = batch[i];
  SLIPWAY_ASSIGN_OR_RETURN(const Evaluator run, InterpreterEvaluator(original, pool));
  SLIPWAY_RETURN_IF_ERROR(run(batch, [&](const ir::Value& v, const Tensor& t) {
                            if (!v.is_constant()) values[v.name()] = t;
                          }).status());
  std::vector<size_t> order(errors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return errors[a].alone_db < errors[b].alone_db; });
  const std::set<size_t> worst(
      order.begin(), order.begin() + std::min<std::ptrdiff_t>(
                                         options.worst, static_cast<std::ptrdiff_t>(order.size())));
  std::vector<LayerDiagnosis> out;
  for (size_t row = 0; row < errors.size(); ++row) {
    LayerDiagnosis d{.error = errors[row]};
    const Node* node = quantized.FindNode(errors[row].node);
    const Node* float_node = original.FindNode(errors[row].node);
    if (!node || !float_node || float_node->inputs().size() > node->inputs().size()) {
      out.push_back(std::move(d));
      continue;
    }
    const Tensor& reference = values.at(JudgedOutput(*node)->name());
    Bench bench(*node, reference, pool);
    for (size_t i = 0; i < node->inputs().size(); ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(Tensor t, IsolatedInput(node->input(i), values, pool));
      bench.rounded.push_back(t);
      const Value* v = float_node->input(i);
      if (v && v->constant()) {
        t = v->constant()->Aligned();
      } else if (v) {
        const auto it = values.find(v->name());
        if (it == values.end()) return Internal("value '" + v->name() + "' is missing");
        t = it->second;
      }
      bench.exact.push_back(std::move(t));
    }
    const bool layer = Layer::Of(const_cast<Node*>(float_node)).has_value();
    const int axis = node->op() == "Conv" ? 1 : -1;
    const Node *dx = DequantizeOf(*node, 0), *dw = layer ? DequantizeOf(*node, 1) : nullptr;
    d.input_db = d.weights_db = std::numeric_limits<double>::infinity();
    if (const auto pair = dx ? PairOf(*dx) : std::nullopt;
        pair && bench.exact[0].dtype() == DType::kFloat32) {
      const Value* source = Source(dx);
      d.input = Describe(source ? source->name() : node->input(0)->name(), bench.exact[0],
                         bench.rounded[0], *pair);
      d.input->imbalance = Imbalance(ChannelMagnitudes(bench.exact[0], axis));
    }
    std::vector<Tensor> only = bench.exact;
    for (size_t i = 0; i < node->inputs().size(); ++i) {
      const Value* v = float_node->input(i);
      const Node* pair_node = v && !v->is_constant() ? DequantizeOf(*node, i) : nullptr;
      const auto pair = pair_node ? PairOf(*pair_node) : std::nullopt;
      if (!pair || bench.exact[i].dtype() != DType::kFloat32) continue;
      only[i] = bench.rounded[i];
      bench.activations.emplace_back(i, *pair);
    }
    if (!bench.activations.empty()) {
      SLIPWAY_ASSIGN_OR_RETURN(d.input_db, bench.Db(only));
    }
    if (const auto pair = dw ? PairOf(*dw) : std::nullopt;
        pair && bench.exact[1].dtype() == DType::kFloat32) {
      d.weights = Describe(float_node->input(1)->name(), bench.exact[1], bench.rounded[1], *pair);
      d.weights->imbalance =
          Imbalance(Layer::Of(const_cast<Node*>(float_node))->OutputMagnitudes());
      SLIPWAY_ASSIGN_OR_RETURN(d.weights_db, bench.With(1, bench.rounded[1], false));
    }
    const Node *w = WeightsDequantize(*node, 1), *r = WeightsDequantize(*node, 2);
    const bool recurrent = IsRecurrent(*node) && w && r && bench.exact[1].dims().rank() == 3 &&
                           bench.exact[2].dims().rank() == 3;
    if (recurrent) {
      std::vector<Tensor> weights = bench.exact;
      weights[1] = bench.rounded[1], weights[2] = bench.rounded[2];
      SLIPWAY_ASSIGN_OR_RETURN(d.weights_db, bench.Db(weights));
    }
    if (layer && reference.dims().rank() > 1 && reference.count() > 0) {
      SLIPWAY_ASSIGN_OR_RETURN(const Tensor result, bench.Run(bench.rounded));
      double centred = 0;
      Centre(bench, result, axis, &d, &centred);
      if (worst.contains(row))
        d.tried.push_back({"bias correction", "--adjust bias-correction", centred, true});
    }
    if (worst.contains(row)) {
      if (recurrent) {
        const int bits = static_cast<int>(
            std::min(w->attributes.Int("bits", 8), r->attributes.Int("bits", 8)));
        SLIPWAY_RETURN_IF_ERROR(TryRecurrent(bench, std::clamp(bits, 2, 8), &d));
      }
      SLIPWAY_RETURN_IF_ERROR(Try(bench, float_node, &d));
      std::stable_sort(d.tried.begin(), d.tried.end(),
                       [](const Remedy& a, const Remedy& b) { return a.db > b.db; });
      const auto choose = [&](auto&& fits) {
        for (size_t i = 0; i < d.tried.size() && d.chosen < 0; ++i) {
          if (fits(d.tried[i])) d.chosen = static_cast<int>(i);
        }
      };
      const double now = d.error.alone_db;
      choose([&](const Remedy& r) { return r.free && r.db - (r.bound ? 3 : 0) >= now + 1; });
      choose([&](const Remedy& r) { return !r.free && std::isfinite(r.db) && r.db >= now + 3; });
      choose([&](const Remedy& r) { return !r.free && !std::isfinite(r.db); });
    }
    out.push_back(std::move(d));
  }
  return out;
}

}  // namespace slipway::quant
