#pragma once
// Operators with a body that the IR says with others: SequenceMap is a Loop, Scan of opset 8 a Scan
// of Scans. https://onnx.ai/onnx/operators/onnx__SequenceMap.html,
// https://onnx.ai/onnx/operators/onnx__Scan.html#scan-8

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "model/frontends/onnx/upgrade.h"

namespace slipway::onnx {

using Bodies = std::map<std::string, std::unique_ptr<ir::Graph>>;

// The names of the bodies of an operator of the default domain as files have them; empty for
// operators without.
std::span<const std::string_view> FileBodyNames(std::string_view op);

// `node` has its `formal` inputs, then what the body captures, whose inputs are in the same order.
// Becomes a Loop that takes one tensor of each sequence in each iteration.
Status ExpandSequenceMap(OldNode* node, Bodies* bodies, size_t formal, Upgrader* upgrader,
                         Upgrader* body_upgrader);

// `node` has sequence_lens or null, then its `formal` inputs, then what the body captures. Becomes
// a Scan over the batch whose body holds the Scan over the sequence.
Status ExpandBatchScan(OldNode* node, Bodies* bodies, size_t formal, Upgrader* body_upgrader);

}  // namespace slipway::onnx
