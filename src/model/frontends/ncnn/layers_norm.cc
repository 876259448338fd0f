// Normalisation, reductions, softmax and attention.

#include <algorithm>
#include <cmath>

#include "model/frontends/ncnn/convert.h"

namespace slipway::ncnn {
namespace {

using ir::Node;
using ir::Value;

Status Softmax(Converter& c, const Node& n) {
  const auto rank = static_cast<int64_t>(Converter::Dimensions(n.input(0)).size());
  int64_t axis = n.attributes.Int("axis", -1);
  if (axis < 0) axis += rank;
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Along(n.input(0), &axis, 3));
  Blob y;
  c.Add("Softmax", n, {x}, x.dims, &y)->params = {{0, axis}, {1, int64_t{1}}};
  if (n.Is("LogSoftmax")) {
    const Blob soft = y;
    c.Add("UnaryOp", n, {soft}, x.dims, &y)->params = {{0, int64_t{8}}};
  }
  c.Set(n.output(), y);
  return OkStatus();
}

Status LayerNorm(Converter& c, const Node& n) {
  const Extents all = Converter::Dimensions(n.input(0));
  int64_t axis = n.attributes.Int("axis", -1);
  if (axis < 0) axis += static_cast<int64_t>(all.size());
  const int64_t inner = Elements({all.begin() + static_cast<std::ptrdiff_t>(axis), all.end()});
  const int64_t outer = Elements(all) / std::max<int64_t>(inner, 1);
  for (size_t i = 1; i < n.outputs().size(); ++i) {
    if (n.output(i) && n.output(i)->IsUsed())
      return Converter::Refuse(n, "ncnn's layer gives neither mean nor deviation");
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor scale, Converter::Constant(n, 1, "scale"));
  ir::Tensor bias = FloatVector(std::vector<float>(static_cast<size_t>(inner), 0));
  if (n.input(2)) {
    SLIPWAY_ASSIGN_OR_RETURN(bias, Converter::Constant(n, 2, "bias"));
  }
  if (scale.count() != inner || bias.count() != inner)
    return Converter::Refuse(n, "its scale and bias must have one element for each of its input's");
  const bool rms = n.Is("RMSNormalization");
  SLIPWAY_ASSIGN_OR_RETURN(Blob x,
                           c.Get(n.input(0), outer == 1 ? Extents{inner} : Extents{outer, inner}));
  Blob y;
  Layer* l = c.Add(rms ? "RMSNorm" : "LayerNorm", n, {x}, x.dims, &y);
  l->params = {{0, inner}, {1, n.attributes.Float("epsilon", 1e-5f)}, {2, int64_t{1}}};
  l->weights.push_back({scale, false});
  if (!rms) l->weights.push_back({bias, false});
  c.Set(n.output(), y);
  return OkStatus();
}

Status ChannelNorm(Converter& c, const Node& n) {
  const Extents all = Converter::Dimensions(n.input(0));
  if (all.size() < 3 || all[0] != 1)
    return Converter::Refuse(n, "ncnn normalises one sample at a time: its batch must be 1");
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor scale, Converter::Constant(n, 1, "scale"));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor bias, Converter::Constant(n, 2, "bias"));
  const Extents shape =
      all.size() <= 4 ? Converter::Shape(n.input(0))
                      : Extents{all[1], Elements({all.begin() + 2, all.end() - 1}), all.back()};
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0), shape));
  const float epsilon = n.attributes.Float("epsilon", 1e-5f);
  Blob y;
  if (n.Is("BatchNormalization")) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor mean, Converter::Constant(n, 3, "mean"));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor variance, Converter::Constant(n, 4, "variance"));
    Layer* l = c.Add("BatchNorm", n, {x}, x.dims, &y);
    l->params = {{0, all[1]}, {1, epsilon}};
    for (const ir::Tensor& t : {scale, mean, variance, bias}) l->weights.push_back({t, false});
  } else {
    const bool groups = n.Is("GroupNormalization");
    Layer* l = c.Add(groups ? "GroupNorm" : "InstanceNorm", n, {x}, x.dims, &y);
    if (groups)
      l->params = {
          {0, n.attributes.Int("num_groups", 1)}, {1, all[1]}, {2, epsilon}, {3, int64_t{1}}};
    else
      l->params = {{0, all[1]}, {1, epsilon}, {2, int64_t{1}}};
    for (const ir::Tensor& t : {scale, bias}) l->weights.push_back({t, false});
  }
  c.Set(n.output(), y);
  return OkStatus();
}

Status Lrn(Converter& c, const Node& n) {
  const Extents all = Converter::Dimensions(n.input(0));
  const auto& a = n.attributes;
  if (all.size() != 4 || all[0] != 1 || a.Int("size", 1) % 2 == 0)
    return Converter::Refuse(n, "ncnn's LRN takes one image and an odd size");
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0), {all[1], all[2], all[3]}));
  Blob y;
  c.Add("LRN", n, {x}, x.dims, &y)->params = {{0, int64_t{0}},
                                              {1, a.Int("size", 1)},
                                              {2, a.Float("alpha", 1e-4f)},
                                              {3, a.Float("beta", 0.75f)},
                                              {4, a.Float("bias", 1)}};
  c.Set(n.output(), y);
  return OkStatus();
}

int64_t ReduceCode(const Node& n) {
  constexpr std::pair<const char*, int64_t> kCodes[] = {
      {"ReduceSum", 0}, {"ReduceSumSquare", 2}, {"ReduceMean", 3}, {"ReduceMax", 4},
      {"ReduceMin", 5}, {"ReduceProd", 6},      {"ReduceL1", 7},   {"ReduceL2", 8}};
  for (const auto& [op, code] : kCodes) {
    if (n.Is(op)) return code;
  }
  return -1;
}

// Axes side by side are reduced as the middle of [before, them, behind].
Status Reduce(Converter& c, const Node& n) {
  const Extents all = Converter::Dimensions(n.input(0));
  const auto rank = static_cast<int64_t>(all.size());
  std::vector<bool> reduced(all.size(), true);
  if (n.input(1)) {
    const ir::Tensor* t = n.constant_input(1);
    if (!t) return Converter::Refuse(n, "ncnn reduces fixed axes only");
    const auto axes = t->ToInts();
    if (!axes.empty() || n.attributes.Int("noop_with_empty_axes", 0) != 0)
      std::fill(reduced.begin(), reduced.end(), false);
    for (int64_t a : axes) reduced[static_cast<size_t>(a < 0 ? a + rank : a)] = true;
  } else if (n.attributes.Int("noop_with_empty_axes", 0) != 0) {
    return Converter::Refuse(n, "it reduces nothing; remove it");
  }
  int64_t parts[3] = {1, 1, 1};
  int stage = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i] == 1) continue;
    if (reduced[i] && stage == 0) stage = 1;
    if (!reduced[i] && stage == 1) stage = 2;
    if (reduced[i] && stage == 2)
      return Converter::Refuse(n, "ncnn would need its axes side by side: transpose before it");
    parts[stage] *= all[i];
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0), {parts[0], parts[1], parts[2]}));
  Blob y;
  c.Add("Reduction", n, {x}, {parts[0], 1, parts[2]}, &y)->params = {
      {0, ReduceCode(n)},           {1, int64_t{0}}, {2, 1.0f},
      {3, std::vector<int64_t>{1}}, {4, int64_t{1}}, {5, int64_t{1}}};
  c.Set(n.output(), y);
  return OkStatus();
}

// Matrix products around a softmax, one head a channel.
Status Attention(Converter& c, const Node& n) {
  const Extents q = Converter::Dimensions(n.input(0)), k = Converter::Dimensions(n.input(1)),
                v = Converter::Dimensions(n.input(2));
  const auto& a = n.attributes;
  const bool flat = q.size() == 3;
  const int64_t batch = q[0];  // Swin's windows: heads of all of them are channels side by side
  if (a.Int("is_causal", 0) != 0 || a.Float("softcap", 0) != 0)
    return Converter::Refuse(n, "a causal mask and softcap must be written as nodes");
  const int64_t heads = flat ? a.Int("q_num_heads", 0) : q[1];
  const int64_t kv_heads = flat ? a.Int("kv_num_heads", 0) : k[1];
  if (heads < 1 || heads != kv_heads)
    return Converter::Refuse(n, "ncnn needs as many heads of keys and values as of queries");
  auto extents = [&](const Extents& d) {  // [batch * heads, length, size]
    return flat ? Extents{batch * heads, d[1], d[2] / heads} : Extents{batch * heads, d[2], d[3]};
  };
  auto take = [&](size_t i, const Extents& d) -> Result<Blob> {
    SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(i)));
    const Extents want = extents(d);
    if (!flat) return c.As(x, want);
    SLIPWAY_ASSIGN_OR_RETURN(Blob y,
                             Permute(c, n, x, {batch, want[1], heads, want[2]}, {0, 2, 1, 3}));
    return c.As(y, want);
  };
  SLIPWAY_ASSIGN_OR_RETURN(Blob query, take(0, q));
  SLIPWAY_ASSIGN_OR_RETURN(Blob key, take(1, k));
  SLIPWAY_ASSIGN_OR_RETURN(Blob value, take(2, v));
  const int64_t size = query.dims[2];
  const float scale =
      a.Has("scale") ? a.Float("scale", 1) : 1 / std::sqrt(static_cast<float>(size));
  query = c.WithScalar(n, query, 2, scale);
  Blob scores;
  c.Add("MatMul", n, {query, key}, {batch * heads, query.dims[1], key.dims[1]}, &scores)->params = {
      {0, int64_t{1}}};
  if (n.input(3)) {
    Extents mask = Converter::Dimensions(n.input(3));
    Extents whole = {batch, heads, query.dims[1], key.dims[1]};
    bool fits = n.input(3)->dtype() == DType::kFloat32 && mask.size() <= 4;
    if (fits) mask.insert(mask.begin(), 4 - mask.size(), 1);
    for (size_t i = 0; fits && i < 4; ++i) fits = mask[i] == 1 || mask[i] == whole[i];
    if (!fits || mask[3] != whole[3])
      return Converter::Refuse(n, "ncnn adds a float mask over all keys only");
    if (batch == 1) {
      mask.erase(mask.begin());
      whole.erase(whole.begin());
    }
    SLIPWAY_ASSIGN_OR_RETURN(Blob added, c.Get(n.input(3), mask));
    const Blob plain = c.As(scores, whole);
    c.Add("BinaryOp", n, {plain, added}, whole, &scores)->params = {{0, int64_t{0}}};
    scores = c.As(scores, {batch * heads, query.dims[1], key.dims[1]});
  }
  Blob weights, y;
  c.Add("Softmax", n, {scores}, scores.dims, &weights)->params = {{0, int64_t{2}}, {1, int64_t{1}}};
  const Extents out = {batch * heads, query.dims[1], value.dims[2]};
  c.Add("MatMul", n, {weights, value}, out, &y)->params = {{0, int64_t{0}}};
  if (flat) {
    SLIPWAY_ASSIGN_OR_RETURN(
        y, Permute(c, n, y, {batch, heads, query.dims[1], value.dims[2]}, {0, 2, 1, 3}));
  }
  c.Set(n.output(), y);
  return OkStatus();
}

}  // namespace

Writer FindNormal(const Node& n) {
  if (n.Is("Softmax") || n.Is("LogSoftmax")) return Softmax;
  if (n.Is("LayerNormalization") || n.Is("RMSNormalization")) return LayerNorm;
  if (n.Is("BatchNormalization") || n.Is("InstanceNormalization") || n.Is("GroupNormalization"))
    return ChannelNorm;
  if (n.Is("LRN")) return Lrn;
  if (n.Is("Attention")) return Attention;
  if (ReduceCode(n) >= 0) return Reduce;
  return nullptr;
}

}  // namespace slipway::ncnn
