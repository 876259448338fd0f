#include "model/frontends/ncnn/convert.h"

#include <algorithm>
#include <cstdio>
#include <limits>

#include "base/mapped_file.h"
#include "model/frontends/ncnn/export.h"

namespace slipway::ncnn {

using ir::Node;
using ir::Value;

int64_t Elements(const Extents& dims) {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;  // of checked types: no overflow
  return n;
}

ir::Tensor FloatVector(const std::vector<float>& values) {
  return ir::Tensor::Vector<float>(values);
}

Status Converter::Refuse(const Node& n, const std::string& why) {
  return Unsupported(n.Describe() + ": " + why +
                     "; export ONNX instead, or change the model before this node");
}

Extents Converter::Dimensions(const Value* v) {
  Extents dims;
  for (const Dim& d : *v->type().shape) dims.push_back(d.value());
  return dims;
}

Extents Converter::Shape(const Value* v) {
  Extents dims = Dimensions(v);
  if (dims.size() > 1 && dims[0] == 1) dims.erase(dims.begin());
  if (dims.empty()) dims = {1};
  return dims;
}

Status Converter::CheckTypes() const {
  auto check = [](const Value* v, const std::string& where) -> Status {
    if (v->dtype() != DType::kFloat32) {
      return Unsupported(where + ": value '" + v->name() + "' is " + DTypeName(v->dtype()) +
                         "; ncnn computes in float32 only: export the float model");
    }
    const auto dims = v->type().StaticDims();
    const auto count = dims ? CheckedBytes(DType::kFloat32, *dims) : std::nullopt;
    if (!count || *count > std::numeric_limits<int32_t>::max()) {
      return Unsupported(where + ": value '" + v->name() + "' is " + v->type().ToString() +
                         "; ncnn needs known extents below 2 GiB: fix the inputs with --shape");
    }
    return OkStatus();
  };
  for (const Value* v : graph_.inputs()) {
    SLIPWAY_RETURN_IF_ERROR(check(v, "the graph's input"));
    const Extents dims = Dimensions(v);
    if (Shape(v).size() > 4 || (dims.size() == 4 && dims[0] != 1)) {
      return Unsupported("input '" + v->name() + "' is " + v->type().ToString() +
                         "; ncnn runs one sample at a time: fix the batch to 1 with --shape");
    }
  }
  for (const auto& n : graph_.nodes()) {
    if (!n->subgraphs.empty()) return Refuse(*n, "ncnn has no control flow");
    for (const Value* v : n->outputs()) {
      if (v && v->IsUsed()) SLIPWAY_RETURN_IF_ERROR(check(v, n->Describe()));
    }
  }
  return OkStatus();
}

namespace {

void InputShape(Layer* layer, const Extents& dims) {
  const size_t n = dims.size();
  layer->params.push_back({0, dims[n - 1]});
  if (n > 1) layer->params.push_back({1, dims[n - 2]});
  if (n > 3) layer->params.push_back({11, dims[n - 3]});
  if (n > 2) layer->params.push_back({2, dims[0]});
}

}  // namespace

Blob Converter::As(const Blob& blob, const Extents& dims) {
  if (blob.dims == dims) return blob;
  Layer* layer = net_->Add("Reshape", "reshape_" + blob.name);
  layer->inputs = {blob.name};
  const std::string out = net_->NewBlob(blob.name + "_reshaped");
  layer->outputs = {out};
  InputShape(layer, dims);
  return {out, dims};
}

Result<Blob> Converter::Get(const Value* v) {
  if (auto it = blobs_.find(v); it != blobs_.end()) return it->second;
  if (!v->is_constant())
    return Internal("value '" + v->name() + "' is used before a layer makes it");
  if (v->dtype() != DType::kFloat32) {
    return Unsupported("constant '" + v->name() + "' is " + DTypeName(v->dtype()) +
                       "; ncnn computes in float32 only: export the float model");
  }
  Extents dims = Shape(v);
  if (dims.size() > 4) dims = {Elements(dims)};
  Layer* layer = net_->Add("MemoryData", v->name());
  const std::string out = net_->NewBlob(v->name());
  layer->outputs = {out};
  InputShape(layer, dims);
  layer->weights.push_back({v->constant()->Aligned(), false});
  blobs_[v] = {out, dims};
  return blobs_[v];
}

Result<Blob> Converter::Get(const Value* v, const Extents& dims) {
  SLIPWAY_ASSIGN_OR_RETURN(Blob blob, Get(v));
  return As(blob, dims);
}

Result<Blob> Converter::Along(const Value* v, int64_t* axis, size_t most) {
  SLIPWAY_ASSIGN_OR_RETURN(Blob blob, Get(v));
  const Extents all = Dimensions(v), shape = Shape(v);
  const auto dropped = static_cast<int64_t>(all.size() - shape.size());
  if (*axis >= dropped && shape.size() <= most &&
      (blob.dims == shape || all.size() == shape.size() + 1)) {
    *axis -= dropped;
    return As(blob, shape);
  }
  const auto at = static_cast<std::ptrdiff_t>(*axis);
  const int64_t before = Elements({all.begin(), all.begin() + at});
  const int64_t behind = Elements({all.begin() + at + 1, all.end()});
  Extents dims;
  if (before > 1) dims.push_back(before);
  *axis = static_cast<int64_t>(dims.size());
  dims.push_back(all[static_cast<size_t>(at)]);
  if (behind > 1) dims.push_back(behind);
  return As(blob, dims);
}

Layer* Converter::Add(const std::string& type, const Node& n, const std::vector<Blob>& inputs,
                      const Extents& dims, Blob* out) {
  Layer* layer = net_->Add(type, n.name());
  for (const Blob& b : inputs) layer->inputs.push_back(b.name);
  *out = {net_->NewBlob(n.output() ? n.output()->name() : n.name()), dims};
  layer->outputs = {out->name};
  return layer;
}

Result<ir::Tensor> Converter::Constant(const Node& n, size_t index, const char* what) {
  const ir::Tensor* t = n.constant_input(index);
  if (!t) return Refuse(n, std::string("ncnn needs its ") + what + " constant");
  if (t->dtype() != DType::kFloat32)
    return Refuse(
        n, std::string("its ") + what + " is " + DTypeName(t->dtype()) + ", ncnn takes float32");
  return t->Aligned();
}

const Int8Weights* Converter::Int8Of(const Node& n) const {
  if (!n.input(1)) return nullptr;
  const auto it = options_.int8.find(n.input(1)->name());
  return it == options_.int8.end() ? nullptr : &it->second;
}

Status Converter::AddScales(const Node& n, const Int8Weights& weights, int64_t outputs,
                            int64_t parts, int64_t term, Layer* layer) {
  const auto count = static_cast<int64_t>(weights.scales.size());
  if (count != 1 && count != outputs)
    return Refuse(n, "its weights have " + std::to_string(count) + " scales, not one for each of " +
                         std::to_string(outputs) + " outputs");
  std::vector<float> factors(static_cast<size_t>(parts));
  const int64_t each = outputs / parts;
  for (int64_t p = 0; p < parts; ++p) {
    const float scale = weights.scales[static_cast<size_t>(count == 1 ? 0 : p * each)];
    for (int64_t i = 1; count > 1 && i < each; ++i) {
      if (weights.scales[static_cast<size_t>(p * each + i)] != scale)
        return Refuse(n,
                      "ncnn has one int8 scale for each group of a convolution, its weights have "
                      "one for each output (keep it float with --keep-float)");
    }
    factors[static_cast<size_t>(p)] = 1 / scale;
  }
  const float input = 1 / weights.input_scale;
  layer->params.push_back({8, term});
  layer->weights.push_back({FloatVector(factors), false});
  layer->weights.push_back({FloatVector({input}), false});
  taken_.insert(n.input(1)->name());
  const auto number = [](float v) {
    char text[48];
    std::snprintf(text, sizeof text, " %.9g", static_cast<double>(v));
    return std::string(text);
  };
  // First all weights, then all inputs.
  table_ += layer->name + "_param_0";
  for (float f : factors) table_ += number(f);
  table_ += "\n";
  table_inputs_ += layer->name + number(input) + "\n";
  return OkStatus();
}

Status Converter::WriteNode(const ir::Node& n) {
  for (auto* find : {FindConvolution, FindElementwise, FindMovement, FindNormal, FindRecurrent}) {
    if (Writer write = find(n)) return write(*this, n);
  }
  return Refuse(n, "ncnn has no layer for it");
}

void Converter::GiveName(const std::string& from, const std::string& to) {
  for (Layer& layer : net_->layers()) {
    std::replace(layer.inputs.begin(), layer.inputs.end(), from, to);
    std::replace(layer.outputs.begin(), layer.outputs.end(), from, to);
  }
  for (auto& [value, blob] : blobs_) {
    if (blob.name == from) blob.name = to;
  }
}

Status Converter::Outputs() {
  std::set<std::string> done;
  for (const Value* v : graph_.outputs()) {
    SLIPWAY_ASSIGN_OR_RETURN(Blob blob, Get(v));
    Extents shape = Shape(v);
    if (shape.size() > 4) {
      return Unsupported("output '" + v->name() + "' is " + v->type().ToString() +
                         "; an ncnn blob has at most four dimensions: reshape it in the model");
    }
    blob = As(blob, shape);
    // The output is found by its name: a view of another value gets a layer of its own.
    std::string wanted = net_->NewBlob(v->name());
    if (wanted != v->name() && blob.name == v->name()) {
      done.insert(blob.name);
      continue;
    }
    // The layer that made it has the name for a blob of other extents.
    const auto makes = [&](const Layer& l) {
      return l.type != "Input" &&
             std::find(l.outputs.begin(), l.outputs.end(), v->name()) != l.outputs.end();
    };
    if (wanted != v->name() && !done.contains(v->name()) &&
        std::any_of(net_->layers().begin(), net_->layers().end(), makes)) {
      GiveName(v->name(), wanted);
      wanted = v->name();
    }
    done.insert(wanted);
    Layer* layer = net_->Add("Noop", "output_" + v->name());
    layer->inputs = {blob.name};
    layer->outputs = {wanted};
    blobs_[v] = {wanted, shape};
  }
  return OkStatus();
}

Status Converter::Run(Net* net) {
  net_ = net;
  SLIPWAY_RETURN_IF_ERROR(CheckTypes());
  for (const Value* v : graph_.inputs()) {
    Layer* layer = net_->Add("Input", v->name());
    const std::string out = net_->NewBlob(v->name());
    layer->outputs = {out};
    InputShape(layer, Shape(v));
    blobs_[v] = {out, Shape(v)};
  }
  for (const auto& n : graph_.nodes()) SLIPWAY_RETURN_IF_ERROR(WriteNode(*n));
  SLIPWAY_RETURN_IF_ERROR(Outputs());
  for (const auto& [name, weights] : options_.int8) {
    if (!taken_.contains(name)) {
      return Unsupported("weights '" + name +
                         "' are codes, and no layer of ncnn that computes in "
                         "int8 reads them; quantize only convolutions and linear layers");
    }
  }
  table_ += table_inputs_;
  net_->InsertSplits();
  return OkStatus();
}

std::string ParamPath(const std::string& path) {
  for (const char* end : {".param", ".bin"}) {
    if (path.ends_with(end))
      return path.substr(0, path.size() - std::string(end).size()) + ".param";
  }
  return path + ".param";
}

namespace {

Result<Exported> Convert(const ir::Graph& graph, const ExportOptions& options, Net* net,
                         std::string* param) {
  Converter converter(graph, options);
  SLIPWAY_RETURN_IF_ERROR(converter.Run(net));
  Exported done;
  done.layers = static_cast<int>(net->layers().size());
  done.table = converter.table();
  done.int8_layers = converter.int8_layers();
  *param = net->ParamText(&done.blobs);
  return done;
}

}  // namespace

Result<Exported> ExportNcnn(const ir::Graph& graph, const std::string& path,
                            const ExportOptions& options) {
  Net net;
  std::string text;
  SLIPWAY_ASSIGN_OR_RETURN(Exported done, Convert(graph, options, &net, &text));
  const std::string param = ParamPath(path);
  const std::string bin = param.substr(0, param.size() - 6) + ".bin";
  SLIPWAY_ASSIGN_OR_RETURN(done.weight_bytes, net.WriteBin(bin, options.half_weights));
  SLIPWAY_RETURN_IF_ERROR(WriteFile(param, std::string_view(text)));
  return done;
}

Result<NcnnFiles> ExportNcnnFiles(const ir::Graph& graph, const ExportOptions& options) {
  Net net;
  NcnnFiles files;
  SLIPWAY_ASSIGN_OR_RETURN(files.done, Convert(graph, options, &net, &files.param));
  net.Bin(options.half_weights, [&](const void* data, size_t bytes) {
    files.bin.append(static_cast<const char*>(data), bytes);
  });
  files.done.weight_bytes = static_cast<int64_t>(files.bin.size());
  return files;
}

}  // namespace slipway::ncnn
