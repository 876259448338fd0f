// Weight-only quantization: a product of float activations with weights that are codes behind a
// Dequantize becomes LinearNBits, so that the package and the caches hold codes and not floats.

#include <algorithm>
#include <cstring>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Past operators that only move elements.
bool ComesFromCodes(const Value* v) {
  constexpr const char* kMoves[] = {"Reshape",   "Transpose", "Flatten", "Squeeze",
                                    "Unsqueeze", "Slice",     "MaxPool", "Identity"};
  for (int steps = 0; v->producer() && steps < 16; ++steps) {
    const Node* node = v->producer();
    if (node->IsSlipway("Dequantize")) return true;
    if (std::none_of(std::begin(kMoves), std::end(kMoves),
                     [&](const char* op) { return node->Is(op); }))
      return false;
    v = node->input(0);
  }
  return false;
}

Tensor Transposed(const Tensor& t) {
  const int64_t rows = t.dims()[0], columns = t.dims()[1];
  auto made = Tensor::Allocate(t.dtype(), {columns, rows});
  if (!made.ok()) return {};
  const size_t size = DTypeBytes(t.dtype(), 1);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      std::memcpy(made->mutable_data() + static_cast<size_t>(c * rows + r) * size,
                  t.bytes().data() + static_cast<size_t>(r * columns + c) * size, size);
    }
  }
  return std::move(*made);
}

struct Weights {
  Tensor codes, scales, zeros;  // [N, K], [N, groups]; zeros may be absent
  int64_t bits = 0, group = 0;
};

// One scale or zero point for each output and group from what a Dequantize has: one for all, one an
// output, or one a group.
Tensor PerGroup(const Tensor& t, int64_t outputs, int64_t groups, bool transposed) {
  if (t.count() == outputs * groups && t.count() > 1)
    return transposed && groups > 1 ? Transposed(t.Reshaped({groups, outputs}))
                                    : t.Reshaped({outputs, groups});
  if (t.count() != 1) return {};
  auto made = Tensor::Allocate(t.dtype(), {outputs, groups});
  if (!made.ok()) return {};
  const size_t size = DTypeBytes(t.dtype(), 1);
  for (int64_t i = 0; i < outputs * groups; ++i)
    std::memcpy(made->mutable_data() + static_cast<size_t>(i) * size, t.bytes().data(), size);
  return std::move(*made);
}

// Whether all codes fit the width: packed ones have no room for others.
bool Fit(const Tensor& codes, int64_t bits) {
  if (bits == 8) return true;
  const bool is_signed = codes.dtype() == DType::kInt8;
  const int low = is_signed ? -(1 << (bits - 1)) : 0, high = low + (1 << bits) - 1;
  const auto bytes = codes.bytes();
  return std::all_of(bytes.begin(), bytes.end(), [&](uint8_t b) {
    const int code = is_signed ? static_cast<int8_t>(b) : b;
    return code >= low && code <= high;
  });
}

// Files have no three bits, and two only since opset 25: what eight bits hold may need fewer.
int64_t NeededBits(const Tensor& codes, const Tensor* zeros, int64_t bits) {
  for (const int64_t fewer : {1, 2, 3, 4}) {
    if (fewer < bits && Fit(codes, fewer) && (!zeros || Fit(*zeros, fewer))) return fewer;
  }
  return bits;
}

// `columns`: outputs are along the second dimension of `value`.
std::optional<Weights> Read(const Value* value, bool columns) {
  if (const Node* transpose = ProducerOf(value, "Transpose")) {
    const auto perm = PermOf(transpose);
    if (!perm || *perm != std::vector<int64_t>{1, 0}) return std::nullopt;
    value = transpose->input(0);
    columns = !columns;
  }
  const Node* node = SlipwayProducerOf(value, "Dequantize");
  if (!node || value->dtype() != DType::kFloat32) return std::nullopt;
  const Tensor *codes = node->constant_input(0), *scale = node->constant_input(1),
               *zero = node->constant_input(2);
  if (!codes || !scale || (node->input(2) && !zero) || codes->dims().rank() != 2 ||
      scale->dtype() != DType::kFloat32 || codes->count() == 0 ||
      (codes->dtype() != DType::kInt8 && codes->dtype() != DType::kUInt8) ||
      (zero && zero->dtype() != codes->dtype()))
    return std::nullopt;
  Weights w;
  w.bits = node->attributes.Int("bits", 8);
  if (node->attributes.String("kind", "affine") != "affine" || w.bits < 1 || w.bits > 8 ||
      node->attributes.Int("precision", 0) != 0)
    return std::nullopt;
  if (!Fit(*codes, w.bits) || (zero && !Fit(*zero, w.bits))) return std::nullopt;
  w.bits = NeededBits(*codes, zero, w.bits);
  const size_t output_axis = columns ? 1 : 0;
  const int64_t outputs = codes->dims()[output_axis], k = codes->dims()[1 - output_axis];
  const auto axis = static_cast<size_t>(NormalAxis(node->attributes.Int("axis", 1), 2));
  w.group = node->attributes.Int("group", 0);
  if (w.group > 0 ? axis == output_axis : scale->count() > 1 && axis != output_axis)
    return std::nullopt;
  w.group = w.group > 0 ? std::min(w.group, k) : k;
  const int64_t groups = (k - 1) / w.group + 1;
  w.codes = columns ? Transposed(*codes) : *codes;
  w.scales = PerGroup(*scale, outputs, groups, columns);
  if (zero) w.zeros = PerGroup(*zero, outputs, groups, columns);
  if (!w.codes.present() || !w.scales.present() || (zero && !w.zeros.present()))
    return std::nullopt;
  return w;
}

// A constant with one number an output.
bool IsBias(const Value* v, int64_t outputs) {
  const Tensor* t = v ? v->constant() : nullptr;
  return t && t->dtype() == DType::kFloat32 && t->count() == outputs && t->dims().rank() >= 1 &&
         t->dims().back() == outputs;
}

bool Keep(Graph& graph, Node* node, bool integers_follow) {
  const bool gemm = node->Is("Gemm");
  if (!gemm && !node->Is("MatMul")) return false;
  Value* x = node->input(0);
  const auto rank = RankOf(x);
  if (x->dtype() != DType::kFloat32 || x->is_constant() || !rank || *rank < 1) return false;
  if (gemm && (node->attributes.Int("transA", 0) != 0 || node->attributes.Float("alpha", 1) != 1 ||
               node->attributes.Float("beta", 1) != 1))
    return false;
  if (integers_follow && ComesFromCodes(x)) return false;
  auto w = Read(node->input(1), !gemm || node->attributes.Int("transB", 0) == 0);
  if (!w) return false;
  const int64_t outputs = w->codes.dims()[0];
  std::vector<Node*> replaced{node};
  Value* bias = nullptr;
  if (gemm && node->input(2)) {
    bias = node->input(2);
    if (!IsBias(bias, outputs)) return false;
  } else if (Node* add = node->output()->OnlyUser();
             add && add->Is("Add") && SameShape(node->output(), add->output())) {
    Value* other = add->input(add->input(0) == node->output() ? 1 : 0);
    if (IsBias(other, outputs)) {
      bias = other;
      replaced.push_back(add);
    }
  }
  if (bias && bias->constant()->dims().rank() != 1)
    bias = graph.AddConstant(bias->name(), bias->constant()->Reshaped({outputs}));
  const std::string& name = node->name();
  std::vector<Value*> inputs = {x, graph.AddConstant(name + "/codes", std::move(w->codes)),
                                graph.AddConstant(name + "/scales", std::move(w->scales))};
  if (w->zeros.present() || bias)
    inputs.push_back(w->zeros.present()
                         ? graph.AddConstant(name + "/zero_points", std::move(w->zeros))
                         : nullptr);
  if (bias) inputs.push_back(bias);
  Fuse(graph,
       {.op = "LinearNBits",
        .inputs = std::move(inputs),
        .attributes = {{"bits", w->bits}, {"group", w->group}},
        .domain = ir::kSlipwayDomain},
       node, replaced);
  return true;
}

}  // namespace

Result<int> KeepWeightCodes(ir::Graph& graph, const PassOptions& options) {
  const bool integers_follow = options.level >= Level::kInteger;
  const int changes =
      VisitNodes(graph, [&](Node* node) { return Keep(graph, node, integers_follow); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
