#include "model/frontends/caffe/export.h"

#include <algorithm>
#include <cstdio>

#include "model/frontends/caffe/export_context.h"

namespace slipway::caffe {

std::string Number(double v) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.9g", v);
  return text;
}

ExportContext::ExportContext(const ir::Graph& graph) : graph_(graph) {
  for (const auto& v : graph.values()) taken_.insert(v->name());
}

Status ExportContext::Start() {
  net_.Add("name", graph_.name, true);
  model_.Text(1, graph_.name);
  for (const ir::Value* v : graph_.inputs()) {
    auto dims = v->type().StaticDims();
    if (!dims || v->dtype() != DType::kFloat32) {
      return Unsupported("input '" + v->name() + "' is " + v->type().ToString() +
                         "; Caffe needs float32 and known extents: fix them with --shape");
    }
    net_.Add("input", v->name(), true);
    Message& shape = net_.AddMessage("input_shape");
    for (const int64_t d : *dims) shape.Add("dim", std::to_string(d));
  }
  // Caffe's outputs are the blobs that no layer reads: one that layers read too gets a copy.
  for (const ir::Value* v : graph_.outputs()) {
    if (v->is_constant() || v->is_input())
      return Unsupported("output '" + v->name() +
                         "' is an input or a constant, which a Caffe net does not give back");
    if (!v->uses().empty()) inner_[v] = Fresh(v->name() + "_inner");
  }
  return OkStatus();
}

Result<CaffeFiles> ExportContext::Finish() {
  // A caffemodel names all layers, also those without blobs.
  for (const auto& [name, type] : layers_) {
    if (!learned_.contains(name)) Blobs(name, type, {});
  }
  if (model_.size() > size_t{INT32_MAX})
    return ResourceExhausted("the weights exceed 2 GiB, which a caffemodel does not hold");
  return CaffeFiles{PrintText(net_), model_.Finish()};
}

Status ExportContext::Write(const ir::Node& node) {
  node_ = &node;
  const bool detections = node.IsSlipway("DetectionOutput");
  for (const ir::Value* v : node.outputs()) {
    if (v && v->dtype() != DType::kFloat32)
      return No("its output is " + v->type().ToString() + "; Caffe computes in float32");
    if (v && !v->type().IsStatic() && !detections)
      return No("the extent of its output is not known");
  }
  ExportFunction function = nullptr;
  for (const auto table : {WindowExports(), ElementwiseExports(), ShapeExports()}) {
    for (const ExportEntry& e : table) {
      if (node.Is(e.op, e.domain)) function = e.function;
    }
  }
  if (!function)
    return No("Caffe has no layer for it; export to another format, or replace it in the model");
  SLIPWAY_RETURN_IF_ERROR(function(*this));
  for (const ir::Value* v : node.outputs()) {
    if (v && inner_.contains(v)) Layer("Split", {inner_[v]}, {v->name()});
  }
  return OkStatus();
}

int64_t ExportContext::Axis(int64_t fallback) const {
  const int64_t a = A().Int("axis", fallback);
  return a < 0 ? a + Rank() : a;
}

Result<const ir::Tensor*> ExportContext::Weight(size_t i, const char* what) const {
  const ir::Tensor* t = node_->constant_input(i);
  if (!t || t->dtype() != DType::kFloat32)
    return Unsupported(std::string(what) + " is no float32 constant, which a Caffe layer needs");
  return t;
}

std::optional<float> ExportContext::Scalar(const ir::Tensor* t) {
  if (!t || t->dtype() != DType::kFloat32 || t->count() != 1) return std::nullopt;
  return t->Aligned().data<float>()[0];
}

std::string ExportContext::NameOf(const ir::Value* v) {
  auto it = inner_.find(v);
  return it == inner_.end() ? v->name() : it->second;
}

Result<std::string> ExportContext::Bottom(size_t i) {
  const ir::Value* v = node_->input(i);
  if (!v) return Unsupported("its input " + std::to_string(i) + " is missing");
  if (v->is_constant() && parameters_.insert(v).second) {
    if (v->dtype() != DType::kFloat32)
      return Unsupported("its input '" + v->name() + "' is no float32 constant");
    Message& shape =
        Layer("Parameter", {}, {v->name()}).AddMessage("parameter_param").AddMessage("shape");
    for (const int64_t d : v->constant()->dims()) shape.Add("dim", std::to_string(d));
    Blobs(v->name(), "Parameter", {{v->constant()->dims(), v->constant()->bytes()}});
  }
  return NameOf(v);
}

std::string ExportContext::Top(size_t i) {
  const ir::Value* v = node_->output(i);
  return v ? NameOf(v) : Fresh(node_->output(0)->name() + "_unused");
}

std::string ExportContext::Fresh(const std::string& wanted) {
  std::string name = wanted;
  for (int i = 1; !taken_.insert(name).second; ++i) name = wanted + "_" + std::to_string(i);
  return name;
}

Message& ExportContext::Layer(const std::string& type, const Names& bottoms, const Names& tops) {
  Message& layer = net_.AddMessage("layer");
  layers_.emplace_back(tops.empty() ? Fresh(type) : tops[0], type);
  layer.Add("name", layers_.back().first, true);
  layer.Add("type", type, true);
  for (const std::string& b : bottoms) layer.Add("bottom", b, true);
  for (const std::string& t : tops) layer.Add("top", t, true);
  return layer;
}

void ExportContext::Blobs(const std::string& name, const std::string& type,
                          const std::vector<std::pair<Dims, std::span<const uint8_t>>>& blobs) {
  learned_.insert(name);
  wire::WireWriter layer;
  layer.Text(1, name);
  layer.Text(2, type);
  for (const auto& [dims, bytes] : blobs) {
    wire::WireWriter blob, shape;
    shape.PackedInts(1, std::vector<int64_t>(dims.begin(), dims.end()));
    blob.Message(7, shape);
    blob.Blob(5, bytes);
    layer.Message(7, blob);
  }
  model_.Message(100, layer);
}

std::span<const uint8_t> ExportContext::Own(std::vector<float> values) {
  own_.push_back(std::move(values));
  return {reinterpret_cast<const uint8_t*>(own_.back().data()), own_.back().size() * sizeof(float)};
}

std::string ExportContext::Power(const std::string& x, double power, double scale, double shift,
                                 const std::string& to) {
  Message& p = Layer("Power", {x}, {to}).AddMessage("power_param");
  if (power != 1) p.Add("power", Number(power));
  if (scale != 1) p.Add("scale", Number(scale));
  if (shift != 0) p.Add("shift", Number(shift));
  return to;
}

std::string ExportContext::Eltwise(const char* operation, const Names& bottoms,
                                   const std::string& to, const std::vector<double>& coeff) {
  Message& p = Layer("Eltwise", bottoms, {to}).AddMessage("eltwise_param");
  p.Add("operation", operation);
  for (const double c : coeff) p.Add("coeff", Number(c));
  return to;
}

std::string ExportContext::Reshape(const std::string& x, const Dims& dims, const std::string& to) {
  Message& shape = Layer("Reshape", {x}, {to}).AddMessage("reshape_param").AddMessage("shape");
  for (const int64_t d : dims) shape.Add("dim", std::to_string(d));
  return to;
}

std::string ExportContext::Permute(const std::string& x, std::span<const int64_t> order,
                                   const std::string& to) {
  Message& p = Layer("Permute", {x}, {to}).AddMessage("permute_param");
  for (const int64_t axis : order) p.Add("order", std::to_string(axis));
  return to;
}

std::string ExportContext::Cut(const std::string& x, const Dims& dims, int axis, int64_t start,
                               int64_t length, const std::string& to) {
  const int64_t end = start + length, extent = dims[static_cast<size_t>(axis)];
  Names tops, silent;
  if (start > 0) silent.push_back(Fresh(to + "_before"));
  if (end < extent) silent.push_back(Fresh(to + "_behind"));
  if (silent.empty()) {
    Layer("Split", {x}, {to});
    return to;
  }
  if (start > 0) tops.push_back(silent.front());
  tops.push_back(to);
  if (end < extent) tops.push_back(silent.back());
  Message& layer = Layer("Slice", {x}, tops);
  layer.fields.front().text = layers_.back().first = to;  // called as the piece that counts
  Message& p = layer.AddMessage("slice_param");
  p.Add("axis", std::to_string(axis));
  if (start > 0) p.Add("slice_point", std::to_string(start));
  if (end < extent) p.Add("slice_point", std::to_string(end));
  Layer("Silence", silent, {});
  return to;
}

Result<CaffeFiles> ExportCaffe(const ir::Graph& graph) {
  ExportContext context(graph);
  SLIPWAY_RETURN_IF_ERROR(context.Start());
  for (const auto& node : graph.nodes())
    SLIPWAY_RETURN_IF_ERROR(context.Write(*node).With(node->Describe()));
  return context.Finish();
}

}  // namespace slipway::caffe
