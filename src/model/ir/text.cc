#include "model/ir/text.h"

#include <charconv>
#include <cmath>
#include <cstring>

#include "base/hash.h"

namespace slipway::ir {
namespace {

constexpr int64_t kListedElements = 16;

bool PlainName(std::string_view name) {
  for (char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '.' || c == '/' || c == ':' || c == '-';
    if (!plain) return false;
  }
  // A trailing ':' would be read together with the type's.
  return !name.empty() && name.back() != ':';
}

std::string Quoted(std::string_view s) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (char c : s) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (u < 0x20 || u == 0x7f) {
      out += "\\x";
      out += kHex[u >> 4];
      out += kHex[u & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string Name(const Value* v) {
  if (!v) return "_";
  return "%" + (PlainName(v->name()) ? v->name() : Quoted(v->name()));
}

// The shortest text that reads back exactly and is recognisably no integer.
template <typename T>
std::string Float(T v) {
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), v).ptr;
  std::string s(buffer, end);
  if (s.find_first_of(".en") == std::string::npos) s += ".0";
  return s;
}

template <typename T, typename F>
std::string List(const std::vector<T>& values, const char* empty, F&& print) {
  if (values.empty()) return empty;
  std::string s = "[";
  for (size_t i = 0; i < values.size(); ++i) s += (i ? ", " : "") + print(values[i]);
  return s + "]";
}

std::string Print(const AttributeValue& value) {
  struct Visitor {
    std::string operator()(int64_t v) const { return std::to_string(v); }
    std::string operator()(float v) const { return Float(v); }
    std::string operator()(const std::string& v) const { return Quoted(v); }
    std::string operator()(const std::vector<int64_t>& v) const {
      return List(v, "ints[]", [](int64_t x) { return std::to_string(x); });
    }
    std::string operator()(const std::vector<float>& v) const {
      return List(v, "floats[]", [](float x) { return Float(x); });
    }
    std::string operator()(const std::vector<std::string>& v) const {
      return List(v, "strings[]", [](const std::string& x) { return Quoted(x); });
    }
  };
  return std::visit(Visitor(), value);
}

std::string Base64(std::span<const uint8_t> bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = static_cast<uint32_t>(bytes[i]) << 16;
    if (n > 1) word |= static_cast<uint32_t>(bytes[i + 1]) << 8;
    if (n > 2) word |= bytes[i + 2];
    out += kDigits[word >> 18];
    out += kDigits[(word >> 12) & 63];
    out += n > 1 ? kDigits[(word >> 6) & 63] : '=';
    out += n > 2 ? kDigits[word & 63] : '=';
  }
  return out;
}

template <typename T>
bool AppendElements(const Tensor& t, std::string& out) {
  for (int64_t i = 0; i < t.count(); ++i) {
    T v;
    std::memcpy(&v, t.bytes().data() + static_cast<size_t>(i) * sizeof(T), sizeof(T));
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(v)) return false;  // its payload would be lost
      out += (i ? ", " : "") + Float(v);
    } else {
      out += (i ? ", " : "") + std::to_string(v);
    }
  }
  return true;
}

std::string PrintTensor(const Tensor& t, const TextOptions& options) {
  if (options.max_constant_elements >= 0 && t.count() > options.max_constant_elements) {
    return "elided(" + ToHex(Sha256Of(t.bytes())).substr(0, 16) + ")";
  }
  if (t.count() <= kListedElements) {
    std::string list;
    bool listed = false;
    switch (t.dtype()) {
      case DType::kFloat32:
        listed = AppendElements<float>(t, list);
        break;
      case DType::kFloat64:
        listed = AppendElements<double>(t, list);
        break;
      case DType::kInt8:
        listed = AppendElements<int8_t>(t, list);
        break;
      case DType::kUInt8:
      case DType::kBool:
        listed = AppendElements<uint8_t>(t, list);
        break;
      case DType::kInt16:
        listed = AppendElements<int16_t>(t, list);
        break;
      case DType::kUInt16:
        listed = AppendElements<uint16_t>(t, list);
        break;
      case DType::kInt32:
        listed = AppendElements<int32_t>(t, list);
        break;
      case DType::kUInt32:
        listed = AppendElements<uint32_t>(t, list);
        break;
      case DType::kInt64:
        listed = AppendElements<int64_t>(t, list);
        break;
      case DType::kUInt64:
        listed = AppendElements<uint64_t>(t, list);
        break;
      default:
        break;
    }
    if (listed) return "[" + list + "]";
  }
  return "base64\"" + Base64(t.bytes()) + "\"";
}

class Printer {
 public:
  explicit Printer(const TextOptions& options) : options_(options) {}

  void Print(const Graph& graph, const std::string& indent) {
    const std::string in = indent + "  ";
    out_ += "graph " + Quoted(graph.name) + " {\n";
    for (const auto& [key, value] : graph.metadata)
      out_ += in + "meta " + Quoted(key) + " = " + Quoted(value) + "\n";
    for (const auto& [symbol, range] : graph.symbol_ranges) {
      out_ += in + "range " + Dim::Symbol(symbol).ToString() + " = [" +
              std::to_string(range.first) + ", " + std::to_string(range.second) + "]\n";
    }
    for (const Value* v : graph.inputs())
      out_ += in + "input " + Name(v) + TypeOf(*v, false) + "\n";
    for (const auto& v : graph.values()) {
      if (!v->is_constant()) continue;
      out_ += in + "const " + Name(v.get()) + TypeOf(*v, true) + " = " +
              PrintTensor(*v->constant(), options_) + "\n";
    }
    for (const auto& node : graph.nodes()) PrintNode(*node, in);
    for (const Value* v : graph.outputs()) out_ += in + "output " + Name(v) + "\n";
    out_ += indent + "}";
  }
  std::string Take() { return std::move(out_) + "\n"; }

 private:
  std::string TypeOf(const Value& v, bool always) const {
    if (!options_.types && !always && v.producer()) return "";
    if (v.dtype() == DType::kUndefined && !v.type().shape) return "";
    return ": " + v.type().ToString();
  }

  void PrintNode(const Node& node, const std::string& in) {
    out_ += in;
    for (size_t i = 0; i < node.outputs().size(); ++i) {
      const Value* v = node.outputs()[i];
      out_ += (i ? ", " : "") + Name(v) + (v ? TypeOf(*v, false) : "");
    }
    out_ += (node.outputs().empty() ? "= " : " = ") + node.FullOp() + "(";
    for (size_t i = 0; i < node.inputs().size(); ++i)
      out_ += (i ? ", " : "") + Name(node.inputs()[i]);
    out_ += ")";
    if (!node.attributes.empty()) {
      const char* separator = " {";
      for (const auto& [key, value] : node.attributes.entries()) {
        out_ += separator + (PlainName(key) ? key : Quoted(key)) + " = " + ir::Print(value);
        separator = ", ";
      }
      out_ += "}";
    }
    if (!node.name().empty()) out_ += " " + Quoted(node.name());
    if (!node.sources.empty()) {
      out_ += " from " + List(node.sources, "[]", [](const std::string& s) { return Quoted(s); });
    }
    for (const auto& [key, body] : node.subgraphs) {
      out_ += " body " + Quoted(key) + " ";
      Print(*body, in);
    }
    out_ += "\n";
  }

  const TextOptions& options_;
  std::string out_;
};

}  // namespace

std::string ToText(const Graph& graph, const TextOptions& options) {
  Printer printer(options);
  printer.Print(graph, "");
  return printer.Take();
}

}  // namespace slipway::ir
