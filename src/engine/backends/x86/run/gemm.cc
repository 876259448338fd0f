// slipway.Linear, Gemm and MatMul with constant weights, packed: see kernels/gemm.

#include "engine/kernels/gemm/gemm.h"

#include <algorithm>
#include <atomic>

#include "engine/backends/x86/run/half.h"
#include "engine/backends/x86/run/linear.h"

namespace slipway::backends::x86 {
namespace {

using kernels::GemmType;

Result<GemmType> TypeOf(DType type) {
  if (type == DType::kFloat32) return GemmType::kFloat32;
  if (type == DType::kBFloat16) return GemmType::kBFloat16;
  return Unsupported(std::string("products of ") + DTypeName(type));
}

}  // namespace

Status BuildPacked(Builder& b, const Linear& l) {
  if (b.in_type() == DType::kFloat16) {
    kernels::HalfShape shape;
    shape.width = shape.out_width = l.m;
    shape.in_channels = l.k;
    shape.out_channels = l.n;
    return BuildHalf(b, shape, !l.transposed, l.activation);
  }
  kernels::GemmCall call{
      .x_stride = l.k, .z_stride = l.n, .y_stride = l.n, .m = l.m, .k = l.k, .n = l.n};
  GemmType weights;
  SLIPWAY_ASSIGN_OR_RETURN(call.x_type, TypeOf(b.in_type(0)));
  SLIPWAY_ASSIGN_OR_RETURN(weights, TypeOf(b.in_type(1)));
  SLIPWAY_ASSIGN_OR_RETURN(call.y_type, TypeOf(b.out_type()));
  if (b.Has(2)) {
    SLIPWAY_ASSIGN_OR_RETURN(call.bias_type, TypeOf(b.in_type(2)));
  }
  if (b.Has(3)) {
    SLIPWAY_ASSIGN_OR_RETURN(call.z_type, TypeOf(b.in_type(3)));
  }
  if (!b.HasWeights()) return Unsupported("weights that are no constant");
  const kernels::GemmKernels* kernels = &kernels::GetGemm(b.isa());
  if (weights == GemmType::kBFloat16) {
    kernels = kernels::GetGemmBf16(kernels::BestBfloat16Isa());
    if (!kernels) return Unsupported("bfloat16 on a CPU without AVX512-BF16");
  } else if (call.x_type != weights || call.y_type != weights || call.bias_type != weights ||
             call.z_type != weights) {
    return Unsupported("float32 weights with other types");
  }
  if (l.k > (int64_t{1} << 31) || l.n > (int64_t{1} << 31) || l.k * l.n > (int64_t{1} << 40))
    return ResourceExhausted("too many weights");
  if (l.m == 0 || l.n == 0) return OkStatus();
  const std::string form =
      "gemm:" + std::to_string(kernels->panel()) + (weights == GemmType::kBFloat16 ? "x2" : "x1");
  SLIPWAY_ASSIGN_OR_RETURN(
      const PackedWeightsPtr packed,
      b.Packed(form, kernels->packed_bytes(l.k, l.n), [&](const void* raw, uint8_t* to) {
        kernels->pack(raw, l.k, l.n, l.transposed, to, 0, kernels->panels(l.n));
        return OkStatus();
      }));
  const auto activation = FusedActivation::Of(l.activation, b.isa(), b.out_type() == DType::kBFloat16);
  call.activation = activation.function;
  call.a = activation.a;
  call.b = activation.b;
  const int threads = b.threads();
  const kernels::GemmPlan plan = kernels::PlanGemm(*kernels, l.m, l.k, l.n, threads);
  const int64_t parts = plan.parts(), workers = std::min<int64_t>(threads, parts);
  b.Workspace(static_cast<uint64_t>(workers * plan.buffer_bytes));
  const bool bias = b.Has(2), residual = b.Has(3);
  b.Run([=](const RunContext& c) {
    kernels::GemmCall now = call;
    now.x = c.inputs[0].data;
    now.w = packed->data;
    now.bias = bias ? c.inputs[2].data : nullptr;
    now.z = residual ? c.inputs[3].data : nullptr;
    now.y = c.outputs[0].data;
    auto* buffers = static_cast<uint8_t*>(c.workspace);
    // Whoever is free takes the next part.
    std::atomic<int64_t> next{0};
    c.parallel.ParallelFor(workers, 1, [&](int64_t worker, int64_t end) {
      for (; worker < end; ++worker) {
        for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < parts;)
          kernels->run(now, plan.Part(i), plan.step, buffers + worker * plan.buffer_bytes);
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
