#include "quant/adjust/correct.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "model/ir/infer.h"
#include "model/ir/schema.h"
#include "model/passes/pass.h"
#include "quant/adjust/layer.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

constexpr char kSum[] = "/sum";
constexpr double kHeldBytes = double{1 << 30};

bool IsLayer(const Node& node) {
  return node.Is("Conv") || node.IsSlipway("Conv") || node.Is("Gemm") || node.Is("MatMul") ||
         node.IsSlipway("Linear");
}
bool IsConv(const Node& node) { return node.op() == "Conv"; }

// The operator of a fused activation, with its attributes; clips have operands.
Value* Activate(Graph& graph, Node* before, Value* v, const std::string& kind,
                std::span<const float> params, const std::string& name) {
  ir::Attributes attributes;
  std::string op = kind;
  std::vector<Value*> inputs = {v};
  const auto set = [&](size_t i, const char* key) {
    if (i < params.size()) attributes.Set(key, params[i]);
  };
  if (kind == "Clip") {
    for (size_t i = 0; i < 2 && i < params.size(); ++i)
      inputs.push_back(graph.AddConstant(name + "/limit", Tensor::Scalar(params[i])));
  } else if (kind == "LeakyRelu" || kind == "Elu" || kind == "Swish" || kind == "HardSigmoid") {
    set(0, "alpha");
    if (kind == "HardSigmoid") set(1, "beta");
  } else if (kind == "GeluTanh") {
    op = "Gelu";
    attributes.Set("approximate", std::string("tanh"));
  }
  return graph.AddNode({op, inputs, attributes, "", name + "/" + op}, before)->output();
}

// The values of all batches, by value of the graph.
using Held = std::unordered_map<const Value*, std::vector<Tensor>>;

struct Spread {
  std::vector<double> mean, deviation;
};

Spread SpreadOf(const std::vector<Tensor>& batches, int axis, size_t channels) {
  Spread s{std::vector<double>(channels, 0), std::vector<double>(channels, 0)};
  std::vector<double> square(channels, 0);
  double count = 0;
  for (const Tensor& t : batches) {
    const int at = axis < 0 ? t.dims().rank() + axis : axis;
    const int64_t inner = t.dims().count(at + 1, t.dims().rank()), outer = t.dims().count(0, at);
    const auto* x = t.data<float>();
    for (int64_t o = 0; o < outer; ++o) {
      for (size_t c = 0; c < channels; ++c) {
        const float* from =
            x + (o * static_cast<int64_t>(channels) + static_cast<int64_t>(c)) * inner;
        for (int64_t i = 0; i < inner; ++i) {
          s.mean[c] += from[i];
          square[c] += double{from[i]} * from[i];
        }
      }
    }
    count += static_cast<double>(inner * outer);
  }
  for (size_t c = 0; c < channels; ++c) {
    s.mean[c] /= count;
    s.deviation[c] = std::sqrt(std::max(0.0, square[c] / count - s.mean[c] * s.mean[c]));
  }
  return s;
}

double Distance(const ChannelStatistics& reference, const Spread& s) {
  double difference = 0, power = 0;
  for (size_t c = 0; c < s.mean.size(); ++c) {
    difference += std::pow(s.mean[c] - reference.mean[c], 2);
    power += std::pow(reference.deviation[c], 2);
  }
  return power > 0 ? std::sqrt(difference / power) : 0;
}

// y = y * by[c] + add[c], in place where the tensor is ours.
Result<Tensor> Affine(const Tensor& t, int axis, const std::vector<double>& by,
                      const std::vector<double>& add) {
  SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(DType::kFloat32, t.dims()));
  const int at = axis < 0 ? t.dims().rank() + axis : axis;
  const auto channels = static_cast<int64_t>(by.size());
  const int64_t inner = t.dims().count(at + 1, t.dims().rank());
  auto* to = reinterpret_cast<float*>(out.mutable_data());
  for (int64_t i = 0; i < t.count(); ++i) {
    const auto c = static_cast<size_t>(i / inner % channels);
    to[i] = static_cast<float>(t.data<float>()[i] * by[c] + add[c]);
  }
  return out;
}

// A layer's integers in the quantized graph.
struct Codes {
  Node* weights = nullptr;  // the Dequantize of its weights
  Node* bias = nullptr;     // and of its bias, where that is codes
};

Codes CodesOf(const Node& node) {
  Codes c;
  const auto dequantize = [&](size_t i) {
    Node* p = node.input(i) ? node.input(i)->producer() : nullptr;
    return p && p->IsSlipway("Dequantize") && p->constant_input(0) ? p : nullptr;
  };
  c.weights = dequantize(1);
  c.bias = dequantize(2);
  return c;
}

class Walk {
 public:
  Walk(Graph& work, Graph& target, const std::map<std::string, ChannelStatistics>& reference,
       const CorrectOptions& options, Parallel* pool)
      : work_(work), target_(target), reference_(reference), options_(options), pool_(pool) {}

  Result<std::vector<CorrectedLayer>> Run(std::vector<std::vector<Tensor>> batches);

 private:
  Result<std::vector<Tensor>> RunNode(const Node& node, size_t batch);
  Status Correct(Node* node);
  Status Reestimate(Node* node);
  // Adds to the bias of `layer` in the target, after scaling it by `by`; gives what was added once
  // rounded to codes.
  Result<std::vector<double>> StoreBias(Node* layer, const Codes& codes,
                                        const std::vector<double>& by,
                                        const std::vector<double>& add);
  std::vector<double> BiasOf(const Node& layer, const Codes& codes, size_t channels) const;

  Graph& work_;    // stripped, with a bound batch
  Graph& target_;  // what is corrected
  const std::map<std::string, ChannelStatistics>& reference_;
  const CorrectOptions& options_;
  Parallel* pool_;
  Held held_;
  std::unordered_map<const Value*, size_t> readers_;
  size_t batches_ = 0;
  std::vector<CorrectedLayer> reports_;
};

Result<std::vector<Tensor>> Walk::RunNode(const Node& node, size_t batch) {
  if (!node.schema() || !node.schema()->kernel)
    return Unsupported(node.Describe() + " cannot be followed by bias correction");
  std::vector<Tensor> outputs;
  std::vector<ops::TensorView> results;
  for (const Value* v : node.outputs()) {
    if (!v) {
      outputs.emplace_back();
      results.emplace_back();
      continue;
    }
    const auto dims = v->type().StaticDims();
    if (!dims)
      return Unsupported(node.Describe() + " has an output whose extent only the data decide");
    SLIPWAY_ASSIGN_OR_RETURN(Tensor t, Tensor::Allocate(v->dtype(), *dims));
    results.push_back(t.view());
    outputs.push_back(std::move(t));
  }
  std::vector<ops::TensorView> views;
  std::vector<Tensor> keep;
  for (const Value* v : node.inputs()) {
    if (!v) {
      views.emplace_back();
    } else if (v->constant()) {
      keep.push_back(v->constant()->Aligned());
      views.push_back(keep.back().view());
    } else {
      views.push_back(held_.at(v)[batch].view());
    }
  }
  ops::OpContext context;
  context.inputs = views;
  context.outputs = results;
  context.attributes = &node.attributes;
  context.pool = pool_;
  SLIPWAY_RETURN_IF_ERROR(node.schema()->kernel(context).With(node.Describe()));
  return outputs;
}

std::vector<double> Walk::BiasOf(const Node& layer, const Codes& codes, size_t channels) const {
  std::vector<double> out(channels, 0);
  if (codes.bias) {
    const std::vector<double> q = codes.bias->constant_input(0)->ToDoubles();
    const std::vector<double> s = codes.bias->constant_input(1)->ToDoubles();
    for (size_t c = 0; c < channels && c < q.size(); ++c) out[c] = q[c] * s[s.size() > 1 ? c : 0];
  } else if (const Tensor* b = layer.constant_input(2)) {
    const std::vector<double> v = b->ToDoubles();
    for (size_t c = 0; c < channels && c < v.size(); ++c) out[c] = v[c];
  }
  return out;
}

Result<std::vector<double>> Walk::StoreBias(Node* layer, const Codes& codes,
                                            const std::vector<double>& by,
                                            const std::vector<double>& add) {
  const std::vector<double> old = BiasOf(*layer, codes, add.size());
  std::vector<double> exact(add.size()), stored(add.size());
  for (size_t c = 0; c < add.size(); ++c) exact[c] = old[c] * by[c] + add[c];
  if (codes.bias) {
    const std::vector<double> s = codes.bias->constant_input(1)->ToDoubles();
    const bool narrow = codes.bias->attributes.Int("bits", 8) < 32;
    const double most =
        narrow ? std::ldexp(1.0, static_cast<int>(codes.bias->attributes.Int("bits", 8)) - 1) - 1
               : 1e9;
    std::vector<float> scales(s.size());
    std::vector<int32_t> q(add.size());
    for (size_t i = 0; i < s.size(); ++i)
      scales[i] = static_cast<float>(s[i] * (s.size() > 1 ? by[i] : 1));
    for (size_t c = 0; c < q.size(); ++c) {
      const double unit = scales[s.size() > 1 ? c : 0];
      q[c] = static_cast<int32_t>(std::clamp(std::nearbyint(exact[c] / unit), -most, most));
      stored[c] = q[c] * unit;
    }
    const Dims dims = codes.bias->constant_input(0)->dims();
    const Dims scale_dims = codes.bias->constant_input(1)->dims();
    ReplaceConstant(target_, codes.bias, 0, Tensor::Of<int32_t>(dims, q), "");
    ReplaceConstant(target_, codes.bias, 1, Tensor::Of<float>(scale_dims, scales), "");
  } else {
    std::vector<float> values(exact.begin(), exact.end());
    stored.assign(values.begin(), values.end());
    ReplaceConstant(target_, layer, 2,
                    Tensor::Of<float>({static_cast<int64_t>(values.size())}, values),
                    layer->name() + "/bias");
  }
  return stored;
}

Status Walk::Correct(Node* node) {
  const std::string& sum = node->output()->name();
  const auto reference = reference_.find(sum);
  Node* layer = target_.FindNode(node->name());
  if (reference == reference_.end() || !layer) return OkStatus();
  const Codes codes = CodesOf(*layer);
  if (!codes.weights) return OkStatus();  // in float: its inputs' errors are not its own
  if (layer->Is("MatMul")) return OkStatus();
  if (layer->input(2) && !codes.bias && !layer->constant_input(2)) return OkStatus();
  const int axis = IsConv(*node) ? 1 : -1;
  const size_t channels = reference->second.mean.size();
  std::vector<Tensor>& values = held_[node->output()];
  const Spread before = SpreadOf(values, axis, channels);
  const std::vector<double> bias = BiasOf(*layer, codes, channels);
  std::vector<double> by(channels, 1), add(channels);
  const Tensor* scales = codes.weights->constant_input(1);
  const bool free =
      options_.deviations && scales && scales->dims().rank() == 1 &&
      scales->count() == static_cast<int64_t>(channels) &&
      codes.weights->attributes.String("kind", "affine") == "affine" &&
      (!codes.bias || codes.bias->constant_input(1)->count() == static_cast<int64_t>(channels));
  for (size_t c = 0; c < channels; ++c) {
    if (free && before.deviation[c] > 0 && reference->second.deviation[c] > 0)
      by[c] = std::clamp(reference->second.deviation[c] / before.deviation[c], 0.5, 2.0);
    // y' = (y - bias) by + bias by + add: its mean is the float one.
    add[c] = reference->second.mean[c] - before.mean[c] * by[c];
  }
  if (free) {
    std::vector<double> s = scales->ToDoubles();
    std::vector<float> next(s.size());
    for (size_t c = 0; c < s.size(); ++c) next[c] = static_cast<float>(s[c] * by[c]);
    const Dims dims = scales->dims();
    ReplaceConstant(target_, codes.weights, 1, Tensor::Of<float>(dims, next), "");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<double> stored, StoreBias(layer, codes, by, add));
  for (size_t c = 0; c < channels; ++c) add[c] = stored[c] - bias[c] * by[c];
  for (Tensor& t : values) {
    SLIPWAY_ASSIGN_OR_RETURN(t, Affine(t, axis, by, add));
  }
  reports_.push_back({node->name(), Distance(reference->second, before),
                      Distance(reference->second, SpreadOf(values, axis, channels))});
  return OkStatus();
}

// Of the values that a BatchNormalization gets.
Status Walk::Reestimate(Node* node) {
  Node* target = target_.FindNode(node->name());
  if (!target || !node->input(0) || node->input(0)->constant()) return OkStatus();
  for (const size_t i : {size_t{3}, size_t{4}}) {
    if (!target->constant_input(i) || target->constant_input(i)->dtype() != DType::kFloat32)
      return OkStatus();
  }
  const auto channels = static_cast<size_t>(target->constant_input(3)->count());
  const Spread s = SpreadOf(held_.at(node->input(0)), 1, channels);
  std::vector<float> mean(s.mean.begin(), s.mean.end()), variance(channels);
  for (size_t c = 0; c < channels; ++c)
    variance[c] = static_cast<float>(s.deviation[c] * s.deviation[c]);
  for (const auto& [graph, n] : {std::pair{&target_, target}, std::pair{&work_, node}}) {
    ReplaceConstant(*graph, n, 3, Tensor::Vector(mean), "");
    ReplaceConstant(*graph, n, 4, Tensor::Vector(variance), "");
  }
  reports_.push_back({node->name(), 0, 0});
  return OkStatus();
}

Result<std::vector<CorrectedLayer>> Walk::Run(std::vector<std::vector<Tensor>> batches) {
  batches_ = batches.size();
  for (size_t b = 0; b < batches_; ++b) {
    for (size_t i = 0; i < work_.inputs().size(); ++i)
      held_[work_.inputs()[i]].push_back(batches[b].at(i));
  }
  for (const auto& v : work_.values()) readers_[v.get()] = v->uses().size();
  for (Node* node : work_.NodeList()) {
    if (options_.deviations && node->Is("BatchNormalization"))
      SLIPWAY_RETURN_IF_ERROR(Reestimate(node));
    const bool fixed = std::all_of(node->inputs().begin(), node->inputs().end(),
                                   [](const Value* v) { return !v || v->constant(); });
    for (size_t b = 0; b < batches_; ++b) {
      SLIPWAY_ASSIGN_OR_RETURN(std::vector<Tensor> out, RunNode(*node, b));
      for (size_t i = 0; i < out.size(); ++i) {
        if (!node->output(i)) continue;
        // Decoded weights are one for all batches.
        held_[node->output(i)].insert(held_[node->output(i)].end(), fixed ? batches_ : 1, out[i]);
      }
      if (fixed) break;
    }
    if (IsLayer(*node)) SLIPWAY_RETURN_IF_ERROR(Correct(node));
    for (const Value* v : node->inputs()) {
      if (v && --readers_[v] == 0) held_.erase(v);
    }
  }
  return std::move(reports_);
}

}  // namespace

std::unique_ptr<Graph> StripActivations(const Graph& graph) {
  auto out = graph.Clone();
  for (Node* node : out->NodeList()) {
    if (!IsLayer(*node) || node->outputs().size() != 1) continue;
    Value* y = node->output();
    const std::string name = y->name();
    const ir::Type type = y->type();
    const std::string kind(node->attributes.String("activation", "none"));
    const auto span = node->attributes.Floats("activation_params");
    const std::vector<float> params(span.begin(), span.end());
    node->attributes.Erase("activation");
    node->attributes.Erase("activation_params");
    out->Rename(y, name + kSum);
    Value* residual = node->domain() == ir::kSlipwayDomain ? node->input(3) : nullptr;
    if (!residual && kind == "none") continue;
    if (residual) out->RemoveInput(node, 3);
    auto after = std::next(std::find_if(out->nodes().begin(), out->nodes().end(),
                                        [&](const auto& n) { return n.get() == node; }));
    Node* before = after == out->nodes().end() ? nullptr : after->get();
    const std::vector<ir::Use> uses = y->uses();
    Value* v = y;
    if (residual)
      v = out->AddNode({"Add", {v, residual}, {}, "", name + "/residual"}, before)->output();
    if (kind != "none") v = Activate(*out, before, v, kind, params, name);
    v->set_type(type);
    for (const ir::Use& use : uses) out->SetInput(use.node, static_cast<size_t>(use.index), v);
    for (size_t i = 0; i < out->outputs().size(); ++i) {
      if (out->outputs()[i] == y) out->SetOutput(i, v);
    }
    out->Rename(v, name);
  }
  return out;
}

std::map<std::string, int> StrippedValues(const Graph& stripped) {
  std::map<std::string, int> out;
  for (const auto& node : stripped.nodes()) {
    if (IsLayer(*node) && node->output() && node->output()->name().ends_with(kSum) &&
        node->output()->dtype() == DType::kFloat32)
      out[node->output()->name()] = IsConv(*node) ? 1 : -1;
  }
  return out;
}

Result<std::vector<CorrectedLayer>> CorrectMoments(const Graph& stripped, Graph& quantized,
                                                   const Evaluator& evaluator,
                                                   const BatchSource& data,
                                                   const CorrectOptions& options, Parallel* pool) {
  std::vector<std::vector<Tensor>> batches;
  int64_t samples = 0;
  for (int64_t i = 0; samples < options.samples; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(auto batch, data(i));
    if (batch.empty()) break;
    const int64_t rows = batch[0].dims().rank() > 0 ? batch[0].dims()[0] : 1;
    // All of one size: the graph is bound to it.
    if (!batches.empty() && batch[0].dims() != batches[0][0].dims()) break;
    samples += std::max<int64_t>(1, rows);
    batches.push_back(std::move(batch));
  }
  if (batches.empty())
    return InvalidArgument(
        "there is no calibration data; give --calib a folder or file with samples");
  auto work = StripActivations(quantized);
  ir::InferOptions infer;
  for (size_t i = 0; i < work->inputs().size(); ++i) {
    const ir::Type& type = work->inputs()[i]->type();
    for (size_t d = 0; type.known() && d < type.shape->size(); ++d) {
      const Dim& dim = (*type.shape)[d];
      if (!dim.known() && d < static_cast<size_t>(batches[0].at(i).dims().rank()))
        infer.symbols[dim.ToString()] = batches[0][i].dims()[d];
    }
  }
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*work, infer));
  // Some values are alive together, each for all batches.
  double largest = 1;
  for (const auto& v : work->values()) {
    const auto dims = v->type().StaticDims();
    if (dims && !v->is_constant())
      largest = std::max(largest, 4.0 * static_cast<double>(dims->count()));
  }
  batches.resize(std::min(
      batches.size(), static_cast<size_t>(std::max(1.0, std::floor(kHeldBytes / 4 / largest)))));
  const BatchSource held = [&](int64_t i) -> Result<std::vector<Tensor>> {
    return i < static_cast<int64_t>(batches.size()) ? batches[static_cast<size_t>(i)]
                                                    : std::vector<Tensor>{};
  };
  SLIPWAY_ASSIGN_OR_RETURN(const auto reference, ObserveChannels(stripped, evaluator, held,
                                                                 StrippedValues(stripped), pool));
  // Codes of weights are decoded once here.
  SLIPWAY_ASSIGN_OR_RETURN(const auto reports,
                           passes::RunPasses(*work, {.only = {"fold-constants", "remove-dead"}}));
  (void)reports;
  return Walk(*work, quantized, reference, options, pool).Run(std::move(batches));
}

}  // namespace slipway::quant
