// Scaling and shifting of dequantized channels and a Quantize to QAffine: batch normalisation
// between a concatenation and a convolution, a bias behind a product. QAffine reads the pieces of a
// concatenation where they lie. The factors of the chain are multiplied in double: results may move
// by rounding, as those of the convolutions do.

#include <algorithm>

#include "model/passes/affine.h"
#include "model/passes/integer_output.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

bool All(const std::vector<int64_t>& v, int64_t x) {
  return std::all_of(v.begin(), v.end(), [x](int64_t i) { return i == x; });
}

// A convolution that only scales and shifts channels.
std::optional<Affine> DepthwisePoint(const Node* node) {
  if ((!node->Is("Conv") && !node->IsSlipway("Conv")) || node->input(3)) return std::nullopt;
  const Tensor* w = node->constant_input(1);
  if (!w || w->dtype() != DType::kFloat32 || w->dims().rank() < 3) return std::nullopt;
  const int64_t channels = w->dims()[0];
  if (w->count() != channels || node->attributes.Int("group", 1) != channels ||
      node->attributes.String("auto_pad", "NOTSET") != "NOTSET")
    return std::nullopt;
  const auto list = [&](const char* name) {
    const auto v = node->attributes.Ints(name);
    return std::vector<int64_t>(v.begin(), v.end());
  };
  if (!All(list("strides"), 1) || !All(list("pads"), 0)) return std::nullopt;
  Affine a{node->input(0), w->ToDoubles(), std::vector<double>(static_cast<size_t>(channels), 0.0)};
  if (node->input(2)) {
    auto bias = FloatsOf(node->input(2));
    if (!bias || static_cast<int64_t>(bias->size()) != channels) return std::nullopt;
    a.shift.assign(bias->begin(), bias->end());
  }
  return a;
}

bool Lower(Graph& graph, Node* quantize, int axis) {
  auto params = quantize->IsSlipway("Quantize") ? PerTensorParams(quantize) : std::nullopt;
  if (!params) return false;
  std::vector<Node*> chain{quantize};
  Value* value = quantize->input(0);
  const auto step = [&]() -> Node* { return value->OnlyUser() ? value->producer() : nullptr; };
  Activation activation;
  if (Node* node = step()) {
    auto found = ActivationOf(node);
    if (found && (found->name == "Relu" || found->name == "Clip")) {
      activation = *found;
      chain.insert(chain.begin(), node);
      value = node->input(0);
    }
  }
  // y = scale * value + shift, so far.
  std::vector<double> scale, shift;
  bool each = false;  // something differs between the channels
  for (Node* node = step(); node; node = step()) {
    auto a = axis == 1 ? DepthwisePoint(node) : std::nullopt;
    if (a) {
      const Activation own = Activation::Read(node->attributes);
      if (!own.none()) {
        if (!scale.empty() || !activation.none()) return false;
        activation = own;
      }
    } else {
      a = AffineOf(node, axis);
    }
    if (!a) break;
    if (scale.empty()) {
      scale.assign(a->scale.size(), 1.0);
      shift.assign(a->scale.size(), 0.0);
    }
    if (a->scale.size() != scale.size()) return false;
    for (size_t c = 0; c < scale.size(); ++c) {
      each |= a->scale[c] != a->scale[0] || a->shift[c] != a->shift[0];
      shift[c] += scale[c] * a->shift[c];
      scale[c] *= a->scale[c];
    }
    chain.insert(chain.begin(), node);
    value = a->x;
  }
  if (!each) return false;  // a change of scale, or a table
  Dequantized x = DequantizedValue(value);
  if (!x || x.codes->is_constant()) return false;
  Output out;
  out.params = params;
  out.q_min = params->q_min;
  out.q_max = params->q_max;
  if (!Clamp(activation, out)) return false;
  std::vector<float> multiplier, offset;
  for (size_t c = 0; c < scale.size(); ++c) {
    multiplier.push_back(Ratio(scale[c] * x.params.scale, params->scale));
    offset.push_back(Ratio(shift[c] - scale[c] * x.params.scale * x.params.zero, params->scale));
  }
  const Dims dims{static_cast<int64_t>(scale.size())};
  const std::string& name = chain.front()->name();
  std::vector<Value*> inputs{AddFloats(graph, name + "_multiplier", dims, multiplier),
                             AddFloats(graph, name + "_offset", dims, offset)};
  Node* joined = x.codes->OnlyUser() && value->OnlyUser() ? x.codes->producer() : nullptr;
  if (joined && joined->Is("Concat") &&
      NormalAxis(joined->attributes.Int("axis", 0), *RankOf(x.codes)) == axis) {
    inputs.insert(inputs.end(), joined->inputs().begin(), joined->inputs().end());
    chain.insert(chain.begin(), {joined, value->producer()});
  } else {
    inputs.push_back(x.codes);
  }
  ir::Attributes attributes{{"axis", int64_t{axis}}};
  Write(out, attributes);
  Fuse(graph,
       {.op = "QAffine", .inputs = inputs, .attributes = attributes, .domain = ir::kSlipwayDomain},
       chain.front()->Is("Concat") ? chain[2] : chain.front(), chain);
  return true;
}

}  // namespace

Result<int> LowerAffine(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) {
    if (node->inputs().empty() || !node->input(0)) return false;
    const auto rank = RankOf(node->input(0));
    if (!rank || *rank < 2) return false;
    return Lower(graph, node, 1) || (*rank > 2 && Lower(graph, node, *rank - 1));
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
