#include "data/preprocess.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/mapped_file.h"

namespace slipway::data {
namespace {

constexpr const char* kKeys = "resize, crop, color, scale, mean, std, layout, filter";
constexpr int64_t kMaxSide = 1 << 16;

std::string At(const std::string& name, const YAML::Mark& mark) {
  return name + " line " + std::to_string(mark.line + 1) + ": ";
}

Status ReadNumbers(const YAML::Node& node, const std::string& where, size_t max_count,
                   std::vector<double>* out) {
  const auto one = [&](const YAML::Node& n) {
    double v = 0;
    if (!n.IsScalar() || !YAML::convert<double>::decode(n, v) || !std::isfinite(v)) return false;
    out->push_back(v);
    return true;
  };
  if (node.IsSequence()) {
    if (node.size() == 0 || node.size() > max_count) {
      return InvalidArgument(where + "takes one number or a list of at most " +
                             std::to_string(max_count));
    }
    for (const auto& n : node) {
      if (!one(n)) return InvalidArgument(where + "holds something that is not a finite number");
    }
    return OkStatus();
  }
  if (!one(node)) return InvalidArgument(where + "is not a finite number or a list of them");
  return OkStatus();
}

Status ReadSides(const YAML::Node& node, const std::string& where, std::vector<int64_t>* out) {
  std::vector<double> v;
  SLIPWAY_RETURN_IF_ERROR(ReadNumbers(node, where, 2, &v));
  for (double d : v) {
    if (d != std::floor(d) || d < 1 || d > kMaxSide) {
      return InvalidArgument(where + "takes whole numbers of pixels from 1 to 65536");
    }
    out->push_back(static_cast<int64_t>(d));
  }
  return OkStatus();
}

std::string Lower(std::string s) {
  for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return s;
}

Status ReadKey(const std::string& key, const YAML::Node& node, const std::string& where,
               Preprocess* p) {
  std::vector<double> v;
  if (key == "resize") return ReadSides(node, where, &p->resize);
  if (key == "crop") return ReadSides(node, where, &p->crop);
  if (key == "scale") {
    SLIPWAY_RETURN_IF_ERROR(ReadNumbers(node, where, 1, &v));
    p->scale = static_cast<float>(v[0]);
    return OkStatus();
  }
  if (key == "mean" || key == "std") {
    SLIPWAY_RETURN_IF_ERROR(ReadNumbers(node, where, 4, &v));
    auto& to = key == "mean" ? p->mean : p->std;
    for (double d : v) to.push_back(static_cast<float>(d));
    if (key == "std") {
      for (float f : p->std) {
        if (f == 0) return InvalidArgument(where + "holds 0, which would divide by zero");
      }
    }
    return OkStatus();
  }
  const std::string value = node.IsScalar() ? Lower(node.Scalar()) : "";
  if (key == "color") {
    if (value == "rgb")
      p->color = ColorOrder::kRgb;
    else if (value == "bgr")
      p->color = ColorOrder::kBgr;
    else if (value == "gray" || value == "grey")
      p->color = ColorOrder::kGray;
    else
      return InvalidArgument(where + "is RGB, BGR or gray");
    return OkStatus();
  }
  if (key == "layout") {
    if (value == "nchw")
      p->layout = Layout::kNchw;
    else if (value == "nhwc")
      p->layout = Layout::kNhwc;
    else
      return InvalidArgument(where + "is NCHW or NHWC");
    return OkStatus();
  }
  if (key == "filter") {
    if (value == "bilinear")
      p->filter = Resample::kBilinear;
    else if (value == "bicubic")
      p->filter = Resample::kBicubic;
    else if (value == "nearest")
      p->filter = Resample::kNearest;
    else
      return InvalidArgument(where + "is bilinear, bicubic or nearest");
    return OkStatus();
  }
  return InvalidArgument(where + "is not known; keys are " + kKeys);
}

struct Plan {
  int64_t height, width;  // after resize
  int64_t top, left, out_height, out_width;
  int64_t channels;
};

// Python's round(): half to even, as torchvision's center_crop does.
int64_t HalfToEven(int64_t n) { return n / 2 + (n % 2 && (n / 2) % 2 ? 1 : 0); }

Result<Plan> MakePlan(const Preprocess& p, int64_t height, int64_t width, int64_t channels,
                      const std::string& name) {
  if (height < 1 || width < 1) return InvalidArgument(name + ": the image is empty");
  Plan plan{height, width, 0, 0, height, width, channels};
  if (p.resize.size() == 2) {
    plan.height = p.resize[0];
    plan.width = p.resize[1];
  } else if (p.resize.size() == 1) {
    const int64_t side = p.resize[0];
    if (width <= height) {
      plan.width = side;
      plan.height = side * height / width;
    } else {
      plan.height = side;
      plan.width = side * width / height;
    }
  }
  plan.height = std::max<int64_t>(plan.height, 1);
  plan.width = std::max<int64_t>(plan.width, 1);
  if (plan.height * plan.width > (int64_t{1} << 27)) {
    return ResourceExhausted(name + ": resized to " + std::to_string(plan.width) + "x" +
                             std::to_string(plan.height) + " pixels, which are too many");
  }
  plan.out_height = plan.height;
  plan.out_width = plan.width;
  if (!p.crop.empty()) {
    plan.out_height = p.crop[0];
    plan.out_width = p.crop.back();
    if (plan.out_height > plan.height || plan.out_width > plan.width) {
      return InvalidArgument(name + ": crop " + std::to_string(plan.out_width) + "x" +
                             std::to_string(plan.out_height) + " does not fit in " +
                             std::to_string(plan.width) + "x" + std::to_string(plan.height) +
                             "; add or raise resize in preprocess.yaml");
    }
    plan.top = HalfToEven(plan.height - plan.out_height);
    plan.left = HalfToEven(plan.width - plan.out_width);
  }
  if (p.color == ColorOrder::kGray) plan.channels = 1;
  if (p.color == ColorOrder::kRgb || p.color == ColorOrder::kBgr) plan.channels = 3;
  for (const auto* list : {&p.mean, &p.std}) {
    if (list->size() > 1 && static_cast<int64_t>(list->size()) != plan.channels) {
      return InvalidArgument(name + ": " + (list == &p.mean ? "mean" : "std") + " has " +
                             std::to_string(list->size()) + " values but the image has " +
                             std::to_string(plan.channels) +
                             " channels; correct preprocess.yaml or set color in it");
    }
  }
  return plan;
}

std::string Number(float v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", static_cast<double>(v));
  return text;
}

}  // namespace

Result<Preprocess> ParsePreprocess(const std::string& yaml, const std::string& name) {
  try {
    const YAML::Node root = YAML::Load(yaml);
    Preprocess p;
    if (root.IsNull()) return p;
    if (!root.IsMap()) {
      return InvalidArgument(At(name, root.Mark()) + "expected 'key: value' lines; keys are " +
                             kKeys);
    }
    for (const auto& entry : root) {
      if (!entry.first.IsScalar())
        return InvalidArgument(At(name, entry.first.Mark()) + "a key is not a word");
      const std::string key = entry.first.Scalar();
      SLIPWAY_RETURN_IF_ERROR(
          ReadKey(key, entry.second, At(name, entry.first.Mark()) + "'" + key + "' ", &p));
    }
    return p;
  } catch (const YAML::Exception& e) {
    return InvalidArgument(At(name, e.mark) + e.msg);
  }
}

Result<Preprocess> ReadPreprocess(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  return ParsePreprocess(text, path);
}

std::string PreprocessToYaml(const Preprocess& p) {
  std::string out;
  const auto list = [&](const char* key, const auto& values, auto&& text) {
    if (values.empty()) return;
    out += std::string(key) + ": [";
    for (size_t i = 0; i < values.size(); ++i) out += (i ? ", " : "") + text(values[i]);
    out += "]\n";
  };
  const auto whole = [](int64_t v) { return std::to_string(v); };
  list("resize", p.resize, whole);
  list("crop", p.crop, whole);
  if (p.color == ColorOrder::kRgb) out += "color: RGB\n";
  if (p.color == ColorOrder::kBgr) out += "color: BGR\n";
  if (p.color == ColorOrder::kGray) out += "color: gray\n";
  out += "scale: " + Number(p.scale) + "\n";
  list("mean", p.mean, Number);
  list("std", p.std, Number);
  out += p.layout == Layout::kNchw ? "layout: NCHW\n" : "layout: NHWC\n";
  if (p.filter == Resample::kBicubic) out += "filter: bicubic\n";
  if (p.filter == Resample::kNearest) out += "filter: nearest\n";
  return out;
}

Result<std::vector<int64_t>> OutputDims(const Preprocess& p, int64_t height, int64_t width,
                                        int64_t channels, const std::string& name) {
  SLIPWAY_ASSIGN_OR_RETURN(const Plan plan, MakePlan(p, height, width, channels, name));
  if (p.layout == Layout::kNhwc) {
    return std::vector<int64_t>{plan.out_height, plan.out_width, plan.channels};
  }
  return std::vector<int64_t>{plan.channels, plan.out_height, plan.out_width};
}

Status Apply(const Preprocess& p, const Image& image, const std::string& name,
             std::span<float> out) {
  SLIPWAY_ASSIGN_OR_RETURN(const Plan plan,
                           MakePlan(p, image.height, image.width, image.channels, name));
  if (static_cast<int64_t>(out.size()) != plan.channels * plan.out_height * plan.out_width) {
    return InvalidArgument(name + ": becomes " + std::to_string(plan.channels) + "x" +
                           std::to_string(plan.out_height) + "x" + std::to_string(plan.out_width) +
                           ", unlike the first image; set resize and crop in preprocess.yaml");
  }
  const Image* source = &image;
  Image colored, resized, cropped;
  if (source->channels == 3 && plan.channels == 1) source = &(colored = ToGray(*source));
  if (plan.height != source->height || plan.width != source->width) {
    source = &(resized = Resize(*source, plan.height, plan.width, p.filter));
  }
  if (plan.out_height != source->height || plan.out_width != source->width) {
    source = &(cropped = Crop(*source, plan.top, plan.left, plan.out_height, plan.out_width));
  }
  const int64_t stored = source->channels, channels = plan.channels;
  const int64_t pixels = plan.out_height * plan.out_width;
  for (int64_t c = 0; c < channels; ++c) {
    const auto pick = [&](const std::vector<float>& list, float otherwise) {
      return list.empty() ? otherwise : list.size() == 1 ? list[0] : list[static_cast<size_t>(c)];
    };
    const float mean = pick(p.mean, 0.0f), std = pick(p.std, 1.0f);
    float table[256];  // 8-bit input: every value is one of 256
    for (int v = 0; v < 256; ++v) table[v] = (static_cast<float>(v) * p.scale - mean) / std;
    const int64_t from = stored == 1 ? 0 : p.color == ColorOrder::kBgr ? 2 - c : c;
    const uint8_t* in = source->pixels.data() + from;
    float* to = out.data() + (p.layout == Layout::kNchw ? c * pixels : c);
    const int64_t step = p.layout == Layout::kNchw ? 1 : channels;
    for (int64_t i = 0; i < pixels; ++i) to[i * step] = table[in[i * stored]];
  }
  return OkStatus();
}

}  // namespace slipway::data
