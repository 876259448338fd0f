// Normalisations, recurrent cells, transposed convolution, sampling. Places as in
// kernels_element.cc; others are said.

#include "engine/backends/csource/kernels.h"

namespace slipway::backends::csource {
namespace {

constexpr Piece kPieces[] = {
    {"logsoftmax", "", R"(
static void sw_logsoftmax(int32_t outer, int32_t count, int32_t inner, const float* x, float* y) {
  int32_t o, i, k;
  for (o = 0; o < outer; ++o) {
    for (i = 0; i < inner; ++i) {
      const float* from = x + o * count * inner + i;
      float* to = y + o * count * inner + i;
      float top = from[0], shift;
      double sum = 0.0;
      for (k = 1; k < count; ++k) top = from[k * inner] > top ? from[k * inner] : top;
      for (k = 0; k < count; ++k) sum += expf(from[k * inner] - top);
      shift = (float)log(sum);
      for (k = 0; k < count; ++k) to[k * inner] = from[k * inner] - top - shift;
    }
  }
}
)"},
    {"hardmax", "", R"(
static void sw_hardmax(int32_t outer, int32_t count, int32_t inner, const float* x, float* y) {
  int32_t o, i, k;
  for (o = 0; o < outer; ++o) {
    for (i = 0; i < inner; ++i) {
      const float* from = x + o * count * inner + i;
      int32_t best = 0;
      for (k = 1; k < count; ++k) best = from[k * inner] > from[best * inner] ? k : best;
      for (k = 0; k < count; ++k) y[(o * count + k) * inner + i] = k == best ? 1.0f : 0.0f;
    }
  }
}
)"},
    // Blocks of `each` channels together; scale and bias are of channels.
    {"groupnorm", "", R"(
static void sw_groupnorm(int32_t blocks, int32_t groups, int32_t each, int32_t plane, double epsilon, const float* x, const float* scale, const float* bias, float* y) {
  const int32_t count = each * plane;
  int32_t b, i;
  for (b = 0; b < blocks; ++b) {
    const float* from = x + b * count;
    const int32_t first = b % groups * each;
    double mean = 0.0, square = 0.0, inverse;
    for (i = 0; i < count; ++i) mean += from[i];
    mean /= count;
    for (i = 0; i < count; ++i) square += (from[i] - mean) * (from[i] - mean);
    inverse = 1.0 / sqrt(square / count + epsilon);
    for (i = 0; i < count; ++i) {
      const int32_t c = first + i / plane;
      y[b * count + i] = (float)((from[i] - mean) * inverse) * scale[c] + bias[c];
    }
  }
}
)"},
    {"rmsnorm", "", R"(
static void sw_rmsnorm(int32_t rows, int32_t count, double epsilon, const float* x, const float* scale, float* y) {
  int32_t r, i;
  for (r = 0; r < rows; ++r) {
    const float* from = x + r * count;
    double square = 0.0, inverse;
    for (i = 0; i < count; ++i) square += (double)from[i] * (double)from[i];
    inverse = 1.0 / sqrt(square / count + epsilon);
    for (i = 0; i < count; ++i) {
      const float v = (float)(from[i] * inverse);
      y[r * count + i] = scale ? v * scale[i] : v;
    }
  }
}
)"},
    {"moments", "", R"(
static void sw_moments(int32_t rows, int32_t count, double epsilon, const float* x, float* means, float* inverses) {
  int32_t r, i;
  for (r = 0; r < rows; ++r) {
    const float* from = x + r * count;
    double mean = 0.0, square = 0.0;
    for (i = 0; i < count; ++i) mean += from[i];
    mean /= count;
    for (i = 0; i < count; ++i) square += (from[i] - mean) * (from[i] - mean);
    if (means) means[r] = (float)mean;
    if (inverses) inverses[r] = (float)(1.0 / sqrt(square / count + epsilon));
  }
}
)"},
    {"lpnorm", "", R"(
static void sw_lpnorm(int32_t outer, int32_t count, int32_t inner, int32_t p, const float* x, float* y) {
  int32_t o, i, k;
  for (o = 0; o < outer; ++o) {
    for (i = 0; i < inner; ++i) {
      const int32_t base = o * count * inner + i;
      double sum = 0.0;
      for (k = 0; k < count; ++k) {
        const double v = x[base + k * inner];
        sum += p == 1 ? fabs(v) : v * v;
      }
      if (p != 1) sum = sqrt(sum);
      for (k = 0; k < count; ++k) y[base + k * inner] = (float)(sum > 0.0 || sum < 0.0 || sum != sum ? x[base + k * inner] / sum : 0.0);
    }
  }
}
)"},
    {"lrn", "", R"(
static void sw_lrn(int32_t batch, int32_t channels, int32_t plane, int32_t size, double alpha, double beta, double bias, const float* x, float* y) {
  const int32_t before = (size - 1) / 2, after = size - 1 - before;
  int32_t n, c, i, k;
  for (n = 0; n < batch; ++n) {
    for (c = 0; c < channels; ++c) {
      const int32_t first = c < before ? 0 : c - before, last = c + after < channels ? c + after : channels - 1;
      for (i = 0; i < plane; ++i) {
        double sum = 0.0;
        for (k = first; k <= last; ++k) {
          const double v = x[(n * channels + k) * plane + i];
          sum += v * v;
        }
        y[(n * channels + c) * plane + i] = (float)(x[(n * channels + c) * plane + i] / pow(bias + alpha / size * sum, beta));
      }
    }
  }
}
)"},
    // The window is that of the convolution from y to x.
    {"convtranspose", "range", R"(
static void sw_convtranspose(const sw_window* w, const float* x, const float* weights, const float* bias, float* y) {
  const int32_t cin = w->outputs / w->groups, cout = w->channels / w->groups;
  const int32_t from = w->out[0] * w->out[1] * w->out[2], plane = w->in[0] * w->in[1] * w->in[2];
  const int32_t taps = w->kernel[0] * w->kernel[1] * w->kernel[2];
  int32_t n, m, c, i, kd, kh, kw;
  for (n = 0; n < w->batch; ++n) {
    for (m = 0; m < w->channels; ++m) {
      float* to = y + (n * w->channels + m) * plane;
      for (i = 0; i < plane; ++i) to[i] = bias ? bias[m] : 0.0f;
      for (c = 0; c < cin; ++c) {
        const int32_t channel = m / cout * cin + c;
        const float *px = x + (n * w->outputs + channel) * from, *pw = weights + (channel * cout + m % cout) * taps;
        for (kd = 0; kd < w->kernel[0]; ++kd) {
          for (kh = 0; kh < w->kernel[1]; ++kh) {
            for (kw = 0; kw < w->kernel[2]; ++kw) {
              const float weight = *pw++;
              int32_t lo[3], hi[3], a, b;
              sw_range(w, 0, kd, lo, hi);
              sw_range(w, 1, kh, lo + 1, hi + 1);
              sw_range(w, 2, kw, lo + 2, hi + 2);
              for (a = lo[0]; a < hi[0]; ++a) {
                for (b = lo[1]; b < hi[1]; ++b) {
                  const float* line = px + (a * w->out[1] + b) * w->out[2];
                  const int32_t at = ((a * w->stride[0] + kd * w->dilation[0] - w->pad[0]) * w->in[1] + b * w->stride[1] +
                                      kh * w->dilation[1] - w->pad[1]) * w->in[2] + kw * w->dilation[2] - w->pad[2];
                  for (i = lo[2]; i < hi[2]; ++i) to[at + i * w->stride[2]] += line[i] * weight;
                }
              }
            }
          }
        }
      }
    }
  }
}
)"},
    {"gate", "", R"(
/* RNN, GRU, LSTM. kind: 0 sigmoid, 1 tanh, 2 relu, 3 affine, 4 leaky relu, 5 thresholded relu, 6 scaled tanh, 7 hard sigmoid, 8 elu, 9 softsign,
   10 softplus; three a direction. variant: GRU's linear_before_reset, LSTM's input_forget. clip: 0 for none. */
typedef struct {
  int32_t steps, batch, input, hidden, directions, batch_first, reverse, variant;
  float clip;
  int32_t kind[6];
  float a[6], b[6];
} sw_recurrent;
static float sw_gate(const sw_recurrent* r, int32_t f, float x) {
  const float a = r->a[f], b = r->b[f];
  if (r->clip > 0.0f) x = x < -r->clip ? -r->clip : x > r->clip ? r->clip : x;
  switch (r->kind[f]) {
    case 0: return 1.0f / (1.0f + expf(-x));
    case 1: return tanhf(x);
    case 2: return x < 0.0f ? 0.0f : x;
    case 3: return a * x + b;
    case 4: return x < 0.0f ? a * x : x;
    case 5: return x > a ? x : 0.0f;
    case 6: return a * tanhf(b * x);
    case 7: x = a * x + b; x = x < 1.0f ? x : 1.0f; return x > 0.0f ? x : 0.0f;
    case 8: return x < 0.0f ? a * expm1f(x) : x;
    case 9: return x / (1.0f + fabsf(x));
    default: return log1pf(expf(-fabsf(x))) + (x < 0.0f ? 0.0f : x);
  }
}
)"},
    {"project", "", R"(
/* y = m * x, rows times columns; eight partial sums with `parts`, as the reference adds. */
static void sw_project(int32_t rows, int32_t columns, const float* m, const float* x, int32_t parts, float* y) {
  int32_t i, k;
  for (i = 0; i < rows; ++i, m += columns) {
    if (parts) {
      float p[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
      for (k = 0; k < columns; ++k) p[k & 7] += m[k] * x[k];
      y[i] = ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7]));
    } else {
      float v = 0.0f;
      for (k = 0; k < columns; ++k) v += m[k] * x[k];
      y[i] = v;
    }
  }
}
)"},
    {"project8", "", R"(
/* As sw_project, of codes: a row's sum times its scale. */
static void sw_project8(int32_t rows, int32_t columns, const int8_t* m, const float* scales, const float* x, int32_t parts, float* y) {
  int32_t i, k;
  for (i = 0; i < rows; ++i, m += columns) {
    if (parts) {
      float p[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
      for (k = 0; k < columns; ++k) p[k & 7] += (float)m[k] * x[k];
      y[i] = scales[i] * (((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7])));
    } else {
      float v = 0.0f;
      for (k = 0; k < columns; ++k) v += (float)m[k] * x[k];
      y[i] = scales[i] * v;
    }
  }
}
)"},
    {"project4", "", R"(
/* The same of two codes a byte, the first in its low half; a row begins with a byte. */
static void sw_project4(int32_t rows, int32_t columns, const uint8_t* m, const float* scales, const float* x, int32_t parts, float* y) {
  int32_t i, k;
  (void)parts;
  for (i = 0; i < rows; ++i, m += (columns + 1) / 2) {
    float p[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (k = 0; k + 1 < columns; k += 2) {
      const int32_t code = m[k / 2];
      p[k & 2] += (float)(((code & 15) ^ 8) - 8) * x[k];
      p[(k & 2) + 1] += (float)(((code >> 4) ^ 8) - 8) * x[k + 1];
    }
    if (k < columns) p[0] += (float)(((m[k / 2] & 15) ^ 8) - 8) * x[k];
    y[i] = scales[i] * ((p[0] + p[1]) + (p[2] + p[3]));
  }
}
)"},
    // @G: gates; @B: rows to whose input part the hidden bias is added; @C: the cell, from v
    // (input's part of the gates) and u (hidden state's) to h, with c the cell state and rd, bd, pd
    // the direction's hidden weights, biases and peepholes. Of W: @T its type, @I a row's elements,
    // @P what multiplies; of codes @A the parameter of their scales, @D those of a direction, @S as
    // an argument, else nothing. Of R: @U, @J, @Q (in @C), @E, @F.
    {"recurrent", "gate", R"(
static void sw_@N(const sw_recurrent* r, const float* x, const @T* w, const @U* recurrent, const float* bias, const int32_t* lengths, const float* h0,
                  const float* c0, const float* peep, @A@Efloat* v, float* y, float* yh, float* yc) {
  const int32_t n = r->hidden, width = @G * n;
  float *u = v + width, *h = u + width, *c = h + n;
  int32_t d, b, s, i;
  for (d = 0; d < r->directions; ++d) {
    const @T* wd = w + d * width * @I;
    const @U* rd = recurrent + d * width * @J;@D@F
    const float *bd = bias ? bias + d * 2 * width : 0, *pd = peep ? peep + d * 3 * n : 0;
    const int32_t f = 3 * d;
    (void)pd;
    for (b = 0; b < r->batch; ++b) {
      const int32_t state = (r->batch_first ? b * r->directions + d : d * r->batch + b) * n;
      int32_t length = r->steps;
      if (lengths && lengths[b] < length) length = lengths[b] < 0 ? 0 : lengths[b];
      for (i = 0; i < n; ++i) {
        h[i] = h0 ? h0[state + i] : 0.0f;
        c[i] = c0 ? c0[state + i] : 0.0f;
      }
      for (s = 0; s < r->steps; ++s) {
        const int32_t t = s < length && (d == 1 || r->reverse) ? length - 1 - s : s;
        float* to = y ? y + (r->batch_first ? (b * r->steps + t) * r->directions + d : (t * r->directions + d) * r->batch + b) * n : 0;
        if (s < length) {
          @P(width, r->input, wd, @Sx + (r->batch_first ? b * r->steps + t : t * r->batch + b) * r->input, 0, v);
          for (i = 0; bd && i < width; ++i) {
            v[i] += bd[i];
            if (i < @B) v[i] += bd[width + i];
          }
          @C
          if (y) memcpy(to, h, (size_t)n * sizeof(float));
        } else if (y) {
          for (i = 0; i < n; ++i) to[i] = 0.0f;
        }
      }
      if (yh) memcpy(yh + state, h, (size_t)n * sizeof(float));
      if (yc) memcpy(yc + state, c, (size_t)n * sizeof(float));
    }
  }
}
)"},
};

}  // namespace

std::span<const Piece> SequencePieces() { return kPieces; }

}  // namespace slipway::backends::csource
