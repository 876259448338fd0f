#pragma once
// The protobuf text format (https://protobuf.dev/reference/protobuf/textformat-spec/) as a tree of
// fields, without knowing any message: what a .prototxt holds. Bytes come from outside: size,
// number of fields and depth are bounded.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace slipway::caffe {

struct Message;

// One field as written. A list (`dim: [1, 2]`) arrives as several fields of the same name.
struct TextField {
  std::string name;
  std::string text;                  // a scalar: number or identifier as written, string unescaped
  std::unique_ptr<Message> message;  // of a message field; then `text` is empty
  int line = 0;
  bool quoted = false;  // `text` was a string literal
};

struct Message {
  std::vector<TextField> fields;
  int line = 0;

  // The last field of that name (protobuf: the last one wins), or null.
  const TextField* Find(std::string_view name) const;
  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  // The sub-message of that name, or null when absent or a scalar.
  const Message* Sub(std::string_view name) const;
  TextField& Add(std::string_view name, std::string text, bool quoted = false);
  Message& AddMessage(std::string_view name);
};

struct TextLimits {
  size_t bytes = size_t{64} << 20;
  size_t fields = 1'000'000;
  int depth = 64;
};

// Errors name the line: InvalidArgument (syntax, depth), ResourceExhausted (size, number of
// fields).
Result<std::unique_ptr<Message>> ParseText(std::string_view text, const TextLimits& limits = {});

// The text of a message, two spaces a level.
std::string PrintText(const Message& message);

// Scalars as protobuf reads them; false when the text is no such value (or does not fit).
bool ReadInt(const TextField& field, int64_t* out);
bool ReadDouble(const TextField& field, double* out);
bool ReadBool(const TextField& field, bool* out);

}  // namespace slipway::caffe
