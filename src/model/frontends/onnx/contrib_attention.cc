// The attention operators of com.microsoft, with caches of past keys and values that are given and
// returned (not shared in place). Masks become one term of shape [batch or 1, heads or 1, queries
// or 1, keys].

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

// Keys and values of earlier steps, [batch, heads, past, size] each.
struct Cache {
  Value *key = nullptr, *value = nullptr;
};

// Makes n the Attention of Q, K and V [batch, sequence, heads * size] with the masks given. Its
// outputs 1 and 2 are the cache with the new keys and values behind the old ones.
Status Finish(OldNode& n, Upgrader& u, Value* q, Value* k, Value* v, Value* mask, Value* bias,
              bool causal, const Cache& past = {}) {
  const int64_t heads = n.attributes.Int("num_heads", 0);
  if (heads < 1) return InvalidArgument(n.Describe() + ": num_heads must be positive");
  std::vector<Value*> inputs{q, k, v};
  if (mask && bias) mask = u.Emit(n, "Add", {mask, bias});
  if (mask || bias) inputs.push_back(mask ? mask : bias);
  if (past.key) {
    inputs.resize(4, nullptr);
    inputs.push_back(past.key);
    inputs.push_back(past.value);
  }
  Attributes a{{"q_num_heads", heads}, {"kv_num_heads", heads}};
  // 0 is what ONNX Runtime writes for "1 / sqrt(size)".
  if (const float scale = n.attributes.Float("scale", 0); scale != 0) a.Set("scale", scale);
  if (causal) a.Set("is_causal", int64_t{1});
  return Become(n, "Attention", inputs, a);
}

// The projection of all three at once, split; then attention.
Status FromProjection(OldNode& n, Upgrader& u, Value* projected, Value* input, Value* mask,
                      Value* bias, Value* past = nullptr) {
  const auto sizes = n.attributes.Ints("qkv_hidden_sizes");
  if (n.attributes.Int("do_rotary", 0) != 0)
    return Unsupported(n.Describe() + ": do_rotary is not supported");
  if (!sizes.empty() && sizes.size() != 3)
    return InvalidArgument(n.Describe() + ": qkv_hidden_sizes must have three numbers");
  SLIPWAY_RETURN_IF_ERROR(NoOutputsFrom(n, 2));
  const bool present = n.used.size() > 1 && n.used[1];
  const std::vector<int64_t> parts(sizes.begin(), sizes.end());
  std::vector<Value*> split{projected};
  Attributes a{{"axis", int64_t{-1}}};
  if (parts.empty()) {
    a.Set("num_outputs", int64_t{3});
  } else {
    split.push_back(u.Ints(n, "sizes", parts));
  }
  auto qkv = u.EmitMany(n, "Split", split, 3, a);
  Cache cache;
  if (past) {  // [2, batch, heads, past, size]
    auto halves =
        u.EmitMany(n, "Split", {past}, 2, {{"axis", int64_t{0}}, {"num_outputs", int64_t{2}}});
    Value* first = u.Ints(n, "first", std::array<int64_t, 1>{0});
    cache = {u.Emit(n, "Squeeze", {halves[0], first}), u.Emit(n, "Squeeze", {halves[1], first})};
  }
  Value* term = nullptr;
  if (mask) {
    SLIPWAY_ASSIGN_OR_RETURN(const int64_t rank, NeedRank(n, u, mask));
    if (past && rank == 1)
      return Unsupported(n.Describe() +
                         ": a 1-D mask beside a cache is not supported; use a mask "
                         "of [batch, past + sequence]");
    SLIPWAY_ASSIGN_OR_RETURN(term, MaskTerm(n, u, mask, input, input, 1));
  }
  const bool causal = n.attributes.Int("unidirectional", 0) != 0;
  if (!present) {
    n.outputs.resize(1);
    return Finish(n, u, qkv[0], qkv[1], qkv[2], term, bias, causal, cache);
  }
  OldNode inner = n;
  SLIPWAY_RETURN_IF_ERROR(Finish(inner, u, qkv[0], qkv[1], qkv[2], term, bias, causal, cache));
  auto made = u.EmitMany(n, "Attention", inner.inputs, 3, inner.attributes);
  Value* first = u.Ints(n, "first", std::array<int64_t, 1>{0});
  n.SetResult(1, u.Emit(n, "Concat",
                        {u.Emit(n, "Unsqueeze", {made[1], first}),
                         u.Emit(n, "Unsqueeze", {made[2], first})},
                        {{"axis", int64_t{0}}}));
  return Become(n, "Identity", {made[0]});
}

// input [B, S, I], weights [I, Q + K + V], bias?, mask?, past, attention_bias?, past length
Status Attention(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 2));
  if (n.input(6) || n.attributes.Int("past_present_share_buffer", 0) != 0) {
    return Unsupported(n.Describe() +
                       ": a key/value cache that shares its buffer is not supported; export the "
                       "model with past and present apart");
  }
  Value* x = u.Emit(n, "MatMul", {n.input(0), n.input(1)});
  if (n.input(2)) x = u.Emit(n, "Add", {x, n.input(2)});
  return FromProjection(n, u, x, n.input(0), n.input(3), n.input(5), n.input(4));
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
  SLIPWAY_RETURN_IF_ERROR(NoInputsFrom(n, 8, "export the model with past and present apart"));
  SLIPWAY_RETURN_IF_ERROR(NoOutputsFrom(n, 3));
  if (n.outputs.size() > 3) n.outputs.resize(3);
  const Cache past{n.input(6), n.input(7)};
  if (!past.key != !past.value)
    return InvalidArgument(n.Describe() + ": past_key and past_value go together");
  std::array<Value*, 3> qkv{n.input(0), n.input(1), n.input(2)};
  for (size_t i = 0; i < 3; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(const int64_t rank, NeedRank(n, u, qkv[i]));
    if (rank == 3) continue;
    if (rank != 4 || i == 0 || n.input(3) || past.key) {
      return Unsupported(n.Describe() +
                         ": query, key and value must have the form [batch, sequence, hidden], or "
                         "the last two [batch, heads, sequence, size] without bias and cache");
    }
    // Keys and values of an encoder, kept in the form of a cache.
    Value* rows = u.Emit(n, "Transpose", {qkv[i]}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
    qkv[i] = u.Emit(n, "Reshape", {rows, u.Ints(n, "rows", std::array<int64_t, 3>{0, 0, -1})});
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
    SLIPWAY_ASSIGN_OR_RETURN(const int64_t rank, NeedRank(n, u, n.input(4)));
    if (past.key && rank == 1)
      return Unsupported(n.Describe() +
                         ": a 1-D mask beside a cache is not supported; use a mask "
                         "of [batch, past + sequence]");
    SLIPWAY_ASSIGN_OR_RETURN(term, MaskTerm(n, u, n.input(4), n.input(0), qkv[1], 1));
  }
  return Finish(n, u, qkv[0], qkv[1], qkv[2], term, n.input(5),
                n.attributes.Int("unidirectional", 0) != 0, past);
}

// Queries with their own places and a cache whose rows end at different places.
// query [B, S, N * H] (or all three packed), key, value, past_key, past_value [B, K, P, H],
// seqlens_k [B] (keys of each row, minus one), total_sequence_length, cos, sin, position_ids?,
// attention_bias?, ...
Status GroupQueryAttention(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 1));
  if (!n.input(5) || !n.input(6))
    return InvalidArgument(n.Describe() + " needs seqlens_k and total_sequence_length");
  SLIPWAY_RETURN_IF_ERROR(NoInputsFrom(n, 11, "export it without a head sink or quantized cache"));
  SLIPWAY_RETURN_IF_ERROR(NoOutputsFrom(n, 3));
  const int64_t heads = n.attributes.Int("num_heads", 0),
                groups = n.attributes.Int("kv_num_heads", 0);
  if (heads < 1 || groups < 1 || heads % groups != 0 || heads > 65536)
    return InvalidArgument(n.Describe() + ": num_heads must be a multiple of kv_num_heads");
  if (n.attributes.Int("smooth_softmax", 0) > 0 || n.attributes.Int("qk_output", 0) != 0)
    return Unsupported(n.Describe() + ": smooth_softmax and qk_output are not supported");
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t rank, NeedRank(n, u, n.input(0)));
  if (rank != 3) return InvalidArgument(n.Describe() + ": query must have three dimensions");
  std::array<Value*, 3> qkv{n.input(0), n.input(1), n.input(2)};
  if (!qkv[1]) {
    const Dim hidden = qkv[0]->type().shape->back();
    if (!hidden.known() || hidden.value() % (heads + 2 * groups) != 0)
      return Unsupported(n.Describe() +
                         ": the size of packed queries, keys and values must be known");
    const int64_t size = hidden.value() / (heads + 2 * groups);
    auto parts = u.EmitMany(
        n, "Split",
        {qkv[0],
         u.Ints(n, "sizes", std::array<int64_t, 3>{heads * size, groups * size, groups * size})},
        3, {{"axis", int64_t{2}}});
    for (size_t i = 0; i < 3; ++i) qkv[i] = parts[i];
  } else if (!qkv[2]) {
    return InvalidArgument(n.Describe() + ": key and value go together");
  }
  auto ints = [&](const char* hint, std::vector<int64_t> v) { return u.Ints(n, hint, v); };
  auto wide = [&](Value* v) {
    return u.Emit(n, "Cast", {v}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  };
  auto range = [&](Value* count) {
    return u.Emit(n, "Range",
                  {u.Constant(n, "start", Tensor::Scalar<int64_t>(0)),
                   u.Emit(n, "Squeeze", {count, ints("zero", {0})}),
                   u.Constant(n, "step", Tensor::Scalar<int64_t>(1))});
  };
  // How many keys each row has before this block: none in the first.
  Value* length = u.Emit(n, "Shape", {n.input(0)}, {{"start", int64_t{1}}, {"end", int64_t{2}}});
  Value* keys = u.Emit(n, "Reshape", {wide(n.input(5)), ints("row", {-1})});
  Value* before = u.Emit(n, "Sub", {u.Emit(n, "Add", {keys, ints("one", {1})}), length});
  before = u.Emit(n, "Max", {before, ints("none", {0})});
  Value* places = range(length);
  if (n.attributes.Int("do_rotary", 0) != 0) {
    if (!n.input(7) || !n.input(8))
      return InvalidArgument(n.Describe() + ": do_rotary needs cos_cache and sin_cache");
    Value* ids = n.input(9) ? wide(n.input(9))
                            : u.Emit(n, "Add",
                                     {u.Emit(n, "Unsqueeze", {before, ints("axis", {1})}), places});
    for (size_t i = 0; i < 2; ++i) {
      SLIPWAY_RETURN_IF_ERROR(NeedRank(n, u, n.input(7)).status());
      const Dim half = n.input(7)->type().shape->back();
      if (!half.known())
        return Unsupported(n.Describe() + ": the width of cos_cache must be known");
      Attributes a{{"interleaved", n.attributes.Int("rotary_interleaved", 0)},
                   {"num_heads", i == 0 ? heads : groups},
                   {"rotary_embedding_dim", 2 * half.value()}};
      qkv[i] = u.Emit(n, "RotaryEmbedding", {qkv[i], n.input(7), n.input(8), ids}, a);
    }
  }
  for (size_t i = 0; i < 3; ++i) {
    Value* apart =
        u.Emit(n, "Reshape", {qkv[i], ints("heads", {0, 0, i == 0 ? heads : groups, -1})});
    qkv[i] = u.Emit(n, "Transpose", {apart}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  }
  // The cache as long as the longest row needs it, the new rows written behind each row's old ones.
  Value* total = u.Emit(n, "Reshape", {wide(n.input(6)), ints("one", {1})});
  for (size_t i = 1; i < 3; ++i) {
    Value* past = n.input(2 + i);
    Value* have = past ? u.Emit(n, "Shape", {past}, {{"start", int64_t{2}}, {"end", int64_t{3}}})
                       : ints("none", {0});
    Value* more = u.Emit(n, "Max", {u.Emit(n, "Sub", {total, have}), ints("none", {0})});
    if (!past) {
      Value* four = u.Emit(n, "Shape", {qkv[i]});
      Value* empty = u.Emit(n, "Mul", {four, ints("no_rows", {1, 1, 0, 1})});
      past = u.Emit(n, "Expand", {u.ScalarLike(n, "zero", qkv[i], 0), empty});
    }
    Value* pads = u.Emit(n, "Concat", {ints("front", {0, 0, 0, 0, 0, 0}), more, ints("end", {0})},
                         {{"axis", int64_t{0}}});
    Value* room = u.Emit(n, "Pad", {past, pads});
    qkv[i] = u.Emit(n, "TensorScatter", {room, qkv[i], before});
    n.SetResult(i, qkv[i]);
  }
  // Query i of a row sees the keys up to i plus those before the block, in a window the last of
  // them.
  Value* columns =
      range(u.Emit(n, "Shape", {qkv[1]}, {{"start", int64_t{2}}, {"end", int64_t{3}}}));
  Value* last = u.Emit(n, "Add",
                       {u.Emit(n, "Unsqueeze", {before, ints("axes", {1, 2, 3})}),
                        u.Emit(n, "Unsqueeze", {places, ints("axis", {1})})});
  Value* seen = u.Emit(n, "LessOrEqual", {columns, last});
  if (const int64_t window = n.attributes.Int("local_window_size", -1); window > 0) {
    Value* oldest = u.Emit(n, "Sub", {last, ints("window", {window})});
    seen = u.Emit(n, "And", {seen, u.Emit(n, "Greater", {columns, oldest})});
  }
  if (n.input(10)) {
    seen = u.Emit(n, "Where",
                  {seen, n.input(10),
                   u.ScalarLike(n, "unseen", qkv[0], -std::numeric_limits<float>::infinity())});
  }
  Attributes a;
  if (const float scale = n.attributes.Float("scale", 0); scale != 0) a.Set("scale", scale);
  if (const float cap = n.attributes.Float("softcap", 0); cap != 0) a.Set("softcap", cap);
  Value* y = u.Emit(n, "Attention", {qkv[0], qkv[1], qkv[2], seen}, a);
  y = u.Emit(n, "Transpose", {y}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
  return Become(n, "Reshape", {y, ints("joined", {0, 0, -1})});
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
    {"GroupQueryAttention", GroupQueryAttention},
    {"MultiHeadAttention", MultiHeadAttention},
    {"QAttention", QAttention},
    {"RotaryEmbedding", RotaryEmbedding},
};

}  // namespace

std::span<const ContribRow> MicrosoftAttention() { return kRows; }

}  // namespace slipway::onnx
