#include "deploy/export_model.h"

#include <filesystem>

#include "base/folder.h"
#include "base/mapped_file.h"
#include "deploy/export_c.h"
#include "deploy/export_ncnn.h"
#include "model/frontends/caffe/export.h"
#include "model/frontends/onnx/export.h"
#include "model/ir/text.h"
#include "model/passes/pass.h"
#include "quant/exporters/exporter.h"

namespace slipway::deploy {
namespace {

using Files = std::vector<std::string>;

Result<Files> WriteOnnxAs(const ir::Graph& graph, const ExportRequest& request, bool qonnx) {
  if (request.output.ends_with(".txt")) {
    SLIPWAY_RETURN_IF_ERROR(
        WriteFile(request.output, ir::ToText(graph, {.max_constant_elements = 64})));
    return Files{request.output};
  }
  onnx::ExportOptions options;
  options.opset = request.opset;
  options.qonnx = qonnx;
  SLIPWAY_RETURN_IF_ERROR(onnx::ExportOnnx(graph, request.output, options));
  return Files{request.output};
}

Result<Files> WriteOnnx(const ir::Graph& graph, const ExportRequest& request) {
  return WriteOnnxAs(graph, request, false);
}

Result<Files> WriteQonnx(const ir::Graph& graph, const ExportRequest& request) {
  return WriteOnnxAs(graph, request, true);
}

// Passes first: they fold what Caffe has no layers for.
Result<Files> WriteCaffe(const ir::Graph& graph, const ExportRequest& request) {
  auto optimised = graph.Clone();
  passes::PassOptions options;
  SLIPWAY_ASSIGN_OR_RETURN(options.level, passes::LevelFromName("onnx"));
  SLIPWAY_RETURN_IF_ERROR(passes::RunPasses(*optimised, options).status());
  SLIPWAY_ASSIGN_OR_RETURN(caffe::CaffeFiles files, caffe::ExportCaffe(*optimised));
  const std::string stem = request.output + "/" + request.stem;
  SLIPWAY_RETURN_IF_ERROR(WriteFile(stem + ".caffemodel", files.caffemodel));
  SLIPWAY_RETURN_IF_ERROR(WriteFile(stem + ".prototxt", files.prototxt));
  return Files{stem + ".prototxt", stem + ".caffemodel"};
}

Result<Files> WriteNcnn(const ir::Graph& graph, const ExportRequest& request) {
  return ExportNcnnModel(graph, request.output + "/" + request.stem, false);
}

Result<Files> WriteNcnnHalf(const ir::Graph& graph, const ExportRequest& request) {
  return ExportNcnnModel(graph, request.output + "/" + request.stem, true);
}

Result<Files> WriteC(const ir::Graph& graph, const ExportRequest& request) {
  return ExportC(graph, request.output, request.stem);
}

// One row a format. A folder's files are called request.stem.
constexpr ExportFormat kFormats[] = {
    {"onnx", "ONNX of the opset in --opset; a .txt file gets the readable form", false, true,
     WriteOnnx},
    {"qonnx", "the same with QONNX's Quant operators", false, true, WriteQonnx},
    {"caffe", "prototxt and caffemodel", true, false, WriteCaffe},
    {"ncnn", "ncnn's .param and .bin", true, false, WriteNcnn},
    {"ncnn-fp16", "the same with float16 weights", true, false, WriteNcnnHalf},
    {"c", "one C99 file and its header, for any chip with a C compiler (docs/csource.md)", true,
     false, WriteC},
};

}  // namespace

std::span<const ExportFormat> ExportFormats() { return kFormats; }

const ExportFormat* FindExportFormat(std::string_view name) {
  for (const ExportFormat& format : kFormats) {
    if (name == format.name) return &format;
  }
  return nullptr;
}

Result<Files> ExportModel(const ir::Graph& graph, std::string_view format,
                          const ExportRequest& request) {
  const ExportFormat* row = FindExportFormat(format);
  if (!row && quant::FindQuantExporter(format)) {
    return quant::ExportQuantized(graph, format,
                                  {.folder = request.output,
                                   .stem = request.stem,
                                   .opset = request.quantized_opset,
                                   .platform = request.platform,
                                   .float_weights = request.float_weights});
  }
  if (!row) {
    std::string known;
    for (const ExportFormat& f : kFormats) known += std::string(known.empty() ? "" : ", ") + f.name;
    for (const auto& f : quant::QuantExporters()) known += std::string(", ") + f.name;
    return InvalidArgument("unknown format '" + std::string(format) + "'; formats: " + known);
  }
  ExportRequest r = request;
  if (r.stem.empty()) r.stem = graph.name.empty() ? "model" : graph.name;
  for (char& c : r.stem) {
    if (c == '/' || c == '\0') c = '_';
  }
  SLIPWAY_RETURN_IF_ERROR(
      MakeFolder(row->folder ? r.output : std::filesystem::path(r.output).parent_path().string()));
  return row->write(graph, r);
}

}  // namespace slipway::deploy
