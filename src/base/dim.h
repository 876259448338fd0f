#pragma once
// One dimension of a shape that need not be known yet: an integer, or an expression over named
// symbols ("N", "2*H + 1", "floordiv(H + 1, 2)"). Expressions are kept in a normal form (a
// polynomial over symbols and opaque floordiv/min/max atoms), so equal dimensions compare equal and
// text survives a round trip. Packages store the text; the runtime evaluates it.

#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace slipway {

class Dim {
 public:
  Dim() : value_(0) {}
  Dim(int64_t value) : value_(value) {}  // NOLINT: a number is a dimension

  // A free variable. `name` is [A-Za-z_][A-Za-z0-9_.]*; other characters become '_'.
  static Dim Symbol(std::string_view name);
  // Parses what ToString prints. Errors (InvalidArgument): syntax, longer than 4096 characters,
  // nested deeper than 64, overflow.
  static Result<Dim> Parse(std::string_view text);

  bool known() const { return poly_ == nullptr; }
  int64_t value() const { return value_; }  // only when known()
  bool Is(int64_t v) const { return known() && value_ == v; }

  std::string ToString() const;
  // Names of all symbols used, sorted, without repeats.
  std::vector<std::string> Symbols() const;

  using Lookup = std::function<std::optional<int64_t>(std::string_view symbol)>;
  // The value under an assignment of the symbols; an error names the unbound symbol, division by
  // zero or overflow.
  Result<int64_t> Evaluate(const Lookup& lookup) const;
  // Replaces symbols by dimensions (a missing one stays).
  Dim Substitute(const std::function<std::optional<Dim>(std::string_view)>& lookup) const;

  // Arithmetic saturates known overflow into an error only at Evaluate/Check time: see
  // overflowed().
  friend Dim operator+(const Dim& a, const Dim& b);
  friend Dim operator-(const Dim& a, const Dim& b);
  friend Dim operator*(const Dim& a, const Dim& b);
  // Rounds toward minus infinity. Exact polynomial division is recognised: (512*N*H) / (4*H) is
  // 128*N. A known zero divisor gives a known 0 with overflowed() set.
  friend Dim FloorDiv(const Dim& a, const Dim& b);
  friend Dim CeilDiv(const Dim& a, const Dim& b);
  friend Dim Min(const Dim& a, const Dim& b);
  friend Dim Max(const Dim& a, const Dim& b);
  // True when building this value overflowed int64 or divided by zero; such a Dim is reported as an
  // error by inference.
  bool overflowed() const { return overflowed_; }

  friend bool operator==(const Dim& a, const Dim& b);

 private:
  friend struct DimPolyAccess;
  struct Poly;
  int64_t value_ = 0;
  std::shared_ptr<const Poly> poly_;  // null for integers
  bool overflowed_ = false;
};

// A tensor's shape with possibly symbolic dimensions.
using SymShape = std::vector<Dim>;

std::string ToString(const SymShape& shape);  // "[N, 3, 224, 224]"
// The product; 1 for a scalar.
Dim Count(const SymShape& shape);

}  // namespace slipway
