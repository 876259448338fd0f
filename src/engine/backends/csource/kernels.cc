// C99, no allocation, no library but math.h and string.h. Sums run over channels, then taps, in
// ascending order as the reference's do, so that floats round alike; integers are exact anyway.

#include "engine/backends/csource/kernels.h"

#include <algorithm>
#include <initializer_list>
#include <vector>

namespace slipway::backends::csource {
namespace {

constexpr Piece kPieces[] = {
    {"requant", "", R"(
/* clamp(round half to even(v) + zero, lo, hi); NaN becomes lo. */
static int32_t sw_requant(float v, int32_t zero, int32_t lo, int32_t hi) {
  const float low = (float)(lo - zero), high = (float)(hi - zero);
  v = v > low ? v : low;
  v = v < high ? v : high;
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD == 0
  v = (v + 12582912.0f) - 12582912.0f; /* |v| < 2^22: wrong under -ffast-math */
#else
  v = rintf(v);
#endif
  return (int32_t)v + zero;
}
)"},
    {"activate", "", R"(
/* 1 relu, 2 clip, 3 leaky relu, 4 sigmoid, 5 hard sigmoid, 6 hard swish, 7 swish, 8 gelu, 9 gelu by tanh, 10 tanh, 11 elu */
static float sw_activate(int kind, float x, float a, float b) {
  float t;
  switch (kind) {
    case 1: return x < 0.0f ? 0.0f : x;
    case 2: x = x < a ? a : x; return x > b ? b : x;
    case 3: return x < 0.0f ? a * x : x;
    case 4: return 1.0f / (1.0f + expf(-x));
    case 5: t = a * x + b; t = t < 1.0f ? t : 1.0f; return t > 0.0f ? t : 0.0f;
    case 6: t = (1.0f / 6.0f) * x + 0.5f; t = t < 1.0f ? t : 1.0f; return x * (t > 0.0f ? t : 0.0f);
    case 7: return x * (1.0f / (1.0f + expf(-(a * x))));
    case 8: return 0.5f * x * (1.0f + erff(x * 0.70710678118654752440f));
    case 9: return 0.5f * x * (1.0f + tanhf(0.79788456080286535588f * (x + 0.044715f * x * x * x)));
    case 10: return tanhf(x);
    case 11: return x < 0.0f ? a * expm1f(x) : x;
    default: return x;
  }
}
)"},
    {"window", "", R"(
/* A window over [depth, height, width]. */
typedef struct {
  int32_t batch, channels, outputs, groups;
  int32_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
} sw_window;
)"},
    {"range", "window", R"(
/* Positions [*lo, *hi) of dimension d of the output at which tap k lies inside of the input. */
static void sw_range(const sw_window* w, int d, int32_t k, int32_t* lo, int32_t* hi) {
  const int32_t shift = k * w->dilation[d] - w->pad[d], s = w->stride[d];
  *lo = shift >= 0 ? 0 : (-shift + s - 1) / s;
  *hi = w->in[d] - shift <= 0 ? 0 : (w->in[d] - shift + s - 1) / s;
  if (*hi > w->out[d]) *hi = w->out[d];
}
)"},
    {"apply", "activate", R"(
static void sw_apply(int32_t count, int kind, float a, float b, const float* x, float* y) {
  int32_t i;
  for (i = 0; i < count; ++i) y[i] = sw_activate(kind, x[i], a, b);
}
)"},
    {"store", "requant", R"(
/* Where results go: floats, or codes. */
typedef struct {
  int32_t to_float, zero, lo, hi;
} sw_target;
static void sw_store(const sw_target* t, int32_t at, float v, void* y) {
  if (t->to_float) {
    ((float*)y)[at] = v;
  } else {
    ((uint8_t*)y)[at] = (uint8_t)sw_requant(v, t->zero, t->lo, t->hi);
  }
}
)"},
    {"finish", "store activate", R"(
/* From an integer sum to an element of the output. flip: 128 where codes are signed, whose zero points here are 128 more. */
typedef struct {
  const int32_t* bias;
  const float* multiplier;
  int32_t per_channel, x_flip, x_zero, z_flip, z_zero;
  float z_multiplier;
  int activation;
  float a, b, y_multiplier;
  sw_target to;
} sw_rounding;
static void sw_finish(const sw_rounding* r, int32_t channel, int32_t at, uint32_t sum, const uint8_t* z, void* y) {
  float v;
  if (r->bias) sum += (uint32_t)r->bias[channel];
  v = (float)(int32_t)sum * r->multiplier[r->per_channel ? channel : 0];
  if (z) v = fmaf((float)((int32_t)(z[at] ^ r->z_flip) - r->z_zero), r->z_multiplier, v);
  if (r->activation) v = sw_activate(r->activation, v, r->a, r->b) * r->y_multiplier;
  sw_store(&r->to, at, v, y);
}
)"},
    {"bits4", "", R"(
static int32_t sw_bits4(const uint8_t* w, int32_t i) {
  return (w[i >> 1] >> ((i & 1) << 2)) & 15;
}
)"},
    {"bits2", "", R"(
static int32_t sw_bits2(const uint8_t* w, int32_t i) {
  return (w[i >> 2] >> ((i & 3) << 1)) & 3;
}
)"},
    // Convolution by rows of 64 outputs. @N: the name, @P: further parameters, @X: type of inputs,
    // @S: of sums, @V and @W: of the weight at i, @1 and @2: a product with stride 1 or any, @E:
    // what becomes of sums[j].
    {"rows", "range", R"(
static void sw_@N(const sw_window* w, @P) {
  const int32_t cin = w->channels / w->groups, cout = w->outputs / w->groups;
  const int32_t plane = w->in[0] * w->in[1] * w->in[2];
  int32_t at = 0, n, m, od, oh, ow0;
  for (n = 0; n < w->batch; ++n) {
    for (m = 0; m < w->outputs; ++m) {
      const @X* first = x + (n * w->channels + m / cout * cin) * plane;
      for (od = 0; od < w->out[0]; ++od) {
        for (oh = 0; oh < w->out[1]; ++oh) {
          for (ow0 = 0; ow0 < w->out[2]; ow0 += 64) {
            const int32_t count = w->out[2] - ow0 < 64 ? w->out[2] - ow0 : 64;
            @S sums[64];
            int32_t i = m * cin * w->kernel[0] * w->kernel[1] * w->kernel[2], c, kd, kh, kw, j;
            for (j = 0; j < count; ++j) sums[j] = 0;
            for (c = 0; c < cin; ++c) {
              for (kd = 0; kd < w->kernel[0]; ++kd) {
                const int32_t id = od * w->stride[0] + kd * w->dilation[0] - w->pad[0];
                for (kh = 0; kh < w->kernel[1]; ++kh) {
                  const int32_t ih = oh * w->stride[1] + kh * w->dilation[1] - w->pad[1];
                  if (id < 0 || id >= w->in[0] || ih < 0 || ih >= w->in[1]) {
                    i += w->kernel[2];
                    continue;
                  }
                  for (kw = 0; kw < w->kernel[2]; ++kw, ++i) {
                    const @V weight = @W;
                    const @X* line = first + c * plane + (id * w->in[1] + ih) * w->in[2];
                    const int32_t shift = kw * w->dilation[2] - w->pad[2], s = w->stride[2];
                    int32_t lo, hi;
                    sw_range(w, 2, kw, &lo, &hi);
                    lo = lo < ow0 ? ow0 : lo;
                    hi = hi > ow0 + count ? ow0 + count : hi;
                    if (s == 1) {
                      for (j = lo; j < hi; ++j) sums[j - ow0] += @1;
                    } else {
                      for (j = lo; j < hi; ++j) sums[j - ow0] += @2;
                    }
                  }
                }
              }
            }
            for (j = 0; j < count; ++j) {
              @E
            }
            at += count;
          }
        }
      }
    }
  }
}
)"},
    // Sums of many inputs: four columns of them as int16, so that a weight is read once for four
    // positions and compilers find their multiply-add of 16 bits. SW_DEPTH: the most inputs.
    {"columns", "", R"(
static int16_t sw_columns[5][SW_DEPTH];
static void sw_sums(int32_t depth, int32_t* sums) {
  const int16_t *w = sw_columns[4], *a = sw_columns[0], *b = sw_columns[1], *c = sw_columns[2], *d = sw_columns[3];
  int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, k;
  for (k = 0; k < depth; ++k) {
    const int32_t v = w[k];
    s0 += v * a[k];
    s1 += v * b[k];
    s2 += v * c[k];
    s3 += v * d[k];
  }
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
  sums[3] = s3;
}
)"},
    // `count` weights from the i-th on. low: what codes of fewer bits than 8 count from.
    {"unpack8", "", R"(
static void sw_unpack8(const int8_t* w, int32_t i, int32_t count, int32_t low, int16_t* to) {
  int32_t k;
  for (k = 0; k < count; ++k) to[k] = (int16_t)(w[i + k] + low);
}
)"},
    // Whole bytes in a loop of their own, which compilers turn into vectors.
    {"unpack4", "", R"(
static void sw_unpack4(const uint8_t* w, int32_t i, int32_t count, int32_t low, int16_t* to) {
  int32_t k, whole;
  for (; (i & 1) && count > 0; ++i, --count) *to++ = (int16_t)((w[i >> 1] >> 4) + low);
  w += i >> 1;
  whole = count >> 1;
  for (k = 0; k < whole; ++k) {
    to[2 * k] = (int16_t)((w[k] & 15) + low);
    to[2 * k + 1] = (int16_t)((w[k] >> 4) + low);
  }
  if (count & 1) to[2 * whole] = (int16_t)((w[whole] & 15) + low);
}
)"},
    {"unpack2", "", R"(
static void sw_unpack2(const uint8_t* w, int32_t i, int32_t count, int32_t low, int16_t* to) {
  int32_t k, whole;
  for (; (i & 3) && count > 0; ++i, --count) *to++ = (int16_t)(((w[i >> 2] >> ((i & 3) << 1)) & 3) + low);
  w += i >> 2;
  whole = count >> 2;
  for (k = 0; k < whole; ++k) {
    to[4 * k] = (int16_t)((w[k] & 3) + low);
    to[4 * k + 1] = (int16_t)(((w[k] >> 2) & 3) + low);
    to[4 * k + 2] = (int16_t)(((w[k] >> 4) & 3) + low);
    to[4 * k + 3] = (int16_t)((w[k] >> 6) + low);
  }
  for (k = 4 * whole; k < count; ++k) to[k] = (int16_t)(((w[whole] >> ((k & 3) << 1)) & 3) + low);
}
)"},
    // @N: suffix of the name, @T: element type. low: what codes of fewer bits than 8 count from,
    // for each output.
    {"qdense", "window finish columns", R"(
static void sw_qdense@N(const sw_window* w, const sw_rounding* r, const uint8_t* x, const @T* weights, const int8_t* low, const uint8_t* z, void* y) {
  const int32_t cin = w->channels / w->groups, cout = w->outputs / w->groups;
  const int32_t plane = w->in[0] * w->in[1] * w->in[2], out = w->out[0] * w->out[1] * w->out[2];
  const int32_t depth = cin * w->kernel[0] * w->kernel[1] * w->kernel[2];
  int32_t n, g, p, q, m;
  for (n = 0; n < w->batch; ++n) {
    for (g = 0; g < w->groups; ++g) {
      const uint8_t* first = x + (n * w->channels + g * cin) * plane;
      for (p = 0; p < out; p += 4) {
        const int32_t count = out - p < 4 ? out - p : 4;
        for (q = 0; q < count; ++q) {
          const int32_t ow = (p + q) % w->out[2], oh = (p + q) / w->out[2] % w->out[1], od = (p + q) / w->out[2] / w->out[1];
          int16_t* to = sw_columns[q];
          int32_t c, kd, kh, kw;
          for (c = 0; c < cin; ++c) {
            for (kd = 0; kd < w->kernel[0]; ++kd) {
              const int32_t id = od * w->stride[0] + kd * w->dilation[0] - w->pad[0];
              for (kh = 0; kh < w->kernel[1]; ++kh) {
                const int32_t ih = oh * w->stride[1] + kh * w->dilation[1] - w->pad[1];
                const int inside = id >= 0 && id < w->in[0] && ih >= 0 && ih < w->in[1];
                const int32_t line = c * plane + (id * w->in[1] + ih) * w->in[2];
                for (kw = 0; kw < w->kernel[2]; ++kw) {
                  const int32_t iw = ow * w->stride[2] + kw * w->dilation[2] - w->pad[2];
                  *to++ = inside && iw >= 0 && iw < w->in[2] ? (int16_t)((int32_t)(first[line + iw] ^ r->x_flip) - r->x_zero) : 0;
                }
              }
            }
          }
        }
        for (m = g * cout; m < (g + 1) * cout; ++m) {
          int32_t sums[4];
          sw_unpack@N(weights, m * depth, depth, low ? low[m] : 0, sw_columns[4]);
          sw_sums(depth, sums);
          for (q = 0; q < count; ++q) sw_finish(r, m, (n * w->outputs + m) * out + p + q, (uint32_t)sums[q], z, y);
        }
      }
    }
  }
}
)"},
    {"qlinear", "finish columns", R"(
static void sw_qlinear@N(int32_t rows, int32_t inputs, int32_t outputs, const sw_rounding* r, const uint8_t* x, const @T* weights,
                         const int8_t* low, const uint8_t* z, void* y) {
  int32_t p, q, m, k;
  for (p = 0; p < rows; p += 4) {
    const int32_t count = rows - p < 4 ? rows - p : 4;
    for (q = 0; q < count; ++q) {
      for (k = 0; k < inputs; ++k) sw_columns[q][k] = (int16_t)((int32_t)(x[(p + q) * inputs + k] ^ r->x_flip) - r->x_zero);
    }
    for (m = 0; m < outputs; ++m) {
      int32_t sums[4];
      sw_unpack@N(weights, m * inputs, inputs, low ? low[m] : 0, sw_columns[4]);
      sw_sums(inputs, sums);
      for (q = 0; q < count; ++q) sw_finish(r, m, (p + q) * outputs + m, (uint32_t)sums[q], z, y);
    }
  }
}
)"},
    // offsets: of the matrices of a and b for every matrix of y.
    {"qmatmul", "finish", R"(
static void sw_qmatmul(int32_t batch, const int32_t* offsets, int32_t rows, int32_t inner, int32_t columns, const sw_rounding* r, const uint8_t* a,
                       const uint8_t* b, void* y) {
  int32_t t, m, n, k;
  for (t = 0; t < batch; ++t) {
    const uint8_t *pa = a + offsets[2 * t], *pb = b + offsets[2 * t + 1];
    for (m = 0; m < rows; ++m) {
      for (n = 0; n < columns; ++n) {
        uint32_t sum = 0;
        for (k = 0; k < inner; ++k) {
          const int32_t u = (int32_t)(pa[m * inner + k] ^ r->x_flip) - r->x_zero, v = (int32_t)(pb[k * columns + n] ^ r->z_flip) - r->z_zero;
          sum += (uint32_t)(u * v);
        }
        sw_finish(r, 0, (t * rows + m) * columns + n, sum, 0, y);
      }
    }
  }
}
)"},
    {"linear", "activate", R"(
static void sw_linear(int32_t rows, int32_t inputs, int32_t outputs, int activation, float a, float b, const float* x, const float* weights,
                      const float* bias, const float* z, float* y) {
  int32_t m, n, k;
  for (m = 0; m < rows; ++m) {
    for (n = 0; n < outputs; ++n) {
      const float *row = x + m * inputs, *column = weights + n * inputs;
      float v = 0.0f;
      for (k = 0; k < inputs; ++k) v += row[k] * column[k];
      if (bias) v += bias[n];
      if (z) v += z[m * outputs + n];
      y[m * outputs + n] = sw_activate(activation, v, a, b);
    }
  }
}
)"},
    {"quantize", "requant", R"(
static void sw_quantize(int32_t outer, int32_t channels, int32_t inner, const float* scale, const int32_t* zero, int32_t per_channel, int32_t lo,
                        int32_t hi, const float* x, uint8_t* y) {
  int32_t o, c, i, at = 0;
  for (o = 0; o < outer; ++o) {
    for (c = 0; c < channels; ++c) {
      const float s = scale[per_channel ? c : 0];
      const int32_t z = zero[per_channel ? c : 0];
      for (i = 0; i < inner; ++i, ++at) y[at] = (uint8_t)sw_requant(x[at] / s, z, lo, hi);
    }
  }
}
)"},
    {"dequantize", "", R"(
static void sw_dequantize(int32_t outer, int32_t channels, int32_t inner, const float* scale, const int32_t* zero, int32_t per_channel, int32_t flip,
                          const uint8_t* x, float* y) {
  int32_t o, c, i, at = 0;
  for (o = 0; o < outer; ++o) {
    for (c = 0; c < channels; ++c) {
      const float s = scale[per_channel ? c : 0];
      const int32_t z = zero[per_channel ? c : 0];
      for (i = 0; i < inner; ++i, ++at) y[at] = (float)((int32_t)(x[at] ^ flip) - z) * s;
    }
  }
}
)"},
    {"nd", "", R"(
/* Offsets of two operands while the elements of dims are counted off. */
typedef struct {
  int32_t rank, count, dims[8], a[8], b[8];
} sw_nd;
static void sw_next(const sw_nd* n, int32_t* index, int32_t* a, int32_t* b) {
  int32_t d;
  for (d = n->rank - 1; d >= 0; --d) {
    *a += n->a[d];
    *b += n->b[d];
    if (++index[d] < n->dims[d]) return;
    *a -= n->a[d] * n->dims[d];
    *b -= n->b[d] * n->dims[d];
    index[d] = 0;
  }
}
)"},
    {"copy", "nd", R"(
/* Elements of `size` bytes from b's offsets to a's. */
static void sw_copy(const sw_nd* n, int32_t size, int32_t to, int32_t from, const void* x, void* y) {
  int32_t index[8] = {0, 0, 0, 0, 0, 0, 0, 0}, i;
  for (i = 0; i < n->count; ++i) {
    memcpy((char*)y + (size_t)to * (size_t)size, (const char*)x + (size_t)from * (size_t)size, (size_t)size);
    sw_next(n, index, &to, &from);
  }
}
)"},
    {"qadd", "nd store", R"(
typedef struct {
  int32_t product, a_flip, a_zero, b_flip, b_zero;
  float a, b;
  sw_target to;
} sw_pair;
static void sw_qbinary(const sw_nd* n, const sw_pair* p, const uint8_t* a, const uint8_t* b, void* y) {
  int32_t index[8] = {0, 0, 0, 0, 0, 0, 0, 0}, ia = 0, ib = 0, i;
  for (i = 0; i < n->count; ++i) {
    const int32_t u = (int32_t)(a[ia] ^ p->a_flip) - p->a_zero, w = (int32_t)(b[ib] ^ p->b_flip) - p->b_zero;
    const float v = p->product ? (float)(u * w) * p->a : fmaf((float)u, p->a, (float)w * p->b);
    sw_store(&p->to, i, v, y);
    sw_next(n, index, &ia, &ib);
  }
}
)"},
    {"qrescale", "store", R"(
static void sw_qrescale(int32_t count, int32_t flip, int32_t zero, float multiplier, const sw_target* to, const uint8_t* x, void* y) {
  int32_t i;
  for (i = 0; i < count; ++i) sw_store(to, i, (float)((int32_t)(x[i] ^ flip) - zero) * multiplier, y);
}
)"},
    {"qlookup", "", R"(
static void sw_qlookup(int32_t count, int32_t channels, int32_t inner, int32_t size, const void* table, const uint8_t* x, void* y) {
  int32_t i;
  for (i = 0; i < count; ++i) {
    const int32_t at = (channels > 1 ? i / inner % channels * 256 : 0) + x[i];
    memcpy((char*)y + (size_t)i * (size_t)size, (const char*)table + (size_t)at * (size_t)size, (size_t)size);
  }
}
)"},
    {"qaffine", "store", R"(
/* One piece of several that are joined along the channels. */
static void sw_qaffine(int32_t outer, int32_t own, int32_t channels, int32_t first, int32_t inner, int32_t flip, const float* multiplier,
                       int32_t step_m, const float* offset, int32_t step_o, const sw_target* to, const uint8_t* x, void* y) {
  int32_t o, c, i;
  for (o = 0; o < outer; ++o) {
    for (c = 0; c < own; ++c) {
      const int32_t channel = first + c;
      for (i = 0; i < inner; ++i) {
        const int32_t code = (int32_t)(x[(o * own + c) * inner + i] ^ flip) - flip;
        sw_store(to, (o * channels + channel) * inner + i, fmaf((float)code, multiplier[channel * step_m], offset[channel * step_o]), y);
      }
    }
  }
}
)"},
    // @N: the name, @P: further parameters, @B: before the taps, @A: at every tap, @V: at those
    // inside of the input (x[from]), @E: after them.
    {"pool", "window", R"(
static void sw_@N(const sw_window* w, @P) {
  const int32_t plane = w->in[0] * w->in[1] * w->in[2];
  int32_t p, at = 0, o[3];
  for (p = 0; p < w->batch * w->channels; ++p) {
    for (o[0] = 0; o[0] < w->out[0]; ++o[0]) {
      for (o[1] = 0; o[1] < w->out[1]; ++o[1]) {
        for (o[2] = 0; o[2] < w->out[2]; ++o[2], ++at) {
          int32_t kd, kh, kw;
          @B
          for (kd = 0; kd < w->kernel[0]; ++kd) {
            const int32_t d = o[0] * w->stride[0] + kd * w->dilation[0] - w->pad[0];
            for (kh = 0; kh < w->kernel[1]; ++kh) {
              const int32_t h = o[1] * w->stride[1] + kh * w->dilation[1] - w->pad[1];
              for (kw = 0; kw < w->kernel[2]; ++kw) {
                const int32_t i = o[2] * w->stride[2] + kw * w->dilation[2] - w->pad[2];
                const int32_t from = p * plane + (d * w->in[1] + h) * w->in[2] + i;
                @A
                if (d < 0 || d >= w->in[0] || h < 0 || h >= w->in[1] || i < 0 || i >= w->in[2]) continue;
                @V
              }
            }
          }
          @E
        }
      }
    }
  }
}
)"},
    {"softmax", "", R"(
static void sw_softmax(int32_t outer, int32_t count, int32_t inner, const float* x, float* y) {
  int32_t o, i, k;
  for (o = 0; o < outer; ++o) {
    for (i = 0; i < inner; ++i) {
      const float* from = x + o * count * inner + i;
      float* to = y + o * count * inner + i;
      float top = from[0], sum = 0.0f;
      for (k = 1; k < count; ++k) top = from[k * inner] > top ? from[k * inner] : top;
      for (k = 0; k < count; ++k) {
        const float e = expf(from[k * inner] - top);
        to[k * inner] = e;
        sum += e;
      }
      for (k = 0; k < count; ++k) to[k * inner] /= sum;
    }
  }
}
)"},
    {"layernorm", "", R"(
static void sw_layernorm(int32_t rows, int32_t count, double epsilon, const float* x, const float* scale, const float* bias, float* y) {
  int32_t r, i;
  for (r = 0; r < rows; ++r) {
    const float* from = x + r * count;
    double mean = 0.0, square = 0.0, inverse;
    for (i = 0; i < count; ++i) mean += from[i];
    mean /= count;
    for (i = 0; i < count; ++i) square += (from[i] - mean) * (from[i] - mean);
    inverse = 1.0 / sqrt(square / count + epsilon);
    for (i = 0; i < count; ++i) {
      float v = (float)((from[i] - mean) * inverse);
      if (scale) v *= scale[i];
      if (bias) v += bias[i];
      y[r * count + i] = v;
    }
  }
}
)"},
    {"batchnorm", "", R"(
static void sw_batchnorm(int32_t outer, int32_t channels, int32_t inner, float epsilon, const float* x, const float* scale, const float* bias, const float* mean,
                         const float* variance, float* y) {
  int32_t o, c, i, at = 0;
  for (o = 0; o < outer; ++o) {
    for (c = 0; c < channels; ++c) {
      const float a = scale[c] / sqrtf(variance[c] + epsilon);
      for (i = 0; i < inner; ++i, ++at) y[at] = (x[at] - mean[c]) * a + bias[c];
    }
  }
}
)"},
    {"fill", "", R"(
static void sw_fill(int32_t count, int32_t size, const void* value, void* y) {
  int32_t i;
  for (i = 0; i < count; ++i) memcpy((char*)y + (size_t)i * (size_t)size, value, (size_t)size);
}
)"},
};

const Piece* Find(std::string_view name) {
  for (const auto pieces : {std::span<const Piece>(kPieces), ResizePieces(), ElementPieces(),
                            SequencePieces(), ShapePieces(), SignalPieces()}) {
    for (const Piece& p : pieces) {
      if (name == p.name) return &p;
    }
  }
  return nullptr;
}

void Replace(std::string& text, std::string_view what, std::string_view by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

struct Change {
  const char *place, *text;
};
struct Variant {
  const char *name, *base, *needs;
  std::initializer_list<Change> changes;
};

constexpr char kCodes[] =
    "const sw_rounding* r, const uint8_t* x, const int8_t* weights, const int8_t* low, const "
    "uint8_t* z, void* y";
constexpr char kPackedCodes[] =
    "const sw_rounding* r, const uint8_t* x, const uint8_t* weights, const int8_t* low, const "
    "uint8_t* z, void* y";
constexpr char kTerm1[] =
    "(uint32_t)(weight * ((int32_t)(line[j + shift] ^ r->x_flip) - r->x_zero))";
constexpr char kTerm2[] =
    "(uint32_t)(weight * ((int32_t)(line[j * s + shift] ^ r->x_flip) - r->x_zero))";
constexpr char kFinish[] = "sw_finish(r, m, at + j, sums[j], z, y);";
constexpr char kBits4[] = "sw_bits4(weights, i) + low[m]",
               kBits2[] = "sw_bits2(weights, i) + low[m]";
constexpr char kMax[] = "if (x[from] > best) best = x[from];";
constexpr char kPadded[] =
    "if (d < w->in[0] + pad_end[0] && h < w->in[1] + pad_end[1] && i < w->in[2] + pad_end[2]) "
    "++padded;";

const Variant kVariants[] = {
    {"conv",
     "rows",
     "activate",
     {{"@N", "conv"},
      {"@P",
       "int activation, float a, float b, const float* x, const float* weights, const float* bias, "
       "const float* z, float* y"},
      {"@X", "float"},
      {"@S", "float"},
      {"@V", "float"},
      {"@W", "weights[i]"},
      {"@1", "weight * line[j + shift]"},
      {"@2", "weight * line[j * s + shift]"},
      {"@E",
       "float v = sums[j];\n              if (bias) v += bias[m];\n              if (z) v += z[at "
       "+ j];\n"
       "              y[at + j] = sw_activate(activation, v, a, b);"}}},
    {"qconv8",
     "rows",
     "finish",
     {{"@N", "qconv8"},
      {"@P", kCodes},
      {"@X", "uint8_t"},
      {"@S", "uint32_t"},
      {"@V", "int32_t"},
      {"@W", "weights[i]"},
      {"@1", kTerm1},
      {"@2", kTerm2},
      {"@E", "(void)low;\n              sw_finish(r, m, at + j, sums[j], z, y);"}}},
    {"qconv4",
     "rows",
     "finish bits4",
     {{"@N", "qconv4"},
      {"@P", kPackedCodes},
      {"@X", "uint8_t"},
      {"@S", "uint32_t"},
      {"@V", "int32_t"},
      {"@W", kBits4},
      {"@1", kTerm1},
      {"@2", kTerm2},
      {"@E", kFinish}}},
    {"qconv2",
     "rows",
     "finish bits2",
     {{"@N", "qconv2"},
      {"@P", kPackedCodes},
      {"@X", "uint8_t"},
      {"@S", "uint32_t"},
      {"@V", "int32_t"},
      {"@W", kBits2},
      {"@1", kTerm1},
      {"@2", kTerm2},
      {"@E", kFinish}}},
    {"qdense8", "qdense", "unpack8", {{"@N", "8"}, {"@T", "int8_t"}}},
    {"qdense4", "qdense", "unpack4", {{"@N", "4"}, {"@T", "uint8_t"}}},
    {"qdense2", "qdense", "unpack2", {{"@N", "2"}, {"@T", "uint8_t"}}},
    {"qlinear8", "qlinear", "unpack8", {{"@N", "8"}, {"@T", "int8_t"}}},
    {"qlinear4", "qlinear", "unpack4", {{"@N", "4"}, {"@T", "uint8_t"}}},
    {"qlinear2", "qlinear", "unpack2", {{"@N", "2"}, {"@T", "uint8_t"}}},
    {"max_f32",
     "pool",
     "",
     {{"@N", "max_f32"},
      {"@P", "const float* x, float* y"},
      {"@B", "float best = -INFINITY;"},
      {"@A", ""},
      {"@V", kMax},
      {"@E", "y[at] = best;"}}},
    {"max_s8",
     "pool",
     "",
     {{"@N", "max_s8"},
      {"@P", "const int8_t* x, int8_t* y"},
      {"@B", "int8_t best = -128;"},
      {"@A", ""},
      {"@V", kMax},
      {"@E", "y[at] = best;"}}},
    {"max_u8",
     "pool",
     "",
     {{"@N", "max_u8"},
      {"@P", "const uint8_t* x, uint8_t* y"},
      {"@B", "uint8_t best = 0;"},
      {"@A", ""},
      {"@V", kMax},
      {"@E", "y[at] = best;"}}},
    {"average",
     "pool",
     "",
     {{"@N", "average"},
      {"@P", "int32_t include_pad, const int32_t* pad_end, const float* x, float* y"},
      {"@B", "int32_t taps = 0, padded = 0;\n          float sum = 0.0f;"},
      {"@A", kPadded},
      {"@V", "++taps;\n                sum += x[from];"},
      {"@E",
       "if (include_pad) taps = padded;\n          y[at] = taps == 0 ? 0.0f : sum / "
       "(float)taps;"}}},
    {"lppool",
     "pool",
     "",
     {{"@N", "lppool"},
      {"@P", "int32_t power, const float* x, float* y"},
      {"@B", "double sum = 0.0;"},
      {"@A", ""},
      {"@V", "sum += pow(fabs((double)x[from]), power);"},
      {"@E", "y[at] = (float)pow(sum, 1.0 / power);"}}},
    {"qaverage",
     "pool",
     "store",
     {{"@N", "qaverage"},
      {"@P",
       "int32_t include_pad, const int32_t* pad_end, int32_t flip, int32_t zero, float multiplier, "
       "const sw_target* to, const uint8_t* x, void* y"},
      {"@B", "int32_t taps = 0, padded = 0;\n          uint32_t sum = 0;"},
      {"@A", kPadded},
      {"@V", "++taps;\n                sum += (uint32_t)((int32_t)(x[from] ^ flip) - zero);"},
      {"@E",
       "if (include_pad) taps = padded;\n"
       "          sw_store(to, at, taps == 0 ? 0.0f : (float)(int32_t)sum * (multiplier / "
       "(float)taps), y);"}}},
};

class Writer {
 public:
  void Add(const std::string& name) {
    if (!done_.insert(name).second) return;
    if (name.starts_with("instance:")) return AddInstance(name);
    for (const Variant& v : kVariants) {
      if (name != v.name) continue;
      AddNeeds(v.needs);
      AddNeeds(Find(v.base)->needs);
      std::string text = Find(v.base)->text;
      for (const Change& c : v.changes) Replace(text, c.place, c.text);
      text_ += text;
      return;
    }
    const Piece* piece = Find(name);
    AddNeeds(piece->needs);
    text_ += piece->text;
  }
  std::string Take() { return std::move(text_); }

 private:
  void AddNeeds(std::string_view names) {
    while (!names.empty()) {
      const size_t space = names.find(' ');
      Add(std::string(names.substr(0, space)));
      names = space == std::string_view::npos ? "" : names.substr(space + 1);
    }
  }
  // "instance:NAME<1f>PIECE<1f>@Xtext<1f>@Ytext..."
  void AddInstance(const std::string& name) {
    std::vector<std::string> parts;
    for (size_t at = name.find(':') + 1; at <= name.size();) {
      const size_t end = std::min(name.find('\x1f', at), name.size());
      parts.push_back(name.substr(at, end - at));
      at = end + 1;
    }
    const Piece* piece = Find(parts[1]);
    AddNeeds(piece->needs);
    std::string text = piece->text;
    for (size_t i = 2; i < parts.size(); ++i) {
      if (parts[i][1] == '+') {
        AddNeeds(parts[i].substr(2));
      } else {
        Replace(text, parts[i].substr(0, 2), parts[i].substr(2));
      }
    }
    Replace(text, "@N", parts[0]);
    text_ += text;
  }

  std::set<std::string> done_;
  std::string text_;
};

}  // namespace

std::string KernelText(const std::set<std::string>& names) {
  Writer writer;
  for (const std::string& name : names) writer.Add(name);
  return writer.Take();
}

}  // namespace slipway::backends::csource
