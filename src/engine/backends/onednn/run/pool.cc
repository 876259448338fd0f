// MaxPool, AveragePool and GlobalAveragePool in every layout.

#include <algorithm>

#include "engine/backends/onednn/run/step.h"
#include "model/ops/window.h"

namespace slipway::backends::onednn {
namespace {

Status AddPool(Builder& b, dnnl::algorithm algorithm, const dnnl::memory::dims& strides,
               const dnnl::memory::dims& kernel, const dnnl::memory::dims& pads,
               const dnnl::memory::dims& pads_end) {
  SLIPWAY_ASSIGN_OR_RETURN(const MemoryDesc x, b.Desc(b.input(0)));
  SLIPWAY_ASSIGN_OR_RETURN(const MemoryDesc y, b.Desc(b.output(0)));
  const dnnl::pooling_forward::primitive_desc pd(
      {dnnl::prop_kind::forward_inference, algorithm, x, y, strides, kernel, pads, pads_end},
      Attr(), Engine());
  b.Add<dnnl::pooling_forward>(
      pd, {{DNNL_ARG_SRC, b.At(x, InputAt(0))}, {DNNL_ARG_DST, b.At(y, OutputAt(0))}});
  return OkStatus();
}

Status CheckShapes(const Dims& x, const Dims& y) {
  if (x.rank() < 3 || x.rank() > 5 || y.rank() != x.rank() || x[0] != y[0] || x[1] != y[1]) {
    return InvalidArgument("X " + x.ToString() + " and Y " + y.ToString() + " make no pooling");
  }
  return OkStatus();
}

}  // namespace

Status BuildPool(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1, 1));
  const Dims x = b.InputDims(0), y = b.OutputDims(0);
  SLIPWAY_RETURN_IF_ERROR(CheckShapes(x, y));
  if (y.count() == 0) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window w, ops::ResolveWindow(b.attributes(), x, y));
  const bool max = b.op().op == "MaxPool",
             include_pad = b.attributes().Int("count_include_pad", 0) != 0;
  dnnl::memory::dims strides, kernel, pads, pads_end;
  for (int d = 3 - w.spatial; d < 3; ++d) {
    if (w.dilation[d] != 1) return Unsupported("a dilated pooling window");
    // With ceil_mode the last window may reach beyond the padding; without, rows may be left over.
    const int64_t exact = (w.out[d] - 1) * w.stride[d] + w.kernel[d] - w.in[d] - w.pad_begin[d];
    if (!max && include_pad && exact > w.pad_end[d])
      return Unsupported("count_include_pad with a window beyond the padding");
    if (w.pad_begin[d] >= w.kernel[d] || exact >= w.kernel[d])
      return Unsupported("a pooling window of nothing but padding");
    strides.push_back(w.stride[d]);
    kernel.push_back(w.kernel[d]);
    pads.push_back(w.pad_begin[d]);
    pads_end.push_back(std::max<int64_t>(exact, 0));
  }
  return AddPool(b,
                 max           ? dnnl::algorithm::pooling_max
                 : include_pad ? dnnl::algorithm::pooling_avg_include_padding
                               : dnnl::algorithm::pooling_avg_exclude_padding,
                 strides, kernel, pads, pads_end);
}

Status BuildGlobalPool(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1, 1));
  const Dims x = b.InputDims(0), y = b.OutputDims(0);
  SLIPWAY_RETURN_IF_ERROR(CheckShapes(x, y));
  if (y.count() == 0) return OkStatus();
  const size_t spatial = x.size() - 2;
  const dnnl::memory::dims kernel(x.begin() + 2, x.end());
  return AddPool(b, dnnl::algorithm::pooling_avg_exclude_padding, dnnl::memory::dims(spatial, 1),
                 kernel, dnnl::memory::dims(spatial, 0), dnnl::memory::dims(spatial, 0));
}

}  // namespace slipway::backends::onednn
