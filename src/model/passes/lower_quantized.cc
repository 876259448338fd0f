// QDQ patterns to integer operators. The arithmetic of each is fixed in operators.inc; this pass
// only decides what becomes one and computes its constants.

#include <cmath>
#include <limits>

#include "model/passes/epilogue.h"
#include "model/passes/integer_output.h"
#include "model/passes/pass.h"
#include "model/passes/qdq.h"

namespace slipway::passes {
namespace {

constexpr auto kDomain = ir::kSlipwayDomain;

// Conv and Linear
// -------------------------------------------------------------------------------------------------------------

struct Weighted {
  Node* node = nullptr;
  bool conv = false, transposed = false;
  Value *bias = nullptr, *residual = nullptr;
  Activation activation;
  int64_t channel_axis = 0;
};

std::optional<Weighted> ReadWeighted(Node* node) {
  Weighted w{node};
  bool fused_conv = node->IsSlipway("Conv"), fused_linear = node->IsSlipway("Linear");
  w.conv = fused_conv || node->Is("Conv");
  auto rank = RankOf(node->input(1));
  if (w.conv) {
    if (!fused_conv && node->attributes.String("auto_pad", "NOTSET") != "NOTSET")
      return std::nullopt;
  } else if (fused_linear || node->Is("MatMul") || node->Is("Gemm")) {
    if (rank != 2 || RankOf(node->input(0)).value_or(0) < 2) return std::nullopt;
    w.transposed = node->attributes.Int(fused_linear ? "transW" : "transB", 0) != 0;
    w.channel_axis = w.transposed ? 0 : 1;
    bool plain = node->attributes.Float("alpha", 1) == 1 &&
                 node->attributes.Float("beta", 1) == 1 && node->attributes.Int("transA", 0) == 0;
    if (node->Is("Gemm") && !plain) return std::nullopt;
  } else {
    return std::nullopt;
  }
  w.bias = node->input(2);
  if (fused_conv || fused_linear) {
    w.residual = node->input(3);
    w.activation = Activation::Read(node->attributes);
  }
  return w;
}

// Sum over the weights of |w| * the largest |x|, plus |bias|, must fit the sums of every channel:
// int32, or double's 53 bits where x has codes of 16 bits.
bool AccumulatorFits(const QWeights& weights, const Weighted& w, const QParams& x,
                     const std::vector<int64_t>& bias, int64_t channels) {
  int64_t largest = std::max(std::abs(x.q_min - x.zero), std::abs(x.q_max - x.zero));
  std::vector<int64_t> sums(static_cast<size_t>(channels), 0);
  const bool wide = weights.codes.dtype() == DType::kInt16;
  const auto code = [&](int64_t i) {
    return wide ? int64_t{weights.codes.data<int16_t>()[i]} : weights.codes.data<int8_t>()[i];
  };
  const int64_t inner = weights.codes.count() / channels,
                most = x.codes == DType::kInt16 || x.codes == DType::kUInt16
                           ? int64_t{1} << 53
                           : std::numeric_limits<int32_t>::max();
  for (int64_t i = 0; i < weights.codes.count(); ++i) {
    int64_t c = w.channel_axis == 0 ? i / inner : i % channels;
    sums[static_cast<size_t>(c)] += std::abs(code(i)) * largest;
  }
  for (size_t c = 0; c < sums.size(); ++c) {
    int64_t total = sums[c] + (bias.empty() ? 0 : std::abs(bias[c]));
    if (total > most) return false;
  }
  return true;
}

// The bias in units of s_x * s_w; nullopt when it is not constant or one does not fit int32.
std::optional<std::vector<int64_t>> IntegerBias(const Value* value, const QParams& x,
                                                const QWeights& weights, int64_t channels) {
  auto bias = BiasOf(value);
  if (!bias || static_cast<int64_t>(bias->values.size()) != channels) return std::nullopt;
  std::vector<int64_t> codes;
  for (size_t c = 0; c < bias->values.size(); ++c) {
    double unit = static_cast<double>(x.scale) * weights.scales[weights.scales.size() == 1 ? 0 : c];
    bool same_unit = !bias->codes.empty() && std::abs(bias->scales[c] - unit) <= 1e-6 * unit;
    double code =
        same_unit ? static_cast<double>(bias->codes[c]) : std::nearbyint(bias->values[c] / unit);
    if (!(std::abs(code) <= std::numeric_limits<int32_t>::max())) return std::nullopt;
    codes.push_back(static_cast<int64_t>(code));
  }
  return codes;
}

bool LowerWeighted(Graph& graph, Node* node, bool wide) {
  auto w = ReadWeighted(node);
  if (!w) return false;
  const int bits = wide ? 16 : 8;
  Dequantized x = DequantizedValue(node->input(0), bits);
  auto weights = x ? WeightsOf(node->input(1), w->channel_axis, wide) : std::nullopt;
  if (!weights) return false;
  int64_t channels = weights->codes.dims()[static_cast<size_t>(w->channel_axis)];
  std::vector<int64_t> bias;
  if (w->bias) {
    auto codes = IntegerBias(w->bias, x.params, *weights, channels);
    if (!codes) return false;
    bias = std::move(*codes);
  }
  if (!AccumulatorFits(*weights, *w, x.params, bias, channels)) return false;

  Dequantized z = DequantizedValue(w->residual, bits);
  bool float_residual = w->residual && !z;
  Output out = float_residual ? Output{} : FindOutput(node, w->activation, true, bits);
  std::vector<float> multiplier;
  for (float s : weights->scales)
    multiplier.push_back(Ratio(static_cast<double>(x.params.scale) * s, out.scale()));

  std::vector<Value*> inputs{x.codes,
                             graph.AddConstant(node->input(1)->name() + "_codes", weights->codes),
                             AddFloats(graph, node->name() + "_multiplier",
                                       {static_cast<int64_t>(multiplier.size())}, multiplier)};
  if (!bias.empty() || z) inputs.push_back(nullptr);
  if (!bias.empty()) {
    std::vector<int32_t> narrow(bias.begin(), bias.end());
    inputs[3] = graph.AddConstant(node->name() + "_bias", Tensor::Vector<int32_t>(narrow));
  }
  ir::Attributes attributes;
  if (w->conv) {
    for (const char* name : {"dilations", "group", "kernel_shape", "pads", "strides"}) {
      if (auto* value = node->attributes.Find(name)) attributes.Set(name, *value);
    }
  } else if (w->transposed) {
    attributes.Set("transW", int64_t{1});
  }
  attributes.Set("x_zero_point", int64_t{x.params.zero});
  Write(out, attributes);
  if (z) {
    inputs.push_back(z.codes);
    attributes.Set("z_multiplier", Ratio(z.params.scale, out.scale()));
    attributes.Set("z_zero_point", int64_t{z.params.zero});
  }
  Graph::NodeSpec spec{.op = w->conv ? "QConv" : "QLinear",
                       .inputs = inputs,
                       .attributes = attributes,
                       .domain = kDomain};
  bool rest = !out.params && out.activation.none() && (float_residual || !w->activation.none());
  if (!rest) {
    Fuse(graph, std::move(spec), node, Replaced(node, out));
    return true;
  }
  // An integer core with a float tail: the addition and the activation become nodes of their own.
  spec.name = node->name() + "/integer";
  Node* core = graph.AddNode(std::move(spec), node);
  core->output()->set_type(node->output()->type());
  core->sources = node->sources.empty() ? std::vector<std::string>{node->name()} : node->sources;
  if (float_residual) {
    ir::Attributes add;
    w->activation.WriteTo(add);
    Fuse(graph,
         {.op = "Add",
          .inputs = {core->output(), w->residual},
          .attributes = add,
          .domain = kDomain},
         node, {node});
  } else {
    Node* tail =
        AddActivation(graph, w->activation, core->output(), node, node->name() + "/activation");
    tail->sources = core->sources;
    std::string name = node->output()->name();
    graph.ReplaceAllUses(node->output(), tail->output());
    graph.RemoveNode(node);
    graph.Rename(tail->output(), name);
  }
  return true;
}

// Elementwise and pooling
// -----------------------------------------------------------------------------------------------------

bool LowerBinary(Graph& graph, Node* node) {
  bool mul = node->Is("Mul");
  if (!mul && !node->Is("Add") && !node->IsSlipway("Add")) return false;
  Dequantized a = DequantizedValue(node->input(0)), b = DequantizedValue(node->input(1));
  if (!a || !b) return false;
  Activation own = Activation::Read(node->attributes);
  Output out = FindOutput(node, own);
  if (!out.params && !own.none()) return false;
  ir::Attributes attributes{{"a_zero_point", int64_t{a.params.zero}},
                            {"b_zero_point", int64_t{b.params.zero}}};
  if (mul) {
    attributes.Set("multiplier",
                   Ratio(static_cast<double>(a.params.scale) * b.params.scale, out.scale()));
  } else {
    attributes.Set("a_multiplier", Ratio(a.params.scale, out.scale()));
    attributes.Set("b_multiplier", Ratio(b.params.scale, out.scale()));
  }
  Write(out, attributes);
  Fuse(graph,
       {.op = mul ? "QMul" : "QAdd",
        .inputs = {a.codes, b.codes},
        .attributes = attributes,
        .domain = kDomain},
       node, Replaced(node, out));
  return true;
}

bool LowerPool(Graph& graph, Node* node, bool wide) {
  bool global = node->Is("GlobalAveragePool");
  if (!global && !node->Is("AveragePool")) return false;
  const int bits = wide ? 16 : 8;
  Dequantized x = DequantizedValue(node->input(0), bits);
  if (!x) return false;
  Output out = FindOutput(node, {}, false, bits);
  if (out.params && DTypeBits(out.params->codes) != DTypeBits(x.params.codes)) return false;
  ir::Attributes attributes;
  if (global) {
    attributes.Set("global", int64_t{1});
  } else {
    attributes = node->attributes;
  }
  attributes.Set("multiplier", Ratio(x.params.scale, out.scale()));
  attributes.Set("x_zero_point", int64_t{x.params.zero});
  Write(out, attributes);
  Fuse(graph,
       {.op = "QAveragePool", .inputs = {x.codes}, .attributes = attributes, .domain = kDomain},
       node, Replaced(node, out));
  return true;
}

// To the nearest it moves codes: move-quantize has done that.
bool LowerResize(Graph& graph, Node* node) {
  if (!node->Is("Resize") || node->attributes.String("mode", "nearest") == "nearest" ||
      node->attributes.String("coordinate_transformation_mode", "half_pixel") ==
          "tf_crop_and_resize")
    return false;
  Dequantized x = DequantizedValue(node->input(0));
  if (!x) return false;
  Output out = FindOutput(node, {});
  ir::Attributes attributes = node->attributes;
  attributes.Erase("extrapolation_value");
  attributes.Set("multiplier", Ratio(x.params.scale, out.scale()));
  attributes.Set("x_zero_point", int64_t{x.params.zero});
  Write(out, attributes);
  std::vector<Value*> inputs = node->inputs();
  inputs[0] = x.codes;
  Fuse(graph, {.op = "QResize", .inputs = inputs, .attributes = attributes, .domain = kDomain},
       node, Replaced(node, out));
  return true;
}

// Quantize behind a Dequantize: a change of scale. What lies between is lower-lookup's.
bool LowerRescale(Graph& graph, Node* node) {
  auto y = node->IsSlipway("Quantize") ? PerTensorParams(node) : std::nullopt;
  if (!y) return false;
  Dequantized x = DequantizedValue(node->input(0));
  if (!x) return false;
  ir::Attributes attributes{{"multiplier", Ratio(x.params.scale, y->scale)},
                            {"x_zero_point", int64_t{x.params.zero}}};
  Output out;
  out.params = y;
  out.q_min = y->q_min;
  out.q_max = y->q_max;
  Write(out, attributes);
  Fuse(graph, {.op = "QRescale", .inputs = {x.codes}, .attributes = attributes, .domain = kDomain},
       node, {node});
  return true;
}

}  // namespace

Result<int> LowerQuantized(ir::Graph& graph, const PassOptions& options) {
  int changes = VisitNodes(graph, [&](Node* node) {
    if (node->inputs().empty() || !node->output()) return false;
    return LowerWeighted(graph, node, options.wide_codes) || LowerBinary(graph, node) ||
           LowerPool(graph, node, options.wide_codes) || LowerResize(graph, node) ||
           LowerRescale(graph, node);
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
