// Reading images at computed places: GridSample, AffineGrid, RoiAlign, MaxRoiPool, DeformConv.
// 16-bit floats are computed in float32.

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"
#include "model/ops/tiled_gemm.h"
#include "model/ops/window.h"

namespace slipway::ops {
namespace {

bool IsShort(const TensorView& t) {
  return t.dtype == DType::kFloat16 || t.dtype == DType::kBFloat16;
}

// Runs through float32 when any of the inputs is a 16-bit float.
Status RunAny(const OpContext& c, Kernel kernel) {
  for (const TensorView& t : c.inputs) {
    if (IsShort(t)) return RunAsFloat32(c, kernel);
  }
  return kernel(c);
}

double FloatAt(const TensorView& t, int64_t i) {
  return t.dtype == DType::kFloat64 ? t.as<const double>()[i]
                                    : static_cast<double>(t.as<const float>()[i]);
}

// --- GridSample, https://onnx.ai/onnx/operators/onnx__GridSample.html ---

enum class Sampling { kNearest, kLinear, kCubic };
enum class Outside { kZeros, kBorder, kReflection };

struct AxisTaps {
  int count = 0;
  int64_t index[4];
  double weight[4];
};

// Mirrors x at the borders until it lies between them.
double Reflect(double x, double low, double high) {
  const double range = high - low;
  if (range <= 0) return low;
  if (x >= low && x <= high) return x;
  const bool below = x < low;
  const double distance = below ? low - x : x - high;
  const double turns = std::floor(distance / range), rest = distance - turns * range;
  const bool even = std::fmod(turns, 2) == 0;
  return even == below ? low + rest : high - rest;
}

struct Grid {
  Sampling mode;
  Outside outside;
  bool align;

  double Low() const { return align ? 0 : -0.5; }
  double High(int64_t n) const { return static_cast<double>(n) - (align ? 1 : 0.5); }

  void Add(AxisTaps* taps, double at, double weight, int64_t n) const {
    if (outside == Outside::kReflection) at = std::round(Reflect(at, Low(), High(n)));
    if (outside == Outside::kZeros && !(at >= 0 && at < static_cast<double>(n))) return;
    const int64_t i =
        std::clamp<int64_t>(static_cast<int64_t>(std::clamp(at, -1.0, 1e15)), 0, n - 1);
    taps->index[taps->count] = i;
    taps->weight[taps->count++] = weight;
  }

  AxisTaps Taps(double normal, int64_t n) const {
    AxisTaps taps;
    const double extent = static_cast<double>(n);
    double x = align ? (normal + 1) / 2 * (extent - 1) : ((normal + 1) * extent - 1) / 2;
    if (!(x > -1e9)) x = -1e9;  // NaN too
    if (x > 1e9) x = 1e9;
    if (mode == Sampling::kNearest) x = std::nearbyint(x);
    // A cubic reads around its place, which may lie outside: its taps alone are moved inside.
    if (mode != Sampling::kCubic && (x < Low() || x > High(n))) {
      if (outside == Outside::kBorder) x = std::clamp(x, 0.0, extent - 1);
      if (outside == Outside::kReflection) x = Reflect(x, Low(), High(n));
    }
    if (mode == Sampling::kNearest) {
      Add(&taps, std::nearbyint(x), 1, n);
      return taps;
    }
    const double base = std::floor(x), t = x - base;
    if (mode == Sampling::kLinear) {
      Add(&taps, base, 1 - t, n);
      Add(&taps, base + 1, t, n);
      return taps;
    }
    constexpr double a = -0.75;
    const double d[4] = {t + 1, t, 1 - t, 2 - t};
    for (int i = 0; i < 4; ++i) {
      const double w = d[i] <= 1 ? ((a + 2) * d[i] - (a + 3)) * d[i] * d[i] + 1
                                 : ((a * d[i] - 5 * a) * d[i] + 8 * a) * d[i] - 4 * a;
      Add(&taps, base + i - 1, w, n);
    }
    return taps;
  }
};

Status ReadGrid(const Attributes& a, Grid* g) {
  const auto mode = a.String("mode", "linear"), outside = a.String("padding_mode", "zeros");
  if (mode == "nearest") {
    g->mode = Sampling::kNearest;
  } else if (mode == "linear" || mode == "bilinear") {
    g->mode = Sampling::kLinear;
  } else if (mode == "cubic" || mode == "bicubic") {
    g->mode = Sampling::kCubic;
  } else {
    return InvalidArgument("unknown mode '" + std::string(mode) +
                           "'; expected linear, nearest or cubic");
  }
  if (outside == "zeros") {
    g->outside = Outside::kZeros;
  } else if (outside == "border") {
    g->outside = Outside::kBorder;
  } else if (outside == "reflection") {
    g->outside = Outside::kReflection;
  } else {
    return InvalidArgument("unknown padding_mode '" + std::string(outside) +
                           "'; expected zeros, border or reflection");
  }
  g->align = a.Int("align_corners", 0) != 0;
  return OkStatus();
}

template <typename T>
void SampleGrid(const OpContext& c, const Grid& g) {
  const TensorView &x = c.inputs[0], &grid = c.inputs[1], &y = c.outputs[0];
  const int spatial = x.dims.rank() - 2;
  const int64_t channels = x.dims[1], plane = x.dims.count(2, x.dims.rank());
  const int64_t points = y.dims.count(2, y.dims.rank());
  For(c, x.dims[0] * points, std::max<int64_t>(1, 2048 / channels),
      [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
          const int64_t image = p / points, point = p % points;
          AxisTaps taps[3];  // depth, height, width; missing ones are one tap at 0
          for (int d = 0; d < 3; ++d) {
            const int axis = d - (3 - spatial);
            if (axis < 0) {
              taps[d].count = 1;
              taps[d].index[0] = 0;
              taps[d].weight[0] = 1;
              continue;
            }
            // The grid names the last axis first.
            const double at = FloatAt(grid, p * spatial + (spatial - 1 - axis));
            taps[d] = g.Taps(at, x.dims[static_cast<size_t>(axis + 2)]);
          }
          const int64_t h = spatial >= 2 ? x.dims[static_cast<size_t>(x.dims.rank() - 2)] : 1;
          const int64_t w = x.dims.back();
          for (int64_t ch = 0; ch < channels; ++ch) {
            const T* from = x.as<const T>() + (image * channels + ch) * plane;
            double sum = 0;
            for (int i = 0; i < taps[0].count; ++i) {
              for (int j = 0; j < taps[1].count; ++j) {
                const T* row = from + (taps[0].index[i] * h + taps[1].index[j]) * w;
                const double weight = taps[0].weight[i] * taps[1].weight[j];
                for (int k = 0; k < taps[2].count; ++k)
                  sum += weight * taps[2].weight[k] * static_cast<double>(row[taps[2].index[k]]);
              }
            }
            y.as<T>()[(image * channels + ch) * points + point] = static_cast<T>(sum);
          }
        }
      });
}

Status GridSampleWide(const OpContext& c) {
  Grid g;
  SLIPWAY_RETURN_IF_ERROR(ReadGrid(*c.attributes, &g));
  const DType t = c.inputs[0].dtype, u = c.inputs[1].dtype;
  if (u != DType::kFloat32 && u != DType::kFloat64) return NoKernel(u);
  if (!Dispatch<float, double>(t, [&]<typename T>() { SampleGrid<T>(c, g); })) return NoKernel(t);
  return OkStatus();
}

// --- AffineGrid ---

template <typename T>
void MakeGrid(const OpContext& c, bool align) {
  const TensorView &theta = c.inputs[0], &y = c.outputs[0];
  const int spatial = y.dims.rank() - 2;
  const int64_t points = y.dims.count(1, spatial + 1);
  For(c, y.dims[0] * points, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      double base[3] = {0, 0, 0};  // x, y, z
      int64_t rest = p % points;
      for (int d = spatial - 1; d >= 0; --d) {
        const int64_t n = y.dims[static_cast<size_t>(d + 1)], i = rest % n;
        rest /= n;
        const double at = static_cast<double>(i), count = static_cast<double>(n);
        // A single aligned element lies at -1, where counting steps would start.
        base[spatial - 1 - d] =
            align ? (n > 1 ? 2 * at / (count - 1) - 1 : -1) : (2 * at + 1) / count - 1;
      }
      for (int r = 0; r < spatial; ++r) {
        const T* row = theta.as<const T>() + ((p / points) * spatial + r) * (spatial + 1);
        double sum = static_cast<double>(row[spatial]);
        for (int k = 0; k < spatial; ++k) sum += static_cast<double>(row[k]) * base[k];
        y.as<T>()[p * spatial + r] = static_cast<T>(sum);
      }
    }
  });
}

Status AffineGridWide(const OpContext& c) {
  const bool align = c.attributes->Int("align_corners", 0) != 0;
  const DType t = c.inputs[0].dtype;
  if (!Dispatch<float, double>(t, [&]<typename T>() { MakeGrid<T>(c, align); })) return NoKernel(t);
  return OkStatus();
}

// --- RoiAlign (He et al., arXiv:1703.06870) ---

struct Bilinear {
  int64_t at[4];
  double weight[4];
  bool inside = false;
};

Bilinear At(double y, double x, int64_t h, int64_t w) {
  Bilinear b;
  const double height = static_cast<double>(h), width = static_cast<double>(w);
  if (!(y >= -1 && y <= height && x >= -1 && x <= width)) return b;
  y = std::max(y, 0.0);
  x = std::max(x, 0.0);
  int64_t y0 = static_cast<int64_t>(y), x0 = static_cast<int64_t>(x);
  int64_t y1 = y0 + 1, x1 = x0 + 1;
  if (y0 >= h - 1) {
    y0 = y1 = h - 1;
    y = static_cast<double>(y0);
  }
  if (x0 >= w - 1) {
    x0 = x1 = w - 1;
    x = static_cast<double>(x0);
  }
  const double ty = y - static_cast<double>(y0), tx = x - static_cast<double>(x0);
  b.at[0] = y0 * w + x0;
  b.at[1] = y0 * w + x1;
  b.at[2] = y1 * w + x0;
  b.at[3] = y1 * w + x1;
  b.weight[0] = (1 - ty) * (1 - tx);
  b.weight[1] = (1 - ty) * tx;
  b.weight[2] = ty * (1 - tx);
  b.weight[3] = ty * tx;
  b.inside = true;
  return b;
}

constexpr double kMostSamples = 4096;  // per bin and axis

struct Roi {
  double start[2], bin[2];  // y, x
  int64_t samples[2];
};

template <typename T>
Status AlignRois(const OpContext& c) {
  const TensorView &x = c.inputs[0], &rois = c.inputs[1], &batch = c.inputs[2], &y = c.outputs[0];
  const Attributes& a = *c.attributes;
  const bool half = a.String("coordinate_transformation_mode", "half_pixel") == "half_pixel";
  const bool max = a.String("mode", "avg") == "max";
  const double scale = static_cast<double>(a.Float("spatial_scale", 1));
  const int64_t sampling = a.Int("sampling_ratio", 0);
  const int64_t channels = x.dims[1], h = x.dims[2], w = x.dims[3], oh = y.dims[2], ow = y.dims[3];
  std::unique_ptr<Roi[]> boxes;
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(y.dims[0], &boxes));
  for (int64_t r = 0; r < y.dims[0]; ++r) {
    const int64_t image = IndexAt(batch, r);
    if (image < 0 || image >= x.dims[0]) {
      return InvalidArgument("batch_indices[" + std::to_string(r) + "] is " +
                             std::to_string(image) + " for a batch of " +
                             std::to_string(x.dims[0]));
    }
    for (int d = 0; d < 2; ++d) {
      const double first = FloatAt(rois, r * 4 + 1 - d) * scale - (half ? 0.5 : 0);
      const double last = FloatAt(rois, r * 4 + 3 - d) * scale - (half ? 0.5 : 0);
      double extent = last - first;
      if (!half) extent = std::max(extent, 1.0);
      const double bins = static_cast<double>(d == 0 ? oh : ow);
      const double samples =
          sampling > 0 ? static_cast<double>(sampling) : std::ceil(extent / bins);
      if (!(samples <= kMostSamples)) {
        return InvalidArgument("roi " + std::to_string(r) + " needs more than " +
                               std::to_string(static_cast<int>(kMostSamples)) +
                               " samples a bin; check rois and spatial_scale");
      }
      boxes[r].start[d] = first;
      boxes[r].bin[d] = extent / bins;
      boxes[r].samples[d] = std::max<int64_t>(static_cast<int64_t>(samples), 0);
    }
  }
  For(c, y.dims[0] * oh * ow, 8, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t r = p / (oh * ow), i = p / ow % oh, j = p % ow;
      const Roi& roi = boxes[r];
      const int64_t count = roi.samples[0] * roi.samples[1];
      const T* image = x.as<const T>() + IndexAt(batch, r) * channels * h * w;
      T* to = y.as<T>() + (r * channels * oh + i) * ow + j;
      for (int64_t ch = 0; ch < channels; ++ch) {
        const T* plane = image + ch * h * w;
        double sum = 0, top = -std::numeric_limits<double>::infinity();
        for (int64_t sy = 0; sy < roi.samples[0]; ++sy) {
          const double py = roi.start[0] + roi.bin[0] * (static_cast<double>(i) +
                                                         (static_cast<double>(sy) + 0.5) /
                                                             static_cast<double>(roi.samples[0]));
          for (int64_t sx = 0; sx < roi.samples[1]; ++sx) {
            const double px = roi.start[1] + roi.bin[1] * (static_cast<double>(j) +
                                                           (static_cast<double>(sx) + 0.5) /
                                                               static_cast<double>(roi.samples[1]));
            const Bilinear b = At(py, px, h, w);
            // The specification's maximum is over the weighted corners.
            for (int k = 0; k < 4; ++k) {
              const double v = b.inside ? b.weight[k] * static_cast<double>(plane[b.at[k]]) : 0.0;
              sum += v;
              top = std::max(top, v);
            }
          }
        }
        const double value =
            max ? (count > 0 ? top : 0) : sum / static_cast<double>(std::max<int64_t>(count, 1));
        to[ch * oh * ow] = static_cast<T>(value);
      }
    }
  });
  return OkStatus();
}

Status RoiAlignWide(const OpContext& c) {
  const DType t = c.inputs[0].dtype, u = c.inputs[1].dtype;
  if (u != DType::kFloat32 && u != DType::kFloat64) return NoKernel(u);
  Status status = NoKernel(t);
  Dispatch<float, double>(t, [&]<typename T>() { status = AlignRois<T>(c); });
  return status;
}

// --- MaxRoiPool (Girshick, arXiv:1504.08083) ---

template <typename T>
Status PoolRois(const OpContext& c) {
  const TensorView &x = c.inputs[0], &rois = c.inputs[1], &y = c.outputs[0];
  // Coordinates and bins are computed in the data's type: at ties another type rounds otherwise.
  const T scale = static_cast<T>(c.attributes->Float("spatial_scale", 1));
  const int64_t channels = x.dims[1], h = x.dims[2], w = x.dims[3], oh = y.dims[2], ow = y.dims[3];
  for (int64_t r = 0; r < y.dims[0]; ++r) {
    for (int64_t i = 0; i < 5; ++i) {
      const double v = FloatAt(rois, r * 5 + i);
      const bool good =
          i == 0 ? v >= 0 && v < static_cast<double>(x.dims[0]) : std::fabs(v * static_cast<double>(scale)) < 1e9;
      if (!good) {
        return InvalidArgument("rois[" + std::to_string(r) + "] holds " + std::to_string(v) +
                               ", which is no image of the batch or no coordinate");
      }
    }
  }
  For(c, y.dims[0] * channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t r = p / channels, ch = p % channels;
      auto corner = [&](int64_t i) {
        return static_cast<int64_t>(std::round(static_cast<T>(FloatAt(rois, r * 5 + i)) * scale));
      };
      const int64_t x1 = corner(1), y1 = corner(2);
      const T height = static_cast<T>(std::max<int64_t>(corner(4) - y1 + 1, 1)),
              width = static_cast<T>(std::max<int64_t>(corner(3) - x1 + 1, 1));
      const T* plane =
          x.as<const T>() + (static_cast<int64_t>(FloatAt(rois, r * 5)) * channels + ch) * h * w;
      auto range = [](T bin, int64_t i, int64_t start, int64_t limit, int64_t* lo,
                      int64_t* hi) {
        const T at = static_cast<T>(i);
        *lo = std::clamp<int64_t>(static_cast<int64_t>(std::floor(at * bin)) + start, 0, limit);
        *hi =
            std::clamp<int64_t>(static_cast<int64_t>(std::ceil((at + 1) * bin)) + start, 0, limit);
      };
      for (int64_t i = 0; i < oh; ++i) {
        int64_t top, bottom;
        range(height / static_cast<T>(oh), i, y1, h, &top, &bottom);
        for (int64_t j = 0; j < ow; ++j) {
          int64_t left, right;
          range(width / static_cast<T>(ow), j, x1, w, &left, &right);
          T best = top < bottom && left < right ? plane[top * w + left] : T{0};
          for (int64_t a = top; a < bottom; ++a) {
            for (int64_t b = left; b < right; ++b) best = std::max(best, plane[a * w + b]);
          }
          y.as<T>()[(p * oh + i) * ow + j] = best;
        }
      }
    }
  });
  return OkStatus();
}

Status MaxRoiPoolWide(const OpContext& c) {
  const DType t = c.inputs[0].dtype;
  if (c.inputs[1].dtype != t) return Unsupported("rois must have X's element type");
  Status status = NoKernel(t);
  Dispatch<float, double>(t, [&]<typename T>() { status = PoolRois<T>(c); });
  return status;
}

// --- DeformConv (Zhu et al., arXiv:1811.11168): the matrix product of a convolution whose
// windows are sampled where offset says ---

template <typename T>
void Deform(const OpContext& c, const Window& win) {
  const TensorView &x = c.inputs[0], &weight = c.inputs[1], &y = c.outputs[0];
  const int64_t groups = c.attributes->Int("group", 1),
                offset_groups = c.attributes->Int("offset_group", 1);
  const int64_t channels = x.dims[1], h = x.dims[2], w = x.dims[3];
  const int64_t out_channels = y.dims[1], points = y.dims[2] * y.dims[3], ow = y.dims[3];
  const int64_t taps = win.kernel[1] * win.kernel[2], kw = win.kernel[2];
  const int64_t in_group = channels / groups, out_group = out_channels / groups;
  const int64_t per_offset = channels / offset_groups, depth = in_group * taps;
  const T* offset = c.inputs[2].as<const T>();
  const T* bias = c.Has(3) ? c.inputs[3].as<const T>() : nullptr;
  const T* mask = c.Has(4) ? c.inputs[4].as<const T>() : nullptr;
  TiledGemm<T, T>(
      c, x.dims[0] * groups, out_group, points, depth,
      [&](int64_t b, int64_t i, int64_t k, int n, T* to) {
        const T* from = weight.as<const T>() + ((b % groups) * out_group + i) * depth + k;
        std::copy(from, from + n, to);
      },
      [&](int64_t b, int64_t j, int n, int64_t k, int kn, T* to) {
        const int64_t image = b / groups;
        for (int r = 0; r < kn; ++r) {
          const int64_t channel = (b % groups) * in_group + (k + r) / taps, tap = (k + r) % taps;
          const T* plane = x.as<const T>() + (image * channels + channel) * h * w;
          // Offsets [image, offset group, tap, (y, x), point].
          const int64_t which = (image * offset_groups + channel / per_offset) * taps + tap;
          const T *dy = offset + which * 2 * points, *dx = dy + points;
          const T* m = mask ? mask + which * points : nullptr;
          for (int col = 0; col < n; ++col) {
            const int64_t p = j + col, oy = p / ow, ox = p % ow;
            const double py = static_cast<double>(oy * win.stride[1] - win.pad_begin[1] +
                                                  tap / kw * win.dilation[1]) +
                              static_cast<double>(dy[p]);
            const double px = static_cast<double>(ox * win.stride[2] - win.pad_begin[2] +
                                                  tap % kw * win.dilation[2]) +
                              static_cast<double>(dx[p]);
            double v = 0;
            if (py > -1 && px > -1 && py < static_cast<double>(h) && px < static_cast<double>(w)) {
              const double fy = std::floor(py), fx = std::floor(px);
              const int64_t y0 = static_cast<int64_t>(fy), x0 = static_cast<int64_t>(fx);
              const double ty = py - fy, tx = px - fx;
              auto add = [&](int64_t a, int64_t e, double weight_here) {
                if (a >= 0 && a < h && e >= 0 && e < w)
                  v += weight_here * static_cast<double>(plane[a * w + e]);
              };
              add(y0, x0, (1 - ty) * (1 - tx));
              add(y0, x0 + 1, (1 - ty) * tx);
              add(y0 + 1, x0, ty * (1 - tx));
              add(y0 + 1, x0 + 1, ty * tx);
            }
            if (m) v *= static_cast<double>(m[p]);
            to[r * kTile + col] = static_cast<T>(v);
          }
        }
      },
      [&](int64_t b, int64_t i, int64_t j, int n, const T* row) {
        const int64_t channel = (b % groups) * out_group + i;
        T* to = y.as<T>() + ((b / groups) * out_channels + channel) * points + j;
        const T add = bias ? bias[channel] : T{0};
        for (int r = 0; r < n; ++r) to[r] = row[r] + add;
      });
}

Status DeformConvWide(const OpContext& c) {
  const Dims& w = c.inputs[1].dims;
  if (w.rank() != 4) return Unsupported("only two spatial dimensions are supported");
  SLIPWAY_ASSIGN_OR_RETURN(const Window win,
                           ResolveWindow(*c.attributes, c.inputs[0].dims, c.outputs[0].dims,
                                         std::span<const int64_t>(w).subspan(2)));
  const DType t = c.inputs[0].dtype;
  for (size_t i = 1; i < c.inputs.size(); ++i) {
    if (c.Has(i) && c.inputs[i].dtype != t)
      return Unsupported("all inputs must have one element type");
  }
  const Dims &x = c.inputs[0].dims, &y = c.outputs[0].dims;
  const int64_t groups = c.attributes->Int("group", 1),
                offset_groups = c.attributes->Int("offset_group", 1);
  const int64_t places = offset_groups * win.KernelCount() * win.OutCount() * x[0];
  if (groups < 1 || offset_groups < 1 || x[1] % groups != 0 || w[0] % groups != 0 ||
      x[1] % offset_groups != 0 || w[1] * groups != x[1] || y[0] != x[0] || y[1] != w[0] ||
      c.inputs[2].count() != 2 * places || (c.Has(3) && c.inputs[3].count() != w[0]) ||
      (c.Has(4) && c.inputs[4].count() != places)) {
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + ", offset " +
                           c.inputs[2].dims.ToString() + " and the groups do not fit together");
  }
  if (!Dispatch<float, double>(t, [&]<typename T>() { Deform<T>(c, win); })) return NoKernel(t);
  return OkStatus();
}

}  // namespace

Status OnnxGridSample(const OpContext& c) {
  const Dims& d = c.inputs[0].dims;
  if (d.rank() < 3 || d.rank() > 5) return Unsupported("X must have rank 3, 4 or 5");
  const Dims &g = c.inputs[1].dims, &y = c.outputs[0].dims;
  if (g.rank() != d.rank() || y.rank() != d.rank() || g[0] != d[0] || y[0] != d[0] ||
      y[1] != d[1] || g.back() != d.rank() - 2 ||
      y.count(2, y.rank()) != g.count(1, g.rank() - 1)) {
    return InvalidArgument("grid " + g.ToString() + " does not fit X " + d.ToString());
  }
  if (c.outputs[0].count() == 0) return OkStatus();
  if (d.count() == 0) return InvalidArgument("X is empty and cannot be sampled");
  return RunAny(c, &GridSampleWide);
}

Status OnnxAffineGrid(const OpContext& c) {
  const Dims& y = c.outputs[0].dims;
  const int spatial = y.rank() - 2;
  if (spatial < 2 || spatial > 3 || y.back() != spatial ||
      c.inputs[0].count() != y[0] * spatial * (spatial + 1)) {
    return InvalidArgument("theta " + c.inputs[0].dims.ToString() + " does not fit the grid " +
                           y.ToString());
  }
  return y.count() == 0 ? OkStatus() : RunAny(c, &AffineGridWide);
}

namespace {

// X [N, C, H, W], rois [R, columns], Y [R, C, ...].
Status CheckRois(const OpContext& c, int64_t columns) {
  const Dims &x = c.inputs[0].dims, &rois = c.inputs[1].dims, &y = c.outputs[0].dims;
  if (x.rank() == 4 && y.rank() == 4 && y[1] == x[1] && rois.count() == y[0] * columns)
    return OkStatus();
  return InvalidArgument("rois " + rois.ToString() + " do not fit X " + x.ToString());
}

}  // namespace

Status OnnxRoiAlign(const OpContext& c) {
  SLIPWAY_RETURN_IF_ERROR(CheckRois(c, 4));
  if (c.inputs[2].count() != c.outputs[0].dims[0])
    return InvalidArgument("batch_indices must have one element per roi");
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[2], "batch_indices"));
  if (c.outputs[0].count() == 0) return OkStatus();
  if (c.inputs[0].count() == 0) return InvalidArgument("X is empty and cannot be sampled");
  return RunAny(c, &RoiAlignWide);
}

Status OnnxMaxRoiPool(const OpContext& c) {
  SLIPWAY_RETURN_IF_ERROR(CheckRois(c, 5));
  if (c.outputs[0].count() == 0) return OkStatus();
  return RunAny(c, &MaxRoiPoolWide);
}

Status OnnxDeformConv(const OpContext& c) {
  if (c.outputs[0].count() == 0) return OkStatus();
  return RunAny(c, &DeformConvWide);
}

Status ShapeAffineGrid(const OpContext& c, std::span<Dims> outputs) {
  const TensorView &theta = c.inputs[0], &size = c.inputs[1];
  const int64_t spatial = size.count() - 2;
  if (theta.dims.rank() != 3 || (spatial != 2 && spatial != 3))
    return InvalidArgument("theta must be [N, 2, 3] with a size of 4 numbers or [N, 3, 4] with 5");
  outputs[0] = {theta.dims[0]};
  for (int64_t i = 0; i < spatial; ++i) {
    int64_t n;
    SLIPWAY_RETURN_IF_ERROR(SizeAt(size, i + 2, 0, "size", &n));
    outputs[0].push_back(n);
  }
  outputs[0].push_back(spatial);
  return OkStatus();
}

}  // namespace slipway::ops
