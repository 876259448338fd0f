#include "model/ops/window.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace slipway::ops {
namespace {

constexpr int64_t kLimit = int64_t{1} << 31;

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }  // b > 0

// Copies the attribute `name` (or `fallback` when absent) to the last `spatial` entries of to[3].
Status ReadList(std::string_view name, std::span<const int64_t> list, int spatial, int64_t low,
                int64_t* to) {
  if (list.empty()) return OkStatus();
  if (list.size() != static_cast<size_t>(spatial)) {
    return InvalidArgument(std::string(name) + " has " + std::to_string(list.size()) +
                           " values for " + std::to_string(spatial) + " spatial dimensions");
  }
  for (int i = 0; i < spatial; ++i) {
    const int64_t v = list[static_cast<size_t>(i)];
    if (v < low || v >= kLimit) {
      return InvalidArgument(std::string(name) + " value " + std::to_string(v) +
                             " is out of range");
    }
    to[3 - spatial + i] = v;
  }
  return OkStatus();
}

Status Common(const Attributes& a, const Dims& x, const Dims& y, std::span<const int64_t> kernel,
              Window* w) {
  w->spatial = x.rank() - 2;
  if (w->spatial < 1 || w->spatial > 3 || y.rank() != x.rank()) {
    return InvalidArgument("expects X and Y of equal rank 3, 4 or 5, got " + x.ToString() +
                           " and " + y.ToString());
  }
  const int first = 3 - w->spatial;
  for (int i = 0; i < w->spatial; ++i) {
    w->in[first + i] = x[static_cast<size_t>(i + 2)];
    w->out[first + i] = y[static_cast<size_t>(i + 2)];
  }
  if (kernel.empty()) kernel = a.Ints("kernel_shape");
  if (kernel.empty()) return InvalidArgument("kernel_shape is missing");
  SLIPWAY_RETURN_IF_ERROR(ReadList("kernel_shape", kernel, w->spatial, 1, w->kernel));
  int64_t taps = 1;
  for (int64_t k : w->kernel) taps = k > kMaxTaps ? kMaxTaps + 1 : std::min(taps * k, kMaxTaps + 1);
  if (taps > kMaxTaps) {
    return InvalidArgument("kernel_shape makes a window of more than " + std::to_string(kMaxTaps) +
                           " taps");
  }
  SLIPWAY_RETURN_IF_ERROR(ReadList("strides", a.Ints("strides"), w->spatial, 1, w->stride));
  return ReadList("dilations", a.Ints("dilations"), w->spatial, 1, w->dilation);
}

Status ExplicitPads(const Attributes& a, Window* w) {
  const auto pads = a.Ints("pads");
  if (pads.empty()) return OkStatus();
  const size_t n = static_cast<size_t>(w->spatial);
  if (pads.size() != 2 * n) {
    return InvalidArgument("pads has " + std::to_string(pads.size()) + " values for " +
                           std::to_string(n) + " spatial dimensions");
  }
  SLIPWAY_RETURN_IF_ERROR(ReadList("pads", pads.first(n), w->spatial, 1 - kLimit, w->pad_begin));
  return ReadList("pads", pads.last(n), w->spatial, 1 - kLimit, w->pad_end);
}

Status UnknownAutoPad(std::string_view name) {
  return InvalidArgument("unknown auto_pad '" + std::string(name) +
                         "'; expected NOTSET, VALID, SAME_UPPER or SAME_LOWER");
}

void SplitPad(int64_t total, bool upper, int d, Window* w) {
  total = std::max<int64_t>(total, 0);
  const int64_t small = total / 2, large = total - small;
  w->pad_begin[d] = upper ? small : large;
  w->pad_end[d] = upper ? large : small;
}

}  // namespace

bool Window::IsPointwise() const {
  for (int d = 0; d < 3; ++d) {
    if (kernel[d] != 1 || stride[d] != 1 || pad_begin[d] != 0 || in[d] != out[d]) return false;
  }
  return true;
}

void Window::ValidRange(int d, int64_t k, int64_t* lo, int64_t* hi) const {
  const int64_t offset = pad_begin[d] - k * dilation[d];  // input = o * stride - offset
  const int64_t first = -FloorDivide(-offset, stride[d]);
  const int64_t last = FloorDivide(in[d] - 1 + offset, stride[d]) + 1;
  *lo = std::clamp<int64_t>(first, 0, out[d]);
  *hi = std::clamp<int64_t>(last, *lo, out[d]);
}

Result<Window> ResolveWindow(const Attributes& a, const Dims& x, const Dims& y,
                             std::span<const int64_t> kernel) {
  Window w;
  SLIPWAY_RETURN_IF_ERROR(Common(a, x, y, kernel, &w));
  const std::string_view auto_pad = a.String("auto_pad", "NOTSET");
  if (auto_pad == "NOTSET" || auto_pad.empty()) {
    SLIPWAY_RETURN_IF_ERROR(ExplicitPads(a, &w));
  } else if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
    for (int d = 0; d < 3; ++d) {
      const int64_t extent = (w.kernel[d] - 1) * w.dilation[d] + 1;
      SplitPad((w.out[d] - 1) * w.stride[d] + extent - w.in[d], auto_pad == "SAME_UPPER", d, &w);
    }
  } else if (auto_pad != "VALID") {
    return UnknownAutoPad(auto_pad);
  }
  return w;
}

Result<Window> ResolveTransposedWindow(const Attributes& a, const Dims& x, const Dims& y,
                                       std::span<const int64_t> kernel) {
  Window w;
  SLIPWAY_RETURN_IF_ERROR(Common(a, y, x, kernel, &w));
  int64_t extra[3] = {0, 0, 0};
  SLIPWAY_RETURN_IF_ERROR(
      ReadList("output_padding", a.Ints("output_padding"), w.spatial, 0, extra));
  const std::string_view auto_pad = a.String("auto_pad", "NOTSET");
  const bool not_set = auto_pad == "NOTSET" || auto_pad.empty();
  if (!not_set && auto_pad != "VALID" && auto_pad != "SAME_UPPER" && auto_pad != "SAME_LOWER") {
    return UnknownAutoPad(auto_pad);
  }
  if (not_set && a.Ints("output_shape").empty()) {
    SLIPWAY_RETURN_IF_ERROR(ExplicitPads(a, &w));
  } else if (auto_pad != "VALID") {
    for (int d = 0; d < 3; ++d) {
      const int64_t total =
          w.stride[d] * (w.out[d] - 1) + extra[d] + (w.kernel[d] - 1) * w.dilation[d] + 1 - w.in[d];
      SplitPad(total, auto_pad == "SAME_UPPER", d, &w);
    }
  }
  return w;
}

}  // namespace slipway::ops
