// Elementwise functions, and what only moves elements.

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/backends/xnnpack/run/planner.h"

namespace slipway::xnnpack {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kMostDims = 6;  // XNN_MAX_TENSOR_DIMS

Status CheckSame(Planner& p) {
  if (!(p.In(0) == p.Out()) || p.input(0).layout != p.output().layout)
    return InvalidArgument("input and output differ in shape or layout");
  return OkStatus();
}

// An operand's dims in memory beside an output of `rank` dimensions. Unsupported: it lies another
// way.
Result<Dims> OperandDims(Planner& p, size_t i) {
  const slipway_tensor &t = p.input(i), &y = p.output();
  const Dims logical = p.In(i);
  if (!p.Last(y) || y.rank < 3) {
    if (t.layout != 0) return Unsupported("operands of different layouts");
    return logical;
  }
  if (logical.rank() > y.rank)
    return InvalidArgument("an operand of more dimensions than the output");
  if (p.Last(t)) {
    if (t.rank != y.rank) return Unsupported("operands of different layouts");
    return Planner::Physical(t);
  }
  // Plain: the same bytes where there is one channel or one position.
  Dims full;
  for (int d = logical.rank(); d < y.rank; ++d) full.push_back(1);
  for (int64_t d : logical) full.push_back(d);
  if (full[1] != 1 && full.count(2, full.rank()) != 1)
    return Unsupported("operands of different layouts");
  Dims physical{full[0]};
  for (size_t d = 2; d < full.size(); ++d) physical.push_back(full[d]);
  physical.push_back(full[1]);
  return physical;
}

Result<Operands> ReadOperands(Planner& p) {
  SLIPWAY_ASSIGN_OR_RETURN(const Dims a, OperandDims(p, 0));
  SLIPWAY_ASSIGN_OR_RETURN(const Dims b, OperandDims(p, 1));
  return Broadcast(a, b, Planner::Physical(p.output()));
}

// Elements of 1 and 4 bytes are what XNNPACK moves on every processor.
Result<int64_t> MovedSize(DType type) {
  const int bits = DTypeBits(type);
  if (bits != 8 && bits != 32) return Unsupported(std::string("moving ") + DTypeName(type));
  return bits / 8;
}

// Rows of `inner` elements from a to y.
void AddCopy(Planner& p, DType type, int64_t size, Place a, Place y, int64_t rows, int64_t inner,
             int64_t a_step, int64_t y_step) {
  if (rows == 0 || inner == 0) return;
  Stage& s = p.Add(Kind::kCopy, type, a, y);
  s.size = size;
  s.batch = rows;
  s.channels = inner;
  s.a_step = a_step;
  s.y_step = y_step;
}

}  // namespace

Result<Operands> Broadcast(const Dims& given_a, const Dims& given_b, const Dims& y) {
  const auto full = [&](const Dims& d) {
    Dims f;
    for (int i = d.rank(); i < y.rank(); ++i) f.push_back(1);
    for (int64_t e : d) f.push_back(e);
    return f;
  };
  if (given_a.rank() > y.rank() || given_b.rank() > y.rank())
    return InvalidArgument("an operand of more dimensions than the output");
  const Dims a = full(given_a), b = full(given_b);
  Operands out;
  int last = -1;  // 0: both, 1: a has it, 2: b has it
  for (size_t i = 0; i < y.size(); ++i) {
    if (std::max(a[i], b[i]) != y[i] || (a[i] != 1 && a[i] != y[i]) || (b[i] != 1 && b[i] != y[i]))
      return InvalidArgument("the operands do not make the output");
    if (y[i] == 1) continue;
    const int kind = a[i] == b[i] ? 0 : a[i] != 1 ? 1 : 2;
    if (kind == last) {
      out.a[out.a.size() - 1] *= a[i];
      out.b[out.b.size() - 1] *= b[i];
    } else {
      out.a.push_back(a[i]);
      out.b.push_back(b[i]);
    }
    last = kind;
  }
  if (out.a.empty()) {
    out.a.push_back(1);
    out.b.push_back(1);
  }
  if (out.a.size() > kMostDims) return Unsupported("broadcasting that alternates");
  return out;
}

Status PlanUnary(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(1, 1));
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(1));
  SLIPWAY_RETURN_IF_ERROR(CheckSame(p));
  const ops::Attributes& a = p.attributes();
  const std::string& op = p.op().op;
  const int64_t count = p.Out().count();
  const Place x = p.InputAt(0), y = p.OutputAt();
  constexpr std::pair<const char*, Unary> kSimple[] = {
      {"Sigmoid", Unary::kSigmoid}, {"HardSwish", Unary::kHardSwish},
      {"Abs", Unary::kAbs},         {"Neg", Unary::kNegate},
      {"Ceil", Unary::kCeil},       {"Floor", Unary::kFloor},
      {"Round", Unary::kRound},     {"Sqrt", Unary::kSqrt}};
  for (const auto& [name, unary] : kSimple) {
    if (op != name) continue;
    p.AddUnary(unary, x, y, count);
    return OkStatus();
  }
  const Dims all{count}, one{1};
  if (op == "Relu") {
    p.AddUnary(Unary::kClamp, x, y, count, 0, kInfinity);
  } else if (op == "Clip") {
    float bounds[2] = {-kInfinity, kInfinity};
    for (size_t i = 0; i < 2; ++i) {
      if (!p.Has(i + 1)) continue;
      SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(i + 1, DType::kFloat32, 1));
      bounds[i] = p.Floats(i + 1)[0];
    }
    if (!(bounds[0] < bounds[1])) return Unsupported("bounds that leave nothing");
    p.AddUnary(Unary::kClamp, x, y, count, bounds[0], bounds[1]);
  } else if (op == "LeakyRelu") {
    const float alpha = a.Float("alpha", 0.01f);
    if (!std::isfinite(alpha)) return Unsupported("such an alpha");
    p.AddUnary(Unary::kLeakyRelu, x, y, count, 0, 0, alpha);
  } else if (op == "Elu") {
    const float alpha = a.Float("alpha", 1);
    if (!IsNormal(alpha)) return Unsupported("an alpha that is not positive");
    p.AddUnary(Unary::kElu, x, y, count, 0, 0, alpha);
  } else if (op == "HardSigmoid") {
    p.AddBinary(Binary::kMul, x, all, p.Own({a.Float("alpha", 0.2f)}), one, y, -kInfinity,
                kInfinity);
    p.AddBinary(Binary::kAdd, y, all, p.Own({a.Float("beta", 0.5f)}), one, y, 0, 1);
  } else if (op == "Swish") {
    if (a.Float("alpha", 1) != 1) return Unsupported("an alpha");
    const Place gate = p.Workspace(static_cast<uint64_t>(count) * 4);
    p.AddUnary(Unary::kSigmoid, x, gate, count);
    p.AddBinary(Binary::kMul, x, all, gate, all, y, -kInfinity, kInfinity);
  } else {
    return Internal("no function " + op);
  }
  return OkStatus();
}

Status PlanBinary(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(2, 1));
  if (p.num_inputs() != 2) return Unsupported("a number of inputs other than 2");
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(2));
  SLIPWAY_ASSIGN_OR_RETURN(const Operands o, ReadOperands(p));
  constexpr std::pair<const char*, Binary> kOps[] = {{"Add", Binary::kAdd}, {"Sub", Binary::kSub},
                                                     {"Mul", Binary::kMul}, {"Div", Binary::kDiv},
                                                     {"Max", Binary::kMax}, {"Min", Binary::kMin}};
  Planner::Tail tail{-kInfinity, kInfinity, {}};
  if (p.op().domain == "slipway") {
    SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation a, ops::ParseActivation(p.attributes()));
    SLIPWAY_ASSIGN_OR_RETURN(tail, Planner::Split(a));
  }
  for (const auto& [name, binary] : kOps) {
    if (p.op().op != name) continue;
    p.AddBinary(binary, p.InputAt(0), o.a, p.InputAt(1), o.b, p.OutputAt(), tail.low, tail.high);
    return p.AddTail(tail, p.OutputAt(), p.Out().count());
  }
  return Internal("no function " + p.op().op);
}

Status PlanQBinary(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(2, 1));
  SLIPWAY_ASSIGN_OR_RETURN(const Operands o, ReadOperands(p));
  const ops::Attributes& a = p.attributes();
  Stage s;
  s.kind = Kind::kBinary;
  s.type = DType::kInt8;
  s.y = p.OutputAt();
  s.a_dims.assign(o.a.begin(), o.a.end());
  s.b_dims.assign(o.b.begin(), o.b.end());
  if (p.op().op == "QAdd") {
    s.binary = Binary::kAdd;
    s.a_scale = a.Float("a_multiplier", 1);
    s.b_scale = a.Float("b_multiplier", 1);
    for (float m : {s.a_scale, s.b_scale}) {
      if (!(m >= 0x1p-10f && m < 0x1p8f))
        return Unsupported("a multiplier below 1/1024 or of 256 and more");
    }
  } else {
    s.binary = Binary::kMul;
    s.a_scale = a.Float("multiplier", 1);
    if (!(s.a_scale >= 0x1p-16f && s.a_scale < 0x1p8f))
      return Unsupported("a multiplier below 1/65536 or of 256 and more");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const bool flip, p.SetCodes(s));
  SLIPWAY_ASSIGN_OR_RETURN(const Planner::Codes x, p.Signed(0, "a_zero_point"));
  SLIPWAY_ASSIGN_OR_RETURN(const Planner::Codes z, p.Signed(1, "b_zero_point"));
  s.a = x.at;
  s.a_zero = x.zero;
  s.b = z.at;
  s.b_zero = z.zero;
  p.Add(s.kind, s.type, s.a, s.y) = s;
  if (flip) p.AddFlip(p.OutputAt(), p.OutputAt(), p.Out().count());
  return OkStatus();
}

Status PlanQuantize(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(2, 1));
  SLIPWAY_RETURN_IF_ERROR(CheckSame(p));
  const ops::Attributes& a = p.attributes();
  const bool to = p.op().op == "Quantize";
  const DType real = to ? p.Type(0) : p.OutputType(), code = to ? p.OutputType() : p.Type(0);
  if (real != DType::kFloat32) return Unsupported(std::string(DTypeName(real)) + " values");
  if (code != DType::kInt8 && code != DType::kUInt8)
    return Unsupported(std::string(DTypeName(code)) + " codes");
  const bool is_signed = code == DType::kInt8;
  if (a.String("kind", "affine") != "affine" || a.Int("group", 0) != 0 ||
      a.Int("precision", 0) != 0 || (is_signed ? 1 : 0) != a.Int("signed", 1))
    return Unsupported("codes of this kind");
  if (to && (a.Int("bits", 8) != 8 || a.String("rounding", "half_even") != "half_even" ||
             a.Int("zero_first", 0) != 0))
    return Unsupported("rounding of this kind");
  SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(1, DType::kFloat32, p.In(1).count()));
  if (p.In(1).count() != 1) return Unsupported("a scale a channel");
  Stage& s = p.Add(to ? Kind::kQuantize : Kind::kDequantize, code, p.InputAt(0), p.OutputAt());
  s.channels = p.Out().count();
  s.a_scale = p.Floats(1)[0];
  if (!(s.a_scale >= 0x1p-32f && s.a_scale <= 0x1p8f))
    return Unsupported("a scale that is not in [2^-32, 256]");
  if (p.Has(2)) {
    SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(2, code, 1));
    s.a_zero = is_signed ? *static_cast<const int8_t*>(p.input(2).data)
                         : *static_cast<const uint8_t*>(p.input(2).data);
  }
  s.q_low = is_signed ? (a.Int("narrow", 0) != 0 ? -127 : -128) : 0;
  s.q_high = is_signed ? 127 : 255;
  return OkStatus();
}

Status PlanPRelu(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(2, 1));
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(2));
  SLIPWAY_RETURN_IF_ERROR(CheckSame(p));
  const Dims y = Planner::Physical(p.output());
  if (y.empty()) return Unsupported("a scalar");
  SLIPWAY_ASSIGN_OR_RETURN(const Dims slope, OperandDims(p, 1));
  const int64_t channels = y.back(), given = slope.count();
  SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(1, DType::kFloat32, given));
  if (given != 1 && (slope.empty() || given != channels || slope.back() != channels))
    return Unsupported("slopes that are not one a channel");
  std::vector<float> slopes(static_cast<size_t>(channels));
  for (size_t i = 0; i < slopes.size(); ++i) slopes[i] = p.Floats(1)[given == 1 ? 0 : i];
  Stage& s = p.Add(Kind::kPRelu, DType::kFloat32, p.InputAt(0), p.OutputAt());
  s.channels = channels;
  s.batch = y.count() / channels;
  s.b = p.Own(std::move(slopes));
  return OkStatus();
}

Status PlanSoftmax(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(1, 1));
  SLIPWAY_RETURN_IF_ERROR(p.NeedFloats(1));
  SLIPWAY_RETURN_IF_ERROR(CheckSame(p));
  const int axis = Planner::PhysicalAxis(p.output(), p.attributes().Int("axis", -1));
  const Dims y = Planner::Physical(p.output());
  if (axis < 0) return InvalidArgument("an axis outside of the tensor");
  if (y.count(axis + 1, y.rank()) != 1) return Unsupported("Softmax over anything but rows");
  Stage& s = p.Add(Kind::kSoftmax, DType::kFloat32, p.InputAt(0), p.OutputAt());
  s.channels = y[static_cast<size_t>(axis)];
  s.batch = y.count() / s.channels;
  return OkStatus();
}

Status PlanConcat(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(p.num_inputs(), 1));
  const DType type = p.OutputType();
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t size, MovedSize(type));
  const int axis = Planner::PhysicalAxis(p.output(), p.attributes().Int("axis", 0));
  if (axis < 0) return InvalidArgument("an axis outside of the tensor");
  const Dims y = Planner::Physical(p.output());
  const int64_t rows = y.count(0, axis), step = y.count(axis, y.rank());
  int64_t at = 0;
  for (size_t i = 0; i < p.num_inputs(); ++i) {
    const slipway_tensor& t = p.input(i);
    if (p.Type(i) != type) return InvalidArgument("pieces of different types");
    if (t.rank != p.output().rank) return InvalidArgument("pieces of different ranks");
    if (t.layout != p.output().layout && t.rank >= 3)
      return Unsupported("pieces of different layouts");
    Dims x = Planner::Physical(t);
    const int64_t inner = x.count(axis, x.rank());
    x[static_cast<size_t>(axis)] = y[static_cast<size_t>(axis)];
    if (!(x == y) || at + inner > step) return InvalidArgument("pieces that do not fit the output");
    Place to = p.OutputAt();
    to.offset = static_cast<uint64_t>(at * size);
    AddCopy(p, type, size, p.InputAt(i), to, rows, inner, inner, step);
    at += inner;
  }
  return at == step ? OkStatus() : InvalidArgument("pieces that do not fill the output");
}

Status PlanSplit(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(1, p.num_outputs()));
  const DType type = p.Type(0);
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t size, MovedSize(type));
  const int axis = Planner::PhysicalAxis(p.input(0), p.attributes().Int("axis", 0));
  if (axis < 0) return InvalidArgument("an axis outside of the tensor");
  const Dims x = Planner::Physical(p.input(0));
  const int64_t rows = x.count(0, axis), step = x.count(axis, x.rank());
  int64_t at = 0;
  for (size_t i = 0; i < p.num_outputs(); ++i) {
    const slipway_tensor& t = p.output(i);
    if (p.OutputType(i) != type || t.rank != p.input(0).rank || t.layout != p.input(0).layout)
      return InvalidArgument("pieces that are not like the whole");
    Dims y = Planner::Physical(t);
    const int64_t inner = y.count(axis, y.rank());
    y[static_cast<size_t>(axis)] = x[static_cast<size_t>(axis)];
    if (!(y == x) || at + inner > step) return InvalidArgument("pieces that do not fit the whole");
    AddCopy(p, type, size, p.InputAt(0, static_cast<uint64_t>(at * size)), p.OutputAt(i), rows,
            inner, step, inner);
    at += inner;
  }
  return at == step ? OkStatus() : InvalidArgument("pieces that are not the whole");
}

Status PlanSlice(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(3, 1));
  const DType type = p.Type(0);
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t size, MovedSize(type));
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<int64_t> starts, p.Ints(1));
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<int64_t> ends, p.Ints(2));
  std::vector<int64_t> axes, steps;
  if (p.Has(3)) {
    SLIPWAY_ASSIGN_OR_RETURN(axes, p.Ints(3));
  }
  if (p.Has(4)) {
    SLIPWAY_ASSIGN_OR_RETURN(steps, p.Ints(4));
  }
  if (starts.size() != 1 || ends.size() != 1 || axes.size() > 1 || steps.size() > 1)
    return Unsupported("more than one axis");
  if (!steps.empty() && steps[0] != 1) return Unsupported("a step");
  if (p.input(0).layout != p.output().layout || p.input(0).rank != p.output().rank)
    return InvalidArgument("input and output differ in layout");
  const int axis = Planner::PhysicalAxis(p.output(), axes.empty() ? 0 : axes[0]);
  if (axis < 0) return InvalidArgument("an axis outside of the tensor");
  const Dims x = Planner::Physical(p.input(0));
  Dims y = Planner::Physical(p.output());
  const auto a = static_cast<size_t>(axis);
  const int64_t extent = x[a], length = y[a],
                start =
                    std::clamp<int64_t>(starts[0] < 0 ? starts[0] + extent : starts[0], 0, extent),
                end = std::clamp<int64_t>(ends[0] < 0 ? ends[0] + extent : ends[0], 0, extent);
  y[a] = extent;
  if (p.OutputType() != type || !(y == x) || end - start != length)
    return InvalidArgument("the output is not the slice");
  const int64_t below = x.count(axis + 1, x.rank());
  AddCopy(p, type, size, p.InputAt(0, static_cast<uint64_t>(start * below * size)), p.OutputAt(),
          x.count(0, axis), length * below, extent * below, length * below);
  return OkStatus();
}

Status PlanView(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(1, 1));
  const slipway_tensor &x = p.input(0), &y = p.output();
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t size, MovedSize(p.Type(0)));
  const int64_t count = p.In(0).count();
  if (p.Type(0) != p.OutputType() || count != p.Out().count())
    return InvalidArgument("input and output differ in size");
  for (const slipway_tensor* t : {&x, &y}) {
    // Other layouts have the same bytes where there is one position or one channel.
    const Dims d = Planner::Logical(*t);
    if (t->layout != 0 && d.count(2, d.rank()) != 1 && d[1] != 1)
      return Unsupported("a view of images");
  }
  AddCopy(p, p.Type(0), size, p.InputAt(0), p.OutputAt(), 1, count, count, count);
  return OkStatus();
}

Status PlanPad(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(2, 1));
  if (p.attributes().String("mode", "constant") != "constant") return Unsupported("this mode");
  const DType type = p.Type(0);
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t size, MovedSize(type));
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<int64_t> pads, p.Ints(1));
  const slipway_tensor &x = p.input(0), &y = p.output();
  const Dims from = Planner::Physical(x), to = Planner::Physical(y);
  const auto rank = static_cast<size_t>(from.rank());
  if (p.OutputType() != type || x.layout != y.layout || to.rank() != from.rank())
    return InvalidArgument("input and output differ in type or layout");
  if (rank < 1 || rank > kMostDims) return Unsupported("rank " + std::to_string(rank));
  std::vector<int64_t> axes;
  if (p.Has(3)) {
    SLIPWAY_ASSIGN_OR_RETURN(axes, p.Ints(3));
  } else {
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (pads.size() != 2 * axes.size()) return InvalidArgument("pads of another number of axes");
  Stage& s = p.Add(Kind::kPad, type, p.InputAt(0), p.OutputAt());
  s.size = size;
  s.a_dims.assign(from.begin(), from.end());
  s.before.assign(rank, 0);
  s.after.assign(rank, 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const int axis = Planner::PhysicalAxis(x, axes[i]);
    const int64_t before = pads[i], after = pads[i + axes.size()];
    if (axis < 0) return InvalidArgument("an axis outside of the tensor");
    if (before < 0 || after < 0) return Unsupported("negative padding");
    if (before > 1 << 30 || after > 1 << 30) return InvalidArgument("very much padding");
    s.before[static_cast<size_t>(axis)] = static_cast<size_t>(before);
    s.after[static_cast<size_t>(axis)] = static_cast<size_t>(after);
  }
  for (size_t i = 0; i < rank; ++i) {
    if (s.a_dims[i] + s.before[i] + s.after[i] != static_cast<size_t>(to[i]))
      return InvalidArgument("the output is not the padded input");
  }
  if (p.Has(2)) {
    SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(2, type, 1));
    const auto* bytes = static_cast<const uint8_t*>(p.input(2).data);
    for (int64_t i = 0; i < size; ++i) s.pad_value |= uint32_t{bytes[i]} << (8 * i);
  }
  return OkStatus();
}

Status PlanResize(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(1, 1));
  SLIPWAY_RETURN_IF_ERROR(p.NeedType(0, DType::kFloat32));
  const ops::Attributes& a = p.attributes();
  const slipway_tensor &x = p.input(0), &y = p.output();
  if (x.rank != 4 || y.rank != 4 || !p.Last(x) || !p.Last(y))
    return Unsupported("anything but images that have their channels last");
  if (a.String("mode", "nearest") != "linear") return Unsupported("a mode other than linear");
  if (a.Int("antialias", 0) != 0) return Unsupported("antialias");
  const Dims from = p.In(0), to = p.Out();
  if (p.OutputType() != DType::kFloat32 || from[0] != to[0] || from[1] != to[1])
    return Unsupported("resizing other than in space");
  Stage& s = p.Add(Kind::kResize, DType::kFloat32, p.InputAt(0), p.OutputAt());
  s.batch = from[0];
  s.channels = from[1];
  for (size_t i = 0; i < 2; ++i) {
    s.in[i] = from[i + 2];
    s.out[i] = to[i + 2];
    if (s.in[i] >= 1 << 24 || s.out[i] >= 1 << 24) return Unsupported("a very large image");
  }
  const std::string_view how = a.String("coordinate_transformation_mode", "half_pixel");
  if (how == "align_corners") {
    s.flags = kAlignCorners;
    if (s.out[0] < 2 || s.out[1] < 2) return Unsupported("corners of one position");
  } else if (how == "asymmetric") {
    s.flags = kLegacy;
  } else if (how != "half_pixel" &&
             !(how == "pytorch_half_pixel" && s.out[0] > 1 && s.out[1] > 1)) {
    return Unsupported("these coordinates");
  }
  if (a.String("keep_aspect_ratio_policy", "stretch") != "stretch")
    return Unsupported("a kept ratio of sides");
  // It knows the ratio of the extents only.
  if (!p.Has(2) || p.In(2).count() == 0) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(p.NeedConstant(2, DType::kFloat32, p.In(2).count()));
  const std::span<const float> scales = p.Floats(2);
  const auto axes = a.Ints("axes");
  for (size_t i = 0; i < scales.size(); ++i) {
    int64_t axis = axes.empty() ? static_cast<int64_t>(i) : i < axes.size() ? axes[i] : -9;
    if (axis < 0) axis += 4;
    if (axis < 0 || axis > 3) return InvalidArgument("scales of other axes");
    const auto d = static_cast<size_t>(axis);
    if (static_cast<double>(scales[i]) * static_cast<double>(from[d]) != static_cast<double>(to[d]))
      return Unsupported("scales that do not end at a whole number");
  }
  return OkStatus();
}

// Channels in another order, as channel shuffles have it.
Status PlanGather(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(2, 1));
  SLIPWAY_RETURN_IF_ERROR(CheckSame(p));
  if (!p.Last(p.input(0)) || p.input(0).rank < 3 || p.attributes().Int("axis", 0) != 1)
    return Unsupported("anything but shuffled channels");
  if (p.Type(0) != p.OutputType()) return InvalidArgument("input and output differ in type");
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t size, MovedSize(p.Type(0)));
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<int64_t> order, p.Ints(1));
  const Dims x = p.In(0);
  const auto channels = static_cast<int64_t>(order.size());
  if (channels != x[1] || channels < 4) return Unsupported("anything but shuffled channels");
  const int64_t step = order[1] - order[0];
  if (order[0] != 0 || step < 2 || channels % step != 0 || channels / step < 2)
    return Unsupported("anything but shuffled channels");
  const int64_t groups = channels / step;
  for (int64_t i = 0; i < channels; ++i) {
    if (order[static_cast<size_t>(i)] != i % groups * step + i / groups)
      return Unsupported("anything but shuffled channels");
  }
  Stage& s = p.Add(Kind::kShuffle, p.Type(0), p.InputAt(0), p.OutputAt());
  s.size = size;
  s.group = groups;
  s.channels = step;
  s.batch = x.count() / channels;
  return OkStatus();
}

Status PlanDepthToSpace(Planner& p) {
  SLIPWAY_RETURN_IF_ERROR(p.Need(1, 1));
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t size, MovedSize(p.Type(0)));
  if (size != 4) return Unsupported(std::string("moving ") + DTypeName(p.Type(0)));
  const slipway_tensor &x = p.input(0), &y = p.output();
  if (x.rank != 4 || y.rank != 4 || !p.Last(x) || !p.Last(y))
    return Unsupported("anything but images that have their channels last");
  if (p.attributes().String("mode", "DCR") != "DCR") return Unsupported("this order of channels");
  const int64_t block = p.attributes().Int("blocksize", 0);
  const Dims from = p.In(0), to = p.Out();
  if (block < 2 || block > 1 << 12) return Unsupported("blocks of this size");
  if (p.OutputType() != p.Type(0) || from[0] != to[0] || from[1] != to[1] * block * block ||
      to[2] != from[2] * block || to[3] != from[3] * block)
    return InvalidArgument("X " + from.ToString() + " and Y " + to.ToString() + " do not fit");
  Stage& s = p.Add(Kind::kDepthToSpace, p.Type(0), p.InputAt(0), p.OutputAt());
  s.batch = from[0];
  s.in[0] = from[2];
  s.in[1] = from[3];
  s.outputs = to[1];
  s.channels = from[1];
  s.size = block;
  return OkStatus();
}

}  // namespace slipway::xnnpack
