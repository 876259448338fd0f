#pragma once
// The formats that a graph can be written in: one row a format, which `slipway export --to` lists.

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::deploy {

struct ExportRequest {
  std::string output;  // the file, or for formats of several files their folder (made when absent)
  std::string stem;    // what the files in a folder are called; empty: the graph's name
  int opset = 17;      // onnx and qonnx
  // Of quantized formats: the platform, for errors; theirs when 0; float weights behind a Quantize (quant/exporters).
  std::string platform;
  int quantized_opset = 0;
  bool float_weights = false;
};

struct ExportFormat {
  const char* name;  // as in --to
  const char* help;
  bool folder;  // `output` is a folder
  bool opset;   // `opset` matters
  // Writes the graph and returns the files written. Errors: Unsupported names the node that the
  // format cannot hold and the remedy; those of WriteFile.
  Result<std::vector<std::string>> (*write)(const ir::Graph& graph, const ExportRequest& request);
};

std::span<const ExportFormat> ExportFormats();
const ExportFormat* FindExportFormat(std::string_view name);

// Makes the folder (or the output's folder) and writes. `format` may also be one of
// quant::QuantExporters(), which take a quantized graph. InvalidArgument for an unknown format.
Result<std::vector<std::string>> ExportModel(const ir::Graph& graph, std::string_view format,
                                             const ExportRequest& request);

}  // namespace slipway::deploy
