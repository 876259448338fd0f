#include "engine/backends/reference/run/backend.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "engine/backends/reference/run/check.h"
#include "engine/format/layout.h"
#include "engine/format/op_desc.h"
#include "engine/kernels/backend_glue.h"
#include "engine/kernels/layout/reorder.h"
#include "model/ops/custom.h"
#include "model/ops/kernel.h"

namespace slipway::backends {
namespace {

using format::Layout;

enum class Kind { kKernel, kReorder, kCopy };

struct Program {
  format::OpDesc op;
  Kind kind = Kind::kKernel;
  ops::Kernel kernel = nullptr;
  const ops::ShapeEntry* shape = nullptr;  // when the operands' numbers are right
  const ops::CustomOp* custom = nullptr;   // of a plugin
};

// More operands than any operator with a shape function needs but for a Split into many parts.
constexpr size_t kMaxOperands = 64;

struct Bound {
  const Program* program;
  bool open = false;  // of a plugin's operator: extents are to be checked in each run, when the data are there
  // Filled anew in every run; kept here so that run allocates nothing.
  std::vector<ops::TensorView> inputs, outputs;
};

Status CheckLayouts(const slipway_step& step, const format::OpDesc& op) {
  auto check = [&](const slipway_tensor* list, uint32_t count) -> Status {
    for (uint32_t i = 0; i < count; ++i) {
      if (list[i].dtype == 0 || list[i].layout == static_cast<uint32_t>(Layout::kPlain)) continue;
      return Unsupported("the reference backend runs " + op.op + " on plain tensors only, not on " +
                         format::LayoutName(static_cast<Layout>(list[i].layout)));
    }
    return OkStatus();
  };
  SLIPWAY_RETURN_IF_ERROR(check(step.inputs, step.num_inputs));
  return check(step.outputs, step.num_outputs);
}

Status CheckEngineOp(const slipway_step& step, const format::OpDesc& op) {
  if (step.num_inputs != 1 || step.num_outputs != 1 || step.inputs[0].dtype == 0 || step.outputs[0].dtype == 0) {
    return DataLoss(op.op + " has one input and one output; compile the package again");
  }
  if (step.inputs[0].dtype != step.outputs[0].dtype) {
    return DataLoss(op.op + ": input and output differ in element type; compile the package again");
  }
  return OkStatus();
}

int Load(void*, const slipway_step* step, void** program, slipway_error* error) {
  return kernels::CatchToError(error, [&]() -> Status {
    auto p = std::make_unique<Program>();
    SLIPWAY_ASSIGN_OR_RETURN(p->op, format::DecodeOp({step->blob, step->blob_size}));
    if (p->op.domain == format::kEngineDomain) {
      if (p->op.op == "Reorder") {
        p->kind = Kind::kReorder;
      } else if (p->op.op == "Copy") {
        p->kind = Kind::kCopy;
      } else {
        return Unsupported("no operator engine." + p->op.op + " in the reference backend");
      }
      SLIPWAY_RETURN_IF_ERROR(CheckEngineOp(*step, p->op));
    } else {
      p->kernel = ops::FindKernel(p->op.domain, p->op.op);
      if (!p->kernel) {
        return Unsupported("no operator " + (p->op.domain.empty() ? "" : p->op.domain + ".") + p->op.op + " in the reference backend" +
                           (p->op.domain.empty() || p->op.domain == "slipway" ? "" : "; load the plugin that brings it: --plugin FILE (slipway_load_plugin)"));
      }
      SLIPWAY_RETURN_IF_ERROR(CheckLayouts(*step, p->op));
      p->custom = ops::FindCustomOp(p->op.domain, p->op.op);
      if (const auto* shape = ops::FindShapeFunction(p->op.domain, p->op.op); shape && step->num_inputs <= kMaxOperands && step->num_outputs <= kMaxOperands) {
        std::vector<ops::TensorView> in(step->num_inputs), out(step->num_outputs);
        for (uint32_t i = 0; i < step->num_inputs; ++i) in[i].dtype = static_cast<DType>(step->inputs[i].dtype);
        for (uint32_t i = 0; i < step->num_outputs; ++i) out[i].dtype = static_cast<DType>(step->outputs[i].dtype);
        if (CheckArity(p->op.domain, p->op.op, in, out).ok()) p->shape = shape;
      }
    }
    *program = p.release();
    return OkStatus();
  });
}

void Unload(void*, void* program) { delete static_cast<Program*>(program); }

int Prepare(void*, void* program, const slipway_step* step, slipway_requirements* requirements, void** bound, slipway_error* error) {
  return kernels::CatchToError(error, [&]() -> Status {
    const auto* p = static_cast<const Program*>(program);
    requirements->workspace_bytes = 0;
    if (p->kind != Kind::kKernel) {
      const slipway_tensor &x = step->inputs[0], &y = step->outputs[0];
      const Dims from(kernels::DimsOf(x)), to(kernels::DimsOf(y));
      if (p->kind == Kind::kReorder) {
        if (!(from == to)) return DataLoss("Reorder: from " + from.ToString() + " to " + to.ToString() + "; compile the package again");
        SLIPWAY_RETURN_IF_ERROR(kernels::CheckReorder(static_cast<DType>(x.dtype), from, static_cast<Layout>(x.layout),
                                                      static_cast<Layout>(y.layout)));
      } else if (x.bytes != y.bytes || x.layout != y.layout) {
        return DataLoss("Copy: input and output differ in size or layout; compile the package again");
      }
    }
    auto b = std::make_unique<Bound>();
    b->program = p;
    for (uint32_t i = 0; i < step->num_inputs; ++i) b->inputs.push_back(kernels::ToView(step->inputs[i]));
    for (uint32_t i = 0; i < step->num_outputs; ++i) b->outputs.push_back(kernels::ToView(step->outputs[i]));
    if (p->kind == Kind::kKernel) {
      if (p->custom) {
        SLIPWAY_RETURN_IF_ERROR(CheckCustom(*p->custom, p->op.attributes, b->inputs, b->outputs, false, &b->open));
      } else {
        SLIPWAY_RETURN_IF_ERROR(CheckOperands(p->op.domain, p->op.op, p->op.attributes, b->inputs, b->outputs));
      }
    }
    *bound = b.release();
    return OkStatus();
  });
}

void Release(void*, void* bound) { delete static_cast<Bound*>(bound); }

int Run(void*, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs, const slipway_execution* execution,
        slipway_error* error) {
  return kernels::CatchToError(error, [&]() -> Status {
    auto* b = static_cast<Bound*>(bound);
    kernels::ExecutionParallel parallel(*execution);
    switch (b->program->kind) {
      case Kind::kReorder:
        kernels::Reorder(static_cast<DType>(inputs[0].dtype), Dims(kernels::DimsOf(inputs[0])), static_cast<Layout>(inputs[0].layout),
                         inputs[0].data, static_cast<Layout>(outputs[0].layout), outputs[0].data, &parallel);
        return OkStatus();
      case Kind::kCopy:
        kernels::ParallelCopy(inputs[0].data, outputs[0].data, static_cast<int64_t>(inputs[0].bytes), &parallel);
        return OkStatus();
      case Kind::kKernel:
        break;
    }
    for (size_t i = 0; i < b->inputs.size(); ++i) b->inputs[i] = kernels::ToView(inputs[i]);
    for (size_t i = 0; i < b->outputs.size(); ++i) b->outputs[i] = kernels::ToView(outputs[i]);
    if (b->open)
      SLIPWAY_RETURN_IF_ERROR(CheckCustom(*b->program->custom, b->program->op.attributes, b->inputs, b->outputs, true, &b->open));
    ops::OpContext context;
    context.inputs = b->inputs;
    context.outputs = b->outputs;
    context.attributes = &b->program->op.attributes;
    context.pool = &parallel;
    Status status = b->program->kernel(context);
    // To a kernel, extents that contradict the data (of axes, starts, ...) are a fault of shape inference; here they are one of the package.
    if (status.code() == StatusCode::kInternal) return DataLoss(status.message() + "; compile the package again");
    return status;
  });
}

int OutputDims(void*, void* program, const slipway_step* step, slipway_tensor* outputs, slipway_error* error) {
  return kernels::CatchToError(error, [&]() -> Status {
    const auto* p = static_cast<const Program*>(program);
    if (p->custom) return CustomDims(*p->custom, p->op.attributes, *step, outputs);
    if (!p->shape) return Unsupported("no extents that depend on data for " + p->op.op + " of these operands in the reference backend");
    std::array<ops::TensorView, kMaxOperands> in, out;
    std::array<Dims, kMaxOperands> dims;
    for (uint32_t i = 0; i < step->num_inputs; ++i) in[i] = kernels::ToView(step->inputs[i]);
    for (uint32_t i = 0; i < step->num_outputs; ++i) out[i].dtype = static_cast<DType>(step->outputs[i].dtype);
    ops::OpContext context;
    context.inputs = {in.data(), step->num_inputs};
    context.outputs = {out.data(), step->num_outputs};
    context.attributes = &p->op.attributes;
    SLIPWAY_RETURN_IF_ERROR(p->shape->function(context, {dims.data(), step->num_outputs}));
    for (uint32_t i = 0; i < step->num_outputs; ++i) {
      if (!out[i].present()) continue;
      if (dims[i].rank() != outputs[i].rank) {
        return InvalidArgument("output " + std::to_string(i) + " has the extent " + dims[i].ToString() + ", the package has " +
                               std::to_string(outputs[i].rank) + " dimensions for it");
      }
      std::copy(dims[i].begin(), dims[i].end(), outputs[i].dims);
    }
    return OkStatus();
  });
}

constexpr slipway_backend kBackend = kernels::HostBackend("reference", "1", Load, Unload, Prepare, Release, Run, OutputDims);

}  // namespace

const slipway_backend* ReferenceBackend() { return &kBackend; }

}  // namespace slipway::backends
