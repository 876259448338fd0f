// slipway.ConvDepthwise: a 1x1 convolution and the depthwise one behind it, some rows at a time, so
// that what lies between them stays in the second-level cache. Its kernels are those of the two and
// compute what they would one after the other, bit for bit.

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/backends/x86/run/conv.h"
#include "engine/kernels/conv/conv.h"
#include "engine/kernels/depthwise/depthwise.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {
namespace {

// Of the second-level cache: what lies between for the channels that are computed together, and the
// rows of x that are read again for the next of them.
constexpr int64_t kBetweenBytes = 256 << 10, kInputBytes = 256 << 10;
// What the first convolution writes at a time where channels lie last, as kernels/conv has it.
constexpr int64_t kLastBytes = 64 << 10;

int64_t Up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Pair {
  Dims x, w, v, y;
  ops::Window window;  // of the second
  ops::Activation inner, outer;
};

Result<Pair> ReadPair(const Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  const DType type = b.in_type();
  if (type != DType::kBFloat16) SLIPWAY_RETURN_IF_ERROR(b.NeedType(0, DType::kFloat32));
  for (size_t i = 1; i < b.num_inputs(); ++i) {
    if (b.Has(i)) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, type));
  }
  if (b.out_type() != type) return Unsupported("an output of another type than the input");
  Pair p;
  p.x = b.in_dims(0);
  p.w = b.in_dims(1);
  p.v = b.in_dims(2);
  p.y = b.out_dims();
  if (p.x.rank() != 4) return Unsupported("other than two spatial dimensions");
  const int64_t channels = p.w.rank() == 4 ? p.w[0] : 0;
  if (p.w != Dims{channels, p.x[1], 1, 1} || p.v.rank() != 4 || p.v[0] != channels || p.v[1] != 1 ||
      p.y.rank() != 4 || p.y[0] != p.x[0] || p.y[1] != channels) {
    return InvalidArgument("X " + p.x.ToString() + ", W " + p.w.ToString() + ", V " +
                           p.v.ToString() + " and Y " + p.y.ToString() +
                           " make no pair of convolutions");
  }
  for (size_t i : {3, 4}) {
    if (b.Has(i) && b.in_dims(i) != Dims{channels})
      return InvalidArgument("a bias does not fit the channels");
  }
  Dims between = p.x;
  between[1] = channels;
  SLIPWAY_ASSIGN_OR_RETURN(
      p.window, ops::ResolveWindow(b.attributes(), between, p.y, std::span(p.v).subspan(2)));
  for (int d = 1; d < 3; ++d) {
    const ops::Window& w = p.window;
    const int64_t room =
        w.in[d] + w.pad_begin[d] + w.pad_end[d] - (w.kernel[d] - 1) * w.dilation[d] - 1;
    if (room < 0 || room / w.stride[d] + 1 != w.out[d]) {
      return InvalidArgument("X " + p.x.ToString() + " and Y " + p.y.ToString() +
                             " do not fit the window");
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(p.inner,
                           ops::ParseActivation(b.attributes(), "inner", "inner_params", "none"));
  SLIPWAY_ASSIGN_OR_RETURN(p.outer, ops::ParseActivation(b.attributes()));
  return p;
}

// Channels that are computed together: two vectors, or all where they lie last.
struct Panel {
  kernels::ConvPlan plan;  // of a whole image
  int64_t channels = 0;
};

// The plan of a session and what it points to.
struct PairPlan {
  std::vector<kernels::ConvStep> steps;
  std::vector<int64_t> moves;
  Panel panel, last_panel;
  int64_t panels = 1;
  int64_t panel_bytes = 0;      // packed, of each but the last
  int64_t depthwise_bytes = 0;  // in front of the packed weights of the second
  int64_t channel_floats = 0;   // of these, for a channel
  kernels::DepthwiseShape shape;
  int64_t block = 1, element = 4;
  int64_t rows = 1;    // between the two that are held
  int64_t chunks = 1;  // of rows of outputs, for threads and for the cache of x
  int64_t jobs = 0, slot_bytes = 0;
  kernels::ConvCall conv;
  kernels::DepthwiseParams depthwise;
  void (*run_conv)(const kernels::ConvPlan&, const kernels::ConvCall&, void*, int64_t, int64_t);
  void (*run_depthwise)(const kernels::DepthwiseShape&, const kernels::DepthwiseParams&,
                        const kernels::DepthwiseCall&, int64_t, int64_t);

  void Job(int64_t job, const char* x, const uint8_t* weights, char* y, char* between) const;
};

void PairPlan::Job(int64_t job, const char* x, const uint8_t* weights, char* y,
                   char* between) const {
  const kernels::DepthwiseShape& s = shape;
  const int64_t number = job % panels, chunk = job / panels % chunks, image = job / panels / chunks;
  const Panel& p = number + 1 == panels ? last_panel : panel;
  const bool last = block == 1;
  const int64_t pixel = (last ? p.channels : block) * element;  // bytes, between the two and of y
  const int64_t blocks = last ? 1 : p.channels / block;
  const int64_t row = s.in_w * pixel, plane = rows * row;
  kernels::ConvPlan plan = p.plan;
  plan.splits = 1;
  plan.shape.y_height = 1;
  plan.shape.y_width = rows * s.in_w;
  kernels::ConvCall call = conv;
  call.weights = reinterpret_cast<const float*>(weights + number * panel_bytes);
  x += image * s.in_h * s.in_w * plan.column_bytes * (last ? 1 : plan.shape.in_blocks());
  const int64_t span = (s.kernel_h - 1) * s.dilation_h + 1;
  const int64_t end = s.out_h * (chunk + 1) / chunks;
  int64_t held = 0, held_end = 0;  // rows between the two
  for (int64_t out = s.out_h * chunk / chunks, out_end; out < end; out = out_end) {
    const int64_t top = out * s.stride_h - s.pad_top, first = std::clamp<int64_t>(top, 0, s.in_h);
    out_end = rows == s.in_h
                  ? end
                  : std::clamp((first + rows - span + s.pad_top) / s.stride_h + 1, out + 1, end);
    const int64_t stop = std::clamp((out_end - 1) * s.stride_h - s.pad_top + span, first, s.in_h);
    const int64_t kept = std::max<int64_t>(held_end - first, 0);
    for (int64_t b = 0; kept > 0 && first > held && b < blocks; ++b) {
      char* to = between + b * plane;
      std::memmove(to, to + (first - held) * row, static_cast<size_t>(kept * row));
    }
    held = first;
    held_end = std::max(first + kept, stop);
    if (first + kept < stop) {
      plan.shape.width = plan.shape.out_width = (stop - first - kept) * s.in_w;
      plan.bands = plan.jobs =
          last ? std::clamp<int64_t>(plan.shape.out_width * pixel / kLastBytes, 1, stop - first)
               : 1;
      call.x = x + (first + kept) * s.in_w * plan.column_bytes;
      call.y = between + kept * row;
      run_conv(plan, call, nullptr, 0, plan.jobs);
    }
    kernels::DepthwiseShape part = s;
    part.batch = 1;
    part.channels = last ? p.channels : block;
    part.in_h = stop - first;
    part.out_h = out_end - out;
    part.pad_top = first - top;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t channel = number * panel.channels + b * block;
      const int64_t at = last ? image * s.out_h : (image * s.channels + channel) / block * s.out_h;
      const kernels::DepthwiseCall second = {
          between + b * plane,
          reinterpret_cast<const float*>(weights + depthwise_bytes) + channel * channel_floats,
          nullptr, y + (at + out) * s.out_w * pixel};
      run_depthwise(part, depthwise, second, 0, kernels::DepthwiseUnits(part, depthwise));
    }
  }
}

}  // namespace

Status BuildConvDepthwise(Builder& b) {
  SLIPWAY_ASSIGN_OR_RETURN(const Pair p, ReadPair(b));
  const bool half = b.in_type() == DType::kBFloat16;
  const Layout layout = b.out_layout();
  if (layout == Layout::kPlain || b.in_layout() != layout)
    return Unsupported("layouts other than channels last and blocks of channels");
  const bool last = layout == Layout::kChannelsLast;
  const kernels::Isa isa = half                          ? kernels::BestBfloat16Isa()
                           : layout == Layout::kBlocked8 ? std::min(b.isa(), kernels::Isa::kAvx2)
                                                         : b.isa();
  auto made = std::make_shared<PairPlan>();
  PairPlan& plan = *made;
  plan.block = format::ChannelBlock(layout);
  plan.element = half ? 2 : 4;
  const kernels::ConvKernels* conv = half ? kernels::GetConvBf16(isa) : &kernels::GetConv(isa);
  const kernels::DepthwiseKernels* depthwise =
      half ? kernels::GetDepthwiseBf16(isa, plan.block) : &kernels::GetDepthwise(isa, plan.block);
  if (!conv || !depthwise) return Unsupported("bfloat16 in blocks of 8 or without AVX512-BF16");
  const kernels::ConvTraits traits = conv->traits;
  if (!last && traits.block != plan.block)
    return Unsupported("blocks of channels that this CPU has no vectors for");
  const int64_t channels = p.w[0];
  if (channels % plan.block != 0) return Unsupported("channels that do not fill the blocks");
  if (p.y.count() == 0) return OkStatus();
  const ops::Window& w = p.window;
  plan.shape = {.batch = p.x[0],
                .channels = channels,
                .in_h = w.in[1],
                .in_w = w.in[2],
                .out_h = w.out[1],
                .out_w = w.out[2],
                .kernel_h = w.kernel[1],
                .kernel_w = w.kernel[2],
                .stride_h = w.stride[1],
                .stride_w = w.stride[2],
                .dilation_h = w.dilation[1],
                .dilation_w = w.dilation[2],
                .pad_top = w.pad_begin[1],
                .pad_left = w.pad_begin[2]};
  const kernels::DepthwiseShape& s = plan.shape;
  kernels::ConvShape first = {
      .images = 1,
      .in_channels = p.x[1],
      .out_channels = channels,
      .height = s.in_h,
      .width = s.in_w,
      .out_height = s.in_h,
      .out_width = s.in_w,
      .block = traits.block,
      .input = last ? kernels::ConvInput::kChannelsLast : kernels::ConvInput::kBlocked,
      .last = last};
  if (!s.Valid() || !first.Valid() || first.few())
    return Unsupported("extents that are empty or too large, or very few channels that lie last");
  if (half && last && p.x[1] % 2 != 0)
    return Unsupported("an odd number of channels that lie last");
  if (!b.HasWeights() || !b.ConstantData(2) || (b.Has(3) && !b.ConstantData(3)) ||
      (b.Has(4) && !b.ConstantData(4)))
    return Unsupported("weights or biases that are no constants");

  plan.panel.channels =
      last ? channels : std::min<int64_t>(channels, std::max(traits.block, 2 * traits.lanes));
  plan.panels = Up(channels, plan.panel.channels);
  plan.last_panel.channels = channels - (plan.panels - 1) * plan.panel.channels;
  for (Panel* panel : {&plan.panel, &plan.last_panel}) {
    first.out_channels = panel->channels;
    panel->plan = kernels::PlanConv(first, traits, 1);
    plan.depthwise_bytes += Up(kernels::ConvPackedBytes(first, traits), 64) * 64 *
                            (panel == &plan.panel ? plan.panels - 1 : 1);
  }
  first.out_channels = plan.panel.channels;
  plan.panel_bytes = Up(kernels::ConvPackedBytes(first, traits), 64) * 64;
  // As PackDepthwise and PackDepthwiseBf16 lay them out.
  plan.channel_floats = (half ? Up(s.kernel_h, 2) : s.kernel_h) * s.kernel_w + 1;
  const int64_t bytes = plan.depthwise_bytes + Up(channels, half ? 16 : depthwise->lanes) *
                                                   (half ? 16 : depthwise->lanes) *
                                                   plan.channel_floats * 4;
  const std::string form = "conv-depthwise:" + std::to_string(traits.lanes) + "x" +
                           std::to_string(traits.pair) + (last ? "-last" : "-blocks");
  SLIPWAY_ASSIGN_OR_RETURN(
      const PackedWeightsPtr packed, b.Packed(form, bytes, [&](const void* raw, uint8_t* to) {
        std::memset(to, 0, static_cast<size_t>(bytes));
        const auto at = [&](const void* data, int64_t elements) {
          return data ? static_cast<const uint8_t*>(data) + elements * plan.element : nullptr;
        };
        for (int64_t c = 0; c < channels; c += plan.panel.channels) {
          kernels::ConvShape panel = first;
          panel.out_channels = std::min(plan.panel.channels, channels - c);
          kernels::PackConv(panel, traits, at(raw, c * p.x[1]), at(b.ConstantData(3), c),
                            to + c / plan.panel.channels * plan.panel_bytes);
        }
        const auto bias = Floats(b, 4), weights = half ? std::vector<float>() : Floats(b, 2);
        const AlignedBuffer second =
            half ? kernels::PackDepthwiseBf16(
                       s, plan.block, static_cast<const uint16_t*>(b.ConstantData(2)), bias.data())
                 : kernels::PackDepthwise(s, depthwise->lanes, weights.data(), bias.data());
        if (!second.data()) return ResourceExhausted("no memory for packed weights");
        if (static_cast<int64_t>(second.size()) != bytes - plan.depthwise_bytes)
          return Internal("packed weights of another size");
        std::memcpy(to + plan.depthwise_bytes, second.data(), second.size());
        return OkStatus();
      }));

  // All rows of a window at least.
  const int64_t span = (s.kernel_h - 1) * s.dilation_h + 1,
                row_bytes = s.in_w * plan.panel.channels * plan.element;
  plan.rows = std::min(s.in_h, std::max(span, kBetweenBytes / row_bytes));
  const int threads = b.threads();
  const int64_t input_bytes = s.in_h * s.in_w * p.x[1] * plan.element;
  plan.chunks = plan.panels == 1 ? 1 : Up(input_bytes, kInputBytes);
  if (threads > 1)
    plan.chunks = std::max(plan.chunks, Up(int64_t{4} * threads, s.batch * plan.panels));
  plan.chunks = std::min(plan.chunks, Up(s.out_h, 4));
  plan.jobs = s.batch * plan.chunks * plan.panels;
  plan.slot_bytes = Up(plan.rows * row_bytes, 64) * 64;
  const int64_t jobs = plan.jobs, slots = std::min<int64_t>(jobs, threads > 1 ? 2 * threads : 1);
  b.Workspace(static_cast<uint64_t>(plan.slot_bytes) * static_cast<uint64_t>(slots));
  if (!packed) return OkStatus();  // a probe
  plan.steps.resize(static_cast<size_t>(plan.panel.plan.num_steps));
  plan.moves.resize(static_cast<size_t>(plan.panel.plan.num_moves));
  kernels::ConvSteps(plan.panel.plan, plan.steps.data(), plan.moves.data());
  for (Panel* panel : {&plan.panel, &plan.last_panel}) {
    panel->plan.steps = plan.steps.data();
    panel->plan.moves = plan.moves.data();
  }
  SetActivation(p.inner, half ? kernels::Isa::kAvx512 : isa, plan.conv, half);
  SetActivation(p.outer, b.isa(), plan.depthwise, half);
  plan.depthwise.block = plan.block;
  plan.depthwise.rows = plan.rows;
  plan.run_conv = conv->run;
  plan.run_depthwise = depthwise->run;
  b.Run([plan = std::shared_ptr<const PairPlan>(std::move(made)), packed, jobs,
         slots](const RunContext& context) {
    context.parallel.ParallelFor(slots, 1, [&](int64_t begin, int64_t end) {
      char* between = static_cast<char*>(context.workspace) + begin * plan->slot_bytes;
      for (int64_t job = jobs * begin / slots; job < jobs * end / slots; ++job)
        plan->Job(job, context.in<char>(0), packed->data, context.out<char>(), between);
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
