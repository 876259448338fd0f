#pragma once
// From a quantized graph to the files that a vendor's tool reads: one row a format.
//
// What a format cannot hold is an error that names the tensor, before anything is written; after
// that every quantized tensor of the graph is in the files, under the name that it has in the graph
// file beside them. Weights are written as their codes, or as floats that round to them.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "quant/exporters/limits.h"
#include "quant/exporters/quantized.h"

namespace slipway::quant {

struct QuantExportRequest {
  std::string folder;  // made when absent
  std::string stem;    // what files are called; empty: the graph's name
  int opset = 0;       // of ONNX files; 0: 17, or 21 where codes of 4 or 16 bits or groups need it
  std::string platform;  // as the remedies of errors call it; empty: the format's own
  // ONNX with Quantize of float weights instead of integer ones, for tools that do not read the
  // latter (TensorRT 8). The floats round to the same codes.
  bool float_weights = false;
};

// A file of an export: text (or bytes), or a graph that is written as ONNX.
struct ExportedFile {
  std::string name;
  std::string bytes;
  std::shared_ptr<ir::Graph> onnx;
  int opset = 0;
};

struct QuantBundle {
  std::vector<ExportedFile> files;
  std::string notes;  // for the README: what this model met
};

struct QuantExporter;
using MakeBundle = Result<QuantBundle> (*)(const QuantExporter& row, const QuantizedModel& model,
                                           const QuantExportRequest& request);

struct QuantExporter {
  const char* name;  // as in a platform's `export: {format: ...}`
  const char* help;
  Limits limits;
  MakeBundle make;
  // For README.txt: how the vendor's tool reads the files ($stem stands for their name), and what
  // of that has been run by Slipway's own tests.
  const char* how;
  const char* run;
};

std::span<const QuantExporter> QuantExporters();
// By the name of the row, or without its "-int8" as platforms write it.
const QuantExporter* FindQuantExporter(std::string_view name);

// Writes the files and README.txt and gives their paths. Errors: InvalidArgument for an unknown
// format or a graph without quantized tensors, Unsupported for what the format cannot hold,
// Internal when a tensor would be left out, those of WriteFile.
Result<std::vector<std::string>> ExportQuantized(const ir::Graph& graph, std::string_view format,
                                                 const QuantExportRequest& request);

// --- for the exporters ---
// The opset to write; `int4` where the file may hold codes of four bits as such.
int OpsetFor(const QuantizedModel& model, const QuantExportRequest& request, bool int4 = false);
// The graph as the file will have it. Internal names a tensor that has lost its name on the way.
Result<ExportedFile> OnnxFile(const std::string& name, const ir::Graph& graph,
                              const QuantizedModel& model, int opset, bool check_names);

// onnx_forms.cc
Result<QuantBundle> MakeTensorRt(const QuantExporter& row, const QuantizedModel& model,
                                 const QuantExportRequest& request);
Result<QuantBundle> MakeIntegerOnnx(const QuantExporter& row, const QuantizedModel& model,
                                    const QuantExportRequest& request);
Result<QuantBundle> MakeOpenVino(const QuantExporter& row, const QuantizedModel& model,
                                 const QuantExportRequest& request);
// tflite.cc
Result<QuantBundle> MakeTflite(const QuantExporter& row, const QuantizedModel& model,
                               const QuantExportRequest& request);
// nnie.cc
Result<QuantBundle> MakeNnie(const QuantExporter& row, const QuantizedModel& model,
                             const QuantExportRequest& request);
// ncnn.cc
Result<QuantBundle> MakeNcnn(const QuantExporter& row, const QuantizedModel& model,
                             const QuantExportRequest& request);

}  // namespace slipway::quant
