// Inference of matrix products and attention.

#include "model/ir/infer_util.h"
#include "model/ops/qattention.h"

namespace slipway::ir {
namespace {

// X [..., K] times W [K, N] (or [N, K]); nullopt when a rank is unknown.
Result<std::optional<SymShape>> LinearOutput(InferContext& c, size_t bias, size_t residual) {
  std::optional<SymShape> out;
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 1, "the input"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 1, 2, "the weight"));
  const SymShape *x = ShapeOf(c, 0), *w = ShapeOf(c, 1);
  if (!x) return out;
  Dim n;
  if (w) {
    const bool transposed = c.attributes().Int("transW", 0) != 0;
    const Dim& k = (*w)[transposed ? 1 : 0];
    if (x->back().known() && k.known() && !(x->back() == k)) {
      return Bad("the input ", *x, " has ", x->back(), " features but the weight ", *w,
                 transposed ? " (transposed)" : "", " takes ", k);
    }
    if (!(x->back() == k)) c.assume_equal(x->back(), k);
    n = (*w)[transposed ? 0 : 1];
  } else {
    n = c.fresh_symbol();
  }
  SLIPWAY_RETURN_IF_ERROR(RequireVector(c, bias, n, "bias"));
  out = *x;
  out->back() = n;
  if (const SymShape* r = ShapeOf(c, residual)) {
    bool good = r->size() == out->size();
    for (size_t i = 0; good && i < out->size(); ++i) {
      good = !(*r)[i].known() || !(*out)[i].known() || (*r)[i] == (*out)[i];
    }
    if (!good) return Bad("the residual has shape ", *r, " but must have the output's, ", *out);
  }
  return out;
}

// What a product of two operands of any rank gives; nullopt when a rank is unknown.
Result<std::optional<SymShape>> MatMulOutput(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 1, "A"));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 1, 1, "B"));
  const SymShape *pa = ShapeOf(c, 0), *pb = ShapeOf(c, 1);
  if (!pa || !pb) return std::optional<SymShape>();
  SymShape a = *pa, b = *pb;
  const bool vector_a = a.size() == 1, vector_b = b.size() == 1;
  if (vector_a) a.insert(a.begin(), Dim(1));
  if (vector_b) b.push_back(Dim(1));
  const Dim &ka = a.back(), &kb = b[b.size() - 2];
  if (ka.known() && kb.known() && !(ka == kb)) {
    return Bad("shapes ", *pa, " and ", *pb, " do not multiply: ", ka, " columns meet ", kb,
               " rows");
  }
  if (!(ka == kb)) c.assume_equal(ka, kb);
  SLIPWAY_ASSIGN_OR_RETURN(SymShape out, Broadcast(c, SymShape(a.begin(), a.end() - 2),
                                                   SymShape(b.begin(), b.end() - 2)));
  if (!vector_a) out.push_back(a[a.size() - 2]);
  if (!vector_b) out.push_back(b.back());
  return std::optional<SymShape>(std::move(out));
}

}  // namespace

Status InferGemm(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2}));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 2, "A"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 1, 2, "B"));
  const SymShape *a = ShapeOf(c, 0), *b = ShapeOf(c, 1);
  const bool ta = c.attributes().Int("transA", 0) != 0, tb = c.attributes().Int("transB", 0) != 0;
  if (a && b) {
    const Dim ka = (*a)[ta ? 0 : 1], kb = (*b)[tb ? 1 : 0];
    if (ka.known() && kb.known() && !(ka == kb)) {
      return Bad("A", ta ? "^T" : "", " of ", *a, " and B", tb ? "^T" : "", " of ", *b,
                 " do not multiply: ", ka, " and ", kb, " differ");
    }
    if (!(ka == kb)) c.assume_equal(ka, kb);
  }
  const Dim m = a ? (*a)[ta ? 1 : 0] : c.fresh_symbol();
  const Dim n = b ? (*b)[tb ? 0 : 1] : c.fresh_symbol();
  if (const SymShape* bias = ShapeOf(c, 2))
    SLIPWAY_RETURN_IF_ERROR(BroadcastsTo(*bias, {m, n}, "C"));
  c.set_output(0, c.input(0).dtype, SymShape{m, n});
  return OkStatus();
}

Status InferMatMul(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1}));
  const DType dtype = c.input(0).dtype != DType::kUndefined ? c.input(0).dtype : c.input(1).dtype;
  SLIPWAY_ASSIGN_OR_RETURN(auto out, MatMulOutput(c));
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferMatMulInteger(InferContext& c) {
  for (size_t i = 0; i < 4; ++i) {
    if (c.has_input(i) && c.input(i).dtype != DType::kUndefined &&
        c.input(i).dtype != DType::kInt8 && c.input(i).dtype != DType::kUInt8)
      return Bad("input ", i, " has type ", c.input(i).dtype, " but must be int8 or uint8");
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto out, MatMulOutput(c));
  c.set_output(0, DType::kInt32, std::move(out));
  return OkStatus();
}

Status InferLinear(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2, 3}));
  SLIPWAY_RETURN_IF_ERROR(CheckActivation(c));
  SLIPWAY_ASSIGN_OR_RETURN(auto out, LinearOutput(c, 2, 3));
  c.set_output(0, c.input(0).dtype, std::move(out));
  return OkStatus();
}

Status InferQLinear(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c, true));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, "x_zero_point", true));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 4, "z_zero_point", true));
  if (c.input(1).dtype != DType::kInt16)
    SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 1, DType::kInt8, "the weight"));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 2, DType::kFloat32, "multiplier"));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 3, DType::kInt32, "bias"));
  SLIPWAY_ASSIGN_OR_RETURN(auto out, LinearOutput(c, 3, 4));
  c.set_output(0, to, out);
  const SymShape* m = ShapeOf(c, 2);
  if (!out || (m && m->size() == 1 && (*m)[0].Is(1))) return OkStatus();
  return RequireVector(c, 2, out->back(), "multiplier");
}

Status InferQMatMul(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, "a_zero_point"));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 1, "b_zero_point"));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "A"));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 1, 2, "B"));
  SLIPWAY_ASSIGN_OR_RETURN(auto out, MatMulOutput(c));
  c.set_output(0, to, std::move(out));
  return OkStatus();
}

Status InferQAttention(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c));
  const char* const zeros[] = {"q_zero_point", "k_zero_point", "v_zero_point"};
  const char* const perms[] = {"q_perm", "k_perm", "v_perm"};
  SymShape x[3];
  bool known = true;
  for (size_t i = 0; i < 3; ++i) {
    SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, i, zeros[i]));
    const SymShape* s = ShapeOf(c, i);
    known &= s != nullptr;
    if (!s) continue;
    if (s->size() < 2 || s->size() > kMaxRank) return Bad("operand ", i, " ", *s, " is no matrix");
    SLIPWAY_ASSIGN_OR_RETURN(const auto order, ops::ReadPermutation(c.attributes().Ints(perms[i]),
                                                                    static_cast<int>(s->size())));
    for (size_t d = 0; d < s->size(); ++d) x[i].push_back((*s)[static_cast<size_t>(order[d])]);
  }
  for (size_t i : {3, 4}) SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, i, DType::kFloat32, "a mask"));
  c.set_output(0, to, std::nullopt);
  if (!known) return OkStatus();
  const size_t rank = x[0].size(), row = rank - 2, column = rank - 1;
  if (x[1].size() != rank || x[2].size() != rank)
    return Bad("operands ", x[0], ", ", x[1], " and ", x[2], " differ in rank");
  SymShape y;
  for (size_t d = 0; d < row; ++d) {
    SLIPWAY_ASSIGN_OR_RETURN(Dim batch, Unify(c, x[0][d], x[1][d], "batches"));
    SLIPWAY_ASSIGN_OR_RETURN(batch, Unify(c, batch, x[2][d], "batches"));
    y.push_back(batch);
  }
  SLIPWAY_RETURN_IF_ERROR(Unify(c, x[0][column], x[1][row], "the size of a head").status());
  SLIPWAY_ASSIGN_OR_RETURN(const Dim keys, Unify(c, x[1][column], x[2][row], "keys"));
  y.push_back(x[0][row]);
  y.push_back(keys);
  for (size_t i : {3, 4}) {
    const SymShape* s = ShapeOf(c, i);
    if (s) SLIPWAY_RETURN_IF_ERROR(BroadcastsTo(*s, y, i == 3 ? "the bias" : "the mask"));
  }
  y.back() = x[2][column];
  SLIPWAY_ASSIGN_OR_RETURN(const auto order, ops::ReadPermutation(c.attributes().Ints("y_perm"),
                                                                  static_cast<int>(rank)));
  SymShape out;
  for (size_t d = 0; d < rank; ++d) out.push_back(y[static_cast<size_t>(order[d])]);
  c.set_output(0, to, std::move(out));
  return OkStatus();
}

Status InferSqueezeExcite(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2, 3, 4}));
  SLIPWAY_RETURN_IF_ERROR(CheckActivation(c));
  SLIPWAY_RETURN_IF_ERROR(CheckActivation(c, "gate", "gate_params"));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 3, "the input"));
  const SymShape *x = ShapeOf(c, 0), *w1 = ShapeOf(c, 1), *w2 = ShapeOf(c, 2);
  c.set_output(0, c.input(0).dtype, x ? std::optional(*x) : std::nullopt);
  if (!x) return OkStatus();
  const Dim& channels = (*x)[1];
  for (const SymShape* w : {w1, w2}) {
    if (!w) continue;
    bool good = w->size() >= 2;
    for (size_t i = 2; good && i < w->size(); ++i) good = (*w)[i].Is(1);
    const size_t side = w == w1 ? 1 : 0;  // where the channels are
    if (!good || ((*w)[side].known() && channels.known() && !((*w)[side] == channels)))
      return Bad("weights ", *w, " do not fit the channels of ", *x);
    if (!((*w)[side] == channels)) c.assume_equal((*w)[side], channels);
  }
  if (w1 && w2 && (*w1)[0].known() && (*w2)[1].known() && !((*w1)[0] == (*w2)[1]))
    return Bad("weights ", *w1, " and ", *w2, " do not fit each other");
  if (w1) SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 3, (*w1)[0], "the first bias"));
  return RequireVector(c, 4, channels, "the second bias");
}

Status InferLinearNBits(InferContext& c) {
  const int64_t bits = c.attributes().Int("bits", 0), group = c.attributes().Int("group", 0);
  if (bits < 1 || bits > 8) return Bad("bits is ", bits, " but must be 1 to 8");
  if (group < 1) return Bad("group is ", group, " but must be positive");
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 0, DType::kFloat32, "the input"));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 2, DType::kFloat32, "scale"));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 4, DType::kFloat32, "bias"));
  const DType codes = c.input(1).dtype;
  if (codes != DType::kUndefined && codes != DType::kInt8 && codes != DType::kUInt8)
    return Bad("the codes are ", codes, " but must be int8 or uint8");
  if (c.has_input(3)) SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 3, codes, "zero point"));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 1, "the input"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 1, 2, "the codes"));
  const SymShape *x = ShapeOf(c, 0), *w = ShapeOf(c, 1);
  if (!x || !w) {
    c.set_output(0, DType::kFloat32, std::nullopt);
    return OkStatus();
  }
  const Dim &n = (*w)[0], &k = (*w)[1];
  if (!n.known() || !k.known()) return Bad("the codes ", *w, " must have known extents");
  if (x->back().known() && !(x->back() == k))
    return Bad("the input ", *x, " has ", x->back(), " features but the codes ", *w, " take ", k);
  if (!(x->back() == k)) c.assume_equal(x->back(), k);
  const int64_t groups = (k.value() - 1) / group + 1;
  for (size_t i : {2, 3}) {
    const SymShape* s = ShapeOf(c, i);
    if (s && !(*s == SymShape{n, Dim(groups)}))
      return Bad(i == 2 ? "scale " : "zero point ", *s, " must be [", n, ", ", groups, "]");
  }
  SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 4, n, "bias"));
  SymShape out = *x;
  out.back() = n;
  c.set_output(0, DType::kFloat32, std::move(out));
  return OkStatus();
}

Status InferAttention(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2}));
  const SymShape *q = ShapeOf(c, 0), *k = ShapeOf(c, 1), *v = ShapeOf(c, 2);
  const DType dtype = c.input(0).dtype;
  if (!q || !k || !v) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  if (q->size() != k->size() || q->size() != v->size() || (q->size() != 3 && q->size() != 4)) {
    return Bad("Q ", *q, ", K ", *k, " and V ", *v, " must all have 3 or all have 4 dimensions");
  }
  Dim q_heads, kv_heads, q_size, k_size, v_size;  // sizes per head
  const bool flat = q->size() == 3;
  const size_t sequence = flat ? 1 : 2;
  if (flat) {
    const int64_t nq = c.attributes().Int("q_num_heads", 0),
                  nkv = c.attributes().Int("kv_num_heads", 0);
    if (nq < 1 || nkv < 1 || nq > kMaxWindow || nkv > kMaxWindow) {
      return Bad("q_num_heads = ", nq, " and kv_num_heads = ", nkv,
                 " must be positive for 3-D inputs");
    }
    q_heads = Dim(nq);
    kv_heads = Dim(nkv);
    const auto per_head = [](const Dim& hidden, int64_t heads,
                             std::string_view what) -> Result<Dim> {
      if (hidden.known() && hidden.value() % heads != 0)
        return Bad(what, ": ", heads, " heads do not divide ", hidden, " features");
      return FloorDiv(hidden, Dim(heads));
    };
    SLIPWAY_ASSIGN_OR_RETURN(q_size, per_head((*q)[2], nq, "Q"));
    SLIPWAY_ASSIGN_OR_RETURN(k_size, per_head((*k)[2], nkv, "K"));
    SLIPWAY_ASSIGN_OR_RETURN(v_size, per_head((*v)[2], nkv, "V"));
  } else {
    q_heads = (*q)[1];
    SLIPWAY_ASSIGN_OR_RETURN(kv_heads, Unify(c, (*k)[1], (*v)[1], "heads of K and V"));
    q_size = (*q)[3];
    k_size = (*k)[3];
    v_size = (*v)[3];
  }
  if (q_heads.known() && kv_heads.known() &&
      (kv_heads.value() < 1 || q_heads.value() % kv_heads.value() != 0)) {
    return Bad("the ", q_heads, " heads of Q must be a multiple of the ", kv_heads,
               " heads of K and V");
  }
  SLIPWAY_RETURN_IF_ERROR(Unify(c, q_size, k_size, "head size of Q and K").status());
  SLIPWAY_ASSIGN_OR_RETURN(Dim batch, Unify(c, (*q)[0], (*k)[0], "batch of Q and K"));
  SLIPWAY_ASSIGN_OR_RETURN(batch, Unify(c, batch, (*v)[0], "batch of Q and V"));
  SLIPWAY_ASSIGN_OR_RETURN(Dim keys,
                           Unify(c, (*k)[sequence], (*v)[sequence], "sequence length of K and V"));
  if (c.has_input(4) != c.has_input(5)) return Bad("past_key and past_value must come together");
  if (c.has_input(4)) {
    SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 4, 5}));
    SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 4, 4, "past_key"));
    SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 5, 4, "past_value"));
    Dim past;
    bool known = false;
    for (size_t i : {4, 5}) {
      if (!ShapeOf(c, i)) continue;
      const SymShape s = *ShapeOf(c, i);
      const Dim want[] = {batch, kv_heads, known ? past : s[2], i == 4 ? k_size : v_size};
      for (size_t d = 0; d < 4; ++d) {
        SLIPWAY_RETURN_IF_ERROR(
            Unify(c, s[d], want[d], i == 4 ? "shape of past_key" : "shape of past_value").status());
      }
      past = s[2];
      known = true;
    }
    keys = known ? keys + past : c.fresh_symbol();
  }
  SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 6, batch, "nonpad_kv_seqlen"));
  const int64_t mode = c.attributes().Int("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3) return Bad("qk_matmul_output_mode = ", mode, " must be 0 to 3");
  const Dim queries = (*q)[sequence];
  c.set_output(1, dtype, SymShape{batch, kv_heads, keys, k_size});
  c.set_output(2, dtype, SymShape{batch, kv_heads, keys, v_size});
  c.set_output(3, dtype, SymShape{batch, q_heads, queries, keys});
  if (c.has_input(3)) {
    const DType mask_type = c.input(3).dtype;
    if (mask_type != DType::kUndefined && mask_type != DType::kBool &&
        mask_type != DType::kFloat32 && mask_type != dtype) {
      return Bad("attn_mask has type ", mask_type, " but must be bool, float32 or ", dtype);
    }
    if (const SymShape* mask = ShapeOf(c, 3)) {
      if (mask->size() < 2) return Bad("attn_mask ", *mask, " must have 2 to 4 dimensions");
      // A mask for fewer keys excludes the rest.
      SymShape covered = *mask;
      if (covered.back().known() && keys.known() && covered.back().value() < keys.value())
        covered.back() = keys;
      SLIPWAY_RETURN_IF_ERROR(BroadcastsTo(covered, {batch, q_heads, queries, keys}, "attn_mask"));
    }
  }
  if (flat) {
    c.set_output(0, dtype, SymShape{batch, queries, q_heads * v_size});
  } else {
    c.set_output(0, dtype, SymShape{batch, q_heads, queries, v_size});
  }
  return OkStatus();
}

}  // namespace slipway::ir
