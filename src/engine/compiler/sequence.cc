#include "engine/compiler/sequence.h"

#include <algorithm>
#include <string_view>

namespace slipway::compiler {
namespace {

using format::SequenceOp;

struct Row {
  std::string_view op;
  SequenceOp to;
};
constexpr Row kRows[] = {
    {"SequenceEmpty", SequenceOp::kConstruct},
    {"SequenceConstruct", SequenceOp::kConstruct},
    {"SequenceInsert", SequenceOp::kInsert},
    {"SequenceErase", SequenceOp::kErase},
    {"SequenceAt", SequenceOp::kAt},
    {"SequenceLength", SequenceOp::kLength},
    {"SplitToSequence", SequenceOp::kSplit},
    {"ConcatFromSequence", SequenceOp::kConcat},
    {"Optional", SequenceOp::kOptional},
    {"OptionalHasElement", SequenceOp::kHasElement},
    {"OptionalGetElement", SequenceOp::kGetElement},
};

const Row* FindRow(const ir::Node& node) {
  if (!node.domain().empty()) return nullptr;
  const auto* row = std::find_if(std::begin(kRows), std::end(kRows),
                                 [&](const Row& r) { return r.op == node.op(); });
  return row == std::end(kRows) ? nullptr : row;
}

bool IsIdentity(const ir::Node& node) {
  return node.Is("Identity") && node.input(0) && node.input(0)->type().is_container();
}

}  // namespace

static_assert(static_cast<int>(ir::Container::kSequence) ==
                  static_cast<int>(format::Container::kSequence) &&
              static_cast<int>(ir::Container::kOptional) ==
                  static_cast<int>(format::Container::kOptional) &&
              static_cast<int>(ir::Container::kOptionalSequence) ==
                  static_cast<int>(format::Container::kOptionalSequence));

format::Container ContainerOf(const ir::Value& value) {
  return static_cast<format::Container>(value.type().container);
}

bool IsSequenceNode(const ir::Node& node) { return FindRow(node) || IsIdentity(node); }

Result<format::PackageSequence> DescribeSequence(const ir::Node& node) {
  const Row* row = FindRow(node);
  format::PackageSequence s;
  s.op = row ? row->to : SequenceOp::kIdentity;
  const ir::Value* y = node.output();
  const bool pieces = s.op == SequenceOp::kSplit || s.op == SequenceOp::kConcat;
  if (pieces && y && DTypeBits(y->dtype()) < 8)
    return Unsupported(node.Describe() + ": pieces of " + DTypeName(y->dtype()) +
                       ", whose elements share bytes; cast before");
  s.keepdims = node.attributes.Int("keepdims", 1) != 0;
  s.new_axis = node.attributes.Int("new_axis", 0) != 0;
  const int64_t axis = node.attributes.Int("axis", 0);
  if (axis < -kMaxRank || axis > kMaxRank)
    return InvalidArgument(node.Describe() + ": axis " + std::to_string(axis) +
                           " is outside of every rank");
  s.axis = static_cast<int>(axis);
  return s;
}

}  // namespace slipway::compiler
