// Scaled dot-product attention (ONNX opset 24). One query row at a time with a running maximum over
// blocks of keys, so that no score matrix is stored (Milakov & Gimelshein, arXiv:1805.02867);
// everything in float32, float64 for float64. Cached keys and values are read where they lie.
// As the specification says since its corrections of 2026 (onnx/onnx pull requests 7867 and 8068),
// softcap comes before the mask, qk_matmul_output_mode counts 0 product, 1 capped, 2 masked, 3
// softmax, and a query that may see no key gives 0.

#include <algorithm>
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
  int64_t past = 0, keys = 0;          // cached keys; all of them
  const TensorView* nonpad = nullptr;  // keys that count, by batch
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
  const T *q, *k, *v, *past_k, *past_v;
  int64_t mask_base, last, count;  // the last key that is_causal allows; keys that are no padding

  const T* Key(int64_t i) const {
    return i < p.past ? past_k + i * p.k.size : k + (i - p.past) * p.k.row;
  }
  const T* Value(int64_t i) const {
    return i < p.past ? past_v + i * p.v.size : v + (i - p.past) * p.v.row;
  }
  C Product(int64_t key) const {
    return Dot<T, C>(q, Key(key), p.q.size) * static_cast<C>(p.scale);
  }
  C Cap(C s) const {
    return p.softcap > 0 ? static_cast<C>(p.softcap) * std::tanh(s / static_cast<C>(p.softcap)) : s;
  }

  C MaskAt(int64_t key) const {
    constexpr C kOut = -std::numeric_limits<C>::infinity();
    if (key >= count || key > last) return kOut;
    if (!p.mask) return 0;
    if (key >= p.mask_keys) return kOut;
    const int64_t at = mask_base + key * p.mask_strides[3];
    if (p.mask->dtype == DType::kBool) return p.mask->as<const uint8_t>()[at] ? C{0} : kOut;
    if (p.mask->dtype == DType::kFloat32) return static_cast<C>(p.mask->as<const float>()[at]);
    return static_cast<C>(p.mask->as<const T>()[at]);
  }

  // Columns [first, first + n) of the output row, n <= kHeadColumns.
  void Run(int64_t first, int n, T* y) const {
    C acc[kHeadColumns] = {}, scores[kKeys];
    C top = -std::numeric_limits<C>::infinity(), sum = 0;
    const int64_t end = std::min(p.keys, std::min(count, last == INT64_MAX ? last : last + 1));
    for (int64_t key = 0; key < end; key += kKeys) {
      const int keys = static_cast<int>(std::min<int64_t>(kKeys, end - key));
      C block_top = top;
      for (int i = 0; i < keys; ++i) {
        scores[i] = Cap(Product(key + i)) + MaskAt(key + i);
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
        const T* row = Value(key + i) + first;
        for (int j = 0; j < n; ++j) acc[j] += weight * static_cast<C>(row[j]);
      }
    }
    // A row without any allowed key is 0; its softmax (qk_matmul_output) is NaN.
    for (int j = 0; j < n; ++j) y[first + j] = static_cast<T>(sum == 0 ? C{0} : acc[j] / sum);
  }

  // The row of qk_matmul_output.
  void Scores(int64_t mode, T* out) const {
    C top = -std::numeric_limits<C>::infinity(), sum = 0;
    for (int64_t i = 0; i < p.keys; ++i) {
      C s = Product(i);
      if (mode >= 1) s = Cap(s);
      if (mode >= 2) s += MaskAt(i);
      top = std::max(top, s);
      out[i] = static_cast<T>(s);
    }
    if (mode < 3) return;
    auto weight = [&](int64_t i) { return std::exp(Cap(Product(i)) + MaskAt(i) - top); };
    for (int64_t i = 0; i < p.keys; ++i) sum += weight(i);
    for (int64_t i = 0; i < p.keys; ++i) out[i] = static_cast<T>(weight(i) / sum);
  }
};

const TensorView* Output(const OpContext& c, size_t i) {
  return i < c.outputs.size() && c.outputs[i].present() && c.outputs[i].count() > 0 ? &c.outputs[i]
                                                                                    : nullptr;
}

// present = past, then the new entries, as [batch, heads, length, size].
template <typename T>
void WritePresent(const OpContext& c, const Problem& p, const HeadView& view, size_t input,
                  const TensorView& present) {
  For(c, p.batches * view.heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* to = present.as<T>() + i * p.keys * view.size;
      if (p.past > 0)
        to = std::copy_n(c.inputs[input + 3].as<const T>() + i * p.past * view.size,
                         p.past * view.size, to);
      const T* from =
          c.inputs[input].as<const T>() + i / view.heads * view.batch + i % view.heads * view.head;
      for (int64_t s = 0; s < view.length; ++s)
        to = std::copy_n(from + s * view.row, view.size, to);
    }
  });
}

template <typename T>
void Run(const OpContext& c, const Problem& p) {
  const int64_t rows = p.batches * p.q.heads * p.q.length;
  if (const TensorView* t = Output(c, 1)) WritePresent<T>(c, p, p.k, 1, *t);
  if (const TensorView* t = Output(c, 2)) WritePresent<T>(c, p, p.v, 2, *t);
  const TensorView *y_view = Output(c, 0), *scores = Output(c, 3);
  const int64_t mode = c.attributes->Int("qk_matmul_output_mode", 0);
  For(c, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t s = r % p.q.length, h = r / p.q.length % p.q.heads,
                    b = r / p.q.length / p.q.heads;
      const int64_t kh = h / (p.q.heads / p.k.heads);
      const int64_t count = p.nonpad ? IndexAt(*p.nonpad, b) : p.keys;
      // Causal masks align with the end of what came before this block of queries.
      const int64_t before = p.past > 0 ? p.past : p.nonpad ? count - p.q.length : 0;
      const int64_t cached = (b * p.k.heads + kh) * p.past;
      auto past = [&](size_t i, int64_t size) {
        return p.past > 0 ? c.inputs[i].as<const T>() + cached * size : nullptr;
      };
      const Row<T> row{p,
                       c.inputs[0].as<const T>() + b * p.q.batch + h * p.q.head + s * p.q.row,
                       c.inputs[1].as<const T>() + b * p.k.batch + kh * p.k.head,
                       c.inputs[2].as<const T>() + b * p.v.batch + kh * p.v.head,
                       past(4, p.k.size),
                       past(5, p.v.size),
                       b * p.mask_strides[0] + h * p.mask_strides[1] + s * p.mask_strides[2],
                       p.causal ? s + before : INT64_MAX,
                       count};
      if (scores) row.Scores(mode, scores->as<T>() + r * p.keys);
      if (!y_view) continue;
      T* y = y_view->as<T>() + b * p.y.batch + h * p.y.head + s * p.y.row;
      for (int64_t first = 0; first < p.v.size; first += kHeadColumns) {
        row.Run(first, static_cast<int>(std::min<int64_t>(kHeadColumns, p.v.size - first)), y);
      }
    }
  });
}

Status PrepareMask(const TensorView& mask, DType type, Problem* p) {
  if (mask.dtype != DType::kBool && mask.dtype != DType::kFloat32 && mask.dtype != type) {
    return Unsupported(std::string("attn_mask must be bool, float32 or ") + DTypeName(type) + ", not " +
                       DTypeName(mask.dtype));
  }
  const Dims& d = mask.dims;
  if (d.rank() < 1 || d.rank() > 4)
    return InvalidArgument("attn_mask must have rank 1 to 4, got " + d.ToString());
  const int64_t want[4] = {p->batches, p->q.heads, p->q.length, p->keys};
  int64_t stride = 1;
  p->mask_keys = p->keys;
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
  p.keys = p.k.length;
  if (c.Has(4) != c.Has(5)) return InvalidArgument("past_key and past_value come together");
  if (c.Has(4)) {
    const Dims &a = c.inputs[4].dims, &b = c.inputs[5].dims;
    if (c.inputs[4].dtype != q.dtype || c.inputs[5].dtype != q.dtype)
      return Unsupported("past_key and past_value must have Q's element type");
    if (a.rank() != 4 || b.rank() != 4 || a[0] != p.batches || b[0] != p.batches ||
        a[1] != p.k.heads || b[1] != p.k.heads || a[2] != b[2] || a[3] != p.k.size ||
        b[3] != p.v.size) {
      return InvalidArgument("past_key " + a.ToString() + " and past_value " + b.ToString() +
                             " must be [batch, kv heads, past length, head size]");
    }
    p.past = a[2];
    p.keys += p.past;
  }
  if (c.Has(6)) {
    SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[6], "nonpad_kv_seqlen"));
    if (c.inputs[6].count() != p.batches)
      return InvalidArgument("nonpad_kv_seqlen must have one element per batch");
    for (int64_t b = 0; b < p.batches; ++b) {
      const int64_t n = IndexAt(c.inputs[6], b);
      if (n < 0 || n > p.keys) {
        return InvalidArgument("nonpad_kv_seqlen[" + std::to_string(b) +
                               "] = " + std::to_string(n) + " is outside [0, " +
                               std::to_string(p.keys) + "]");
      }
    }
    p.nonpad = &c.inputs[6];
  }
  const int64_t mode = c.attributes->Int("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3) {
    return InvalidArgument("qk_matmul_output_mode " + std::to_string(mode) + " must be 0 to 3");
  }
  const int64_t cached = p.batches * p.k.heads * p.keys;
  const int64_t want[4] = {p.batches * p.q.heads * p.q.length * p.v.size, cached * p.k.size,
                           cached * p.v.size, p.batches * p.q.heads * p.q.length * p.keys};
  for (size_t i = 0; i < c.outputs.size() && i < 4; ++i) {
    if (c.outputs[i].present() &&
        (c.outputs[i].count() != want[i] || c.outputs[i].dtype != q.dtype))
      return Internal("output " + std::to_string(i) + " has the wrong extent");
  }
  p.softcap = c.attributes->Float("softcap", 0);
  p.causal = c.attributes->Int("is_causal", 0) != 0;
  if (c.Has(3)) SLIPWAY_RETURN_IF_ERROR(PrepareMask(c.inputs[3], q.dtype, &p));
  if (!DispatchFloat(q.dtype, [&]<typename T>() { Run<T>(c, p); })) return NoKernel(q.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
