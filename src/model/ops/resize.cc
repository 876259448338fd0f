// Resize (opset 19 and later): nearest, linear and cubic over any axes, with antialiasing.
// Coordinates and weights in float64, as ONNX's own reference. QResize is the same on codes.

#include "model/ops/resize.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include "model/ops/dispatch.h"
#include "model/ops/quantized.h"

namespace slipway::ops {
namespace {

enum class Mode { kNearest, kLinear, kCubic };
enum class Coordinates {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kCropAndResize
};
enum class Nearest { kPreferFloor, kPreferCeil, kFloor, kCeil };

template <typename E>
struct Choice {
  const char* name;
  E value;
};

template <typename E, size_t N>
Status Choose(const Attributes& a, std::string_view attribute, std::string_view fallback,
              const Choice<E> (&choices)[N], E* out) {
  const auto name = a.String(attribute, fallback);
  for (const auto& choice : choices) {
    if (name == choice.name) {
      *out = choice.value;
      return OkStatus();
    }
  }
  return InvalidArgument("unknown " + std::string(attribute) + " '" + std::string(name) + "'");
}

constexpr Choice<Mode> kModes[] = {
    {"nearest", Mode::kNearest}, {"linear", Mode::kLinear}, {"cubic", Mode::kCubic}};
constexpr Choice<Coordinates> kCoordinates[] = {
    {"half_pixel", Coordinates::kHalfPixel},
    {"half_pixel_symmetric", Coordinates::kHalfPixelSymmetric},
    {"pytorch_half_pixel", Coordinates::kPytorchHalfPixel},
    {"align_corners", Coordinates::kAlignCorners},
    {"asymmetric", Coordinates::kAsymmetric},
    {"tf_crop_and_resize", Coordinates::kCropAndResize}};
constexpr Choice<Nearest> kNearest[] = {{"round_prefer_floor", Nearest::kPreferFloor},
                                        {"round_prefer_ceil", Nearest::kPreferCeil},
                                        {"floor", Nearest::kFloor},
                                        {"ceil", Nearest::kCeil}};

struct Axis {
  int64_t in = 1, out = 1, stride = 0;
  double scale = 1, roi_start = 0, roi_end = 1;
  bool identity = true;  // nothing happens along it
};

struct Plan {
  Mode mode;
  Coordinates coordinates;
  Nearest nearest;
  bool antialias, exclude_outside;
  double cubic_a, extrapolation;
  int rank = 0;
  Axis axes[kMaxRank];
};

double InputCoordinate(const Plan& p, const Axis& a, int64_t o) {
  const double x = static_cast<double>(o), in = static_cast<double>(a.in), width = a.scale * in;
  switch (p.coordinates) {
    case Coordinates::kHalfPixel:
      return (x + 0.5) / a.scale - 0.5;
    case Coordinates::kHalfPixelSymmetric:
      return in / 2 * (1 - static_cast<double>(a.out) / width) + (x + 0.5) / a.scale - 0.5;
    case Coordinates::kPytorchHalfPixel:
      return a.out == 1 ? -0.5 : (x + 0.5) / a.scale - 0.5;
    case Coordinates::kAlignCorners:
      return width == 1 || a.out == 1 ? 0 : x * (in - 1) / (width - 1);
    case Coordinates::kAsymmetric:
      return x / a.scale;
    case Coordinates::kCropAndResize: {
      const double extent = (a.roi_end - a.roi_start) * (in - 1);
      return a.roi_start * (in - 1) +
             (a.out > 1 ? x * extent / (static_cast<double>(a.out) - 1) : extent / 2);
    }
  }
  return 0;
}

// The filter at distance d, in input samples of the (for antialiasing: shrunk) grid.
double Filter(const Plan& p, double d) {
  d = std::fabs(d);
  if (p.mode == Mode::kLinear) return std::max(0.0, 1 - d);
  const double a = p.cubic_a;
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return 0;
}

// The taps of one output index along one axis: input indices [first, first + count) (clamped to the
// axis when read) and weights.
struct Taps {
  int64_t first = 0, count = 1;
  double center = 0, shrink = 1, norm = 1;
  bool direct = true;    // a single tap of weight 1
  bool outside = false;  // tf_crop_and_resize: take the extrapolation value
};

double Weight(const Plan& p, const Axis& a, const Taps& t, int64_t i) {
  if (t.direct) return 1;
  if (p.exclude_outside && (i < 0 || i >= a.in)) return 0;
  return Filter(p, (static_cast<double>(i) - t.center) * t.shrink) / t.norm;
}

Taps TapsOf(const Plan& p, const Axis& a, int64_t o) {
  Taps t;
  if (a.identity) {
    t.first = o;
    return t;
  }
  double x = InputCoordinate(p, a, o);
  const double last = static_cast<double>(a.in) - 1;
  if (p.coordinates == Coordinates::kCropAndResize && !(x >= 0 && x <= last)) {
    t.outside = true;
    return t;
  }
  x = std::clamp(x, -1e9, 1e15);  // hostile scales; indices are clamped to the axis below
  if (p.mode == Mode::kNearest) {
    double i = 0;
    switch (p.nearest) {
      case Nearest::kPreferFloor:
        i = std::ceil(x - 0.5);
        break;
      case Nearest::kPreferCeil:
        i = std::floor(x + 0.5);
        break;
      case Nearest::kFloor:
        i = std::floor(x);
        break;
      case Nearest::kCeil:
        i = std::ceil(x);
        break;
    }
    t.first = static_cast<int64_t>(std::clamp(i, 0.0, last));
    return t;
  }
  t.direct = false;
  t.center = x;
  t.shrink = p.antialias ? std::min(1.0, a.scale) : 1;
  const double reach = (p.mode == Mode::kLinear ? 1 : 2) / t.shrink;
  // Beyond the axis all taps read the same edge sample, so that far ones need no steps of their own
  // unless they are to be left out.
  t.first = static_cast<int64_t>(std::floor(x - reach)) + 1;
  t.count = static_cast<int64_t>(std::ceil(x + reach)) - t.first;
  t.count = std::max<int64_t>(t.count, 1);
  if (p.antialias || p.exclude_outside) {
    double sum = 0;
    for (int64_t i = t.first; i < t.first + t.count; ++i) sum += Weight(p, a, t, i);
    t.norm = sum != 0 ? sum : 1;
  }
  return t;
}

template <typename T>
double Interpolate(const Plan& p, const Taps* taps, const T* x, int d) {
  if (d == p.rank) return static_cast<double>(static_cast<Compute<T>>(*x));
  const Axis& a = p.axes[d];
  const Taps& t = taps[d];
  if (t.direct) return Interpolate(p, taps, x + t.first * a.stride, d + 1);
  double sum = 0;
  for (int64_t i = t.first; i < t.first + t.count; ++i) {
    const double w = Weight(p, a, t, i);
    if (w == 0) continue;
    sum += w * Interpolate(p, taps, x + std::clamp<int64_t>(i, 0, a.in - 1) * a.stride, d + 1);
  }
  return sum;
}

template <typename T>
T FromDouble(double v) {
  if constexpr (kIsFloat<T>) {
    return static_cast<T>(v);
  } else {  // as a cast to the integer type, without leaving its range
    using L = std::numeric_limits<T>;
    if (!(v > static_cast<double>(L::lowest()))) return L::lowest();
    if (v >= static_cast<double>(L::max())) return L::max();
    return static_cast<T>(v);
  }
}

template <typename T>
void Run(const OpContext& c, const Plan& p) {
  const T* x = c.inputs[0].as<const T>();
  T* y = c.outputs[0].as<T>();
  const int inner = p.rank - 1;
  const int64_t width = p.axes[inner].out, rows = c.outputs[0].count() / width;
  For(c, rows, std::max<int64_t>(1, 2048 / width), [&](int64_t begin, int64_t end) {
    Taps taps[kMaxRank];
    for (int64_t r = begin; r < end; ++r) {
      int64_t rest = r;
      bool row_outside = false;
      for (int d = inner - 1; d >= 0; --d) {
        taps[d] = TapsOf(p, p.axes[d], rest % p.axes[d].out);
        row_outside |= taps[d].outside;
        rest /= p.axes[d].out;
      }
      for (int64_t o = 0; o < width; ++o) {
        taps[inner] = TapsOf(p, p.axes[inner], o);
        T& to = y[r * width + o];
        if (row_outside || taps[inner].outside) {
          to = FromDouble<T>(p.extrapolation);
        } else if (p.mode == Mode::kNearest) {
          int64_t at = 0;
          for (int d = 0; d < p.rank; ++d) at += taps[d].first * p.axes[d].stride;
          to = x[at];
        } else {
          to = FromDouble<T>(Interpolate(p, taps, x, 0));
        }
      }
    }
  });
}

Status FillAxes(const OpContext& c, Plan* p) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  p->rank = x.dims.rank();
  if (y.dims.rank() != p->rank) return Internal("input and output have different ranks");
  int64_t stride = 1;
  for (int d = p->rank - 1; d >= 0; --d) {
    const size_t i = static_cast<size_t>(d);
    p->axes[d].in = x.dims[i];
    p->axes[d].out = y.dims[i];
    p->axes[d].stride = stride;
    p->axes[d].scale = static_cast<double>(y.dims[i]) / static_cast<double>(x.dims[i]);
    stride *= x.dims[i];
  }
  const auto axes = c.attributes->Ints("axes");
  const int64_t n = axes.empty() ? p->rank : static_cast<int64_t>(axes.size());
  const bool has_roi = c.Has(1) && c.inputs[1].count() > 0,
             has_scales = c.Has(2) && c.inputs[2].count() > 0;
  const bool has_sizes = c.Has(3) && c.inputs[3].count() > 0;
  if (has_scales && (c.inputs[2].dtype != DType::kFloat32 || c.inputs[2].count() != n)) {
    return InvalidArgument("scales must be float32, one for each axis");
  }
  if (has_sizes) {
    SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[3], "sizes"));
    if (c.inputs[3].count() != n) return InvalidArgument("sizes must have one value for each axis");
  }
  const bool crop = p->coordinates == Coordinates::kCropAndResize;
  if (crop && (!has_roi || c.inputs[1].count() != 2 * n)) {
    return InvalidArgument("tf_crop_and_resize needs roi with two values for each axis");
  }
  // keep_aspect_ratio_policy: one scale for all axes, from the wanted sizes.
  const auto policy = c.attributes->String("keep_aspect_ratio_policy", "stretch");
  double common = 0;
  if (has_sizes && policy != "stretch") {
    if (policy != "not_larger" && policy != "not_smaller") {
      return InvalidArgument("unknown keep_aspect_ratio_policy '" + std::string(policy) + "'");
    }
    for (int64_t i = 0; i < n; ++i) {
      int d;
      SLIPWAY_RETURN_IF_ERROR(
          NormalizeAxis(axes.empty() ? i : axes[static_cast<size_t>(i)], p->rank, &d));
      const double s =
          static_cast<double>(IndexAt(c.inputs[3], i)) / static_cast<double>(p->axes[d].in);
      common = i == 0 ? s : policy == "not_larger" ? std::min(common, s) : std::max(common, s);
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    int d;
    SLIPWAY_RETURN_IF_ERROR(
        NormalizeAxis(axes.empty() ? i : axes[static_cast<size_t>(i)], p->rank, &d));
    Axis& a = p->axes[d];
    if (has_scales) {
      a.scale = static_cast<double>(c.inputs[2].as<const float>()[i]);
    } else if (common > 0) {
      a.scale = common;
    }
    if (!(a.scale > 1e-6 && a.scale < 1e9))
      return InvalidArgument("scale " + std::to_string(a.scale) + " is out of range");
    if (crop) {
      auto roi = [&](int64_t k) {
        TensorView one = c.inputs[1];
        one.data = one.as<uint8_t>() + DTypeBytes(one.dtype, k);
        return ScalarAt(one);
      };
      a.roi_start = roi(i);
      a.roi_end = roi(n + i);
    }
    a.identity = a.in == a.out && a.scale == 1 && (!crop || (a.roi_start == 0 && a.roi_end == 1));
  }
  for (int d = 0; d < p->rank; ++d) {
    if (p->axes[d].identity && p->axes[d].in != p->axes[d].out)
      return Internal("an axis changes that is not resized");
  }
  return OkStatus();
}

Result<Plan> ReadPlan(const OpContext& c) {
  Plan p{};
  const Attributes& a = *c.attributes;
  SLIPWAY_RETURN_IF_ERROR(Choose(a, "mode", "nearest", kModes, &p.mode));
  SLIPWAY_RETURN_IF_ERROR(
      Choose(a, "coordinate_transformation_mode", "half_pixel", kCoordinates, &p.coordinates));
  SLIPWAY_RETURN_IF_ERROR(Choose(a, "nearest_mode", "round_prefer_floor", kNearest, &p.nearest));
  p.antialias = a.Int("antialias", 0) != 0 && p.mode != Mode::kNearest;
  p.exclude_outside = a.Int("exclude_outside", 0) != 0;
  p.cubic_a = a.Float("cubic_coeff_a", -0.75f);
  p.extrapolation = a.Float("extrapolation_value", 0);
  SLIPWAY_RETURN_IF_ERROR(FillAxes(c, &p));
  return p;
}

// The axis whose sums come last.
int LastAxis(const Plan& p) {
  int last = p.rank - 1;
  while (last > 0 && p.axes[last].identity) --last;
  return last;
}

// Over all axes but `last`: the sum of w * (x - zero) at x.
template <typename X>
float Across(const Plan& p, const Taps* taps, const X* x, int last, int32_t zero) {
  float sum = 0;
  int64_t at[kMaxRank] = {};
  for (;;) {
    float w = 1;
    const X* from = x;
    for (int d = 0; d < p.rank; ++d) {
      if (d == last) continue;
      const int64_t i = taps[d].first + at[d];
      w *= static_cast<float>(Weight(p, p.axes[d], taps[d], i));
      from += std::clamp<int64_t>(i, 0, p.axes[d].in - 1) * p.axes[d].stride;
    }
    sum += w * static_cast<float>(static_cast<int32_t>(*from) - zero);
    int d = p.rank - 1;
    for (; d >= 0; --d) {
      if (d == last) continue;
      if (++at[d] < taps[d].count) break;
      at[d] = 0;
    }
    if (d < 0) return sum;
  }
}

template <typename X, typename Y>
void RunCodes(const OpContext& c, const Plan& p, int32_t zero, const Requantizer& to) {
  const X* x = c.inputs[0].as<const X>();
  Y* y = c.outputs[0].as<Y>();
  const float multiplier = c.attributes->Float("multiplier", 1);
  const int last = LastAxis(p);
  const Axis& axis = p.axes[last];
  const int inner = p.rank - 1;
  const int64_t width = p.axes[inner].out, rows = c.outputs[0].count() / width;
  For(c, rows, std::max<int64_t>(1, 2048 / width), [&](int64_t begin, int64_t end) {
    Taps taps[kMaxRank];
    for (int64_t o = begin * width; o < end * width; ++o) {
      taps[inner] = TapsOf(p, p.axes[inner], o % width);
      int64_t rest = o / width;
      for (int d = inner - 1; d >= 0 && o % width == 0; --d) {
        taps[d] = TapsOf(p, p.axes[d], rest % p.axes[d].out);
        rest /= p.axes[d].out;
      }
      const Taps& t = taps[last];
      float v = 0;
      for (int64_t i = t.first; i < t.first + t.count; ++i) {
        const int64_t at = std::clamp<int64_t>(i, 0, axis.in - 1);
        v += static_cast<float>(Weight(p, axis, t, i)) *
             Across(p, taps, x + at * axis.stride, last, zero);
      }
      y[o] = to.Convert<Y>(v * multiplier);
    }
  });
}

}  // namespace

Status OnnxResize(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  if (x.dims.rank() < 1 || x.count() == 0)
    return InvalidArgument("cannot resize " + x.dims.ToString());
  SLIPWAY_ASSIGN_OR_RETURN(const Plan p, ReadPlan(c));
  if (!DispatchNumber(x.dtype, [&]<typename T>() { Run<T>(c, p); })) return NoKernel(x.dtype);
  return OkStatus();
}

Status SlipwayQResize(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  SLIPWAY_ASSIGN_OR_RETURN(const Requantizer to, MakeRequantizer(*c.attributes, y.dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t zero,
                           ReadZeroPoint(*c.attributes, "x_zero_point", x.dtype));
  if (y.count() == 0) return OkStatus();
  if (x.dims.rank() < 1 || x.count() == 0)
    return InvalidArgument("cannot resize " + x.dims.ToString());
  SLIPWAY_ASSIGN_OR_RETURN(const Plan p, ReadPlan(c));
  if (p.coordinates == Coordinates::kCropAndResize)
    return InvalidArgument("QResize has no tf_crop_and_resize");
  bool done = false;
  Dispatch<uint8_t, int8_t>(x.dtype, [&]<typename X>() {
    done = Dispatch<uint8_t, int8_t, float>(y.dtype,
                                            [&]<typename Y>() { RunCodes<X, Y>(c, p, zero, to); });
  });
  return done ? OkStatus() : NoKernel(x.dtype);
}

Result<ResizeTables> TabulateResize(const OpContext& c, int64_t most) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  if (x.dims.rank() < 1 || x.count() == 0 || y.count() == 0)
    return InvalidArgument("cannot resize " + x.dims.ToString() + " to " + y.dims.ToString());
  SLIPWAY_ASSIGN_OR_RETURN(const Plan p, ReadPlan(c));
  if (p.coordinates == Coordinates::kCropAndResize) return Unsupported("tf_crop_and_resize");
  ResizeTables tables;
  tables.nearest = p.mode == Mode::kNearest;
  for (int d = 0; d < p.rank; ++d) {
    const Axis& a = p.axes[d];
    ResizeAxis& to = tables.axes.emplace_back();
    to.in = a.in;
    to.out = a.out;
    to.identity = a.identity;
    if (a.identity) continue;
    if (!tables.nearest) {  // as TapsOf has it
      const double reach =
          (p.mode == Mode::kLinear ? 1 : 2) / (p.antialias ? std::min(1.0, a.scale) : 1);
      to.taps = static_cast<int64_t>(2 * reach) + 2;
    }
    if (a.out > most / to.taps)
      return Unsupported("axis " + std::to_string(d) + " with " + std::to_string(a.out) +
                         " positions of " + std::to_string(to.taps) + " inputs");
    std::vector<Taps> all(static_cast<size_t>(a.out));
    to.taps = 1;
    for (int64_t o = 0; o < a.out; ++o) {
      Taps& t = all[static_cast<size_t>(o)] = TapsOf(p, a, o);
      to.taps = std::max(to.taps, t.count);
    }
    for (const Taps& t : all) {
      for (int64_t i = t.first; i < t.first + to.taps; ++i) {
        const bool inside = i < t.first + t.count;
        to.index.push_back(std::clamp<int64_t>(i, 0, a.in - 1));
        if (!tables.nearest)
          to.weight.push_back(inside ? static_cast<float>(Weight(p, a, t, i)) : 0.0f);
      }
    }
  }
  return tables;
}

}  // namespace slipway::ops
