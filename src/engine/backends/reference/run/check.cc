#include "engine/backends/reference/run/check.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/checked.h"
#include "model/ops/qattention.h"
#include "model/ops/window.h"

namespace slipway::backends {
namespace {

using ops::TensorView;

struct Operands {
  std::string_view op;
  const ops::Attributes& attributes;
  std::span<const TensorView> in, out;

  bool Has(size_t i) const { return i < in.size() && in[i].present(); }
  const TensorView& x() const { return in[0]; }
  const TensorView& y() const { return out[0]; }
};

std::string Text(const TensorView& t) { return std::string(DTypeName(t.dtype)) + t.dims.ToString(); }

Status Misfit(const std::string& what) { return DataLoss(what + "; compile the package again"); }
Status Misfit(const char* a_name, const TensorView& a, const char* b_name, const TensorView& b) {
  return Misfit(std::string(a_name) + " " + Text(a) + " does not fit " + b_name + " " + Text(b));
}

#define SLIPWAY_CHECK_FIT(condition, ...) \
  do {                                    \
    if (!(condition)) return Misfit(__VA_ARGS__); \
  } while (0)

bool SameDims(const TensorView& a, const TensorView& b) { return a.dims == b.dims; }
bool Same(const TensorView& a, const TensorView& b) { return a.dtype == b.dtype && a.dims == b.dims; }

// a, aligned at its last dimension, repeats to b.
bool BroadcastsTo(const Dims& a, const Dims& b) {
  if (a.rank() > b.rank()) return false;
  for (int i = 0; i < a.rank(); ++i) {
    const int64_t d = a[static_cast<size_t>(i)], to = b[static_cast<size_t>(i + b.rank() - a.rank())];
    if (d != 1 && d != to) return false;
  }
  return true;
}

Result<int> Axis(const Operands& o, std::string_view name, int64_t fallback, int rank) {
  const int64_t axis = o.attributes.Int(name, fallback);
  if (axis < -rank || axis >= rank) return Misfit("axis " + std::to_string(axis) + " for rank " + std::to_string(rank));
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

// Equal except along `axis`.
bool SameBut(const Dims& a, const Dims& b, int axis) {
  if (a.rank() != b.rank()) return false;
  for (int i = 0; i < a.rank(); ++i) {
    if (i != axis && a[static_cast<size_t>(i)] != b[static_cast<size_t>(i)]) return false;
  }
  return true;
}

Status CheckSameFamily(const Operands& o) {
  SLIPWAY_CHECK_FIT(Same(o.x(), o.y()), "output", o.y(), "input", o.x());
  // PRelu and RMSNormalization repeat their second operand over the first.
  if (o.op == "PRelu" || o.op == "RMSNormalization") {
    SLIPWAY_CHECK_FIT(o.in[1].dtype == o.x().dtype && BroadcastsTo(o.in[1].dims, o.x().dims), "input 1", o.in[1], "input 0", o.x());
  }
  return OkStatus();
}

Status CheckDropout(const Operands& o) {
  SLIPWAY_CHECK_FIT(Same(o.x(), o.y()), "output", o.y(), "input", o.x());
  if (o.out.size() > 1 && o.out[1].present()) {
    SLIPWAY_CHECK_FIT(o.out[1].dtype == DType::kBool && SameDims(o.out[1], o.x()), "the mask", o.out[1], "input", o.x());
  }
  return OkStatus();
}

Status CheckExtentsOnly(const Operands& o) {  // Cast, Quantize, Dequantize, QRescale, QLookup: kernels check types
  SLIPWAY_CHECK_FIT(SameDims(o.x(), o.y()), "output", o.y(), "input", o.x());
  return OkStatus();
}
Status CheckCast(const Operands& o) { return CheckExtentsOnly(o); }
Status CheckQuantize(const Operands& o) { return CheckExtentsOnly(o); }
Status CheckDequantize(const Operands& o) { return CheckExtentsOnly(o); }
Status CheckQUnary(const Operands& o) { return CheckExtentsOnly(o); }
Status CheckQLayerNorm(const Operands& o) {
  if (o.Has(2)) SLIPWAY_CHECK_FIT(SameDims(o.in[2], o.y()), "B", o.in[2], "output", o.y());
  return CheckExtentsOnly(o);
}
Status CheckQLookup(const Operands& o) { return CheckExtentsOnly(o); }
Status CheckSame(const Operands& o) { return CheckSameFamily(o); }

Status CheckAllBroadcast(const Operands& o) {
  for (size_t i = 0; i < o.in.size(); ++i) {
    SLIPWAY_CHECK_FIT(o.in[i].present() && BroadcastsTo(o.in[i].dims, o.y().dims), "an input", o.in[i], "output", o.y());
  }
  return OkStatus();
}

Status CheckBroadcast(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype, "output", o.y(), "input", o.x());
  if (o.op != "Pow") {
    for (const TensorView& t : o.in) SLIPWAY_CHECK_FIT(t.dtype == o.y().dtype, "an input", t, "output", o.y());
  }
  return CheckAllBroadcast(o);
}

Status CheckQBinary(const Operands& o) { return CheckAllBroadcast(o); }

Status CheckMulQuantize(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.in[0].dtype == DType::kFloat32 && o.in[1].dtype == DType::kFloat32, "input 0", o.in[0], "input 1", o.in[1]);
  return CheckAllBroadcast(o);
}

Status CheckCompare(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.y().dtype == DType::kBool, "output " + Text(o.y()) + " is not bool");
  SLIPWAY_CHECK_FIT(o.in[0].dtype == o.in[1].dtype, "input 0", o.in[0], "input 1", o.in[1]);
  return CheckAllBroadcast(o);
}

Status CheckWhere(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.in[1].dtype == o.y().dtype && o.in[2].dtype == o.y().dtype, "input 1", o.in[1], "output", o.y());
  return CheckAllBroadcast(o);
}

// Y's spatial extent along d follows from the window; ceil_mode may add a last, partial window.
bool WindowFits(const ops::Window& w, int d, bool ceil) {
  const int64_t reach = (w.kernel[d] - 1) * w.dilation[d] + 1;
  const int64_t room = w.in[d] + w.pad_begin[d] + w.pad_end[d] - reach;
  if (room < 0) return w.out[d] == 0 || (ceil && w.out[d] == 1);
  const int64_t floor_out = room / w.stride[d] + 1;
  return w.out[d] == floor_out || (ceil && w.out[d] == CeilDiv(room, w.stride[d]) + 1);
}

Status CheckWindow(const Operands& o, std::span<const int64_t> kernel) {
  const auto resolved = ops::ResolveWindow(o.attributes, o.x().dims, o.y().dims, kernel);
  SLIPWAY_CHECK_FIT(resolved.ok(), resolved.status().message());
  const ops::Window& w = resolved.value();
  const bool same = o.attributes.String("auto_pad", "NOTSET").substr(0, 4) == "SAME";
  for (int d = 0; d < 3; ++d) {
    const bool fits = same ? w.out[d] == CeilDiv(w.in[d], w.stride[d]) : WindowFits(w, d, o.attributes.Int("ceil_mode", 0) != 0);
    SLIPWAY_CHECK_FIT(fits, "the window does not lead from", o.x(), "to output", o.y());
  }
  return OkStatus();
}

// X [N, C, spatial...], W [M, C / group, kernel...], Y [N, M, spatial...]
Status CheckConvExtents(const Operands& o) {
  const TensorView &x = o.x(), &w = o.in[1], &y = o.y();
  SLIPWAY_CHECK_FIT(x.dims.rank() >= 3 && w.dims.rank() == x.dims.rank() && y.dims.rank() == x.dims.rank(), "W", w, "X", x);
  const int64_t group = o.attributes.Int("group", 1);
  SLIPWAY_CHECK_FIT(group >= 1 && group <= std::max<int64_t>(x.dims[1], 1) && x.dims[1] == w.dims[1] * group && w.dims[0] % group == 0,
                    "group " + std::to_string(group) + " for X " + Text(x) + " and W " + Text(w));
  SLIPWAY_CHECK_FIT(y.dims[0] == x.dims[0] && y.dims[1] == w.dims[0], "output", y, "X", x);
  return CheckWindow(o, std::span(w.dims).subspan(2));
}

Status CheckConv(const Operands& o) {
  SLIPWAY_RETURN_IF_ERROR(CheckConvExtents(o));
  const DType t = o.x().dtype;
  SLIPWAY_CHECK_FIT(o.y().dtype == t && o.in[1].dtype == t, "output", o.y(), "X", o.x());
  if (o.Has(2)) SLIPWAY_CHECK_FIT(o.in[2].dtype == t && o.in[2].count() == o.y().dims[1], "bias", o.in[2], "output", o.y());
  if (o.Has(3)) SLIPWAY_CHECK_FIT(Same(o.in[3], o.y()), "residual", o.in[3], "output", o.y());
  return OkStatus();
}

Status CheckConvDepthwise(const Operands& o) {
  const TensorView &x = o.x(), &w = o.in[1], &v = o.in[2], &y = o.y();
  SLIPWAY_CHECK_FIT(x.dims.rank() >= 3 && w.dims.rank() == x.dims.rank() && w.dims[1] == x.dims[1] && w.count() == w.dims[0] * w.dims[1], "W", w, "X", x);
  SLIPWAY_CHECK_FIT(v.dims.rank() == x.dims.rank() && v.dims[0] == w.dims[0] && v.dims[1] == 1, "V", v, "W", w);
  SLIPWAY_CHECK_FIT(y.dims.rank() == x.dims.rank() && y.dims[0] == x.dims[0] && y.dims[1] == w.dims[0], "output", y, "X", x);
  for (size_t i : {1, 2, 3, 4}) {
    if (!o.Has(i)) continue;
    SLIPWAY_CHECK_FIT(o.in[i].dtype == x.dtype && (i < 3 || o.in[i].count() == w.dims[0]), "input", o.in[i], "X", x);
  }
  SLIPWAY_CHECK_FIT(y.dtype == x.dtype, "output", y, "X", x);
  return CheckWindow(o, std::span(v.dims).subspan(2));
}

Status CheckQConv(const Operands& o) {
  SLIPWAY_RETURN_IF_ERROR(CheckConvExtents(o));
  if (o.Has(4)) SLIPWAY_CHECK_FIT(SameDims(o.in[4], o.y()), "residual", o.in[4], "output", o.y());
  return OkStatus();
}

Status CheckConvTranspose(const Operands& o) {
  const TensorView &x = o.x(), &w = o.in[1], &y = o.y();
  SLIPWAY_CHECK_FIT(x.dims.rank() >= 3 && w.dims.rank() == x.dims.rank() && y.dims.rank() == x.dims.rank(), "W", w, "X", x);
  const int64_t group = o.attributes.Int("group", 1);
  SLIPWAY_CHECK_FIT(group >= 1 && group <= std::max<int64_t>(x.dims[1], 1) && x.dims[1] % group == 0 && w.dims[0] == x.dims[1],
                    "group " + std::to_string(group) + " for X " + Text(x) + " and W " + Text(w));
  SLIPWAY_CHECK_FIT(y.dims[0] == x.dims[0] && y.dims[1] == w.dims[1] * group && y.dtype == x.dtype, "output", y, "X", x);
  if (o.Has(2)) SLIPWAY_CHECK_FIT(o.in[2].dtype == x.dtype && o.in[2].count() == y.dims[1], "bias", o.in[2], "output", y);
  const auto window = ops::ResolveTransposedWindow(o.attributes, x.dims, y.dims, std::span(w.dims).subspan(2));
  SLIPWAY_CHECK_FIT(window.ok(), window.status().message());
  return OkStatus();
}

Status CheckGemm(const Operands& o) {
  const TensorView &a = o.in[0], &b = o.in[1], &y = o.y();
  SLIPWAY_CHECK_FIT(a.dims.rank() == 2 && b.dims.rank() == 2 && y.dims.rank() == 2, "A", a, "B", b);
  const size_t ta = o.attributes.Int("transA", 0) != 0, tb = o.attributes.Int("transB", 0) != 0;
  SLIPWAY_CHECK_FIT(a.dims[1 - ta] == b.dims[tb] && a.dtype == b.dtype, "A", a, "B", b);
  SLIPWAY_CHECK_FIT(y.dims[0] == a.dims[ta] && y.dims[1] == b.dims[1 - tb] && y.dtype == a.dtype, "output", y, "A", a);
  if (o.Has(2)) SLIPWAY_CHECK_FIT(o.in[2].dtype == y.dtype && BroadcastsTo(o.in[2].dims, y.dims), "C", o.in[2], "output", y);
  return OkStatus();
}

Status CheckMatMulExtents(const Operands& o) {
  const TensorView &a = o.in[0], &b = o.in[1], &y = o.y();
  const int ra = a.dims.rank(), rb = b.dims.rank();
  SLIPWAY_CHECK_FIT(ra >= 1 && rb >= 1, "A", a, "B", b);
  SLIPWAY_CHECK_FIT(a.dims.back() == b.dims[static_cast<size_t>(std::max(rb - 2, 0))], "A", a, "B", b);
  // Batch dimensions, then the matrix dimensions that the operands have.
  const Dims batch_a(std::span(a.dims).first(static_cast<size_t>(std::max(ra - 2, 0))));
  const Dims batch_b(std::span(b.dims).first(static_cast<size_t>(std::max(rb - 2, 0))));
  Dims expected;
  const int batch = std::max(batch_a.rank(), batch_b.rank());
  for (int i = 0; i < batch; ++i) {
    const int at_a = i - (batch - batch_a.rank()), at_b = i - (batch - batch_b.rank());
    const int64_t da = at_a < 0 ? 1 : batch_a[static_cast<size_t>(at_a)], db = at_b < 0 ? 1 : batch_b[static_cast<size_t>(at_b)];
    SLIPWAY_CHECK_FIT(da == db || da == 1 || db == 1, "A", a, "B", b);
    expected.push_back(da == 1 ? db : da);
  }
  if (ra > 1) expected.push_back(a.dims[static_cast<size_t>(ra - 2)]);
  if (rb > 1) expected.push_back(b.dims.back());
  SLIPWAY_CHECK_FIT(y.dims == expected, "output", y, "A", a);
  return OkStatus();
}

Status CheckMatMul(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.in[0].dtype == o.in[1].dtype && o.in[0].dtype == o.y().dtype, "A", o.in[0], "B", o.in[1]);
  return CheckMatMulExtents(o);
}

// The integer products: the kernels check the types and extents of codes and zero points.
Status CheckMatMulInteger(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.y().dtype == DType::kInt32, "output " + Text(o.y()) + " is not int32");
  return CheckMatMulExtents(o);
}

// As the kernel's: it checks the types.
Status CheckQMatMul(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.in[0].dims.rank() >= 2 && o.in[1].dims.rank() >= 2, "A", o.in[0], "B", o.in[1]);
  return CheckMatMulExtents(o);
}

Status CheckQAttention(const Operands& o) {
  std::array<ops::QAttention::Operand, 5> operands;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (o.Has(i)) operands[i] = {o.in[i].dims, o.in[i].dtype};
  }
  return ops::ReadQAttention(o.attributes, operands, {o.y().dims, o.y().dtype}).status();
}

Status CheckConvInteger(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.y().dtype == DType::kInt32, "output " + Text(o.y()) + " is not int32");
  return CheckConvExtents(o);
}

Status CheckDynamicQuantizeLinear(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.y().dtype == DType::kUInt8 && SameDims(o.x(), o.y()), "output", o.y(), "input", o.x());
  const DType types[] = {DType::kUInt8, DType::kFloat32, DType::kUInt8};
  for (size_t i = 1; i < o.out.size() && i < 3; ++i) {
    if (!o.out[i].present()) continue;
    SLIPWAY_CHECK_FIT(o.out[i].dtype == types[i] && o.out[i].count() == 1, "scale or zero point", o.out[i], "input", o.x());
  }
  return OkStatus();
}

Status CheckLinearExtents(const Operands& o) {
  const TensorView &x = o.x(), &w = o.in[1], &y = o.y();
  SLIPWAY_CHECK_FIT(x.dims.rank() >= 1 && w.dims.rank() == 2, "W", w, "X", x);
  const size_t trans = o.attributes.Int("transW", 0) != 0;
  const int last = x.dims.rank() - 1;
  SLIPWAY_CHECK_FIT(w.dims[trans] == x.dims.back(), "W", w, "X", x);
  SLIPWAY_CHECK_FIT(SameBut(x.dims, y.dims, last) && y.dims.back() == w.dims[1 - trans], "output", y, "X", x);
  return OkStatus();
}

Status CheckLinear(const Operands& o) {
  SLIPWAY_RETURN_IF_ERROR(CheckLinearExtents(o));
  const DType t = o.x().dtype;
  SLIPWAY_CHECK_FIT(o.y().dtype == t && o.in[1].dtype == t, "output", o.y(), "X", o.x());
  if (o.Has(2)) SLIPWAY_CHECK_FIT(o.in[2].dtype == t && o.in[2].count() == o.y().dims.back(), "bias", o.in[2], "output", o.y());
  if (o.Has(3)) SLIPWAY_CHECK_FIT(Same(o.in[3], o.y()), "residual", o.in[3], "output", o.y());
  return OkStatus();
}

Status CheckSqueezeExcite(const Operands& o) {
  const TensorView &x = o.x(), &w1 = o.in[1], &w2 = o.in[2], &y = o.y();
  SLIPWAY_CHECK_FIT(x.dims.rank() >= 3 && Same(x, y), "output", y, "X", x);
  SLIPWAY_CHECK_FIT(w1.dtype == x.dtype && w1.dims.rank() >= 2 && w1.dims[1] == x.dims[1] && w1.count() == w1.dims[0] * w1.dims[1], "W1", w1, "X", x);
  SLIPWAY_CHECK_FIT(w2.dtype == x.dtype && w2.dims.rank() >= 2 && w2.dims[0] == x.dims[1] && w2.dims[1] == w1.dims[0] && w2.count() == w2.dims[0] * w2.dims[1],
                    "W2", w2, "W1", w1);
  if (o.Has(3)) SLIPWAY_CHECK_FIT(o.in[3].dtype == x.dtype && o.in[3].count() == w1.dims[0], "bias", o.in[3], "W1", w1);
  if (o.Has(4)) SLIPWAY_CHECK_FIT(o.in[4].dtype == x.dtype && o.in[4].count() == x.dims[1], "bias", o.in[4], "X", x);
  return OkStatus();
}

Status CheckLinearNBits(const Operands& o) {
  const TensorView &x = o.x(), &w = o.in[1], &scale = o.in[2], &y = o.y();
  const int64_t group = o.attributes.Int("group", 0);
  SLIPWAY_CHECK_FIT(x.dims.rank() >= 1 && w.dims.rank() == 2 && w.dims[1] > 0 && w.dims[1] == x.dims.back(), "codes", w, "X", x);
  SLIPWAY_CHECK_FIT(SameBut(x.dims, y.dims, x.dims.rank() - 1) && y.dims.back() == w.dims[0], "output", y, "X", x);
  SLIPWAY_CHECK_FIT(x.dtype == DType::kFloat32 && y.dtype == DType::kFloat32, "output", y, "X", x);
  SLIPWAY_CHECK_FIT(w.dtype == DType::kInt8 || w.dtype == DType::kUInt8, "codes", w, "X", x);
  SLIPWAY_CHECK_FIT(group > 0, "group " + std::to_string(group) + " is not positive");
  SLIPWAY_CHECK_FIT(scale.dtype == DType::kFloat32 && scale.dims == (Dims{w.dims[0], (w.dims[1] - 1) / group + 1}), "scale", scale, "codes", w);
  if (o.Has(3)) SLIPWAY_CHECK_FIT(o.in[3].dtype == w.dtype && SameDims(o.in[3], scale), "zero point", o.in[3], "scale", scale);
  if (o.Has(4)) SLIPWAY_CHECK_FIT(o.in[4].dtype == DType::kFloat32 && o.in[4].count() == w.dims[0], "bias", o.in[4], "output", y);
  return OkStatus();
}

Status CheckQLinear(const Operands& o) {
  SLIPWAY_RETURN_IF_ERROR(CheckLinearExtents(o));
  if (o.Has(4)) SLIPWAY_CHECK_FIT(SameDims(o.in[4], o.y()), "residual", o.in[4], "output", o.y());
  return OkStatus();
}

bool SamePlanes(const TensorView& x, const TensorView& y) {
  return x.dims.rank() >= 2 && y.dims.rank() == x.dims.rank() && x.dims[0] == y.dims[0] && x.dims[1] == y.dims[1];
}

Status CheckPool(const Operands& o) {
  SLIPWAY_CHECK_FIT(SamePlanes(o.x(), o.y()) && o.x().dtype == o.y().dtype, "output", o.y(), "X", o.x());
  if (o.out.size() > 1 && o.out[1].present()) {
    SLIPWAY_CHECK_FIT(o.out[1].dtype == DType::kInt64 && SameDims(o.out[1], o.y()), "indices", o.out[1], "output", o.y());
  }
  return CheckWindow(o, {});
}

Status CheckGlobalExtents(const Operands& o) {
  SLIPWAY_CHECK_FIT(SamePlanes(o.x(), o.y()) && o.y().dims.count(2, o.y().dims.rank()) == 1, "output", o.y(), "X", o.x());
  return OkStatus();
}

Status CheckGlobalPool(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype, "output", o.y(), "X", o.x());
  return CheckGlobalExtents(o);
}

Status CheckQAveragePool(const Operands& o) {
  if (o.attributes.Int("global", 0) != 0) return CheckGlobalExtents(o);
  SLIPWAY_CHECK_FIT(o.x().dtype != DType::kFloat32, "output", o.y(), "X", o.x());
  SLIPWAY_CHECK_FIT(SamePlanes(o.x(), o.y()), "output", o.y(), "X", o.x());
  return CheckWindow(o, {});
}

Status CheckReduce(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype, "output", o.y(), "input", o.x());
  // With axes the kernel compares them with the output; without any it may copy.
  const bool given = o.Has(1) && o.in[1].count() > 0;
  if (!given && o.attributes.Int("noop_with_empty_axes", 0) != 0) {
    SLIPWAY_CHECK_FIT(SameDims(o.x(), o.y()), "output", o.y(), "input", o.x());
  }
  return OkStatus();
}

Status CheckArgReduce(const Operands& o) {
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Axis(o, "axis", 0, o.x().dims.rank()));
  Dims expected;
  const bool keep = o.attributes.Int("keepdims", 1) != 0;
  for (int i = 0; i < o.x().dims.rank(); ++i) {
    if (i != axis) expected.push_back(o.x().dims[static_cast<size_t>(i)]);
    if (i == axis && keep) expected.push_back(1);
  }
  SLIPWAY_CHECK_FIT(o.y().dtype == DType::kInt64 && o.y().dims == expected, "output", o.y(), "input", o.x());
  return OkStatus();
}

Status CheckBatchNorm(const Operands& o) {
  SLIPWAY_CHECK_FIT(Same(o.x(), o.y()), "output", o.y(), "input", o.x());
  return OkStatus();
}

Status CheckLayerNorm(const Operands& o) {
  SLIPWAY_CHECK_FIT(Same(o.x(), o.y()), "output", o.y(), "input", o.x());
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Axis(o, "axis", -1, o.x().dims.rank()));
  for (size_t i = 1; i < 3; ++i) {
    if (!o.Has(i)) continue;
    SLIPWAY_CHECK_FIT(o.in[i].dtype == o.x().dtype && BroadcastsTo(o.in[i].dims, o.x().dims), "scale or bias", o.in[i], "input", o.x());
  }
  for (size_t i = 1; i < o.out.size(); ++i) {
    if (o.out[i].present()) SLIPWAY_CHECK_FIT(o.out[i].count() == o.x().dims.count(0, axis), "statistics", o.out[i], "input", o.x());
  }
  return OkStatus();
}

Status CheckAttention(const Operands& o) {
  const TensorView &q = o.in[0], &v = o.in[2], &y = o.y();
  const int rank = q.dims.rank();
  SLIPWAY_CHECK_FIT((rank == 3 || rank == 4) && v.dims.rank() == rank && y.dims.rank() == rank && o.in[1].dims.rank() == rank &&
                        y.dtype == q.dtype && y.dims[0] == q.dims[0],
                    "output", y, "Q", q);
  if (rank == 4) {
    SLIPWAY_CHECK_FIT(y.dims[1] == q.dims[1] && y.dims[2] == q.dims[2] && y.dims[3] == v.dims[3], "output", y, "Q", q);
    return OkStatus();
  }
  const int64_t heads = o.attributes.Int("q_num_heads", 0), kv_heads = o.attributes.Int("kv_num_heads", 0);
  SLIPWAY_CHECK_FIT(heads >= 1 && heads <= std::max<int64_t>(q.dims[2], 1) && kv_heads >= 1 && v.dims[2] % kv_heads == 0,
                    "the numbers of heads do not fit Q " + Text(q));
  SLIPWAY_CHECK_FIT(y.dims[1] == q.dims[1] && y.dims[2] == v.dims[2] / kv_heads * heads, "output", y, "Q", q);
  return OkStatus();
}

// Along one axis, the parts add up to the whole and agree with it elsewhere.
Status CheckParts(std::span<const TensorView> parts, const TensorView& whole, int axis) {
  int64_t sum = 0;
  for (const TensorView& part : parts) {
    SLIPWAY_CHECK_FIT(part.present() && part.dtype == whole.dtype && SameBut(part.dims, whole.dims, axis), "a part", part, "the whole", whole);
    const auto next = CheckedAdd(sum, part.dims[static_cast<size_t>(axis)]);
    SLIPWAY_CHECK_FIT(next.has_value(), "the parts overflow");
    sum = *next;
  }
  SLIPWAY_CHECK_FIT(sum == whole.dims[static_cast<size_t>(axis)], "the parts do not add up to " + Text(whole));
  return OkStatus();
}

Status CheckConcat(const Operands& o) {
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Axis(o, "axis", 0, o.y().dims.rank()));
  return CheckParts(o.in, o.y(), axis);
}

Status CheckQAffine(const Operands& o) {
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Axis(o, "axis", 1, o.y().dims.rank()));
  int64_t sum = 0;
  for (size_t i = 2; i < o.in.size(); ++i) {
    const TensorView& part = o.in[i];
    SLIPWAY_CHECK_FIT(part.present() && SameBut(part.dims, o.y().dims, axis), "a piece", part, "the whole", o.y());
    const auto next = CheckedAdd(sum, part.dims[static_cast<size_t>(axis)]);
    SLIPWAY_CHECK_FIT(next.has_value(), "the pieces overflow");
    sum = *next;
  }
  SLIPWAY_CHECK_FIT(sum == o.y().dims[static_cast<size_t>(axis)], "the pieces do not add up to " + Text(o.y()));
  return OkStatus();
}

Status CheckSplit(const Operands& o) {
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Axis(o, "axis", 0, o.x().dims.rank()));
  return CheckParts(o.out, o.x(), axis);
}

Status CheckSlice(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype && o.x().dims.rank() == o.y().dims.rank(), "output", o.y(), "input", o.x());
  for (int i = 0; i < o.x().dims.rank(); ++i) {
    SLIPWAY_CHECK_FIT(o.y().dims[static_cast<size_t>(i)] <= o.x().dims[static_cast<size_t>(i)], "output", o.y(), "input", o.x());
  }
  return OkStatus();
}

Status CheckPad(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype && o.x().dims.rank() == o.y().dims.rank(), "output", o.y(), "input", o.x());
  return OkStatus();
}

Status CheckTranspose(const Operands& o) {
  const auto perm = o.attributes.Ints("perm");
  const int rank = o.x().dims.rank();
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype && o.y().dims.rank() == rank && (perm.empty() || perm.size() == o.x().dims.size()),
                    "output", o.y(), "input", o.x());
  for (int i = 0; i < rank; ++i) {
    const int64_t from = perm.empty() ? rank - 1 - i : perm[static_cast<size_t>(i)];
    SLIPWAY_CHECK_FIT(from >= 0 && from < rank && o.y().dims[static_cast<size_t>(i)] == o.x().dims[static_cast<size_t>(from)], "output",
                      o.y(), "input", o.x());
  }
  return OkStatus();
}

Status CheckSameCount(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype && o.x().count() == o.y().count(), "output", o.y(), "input", o.x());
  return OkStatus();
}
Status CheckReshape(const Operands& o) { return CheckSameCount(o); }
Status CheckFlatten(const Operands& o) { return CheckSameCount(o); }
Status CheckSqueeze(const Operands& o) { return CheckSameCount(o); }
Status CheckUnsqueeze(const Operands& o) { return CheckSameCount(o); }
Status CheckDepthToSpace(const Operands& o) { return CheckSameCount(o); }

Status CheckSpaceToDepth(const Operands& o) {
  const int64_t b = o.attributes.Int("blocksize", 0);
  SLIPWAY_CHECK_FIT(b >= 1 && b < (int64_t{1} << 31), "blocksize " + std::to_string(b));
  return CheckSameCount(o);
}

Status CheckExpand(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype && BroadcastsTo(o.x().dims, o.y().dims), "output", o.y(), "input", o.x());
  return OkStatus();
}

Status CheckTile(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype && o.x().dims.rank() == o.y().dims.rank(), "output", o.y(), "input", o.x());
  for (int i = 0; i < o.x().dims.rank(); ++i) {
    const int64_t n = o.x().dims[static_cast<size_t>(i)], to = o.y().dims[static_cast<size_t>(i)];
    SLIPWAY_CHECK_FIT(n == 0 ? to == 0 : to % n == 0, "output", o.y(), "input", o.x());
  }
  return OkStatus();
}

Status CheckGather(const Operands& o) {
  const TensorView &x = o.x(), &indices = o.in[1], &y = o.y();
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Axis(o, "axis", 0, x.dims.rank()));
  SLIPWAY_CHECK_FIT(x.dims.rank() - 1 + indices.dims.rank() == y.dims.rank() && x.dtype == y.dtype, "output", y, "input", x);
  Dims expected;
  for (int i = 0; i < axis; ++i) expected.push_back(x.dims[static_cast<size_t>(i)]);
  for (int64_t d : indices.dims) expected.push_back(d);
  for (int i = axis + 1; i < x.dims.rank(); ++i) expected.push_back(x.dims[static_cast<size_t>(i)]);
  SLIPWAY_CHECK_FIT(y.dims == expected, "output", y, "input", x);
  return OkStatus();
}

Status CheckGatherElements(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype && SameDims(o.in[1], o.y()), "output", o.y(), "indices", o.in[1]);
  return OkStatus();
}

Status CheckGatherND(const Operands& o) {
  const TensorView &x = o.x(), &indices = o.in[1], &y = o.y();
  const int64_t batch = o.attributes.Int("batch_dims", 0);
  SLIPWAY_CHECK_FIT(indices.dims.rank() >= 1 && batch >= 0 && batch < std::min(x.dims.rank(), indices.dims.rank()), "indices", indices, "input", x);
  const int64_t depth = indices.dims.back();
  SLIPWAY_CHECK_FIT(batch + depth <= x.dims.rank(), "indices", indices, "input", x);
  Dims expected;
  for (int i = 0; i + 1 < indices.dims.rank(); ++i) expected.push_back(indices.dims[static_cast<size_t>(i)]);
  const int first = static_cast<int>(batch + depth);
  SLIPWAY_CHECK_FIT(expected.rank() + x.dims.rank() - first == y.dims.rank(), "output", y, "indices", indices);
  for (int i = first; i < x.dims.rank(); ++i) expected.push_back(x.dims[static_cast<size_t>(i)]);
  SLIPWAY_CHECK_FIT(x.dtype == y.dtype && y.dims == expected, "output", y, "indices", indices);
  return OkStatus();
}

Status CheckQResize(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dims.rank() == o.y().dims.rank(), "output", o.y(), "input", o.x());
  // The filter's width follows from the scales: they must say what the extents say.
  const auto axes = o.attributes.Ints("axes");
  if (!o.Has(2) || o.in[2].count() == 0 || !o.in[2].data) return OkStatus();
  const int64_t n = axes.empty() ? o.x().dims.rank() : static_cast<int64_t>(axes.size());
  SLIPWAY_CHECK_FIT(o.in[2].dtype == DType::kFloat32 && o.in[2].count() == n, "scales", o.in[2], "input", o.x());
  for (int64_t i = 0; i < n; ++i) {
    int64_t axis = axes.empty() ? i : axes[static_cast<size_t>(i)];
    const int rank = o.x().dims.rank();
    SLIPWAY_CHECK_FIT(axis >= -rank && axis < rank, "axis " + std::to_string(axis));
    if (axis < 0) axis += rank;
    const double scale = o.in[2].as<const float>()[i], in = static_cast<double>(o.x().dims[static_cast<size_t>(axis)]);
    const double out = static_cast<double>(o.y().dims[static_cast<size_t>(axis)]);
    SLIPWAY_CHECK_FIT(scale > 0 && std::fabs(in * scale - out) <= 1 + 1e-4 * out, "scale " + std::to_string(scale) + " of axis " +
                                                                                      std::to_string(axis) + " does not lead from " + Text(o.x()) +
                                                                                      " to " + Text(o.y()));
  }
  return OkStatus();
}

Status CheckResize(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype, "output", o.y(), "input", o.x());
  return CheckQResize(o);
}

Status CheckShape(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.y().dtype == DType::kInt64, "output " + Text(o.y()) + " is not int64");
  return OkStatus();
}
Status CheckSize(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.y().dtype == DType::kInt64 && o.y().count() == 1, "output " + Text(o.y()) + " is not one int64");
  return OkStatus();
}
Status CheckConstantOfShape(const Operands&) { return OkStatus(); }
Status CheckRange(const Operands&) { return OkStatus(); }  // the kernel compares the types and fills the output whatever its extent

Status CheckTopK(const Operands& o) {
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Axis(o, "axis", -1, o.x().dims.rank()));
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype && SameBut(o.x().dims, o.y().dims, axis), "output", o.y(), "input", o.x());
  SLIPWAY_CHECK_FIT(o.out[1].dtype == DType::kInt64 && SameDims(o.out[1], o.y()), "indices", o.out[1], "values", o.y());
  return OkStatus();
}

Status CheckOneHot(const Operands& o) {
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Axis(o, "axis", -1, o.y().dims.rank()));
  Dims expected;
  for (int i = 0; i < o.y().dims.rank(); ++i) {
    if (i != axis) expected.push_back(o.y().dims[static_cast<size_t>(i)]);
  }
  SLIPWAY_CHECK_FIT(o.x().dims == expected, "output", o.y(), "indices", o.x());
  return OkStatus();
}

// The kernel compares the number of selected elements with the output.
Status CheckNonZero(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.y().dtype == DType::kInt64 && o.y().dims.rank() == 2 && o.y().dims[0] == o.x().dims.rank(), "output", o.y(), "input", o.x());
  return OkStatus();
}

Status CheckCompress(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.x().dtype == o.y().dtype && o.in[1].dtype == DType::kBool, "output", o.y(), "input", o.x());
  if (!o.attributes.Has("axis")) {
    SLIPWAY_CHECK_FIT(o.y().dims.rank() == 1, "output", o.y(), "input", o.x());
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Axis(o, "axis", 0, o.x().dims.rank()));
  SLIPWAY_CHECK_FIT(SameBut(o.x().dims, o.y().dims, axis), "output", o.y(), "input", o.x());
  return OkStatus();
}


// The kernels of the following compare all extents themselves; what remains are the element types that they take for granted.
Status CheckOutputTypes(const Operands& o) {
  for (const TensorView& y : o.out) {
    SLIPWAY_CHECK_FIT(!y.present() || y.dtype == o.x().dtype, "an output", y, "input 0", o.x());
  }
  return OkStatus();
}
Status CheckAffineGrid(const Operands& o) { return CheckOutputTypes(o); }
Status CheckCenterCropPad(const Operands& o) { return CheckOutputTypes(o); }
Status CheckCol2Im(const Operands& o) { return CheckOutputTypes(o); }
Status CheckDFT(const Operands& o) { return CheckOutputTypes(o); }
Status CheckDeformConv(const Operands& o) { return CheckOutputTypes(o); }
Status CheckDet(const Operands& o) { return CheckOutputTypes(o); }
Status CheckEinsum(const Operands& o) { return CheckOutputTypes(o); }
Status CheckGridSample(const Operands& o) { return CheckOutputTypes(o); }
Status CheckMaxRoiPool(const Operands& o) { return CheckOutputTypes(o); }
Status CheckMaxUnpool(const Operands& o) { return CheckOutputTypes(o); }
Status CheckRecurrent(const Operands& o) { return CheckOutputTypes(o); }
Status CheckRoiAlign(const Operands& o) { return CheckOutputTypes(o); }
Status CheckSTFT(const Operands& o) { return CheckOutputTypes(o); }

// These write by the output's own type and extent, or compare both with what they find.
Status CheckNonMaxSuppression(const Operands&) { return OkStatus(); }
Status CheckUnique(const Operands&) { return OkStatus(); }
Status CheckDetectionOutput(const Operands&) { return OkStatus(); }
Status CheckBitCast(const Operands&) { return OkStatus(); }
Status CheckCosineWindow(const Operands&) { return OkStatus(); }
Status CheckEyeLike(const Operands&) { return OkStatus(); }
Status CheckMelWeightMatrix(const Operands&) { return OkStatus(); }
Status CheckTfIdfVectorizer(const Operands&) { return OkStatus(); }

Status CheckRandom(const Operands& o) {
  if (o.op == "Bernoulli") SLIPWAY_CHECK_FIT(SameDims(o.x(), o.y()), "output", o.y(), "input", o.x());
  return OkStatus();
}

Status CheckPredicate(const Operands& o) {
  SLIPWAY_CHECK_FIT(o.y().dtype == DType::kBool && SameDims(o.x(), o.y()), "output", o.y(), "input", o.x());
  return OkStatus();
}

Status CheckRotaryEmbedding(const Operands& o) {
  SLIPWAY_CHECK_FIT(Same(o.x(), o.y()), "output", o.y(), "X", o.x());
  return OkStatus();
}

Status CheckLoss(const Operands& o) {
  const int64_t count = o.attributes.String("reduction", "mean") == "none" ? o.in[1].count() : 1;
  SLIPWAY_CHECK_FIT(o.y().count() == count, "output", o.y(), "the target", o.in[1]);
  if (o.out.size() > 1 && o.out[1].present()) {
    SLIPWAY_CHECK_FIT(Same(o.out[1], o.x()), "log_prob", o.out[1], "scores", o.x());
  }
  return CheckOutputTypes(o);
}

// The compile side takes no bodies.
Status CheckControl(const Operands& o) {
  return Misfit("control flow ('" + std::string(o.op) + "') in a step");
}

// Nor sequences and optionals.
Status CheckSequence(const Operands& o) {
  return Misfit("an operator on sequences ('" + std::string(o.op) + "') in a step");
}

struct Entry {
  const char* domain;
  const char* op;
  int min_in, max_in, min_out, max_out;  // -1: no bound
  Status (*check)(const Operands&);
};

struct Range {
  constexpr Range(int low_bound, int high_bound) : low(low_bound), high(high_bound) {}
  int low, high;
};
constexpr const char kOnnx[] = "";
constexpr const char kSlipway[] = "slipway";

// The table of operators, with the check of each inference family.
#define SLIPWAY_OP(DOMAIN, NAME, INPUTS, OUTPUTS, INFER, ATTRIBUTES) \
  {k##DOMAIN, #NAME, Range INPUTS.low, Range INPUTS.high, Range OUTPUTS.low, Range OUTPUTS.high, &Check##INFER},
constexpr Entry kEntries[] = {
#include "model/ops/operators.inc"
};
#undef SLIPWAY_OP

Status CheckNumber(const char* what, std::span<const TensorView> list, int low, int high) {
  const auto n = static_cast<int>(std::min<size_t>(list.size(), 1 << 20));
  SLIPWAY_CHECK_FIT(n >= low && (high < 0 || n <= high), std::to_string(list.size()) + " " + what + ", expected " + std::to_string(low) +
                                                            (high < 0 ? " or more" : " to " + std::to_string(high)));
  for (int i = 0; i < low; ++i) {
    SLIPWAY_CHECK_FIT(list[static_cast<size_t>(i)].present(), std::string(what) + " without number " + std::to_string(i));
  }
  return OkStatus();
}

}  // namespace

namespace {

const Entry* FindEntry(std::string_view domain, std::string_view op) {
  for (const Entry& e : kEntries) {
    if (op == e.op && domain == e.domain) return &e;
  }
  return nullptr;
}

}  // namespace

Status CheckArity(std::string_view domain, std::string_view op, std::span<const TensorView> inputs,
                  std::span<const TensorView> outputs) {
  const Entry* e = FindEntry(domain, op);
  if (!e) return Unsupported("no operator " + std::string(op));
  SLIPWAY_RETURN_IF_ERROR(CheckNumber("inputs", inputs, e->min_in, e->max_in));
  return CheckNumber("outputs", outputs, e->min_out, e->max_out);
}

Status CheckOperands(std::string_view domain, std::string_view op, const ops::Attributes& attributes,
                     std::span<const TensorView> inputs, std::span<const TensorView> outputs) {
  SLIPWAY_RETURN_IF_ERROR(CheckArity(domain, op, inputs, outputs).With(op));
  return FindEntry(domain, op)->check({op, attributes, inputs, outputs}).With(op);
}

}  // namespace slipway::backends
