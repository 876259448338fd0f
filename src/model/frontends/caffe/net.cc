#include "model/frontends/caffe/net.h"

#include <algorithm>

namespace slipway::caffe {
namespace {

struct OldType {
  int number;  // V1LayerParameter.LayerType
  const char* v1;
  const char* v0;  // null: V0 had no such layer
  const char* type;
};
constexpr OldType kOldTypes[] = {
    {35, "ABSVAL", nullptr, "AbsVal"},
    {1, "ACCURACY", "accuracy", "Accuracy"},
    {30, "ARGMAX", nullptr, "ArgMax"},
    {2, "BNLL", "bnll", "BNLL"},
    {3, "CONCAT", "concat", "Concat"},
    {37, "CONTRASTIVE_LOSS", nullptr, "ContrastiveLoss"},
    {4, "CONVOLUTION", "conv", "Convolution"},
    {5, "DATA", "data", "Data"},
    {39, "DECONVOLUTION", nullptr, "Deconvolution"},
    {6, "DROPOUT", "dropout", "Dropout"},
    {32, "DUMMY_DATA", nullptr, "DummyData"},
    {7, "EUCLIDEAN_LOSS", "euclidean_loss", "EuclideanLoss"},
    {25, "ELTWISE", nullptr, "Eltwise"},
    {38, "EXP", nullptr, "Exp"},
    {8, "FLATTEN", "flatten", "Flatten"},
    {9, "HDF5_DATA", "hdf5_data", "HDF5Data"},
    {10, "HDF5_OUTPUT", "hdf5_output", "HDF5Output"},
    {28, "HINGE_LOSS", nullptr, "HingeLoss"},
    {11, "IM2COL", "im2col", "Im2col"},
    {12, "IMAGE_DATA", "images", "ImageData"},
    {13, "INFOGAIN_LOSS", "infogain_loss", "InfogainLoss"},
    {14, "INNER_PRODUCT", "innerproduct", "InnerProduct"},
    {15, "LRN", "lrn", "LRN"},
    {29, "MEMORY_DATA", nullptr, "MemoryData"},
    {16, "MULTINOMIAL_LOGISTIC_LOSS", "multinomial_logistic_loss", "MultinomialLogisticLoss"},
    {34, "MVN", nullptr, "MVN"},
    {17, "POOLING", "pool", "Pooling"},
    {26, "POWER", nullptr, "Power"},
    {18, "RELU", "relu", "ReLU"},
    {19, "SIGMOID", "sigmoid", "Sigmoid"},
    {27, "SIGMOID_CROSS_ENTROPY_LOSS", nullptr, "SigmoidCrossEntropyLoss"},
    {36, "SILENCE", nullptr, "Silence"},
    {33, "SLICE", nullptr, "Slice"},
    {20, "SOFTMAX", "softmax", "Softmax"},
    {21, "SOFTMAX_LOSS", "softmax_loss", "SoftmaxWithLoss"},
    {22, "SPLIT", "split", "Split"},
    {23, "TANH", "tanh", "TanH"},
    {31, "THRESHOLD", nullptr, "Threshold"},
    {24, "WINDOW_DATA", "window_data", "WindowData"},
};

// Where a flat V0 field went: the parameter message of the layer's type and the field's name there.
struct OldField {
  const char* v0;
  const char* type;
  const char* message;
  const char* field;
};
constexpr OldField kOldFields[] = {
    {"num_output", "Convolution", "convolution_param", "num_output"},
    {"num_output", "InnerProduct", "inner_product_param", "num_output"},
    {"biasterm", "Convolution", "convolution_param", "bias_term"},
    {"biasterm", "InnerProduct", "inner_product_param", "bias_term"},
    {"pad", "Convolution", "convolution_param", "pad"},
    {"pad", "Pooling", "pooling_param", "pad"},
    {"kernelsize", "Convolution", "convolution_param", "kernel_size"},
    {"kernelsize", "Pooling", "pooling_param", "kernel_size"},
    {"group", "Convolution", "convolution_param", "group"},
    {"stride", "Convolution", "convolution_param", "stride"},
    {"stride", "Pooling", "pooling_param", "stride"},
    {"pool", "Pooling", "pooling_param", "pool"},
    {"dropout_ratio", "Dropout", "dropout_param", "dropout_ratio"},
    {"local_size", "LRN", "lrn_param", "local_size"},
    {"alpha", "LRN", "lrn_param", "alpha"},
    {"beta", "LRN", "lrn_param", "beta"},
    {"k", "LRN", "lrn_param", "k"},
    {"concat_dim", "Concat", "concat_param", "concat_dim"},
    {"batchsize", "Data", "data_param", "batch_size"},
    {"batchsize", "ImageData", "image_data_param", "batch_size"},
    {"cropsize", "Data", "transform_param", "crop_size"},
    {"cropsize", "ImageData", "transform_param", "crop_size"},
    {"scale", "Data", "transform_param", "scale"},
    {"scale", "ImageData", "transform_param", "scale"},
    {"mirror", "Data", "transform_param", "mirror"},
    {"meanfile", "Data", "transform_param", "mean_file"},
    {"meanfile", "ImageData", "transform_param", "mean_file"},
};

Status At(const TextField& f, const std::string& what) {
  return InvalidArgument("line " + std::to_string(f.line) + ": " + what);
}

Status Strings(Message* m, std::string_view name, std::vector<std::string>* out) {
  for (TextField& f : m->fields) {
    if (f.name != name) continue;
    if (f.message) return At(f, std::string(name) + " must be a string");
    out->push_back(f.text);
  }
  return OkStatus();
}

void Erase(Message* m, std::initializer_list<std::string_view> names) {
  std::erase_if(m->fields, [&](const TextField& f) {
    return std::find(names.begin(), names.end(), f.name) != names.end();
  });
}

// Fields V0 of `old` into parameter messages of `spec`.
void UpgradeV0(Message* old, LayerSpec* spec) {
  for (TextField& f : old->fields) {
    for (const OldField& o : kOldFields) {
      if (f.name != o.v0 || spec->type != o.type) continue;
      const Message* have = spec->params.Sub(o.message);
      Message& into = have ? *const_cast<Message*>(have) : spec->params.AddMessage(o.message);
      into.Add(o.field, f.text, f.quoted).line = f.line;
      break;
    }
  }
}

class NetReader {
 public:
  explicit NetReader(const std::vector<std::string>& stages) : stages_(stages) {}

  Result<NetSpec> Run(Message* root) {
    if (const TextField* f = root->Find("name")) net_.name = f->text;
    SLIPWAY_RETURN_IF_ERROR(Inputs(*root));
    bool old = false, current = false;
    for (TextField& f : root->fields) {
      if (f.name != "layer" && f.name != "layers") continue;
      if (!f.message) return At(f, "'" + f.name + "' must be a message: layer { ... }");
      (f.name == "layer" ? current : old) = true;
      SLIPWAY_RETURN_IF_ERROR(f.name == "layer" ? Current(f) : Old(f));
    }
    if (old && current) {
      return InvalidArgument("the net mixes 'layer' and 'layers'; use one form");
    }
    if (!pads_.empty()) {
      return Unsupported("padding layer '" + pads_.begin()->name +
                         "' does not feed a convolution or pooling; pad there instead");
    }
    if (net_.layers.empty() && net_.inputs.empty()) {
      return InvalidArgument(
          "the file defines no layers; is it a net's prototxt (a solver's names "
          "its net in the field 'net')?");
    }
    return std::move(net_);
  }

 private:
  struct Padding {
    std::string name, top, bottom, pad;
    int line;
  };

  Status Inputs(const Message& root) {
    std::vector<std::string> names;
    std::vector<int64_t> dims;
    std::vector<std::vector<int64_t>> shapes;
    for (const TextField& f : root.fields) {
      if (f.name == "input") {
        if (f.message) return At(f, "input must be a string");
        names.push_back(f.text);
      } else if (f.name == "input_dim") {
        int64_t d = 0;
        if (!ReadInt(f, &d) || d < 0 || d > INT32_MAX) return At(f, "input_dim is not a dimension");
        dims.push_back(d);
      } else if (f.name == "input_shape") {
        if (!f.message) return At(f, "input_shape must be a message");
        std::vector<int64_t>& shape = shapes.emplace_back();
        for (const TextField& d : f.message->fields) {
          int64_t v = 0;
          if (d.name != "dim" || !ReadInt(d, &v) || v < 0 || v > INT32_MAX)
            return At(d, "input_shape holds something that is no dimension");
          shape.push_back(v);
        }
      }
    }
    if (!shapes.empty() && !dims.empty())
      return InvalidArgument("the net has both input_dim and input_shape; use one");
    if (!shapes.empty() && shapes.size() != names.size()) {
      return InvalidArgument("the net has " + std::to_string(names.size()) + " inputs and " +
                             std::to_string(shapes.size()) + " input_shape; give one each");
    }
    if (!dims.empty() && dims.size() != names.size() * 4) {
      return InvalidArgument("the net has " + std::to_string(names.size()) + " inputs and " +
                             std::to_string(dims.size()) + " input_dim; give four each");
    }
    if (shapes.empty() && dims.empty() && !names.empty()) {
      return InvalidArgument("input '" + names[0] +
                             "' has no shape; add input_shape { dim: ... } to the prototxt");
    }
    for (size_t i = 0; i < names.size(); ++i) {
      net_.inputs.emplace_back(
          names[i], shapes.empty()
                        ? std::vector<int64_t>(dims.begin() + static_cast<int64_t>(4 * i),
                                               dims.begin() + static_cast<int64_t>(4 * i + 4))
                        : shapes[i]);
    }
    return OkStatus();
  }

  Status Common(TextField* f, LayerSpec* spec) {
    spec->line = f->line;
    SLIPWAY_RETURN_IF_ERROR(Strings(f->message.get(), "bottom", &spec->bottoms));
    return Strings(f->message.get(), "top", &spec->tops);
  }

  Status Keep(LayerSpec spec) {
    SLIPWAY_ASSIGN_OR_RETURN(const bool included, Included(spec));
    if (!included) return OkStatus();
    Erase(&spec.params, {"bottom", "top", "include", "exclude", "phase"});
    net_.layers.push_back(std::move(spec));
    return OkStatus();
  }

  Status Current(TextField& f) {
    LayerSpec spec;
    SLIPWAY_RETURN_IF_ERROR(Common(&f, &spec));
    if (const TextField* name = f.message->Find("name")) spec.name = name->text;
    const TextField* type = f.message->Find("type");
    if (!type || type->text.empty() || type->message) {
      return At(f, "the layer '" + spec.name + "' has no type");
    }
    spec.type = type->text;
    spec.params = std::move(*f.message);
    Erase(&spec.params, {"name", "type"});
    return Keep(std::move(spec));
  }

  Status Old(TextField& f) {
    LayerSpec spec;
    SLIPWAY_RETURN_IF_ERROR(Common(&f, &spec));
    if (const TextField* inner = f.message->Find("layer"); inner && inner->message) {
      Message& v0 = *inner->message;
      if (const TextField* name = v0.Find("name")) spec.name = name->text;
      const TextField* type = v0.Find("type");
      if (!type) return At(f, "the layer '" + spec.name + "' has no type");
      if (type->text == "padding") return AddPadding(v0, spec);
      spec.type = std::string(TypeFromV0(type->text));
      if (spec.type.empty()) {
        return Unsupported("line " + std::to_string(type->line) + ": the V0 layer '" + spec.name +
                           "' has the unknown type '" + type->text + "'");
      }
      FoldPadding(&v0, &spec);
      UpgradeV0(&v0, &spec);
      return Keep(std::move(spec));
    }
    if (const TextField* name = f.message->Find("name")) spec.name = name->text;
    const TextField* type = f.message->Find("type");
    if (!type || type->message) return At(f, "the layer '" + spec.name + "' has no type");
    int64_t number = 0;
    spec.type = std::string(ReadInt(*type, &number) ? TypeFromV1(number) : TypeFromV1(type->text));
    if (spec.type.empty()) {
      if (!type->quoted) {
        return Unsupported("line " + std::to_string(type->line) + ": the layer '" + spec.name +
                           "' has the type '" + type->text + "', which V1 of Caffe does not have");
      }
      spec.type = type->text;  // forks that write V2 names into V1 layers
    }
    spec.params = std::move(*f.message);
    Erase(&spec.params, {"name", "type", "blobs_lr", "weight_decay", "param", "blob_share_mode"});
    return Keep(std::move(spec));
  }

  Status AddPadding(const Message& v0, const LayerSpec& spec) {
    const TextField* pad = v0.Find("pad");
    if (spec.bottoms.size() != 1 || spec.tops.size() != 1 || !pad)
      return Unsupported("line " + std::to_string(spec.line) + ": padding layer '" + spec.name +
                         "' needs one bottom, one top and pad");
    pads_.push_back({spec.name, spec.tops[0], spec.bottoms[0], pad->text, spec.line});
    return OkStatus();
  }

  // A V0 padding layer gives its pad to the convolution or pooling that reads it.
  void FoldPadding(Message* v0, LayerSpec* spec) {
    if (spec->type != "Convolution" && spec->type != "Pooling") return;
    for (auto it = pads_.begin(); it != pads_.end(); ++it) {
      if (spec->bottoms.size() != 1 || spec->bottoms[0] != it->top) continue;
      spec->bottoms[0] = it->bottom;
      v0->Add("pad", it->pad).line = it->line;
      pads_.erase(it);
      return;
    }
  }

  Result<bool> Matches(const TextField& f) const {
    if (!f.message) return At(f, f.name + " must be a message");
    bool stage_wanted = false, stage_found = false;
    for (const TextField& r : f.message->fields) {
      int64_t level = 0;
      if (r.name == "phase") {
        if (r.text != "TEST" && r.text != "1") return false;
      } else if (r.name == "min_level") {
        if (!ReadInt(r, &level)) return At(r, "min_level is not a number");
        if (level > 0) return false;
      } else if (r.name == "max_level") {
        if (!ReadInt(r, &level)) return At(r, "max_level is not a number");
        if (level < 0) return false;
      } else if (r.name == "stage") {
        // All the stages of a rule must be set.
        stage_wanted = true;
        stage_found = std::find(stages_.begin(), stages_.end(), r.text) != stages_.end();
        if (!stage_found) return false;
      } else if (r.name == "not_stage") {
        if (std::find(stages_.begin(), stages_.end(), r.text) != stages_.end()) return false;
      } else {
        return At(r, "a phase rule has the unknown field '" + r.name + "'");
      }
    }
    return !stage_wanted || stage_found;
  }

  Result<bool> Included(const LayerSpec& spec) const {
    bool any_include = false, included = false, excluded = false;
    for (const TextField& f : spec.params.fields) {
      if (f.name == "phase" && f.text != "TEST" && f.text != "1") return false;
      if (f.name != "include" && f.name != "exclude") continue;
      SLIPWAY_ASSIGN_OR_RETURN(const bool matches, Matches(f));
      if (f.name == "include") {
        any_include = true;
        included |= matches;
      } else {
        excluded |= matches;
      }
    }
    if (any_include) return included;
    return !excluded;
  }

  const std::vector<std::string>& stages_;
  NetSpec net_;
  std::vector<Padding> pads_;
};

}  // namespace

std::string_view TypeFromV1(std::string_view enumerator) {
  for (const OldType& t : kOldTypes) {
    if (enumerator == t.v1) return t.type;
  }
  return {};
}

std::string_view TypeFromV1(int64_t number) {
  for (const OldType& t : kOldTypes) {
    if (number == t.number) return t.type;
  }
  return {};
}

std::string_view TypeFromV0(std::string_view type) {
  for (const OldType& t : kOldTypes) {
    if (t.v0 && type == t.v0) return t.type;
  }
  return {};
}

Result<NetSpec> ParseNet(std::string_view text, const std::vector<std::string>& stages,
                         const TextLimits& limits) {
  SLIPWAY_ASSIGN_OR_RETURN(auto root, ParseText(text, limits));
  return NetReader(stages).Run(root.get());
}

}  // namespace slipway::caffe
