// Conv and slipway.Conv in float32, bfloat16 and float16. The compile side names the kernel; see
// kernels/winograd and kernels/conv.

#include "engine/kernels/conv/conv.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "engine/backends/x86/run/backend.h"
#include "engine/backends/x86/run/conv.h"
#include "engine/backends/x86/run/half.h"
#include "engine/backends/x86/run/step.h"
#include "engine/kernels/winograd/winograd.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {
namespace {

struct Conv {
  ops::Window window;
  Dims x, w, y;
  int64_t group = 1;
  ops::Activation activation;
};

Result<Conv> ReadConv(const Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  const DType type = b.in_type();
  if (!IsHalf(type)) SLIPWAY_RETURN_IF_ERROR(b.NeedType(0, DType::kFloat32));
  for (size_t i = 1; i < b.num_inputs(); ++i) {
    if (b.Has(i)) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, type));
  }
  if (b.out_type() != type) return Unsupported("an output of another type than the input");
  Conv c;
  c.x = b.in_dims(0);
  c.w = b.in_dims(1);
  c.y = b.out_dims();
  c.group = b.attributes().Int("group", 1);
  const int rank = c.x.rank();
  if (rank < 3 || rank > 5 || c.w.rank() != rank || c.y.rank() != rank || c.group < 1 ||
      c.w[0] % c.group != 0 || c.w[1] < 1 || CheckedMul(c.w[1], c.group) != c.x[1] ||
      c.y[1] != c.w[0] || c.y[0] != c.x[0]) {
    return InvalidArgument("X " + c.x.ToString() + ", W " + c.w.ToString() + " and Y " +
                           c.y.ToString() + " with group " + std::to_string(c.group) +
                           " make no convolution");
  }
  SLIPWAY_ASSIGN_OR_RETURN(c.window,
                           ops::ResolveWindow(b.attributes(), c.x, c.y, std::span(c.w).subspan(2)));
  for (int d = 3 - c.window.spatial; d < 3; ++d) {
    const ops::Window& w = c.window;
    const int64_t span = (w.kernel[d] - 1) * w.dilation[d] + 1;
    const int64_t room = w.in[d] + w.pad_begin[d] + w.pad_end[d] - span;
    if (room < 0 || room / w.stride[d] + 1 != w.out[d]) {
      return InvalidArgument("X " + c.x.ToString() + " and Y " + c.y.ToString() +
                             " do not fit the window");
    }
  }
  if (b.Has(2) && b.in_dims(2) != Dims{c.y[1]})
    return InvalidArgument("the bias does not fit the output channels");
  if (b.Has(3)) {
    if (!b.IsSlipway()) return InvalidArgument("Conv has no input 3");
    SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(3));
  }
  if (b.IsSlipway()) {
    SLIPWAY_ASSIGN_OR_RETURN(c.activation, ops::ParseActivation(b.attributes()));
  }
  return c;
}

// What the shapes of winograd and conv have in common.
template <typename Shape>
Shape ExtentsOf(const Conv& c) {
  const ops::Window& w = c.window;
  Shape s;
  s.images = c.x[0];
  s.groups = c.group;
  s.in_channels = c.w[1];
  s.out_channels = c.w[0] / c.group;
  s.height = w.in[1];
  s.width = w.in[2];
  s.out_height = w.out[1];
  s.out_width = w.out[2];
  s.pad_top = w.pad_begin[1];
  s.pad_left = w.pad_begin[2];
  return s;
}

Status BuildWinograd(Builder& b, const Conv& c, int tile) {
  const ops::Window& w = c.window;
  if (b.in_type() != DType::kFloat32) return Unsupported("Winograd in bfloat16");
  if (w.spatial != 2) return Unsupported("Winograd with other than two spatial dimensions");
  for (int d = 1; d < 3; ++d) {
    if (w.kernel[d] != 3 || w.stride[d] != 1 || w.dilation[d] != 1)
      return Unsupported("Winograd with a window other than 3x3, stride 1");
    if (w.pad_begin[d] < 0 || w.pad_end[d] < 0) return Unsupported("negative padding");
  }
  const int block = format::ChannelBlock(b.out_layout());
  if (block == 1 || b.in_layout(0) != b.out_layout())
    return Unsupported("Winograd in other layouts than blocks of channels");
  if (!b.HasWeights()) return Unsupported("weights that are no constant");
  if (c.y.count() == 0) return OkStatus();
  auto shape = ExtentsOf<kernels::WinogradShape>(c);
  shape.block = block;
  shape.tile = tile;
  if (!shape.Valid()) return Unsupported("Winograd with channels that do not fill the blocks");
  // A vector of channels must lie in one block.
  const kernels::Isa isa =
      block == 8 && b.isa() == kernels::Isa::kAvx512 ? kernels::Isa::kAvx2 : b.isa();
  const kernels::WinogradKernels& kernels = kernels::GetWinograd(isa);
  SLIPWAY_ASSIGN_OR_RETURN(const PackedWeightsPtr packed,
                           b.Packed("winograd" + std::to_string(tile) + ":" + kernels::IsaName(isa),
                                    shape.weight_floats() * 4, [&](const void* raw, uint8_t* to) {
                                      kernels.pack(shape, static_cast<const float*>(raw),
                                                   reinterpret_cast<float*>(to), 0,
                                                   kernels.panels(shape));
                                      return OkStatus();
                                    }));
  const int threads = b.threads();
  const kernels::WinogradPlan plan = kernels.plan(shape, threads);
  b.Workspace(static_cast<uint64_t>(plan.workspace_bytes));
  kernels::WinogradCall call{};
  SetActivation(c.activation, isa, call);
  const bool bias = b.Has(2), residual = b.Has(3);
  b.Run([=, &kernels](const RunContext& run) {
    kernels::WinogradCall now = call;
    now.x = run.in<float>(0);
    now.weights = packed->as<float>();
    now.bias = bias ? run.in<float>(2) : nullptr;
    now.residual = residual ? run.in<float>(3) : nullptr;
    now.y = run.out<float>();
    now.workspace = static_cast<float*>(run.workspace);
    const int64_t jobs = plan.blocks * shape.groups;
    if (!plan.shared) {
      run.parallel.ParallelFor(threads, 1, [&](int64_t begin, int64_t end) {
        for (; begin < end; ++begin)
          kernels.block(shape, plan, now, begin, jobs * begin / threads,
                        jobs * (begin + 1) / threads);
      });
      return OkStatus();
    }
    const int64_t vectors = kernels.input_vectors(shape), panels = kernels.group_panels(shape);
    for (int64_t job = 0; job < jobs; ++job) {
      run.parallel.ParallelFor(vectors, 1, [&](int64_t begin, int64_t end) {
        kernels.input(shape, plan, now, job, begin, end);
      });
      run.parallel.ParallelFor(threads, 1, [&](int64_t begin, int64_t end) {
        for (; begin < end; ++begin)
          kernels.output(shape, plan, now, begin, job, panels * begin / threads,
                         panels * (begin + 1) / threads);
      });
    }
    return OkStatus();
  });
  return OkStatus();
}

// In float16, on 64-bit ARM.
Status BuildHalfConv(Builder& b, const Conv& c) {
  const ops::Window& w = c.window;
  if (w.spatial > 2) return Unsupported("three spatial dimensions");
  if (b.in_layout(0) != Layout::kChannelsLast || b.out_layout() != Layout::kChannelsLast)
    return Unsupported("float16 in other layouts than channels last");
  auto shape = ExtentsOf<kernels::HalfShape>(c);
  shape.kernel_height = w.kernel[1];
  shape.kernel_width = w.kernel[2];
  shape.stride_height = w.stride[1];
  shape.stride_width = w.stride[2];
  shape.dilation_height = w.dilation[1];
  shape.dilation_width = w.dilation[2];
  return BuildHalf(b, shape, false, c.activation);
}

// The plan of a session and what it points to.
struct DirectPlan {
  kernels::ConvPlan plan;
  std::vector<kernels::ConvStep> steps;
  std::vector<int64_t> moves;
};

Status BuildDirect(Builder& b, const Conv& c) {
  const ops::Window& w = c.window;
  if (w.spatial > 2) return Unsupported("three spatial dimensions");
  const bool half = b.in_type() == DType::kBFloat16;
  const Layout in = b.in_layout(0), out = b.out_layout();
  if (out == Layout::kPlain) return Unsupported("a plain output");
  const bool last = out == Layout::kChannelsLast;
  if (in != Layout::kPlain && in != Layout::kChannelsLast && in != out)
    return Unsupported("blocks of channels in the input only, or of another size");
  const kernels::Isa isa = half                       ? kernels::BestBfloat16Isa()
                           : out == Layout::kBlocked8 ? std::min(b.isa(), kernels::Isa::kAvx2)
                                                      : b.isa();
  const kernels::ConvKernels* kernels = half ? kernels::GetConvBf16(isa) : &kernels::GetConv(isa);
  if (!kernels) return Unsupported("bfloat16 on a CPU without AVX512-BF16");
  const int block = last ? kernels->traits.block : format::ChannelBlock(out);
  if (kernels->traits.block != block)
    return Unsupported("blocks of channels that this CPU has no vectors for");
  auto shape = ExtentsOf<kernels::ConvShape>(c);
  shape.kernel_height = w.kernel[1];
  shape.kernel_width = w.kernel[2];
  shape.stride_height = w.stride[1];
  shape.stride_width = w.stride[2];
  shape.dilation_height = w.dilation[1];
  shape.dilation_width = w.kernel[2] == 1 ? 1 : w.dilation[2];
  shape.block = block;
  shape.input = in == Layout::kPlain          ? kernels::ConvInput::kPlain
                : in == Layout::kChannelsLast ? kernels::ConvInput::kChannelsLast
                                              : kernels::ConvInput::kBlocked;
  shape.last = last;
  if (c.y.count() == 0) return OkStatus();
  if (!shape.Valid())
    return Unsupported("extents, padding or channels that the direct convolution has no tile for");
  if (half && in == Layout::kChannelsLast && !shape.few() && shape.in_channels % 2 != 0)
    return Unsupported("an odd number of channels that lie last");
  // What lies behind the last channel stays zero.
  if (!last && c.y[1] % block != 0 && !(c.activation.Apply(0) == 0))
    return Unsupported(
        "an activation that is not 0 at 0, with channels that do not fill the blocks");
  const void* bias = b.ConstantData(2);
  if (!b.HasWeights() || (b.Has(2) && !bias))
    return Unsupported("weights or a bias that are no constants");
  const kernels::ConvTraits& traits = kernels->traits;
  const std::string form = "conv:" + std::to_string(traits.lanes) + "x" +
                           std::to_string(traits.pair) +
                           (in == Layout::kPlain          ? "-plain"
                            : shape.few()                 ? "-few"
                            : in == Layout::kChannelsLast ? "-last"
                                                          : "-blocks") +
                           (last ? "-last" : "");
  SLIPWAY_ASSIGN_OR_RETURN(
      const PackedWeightsPtr packed,
      b.Packed(form, kernels::ConvPackedBytes(shape, traits), [&](const void* raw, uint8_t* to) {
        kernels::PackConv(shape, traits, raw, bias, to);
        return OkStatus();
      }));
  const int threads = b.threads();
  auto made = std::make_shared<DirectPlan>();
  made->plan = kernels::PlanConv(shape, kernels->traits, threads);
  // Chunks of jobs, each with a workspace of its own; any number where there is none.
  const int64_t jobs = made->plan.jobs;
  const int64_t chunks = made->plan.workspace_bytes > 0
                             ? std::min<int64_t>(jobs, threads > 1 ? 2 * threads : 1)
                             : jobs;
  b.Workspace(static_cast<uint64_t>(made->plan.workspace_bytes) * static_cast<uint64_t>(chunks));
  if (!packed) return OkStatus();  // a probe
  made->steps.resize(static_cast<size_t>(made->plan.num_steps));
  made->moves.resize(static_cast<size_t>(made->plan.num_moves));
  kernels::ConvSteps(made->plan, made->steps.data(), made->moves.data());
  made->plan.steps = made->steps.data();
  made->plan.moves = made->moves.data();
  kernels::ConvCall call;
  SetActivation(c.activation, half ? kernels::Isa::kAvx512 : isa, call, half);
  b.Run([=, plan = std::shared_ptr<const DirectPlan>(std::move(made)), run = kernels->run,
         residual = b.Has(3)](const RunContext& context) {
    const kernels::ConvPlan& p = plan->plan;
    kernels::ConvCall now = call;
    now.x = context.in<void>(0);
    now.weights = packed->as<float>();
    now.residual = residual ? context.in<void>(3) : nullptr;
    now.y = context.out<void>();
    context.parallel.ParallelFor(chunks, 1, [&](int64_t begin, int64_t end) {
      run(p, now, static_cast<uint8_t*>(context.workspace) + begin * p.workspace_bytes,
          jobs * begin / chunks, jobs * end / chunks);
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace

Status BuildConv(Builder& b) {
  const std::string kernel(b.attributes().String("kernel", ""));
  if (kernel.ends_with(kDepthwise)) return BuildDepthwise(b);
  SLIPWAY_ASSIGN_OR_RETURN(const Conv c, ReadConv(b));
  if (b.in_type() == DType::kFloat16) return BuildHalfConv(b, c);
  if (kernel.ends_with(kWinograd4x4)) return BuildWinograd(b, c, 4);
  if (kernel.ends_with(kWinograd2x2)) return BuildWinograd(b, c, 2);
  if (kernel.ends_with(kDirect)) return BuildDirect(b, c);
  return Unsupported("a convolution by the kernel '" + kernel + "'");
}

}  // namespace slipway::backends::x86
