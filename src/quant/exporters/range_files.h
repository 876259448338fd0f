#pragma once
// Files of ranges and scales beside a float ONNX: tables of templates, one row a file.
//
// Placeholders of a template, for the tensor at hand:
//   $name $node $index   as JSON strings' contents (escaped) where the file is JSON, else plain
//   $scale $zero $min $max $reach $bits $offset $signed_zero $alpha
//                        a number, or [a, b, ...] with scales per channel
//   $[scale] ...         always a list
//   $symmetric           True or False
//   $hex                 the scale's bits as eight hexadecimal digits
// reach = scale * highest code; min and max are those of the whole width, (code - zero) * scale;
// offset is the lowest code minus the zero point; signed_zero the zero point of the same tensor in
// signed codes.

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "quant/exporters/exporter.h"

namespace slipway::quant {

inline constexpr unsigned kActivations = 1, kWeights = 2, kBiases = 4, kParameters = 6,
                          kAllTensors = 7;

// Entries of some tensors: KEY: ENTRY in JSON, else ENTRY as a line.
struct RangePart {
  unsigned roles;    // bit set of TensorRole
  const char* open;  // written before; null: goes on in the list of the part before
  const char* key;   // JSON: the key
  const char* entry;
  const char* close;          // written behind; null: the next part goes on
  bool each_channel = false;  // JSON: a list of one entry for each channel
};

struct RangeFile {
  const char* format;  // of which exporter
  const char* suffix;  // behind the stem: ".encodings"
  bool json;
  const char* head;
  std::vector<RangePart> parts;
  const char* tail;
  unsigned omitted = 0;  // roles that the format has no place for: their values are in the ONNX
};

// Every file of every format, in one table.
const std::vector<RangeFile>& RangeFiles();

// The contents of a JSON string.
std::string JsonText(const std::string& text);

// Internal names a tensor that no part of the file writes; Unsupported a name that cannot stand in
// a file of lines.
Result<std::string> WriteRanges(const QuantizedModel& model, const RangeFile& file);

// The range files of the format, and the float ONNX. For most formats that is all.
Result<QuantBundle> MakeRanges(const QuantExporter& row, const QuantizedModel& model,
                               const QuantExportRequest& request);

}  // namespace slipway::quant
