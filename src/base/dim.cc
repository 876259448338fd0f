#include "base/dim.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>
#include <set>

#include "base/checked.h"
#include "base/hash.h"

namespace slipway {
namespace {

// Bounds on an expression, so that no input can make building, printing or evaluating one
// expensive.
constexpr size_t kMaxText = 4096;
constexpr size_t kMaxTerms = 256;
constexpr size_t kMaxProducts = 4096;
constexpr int kMaxDepth = 60;  // of nested atoms; the parser allows 64 levels
constexpr int kMaxParseDepth = 64;
constexpr size_t kMaxSymbol = 128;
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

std::optional<int64_t> FloorDivInt(int64_t a, int64_t b) {
  if (b == 0 || (a == kMin && b == -1)) return std::nullopt;
  const int64_t q = a / b;
  return q - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0);
}

bool SymbolStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool Digit(char c) { return c >= '0' && c <= '9'; }
bool SymbolPart(char c) { return SymbolStart(c) || Digit(c) || c == '.'; }

}  // namespace

// Terms are sorted by degree, then lexicographically by the text of their atoms; no coefficient is
// 0 or INT64_MIN; at least one term has an atom. Atoms are equal exactly when their texts are.
struct Dim::Poly {
  enum class Kind : uint8_t { kSymbol, kFloorDiv, kMin, kMax };
  struct Atom {
    Kind kind;
    std::string text;
    Dim a, b;  // the arguments of a function
    int depth;
  };
  struct Factor {
    std::shared_ptr<const Atom> atom;
    int power;
  };
  struct Term {
    std::vector<Factor> factors;  // sorted by the text of the atom
    int64_t coefficient;
    int Degree() const {
      int d = 0;
      for (const Factor& f : factors) d += f.power;
      return d;
    }
  };
  using Terms = std::vector<Term>;

  Terms terms;
  std::string text;
  int depth = 0;
};

struct DimPolyAccess {
  using Poly = Dim::Poly;
  using Kind = Poly::Kind;
  using Atom = Poly::Atom;
  using Factor = Poly::Factor;
  using Term = Poly::Term;
  using Terms = Poly::Terms;

  static Dim Overflow() {
    Dim d;
    d.overflowed_ = true;
    return d;
  }

  // Negative when `a` comes first. A monomial order: it survives multiplication, so that polynomial
  // division works.
  static int Compare(const std::vector<Factor>& a, const std::vector<Factor>& b) {
    int degree_a = 0, degree_b = 0;
    for (const Factor& f : a) degree_a += f.power;
    for (const Factor& f : b) degree_b += f.power;
    if (degree_a != degree_b) return degree_a > degree_b ? -1 : 1;
    for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
      const int c = a[i].atom == b[i].atom ? 0 : a[i].atom->text.compare(b[i].atom->text);
      if (c != 0) return c;
      if (a[i].power != b[i].power) return a[i].power > b[i].power ? -1 : 1;
    }
    return 0;  // equal degrees: neither is a proper prefix of the other
  }

  static Terms TermsOf(const Dim& d) {
    if (d.poly_) return d.poly_->terms;
    if (d.value_ == 0) return {};
    return {Term{{}, d.value_}};
  }

  static std::string Print(const Terms& terms) {
    std::string s;
    for (const Term& t : terms) {
      const bool negative = t.coefficient < 0;
      const int64_t c = negative ? -t.coefficient : t.coefficient;
      if (s.empty()) {
        if (negative) s += "-";
      } else {
        s += negative ? " - " : " + ";
      }
      bool first = true;
      if (c != 1 || t.factors.empty()) {
        s += std::to_string(c);
        first = false;
      }
      for (const Factor& f : t.factors) {
        for (int i = 0; i < f.power; ++i) {
          if (!first) s += "*";
          s += f.atom->text;
          first = false;
          if (s.size() > kMaxText) return s;
        }
      }
      if (s.size() > kMaxText) return s;
    }
    return s;
  }

  // Sorts, merges and checks; terms with equal factors may repeat in the input.
  static Dim Make(Terms terms) {
    std::sort(terms.begin(), terms.end(),
              [](const Term& a, const Term& b) { return Compare(a.factors, b.factors) < 0; });
    Terms merged;
    for (Term& t : terms) {
      if (!merged.empty() && Compare(merged.back().factors, t.factors) == 0) {
        auto sum = CheckedAdd(merged.back().coefficient, t.coefficient);
        if (!sum) return Overflow();
        merged.back().coefficient = *sum;
      } else {
        if (!merged.empty() && merged.back().coefficient == 0) merged.pop_back();
        merged.push_back(std::move(t));
      }
    }
    if (!merged.empty() && merged.back().coefficient == 0) merged.pop_back();
    if (merged.empty()) return Dim(0);
    if (merged.size() == 1 && merged[0].factors.empty()) return Dim(merged[0].coefficient);
    if (merged.size() > kMaxTerms) return Overflow();
    auto poly = std::make_shared<Poly>();
    for (const Term& t : merged) {
      if (t.coefficient == kMin) return Overflow();
      for (const Factor& f : t.factors) poly->depth = std::max(poly->depth, f.atom->depth);
    }
    poly->text = Print(merged);
    if (poly->text.size() > kMaxText) return Overflow();
    poly->terms = std::move(merged);
    Dim d;
    d.poly_ = std::move(poly);
    return d;
  }

  static Dim FromAtom(std::shared_ptr<const Atom> atom) {
    return Make({Term{{Factor{std::move(atom), 1}}, 1}});
  }

  static Dim Function(Kind kind, const char* name, const Dim& a, const Dim& b) {
    const int depth = 1 + std::max(a.poly_ ? a.poly_->depth : 0, b.poly_ ? b.poly_->depth : 0);
    if (depth > kMaxDepth) return Overflow();
    std::string text = std::string(name) + "(" + a.ToString() + ", " + b.ToString() + ")";
    if (text.size() > kMaxText) return Overflow();
    return FromAtom(std::make_shared<Atom>(Atom{kind, std::move(text), a, b, depth}));
  }

  static std::vector<Factor> MultiplyFactors(const std::vector<Factor>& a,
                                             const std::vector<Factor>& b) {
    std::vector<Factor> out;
    out.reserve(a.size() + b.size());
    size_t i = 0, j = 0;
    while (i < a.size() || j < b.size()) {
      const int c = i == a.size()   ? 1
                    : j == b.size() ? -1
                                    : a[i].atom->text.compare(b[j].atom->text);
      if (c == 0) {
        out.push_back({a[i].atom, a[i].power + b[j].power});
        ++i, ++j;
      } else if (c < 0) {
        out.push_back(a[i++]);
      } else {
        out.push_back(b[j++]);
      }
    }
    return out;
  }

  // a / b when b divides a.
  static std::optional<std::vector<Factor>> DivideFactors(const std::vector<Factor>& a,
                                                          const std::vector<Factor>& b) {
    std::vector<Factor> out;
    size_t j = 0;
    for (const Factor& f : a) {
      int power = f.power;
      if (j < b.size() && f.atom->text == b[j].atom->text) power -= b[j++].power;
      if (power < 0) return std::nullopt;
      if (power > 0) out.push_back({f.atom, power});
    }
    if (j != b.size()) return std::nullopt;
    return out;
  }

  // The quotient when b divides a without remainder and with integer coefficients.
  static std::optional<Dim> ExactQuotient(const Dim& a, const Dim& b) {
    Terms divisor = TermsOf(b), quotient;
    if (divisor.empty()) return std::nullopt;
    Dim rest = a;
    for (size_t step = 0; step <= kMaxTerms; ++step) {
      const Terms terms = TermsOf(rest);
      if (terms.empty()) return Make(std::move(quotient));
      if (terms[0].coefficient % divisor[0].coefficient != 0) return std::nullopt;
      auto factors = DivideFactors(terms[0].factors, divisor[0].factors);
      auto c = FloorDivInt(terms[0].coefficient, divisor[0].coefficient);
      if (!factors || !c) return std::nullopt;
      Term t{std::move(*factors), *c};
      rest = rest - Make({t}) * b;
      if (rest.overflowed_) return std::nullopt;
      quotient.push_back(std::move(t));
    }
    return std::nullopt;
  }

  // Divides both by the common part of all their terms (an integer and a product of atoms).
  static void Cancel(Dim& a, Dim& b) {
    Terms ta = TermsOf(a), tb = TermsOf(b);
    if (ta.empty() || tb.empty()) return;
    int64_t g = 0;
    std::vector<Factor> common = ta[0].factors;
    for (Terms* ts : {&ta, &tb}) {
      for (const Term& t : *ts) {
        if (t.coefficient == kMin) return;
        g = std::gcd(g, t.coefficient);
        std::vector<Factor> kept;
        for (const Factor& f : common) {
          for (const Factor& other : t.factors) {
            if (other.atom->text == f.atom->text) {
              kept.push_back({f.atom, std::min(f.power, other.power)});
            }
          }
        }
        common = std::move(kept);
      }
    }
    if (g <= 1 && common.empty()) return;
    for (Terms* ts : {&ta, &tb}) {
      for (Term& t : *ts) {
        t.coefficient /= g;
        if (auto f = DivideFactors(t.factors, common)) t.factors = std::move(*f);
      }
    }
    a = Make(std::move(ta));
    b = Make(std::move(tb));
  }

  // Divisor b > 1, known; a not known.
  static Dim FloorDivByInt(const Dim& a, int64_t b) {
    Terms terms = TermsOf(a);
    // floordiv(floordiv(n, d) + r, b) = floordiv(n + r*d, d*b) for d > 0.
    for (const Term& t : terms) {
      if (t.coefficient != 1 || t.factors.size() != 1 || t.factors[0].power != 1) continue;
      const Atom& atom = *t.factors[0].atom;
      if (atom.kind != Kind::kFloorDiv || !atom.b.known() || atom.b.value() <= 0) continue;
      auto product = CheckedMul(atom.b.value(), b);
      if (!product) continue;
      Dim numerator = atom.a + (a - Make({t})) * atom.b;
      if (!numerator.overflowed_) return FloorDiv(numerator, Dim(*product));
    }
    // Whole multiples of b leave every term, so that the rest has coefficients in [0, b).
    Terms whole, rest;
    for (const Term& t : terms) {
      const int64_t q = *FloorDivInt(t.coefficient, b);
      const int64_t r = t.coefficient % b + (t.coefficient % b < 0 ? b : 0);
      if (q != 0) whole.push_back({t.factors, q});
      if (r != 0) rest.push_back({t.factors, r});
    }
    Dim outside = Make(std::move(whole)), inside = Make(rest);
    if (outside.overflowed_ || inside.overflowed_) return Overflow();
    if (inside.known()) return outside + Dim(*FloorDivInt(inside.value(), b));
    // floordiv(g*p + c, g*b') = floordiv(p + floordiv(c, g), b').
    int64_t g = b;
    for (const Term& t : rest) {
      if (!t.factors.empty()) g = std::gcd(g, t.coefficient);
    }
    if (g > 1) {
      for (Term& t : rest) t.coefficient /= g;  // all positive: rounds down
      std::erase_if(rest, [](const Term& t) { return t.coefficient == 0; });
      return outside + FloorDiv(Make(std::move(rest)), Dim(b / g));
    }
    if (!outside.Is(0)) return outside + FloorDiv(inside, Dim(b));
    return Function(Kind::kFloorDiv, "floordiv", inside, Dim(b));
  }

  static Dim MinMax(Kind kind, const Dim& a, const Dim& b) {
    if (a.overflowed_ || b.overflowed_) return Overflow();
    const Dim difference = a - b;
    if (difference.known() && !difference.overflowed_) {
      return (difference.value() <= 0) == (kind == Kind::kMin) ? a : b;
    }
    if (a.known() && b.known()) return (a.value() <= b.value()) == (kind == Kind::kMin) ? a : b;
    const bool swap = b.ToString() < a.ToString();
    return Function(kind, kind == Kind::kMin ? "min" : "max", swap ? b : a, swap ? a : b);
  }

  static void CollectSymbols(const Dim& d, std::set<std::string>& out) {
    if (!d.poly_) return;
    for (const Term& t : d.poly_->terms) {
      for (const Factor& f : t.factors) {
        if (f.atom->kind == Kind::kSymbol) {
          out.insert(f.atom->text);
        } else {
          CollectSymbols(f.atom->a, out);
          CollectSymbols(f.atom->b, out);
        }
      }
    }
  }

  static Result<int64_t> EvaluateAtom(const Atom& atom, const Dim::Lookup& lookup) {
    if (atom.kind == Kind::kSymbol) {
      if (auto v = lookup(atom.text)) return *v;
      return InvalidArgument("symbol '" + atom.text +
                             "' has no value; give one for this dimension");
    }
    SLIPWAY_ASSIGN_OR_RETURN(int64_t a, atom.a.Evaluate(lookup));
    SLIPWAY_ASSIGN_OR_RETURN(int64_t b, atom.b.Evaluate(lookup));
    if (atom.kind == Kind::kMin) return std::min(a, b);
    if (atom.kind == Kind::kMax) return std::max(a, b);
    if (b == 0) return InvalidArgument("division by zero in dimension '" + atom.text + "'");
    auto q = FloorDivInt(a, b);
    if (!q) return InvalidArgument("dimension '" + atom.text + "' overflows");
    return *q;
  }

  static Dim SubstituteAtom(const Factor& f,
                            const std::function<std::optional<Dim>(std::string_view)>& lookup) {
    const Atom& atom = *f.atom;
    switch (atom.kind) {
      case Kind::kSymbol: {
        auto d = lookup(atom.text);
        return d ? *d : FromAtom(f.atom);
      }
      case Kind::kFloorDiv:
        return FloorDiv(atom.a.Substitute(lookup), atom.b.Substitute(lookup));
      case Kind::kMin:
        return Min(atom.a.Substitute(lookup), atom.b.Substitute(lookup));
      case Kind::kMax:
        return Max(atom.a.Substitute(lookup), atom.b.Substitute(lookup));
    }
    return Overflow();
  }
};

namespace {

class DimParser {
 public:
  explicit DimParser(std::string_view text) : text_(text) {}

  Result<Dim> Run() {
    SLIPWAY_ASSIGN_OR_RETURN(Dim d, Sum(0));
    Skip();
    if (at_ != text_.size()) return Fail("unexpected character");
    return d;
  }

 private:
  Status Fail(std::string_view what) const {
    return InvalidArgument("dimension '" + std::string(text_.substr(0, 80)) +
                           "': " + std::string(what) + " at character " + std::to_string(at_ + 1) +
                           "; write integers, names, + - *, floordiv(a, b), min(a, b), max(a, b)");
  }
  void Skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  bool Take(char c) {
    Skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Result<Dim> Checked(Dim d) const {
    if (d.overflowed()) return Fail("overflow, division by zero or too complex");
    return d;
  }

  Result<Dim> Sum(int depth) {
    if (depth > kMaxParseDepth) return Fail("nested too deeply");
    SLIPWAY_ASSIGN_OR_RETURN(Dim sum, Product(depth));
    for (;;) {
      const bool plus = Take('+');
      if (!plus && !Take('-')) return sum;
      SLIPWAY_ASSIGN_OR_RETURN(Dim next, Product(depth));
      SLIPWAY_ASSIGN_OR_RETURN(sum, Checked(plus ? sum + next : sum - next));
    }
  }
  Result<Dim> Product(int depth) {
    SLIPWAY_ASSIGN_OR_RETURN(Dim product, Primary(depth));
    while (Take('*')) {
      SLIPWAY_ASSIGN_OR_RETURN(Dim next, Primary(depth));
      SLIPWAY_ASSIGN_OR_RETURN(product, Checked(product * next));
    }
    return product;
  }
  Result<Dim> Primary(int depth) {
    bool negative = false;
    while (Take('-')) negative = !negative;
    Skip();
    if (at_ >= text_.size()) return Fail("unexpected end");
    Dim d;
    if (Digit(text_[at_])) {
      SLIPWAY_ASSIGN_OR_RETURN(d, Number(negative));
      return d;
    }
    if (Take('(')) {
      SLIPWAY_ASSIGN_OR_RETURN(d, Sum(depth + 1));
      if (!Take(')')) return Fail("expected ')'");
    } else if (SymbolStart(text_[at_])) {
      const size_t begin = at_;
      while (at_ < text_.size() && SymbolPart(text_[at_])) ++at_;
      const std::string_view name = text_.substr(begin, at_ - begin);
      if (Take('(')) {
        SLIPWAY_ASSIGN_OR_RETURN(d, Call(name, depth));
      } else {
        d = Dim::Symbol(name);
      }
    } else {
      return Fail("unexpected character");
    }
    return Checked(negative ? Dim(0) - d : d);
  }
  Result<Dim> Number(bool negative) {
    uint64_t magnitude = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), magnitude);
    const uint64_t limit = uint64_t{1} << 63;
    if (error != std::errc() || magnitude > (negative ? limit : limit - 1)) {
      return Fail("number out of range");
    }
    at_ += static_cast<size_t>(end - begin);
    if (at_ < text_.size() && SymbolPart(text_[at_])) return Fail("unexpected character");
    return Dim(negative ? static_cast<int64_t>(~magnitude + 1) : static_cast<int64_t>(magnitude));
  }
  Result<Dim> Call(std::string_view name, int depth) {
    if (name != "floordiv" && name != "min" && name != "max") return Fail("unknown function");
    SLIPWAY_ASSIGN_OR_RETURN(Dim a, Sum(depth + 1));
    if (!Take(',')) return Fail("expected ','");
    SLIPWAY_ASSIGN_OR_RETURN(Dim b, Sum(depth + 1));
    if (!Take(')')) return Fail("expected ')'");
    return Checked(name == "floordiv" ? FloorDiv(a, b) : name == "min" ? Min(a, b) : Max(a, b));
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Dim Dim::Symbol(std::string_view name) {
  std::string clean;
  for (char c : name.substr(0, kMaxSymbol)) clean += SymbolPart(c) ? c : '_';
  if (clean.empty() || !SymbolStart(clean[0])) clean.insert(clean.begin(), '_');
  if (name.size() > kMaxSymbol) {  // a name of any length stays distinct
    clean.resize(100);
    clean += "_" + std::to_string(Hash64(name));
  }
  using Access = DimPolyAccess;
  return Access::FromAtom(std::make_shared<Access::Atom>(
      Access::Atom{Access::Kind::kSymbol, std::move(clean), Dim(), Dim(), 0}));
}

Result<Dim> Dim::Parse(std::string_view text) {
  if (text.size() > kMaxText) {
    return InvalidArgument("dimension '" + std::string(text.substr(0, 40)) +
                           "...' is longer than " + std::to_string(kMaxText) + " characters");
  }
  return DimParser(text).Run();
}

std::string Dim::ToString() const { return poly_ ? poly_->text : std::to_string(value_); }

std::vector<std::string> Dim::Symbols() const {
  std::set<std::string> names;
  DimPolyAccess::CollectSymbols(*this, names);
  return {names.begin(), names.end()};
}

Result<int64_t> Dim::Evaluate(const Lookup& lookup) const {
  if (overflowed_) return InvalidArgument("a dimension overflows 64 bits or divides by zero");
  if (!poly_) return value_;
  const auto overflow = [&] {
    return InvalidArgument("dimension '" + ToString() + "' overflows 64 bits with these sizes");
  };
  int64_t sum = 0;
  for (const Poly::Term& t : poly_->terms) {
    int64_t product = t.coefficient;
    for (const Poly::Factor& f : t.factors) {
      SLIPWAY_ASSIGN_OR_RETURN(const int64_t v, DimPolyAccess::EvaluateAtom(*f.atom, lookup));
      for (int i = 0; i < f.power; ++i) {
        auto next = CheckedMul(product, v);
        if (!next) return overflow();
        product = *next;
      }
    }
    auto next = CheckedAdd(sum, product);
    if (!next) return overflow();
    sum = *next;
  }
  return sum;
}

Dim Dim::Substitute(const std::function<std::optional<Dim>(std::string_view)>& lookup) const {
  if (!poly_) return *this;
  Dim sum(0);
  for (const Poly::Term& t : poly_->terms) {
    Dim product(t.coefficient);
    for (const Poly::Factor& f : t.factors) {
      const Dim d = DimPolyAccess::SubstituteAtom(f, lookup);
      for (int i = 0; i < f.power; ++i) product = product * d;
    }
    sum = sum + product;
  }
  return sum;
}

Dim operator+(const Dim& a, const Dim& b) {
  using Access = DimPolyAccess;
  if (a.overflowed_ || b.overflowed_) return Access::Overflow();
  if (a.known() && b.known()) {
    auto v = CheckedAdd(a.value_, b.value_);
    return v ? Dim(*v) : Access::Overflow();
  }
  Access::Terms terms = Access::TermsOf(a);
  for (auto& t : Access::TermsOf(b)) terms.push_back(std::move(t));
  return Access::Make(std::move(terms));
}

Dim operator-(const Dim& a, const Dim& b) {
  using Access = DimPolyAccess;
  if (a.overflowed_ || b.overflowed_) return Access::Overflow();
  if (a.known() && b.known()) {
    int64_t v;
    return __builtin_sub_overflow(a.value_, b.value_, &v) ? Access::Overflow() : Dim(v);
  }
  return a + b * Dim(-1);
}

Dim operator*(const Dim& a, const Dim& b) {
  using Access = DimPolyAccess;
  if (a.overflowed_ || b.overflowed_) return Access::Overflow();
  if (a.known() && b.known()) {
    auto v = CheckedMul(a.value_, b.value_);
    return v ? Dim(*v) : Access::Overflow();
  }
  const Access::Terms ta = Access::TermsOf(a), tb = Access::TermsOf(b);
  if (ta.size() * tb.size() > kMaxProducts) return Access::Overflow();
  Access::Terms terms;
  for (const auto& x : ta) {
    for (const auto& y : tb) {
      auto c = CheckedMul(x.coefficient, y.coefficient);
      if (!c) return Access::Overflow();
      terms.push_back({Access::MultiplyFactors(x.factors, y.factors), *c});
    }
  }
  return Access::Make(std::move(terms));
}

Dim FloorDiv(const Dim& a, const Dim& b) {
  using Access = DimPolyAccess;
  if (a.overflowed_ || b.overflowed_ || b.Is(0)) return Access::Overflow();
  if (a.known() && b.known()) {
    auto v = FloorDivInt(a.value_, b.value_);
    return v ? Dim(*v) : Access::Overflow();
  }
  if (a.Is(0) || b.Is(1)) return a;
  if (b.known()) {
    if (b.value() < 0) return FloorDiv(Dim(0) - a, Dim(0) - b);
    return Access::FloorDivByInt(a, b.value());
  }
  if (auto q = Access::ExactQuotient(a, b)) return *q;
  Dim numerator = a, denominator = b;
  Access::Cancel(numerator, denominator);
  if (denominator.known()) return FloorDiv(numerator, denominator);
  return Access::Function(Access::Kind::kFloorDiv, "floordiv", numerator, denominator);
}

Dim CeilDiv(const Dim& a, const Dim& b) {
  if (b.known() && b.value() > 0) return FloorDiv(a + (b - Dim(1)), b);
  return Dim(0) - FloorDiv(Dim(0) - a, b);
}

Dim Min(const Dim& a, const Dim& b) {
  return DimPolyAccess::MinMax(DimPolyAccess::Kind::kMin, a, b);
}
Dim Max(const Dim& a, const Dim& b) {
  return DimPolyAccess::MinMax(DimPolyAccess::Kind::kMax, a, b);
}

bool operator==(const Dim& a, const Dim& b) {
  if (a.overflowed_ != b.overflowed_ || a.known() != b.known()) return false;
  if (a.known()) return a.value_ == b.value_;
  return a.poly_ == b.poly_ || a.poly_->text == b.poly_->text;
}

std::string ToString(const SymShape& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + shape[i].ToString();
  return s + "]";
}

Dim Count(const SymShape& shape) {
  for (const Dim& d : shape) {  // an empty tensor is empty whatever its other extents multiply to
    if (d.Is(0) && !d.overflowed()) return Dim(0);
  }
  Dim n(1);
  for (const Dim& d : shape) n = n * d;
  return n;
}

}  // namespace slipway
