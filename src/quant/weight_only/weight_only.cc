#include "quant/weight_only/weight_only.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "quant/reconstruct/block_walk.h"
#include "quant/schemes/quantize.h"
#include "quant/weight_only/hessian.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

struct Layer {
  Node* node;
  int64_t k = 0, n = 0;
  bool rows_are_outputs = false;  // the constant is [n, k], not [k, n]
  int bits = 0;
};

std::optional<Layer> LayerOf(Node* node, const WeightOnlyOptions& options,
                             const QuantizeOptions& ends) {
  const bool gemm = node->Is("Gemm");
  if ((!gemm && !node->Is("MatMul")) || options.keep_float.contains(node->name()))
    return std::nullopt;
  const Tensor* w = node->constant_input(1);
  if (!w || w->dtype() != DType::kFloat32 || w->dims().rank() != 2 || w->count() == 0 ||
      !node->input(0) || node->input(0)->is_constant() ||
      node->input(0)->dtype() != DType::kFloat32)
    return std::nullopt;
  if (gemm && (node->attributes.Int("transA", 0) != 0 || node->attributes.Float("alpha", 1) != 1 ||
               node->attributes.Float("beta", 1) != 1))
    return std::nullopt;
  Layer layer{.node = node};
  layer.rows_are_outputs = gemm && node->attributes.Int("transB", 0) != 0;
  layer.n = w->dims()[layer.rows_are_outputs ? 0 : 1];
  layer.k = w->dims()[layer.rows_are_outputs ? 1 : 0];
  layer.bits = ends.weight_bits.contains(node->name()) ? options.end_bits : options.bits;
  return layer;
}

// [n, k]
std::vector<float> RowsOf(const Layer& layer) {
  const Tensor w = layer.node->constant_input(1)->Aligned();
  const float* from = w.data<float>();
  if (layer.rows_are_outputs) return {from, from + w.count()};
  std::vector<float> rows(static_cast<size_t>(w.count()));
  for (int64_t i = 0; i < layer.k; ++i) {
    for (int64_t o = 0; o < layer.n; ++o)
      rows[static_cast<size_t>(o * layer.k + i)] = from[i * layer.n + o];
  }
  return rows;
}

template <typename T>
Result<Tensor> Placed(const std::vector<T>& rows, int64_t n, int64_t k, bool rows_are_outputs) {
  std::vector<T> turned;
  if (!rows_are_outputs) {
    turned.resize(rows.size());
    for (int64_t o = 0; o < n; ++o) {
      for (int64_t i = 0; i < k; ++i)
        turned[static_cast<size_t>(i * n + o)] = rows[static_cast<size_t>(o * k + i)];
    }
  }
  Tensor t = Tensor::Of<T>(rows_are_outputs ? Dims({n, k}) : Dims({k, n}),
                           rows_are_outputs ? rows : turned);
  if (!t.present()) return ResourceExhausted("out of memory");
  return t;
}

Status WriteCodes(Graph& graph, const Layer& layer, const GroupedCodes& c) {
  const bool rows = layer.rows_are_outputs;
  SLIPWAY_ASSIGN_OR_RETURN(Tensor codes, Placed(c.codes, c.n, c.k, rows));
  SLIPWAY_ASSIGN_OR_RETURN(Tensor scales, Placed(c.scales, c.n, c.groups(), rows));
  SLIPWAY_ASSIGN_OR_RETURN(Tensor zeros, Placed(c.zeros, c.n, c.groups(), rows));
  const std::string name = layer.node->input(1)->name();
  ir::Attributes attributes;
  attributes.Set("bits", int64_t{layer.bits});
  attributes.Set("signed", int64_t{0});
  attributes.Set("axis", int64_t{rows ? 1 : 0});
  attributes.Set("group", c.group);
  Node* dq = graph.AddNode({"Dequantize",
                            {graph.AddConstant(name + "_q", std::move(codes)),
                             graph.AddConstant(name + "_scale", std::move(scales)),
                             graph.AddConstant(name + "_zero_point", std::move(zeros))},
                            attributes,
                            ir::kSlipwayDomain,
                            name + "/dequantize",
                            {name + "_dq"}},
                           layer.node);
  dq->output()->set_type(layer.node->input(1)->type());
  graph.SetInput(layer.node, 1, dq->output());
  return OkStatus();
}

// A constant with one number a channel, or one for all, times `by`.
Value* Scaled(Graph& graph, const Value* constant, const std::vector<double>& by) {
  const Tensor t = constant->constant()->Aligned();
  std::vector<float> v(by.size());
  for (size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>(double{t.data<float>()[t.count() == 1 ? 0 : i]} * by[i]);
  Dims dims = t.dims();
  if (t.count() != static_cast<int64_t>(v.size())) dims = {static_cast<int64_t>(v.size())};
  return graph.AddConstant(constant->name(), Tensor::Of<float>(dims, v));
}
bool IsChannels(const Value* v, size_t channels) {
  const Tensor* t = v ? v->constant() : nullptr;
  return t && t->dtype() == DType::kFloat32 &&
         (t->count() == 1 || (t->count() == static_cast<int64_t>(channels) &&
                              t->dims().rank() >= 1 && t->dims().back() == t->count()));
}

// Multiplies channels (the last dimension) of `value` by `by`, in what computes it: a
// normalisation's factors, a product's columns, past additions and rectifiers. `change`: do it,
// else only say whether it can be done.
bool Fold(Graph& graph, Value* value, const std::vector<double>& by,
          const std::set<const Value*>& fixed, bool change) {
  Node* node = value->producer();
  if (!node || fixed.contains(value)) return false;
  const auto single = [&](const Value* v) { return v && v->OnlyUser() == node && !v->is_output(); };
  if (node->Is("LayerNormalization") || node->Is("RMSNormalization")) {
    const int64_t axis = node->attributes.Int("axis", -1);
    const auto rank = node->input(0)->type().shape ? node->input(0)->type().shape->size() : 0;
    if ((axis != -1 && (rank == 0 || axis != static_cast<int64_t>(rank) - 1)) ||
        value != node->output(0) || !IsChannels(node->input(1), by.size()) ||
        (node->input(2) && !IsChannels(node->input(2), by.size())))
      return false;
    for (size_t i = 1; change && i < 3; ++i) {
      if (node->input(i)) graph.SetInput(node, i, Scaled(graph, node->input(i), by));
    }
    return true;
  }
  if (node->Is("Relu") || node->Is("LeakyRelu"))
    return single(node->input(0)) && Fold(graph, node->input(0), by, fixed, change);
  if (node->Is("Add") || node->Is("Mul")) {
    const size_t constant = node->input(1) && node->input(1)->is_constant() ? 1 : 0;
    Value* other = node->input(1 - constant);
    if (!IsChannels(node->input(constant), by.size()) || other->is_constant()) return false;
    if (node->Is("Add") && (!single(other) || !Fold(graph, other, by, fixed, change))) return false;
    if (change) graph.SetInput(node, constant, Scaled(graph, node->input(constant), by));
    return true;
  }
  const auto layer = LayerOf(node, {}, {});
  if (!layer || layer->n != static_cast<int64_t>(by.size())) return false;
  Value* bias = node->Is("Gemm") ? node->input(2) : nullptr;
  if (bias && !IsChannels(bias, by.size())) return false;
  if (!change) return true;
  std::vector<float> rows = RowsOf(*layer);
  for (size_t i = 0; i < rows.size(); ++i)
    rows[i] = static_cast<float>(double{rows[i]} * by[i / static_cast<size_t>(layer->k)]);
  if (auto placed = Placed(rows, layer->n, layer->k, layer->rows_are_outputs); placed.ok())
    graph.SetInput(node, 1, graph.AddConstant(node->input(1)->name(), std::move(*placed)));
  if (bias) graph.SetInput(node, 2, Scaled(graph, bias, by));
  return true;
}

class Quantizer {
 public:
  Quantizer(Graph& graph, const MakeGraphRunner& make, const WeightOnlyOptions& options)
      : graph_(graph), walk_(graph, make), options_(options) {}
  Result<std::vector<WeightOnlyLayer>> Run(const BatchSource& data);

 private:
  // Layers with the same input, next to each other.
  struct Wave {
    Value* input;
    std::vector<Layer> layers;
  };
  Status OfBlock(const Block& block);
  Result<std::map<const Value*, InputStatistics>> Observe(const Block& block,
                                                          std::span<const Wave> waves);
  Status OfWave(const Block& block, const Wave& wave, const InputStatistics& inputs);
  Result<std::string> Multiply(const Block& block, const Wave& wave,
                               const std::vector<double>& factors);

  Graph& graph_;
  BlockWalk walk_;
  const WeightOnlyOptions& options_;
  QuantizeOptions ends_;
  std::vector<WeightOnlyLayer> reports_;
  size_t count_ = 0;
};

Result<std::map<const Value*, InputStatistics>> Quantizer::Observe(const Block& block,
                                                                   std::span<const Wave> waves) {
  std::map<const Value*, InputStatistics> statistics;
  std::vector<const Value*> made;
  std::vector<std::string> names;
  const auto add = [&](const Value* value, const Tensor& tensor) -> Status {
    InputStatistics& s = statistics.at(value);
    const Tensor t = tensor.Aligned();
    if (t.dtype() != DType::kFloat32 || t.count() % s.width() != 0)
      return Internal("'" + value->name() + "' is " + t.Describe());
    return s.Add({t.data<float>(), static_cast<size_t>(t.count())}, options_.pool)
        .With("'" + value->name() + "'");
  };
  for (const Wave& wave : waves) {
    if (!statistics.try_emplace(wave.input, wave.layers[0].k).second) continue;
    if (std::find(block.inputs.begin(), block.inputs.end(), wave.input->name()) !=
        block.inputs.end()) {
      for (const auto& batch : walk_.batches())
        SLIPWAY_RETURN_IF_ERROR(add(wave.input, batch.at(wave.input->name())));
    } else {
      made.push_back(wave.input);
      names.push_back(wave.input->name());
    }
  }
  if (!names.empty()) {
    SLIPWAY_RETURN_IF_ERROR(
        walk_.Evaluate(block, names, [&](const std::vector<Tensor>& out) -> Status {
          for (size_t i = 0; i < out.size(); ++i) SLIPWAY_RETURN_IF_ERROR(add(made[i], out[i]));
          return OkStatus();
        }));
  }
  return statistics;
}

Result<std::string> Quantizer::Multiply(const Block& block, const Wave& wave,
                                        const std::vector<double>& factors) {
  std::vector<double> inverse(factors.size());
  for (size_t i = 0; i < inverse.size(); ++i) inverse[i] = 1 / factors[i];
  for (const Layer& layer : wave.layers) {
    std::vector<float> rows = RowsOf(layer);
    for (size_t i = 0; i < rows.size(); ++i)
      rows[i] = static_cast<float>(double{rows[i]} * factors[i % factors.size()]);
    SLIPWAY_ASSIGN_OR_RETURN(Tensor w, Placed(rows, layer.n, layer.k, layer.rows_are_outputs));
    graph_.SetInput(layer.node, 1, graph_.AddConstant(layer.node->input(1)->name(), std::move(w)));
  }
  std::set<const Value*> fixed;
  for (const std::string& name : block.inputs) fixed.insert(graph_.FindValue(name));
  const bool alone = !wave.input->is_output() && wave.input->uses().size() == wave.layers.size();
  if (alone && Fold(graph_, wave.input, inverse, fixed, false)) {
    Fold(graph_, wave.input, inverse, fixed, true);
    return std::string("folded");
  }
  std::vector<float> by(inverse.begin(), inverse.end());
  const std::string name = wave.layers[0].node->name() + "/awq";
  Node* mul =
      graph_.AddNode({"Mul",
                      {wave.input, graph_.AddConstant(name + "_factors", Tensor::Vector(by))},
                      {},
                      "",
                      name,
                      {name + "_scaled"}},
                     wave.layers[0].node);
  mul->output()->set_type(wave.input->type());
  for (const Layer& layer : wave.layers) graph_.SetInput(layer.node, 0, mul->output());
  return std::string("multiplied");
}

Status Quantizer::OfWave(const Block& block, const Wave& wave, const InputStatistics& inputs) {
  std::vector<std::vector<float>> rows;
  for (const Layer& layer : wave.layers) rows.push_back(RowsOf(layer));
  std::vector<double> factors;
  std::string scaled;
  const bool low = std::all_of(wave.layers.begin(), wave.layers.end(),
                               [&](const Layer& l) { return l.bits == options_.bits; });
  if (options_.method == WeightOnlyMethod::kAwq && low) {
    factors = AwqFactors(rows, options_.bits, options_.group, inputs, options_.pool);
    if (!factors.empty()) {
      SLIPWAY_ASSIGN_OR_RETURN(scaled, Multiply(block, wave, factors));
    }
  }
  for (size_t l = 0; l < wave.layers.size(); ++l) {
    const Layer& layer = wave.layers[l];
    if (options_.progress && !options_.progress(layer.node->name(), reports_.size(), count_))
      return Unavailable("weight-only quantization was stopped");
    for (const float v : rows[l]) {
      if (!std::isfinite(v))
        return InvalidArgument(layer.node->Describe() +
                               " has weights that are not finite; retrain or repair them");
    }
    WeightOnlyLayer report{
        .name = layer.node->name(), .inputs = layer.k, .outputs = layer.n, .bits = layer.bits};
    report.scaled = scaled;
    const auto error = [&](const GroupedCodes& c) {
      std::vector<float> d(rows[l].size());
      for (int64_t o = 0; o < layer.n; ++o) {
        for (int64_t i = 0; i < layer.k; ++i)
          d[static_cast<size_t>(o * layer.k + i)] =
              rows[l][static_cast<size_t>(o * layer.k + i)] -
              c.Value(o, i) /
                  static_cast<float>(factors.empty() ? 1.0 : factors[static_cast<size_t>(i)]);
      }
      return inputs.SquaredError(d, options_.pool);
    };
    const double all = std::max(inputs.SquaredError(rows[l], options_.pool), 1e-30);
    std::vector<double> given;
    std::swap(given, factors);  // of the plain rounding: none
    GroupedCodes codes =
        RoundToNearest(rows[l], layer.k, layer.bits, options_.group, nullptr, {}, options_.pool);
    report.nearest = report.chosen = error(codes) / all;
    std::swap(given, factors);
    if (options_.method != WeightOnlyMethod::kNearest) {
      if (options_.method == WeightOnlyMethod::kGptq) {
        auto found = Gptq(rows[l], layer.bits, options_.group, inputs, options_);
        if (!found.ok()) return found.status().With(layer.node->Describe());
        codes = std::move(*found);
      } else {
        std::vector<float> now = rows[l];
        for (size_t i = 0; i < now.size() && !factors.empty(); ++i)
          now[i] = static_cast<float>(double{now[i]} * factors[i % factors.size()]);
        codes = RoundToNearest(now, layer.k, layer.bits, options_.group, &inputs, factors,
                               options_.pool);
      }
      report.chosen = error(codes) / all;
    }
    SLIPWAY_RETURN_IF_ERROR(WriteCodes(graph_, layer, codes));
    reports_.push_back(std::move(report));
  }
  return OkStatus();
}

Status Quantizer::OfBlock(const Block& block) {
  std::vector<Wave> waves;
  for (const std::string& name : block.layers) {
    Node* node = graph_.FindNode(name);
    if (!node) return Internal("there is no node '" + name + "'");
    const auto layer = LayerOf(node, options_, ends_);
    if (!layer) continue;
    if (waves.empty() || waves.back().input != node->input(0))
      waves.push_back({node->input(0), {}});
    waves.back().layers.push_back(*layer);
  }
  // GPTQ sees what the layers quantized before give; the others choose by the float block, where
  // factors may still go to the weights of a layer before.
  const size_t step = options_.method == WeightOnlyMethod::kGptq ? 1 : waves.size();
  for (size_t begin = 0; begin < waves.size(); begin += step) {
    const std::span<const Wave> these = std::span(waves).subspan(begin, step);
    SLIPWAY_ASSIGN_OR_RETURN(const auto statistics, Observe(block, these));
    // From the end: a layer takes the factors of the one behind it before it is rounded.
    for (size_t i = these.size(); i-- > 0;)
      SLIPWAY_RETURN_IF_ERROR(OfWave(block, these[i], statistics.at(these[i].input)));
  }
  graph_.RemoveUnused();
  return OkStatus();
}

Result<std::vector<WeightOnlyLayer>> Quantizer::Run(const BatchSource& data) {
  if (options_.bits < 2 || options_.bits > 8 || options_.end_bits < 2 || options_.end_bits > 8)
    return InvalidArgument("weight-only quantization has 2 to 8 bits, not " +
                           std::to_string(options_.bits));
  if (options_.group < 0 || (options_.group > 0 && options_.group < 8))
    return InvalidArgument("groups have 8 inputs or more (0: all of an output), not " +
                           std::to_string(options_.group));
  if (!(options_.damping > 0)) return InvalidArgument("the damping must be positive");
  if (options_.end_bits != options_.bits) KeepEnds(graph_, options_.end_bits, &ends_);
  for (Node* node : graph_.NodeList()) count_ += LayerOf(node, options_, ends_).has_value();
  if (count_ == 0)
    return InvalidArgument(
        "the model has no product with constant weights (MatMul, Gemm) to quantize");
  SLIPWAY_RETURN_IF_ERROR(walk_.Read(data));
  if (walk_.batches().empty()) return InvalidArgument("there are no calibration samples");
  SLIPWAY_RETURN_IF_ERROR(walk_.ForEach([&](const Block& block) { return OfBlock(block); }));
  SortAsNodes(graph_, reports_);
  return std::move(reports_);
}

}  // namespace

Result<std::vector<WeightOnlyLayer>> QuantizeWeightsOnly(Graph& graph, const MakeGraphRunner& make,
                                                         const BatchSource& data,
                                                         const WeightOnlyOptions& options) {
  return Quantizer(graph, make, options).Run(data);
}

}  // namespace slipway::quant
