// Spectra, regions of images, caches. Places as in kernels_element.cc.

#include "engine/backends/csource/kernels.h"

namespace slipway::backends::csource {
namespace {

constexpr Piece kPieces[] = {
    {"dft", "", R"(
/* Lines of n complex numbers (parts 1: real), `have` of them there, `keep` of the result stored. Steps of outer, inner and the line in x
   and y. roots: cos and sin of 2 pi i / n. half: x is the first half of a spectrum of real numbers. */
typedef struct {
  int32_t outer, inner, n, have, keep, parts, out_parts, inverse, half, x[3], y[3];
} sw_lines;
static void sw_dft(const sw_lines* l, const float* roots, const float* window, const float* x, float* y) {
  int32_t o, j, k, i;
  for (o = 0; o < l->outer; ++o) {
    for (j = 0; j < l->inner; ++j) {
      const float* from = x + o * l->x[0] + j * l->x[1];
      float* to = y + o * l->y[0] + j * l->y[1];
      for (k = 0; k < l->keep; ++k) {
        double re = 0.0, im = 0.0;
        int32_t turn = 0; /* i * k modulo n */
        for (i = 0; i < l->n; ++i) {
          const int32_t mirrored = l->half && i > l->n / 2, at = mirrored ? l->n - i : i;
          if (at < l->have) {
            const double w = window ? window[i] : 1.0, c = roots[2 * turn], s = l->inverse ? roots[2 * turn + 1] : -roots[2 * turn + 1];
            const double a = from[at * l->x[2]] * w;
            double b = l->parts > 1 ? from[at * l->x[2] + 1] * w : 0.0;
            if (mirrored) b = -b;
            if (l->half && (i == 0 || 2 * i == l->n)) b = 0.0;
            re += a * c - b * s;
            im += a * s + b * c;
          }
          turn += k;
          if (turn >= l->n) turn -= l->n;
        }
        if (l->inverse) {
          re /= l->n;
          im /= l->n;
        }
        to[k * l->y[2]] = (float)re;
        if (l->out_parts > 1) to[k * l->y[2] + 1] = (float)im;
      }
    }
  }
}
)"},
    // dims: of the grid, depth, height, width; missing ones are 1.
    {"affinegrid", "", R"(
static void sw_affinegrid(int32_t batch, int32_t spatial, const int32_t* dims, int32_t align, const float* theta, float* y) {
  const int32_t points = dims[0] * dims[1] * dims[2];
  int32_t p, d, r, k;
  for (p = 0; p < batch * points; ++p) {
    double base[3] = {0.0, 0.0, 0.0};
    int32_t rest = p % points;
    for (d = 2; d > 2 - spatial; --d) {
      const int32_t n = dims[d], i = rest % n;
      rest /= n;
      base[2 - d] = align ? (n > 1 ? 2.0 * i / (n - 1.0) - 1.0 : -1.0) : (2.0 * i + 1.0) / n - 1.0;
    }
    for (r = 0; r < spatial; ++r) {
      const float* row = theta + (p / points * spatial + r) * (spatial + 1);
      double sum = row[spatial];
      for (k = 0; k < spatial; ++k) sum += row[k] * base[k];
      y[p * spatial + r] = (float)sum;
    }
  }
}
)"},
    {"roialign", "index", R"(
/* Regions [x1, y1, x2, y2] of the images that `batch` names. sampling: 0 as many as fit, at the most 4096 a bin and axis. */
static void sw_@N(int32_t regions, int32_t images, int32_t channels, int32_t height, int32_t width, int32_t oh, int32_t ow, int32_t half, int32_t most,
                  int32_t sampling, double scale, const float* x, const float* rois, const @X* batch, float* y) {
  int32_t r, c, i, j, sy, sx, k, d;
  for (r = 0; r < regions; ++r) {
    const float* image = x + sw_index((int64_t)batch[r], images) * channels * height * width;
    double start[2], bin[2];
    int32_t samples[2];
    for (d = 0; d < 2; ++d) {
      const double first = rois[r * 4 + 1 - d] * scale - (half ? 0.5 : 0.0), last = rois[r * 4 + 3 - d] * scale - (half ? 0.5 : 0.0);
      double extent = last - first, count;
      if (!half && extent < 1.0) extent = 1.0;
      start[d] = first;
      bin[d] = extent / (d ? ow : oh);
      count = sampling > 0 ? sampling : ceil(bin[d]);
      samples[d] = count > 0.0 ? count < 4096.0 ? (int32_t)count : 4096 : 0;
    }
    for (c = 0; c < channels; ++c) {
      const float* plane = image + c * height * width;
      for (i = 0; i < oh; ++i) {
        for (j = 0; j < ow; ++j) {
          const int32_t count = samples[0] * samples[1];
          double sum = 0.0, top = -INFINITY;
          for (sy = 0; sy < samples[0]; ++sy) {
            for (sx = 0; sx < samples[1]; ++sx) {
              double py = start[0] + bin[0] * (i + (sy + 0.5) / samples[0]), px = start[1] + bin[1] * (j + (sx + 0.5) / samples[1]);
              double value[4] = {0.0, 0.0, 0.0, 0.0};
              if (py >= -1.0 && py <= height && px >= -1.0 && px <= width) {
                int32_t y0, x0, y1, x1;
                double ty, tx;
                py = py < 0.0 ? 0.0 : py > height - 1.0 ? height - 1.0 : py;
                px = px < 0.0 ? 0.0 : px > width - 1.0 ? width - 1.0 : px;
                y0 = (int32_t)py;
                x0 = (int32_t)px;
                y1 = y0 + 1 < height ? y0 + 1 : y0;
                x1 = x0 + 1 < width ? x0 + 1 : x0;
                ty = py - y0;
                tx = px - x0;
                value[0] = (1.0 - ty) * (1.0 - tx) * plane[y0 * width + x0];
                value[1] = (1.0 - ty) * tx * plane[y0 * width + x1];
                value[2] = ty * (1.0 - tx) * plane[y1 * width + x0];
                value[3] = ty * tx * plane[y1 * width + x1];
              }
              for (k = 0; k < 4; ++k) {
                sum += value[k];
                top = value[k] > top ? value[k] : top;
              }
            }
          }
          y[((r * channels + c) * oh + i) * ow + j] = (float)(most ? (count > 0 ? top : 0.0) : sum / (count > 1 ? count : 1));
        }
      }
    }
  }
}
)"},
    // Into a copy of the cache, from first[batch] on; what does not fit is cut, or goes around.
    // Rows of `size` bytes.
    {"tensorscatter", "", R"(
static void sw_@N(int32_t outer, int32_t each, int32_t length, int32_t count, size_t size, int32_t circular, const @X* first, const void* update, void* y) {
  int32_t o, s;
  for (o = 0; o < outer; ++o) {
    int64_t from = first ? (int64_t)first[o / each] : 0;
    if (from < 0 || from >= length) from = 0;
    for (s = 0; s < count; ++s) {
      int32_t at = (int32_t)from + s;
      if (at >= length && !circular) break;
      if (at >= length) at -= length;
      memcpy((char*)y + (size_t)(o * length + at) * size, (const char*)update + (size_t)(o * count + s) * size, size);
    }
  }
}
)"},
};

}  // namespace

std::span<const Piece> SignalPieces() { return kPieces; }

}  // namespace slipway::backends::csource
