#include "engine/backends/x86/run/half.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "engine/backends/x86/run/conv.h"

namespace slipway::backends::x86 {

Status BuildHalf(Builder& b, const kernels::HalfShape& shape, bool rows,
                 const ops::Activation& activation) {
  SLIPWAY_RETURN_IF_ERROR(b.NeedHalf(DType::kFloat16));
  for (size_t i = 0; i < b.num_inputs(); ++i) {
    if (b.Has(i)) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, DType::kFloat16));
  }
  if (b.out_type() != DType::kFloat16) return Unsupported("products of float16 to another type");
  const void* bias = b.ConstantData(2);
  if (!b.HasWeights() || (b.Has(2) && !bias))
    return Unsupported("weights or a bias that are no constants");
  if (b.out_dims().count() == 0) return OkStatus();
  if (!shape.Valid()) return Unsupported("extents that are empty or too large");
  if constexpr (!kRunsFloat16) return OkStatus();  // a probe
  SLIPWAY_ASSIGN_OR_RETURN(
      const PackedWeightsPtr packed,
      b.Packed("half:16", kernels::HalfPackedBytes(shape), [&](const void* raw, uint8_t* to) {
        kernels::PackHalf(shape, rows, static_cast<const uint16_t*>(raw),
                          static_cast<const uint16_t*>(bias), to);
        return OkStatus();
      }));
  const int threads = b.threads();
  const auto plan = std::make_shared<const kernels::HalfPlan>(kernels::PlanHalf(shape, threads));
  const int64_t workers = std::min<int64_t>(threads, plan->jobs);
  b.Workspace(static_cast<uint64_t>(workers * plan->workspace_bytes));
  const kernels::HalfKernels* kernels = kernels::GetHalf(kernels::BestHalfIsa());
  if (!packed) return OkStatus();  // a probe
  kernels::HalfCall call;
  SetActivation(activation, b.isa(), call);
  b.Run([=, residual = b.Has(3), run = kernels->run](const RunContext& c) {
    kernels::HalfCall now = call;
    now.x = c.in<uint16_t>(0);
    now.weights = packed->data;
    now.residual = residual ? c.in<uint16_t>(3) : nullptr;
    now.y = c.out<uint16_t>();
    auto* memory = static_cast<uint8_t*>(c.workspace);
    // Whoever is free takes the next job.
    std::atomic<int64_t> next{0};
    c.parallel.ParallelFor(workers, 1, [&](int64_t worker, int64_t end) {
      for (; worker < end; ++worker) {
        for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < plan->jobs;)
          run(*plan, now, memory + worker * plan->workspace_bytes, i, i + 1);
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
