#include "model/frontends/caffe/text_format.h"

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace slipway::caffe {
namespace {

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
// Dots and slashes belong to the names of extensions and Any types in brackets; inside a number,
// the sign of an exponent is handled by its reader.
bool IsNameChar(char c) { return IsNameStart(c) || IsDigit(c); }

class Parser {
 public:
  Parser(std::string_view text, const TextLimits& limits) : text_(text), limits_(limits) {}

  Result<std::unique_ptr<Message>> Run() {
    if (text_.size() > limits_.bytes) {
      return ResourceExhausted("the text has " + std::to_string(text_.size()) +
                               " bytes; the limit is " + std::to_string(limits_.bytes));
    }
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;
    auto root = std::make_unique<Message>();
    root->line = 1;
    SLIPWAY_RETURN_IF_ERROR(Fields(root.get(), '\0', 0));
    return root;
  }

 private:
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool AtEnd() const { return at_ >= text_.size(); }
  void Skip() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == '\n') {
        ++line_;
        ++at_;
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f') {
        ++at_;
      } else {
        return;
      }
    }
  }
  Status Fail(const std::string& what) const {
    return InvalidArgument("line " + std::to_string(line_) + ": " + what);
  }
  std::string Here() const {
    if (AtEnd()) return "the end of the file";
    const char c = text_[at_];
    if (c < 0x20 || c > 0x7e) return "byte " + std::to_string(static_cast<uint8_t>(c));
    return std::string("'") + c + "'";
  }

  Status Fields(Message* into, char close, int depth) {
    if (depth > limits_.depth) {
      return Fail("messages are nested deeper than " + std::to_string(limits_.depth) + " levels");
    }
    const int opened = line_;
    for (;;) {
      Skip();
      if (AtEnd()) {
        if (close == '\0') return OkStatus();
        return Fail("the message opened on line " + std::to_string(opened) + " is not closed");
      }
      if (close != '\0' && Peek() == close) {
        ++at_;
        return OkStatus();
      }
      if (!IsNameStart(Peek())) return Fail("expected a field name, found " + Here());
      const size_t start = at_;
      while (at_ < text_.size() && IsNameChar(text_[at_])) ++at_;
      SLIPWAY_RETURN_IF_ERROR(FieldOf(into, text_.substr(start, at_ - start), depth));
      Skip();
      if (Peek() == ',' || Peek() == ';') ++at_;
    }
  }

  Status FieldOf(Message* into, std::string_view name, int depth) {
    Skip();
    const bool colon = Peek() == ':';
    if (colon) {
      ++at_;
      Skip();
    }
    if (Peek() == '{' || Peek() == '<') return Value(into, name, depth);
    if (!colon) {
      return Fail("after '" + std::string(name) + "' expected ':' or '{', found " + Here());
    }
    if (Peek() != '[') return Value(into, name, depth);
    ++at_;
    Skip();
    if (Peek() == ']') {
      ++at_;
      return OkStatus();
    }
    for (;;) {
      Skip();
      SLIPWAY_RETURN_IF_ERROR(Value(into, name, depth));
      Skip();
      const char c = Peek();
      if (c != ',' && c != ']') {
        return Fail("in the list of '" + std::string(name) + "' expected ',' or ']', found " +
                    Here());
      }
      ++at_;
      if (c == ']') return OkStatus();
    }
  }

  Status Value(Message* into, std::string_view name, int depth) {
    if (++count_ > limits_.fields) {
      return ResourceExhausted("line " + std::to_string(line_) + ": more than " +
                               std::to_string(limits_.fields) + " fields");
    }
    TextField field;
    field.name = std::string(name);
    field.line = line_;
    const char c = Peek();
    if (c == '{' || c == '<') {
      ++at_;
      field.message = std::make_unique<Message>();
      field.message->line = line_;
      SLIPWAY_RETURN_IF_ERROR(Fields(field.message.get(), c == '{' ? '}' : '>', depth + 1));
    } else if (c == '"' || c == '\'') {
      field.quoted = true;
      while (Peek() == '"' || Peek() == '\'') {  // adjacent literals are one string
        SLIPWAY_RETURN_IF_ERROR(String(&field.text));
        Skip();
      }
    } else {
      SLIPWAY_RETURN_IF_ERROR(Scalar(name, &field.text));
    }
    into->fields.push_back(std::move(field));
    return OkStatus();
  }

  Status Scalar(std::string_view name, std::string* out) {
    if (Peek() == '-') {
      out->push_back('-');
      ++at_;
      Skip();
    }
    const size_t start = at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      const bool sign = (c == '+' || c == '-') && at_ > start &&
                        (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E') &&
                        (IsDigit(text_[start]) || text_[start] == '.');
      if (!IsNameChar(c) && c != '.' && !sign) break;
      ++at_;
    }
    if (at_ == start) {
      return Fail("expected a value for '" + std::string(name) + "', found " + Here());
    }
    out->append(text_.substr(start, at_ - start));
    return OkStatus();
  }

  Status String(std::string* out) {
    const char quote = text_[at_++];
    for (;;) {
      if (AtEnd() || text_[at_] == '\n') return Fail("a string is not closed");
      const char c = text_[at_++];
      if (c == quote) return OkStatus();
      if (c != '\\') {
        out->push_back(c);
        continue;
      }
      if (AtEnd()) return Fail("a string is not closed");
      const char e = text_[at_++];
      constexpr std::string_view kFrom = "abfnrtv\\'\"?";
      constexpr std::string_view kTo = "\a\b\f\n\r\t\v\\'\"?";
      if (const size_t i = kFrom.find(e); i != std::string_view::npos) {
        out->push_back(kTo[i]);
      } else if (e >= '0' && e <= '7') {
        int value = e - '0';
        for (int i = 0; i < 2 && Peek() >= '0' && Peek() <= '7'; ++i)
          value = value * 8 + (text_[at_++] - '0');
        out->push_back(static_cast<char>(value));
      } else if (e == 'x' || e == 'X') {
        int value = 0, digits = 0;
        for (; digits < 2 && std::isxdigit(static_cast<unsigned char>(Peek())); ++digits) {
          const char h = text_[at_++];
          value = value * 16 + (IsDigit(h) ? h - '0' : (h | 0x20) - 'a' + 10);
        }
        if (digits == 0) return Fail("\\x without digits in a string");
        out->push_back(static_cast<char>(value));
      } else {
        return Fail(std::string("unknown escape \\") + e + " in a string");
      }
    }
  }

  std::string_view text_;
  const TextLimits& limits_;
  size_t at_ = 0, count_ = 0;
  int line_ = 1;
};

void Print(const Message& m, int level, std::string* out) {
  const std::string indent(static_cast<size_t>(level) * 2, ' ');
  for (const TextField& f : m.fields) {
    *out += indent + f.name;
    if (f.message) {
      *out += " {\n";
      Print(*f.message, level + 1, out);
      *out += indent + "}\n";
      continue;
    }
    *out += ": ";
    if (!f.quoted) {
      *out += f.text + "\n";
      continue;
    }
    *out += '"';
    for (const char c : f.text) {
      if (c == '"' || c == '\\') {
        *out += '\\';
        *out += c;
      } else if (c == '\n') {
        *out += "\\n";
      } else if (static_cast<unsigned char>(c) < 0x20) {
        char escape[8];
        std::snprintf(escape, sizeof(escape), "\\%03o", static_cast<unsigned>(c));
        *out += escape;
      } else {
        *out += c;
      }
    }
    *out += "\"\n";
  }
}

}  // namespace

const TextField* Message::Find(std::string_view name) const {
  for (auto it = fields.rbegin(); it != fields.rend(); ++it) {
    if (it->name == name) return &*it;
  }
  return nullptr;
}

const Message* Message::Sub(std::string_view name) const {
  const TextField* f = Find(name);
  return f ? f->message.get() : nullptr;
}

TextField& Message::Add(std::string_view name, std::string text, bool quoted) {
  TextField& f = fields.emplace_back();
  f.name = std::string(name);
  f.text = std::move(text);
  f.quoted = quoted;
  return f;
}

Message& Message::AddMessage(std::string_view name) {
  TextField& f = Add(name, "");
  f.message = std::make_unique<Message>();
  return *f.message;
}

Result<std::unique_ptr<Message>> ParseText(std::string_view text, const TextLimits& limits) {
  return Parser(text, limits).Run();
}

std::string PrintText(const Message& message) {
  std::string out;
  Print(message, 0, &out);
  return out;
}

bool ReadInt(const TextField& f, int64_t* out) {
  if (f.message || f.quoted || f.text.empty()) return false;
  errno = 0;
  char* end = nullptr;
  const char* start = f.text.c_str();
  const char* digits = start + (*start == '-');
  if (!IsDigit(*digits)) return false;
  const bool hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
  const bool octal = !hex && digits[0] == '0' && digits[1] != '\0';
  *out = std::strtoll(start, &end, hex ? 16 : octal ? 8 : 10);
  return *end == '\0' && errno == 0;
}

bool ReadDouble(const TextField& f, double* out) {
  if (f.message || f.quoted || f.text.empty()) return false;
  const char* start = f.text.c_str();
  char* end = nullptr;
  *out = std::strtod(start, &end);
  if (end == start) return false;
  if ((*end == 'f' || *end == 'F') && IsDigit(end[-1] == '.' ? '0' : end[-1])) ++end;
  return *end == '\0';
}

bool ReadBool(const TextField& f, bool* out) {
  if (f.message || f.quoted) return false;
  const std::string& t = f.text;
  if (t == "true" || t == "True" || t == "t" || t == "1") {
    *out = true;
    return true;
  }
  if (t == "false" || t == "False" || t == "f" || t == "0") {
    *out = false;
    return true;
  }
  return false;
}

}  // namespace slipway::caffe
