// The fused float operators of com.microsoft that ONNX Runtime's and other optimisers write.

#include <array>
#include <limits>

#include "model/frontends/onnx/contrib.h"
#include "model/frontends/onnx/tensor_proto.h"
#include "model/ir/schema.h"

namespace slipway::onnx {
namespace {

using ir::Attributes;
using ir::Tensor;
using ir::Value;

// Turns the node into activation(x).
Status Activate(OldNode& n, Upgrader& u, Value* x, std::string_view name,
                std::span<const float> given) {
  const std::vector<float> p(given.begin(), given.end());  // the attributes go
  auto param = [&](size_t i, float fallback) { return i < p.size() ? p[i] : fallback; };
  if (name.empty()) return Become(n, "Identity", {x});
  if (name == "Relu" || name == "Sigmoid" || name == "Tanh" || name == "Softplus" ||
      name == "Softsign" || name == "HardSwish")
    return Become(n, name, {x});
  if (name == "LeakyRelu") return Become(n, "LeakyRelu", {x}, {{"alpha", param(0, 0.01f)}});
  if (name == "ThresholdedRelu" || name == "Elu")
    return Become(n, name, {x}, {{"alpha", param(0, 1)}});
  if (name == "HardSigmoid") {
    return Become(n, "HardSigmoid", {x}, {{"alpha", param(0, 0.2f)}, {"beta", param(1, 0.5f)}});
  }
  if (name == "Swish" || name == "QuickGelu")
    return Become(n, "Swish", {x}, {{"alpha", param(0, name == "Swish" ? 1.0f : 1.702f)}});
  if (name == "Gelu") return Become(n, "Gelu", {x});
  if (name == "Clip") {
    constexpr float kAll = std::numeric_limits<float>::max();
    return Become(
        n, "Clip",
        {x, u.ScalarLike(n, "min", x, param(0, -kAll)), u.ScalarLike(n, "max", x, param(1, kAll))});
  }
  return Unsupported(n.Describe() + ": activation " + Quote(name) + " is not supported");
}

Status FusedConv(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 2));
  const std::string activation(n.attributes.String("activation", ""));
  const auto given = n.attributes.Floats("activation_params");
  const std::vector<float> params(given.begin(), given.end());
  Attributes a = n.attributes;
  a.Erase("activation");
  a.Erase("activation_params");
  std::vector<Value*> inputs{n.input(0), n.input(1)};
  if (n.input(2)) inputs.push_back(n.input(2));
  Value* y = u.Emit(n, "Conv", inputs, a);
  if (n.input(3)) y = u.Emit(n, "Add", {y, n.input(3)});
  return Activate(n, u, y, activation, params);
}

Status FusedGemm(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 2));
  const std::string activation(n.attributes.String("activation", ""));
  std::vector<float> params;
  for (const char* name : {"activation_alpha", "activation_beta"}) {
    if (n.attributes.Has(name)) params.push_back(n.attributes.Float(name, 0));
  }
  Attributes a = n.attributes;
  for (const char* name : {"activation", "activation_alpha", "activation_beta", "activation_gamma"})
    a.Erase(name);
  return Activate(n, u, u.Emit(n, "Gemm", n.inputs, a), activation, params);
}

// One operand of FusedMatMul: first the batch dimensions come to the front, then rows and columns
// change places.
Result<Value*> MatMulOperand(const OldNode& n, Upgrader& u, Value* x, bool batch, bool swap) {
  if (!batch && !swap) return x;
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t rank, NeedRank(n, u, x));
  if (rank < 2) return x;  // vectors stay as they are
  std::vector<int64_t> perm;
  for (int64_t i = 0; i < rank; ++i) perm.push_back(i);
  if (batch) {  // [M, batch..., K] -> [batch..., M, K]
    perm.erase(perm.begin());
    perm.insert(perm.end() - 1, 0);
  }
  if (swap) std::swap(perm[static_cast<size_t>(rank - 1)], perm[static_cast<size_t>(rank - 2)]);
  return u.Emit(n, "Transpose", {x}, {{"perm", perm}});
}

Status FusedMatMul(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 2));
  const float alpha = n.attributes.Float("alpha", 1);
  SLIPWAY_ASSIGN_OR_RETURN(Value * a,
                           MatMulOperand(n, u, n.input(0), n.attributes.Int("transBatchA", 0) != 0,
                                         n.attributes.Int("transA", 0) != 0));
  SLIPWAY_ASSIGN_OR_RETURN(Value * b,
                           MatMulOperand(n, u, n.input(1), n.attributes.Int("transBatchB", 0) != 0,
                                         n.attributes.Int("transB", 0) != 0));
  if (alpha == 1) return Become(n, "MatMul", {a, b});
  Value* y = u.Emit(n, "MatMul", {a, b});
  return Become(n, "Mul", {y, u.ScalarLike(n, "alpha", a, alpha)});
}

Status Gelu(OldNode& n, Upgrader&) { return Become(n, "Gelu", {n.input(0)}); }

// Gelu by tanh, of x and an optional bias.
Status FastGelu(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 1));
  Value* x = n.input(1) ? u.Emit(n, "Add", {n.input(0), n.input(1)}) : n.input(0);
  return Become(n, "Gelu", {x}, {{"approximate", std::string("tanh")}});
}

Status BiasGelu(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 2));
  return Become(n, "Gelu", {u.Emit(n, "Add", {n.input(0), n.input(1)})});
}

Status GemmFastGelu(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 2));
  Value* x = u.Emit(n, "MatMul", {n.input(0), n.input(1)});
  if (n.input(2)) x = u.Emit(n, "Add", {x, n.input(2)});
  return Become(n, "Gelu", {x}, {{"approximate", std::string("tanh")}});
}

Status QuickGelu(OldNode& n, Upgrader&) {
  return Become(n, "Swish", {n.input(0)}, {{"alpha", n.attributes.Float("alpha", 1.702f)}});
}

Status LayerNorm(OldNode& n, Upgrader&) {
  n.op = "LayerNormalization";
  n.domain.clear();
  return OkStatus();
}

Status SimplifiedLayerNorm(OldNode& n, Upgrader&) {
  n.op = "RMSNormalization";
  n.domain.clear();
  return OkStatus();
}

// Normalisation of input + skip (+ bias), and that sum as output 3.
Status SkipLayerNorm(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 3));
  const bool simple = n.op == "SkipSimplifiedLayerNormalization";
  Value *beta = simple ? nullptr : n.input(3), *bias = n.input(simple ? 3 : 4);
  Value* sum = u.Emit(n, "Add", {n.input(0), n.input(1)});
  if (bias) sum = u.Emit(n, "Add", {sum, bias});
  n.SetResult(3, sum);
  SLIPWAY_RETURN_IF_ERROR(NoOutputsFrom(n, simple ? 1 : 3));
  Attributes a{{"axis", int64_t{-1}}, {"epsilon", n.attributes.Float("epsilon", 1e-12f)}};
  std::vector<Value*> inputs{sum, n.input(2)};
  if (beta) inputs.push_back(beta);
  return Become(n, simple ? "RMSNormalization" : "LayerNormalization", inputs, a);
}

Status EmbedLayerNorm(OldNode& n, Upgrader& u) {
  Value *ids = n.input(0), *segments = n.input(1), *words = n.input(2), *positions = n.input(3),
        *kinds = n.input(4), *gamma = n.input(5), *beta = n.input(6), *mask = n.input(7),
        *place = n.input(8);
  if (!ids || !words || !positions || !gamma || !beta)
    return InvalidArgument(n.Describe() + " needs ids, embeddings, gamma and beta");
  Value* sum = u.Emit(n, "Gather", {words, ids});
  Value* where;
  if (place) {
    where = u.Emit(n, "Gather", {positions, place});
  } else {
    Value* length = u.Emit(n, "Shape", {ids}, {{"start", int64_t{1}}, {"end", int64_t{2}}});
    where = u.Emit(n, "Slice",
                   {positions, u.Ints(n, "start", std::array<int64_t, 1>{0}), length,
                    u.Ints(n, "axes", std::array<int64_t, 1>{0})});
  }
  sum = u.Emit(n, "Add", {sum, where});
  if (segments && kinds) sum = u.Emit(n, "Add", {sum, u.Emit(n, "Gather", {kinds, segments})});
  n.SetResult(2, sum);
  if (n.used.size() > 1 && n.used[1]) {  // how many positions of each row are real
    if (!mask) return Unsupported(n.Describe() + ": mask_index without a mask is not supported");
    Value* wide = u.Emit(n, "Cast", {mask}, {{"to", static_cast<int64_t>(DType::kInt32)}});
    n.SetResult(1, u.Emit(n, "ReduceSum", {wide, u.Ints(n, "axis", std::array<int64_t, 1>{1})},
                          {{"keepdims", int64_t{0}}}));
  }
  SLIPWAY_RETURN_IF_ERROR(NoOutputsFrom(n, 1));
  for (size_t i = 1; i < n.outputs.size(); ++i) {  // unread ones are none of LayerNormalization's
    if (!n.used[i]) n.outputs[i].clear();
  }
  return Become(n, "LayerNormalization", {sum, gamma, beta},
                {{"axis", int64_t{-1}}, {"epsilon", n.attributes.Float("epsilon", 1e-12f)}});
}

// Input i of x's type, for scales that are kept in float32 beside half-precision data.
Value* LikeType(const OldNode& n, Upgrader& u, Value* v, const Value* x) {
  const DType want = u.TypeOf(x), have = u.TypeOf(v);
  if (!IsKnown(want) || !IsKnown(have) || want == have) return v;
  return u.Emit(n, "Cast", {v}, {{"to", static_cast<int64_t>(want)}});
}

Status GroupNorm(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 3));
  Value* x = n.input(0);
  const bool last = n.attributes.Int("channels_last", 1) != 0;
  const bool swish = n.attributes.Int("activation", 0) != 0;
  int64_t rank = 0;
  if (last) {
    SLIPWAY_ASSIGN_OR_RETURN(rank, NeedRank(n, u, x));
    if (rank < 3) return InvalidArgument(n.Describe() + ": its input has no spatial dimensions");
    x = ChannelsFirst(n, u, x, rank);
  }
  Value* y =
      u.Emit(n, "GroupNormalization",
             {x, LikeType(n, u, n.input(1), n.input(0)), LikeType(n, u, n.input(2), n.input(0))},
             {{"epsilon", n.attributes.Float("epsilon", 1e-5f)},
              {"num_groups", n.attributes.Int("groups", 0)}});
  if (swish) y = u.Emit(n, "Swish", {y});
  if (!last) return Become(n, "Identity", {y});
  return Become(n, "Identity", {ChannelsLast(n, u, y, rank)});
}

Status BiasAdd(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 3));
  return Become(n, "Add", {u.Emit(n, "Add", {n.input(0), n.input(1)}), n.input(2)});
}

Status ExpandDims(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 2));
  Value* axes = u.Emit(n, "Reshape", {n.input(1), u.Ints(n, "one", std::array<int64_t, 1>{1})});
  if (const Tensor* t = n.input(1)->constant()) axes = u.Ints(n, "axes", t->ToInts());
  return Become(n, "Unsqueeze", {n.input(0), axes});
}

// Of a vector, in the order of first occurrence: elements, where each came from, counts.
Status Unique(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 1));
  if (!ir::FindOp("", "Unique")) return Unsupported(n.Describe() + " is not supported");
  auto out = u.EmitMany(n, "Unique", {n.input(0)}, 4, {{"sorted", int64_t{0}}});
  n.SetResult(1, out[2]);
  n.SetResult(2, out[3]);
  return Become(n, "Identity", {out[0]});
}

// Operators that mean what those of the default domain mean.
Status SameAsDefault(OldNode& n, Upgrader&) {
  n.domain.clear();
  return OkStatus();
}

constexpr ContribRow kRows[] = {
    {"BiasAdd", BiasAdd},
    {"BiasGelu", BiasGelu},
    {"EmbedLayerNormalization", EmbedLayerNorm},
    {"ExpandDims", ExpandDims},
    {"FastGelu", FastGelu},
    {"FusedConv", FusedConv},
    {"FusedGemm", FusedGemm},
    {"FusedMatMul", FusedMatMul},
    {"GatherND", SameAsDefault},
    {"Gelu", Gelu},
    {"GemmFastGelu", GemmFastGelu},
    {"GroupNorm", GroupNorm},
    {"LayerNormalization", LayerNorm},
    {"Pad", SameAsDefault},
    {"QuickGelu", QuickGelu},
    {"Range", SameAsDefault},
    {"SimplifiedLayerNormalization", SimplifiedLayerNorm},
    {"SkipLayerNormalization", SkipLayerNorm},
    {"SkipSimplifiedLayerNormalization", SkipLayerNorm},
    {"TransposeMatMul", FusedMatMul},
    {"Trilu", SameAsDefault},
    {"Unique", Unique},
};

}  // namespace

std::span<const ContribRow> MicrosoftFloat() { return kRows; }

}  // namespace slipway::onnx
