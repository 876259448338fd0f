// libslipway_xnnpack.so: XNNPACK's operators behind the C interface alone.

#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "engine/backends/xnnpack/run/operator.h"
#include "engine/backends/xnnpack/run/plan.h"
#include "engine/format/layout.h"
#include "engine/kernels/backend_glue.h"
#include "engine/kernels/eltwise/eltwise.h"

namespace slipway::xnnpack {
namespace {

// One pool of threads for every number of them, for the process: sessions take turns. One thread
// needs none.
pthreadpool_t PoolOf(int threads) {
  if (threads < 2) return nullptr;
  static std::mutex mutex;
  static auto* pools = new std::map<int, pthreadpool_t>;
  const std::lock_guard lock(mutex);
  pthreadpool_t& pool = (*pools)[threads];
  if (!pool) pool = pthreadpool_create(static_cast<size_t>(threads));
  return pool;
}

// Shared by the sessions of a package.
struct Program {
  std::string name;
  format::OpDesc op;
};

// A step at concrete shapes.
struct Bound {
  std::string name;
  Plan plan;
  std::vector<Operator> operators;  // one a stage
  pthreadpool_t pool = nullptr;
  // XNNPACK reads up to XNN_EXTRA_BYTES beyond its operands. Those of ours whose neighbourhood
  // may not be read move here.
  struct Tensor {
    uint64_t bytes = 0;
    bool read = false;  // by XNNPACK
    AlignedBuffer moved;
    void* at = nullptr;
  };
  std::vector<Tensor> inputs, outputs;
};

bool MayBeRead(const void* data, uint64_t bytes) {
  const auto end = reinterpret_cast<uintptr_t>(data) + bytes;
  constexpr uintptr_t kPage = 4096;  // the smallest there is
  if (((end - 1) ^ (end + XNN_EXTRA_BYTES - 1)) < kPage) return true;
  char room[XNN_EXTRA_BYTES];
  const iovec to{room, sizeof room}, from{reinterpret_cast<void*>(end), sizeof room};
  return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == static_cast<ssize_t>(sizeof room);
}

Status Place(Bound::Tensor& t, void* data, bool copy) {
  t.at = data;
  if (!t.read || t.bytes == 0 || MayBeRead(data, t.bytes)) return OkStatus();
  if (!t.moved.data()) {
    t.moved = AlignedBuffer(t.bytes + 64);
    if (!t.moved.data()) return ResourceExhausted("no memory for a copy of an operand");
  }
  t.at = t.moved.data();
  if (copy) std::memcpy(t.at, data, t.bytes);
  return OkStatus();
}

void* At(Bound& b, const xnnpack::Place& place, void* workspace) {
  char* base = nullptr;
  switch (place.from) {
    case Place::kNone:
      return nullptr;
    case Place::kInput:
      base = static_cast<char*>(b.inputs[place.index].at);
      break;
    case Place::kOutput:
      base = static_cast<char*>(b.outputs[place.index].at);
      break;
    case Place::kWorkspace:
      base = static_cast<char*>(workspace);
      break;
    case Place::kOwn:
      base = reinterpret_cast<char*>(b.plan.own[place.index].data());
      break;
  }
  return base + place.offset;
}

template <typename F>
int Guard(const std::string& name, slipway_error* error, F&& f) {
  return kernels::CatchToError(
      error, [&]() -> Status { return f().With("xnnpack, step '" + name + "'"); });
}

int Load(void*, const slipway_step* step, void** program, slipway_error* error) {
  const std::string name = step->name ? step->name : "";
  return Guard(name, error, [&]() -> Status {
    static const xnn_status initialized = xnn_initialize(nullptr);
    if (initialized != xnn_status_success)
      return Unsupported("XNNPACK does not run on this processor (status " +
                         std::to_string(static_cast<int>(initialized)) + ")");
    auto p = std::make_unique<Program>();
    p->name = name;
    SLIPWAY_ASSIGN_OR_RETURN(p->op, format::DecodeOp({step->blob, step->blob_size}));
    if (!Knows(p->op))
      return Unsupported("there is no operator " + p->op.domain +
                         (p->op.domain.empty() ? "" : ".") + p->op.op);
    *program = p.release();
    return OkStatus();
  });
}

void Unload(void*, void* program) { delete static_cast<Program*>(program); }

int Prepare(void*, void* program, const slipway_step* step, slipway_requirements* requirements,
            void** bound, slipway_error* error) {
  const Program& p = *static_cast<const Program*>(program);
  return Guard(p.name, error, [&]() -> Status {
    auto b = std::make_unique<Bound>();
    b->name = p.name;
    SLIPWAY_ASSIGN_OR_RETURN(b->plan, MakePlan(p.op, *step));
    b->pool = PoolOf(requirements->threads);
    b->inputs.resize(step->num_inputs);
    b->outputs.resize(step->num_outputs);
    const auto size = [](const slipway_tensor& t) -> uint64_t {
      if (t.dtype == 0) return 0;
      const Dims dims(std::span(t.dims, static_cast<size_t>(t.rank)));
      return static_cast<uint64_t>(format::LayoutBytes(static_cast<DType>(t.dtype), dims,
                                                       static_cast<format::Layout>(t.layout))
                                       .value_or(0));
    };
    for (uint32_t i = 0; i < step->num_inputs; ++i) b->inputs[i].bytes = size(step->inputs[i]);
    for (uint32_t i = 0; i < step->num_outputs; ++i) b->outputs[i].bytes = size(step->outputs[i]);
    // Somewhere, so that XNNPACK makes its tables now and refuses now; nothing is read.
    alignas(64) static char nowhere[64];
    b->operators.reserve(b->plan.stages.size());
    for (const Stage& s : b->plan.stages) {
      SLIPWAY_ASSIGN_OR_RETURN(Operator made, Operator::Make(s, *step));
      b->operators.push_back(std::move(made));
      for (const xnnpack::Place* place : {&s.a, &s.b}) {
        if (s.kind == Kind::kFlip || s.kind == Kind::kFunction) continue;
        if (place->from == Place::kInput) b->inputs[place->index].read = true;
        if (place->from == Place::kOutput) b->outputs[place->index].read = true;
      }
      const void* slopes = s.b.from == Place::kOwn ? b->plan.own[s.b.index].data() : nullptr;
      SLIPWAY_RETURN_IF_ERROR(
          b->operators.back().Bind(nowhere, slopes ? slopes : nowhere, nowhere, b->pool));
    }
    requirements->workspace_bytes = b->plan.workspace;
    *bound = b.release();
    return OkStatus();
  });
}

void Release(void*, void* bound) { delete static_cast<Bound*>(bound); }

// Runs one of our functions in a loop of the session.
struct OurFunction {
  kernels::UnaryFunction function;
  const float* from;
  float* to;
};
void FunctionRange(void* context, int64_t begin, int64_t end) {
  const OurFunction& f = *static_cast<const OurFunction*>(context);
  f.function(f.from + begin, f.to + begin, end - begin, 0, 0);
}
kernels::UnaryKind KindOf(xnnpack::Function f) {
  return f == xnnpack::Function::kGelu       ? kernels::UnaryKind::kGelu
         : f == xnnpack::Function::kGeluTanh ? kernels::UnaryKind::kGeluTanh
                                             : kernels::UnaryKind::kTanh;
}

struct Flip {
  const uint8_t* from;
  uint8_t* to;
};
void FlipRange(void* context, int64_t begin, int64_t end) {
  const Flip& f = *static_cast<const Flip*>(context);
  for (int64_t i = begin; i < end; ++i) f.to[i] = f.from[i] ^ 0x80;
}

Status RunStages(Bound& b, const slipway_tensor* inputs, const slipway_tensor* outputs,
                 const slipway_execution& execution) {
  if (b.plan.workspace > execution.workspace_bytes)
    return Internal("the workspace is smaller than prepare asked for");
  for (size_t i = 0; i < b.inputs.size(); ++i)
    SLIPWAY_RETURN_IF_ERROR(Place(b.inputs[i], inputs[i].data, true));
  for (size_t i = 0; i < b.outputs.size(); ++i)
    SLIPWAY_RETURN_IF_ERROR(Place(b.outputs[i], outputs[i].data, false));
  for (size_t i = 0; i < b.plan.stages.size(); ++i) {
    const Stage& s = b.plan.stages[i];
    const void *a = At(b, s.a, execution.workspace), *z = At(b, s.b, execution.workspace);
    void* y = At(b, s.y, execution.workspace);
    if (s.kind == Kind::kFlip) {
      Flip flip{static_cast<const uint8_t*>(a), static_cast<uint8_t*>(y)};
      execution.parallel_for(execution.pool, s.channels, 1 << 16, FlipRange, &flip);
      continue;
    }
    if (s.kind == Kind::kFunction) {
      static const kernels::EltwiseKernels& ours = kernels::GetEltwise(kernels::BestIsa());
      OurFunction f{ours.unary[static_cast<size_t>(KindOf(s.function))],
                    static_cast<const float*>(a), static_cast<float*>(y)};
      execution.parallel_for(execution.pool, s.channels, 4096, FunctionRange, &f);
      continue;
    }
    SLIPWAY_RETURN_IF_ERROR(b.operators[i].Bind(a, z, y, b.pool));
    SLIPWAY_RETURN_IF_ERROR(b.operators[i].Run(b.pool));
  }
  for (size_t i = 0; i < b.outputs.size(); ++i) {
    if (b.outputs[i].at != outputs[i].data)
      std::memcpy(outputs[i].data, b.outputs[i].at, b.outputs[i].bytes);
  }
  return OkStatus();
}

int Run(void*, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
        const slipway_execution* execution, slipway_error* error) {
  Bound& b = *static_cast<Bound*>(bound);
  return Guard(b.name, error, [&] { return RunStages(b, inputs, outputs, *execution); });
}

constexpr slipway_backend kBackend = kernels::HostBackend(
    "xnnpack", "XNNPACK " SLIPWAY_XNNPACK_VERSION, Load, Unload, Prepare, Release, Run);

}  // namespace
}  // namespace slipway::xnnpack

extern "C" __attribute__((visibility("default"))) const slipway_backend* slipway_backend_main(
    uint32_t host_abi_version) {
  return host_abi_version == SLIPWAY_BACKEND_ABI_VERSION ? &slipway::xnnpack::kBackend : nullptr;
}
