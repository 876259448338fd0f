#include "engine/format/op_desc.h"

#include <cstring>

#include "engine/format/op_desc_generated.h"

namespace slipway::format {
namespace {

// The indices of AttributeValue's alternatives, as stored.
enum Kind : uint8_t { kInt = 0, kFloat = 1, kString = 2, kInts = 3, kFloats = 4, kStrings = 5 };

constexpr size_t kMaxBytes = size_t{1} << 28;

std::string Text(const flatbuffers::String* s) { return s ? s->str() : std::string(); }

}  // namespace

std::vector<uint8_t> EncodeOp(const OpDesc& op) {
  flatbuffers::FlatBufferBuilder b;
  std::vector<flatbuffers::Offset<fb::Attribute>> attributes;
  for (const auto& [name, value] : op.attributes.entries()) {
    auto fb_name = b.CreateString(name);
    flatbuffers::Offset<flatbuffers::String> s;
    flatbuffers::Offset<flatbuffers::Vector<int64_t>> ints;
    flatbuffers::Offset<flatbuffers::Vector<float>> floats;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> strings;
    if (const auto* v = std::get_if<std::string>(&value)) s = b.CreateString(*v);
    if (const auto* v = std::get_if<std::vector<int64_t>>(&value)) ints = b.CreateVector(*v);
    if (const auto* v = std::get_if<std::vector<float>>(&value)) floats = b.CreateVector(*v);
    if (const auto* v = std::get_if<std::vector<std::string>>(&value)) strings = b.CreateVectorOfStrings(*v);
    fb::AttributeBuilder a(b);
    a.add_name(fb_name);
    a.add_kind(static_cast<uint8_t>(value.index()));
    if (const auto* v = std::get_if<int64_t>(&value)) a.add_i(*v);
    if (const auto* v = std::get_if<float>(&value)) a.add_f(*v);
    a.add_s(s);
    a.add_ints(ints);
    a.add_floats(floats);
    a.add_strings(strings);
    attributes.push_back(a.Finish());
  }
  auto domain = b.CreateString(op.domain);
  auto name = b.CreateString(op.op);
  auto list = b.CreateVector(attributes);
  b.Finish(fb::CreateOpDesc(b, domain, name, list));
  return {b.GetBufferPointer(), b.GetBufferPointer() + b.GetSize()};
}

Result<OpDesc> DecodeOp(std::span<const uint8_t> bytes) {
  constexpr char kRemedy[] = "; compile the package again";
  if (bytes.size() < 8 || bytes.size() > kMaxBytes) {
    return DataLoss("operator description of " + std::to_string(bytes.size()) + " bytes" + kRemedy);
  }
  // FlatBuffers reads 8-byte numbers in place.
  std::vector<uint64_t> aligned;
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 8 != 0) {
    aligned.resize((bytes.size() + 7) / 8);
    std::memcpy(aligned.data(), bytes.data(), bytes.size());
    bytes = {reinterpret_cast<const uint8_t*>(aligned.data()), bytes.size()};
  }
  flatbuffers::Verifier verifier(bytes.data(), bytes.size(), /*max_depth=*/8, /*max_tables=*/10000);
  if (!verifier.VerifyBuffer<fb::OpDesc>(nullptr)) return DataLoss(std::string("malformed operator description") + kRemedy);
  const auto* op = flatbuffers::GetRoot<fb::OpDesc>(bytes.data());
  OpDesc out{Text(op->domain()), Text(op->op()), {}};
  if (out.op.empty()) return DataLoss(std::string("operator description without a name") + kRemedy);
  if (!op->attributes()) return out;
  for (const fb::Attribute* a : *op->attributes()) {
    std::string name = Text(a->name());
    if (name.empty()) return DataLoss("operator " + out.op + " has an attribute without a name" + kRemedy);
    ops::AttributeValue value;
    switch (a->kind()) {
      case kInt: value = a->i(); break;
      case kFloat: value = a->f(); break;
      case kString: value = Text(a->s()); break;
      case kInts: {
        // The verifier lets 8-byte elements lie at multiples of 4.
        std::vector<int64_t> v(a->ints() ? a->ints()->size() : 0);
        if (!v.empty()) std::memcpy(v.data(), a->ints()->Data(), v.size() * sizeof(int64_t));
        value = std::move(v);
        break;
      }
      case kFloats: {
        std::vector<float> v;
        if (a->floats()) v.assign(a->floats()->begin(), a->floats()->end());
        value = std::move(v);
        break;
      }
      case kStrings: {
        std::vector<std::string> v;
        if (a->strings()) {
          for (const auto* s : *a->strings()) v.push_back(s->str());
        }
        value = std::move(v);
        break;
      }
      default:
        return DataLoss("operator " + out.op + ", attribute '" + name + "': unknown kind " + std::to_string(a->kind()) + kRemedy);
    }
    out.attributes.Set(name, std::move(value));
  }
  return out;
}

}  // namespace slipway::format
