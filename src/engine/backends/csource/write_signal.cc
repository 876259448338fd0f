// Calls of spectra, of regions of images, and of caches that are written in place.

#include <algorithm>
#include <cmath>

#include "engine/backends/csource/writer.h"

namespace slipway::backends::csource {
namespace {

Status NoType(const SourceWriter& w, size_t input) {
  return Unsupported(w.op.op + " of " + DTypeName(w.In(input).dtype));
}

bool IsFloat(const SourceWriter& w, size_t i) {
  return !w.Has(i) || w.In(i).dtype == DType::kFloat32;
}

constexpr int64_t kMostRoots = 1 << 14;  // the sum takes n * n steps

Result<std::string> Roots(SourceWriter& w, int64_t n) {
  if (n < 1 || n > kMostRoots)
    return Unsupported(w.op.op + " of more than " + std::to_string(kMostRoots) + " elements");
  constexpr double kPi = 3.14159265358979323846;
  std::vector<float> roots;
  for (int64_t i = 0; i < n; ++i) {
    const double angle = 2 * kPi * static_cast<double>(i) / static_cast<double>(n);
    roots.push_back(static_cast<float>(std::cos(angle)));
    roots.push_back(static_cast<float>(std::sin(angle)));
  }
  return w.FloatArray(roots);
}

Status Dft(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  if (!IsFloat(w, 0) || w.Out().dtype != DType::kFloat32) return NoType(w, 0);
  const auto length = w.Ints(1), given = w.Ints(2);
  if ((w.Has(1) && length.size() != 1) || (w.Has(2) && given.size() != 1))
    return Unsupported("a DFT whose length or axis is no constant");
  const int axis = static_cast<int>(Axis(given.empty() ? -2 : given[0], x.rank()));
  if (x.rank() < 2 || axis < 0 || axis >= x.rank() - 1 || y.rank() != x.rank())
    return InvalidArgument("an axis that does not fit");
  const bool inverse = w.op.attributes.Int("inverse", 0) != 0,
             onesided = w.op.attributes.Int("onesided", 0) != 0, half = inverse && onesided;
  const int64_t have = x[static_cast<size_t>(axis)], out = y[static_cast<size_t>(axis)],
                n = !length.empty() ? length[0]
                    : half          ? out
                                    : have,
                keep = onesided && !inverse ? n / 2 + 1 : n;
  const int64_t parts = x.back(), out_parts = y.back(), outer = x.count(0, axis),
                inner = x.count(axis + 1, x.rank() - 1);
  if (out != keep || parts > 2 || out_parts > 2)
    return InvalidArgument("a length that does not fit");
  SLIPWAY_ASSIGN_OR_RETURN(const std::string roots, Roots(w, n));
  const int64_t x_step[] = {have * inner * parts, parts, inner * parts},
                y_step[] = {out * inner * out_parts, out_parts, inner * out_parts};
  w.Need("dft");
  w.Call("sw_dft",
         {w.Struct("sw_lines", Number(outer) + ", " + Number(inner) + ", " + Number(n) + ", " +
                                   Number(have) + ", " + Number(keep) + ", " + Number(parts) +
                                   ", " + Number(out_parts) + ", " + (inverse ? "1, " : "0, ") +
                                   (half ? "1, " : "0, ") + List(std::span(x_step)) + ", " +
                                   List(std::span(y_step))),
          roots, "0", w.Input(0), w.Output(0)});
  return OkStatus();
}

Status Stft(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  if (!IsFloat(w, 0) || !IsFloat(w, 2) || w.Out().dtype != DType::kFloat32) return NoType(w, 0);
  const auto step = w.Ints(1), length = w.Ints(3);
  if (step.size() != 1 || (w.Has(3) && length.size() != 1))
    return Unsupported("an STFT whose frames are no constants");
  if (x.rank() < 2 || x.rank() > 3 || y.rank() != 4)
    return InvalidArgument("a signal that is none");
  int64_t n = x[1];
  if (w.Has(2)) n = w.Shape(w.In(2)).count();
  if (w.Has(3)) n = length[0];
  const int64_t frames = y[1], keep = y[2], parts = x.rank() > 2 ? x[2] : 1;
  if ((w.Has(2) && w.Shape(w.In(2)).count() != n) || step[0] < 1 || parts > 2 ||
      (frames - 1) * step[0] + n > x[1] || keep > n)
    return InvalidArgument("frames that do not fit");
  SLIPWAY_ASSIGN_OR_RETURN(const std::string roots, Roots(w, n));
  const int64_t x_step[] = {x[1] * parts, step[0] * parts, parts},
                y_step[] = {frames * keep * 2, keep * 2, 2};
  w.Need("dft");
  w.Call("sw_dft",
         {w.Struct("sw_lines", Number(x[0]) + ", " + Number(frames) + ", " + Number(n) + ", " +
                                   Number(n) + ", " + Number(keep) + ", " + Number(parts) +
                                   ", 2, 0, 0, " + List(std::span(x_step)) + ", " +
                                   List(std::span(y_step))),
          roots, w.Input(2), w.Input(0), w.Output(0)});
  return OkStatus();
}

Status AffineGrid(SourceWriter& w) {
  const Dims y = w.Shape(w.Out());
  const int spatial = y.rank() - 2;
  if (!IsFloat(w, 0)) return NoType(w, 0);
  if (spatial < 1 || spatial > 3 || w.Shape(w.In(0)).count() != y[0] * spatial * (spatial + 1))
    return InvalidArgument("a size that does not fit");
  std::vector<int64_t> dims(3, 1);
  for (int d = 0; d < spatial; ++d)
    dims[static_cast<size_t>(3 - spatial + d)] = y[static_cast<size_t>(d + 1)];
  w.Need("affinegrid");
  w.Call("sw_affinegrid",
         {Number(y[0]), Number(int64_t{spatial}), w.Int32Array(dims),
          w.op.attributes.Int("align_corners", 0) != 0 ? "1" : "0", w.Input(0), w.Output(0)});
  return OkStatus();
}

Status RoiAlign(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  const auto& a = w.op.attributes;
  const DType i = w.In(2).dtype;
  if (!IsFloat(w, 0) || !IsFloat(w, 1)) return NoType(w, 0);
  if ((i != DType::kInt64 && i != DType::kInt32) || x.rank() != 4 || y.rank() != 4)
    return NoType(w, 2);
  w.Call(w.Instance("roialign", "roialign_" + Suffix(i), {{"@X", CType(i)}}),
         {Number(y[0]), Number(x[0]), Number(x[1]), Number(x[2]), Number(x[3]), Number(y[2]),
          Number(y[3]),
          a.String("coordinate_transformation_mode", "half_pixel") == "half_pixel" ? "1" : "0",
          a.String("mode", "avg") == "max" ? "1" : "0", Number(a.Int("sampling_ratio", 0)),
          Number(a.Float("spatial_scale", 1)), w.Input(0), w.Input(1), w.Input(2), w.Output(0)});
  return OkStatus();
}

// The middle of x in the middle of zeros.
Status CenterCropPad(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  if (x.rank() != y.rank()) return InvalidArgument("a rank that does not fit");
  const int64_t size = DTypeBits(w.In(0).dtype) / 8;
  std::vector<int64_t> part, from, to;
  int64_t x_first = 0, y_first = 0;
  for (int d = 0; d < x.rank(); ++d) {
    const int64_t in = x[static_cast<size_t>(d)], out = y[static_cast<size_t>(d)];
    part.push_back(std::min(in, out));
    from.push_back(x.count(d + 1, x.rank()));
    to.push_back(y.count(d + 1, y.rank()));
    x_first += (in > out ? (in - out) / 2 : 0) * from.back();
    y_first += (out > in ? (out - in) / 2 : 0) * to.back();
  }
  w.Need("copy");
  w.Call("memset", {w.Output("void"), "0", Number(y.count() * size)});
  w.Call("sw_copy", {w.Struct("sw_nd", NdFields(part, to, from)), Number(size), Number(y_first),
                     Number(x_first), w.Input(0, "void"), w.Output("void")});
  return OkStatus();
}

Status TensorScatter(SourceWriter& w) {
  const Dims past = w.Shape(w.In(0)), update = w.Shape(w.In(1));
  const int axis = static_cast<int>(Axis(w.op.attributes.Int("axis", -2), past.rank()));
  const DType i = w.Has(2) ? w.In(2).dtype : DType::kInt64;
  if (i != DType::kInt64 && i != DType::kInt32) return NoType(w, 2);
  if (axis < 1 || axis >= past.rank() || update.rank() != past.rank() ||
      w.In(1).dtype != w.In(0).dtype)
    return InvalidArgument("an update that does not fit");
  const auto at = static_cast<size_t>(axis);
  const int64_t outer = past.count(0, axis), row = past.count(axis + 1, past.rank()),
                size = row * (DTypeBits(w.In(0).dtype) / 8);
  if (update.count(0, axis) != outer || update.count(axis + 1, update.rank()) != row ||
      update[at] > past[at] || (w.Has(2) && w.Shape(w.In(2)).count() != past[0]))
    return InvalidArgument("an update that does not fit");
  w.Call("memcpy", {w.Output("void"), w.Input(0, "void"), Number(outer * past[at] * size)});
  w.Call(w.Instance("tensorscatter", "tensorscatter_" + Suffix(i), {{"@X", CType(i)}}),
         {Number(outer), Number(outer / past[0]), Number(past[at]), Number(update[at]),
          Number(size), w.op.attributes.String("mode", "linear") == "circular" ? "1" : "0",
          w.Has(2) ? w.Input(2) : "0", w.Input(1, "void"), w.Output("void")});
  return OkStatus();
}

constexpr Row kRows[] = {
    {"", "DFT", Dft},
    {"", "STFT", Stft},
    {"", "AffineGrid", AffineGrid},
    {"", "RoiAlign", RoiAlign},
    {"", "CenterCropPad", CenterCropPad},
    {"", "TensorScatter", TensorScatter},
};

}  // namespace

std::span<const Row> SignalRows() { return kRows; }

}  // namespace slipway::backends::csource
