#include "engine/backends/x86/run/backend.h"

#include <memory>

#include "engine/backends/x86/run/step.h"
#include "engine/kernels/backend_glue.h"

namespace slipway::backends {
namespace x86 {

#if defined(__aarch64__)
static constexpr char kArchName[] = "arm";
#else
static constexpr char kArchName[] = "x86";
#endif
namespace {

struct Row {
  const char* domain;
  const char* op;
  BuildFunction build;
};

constexpr Row kRows[] = {
    {"", "Relu", BuildUnary},
    {"", "LeakyRelu", BuildUnary},
    {"", "Clip", BuildUnary},
    {"", "Sigmoid", BuildUnary},
    {"", "HardSigmoid", BuildUnary},
    {"", "HardSwish", BuildUnary},
    {"", "Swish", BuildUnary},
    {"", "Gelu", BuildUnary},
    {"", "Tanh", BuildUnary},
    {"", "Elu", BuildUnary},
    {"", "Selu", BuildUnary},
    {"", "Celu", BuildUnary},
    {"", "ThresholdedRelu", BuildUnary},
    {"", "Softplus", BuildUnary},
    {"", "Softsign", BuildUnary},
    {"", "Mish", BuildUnary},
    {"", "Erf", BuildUnary},
    {"", "Exp", BuildUnary},
    {"", "Log", BuildUnary},
    {"", "Sqrt", BuildUnary},
    {"", "Reciprocal", BuildUnary},
    {"", "Neg", BuildUnary},
    {"", "Abs", BuildUnary},
    {"", "Floor", BuildUnary},
    {"", "Ceil", BuildUnary},
    {"", "Round", BuildUnary},
    {"", "Sign", BuildUnary},
    {"", "Add", BuildBinary},
    {"", "Sub", BuildBinary},
    {"", "Mul", BuildBinary},
    {"", "Div", BuildBinary},
    {"", "Pow", BuildBinary},
    {"", "PRelu", BuildBinary},
    {"slipway", "Add", BuildBinary},
    {"", "Sum", BuildVariadic},
    {"", "Mean", BuildVariadic},
    {"", "Max", BuildVariadic},
    {"", "Min", BuildVariadic},
    {"", "Where", BuildWhere},
    {"", "Cast", BuildCast},
    {"slipway", "QAdd", BuildQBinary},
    {"slipway", "QMul", BuildQBinary},
    {"slipway", "MulQuantize", BuildMulQuantize},
    {"", "Softmax", BuildSoftmax},
    {"", "LogSoftmax", BuildSoftmax},
    {"", "LayerNormalization", BuildLayerNorm},
    {"", "RMSNormalization", BuildLayerNorm},
    {"", "GroupNormalization", BuildGroupNorm},
    {"", "InstanceNormalization", BuildGroupNorm},
    {"", "BatchNormalization", BuildBatchNorm},
    {"", "ReduceMean", BuildReduce},
    {"", "ReduceSum", BuildReduce},
    {"", "ReduceMax", BuildReduce},
    {"", "ReduceMin", BuildReduce},
    {"", "ReduceProd", BuildReduce},
    {"", "ReduceL1", BuildReduce},
    {"", "ReduceL2", BuildReduce},
    {"", "ReduceSumSquare", BuildReduce},
    {"", "GlobalAveragePool", BuildGlobalPool},
    {"", "GlobalMaxPool", BuildGlobalPool},
    {"", "MaxPool", BuildPool},
    {"", "AveragePool", BuildPool},
    {"slipway", "SqueezeExcite", BuildSqueezeExcite},
    {"", "Transpose", BuildTranspose},
    {"", "Concat", BuildConcat},
    {"", "Split", BuildSplit},
    {"", "Slice", BuildSlice},
    {"", "Pad", BuildPad},
    {"", "Gather", BuildGather},
    {"", "Expand", BuildExpand},
    {"", "Tile", BuildTile},
    {"", "DepthToSpace", BuildDepthToSpace},
    {"", "SpaceToDepth", BuildDepthToSpace},
    {"", "Resize", BuildResize},
    {"slipway", "QResize", BuildResize},
    {"", "Reshape", BuildView},
    {"", "Flatten", BuildView},
    {"", "Squeeze", BuildView},
    {"", "Unsqueeze", BuildView},
    {"", "Identity", BuildView},
    {"", "Dropout", BuildView},
    {"slipway", "Quantize", BuildQuantize},
    {"slipway", "Dequantize", BuildDequantize},
    {"slipway", "QRescale", BuildQRescale},
    {"slipway", "QLookup", BuildQLookup},
    {"slipway", "QAveragePool", BuildQAveragePool},
    {"slipway", "QAffine", BuildQAffine},
    {"slipway", "QConv", BuildQConv},
    {"slipway", "QMatMul", BuildQMatMul},
    {"slipway", "QAttention", BuildQAttention},
    {"slipway", "QLayerNorm", BuildQLayerNorm},
    {"slipway", "QLinear", BuildQLinear},
    {"slipway", "LinearNBits", BuildLinearNBits},
    {"slipway", "QConvBits", BuildQConvBits},
    {"slipway", "QLinearBits", BuildQLinearBits},
    {"", "Conv", BuildConv},
    {"slipway", "Conv", BuildConv},
    {"", "ConvTranspose", BuildConvTranspose},
    {"slipway", "ConvDepthwise", BuildConvDepthwise},
    {"slipway", "Linear", BuildLinear},
    {"", "Attention", BuildAttention},
    {"", "RNN", BuildRecurrent},
    {"", "GRU", BuildRecurrent},
    {"", "LSTM", BuildRecurrent},
    {"", "Gemm", BuildGemm},
    {"", "MatMul", BuildMatMul},
};

struct Program {
  format::OpDesc op;
  BuildFunction build;
  std::unique_ptr<SharedState> shared = std::make_unique<SharedState>();
};
struct Bound {
  RunFunction run;  // empty: nothing to do
  uint64_t workspace = 0;
};

// The limits that everything behind relies on.
Status CheckTensors(const slipway_step& step) {
  auto check = [](const slipway_tensor& t) -> Status {
    if (t.dtype == 0) return OkStatus();
    if (t.rank < 0 || t.rank > SLIPWAY_MAX_RANK)
      return InvalidArgument("a tensor of rank " + std::to_string(t.rank));
    const Dims dims = Builder::DimsOf(t);
    const auto bytes =
        t.dtype < 256 && t.layout < format::kLayoutCount
            ? format::LayoutBytes(static_cast<DType>(t.dtype), dims, static_cast<Layout>(t.layout))
            : std::nullopt;
    if (!bytes || static_cast<uint64_t>(*bytes) > t.bytes)
      return InvalidArgument("a tensor of shape " + dims.ToString() + " without room for it");
    return OkStatus();
  };
  for (uint32_t i = 0; i < step.num_inputs; ++i) SLIPWAY_RETURN_IF_ERROR(check(step.inputs[i]));
  for (uint32_t i = 0; i < step.num_outputs; ++i) SLIPWAY_RETURN_IF_ERROR(check(step.outputs[i]));
  return OkStatus();
}

Result<Program> Decode(const slipway_step& step) {
  SLIPWAY_ASSIGN_OR_RETURN(format::OpDesc op, format::DecodeOp({step.blob, step.blob_size}));
  const BuildFunction build = FindBuild(op);
  if (!build)
    return Unsupported("no operator " + op.domain + (op.domain.empty() ? "" : ".") + op.op +
                       " in the backend of this CPU");
  Program p;
  p.op = std::move(op);
  p.build = build;
  return p;
}

Status Named(const Status& s, const slipway_step* step) {
  return s.ok() ? s : s.With(std::string(kArchName) + ", step '" + (step->name ? step->name : "") + "'");
}

int Load(void*, const slipway_step* step, void** program, slipway_error* error) {
  return kernels::CatchToError(error, [&]() -> Status {
    auto p = Decode(*step);
    if (!p.ok()) return Named(p.status(), step);
    *program = new Program(std::move(*p));
    return OkStatus();
  });
}

void Unload(void*, void* program) { delete static_cast<Program*>(program); }

int Prepare(void*, void* program, const slipway_step* step, slipway_requirements* requirements,
            void** bound, slipway_error* error) {
  return kernels::CatchToError(error, [&]() -> Status {
    const Program& p = *static_cast<const Program*>(program);
    SLIPWAY_RETURN_IF_ERROR(Named(CheckTensors(*step), step));
    Builder builder(p.op, *step, std::max(1, requirements->threads), p.shared.get());
    SLIPWAY_RETURN_IF_ERROR(Named(builder.Open(), step));
    SLIPWAY_RETURN_IF_ERROR(Named(p.build(builder), step));
    SLIPWAY_RETURN_IF_ERROR(Named(builder.Close(), step));
    auto b = std::make_unique<Bound>();
    b->run = builder.TakeRun();
    b->workspace = builder.workspace();
    requirements->workspace_bytes = b->workspace;
    *bound = b.release();
    return OkStatus();
  });
}

void Release(void*, void* bound) { delete static_cast<Bound*>(bound); }

int Run(void*, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
        const slipway_execution* execution, slipway_error* error) {
  return kernels::CatchToError(error, [&]() -> Status {
    const Bound& b = *static_cast<const Bound*>(bound);
    if (!b.run) return OkStatus();
    if (b.workspace > execution->workspace_bytes)
      return Internal("the workspace is smaller than prepare asked for");
    kernels::ExecutionParallel parallel(*execution);
    return b.run({inputs, outputs, parallel, execution->workspace});
  });
}

}  // namespace

BuildFunction FindBuild(const format::OpDesc& op) {
  for (const Row& row : kRows) {
    if (op.domain == row.domain && op.op == row.op) return row.build;
  }
  return nullptr;
}

Result<ProbeResult> Probe(const slipway_step& step, bool float16) {
  SLIPWAY_ASSIGN_OR_RETURN(const Program p, Decode(step));
  SLIPWAY_RETURN_IF_ERROR(CheckTensors(step));
  Builder builder(p.op, step, 1);
  builder.SetFloat16(float16);
  SLIPWAY_RETURN_IF_ERROR(builder.Open());
  SLIPWAY_RETURN_IF_ERROR(p.build(builder));
  return ProbeResult{builder.view()};
}

Result<PackedWeightsPtr> Pack(const slipway_step& step, kernels::Isa isa) {
  SLIPWAY_ASSIGN_OR_RETURN(const Program p, Decode(step));
  SLIPWAY_RETURN_IF_ERROR(CheckTensors(step));
  SharedState shared;
  Builder builder(p.op, step, 1, &shared);
  builder.SetIsa(isa);
  SLIPWAY_RETURN_IF_ERROR(p.build(builder));
  return builder.made();
}

slipway_backend NativeBackend(const char* name) {
  static const std::string* version =
      new std::string(std::string("1 ") + kernels::IsaName(kernels::BestIsa()));
  return kernels::HostBackend(name, version->c_str(), Load, Unload, Prepare, Release, Run);
}

}  // namespace x86

const slipway_backend* X86Backend() {
  static const slipway_backend backend = x86::NativeBackend("x86");
  return &backend;
}

}  // namespace slipway::backends
