#pragma once
// The blob format shared by the code- and operator-level backends (op_desc.fbs): write it when compiling, read it (untrusted) when loading.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ops/attributes.h"

namespace slipway::format {

struct OpDesc {
  std::string domain, op;
  ops::Attributes attributes;
};

inline constexpr char kEngineDomain[] = "engine";  // "Reorder": converts between layouts (and nothing else)

std::vector<uint8_t> EncodeOp(const OpDesc& op);
// Verifies before reading. DataLoss on malformed bytes.
Result<OpDesc> DecodeOp(std::span<const uint8_t> bytes);

}  // namespace slipway::format
