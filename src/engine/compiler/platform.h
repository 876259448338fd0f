#pragma once
// A platform: a named target that a user can choose, described by a YAML file in platforms/
// (docs/add-a-platform.md lists the keys).

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::compiler {

enum class Granularity : uint8_t { kTensor = 0, kChannel = 1, kGroup = 2 };
enum class ScaleKind : uint8_t { kAffine = 0, kPowerOfTwo = 1, kLogarithmic = 2 };
enum class Sign : uint8_t {
  kSigned = 0,
  kUnsigned = 1,
  kAuto = 2
};  // auto: unsigned where no value is negative

// What integers mean for one class of tensors.
struct TensorScheme {
  int bits = 8;
  Sign sign = Sign::kSigned;
  bool symmetric = true;
  bool narrow = false;  // drops the lowest code: [-127, 127]
  Granularity per = Granularity::kTensor;
  int group = 0;
  ScaleKind kind = ScaleKind::kAffine;
  std::string observer = "minmax";  // see observer_spec.h
};

enum class BiasKind : uint8_t {
  kProducts = 0,    // int32 on the scale of the products, s_x * s_w
  kFloat = 1,       // stays float32
  kPowerOfTwo = 2,  // signed codes of `bits` with a power-of-two scale of the tensor's own
};

// What a platform's integers mean: ../shared/QUANTIZATION.md section 1 has the table.
struct Scheme {
  TensorScheme weights, activations;
  bool weight_only = false;  // `activations: float`: only weights become codes
  BiasKind bias = BiasKind::kProducts;
  int bias_bits = 32;
  int end_bits = 0;  // of the layers at the network's ends and what they read; 0: as all others
  std::string rounding = "half_even";
  // Operators that run on integers, by IR name ("Conv", "slipway.Linear" is written Linear); of RNN,
  // GRU and LSTM the weights alone become integers. Everything else stays float.
  std::vector<std::string> operators;
  bool outputs = false;  // the outputs of these operators are codes too, the network's included
  // Operators whose inputs and outputs share one scale and zero point, as where codes are copied.
  std::vector<std::string> shared;
};

struct Platform {
  std::string name, description, vendor;
  std::string openness;         // L1 black box | L2 open instruction set | L3 open architecture
  std::string arch = "x86_64";  // what the package runs on: x86_64 | aarch64 | any
  std::vector<std::string>
      features;  // instruction sets that may be used; {"native"} = those of the compiling machine
  std::vector<std::string> backends;  // the platform's own, best per node
  // Shared libraries that bring some of them: paths relative to `source`, or names of files in the folders of
  // $SLIPWAY_PLUGINS.
  std::vector<std::string> plugins;
  // The same for one architecture each: what this machine loads, and what its devices do.
  struct ArchPlugin {
    std::string arch, path;  // "aarch64"
  };
  std::vector<ArchPlugin> arch_plugins;
  std::vector<std::string> fallback;  // used only for nodes that none of the former takes
  std::string precision = "float32";  // float32 | int8
  bool has_scheme = false;
  Scheme scheme;
  std::string device = "local";  // how to measure: local | qemu-aarch64
  bool emulated = false;         // times are never compared with real ones
  // A chip that is not here: packages compute its integers exactly on this machine, which says
  // what accuracy it will have; its times are not known.
  bool simulated = false;
  // How the vendor's tool gets the model: a format of `slipway export --platform`, or empty.
  std::string export_format;
  // Patterns of zero weights that make it faster (sparsity_pattern.h), the best first; blocks without
  // a ratio.
  std::vector<std::string> sparsity;
  // Why it does not count as supported yet, or empty (docs/platforms.md).
  std::string planned;
  double float_gmacs = 50, int8_gmacs = 200, memory_gbps = 10,
         cache_gbps = 60;  // per thread, for analytic costs
  std::string source;      // the file it came from
};

// Errors (InvalidArgument) give file, line, the key and what it may be.
Result<Platform> LoadPlatform(const std::string& path);
Result<Platform> ParsePlatform(const std::string& yaml, const std::string& source);

// All platforms in the given folders (later folders win), sorted by name. A broken file is an error
// that names it.
Result<std::vector<Platform>> LoadPlatforms(const std::vector<std::string>& folders);
// The one called `name`, an alias, or a path to a .yaml file. NotFound lists near names.
Result<Platform> FindPlatform(const std::string& name, const std::vector<std::string>& folders);
// $SLIPWAY_PLATFORMS (colon-separated) and the folder beside the binary or in the source tree.
std::vector<std::string> DefaultPlatformFolders();

}  // namespace slipway::compiler
