#include "model/passes/epilogue.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

// What lies between the two of one image, in float32, where it is far more than second-level caches
// hold. Measured on a Zen 4 core with 1 MB of it in MobileNetV2 and EfficientNet-B0: 0.87 and 0.91
// of the time of the two at 4.8 MB, nothing gained at 1.8 MB, nor where the result is as large.
constexpr int64_t kLargeBytes = int64_t{3} << 20;

int64_t ImageElements(const Value* v) {
  int64_t n = 1;
  const auto& shape = v->type().shape;
  if (!shape || shape->size() != 4) return 0;
  for (size_t i = 1; i < 4; ++i) {
    const Dim& d = (*shape)[i];
    if (!d.known() || d.value() < 1 || d.value() > (int64_t{1} << 31) / n) return 0;
    n *= d.value();
  }
  return n;
}

bool FuseOne(Graph& graph, Node* outer, const std::function<bool(const Node&)>& supported) {
  if ((!outer->Is("Conv") && !outer->IsSlipway("Conv")) || outer->input(3)) return false;
  const Value *x = outer->input(0), *v = outer->input(1), *b = outer->input(2);
  if (!x || x->dtype() != DType::kFloat32 || !v->is_constant() || (b && !b->is_constant()) ||
      outer->attributes.String("auto_pad", "NOTSET") != "NOTSET")
    return false;
  const Dims& dims = v->constant()->dims();
  const int64_t between = ImageElements(x), out = ImageElements(outer->output());
  if (dims.rank() != 4 || dims[1] != 1 || outer->attributes.Int("group", 1) != dims[0] ||
      between * 4 < kLargeBytes || out == 0 || out > between / 2)
    return false;
  Node* inner = PointwiseOf(x);
  if (!inner || inner->input(1)->constant()->dims()[0] != dims[0]) return false;
  ir::Attributes attributes = outer->attributes;
  attributes.Erase("group");
  attributes.Erase("auto_pad");
  const Activation act = Activation::Read(inner->attributes);
  attributes.Set("inner", act.name);
  if (!act.params.empty()) attributes.Set("inner_params", act.params);
  const Graph::NodeSpec spec = {.op = "ConvDepthwise",
                                .inputs = {inner->input(0), inner->input(1), outer->input(1),
                                           inner->input(2), outer->input(2)},
                                .attributes = attributes,
                                .domain = ir::kSlipwayDomain};
  const std::vector<Node*> pieces = {inner, outer};
  return IsSelfContained(pieces) && FuseIfSupported(graph, spec, outer, pieces, supported);
}

}  // namespace

Result<int> FuseConvDepthwise(ir::Graph& graph, const PassOptions& options) {
  const int changes =
      VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node, options.supported); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
