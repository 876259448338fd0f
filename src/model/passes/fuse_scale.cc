#include <algorithm>
#include <cmath>

#include "model/passes/affine.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

bool Finite(const std::vector<double>& v) {
  return std::all_of(v.begin(), v.end(), [](double x) { return std::isfinite(x); });
}

bool HasPadding(const Node* conv) {
  if (conv->attributes.String("auto_pad", "NOTSET") != "NOTSET") return true;
  auto pads = conv->attributes.Ints("pads");
  return std::any_of(pads.begin(), pads.end(), [](int64_t p) { return p != 0; });
}

// A bias by channel as it is now: zeros when absent; nullopt when it is something else.
std::optional<std::vector<double>> BiasOf(const Node* node, size_t index, int64_t channels) {
  if (!node->input(index)) return std::vector<double>(static_cast<size_t>(channels), 0.0);
  auto b = FloatsOf(node->input(index));
  if (!b || static_cast<int64_t>(b->size()) != channels ||
      node->constant_input(index)->dims().rank() != 1)
    return std::nullopt;
  return std::vector<double>(b->begin(), b->end());
}

// Conv(x * scale + shift): w[o][i] * scale[i], and the shift through the weights into the bias.
// Padding comes between: zeros stay zeros when scaled, but a shift would have to reach them. Where
// an element of x is infinite and its scale 0 the results differ (NaN against 0).
bool IntoConv(Graph& graph, Node* conv) {
  if (!conv->Is("Conv")) return false;
  Node* node = conv->input(0)->producer();
  auto affine = node ? AffineOf(node) : std::nullopt;
  if (!affine || affine->x->dtype() != DType::kFloat32 || conv->input(0)->OnlyUser() != conv)
    return false;
  if (affine->shifts && HasPadding(conv)) return false;
  auto w = FloatsOf(conv->input(1));
  if (!w || conv->input(1)->uses().size() != 1 || !Finite(affine->scale) || !Finite(affine->shift))
    return false;
  const Dims dims = conv->constant_input(1)->dims();
  int64_t group = conv->attributes.Int("group", 1), outputs = dims[0], per_group = dims[1];
  if (group < 1 || outputs % group ||
      static_cast<int64_t>(affine->scale.size()) != per_group * group)
    return false;
  auto bias = BiasOf(conv, 2, outputs);
  if (!bias) return false;
  int64_t taps = dims.count(2, dims.rank());
  size_t at = 0;
  for (int64_t o = 0; o < outputs; ++o) {
    int64_t first = o / (outputs / group) * per_group;
    for (int64_t i = 0; i < per_group; ++i) {
      size_t c = static_cast<size_t>(first + i);
      for (int64_t t = 0; t < taps; ++t, ++at) {
        (*bias)[static_cast<size_t>(o)] += static_cast<double>((*w)[at]) * affine->shift[c];
        (*w)[at] = static_cast<float>((*w)[at] * affine->scale[c]);
      }
    }
  }
  std::vector<Value*> inputs = conv->inputs();
  inputs[0] = affine->x;
  if (affine->scales) inputs[1] = AddFloats(graph, conv->input(1)->name(), dims, *w);
  if (affine->shifts) {
    std::string name = conv->input(2) ? conv->input(2)->name() : conv->name() + "_bias";
    inputs.resize(3);
    inputs[2] = AddFloats(graph, name, {outputs}, std::vector<float>(bias->begin(), bias->end()));
  }
  Fuse(graph, {.op = "Conv", .inputs = inputs, .attributes = conv->attributes}, conv, {node, conv});
  return true;
}

// The weights of a MatMul or plain Gemm as [K, N], or [N, K] with transB; constant and used once.
struct Weights {
  std::vector<float> values;
  Dims dims;
  bool transposed = false;
  int64_t k() const { return dims[transposed ? 1 : 0]; }
  int64_t n() const { return dims[transposed ? 0 : 1]; }
  float& at(int64_t k, int64_t n) {
    return values[static_cast<size_t>(transposed ? n * dims[1] + k : k * dims[1] + n)];
  }
};

std::optional<Weights> LinearWeights(const Node* node) {
  bool gemm = node->Is("Gemm");
  if (!gemm && !node->Is("MatMul")) return std::nullopt;
  if (gemm && node->attributes.Int("transA", 0)) return std::nullopt;
  auto w = FloatsOf(node->input(1));
  if (!w || node->input(1)->uses().size() != 1 || node->constant_input(1)->dims().rank() != 2)
    return std::nullopt;
  return Weights{*w, node->constant_input(1)->dims(),
                 gemm && node->attributes.Int("transB", 0) != 0};
}

// MatMul(x * scale): into the rows of the weights.
bool IntoMatMul(Graph& graph, Node* node) {
  auto w = LinearWeights(node);
  Node* before = w ? node->input(0)->producer() : nullptr;
  auto affine = before ? AffineOf(before, -1) : std::nullopt;
  if (!affine || affine->shifts || affine->x->dtype() != DType::kFloat32 ||
      node->input(0)->OnlyUser() != node || before->Is("BatchNormalization") ||
      !Finite(affine->scale) || static_cast<int64_t>(affine->scale.size()) != w->k())
    return false;
  for (int64_t k = 0; k < w->k(); ++k) {
    for (int64_t n = 0; n < w->n(); ++n) {
      w->at(k, n) = static_cast<float>(w->at(k, n) * affine->scale[static_cast<size_t>(k)]);
    }
  }
  std::vector<Value*> inputs = node->inputs();
  inputs[0] = affine->x;
  inputs[1] = AddFloats(graph, node->input(1)->name(), w->dims, w->values);
  Fuse(graph, {.op = node->op(), .inputs = inputs, .attributes = node->attributes}, node,
       {before, node});
  return true;
}

// (MatMul(x, w) [+ bias]) * scale along the last axis: into the columns of the weights and the
// bias. Layer scale, and the factor of queries. (Gemm is what fuse-batchnorm does.)
bool BehindMatMul(Graph& graph, Node* node) {
  if (!node->Is("Mul") && !node->Is("Div")) return false;
  auto affine = AffineOf(node, -1);
  if (!affine || affine->x->OnlyUser() != node || !Finite(affine->scale)) return false;
  Node* add = ProducerOf(affine->x, "Add");
  Value* product = affine->x;
  std::optional<Affine> bias;
  if (add) {
    bias = AffineOf(add, -1);
    if (!bias || bias->x->OnlyUser() != add) return false;
    product = bias->x;
  }
  Node* matmul = ProducerOf(product, "MatMul");
  auto w =
      matmul && matmul->output()->dtype() == DType::kFloat32 ? LinearWeights(matmul) : std::nullopt;
  if (!w || static_cast<int64_t>(affine->scale.size()) != w->n()) return false;
  for (int64_t k = 0; k < w->k(); ++k) {
    for (int64_t n = 0; n < w->n(); ++n) {
      w->at(k, n) = static_cast<float>(w->at(k, n) * affine->scale[static_cast<size_t>(n)]);
    }
  }
  Value* scaled = AddFloats(graph, matmul->input(1)->name(), w->dims, w->values);
  if (!add) {
    Fuse(graph, {.op = "MatMul", .inputs = {matmul->input(0), scaled}}, matmul, {matmul, node});
    return true;
  }
  std::vector<float> shift;
  for (size_t i = 0; i < affine->scale.size(); ++i)
    shift.push_back(static_cast<float>(bias->shift[i] * affine->scale[i]));
  Value* constant = add->input(0) == product ? add->input(1) : add->input(0);
  Value* made =
      AddBefore(graph, {.op = "MatMul", .inputs = {matmul->input(0), scaled}, .name = "scaled"},
                matmul->output()->type(), node, matmul);
  Value* b = AddFloats(graph, constant->name(), {w->n()}, shift);
  std::string name = matmul->name();
  Fuse(graph, {.op = "Add", .inputs = {made, b}}, add, {add, node});
  graph.RemoveUnused();
  if (!graph.FindNode(name)) graph.Rename(made->producer(), name);
  return true;
}

}  // namespace

Result<int> FuseScale(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) {
    return node->domain().empty() && !node->inputs().empty() && node->output() &&
           (IntoConv(graph, node) || IntoMatMul(graph, node) || BehindMatMul(graph, node));
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
