#include "quant/exporters/exporter.h"

#include <algorithm>

#include "base/folder.h"
#include "base/mapped_file.h"
#include "model/frontends/onnx/expand.h"
#include "model/frontends/onnx/export.h"
#include "quant/exporters/range_files.h"

namespace slipway::quant {
namespace {

constexpr uint32_t k8 = 1u << 8, k16 = 1u << 16;
constexpr uint32_t kUpTo16 = 0x1fffe;

constexpr char kReadBack[] =
    "read back by a parser of the tests' own, which checks every scale, zero point and code; no "
    "tool of the vendor has read it here";

constexpr QuantExporter kExporters[] = {
    {"tensorrt",
     "ONNX with Q/DQ pairs, blob ranges, calibration cache and a trtexec script",
     {.tool = "TensorRT", .platform = "tensorrt-int8", .narrow_weights = true},
     MakeTensorRt,
     "sh trtexec.sh builds engines from $stem.onnx (explicit quantization) and from\n"
     "$stem_float.onnx with $stem_calibration.cache (implicit). TensorRT compares the number in "
     "the\n"
     "first line of the cache with its own version and calibrates anew when it refuses it: put "
     "its\n"
     "number there. $stem_blob_range.json is for programs that call ITensor::setDynamicRange: the\n"
     "largest magnitude of each tensor. $stem.onnx has integer weights; for TensorRT 8, which\n"
     "quantizes float weights itself, export with --float-weights.",
     "$stem.onnx in ONNX Runtime and in Slipway; the cache and the ranges are read back by a "
     "parser "
     "of the tests' own. TensorRT itself has not run here"},
    {"onnxruntime",
     "ONNX with Q/DQ pairs, and with integer operators",
     {.tool = "ONNX",
      .platform = "onnxruntime-int8",
      .weight_bits = 16,
      .activation_widths = kUpTo16,
      .asymmetric_weights = true,
      .asymmetric_activations = true,
      .unsigned_activations = true,
      .groups = true,
      .one_range = false},
     MakeIntegerOnnx,
     "onnxruntime.InferenceSession('$stem.onnx') fuses the pairs itself; $stem_integer.onnx has\n"
     "QLinearConv and its kin already (operators of com.microsoft among them).",
     "both files in ONNX Runtime, compared with Slipway's interpreter"},
    {"tvm",
     "ONNX with integer operators (ONNX-QNN)",
     {.tool = "TVM's ONNX-QNN",
      .platform = "tvm-int8",
      .asymmetric_weights = true,
      .asymmetric_activations = true,
      .unsigned_activations = true,
      .one_range = false},
     MakeIntegerOnnx,
     "tvm.relay.frontend.from_onnx(onnx.load('$stem_integer.onnx')) makes qnn operators of it;\n"
     "$stem.onnx is the same with Q/DQ pairs.",
     "both files in ONNX Runtime, compared with Slipway's interpreter. TVM has not read them here"},
    {"openvino",
     "ONNX with FakeQuantize, and with Q/DQ pairs",
     {.tool = "OpenVINO",
      .platform = "openvino-int8",
      .activation_widths = k8 | k16,
      .asymmetric_weights = true,
      .asymmetric_activations = true,
      .unsigned_activations = true,
      .one_range = false},
     MakeOpenVino,
     "ovc $stem_fakequantize.onnx (FakeQuantize of the domain org.openvinotoolkit), or\n"
     "ovc $stem.onnx (Q/DQ pairs).",
     "$stem.onnx in ONNX Runtime and in Slipway; FakeQuantize is evaluated by the tests from its "
     "specification. OpenVINO itself has not run here"},
    {"snpe",
     "float ONNX and .encodings of activations and parameters (SNPE, QNN)",
     {.tool = "SNPE's .encodings",
      .platform = "snpe-int8",
      .weight_bits = 16,
      .activation_widths = k8 | k16,
      .asymmetric_weights = true,
      .asymmetric_activations = true,
      .unsigned_activations = true},
     MakeRanges,
     "qairt-converter -i $stem_float.onnx --quantization_overrides $stem.encodings\n"
     "(snpe-onnx-to-dlc and qnn-onnx-converter take the same option). Biases have 32 bits.",
     kReadBack},
    {"ncnn-int8",
     "ncnn's .param and .bin with int8 weights, and the calibration table",
     {.tool = "ncnn", .platform = "ncnn-int8", .narrow_weights = true},
     MakeNcnn,
     "ncnn::Net::load_param(\"$stem.param\") and load_model(\"$stem.bin\") run it in int8. Or\n"
     "ncnn2int8 $stem_float.param $stem_float.bin out.param out.bin $stem.table makes int8 files "
     "of\n"
     "the float ones, with ncnn's own fusions. ncnn rounds halves away from zero and clamps "
     "inputs\n"
     "to [-127, 127].",
     "all files are read and the int8 net is run by a second implementation of ncnn in the tests, "
     "compared with Slipway's interpreter. ncnn itself has not run here"},
    {"tflite",
     ".tflite with int8 activations and weights and int32 biases",
     {.tool = "TensorFlow Lite",
      .platform = "tflite-int8",
      .asymmetric_activations = true,
      .unsigned_activations = true,
      .narrow_weights = true,
      .one_range = false},
     MakeTflite,
     "tf.lite.Interpreter('$stem.tflite'), TFLite's delegates and TFLM read it. Inputs and "
     "outputs\n"
     "are float32 where the model's are, images NHWC. Unsigned codes were shifted to signed ones.\n"
     "Linear layers with scales per channel are 1x1 convolutions, which every version reads.",
     "files of this format are read by Slipway's own importer and give the outputs of the "
     "quantized "
     "model bit for bit (LayerNormalization, in its pieces, to the last bits of a float); a net of "
     "all operators also runs in Arm NN's reference backend. "
     "TensorFlow "
     "itself has not run here"},
    {"nnie",
     "Caffe and the gfpq_param_dict (HiSilicon NNIE)",
     {.tool = "NNIE",
      .platform = "nnie-int8",
      .per_channel = false,
      .scales = ScaleRule::kLogarithmic},
     MakeNnie,
     "nnie_mapper reads $stem.prototxt and $stem.caffemodel; $stem_gfpq_param_dict.json gives, "
     "for\n"
     "each layer, the largest magnitude of each of its inputs (gfpq_param; once for each group of "
     "a\n"
     "grouped convolution). The batch is 1.",
     "the Caffe files are read by Slipway's own importer, the ranges by a parser of the tests' "
     "own. "
     "No tool of the vendor has read them here"},
    {"ppl",
     "float ONNX and JSON of steps, zero points, ranges and bits (PPL)",
     {.tool = "PPL",
      .platform = "ppl-cuda-int8",
      .weight_bits = 16,
      .activation_widths = k8 | k16,
      .asymmetric_weights = true,
      .asymmetric_activations = true,
      .unsigned_activations = true},
     MakeRanges,
     "$stem_float.onnx with $stem_ranges.json.",
     kReadBack},
    {"vitis",
     "float ONNX and JSON of scales (Xilinx DPU)",
     {.tool = "the DPU",
      .platform = "vitis-int8",
      .per_channel = false,
      .scales = ScaleRule::kPowerOfTwo},
     MakeRanges,
     "$stem_float.onnx with $stem_ranges.json, for the conversion to xmodel.",
     kReadBack},
    {"tengine",
     "float ONNX and .scale (Tengine)",
     {.tool = "Tengine's .scale",
      .platform = "tengine-int8",
      .asymmetric_weights = true,
      .asymmetric_activations = true,
      .unsigned_activations = true,
      .per_channel = false},
     MakeRanges,
     "convert_tool -f onnx -m $stem_float.onnx -o $stem.tmfile; then\n"
     "quant_tool_uint8 -m $stem.tmfile -f $stem.scale (lines: tensor, scale, zero point).",
     kReadBack},
    {"rknn",
     "float ONNX and JSON of quantized parameters (Rockchip RV1126 and RK3568)",
     {.tool = "RKNN",
      .platform = "rknn-int8",
      .asymmetric_weights = true,
      .asymmetric_activations = true,
      .unsigned_activations = true},
     MakeRanges,
     "$stem_float.onnx with $stem_quantized_param_rv1126.json, or with\n"
     "$stem_quantized_param_rk3568.json. JSON is YAML: rename it where the tool asks for .yaml.",
     kReadBack},
    {"ascend",
     "float ONNX and JSON of scales and offsets (Ascend)",
     {.tool = "Ascend",
      .platform = "ascend-int8",
      .asymmetric_activations = true,
      .unsigned_activations = true},
     MakeRanges,
     "$stem_float.onnx with $stem_quant_param.json; offsets are those of signed codes.",
     kReadBack},
    {"magicmind",
     "float ONNX and JSON of ranges (Cambricon MagicMind)",
     {.tool = "MagicMind",
      .platform = "magicmind-int8",
      .asymmetric_weights = true,
      .asymmetric_activations = true,
      .unsigned_activations = true},
     MakeRanges,
     "$stem_float.onnx with $stem_quant_param.json.",
     kReadBack},
    {"tidl",
     "float ONNX and ranges as text and JSON (TI TIDL)",
     {.tool = "TIDL",
      .platform = "tidl-int8",
      .activation_widths = k8 | k16,
      .unsigned_activations = true,
      .per_channel = false,
      .scales = ScaleRule::kPowerOfTwoActivations},
     MakeRanges,
     "$stem_float.onnx with $stem_blob_range.txt (lines: tensor, least, most) or the JSON.",
     kReadBack},
    {"imx",
     "float ONNX and JSON of power-of-two scales (NXP i.MX)",
     {.tool = "i.MX", .platform = "imx-int8", .scales = ScaleRule::kPowerOfTwo},
     MakeRanges,
     "$stem_float.onnx with $stem_scale.json.",
     kReadBack},
    {"stpu",
     "float ONNX and JSON of ranges (STPU)",
     {.tool = "STPU", .platform = "stpu-int8", .per_channel = false, .narrow_weights = true},
     MakeRanges,
     "$stem_float.onnx with $stem_minmax.json. The tool's own exponents ('emin') are not written:\n"
     "they are undocumented.",
     kReadBack},
};

std::string WithStem(const char* text, const std::string& stem) {
  std::string out = text;
  const std::string mark = "$stem";
  for (size_t at = 0; (at = out.find(mark, at)) != std::string::npos; at += stem.size())
    out.replace(at, mark.size(), stem);
  return out;
}

std::string Readme(const QuantExporter& row, const QuantizedModel& model, const QuantBundle& bundle,
                   const std::string& stem) {
  int counts[3] = {};
  for (const QuantTensor& t : model.tensors) ++counts[static_cast<size_t>(t.role)];
  std::string text = "Written by `slipway export` in the format '" + std::string(row.name) +
                     "': " + row.help + ".\n\nFiles\n";
  for (const ExportedFile& f : bundle.files) text += "  " + f.name + "\n";
  text += "\nQuantized tensors: " + std::to_string(counts[0]) + " activations, " +
          std::to_string(counts[1]) + " weights, " + std::to_string(counts[2]) +
          " biases; all of them are in the files. Float weights round to the codes that " +
          "quantization chose.\n";
  text += "\nHow the tool reads them\n" + WithStem(row.how, stem) + "\n";
  if (!bundle.notes.empty()) text += "\nThis model\n" + bundle.notes;
  text += "\nWhat Slipway's tests run of this format: " + WithStem(row.run, stem) + ".\n";
  return text;
}

}  // namespace

std::span<const QuantExporter> QuantExporters() { return kExporters; }

const QuantExporter* FindQuantExporter(std::string_view name) {
  for (const QuantExporter& row : kExporters) {
    // "ncnn" by itself is the float format of `slipway export --to`.
    if (name == row.name || std::string(name) + "-int8" == row.name) return &row;
  }
  return nullptr;
}

int OpsetFor(const QuantizedModel& model, const QuantExportRequest& request, bool int4) {
  if (request.opset > 0) return request.opset;
  const bool late = std::any_of(model.tensors.begin(), model.tensors.end(), [&](const auto& t) {
    const int bits = t.params.bits;
    return (int4 && bits == 4) || (bits > 8 && bits < 32) || t.params.group > 0;
  });
  return late ? 21 : 17;
}

Result<ExportedFile> OnnxFile(const std::string& name, const ir::Graph& graph,
                              const QuantizedModel& model, int opset, bool check_names) {
  ExportedFile file{.name = name, .bytes = {}, .onnx = graph.Clone(), .opset = opset};
  SLIPWAY_RETURN_IF_ERROR(onnx::ExpandForOpset(file.onnx.get(), opset));
  for (const QuantTensor& t : model.tensors) {
    if (!check_names) break;
    const ir::Value* v = file.onnx->FindValue(t.name);
    if (!v || (t.constant() && (!v->is_constant() || v->constant()->dims() != t.codes.dims()))) {
      return Internal(std::string(t.RoleName()) + " '" + t.name + "' is not in " + name +
                      " any more: opset " + std::to_string(opset) + " writes it in another way");
    }
  }
  return file;
}

Result<std::vector<std::string>> ExportQuantized(const ir::Graph& graph, std::string_view format,
                                                 const QuantExportRequest& request) {
  const QuantExporter* row = FindQuantExporter(format);
  if (!row) {
    std::string known;
    for (const QuantExporter& r : kExporters)
      known += std::string(known.empty() ? "" : ", ") + r.name;
    return InvalidArgument("unknown quantized format '" + std::string(format) +
                           "'; formats: " + known);
  }
  QuantExportRequest r = request;
  if (r.stem.empty()) r.stem = graph.name.empty() ? "model" : graph.name;
  for (char& c : r.stem) {
    // Shell scripts and readers of the files quote it.
    if (c == '/' || c == '\0' || c == '\'' || c == '\n') c = '_';
  }
  SLIPWAY_ASSIGN_OR_RETURN(QuantizedModel model, ReadQuantized(graph, r.platform));
  SLIPWAY_RETURN_IF_ERROR(CheckLimits(model, row->limits, r.platform));
  SLIPWAY_ASSIGN_OR_RETURN(QuantBundle bundle, row->make(*row, model, r));
  bundle.files.push_back({"README.txt", Readme(*row, model, bundle, r.stem), nullptr});
  // Whatever cannot be written shows before the first file is.
  for (ExportedFile& f : bundle.files) {
    if (!f.onnx) continue;
    auto bytes = onnx::ExportOnnxBytes(*f.onnx, {.opset = f.opset});
    if (bytes.ok()) {
      f.bytes.assign(bytes->begin(), bytes->end());
      f.onnx = nullptr;
    } else if (bytes.status().code() != StatusCode::kResourceExhausted) {
      return std::move(bytes).status().With(f.name);
    }
  }
  SLIPWAY_RETURN_IF_ERROR(MakeFolder(r.folder));
  std::vector<std::string> paths;
  for (const ExportedFile& f : bundle.files) {
    const std::string path = r.folder + "/" + f.name;
    if (f.onnx) {
      SLIPWAY_RETURN_IF_ERROR(onnx::ExportOnnx(*f.onnx, path, {.opset = f.opset}));
    } else {
      SLIPWAY_RETURN_IF_ERROR(WriteFile(path, std::string_view(f.bytes)));
    }
    paths.push_back(path);
  }
  return paths;
}

}  // namespace slipway::quant
