// HiSilicon NNIE: Caffe, and the largest magnitude of each layer's inputs.

#include <charconv>
#include <map>
#include <set>

#include "model/frontends/caffe/export.h"
#include "model/passes/pass.h"
#include "quant/exporters/exporter.h"
#include "quant/exporters/ncnn.h"
#include "quant/exporters/range_files.h"

namespace slipway::quant {
namespace {

// Layers without arithmetic of their own have no entry.
bool HasEntry(const ir::Node& n) {
  static const std::set<std::string> kWithout = {
      "Relu",      "PRelu",   "LeakyRelu", "Clip",      "Sigmoid",  "Tanh",  "Softmax", "Reshape",
      "Transpose", "Flatten", "Squeeze",   "Unsqueeze", "Identity", "Slice", "Split"};
  return !kWithout.contains(n.op());
}

std::string Number(float v) {
  char text[64];
  return {text, std::to_chars(text, text + sizeof text, v).ptr};
}

}  // namespace

Result<QuantBundle> MakeNnie(const QuantExporter&, const QuantizedModel& model,
                             const QuantExportRequest& request) {
  auto graph = model.real->Clone();
  SetBatchToOne(graph.get());
  passes::PassOptions options;
  SLIPWAY_ASSIGN_OR_RETURN(options.level, passes::LevelFromName("onnx"));
  options.disabled = {"merge-common"};  // weights that two layers share are two tensors here
  SLIPWAY_RETURN_IF_ERROR(passes::RunPasses(*graph, options).status());
  SLIPWAY_ASSIGN_OR_RETURN(caffe::CaffeFiles files, caffe::ExportCaffe(*graph));

  std::map<std::string, const QuantTensor*> activations;
  for (const QuantTensor& t : model.tensors) {
    if (!t.constant()) activations[t.name] = &t;
    const ir::Value* v = t.role == TensorRole::kWeight ? graph->FindValue(t.name) : nullptr;
    if (t.role == TensorRole::kWeight && (!v || !v->is_constant())) {
      return Internal("weights '" + t.name + "' are not in the Caffe net any more");
    }
  }
  std::set<std::string> written;
  std::string dict;
  for (const auto& n : graph->nodes()) {
    if (!HasEntry(*n) || !n->output()) continue;
    std::string entry;
    const ir::Value* other = nullptr;  // an input without a range
    std::vector<std::string> names;
    for (const ir::Value* v : n->inputs()) {
      const auto it = v ? activations.find(v->name()) : activations.end();
      if (it == activations.end()) {
        if (v && !v->is_constant()) other = v;
        continue;
      }
      names.push_back(v->name());
      // A grouped convolution has the parameter once for each group.
      const int64_t groups = n->Is("Conv") ? n->attributes.Int("group", 1) : 1;
      for (int64_t g = 0; g < groups; ++g)
        entry += (entry.empty() ? "" : ", ") + Number(it->second->scales[0]);
    }
    if (other && !entry.empty() && n->Is("Concat")) continue;  // it moves values only
    if (other && !entry.empty()) {
      return Unsupported("input '" + other->name() + "' of " + n->Describe() +
                         " is not quantized and another one is, and the gfpq_param of a layer has "
                         "all of its inputs; quantize the float model with `slipway quantize "
                         "--platform " +
                         (request.platform.empty() ? "nnie-int8" : request.platform) + "`");
    }
    written.insert(names.begin(), names.end());
    if (entry.empty()) continue;
    // Layers are called as what they give.
    const std::string layer = JsonText(n->output()->name());
    if (files.prototxt.find("name: \"" + layer + "\"") == std::string::npos)
      return Internal("layer '" + n->output()->name() + "' is not in the prototxt");
    dict += (dict.empty() ? "" : ",\n") + ("\"" + layer + "\": [") + entry + "]";
  }
  for (const auto& [name, t] : activations) {
    if (written.contains(name)) continue;
    const ir::Value* v = graph->FindValue(name);
    // Where it is only moved, the layer that reads it then has its range.
    bool moved = v != nullptr;
    for (size_t i = 0; v && i < v->uses().size(); ++i) {
      const ir::Node& n = *v->uses()[i].node;
      moved = moved && (!HasEntry(n) || n.Is("Concat"));
    }
    if (!moved) return Internal("activation '" + name + "' is missing in the gfpq_param_dict");
  }
  QuantBundle bundle;
  bundle.files.push_back({request.stem + ".prototxt", std::move(files.prototxt), nullptr});
  bundle.files.push_back({request.stem + ".caffemodel",
                          std::string(files.caffemodel.begin(), files.caffemodel.end()), nullptr});
  bundle.files.push_back({request.stem + "_gfpq_param_dict.json",
                          "{\"nnie\": {\"gfpq_param_dict\": {\n" + dict + "\n}}}\n", nullptr});
  bundle.notes = "Weights in the caffemodel lie on the steps of 1/16 octave that NNIE has.\n";
  return bundle;
}

}  // namespace slipway::quant
