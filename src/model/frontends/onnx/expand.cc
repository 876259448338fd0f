#include "model/frontends/onnx/expand.h"

#include <cmath>
#include <limits>

#include "base/checked.h"
#include "model/frontends/onnx/rewriter.h"
#include "model/frontends/onnx/tensor_proto.h"

namespace slipway::onnx {
namespace {

using ir::Attributes;
using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

Status NeedsRank(const Node& n) {
  return Unsupported(n.Describe() +
                     " can be written for this opset only when the rank of its input is known; run "
                     "shape inference or export a newer opset");
}

std::optional<int64_t> Rank(const Value* v) {
  if (!v || !v->type().shape) return std::nullopt;
  return static_cast<int64_t>(v->type().shape->size());
}

Value* Activation(Rewriter& r, std::string_view name, std::span<const float> p, Value* x) {
  auto param = [&](size_t i, double fallback) {
    return i < p.size() ? static_cast<double>(p[i]) : fallback;
  };
  auto f = [&](size_t i, float fallback) { return i < p.size() ? p[i] : fallback; };
  if (name == "Clip") {
    constexpr double kHuge = std::numeric_limits<float>::max();
    return r.Op("Clip", {x, r.Scalar(param(0, -kHuge)), r.Scalar(param(1, kHuge))});
  }
  if (name == "LeakyRelu") return r.Op("LeakyRelu", {x}, {{"alpha", f(0, 0.01f)}});
  if (name == "HardSigmoid")
    return r.Op("HardSigmoid", {x}, {{"alpha", f(0, 0.2f)}, {"beta", f(1, 0.5f)}});
  if (name == "Swish") return r.Op("Swish", {x}, {{"alpha", f(0, 1.0f)}});
  if (name == "Elu") return r.Op("Elu", {x}, {{"alpha", f(0, 1.0f)}});
  if (name == "GeluTanh") return r.Op("Gelu", {x}, {{"approximate", std::string("tanh")}});
  return r.Op(name, {x});  // Relu, Sigmoid, HardSwish, Gelu, Tanh
}

// Bias, residual and activation behind a fused operator.
void FinishFused(Rewriter& r, Node* n, Value* y) {
  const std::string activation(n->attributes.String("activation", "none"));
  const std::vector<float> params(n->attributes.Floats("activation_params").begin(),
                                  n->attributes.Floats("activation_params").end());
  if (activation != "none") y = Activation(r, activation, params, y);
  r.Finish(y);
}

Status FusedConv(Graph* g, Node* n, int) {
  Rewriter r(g, n);
  Attributes a = n->attributes;
  a.Erase("activation");
  a.Erase("activation_params");
  std::vector<Value*> inputs = {n->input(0), n->input(1)};
  if (n->input(2)) inputs.push_back(n->input(2));
  Value* y = r.Op("Conv", inputs, a);
  if (n->input(3)) y = r.Op("Add", {y, n->input(3)});
  FinishFused(r, n, y);
  return OkStatus();
}

Status FusedLinear(Graph* g, Node* n, int) {
  Rewriter r(g, n);
  const bool transposed = n->attributes.Int("transW", 0) != 0;
  Value *x = n->input(0), *w = n->input(1), *bias = n->input(2);
  Value* y;
  if (Rank(x) == 2) {
    std::vector<Value*> inputs = {x, w};
    if (bias) inputs.push_back(bias);
    y = r.Op("Gemm", inputs, {{"transB", int64_t{transposed}}});
  } else {
    if (transposed) w = r.Op("Transpose", {w}, {{"perm", std::vector<int64_t>{1, 0}}});
    y = r.Op("MatMul", {x, w});
    if (bias) y = r.Op("Add", {y, bias});
  }
  if (n->input(3)) y = r.Op("Add", {y, n->input(3)});
  FinishFused(r, n, y);
  return OkStatus();
}

Status FusedAdd(Graph* g, Node* n, int) {
  Rewriter r(g, n);
  FinishFused(r, n, r.Op("Add", {n->input(0), n->input(1)}));
  return OkStatus();
}

Status Gelu(Graph* g, Node* n, int) {
  Rewriter r(g, n);
  Value* x = n->input(0);
  Value* gate;
  if (n->attributes.String("approximate", "none") == "tanh") {
    Value* cube = r.Op("Mul", {r.Op("Mul", {x, x}), x});
    Value* inner = r.Op("Add", {x, r.Op("Mul", {cube, r.Scalar(0.044715)})});
    gate = r.Op("Tanh", {r.Op("Mul", {inner, r.Scalar(std::sqrt(2.0 / M_PI))})});
  } else {
    gate = r.Op("Erf", {r.Op("Div", {x, r.Scalar(std::sqrt(2.0))})});
  }
  Value* half = r.Op("Mul", {x, r.Op("Add", {gate, r.Scalar(1)})});
  r.Finish(r.Op("Mul", {half, r.Scalar(0.5)}));
  return OkStatus();
}

Status HardSwish(Graph* g, Node* n, int) {
  Rewriter r(g, n);
  Value* gate = r.Op("HardSigmoid", {n->input(0)}, {{"alpha", 1.0f / 6.0f}, {"beta", 0.5f}});
  r.Finish(r.Op("Mul", {n->input(0), gate}));
  return OkStatus();
}

Status Swish(Graph* g, Node* n, int) {
  Rewriter r(g, n);
  const float alpha = n->attributes.Float("alpha", 1);
  Value* x = n->input(0);
  r.Finish(r.Op("Mul", {x, r.Op("Sigmoid", {alpha == 1 ? x : r.Op("Mul", {x, r.Scalar(alpha)})})}));
  return OkStatus();
}

Status Mish(Graph* g, Node* n, int) {
  Rewriter r(g, n);
  r.Finish(r.Op("Mul", {n->input(0), r.Op("Tanh", {r.Op("Softplus", {n->input(0)})})}));
  return OkStatus();
}

Status Celu(Graph* g, Node* n, int) {
  Rewriter r(g, n);
  Value* alpha = r.Scalar(n->attributes.Float("alpha", 1));
  r.Finish(r.Op("Mul", {r.Op("Elu", {r.Op("Div", {n->input(0), alpha})}), alpha}));
  return OkStatus();
}

Status OrEqual(Graph* g, Node* n, int) {
  Rewriter r(g, n);
  Value* strict = r.Op(n->Is("LessOrEqual") ? "Less" : "Greater", n->inputs());
  r.Finish(r.Op("Or", {strict, r.Op("Equal", n->inputs())}));
  return OkStatus();
}

// The axes from `axis` to the last, counted from the end so that no rank is needed when axis is
// negative.
Result<std::vector<int64_t>> LastAxes(const Node& n) {
  int64_t axis = n.attributes.Int("axis", -1);
  if (axis >= 0) {
    const auto rank = Rank(n.input(0));
    if (!rank) return NeedsRank(n);
    axis -= *rank;
  }
  if (axis >= 0 || axis < -kMaxRank)
    return InvalidArgument(n.Describe() + ": axis is out of range");
  std::vector<int64_t> axes;
  for (int64_t i = axis; i < 0; ++i) axes.push_back(i);
  return axes;
}

Value* ReduceMean(Rewriter& r, Value* x, const std::vector<int64_t>& axes) {
  return r.Op("ReduceMean", {x, r.Ints(axes)});
}

Status LayerNormalization(Graph* g, Node* n, int) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto axes, LastAxes(*n));
  Rewriter r(g, n);
  Value* mean = ReduceMean(r, n->input(0), axes);
  Value* centred = r.Op("Sub", {n->input(0), mean});
  Value* variance = ReduceMean(r, r.Op("Mul", {centred, centred}), axes);
  Value* deviation =
      r.Op("Sqrt", {r.Op("Add", {variance, r.Scalar(n->attributes.Float("epsilon", 1e-5f))})});
  Value* y = r.Op("Mul", {r.Op("Div", {centred, deviation}), n->input(1)});
  if (n->input(2)) y = r.Op("Add", {y, n->input(2)});
  if (n->output(1)) r.Replace(1, mean);
  if (n->output(2)) r.Replace(2, r.Op("Reciprocal", {deviation}));
  r.Finish(y);
  return OkStatus();
}

Status RmsNormalization(Graph* g, Node* n, int) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto axes, LastAxes(*n));
  Rewriter r(g, n);
  Value* x = n->input(0);
  Value* square = ReduceMean(r, r.Op("Mul", {x, x}), axes);
  Value* root =
      r.Op("Sqrt", {r.Op("Add", {square, r.Scalar(n->attributes.Float("epsilon", 1e-5f))})});
  r.Finish(r.Op("Mul", {r.Op("Div", {x, root}), n->input(1)}));
  return OkStatus();
}

Status GroupNormalization(Graph* g, Node* n, int) {
  const auto rank = Rank(n->input(0));
  if (!rank || *rank < 3) return NeedsRank(*n);
  Rewriter r(g, n);
  const int64_t groups = n->attributes.Int("num_groups", 1);
  Value* x = n->input(0);
  Value* shape = r.Op("Shape", {x});
  Value* flat = r.Op("Reshape", {x, r.Ints({0, groups, -1})});
  auto per_group = [&](double value) {
    return r.Op("Expand", {r.Scalar(value), r.Ints({groups})});
  };
  Value* normal = r.Op("InstanceNormalization", {flat, per_group(1), per_group(0)},
                       {{"epsilon", n->attributes.Float("epsilon", 1e-5f)}});
  std::vector<int64_t> column(static_cast<size_t>(*rank) - 1, 1);
  column[0] = -1;
  auto spread = [&](size_t i) { return r.Op("Reshape", {n->input(i), r.Ints(column)}); };
  Value* scaled = r.Op("Mul", {r.Op("Reshape", {normal, shape}), spread(1)});
  r.Finish(r.Op("Add", {scaled, spread(2)}));
  return OkStatus();
}

// int64 [rows, columns] of the last two dimensions of `x`: column index minus row index.
Value* ColumnMinusRow(Rewriter& r, Value* x) {
  Value* shape = r.Op("Shape", {x});
  auto counter = [&](int64_t from, int64_t to, int64_t axis) {
    Value* extent = r.Op("Slice", {shape, r.Ints({from}), r.Ints({to})});
    auto number = [&](int64_t v) { return r.Constant("number", Tensor::Scalar<int64_t>(v)); };
    Value* range = r.Op("Range", {number(0), r.Op("Squeeze", {extent, r.Ints({0})}), number(1)});
    return r.Op("Unsqueeze", {range, r.Ints({axis})});
  };
  return r.Op("Sub", {counter(-1, std::numeric_limits<int64_t>::max(), 0), counter(-2, -1, 1)});
}

Status Trilu(Graph* g, Node* n, int) {
  Rewriter r(g, n);
  Value* x = n->input(0);
  Value* k = n->input(1) ? n->input(1) : r.Constant("k", Tensor::Scalar<int64_t>(0));
  const char* gone = n->attributes.Int("upper", 1) != 0 ? "Less" : "Greater";
  Value* mask = r.Op(gone, {ColumnMinusRow(r, x), k});
  const DType dtype = x->dtype();
  Value* zero = r.Constant("zero", Tensor::Scalar<float>(0));
  if (dtype != DType::kFloat32) zero = r.Op("Cast", {zero}, {{"to", static_cast<int64_t>(dtype)}});
  if (dtype == DType::kUndefined)
    return Unsupported(n->Describe() + ": the type of its input is not known; run shape inference");
  r.Finish(r.Op("Where", {mask, zero, x}));
  return OkStatus();
}

// Opset 23, https://onnx.ai/onnx/operators/onnx__Attention.html
Status Attention(Graph* g, Node* n, int) {
  for (size_t i = 1; i < 7; ++i) {
    if (i < 4 ? n->output(i) != nullptr : n->input(i) != nullptr) {
      return Unsupported(n->Describe() +
                         ": cached keys and further outputs need opset 23; export that");
    }
  }
  const auto rank = Rank(n->input(0));
  if (!rank || (*rank != 3 && *rank != 4)) return NeedsRank(*n);
  const auto& q_shape = *n->input(0)->type().shape;
  const auto& k_shape = n->input(1)->type().shape;
  if (!k_shape || static_cast<int64_t>(k_shape->size()) != *rank) return NeedsRank(*n);
  int64_t q_heads = n->attributes.Int("q_num_heads", 0),
          kv_heads = n->attributes.Int("kv_num_heads", 0);
  Dim head_size = q_shape.back();
  if (*rank == 3) {
    if (q_heads <= 0 || kv_heads <= 0)
      return InvalidArgument(n->Describe() +
                             ": three-dimensional inputs need q_num_heads and kv_num_heads");
    head_size = FloorDiv(head_size, q_heads);
  } else {
    if (!q_shape[1].known() || !(*k_shape)[1].known())
      return Unsupported(n->Describe() + ": its number of heads is not known");
    q_heads = q_shape[1].value();
    kv_heads = (*k_shape)[1].value();
  }
  if (!head_size.known() || kv_heads <= 0 || q_heads % kv_heads != 0) {
    return Unsupported(n->Describe() +
                       ": its head size must be known and q_num_heads a multiple of kv_num_heads");
  }
  const bool causal = n->attributes.Int("is_causal", 0) != 0;
  Rewriter r(g, n);
  auto heads = [&](Value* v, int64_t count) {
    if (*rank == 4) return v;
    return r.Op("Transpose", {r.Op("Reshape", {v, r.Ints({0, 0, count, -1})})},
                {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  };
  Value* q = heads(n->input(0), q_heads);
  Value* k = heads(n->input(1), kv_heads);
  Value* v = heads(n->input(2), kv_heads);
  if (const int64_t repeat = q_heads / kv_heads; repeat > 1) {
    // Head h of the keys serves query heads h * repeat and following: [B, H, L, E] -> [B, H,
    // repeat, L, E] -> [B, H * repeat, L, E].
    auto spread = [&](Value* x) {
      Value* shape = r.Op("Shape", {x});
      auto part = [&](int64_t from, int64_t to) {
        return r.Op("Slice", {shape, r.Ints({from}), r.Ints({to})});
      };
      Value* wide =
          r.Op("Expand", {r.Op("Unsqueeze", {x, r.Ints({2})}), r.Ints({1, 1, repeat, 1, 1})});
      Value* target =
          r.Op("Concat", {part(0, 1), r.Ints({q_heads}), part(2, 4)}, {{"axis", int64_t{0}}});
      return r.Op("Reshape", {wide, target});
    };
    k = spread(k);
    v = spread(v);
  }
  const double scale = n->attributes.Has("scale")
                           ? n->attributes.Float("scale", 1)
                           : 1 / std::sqrt(static_cast<double>(head_size.value()));
  Value* kt = r.Op("Transpose", {k}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}}});
  Value* scores = r.Op("Mul", {r.Op("MatMul", {q, kt}), r.Scalar(scale)});
  const double lowest = -std::numeric_limits<double>::infinity();
  if (const double cap = n->attributes.Float("softcap", 0); cap != 0) {
    scores = r.Op("Mul", {r.Op("Tanh", {r.Op("Div", {scores, r.Scalar(cap)})}), r.Scalar(cap)});
  }
  if (causal) {
    Value* later = r.Op("Greater", {ColumnMinusRow(r, scores), r.Ints({0})});
    scores = r.Op("Where", {later, r.Scalar(lowest), scores});
  }
  if (Value* mask = n->input(3)) {
    scores = mask->dtype() == DType::kBool ? r.Op("Where", {mask, scores, r.Scalar(lowest)})
                                           : r.Op("Add", {scores, mask});
  }
  // Softmax over the last axis; the type is set so that an older opset needs no transposition.
  Value* weights = r.Op("Softmax", {scores}, {{"axis", int64_t{-1}}});
  Value* y = r.Op("MatMul", {weights, v});
  if (*rank == 3) {
    y = r.Op("Reshape", {r.Op("Transpose", {y}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}),
                         r.Ints({0, 0, -1})});
  }
  r.Finish(y);
  return OkStatus();
}

// Up to opset 12, Softmax runs over all dimensions from its axis on: it must be the last.
Status Softmax(Graph* g, Node* n, int) {
  const int64_t axis = n->attributes.Int("axis", -1);
  if (axis == -1) return OkStatus();
  const auto rank = Rank(n->input(0));
  if (!rank) return NeedsRank(*n);
  const int64_t at = axis < 0 ? axis + *rank : axis;
  if (at == *rank - 1) {
    n->attributes.Set("axis", int64_t{-1});
    return OkStatus();
  }
  Rewriter r(g, n);
  std::vector<int64_t> perm(static_cast<size_t>(*rank));
  for (size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<int64_t>(i);
  std::swap(perm[static_cast<size_t>(at)], perm.back());
  Value* y =
      r.Op(n->op(), {r.Op("Transpose", {n->input(0)}, {{"perm", perm}})}, {{"axis", int64_t{-1}}});
  r.Finish(r.Op("Transpose", {y}, {{"perm", perm}}));
  return OkStatus();
}

// The last of equal elements is the first from behind; the choice came with opset 12.
Status ArgLast(Graph* g, Node* n, int) {
  if (n->attributes.Int("select_last_index", 0) == 0) {
    n->attributes.Erase("select_last_index");
    return OkStatus();
  }
  Rewriter r(g, n);
  const int64_t axis = n->attributes.Int("axis", 0);
  constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
  Value* x = n->input(0);
  Value* reversed =
      r.Op("Slice", {x, r.Ints({-1}), r.Ints({kLowest}), r.Ints({axis}), r.Ints({-1})});
  ir::Attributes a = n->attributes;
  a.Erase("select_last_index");
  Value* from_behind = r.Op(n->op(), {reversed}, a);
  from_behind->set_type({DType::kInt64, std::nullopt});
  Value* extent = r.Op("Gather", {r.Op("Shape", {x}), r.Constant("axis", Tensor::Scalar(axis))});
  Value* last = r.Op("Sub", {extent, r.Constant("one", Tensor::Scalar<int64_t>(1))});
  r.Finish(r.Op("Sub", {last, from_behind}));
  return OkStatus();
}

// start and end came with opset 15.
Status Shape(Graph* g, Node* n, int) {
  const int64_t start = n->attributes.Int("start", 0);
  const int64_t end = n->attributes.Int("end", std::numeric_limits<int64_t>::max());
  if (start == 0 && !n->attributes.Has("end")) {
    n->attributes.Erase("start");
    return OkStatus();
  }
  Rewriter r(g, n);
  r.Finish(r.Op("Slice", {r.Op("Shape", {n->input(0)}), r.Ints({start}), r.Ints({end})}));
  return OkStatus();
}

// Input `axes` came with opset 18.
Status Pad(Graph* g, Node* n, int) {
  if (!n->input(3)) return OkStatus();
  const auto rank = Rank(n->input(0));
  const Tensor *pads = n->constant_input(1), *axes = n->constant_input(3);
  if (!rank || !pads || !axes) {
    return Unsupported(
        n->Describe() +
        ": padding some axes needs opset 18 unless pads, axes and rank are known; export that");
  }
  const auto p = pads->ToInts(), a = axes->ToInts();
  if (p.size() != 2 * a.size())
    return InvalidArgument(n->Describe() + ": pads and axes do not agree");
  std::vector<int64_t> full(static_cast<size_t>(*rank) * 2, 0);
  for (size_t i = 0; i < a.size(); ++i) {
    const int64_t axis = a[i] < 0 ? a[i] + *rank : a[i];
    if (axis < 0 || axis >= *rank)
      return InvalidArgument(n->Describe() + ": axis " + std::to_string(a[i]) + " is out of range");
    full[static_cast<size_t>(axis)] = p[i];
    full[static_cast<size_t>(axis + *rank)] = p[i + a.size()];
  }
  Rewriter r(g, n);
  g->SetInput(n, 1, r.Ints(full));
  g->RemoveInput(n, 3);
  return OkStatus();
}

// Attribute `axes` came with opset 18: sizes and scales are written for every dimension.
Status Resize(Graph* g, Node* n, int) {
  const auto a = n->attributes.Ints("axes");
  if (a.empty()) return OkStatus();
  const size_t at = n->input(3) ? 3 : 2;
  const auto& shape = n->input(0)->type().shape;
  const Tensor* given = n->constant_input(at);
  if (!shape || !given || given->count() != static_cast<int64_t>(a.size()) || n->input(1)) {
    return Unsupported(n->Describe() +
                       ": resizing some axes needs opset 18 unless sizes or scales and the rank "
                       "are known; export that");
  }
  const auto rank = static_cast<int64_t>(shape->size());
  const auto values = given->ToDoubles();
  std::vector<double> full(shape->size(), 1);
  std::vector<bool> named(shape->size(), false);
  for (size_t i = 0; i < a.size(); ++i) {
    const int64_t axis = a[i] < 0 ? a[i] + rank : a[i];
    if (axis < 0 || axis >= rank)
      return InvalidArgument(n->Describe() + ": axis " + std::to_string(a[i]) + " is out of range");
    full[static_cast<size_t>(axis)] = values[i];
    named[static_cast<size_t>(axis)] = true;
  }
  Rewriter r(g, n);
  if (at == 2) {
    g->SetInput(n, 2, r.Constant("scales", Tensor::Vector<float>({full.begin(), full.end()})));
  } else {
    std::vector<int64_t> sizes(full.begin(), full.end());
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (named[i]) continue;
      if (!(*shape)[i].known())
        return Unsupported(n->Describe() +
                           ": resizing some axes of a dynamic input to fixed sizes "
                           "needs opset 18; export that");
      sizes[i] = (*shape)[i].value();
    }
    g->SetInput(n, 3, r.Ints(sizes));
  }
  n->attributes.Erase("axes");
  return OkStatus();
}

// noop_with_empty_axes came later: with axes it means nothing, without it every element is reduced
// alone.
Status Reduce(Graph* g, Node* n, int opset) {
  if (opset >= (n->Is("ReduceSum") ? 13 : 18) || !n->attributes.Has("noop_with_empty_axes"))
    return OkStatus();
  const bool noop = n->attributes.Int("noop_with_empty_axes", 0) != 0;
  const Tensor* axes = n->constant_input(1);
  if (!noop || (axes && axes->count() > 0)) {
    n->attributes.Erase("noop_with_empty_axes");
    return OkStatus();
  }
  if (n->input(1) && !axes) return OkStatus();  // downgrade.cc names it
  Rewriter r(g, n);
  Value* x = n->input(0);
  if (n->Is("ReduceSumSquare")) {
    r.Finish(r.Op("Mul", {x, x}));
  } else {
    r.Finish(r.Op(n->Is("ReduceL1") || n->Is("ReduceL2") ? "Abs" : "Identity", {x}));
  }
  return OkStatus();
}

// num_outputs and a smaller last part came with opset 18.
Status Split(Graph* g, Node* n, int) {
  if (n->input(1)) return OkStatus();
  const auto parts = static_cast<int64_t>(n->outputs().size());
  const auto rank = Rank(n->input(0));
  int64_t axis = n->attributes.Int("axis", 0);
  if (rank && axis < 0) axis += *rank;
  if (rank && (axis < 0 || axis >= *rank))
    return InvalidArgument(n->Describe() + ": axis is out of range");
  if (!rank || !(*n->input(0)->type().shape)[static_cast<size_t>(axis)].known())
    return OkStatus();  // equal parts
  const int64_t extent = (*n->input(0)->type().shape)[static_cast<size_t>(axis)].value();
  if (parts == 0 || extent % parts == 0) return OkStatus();
  const int64_t part = CeilDiv(extent, parts);
  std::vector<int64_t> sizes(static_cast<size_t>(parts), part);
  sizes.back() = extent - part * (parts - 1);
  if (sizes.back() < 0) return InvalidArgument(n->Describe() + ": more parts than elements");
  Rewriter r(g, n);
  g->SetInput(n, 1, r.Ints(sizes));
  return OkStatus();
}

// Of what is no optional.
Status GetElement(Graph* g, Node* n, int) {
  if (n->input(0)->type().is_optional()) return OkStatus();
  Rewriter r(g, n);
  r.Finish(r.Op("Identity", {n->input(0)}));
  return OkStatus();
}

Status HasElement(Graph* g, Node* n, int) {
  const Value* x = n->input(0);
  if (x && (x->type().is_optional() || x->dtype() == DType::kUndefined)) return OkStatus();
  Rewriter r(g, n);
  r.Finish(r.Op("Identity", {r.Constant("has", Tensor::Scalar<bool>(x != nullptr))}));
  return OkStatus();
}

struct Row {
  const char* domain;
  const char* op;
  int before;  // applies to opsets below this
  Status (*expand)(Graph*, Node*, int opset);
};

constexpr int kAlways = 1000;
constexpr Row kRows[] = {
    {ir::kSlipwayDomain, "Conv", kAlways, FusedConv},
    {ir::kSlipwayDomain, "Linear", kAlways, FusedLinear},
    {ir::kSlipwayDomain, "Add", kAlways, FusedAdd},
    {"", "ArgMax", 12, ArgLast},
    {"", "ArgMin", 12, ArgLast},
    {"", "Attention", 23, Attention},
    {"", "Celu", 12, Celu},
    {"", "Gelu", 20, Gelu},
    {"", "GreaterOrEqual", 12, OrEqual},
    {"", "GroupNormalization", 21, GroupNormalization},
    {"", "HardSwish", 14, HardSwish},
    {"", "LayerNormalization", 17, LayerNormalization},
    {"", "OptionalGetElement", 18, GetElement},
    {"", "OptionalHasElement", 18, HasElement},
    {"", "LessOrEqual", 12, OrEqual},
    {"", "Hardmax", 13, Softmax},
    {"", "LogSoftmax", 13, Softmax},
    {"", "Mish", 18, Mish},
    {"", "Pad", 18, Pad},
    {"", "RMSNormalization", 23, RmsNormalization},
    {"", "ReduceL1", 18, Reduce},
    {"", "ReduceL2", 18, Reduce},
    {"", "ReduceMax", 18, Reduce},
    {"", "ReduceMean", 18, Reduce},
    {"", "ReduceMin", 18, Reduce},
    {"", "ReduceProd", 18, Reduce},
    {"", "ReduceSum", 13, Reduce},
    {"", "ReduceSumSquare", 18, Reduce},
    {"", "Resize", 18, Resize},
    {"", "Shape", 15, Shape},
    {"", "Softmax", 13, Softmax},
    {"", "Split", 18, Split},
    {"", "Swish", 24, Swish},
    {"", "Trilu", 14, Trilu},
};

}  // namespace

Status ExpandForOpset(Graph* graph, int opset, bool own_quantization) {
  for (const auto& node : graph->nodes()) {
    for (const auto& [key, body] : node->subgraphs)
      SLIPWAY_RETURN_IF_ERROR(
          ExpandForOpset(body.get(), opset, own_quantization).With(node->Describe() + ", body '" + key + "'"));
  }
  SLIPWAY_RETURN_IF_ERROR(ExpandQuantization(graph, opset, own_quantization));
  // Two rounds: a fused operator's activation may itself have to be expanded.
  for (int round = 0; round < 2; ++round) {
    for (Node* n : graph->NodeList()) {
      for (const Row& row : kRows) {
        if (opset >= row.before || !n->Is(row.op, row.domain)) continue;
        SLIPWAY_RETURN_IF_ERROR(row.expand(graph, n, opset));
        break;
      }
    }
  }
  SLIPWAY_RETURN_IF_ERROR(ExpandTypes(graph, opset));
  graph->RemoveUnused();
  return OkStatus();
}

}  // namespace slipway::onnx
