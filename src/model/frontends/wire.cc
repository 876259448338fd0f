#include "model/frontends/wire.h"

namespace slipway::wire {

bool WireReader::Fail(StatusCode code, const char* what) {
  status_ = Status(code, std::string(what) + " at byte " + std::to_string(offset()));
  p_ = end_;
  return false;
}

bool WireReader::Varint(uint64_t* out) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (p_ == end_) return Fail(StatusCode::kDataLoss, "the message is cut off");
    const uint8_t byte = *p_++;
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (!(byte & 0x80)) {
      *out = value;
      return true;
    }
  }
  return Fail(StatusCode::kInvalidArgument, "a number is longer than ten bytes");
}

bool WireReader::Next(Field* field) {
  if (p_ == end_ || !status_.ok()) return false;
  uint64_t tag;
  if (!Varint(&tag)) return false;
  const uint64_t id = tag >> 3;
  if (id == 0 || id > 0x1fffffff)
    return Fail(StatusCode::kInvalidArgument, "an impossible field number");
  field->id = static_cast<uint32_t>(id);
  field->number = 0;
  field->bytes = {};
  const size_t left = static_cast<size_t>(end_ - p_);
  switch (tag & 7) {
    case 0:
      field->type = WireType::kVarint;
      return Varint(&field->number);
    case 1:
      field->type = WireType::kFixed64;
      if (left < 8) return Fail(StatusCode::kDataLoss, "the message is cut off");
      std::memcpy(&field->number, p_, 8);
      p_ += 8;
      return true;
    case 2: {
      field->type = WireType::kBytes;
      uint64_t length;
      if (!Varint(&length)) return false;
      if (length > static_cast<size_t>(end_ - p_))
        return Fail(StatusCode::kDataLoss, "the message is cut off");
      field->bytes = {p_, static_cast<size_t>(length)};
      p_ += length;
      return true;
    }
    case 5: {
      field->type = WireType::kFixed32;
      if (left < 4) return Fail(StatusCode::kDataLoss, "the message is cut off");
      uint32_t value;
      std::memcpy(&value, p_, 4);
      field->number = value;
      p_ += 4;
      return true;
    }
    default:
      return Fail(StatusCode::kInvalidArgument, "a group or an unknown wire type");
  }
}

void WireWriter::Varint(uint64_t value) {
  while (value >= 0x80) {
    own_.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  own_.push_back(static_cast<char>(value));
}

void WireWriter::Tag(uint32_t id, WireType type) {
  Varint(static_cast<uint64_t>(id) << 3 | static_cast<uint64_t>(type));
}

void WireWriter::Int(uint32_t id, int64_t value) {
  Tag(id, WireType::kVarint);
  Varint(static_cast<uint64_t>(value));
}

void WireWriter::Float(uint32_t id, float value) {
  Tag(id, WireType::kFixed32);
  own_.append(reinterpret_cast<const char*>(&value), 4);
}

void WireWriter::Text(uint32_t id, std::string_view text) {
  Tag(id, WireType::kBytes);
  Varint(text.size());
  own_ += text;
}

void WireWriter::Blob(uint32_t id, std::span<const uint8_t> bytes) {
  Tag(id, WireType::kBytes);
  Varint(bytes.size());
  if (bytes.size() < 64) {
    own_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return;
  }
  references_.push_back({own_.size(), bytes});
  referenced_ += bytes.size();
}

void WireWriter::Message(uint32_t id, const WireWriter& message) {
  Tag(id, WireType::kBytes);
  Varint(message.size());
  for (const Reference& r : message.references_) {
    references_.push_back({own_.size() + r.position, r.bytes});
  }
  referenced_ += message.referenced_;
  own_ += message.own_;
}

void WireWriter::PackedInts(uint32_t id, std::span<const int64_t> values) {
  WireWriter run;
  for (int64_t v : values) run.Varint(static_cast<uint64_t>(v));
  Message(id, run);
}

void WireWriter::PackedFloats(uint32_t id, std::span<const float> values) {
  Tag(id, WireType::kBytes);
  Varint(values.size() * 4);
  own_.append(reinterpret_cast<const char*>(values.data()), values.size() * 4);
}

void WireWriter::AppendTo(std::vector<uint8_t>* out) const {
  out->reserve(out->size() + size());
  size_t done = 0;
  for (const Reference& r : references_) {
    out->insert(out->end(), own_.begin() + static_cast<ptrdiff_t>(done),
                own_.begin() + static_cast<ptrdiff_t>(r.position));
    out->insert(out->end(), r.bytes.begin(), r.bytes.end());
    done = r.position;
  }
  out->insert(out->end(), own_.begin() + static_cast<ptrdiff_t>(done), own_.end());
}

std::vector<uint8_t> WireWriter::Finish() const {
  std::vector<uint8_t> out;
  AppendTo(&out);
  return out;
}

}  // namespace slipway::wire
