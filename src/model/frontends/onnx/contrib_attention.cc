// The attention operators of com.microsoft in their basic forms: no key/value cache, no packed
// inputs. Masks become one added term of shape [batch or 1, heads or 1, queries or 1, keys].

#include <array>

#include "model/frontends/onnx/contrib.h"
#include "model/frontends/onnx/tensor_proto.h"
#include "model/ir/schema.h"

namespace slipway::onnx {
namespace {

using ir::Attributes;
using ir::Tensor;
using ir::Value;

Value* Float(const OldNode& n, Upgrader& u, Value* v, const Value* like) {
  const DType type = IsKnown(u.TypeOf(like)) ? u.TypeOf(like) : DType::kFloat32;
  return u.Emit(n, "Cast", {v}, {{"to", static_cast<int64_t>(type)}});
}

// 0 where `keep` is 1, the filter value where it is 0; `axes` are inserted for a rank of 4.
Value* Penalty(const OldNode& n, Upgrader& u, Value* keep, const Value* like,
               const std::vector<int64_t>& axes) {
  Value* real = Float(n, u, keep, like);
  Value* out = u.Emit(n, "Sub", {u.ScalarLike(n, "one", like, 1), real});
  const float filter = n.attributes.Float("mask_filter_value", -10000.0f);
  Value* scaled = u.Emit(n, "Mul", {out, u.ScalarLike(n, "filter", like, filter)});
  return axes.empty() ? scaled : u.Emit(n, "Unsqueeze", {scaled, u.Ints(n, "axes", axes)});
}

// The mask input of Attention and MultiHeadAttention. `keys` is a value whose dimension
// `key_axis` is the number of keys.
Result<Value*> MaskTerm(const OldNode& n, Upgrader& u, Value* mask, const Value* like, Value* keys,
                        int64_t key_axis) {
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t rank, NeedRank(n, u, mask));
  if (rank == 2) return Penalty(n, u, mask, like, {1, 2});  // [batch, keys]
  if (rank == 3) return Penalty(n, u, mask, like, {1});     // [batch, queries, keys]
  if (rank == 1) {                                          // how many keys of each batch are real
    const auto batch = u.RankOf(like) > 0 ? (*like->type().shape)[0] : Dim();
    const Dim length = (*mask->type().shape)[0];
    if (!(batch == length)) {
      return Unsupported(n.Describe() + ": a 1-D mask of " + length.ToString() +
                         " elements for a batch of " + batch.ToString() +
                         " is not supported; use a mask of [batch, keys]");
    }
    Value* count = u.Emit(n, "Shape", {keys}, {{"start", key_axis}, {"end", key_axis + 1}});
    count = u.Emit(n, "Squeeze", {count, u.Ints(n, "zero", std::array<int64_t, 1>{0})});
    Value* index = u.Emit(n, "Range",
                          {u.Constant(n, "start", Tensor::Scalar<int64_t>(0)), count,
                           u.Constant(n, "step", Tensor::Scalar<int64_t>(1))});
    Value* wide = u.Emit(n, "Cast", {mask}, {{"to", static_cast<int64_t>(DType::kInt64)}});
    wide = u.Emit(n, "Unsqueeze", {wide, u.Ints(n, "axis", std::array<int64_t, 1>{1})});
    return Penalty(n, u, u.Emit(n, "Less", {index, wide}), like, {1, 2});
  }
  return Unsupported(n.Describe() + ": a mask of rank " + std::to_string(rank) +
                     " is not supported; use [batch], [batch, keys] or [batch, queries, keys]");
}

// Makes n the Attention of Q, K and V [batch, sequence, heads * size] with the masks given.
Status Finish(OldNode& n, Upgrader& u, Value* q, Value* k, Value* v, Value* mask, Value* bias,
              bool causal) {
  const int64_t heads = n.attributes.Int("num_heads", 0);
  if (heads < 1) return InvalidArgument(n.Describe() + ": num_heads must be positive");
  std::vector<Value*> inputs{q, k, v};
  if (mask && bias) mask = u.Emit(n, "Add", {mask, bias});
  if (mask || bias) inputs.push_back(mask ? mask : bias);
  Attributes a{{"q_num_heads", heads}, {"kv_num_heads", heads}};
  // 0 is what ONNX Runtime writes for "1 / sqrt(size)".
  if (const float scale = n.attributes.Float("scale", 0); scale != 0) a.Set("scale", scale);
  if (causal) a.Set("is_causal", int64_t{1});
  return Become(n, "Attention", inputs, a);
}

// The projection of all three at once, split; then attention.
Status FromProjection(OldNode& n, Upgrader& u, Value* projected, Value* input, Value* mask,
                      Value* bias) {
  const auto sizes = n.attributes.Ints("qkv_hidden_sizes");
  if (n.attributes.Int("do_rotary", 0) != 0)
    return Unsupported(n.Describe() + ": do_rotary is not supported");
  if (!sizes.empty() && sizes.size() != 3)
    return InvalidArgument(n.Describe() + ": qkv_hidden_sizes must have three numbers");
  SLIPWAY_RETURN_IF_ERROR(NoOutputsFrom(n, 1));
  n.outputs.resize(1);
  const std::vector<int64_t> parts(sizes.begin(), sizes.end());
  std::vector<Value*> split{projected};
  Attributes a{{"axis", int64_t{-1}}};
  if (parts.empty()) {
    a.Set("num_outputs", int64_t{3});
  } else {
    split.push_back(u.Ints(n, "sizes", parts));
  }
  auto qkv = u.EmitMany(n, "Split", split, 3, a);
  Value* term = nullptr;
  if (mask) {
    SLIPWAY_ASSIGN_OR_RETURN(term, MaskTerm(n, u, mask, input, input, 1));
  }
  return Finish(n, u, qkv[0], qkv[1], qkv[2], term, bias,
                n.attributes.Int("unidirectional", 0) != 0);
}

// input [B, S, I], weights [I, Q + K + V], bias?, mask?, past, attention_bias?, past length
Status Attention(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 2));
  if (n.input(4) || n.input(6)) {
    return Unsupported(n.Describe() +
                       ": a key/value cache (past) is not supported; export the "
                       "model without past key values");
  }
  Value* x = u.Emit(n, "MatMul", {n.input(0), n.input(1)});
  if (n.input(2)) x = u.Emit(n, "Add", {x, n.input(2)});
  return FromProjection(n, u, x, n.input(0), n.input(3), n.input(5));
}

// Codes in place of input and weights: input, weight, bias, input_scale, weight_scale, mask?,
// input_zero?, weight_zero?, past
Status QAttention(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 5));
  SLIPWAY_RETURN_IF_ERROR(NoInputsFrom(n, 8, "export the model without past key values"));
  std::vector<Value*> inputs{n.input(0), n.input(1), n.input(6), n.input(7)};
  if (!inputs[2] && inputs[3]) inputs[2] = u.Constant(n, "zero", Tensor::Scalar<uint8_t>(0));
  while (!inputs.back()) inputs.pop_back();
  Value* product = Float(n, u, u.Emit(n, "MatMulInteger", inputs), n.input(3));
  Value* x = u.Emit(n, "Mul", {product, u.Emit(n, "Mul", {n.input(3), n.input(4)})});
  x = u.Emit(n, "Add", {x, n.input(2)});
  return FromProjection(n, u, x, x, n.input(5), nullptr);
}

// query [B, S, D], key [B, T, D], value [B, T, V], bias [D + D + V]?, key_padding_mask?,
// attention_bias?, past_key, past_value, ...
Status MultiHeadAttention(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 1));
  if (!n.input(1) || !n.input(2)) {
    return Unsupported(n.Describe() +
                       ": packed queries, keys and values are not supported; export "
                       "them as three inputs");
  }
  SLIPWAY_RETURN_IF_ERROR(NoInputsFrom(n, 6, "export the model without past key values"));
  SLIPWAY_RETURN_IF_ERROR(NoOutputsFrom(n, 1));
  n.outputs.resize(1);
  std::array<Value*, 3> qkv{n.input(0), n.input(1), n.input(2)};
  for (Value* v : qkv) {
    SLIPWAY_ASSIGN_OR_RETURN(const int64_t rank, NeedRank(n, u, v));
    if (rank != 3) {
      return Unsupported(n.Describe() +
                         ": query, key and value must have the form [batch, "
                         "sequence, hidden]");
    }
  }
  if (n.input(3)) {
    std::vector<int64_t> sizes;
    for (Value* v : qkv) {
      const Dim d = v->type().shape->back();
      if (!d.known())
        return Unsupported(n.Describe() + ": the hidden sizes must be known to split its bias");
      sizes.push_back(d.value());
    }
    auto parts =
        u.EmitMany(n, "Split", {n.input(3), u.Ints(n, "sizes", sizes)}, 3, {{"axis", int64_t{0}}});
    for (size_t i = 0; i < 3; ++i) qkv[i] = u.Emit(n, "Add", {qkv[i], parts[i]});
  }
  Value* term = nullptr;
  if (n.input(4)) {
    SLIPWAY_ASSIGN_OR_RETURN(term, MaskTerm(n, u, n.input(4), n.input(0), n.input(1), 1));
  }
  return Finish(n, u, qkv[0], qkv[1], qkv[2], term, n.input(5),
                n.attributes.Int("unidirectional", 0) != 0);
}

// x, position ids ([batch, sequence], or one number: the place of the first), cos, sin
Status RotaryEmbedding(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 4));
  if (!ir::FindOp("", "RotaryEmbedding"))
    return Unsupported(n.Describe() + " needs RotaryEmbedding of opset 23");
  if (n.attributes.Int("is_packed_batching", 0) != 0 || n.attributes.Float("scale", 1) != 1)
    return Unsupported(n.Describe() + ": is_packed_batching and scale are not supported");
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t rank, NeedRank(n, u, n.input(0)));
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t id_rank, NeedRank(n, u, n.input(1)));
  Value* ids = n.input(1);
  if (id_rank < 2) {
    auto extent = [&](int64_t axis) {
      return u.Emit(n, "Shape", {n.input(0)}, {{"start", axis}, {"end", axis + 1}});
    };
    Value* length = extent(rank == 4 ? 2 : 1);
    Value* count = u.Emit(n, "Squeeze", {length, u.Ints(n, "zero", std::array<int64_t, 1>{0})});
    Value* steps = u.Emit(n, "Range",
                          {u.Constant(n, "start", Tensor::Scalar<int64_t>(0)), count,
                           u.Constant(n, "step", Tensor::Scalar<int64_t>(1))});
    Value* shape = u.Emit(n, "Concat", {extent(0), length}, {{"axis", int64_t{0}}});
    ids = u.Emit(n, "Expand", {u.Emit(n, "Add", {steps, ids}), shape});
  }
  Attributes a{{"interleaved", n.attributes.Int("interleaved", 0)}};
  int64_t heads = n.attributes.Int("num_heads", 0);
  const int64_t part = n.attributes.Int("rotary_embedding_dim", 0);
  if (part != 0) a.Set("rotary_embedding_dim", part);
  if (rank == 3 && heads == 0) {  // the table's width is half a head
    SLIPWAY_RETURN_IF_ERROR(NeedRank(n, u, n.input(2)).status());
    const Dim half = n.input(2)->type().shape->back(), hidden = n.input(0)->type().shape->back();
    if (!half.known() || !hidden.known() || half.value() < 1)
      return Unsupported(n.Describe() + ": num_heads must be given");
    heads = hidden.value() / (2 * half.value());
  }
  if (rank == 3) a.Set("num_heads", heads);
  return Become(n, "RotaryEmbedding", {n.input(0), n.input(2), n.input(3), ids}, a);
}

constexpr ContribRow kRows[] = {
    {"Attention", Attention},
    {"MultiHeadAttention", MultiHeadAttention},
    {"QAttention", QAttention},
    {"RotaryEmbedding", RotaryEmbedding},
};

}  // namespace

std::span<const ContribRow> MicrosoftAttention() { return kRows; }

}  // namespace slipway::onnx
