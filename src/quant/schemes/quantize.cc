#include "quant/schemes/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "model/ir/infer.h"
#include "quant/schemes/placement.h"
#include "quant/schemes/recurrent.h"
#include "quant/schemes/weights.h"

namespace slipway::quant {
namespace {

using compiler::Sign;
using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

// The codes that all values with one scale have.
struct ValueCodes {
  TensorScheme scheme;
  bool is_unsigned = false;
  QuantParams params;
};

class Inserter {
 public:
  Inserter(Graph& graph, const Scheme& scheme, const Observers& observers,
           const QuantizeOptions& options)
      : graph_(graph),
        scheme_(scheme),
        observers_(observers),
        options_(options),
        placement_(graph, scheme, options.keep_float) {}

  Status Run() {
    std::vector<Value*> coded;
    for (const auto& v : graph_.values()) {
      if (placement_.Coded(v.get())) coded.push_back(v.get());
    }
    std::vector<Node*> weighted;
    for (const auto& n : graph_.nodes()) {
      if (placement_.Integer(n.get()) && HasWeights(*n)) weighted.push_back(n.get());
    }
    // Ranges first: inserting changes who produces what.
    std::vector<ValueCodes> codes(coded.size());
    for (size_t i = 0; i < coded.size(); ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(codes[i], Choose(placement_.RangeSources(coded[i])));
    }
    for (size_t i = 0; i < coded.size(); ++i)
      SLIPWAY_RETURN_IF_ERROR(InsertPair(coded[i], codes[i]));
    for (Node* n : weighted) SLIPWAY_RETURN_IF_ERROR(QuantizeWeights(n));
    SLIPWAY_RETURN_IF_ERROR(QuantizeRecurrent(graph_, scheme_, options_));
    SLIPWAY_RETURN_IF_ERROR(graph_.SortTopologically());
    return ir::InferShapes(graph_);
  }

 private:
  Result<ValueCodes> Choose(const std::vector<const Value*>& sources) const;
  Status InsertPair(Value* v, const ValueCodes& codes);
  Status QuantizeWeights(Node* node);
  Status QuantizeBias(Node* node, const WeightCodes& weights);
  void InsertBias(Node* node, std::vector<int32_t> codes, Tensor scales, int bits);

  Graph& graph_;
  const Scheme& scheme_;
  const Observers& observers_;
  const QuantizeOptions& options_;
  Placement placement_;
  std::map<const Value*, float> scale_of_;  // by the Dequantize's output
};

Result<ValueCodes> Inserter::Choose(const std::vector<const Value*>& sources) const {
  ValueCodes out;
  out.scheme = scheme_.activations;
  int bits = 0;
  bool negative = false;
  for (const Value* v : sources) {
    const auto seen = observers_.find(v->name());
    if (seen == observers_.end())
      return InvalidArgument("value '" + v->name() +
                             "' was not observed; calibrate with this graph");
    negative |= seen->second.MinMax().lo < 0;
    if (const auto own = options_.activation_bits.find(v->name());
        own != options_.activation_bits.end())
      bits = std::max(bits, own->second);
  }
  if (bits > 0) out.scheme.bits = bits;
  out.is_unsigned =
      out.scheme.sign == Sign::kUnsigned || (out.scheme.sign == Sign::kAuto && !negative);
  const CodeRange codes = CodesOf(out.scheme, out.is_unsigned);
  Range range;
  for (const Value* v : sources) {
    SLIPWAY_ASSIGN_OR_RETURN(const Range own,
                             observers_.at(v->name()).Choose(out.scheme.observer, codes));
    range.lo = std::min(range.lo, own.lo);
    range.hi = std::max(range.hi, own.hi);
  }
  out.params = SchemeParams(range, codes, out.scheme.kind);
  return out;
}

Status Inserter::InsertPair(Value* v, const ValueCodes& codes) {
  const DType type = CodeType(codes.scheme.bits, !codes.is_unsigned);
  // The network's output keeps its name, behind the pair.
  const std::string name = v->name();
  const bool output = v->is_output() && scheme_.outputs;
  if (output) graph_.Rename(v, name + "_float");
  std::vector<Value*> operands = {
      v, graph_.AddConstant(name + "_scale", Tensor::Scalar(codes.params.scale))};
  if (codes.scheme.kind != compiler::ScaleKind::kLogarithmic) {
    SLIPWAY_ASSIGN_OR_RETURN(Tensor zero, CodeScalar(type, codes.params.zero_point));
    operands.push_back(graph_.AddConstant(name + "_zero_point", std::move(zero)));
  }
  const ir::Attributes attributes =
      QuantAttributes(codes.scheme, scheme_.rounding, !codes.is_unsigned, 1);
  const std::vector<ir::Use> uses = v->uses();
  Node* quantize = graph_.AddNode(
      {"Quantize", operands, attributes, ir::kSlipwayDomain, name + "/quantize", {name + "_q"}});
  operands[0] = quantize->output();
  Node* dequantize = graph_.AddNode({"Dequantize",
                                     operands,
                                     attributes,
                                     ir::kSlipwayDomain,
                                     name + "/dequantize",
                                     {output ? name : name + "_dq"}});
  for (const ir::Use& use : uses)
    graph_.SetInput(use.node, static_cast<size_t>(use.index), dequantize->output());
  for (size_t i = 0; output && i < graph_.outputs().size(); ++i) {
    if (graph_.outputs()[i] == v) graph_.SetOutput(i, dequantize->output());
  }
  if (codes.scheme.kind != compiler::ScaleKind::kLogarithmic)
    scale_of_[dequantize->output()] = codes.params.scale;
  return OkStatus();
}

Status Inserter::QuantizeWeights(Node* node) {
  TensorScheme ws = scheme_.weights;
  if (const auto bits = options_.weight_bits.find(node->name());
      bits != options_.weight_bits.end()) {
    const bool affine = ws.kind == compiler::ScaleKind::kAffine && ws.sign == Sign::kSigned;
    if (bits->second < ws.bits) {  // every code is needed, where it is
      ws.narrow = false;
      if (affine) ws.symmetric = false;
    } else if (bits->second > ws.bits && affine) {  // 8 bits around a zero point fit no byte
      ws.narrow = ws.symmetric = true;
    }
    ws.bits = bits->second;
  }
  const int axis = ChannelAxis(*node);
  const bool matrix = node->op() != "Conv" && node->op() != "ConvTranspose";
  auto made =
      CodesForWeights(*node->constant_input(1), ws, scheme_.rounding, axis, matrix ? 1 - axis : -1);
  if (!made.ok()) return InvalidArgument(node->Describe() + " has " + made.status().message());
  const std::string name = node->input(1)->name();
  std::vector<Value*> operands = {graph_.AddConstant(name + "_q", made->codes),
                                  graph_.AddConstant(name + "_scale", made->scales)};
  if (made->has_zero_points)
    operands.push_back(graph_.AddConstant(name + "_zero_point", made->zero_points));
  Node* dq = graph_.AddNode({"Dequantize",
                             operands,
                             made->attributes,
                             ir::kSlipwayDomain,
                             name + "/dequantize",
                             {name + "_dq"}},
                            node);
  graph_.SetInput(node, 1, dq->output());
  return QuantizeBias(node, *made);
}

void Inserter::InsertBias(Node* node, std::vector<int32_t> codes, Tensor scales, int bits) {
  const std::string name = node->input(2)->name();
  const Dims dims = node->input(2)->constant()->dims();
  ir::Attributes attributes{{"bits", int64_t{bits}}, {"axis", int64_t{0}}};
  Tensor stored = Tensor::Of<int32_t>(dims, codes);
  if (bits < 32) {
    const DType type = CodeType(bits, true);
    auto narrow = Tensor::Allocate(type, dims);
    for (size_t i = 0; i < codes.size(); ++i)
      std::memcpy(narrow->mutable_data() + i * DTypeBits(type) / 8, &codes[i],
                  static_cast<size_t>(DTypeBits(type)) / 8);  // little-endian: the low bytes
    stored = std::move(*narrow);
    attributes.Set("kind", std::string("power_of_two"));
  }
  Node* dq = graph_.AddNode({"Dequantize",
                             {graph_.AddConstant(name + "_q", std::move(stored)),
                              graph_.AddConstant(name + "_scale", std::move(scales))},
                             attributes,
                             ir::kSlipwayDomain,
                             name + "/dequantize",
                             {name + "_dq"}},
                            node);
  graph_.SetInput(node, 2, dq->output());
}

Status Inserter::QuantizeBias(Node* node, const WeightCodes& weights) {
  const Tensor* bias = node->constant_input(2);
  if (!bias || bias->dtype() != DType::kFloat32 || scheme_.bias == compiler::BiasKind::kFloat)
    return OkStatus();
  const Tensor b = bias->Aligned();
  const std::span<const float> values(b.data<float>(), static_cast<size_t>(b.count()));
  std::vector<int32_t> codes(values.size());
  if (scheme_.bias == compiler::BiasKind::kPowerOfTwo) {
    Observer seen;
    seen.Observe(values);
    if (seen.not_finite() > 0)
      return InvalidArgument(node->Describe() +
                             " has a bias that is not finite; retrain or repair it");
    const CodeRange range = {-(int64_t{1} << (scheme_.bias_bits - 1)),
                             (int64_t{1} << (scheme_.bias_bits - 1)) - 1, true};
    const float scale = SchemeParams(seen.MinMax(), range, compiler::ScaleKind::kPowerOfTwo).scale;
    for (size_t i = 0; i < codes.size(); ++i)
      codes[i] = static_cast<int32_t>(std::clamp(std::nearbyint(double{values[i]} / scale),
                                                 static_cast<double>(range.lo),
                                                 static_cast<double>(range.hi)));
    InsertBias(node, std::move(codes), Tensor::Scalar(scale), scheme_.bias_bits);
    return OkStatus();
  }
  // The scale of the products, where they have one each channel.
  const auto sx = scale_of_.find(node->input(0));
  const auto scales = static_cast<size_t>(weights.scales.count());
  if (sx == scale_of_.end() || weights.scales.dims().rank() > 1 ||
      (scales > 1 && scales != codes.size()) ||
      weights.attributes.String("kind", "affine") == "logarithmic")
    return OkStatus();
  std::vector<float> bias_scale(codes.size());
  const auto* sw = weights.scales.data<float>();
  for (size_t i = 0; i < codes.size(); ++i) {
    const double unit = double{sx->second} * sw[scales > 1 ? i : 0];
    bias_scale[i] = static_cast<float>(unit);
    const double code = std::nearbyint(double{values[i]} / unit);
    // A channel whose weights are nearly zero would need a bias code beyond int32; a wider weight
    // scale loses nothing there, but the float bias is simpler.
    if (!(std::fabs(code) <= 1e9)) return OkStatus();
    codes[i] = static_cast<int32_t>(code);
  }
  InsertBias(node, std::move(codes), Tensor::Vector(bias_scale), 32);
  return OkStatus();
}

}  // namespace

CodeRange CodesOf(const TensorScheme& scheme, bool unsigned_codes) {
  const bool power = scheme.kind == compiler::ScaleKind::kPowerOfTwo;
  if (unsigned_codes) return {0, (int64_t{1} << scheme.bits) - 1, scheme.symmetric, power};
  int64_t hi = (int64_t{1} << (scheme.bits - 1)) - 1;
  return {scheme.narrow ? -hi : -hi - 1, hi, scheme.symmetric, power};
}

bool HasConstantWeights(const Node& node) {
  const Tensor* w = node.constant_input(1);
  return HasWeights(node) && w && w->dtype() == DType::kFloat32;
}

void KeepEnds(const Graph& graph, int bits, QuantizeOptions* options) {
  // Whether a layer lies before a value, and behind it.
  std::set<const Value*> before, behind;
  const auto any = [](const std::vector<Value*>& values, const std::set<const Value*>& in) {
    return std::any_of(values.begin(), values.end(),
                       [&](const Value* v) { return v && in.count(v) > 0; });
  };
  for (const auto& node : graph.nodes()) {
    if (HasConstantWeights(*node) || any(node->inputs(), before))
      before.insert(node->outputs().begin(), node->outputs().end());
  }
  for (auto it = graph.nodes().rbegin(); it != graph.nodes().rend(); ++it) {
    if (HasConstantWeights(**it) || any((*it)->outputs(), behind))
      behind.insert((*it)->inputs().begin(), (*it)->inputs().end());
  }
  for (const auto& node : graph.nodes()) {
    if (!HasConstantWeights(*node)) continue;
    if (any(node->inputs(), before) && any(node->outputs(), behind)) continue;
    options->weight_bits[node->name()] = bits;
    // Its input keeps its codes through what only moves them.
    const Value* x = node->input(0);
    options->activation_bits[x->name()] = bits;
    while (x->producer() && IsTransparent(*x->producer())) {
      x = x->producer()->input(0);
      options->activation_bits[x->name()] = bits;
    }
  }
}

std::vector<const Node*> QuantizedNodes(const Graph& graph, const Scheme& scheme,
                                        const QuantizeOptions& options) {
  Placement placement(graph, scheme, options.keep_float);
  std::vector<const Node*> out;
  for (const auto& node : graph.nodes()) {
    if (placement.Integer(node.get())) out.push_back(node.get());
  }
  return out;
}

int SplitActivations(Graph& graph) {
  int split = 0;
  for (Node* node : graph.NodeList()) {
    if (node->domain() != ir::kSlipwayDomain) continue;
    std::string kind(node->attributes.String("activation", "none"));
    if (kind == "none" || kind == "Relu" || kind == "Clip" ||
        !(node->op() == "Conv" || node->op() == "Linear" || node->op() == "Add"))
      continue;
    std::span<const float> params = node->attributes.Floats("activation_params");
    ir::Attributes attributes;
    auto set = [&](size_t i, const char* name) {
      if (i < params.size()) attributes.Set(name, params[i]);
    };
    if (kind == "LeakyRelu" || kind == "Elu" || kind == "Swish" || kind == "HardSigmoid")
      set(0, "alpha");
    if (kind == "HardSigmoid") set(1, "beta");
    if (kind == "GeluTanh") {
      kind = "Gelu";
      attributes.Set("approximate", std::string("tanh"));
    }
    node->attributes.Erase("activation");
    node->attributes.Erase("activation_params");
    Value* y = node->output();
    ir::Type type = y->type();
    std::string name = y->name();
    graph.Rename(y, name + "_linear");
    auto after = std::next(std::find_if(graph.nodes().begin(), graph.nodes().end(),
                                        [&](const auto& n) { return n.get() == node; }));
    Node* function = graph.AddNode({kind, {}, attributes, "", node->name() + "/" + kind, {name}},
                                   after == graph.nodes().end() ? nullptr : after->get());
    function->sources = node->sources;
    function->output()->set_type(type);
    graph.ReplaceAllUses(y, function->output());
    graph.SetInput(function, 0, y);
    ++split;
  }
  return split;
}

int SplitResiduals(Graph& graph) {
  int split = 0;
  for (Node* node : graph.NodeList()) {
    if (!(node->IsSlipway("Conv") || node->IsSlipway("Linear")) || !node->input(3)) continue;
    ir::Attributes attributes;
    for (const char* key : {"activation", "activation_params"}) {
      if (const ops::AttributeValue* value = node->attributes.Find(key)) attributes.Set(key, *value);
      node->attributes.Erase(key);
    }
    Value* residual = node->input(3);
    node->graph()->RemoveInput(node, 3);
    if (!node->input(2)) node->graph()->RemoveInput(node, 2);
    Value* y = node->output();
    const ir::Type type = y->type();
    const std::string name = y->name();
    graph.Rename(y, name + "_product");
    auto after = std::next(std::find_if(graph.nodes().begin(), graph.nodes().end(),
                                        [&](const auto& n) { return n.get() == node; }));
    Node* add = graph.AddNode(
        {"Add", {}, attributes, ir::kSlipwayDomain, node->name() + "/Add", {name}},
        after == graph.nodes().end() ? nullptr : after->get());
    add->sources = node->sources;
    add->output()->set_type(type);
    graph.ReplaceAllUses(y, add->output());
    graph.SetInput(add, 0, y);
    graph.SetInput(add, 1, residual);
    ++split;
  }
  return split;
}

Status CheckScheme(const Scheme& scheme) {
  if (!scheme.weight_only && scheme.activations.per != compiler::Granularity::kTensor)
    return Unsupported(
        "the scheme's activations must be 'per: tensor'; change the platform's YAML or choose "
        "another platform");
  if (scheme.weights.per == compiler::Granularity::kGroup && scheme.weights.group < 1)
    return Unsupported("the scheme's weights are 'per: group' without a size; give 'group'");
  return OkStatus();
}

QuantParams SchemeParams(Range range, const CodeRange& codes, compiler::ScaleKind kind) {
  if (kind == compiler::ScaleKind::kLogarithmic) {
    const float top = std::max(std::fabs(range.lo), std::fabs(range.hi));
    return {top > 1e-30f ? top : 1.0f, 0};
  }
  QuantParams q = ParamsFor(range, codes);
  if (kind != compiler::ScaleKind::kPowerOfTwo) return q;
  q.scale = std::exp2(std::ceil(std::log2(q.scale)));
  if (!codes.symmetric)
    q.zero_point = std::clamp<int64_t>(
        codes.lo - std::llrint(double{std::min(range.lo, 0.0f)} / q.scale), codes.lo, codes.hi);
  return q;
}

std::set<std::string> ValuesToObserve(const Graph& graph, const Scheme& scheme,
                                      const QuantizeOptions& options) {
  Placement placement(graph, scheme, options.keep_float);
  std::set<std::string> names;
  for (const Value* v : placement.coded()) {
    for (const Value* source : placement.RangeSources(v)) names.insert(source->name());
  }
  return names;
}

Status InsertQuantization(Graph& graph, const Scheme& scheme, const Observers& observers,
                          const QuantizeOptions& options) {
  return Inserter(graph, scheme, observers, options).Run();
}

Status Quantize(Graph& graph, const Scheme& scheme,
                const std::function<Result<Evaluator>(const Graph&)>& make_evaluator,
                const BatchSource& data, const QuantizeOptions& options,
                const std::function<void(int64_t)>& progress, Parallel* pool) {
  SLIPWAY_RETURN_IF_ERROR(CheckScheme(scheme));
  SplitActivations(graph);
  if (scheme.outputs) SplitResiduals(graph);
  std::set<std::string> names = ValuesToObserve(graph, scheme, options);
  const auto recurrent = RecurrentLayers(graph, scheme, options);
  if (QuantizedNodes(graph, scheme, options).empty() &&
      std::none_of(recurrent.begin(), recurrent.end(),
                   [](const RecurrentLayer& r) { return r.kept.empty(); })) {
    return InvalidArgument(
        "the model has no node that this platform runs on integers; its operators or weights are "
        "not of the scheme's kind");
  }
  if (names.empty()) return InsertQuantization(graph, scheme, {}, options);  // weights only
  SLIPWAY_ASSIGN_OR_RETURN(Evaluator evaluator, make_evaluator(graph));
  SLIPWAY_ASSIGN_OR_RETURN(Observers observers,
                           Calibrate(graph, evaluator, data, names, progress, pool));
  return InsertQuantization(graph, scheme, observers, options);
}

}  // namespace slipway::quant
