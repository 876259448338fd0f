// Elementwise operators: one input, two, several; their integer relatives.

#include <cmath>
#include <cstring>

#include "engine/backends/x86/run/activation.h"
#include "engine/backends/x86/run/broadcast.h"
#include "engine/kernels/eltwise/eltwise.h"
#include "engine/kernels/movement/movement.h"
#include "engine/kernels/quant/quant.h"
#include "model/ops/activation.h"
#include "model/ops/quantized.h"

namespace slipway::backends::x86 {
namespace {

using kernels::BinaryKind;
using kernels::UnaryKind;

// Waking a thread costs some microseconds: what one thread does in less stays there.
constexpr int64_t kGrain = 32768;

// Operators whose name is the kernel's and that take no more than the parameter alpha.
struct UnaryRow {
  const char* op;
  UnaryKind kind;
  float alpha;
};
constexpr UnaryRow kUnary[] = {
    {"Relu", UnaryKind::kRelu, 0},         {"LeakyRelu", UnaryKind::kLeakyRelu, 0.01f},
    {"Sigmoid", UnaryKind::kSigmoid, 0},   {"HardSwish", UnaryKind::kHardSwish, 0},
    {"Swish", UnaryKind::kSwish, 1},       {"Tanh", UnaryKind::kTanh, 0},
    {"Elu", UnaryKind::kElu, 1},           {"Celu", UnaryKind::kCelu, 1},
    {"Softplus", UnaryKind::kSoftplus, 0}, {"ThresholdedRelu", UnaryKind::kThresholdedRelu, 1},
    {"Mish", UnaryKind::kMish, 0},         {"Softsign", UnaryKind::kSoftsign, 0},
    {"Erf", UnaryKind::kErf, 0},           {"Exp", UnaryKind::kExp, 0},
    {"Log", UnaryKind::kLog, 0},           {"Sqrt", UnaryKind::kSqrt, 0},
    {"Neg", UnaryKind::kNeg, 0},           {"Reciprocal", UnaryKind::kReciprocal, 0},
    {"Abs", UnaryKind::kAbs, 0},           {"Floor", UnaryKind::kFloor, 0},
    {"Ceil", UnaryKind::kCeil, 0},         {"Round", UnaryKind::kRound, 0},
    {"Sign", UnaryKind::kSign, 0},
};

Result<UnaryCall> ReadUnary(const Builder& b) {
  const ops::Attributes& a = b.attributes();
  const std::string& op = b.op();
  if (op == "HardSigmoid")
    return UnaryCall{UnaryKind::kHardSigmoid, a.Float("alpha", 0.2f), a.Float("beta", 0.5f)};
  if (op == "Selu")
    return UnaryCall{UnaryKind::kSelu, a.Float("alpha", 1.67326319217681884765625f),
                     a.Float("gamma", 1.05070102214813232421875f)};
  if (op == "Gelu") {
    const auto mode = a.String("approximate", "none");
    if (mode != "none" && mode != "tanh")
      return InvalidArgument("unknown approximate '" + std::string(mode) + "'");
    return UnaryCall{mode == "tanh" ? UnaryKind::kGeluTanh : UnaryKind::kGelu, 0, 0};
  }
  if (op == "Clip") {
    SLIPWAY_ASSIGN_OR_RETURN(const float lo, b.Scalar(1, -INFINITY));
    SLIPWAY_ASSIGN_OR_RETURN(const float hi, b.Scalar(2, INFINITY));
    return UnaryCall{UnaryKind::kClip, lo, hi};
  }
  for (const UnaryRow& row : kUnary) {
    if (op == row.op) return UnaryCall{row.kind, a.Float("alpha", row.alpha), 0};
  }
  return Unsupported("no " + op);
}

// All of them and the output float32, or all bfloat16 or float16.
Status CheckHalfOrFloats(const Builder& b, size_t inputs) {
  const DType type = IsHalf(b.in_type()) ? b.in_type() : DType::kFloat32;
  SLIPWAY_RETURN_IF_ERROR(b.NeedHalf(type));
  for (size_t i = 0; i < inputs; ++i) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, type));
  return b.out_type() == type ? OkStatus()
                              : Unsupported(std::string(DTypeName(b.out_type())) + " output");
}

// bfloat16 and float16 go through the kernels of float32 in pieces that stay in the first-level cache.
constexpr int64_t kHalfPiece = 1024;
struct HalfRows : Conversions {
  kernels::UnaryFunction activation = nullptr;
  float a = 0, b = 0;
  // Where there is no need of float32 in memory: for rows.
  void (*direct)(const uint16_t*, const uint16_t*, uint16_t*, int64_t) = nullptr;

  // One operand, or neither, walks with the row: by `direct`.
  void Direct(bool walk_x, bool walk_y, int64_t period, const uint16_t* x, const uint16_t* y,
              uint16_t* z, int64_t n) const {
    if (walk_x && walk_y && period == 0) return direct(x, y, z, n);
    alignas(64) uint16_t all[kHalfPiece];  // what does not walk, again and again
    if (period > kHalfPiece) {
      for (int64_t i = 0; i < n; i += period) direct(x + i, y, z + i, std::min(period, n - i));
      return;
    }
    const int64_t once = std::max<int64_t>(period, 1), piece = kHalfPiece / once * once;
    const int64_t end = std::min(piece, n);
    std::memcpy(all, walk_x ? y : x, static_cast<size_t>(once) * sizeof *all);
    for (int64_t i = once, m; i < end; i += m) {
      m = std::min(i, end - i);
      std::memcpy(all + i, all, static_cast<size_t>(m) * sizeof *all);
    }
    for (int64_t i = 0; i < n; i += piece) {
      const int64_t m = std::min(piece, n - i);
      walk_x ? direct(x + i, all, z + i, m) : direct(all, y + i, z + i, m);
    }
  }

  void Unary(const uint16_t* x, uint16_t* y, int64_t n) const {
    alignas(64) float all[kHalfPiece];
    for (int64_t i = 0; i < n; i += kHalfPiece) {
      const int64_t m = std::min(kHalfPiece, n - i);
      widen(x + i, all, m);
      activation(all, all, m, a, b);
      narrow(all, y + i, m);
    }
  }
  // As the functions of kernels::BinaryFunctions: `f` for rows, or for one x or y.
  void Binary(kernels::BinaryFunction f, bool walk_x, bool walk_y, int64_t period,
              const uint16_t* x, const uint16_t* y, uint16_t* z, int64_t n) const {
    if (direct) return Direct(walk_x, walk_y, period, x, y, z, n);
    alignas(64) float p[kHalfPiece], q[kHalfPiece];
    int64_t piece = kHalfPiece;
    const bool repeat = period > 0 && period <= kHalfPiece;  // y as often as it goes into a piece
    if (repeat) {
      piece = kHalfPiece / period * period;
      widen(y, q, period);
      const int64_t end = std::min(piece, n);
      for (int64_t i = period, m; i < end; i += m) {
        m = std::min(i, end - i);
        std::memcpy(q + i, q, static_cast<size_t>(m) * sizeof *q);
      }
    }
    if (!walk_x) widen(x, p, 1);
    if (!walk_y) widen(y, q, 1);
    for (int64_t i = 0; i < n;) {
      const int64_t at = period > 0 ? i % period : i;  // in y
      int64_t m = std::min(piece, n - i);
      if (period > 0 && !repeat) m = std::min(m, period - at);
      if (walk_x) widen(x + i, p, m);
      if (walk_y && !repeat) widen(y + at, q, m);
      if (walk_x) {
        f(p, q, p, m, 0);
        if (activation) activation(p, p, m, a, b);
        narrow(p, z + i, m);
      } else {
        f(p, q, q, m, 0);
        if (activation) activation(q, q, m, a, b);
        narrow(q, z + i, m);
      }
      i += m;
    }
  }
};

Status CheckFloats(const Builder& b, size_t inputs) {
  for (size_t i = 0; i < inputs; ++i) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, DType::kFloat32));
  return b.out_type() == DType::kFloat32
             ? OkStatus()
             : Unsupported(std::string(DTypeName(b.out_type())) + " output");
}

const BinaryKind* FindBinary(const std::string& op) {
  static constexpr std::pair<const char*, BinaryKind> kNames[] = {
      {"Add", BinaryKind::kAdd}, {"Sub", BinaryKind::kSub},     {"Mul", BinaryKind::kMul},
      {"Div", BinaryKind::kDiv}, {"PRelu", BinaryKind::kPRelu}, {"Pow", BinaryKind::kPow},
      {"Sum", BinaryKind::kAdd}, {"Mean", BinaryKind::kAdd},    {"Max", BinaryKind::kMax},
      {"Min", BinaryKind::kMin}};
  for (const auto& [name, kind] : kNames) {
    if (op == name) return &kind;
  }
  return nullptr;
}

// One float binary step: rows of z = f(x, y), then an activation while they are in the cache.
struct BinaryStep {
  kernels::BinaryFunction function;
  RowPlan<2> plan;
  bool swapped = false;
};

Result<BinaryStep> MakeBinary(const kernels::BinaryFunctions& f, bool commutes, const Dims& out,
                              Dims x, Dims y) {
  BinaryStep s;
  if (commutes && x.count() < y.count()) {
    std::swap(x, y);
    s.swapped = true;
  }
  const Dims* const operands[2] = {&x, &y};
  s.plan.Make(out, operands, /*periodic=*/true);
  if (!s.plan.walk(0) && !s.plan.walk(1) && out.count() != 1)
    return InvalidArgument("operands that do not broadcast to the output");
  s.function = s.plan.period()                    ? f.periodic
               : s.plan.walk(0) && s.plan.walk(1) ? f.rows
               : s.plan.walk(0)                   ? f.scalar_y
               : s.plan.walk(1)                   ? f.scalar_x
                                                  : f.rows;  // rows of one element
  return s;
}

}  // namespace

Status BuildUnary(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(CheckHalfOrFloats(b, 1));
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  SLIPWAY_ASSIGN_OR_RETURN(const UnaryCall call, ReadUnary(b));
  const int64_t n = b.Physical(b.output());
  const kernels::EltwiseKernels& k = kernels::GetEltwise(b.isa());
  const auto f = k.unary[static_cast<int>(call.kind)];
  if (IsHalf(b.in_type())) {
    const bool rough = b.in_type() == DType::kBFloat16 && call.kind == UnaryKind::kSwish;
    const HalfRows rows = {Conversions::Of(b.in_type(), b.isa()), rough ? k.rough_swish : f, call.a,
                           call.b};
    b.Run([=](const RunContext& c) {
      c.parallel.ParallelFor(n, kGrain / 2, [&](int64_t begin, int64_t end) {
        rows.Unary(c.in<uint16_t>(0) + begin, c.out<uint16_t>() + begin, end - begin);
      });
      return OkStatus();
    });
    return OkStatus();
  }
  b.Run([=](const RunContext& c) {
    const float* x = c.in<float>(0);
    float* y = c.out<float>();
    c.parallel.ParallelFor(n, kGrain / 2, [&](int64_t begin, int64_t end) {
      f(x + begin, y + begin, end - begin, call.a, call.b);
    });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildBinary(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  SLIPWAY_RETURN_IF_ERROR(CheckHalfOrFloats(b, 2));
  const BinaryKind* kind = FindBinary(b.op());
  if (!kind) return Unsupported("no " + b.op());
  ops::Activation activation;
  if (b.IsSlipway()) {
    SLIPWAY_ASSIGN_OR_RETURN(activation, ops::ParseActivation(b.attributes()));
  }
  SLIPWAY_ASSIGN_OR_RETURN(const Dims x, OperandDims(b, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const Dims y, OperandDims(b, 1));
  const kernels::EltwiseKernels& k = kernels::GetEltwise(b.isa());
  const bool commutes = *kind == BinaryKind::kAdd || *kind == BinaryKind::kMul;
  SLIPWAY_ASSIGN_OR_RETURN(const BinaryStep s,
                           MakeBinary(k.binary[static_cast<int>(*kind)], commutes,
                                      PhysicalDims(b.out_dims(), b.out_layout()), x, y));
  const UnaryCall call = FromActivation(activation);
  const auto act =
      call.kind == UnaryKind::kIdentity ? nullptr : k.unary[static_cast<int>(call.kind)];
  if (IsHalf(b.in_type())) {
    const bool simple =
        !act && *kind <= BinaryKind::kMul && b.in_type() == DType::kBFloat16;
    const HalfRows rows = {Conversions::Of(b.in_type(), b.isa()), act, call.a, call.b,
                           simple ? k.half_rows[static_cast<int>(*kind)] : nullptr};
    const auto f = s.plan.period() ? k.binary[static_cast<int>(*kind)].rows : s.function;
    // Rows of one element: neither operand walks.
    const bool walk_x = s.plan.walk(0) || !s.plan.walk(1);
    b.Run([=](const RunContext& c) {
      const uint16_t* px = c.in<uint16_t>(s.swapped ? 1 : 0);
      const uint16_t* py = c.in<uint16_t>(s.swapped ? 0 : 1);
      s.plan.Run(c.parallel, [&](int64_t at, int64_t n, const int64_t* offsets) {
        rows.Binary(f, walk_x, s.plan.walk(1) != 0, s.plan.period(), px + offsets[0],
                    py + offsets[1], c.out<uint16_t>() + at, n);
      });
      return OkStatus();
    });
    return OkStatus();
  }
  b.Run([=](const RunContext& c) {
    const float* px = c.in<float>(s.swapped ? 1 : 0);
    const float* py = c.in<float>(s.swapped ? 0 : 1);
    float* z = c.out<float>();
    s.plan.Run(c.parallel, [&](int64_t at, int64_t n, const int64_t* offsets) {
      s.function(px + offsets[0], py + offsets[1], z + at, n, s.plan.period());
      if (act) act(z + at, z + at, n, call.a, call.b);
    });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildVariadic(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(std::max<size_t>(1, b.num_inputs())));
  SLIPWAY_RETURN_IF_ERROR(CheckFloats(b, b.num_inputs()));
  const BinaryKind* kind = FindBinary(b.op());
  if (!kind) return Unsupported("no " + b.op());
  const Dims out = PhysicalDims(b.out_dims(), b.out_layout());
  const kernels::EltwiseKernels& k = kernels::GetEltwise(b.isa());
  const kernels::BinaryFunctions& f = k.binary[static_cast<int>(*kind)];
  std::vector<Dims> dims;
  for (size_t i = 0; i < b.num_inputs(); ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(Dims d, OperandDims(b, i));
    dims.push_back(d);
  }
  const float scale = b.op() == "Mean" ? 1.0f / static_cast<float>(dims.size()) : 1.0f;
  const auto affine = k.unary[static_cast<int>(UnaryKind::kAffine)];
  const int64_t count = out.count();
  if (dims.size() == 1) {
    SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
    b.Run([=](const RunContext& c) {
      c.parallel.ParallelFor(count, kGrain, [&](int64_t begin, int64_t end) {
        affine(c.in<float>(0) + begin, c.out<float>() + begin, end - begin, 1, 0);
      });
      return OkStatus();
    });
    return OkStatus();
  }
  std::vector<BinaryStep> steps;
  for (size_t i = 1; i < dims.size(); ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(BinaryStep s,
                             MakeBinary(f, i == 1, out, i == 1 ? dims[0] : out, dims[i]));
    steps.push_back(s);
  }
  // Only the first step reads more than one input, so output 0 may only share input 0's memory when
  // there are two.
  b.Run([steps = std::move(steps), affine, scale, count](const RunContext& c) {
    float* z = c.out<float>();
    for (size_t i = 0; i < steps.size(); ++i) {
      const BinaryStep& s = steps[i];
      const float* x = i == 0 ? c.in<float>(0) : z;
      const float* y = c.in<float>(i + 1);
      if (s.swapped) std::swap(x, y);
      s.plan.Run(c.parallel, [&](int64_t at, int64_t n, const int64_t* offsets) {
        s.function(x + offsets[0], y + offsets[1], z + at, n, s.plan.period());
      });
    }
    if (scale != 1.0f) {
      c.parallel.ParallelFor(count, kGrain, [&](int64_t begin, int64_t end) {
        affine(z + begin, z + begin, end - begin, scale, 0);
      });
    }
    return OkStatus();
  });
  return OkStatus();
}

Status BuildCast(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(0));
  const int64_t total = b.Physical(b.output());
  constexpr int64_t kGrain = 16384;
  for (const DType type : {b.in_type(), b.out_type()}) SLIPWAY_RETURN_IF_ERROR(b.NeedHalf(type));
  if (b.in_type() == DType::kFloat32 && IsHalf(b.out_type())) {
    b.Run([total, f = Conversions::Of(b.out_type(), b.isa()).narrow](const RunContext& c) {
      c.parallel.ParallelFor(total, kGrain, [&](int64_t begin, int64_t end) {
        f(c.in<float>(0) + begin, c.out<uint16_t>() + begin, end - begin);
      });
      return OkStatus();
    });
    return OkStatus();
  }
  if (IsHalf(b.in_type()) && b.out_type() == DType::kFloat32) {
    b.Run([total, f = Conversions::Of(b.in_type(), b.isa()).widen](const RunContext& c) {
      c.parallel.ParallelFor(total, kGrain, [&](int64_t begin, int64_t end) {
        f(c.in<uint16_t>(0) + begin, c.out<float>() + begin, end - begin);
      });
      return OkStatus();
    });
    return OkStatus();
  }
  return Unsupported(std::string(DTypeName(b.in_type())) + " to " + DTypeName(b.out_type()));
}

Status BuildWhere(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(0, DType::kBool));
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(1, DType::kFloat32));
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(2, DType::kFloat32));
  if (b.out_type() != DType::kFloat32)
    return InvalidArgument("Where: the output has another type than its inputs");
  SLIPWAY_ASSIGN_OR_RETURN(const Dims d0, OperandDims(b, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const Dims d1, OperandDims(b, 1));
  SLIPWAY_ASSIGN_OR_RETURN(const Dims d2, OperandDims(b, 2));
  const Dims* const operands[3] = {&d0, &d1, &d2};
  RowPlan<3> plan;
  plan.Make(PhysicalDims(b.out_dims(), b.out_layout()), operands, false);
  const auto f = kernels::GetEltwise(b.isa()).where;
  b.Run([=](const RunContext& c) {
    plan.Run(c.parallel, [&](int64_t at, int64_t n, const int64_t* o) {
      f(c.in<uint8_t>(0) + o[0], plan.walk(0), c.in<float>(1) + o[1], plan.walk(1),
        c.in<float>(2) + o[2], plan.walk(2), c.out<float>() + at, n);
    });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildQBinary(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  const ops::Attributes& a = b.attributes();
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to, ops::MakeRequantizer(a, b.out_type()));
  kernels::QBinaryParams p;
  SLIPWAY_ASSIGN_OR_RETURN(p.a_zero, ops::ReadZeroPoint(a, "a_zero_point", b.in_type(0)));
  SLIPWAY_ASSIGN_OR_RETURN(p.b_zero, ops::ReadZeroPoint(a, "b_zero_point", b.in_type(1)));
  const bool mul = b.op() == "QMul";
  p.a_multiplier = mul ? a.Float("multiplier", 1) : a.Float("a_multiplier", 1);
  p.b_multiplier = a.Float("b_multiplier", 1);
  p.to = {to.zero_point, to.lo, to.hi};
  SLIPWAY_ASSIGN_OR_RETURN(const Dims x, OperandDims(b, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const Dims y, OperandDims(b, 1));
  const Dims* const operands[2] = {&x, &y};
  RowPlan<2> plan;
  plan.Make(PhysicalDims(b.out_dims(), b.out_layout()), operands, true);
  const auto walk = plan.period()   ? kernels::Walk::kPeriodicB
                    : !plan.walk(1) ? kernels::Walk::kScalarB
                    : !plan.walk(0) ? kernels::Walk::kScalarA
                                    : kernels::Walk::kRows;
  const int ta = b.in_type(0) == DType::kInt8, tb = b.in_type(1) == DType::kInt8;
  const int ty = b.out_type() == DType::kFloat32 ? 2 : b.out_type() == DType::kInt8;
  const int64_t size = ty == 2 ? 4 : 1;
  const auto f = kernels::GetQuant(b.isa()).binary[mul ? 1 : 0][ta][tb][ty][static_cast<int>(walk)];
  const bool both_fixed = !plan.walk(0) && !plan.walk(1);  // kScalarB would walk along a
  b.Run([=](const RunContext& c) {
    plan.Run(c.parallel, [&](int64_t at, int64_t n, const int64_t* o) {
      uint8_t* z = c.out<uint8_t>() + at * size;
      if (both_fixed) {
        for (int64_t i = 0; i < n; ++i)
          f(c.in<uint8_t>(0) + o[0], c.in<uint8_t>(1) + o[1], z + i * size, 1, 1, p);
      } else {
        f(c.in<uint8_t>(0) + o[0], c.in<uint8_t>(1) + o[1], z, n, plan.period(), p);
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

// The product is rounded to codes on the way: no float image of it is written.
Status BuildMulQuantize(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  for (size_t i = 0; i < 2; ++i) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, DType::kFloat32));
  if (b.out_type() != DType::kUInt8 && b.out_type() != DType::kInt8)
    return Unsupported(std::string(DTypeName(b.out_type())) + " output");
  const ops::Attributes& a = b.attributes();
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to, ops::MakeRequantizer(a, b.out_type()));
  const float scale = a.Float("scale", 0);
  if (!(scale > 0) || std::isinf(scale))
    return InvalidArgument("the scale must be positive and finite");
  SLIPWAY_ASSIGN_OR_RETURN(const Dims x, OperandDims(b, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const Dims y, OperandDims(b, 1));
  const auto& mul = kernels::GetEltwise(b.isa()).binary[static_cast<int>(BinaryKind::kMul)];
  SLIPWAY_ASSIGN_OR_RETURN(const BinaryStep s,
                           MakeBinary(mul, true, PhysicalDims(b.out_dims(), b.out_layout()), x, y));
  const auto quantize = kernels::GetQuant(b.isa()).quantize[b.out_type() == DType::kInt8];
  const kernels::Requant range = {to.zero_point, to.lo, to.hi};
  const bool walk_x = s.plan.walk(0) != 0, walk_y = s.plan.walk(1) != 0;
  const int64_t period = s.plan.period();
  // Products stay in the first-level cache until they are rounded.
  constexpr int64_t kPiece = 1024;
  const int64_t whole = period > 0 && period <= kPiece ? kPiece / period * period : kPiece;
  b.Run([=](const RunContext& c) {
    const float* px = c.in<float>(s.swapped ? 1 : 0);
    const float* py = c.in<float>(s.swapped ? 0 : 1);
    s.plan.Run(c.parallel, [&](int64_t at, int64_t n, const int64_t* offsets) {
      alignas(64) float v[kPiece];
      const float *from = px + offsets[0], *by = py + offsets[1];
      for (int64_t i = 0; i < n;) {
        const int64_t place = period > 0 ? i % period : i;  // in y
        int64_t m = std::min(whole, n - i);
        if (period > whole) m = std::min(m, period - place);
        if (period > 0 && period <= whole)
          s.function(from + i, by, v, m, period);
        else if (period > 0)
          mul.rows(from + i, by + place, v, m, 0);
        else
          s.function(from + (walk_x ? i : 0), by + (walk_y ? i : 0), v, m, 0);
        quantize(v, c.out<uint8_t>() + at + i, m, scale, range);
        i += m;
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
