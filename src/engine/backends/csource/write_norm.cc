// Calls of normalisations, general matrix products and transposed convolution, of float32.

#include <algorithm>

#include "engine/backends/csource/writer.h"
#include "model/ops/window.h"

namespace slipway::backends::csource {
namespace {

Status NeedFloats(const SourceWriter& w) {
  for (size_t i = 0; i < w.step->inputs.size(); ++i) {
    if (w.Has(i) && w.In(i).dtype != DType::kFloat32)
      return Unsupported(w.op.op + " of " + DTypeName(w.In(i).dtype));
  }
  return OkStatus();
}

struct Line {
  int axis;
  std::string outer, count, inner;
};
Result<Line> LineOf(const SourceWriter& w, const Dims& x, int64_t absent) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const int axis = static_cast<int>(Axis(w.op.attributes.Int("axis", absent), x.rank()));
  if (axis < 0 || axis >= x.rank()) return InvalidArgument("an axis outside of the input");
  return Line{axis, Number(x.count(0, axis)), Number(x[static_cast<size_t>(axis)]),
              Number(x.count(axis + 1, x.rank()))};
}

Status AlongLine(SourceWriter& w) {
  SLIPWAY_ASSIGN_OR_RETURN(const Line line, LineOf(w, w.Shape(w.In(0)), -1));
  const bool lp = w.op.op == "LpNormalization";
  const std::string piece = lp ? "lpnorm" : w.op.op == "Hardmax" ? "hardmax" : "logsoftmax";
  std::vector<std::string> arguments = {line.outer, line.count, line.inner};
  if (lp) arguments.push_back(Number(w.op.attributes.Int("p", 2)));
  arguments.insert(arguments.end(), {w.Input(0), w.Output(0)});
  w.Need(piece);
  w.Call("sw_" + piece, arguments);
  return OkStatus();
}

// InstanceNormalization is a group for each channel.
Status GroupNorm(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const Dims x = w.Shape(w.In(0));
  if (x.rank() < 2) return InvalidArgument("an input of less than 2 dimensions");
  const bool instance = w.op.op == "InstanceNormalization";
  const int64_t groups = instance ? x[1] : w.op.attributes.Int("num_groups", 0);
  if (groups < 1 || x[1] % groups != 0) return InvalidArgument("groups that do not fit");
  for (const size_t i : {size_t{1}, size_t{2}}) {
    if (w.Shape(w.In(i)).count() != x[1])
      return Unsupported(w.op.op + " whose scale is not one number for each channel");
  }
  w.Need("groupnorm");
  w.Call("sw_groupnorm",
         {Number(x[0] * groups), Number(groups), Number(x[1] / groups),
          Number(x.count(2, x.rank())), Number(w.op.attributes.Float("epsilon", 1e-5f)), w.Input(0),
          w.Input(1), w.Input(2), w.Output(0)});
  return OkStatus();
}

// y = y op v, v broadcasting.
void InPlace(SourceWriter& w, const char* name, const char* text, size_t input) {
  w.Call(
      w.Instance("map2", name, {{"@X", "float"}, {"@Z", "float"}, {"@Y", "float"}, {"@E", text}}),
      {w.Struct("sw_nd", BroadcastFields(w.Shape(w.Out()), w.Shape(w.Out()), w.Shape(w.In(input)))),
       w.Pointer(w.Out(), "const float*"), w.Input(input), w.Output(0)});
}

Status LayerNorm(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0));
  SLIPWAY_ASSIGN_OR_RETURN(const Line line, LineOf(w, x, -1));
  const int64_t count = x.count(line.axis, x.rank());
  const std::string epsilon = Number(w.op.attributes.Float("epsilon", 1e-5f));
  const bool rms = w.op.op == "RMSNormalization";
  for (const size_t i : {size_t{1}, size_t{2}}) {
    if (w.HasOut(i) && w.Out(i).dtype != DType::kFloat32)
      return Unsupported("statistics of another type than float32");
  }
  const auto whole = [&](size_t i) { return !w.Has(i) || w.Shape(w.In(i)).count() == count; };
  const bool inside = whole(1) && whole(2);
  const std::string scale = inside ? w.Input(1) : "0", bias = inside ? w.Input(2) : "0";
  const std::string piece = rms ? "rmsnorm" : "layernorm";
  std::vector<std::string> arguments = {line.outer, Number(count), epsilon, w.Input(0), scale};
  if (!rms) arguments.push_back(bias);
  arguments.push_back(w.Output(0));
  w.Need(piece);
  w.Call("sw_" + piece, arguments);
  if (!inside) {
    InPlace(w, "Mul_f32", "a * b", 1);
    if (w.Has(2)) InPlace(w, "Add_f32", "a + b", 2);
  }
  if (!rms && (w.HasOut(1) || w.HasOut(2))) {
    w.Need("moments");
    w.Call("sw_moments",
           {line.outer, Number(count), epsilon, w.Input(0), w.Output(1), w.Output(2)});
  }
  return OkStatus();
}

Status Lrn(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const Dims x = w.Shape(w.In(0));
  const auto& a = w.op.attributes;
  if (x.rank() < 2 || a.Int("size", 0) < 1) return InvalidArgument("a size that does not fit");
  w.Need("lrn");
  w.Call("sw_lrn",
         {Number(x[0]), Number(x[1]), Number(x.count(2, x.rank())), Number(a.Int("size", 1)),
          Number(a.Float("alpha", 1e-4f)), Number(a.Float("beta", 0.75f)),
          Number(a.Float("bias", 1)), w.Input(0), w.Output(0)});
  return OkStatus();
}

Status ConvTranspose(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedFloats(w));
  const Dims x = w.Shape(w.In(0)), weights = w.Shape(w.In(1)), y = w.Shape(w.Out());
  const int64_t groups = w.op.attributes.Int("group", 1);
  if (groups < 1 || weights[0] != x[1] || x[1] % groups != 0 || y[1] != weights[1] * groups)
    return InvalidArgument("groups that do not fit");
  SLIPWAY_ASSIGN_OR_RETURN(
      const ops::Window win,
      ops::ResolveTransposedWindow(w.op.attributes, x, y, std::span(weights).subspan(2)));
  w.Need("convtranspose");
  w.Call(
      "sw_convtranspose",
      {w.Struct("sw_window",
                Number(x[0]) + ", " + Number(y[1]) + ", " + Number(x[1]) + ", " + Number(groups) +
                    ", " + List(std::span(win.in)) + ", " + List(std::span(win.out)) + ", " +
                    List(std::span(win.kernel)) + ", " + List(std::span(win.stride)) + ", " +
                    List(std::span(win.dilation)) + ", " + List(std::span(win.pad_begin))),
       w.Input(0), w.Input(1), w.Input(2), w.Output(0)});
  return OkStatus();
}

constexpr Row kRows[] = {
    {"", "LogSoftmax", AlongLine},         {"", "Hardmax", AlongLine},
    {"", "LpNormalization", AlongLine},    {"", "InstanceNormalization", GroupNorm},
    {"", "GroupNormalization", GroupNorm}, {"", "LayerNormalization", LayerNorm},
    {"", "RMSNormalization", LayerNorm},   {"", "LRN", Lrn},
    {"", "ConvTranspose", ConvTranspose},
};

}  // namespace

std::span<const Row> NormRows() { return kRows; }

}  // namespace slipway::backends::csource
