#pragma once
// The protobuf wire format (https://protobuf.dev/programming-guides/encoding) over bytes that
// somebody else owns: a reader that trusts nothing and a writer that copies no large blob. Knows no
// message: onnx/proto.h and caffe/proto.h give the fields their meaning.

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace slipway::wire {

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// One field as it stands in the message. `number` holds varints and fixed values; `bytes` the
// length-delimited ones.
struct Field {
  uint32_t id = 0;
  WireType type = WireType::kVarint;
  uint64_t number = 0;
  std::span<const uint8_t> bytes;

  int64_t Int() const { return static_cast<int64_t>(number); }
  float Float() const { return std::bit_cast<float>(static_cast<uint32_t>(number)); }
  double Double() const { return std::bit_cast<double>(number); }
  std::string_view Text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

// Walks the fields of one message:  Field f; while (reader.Next(&f)) {...}  then status(). Errors
// (DataLoss): a field or number that runs past the end; (InvalidArgument) a group, an unknown wire
// type, field 0. The offset in messages counts from the start of `origin`.
class WireReader {
 public:
  explicit WireReader(std::span<const uint8_t> message)
      : p_(message.data()), end_(p_ + message.size()), begin_(p_) {}

  bool Next(Field* field);
  const Status& status() const { return status_; }
  size_t offset() const { return static_cast<size_t>(p_ - begin_); }

 private:
  bool Varint(uint64_t* out);
  bool Fail(StatusCode code, const char* what);

  const uint8_t* p_;
  const uint8_t* end_;
  const uint8_t* begin_;
  Status status_;
};

// A repeated scalar field arrives packed (one length-delimited run) or element by element; these
// call f(value) for each element in `field`, and return an error when the run is broken or the wire
// type does not fit.
template <typename F>
Status ForEachVarint(const Field& field, F&& f) {
  if (field.type == WireType::kVarint) {
    f(field.number);
    return OkStatus();
  }
  if (field.type != WireType::kBytes)
    return InvalidArgument("a repeated integer has the wrong wire type");
  const uint8_t* p = field.bytes.data();
  const uint8_t* end = p + field.bytes.size();
  while (p < end) {
    uint64_t value = 0;
    int shift = 0;
    for (;; ++p) {
      if (p == end || shift > 63) return DataLoss("a packed integer is cut off");
      value |= static_cast<uint64_t>(*p & 0x7f) << shift;
      shift += 7;
      if (!(*p & 0x80)) break;
    }
    ++p;
    f(value);
  }
  return OkStatus();
}

template <typename T, typename F>
Status ForEachFixed(const Field& field, F&& f) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  constexpr WireType kSingle = sizeof(T) == 4 ? WireType::kFixed32 : WireType::kFixed64;
  if (field.type == kSingle) {
    if constexpr (sizeof(T) == 4) {
      f(std::bit_cast<T>(static_cast<uint32_t>(field.number)));
    } else {
      f(std::bit_cast<T>(field.number));
    }
    return OkStatus();
  }
  if (field.type != WireType::kBytes)
    return InvalidArgument("a repeated number has the wrong wire type");
  if (field.bytes.size() % sizeof(T) != 0) return DataLoss("a packed number is cut off");
  for (size_t i = 0; i < field.bytes.size(); i += sizeof(T)) {
    T value;
    std::memcpy(&value, field.bytes.data() + i, sizeof(T));
    f(value);
  }
  return OkStatus();
}

// Builds one message. Blobs are kept by reference until Append() and must outlive the writer.
class WireWriter {
 public:
  void Int(uint32_t id, int64_t value);
  void Float(uint32_t id, float value);
  void Text(uint32_t id, std::string_view text);
  void Blob(uint32_t id, std::span<const uint8_t> bytes);  // by reference
  void Message(uint32_t id, const WireWriter& message);
  void PackedInts(uint32_t id, std::span<const int64_t> values);
  void PackedFloats(uint32_t id, std::span<const float> values);

  size_t size() const { return own_.size() + referenced_; }
  // Appends the whole message to `out`.
  void AppendTo(std::vector<uint8_t>* out) const;
  std::vector<uint8_t> Finish() const;

 private:
  struct Reference {
    size_t position;  // in own_
    std::span<const uint8_t> bytes;
  };
  void Tag(uint32_t id, WireType type);
  void Varint(uint64_t value);

  std::string own_;
  std::vector<Reference> references_;
  size_t referenced_ = 0;
};

}  // namespace slipway::wire
