// The run side of a backend with nothing left out and nothing in the way: copy this folder, rename it, and replace what is between load and run.
// The contract is include/slipway/backend.h; engine/backends/cts tests it.

#include "engine/backends/null/run/backend.h"

#include <cstring>
#include <new>

#include "base/checked.h"
#include "engine/format/op_desc.h"
#include "engine/kernels/backend_glue.h"

namespace slipway::backends {
namespace {

// What load makes of a step's blob: everything that does not depend on shapes. One per step of a package, shared by its sessions, so
// it must not change after load. Prepacking weights that only the device can pack belongs here.
struct Program {
  format::OpDesc op;
};

// What prepare makes of a program once the shapes are known: one per step and session. Buffers, kernels chosen by size and the like belong
// here, so that run allocates nothing.
struct Bound {
  uint64_t bytes;
};

int Load(void* /*context*/, const slipway_step* step, void** program, slipway_error* error) {
  return kernels::CatchToError(error, [&]() -> Status {
    // The blob comes from a file that may be damaged or hostile: decoding checks it.
    SLIPWAY_ASSIGN_OR_RETURN(format::OpDesc op, format::DecodeOp({step->blob, step->blob_size}));
    // Say no by name: the user reads this.
    if (!op.domain.empty() || op.op != "Identity") return Unsupported("the null backend runs Identity, not " + op.op);
    // So may the tensors: their number, types and layouts are part of the file.
    if (step->num_inputs != 1 || step->num_outputs != 1) return DataLoss("Identity has one input and one output");
    if (step->inputs[0].dtype != step->outputs[0].dtype || step->inputs[0].layout != step->outputs[0].layout) {
      return DataLoss("Identity: input and output differ in type or layout");
    }
    *program = new Program{std::move(op)};
    return OkStatus();
  });
}

void Unload(void* /*context*/, void* program) { delete static_cast<Program*>(program); }

int Prepare(void* /*context*/, void* /*program*/, const slipway_step* step, slipway_requirements* requirements, void** bound,
            slipway_error* error) {
  return kernels::CatchToError(error, [&]() -> Status {
    // Dimensions are known now. What run will read and write must follow from them, so this is where they are checked.
    if (step->inputs[0].bytes != step->outputs[0].bytes) return DataLoss("Identity: input and output differ in size");
    // Scratch memory that run needs; the session's planner finds room for it.
    requirements->workspace_bytes = 0;
    *bound = new Bound{step->inputs[0].bytes};
    return OkStatus();
  });
}

void Release(void* /*context*/, void* bound) { delete static_cast<Bound*>(bound); }

int Run(void* /*context*/, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
        const slipway_execution* execution, slipway_error* /*error*/) {
  const auto* b = static_cast<const Bound*>(bound);
  // Work is divided among the session's threads; memmove because input and output may be the same memory.
  kernels::ExecutionParallel parallel(*execution);
  parallel.ParallelFor(static_cast<int64_t>(b->bytes), 1 << 18, [&](int64_t begin, int64_t end) {
    if (inputs[0].data == outputs[0].data) return;
    std::memmove(static_cast<uint8_t*>(outputs[0].data) + begin, static_cast<const uint8_t*>(inputs[0].data) + begin,
                 static_cast<size_t>(end - begin));
  });
  return SLIPWAY_OK;
}

constexpr slipway_backend kBackend = {
    .struct_size = sizeof(slipway_backend),
    .abi_version = SLIPWAY_BACKEND_ABI_VERSION,
    .name = "null",    // what packages call it
    .version = "1",    // of the library behind it
    .context = nullptr,
    .num_memory_kinds = 0,  // host memory only
    .memory_kinds = nullptr,
    .load = Load,
    .unload = Unload,
    .prepare = Prepare,
    .release = Release,
    .run = Run,
    .sync = nullptr,  // run has finished when it returns
    .output_dims = nullptr,  // no operator here decides extents by its data
};

}  // namespace

const slipway_backend* NullBackend() { return &kBackend; }

}  // namespace slipway::backends
