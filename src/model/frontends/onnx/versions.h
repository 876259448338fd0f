#pragma once
// What each opset of the default domain has: since when an operator exists, and since when for an
// element type (https://github.com/onnx/onnx/blob/main/docs/Changelog.md).

#include <string_view>

#include "base/dtype.h"

namespace slipway::onnx {

// The opset that introduced an operator with the meaning that it has in the IR, of those after 11;
// 11 for all older ones.
int SinceOpset(std::string_view op);

// Since when any value may have this type: 13 for bfloat16, 21 for int4; 11 for the old ones.
int SinceOpset(DType dtype);

// What to do with an operator whose data has a type that it takes only from `before` on.
struct TypeRule {
  int before = 0;  // 0: every opset from 11 on takes the type
  // Computing in this type gives the same result (floats: rounded once more); kUndefined: there is
  // none.
  DType via = DType::kUndefined;
};
TypeRule RuleFor(std::string_view op, DType data);

}  // namespace slipway::onnx
