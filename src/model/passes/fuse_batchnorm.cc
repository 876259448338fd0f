#include "model/passes/affine.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// The output channel that element i of the weights belongs to.
struct ChannelOf {
  int64_t inner = 1, channels = 1,
          group_in = 0;  // group_in: input channels of a group (ConvTranspose)
  int64_t operator()(int64_t i) const {
    int64_t c = i / inner % channels;
    return group_in ? i / (inner * channels) / group_in * channels + c : c;
  }
};

std::optional<ChannelOf> Channels(const Node* node, const Dims& w) {
  if (node->Is("Conv")) return ChannelOf{w.count(1, w.rank()), w[0]};
  if (node->Is("ConvTranspose")) {
    int64_t group = node->attributes.Int("group", 1);
    if (group <= 0 || w[0] % group) return std::nullopt;
    return ChannelOf{w.count(2, w.rank()), w[1], w[0] / group};
  }
  if (node->Is("Gemm"))
    return node->attributes.Int("transB", 0) ? ChannelOf{w[1], w[0]} : ChannelOf{1, w[1]};
  return std::nullopt;
}

bool FuseOne(Graph& graph, Node* node) {
  auto affine = AffineOf(node);
  if (!affine || affine->x->dtype() != DType::kFloat32 || affine->x->OnlyUser() != node)
    return false;
  Node* main = affine->x->producer();
  if (!main || (!main->Is("Conv") && !main->Is("ConvTranspose") && !main->Is("Gemm"))) return false;
  auto dims = StaticDimsOf(main->input(1));
  if (!dims || dims->rank() < 2) return false;
  auto channel = Channels(main, *dims);
  size_t channels = affine->scale.size();
  if (!channel) return false;

  // The bias: by channel, or none.
  std::vector<double> bias(channels, 0.0);
  double beta = main->attributes.Float("beta", 1);
  if (main->input(2)) {
    const Tensor* b = main->constant_input(2);
    if (!b || b->dtype() != DType::kFloat32) return false;
    bias = b->ToDoubles();
    bool row = b->dims().rank() <= 1 || b->dims()[0] == 1;
    if (bias.size() == 1) bias.assign(channels, bias[0]);
    if (bias.size() != channels || !row) return false;
  }
  std::vector<float> new_bias(channels);
  for (size_t c = 0; c < channels; ++c) {
    new_bias[c] = static_cast<float>(beta * bias[c] * affine->scale[c] + affine->shift[c]);
  }

  std::vector<Value*> inputs = main->inputs();
  if (affine->scales) {
    auto w = FloatsOf(main->input(1));
    if (!w) return false;
    for (size_t i = 0; i < w->size(); ++i) {
      size_t c = static_cast<size_t>((*channel)(static_cast<int64_t>(i)));
      if (c >= channels) return false;
      (*w)[i] = static_cast<float>((*w)[i] * affine->scale[c]);
    }
    inputs[1] = AddFloats(graph, main->input(1)->name(), *dims, *w);
  }
  if (inputs.size() < 3) inputs.resize(3);
  std::string name = main->input(2) ? main->input(2)->name() : main->name() + "_bias";
  inputs[2] = AddFloats(graph, name, {static_cast<int64_t>(channels)}, new_bias);
  ir::Attributes attributes = main->attributes;
  attributes.Erase("beta");
  Fuse(graph, {.op = main->op(), .inputs = inputs, .attributes = attributes}, main, {main, node});
  return true;
}

}  // namespace

Result<int> FuseBatchNorm(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) {
    return node->domain().empty() && !node->inputs().empty() && node->output() &&
           FuseOne(graph, node);
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
