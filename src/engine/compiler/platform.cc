#include "engine/compiler/platform.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/mapped_file.h"
#include "engine/compiler/observer_spec.h"
#include "engine/compiler/sparsity_pattern.h"
#include "engine/compiler/yaml_reader.h"

namespace slipway::compiler {
namespace {

namespace fs = std::filesystem;
using Reader = YamlReader;

Status ReadTensorScheme(const YAML::Node& node, const std::string& source, const std::string& what,
                        TensorScheme& to) {
  Reader r(node, source, what);
  r.Get("bits", to.bits, "a number from 1 to 16");
  if (to.bits < 1 || to.bits > 16) r.Fail(node["bits"], what + " key 'bits' must be from 1 to 16");
  std::string sign = "signed", per = "tensor", kind = "affine";
  r.GetText("sign", sign, {"signed", "unsigned", "auto"});
  r.Get("symmetric", to.symmetric, "true or false");
  r.Get("narrow", to.narrow, "true or false");
  r.GetText("per", per, {"tensor", "channel", "group"});
  r.Get("group", to.group, "a number");
  r.GetText("kind", kind, {"affine", "power_of_two", "logarithmic"});
  r.GetText("observer", to.observer);
  if (const auto spec = ParseObserver(to.observer); !spec.ok())
    r.Fail(node["observer"], what + " key 'observer': " + std::string(spec.status().message()));
  to.sign = sign == "signed" ? Sign::kSigned : sign == "unsigned" ? Sign::kUnsigned : Sign::kAuto;
  to.per = per == "tensor"    ? Granularity::kTensor
           : per == "channel" ? Granularity::kChannel
                              : Granularity::kGroup;
  to.kind = kind == "affine"         ? ScaleKind::kAffine
            : kind == "power_of_two" ? ScaleKind::kPowerOfTwo
                                     : ScaleKind::kLogarithmic;
  if (to.kind == ScaleKind::kLogarithmic &&
      (to.bits < 2 || to.bits > 8 || to.sign != Sign::kSigned || !to.symmetric || to.narrow)) {
    r.Fail(
        node,
        what +
            " has 'kind: logarithmic' and so needs 2 to 8 bits, signed, symmetric and not narrow");
  }
  if (to.symmetric && to.sign == Sign::kUnsigned && what == "scheme weights") {
    r.Fail(
        node,
        what +
            " are unsigned and symmetric, which leaves no negative ones; set 'symmetric: false'");
  }
  if (to.per == Granularity::kGroup && to.group < 1) {
    r.Fail(node, what + " has 'per: group' and so needs 'group' of at least 1");
  }
  return r.Finish();
}

void ReadBias(const YAML::Node& node, const std::string& source, Reader& scheme, Scheme& to) {
  if (node.IsScalar()) {
    const auto text = node.as<std::string>("");
    if (text != "float")
      scheme.Fail(node,
                  "scheme key 'bias' is '" + text +
                      "'; it may be float, or {kind: products} or {kind: power_of_two, bits: 8}");
    to.bias = BiasKind::kFloat;
    return;
  }
  Reader r(node, source, "scheme bias");
  std::string kind = "products";
  r.GetText("kind", kind, {"products", "power_of_two"});
  to.bias = kind == "products" ? BiasKind::kProducts : BiasKind::kPowerOfTwo;
  r.Get("bits", to.bias_bits, "a number");
  if (to.bias == BiasKind::kProducts ? to.bias_bits != 32 : to.bias_bits < 2 || to.bias_bits > 16)
    r.Fail(node,
           "scheme bias has 32 bits with 'kind: products', from 2 to 16 with 'kind: power_of_two'");
  scheme.Merge(r.Finish());
}

Status ReadScheme(const YAML::Node& node, const std::string& source, Scheme& to) {
  Reader r(node, source, "scheme");
  r.GetText("rounding", to.rounding, {"half_even", "half_away", "half_up"});
  r.GetList("operators", to.operators);
  for (auto [key, part] :
       {std::pair{"weights", &to.weights}, std::pair{"activations", &to.activations}}) {
    YAML::Node child = r.Child(key);
    r.Require(key);
    if (!child) continue;
    if (part == &to.activations && child.IsScalar() && child.as<std::string>("") == "float") {
      to.weight_only = true;
      continue;
    }
    r.Merge(ReadTensorScheme(child, source, std::string("scheme ") + key, *part));
  }
  if (const YAML::Node bias = r.Child("bias")) ReadBias(bias, source, r, to);
  r.Get("end_bits", to.end_bits, "a number from 1 to 16, or 0");
  if (to.end_bits < 0 || to.end_bits > 16)
    r.Fail(node["end_bits"], "scheme key 'end_bits' must be from 1 to 16, or 0 for none");
  r.Get("outputs", to.outputs, "true or false");
  r.GetList("shared", to.shared);
  r.Require("operators");
  return r.Finish();
}

// "x86-auto" is another name of "x86".
std::string Canonical(const std::string& name) {
  return name.size() > 5 && name.ends_with("-auto") ? name.substr(0, name.size() - 5) : name;
}

// device/device.h makes devices of these names; a file of commands lies beside the platform's own.
void ReadDevice(Reader& r, const YAML::Node& at, const std::string& source, Platform& p) {
  const std::string kind = p.device.substr(0, p.device.find(':'));
  if ((kind != "local" && kind != "qemu-aarch64" && kind != "qemu-riscv64" && kind != "ssh" &&
       kind != "adb" && kind != "command") ||
      ((kind == "ssh" || kind == "command") && p.device.size() <= kind.size() + 1))
    r.Fail(at, "platform key 'device' is '" + p.device +
                   "'; it may be local, qemu-aarch64[:CPU], qemu-riscv64[:CPU], "
                   "ssh:[USER@]HOST[:PORT], adb[:SERIAL] or command:FILE.yaml");
  if (kind.starts_with("qemu-")) p.emulated = true;  // whatever the file says
  if (kind != "command") return;
  const fs::path file = p.device.substr(kind.size() + 1);
  if (file.is_relative()) p.device = "command:" + (fs::path(source).parent_path() / file).string();
}

// Each a path, or paths by architecture: [libnpu.so, {x86_64: libnpu.so, aarch64: arm/libnpu.so}].
void ReadPlugins(Reader& r, const YAML::Node& list, Platform& p) {
  const char* form =
      "platform key 'plugins' must be a list of paths, or of paths by architecture, as in "
      "[libnpu.so, {x86_64: libnpu.so, aarch64: arm/libnpu.so}]";
  if (!list) return;
  if (!list.IsSequence()) return r.Fail(list, form);
  for (const YAML::Node& entry : list) {
    if (entry.IsScalar()) {
      p.plugins.push_back(entry.as<std::string>());
      continue;
    }
    if (!entry.IsMap() || entry.size() == 0) return r.Fail(entry, form);
    for (const auto& one : entry) {
      const auto arch = one.first.as<std::string>("");
      if (arch != "x86_64" && arch != "aarch64" && arch != "riscv64")
        return r.Fail(one.first, "platform key 'plugins' has '" + arch +
                                     "' for an architecture; it may be x86_64, aarch64 or riscv64");
      if (!one.second.IsScalar()) return r.Fail(one.second, form);
      p.arch_plugins.push_back({arch, one.second.as<std::string>()});
    }
  }
}

}  // namespace

Result<Platform> ParsePlatform(const std::string& yaml, const std::string& source) {
  Platform p;
  p.source = source;
  try {
    YAML::Node root = YAML::Load(yaml);
    Reader r(root, source, "platform");
    r.GetText("name", p.name);
    r.GetText("description", p.description);
    r.GetText("vendor", p.vendor);
    r.GetText("openness", p.openness, {"L1", "L2", "L3"});
    r.GetText("arch", p.arch, {"x86_64", "aarch64", "riscv64", "any"});
    r.GetList("features", p.features);
    r.GetList("backends", p.backends);
    r.GetList("fallback", p.fallback);
    ReadPlugins(r, r.Child("plugins"), p);
    r.GetText("precision", p.precision, {"float32", "bfloat16", "float16", "int8"});
    r.GetText("device", p.device);
    r.Get("emulated", p.emulated, "true or false");
    ReadDevice(r, root["device"], source, p);
    r.Get("simulated", p.simulated, "true or false");
    r.GetText("export", p.export_format);
    r.GetText("planned", p.planned);
    r.GetList("sparsity", p.sparsity);
    for (size_t i = 0; i < p.sparsity.size(); ++i) {
      const auto pattern = ParseSparsity(p.sparsity[i], true);
      if (!pattern.ok())
        r.Fail(root["sparsity"][i], "platform key 'sparsity': " + pattern.status().message());
      else if (pattern->ToString() != p.sparsity[i] || pattern->ratio > 0)
        r.Fail(root["sparsity"][i], "platform key 'sparsity': write '" + p.sparsity[i] + "' as " +
                                        pattern->ToString().substr(0, p.sparsity[i].find('@')));
    }
    YAML::Node machine = r.Child("machine");
    YAML::Node scheme = r.Child("scheme");
    for (const char* key : {"name", "backends", "openness"}) r.Require(key);
    if (machine) {
      Reader m(machine, source, "machine");
      m.Get("float_gmacs", p.float_gmacs, "a number");
      m.Get("int8_gmacs", p.int8_gmacs, "a number");
      m.Get("memory_gbps", p.memory_gbps, "a number");
      m.Get("cache_gbps", p.cache_gbps, "a number");
      for (double v : {p.float_gmacs, p.int8_gmacs, p.memory_gbps, p.cache_gbps}) {
        if (!(v > 0)) m.Fail(machine, "machine figures must be positive");
      }
      r.Merge(m.Finish());
    }
    if (scheme) {
      p.has_scheme = true;
      r.Merge(ReadScheme(scheme, source, p.scheme));
    }
    SLIPWAY_RETURN_IF_ERROR(r.Finish());
    if (p.backends.empty())
      return InvalidArgument(source + ": 'backends' is empty; name at least one backend");
    if (p.precision == "float16" && p.arch != "aarch64") {
      return InvalidArgument(source + ": precision float16 is computed on arch aarch64 only, not '" +
                             p.arch + "'; take bfloat16 or float32");
    }
    if (p.precision == "int8" && !p.has_scheme) {
      return InvalidArgument(source +
                             ": precision int8 needs a 'scheme' that says what its integers mean");
    }
  } catch (const YAML::Exception& e) {
    return InvalidArgument(source + ":" + std::to_string(e.mark.line + 1) + ": " + e.msg);
  }
  return p;
}

Result<Platform> LoadPlatform(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  if (text.size() > (1u << 20))
    return InvalidArgument(path + " is over 1 MiB; a platform file is a few lines of YAML");
  return ParsePlatform(text, path);
}

Result<std::vector<Platform>> LoadPlatforms(const std::vector<std::string>& folders) {
  std::map<std::string, Platform> by_name;
  for (const std::string& folder : folders) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (entry.path().extension() != ".yaml") continue;
      SLIPWAY_ASSIGN_OR_RETURN(Platform p, LoadPlatform(entry.path().string()));
      by_name[p.name] = std::move(p);
    }
  }
  std::vector<Platform> out;
  for (auto& [name, p] : by_name) out.push_back(std::move(p));
  return out;
}

Result<Platform> FindPlatform(const std::string& name, const std::vector<std::string>& folders) {
  if (name.ends_with(".yaml")) return LoadPlatform(name);
  SLIPWAY_ASSIGN_OR_RETURN(auto all, LoadPlatforms(folders));
  std::string list;
  for (Platform& p : all) {
    if (p.name == Canonical(name)) return std::move(p);
    list += (list.empty() ? "" : ", ") + p.name;
  }
  if (list.empty())
    return NotFound(
        "no platforms found; set SLIPWAY_PLATFORMS to the folder of the platform files");
  return NotFound("there is no platform '" + name + "'; choose one of: " + list);
}

std::vector<std::string> DefaultPlatformFolders() {
  std::vector<std::string> out;
  char self[4096];
  ssize_t n = ::readlink("/proc/self/exe", self, sizeof(self));
  fs::path folder =
      n > 0 ? fs::path(std::string(self, static_cast<size_t>(n))).parent_path() : fs::path();
  for (int up = 0; up < 4 && !folder.empty(); ++up, folder = folder.parent_path()) {
    for (const char* place : {"platforms", "share/slipway/platforms"}) {
      std::error_code error;
      if (fs::is_directory(folder / place, error)) {
        out.push_back((folder / place).string());
        up = 4;
        break;
      }
    }
  }
  if (const char* env = std::getenv("SLIPWAY_PLATFORMS")) {
    std::string list = env;
    for (size_t start = 0; start <= list.size();) {
      size_t colon = std::min(list.find(':', start), list.size());
      if (colon > start) out.push_back(list.substr(start, colon - start));
      start = colon + 1;
    }
  }
  return out;
}

}  // namespace slipway::compiler
