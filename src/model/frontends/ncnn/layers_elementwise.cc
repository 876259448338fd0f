// Activations, arithmetic and what changes nothing.

#include <algorithm>
#include <limits>

#include "model/frontends/ncnn/convert.h"

namespace slipway::ncnn {

using ir::Node;
using ir::Value;

Blob Converter::WithScalar(const Node& n, const Blob& x, int operation, float value) {
  Blob out;
  Add("BinaryOp", n, {x}, x.dims, &out)->params = {
      {0, int64_t{operation}}, {1, int64_t{1}}, {2, value}};
  return out;
}

bool Converter::SetActivation(const Node& n, Layer* layer) {
  const std::string_view name = n.attributes.String("activation", "none");
  const auto p = n.attributes.Floats("activation_params");
  auto param = [&](size_t i, float fallback) { return i < p.size() ? p[i] : fallback; };
  constexpr float kHuge = std::numeric_limits<float>::max();
  int64_t type = 0;
  std::vector<float> values;
  if (name == "none") return true;
  if (name == "Relu") {
    type = 1;
  } else if (name == "LeakyRelu") {
    type = 2;
    values = {param(0, 0.01f)};
  } else if (name == "Clip") {
    type = 3;
    values = {param(0, -kHuge), param(1, kHuge)};
  } else if (name == "Sigmoid") {
    type = 4;
  } else if (name == "HardSwish") {
    type = 6;
    values = {1.0f / 6, 0.5f};
  } else {
    return false;
  }
  layer->params.push_back({9, type});
  if (!values.empty()) layer->params.push_back({10, values});
  return true;
}

Result<Blob> Converter::Activate(const Node& n, const Blob& x, const std::string& name,
                                 std::span<const float> p) {
  auto param = [&](size_t i, float fallback) { return i < p.size() ? p[i] : fallback; };
  constexpr float kHuge = std::numeric_limits<float>::max();
  if (name == "none") return x;
  if (name == "Swish" && param(0, 1) != 1) {
    const Blob inner = WithScalar(n, x, 2, param(0, 1));
    Blob gate, y;
    Add("Sigmoid", n, {inner}, x.dims, &gate);
    Add("BinaryOp", n, {x, gate}, x.dims, &y)->params = {{0, int64_t{2}}};
    return y;
  }
  Blob y;
  auto layer = [&](const char* type) { return Add(type, n, {x}, x.dims, &y); };
  if (name == "Relu") {
    layer("ReLU");
  } else if (name == "LeakyRelu") {
    layer("ReLU")->params = {{0, param(0, 0.01f)}};
  } else if (name == "Clip") {
    layer("Clip")->params = {{0, param(0, -kHuge)}, {1, param(1, kHuge)}};
  } else if (name == "Sigmoid") {
    layer("Sigmoid");
  } else if (name == "HardSigmoid") {
    layer("HardSigmoid")->params = {{0, param(0, 0.2f)}, {1, param(1, 0.5f)}};
  } else if (name == "HardSwish") {
    layer("HardSwish")->params = {{0, 1.0f / 6}, {1, 0.5f}};
  } else if (name == "Swish") {
    layer("Swish");
  } else if (name == "Gelu" || name == "GeluTanh") {
    layer("GELU")->params = {{0, int64_t{name == "GeluTanh"}}};
  } else if (name == "Tanh") {
    layer("TanH");
  } else if (name == "Elu") {
    layer("ELU")->params = {{0, param(0, 1)}};
  } else if (name == "Selu") {
    layer("SELU")->params = {{0, param(0, 1.67326324f)}, {1, param(1, 1.05070098f)}};
  } else if (name == "Celu") {
    layer("CELU")->params = {{0, param(0, 1)}};
  } else if (name == "Mish") {
    layer("Mish");
  } else if (name == "Softplus") {
    layer("Softplus");
  } else {
    return Refuse(n, "ncnn has no activation " + name);
  }
  return y;
}

Result<Blob> Converter::Binary(const Node& n, const Value* a, const Value* b, int operation) {
  // A number on either side is a parameter.
  for (const bool swapped : {false, true}) {
    const Value *x = swapped ? b : a, *number = swapped ? a : b;
    const ir::Tensor* t = number->constant();
    if (!t || t->count() != 1 || x->is_constant() || t->dtype() != DType::kFloat32) continue;
    if (Dimensions(x).size() < static_cast<size_t>(t->dims().rank())) continue;
    int code = operation;
    if (swapped && operation == 1) code = 7;
    if (swapped && operation == 3) code = 8;
    if (swapped && operation == 6) continue;
    SLIPWAY_ASSIGN_OR_RETURN(Blob blob, Get(x));
    return WithScalar(n, blob, code, static_cast<float>(t->ToDoubles()[0]));
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, Get(a));
  SLIPWAY_ASSIGN_OR_RETURN(Blob y, Get(b));
  Extents u = Dimensions(a), v = Dimensions(b);
  const size_t rank = std::max(u.size(), v.size());
  u.insert(u.begin(), rank - u.size(), 1);
  v.insert(v.begin(), rank - v.size(), 1);
  Extents whole(rank);
  for (size_t i = 0; i < rank; ++i) whole[i] = u[i] == 1 ? v[i] : u[i];
  const int64_t count = Elements(whole);
  Blob out;
  auto finish = [&](const Blob& left, const Blob& right, const Extents& dims) {
    Add("BinaryOp", n, {left, right}, dims, &out)->params = {{0, int64_t{operation}}};
    return out;
  };
  if (Elements(u) == count && Elements(v) == count) {
    const Extents dims = a->is_constant() ? y.dims : x.dims;
    return finish(As(x, dims), As(y, dims), dims);
  }
  if (Elements(u) != count && Elements(v) != count)
    return Refuse(n, "ncnn broadcasts one operand of an operation, not both");
  // Leading ones go; more than four dimensions are merged where both operands allow it.
  size_t first = 0;
  while (first + 1 < rank && whole[first] == 1) ++first;
  Extents du(u.begin() + static_cast<std::ptrdiff_t>(first), u.end()),
      dv(v.begin() + static_cast<std::ptrdiff_t>(first), v.end());
  if (du.size() > 4) {
    Extents mu, mv;
    for (size_t i = 0; i < du.size(); ++i) {
      if (du[i] == 1 && dv[i] == 1) continue;
      const bool same =
          !mu.empty() && (du[i] == 1) == (mu.back() == 1) && (dv[i] == 1) == (mv.back() == 1);
      if (same) {
        mu.back() *= du[i];
        mv.back() *= dv[i];
      } else {
        mu.push_back(du[i]);
        mv.push_back(dv[i]);
      }
    }
    du = mu;
    dv = mv;
  }
  if (du.size() > 4)
    return Refuse(n, "its broadcasting takes more than the four dimensions of an ncnn blob");
  Extents dims(du.size());
  for (size_t i = 0; i < dims.size(); ++i) dims[i] = std::max(du[i], dv[i]);
  return finish(As(x, du), As(y, dv), dims);
}

namespace {

Status Alias(Converter& c, const Node& n) {
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0)));
  c.Set(n.output(), x);
  return OkStatus();
}

Status Unary(Converter& c, const Node& n) {
  constexpr std::pair<const char*, int> kCodes[] = {
      {"Abs", 0},   {"Neg", 1},   {"Floor", 2}, {"Ceil", 3},        {"Sqrt", 5},
      {"Exp", 7},   {"Log", 8},   {"Sin", 9},   {"Cos", 10},        {"Tan", 11},
      {"Asin", 12}, {"Acos", 13}, {"Atan", 14}, {"Reciprocal", 15}, {"Round", 18}};
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0)));
  for (const auto& [op, code] : kCodes) {
    if (n.op() != op) continue;
    Blob y;
    c.Add("UnaryOp", n, {x}, x.dims, &y)->params = {{0, int64_t{code}}};
    c.Set(n.output(), y);
    return OkStatus();
  }
  return Converter::Refuse(n, "ncnn has no layer for it");
}

bool IsUnary(const Node& n) {
  for (const char* op : {"Abs", "Neg", "Floor", "Ceil", "Sqrt", "Exp", "Log", "Sin", "Cos", "Tan",
                         "Asin", "Acos", "Atan", "Reciprocal", "Round"}) {
    if (n.Is(op)) return true;
  }
  return false;
}

Status Activation(Converter& c, const Node& n) {
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0)));
  std::vector<float> p;
  std::string name = n.op();
  if (name == "LeakyRelu") p = {n.attributes.Float("alpha", 0.01f)};
  if (name == "HardSigmoid")
    p = {n.attributes.Float("alpha", 0.2f), n.attributes.Float("beta", 0.5f)};
  if (name == "Swish" || name == "Elu" || name == "Celu") p = {n.attributes.Float("alpha", 1)};
  if (name == "Selu")
    p = {n.attributes.Float("alpha", 1.67326319f), n.attributes.Float("gamma", 1.05070102f)};
  if (name == "Gelu" && n.attributes.String("approximate", "none") == "tanh") name = "GeluTanh";
  if (name == "Clip") {
    p = {std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()};
    for (size_t i = 1; i <= 2; ++i) {
      if (!n.input(i)) continue;
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, Converter::Constant(n, i, i == 1 ? "min" : "max"));
      p[i - 1] = static_cast<float>(t.ToDoubles()[0]);
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob y, c.Activate(n, x, name, p));
  c.Set(n.output(), y);
  return OkStatus();
}

bool IsActivation(const Node& n) {
  for (const char* op : {"Relu", "LeakyRelu", "HardSigmoid", "HardSwish", "Swish", "Elu", "Celu",
                         "Selu", "Gelu", "Clip", "Sigmoid", "Tanh", "Mish", "Softplus"}) {
    if (n.Is(op)) return true;
  }
  return false;
}

int BinaryCode(const Node& n) {
  constexpr std::pair<const char*, int> kCodes[] = {{"Add", 0}, {"Sub", 1}, {"Mul", 2}, {"Div", 3},
                                                    {"Max", 4}, {"Min", 5}, {"Pow", 6}, {"Sum", 0}};
  for (const auto& [op, code] : kCodes) {
    if (n.Is(op)) return code;
  }
  return -1;
}

Status Arithmetic(Converter& c, const Node& n) {
  const int code = n.IsSlipway("Add") ? 0 : BinaryCode(n);
  if (n.inputs().size() == 1) return Alias(c, n);
  if (n.inputs().size() != 2)
    return Converter::Refuse(n, "ncnn's operation takes two operands: chain several nodes");
  SLIPWAY_ASSIGN_OR_RETURN(Blob y, c.Binary(n, n.input(0), n.input(1), code));
  if (n.IsSlipway("Add")) {
    SLIPWAY_ASSIGN_OR_RETURN(
        y, c.Activate(n, y, std::string(n.attributes.String("activation", "none")),
                      n.attributes.Floats("activation_params")));
  }
  c.Set(n.output(), y);
  return OkStatus();
}

Status PRelu(Converter& c, const Node& n) {
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor slope, Converter::Constant(n, 1, "slope"));
  const Extents x = Converter::Dimensions(n.input(0));
  // One slope, or one for each channel: [C, 1, 1] or [1, C, 1, 1].
  const auto behind = static_cast<std::ptrdiff_t>(x.size()) - 2;
  const auto& d = slope.dims();
  bool channels = x.size() > 1 && slope.count() == x[1] && x[0] == 1;
  for (int i = 0; channels && i < d.rank(); ++i) {
    const int from_end = d.rank() - i;
    channels = from_end == behind + 1 || d[i] == 1;
  }
  if (slope.count() != 1 && !channels)
    return Converter::Refuse(n, "ncnn's PReLU has one slope for each channel");
  SLIPWAY_ASSIGN_OR_RETURN(Blob in, c.Get(n.input(0), Converter::Shape(n.input(0))));
  Blob y;
  Layer* l = c.Add("PReLU", n, {in}, in.dims, &y);
  l->params = {{0, slope.count()}};
  l->weights.push_back({slope, false});
  c.Set(n.output(), y);
  return OkStatus();
}

Status Softsign(Converter& c, const Node& n) {
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0)));
  Blob magnitude, y;
  c.Add("UnaryOp", n, {x}, x.dims, &magnitude)->params = {{0, int64_t{0}}};
  const Blob bottom = c.WithScalar(n, magnitude, 0, 1);
  c.Add("BinaryOp", n, {x, bottom}, x.dims, &y)->params = {{0, int64_t{3}}};
  c.Set(n.output(), y);
  return OkStatus();
}

}  // namespace

Writer FindElementwise(const Node& n) {
  if (IsActivation(n)) return Activation;
  if (IsUnary(n)) return Unary;
  if (BinaryCode(n) >= 0 || n.IsSlipway("Add")) return Arithmetic;
  if (n.Is("PRelu")) return PRelu;
  if (n.Is("Softsign")) return Softsign;
  if (n.Is("Identity") || n.Is("Dropout") || n.Is("Reshape") || n.Is("Flatten") ||
      n.Is("Squeeze") || n.Is("Unsqueeze")) {
    return Alias;
  }
  return nullptr;
}

}  // namespace slipway::ncnn
