#include "quant/exporters/integer_form.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <vector>

#include "model/ops/quantize.h"

namespace slipway::quant {
namespace {

using ir::Attributes;
using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

constexpr char kMicrosoft[] = "com.microsoft";

// An operand that is codes behind a Dequantize.
struct Coded {
  Value* codes = nullptr;
  std::vector<double> scales;
  std::vector<int64_t> zeros;  // one, or one for each channel
  int64_t axis = 0;
  int bits = 8;
  bool is_signed = true;
  bool one() const { return scales.size() == 1; }
  bool symmetric() const {
    return std::all_of(zeros.begin(), zeros.end(), [](int64_t z) { return z == 0; });
  }
  float scale() const { return static_cast<float>(scales[0]); }
};

// A Quantize and the activation before it.
struct Ending {
  Node* quantize;
  Node* activation;  // or null
  Coded to;          // scale, zero point, type; no codes
  int64_t low, high;
};

std::optional<Coded> ReadParameters(const Node& n) {
  auto params = ops::ParseQuant(n.attributes, 32);
  if (!params.ok() || params->group > 0 ||
      (params->kind != ops::QuantKind::kAffine && params->kind != ops::QuantKind::kPowerOfTwo))
    return std::nullopt;
  const Tensor *scale = n.constant_input(1), *zero = n.constant_input(2);
  if (!scale || scale->dtype() != DType::kFloat32 || (n.input(2) && !zero)) return std::nullopt;
  Coded c;
  c.scales = scale->ToDoubles();
  c.zeros = zero ? zero->ToInts() : std::vector<int64_t>{0};
  c.bits = params->bits;
  c.is_signed = params->is_signed;
  c.axis = params->axis;
  if (c.scales.empty() || (c.zeros.size() != 1 && c.zeros.size() != c.scales.size()))
    return std::nullopt;
  if (c.bits < 32 && c.bits > 8) return std::nullopt;
  return c;
}

std::optional<Coded> Operand(const Value* v) {
  if (!v || !v->producer() || !v->producer()->IsSlipway("Dequantize")) return std::nullopt;
  auto c = ReadParameters(*v->producer());
  if (!c) return std::nullopt;
  c->codes = v->producer()->input(0);
  const DType type = c->codes->dtype();
  if (type != DType::kInt8 && type != DType::kUInt8 && type != DType::kInt32) return std::nullopt;
  return c;
}

// Per tensor, 8 bits.
std::optional<Coded> Activation(const Value* v) {
  auto c = Operand(v);
  return c && c->one() && c->bits <= 8 ? c : std::nullopt;
}

class Maker {
 public:
  explicit Maker(Graph* graph) : g_(*graph) {}

  Result<IntegerForm> Run() {
    for (Node* n : g_.NodeList()) {
      if (removed_.contains(n)) continue;
      bool made = false;
      if (n->Is("Conv")) {
        made = Conv(n);
      } else if (n->Is("Gemm")) {
        made = Gemm(n);
      } else if (n->Is("MatMul")) {
        made = MatMul(n);
      } else if (n->Is("Add") || n->Is("Mul")) {
        made = Binary(n);
      } else if (n->Is("AveragePool") || n->Is("GlobalAveragePool") || n->Is("LeakyRelu") ||
                 n->Is("Sigmoid")) {
        made = Unary(n);
      } else if (n->Is("Concat")) {
        made = Concat(n);
      } else {
        Move(n);
        continue;
      }
      if (!made && AllCoded(*n)) ++form_.left;
    }
    g_.RemoveUnused();
    SLIPWAY_RETURN_IF_ERROR(g_.SortTopologically());
    return form_;
  }

 private:
  bool AllCoded(const Node& n) {
    return !n.inputs().empty() && std::all_of(n.inputs().begin(), n.inputs().end(),
                                              [](const Value* v) { return !v || Operand(v); });
  }

  std::optional<Ending> FindEnding(Node* n) {
    Node* next = n->output()->OnlyUser();
    Node* activation = nullptr;
    double least = -INFINITY, most = INFINITY;
    if (next && (next->Is("Relu") || next->Is("Clip"))) {
      activation = next;
      if (next->Is("Relu")) {
        least = 0;
      } else {
        for (size_t i = 1; i <= 2; ++i) {
          if (!next->input(i)) continue;
          const Tensor* bound = next->constant_input(i);
          if (!bound || bound->count() != 1) return std::nullopt;
          (i == 1 ? least : most) = bound->ToDoubles()[0];
        }
      }
      next = next->output()->OnlyUser();
    }
    if (!next || !next->IsSlipway("Quantize") || !next->output()) return std::nullopt;
    auto to = ReadParameters(*next);
    if (!to || !to->one() || to->bits > 8 ||
        next->attributes.String("rounding", "half_even") != "half_even" ||
        next->attributes.Int("zero_first", 0) != 0)
      return std::nullopt;
    const ops::CodeRange range =
        ops::RangeOf(to->bits, to->is_signed, next->attributes.Int("narrow", 0) != 0);
    Ending e{next, activation, *to, range.lo, range.hi};
    // Rounding is monotone: clamping to the bounds' codes is the same as rounding clamped values.
    const auto code = [&](double bound) {
      const double q = std::nearbyint(static_cast<float>(bound) / to->scale());
      return std::clamp(q + static_cast<double>(to->zeros[0]), double(range.lo), double(range.hi));
    };
    if (std::isfinite(least)) e.low = std::max(e.low, static_cast<int64_t>(code(least)));
    if (std::isfinite(most)) e.high = std::min(e.high, static_cast<int64_t>(code(most)));
    return e;
  }

  Value* Constant(const Node& n, const char* hint, Tensor t) {
    return g_.AddConstant(n.name() + "/" + hint, std::move(t));
  }
  Value* Scale(const Node& n, const Coded& c) {
    if (c.one()) return Constant(n, "scale", Tensor::Scalar(c.scale()));
    const std::vector<float> scales(c.scales.begin(), c.scales.end());
    return Constant(n, "scale", Tensor::Vector(scales));
  }
  // As many as `count`; 0: a scalar.
  Value* Zero(const Node& n, const Coded& c, size_t count = 0) {
    const auto at = [&](size_t i) { return c.zeros[c.zeros.size() == 1 ? 0 : i]; };
    const size_t size = std::max<size_t>(count, 1);
    std::vector<int8_t> s(size);
    std::vector<uint8_t> u(size);
    for (size_t i = 0; i < size; ++i) {
      s[i] = static_cast<int8_t>(at(i));
      u[i] = static_cast<uint8_t>(at(i));
    }
    const bool is_signed = c.codes ? c.codes->dtype() == DType::kInt8 : c.is_signed;
    const Dims dims = count ? Dims{static_cast<int64_t>(count)} : Dims{};
    return Constant(n, "zero_point",
                    is_signed ? Tensor::Of<int8_t>(dims, s) : Tensor::Of<uint8_t>(dims, u));
  }
  Value* Zeros(const Node& n, const Coded& c) { return Zero(n, c, c.one() ? 0 : c.scales.size()); }

  Node* Add(const Node& like, const std::string& op, std::vector<Value*> inputs, ir::Type type,
            Node* before, Attributes attributes = {}, const char* domain = "") {
    Node* made = g_.AddNode({.op = op,
                             .inputs = std::move(inputs),
                             .attributes = std::move(attributes),
                             .domain = domain,
                             .name = like.name() + "/" + op,
                             .outputs = {like.name() + "/" + op}},
                            before);
    made->output()->set_type(std::move(type));
    made->sources = like.sources;
    return made;
  }

  void Remove(Node* n) {
    removed_.insert(n);
    g_.RemoveNode(n);
  }

  // The integer operator gives what the Quantize gave.
  bool End(Node* n, const Ending& e, const std::string& op, std::vector<Value*> inputs,
           Attributes attributes = {}, const char* domain = "") {
    const ir::Type type = e.quantize->output()->type();
    Value* y =
        Add(*n, op, std::move(inputs), type, e.quantize, std::move(attributes), domain)->output();
    const bool is_signed = type.dtype == DType::kInt8;
    if (e.low > (is_signed ? -128 : 0) || e.high < (is_signed ? 127 : 255)) {
      const auto bound = [&](const char* hint, int64_t v) {
        return Constant(*n, hint,
                        is_signed ? Tensor::Scalar<int8_t>(static_cast<int8_t>(v))
                                  : Tensor::Scalar<uint8_t>(static_cast<uint8_t>(v)));
      };
      y = Add(*n, "Clip", {y, bound("low", e.low), bound("high", e.high)}, type, e.quantize)
              ->output();
    }
    Value* codes = e.quantize->output();
    const std::string name = codes->name();
    g_.ReplaceAllUses(codes, y);
    Remove(e.quantize);
    if (e.activation) Remove(e.activation);
    Remove(n);
    g_.Rename(y, name);
    ++form_.operators[op];
    return true;
  }

  // The bias in steps of x * w, or null when it is none of these.
  Value* IntegerBias(const Node& n, size_t index, const Coded& x, const Coded& w) {
    auto b = Operand(n.input(index));
    if (!b || b->bits != 32 || !b->codes->is_constant() || b->codes->dtype() != DType::kInt32 ||
        !b->symmetric())
      return nullptr;
    const size_t channels = std::max(b->scales.size(), w.scales.size());
    for (size_t c = 0; c < channels; ++c) {
      const double want = x.scales[0] * w.scales[w.one() ? 0 : c];
      const double have = b->scales[b->one() ? 0 : c];
      if (std::fabs(have - want) > 1e-6 * want) return nullptr;
    }
    return b->codes;
  }

  // The same codes shifted into the other type: integer operators want one type on both sides. A
  // Quantize gets a twin; other codes are shifted as integers.
  void MakeSigned(Coded* c, bool is_signed) {
    if ((c->codes->dtype() == DType::kInt8) == is_signed) return;
    const int shift = is_signed ? -128 : 128;
    Value*& twin = twins_[c->codes];
    if (!twin) {
      Node* made = c->codes->producer();
      const DType type = is_signed ? DType::kInt8 : DType::kUInt8;
      const ir::Type typed{type, c->codes->type().shape};
      Node* before = made ? NextNode(made) : g_.nodes().front().get();
      if (made && made->IsSlipway("Quantize") && made->attributes.Int("bits", 8) == 8 &&
          made->attributes.Int("narrow", 0) == 0) {
        const int64_t zero = c->zeros[0] + shift;
        Value* z = Constant(*made, "zero_point",
                            is_signed ? Tensor::Scalar<int8_t>(static_cast<int8_t>(zero))
                                      : Tensor::Scalar<uint8_t>(static_cast<uint8_t>(zero)));
        Node* other = g_.AddNode({.op = "Quantize",
                                  .inputs = {made->input(0), made->input(1), z},
                                  .attributes = made->attributes,
                                  .domain = ir::kSlipwayDomain,
                                  .name = made->name() + "/shifted",
                                  .outputs = {c->codes->name() + "_shifted"}},
                                 before);
        other->attributes.Set("signed", int64_t{is_signed});
        twin = other->output();
        twin->set_type(typed);
      } else {
        const Node& like = *c->codes->uses()[0].node;
        const ir::Type wide{DType::kInt32, c->codes->type().shape};
        Value* v = Add(like, "Cast", {c->codes}, wide, before, {{"to", int64_t{6}}})->output();
        v = Add(like, "Add", {v, Constant(like, "shift", Tensor::Scalar<int32_t>(shift))}, wide,
                before)
                ->output();
        twin =
            Add(like, "Cast", {v}, typed, before, {{"to", static_cast<int64_t>(type)}})->output();
      }
    }
    c->codes = twin;
    for (int64_t& z : c->zeros) z += shift;
    c->is_signed = is_signed;
  }

  // Whoever makes a node may put it here; SortTopologically puts right what is left.
  Node* NextNode(Node* n) {
    auto it = std::find_if(g_.nodes().begin(), g_.nodes().end(),
                           [&](const auto& other) { return other.get() == n; });
    ++it;
    return it == g_.nodes().end() ? nullptr : it->get();
  }

  static bool IsSigned(const Ending& e) { return e.quantize->output()->dtype() == DType::kInt8; }
  // No kernel multiplies signed codes with unsigned weights.
  static bool WeightsFit(const Coded& w, bool is_signed) {
    return !is_signed || w.codes->dtype() == DType::kInt8;
  }

  bool Conv(Node* n) {
    auto x = Activation(n->input(0));
    auto w = Operand(n->input(1));
    if (!x || !w || w->bits > 8 || !w->codes->is_constant() || (!w->one() && w->axis != 0))
      return false;
    if (const Value* b = n->input(2)) {
      const Node* from = b->producer();
      const Tensor* values = b->constant()                           ? b->constant()
                             : from && from->IsSlipway("Dequantize") ? from->constant_input(0)
                                                                     : nullptr;
      if (values && values->count() != w->codes->constant()->dims()[0]) return false;
    }
    Value* bias = n->input(2) ? IntegerBias(*n, 2, *x, *w) : nullptr;
    const auto ending = FindEnding(n);
    if (ending && (bias || !n->input(2)) && WeightsFit(*w, IsSigned(*ending))) {
      MakeSigned(&*x, IsSigned(*ending));
      std::vector<Value*> inputs = {
          x->codes,      Scale(*n, *x), Zero(*n, *x),          w->codes,
          Scale(*n, *w), Zeros(*n, *w), Scale(*n, ending->to), Zero(*n, ending->to)};
      if (bias) inputs.push_back(bias);
      return End(n, *ending, "QLinearConv", inputs, n->attributes);
    }
    if (!w->symmetric() || !n->output()->type().shape) return false;
    MakeSigned(&*x, false);
    const int64_t channels = w->codes->constant()->dims()[0];
    Dims dims{1, channels};
    for (size_t i = 2; i < n->output()->type().shape->size(); ++i) dims.push_back(1);
    Value* sum = Add(*n, "ConvInteger", {x->codes, w->codes, Zero(*n, *x)},
                     {DType::kInt32, n->output()->type().shape}, n, n->attributes)
                     ->output();
    ++form_.operators["ConvInteger"];
    FinishProduct(n, sum, *x, *w, bias, n->input(2), dims);
    return true;
  }

  // sum (int32) -> + bias -> float -> * scales -> + float bias, in the place of `n`.
  void FinishProduct(Node* n, Value* sum, const Coded& x, const Coded& w, Value* integer_bias,
                     Value* bias, const Dims& dims) {
    const ir::Type type = n->output()->type();
    if (integer_bias) {
      Value* b = Constant(*n, "bias", integer_bias->constant()->Reshaped(dims));
      sum = Add(*n, "Add", {sum, b}, {DType::kInt32, type.shape}, n)->output();
    }
    Value* y =
        Add(*n, "Cast", {sum}, type, n, {{"to", static_cast<int64_t>(DType::kFloat32)}})->output();
    std::vector<float> scales(w.scales.size());
    for (size_t c = 0; c < scales.size(); ++c)
      scales[c] = static_cast<float>(x.scales[0] * w.scales[c]);
    Value* s = w.one() ? Constant(*n, "scale", Tensor::Scalar(scales[0]))
                       : Constant(*n, "scale", Tensor::Vector(scales).Reshaped(dims));
    y = Add(*n, "Mul", {y, s}, type, n)->output();
    if (bias && !integer_bias) {
      if (bias->is_constant()) {
        bias = Constant(*n, "bias", bias->constant()->Reshaped(dims));
      } else {
        std::vector<int64_t> shape(dims.begin(), dims.end());
        Value* extent = Constant(*n, "shape", Tensor::Vector(shape));
        bias = Add(*n, "Reshape", {bias, extent}, {DType::kFloat32, std::nullopt}, n)->output();
      }
      y = Add(*n, "Add", {y, bias}, type, n)->output();
    }
    Replace(n, y);
  }

  void Replace(Node* n, Value* y) {
    const std::string name = n->output()->name();
    g_.ReplaceAllUses(n->output(), y);
    Remove(n);
    g_.Rename(y, name);
  }

  bool Gemm(Node* n) {
    auto a = Activation(n->input(0));
    auto b = Operand(n->input(1));
    const bool transposed = n->attributes.Int("transB", 0) != 0;
    if (!a || !b || b->bits > 8 || n->attributes.Float("alpha", 1) != 1 ||
        n->attributes.Float("beta", 1) != 1 || n->attributes.Int("transA", 0) != 0)
      return false;
    if (!b->one() && b->axis != (transposed ? 0 : 1)) return false;
    Value* bias = n->input(2) ? IntegerBias(*n, 2, *a, *b) : nullptr;
    if (n->input(2) && (!bias || bias->constant()->dims().rank() != 1)) return false;
    const auto ending = FindEnding(n);
    if (ending && !WeightsFit(*b, IsSigned(*ending))) return false;
    MakeSigned(&*a, ending ? IsSigned(*ending) : false);
    std::vector<Value*> inputs = {a->codes,      Scale(*n, *a), Zero(*n, *a), b->codes,
                                  Scale(*n, *b), Zeros(*n, *b), bias};
    Attributes attributes;
    if (transposed) attributes.Set("transB", int64_t{1});
    attributes.Set("alpha", 1.0f);
    if (ending) {
      inputs.push_back(Scale(*n, ending->to));
      inputs.push_back(Zero(*n, ending->to));
      return End(n, *ending, "QGemm", inputs, attributes, kMicrosoft);
    }
    if (!bias) inputs.pop_back();
    Value* y = Add(*n, "QGemm", inputs, n->output()->type(), n, attributes, kMicrosoft)->output();
    ++form_.operators["QGemm"];
    Replace(n, y);
    return true;
  }

  bool MatMul(Node* n) {
    auto a = Activation(n->input(0));
    auto b = Operand(n->input(1));
    if (!a || !b || b->bits > 8 || !b->codes->type().shape) return false;
    const auto rank = static_cast<int64_t>(b->codes->type().shape->size());
    if (!b->one() && (rank != 2 || (b->axis != 1 && b->axis != -1))) return false;
    if (const auto ending = FindEnding(n); ending && WeightsFit(*b, IsSigned(*ending))) {
      MakeSigned(&*a, IsSigned(*ending));
      return End(n, *ending, "QLinearMatMul",
                 {a->codes, Scale(*n, *a), Zero(*n, *a), b->codes, Scale(*n, *b), Zeros(*n, *b),
                  Scale(*n, ending->to), Zero(*n, ending->to)});
    }
    MakeSigned(&*a, false);
    Value* sum = Add(*n, "MatMulInteger", {a->codes, b->codes, Zero(*n, *a), Zeros(*n, *b)},
                     {DType::kInt32, n->output()->type().shape}, n)
                     ->output();
    ++form_.operators["MatMulInteger"];
    FinishProduct(n, sum, *a, *b, nullptr, nullptr, Dims{static_cast<int64_t>(b->scales.size())});
    return true;
  }

  bool Binary(Node* n) {
    auto a = Activation(n->input(0)), b = Activation(n->input(1));
    const auto ending = FindEnding(n);
    if (!a || !b || !ending) return false;
    MakeSigned(&*a, IsSigned(*ending));
    MakeSigned(&*b, IsSigned(*ending));
    return End(n, *ending, n->op() == "Add" ? "QLinearAdd" : "QLinearMul",
               {a->codes, Scale(*n, *a), Zero(*n, *a), b->codes, Scale(*n, *b), Zero(*n, *b),
                Scale(*n, ending->to), Zero(*n, ending->to)},
               {}, kMicrosoft);
  }

  bool Unary(Node* n) {
    auto x = Activation(n->input(0));
    const auto ending = FindEnding(n);
    if (!x || !ending) return false;
    Attributes attributes = n->attributes;
    if (n->op() == "GlobalAveragePool") attributes.Set("channels_last", int64_t{0});
    const auto dilations = attributes.Ints("dilations");
    if (std::any_of(dilations.begin(), dilations.end(), [](int64_t d) { return d != 1; }))
      return false;
    attributes.Erase("dilations");
    MakeSigned(&*x, IsSigned(*ending));
    return End(n, *ending, "QLinear" + n->op(),
               {x->codes, Scale(*n, *x), Zero(*n, *x), Scale(*n, ending->to), Zero(*n, ending->to)},
               attributes, kMicrosoft);
  }

  bool Concat(Node* n) {
    const auto ending = FindEnding(n);
    if (!ending) return false;
    std::vector<Value*> inputs = {Scale(*n, ending->to), Zero(*n, ending->to)};
    for (const Value* v : n->inputs()) {
      if (!Activation(v)) return false;
    }
    for (const Value* v : n->inputs()) {
      auto x = Activation(v);
      MakeSigned(&*x, IsSigned(*ending));
      inputs.insert(inputs.end(), {x->codes, Scale(*n, *x), Zero(*n, *x)});
    }
    return End(n, *ending, "QLinearConcat", inputs, n->attributes, kMicrosoft);
  }

  // Moves codes when it reads and gives the same.
  void Move(Node* n) {
    static const std::set<std::string> kOps = {"Reshape",   "Transpose", "Flatten", "Squeeze",
                                               "Unsqueeze", "MaxPool",   "Slice",   "Identity",
                                               "Expand",    "Gather"};
    if (!n->domain().empty() || !kOps.contains(n->op()) || n->outputs().size() != 1) return;
    const auto x = Activation(n->input(0));
    if (!x) return;
    Node* next = n->output()->OnlyUser();
    if (!next || !next->IsSlipway("Quantize")) return;
    const auto to = ReadParameters(*next);
    const DType type = next->output()->dtype();
    if (!to || !to->one() || to->bits != x->bits || to->is_signed != x->is_signed ||
        type != x->codes->dtype() || to->scale() != x->scale() || to->zeros[0] != x->zeros[0])
      return;
    g_.SetInput(n, 0, x->codes);
    n->output()->set_type(next->output()->type());
    Value* codes = next->output();
    const std::string name = codes->name();
    g_.ReplaceAllUses(codes, n->output());
    Remove(next);
    g_.Rename(n->output(), name);
    ++form_.operators[n->op()];
  }

  Graph& g_;
  IntegerForm form_;
  std::set<const Node*> removed_;
  std::map<const Value*, Value*> twins_;  // of codes, in the other type
};

}  // namespace

Result<IntegerForm> ToIntegerOperators(Graph* graph) { return Maker(graph).Run(); }

}  // namespace slipway::quant
