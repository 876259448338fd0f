#pragma once
// Mutates a protobuf message without breaking its lengths: fields are taken apart along the nesting
// of ONNX's messages, one is changed, dropped, doubled or moved, and the message is put together
// again. Plain byte flips mostly end in "truncated"; these reach the importer behind the reader.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "model/frontends/wire.h"

namespace slipway::onnx {

using wire::Field;
using wire::WireReader;
using wire::WireType;
using wire::WireWriter;

class WireMutator {
 public:
  explicit WireMutator(uint32_t seed) : random_(seed) {}

  // The mutated message; the input itself when it is no message.
  std::vector<uint8_t> Mutate(std::span<const uint8_t> message) {
    std::vector<Part> parts;
    if (!Parse(message, kModel, &parts)) return {message.begin(), message.end()};
    Collect(parts);
    for (int i = 0, count = 1 + Below(3); i < count && !lists_.empty(); ++i) Change();
    WireWriter out;
    Write(parts, &out);
    return out.Finish();
  }

 private:
  enum Kind : uint8_t {
    kLeaf,
    kModel,
    kGraph,
    kNode,
    kAttribute,
    kTensor,
    kValue,
    kType,
    kTensorType,
    kShape,
    kDim,
    kOpset
  };
  struct Part {
    uint32_t id = 0;
    WireType type = WireType::kVarint;
    uint64_t number = 0;
    std::string bytes;
    Kind kind = kLeaf;
    std::vector<Part> parts;
  };

  // What field `id` of a message of this kind holds.
  static Kind Child(Kind kind, uint32_t id) {
    switch (kind) {
      case kModel:
        return id == 7 ? kGraph : id == 8 ? kOpset : kLeaf;
      case kGraph:
        return id == 1 ? kNode : id == 5 ? kTensor : id >= 11 && id <= 13 ? kValue : kLeaf;
      case kNode:
        return id == 5 ? kAttribute : kLeaf;
      case kAttribute:
        return id == 5 ? kTensor : kLeaf;
      case kValue:
        return id == 2 ? kType : kLeaf;
      case kType:
        return id == 1 ? kTensorType : kLeaf;
      case kTensorType:
        return id == 2 ? kShape : kLeaf;
      case kShape:
        return id == 1 ? kDim : kLeaf;
      default:
        return kLeaf;
    }
  }

  static bool Parse(std::span<const uint8_t> message, Kind kind, std::vector<Part>* out) {
    WireReader reader(message);
    Field f;
    while (reader.Next(&f)) {
      Part part{f.id, f.type, f.number, std::string(f.Text()), kLeaf, {}};
      const Kind child = f.type == WireType::kBytes ? Child(kind, f.id) : kLeaf;
      if (child != kLeaf && Parse(f.bytes, child, &part.parts)) part.kind = child;
      out->push_back(std::move(part));
    }
    return reader.status().ok();
  }

  static void Write(const std::vector<Part>& parts, WireWriter* out) {
    for (const Part& p : parts) {
      if (p.kind != kLeaf) {
        WireWriter inner;
        Write(p.parts, &inner);
        out->Message(p.id, inner);
      } else if (p.type == WireType::kBytes) {
        out->Text(p.id, p.bytes);
      } else if (p.type == WireType::kFixed32) {
        out->Float(p.id, std::bit_cast<float>(static_cast<uint32_t>(p.number)));
      } else {
        out->Int(p.id, static_cast<int64_t>(p.number));
      }
    }
  }

  // Lists of fields that can be edited, and strings of the file to put elsewhere: names that fit
  // together.
  void Collect(std::vector<Part>& parts) {
    if (!parts.empty()) lists_.push_back(&parts);
    for (Part& p : parts) {
      if (p.kind != kLeaf)
        Collect(p.parts);
      else if (p.type == WireType::kBytes && p.bytes.size() < 40)
        strings_.push_back(p.bytes);
    }
  }

  void Change() {
    std::vector<Part>& list = *lists_[static_cast<size_t>(Below(static_cast<int>(lists_.size())))];
    if (list.empty()) return;
    const auto at = static_cast<size_t>(Below(static_cast<int>(list.size())));
    switch (Below(8)) {
      case 0:
        // Lists inside a dropped or copied field must not be edited afterwards.
        list.erase(list.begin() + static_cast<ptrdiff_t>(at));
        lists_.clear();
        return;
      case 1: {
        Part copy = list[at];
        list.insert(list.begin() + Below(static_cast<int>(list.size()) + 1), std::move(copy));
        lists_.clear();
        return;
      }
      case 2:
        std::swap(list[at], list[static_cast<size_t>(Below(static_cast<int>(list.size())))]);
        lists_.clear();
        return;
      default:
        Edit(list[at]);
    }
  }

  void Edit(Part& p) {
    if (p.kind != kLeaf) return;
    if (p.type == WireType::kBytes) {
      const int what = Below(4);
      if (what == 0 && !p.bytes.empty()) {
        p.bytes[static_cast<size_t>(Below(static_cast<int>(p.bytes.size())))] =
            static_cast<char>(random_());
      } else if (what == 1) {
        p.bytes.resize(static_cast<size_t>(Below(24)), static_cast<char>(random_()));
      } else if (what == 2) {
        p.bytes = Operator();
      } else if (!strings_.empty()) {
        p.bytes = strings_[static_cast<size_t>(Below(static_cast<int>(strings_.size())))];
      }
      return;
    }
    constexpr int64_t kNumbers[] = {0,
                                    1,
                                    2,
                                    3,
                                    4,
                                    5,
                                    6,
                                    7,
                                    8,
                                    9,
                                    10,
                                    11,
                                    13,
                                    16,
                                    17,
                                    18,
                                    21,
                                    22,
                                    -1,
                                    -2,
                                    -3,
                                    127,
                                    128,
                                    255,
                                    1000,
                                    65536,
                                    int64_t{1} << 31,
                                    (int64_t{1} << 31) - 1,
                                    int64_t{1} << 40,
                                    int64_t{1} << 62,
                                    INT64_MAX,
                                    INT64_MIN};
    if (Below(3) == 0)
      p.number += static_cast<uint64_t>(Below(5)) - 2;
    else
      p.number = static_cast<uint64_t>(
          kNumbers[static_cast<size_t>(Below(static_cast<int>(std::size(kNumbers))))]);
  }

  std::string Operator() {
#define SLIPWAY_OP(DOMAIN, NAME, I, O, F, A) #NAME,
    static constexpr const char* kOps[] = {
#include "model/ops/operators.inc"
        "Constant", "QuantizeLinear", "DequantizeLinear", "QLinearConv",  "QLinearMatMul",
        "Upsample", "CastLike",       "ReduceLogSumExp",  "ReduceLogSum", "IsNaN"};
#undef SLIPWAY_OP
    return kOps[static_cast<size_t>(Below(static_cast<int>(std::size(kOps))))];
  }

  int Below(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }

  std::minstd_rand random_;
  std::vector<std::vector<Part>*> lists_;
  std::vector<std::string> strings_;
};

}  // namespace slipway::onnx
