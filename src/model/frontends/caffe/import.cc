#include "model/frontends/caffe/import.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <unordered_map>

#include "base/checked.h"
#include "base/mapped_file.h"
#include "model/frontends/caffe/layer.h"
#include "model/frontends/caffe/net.h"
#include "model/frontends/caffe/weights.h"
#include "model/ir/infer.h"
#include "model/ir/verify.h"

namespace slipway::caffe {
namespace {

bool OneOf(std::string_view what, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), what) != list.end();
}
bool IsData(std::string_view type) {
  return OneOf(type, {"Input", "Data", "ImageData", "HDF5Data", "MemoryData", "WindowData",
                      "DummyData", "AnnotatedData"});
}
// Layers that at test time make nothing that deployment needs.
bool IsDropped(std::string_view type) {
  return OneOf(
      type, {"Accuracy", "ContrastiveLoss", "EuclideanLoss", "HDF5Output", "HingeLoss",
             "InfogainLoss", "MultinomialLogisticLoss", "MultiBoxLoss", "SmoothL1Loss", "Silence"});
}
// Loss layers that stand for what they compute of their first bottom.
bool IsLoss(std::string_view type) {
  return OneOf(type, {"SoftmaxWithLoss", "SigmoidCrossEntropyLoss"});
}

class Importer {
 public:
  Importer(NetSpec net, Weights weights, const ImportOptions& options)
      : net_(std::move(net)),
        weights_(std::move(weights)),
        options_(options),
        graph_(std::make_unique<ir::Graph>()) {}

  Result<std::unique_ptr<ir::Graph>> Run() {
    if (!net_.name.empty()) graph_->name = net_.name;
    graph_->metadata["producer"] = "caffe";
    SLIPWAY_RETURN_IF_ERROR(CheckTypes());
    SLIPWAY_RETURN_IF_ERROR(CheckWeights());
    Count();
    for (const auto& [name, dims] : net_.inputs)
      SLIPWAY_RETURN_IF_ERROR(AddInput(name, SymShape(dims.begin(), dims.end())));
    for (const LayerSpec& layer : net_.layers) {
      if (IsDropped(layer.type)) {
        // A dropped loss leaves what it compares as an output.
        if (layer.type != "Silence") continue;
        for (const std::string& b : layer.bottoms) unread_.erase(b);
        continue;
      }
      if (auto s = AddLayer(layer); !s.ok()) {
        return Status(s.code(), layer.Describe() + " (line " + std::to_string(layer.line) +
                                    "): " + s.message());
      }
    }
    for (const auto& [name, dims] : options_.input_shapes) {
      if (used_shapes_.contains(name)) continue;
      std::string list;
      for (const ir::Value* v : graph_->inputs())
        list += (list.empty() ? "'" : ", '") + v->name() + "'";
      return InvalidArgument("a shape is given for input '" + name +
                             "', which the net does not have; its inputs are " + list);
    }
    SLIPWAY_RETURN_IF_ERROR(AddOutputs());
    SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*graph_));
    SLIPWAY_RETURN_IF_ERROR(ir::Verify(*graph_));
    return std::move(graph_);
  }

 private:
  Status CheckTypes() const {
    std::map<std::string, std::string> unknown;  // type -> first layer
    for (const LayerSpec& l : net_.layers) {
      if (IsData(l.type) || IsDropped(l.type) || FindLayer(l.type) || unknown.size() >= 30)
        continue;
      unknown.try_emplace(l.type, l.name);
    }
    if (unknown.empty()) return OkStatus();
    std::string list;
    for (const auto& [type, name] : unknown)
      list += (list.empty() ? "" : ", ") + type + " (layer '" + name + "')";
    return Unsupported("the net has layers that Slipway does not know: " + list +
                       "; replace them, or cut the net before them");
  }

  // A model of another net shares no layer name with this one.
  Status CheckWeights() const {
    if (weights_.layers.empty()) return OkStatus();
    for (const LayerSpec& l : net_.layers) {
      if (weights_.layers.contains(l.name)) return OkStatus();
    }
    return InvalidArgument("no layer of the prototxt has weights in the caffemodel (it has '" +
                           weights_.order.front().substr(0, 100) +
                           "'); they belong to different nets");
  }

  // The last layer that writes each blob, and which blobs anything reads.
  void Count() {
    for (size_t i = 0; i < net_.layers.size(); ++i) {
      for (const std::string& t : net_.layers[i].tops) last_writer_[t] = &net_.layers[i];
      const bool loss = IsLoss(net_.layers[i].type);
      if (IsDropped(net_.layers[i].type)) continue;
      for (size_t b = 0; b < net_.layers[i].bottoms.size(); ++b) {
        if (!loss || b == 0) read_.insert(net_.layers[i].bottoms[b]);
      }
    }
  }

  Status AddInput(const std::string& name, SymShape shape) {
    if (auto it = options_.input_shapes.find(name); it != options_.input_shapes.end()) {
      shape = it->second;
      used_shapes_.insert(name);
    }
    std::vector<int64_t> known;
    for (const Dim& d : shape) known.push_back(d.known() ? d.value() : 1);
    if (shape.size() > static_cast<size_t>(kMaxRank) || !CheckedBytes(DType::kFloat32, known))
      return InvalidArgument("input '" + name + "' has an impossible shape");
    if (blobs_.contains(name)) return InvalidArgument("two inputs are called '" + name + "'");
    ir::Type type;
    type.dtype = DType::kFloat32;
    type.shape = std::move(shape);
    blobs_[name] = graph_->AddInput(name, std::move(type));
    return inferer_.AddInput(*blobs_[name]);
  }

  static Result<SymShape> ReadShape(const Message& m) {
    SymShape dims;
    for (const TextField& f : m.fields) {
      int64_t d = 0;
      if (f.name != "dim" || !ReadInt(f, &d) || d < 0 || d > INT32_MAX)
        return InvalidArgument("shape holds something that is no dimension");
      dims.push_back(d);
    }
    return dims;
  }

  Status AddData(const LayerSpec& l) {
    if (!l.bottoms.empty()) return InvalidArgument("a data layer has no bottoms");
    std::vector<SymShape> shapes;
    const Message* input = l.params.Sub(l.type == "DummyData" ? "dummy_data_param" : "input_param");
    if (input) {
      for (const TextField& f : input->fields) {
        if (f.name != "shape" || !f.message) continue;
        SLIPWAY_ASSIGN_OR_RETURN(auto dims, ReadShape(*f.message));
        shapes.push_back(std::move(dims));
      }
    }
    const Message* transform = l.params.Sub("transform_param");
    if (transform) {
      std::string text = PrintText(*transform);
      std::replace(text.begin(), text.end(), '\n', ' ');
      graph_->metadata["transform." + l.name] = text;
    }
    if (shapes.empty() && transform) {
      // Images of a data layer: only a crop tells their size.
      int64_t crop = 0, batch = 1;
      if (const TextField* f = transform->Find("crop_size"); f && ReadInt(*f, &crop) && crop > 0) {
        for (const char* group : {"data_param", "image_data_param", "memory_data_param"}) {
          const Message* m = l.params.Sub(group);
          const TextField* b = m ? m->Find("batch_size") : nullptr;
          if (b) ReadInt(*b, &batch);
        }
        if (crop > INT32_MAX || batch < 1 || batch > INT32_MAX)
          return InvalidArgument("crop_size or batch_size is impossible");
        shapes.push_back({batch, 3, crop, crop});
      }
    }
    for (size_t i = 0; i < l.tops.size(); ++i) {
      const std::string& top = l.tops[i];
      if (!read_.contains(top)) continue;  // labels
      if (shapes.size() == 1 && l.type != "Data" && l.type != "ImageData") {
        SLIPWAY_RETURN_IF_ERROR(AddInput(top, shapes[0]));
      } else if (i < shapes.size()) {
        SLIPWAY_RETURN_IF_ERROR(AddInput(top, shapes[i]));
      } else if (options_.input_shapes.contains(top)) {
        SLIPWAY_RETURN_IF_ERROR(AddInput(top, {}));
      } else {
        return InvalidArgument("the shape of '" + top + "' is not known; give --shape " + top +
                               "=1,3,224,224 or a deploy prototxt with an Input layer");
      }
      unread_[top] = order_++;
    }
    return OkStatus();
  }

  Status AddLayer(const LayerSpec& l) {
    if (IsData(l.type)) return AddData(l);
    std::vector<ir::Value*> bottoms;
    const size_t wanted = IsLoss(l.type) ? std::min<size_t>(1, l.bottoms.size()) : l.bottoms.size();
    if (IsLoss(l.type) && wanted == 0) return InvalidArgument("has no bottom");
    for (size_t i = 0; i < l.bottoms.size(); ++i) {
      const std::string& b = l.bottoms[i];
      if (i >= wanted) continue;
      auto it = blobs_.find(b);
      if (it == blobs_.end())
        return InvalidArgument("reads '" + b + "', which no layer before it makes");
      bottoms.push_back(it->second);
      unread_.erase(b);
    }
    auto found = weights_.layers.find(l.name);
    const LayerBlobs* blobs = found == weights_.layers.end() ? nullptr : &found->second;
    LayerContext context(graph_.get(), &inferer_, l, bottoms, blobs, options_.random_weights);
    const Status status = FindLayer(l.type)(context);
    // Rather that than what the layer made of an extent it could not know.
    if (const ir::Value* v = context.unknown()) {
      return Unsupported("needs the extents of its bottoms as numbers, but '" + v->name() +
                         "' is " + v->type().ToString() + "; give the inputs numbers by --shape");
    }
    SLIPWAY_RETURN_IF_ERROR(status);
    for (size_t i = 0; i < l.tops.size(); ++i) {
      ir::Value* v = context.tops()[i];
      const std::string& top = l.tops[i];
      if (!v) {
        if (i == 0) return InvalidArgument("makes nothing");
        continue;
      }
      const bool in_place = std::find(l.bottoms.begin(), l.bottoms.end(), top) != l.bottoms.end();
      if (blobs_.contains(top) && !in_place)
        return InvalidArgument("its top '" + top + "' is made by an earlier layer too");
      // The last writer's value has the blob's name, earlier ones that of their layer.
      if (last_writer_[top] == &l && v->producer() && v->name() != top &&
          !std::count(bottoms.begin(), bottoms.end(), v) && !graph_->FindValue(top)) {
        graph_->Rename(v, top);
      }
      blobs_[top] = v;
      unread_[top] = order_++;
    }
    return OkStatus();
  }

  Status AddOutputs() {
    std::vector<std::pair<size_t, std::string>> outputs;
    for (const auto& [name, order] : unread_) outputs.emplace_back(order, name);
    std::sort(outputs.begin(), outputs.end());
    for (const auto& [order, name] : outputs) {
      ir::Value* v = blobs_.at(name);
      if (v->is_input() && v->name() == name) continue;  // an input that nothing reads
      if (!v->producer() || v->name() != name || v->is_output()) {
        // A blob that shares its value with another one: give it a name of its own.
        ir::Node* node = graph_->AddNode({.op = "Identity", .inputs = {v}, .outputs = {name}});
        v = node->output();
      }
      graph_->AddOutput(v);
    }
    if (graph_->outputs().empty())
      return InvalidArgument(
          "the net has no output: every blob is read by a layer, or there are no "
          "layers at TEST time");
    graph_->RemoveUnused();
    return OkStatus();
  }

  NetSpec net_;
  Weights weights_;
  const ImportOptions& options_;
  std::unique_ptr<ir::Graph> graph_;
  ir::Inferer inferer_;
  std::unordered_map<std::string, ir::Value*> blobs_;
  std::unordered_map<std::string, const LayerSpec*> last_writer_;
  std::unordered_map<std::string, size_t> unread_;  // made and not read since -> order
  std::set<std::string> read_, used_shapes_;
  size_t order_ = 0;
};

}  // namespace

Result<std::unique_ptr<ir::Graph>> ImportCaffeBytes(std::string_view prototxt,
                                                    std::span<const uint8_t> weights,
                                                    std::shared_ptr<const void> owner,
                                                    const ImportOptions& options) {
  SLIPWAY_ASSIGN_OR_RETURN(NetSpec net, ParseNet(prototxt, options.stages));
  Weights w;
  if (!weights.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(w, ReadWeights(weights, std::move(owner)));
  }
  return Importer(std::move(net), std::move(w), options).Run();
}

Result<std::unique_ptr<ir::Graph>> ImportCaffe(const std::string& prototxt,
                                               const std::string& caffemodel,
                                               const ImportOptions& options) {
  SLIPWAY_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> text, MappedFile::Open(prototxt));
  auto net = ParseNet({reinterpret_cast<const char*>(text->bytes().data()), text->bytes().size()},
                      options.stages);
  if (!net.ok()) return std::move(net).status().With("'" + prototxt + "'");
  Weights weights;
  if (!caffemodel.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(caffemodel));
    auto read = ReadWeights(file->bytes(), file);
    if (!read.ok()) return std::move(read).status().With("'" + caffemodel + "'");
    weights = std::move(*read);
  }
  auto graph = Importer(std::move(*net), std::move(weights), options).Run();
  if (!graph.ok()) return std::move(graph).status().With("'" + prototxt + "'");
  return graph;
}

}  // namespace slipway::caffe
