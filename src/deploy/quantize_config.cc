#include "deploy/quantize_config.h"

#include <filesystem>

#include "base/mapped_file.h"
#include "deploy/mixed.h"
#include "engine/compiler/sparsity_pattern.h"
#include "engine/compiler/yaml_reader.h"

namespace slipway::deploy {
namespace {

using Reader = compiler::YamlReader;

void ReadLayers(const YAML::Node& layers, Reader& r, QuantizeConfig& to) {
  if (!layers.IsMap()) {
    r.Fail(layers, "key 'layers' must map names of nodes to float, dense or a number of bits");
    return;
  }
  for (const auto& entry : layers) {
    const auto name = entry.first.as<std::string>(""), value = entry.second.as<std::string>("");
    const int bits = entry.second.as<int>(0);
    const auto both = ParseLayerBits(value);
    if (value == "float") {
      to.keep_float.insert(name);
    } else if (value == "dense") {
      to.keep_dense.insert(name);
    } else if (bits >= 2 && bits <= 16) {
      to.layer_bits[name] = {bits, bits};
    } else if (both.ok()) {
      to.layer_bits[name] = *both;
    } else {
      r.Fail(entry.second,
             "layer '" + name + "' is '" + value +
                 "'; it may be float, dense, a number of bits from 2 to 16, or as in W4A8");
    }
  }
}

void Positive(const YAML::Node& root, Reader& r, const char* key, int64_t least, int64_t& to) {
  r.Get(key, to, "a number");
  if (root[key] && to < least)
    r.Fail(root[key], "key '" + std::string(key) + "' must be at least " + std::to_string(least));
}

}  // namespace

Result<QuantizeConfig> ParseQuantizeConfig(const std::string& yaml, const std::string& source) {
  QuantizeConfig c;
  try {
    const YAML::Node root = YAML::Load(yaml);
    Reader r(root, source, "quantization");
    if (!root.IsMap()) return r.Finish();
    r.GetText("platform", c.platform);
    r.GetText("bits", c.bits);
    r.GetText("calibration", c.calibration);
    r.GetText("preprocess", c.preprocess);
    r.GetText("evaluation", c.evaluation);
    r.GetText("algorithm", c.algorithm);
    r.GetList("adjust", c.adjust);
    r.GetText("budget", c.budget);
    r.GetText("choices", c.choices);
    r.GetText("sparsity", c.sparsity);
    if (root["sparsity"]) {
      if (const auto pattern = compiler::ParseSparsity(c.sparsity); !pattern.ok())
        r.Fail(root["sparsity"], "key 'sparsity': " + pattern.status().message());
    }
    r.GetText("sparsity_method", c.sparsity_method, {"magnitude", "obs"});
    Positive(root, r, "sparsity_iterations", 0, c.sparsity_iterations);
    Positive(root, r, "samples", 0, c.samples);
    Positive(root, r, "batch", 1, c.batch);
    Positive(root, r, "iterations", 1, c.iterations);
    Positive(root, r, "seed", 0, c.seed);
    r.Get("max_drop", c.max_drop, "a number");
    if (root["max_drop"] && !(c.max_drop >= 0))
      r.Fail(root["max_drop"], "key 'max_drop' must be at least 0");
    if (const YAML::Node observers = r.Child("observers")) {
      Reader o(observers, source, "observers");
      o.GetText("weights", c.weight_observer);
      o.GetText("activations", c.activation_observer);
      r.Merge(o.Finish());
    }
    if (const YAML::Node layers = r.Child("layers")) ReadLayers(layers, r, c);
    SLIPWAY_RETURN_IF_ERROR(r.Finish());
  } catch (const YAML::Exception& e) {
    return InvalidArgument(source + ":" + std::to_string(e.mark.line + 1) + ": " + e.msg);
  }
  const auto folder = std::filesystem::path(source).parent_path();
  for (std::string* path : {&c.calibration, &c.preprocess, &c.evaluation}) {
    if (!path->empty()) *path = (folder / *path).lexically_normal().string();
  }
  return c;
}

Result<QuantizeConfig> LoadQuantizeConfig(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  if (text.size() > (1u << 20))
    return InvalidArgument(path + " is over 1 MiB; a configuration is a few lines of YAML");
  return ParseQuantizeConfig(text, path);
}

}  // namespace slipway::deploy
