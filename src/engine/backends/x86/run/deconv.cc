// ConvTranspose in float32 as direct convolutions (kernels/conv): the outputs that lie a stride
// apart see the same taps, so that each of the stride_height x stride_width kinds of them is a
// convolution of its own with a part of the window, turned round, and writes every stride-th pixel.

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "engine/backends/x86/run/backend.h"
#include "engine/backends/x86/run/step.h"
#include "engine/kernels/conv/conv.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {
namespace {

// One dimension of a kind of outputs.
struct Side {
  int64_t first;  // output
  int64_t count;  // of outputs
  int64_t tap;    // the first of the window, then every stride-th
  int64_t taps;
  int64_t pad;  // before the input, of the convolution
};

// Output o sums inputs (o + pad - tap * dilation) / stride where that is whole. The window
// describes the convolution Y -> X.
Side SideOf(const ops::Window& w, int d, int64_t kind) {
  const int64_t stride = w.stride[d], pad = w.pad_begin[d];
  Side s;
  s.tap = kind;
  s.taps = (w.kernel[d] - kind + stride - 1) / stride;
  s.first = ((kind - pad) % stride + stride) % stride;
  s.count = s.first < w.in[d] ? (w.in[d] - s.first + stride - 1) / stride : 0;
  s.pad = (s.taps - 1) * w.dilation[d] - (s.first + pad - kind) / stride;
  return s;
}

struct Part {
  Side down, across;
  kernels::ConvShape shape;
  kernels::ConvPlan plan;
  std::vector<kernels::ConvStep> steps;
  std::vector<int64_t> moves;
  int64_t weights_at = 0;  // bytes
  int64_t first_job = 0;
  int64_t y_at = 0;  // elements
};

// The taps of a part as a convolution has them: [group * out, in, rows, columns] of W [group * in,
// out, kernel...], turned round.
std::vector<float> Taps(const Part& p, const ops::Window& w, const float* raw) {
  const kernels::ConvShape& s = p.shape;
  std::vector<float> out;
  out.reserve(
      static_cast<size_t>(s.groups * s.out_channels * s.in_channels * p.down.taps * p.across.taps));
  for (int64_t g = 0; g < s.groups; ++g) {
    for (int64_t o = 0; o < s.out_channels; ++o) {
      for (int64_t c = 0; c < s.in_channels; ++c) {
        const float* from =
            raw + ((g * s.in_channels + c) * s.out_channels + o) * w.kernel[1] * w.kernel[2];
        for (int64_t i = p.down.taps; i-- > 0;) {
          for (int64_t j = p.across.taps; j-- > 0;) {
            out.push_back(from[(p.down.tap + i * w.stride[1]) * w.kernel[2] + p.across.tap +
                               j * w.stride[2]]);
          }
        }
      }
    }
  }
  return out;
}

}  // namespace

Status BuildConvTranspose(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  for (size_t i = 0; i < b.num_inputs(); ++i) {
    if (b.Has(i)) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, DType::kFloat32));
  }
  if (b.out_type() != DType::kFloat32) return Unsupported("an output that is not float32");
  const Dims x = b.in_dims(0), w = b.in_dims(1), y = b.out_dims();
  const int64_t group = b.attributes().Int("group", 1);
  if (x.rank() < 3 || x.rank() > 4) return Unsupported("rank " + std::to_string(x.rank()));
  if (w.rank() != x.rank() || y.rank() != x.rank() || group < 1 || x[1] < 1 || x[1] % group != 0 ||
      w[0] != x[1] || w[1] < 1 || CheckedMul(w[1], group) != y[1] || y[0] != x[0]) {
    return InvalidArgument("X " + x.ToString() + ", W " + w.ToString() + " and Y " + y.ToString() +
                           " with group " + std::to_string(group) +
                           " make no transposed convolution");
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      const ops::Window window,
      ops::ResolveTransposedWindow(b.attributes(), x, y, std::span(w).subspan(2)));
  for (int d = 1; d < 3; ++d) {
    if (window.stride[d] > window.kernel[d]) return Unsupported("a stride beyond the window");
    if (window.stride[d] > 1 && window.dilation[d] > 1)
      return Unsupported("a window with stride and dilation");
  }
  if (window.stride[1] * window.stride[2] > 64) return Unsupported("strides beyond 64 outputs");
  if (b.Has(2) && b.in_dims(2) != Dims{y[1]})
    return InvalidArgument("the bias does not fit the output channels");
  const Layout layout = b.out_layout();
  if (layout == Layout::kPlain || b.in_layout(0) != layout)
    return Unsupported("layouts other than channels last and blocks of channels");
  const bool last = layout == Layout::kChannelsLast;
  const kernels::Isa isa =
      layout == Layout::kBlocked8 ? std::min(b.isa(), kernels::Isa::kAvx2) : b.isa();
  const kernels::ConvKernels& kernels = kernels::GetConv(isa);
  const kernels::ConvTraits& traits = kernels.traits;
  const int block = last ? traits.block : format::ChannelBlock(layout);
  if (traits.block != block)
    return Unsupported("blocks of channels that this CPU has no vectors for");
  const float* bias = static_cast<const float*>(b.ConstantData(2));
  if (!b.HasWeights() || (b.Has(2) && !bias))
    return Unsupported("weights or a bias that are no constants");
  if (y.count() == 0 || x.count() == 0) {
    return y.count() == 0 ? OkStatus() : Unsupported("an input without elements");
  }

  struct Plan {
    std::vector<Part> parts;
  };
  auto plan = std::make_shared<Plan>();
  const int threads = b.threads();
  int64_t bytes = 0, jobs = 0, workspace = 0;
  for (int64_t kind = 0; kind < window.stride[1] * window.stride[2]; ++kind) {
    Part p;
    p.down = SideOf(window, 1, kind / window.stride[2]);
    p.across = SideOf(window, 2, kind % window.stride[2]);
    if (p.down.count == 0 || p.across.count == 0) continue;
    p.shape = {.images = x[0],
               .groups = group,
               .in_channels = x[1] / group,
               .out_channels = w[1],
               .height = window.out[1],
               .width = window.out[2],
               .out_height = p.down.count,
               .out_width = p.across.count,
               .kernel_height = p.down.taps,
               .kernel_width = p.across.taps,
               .dilation_height = window.dilation[1],
               .dilation_width = p.across.taps == 1 ? 1 : window.dilation[2],
               .pad_top = p.down.pad,
               .pad_left = p.across.pad,
               .block = block,
               .input = last ? kernels::ConvInput::kChannelsLast : kernels::ConvInput::kBlocked,
               .last = last,
               .y_step_height = window.stride[1],
               .y_step_width = window.stride[2],
               .y_height = window.in[1],
               .y_width = window.in[2]};
    if (!p.shape.Valid())
      return Unsupported("extents or channels that the direct convolution has no tile for");
    p.plan = kernels::PlanConv(p.shape, traits, threads);
    p.weights_at = bytes;
    p.first_job = jobs;
    p.y_at = (p.down.first * window.in[2] + p.across.first) * (last ? y[1] : block);
    bytes += RoundUp(kernels::ConvPackedBytes(p.shape, traits), 64);
    jobs += p.plan.jobs;
    workspace = std::max(workspace, p.plan.workspace_bytes);
    plan->parts.push_back(std::move(p));
  }
  const std::string form = "deconv:" + std::to_string(traits.lanes) + (last ? "-last" : "-blocks") +
                           (plan->parts[0].shape.few() ? "-few" : "");
  SLIPWAY_ASSIGN_OR_RETURN(
      const PackedWeightsPtr packed, b.Packed(form, bytes, [&](const void* raw, uint8_t* to) {
        for (const Part& p : plan->parts) {
          kernels::PackConv(p.shape, traits, Taps(p, window, static_cast<const float*>(raw)).data(),
                            bias, to + p.weights_at);
        }
        return OkStatus();
      }));
  // Chunks of jobs, each with a workspace of its own; any number where there is none.
  const int64_t chunks =
      workspace > 0 ? std::min<int64_t>(jobs, threads > 1 ? 2 * threads : 1) : jobs;
  b.Workspace(static_cast<uint64_t>(workspace) * static_cast<uint64_t>(chunks));
  if (!packed) return OkStatus();  // a probe
  for (Part& p : plan->parts) {
    p.steps.resize(static_cast<size_t>(p.plan.num_steps));
    p.moves.resize(static_cast<size_t>(p.plan.num_moves));
    kernels::ConvSteps(p.plan, p.steps.data(), p.moves.data());
    p.plan.steps = p.steps.data();
    p.plan.moves = p.moves.data();
  }
  b.Run([=, plan = std::shared_ptr<const Plan>(std::move(plan)),
         run = kernels.run](const RunContext& context) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    context.parallel.ParallelFor(chunks, 1, [&](int64_t begin, int64_t end) {
      uint8_t* const memory = static_cast<uint8_t*>(context.workspace) + begin * workspace;
      const int64_t first = jobs * begin / chunks, last_job = jobs * end / chunks;
      for (const Part& p : plan->parts) {
        const int64_t from = std::max<int64_t>(first - p.first_job, 0),
                      to = std::min(last_job - p.first_job, p.plan.jobs);
        if (from >= to) continue;
        kernels::ConvCall call;
        call.x = context.in<void>(0);
        call.weights = reinterpret_cast<const float*>(packed->data + p.weights_at);
        call.y = context.out<float>() + p.y_at;
        call.low = -kInfinity;
        call.high = kInfinity;
        run(p.plan, call, memory, from, to);
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
