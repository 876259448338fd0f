#include "engine/backends/onednn/run/backend.h"

#include <cstdio>
#include <exception>
#include <new>

#include "engine/backends/onednn/run/openmp.h"
#include "engine/backends/onednn/run/step.h"
#include "engine/kernels/backend_glue.h"

namespace slipway::backends {
namespace onednn {
namespace {

struct Row {
  const char* domain;
  const char* op;
  BuildFunction build;
};

constexpr Row kRows[] = {
    {"", "Conv", BuildConv},
    {"slipway", "Conv", BuildConv},
    {"slipway", "QConv", BuildQConv},
    {"slipway", "Linear", BuildLinear},
    {"slipway", "QLinear", BuildQLinear},
    {"", "Gemm", BuildGemm},
    {"", "MatMul", BuildMatMul},
    {"", "Attention", BuildAttention},
    {"", "MaxPool", BuildPool},
    {"", "AveragePool", BuildPool},
    {"", "GlobalAveragePool", BuildGlobalPool},
    {"", "Relu", BuildUnary},
    {"", "LeakyRelu", BuildUnary},
    {"", "Clip", BuildUnary},
    {"", "Sigmoid", BuildUnary},
    {"", "HardSwish", BuildUnary},
    {"", "Swish", BuildUnary},
    {"", "Gelu", BuildUnary},
    {"", "Tanh", BuildUnary},
    {"", "Elu", BuildUnary},
    {"", "Abs", BuildUnary},
    {"", "Sqrt", BuildUnary},
    {"", "Exp", BuildUnary},
    {"", "Mish", BuildUnary},
    {"", "Softplus", BuildUnary},
    {"", "Add", BuildBinary},
    {"slipway", "Add", BuildBinary},
    {"", "Sub", BuildBinary},
    {"", "Mul", BuildBinary},
    {"", "Div", BuildBinary},
    {"", "Max", BuildBinary},
    {"", "Min", BuildBinary},
    {"", "Softmax", BuildSoftmax},
    {"", "LayerNormalization", BuildLayerNorm},
    {"", "BatchNormalization", BuildBatchNorm},
    {"", "Concat", BuildConcat},
    {format::kEngineDomain, "Reorder", BuildReorder},
};

int Fail(slipway_error* error, const Status& status, const char* step) {
  const int code = static_cast<int>(status.code());
  if (error) {
    error->code = code;
    std::snprintf(error->message, sizeof error->message, "onednn, step '%s': %s", step ? step : "",
                  status.message().c_str());
  }
  return code;
}

// Runs f, turning exceptions into statuses. dnnl_unimplemented means that no primitive fits.
template <typename F>
Status Guard(F&& f) {
  try {
    return f();
  } catch (const dnnl::error& e) {
    const std::string text = std::string("oneDNN: ") + e.what();
    if (e.status == dnnl_unimplemented) return Unsupported(text + "; compile for another backend");
    if (e.status == dnnl_out_of_memory) return ResourceExhausted(text);
    return e.status == dnnl_invalid_arguments ? InvalidArgument(text) : Internal(text);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  } catch (const std::exception& e) {
    return Internal(e.what());
  }
}

// The limits that everything behind relies on.
Status CheckTensors(const slipway_step& step) {
  auto check = [](const slipway_tensor& t) {
    if (t.dtype == 0) return OkStatus();
    if (t.rank < 0 || t.rank > SLIPWAY_MAX_RANK)
      return InvalidArgument("a tensor with rank " + std::to_string(t.rank));
    const Dims dims = Builder::ToDims(t);
    const auto bytes = t.dtype < 256 && t.layout < 256
                           ? format::LayoutBytes(static_cast<DType>(t.dtype), dims,
                                                 static_cast<format::Layout>(t.layout))
                           : std::nullopt;
    if (!bytes || static_cast<uint64_t>(*bytes) > t.bytes)
      return InvalidArgument("a tensor of shape " + dims.ToString() + " without room for it");
    return OkStatus();
  };
  for (uint32_t i = 0; i < step.num_inputs; ++i) SLIPWAY_RETURN_IF_ERROR(check(step.inputs[i]));
  for (uint32_t i = 0; i < step.num_outputs; ++i) SLIPWAY_RETURN_IF_ERROR(check(step.outputs[i]));
  return OkStatus();
}

// oneDNN divides by extents: a product over nothing (K = 0) ends the process there.
Status CheckExtents(const slipway_step& step, const format::OpDesc& op) {
  auto count = [](const slipway_tensor& t) { return Builder::ToDims(t).count(); };
  if (op.op == "Concat" || step.num_outputs == 0 || count(step.outputs[0]) == 0) return OkStatus();
  for (uint32_t i = 0; i < step.num_inputs; ++i) {
    if (step.inputs[i].dtype != 0 && count(step.inputs[i]) == 0)
      return Unsupported("an input without elements");
  }
  return OkStatus();
}

int Load(void*, const slipway_step* step, void** program, slipway_error* error) {
  const Status s = Guard([&]() -> Status {
    SLIPWAY_ASSIGN_OR_RETURN(format::OpDesc op, format::DecodeOp({step->blob, step->blob_size}));
    const BuildFunction build = FindBuild(op);
    if (!build)
      return Unsupported("there is no operator " + op.domain + (op.domain.empty() ? "" : ".") +
                         op.op);
    auto p = std::make_unique<Program>();
    p->name = step->name ? step->name : "";
    p->op = std::move(op);
    p->build = build;
    *program = p.release();
    return OkStatus();
  });
  return s.ok() ? SLIPWAY_OK : Fail(error, s, step->name);
}

void Unload(void*, void* program) { delete static_cast<Program*>(program); }

int Prepare(void*, void* program, const slipway_step* step, slipway_requirements* requirements,
            void** result, slipway_error* error) {
  const int before = omp_get_max_threads();
  const int threads = requirements->threads > 0 ? requirements->threads : 1;
  if (threads > 1) onednn::ShortenSpinning();
  omp_set_num_threads(threads);  // primitives split their work for the team they are made under
  const Status s = Guard([&]() -> Status {
    SLIPWAY_RETURN_IF_ERROR(CheckTensors(*step));
    auto bound = std::make_unique<Bound>();
    bound->threads = threads;
    Program& p = *static_cast<Program*>(program);
    SLIPWAY_RETURN_IF_ERROR(CheckExtents(*step, p.op));
    Builder builder(p, *step, *bound);
    SLIPWAY_RETURN_IF_ERROR(p.build(builder));
    builder.Finish();
    requirements->workspace_bytes = bound->workspace;
    *result = bound.release();
    return OkStatus();
  });
  omp_set_num_threads(before);
  return s.ok() ? SLIPWAY_OK : Fail(error, s, step->name);
}

void Release(void*, void* bound) { delete static_cast<Bound*>(bound); }

int Run(void*, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
        const slipway_execution* execution, slipway_error* error) {
  const Status s = static_cast<Bound*>(bound)->Run(inputs, outputs, *execution);
  return s.ok() ? SLIPWAY_OK : Fail(error, s, "");
}

const char* Version() {
  static const std::string* version = [] {
    const dnnl_version_t* v = dnnl_version();
    return new std::string("oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) +
                           "." + std::to_string(v->patch));
  }();
  return version->c_str();
}

}  // namespace

BuildFunction FindBuild(const format::OpDesc& op) {
  for (const Row& row : kRows) {
    if (op.domain == row.domain && op.op == row.op) return row.build;
  }
  return nullptr;
}

Result<std::string> ProbeImplementation(const slipway_step& step) {
  std::string name;
  SLIPWAY_RETURN_IF_ERROR(Guard([&]() -> Status {
    Program program;
    SLIPWAY_ASSIGN_OR_RETURN(program.op, format::DecodeOp({step.blob, step.blob_size}));
    const BuildFunction build = FindBuild(program.op);
    if (!build) return Unsupported("onednn has no operator " + program.op.op);
    SLIPWAY_RETURN_IF_ERROR(CheckTensors(step));
    SLIPWAY_RETURN_IF_ERROR(CheckExtents(step, program.op));
    Bound bound;
    Builder builder(program, step, bound, /*probe=*/true);
    SLIPWAY_RETURN_IF_ERROR(build(builder));
    name = builder.implementations();
    return OkStatus();
  }));
  return name;
}

}  // namespace onednn

const slipway_backend* OnednnBackend() {
  static const slipway_backend backend =
      kernels::HostBackend("onednn", onednn::Version(), onednn::Load, onednn::Unload,
                           onednn::Prepare, onednn::Release, onednn::Run);
  return &backend;
}

}  // namespace slipway::backends
