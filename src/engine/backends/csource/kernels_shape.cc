// Moves by tables, matrix products of any type, pooling with indices, losses, sampling, attention.
// Places as in kernels_element.cc; others are said.

#include "engine/backends/csource/kernels.h"

namespace slipway::backends::csource {
namespace {

constexpr Piece kPieces[] = {
    {"border", "", R"(
/* mode: 1 edge, 2 reflect, 3 wrap; begin may be negative. */
typedef struct {
  int32_t rank, count, mode, dims[8], extent[8], begin[8], stride[8];
} sw_border;
static void sw_pad(const sw_border* p, int32_t size, const void* x, void* y) {
  int32_t o, d;
  for (o = 0; o < p->count; ++o) {
    int32_t rest = o, at = 0;
    for (d = p->rank - 1; d >= 0; --d) {
      const int32_t n = p->extent[d], period = p->mode == 2 ? 2 * (n - 1) : n;
      int32_t i = rest % p->dims[d] - p->begin[d];
      rest /= p->dims[d];
      if (p->mode == 1) {
        i = i < 0 ? 0 : i >= n ? n - 1 : i;
      } else if (n == 1) {
        i = 0;
      } else {
        i = (i % period + period) % period;
        if (i >= n) i = period - i;
      }
      at += i * p->stride[d];
    }
    memcpy((char*)y + (size_t)o * (size_t)size, (const char*)x + (size_t)at * (size_t)size, (size_t)size);
  }
}
)"},
    {"fillrange", "", R"(
static void sw_@N(int32_t count, const @X* start, const @X* delta, @X* y) {
  int32_t i;
  for (i = 0; i < count; ++i) y[i] = (@X)((@S)*start + (@S)i * (@S)*delta);
}
)"},
    {"reverse", "", R"(
/* Elements of `size` bytes; steps of batch and time in them. */
static void sw_@N(int32_t batches, int32_t times, int32_t batch, int32_t time, size_t size, const @X* lengths, const void* x, void* y) {
  int32_t b, t;
  for (b = 0; b < batches; ++b) {
    const int64_t n = lengths[b] < times ? (int64_t)lengths[b] : times;
    for (t = 0; t < times; ++t) {
      const int32_t from = t < n ? (int32_t)n - 1 - t : t;
      memcpy((char*)y + (size_t)(b * batch + t * time) * size, (const char*)x + (size_t)(b * batch + from * time) * size, size);
    }
  }
}
)"},
    // offsets: of the matrices of a and b for every matrix of y.
    {"product", "", R"(
static void sw_@N(int32_t batch, const int32_t* offsets, int32_t rows, int32_t inner, int32_t columns, const @X* a, const @X* b, @X* y) {
  int32_t t, m, n, k;
  for (t = 0; t < batch; ++t) {
    const @X *pa = a + offsets[2 * t], *pb = b + offsets[2 * t + 1];
    for (m = 0; m < rows; ++m) {
      for (n = 0; n < columns; ++n) {
        @S v = 0;
        for (k = 0; k < inner; ++k) v += (@S)pa[m * inner + k] * (@S)pb[k * columns + n];
        y[(t * rows + m) * columns + n] = (@X)v;
      }
    }
  }
}
)"},
    // Steps of a and b along rows, depth and columns; of c along rows and columns.
    {"gemm", "", R"(
static void sw_@N(int32_t rows, int32_t inner, int32_t columns, const int32_t* step, double alpha, double beta, const @X* a, const @X* b, const @X* c, @X* y) {
  int32_t m, n, k;
  for (m = 0; m < rows; ++m) {
    for (n = 0; n < columns; ++n) {
      @S v = 0;
      for (k = 0; k < inner; ++k) v += (@S)a[m * step[0] + k * step[1]] * (@S)b[k * step[2] + n * step[3]];
      v *= (@S)alpha;
      if (c) v += (@S)beta * (@S)c[m * step[4] + n * step[5]];
      y[m * columns + n] = (@X)v;
    }
  }
}
)"},
    // n: the output's labels with the steps of a and b; r: those that are summed. @E: a term.
    {"einsum", "nd", R"(
static void sw_@N(const sw_nd* n, const sw_nd* r, const @X* a, const @X* b, @X* y) {
  int32_t index[8] = {0, 0, 0, 0, 0, 0, 0, 0}, fa = 0, fb = 0, i;
  (void)b;
  for (i = 0; i < n->count; ++i) {
    int32_t inner[8] = {0, 0, 0, 0, 0, 0, 0, 0}, ia = fa, ib = fb, k;
    @S v = 0;
    for (k = 0; k < r->count; ++k) {
      v += @E;
      sw_next(r, inner, &ia, &ib);
    }
    y[i] = (@X)v;
    sw_next(n, index, &fa, &fb);
  }
}
)"},
    {"max_at", "window", R"(
/* columns: indices count the last dimension slowest. */
static void sw_@N(const sw_window* w, int32_t columns, const @X* x, @X* y, int64_t* indices) {
  const int32_t plane = w->in[0] * w->in[1] * w->in[2];
  int32_t p, a, b, c, i, j, k, at = 0;
  for (p = 0; p < w->batch * w->channels; ++p) {
    for (a = 0; a < w->out[0]; ++a) {
      for (b = 0; b < w->out[1]; ++b) {
        for (c = 0; c < w->out[2]; ++c, ++at) {
          @X best = @I;
          int32_t where = -1;
          for (i = 0; i < w->kernel[0]; ++i) {
            const int32_t d = a * w->stride[0] + i * w->dilation[0] - w->pad[0];
            if (d < 0 || d >= w->in[0]) continue;
            for (j = 0; j < w->kernel[1]; ++j) {
              const int32_t h = b * w->stride[1] + j * w->dilation[1] - w->pad[1];
              if (h < 0 || h >= w->in[1]) continue;
              for (k = 0; k < w->kernel[2]; ++k) {
                const int32_t v = c * w->stride[2] + k * w->dilation[2] - w->pad[2];
                const int32_t from = (d * w->in[1] + h) * w->in[2] + v;
                if (v < 0 || v >= w->in[2]) continue;
                if (where >= 0 && !(x[p * plane + from] > best)) continue;
                best = x[p * plane + from];
                where = columns ? (v * w->in[1] + h) * w->in[0] + d : from;
              }
            }
          }
          y[at] = best;
          indices[at] = where < 0 ? -1 : p * plane + where;
        }
      }
    }
  }
}
)"},
    // reduction: 0 none, 1 sum, 2 mean. `soft`: x are no logarithms yet; log_prob or null: where
    // those go.
    {"loss", "", R"(
static void sw_@N(int32_t positions, int32_t classes, int32_t inner, int32_t soft, int32_t reduction, int32_t has_ignored, int64_t ignored, const float* x, const @X* target,
                  const float* weight, float* y, float* log_prob) {
  double sum = 0.0, weights = 0.0;
  int32_t i, k;
  for (i = 0; i < positions; ++i) {
    const float* from = x + i / inner * classes * inner + i % inner;
    const int64_t t = target[i];
    double loss = 0.0, shift = 0.0;
    if (soft) {
      double top = from[0], total = 0.0;
      for (k = 1; k < classes; ++k) top = from[k * inner] > top ? from[k * inner] : top;
      for (k = 0; k < classes; ++k) total += exp(from[k * inner] - top);
      shift = top + log(total);
      for (k = 0; log_prob && k < classes; ++k) log_prob[from - x + k * inner] = (float)(from[k * inner] - shift);
    }
    if ((!has_ignored || t != ignored) && t >= 0 && t < classes) {
      const double w = weight ? weight[t] : 1.0;
      loss = -w * (from[t * inner] - shift);
      weights += w;
    }
    sum += loss;
    if (reduction == 0) y[i] = (float)loss;
  }
  if (reduction == 1) y[0] = (float)sum;
  if (reduction == 2) y[0] = (float)(sum / weights);
}
)"},
    {"grid", "", R"(
/* mode: 0 nearest, 1 linear, 2 cubic. outside: 0 zeros, 1 border, 2 reflection. extent: depth, height, width. */
typedef struct {
  int32_t batch, channels, points, spatial, mode, outside, align, extent[3];
} sw_grid;
typedef struct {
  int32_t count, index[4];
  double weight[4];
} sw_taps;
static double sw_mirror(double x, double low, double high) {
  const double range = high - low, distance = x < low ? low - x : x - high;
  double turns, rest;
  int even;
  if (range <= 0.0) return low;
  if (x >= low && x <= high) return x;
  turns = floor(distance / range);
  rest = distance - turns * range;
  even = fmod(turns, 2.0) == 0.0;
  return even == (x < low) ? low + rest : high - rest;
}
static void sw_tap(const sw_grid* g, double at, double weight, int32_t n, sw_taps* t) {
  const double low = g->align ? 0.0 : -0.5, high = n - (g->align ? 1.0 : 0.5);
  if (g->outside == 2) at = round(sw_mirror(at, low, high));
  if (g->outside == 0 && !(at >= 0.0 && at < n)) return;
  t->index[t->count] = at < 0.0 ? 0 : at >= n ? n - 1 : (int32_t)at;
  t->weight[t->count++] = weight;
}
static void sw_axis(const sw_grid* g, double place, int32_t n, sw_taps* t) {
  const double low = g->align ? 0.0 : -0.5, high = n - (g->align ? 1.0 : 0.5);
  double x = g->align ? (place + 1.0) / 2.0 * (n - 1.0) : ((place + 1.0) * n - 1.0) / 2.0, base, f;
  int i;
  t->count = 0;
  if (!(x > -1e9)) x = -1e9;
  if (x > 1e9) x = 1e9;
  if (g->mode == 0) x = rint(x);
  if (g->mode != 2 && (x < low || x > high)) {
    if (g->outside == 1) x = x < 0.0 ? 0.0 : x > n - 1.0 ? n - 1.0 : x;
    if (g->outside == 2) x = sw_mirror(x, low, high);
  }
  if (g->mode == 0) {
    sw_tap(g, rint(x), 1.0, n, t);
    return;
  }
  base = floor(x);
  f = x - base;
  if (g->mode == 1) {
    sw_tap(g, base, 1.0 - f, n, t);
    sw_tap(g, base + 1.0, f, n, t);
    return;
  }
  for (i = 0; i < 4; ++i) {
    const double a = -0.75, d = i == 0 ? f + 1.0 : i == 1 ? f : i == 2 ? 1.0 - f : 2.0 - f;
    sw_tap(g, base + i - 1, d <= 1.0 ? ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0 : ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a, n, t);
  }
}
static void sw_gridsample(const sw_grid* g, const float* x, const float* grid, float* y) {
  const int32_t plane = g->extent[0] * g->extent[1] * g->extent[2];
  int32_t p, c, d, i, j, k;
  for (p = 0; p < g->batch * g->points; ++p) {
    sw_taps t[3];
    for (d = 0; d < 3; ++d) {
      const int32_t axis = d - (3 - g->spatial);
      t[d].count = 1;
      t[d].index[0] = 0;
      t[d].weight[0] = 1.0;
      if (axis >= 0) sw_axis(g, grid[p * g->spatial + (g->spatial - 1 - axis)], g->extent[d], t + d);
    }
    for (c = 0; c < g->channels; ++c) {
      const int32_t image = p / g->points * g->channels + c;
      const float* from = x + image * plane;
      double sum = 0.0;
      for (i = 0; i < t[0].count; ++i) {
        for (j = 0; j < t[1].count; ++j) {
          for (k = 0; k < t[2].count; ++k)
            sum += t[0].weight[i] * t[1].weight[j] * t[2].weight[k] * from[(t[0].index[i] * g->extent[1] + t[1].index[j]) * g->extent[2] + t[2].index[k]];
        }
      }
      y[image * g->points + p % g->points] = (float)sum;
    }
  }
}
)"},
    // Steps of batch, head and row of q, k, v, y; of batch, head, query and key of the mask.
    // mask_kind: 0 none, 1 bool, 2 float. causal: keys up to the query's place plus `before` count.
    // scores: `keys` floats.
    {"attention", "", R"(
typedef struct {
  int32_t batch, heads, kv_heads, queries, keys, size, value_size, causal, before, mask_kind, mask_keys;
  int32_t q[3], k[3], v[3], y[3], mask[4];
  float scale, softcap;
} sw_attention_shape;
static void sw_attention(const sw_attention_shape* s, const float* q, const float* k, const float* v, const void* mask, float* scores, float* y) {
  int32_t b, h, i, j, d;
  for (b = 0; b < s->batch; ++b) {
    for (h = 0; h < s->heads; ++h) {
      const int32_t kv = h / (s->heads / s->kv_heads);
      const float *kb = k + b * s->k[0] + kv * s->k[1], *vb = v + b * s->v[0] + kv * s->v[1];
      for (i = 0; i < s->queries; ++i) {
        const float* row = q + b * s->q[0] + h * s->q[1] + i * s->q[2];
        float *to = y + b * s->y[0] + h * s->y[1] + i * s->y[2], top = -INFINITY, sum = 0.0f;
        for (j = 0; j < s->keys; ++j) {
          const int32_t at = b * s->mask[0] + h * s->mask[1] + i * s->mask[2] + j * s->mask[3];
          float p[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f}, x;
          for (d = 0; d < s->size; ++d) p[d & 7] += row[d] * kb[j * s->k[2] + d];
          x = (((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7]))) * s->scale;
          if (s->softcap > 0.0f) x = s->softcap * tanhf(x / s->softcap);
          if ((s->causal && j > i + s->before) || (s->mask_kind && j >= s->mask_keys)) {
            x = -INFINITY;
          } else if (s->mask_kind == 1) {
            x = ((const uint8_t*)mask)[at] ? x : -INFINITY;
          } else if (s->mask_kind == 2) {
            x += ((const float*)mask)[at];
          }
          scores[j] = x;
          top = x > top ? x : top;
        }
        for (d = 0; d < s->value_size; ++d) to[d] = 0.0f;
        for (j = 0; j < s->keys; ++j) {
          const float weight = top == -INFINITY ? 0.0f : expf(scores[j] - top);
          sum += weight;
          for (d = 0; d < s->value_size; ++d) to[d] += weight * vb[j * s->v[2] + d];
        }
        for (d = 0; sum > 0.0f && d < s->value_size; ++d) to[d] /= sum;
      }
    }
  }
}
)"},
    // @X, @Z: types of x and the weights.
    {"convinteger", "window", R"(
static void sw_@N(const sw_window* w, const @X* x, const @Z* weights, const @X* x_zero, const @Z* w_zero, int32_t each, int32_t* y) {
  const int32_t cin = w->channels / w->groups, cout = w->outputs / w->groups, plane = w->in[0] * w->in[1] * w->in[2];
  const int32_t taps = w->kernel[0] * w->kernel[1] * w->kernel[2], zero = x_zero ? *x_zero : 0;
  int32_t n, m, o[3], c, t, at = 0;
  for (n = 0; n < w->batch; ++n) {
    for (m = 0; m < w->outputs; ++m) {
      const int32_t w0 = w_zero ? w_zero[each ? m : 0] : 0;
      for (o[0] = 0; o[0] < w->out[0]; ++o[0]) {
        for (o[1] = 0; o[1] < w->out[1]; ++o[1]) {
          for (o[2] = 0; o[2] < w->out[2]; ++o[2]) {
            uint32_t sum = 0;
            for (c = 0; c < cin; ++c) {
              const @X* from = x + (n * w->channels + m / cout * cin + c) * plane;
              for (t = 0; t < taps; ++t) {
                const int32_t d = o[0] * w->stride[0] + t / w->kernel[2] / w->kernel[1] * w->dilation[0] - w->pad[0];
                const int32_t h = o[1] * w->stride[1] + t / w->kernel[2] % w->kernel[1] * w->dilation[1] - w->pad[1];
                const int32_t i = o[2] * w->stride[2] + t % w->kernel[2] * w->dilation[2] - w->pad[2];
                if (d < 0 || d >= w->in[0] || h < 0 || h >= w->in[1] || i < 0 || i >= w->in[2]) continue;
                sum += (uint32_t)(((int32_t)from[(d * w->in[1] + h) * w->in[2] + i] - zero) * ((int32_t)weights[(m * cin + c) * taps + t] - w0));
              }
            }
            y[at++] = (int32_t)sum;
          }
        }
      }
    }
  }
}
)"},
    {"matmulinteger", "", R"(
static void sw_@N(int32_t batch, const int32_t* offsets, int32_t rows, int32_t inner, int32_t columns, const @X* a, const @Z* b, const @X* a_zero, int32_t a_each,
                  const @Z* b_zero, int32_t b_each, int32_t* y) {
  int32_t t, m, n, k;
  for (t = 0; t < batch; ++t) {
    const @X* pa = a + offsets[2 * t];
    const @Z* pb = b + offsets[2 * t + 1];
    for (m = 0; m < rows; ++m) {
      const int32_t az = a_zero ? a_zero[a_each ? m : 0] : 0;
      for (n = 0; n < columns; ++n) {
        const int32_t bz = b_zero ? b_zero[b_each ? n : 0] : 0;
        uint32_t sum = 0;
        for (k = 0; k < inner; ++k) sum += (uint32_t)(((int32_t)pa[m * inner + k] - az) * ((int32_t)pb[k * columns + n] - bz));
        y[(t * rows + m) * columns + n] = (int32_t)sum;
      }
    }
  }
}
)"},
    {"dynamicquantize", "requant", R"(
static void sw_dynamicquantize(int32_t count, const float* x, uint8_t* y, float* scale, uint8_t* zero) {
  float low = 0.0f, high = 0.0f, s, middle;
  int32_t i;
  for (i = 0; i < count; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  s = high > low ? (high - low) / 255.0f : 1.0f;
  middle = rintf(0.0f - low / s);
  *scale = s;
  *zero = (uint8_t)(!(middle > 0.0f) ? 0 : middle > 255.0f ? 255 : (int32_t)middle);
  for (i = 0; i < count; ++i) y[i] = (uint8_t)sw_requant(x[i] / s, *zero, 0, 255);
}
)"},
    // Weights as codes, a scale (and zero point) for each `group` of them. @X: their type, @E: the
    // code at `at` of output n.
    {"nbits", "", R"(
static void sw_@N(int32_t rows, int32_t inputs, int32_t outputs, int32_t group, const float* x, const @X* weights, const int8_t* low, const float* scale, const int8_t* zero,
                  const float* bias, float* y) {
  const int32_t groups = (inputs + group - 1) / group;
  int32_t m, n, k;
  (void)low;
  for (m = 0; m < rows; ++m) {
    for (n = 0; n < outputs; ++n) {
      float v = 0.0f;
      for (k = 0; k < inputs; ++k) {
        const int32_t at = n * inputs + k, g = n * groups + k / group;
        v += x[m * inputs + k] * ((float)(@E - (zero ? zero[g] : 0)) * scale[g]);
      }
      y[m * outputs + n] = bias ? v + bias[n] : v;
    }
  }
}
)"},
    {"maxunpool", "", R"(
/* Places in `inner`; y's extent is `dims`, no smaller. */
static void sw_@N(int32_t count, int32_t rank, const int32_t* inner, const int32_t* dims, const @X* x, const int64_t* indices, @X* y) {
  int32_t i, d, most = 1, all = 1;
  for (d = 0; d < rank; ++d) {
    most *= inner[d];
    all *= dims[d];
  }
  for (i = 0; i < all; ++i) y[i] = 0;
  for (i = 0; i < count; ++i) {
    int32_t rest = indices[i] < 0 ? 0 : indices[i] >= most ? most - 1 : (int32_t)indices[i], at = 0, step = 1;
    for (d = rank - 1; d >= 0; --d) {
      at += rest % inner[d] * step;
      rest /= inner[d];
      step *= dims[d];
    }
    y[at] = x[i];
  }
}
)"},
    // @X: type of the positions. Steps of batch, head and row; ids or null: rows of the caches.
    {"rotary", "", R"(
static void sw_@N(int32_t batches, int32_t heads, int32_t length, int32_t size, int32_t half, int32_t interleaved, int32_t rows, const int32_t* step, const float* x,
                  const float* cosine, const float* sine, const @X* ids, float* y) {
  int32_t b, h, s, k;
  for (b = 0; b < batches; ++b) {
    for (h = 0; h < heads; ++h) {
      for (s = 0; s < length; ++s) {
        const int32_t at = b * step[0] + h * step[1] + s * step[2];
        int64_t row = ids ? (int64_t)ids[b * length + s] : b * length + s;
        row = row < 0 ? 0 : row >= rows ? rows - 1 : row;
        for (k = 0; k < half; ++k) {
          const int32_t first = at + (interleaved ? 2 * k : k), second = interleaved ? first + 1 : first + half;
          const float u = x[first], v = x[second], c = cosine[row * half + k], n = sine[row * half + k];
          y[first] = c * u - n * v;
          y[second] = n * u + c * v;
        }
        for (k = 2 * half; k < size; ++k) y[at + k] = x[at + k];
      }
    }
  }
}
)"},
};

}  // namespace

std::span<const Piece> ShapePieces() { return kPieces; }

}  // namespace slipway::backends::csource
