#pragma once
// The options of custom operators: a FlexBuffers map of numbers, read with bounds checks.
// https://flatbuffers.dev/internals (FlexBuffers).

#include <map>
#include <string>

#include "base/status.h"
#include "model/frontends/tflite/reader.h"

namespace slipway::tflite {

// The numbers and booleans of the root map by key; other entries are left out. Errors
// (InvalidArgument): no map, offsets outside the bytes, more than 1000 entries.
Result<std::map<std::string, double>> ReadFlexNumbers(Bytes bytes);

}  // namespace slipway::tflite
