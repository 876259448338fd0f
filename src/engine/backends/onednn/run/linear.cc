// Linear algebra: slipway.Linear and QLinear, Gemm, MatMul, Attention.

#include <cmath>

#include "engine/backends/onednn/run/step.h"

namespace slipway::backends::onednn {
namespace {

using dt = dnnl::memory::data_type;
using tag = dnnl::memory::format_tag;
constexpr uint32_t kF32 = static_cast<uint32_t>(DType::kFloat32);

Status CheckPlain(Builder& b) {
  for (size_t i = 0; i < b.num_inputs(); ++i) {
    if (b.Has(i) && b.input(i).layout != 0)
      return Unsupported("linear algebra in a layout other than plain");
  }
  return b.output(0).layout == 0 ? OkStatus()
                                 : Unsupported("linear algebra in a layout other than plain");
}

Status CheckBytes(Builder& b, const MemoryDesc& desc, const slipway_tensor& t, const char* what) {
  if (desc.get_size() <= t.bytes) return OkStatus();
  return InvalidArgument(std::string(what) + " of " + b.op().op +
                         " is smaller than its shape says");
}

// X [..., K] W [K, N] or [N, K] -> [..., N] as one product.
struct LinearShape {
  int64_t m, k, n;
  bool trans;
  MemoryDesc x, w_plain, y;
};

Result<LinearShape> ReadLinear(Builder& b, bool trans) {
  SLIPWAY_RETURN_IF_ERROR(CheckPlain(b));
  const Dims x = b.InputDims(0), w = b.InputDims(1), y = b.OutputDims(0);
  if (x.rank() < 1 || w.rank() != 2 || y.rank() != x.rank())
    return InvalidArgument("the ranks of X, W and Y make no product");
  LinearShape s;
  s.trans = trans;
  s.k = x.back();
  s.n = y.back();
  s.m = x.count(0, x.rank() - 1);
  if (w[trans ? 1 : 0] != s.k || w[trans ? 0 : 1] != s.n || y.count(0, y.rank() - 1) != s.m) {
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " make no product");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const dt xt, ToDnnl(b.input(0).dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const dt wt, ToDnnl(b.input(1).dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const dt yt, ToDnnl(b.output(0).dtype));
  s.x = MemoryDesc({s.m, s.k}, xt, tag::ab);
  s.y = MemoryDesc({s.m, s.n}, yt, tag::ab);
  s.w_plain =
      MemoryDesc({s.n, s.k}, wt, trans ? tag::ab : tag::ba);  // as inner product sees it: [N, K]
  SLIPWAY_RETURN_IF_ERROR(CheckBytes(b, s.x, b.input(0), "X"));
  SLIPWAY_RETURN_IF_ERROR(CheckBytes(b, s.w_plain, b.input(1), "W"));
  SLIPWAY_RETURN_IF_ERROR(CheckBytes(b, s.y, b.output(0), "Y"));
  return s;
}

Status AddLinear(Builder& b, const LinearShape& s, size_t bias_input, uint32_t bias_type,
                 const dnnl::primitive_attr& attr) {
  MemoryDesc bias;
  if (b.Has(bias_input)) {
    if (b.InputDims(bias_input).count() != s.n || b.input(bias_input).dtype != bias_type) {
      return InvalidArgument("the bias does not fit the output channels");
    }
    SLIPWAY_ASSIGN_OR_RETURN(const dt type, ToDnnl(bias_type));
    bias = MemoryDesc({s.n}, type, tag::a);
  }
  const MemoryDesc w_any(s.w_plain.dims(), s.w_plain.data_type(), tag::any);
  dnnl::inner_product_forward::desc desc(dnnl::prop_kind::forward_inference, s.x,
                                         b.input(1).is_constant ? w_any : s.w_plain, bias, s.y);
  const dnnl::inner_product_forward::primitive_desc pd(desc, attr, Engine());
  SLIPWAY_ASSIGN_OR_RETURN(dnnl::memory weights, b.Weight(1, s.w_plain, pd.weights_desc()));
  std::vector<Builder::Arg> args = {{DNNL_ARG_SRC, b.At(s.x, InputAt(0))},
                                    {DNNL_ARG_WEIGHTS, weights},
                                    {DNNL_ARG_DST, b.At(s.y, OutputAt(0))}};
  if (b.Has(bias_input)) args.push_back({DNNL_ARG_BIAS, b.At(bias, InputAt(bias_input))});
  b.Add<dnnl::inner_product_forward>(pd, std::move(args));
  return OkStatus();
}

Status CheckResidual(Builder& b, size_t i) {
  if (b.InputDims(i) == b.OutputDims(0) && b.input(i).bytes == b.output(0).bytes) return OkStatus();
  return InvalidArgument("the residual must have the shape of the output");
}

// Broadcast batch dimensions, collapsed to [batch..., rows, columns] of equal rank.
struct BatchMatMul {
  dnnl::memory::dims a, b, y;
};

Result<BatchMatMul> ReadMatMul(Builder& builder) {
  const Dims a = builder.InputDims(0), b = builder.InputDims(1), y = builder.OutputDims(0);
  if (a.rank() < 1 || b.rank() < 1) return InvalidArgument("MatMul of a scalar");
  BatchMatMul s;
  s.a = ToDnnlDims(a);
  s.b = ToDnnlDims(b);
  s.y = ToDnnlDims(y);
  if (a.rank() == 1) {
    s.a.insert(s.a.begin(), 1);
    s.y.insert(s.y.end() - (b.rank() > 1 ? 1 : 0), 1);
  }
  if (b.rank() == 1) {
    s.b.push_back(1);
    s.y.push_back(1);
  }
  const size_t rank = std::max(s.a.size(), s.b.size());
  if (s.y.size() != rank) return InvalidArgument("the output of MatMul has the wrong rank");
  s.a.insert(s.a.begin(), rank - s.a.size(), 1);
  s.b.insert(s.b.begin(), rank - s.b.size(), 1);
  // Equal batch dimensions become one.
  bool equal = true;
  int64_t batch = 1;
  for (size_t i = 0; i + 2 < rank; ++i) {
    equal &= s.a[i] == s.b[i] && s.a[i] == s.y[i];
    batch *= s.a[i];
  }
  if (equal && rank > 3) {
    for (auto* d : {&s.a, &s.b, &s.y}) {
      d->erase(d->begin(), d->end() - 2);
      d->insert(d->begin(), batch);
    }
  }
  return s;
}

Status AddMatMul(Builder& b, const MemoryDesc& x, const MemoryDesc& w, const MemoryDesc& y,
                 Place px, Place pw, Place py, const dnnl::primitive_attr& attr,
                 std::vector<Builder::Arg> more = {}) {
  const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(x, w, y), attr, Engine());
  more.push_back({DNNL_ARG_SRC, b.At(x, px)});
  more.push_back({DNNL_ARG_WEIGHTS, b.At(w, pw)});
  more.push_back({DNNL_ARG_DST, b.At(y, py)});
  b.Add<dnnl::matmul>(pd, std::move(more));
  return OkStatus();
}

}  // namespace

Status BuildLinear(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2, 1));
  SLIPWAY_ASSIGN_OR_RETURN(const LinearShape s,
                           ReadLinear(b, b.attributes().Int("transW", 0) != 0));
  if (s.m * s.n == 0) return OkStatus();
  dnnl::primitive_attr attr = Attr();
  dnnl::post_ops post_ops;
  if (b.Has(3)) {
    SLIPWAY_RETURN_IF_ERROR(CheckResidual(b, 3));
    if (b.input(3).dtype != b.output(0).dtype)
      return InvalidArgument("the residual has another element type than the output");
    post_ops.append_sum(1.0f);
    b.Accumulate(3);
  }
  SLIPWAY_RETURN_IF_ERROR(b.Activate(post_ops));
  attr.set_post_ops(post_ops);
  return AddLinear(b, s, 2, b.input(0).dtype, attr);
}

Status BuildQLinear(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3, 1));
  SLIPWAY_ASSIGN_OR_RETURN(const LinearShape s,
                           ReadLinear(b, b.attributes().Int("transW", 0) != 0));
  if (s.m * s.n == 0) return OkStatus();
  if (b.attributes().Int("y_zero_point", 0) != 0) return Unsupported("an output zero point");
  dnnl::primitive_attr attr = Attr();
  SLIPWAY_RETURN_IF_ERROR(QuantizedAttr(b, s.n, 4, attr));
  return AddLinear(b, s, 3, static_cast<uint32_t>(DType::kInt32), attr);
}

Status BuildGemm(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2, 1));
  const ops::Attributes& a = b.attributes();
  if (a.Int("transA", 0) != 0 || a.Float("alpha", 1) != 1 ||
      (b.Has(2) && a.Float("beta", 1) != 1)) {
    return Unsupported("Gemm with transA, alpha or beta");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const LinearShape s, ReadLinear(b, a.Int("transB", 0) != 0));
  if (s.m * s.n == 0) return OkStatus();
  return AddLinear(b, s, 2, b.input(0).dtype, Attr());
}

Status BuildMatMul(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2, 1));
  SLIPWAY_RETURN_IF_ERROR(CheckPlain(b));
  const Dims y = b.OutputDims(0);
  if (y.count() == 0) return OkStatus();
  if (b.InputDims(1).rank() == 2 && b.input(1).is_constant && b.InputDims(0).rank() >= 2) {
    SLIPWAY_ASSIGN_OR_RETURN(const LinearShape s, ReadLinear(b, false));
    return AddLinear(b, s, 2, b.input(0).dtype, Attr());
  }
  SLIPWAY_ASSIGN_OR_RETURN(const BatchMatMul s, ReadMatMul(b));
  SLIPWAY_ASSIGN_OR_RETURN(const dt at, ToDnnl(b.input(0).dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const dt bt, ToDnnl(b.input(1).dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const dt yt, ToDnnl(b.output(0).dtype));
  const MemoryDesc da = PlainDesc(s.a, at), db = PlainDesc(s.b, bt), dy = PlainDesc(s.y, yt);
  SLIPWAY_RETURN_IF_ERROR(CheckBytes(b, da, b.input(0), "A"));
  SLIPWAY_RETURN_IF_ERROR(CheckBytes(b, db, b.input(1), "B"));
  SLIPWAY_RETURN_IF_ERROR(CheckBytes(b, dy, b.output(0), "Y"));
  return AddMatMul(b, da, db, dy, InputAt(0), InputAt(1), OutputAt(0), Attr());
}

// Q K^T -> softmax -> V, a head at a time, so that the scores of one head stay in the cache. Heads
// are strided views of the operands, whether these are [batch, heads, length, size] or [batch,
// length, heads * size].
Status BuildAttention(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3, 1));
  SLIPWAY_RETURN_IF_ERROR(CheckPlain(b));
  const ops::Attributes& a = b.attributes();
  if (a.Int("is_causal", 0) != 0 || a.Float("softcap", 0) != 0)
    return Unsupported("causal or capped attention");
  struct Operand {
    int64_t batch, heads, length, size;
    int64_t batch_stride, head_stride, row_stride;
  };
  auto read = [&](const slipway_tensor& t, int64_t heads) -> Result<Operand> {
    const Dims d = Builder::ToDims(t);
    if (t.dtype != kF32) return Unsupported("attention on other types than float32");
    Operand o;
    if (d.rank() == 4) {
      o = {d[0], d[1], d[2], d[3], d[1] * d[2] * d[3], d[2] * d[3], d[3]};
    } else if (d.rank() == 3 && heads > 0 && d[2] % heads == 0) {
      o = {d[0], heads, d[1], d[2] / heads, d[1] * d[2], d[2] / heads, d[2]};
    } else {
      return InvalidArgument(
          "attention needs operands of rank 4, or of rank 3 with head counts that divide them");
    }
    if (static_cast<uint64_t>(d.count()) * 4 > t.bytes)
      return InvalidArgument("an operand of Attention is smaller than its shape says");
    return o;
  };
  const int64_t q_heads = a.Int("q_num_heads", 0), kv_heads = a.Int("kv_num_heads", 0);
  SLIPWAY_ASSIGN_OR_RETURN(const Operand q, read(b.input(0), q_heads));
  SLIPWAY_ASSIGN_OR_RETURN(const Operand k, read(b.input(1), kv_heads));
  SLIPWAY_ASSIGN_OR_RETURN(const Operand v, read(b.input(2), kv_heads));
  SLIPWAY_ASSIGN_OR_RETURN(const Operand y, read(b.output(0), q_heads > 0 ? q_heads : q.heads));
  if (b.OutputDims(0).count() == 0) return OkStatus();
  if (k.batch != q.batch || v.batch != q.batch || y.batch != q.batch || k.size != q.size ||
      v.length != k.length || y.length != q.length || y.size != v.size || y.heads != q.heads ||
      k.heads != v.heads || k.heads < 1 || q.heads % k.heads != 0) {
    return InvalidArgument("the operands of Attention do not fit each other");
  }
  const float scale =
      a.Has("scale") ? a.Float("scale", 1) : 1.0f / std::sqrt(static_cast<float>(q.size));
  // The mask broadcasts to [batch, heads, q.length, k.length].
  Dims mask{1, 1, 1, 1};
  int64_t mask_strides[4] = {0, 0, 0, 0};
  const bool masked = b.Has(3);
  if (masked) {
    const Dims d = b.InputDims(3);
    if (b.input(3).dtype != kF32) return Unsupported("an attention mask that is not float32");
    if (d.rank() > 4 || static_cast<uint64_t>(d.count()) * 4 > b.input(3).bytes)
      return InvalidArgument("the mask of Attention does not fit");
    for (int i = 0; i < d.rank(); ++i)
      mask[static_cast<size_t>(4 - d.rank() + i)] = d[static_cast<size_t>(i)];
    const int64_t full[4] = {q.batch, q.heads, q.length, k.length};
    int64_t stride = 1;
    for (size_t i = 4; i-- > 0;) {
      if (mask[i] != 1 && mask[i] != full[i])
        return InvalidArgument("the mask of Attention does not broadcast");
      mask_strides[i] = mask[i] == 1 ? 0 : stride;
      stride *= mask[i];
    }
  }
  const MemoryDesc dq({q.length, q.size}, dt::f32, dnnl::memory::dims{q.row_stride, 1});
  const MemoryDesc dk({k.size, k.length}, dt::f32, dnnl::memory::dims{1, k.row_stride});
  const MemoryDesc ds({q.length, k.length}, dt::f32, tag::ab);
  const MemoryDesc dv({v.length, v.size}, dt::f32, dnnl::memory::dims{v.row_stride, 1});
  const MemoryDesc dy({y.length, y.size}, dt::f32, dnnl::memory::dims{y.row_stride, 1});
  const MemoryDesc dm({mask[2], mask[3]}, dt::f32, tag::ab);
  dnnl::primitive_attr scores_attr = Attr();
  scores_attr.set_output_scales(0, {scale});
  if (masked) {
    dnnl::post_ops post_ops;
    post_ops.append_binary(dnnl::algorithm::binary_add, dm);
    scores_attr.set_post_ops(post_ops);
  }
  const uint64_t scores = b.Reserve(ds.get_size());
  const dnnl::matmul::primitive_desc qk(dnnl::matmul::desc(dq, dk, ds), scores_attr, Engine());
  const dnnl::softmax_v2_forward::primitive_desc softmax(
      {dnnl::prop_kind::forward_inference, dnnl::algorithm::softmax_accurate, ds, ds, 1}, Attr(),
      Engine());
  const dnnl::matmul::primitive_desc sv(dnnl::matmul::desc(ds, dv, dy), Attr(), Engine());
  for (int64_t n = 0; n < q.batch; ++n) {
    for (int64_t h = 0; h < q.heads; ++h) {
      const int64_t kv = h / (q.heads / k.heads);
      auto at = [&](const Operand& o, int64_t head) {
        return static_cast<uint64_t>(n * o.batch_stride + head * o.head_stride) * 4;
      };
      std::vector<Builder::Arg> args = {{DNNL_ARG_SRC, b.At(dq, InputAt(0, at(q, h)))},
                                        {DNNL_ARG_WEIGHTS, b.At(dk, InputAt(1, at(k, kv)))},
                                        {DNNL_ARG_DST, b.At(ds, WorkspaceAt(scores))}};
      if (masked) {
        const uint64_t offset =
            static_cast<uint64_t>(n * mask_strides[0] + h * mask_strides[1]) * 4;
        args.push_back(
            {DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, b.At(dm, InputAt(3, offset))});
      }
      b.Add<dnnl::matmul>(qk, std::move(args));
      const dnnl::memory s = b.At(ds, WorkspaceAt(scores));
      b.Add<dnnl::softmax_v2_forward>(softmax, {{DNNL_ARG_SRC, s}, {DNNL_ARG_DST, s}});
      b.Add<dnnl::matmul>(sv, {{DNNL_ARG_SRC, b.At(ds, WorkspaceAt(scores))},
                               {DNNL_ARG_WEIGHTS, b.At(dv, InputAt(2, at(v, kv)))},
                               {DNNL_ARG_DST, b.At(dy, OutputAt(0, at(y, h)))}});
    }
  }
  return OkStatus();
}

}  // namespace slipway::backends::onednn
