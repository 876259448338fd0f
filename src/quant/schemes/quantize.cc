#include "quant/schemes/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "model/ir/infer.h"

namespace slipway::quant {
namespace {

using compiler::Granularity;
using compiler::Sign;
using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

// The scheme's name of a node's operator: fused and plain forms are one.
std::string SchemeName(const Node& node) {
  if (node.Is("Gemm") || node.Is("MatMul") || node.IsSlipway("Linear")) return "Linear";
  return node.op();
}

bool HasWeights(const Node& node) {
  return node.Is("Conv") || node.IsSlipway("Conv") || node.Is("Gemm") || node.Is("MatMul") ||
         node.IsSlipway("Linear");
}

bool IsFloatActivation(const Value* v) {
  return v && !v->is_constant() && v->dtype() == DType::kFloat32;
}

// Moves codes about without changing them: its output keeps its input's scale.
bool IsTransparent(const Node& node) {
  static const std::set<std::string> kOps = {
      "Reshape", "Transpose", "Flatten", "Squeeze",      "Unsqueeze",    "MaxPool",       "Slice",
      "Split",   "Identity",  "Gather",  "DepthToSpace", "SpaceToDepth", "GlobalMaxPool", "Expand"};
  return node.domain().empty() && kOps.count(node.op()) && IsFloatActivation(node.input(0));
}

bool IsUnaryFunction(const Node& node) {
  static const std::set<std::string> kOps = {"Relu",        "LeakyRelu", "Clip",  "Sigmoid",
                                             "HardSigmoid", "HardSwish", "Swish", "Gelu",
                                             "Tanh",        "Elu"};
  return node.domain().empty() && kOps.count(node.op());
}

bool SchemeQuantizes(const Node& node, const Scheme& scheme, const QuantizeOptions& options) {
  if (options.keep_float.count(node.name())) return false;
  if (std::find(scheme.operators.begin(), scheme.operators.end(), SchemeName(node)) ==
      scheme.operators.end())
    return false;
  if (!IsFloatActivation(node.input(0))) return false;
  if (HasWeights(node)) {
    const Tensor* w = node.constant_input(1);
    if (!w || w->dtype() != DType::kFloat32) return false;
    if (node.Is("Gemm")) {
      return node.attributes.Float("alpha", 1) == 1 && node.attributes.Float("beta", 1) == 1 &&
             node.attributes.Int("transA", 0) == 0 &&
             (!node.input(2) ||
              (node.constant_input(2) && node.constant_input(2)->dims().rank() == 1));
    }
    if (node.Is("MatMul")) return w->dims().rank() == 2;
    return true;
  }
  if (node.op() == "Add" || node.op() == "Mul") {
    // Two activations; a constant operand stays in float, where it costs nothing to keep exact.
    return IsFloatActivation(node.input(1));
  }
  if (node.op() == "Concat") {
    return std::all_of(node.inputs().begin(), node.inputs().end(), IsFloatActivation);
  }
  return !IsTransparent(node);
}

// Which values are stored as codes: those that some integer node reads, directly or through
// transparent nodes and unary functions.
class Placement {
 public:
  Placement(const Graph& graph, const Scheme& scheme, const QuantizeOptions& options) {
    for (auto it = graph.nodes().rbegin(); it != graph.nodes().rend(); ++it) {
      const Node& node = **it;
      if (SchemeQuantizes(node, scheme, options)) {
        if (node.op() == "Concat" && !Any(node.outputs()))
          continue;  // moving codes pays only when somebody reads codes
        integer_.insert(&node);
        for (size_t i = 0; i < node.inputs().size(); ++i) {
          bool activation =
              IsFloatActivation(node.input(i)) && !(HasWeights(node) && (i == 1 || i == 2));
          if (activation) coded_.insert(node.input(i));
        }
      } else if (!options.keep_float.count(node.name()) &&
                 (IsTransparent(node) || IsUnaryFunction(node)) && Any(node.outputs())) {
        coded_.insert(node.input(0));
      }
    }
  }
  bool Coded(const Value* v) const { return coded_.count(v) > 0; }
  bool Integer(const Node* n) const { return integer_.count(n) > 0; }
  const std::set<const Value*>& coded() const { return coded_; }

 private:
  bool Any(const std::vector<Value*>& values) const {
    return std::any_of(values.begin(), values.end(), [&](const Value* v) { return v && Coded(v); });
  }
  std::set<const Value*> coded_;
  std::set<const Node*> integer_;
};

// The value whose range decides `v`'s codes: through transparent nodes it is their input's.
const Value* RangeSource(const Value* v, const Placement& placement) {
  while (v->producer() && IsTransparent(*v->producer()) && placement.Coded(v->producer()->input(0)))
    v = v->producer()->input(0);
  return v;
}

DType CodeType(int bits, bool is_signed) {
  if (bits <= 8) return is_signed ? DType::kInt8 : DType::kUInt8;
  return is_signed ? DType::kInt16 : DType::kUInt16;
}

Result<Tensor> CodeScalar(DType type, int64_t value) {
  SLIPWAY_ASSIGN_OR_RETURN(Tensor t, Tensor::Allocate(type, {}));
  if (DTypeBits(type) == 8) {
    t.mutable_data()[0] = static_cast<uint8_t>(value);
  } else {
    auto v = static_cast<uint16_t>(value);
    std::memcpy(t.mutable_data(), &v, 2);
  }
  return t;
}

ir::Attributes QuantAttributes(const TensorScheme& scheme, const std::string& rounding,
                               bool is_signed, int64_t axis) {
  ir::Attributes a;
  a.Set("bits", int64_t{scheme.bits});
  a.Set("signed", int64_t{is_signed});
  a.Set("narrow", int64_t{scheme.narrow});
  a.Set("axis", axis);
  a.Set("rounding", rounding);
  if (scheme.kind == compiler::ScaleKind::kPowerOfTwo) a.Set("kind", std::string("power_of_two"));
  return a;
}

float SnapScale(float scale, compiler::ScaleKind kind) {
  return kind == compiler::ScaleKind::kPowerOfTwo ? std::exp2(std::ceil(std::log2(scale))) : scale;
}

struct QuantizedValue {
  Value* dequantized;
  float scale;
};

class Inserter {
 public:
  Inserter(Graph& graph, const Scheme& scheme, const Observers& observers,
           const QuantizeOptions& options)
      : graph_(graph),
        scheme_(scheme),
        observers_(observers),
        options_(options),
        placement_(graph, scheme, options) {}

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
    std::map<Value*, const Value*> source;
    for (Value* v : coded) source[v] = RangeSource(v, placement_);
    for (Value* v : coded) SLIPWAY_RETURN_IF_ERROR(InsertPair(v, source[v]));
    for (Node* n : weighted) SLIPWAY_RETURN_IF_ERROR(QuantizeWeights(n));
    SLIPWAY_RETURN_IF_ERROR(graph_.SortTopologically());
    return ir::InferShapes(graph_);
  }

 private:
  Status InsertPair(Value* v, const Value* range_source);
  Status QuantizeWeights(Node* node);

  Graph& graph_;
  const Scheme& scheme_;
  const Observers& observers_;
  const QuantizeOptions& options_;
  Placement placement_;
  std::map<const Value*, float> scale_of_;  // by the Dequantize's output
};

Status Inserter::InsertPair(Value* v, const Value* range_source) {
  auto it = observers_.find(range_source->name());
  if (it == observers_.end())
    return InvalidArgument("value '" + range_source->name() +
                           "' was not observed; calibrate with this graph");
  TensorScheme a = scheme_.activations;
  if (const auto bits = options_.activation_bits.find(range_source->name());
      bits != options_.activation_bits.end())
    a.bits = bits->second;
  bool is_unsigned =
      a.sign == Sign::kUnsigned || (a.sign == Sign::kAuto && it->second.MinMax().lo >= 0);
  CodeRange codes = CodesOf(a, is_unsigned);
  SLIPWAY_ASSIGN_OR_RETURN(Range range, it->second.Choose(a.observer, codes));
  QuantParams q = ParamsFor(range, codes);
  q.scale = SnapScale(q.scale, a.kind);
  DType type = CodeType(a.bits, !is_unsigned);
  SLIPWAY_ASSIGN_OR_RETURN(Tensor zero, CodeScalar(type, q.zero_point));
  Value* scale = graph_.AddConstant(v->name() + "_scale", Tensor::Scalar(q.scale));
  Value* zero_point = graph_.AddConstant(v->name() + "_zero_point", std::move(zero));
  ir::Attributes attributes = QuantAttributes(a, scheme_.rounding, !is_unsigned, 1);
  std::vector<ir::Use> uses = v->uses();
  Node* quantize = graph_.AddNode({"Quantize",
                                   {v, scale, zero_point},
                                   attributes,
                                   ir::kSlipwayDomain,
                                   v->name() + "/quantize",
                                   {v->name() + "_q"}});
  Node* dequantize = graph_.AddNode({"Dequantize",
                                     {quantize->output(), scale, zero_point},
                                     attributes,
                                     ir::kSlipwayDomain,
                                     v->name() + "/dequantize",
                                     {v->name() + "_dq"}});
  for (const ir::Use& use : uses)
    graph_.SetInput(use.node, static_cast<size_t>(use.index), dequantize->output());
  scale_of_[dequantize->output()] = q.scale;
  return OkStatus();
}

Status Inserter::QuantizeWeights(Node* node) {
  const Tensor w = node->constant_input(1)->Aligned();
  TensorScheme ws = scheme_.weights;
  if (const auto bits = options_.weight_bits.find(node->name());
      bits != options_.weight_bits.end()) {
    ws.bits = bits->second;
    if (ws.bits <= 2) ws.narrow = false;  // every code is needed
  }
  bool conv = node->op() == "Conv";
  int axis = conv ? 0
                  : ((node->Is("Gemm") ? node->attributes.Int("transB", 0)
                                       : node->attributes.Int("transW", 0))
                         ? 0
                         : w.dims().rank() - 1);
  const size_t ax = static_cast<size_t>(axis);
  const int64_t channels = w.dims()[ax];
  const int64_t inner = w.dims().count(axis + 1, w.dims().rank());
  const int64_t outer = w.dims().count(0, axis);
  const bool per_channel = ws.per != Granularity::kTensor;
  CodeRange codes = CodesOf(ws, false);
  const float* data = w.data<float>();

  std::vector<float> scales(per_channel ? static_cast<size_t>(channels) : 1);
  std::vector<Observer> seen(scales.size());
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t c = 0; c < channels; ++c) {
      seen[per_channel ? static_cast<size_t>(c) : 0].Observe(
          {data + (o * channels + c) * inner, static_cast<size_t>(inner)});
    }
  }
  for (size_t c = 0; c < scales.size(); ++c) {
    if (seen[c].not_finite() > 0)
      return InvalidArgument(node->Describe() +
                             " has weights that are not finite; retrain or repair them");
    SLIPWAY_ASSIGN_OR_RETURN(Range range, seen[c].Choose(ws.observer, codes));
    scales[c] = SnapScale(ParamsFor(range, codes).scale, ws.kind);
  }
  SLIPWAY_ASSIGN_OR_RETURN(Tensor wq, Tensor::Allocate(CodeType(ws.bits, true), w.dims()));
  for (int64_t i = 0; i < w.count(); ++i) {
    int64_t c = per_channel ? i / inner % channels : 0;
    double code = std::clamp(std::nearbyint(double{data[i]} / scales[static_cast<size_t>(c)]),
                             static_cast<double>(codes.lo), static_cast<double>(codes.hi));
    if (ws.bits <= 8) {
      reinterpret_cast<int8_t*>(wq.mutable_data())[i] = static_cast<int8_t>(code);
    } else {
      reinterpret_cast<int16_t*>(wq.mutable_data())[i] = static_cast<int16_t>(code);
    }
  }
  const std::string name = node->input(1)->name();
  Value* wq_value = graph_.AddConstant(name + "_q", std::move(wq));
  Value* scale = graph_.AddConstant(
      name + "_scale", per_channel ? Tensor::Vector(scales) : Tensor::Scalar(scales[0]));
  Node* dq = graph_.AddNode({"Dequantize",
                             {wq_value, scale},
                             QuantAttributes(ws, scheme_.rounding, true, axis),
                             ir::kSlipwayDomain,
                             name + "/dequantize",
                             {name + "_dq"}},
                            node);
  graph_.SetInput(node, 1, dq->output());

  const Tensor* bias = node->constant_input(2);
  auto sx = scale_of_.find(node->input(0));
  if (!bias || bias->dtype() != DType::kFloat32 || sx == scale_of_.end()) return OkStatus();
  const Tensor b = bias->Aligned();
  std::vector<int32_t> bq(static_cast<size_t>(b.count()));
  std::vector<float> bias_scale(bq.size());
  for (size_t i = 0; i < bq.size(); ++i) {
    bias_scale[i] = static_cast<float>(double{sx->second} * scales[per_channel ? i : 0]);
    double code = std::nearbyint(double{b.data<float>()[i]} /
                                 (double{sx->second} * scales[per_channel ? i : 0]));
    // A channel whose weights are nearly zero would need a bias code beyond int32; a wider weight
    // scale loses nothing there, but the float bias is simpler.
    if (std::fabs(code) > 1e9) return OkStatus();
    bq[i] = static_cast<int32_t>(code);
  }
  const std::string bias_name = node->input(2)->name();
  Value* bq_value = graph_.AddConstant(bias_name + "_q", Tensor::Of<int32_t>(b.dims(), bq));
  Value* bs_value = graph_.AddConstant(bias_name + "_scale", Tensor::Vector(bias_scale));
  ir::Attributes attributes;
  attributes.Set("bits", int64_t{32});
  attributes.Set("axis", int64_t{0});
  Node* bdq = graph_.AddNode({"Dequantize",
                              {bq_value, bs_value},
                              attributes,
                              ir::kSlipwayDomain,
                              bias_name + "/dequantize",
                              {bias_name + "_dq"}},
                             node);
  graph_.SetInput(node, 2, bdq->output());
  return OkStatus();
}

}  // namespace

CodeRange CodesOf(const TensorScheme& scheme, bool unsigned_codes) {
  if (unsigned_codes) return {0, (int64_t{1} << scheme.bits) - 1, scheme.symmetric};
  int64_t hi = (int64_t{1} << (scheme.bits - 1)) - 1;
  return {scheme.narrow ? -hi : -hi - 1, hi, scheme.symmetric};
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
  Placement placement(graph, scheme, options);
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

Status CheckScheme(const Scheme& scheme) {
  const TensorScheme &w = scheme.weights, &a = scheme.activations;
  auto refuse = [](const std::string& what) {
    return Unsupported("the scheme's " + what +
                       "; change the platform's YAML or choose another platform");
  };
  for (const auto& [name, t] : {std::pair{"weights", &w}, std::pair{"activations", &a}}) {
    if (t->kind == compiler::ScaleKind::kLogarithmic)
      return refuse(
          std::string(name) +
          " have 'kind: logarithmic', which post-training quantization does not make yet");
    if (t->per == Granularity::kGroup)
      return refuse(std::string(name) +
                    " have 'per: group', which post-training quantization does not make yet");
  }
  if (!w.symmetric)
    return refuse(
        "weights are asymmetric ('symmetric: false'), which post-training quantization does not "
        "make yet");
  if (w.sign != Sign::kSigned) return refuse("weights must be signed");
  if (a.per != Granularity::kTensor) return refuse("activations must be 'per: tensor'");
  return OkStatus();
}

std::set<std::string> ValuesToObserve(const Graph& graph, const Scheme& scheme,
                                      const QuantizeOptions& options) {
  Placement placement(graph, scheme, options);
  std::set<std::string> names;
  for (const Value* v : placement.coded()) names.insert(RangeSource(v, placement)->name());
  return names;
}

Status InsertQuantization(Graph& graph, const Scheme& scheme, const Observers& observers,
                          const QuantizeOptions& options) {
  return Inserter(graph, scheme, observers, options).Run();
}

Status Quantize(Graph& graph, const Scheme& scheme,
                const std::function<Result<Evaluator>(const Graph&)>& make_evaluator,
                const BatchSource& data, const QuantizeOptions& options,
                const std::function<void(int64_t)>& progress) {
  SLIPWAY_RETURN_IF_ERROR(CheckScheme(scheme));
  SplitActivations(graph);
  std::set<std::string> names = ValuesToObserve(graph, scheme, options);
  if (names.empty()) {
    return InvalidArgument(
        "the model has no node that this platform runs on integers; its operators or weights are "
        "not of the scheme's kind");
  }
  SLIPWAY_ASSIGN_OR_RETURN(Evaluator evaluator, make_evaluator(graph));
  SLIPWAY_ASSIGN_OR_RETURN(Observers observers, Calibrate(graph, evaluator, data, names, progress));
  return InsertQuantization(graph, scheme, observers, options);
}

}  // namespace slipway::quant
