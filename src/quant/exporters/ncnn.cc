#include "quant/exporters/ncnn.h"

#include <map>
#include <set>

#include "model/frontends/ncnn/export.h"
#include "model/passes/pass.h"
#include "quant/exporters/exporter.h"

namespace slipway::quant {
namespace {

// Symbols that stand first in the shape of an input of several dimensions, and nowhere else.
std::set<std::string> BatchSymbols(const ir::Graph& graph) {
  std::set<std::string> first, elsewhere;
  for (const ir::Value* v : graph.inputs()) {
    if (!v->type().shape) continue;
    const SymShape& shape = *v->type().shape;
    for (size_t i = 0; i < shape.size(); ++i) {
      for (const std::string& s : shape[i].Symbols())
        (i == 0 && shape.size() > 1 ? first : elsewhere).insert(s);
    }
  }
  for (const std::string& s : elsewhere) first.erase(s);
  return first;
}

void SetToOne(ir::Graph* graph, const std::set<std::string>& symbols) {
  for (const auto& v : graph->values()) {
    if (v->is_constant() || !v->type().shape) continue;
    ir::Type type = v->type();
    for (Dim& d : *type.shape) {
      d = d.Substitute([&](std::string_view s) -> std::optional<Dim> {
        return symbols.contains(std::string(s)) ? std::optional<Dim>(1) : std::nullopt;
      });
    }
    v->set_type(std::move(type));
  }
}

// The other operand of a sum or product of two.
const ir::Value* Other(const ir::Use& use) {
  return use.node->inputs().size() == 2 ? use.node->input(1 - use.index) : nullptr;
}

// A layer made this, or the layer's bias.
bool OfLayer(const ir::Value* v, const std::set<const ir::Node*>& layers) {
  const ir::Node* n = v ? v->producer() : nullptr;
  if (n && n->Is("Add") && n->input(1)->is_constant()) n = n->input(0)->producer();
  if (n && n->Is("Add") && n->input(0)->is_constant()) n = n->input(1)->producer();
  return layers.contains(n);
}

// Whether what is computed from the value without arithmetic, or by one function, ends in a layer
// with quantized weights.
bool EndsInLayer(const ir::Value* v, const std::set<const ir::Node*>& layers, int depth = 0) {
  static const std::set<std::string> kThrough = {
      "Reshape",   "Transpose", "Flatten",  "Squeeze",       "Unsqueeze",    "MaxPool",
      "Slice",     "Split",     "Identity", "Gather",        "Concat",       "Relu",
      "LeakyRelu", "Clip",      "Sigmoid",  "HardSwish",     "HardSigmoid",  "Swish",
      "Gelu",      "Tanh",      "Elu",      "GlobalMaxPool", "DepthToSpace", "SpaceToDepth"};
  for (const ir::Use& use : v->uses()) {
    if (layers.contains(use.node)) {
      if (use.index == 0) return true;
      continue;
    }
    const ir::Value* other = use.node->Is("Add") || use.node->Is("Mul") ? Other(use) : nullptr;
    // What is added to a layer's output lies in codes where both are one integer operator.
    if (use.node->Is("Add") && OfLayer(other, layers)) return true;
    const ir::Node* gate = use.node->Is("Mul") && other ? other->producer() : nullptr;
    const bool swish =
        gate && (gate->Is("Sigmoid") || gate->Is("HardSigmoid")) && gate->input(0) == v;
    if (!use.node->domain().empty() || !(swish || kThrough.contains(use.node->op())) || depth > 32)
      continue;
    for (const ir::Value* out : use.node->outputs()) {
      if (out && EndsInLayer(out, layers, depth + 1)) return true;
    }
  }
  return false;
}

}  // namespace

void SetBatchToOne(ir::Graph* graph) { SetToOne(graph, BatchSymbols(*graph)); }

Result<std::unique_ptr<ir::Graph>> PrepareForNcnn(const ir::Graph& graph) {
  auto copy = graph.Clone();
  SetBatchToOne(copy.get());
  passes::PassOptions options;
  options.level = passes::Level::kFused;
  options.disabled = {"keep-weight-codes", "recover-channel-shuffle", "merge-common"};
  SLIPWAY_RETURN_IF_ERROR(passes::RunPasses(*copy, options).status());
  return copy;
}

Result<QuantBundle> MakeNcnn(const QuantExporter&, const QuantizedModel& model,
                             const QuantExportRequest& request) {
  const std::string remedy = "; quantize the float model with `slipway quantize --platform " +
                             (request.platform.empty() ? "ncnn-int8" : request.platform) + "`";
  std::map<std::string, const QuantTensor*> activations;
  for (const QuantTensor& t : model.tensors) {
    if (!t.constant()) activations[t.name] = &t;
  }
  ncnn::ExportOptions options;
  std::set<const ir::Node*> layers;
  for (const QuantTensor& t : model.tensors) {
    if (t.role != TensorRole::kWeight) continue;
    const ir::Value* w = model.real->FindValue(t.name);
    for (const ir::Use& use : w->uses()) {
      const ir::Node& n = *use.node;
      const auto x = n.input(0) ? activations.find(n.input(0)->name()) : activations.end();
      if (use.index != 1 || !(n.Is("Conv") || n.Is("Gemm") || n.Is("MatMul"))) {
        return Unsupported("weights '" + t.name + "' are read by " + n.Describe() +
                           ", which ncnn does not compute in int8" + remedy);
      }
      if (x == activations.end()) {
        return Unsupported("weights '" + t.name + "' are quantized and the input of " +
                           n.Describe() + " is not: ncnn's int8 layers have both" + remedy);
      }
      auto [it, is_new] =
          options.int8.emplace(t.name, ncnn::Int8Weights{t.codes, t.scales, x->second->scales[0]});
      if (!is_new && it->second.input_scale != x->second->scales[0]) {
        return Unsupported("weights '" + t.name +
                           "' are shared by layers whose inputs have "
                           "different scales, which ncnn cannot hold" +
                           remedy);
      }
      layers.insert(&n);
    }
  }
  int elsewhere = 0;
  for (const auto& [name, t] : activations) {
    const ir::Value* v = model.real->FindValue(name);
    if (!EndsInLayer(v, layers)) {
      return Unsupported("activation '" + name +
                         "' is quantized for no convolution or linear "
                         "layer, and ncnn computes everything else in float" +
                         remedy);
    }
    for (const ir::Use& use : v->uses()) elsewhere += !layers.contains(use.node);
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto prepared, PrepareForNcnn(*model.real));
  for (const auto& [name, weights] : options.int8) {
    const ir::Value* v = prepared->FindValue(name);
    const ir::Tensor* before = model.real->FindValue(name)->constant();
    if (!v || !v->is_constant() || v->constant()->dims() != before->dims() ||
        !std::equal(before->bytes().begin(), before->bytes().end(),
                    v->constant()->bytes().begin())) {
      return Internal("weights '" + name + "' were changed by a pass before the export");
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(ncnn::NcnnFiles codes, ncnn::ExportNcnnFiles(*prepared, options));
  SLIPWAY_ASSIGN_OR_RETURN(ncnn::NcnnFiles floats, ncnn::ExportNcnnFiles(*prepared));
  QuantBundle bundle;
  bundle.notes = std::to_string(codes.done.int8_layers) + " layers compute in int8.\n";
  if (elsewhere > 0) {
    bundle.notes += std::to_string(elsewhere) +
                    " times another operator reads a quantized tensor: ncnn gives it the float "
                    "value, which is not rounded.\n";
  }
  const std::string& s = request.stem;
  bundle.files.push_back({s + ".param", std::move(codes.param), nullptr});
  bundle.files.push_back({s + ".bin", std::move(codes.bin), nullptr});
  bundle.files.push_back({s + ".table", std::move(codes.done.table), nullptr});
  bundle.files.push_back({s + "_float.param", std::move(floats.param), nullptr});
  bundle.files.push_back({s + "_float.bin", std::move(floats.bin), nullptr});
  return bundle;
}

}  // namespace slipway::quant
