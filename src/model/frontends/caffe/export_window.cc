// Convolution, pooling, padding and resizing as Caffe layers. Caffe pads both sides alike: where
// the model does not, more is padded and what that adds is cut off again.

#include <algorithm>

#include "model/frontends/caffe/export_context.h"

namespace slipway::caffe {
namespace {

using Ints = std::vector<int64_t>;

struct Windows {
  Ints kernel, stride, dilation, before, behind;
};

Result<Windows> Read(const ExportContext& c, std::span<const int64_t> kernel) {
  if (!c.A().String("auto_pad", "NOTSET").starts_with("NOTSET"))
    return Unsupported("auto_pad is not resolved; run optimize first");
  const size_t n = kernel.size();
  Windows w{{kernel.begin(), kernel.end()}, Ints(n, 1), Ints(n, 1), Ints(n, 0), Ints(n, 0)};
  const auto strides = c.A().Ints("strides"), pads = c.A().Ints("pads"),
             dilations = c.A().Ints("dilations");
  for (size_t i = 0; i < n; ++i) {
    if (!strides.empty()) w.stride[i] = strides[i];
    if (!dilations.empty()) w.dilation[i] = dilations[i];
    if (pads.empty()) continue;
    w.before[i] = pads[i];
    w.behind[i] = pads[n + i];
    if (pads[i] < 0 || pads[n + i] < 0) return Unsupported("negative pads have no form in Caffe");
  }
  return w;
}

void Put(Message* p, const Windows& w, const Ints& pad) {
  const size_t n = w.kernel.size();
  auto put = [&](const char* name, const std::string& stem, const Ints& v, int64_t none) {
    if (std::all_of(v.begin(), v.end(), [&](int64_t x) { return x == none; })) return;
    if (std::all_of(v.begin(), v.end(), [&](int64_t x) { return x == v[0]; })) {
      p->Add(name, std::to_string(v[0]));
    } else if (n == 2 && !stem.empty()) {
      p->Add(stem + "_h", std::to_string(v[0]));
      p->Add(stem + "_w", std::to_string(v[1]));
    } else {
      for (const int64_t x : v) p->Add(name, std::to_string(x));
    }
  };
  put("kernel_size", "kernel", w.kernel, -1);
  put("stride", "stride", w.stride, 1);
  put("pad", "pad", pad, 0);
  put("dilation", "", w.dilation, 1);
}

// Cuts the spatial dimensions `have` of blob `x` to those of the node's output, from `front` on.
void CutTo(ExportContext& c, std::string x, Dims have, const Ints& front) {
  const Dims want = c.Out();
  std::vector<size_t> open;
  for (size_t i = 0; i < front.size(); ++i) {
    if (have[i + 2] != want[i + 2]) open.push_back(i);
  }
  for (size_t k = 0; k < open.size(); ++k) {
    const size_t i = open[k];
    const std::string to = k + 1 == open.size() ? c.Top() : c.Fresh(c.Top() + "_cut");
    x = c.Cut(x, have, static_cast<int>(i) + 2, front[i], want[i + 2], to);
    have[i + 2] = want[i + 2];
  }
}

Status Convolution(ExportContext& c, bool transposed) {
  SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* weight, c.Weight(1, "the weight"));
  const int64_t group = c.A().Int("group", 1);
  const bool bias = c.node().input(2) != nullptr;
  const std::string type = transposed ? "Deconvolution" : "Convolution";
  if (!c.A().Ints("output_shape").empty())
    return c.No("output_shape has no form in Caffe; give pads");
  const Ints kernel(weight->dims().begin() + 2, weight->dims().end());
  SLIPWAY_ASSIGN_OR_RETURN(Windows w, Read(c, kernel));
  const Dims x = c.In(), y = c.Out();
  Dims made = y;
  Ints pad(kernel.size()), front(kernel.size());
  for (size_t i = 0; i < kernel.size(); ++i) {
    const int64_t reach = w.dilation[i] * (kernel[i] - 1) + 1;
    if (transposed) {
      // The smaller pad on both sides leaves more than wanted; output_padding may want more still.
      pad[i] = std::min(w.before[i], w.behind[i]);
      front[i] = w.before[i] - pad[i];
      made[i + 2] = w.stride[i] * (x[i + 2] - 1) + reach - 2 * pad[i];
      if (made[i + 2] < front[i] + y[i + 2])
        return c.No("output_padding beyond the windows has no form in Caffe");
    } else {
      // Whole strides more in front, so that the windows stay where they are.
      const int64_t more = std::max<int64_t>(w.behind[i] - w.before[i], 0);
      front[i] = (more + w.stride[i] - 1) / w.stride[i];
      pad[i] = w.before[i] + front[i] * w.stride[i];
      made[i + 2] = (x[i + 2] + 2 * pad[i] - reach) / w.stride[i] + 1;
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(const std::string bottom, c.Bottom(0));
  const std::string top = made == y ? c.Top() : c.Fresh(c.Top() + "_padded");
  Message& p = c.Layer(type, {bottom}, {top}).AddMessage("convolution_param");
  p.Add("num_output", std::to_string(transposed ? weight->dims()[1] * group : weight->dims()[0]));
  p.Add("bias_term", bias ? "true" : "false");
  if (group != 1) p.Add("group", std::to_string(group));
  Put(&p, w, pad);
  std::vector<std::pair<Dims, std::span<const uint8_t>>> blobs{{weight->dims(), weight->bytes()}};
  if (bias) {
    SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor* b, c.Weight(2, "the bias"));
    blobs.emplace_back(b->dims(), b->bytes());
  }
  c.Blobs(top, type, blobs);
  if (made != y) CutTo(c, top, made, front);
  return OkStatus();
}
Status Conv(ExportContext& c) { return Convolution(c, false); }
Status ConvTranspose(ExportContext& c) { return Convolution(c, true); }

// How many windows Caffe has.
int64_t Count(int64_t x, int64_t kernel, int64_t stride, int64_t pad, bool ceil, bool padded) {
  const int64_t in = x + 2 * pad - kernel;
  if (in < 0) return 0;
  int64_t out = (ceil ? (in + stride - 1) / stride : in / stride) + 1;
  if (padded && (out - 1) * stride >= x + pad) --out;
  return out;
}

// Whether both divide every window by the same number: Caffe by the window clipped to input and
// padding, ONNX by that or by the part inside the input.
bool SameDivisors(const Windows& w, size_t i, int64_t x, int64_t pad, int64_t outputs,
                  int64_t front, bool counts_padding) {
  for (int64_t o = 0; o < outputs; ++o) {
    const int64_t start = o * w.stride[i] - w.before[i], end = start + w.kernel[i];
    const int64_t caffe = std::min(end, x + pad) - start;
    const int64_t onnx = counts_padding ? std::min(end, x + w.behind[i]) - start
                                        : std::min(end, x) - std::max<int64_t>(start, 0);
    if (caffe != onnx) return false;
  }
  return front == 0;
}

Status Pool(ExportContext& c, bool max) {
  if (c.node().output(1)) return c.No("the indices of a pooling have no form in Caffe");
  const auto kernel = c.A().Ints("kernel_shape");
  if (kernel.size() != 2) return c.No("Caffe pools over two dimensions");
  SLIPWAY_ASSIGN_OR_RETURN(Windows w, Read(c, kernel));
  if (w.dilation != Ints{1, 1}) return c.No("Caffe has no dilated pooling");
  const Dims x = c.In(), y = c.Out();
  const bool counts = c.A().Int("count_include_pad", 0) != 0;
  // Rounding up first, as Caffe does by itself; what is more than wanted is cut off.
  for (const bool shifted : {false, true}) {
    for (const int mode : {0, 1, 2}) {  // up and exact, down and exact, up and cut
      const bool ceil = mode != 1;
      Ints pad = w.before, front{0, 0};
      for (size_t i = 0; shifted && i < 2; ++i) {
        front[i] =
            (std::max<int64_t>(w.behind[i] - w.before[i], 0) + w.stride[i] - 1) / w.stride[i];
        pad[i] += front[i] * w.stride[i];
      }
      Dims made = y;
      const bool padded = pad[0] > 0 || pad[1] > 0;
      bool fits = true, exact = true, divisors = true;
      for (size_t i = 0; i < 2; ++i) {
        made[i + 2] = Count(x[i + 2], w.kernel[i], w.stride[i], pad[i], ceil, padded);
        fits &= pad[i] < w.kernel[i] && made[i + 2] >= front[i] + y[i + 2];
        exact &= made[i + 2] == y[i + 2];
        divisors &= max || SameDivisors(w, i, x[i + 2], pad[i], y[i + 2], front[i], counts);
        // Caffe's last window must start inside the input.
        fits &= (made[i + 2] - 1) * w.stride[i] - pad[i] < x[i + 2];
      }
      if (!fits || !divisors || (mode < 2 && !exact)) continue;
      SLIPWAY_ASSIGN_OR_RETURN(const std::string bottom, c.Bottom(0));
      const std::string top = exact ? c.Top() : c.Fresh(c.Top() + "_padded");
      Message& p = c.Layer("Pooling", {bottom}, {top}).AddMessage("pooling_param");
      p.Add("pool", max ? "MAX" : "AVE");
      Put(&p, w, pad);
      if (!ceil) p.Add("ceil_mode", "false");
      if (!exact) CutTo(c, top, made, front);
      return OkStatus();
    }
  }
  if (!max)
    return c.No(
        "Caffe's average counts the padding, alike on both sides; set count_include_pad or pad "
        "before it");
  return c.No("its padding has no form in Caffe, whose pad is smaller than the kernel");
}
Status MaxPool(ExportContext& c) { return Pool(c, true); }
Status AveragePool(ExportContext& c) { return Pool(c, false); }

Status Global(ExportContext& c, const char* method) {
  if (c.Rank() != 4) return c.No("Caffe pools over two dimensions");
  SLIPWAY_ASSIGN_OR_RETURN(const std::string bottom, c.Bottom(0));
  Message& p = c.Layer("Pooling", {bottom}, {c.Top()}).AddMessage("pooling_param");
  p.Add("pool", method);
  p.Add("global_pooling", "true");
  return OkStatus();
}
Status GlobalMaxPool(ExportContext& c) { return Global(c, "MAX"); }
Status GlobalAveragePool(ExportContext& c) { return Global(c, "AVE"); }

// Zeros around an image: a 1x1 convolution that copies, with its padding.
Status Pad(ExportContext& c) {
  const Dims x = c.In(), y = c.Out();
  const ir::Tensor *pads = c.node().constant_input(1), *value = c.node().constant_input(2),
                   *axes = c.node().constant_input(3);
  if (c.A().String("mode", "constant") != "constant" ||
      (c.node().input(2) && ExportContext::Scalar(value) != 0.0f))
    return c.No("only padding with zeros has a form in Caffe");
  if (!pads || (c.node().input(3) && !axes)) return c.No("its pads are computed");
  const Ints numbers = pads->ToInts();
  Ints at = axes ? axes->ToInts() : Ints();
  for (int i = 0; !axes && i < x.rank(); ++i) at.push_back(i);
  Windows w{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
  for (size_t i = 0; i < at.size(); ++i) {
    const int64_t a = at[i] < 0 ? at[i] + x.rank() : at[i];
    const int64_t before = numbers[i], behind = numbers[at.size() + i];
    if (before == 0 && behind == 0) continue;
    if (before < 0 || behind < 0 || a < 2 || x.rank() != 4)
      return c.No("only height and width of an image can be padded in Caffe");
    w.before[static_cast<size_t>(a) - 2] = before;
    w.behind[static_cast<size_t>(a) - 2] = behind;
  }
  if (x.rank() != 4) return c.No("only height and width of an image can be padded in Caffe");
  Ints pad(2), front(2);
  Dims made = y;
  for (size_t i = 0; i < 2; ++i) {
    pad[i] = std::max(w.before[i], w.behind[i]);
    front[i] = pad[i] - w.before[i];
    made[i + 2] = x[i + 2] + 2 * pad[i];
  }
  SLIPWAY_ASSIGN_OR_RETURN(const std::string bottom, c.Bottom(0));
  const std::string top = made == y ? c.Top() : c.Fresh(c.Top() + "_padded");
  Message& p = c.Layer("Convolution", {bottom}, {top}).AddMessage("convolution_param");
  p.Add("num_output", std::to_string(x[1]));
  p.Add("bias_term", "false");
  if (x[1] != 1) p.Add("group", std::to_string(x[1]));
  Put(&p, w, pad);
  c.Blobs(top, "Convolution", {{Dims{x[1], 1, 1, 1}, c.Filled(x[1], 1)}});
  if (made != y) CutTo(c, top, made, front);
  return OkStatus();
}

// By a whole factor to the nearest: a Deconvolution that repeats. Linear with aligned corners:
// Interp.
Status Resize(ExportContext& c) {
  const Dims x = c.In(), y = c.Out();
  const std::string mode = std::string(c.A().String("mode", "nearest")),
                    place =
                        std::string(c.A().String("coordinate_transformation_mode", "half_pixel")),
                    round = std::string(c.A().String("nearest_mode", "round_prefer_floor"));
  if (x.rank() != 4 || x[0] != y[0] || x[1] != y[1])
    return c.No("only height and width of an image can be resized in Caffe");
  SLIPWAY_ASSIGN_OR_RETURN(const std::string bottom, c.Bottom(0));
  if (mode == "linear" && place == "align_corners") {
    Message& p = c.Layer("Interp", {bottom}, {c.Top()}).AddMessage("interp_param");
    p.Add("height", std::to_string(y[2]));
    p.Add("width", std::to_string(y[3]));
    return OkStatus();
  }
  if (mode != "nearest")
    return c.No("Caffe's Interp is linear with aligned corners; this is " + mode + " with " +
                place);
  const bool corner = place == "asymmetric" && round == "floor",
             middle = (place == "half_pixel" || place == "pytorch_half_pixel" ||
                       place == "half_pixel_symmetric") &&
                      round.starts_with("round");
  if ((!corner && !middle) || x[2] < 1 || x[3] < 1 || y[2] % x[2] != 0 || y[3] % x[3] != 0)
    return c.No("Caffe repeats by whole factors; this is from " + x.ToString() + " to " +
                y.ToString() + " with " + place + " and " + round);
  const Windows w{{y[2] / x[2], y[3] / x[3]}, {y[2] / x[2], y[3] / x[3]}, {1, 1}, {0, 0}, {0, 0}};
  Message& p = c.Layer("Deconvolution", {bottom}, {c.Top()}).AddMessage("convolution_param");
  p.Add("num_output", std::to_string(x[1]));
  p.Add("bias_term", "false");
  if (x[1] != 1) p.Add("group", std::to_string(x[1]));
  Put(&p, w, {0, 0});
  const Dims dims{x[1], 1, w.kernel[0], w.kernel[1]};
  c.Blobs(c.Top(), "Deconvolution", {{dims, c.Filled(dims.count(), 1)}});
  return OkStatus();
}

Status MaxRoiPool(ExportContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string x, c.Bottom(0));
  SLIPWAY_ASSIGN_OR_RETURN(const std::string rois, c.Bottom(1));
  const auto size = c.A().Ints("pooled_shape");
  Message& p = c.Layer("ROIPooling", {x, rois}, {c.Top()}).AddMessage("roi_pooling_param");
  p.Add("pooled_h", std::to_string(size[0]));
  p.Add("pooled_w", std::to_string(size[1]));
  p.Add("spatial_scale", Number(c.A().Float("spatial_scale", 1)));
  return OkStatus();
}

Status DetectionOutput(ExportContext& c) {
  Names bottoms;
  for (size_t i = 0; i < 3; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(std::string b, c.Bottom(i));
    bottoms.push_back(std::move(b));
  }
  const ops::Attributes& a = c.A();
  Message& p = c.Layer("DetectionOutput", bottoms, {c.Top()}).AddMessage("detection_output_param");
  p.Add("num_classes", std::to_string(a.Int("num_classes", 0)));
  p.Add("share_location", a.Int("share_location", 1) != 0 ? "true" : "false");
  p.Add("background_label_id", std::to_string(a.Int("background_label_id", 0)));
  Message& nms = p.AddMessage("nms_param");
  nms.Add("nms_threshold", Number(a.Float("nms_threshold", 0.3f)));
  nms.Add("top_k", std::to_string(a.Int("top_k", -1)));
  nms.Add("eta", Number(a.Float("eta", 1)));
  p.Add("code_type", std::string(a.String("code_type", "CORNER")));
  if (a.Int("variance_encoded_in_target", 0) != 0) p.Add("variance_encoded_in_target", "true");
  p.Add("keep_top_k", std::to_string(a.Int("keep_top_k", -1)));
  if (a.Has("confidence_threshold"))
    p.Add("confidence_threshold", Number(a.Float("confidence_threshold", 0)));
  return OkStatus();
}

constexpr ExportEntry kEntries[] = {
    {"", "AveragePool", AveragePool},
    {"", "Conv", Conv},
    {"", "ConvTranspose", ConvTranspose},
    {"slipway", "DetectionOutput", DetectionOutput},
    {"", "GlobalAveragePool", GlobalAveragePool},
    {"", "GlobalMaxPool", GlobalMaxPool},
    {"", "MaxPool", MaxPool},
    {"", "MaxRoiPool", MaxRoiPool},
    {"", "Pad", Pad},
    {"", "Resize", Resize},
};

}  // namespace

std::span<const ExportEntry> WindowExports() { return kEntries; }

}  // namespace slipway::caffe
