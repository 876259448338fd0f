// The reader of the text form. Its input may come from anywhere: every length, depth and reference
// is checked.

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/float16.h"
#include "model/ir/control.h"
#include "model/ir/schema.h"
#include "model/ir/text.h"

namespace slipway::ir {
namespace {

constexpr size_t kMaxText = size_t{64} << 20;
constexpr int64_t kMaxConstant = 10'000'000;        // elements
constexpr int64_t kMaxAllBytes = int64_t{1} << 30;  // of all constants together

bool Letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool Digit(char c) { return c >= '0' && c <= '9'; }
bool NameChar(char c) {
  return Letter(c) || Digit(c) || c == '.' || c == '/' || c == ':' || c == '-';
}

int HexDigit(char c) {
  if (Digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// A small generator with a published recurrence (SplitMix64), so that `random(7)` means the same
// everywhere.
uint64_t NextRandom(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

struct Number {
  std::string_view text;  // with its sign
  bool is_integer;
};

template <typename T>
void StoreAs(uint8_t* data, int64_t i, T v) {
  std::memcpy(data + static_cast<size_t>(i) * sizeof(T), &v, sizeof(T));
}

// Stores an integer that fits, or a floating number, as element i.
void StoreInt(DType t, uint8_t* data, int64_t i, int64_t v) {
  const int bits = DTypeBits(t);
  if (bits >= 8) {
    // Little endian: the low bytes come first.
    std::memcpy(data + static_cast<size_t>(i) * static_cast<size_t>(bits / 8), &v,
                static_cast<size_t>(bits / 8));
    return;
  }
  const size_t bit = static_cast<size_t>(i) * static_cast<size_t>(bits);
  const uint8_t mask = static_cast<uint8_t>((1 << bits) - 1);
  const uint8_t code = static_cast<uint8_t>((static_cast<uint8_t>(v) & mask) << (bit % 8));
  data[bit / 8] = static_cast<uint8_t>((data[bit / 8] & ~(mask << (bit % 8))) | code);
}

void StoreFloat(DType t, uint8_t* data, int64_t i, double v) {
  switch (t) {
    case DType::kFloat32:
      StoreAs(data, i, static_cast<float>(v));
      break;
    case DType::kFloat64:
      StoreAs(data, i, v);
      break;
    case DType::kFloat16:
      StoreAs(data, i, Float16(v).bits);
      break;
    case DType::kBFloat16:
      StoreAs(data, i, BFloat16(v).bits);
      break;
    default:
      StoreInt(t, data, i, EncodeFloat8(t, v));
      break;
  }
}

bool IntFits(DType t, int64_t v) {
  const int bits = DTypeBits(t);
  if (t == DType::kBool) return v == 0 || v == 1;
  if (IsSignedInteger(t))
    return bits >= 64 || (v >= -(int64_t{1} << (bits - 1)) && v < (int64_t{1} << (bits - 1)));
  return v >= 0 && (bits >= 63 || v < (int64_t{1} << bits));
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<std::unique_ptr<Graph>> Run() {
    SLIPWAY_ASSIGN_OR_RETURN(auto graph, ParseGraph(0));
    Skip();
    if (at_ != text_.size()) return Fail("text after the end of the graph");
    return graph;
  }
  Result<Type> RunType() {
    SLIPWAY_ASSIGN_OR_RETURN(Type type, ParseType());
    Skip();
    if (at_ != text_.size()) return Fail("text after the end of the type");
    return type;
  }

 private:
  // --- lexing ---
  Status FailAt(size_t at, const std::string& what) const {
    size_t line = 1, start = 0;
    for (size_t i = 0; i < at && i < text_.size(); ++i) {
      if (text_[i] == '\n') {
        ++line;
        start = i + 1;
      }
    }
    return InvalidArgument("line " + std::to_string(line) + ", column " +
                           std::to_string(at - start + 1) + ": " + what);
  }
  Status Fail(const std::string& what) const { return FailAt(at_, what); }

  void Skip() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        ++at_;
      } else if (c == '/' && at_ + 1 < text_.size() && text_[at_ + 1] == '/') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else {
        return;
      }
    }
  }
  bool Peek(char c) {
    Skip();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool Take(char c) {
    if (!Peek(c)) return false;
    ++at_;
    return true;
  }
  Status Expect(char c) {
    if (Take(c)) return OkStatus();
    return Fail(std::string("expected '") + c + "'");
  }
  // An identifier [A-Za-z_][A-Za-z0-9_]*; empty when there is none.
  std::string_view Word() {
    Skip();
    const size_t begin = at_;
    if (at_ < text_.size() && Letter(text_[at_])) {
      while (at_ < text_.size() && (Letter(text_[at_]) || Digit(text_[at_]))) ++at_;
    }
    return text_.substr(begin, at_ - begin);
  }
  bool TakeWord(std::string_view word) {
    Skip();
    const size_t before = at_;
    if (Word() == word) return true;
    at_ = before;
    return false;
  }
  Result<std::string> String() {
    if (!Peek('"')) return Fail("expected a string in double quotes");
    const size_t begin = at_++;
    std::string out;
    while (at_ < text_.size() && text_[at_] != '"') {
      char c = text_[at_++];
      if (c == '\\') {
        if (at_ >= text_.size()) break;
        c = text_[at_++];
        if (c == 'n') {
          c = '\n';
        } else if (c == 'x') {
          const int high = at_ < text_.size() ? HexDigit(text_[at_]) : -1;
          const int low = at_ + 1 < text_.size() ? HexDigit(text_[at_ + 1]) : -1;
          if (high < 0 || low < 0) return Fail("\\x needs two hexadecimal digits");
          c = static_cast<char>(high * 16 + low);
          at_ += 2;
        } else if (c != '"' && c != '\\') {
          return Fail("unknown escape in a string");
        }
      }
      out += c;
    }
    if (at_ >= text_.size()) return FailAt(begin, "the string does not end");
    ++at_;
    return out;
  }
  Result<std::string> ValueName() {
    SLIPWAY_RETURN_IF_ERROR(Expect('%'));
    if (at_ < text_.size() && text_[at_] == '"') return String();
    const size_t begin = at_;
    while (at_ < text_.size() && NameChar(text_[at_])) ++at_;
    // "%x: float32" : the last colon belongs to the type.
    if (at_ > begin && text_[at_ - 1] == ':') --at_;
    if (at_ == begin) return Fail("expected a name after '%'");
    return std::string(text_.substr(begin, at_ - begin));
  }
  bool AtNumber() {
    Skip();
    if (at_ >= text_.size()) return false;
    const std::string_view rest = text_.substr(at_);
    size_t i = rest[0] == '-' || rest[0] == '+' ? 1 : 0;
    return i < rest.size() && (Digit(rest[i]) || rest[i] == '.' || rest.substr(i, 3) == "inf" ||
                               rest.substr(i, 3) == "nan");
  }
  Result<Number> ParseNumber() {
    if (!AtNumber()) return Fail("expected a number");
    if (text_[at_] == '+') ++at_;
    const size_t begin = at_;
    if (at_ < text_.size() && text_[at_] == '-') ++at_;
    const size_t digits = at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      const bool exponent_sign = (c == '-' || c == '+') && at_ > digits &&
                                 (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E');
      if (!Letter(c) && !Digit(c) && c != '.' && !exponent_sign) break;
      ++at_;
    }
    Number n{text_.substr(begin, at_ - begin), true};
    for (char c : text_.substr(digits, at_ - digits)) n.is_integer &= Digit(c);
    return n;
  }
  template <typename T>
  Result<T> As(const Number& n) const {
    T v{};
    const char* end = n.text.data() + n.text.size();
    const auto r = std::from_chars(n.text.data(), end, v);
    if (r.ec != std::errc() || r.ptr != end) {
      return FailAt(static_cast<size_t>(n.text.data() - text_.data()),
                    "'" + std::string(n.text.substr(0, 40)) + "' is no valid number here");
    }
    return v;
  }
  Result<int64_t> Integer() {
    SLIPWAY_ASSIGN_OR_RETURN(const Number n, ParseNumber());
    return As<int64_t>(n);
  }

  // --- types and tensors ---
  Result<Type> ParseType() {
    const size_t begin = at_;
    const bool optional = TakeWord("optional");
    if (optional) SLIPWAY_RETURN_IF_ERROR(Expect('('));
    const bool sequence = TakeWord("seq");
    if (sequence) SLIPWAY_RETURN_IF_ERROR(Expect('('));
    SLIPWAY_ASSIGN_OR_RETURN(Type t, ParseTensorType());
    if (optional || sequence) {
      if (t.dtype == DType::kUndefined)
        return FailAt(begin, "what is in a sequence or an optional must have a type");
      t.container = !optional  ? Container::kSequence
                    : sequence ? Container::kOptionalSequence
                               : Container::kOptional;
    }
    if (sequence) SLIPWAY_RETURN_IF_ERROR(Expect(')'));
    if (optional) SLIPWAY_RETURN_IF_ERROR(Expect(')'));
    return t;
  }

  Result<Type> ParseTensorType() {
    Type t;
    Skip();
    const size_t begin = at_;
    const std::string_view name = Word();
    t.dtype = DTypeFromName(name);
    if (t.dtype == DType::kUndefined && name != "undefined") {
      return FailAt(
          begin, "'" + std::string(name) + "' is no element type; write float32, int64, bool, ...");
    }
    if (!Take('[')) {
      t.shape = SymShape();  // "float32" alone is a scalar
      return t;
    }
    if (Take('?')) {
      SLIPWAY_RETURN_IF_ERROR(Expect(']'));
      return t;
    }
    t.shape = SymShape();
    if (Take(']')) return t;
    for (;;) {
      Skip();
      const size_t dim_begin = at_;
      int depth = 0;
      while (at_ < text_.size() && at_ - dim_begin <= 4100) {
        const char c = text_[at_];
        if (depth == 0 && (c == ',' || c == ']')) break;
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        ++at_;
      }
      auto d = Dim::Parse(text_.substr(dim_begin, at_ - dim_begin));
      if (!d.ok()) return FailAt(dim_begin, d.status().message());
      t.shape->push_back(std::move(*d));
      if (t.shape->size() > kMaxRank)
        return Fail("more than " + std::to_string(kMaxRank) + " dimensions");
      if (Take(']')) return t;
      SLIPWAY_RETURN_IF_ERROR(Expect(','));
    }
  }

  Status StoreNumber(DType t, uint8_t* data, int64_t i, const Number& n) const {
    if (t == DType::kFloat32) {
      SLIPWAY_ASSIGN_OR_RETURN(const float v, As<float>(n));
      StoreAs(data, i, v);
    } else if (IsFloating(t)) {
      SLIPWAY_ASSIGN_OR_RETURN(const double v, As<double>(n));
      StoreFloat(t, data, i, v);
    } else if (t == DType::kUInt64) {
      SLIPWAY_ASSIGN_OR_RETURN(const uint64_t v, As<uint64_t>(n));
      StoreAs(data, i, v);
    } else {
      SLIPWAY_ASSIGN_OR_RETURN(const int64_t v, As<int64_t>(n));
      if (!IntFits(t, v)) {
        return FailAt(static_cast<size_t>(n.text.data() - text_.data()),
                      std::to_string(v) + " does not fit into " + DTypeName(t));
      }
      StoreInt(t, data, i, v);
    }
    return OkStatus();
  }

  Status Base64Into(uint8_t* data, size_t size) {
    SLIPWAY_RETURN_IF_ERROR(Expect('"'));
    const size_t begin = at_;
    uint32_t word = 0;
    int have = 0;
    size_t written = 0;
    for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      const char c = text_[at_];
      uint32_t v;
      if (c >= 'A' && c <= 'Z')
        v = static_cast<uint32_t>(c - 'A');
      else if (c >= 'a' && c <= 'z')
        v = static_cast<uint32_t>(c - 'a' + 26);
      else if (Digit(c))
        v = static_cast<uint32_t>(c - '0' + 52);
      else if (c == '+')
        v = 62;
      else if (c == '/')
        v = 63;
      else if (c == '=')
        continue;
      else
        return Fail("no base64 digit");
      word = word << 6 | v;
      have += 6;
      if (have >= 8) {
        have -= 8;
        if (written < size) data[written] = static_cast<uint8_t>(word >> have);
        ++written;
      }
    }
    if (at_ >= text_.size()) return FailAt(begin, "the string does not end");
    ++at_;
    if (written != size) {
      return FailAt(begin, "the data has " + std::to_string(written) +
                               " bytes but the type needs " + std::to_string(size));
    }
    return OkStatus();
  }

  Result<Tensor> ParseTensor(const Type& type) {
    const size_t begin = at_;
    const auto dims = type.StaticDims();
    if (!IsKnown(type.dtype) || !dims)
      return Fail("a constant needs an element type and fixed dimensions");
    const auto count = CheckedCount(*dims);
    if (!count || *count > kMaxConstant)
      return Fail("the constant has more than " + std::to_string(kMaxConstant) +
                  " elements or a negative extent");
    const int64_t bytes = static_cast<int64_t>(DTypeBytes(type.dtype, *count));
    // Data that is written out needs text of its own size; generated data does not, so it is paid
    // for here.
    total_ += bytes;
    if (total_ > kMaxAllBytes)
      return Fail("the constants of this text exceed " + std::to_string(kMaxAllBytes) +
                  " bytes together");
    const auto allocate = [&] { return Tensor::Allocate(type.dtype, *dims); };
    if (Take('[')) {
      SLIPWAY_ASSIGN_OR_RETURN(Tensor t, allocate());
      if (bytes > 0) std::memset(t.mutable_data(), 0, static_cast<size_t>(bytes));
      int64_t i = 0;
      if (!Take(']')) {
        do {
          SLIPWAY_ASSIGN_OR_RETURN(const Number n, ParseNumber());
          if (i >= *count) return Fail("more elements than the type has");
          SLIPWAY_RETURN_IF_ERROR(StoreNumber(type.dtype, t.mutable_data(), i++, n));
        } while (Take(','));
        SLIPWAY_RETURN_IF_ERROR(Expect(']'));
      }
      if (i != *count)
        return FailAt(begin, std::to_string(i) + " elements are given but the type has " +
                                 std::to_string(*count));
      return t;
    }
    const std::string_view how = Word();
    if (how == "base64") {
      SLIPWAY_ASSIGN_OR_RETURN(Tensor t, allocate());
      SLIPWAY_RETURN_IF_ERROR(Base64Into(t.mutable_data(), t.bytes().size()));
      return t;
    }
    if (how == "elided")
      return FailAt(begin,
                    "the text was printed without this constant's data and cannot be read back");
    std::optional<Number> argument;
    if (how == "random" || how == "fill") {
      SLIPWAY_RETURN_IF_ERROR(Expect('('));
      SLIPWAY_ASSIGN_OR_RETURN(argument, ParseNumber());
      SLIPWAY_RETURN_IF_ERROR(Expect(')'));
    } else if (how != "zeros" && how != "iota") {
      return FailAt(begin, "expected [...], zeros, iota, fill(x), random(seed) or base64\"...\"");
    }
    SLIPWAY_ASSIGN_OR_RETURN(Tensor t, allocate());
    if (bytes == 0) return t;
    uint8_t* data = t.mutable_data();
    std::memset(data, 0, static_cast<size_t>(bytes));
    const bool floating = IsFloating(type.dtype);
    uint64_t state = 0;
    if (how == "random") {
      SLIPWAY_ASSIGN_OR_RETURN(const int64_t seed, As<int64_t>(*argument));
      state = static_cast<uint64_t>(seed);
    }
    for (int64_t i = 0; how != "zeros" && i < *count; ++i) {
      if (how == "fill") {
        SLIPWAY_RETURN_IF_ERROR(StoreNumber(type.dtype, data, i, *argument));
      } else if (how == "iota") {
        if (floating)
          StoreFloat(type.dtype, data, i, static_cast<double>(i));
        else
          StoreInt(type.dtype, data, i, type.dtype == DType::kBool ? i & 1 : i);
      } else {
        const uint64_t r = NextRandom(state);
        if (floating)
          StoreFloat(type.dtype, data, i, static_cast<double>(r >> 40) * 0x1p-23 - 1.0);
        else if (type.dtype == DType::kBool)
          StoreInt(type.dtype, data, i, static_cast<int64_t>(r >> 63));
        else
          StoreInt(type.dtype, data, i,
                   static_cast<int64_t>(r >> 60) - (IsSignedInteger(type.dtype) ? 8 : 0));
      }
    }
    return t;
  }

  // --- attributes ---
  Result<AttributeValue> ParseAttribute(const AttributeSchema* schema) {
    const bool floating =
        schema && (schema->kind == AttributeKind::kFloat || schema->kind == AttributeKind::kFloats);
    if (Peek('"')) {
      SLIPWAY_ASSIGN_OR_RETURN(std::string s, String());
      return AttributeValue(std::move(s));
    }
    if (AtNumber()) {
      SLIPWAY_ASSIGN_OR_RETURN(const Number n, ParseNumber());
      if (n.is_integer && !floating) {
        SLIPWAY_ASSIGN_OR_RETURN(const int64_t v, As<int64_t>(n));
        return AttributeValue(v);
      }
      SLIPWAY_ASSIGN_OR_RETURN(const float v, As<float>(n));
      return AttributeValue(v);
    }
    const size_t begin = at_;
    const std::string_view kind = Word();
    if (!Take('[')) return FailAt(begin, "expected a number, a string or a list");
    if (!kind.empty() && kind != "ints" && kind != "floats" && kind != "strings")
      return FailAt(begin, "unknown kind of list");
    const auto empty = [&]() -> AttributeValue {
      if (kind == "floats" || (kind.empty() && schema && schema->kind == AttributeKind::kFloats))
        return std::vector<float>();
      if (kind == "strings" || (kind.empty() && schema && schema->kind == AttributeKind::kStrings))
        return std::vector<std::string>();
      return std::vector<int64_t>();
    };
    if (Take(']')) return empty();
    if (Peek('"')) {
      std::vector<std::string> strings;
      do {
        SLIPWAY_ASSIGN_OR_RETURN(std::string s, String());
        strings.push_back(std::move(s));
      } while (Take(','));
      SLIPWAY_RETURN_IF_ERROR(Expect(']'));
      return AttributeValue(std::move(strings));
    }
    std::vector<Number> numbers;
    bool integers = kind != "floats" && !floating;
    do {
      SLIPWAY_ASSIGN_OR_RETURN(const Number n, ParseNumber());
      integers &= n.is_integer;
      numbers.push_back(n);
    } while (Take(','));
    SLIPWAY_RETURN_IF_ERROR(Expect(']'));
    if (integers) {
      std::vector<int64_t> values;
      for (const Number& n : numbers) {
        SLIPWAY_ASSIGN_OR_RETURN(const int64_t v, As<int64_t>(n));
        values.push_back(v);
      }
      return AttributeValue(std::move(values));
    }
    std::vector<float> values;
    for (const Number& n : numbers) {
      SLIPWAY_ASSIGN_OR_RETURN(const float v, As<float>(n));
      values.push_back(v);
    }
    return AttributeValue(std::move(values));
  }

  Status ParseAttributes(const OpSchema* schema, Attributes& out) {
    if (!Take('{')) return OkStatus();
    if (Take('}')) return OkStatus();
    do {
      Skip();
      const size_t begin = at_;
      std::string name;
      if (Peek('"')) {
        SLIPWAY_ASSIGN_OR_RETURN(name, String());
      } else {
        while (at_ < text_.size() && NameChar(text_[at_])) ++at_;
        name = text_.substr(begin, at_ - begin);
      }
      if (name.empty()) return Fail("expected an attribute's name");
      if (out.Has(name)) return FailAt(begin, "attribute '" + name + "' is given twice");
      SLIPWAY_RETURN_IF_ERROR(Expect('='));
      SLIPWAY_ASSIGN_OR_RETURN(auto value,
                               ParseAttribute(schema ? schema->FindAttribute(name) : nullptr));
      out.Set(name, std::move(value));
    } while (Take(','));
    return Expect('}');
  }

  // --- graph ---
  Result<std::unique_ptr<Graph>> ParseGraph(int depth) {
    if (depth > kMaxBodyDepth) return Fail("bodies are nested too deeply");
    if (!TakeWord("graph")) return Fail("expected 'graph \"name\" {'");
    auto graph = std::make_unique<Graph>();
    if (Peek('"')) {
      SLIPWAY_ASSIGN_OR_RETURN(graph->name, String());
    }
    SLIPWAY_RETURN_IF_ERROR(Expect('{'));
    while (!Take('}')) {
      if (at_ >= text_.size()) return Fail("the graph does not end; '}' is missing");
      SLIPWAY_RETURN_IF_ERROR(ParseLine(*graph, depth));
    }
    return graph;
  }

  Result<std::string> NewName(const Graph& graph) {
    Skip();
    const size_t begin = at_;
    SLIPWAY_ASSIGN_OR_RETURN(std::string name, ValueName());
    if (name.empty() || name == "-") return FailAt(begin, "'" + name + "' cannot name a value");
    if (graph.FindValue(name)) return FailAt(begin, "'%" + name + "' is defined twice");
    return name;
  }
  Result<Value*> ExistingValue(const Graph& graph) {
    Skip();
    const size_t begin = at_;
    SLIPWAY_ASSIGN_OR_RETURN(const std::string name, ValueName());
    Value* v = graph.FindValue(name);
    if (!v) return FailAt(begin, "'%" + name + "' is not defined above");
    return v;
  }

  Status ParseLine(Graph& graph, int depth) {
    Skip();
    const size_t begin = at_;
    if (at_ < text_.size() && (text_[at_] == '%' || text_[at_] == '='))
      return ParseNode(graph, depth);
    const std::string_view word = Word();
    if (word == "_") {
      at_ = begin;
      return ParseNode(graph, depth);
    }
    if (word == "input") {
      SLIPWAY_ASSIGN_OR_RETURN(const std::string name, NewName(graph));
      Type type;
      if (Take(':')) {
        SLIPWAY_ASSIGN_OR_RETURN(type, ParseType());
      }
      graph.AddInput(name, std::move(type));
      return OkStatus();
    }
    if (word == "const") {
      SLIPWAY_ASSIGN_OR_RETURN(const std::string name, NewName(graph));
      SLIPWAY_RETURN_IF_ERROR(Expect(':'));
      SLIPWAY_ASSIGN_OR_RETURN(const Type type, ParseTensorType());
      SLIPWAY_RETURN_IF_ERROR(Expect('='));
      SLIPWAY_ASSIGN_OR_RETURN(Tensor tensor, ParseTensor(type));
      graph.AddConstant(name, std::move(tensor));
      return OkStatus();
    }
    if (word == "output") {
      SLIPWAY_ASSIGN_OR_RETURN(Value * v, ExistingValue(graph));
      graph.AddOutput(v);
      return OkStatus();
    }
    if (word == "meta") {
      SLIPWAY_ASSIGN_OR_RETURN(const std::string key, String());
      SLIPWAY_RETURN_IF_ERROR(Expect('='));
      SLIPWAY_ASSIGN_OR_RETURN(graph.metadata[key], String());
      return OkStatus();
    }
    if (word == "range") {
      Skip();
      const size_t name_begin = at_;
      while (at_ < text_.size() && (Letter(text_[at_]) || Digit(text_[at_]) || text_[at_] == '.'))
        ++at_;
      const std::string symbol(text_.substr(name_begin, at_ - name_begin));
      if (symbol.empty()) return Fail("expected a symbol");
      std::pair<int64_t, int64_t> range;
      SLIPWAY_RETURN_IF_ERROR(Expect('='));
      SLIPWAY_RETURN_IF_ERROR(Expect('['));
      SLIPWAY_ASSIGN_OR_RETURN(range.first, Integer());
      SLIPWAY_RETURN_IF_ERROR(Expect(','));
      SLIPWAY_ASSIGN_OR_RETURN(range.second, Integer());
      SLIPWAY_RETURN_IF_ERROR(Expect(']'));
      if (range.first > range.second)
        return FailAt(name_begin, "the range of '" + symbol + "' is empty");
      graph.symbol_ranges[symbol] = range;
      return OkStatus();
    }
    return FailAt(begin,
                  "expected input, const, output, meta, range, a node '%y = Op(...)' or '}'");
  }

  Status ParseNode(Graph& graph, int depth) {
    Graph::NodeSpec spec;
    spec.outputs.clear();
    std::vector<Type> types;
    if (!Peek('=')) {
      do {
        types.emplace_back();
        if (TakeWord("_")) {
          spec.outputs.push_back("-");
          continue;
        }
        Skip();
        const size_t begin = at_;
        SLIPWAY_ASSIGN_OR_RETURN(std::string name, NewName(graph));
        for (const std::string& other : spec.outputs) {
          if (other == name) return FailAt(begin, "'%" + name + "' is defined twice");
        }
        spec.outputs.push_back(std::move(name));
        if (Take(':')) {
          SLIPWAY_ASSIGN_OR_RETURN(types.back(), ParseType());
        }
      } while (Take(','));
    }
    SLIPWAY_RETURN_IF_ERROR(Expect('='));
    Skip();
    const size_t op_begin = at_;
    while (at_ < text_.size() &&
           (Letter(text_[at_]) || Digit(text_[at_]) || text_[at_] == '.' || text_[at_] == '-'))
      ++at_;
    const std::string_view full = text_.substr(op_begin, at_ - op_begin);
    const size_t dot = full.rfind('.');
    spec.op = dot == std::string_view::npos ? full : full.substr(dot + 1);
    if (dot != std::string_view::npos) spec.domain = full.substr(0, dot);
    if (spec.op.empty()) return FailAt(op_begin, "expected an operator");
    SLIPWAY_RETURN_IF_ERROR(Expect('('));
    if (!Take(')')) {
      do {
        if (TakeWord("_")) {
          spec.inputs.push_back(nullptr);
          continue;
        }
        SLIPWAY_ASSIGN_OR_RETURN(Value * v, ExistingValue(graph));
        spec.inputs.push_back(v);
      } while (Take(','));
      SLIPWAY_RETURN_IF_ERROR(Expect(')'));
    }
    SLIPWAY_RETURN_IF_ERROR(ParseAttributes(FindOp(spec.domain, spec.op), spec.attributes));
    Skip();
    const size_t name_begin = at_;
    if (Peek('"')) {
      SLIPWAY_ASSIGN_OR_RETURN(spec.name, String());
      if (graph.FindNode(spec.name))
        return FailAt(name_begin, "two nodes are named '" + spec.name + "'");
    }
    std::vector<std::string> sources;
    if (TakeWord("from")) {
      SLIPWAY_RETURN_IF_ERROR(Expect('['));
      do {
        SLIPWAY_ASSIGN_OR_RETURN(std::string s, String());
        sources.push_back(std::move(s));
      } while (Take(','));
      SLIPWAY_RETURN_IF_ERROR(Expect(']'));
    }
    std::map<std::string, std::unique_ptr<Graph>> bodies;
    while (TakeWord("body")) {
      SLIPWAY_ASSIGN_OR_RETURN(const std::string key, String());
      if (bodies.count(key)) return Fail("body '" + key + "' is given twice");
      SLIPWAY_ASSIGN_OR_RETURN(bodies[key], ParseGraph(depth + 1));
    }
    Node* node = graph.AddNode(std::move(spec));
    node->sources = std::move(sources);
    node->subgraphs = std::move(bodies);
    for (size_t i = 0; i < types.size(); ++i) {
      if (node->outputs()[i]) node->outputs()[i]->set_type(std::move(types[i]));
    }
    return OkStatus();
  }

  std::string_view text_;
  size_t at_ = 0;
  int64_t total_ = 0;
};

}  // namespace

Result<std::unique_ptr<Graph>> ParseText(std::string_view text) {
  if (text.size() > kMaxText)
    return ResourceExhausted("the text is longer than " + std::to_string(kMaxText) + " bytes");
  return Parser(text).Run();
}

Result<Type> ParseTypeText(std::string_view text) {
  if (text.size() > 10'000) return InvalidArgument("the type is longer than 10000 bytes");
  return Parser(text).RunType();
}

}  // namespace slipway::ir
