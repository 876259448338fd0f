#include <cmath>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// y = x * scale + shift by channel.
struct Affine {
  Value* x = nullptr;
  std::vector<double> scale, shift;
  bool scales = true;  // false: scale is all ones
};

// The elements of a constant that broadcasts along axis 1 of a tensor of rank `rank` with
// `channels` there (a scalar too).
std::optional<std::vector<double>> PerChannel(const Value* value, int rank, int64_t channels) {
  const Tensor* t = value ? value->constant() : nullptr;
  if (!t || t->dtype() != DType::kFloat32 || t->dims().rank() > rank) return std::nullopt;
  if (t->count() != 1) {
    for (int i = 0; i < t->dims().rank(); ++i) {
      int axis = i + rank - t->dims().rank();
      if (t->dims()[static_cast<size_t>(i)] != (axis == 1 ? channels : 1)) return std::nullopt;
    }
  }
  std::vector<double> v = t->ToDoubles();
  if (v.size() == 1) v.assign(static_cast<size_t>(channels), v[0]);
  if (static_cast<int64_t>(v.size()) != channels) return std::nullopt;
  return v;
}

std::optional<Affine> AffineOf(const Node* node) {
  if (node->Is("BatchNormalization")) {
    Affine a{node->input(0), {}, {}};
    auto gamma = FloatsOf(node->input(1)), beta = FloatsOf(node->input(2)),
         mean = FloatsOf(node->input(3)), var = FloatsOf(node->input(4));
    if (!gamma || !beta || !mean || !var) return std::nullopt;
    double epsilon = node->attributes.Float("epsilon", 1e-5f);
    for (size_t c = 0; c < gamma->size(); ++c) {
      a.scale.push_back((*gamma)[c] / std::sqrt((*var)[c] + epsilon));
      a.shift.push_back((*beta)[c] - (*mean)[c] * a.scale.back());
    }
    return a;
  }
  bool mul = node->Is("Mul"), div = node->Is("Div");
  if (!mul && !div && !node->Is("Add")) return std::nullopt;
  for (size_t i = 0; i < (div ? 1u : 2u); ++i) {
    Value* x = node->input(i);
    auto rank = RankOf(x);
    if (x->is_constant() || !rank || *rank < 2 || !(*x->type().shape)[1].known()) continue;
    int64_t channels = (*x->type().shape)[1].value();
    auto c = PerChannel(node->input(1 - i), *rank, channels);
    if (!c || !SameShape(x, node->output())) continue;
    std::vector<double> ones(c->size(), 1.0), zeros(c->size(), 0.0);
    if (div) {
      for (double& v : *c) v = 1 / v;
    }
    if (mul || div) return Affine{x, *c, zeros};
    return Affine{x, ones, *c, false};
  }
  return std::nullopt;
}

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
