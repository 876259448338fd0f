#include "quant/adjust/layer.h"

#include <algorithm>
#include <cmath>

namespace slipway::quant {

std::optional<Layer> Layer::Of(ir::Node* node) {
  const ir::Tensor* w = node->constant_input(1);
  if (!w || w->dtype() != DType::kFloat32 || w->count() == 0) return std::nullopt;
  Layer l;
  l.node_ = node;
  l.dims_ = w->dims();
  if (node->Is("Conv") || node->IsSlipway("Conv")) {
    if (l.dims_.rank() < 2) return std::nullopt;
    l.conv_ = true;
    l.groups_ = node->attributes.Int("group", 1);
    l.outputs_ = l.dims_[0];
    l.per_group_ = l.dims_[1];
    l.taps_ = l.dims_.count(2, l.dims_.rank());
    if (l.groups_ < 1 || l.outputs_ % l.groups_ != 0) return std::nullopt;
    l.inputs_ = l.groups_ * l.per_group_;
  } else if (node->Is("Gemm") || node->Is("MatMul") || node->IsSlipway("Linear")) {
    if (l.dims_.rank() != 2) return std::nullopt;
    if (node->Is("Gemm") &&
        (node->attributes.Float("alpha", 1) != 1 || node->attributes.Float("beta", 1) != 1 ||
         node->attributes.Int("transA", 0) != 0))
      return std::nullopt;
    l.transposed_ = node->attributes.Int(node->Is("Gemm") ? "transB" : "transW", 0) != 0;
    l.outputs_ = l.dims_[l.transposed_ ? 0 : 1];
    l.inputs_ = l.dims_[l.transposed_ ? 1 : 0];
  } else {
    return std::nullopt;
  }
  if (node->input(2)) {
    const ir::Tensor* b = node->constant_input(2);
    if (!b || b->dtype() != DType::kFloat32 || b->dims().rank() != 1 || b->count() != l.outputs_)
      return std::nullopt;
  }
  const ir::Tensor aligned = w->Aligned();
  l.weights_.assign(aligned.data<float>(), aligned.data<float>() + aligned.count());
  return l;
}

bool Layer::padded() const {
  if (!conv_) return false;
  const std::string_view automatic = node_->attributes.String("auto_pad", "NOTSET");
  if (automatic != "NOTSET" && automatic != "VALID") return taps_ > 1;
  const auto pads = node_->attributes.Ints("pads");
  return std::any_of(pads.begin(), pads.end(), [](int64_t p) { return p != 0; });
}

std::vector<double> Layer::OutputMagnitudes() const {
  std::vector<double> out(static_cast<size_t>(outputs_), 0);
  ForEach([&](size_t i, size_t o, size_t) {
    out[o] = std::max(out[o], std::fabs(double{weights_[i]}));
  });
  return out;
}

std::vector<double> Layer::InputMagnitudes() const {
  std::vector<double> out(static_cast<size_t>(inputs_), 0);
  ForEach([&](size_t i, size_t, size_t c) {
    out[c] = std::max(out[c], std::fabs(double{weights_[i]}));
  });
  return out;
}

void Layer::ScaleOutputs(const std::vector<double>& by) {
  ForEach(
      [&](size_t i, size_t o, size_t) { weights_[i] = static_cast<float>(weights_[i] * by[o]); });
}

void Layer::ScaleInputs(const std::vector<double>& by) {
  ForEach(
      [&](size_t i, size_t, size_t c) { weights_[i] = static_cast<float>(weights_[i] * by[c]); });
}

std::vector<double> Layer::Response(const std::vector<double>& x) const {
  std::vector<double> out(static_cast<size_t>(outputs_), 0);
  ForEach([&](size_t i, size_t o, size_t c) { out[o] += weights_[i] * x[c]; });
  return out;
}

std::vector<double> Layer::Bias() const {
  std::vector<double> out(static_cast<size_t>(outputs_), 0);
  if (const ir::Tensor* b = node_->constant_input(2)) {
    const ir::Tensor aligned = b->Aligned();
    for (size_t i = 0; i < out.size(); ++i) out[i] = aligned.data<float>()[i];
  }
  return out;
}

std::vector<float> Layer::Matrix() const {
  std::vector<float> out(static_cast<size_t>(outputs_ * inputs_));
  ForEach([&](size_t i, size_t o, size_t c) {
    out[o * static_cast<size_t>(inputs_) + c] = weights_[i];
  });
  return out;
}

void Layer::StoreWeights(ir::Graph& graph) {
  ReplaceConstant(graph, node_, 1, ir::Tensor::Of<float>(dims_, weights_), node_->name() + "/w");
}

void Layer::StoreBias(ir::Graph& graph, const std::vector<double>& bias) {
  std::vector<float> values(bias.begin(), bias.end());
  ReplaceConstant(graph, node_, 2, ir::Tensor::Of<float>({outputs_}, values), node_->name() + "/b");
}

void AddBiases(ir::Graph& graph) {
  for (ir::Node* node : graph.NodeList()) {
    auto layer = Layer::Of(node);
    if (layer && !node->input(2) && !node->Is("MatMul"))
      layer->StoreBias(graph, std::vector<double>(static_cast<size_t>(layer->outputs()), 0));
  }
}

void ReplaceConstant(ir::Graph& graph, ir::Node* node, size_t input, ir::Tensor tensor,
                     const std::string& name) {
  ir::Value* old = node->input(input);
  if (old && old->is_constant() && old->uses().size() == 1 && !old->is_output()) {
    graph.SetConstant(old, std::move(tensor));
    return;
  }
  ir::Value* fresh = graph.AddConstant(old ? old->name() : name, std::move(tensor));
  graph.SetInput(node, input, fresh);
}

}  // namespace slipway::quant
