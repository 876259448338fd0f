// ONNX with pairs, with integer operators and with FakeQuantize.

#include <algorithm>
#include <map>

#include "quant/exporters/exporter.h"
#include "quant/exporters/integer_form.h"
#include "quant/exporters/range_files.h"
#include "quant/sparsity/prune.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

// Biases as floats, weights of few bits in int8; weights too as floats when `weights`: these then
// behind a Quantize.
Status FloatConstants(Graph* graph, const QuantizedModel& model, bool weights) {
  std::map<std::string, const QuantTensor*> constants;
  for (const QuantTensor& t : model.tensors) {
    if (t.constant()) constants[t.name] = &t;
  }
  auto real = model.quantized->Clone();
  // The Dequantize of each constant, and its values, in the order in which RemovePairs finds them.
  std::vector<std::pair<QuantTensor, Tensor>> values;
  auto note = [&](Graph&, Value* v, const QuantTensor& t, Node*) -> Result<Value*> {
    if (t.constant()) values.emplace_back(t, *v->constant());
    return v;
  };
  SLIPWAY_RETURN_IF_ERROR(RemovePairs(real.get(), note).status());
  size_t next = 0;
  for (Node* n : graph->NodeList()) {
    if (!n->IsSlipway("Dequantize") || !n->output() || !n->output()->IsUsed()) continue;
    const bool folded = n->input(0)->producer() && n->input(0)->producer()->IsSlipway("Quantize") &&
                        n->input(0)->producer()->constant_input(0);
    if (!n->constant_input(0) && !folded) continue;
    if (next == values.size()) return Internal("a constant of " + n->Describe() + " is lost");
    const auto& [t, value] = values[next++];
    // In int8, whose tensor cores multiply them: int4 of TensorRT is for float activations.
    if (t.params.bits < 8) n->attributes.Set("bits", int64_t{8});
    Value* floats = graph->AddConstant(t.name, value);
    if (t.role == TensorRole::kBias) {
      graph->ReplaceAllUses(n->output(), floats);
      continue;
    }
    if (!weights || folded) continue;
    Node* quantize = graph->AddNode({.op = "Quantize",
                                     .inputs = {floats, n->input(1), n->input(2)},
                                     .attributes = n->attributes,
                                     .domain = ir::kSlipwayDomain,
                                     .name = t.name + "/quantize",
                                     .outputs = {t.name + "_codes"}},
                                    n);
    quantize->output()->set_type(n->input(0)->type());
    graph->SetInput(n, 0, quantize->output());
  }
  graph->RemoveUnused();
  return OkStatus();
}

std::string CountText(const IntegerForm& form) {
  std::string text;
  for (const auto& [op, count] : form.operators)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + op;
  if (form.left > 0)
    text += "; " + std::to_string(form.left) + " operators on codes stay between pairs";
  return text.empty() ? "none" : text;
}

// The range of the levels: [-127, 127] where no weight is the lowest code, as the plugins expect it
// of symmetric weights.
void LevelsOf(const QuantTensor& t, int64_t* lo, int64_t* hi) {
  *lo = t.params.range.lo;
  *hi = t.params.range.hi;
  if (t.constant() && t.symmetric() && *lo == t.lowest()) {
    const std::vector<int64_t> codes = t.codes.ToInts();
    if (std::find(codes.begin(), codes.end(), *lo) == codes.end()) ++*lo;
  }
}

}  // namespace

Result<QuantBundle> MakeTensorRt(const QuantExporter& row, const QuantizedModel& model,
                                 const QuantExportRequest& request) {
  SLIPWAY_ASSIGN_OR_RETURN(QuantBundle bundle, MakeRanges(row, model, request));
  auto qdq = model.quantized->Clone();
  SLIPWAY_RETURN_IF_ERROR(FloatConstants(qdq.get(), model, request.float_weights));
  SLIPWAY_ASSIGN_OR_RETURN(ExportedFile file, OnnxFile(request.stem + ".onnx", *qdq, model,
                                                       OpsetFor(model, request), false));
  bundle.files.insert(bundle.files.begin(), std::move(file));

  // Without pairs TensorRT takes the scale of weights from their largest magnitude in a channel.
  int64_t same = 0, all = 0;
  for (const QuantTensor& t : model.tensors) {
    if (t.role != TensorRole::kWeight) continue;
    ++all;
    const std::vector<int64_t> codes = t.codes.ToInts();
    const Dims& dims = t.codes.dims();
    const int64_t inner = t.per_channel() ? dims.count(t.axis + 1, dims.rank()) : 1;
    std::vector<int64_t> peak(t.scales.size());
    for (size_t i = 0; i < codes.size(); ++i) {
      const size_t c =
          t.per_channel() ? static_cast<size_t>(static_cast<int64_t>(i) / inner) % peak.size() : 0;
      peak[c] = std::max(peak[c], std::abs(codes[i]));
    }
    same += std::all_of(peak.begin(), peak.end(), [](int64_t p) { return p == 127 || p == 0; });
  }
  bundle.notes =
      std::string("Weights in ") + request.stem + ".onnx: " +
      (request.float_weights ? "float32 behind QuantizeLinear; they round to the codes exactly.\n"
                             : "int8 initialisers behind DequantizeLinear.\n") +
      "With the calibration cache or the blob ranges TensorRT rounds the float weights again, to " +
      "127 steps of each channel's largest magnitude: " + std::to_string(same) + " of " +
      std::to_string(all) + " weight tensors keep their codes then" +
      (same < all ? "; use the ONNX with pairs for the others.\n" : ".\n");
  const std::string& s = request.stem;
  // trtexec's default is to ignore zeros.
  const size_t sparse = SparseLayers(*model.real, {}).size();
  const std::string sparsity = sparse > 0 ? " --sparsity=enable" : "";
  if (sparse > 0)
    bundle.notes +=
        std::to_string(sparse) +
        " layers have weights of which two of four along the input channels are zero: "
        "trtexec.sh says\n--sparsity=enable, and TensorRT takes sparse tensor cores (Ampere "
        "and later) where they are faster.\n";
  bundle.files.push_back(
      {"trtexec.sh",
       "#!/bin/sh\n"
       "# Builds and times engines with TensorRT's trtexec. Run it in this folder.\n"
       "set -e\n"
       "# 1. Explicit quantization, TensorRT 8 and later: the pairs say what runs in int8.\n"
       "#    TensorRT 10 prefers --stronglyTyped to --int8.\n"
       "trtexec --onnx='" +
           s + ".onnx' --int8 --fp16" + sparsity + " --saveEngine='" + s +
           "_qdq.engine'\n"
           "# 2. Implicit quantization, TensorRT 8 and 9 (gone in 10.13 and later): the float "
           "model and\n"
           "#    the ranges of its tensors; TensorRT chooses where int8 pays.\n"
           "trtexec --onnx='" +
           s + "_float.onnx' --int8 --fp16" + sparsity + " --calib='" + s +
           "_calibration.cache' --saveEngine='" + s + "_calibrated.engine'\n",
       nullptr});
  return bundle;
}

Result<QuantBundle> MakeIntegerOnnx(const QuantExporter&, const QuantizedModel& model,
                                    const QuantExportRequest& request) {
  QuantBundle bundle;
  const int opset = OpsetFor(model, request, true);
  SLIPWAY_ASSIGN_OR_RETURN(ExportedFile qdq,
                           OnnxFile(request.stem + ".onnx", *model.quantized, model, opset, false));
  auto integers = model.quantized->Clone();
  SLIPWAY_ASSIGN_OR_RETURN(IntegerForm form, ToIntegerOperators(integers.get()));
  SLIPWAY_ASSIGN_OR_RETURN(
      ExportedFile file, OnnxFile(request.stem + "_integer.onnx", *integers, model, opset, false));
  bundle.files.push_back(std::move(qdq));
  bundle.files.push_back(std::move(file));
  bundle.notes = "Integer operators: " + CountText(form) + ".\n";
  return bundle;
}

Result<QuantBundle> MakeOpenVino(const QuantExporter&, const QuantizedModel& model,
                                 const QuantExportRequest& request) {
  QuantBundle bundle;
  const int opset = OpsetFor(model, request, true);
  auto fake = model.quantized->Clone();
  std::map<std::pair<const Value*, std::pair<std::vector<float>, std::vector<int64_t>>>, Value*>
      made;
  auto replace = [&](Graph& g, Value* real, const QuantTensor& t, Node* before) -> Result<Value*> {
    if (t.role == TensorRole::kBias) return real;
    Value*& out = made[{real, {t.scales, t.zeros}}];
    if (out) return out;
    int64_t lo, hi;
    LevelsOf(t, &lo, &hi);
    Dims dims;
    if (t.per_channel()) {
      for (int i = 0; i < t.codes.dims().rank(); ++i)
        dims.push_back(i == t.axis ? static_cast<int64_t>(t.scales.size()) : 1);
    }
    std::vector<float> low(t.scales.size()), high(t.scales.size());
    for (size_t c = 0; c < low.size(); ++c) {
      low[c] = static_cast<float>(static_cast<double>(lo - t.zeros[c]) * t.scales[c]);
      high[c] = static_cast<float>(static_cast<double>(hi - t.zeros[c]) * t.scales[c]);
    }
    Value* from = g.AddConstant(t.name + "/low", Tensor::Of<float>(dims, low));
    Value* to = g.AddConstant(t.name + "/high", Tensor::Of<float>(dims, high));
    Node* n = g.AddNode({.op = "FakeQuantize",
                         .inputs = {real, from, to, from, to},
                         .attributes = {{"levels", hi - lo + 1}},
                         .domain = "org.openvinotoolkit",
                         .name = t.name + "/fq",
                         .outputs = {t.name + "_fq"}},
                        before);
    n->output()->set_type(real->type());
    out = n->output();
    return out;
  };
  SLIPWAY_ASSIGN_OR_RETURN(auto tensors, RemovePairs(fake.get(), replace));
  SLIPWAY_ASSIGN_OR_RETURN(
      ExportedFile file, OnnxFile(request.stem + "_fakequantize.onnx", *fake, model, opset, true));
  SLIPWAY_ASSIGN_OR_RETURN(ExportedFile qdq,
                           OnnxFile(request.stem + ".onnx", *model.quantized, model, opset, false));
  bundle.files.push_back(std::move(file));
  bundle.files.push_back(std::move(qdq));
  return bundle;
}

}  // namespace slipway::quant
