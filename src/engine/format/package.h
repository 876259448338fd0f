#pragma once
// A package in memory: what the compiler fills in and writes, and what the runtime gets after validation.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/dim.h"
#include "base/dtype.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "base/status.h"
#include "engine/format/layout.h"

namespace slipway::format {

// The newest that is read. Version 2 has steps whose outputs' extents depend on data, version 3 has control flow, version 4 sequences and optionals, version 5
// weights packed for the kernels of x86 and tensors that are parts of others, version 6 float constants that are stored as integers; a package is written as
// the oldest version that has all it uses.
inline constexpr uint32_t kFormatVersion = 6;
// Bodies in bodies in bodies, and bodies altogether.
inline constexpr int kMaxProgramDepth = 16;
inline constexpr size_t kMaxPrograms = 1 << 14;
inline constexpr size_t kSegmentAlignment = 64;

enum class TensorKind : uint8_t { kInput = 0, kOutput = 1, kArena = 2, kConstant = 3 };

// What a value is: a tensor, or what holds tensors of one element type.
enum class Container : uint8_t { kTensor = 0, kSequence = 1, kOptional = 2, kOptionalSequence = 3 };

struct PackageTensor {
  std::string name;
  DType dtype = DType::kUndefined;
  Layout layout = Layout::kPlain;  // inputs and outputs are always plain
  TensorKind kind = TensorKind::kArena;
  SymShape shape;                       // logical order; rank <= kMaxRank
  std::span<const uint8_t> data;        // constants
  uint64_t offset = 0;                  // arena offset when the plan is static
  // Shares the storage of this earlier tensor (which is no alias itself): its bytes in place (some step writes it) or a view (no step does). Inputs are
  // never aliases; outputs may be, of arena tensors, one output for each storage.
  int alias = -1;
  // >= 0: of that storage the bytes from here on (a multiple of 64), as many as this tensor has; `alias` may then be a later tensor. Arena tensors of a static
  // plan only, whose storage has no package output. So the pieces of a concatenation are written where they belong.
  int64_t part = -1;
  Container container = Container::kTensor;  // else no shape, plain layout, no alias, no constant
  // Of a float32 constant that is no alias, when not 0: the file has integers of so many bits with a scale for each of `code_rows` rows (codes.h), which are
  // `coded`; `data` are the floats that they stand for.
  int code_bits = 0;
  uint64_t code_rows = 0;
  std::span<const uint8_t> coded;
  bool is_container() const { return container != Container::kTensor; }
};

enum class ControlKind : uint8_t { kIf = 0, kLoop = 1, kScan = 2 };

// An If, Loop or Scan: see package.fbs.
struct PackageControl {
  ControlKind kind = ControlKind::kIf;
  std::vector<int> bodies;  // of PackageData::programs
  uint32_t carried = 0, scanned = 0;
  std::vector<int> input_axes, output_axes;              // Scan: one for each scanned input or stacked output
  std::vector<uint8_t> input_backward, output_backward;  // 0 or 1, likewise
};

enum class SequenceOp : uint8_t {
  kConstruct = 0, kInsert = 1, kErase = 2, kAt = 3, kLength = 4, kSplit = 5, kConcat = 6, kOptional = 7, kHasElement = 8, kGetElement = 9, kIdentity = 10
};
inline constexpr int kSequenceOpCount = 11;

// An operator on sequences or optionals: see package.fbs.
struct PackageSequence {
  SequenceOp op = SequenceOp::kConstruct;
  int axis = 0;
  bool keepdims = true, new_axis = false;
};

struct PackageStep {
  int backend = 0;  // -1: the session runs the step itself, as `control` or `sequence` says
  std::string name, op, kernel;
  std::vector<uint8_t> blob;
  std::vector<int> inputs, outputs;  // -1 = absent
  uint64_t workspace = 0, workspace_offset = 0;
  int64_t macs = 0;
  std::optional<Dim> macs_of;  // of the package's symbols, where shapes are not static; macs is 0 then
  std::vector<std::string> sources;
  bool data_dims = false;  // the outputs' extents depend on the inputs' data: the backend is asked in the middle of the run
  std::optional<PackageControl> control;
  std::optional<PackageSequence> sequence;
  std::vector<std::string> parts;  // not stored: of a network-level step, the names of the nodes that it stands for
  uint32_t needs = 1;  // not stored: the package is written as this format version at least, whose readers know what the blob says
};

struct PackageBackend {
  std::string name;
  uint32_t abi = 0;
  std::string version;
};

struct PackageData {
  std::string name, arch = "any";
  uint64_t required_features = 0;
  std::vector<PackageBackend> backends;
  std::vector<PackageTensor> tensors;
  std::vector<PackageStep> steps;
  std::vector<int> inputs, outputs;
  std::map<std::string, std::pair<int64_t, int64_t>> symbols;  // name -> [min, max]
  bool static_plan = false;
  uint64_t arena_size = 0;
  std::map<std::string, std::string> provenance;
  std::vector<PackageData> programs;  // the bodies of control steps, each of one step
  // Keeps what `data` of constants points into alive.
  std::vector<std::shared_ptr<const void>> owners;
};

// Identical constants are stored once, equal packages give equal bytes. A symbol without a declared range gets [1, 2^31 - 1]. Errors: as WriteFile;
// Internal when the package is not valid (the reader's message): a fault of the compiler shows here and not on the device.
Status WritePackage(const PackageData& package, const std::string& path);
Result<std::vector<uint8_t>> SerializePackage(const PackageData& package);

// Maps and validates everything that running depends on: the FlatBuffer, every index, range, alias, alignment, shape and size, that steps are in
// order (an input is a constant, a package input or the output of an earlier step), offsets inside the arena, and the program's SHA-256 (a
// few microseconds per step; those of the constants are for VerifyHashes). Constants stay mapped. DataLoss names the field at fault; Unsupported when the
// file is of a newer format. The bytes must start at a multiple of 8, and of 64 where constants are used in place.
Result<PackageData> ReadPackage(const std::string& path);
Result<PackageData> ParsePackage(std::span<const uint8_t> bytes, std::shared_ptr<const void> owner);

// Steps of the program and of all bodies.
size_t CountSteps(const PackageData& package);

struct SegmentReport {
  uint64_t offset, size;
  bool ok;
};
// The SHA-256 of every segment and of the program. DataLoss when one differs.
Status VerifyHashes(const std::string& path, std::vector<SegmentReport>* report = nullptr);

}  // namespace slipway::format
