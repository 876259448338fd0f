// Scaled dot-product attention (ONNX opset 23 and later, first output). One query row at a time
// with a running maximum over blocks of keys, so that no score matrix is stored (Milakov &
// Gimelshein, arXiv:1805.02867); everything in float32, float64 for float64.

#include <cmath>
#include <limits>

#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

constexpr int kKeys = 64;          // keys per block
constexpr int kHeadColumns = 256;  // columns of V per pass; larger heads repeat the scores

// Element (b, h, s, d) lies at b * batch + h * head + s * row + d.
struct HeadView {
  int64_t heads = 1, length = 1, size = 1;
  int64_t batch = 0, head = 0, row = 0;
};

Status MakeView(const Dims& d, int64_t heads, HeadView* v) {
  if (d.rank() == 4) {
    *v = {d[1], d[2], d[3], d[1] * d[2] * d[3], d[2] * d[3], d[3]};
    return OkStatus();
  }
  if (d.rank() != 3)
    return InvalidArgument("expects Q, K and V of rank 3 or 4, got " + d.ToString());
  if (heads < 1 || d[2] % heads != 0) {
    return InvalidArgument(
        "rank 3 needs q_num_heads and kv_num_heads that divide the hidden size; got " +
        std::to_string(heads) + " heads for " + d.ToString());
  }
  const int64_t size = d[2] / heads;
  *v = {heads, d[1], size, d[1] * d[2], size, d[2]};
  return OkStatus();
}

struct Problem {
  HeadView q, k, v, y;
  int64_t batches;
  double scale, softcap;
  bool causal;
  const TensorView* mask;
  int64_t mask_strides[4] = {0, 0, 0, 0};  // batch, head, query, key
  int64_t mask_keys = 0;                   // keys beyond are masked out
};

// Eight partial sums, so that the compiler may use vectors without reordering anything else.
template <typename T, typename C>
C Dot(const T* a, const T* b, int64_t n) {
  C part[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) part[j] += static_cast<C>(a[i + j]) * static_cast<C>(b[i + j]);
  }
  for (int j = 0; i < n; ++i, ++j) part[j] += static_cast<C>(a[i]) * static_cast<C>(b[i]);
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

template <typename T>
struct Row {
  using C = Compute<T>;
  const Problem& p;
  const T *q, *k, *v;
  int64_t mask_base, query;

  C MaskAt(int64_t key) const {
    constexpr C kOut = -std::numeric_limits<C>::infinity();
    if (p.causal && key > query) return kOut;
    if (!p.mask) return 0;
    if (key >= p.mask_keys) return kOut;
    const int64_t at = mask_base + key * p.mask_strides[3];
    if (p.mask->dtype == DType::kBool) return p.mask->as<const uint8_t>()[at] ? C{0} : kOut;
    return static_cast<C>(p.mask->as<const T>()[at]);
  }

  // Columns [first, first + n) of the output row, n <= kHeadColumns.
  void Run(int64_t first, int n, T* y) const {
    C acc[kHeadColumns] = {}, scores[kKeys];
    C top = -std::numeric_limits<C>::infinity(), sum = 0;
    for (int64_t key = 0; key < p.k.length; key += kKeys) {
      const int keys = static_cast<int>(std::min<int64_t>(kKeys, p.k.length - key));
      C block_top = top;
      for (int i = 0; i < keys; ++i) {
        C s = Dot<T, C>(q, k + (key + i) * p.k.row, p.q.size) * static_cast<C>(p.scale);
        if (p.softcap > 0) s = static_cast<C>(p.softcap) * std::tanh(s / static_cast<C>(p.softcap));
        scores[i] = s + MaskAt(key + i);
        block_top = std::max(block_top, scores[i]);
      }
      if (block_top == -std::numeric_limits<C>::infinity()) continue;  // all masked so far
      const C shrink = std::exp(top - block_top);
      if (shrink != C{1}) {
        sum *= shrink;
        for (int j = 0; j < n; ++j) acc[j] *= shrink;
      }
      top = block_top;
      for (int i = 0; i < keys; ++i) {
        const C weight = std::exp(scores[i] - top);
        sum += weight;
        const T* row = v + (key + i) * p.v.row + first;
        for (int j = 0; j < n; ++j) acc[j] += weight * static_cast<C>(row[j]);
      }
    }
    // A row without any allowed key is NaN, as softmax over -infinity is.
    for (int j = 0; j < n; ++j) y[first + j] = static_cast<T>(acc[j] / sum);
  }
};

template <typename T>
void Run(const OpContext& c, const Problem& p) {
  const int64_t rows = p.batches * p.q.heads * p.q.length;
  For(c, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t s = r % p.q.length, h = r / p.q.length % p.q.heads,
                    b = r / p.q.length / p.q.heads;
      const int64_t kh = h / (p.q.heads / p.k.heads);
      const Row<T> row{p,
                       c.inputs[0].as<const T>() + b * p.q.batch + h * p.q.head + s * p.q.row,
                       c.inputs[1].as<const T>() + b * p.k.batch + kh * p.k.head,
                       c.inputs[2].as<const T>() + b * p.v.batch + kh * p.v.head,
                       b * p.mask_strides[0] + h * p.mask_strides[1] + s * p.mask_strides[2],
                       s};
      T* y = c.outputs[0].as<T>() + b * p.y.batch + h * p.y.head + s * p.y.row;
      for (int64_t first = 0; first < p.v.size; first += kHeadColumns) {
        row.Run(first, static_cast<int>(std::min<int64_t>(kHeadColumns, p.v.size - first)), y);
      }
    }
  });
}

Status PrepareMask(const TensorView& mask, DType type, Problem* p) {
  if (mask.dtype != DType::kBool && mask.dtype != type) {
    return Unsupported(std::string("attn_mask must be bool or ") + DTypeName(type) + ", not " +
                       DTypeName(mask.dtype));
  }
  const Dims& d = mask.dims;
  if (d.rank() < 1 || d.rank() > 4)
    return InvalidArgument("attn_mask must have rank 1 to 4, got " + d.ToString());
  const int64_t want[4] = {p->batches, p->q.heads, p->q.length, p->k.length};
  int64_t stride = 1;
  p->mask_keys = p->k.length;
  for (int i = d.rank() - 1, j = 3; i >= 0; --i, --j) {
    const int64_t n = d[static_cast<size_t>(i)];
    if (n != 1 || want[j] == 1) p->mask_strides[j] = stride;
    if (j == 3 && n < want[j] && n != 1) {
      p->mask_keys = n;
    } else if (n != 1 && n != want[j]) {
      return InvalidArgument("attn_mask " + d.ToString() + " does not broadcast to [" +
                             std::to_string(want[0]) + ", " + std::to_string(want[1]) + ", " +
                             std::to_string(want[2]) + ", " + std::to_string(want[3]) + "]");
    }
    stride *= n;
  }
  p->mask = &mask;
  return OkStatus();
}

}  // namespace

Status OnnxAttention(const OpContext& c) {
  const TensorView &q = c.inputs[0], &k = c.inputs[1], &v = c.inputs[2], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  if (k.dtype != q.dtype || v.dtype != q.dtype)
    return Unsupported("Q, K and V must have one element type");
  const int64_t q_heads = c.attributes->Int("q_num_heads", 0),
                kv_heads = c.attributes->Int("kv_num_heads", 0);
  Problem p{};
  SLIPWAY_RETURN_IF_ERROR(MakeView(q.dims, q_heads, &p.q).With("Q"));
  SLIPWAY_RETURN_IF_ERROR(MakeView(k.dims, kv_heads, &p.k).With("K"));
  SLIPWAY_RETURN_IF_ERROR(MakeView(v.dims, kv_heads, &p.v).With("V"));
  SLIPWAY_RETURN_IF_ERROR(MakeView(y.dims, q_heads, &p.y).With("Y"));
  p.batches = q.dims[0];
  if (p.k.heads < 1 || p.q.heads % p.k.heads != 0 || p.v.heads != p.k.heads ||
      p.v.length != p.k.length || p.q.size != p.k.size || k.dims[0] != p.batches ||
      v.dims[0] != p.batches) {
    return InvalidArgument("Q " + q.dims.ToString() + ", K " + k.dims.ToString() + " and V " +
                           v.dims.ToString() + " do not fit together");
  }
  p.scale = c.attributes->Has("scale") ? static_cast<double>(c.attributes->Float("scale", 1))
                                       : 1 / std::sqrt(static_cast<double>(p.q.size));
  p.softcap = c.attributes->Float("softcap", 0);
  p.causal = c.attributes->Int("is_causal", 0) != 0;
  if (c.Has(3)) SLIPWAY_RETURN_IF_ERROR(PrepareMask(c.inputs[3], q.dtype, &p));
  if (!DispatchFloat(q.dtype, [&]<typename T>() { Run<T>(c, p); })) return NoKernel(q.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
