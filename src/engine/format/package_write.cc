#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "base/checked.h"
#include "engine/format/codes.h"
#include "engine/format/package.h"
#include "engine/format/package_file.h"
#include "engine/format/package_generated.h"

namespace slipway::format {
namespace {

// Constants are gathered into segments of about this size, so that digests and transfers come in pieces.
constexpr uint64_t kSegmentTarget = uint64_t{16} << 20;
constexpr uint16_t kNoBackend = 65535;
// A symbol that the package does not bound.
constexpr std::pair<int64_t, int64_t> kDefaultRange = {1, std::numeric_limits<int32_t>::max()};

template <typename T>
using Offset = flatbuffers::Offset<T>;

uint64_t Align(uint64_t x) { return (x + kSegmentAlignment - 1) / kSegmentAlignment * kSegmentAlignment; }

// Where each constant goes.
struct Placement {
  uint32_t segment = 0;
  uint64_t offset = 0;
};

struct SegmentLayout {
  std::vector<std::pair<uint64_t, std::span<const uint8_t>>> pieces;  // offset in the segment, bytes
  uint64_t size = 0;
};

struct Constants {
  std::unordered_map<const PackageTensor*, Placement> placements;
  std::vector<SegmentLayout> segments;
  std::unordered_multimap<uint64_t, const PackageTensor*> seen;  // by content hash
};

std::span<const uint8_t> StoredBytes(const PackageTensor& t) { return t.code_bits != 0 ? t.coded : t.data; }

// Whether both may be one place of the file. The reader makes floats of a place once, in one way.
bool SamePlace(const PackageTensor& a, const PackageTensor& b) {
  const auto x = StoredBytes(a), y = StoredBytes(b);
  return a.code_bits == b.code_bits && a.code_rows == b.code_rows && a.data.size() == b.data.size() && x.size() == y.size() &&
         (x.empty() || std::memcmp(x.data(), y.data(), x.size()) == 0);
}

// Those of the bodies too: what a program shares with its bodies is stored once.
void PlaceConstants(const PackageData& package, Constants& out) {
  for (const PackageTensor& t : package.tensors) {
    if (t.kind != TensorKind::kConstant || t.alias >= 0) continue;
    if (out.segments.empty()) out.segments.emplace_back();
    const auto stored = StoredBytes(t);
    uint64_t hash = Hash64(stored);
    auto [first, last] = out.seen.equal_range(hash);
    auto same = std::find_if(first, last, [&](const auto& e) { return SamePlace(*e.second, t); });
    if (same != last) {
      const Placement there = out.placements.at(same->second);
      out.placements.emplace(&t, there);
      continue;
    }
    out.seen.emplace(hash, &t);
    if (out.segments.back().size >= kSegmentTarget) out.segments.emplace_back();
    SegmentLayout& segment = out.segments.back();
    uint64_t offset = Align(segment.size);
    out.placements.emplace(&t, Placement{static_cast<uint32_t>(out.segments.size() - 1), offset});
    segment.pieces.emplace_back(offset, stored);
    segment.size = offset + stored.size();
  }
  for (const PackageData& body : package.programs) PlaceConstants(body, out);
}

std::map<std::string, std::pair<int64_t, int64_t>> AllSymbols(const PackageData& package) {
  auto symbols = package.symbols;
  for (const PackageTensor& t : package.tensors) {
    for (const Dim& d : t.shape) {
      if (d.known()) continue;
      for (const std::string& name : d.Symbols()) symbols.try_emplace(name, kDefaultRange);
    }
  }
  for (const PackageStep& s : package.steps) {
    if (!s.macs_of) continue;
    for (const std::string& name : s.macs_of->Symbols()) symbols.try_emplace(name, kDefaultRange);
  }
  return symbols;
}

Offset<fb::Tensor> WriteTensor(flatbuffers::FlatBufferBuilder& b, const PackageData& package, const PackageTensor& t,
                               const Placement& placement) {
  std::vector<int64_t> dims;
  std::vector<std::string> symbolic;
  bool known = true;
  Dims concrete;
  for (const Dim& d : t.shape) {
    dims.push_back(d.known() ? d.value() : -1);
    symbolic.push_back(d.known() ? "" : d.ToString());
    known = known && d.known();
    concrete.push_back(dims.back());
  }
  const int64_t bytes = known && !t.is_container() ? LayoutBytes(t.dtype, concrete, t.layout).value_or(0) : 0;
  auto name = b.CreateString(t.name);
  auto fb_dims = b.CreateVector(dims);
  Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> fb_symbolic;
  if (!known) fb_symbolic = b.CreateVectorOfStrings(symbolic);
  const bool constant = t.kind == TensorKind::kConstant && t.alias < 0;
  const bool planned = t.kind == TensorKind::kArena && package.static_plan;
  return fb::CreateTensor(b, name, static_cast<uint8_t>(t.dtype), static_cast<uint8_t>(t.layout),
                          static_cast<fb::TensorKind>(t.kind), fb_dims, fb_symbolic, constant ? placement.segment : 0,
                          constant ? placement.offset : planned ? t.offset : 0,
                          static_cast<uint64_t>(bytes), t.alias, static_cast<fb::Container>(t.container), t.part,
                          static_cast<uint8_t>(t.code_bits), t.code_rows);
}

std::vector<int32_t> Ints(const std::vector<int>& list) { return {list.begin(), list.end()}; }

Offset<fb::Control> WriteControl(flatbuffers::FlatBufferBuilder& b, const PackageControl& c) {
  auto bodies = b.CreateVector(std::vector<uint32_t>(c.bodies.begin(), c.bodies.end()));
  auto input_axes = b.CreateVector(Ints(c.input_axes));
  auto input_backward = b.CreateVector(c.input_backward);
  auto output_axes = b.CreateVector(Ints(c.output_axes));
  auto output_backward = b.CreateVector(c.output_backward);
  return fb::CreateControl(b, static_cast<fb::ControlKind>(c.kind), bodies, c.carried, c.scanned, input_axes, input_backward, output_axes,
                           output_backward);
}

Offset<fb::Step> WriteStep(flatbuffers::FlatBufferBuilder& b, const PackageStep& s) {
  auto name = b.CreateString(s.name);
  auto op = b.CreateString(s.op);
  auto kernel = b.CreateString(s.kernel);
  auto blob = b.CreateVector(s.blob);
  auto inputs = b.CreateVector(Ints(s.inputs));
  auto outputs = b.CreateVector(Ints(s.outputs));
  auto sources = b.CreateVectorOfStrings(s.sources);
  Offset<fb::Control> control;
  if (s.control) control = WriteControl(b, *s.control);
  Offset<fb::Sequence> sequence;
  if (s.sequence) {
    sequence = fb::CreateSequence(b, static_cast<fb::SequenceOp>(s.sequence->op), s.sequence->axis, s.sequence->keepdims, s.sequence->new_axis);
  }
  Offset<flatbuffers::String> macs_of;
  if (s.macs_of) macs_of = b.CreateString(s.macs_of->ToString());
  return fb::CreateStep(b, s.control || s.sequence ? kNoBackend : static_cast<uint16_t>(s.backend), name, op, kernel, blob, inputs, outputs, s.workspace,
                        s.workspace_offset, s.macs, sources, s.data_dims, control, sequence, macs_of);
}

// The oldest version that has all that the package uses, so that old runtimes read what they can.
uint32_t VersionOf(const PackageData& package) {
  uint32_t version = package.programs.empty() ? 1 : 3;
  for (const PackageStep& s : package.steps) version = std::max({version, s.needs, s.sequence ? 4u : s.control ? 3u : s.data_dims ? 2u : 1u});
  for (const PackageTensor& t : package.tensors) version = std::max(version, t.code_bits != 0 ? 6u : t.part >= 0 ? 5u : t.is_container() ? 4u : 1u);
  for (const PackageData& body : package.programs) version = std::max(version, VersionOf(body));
  return version;
}

// What stands around a program: one for all of a file.
struct FileParts {
  uint32_t version;
  const Constants& constants;
  std::span<const uint64_t> segment_offsets;
  std::span<const Sha256Digest> digests;
};

Offset<fb::Package> WritePrograms(flatbuffers::FlatBufferBuilder& b, const PackageData& package, const FileParts& file, bool is_root) {
  const Constants& constants = file.constants;
  std::vector<Offset<fb::Package>> bodies;
  for (const PackageData& body : package.programs) bodies.push_back(WritePrograms(b, body, file, false));
  std::vector<Offset<fb::Backend>> backends;
  for (const PackageBackend& x : package.backends) {
    auto name = b.CreateString(x.name);
    auto version = b.CreateString(x.version);
    backends.push_back(fb::CreateBackend(b, name, x.abi, version));
  }
  std::vector<Offset<fb::Tensor>> tensors;
  for (const PackageTensor& t : package.tensors) {
    const auto placement = constants.placements.find(&t);
    tensors.push_back(WriteTensor(b, package, t, placement == constants.placements.end() ? Placement() : placement->second));
  }
  std::vector<Offset<fb::Step>> steps;
  for (const PackageStep& s : package.steps) steps.push_back(WriteStep(b, s));
  std::vector<Offset<fb::SymbolRange>> symbols;
  for (const auto& [name, range] : AllSymbols(package)) {
    auto text = b.CreateString(name);
    symbols.push_back(fb::CreateSymbolRange(b, text, range.first, range.second));
  }
  std::vector<Offset<fb::Segment>> segments;
  for (size_t i = 0; is_root && i < constants.segments.size(); ++i) {
    fb::Digest digest(flatbuffers::span<const uint8_t, 32>(file.digests[i].data(), 32));
    segments.push_back(fb::CreateSegment(b, file.segment_offsets[i], constants.segments[i].size, &digest));
  }
  std::vector<Offset<fb::KeyValue>> provenance;
  for (const auto& [key, value] : is_root ? package.provenance : std::map<std::string, std::string>()) {
    auto k = b.CreateString(key);
    auto v = b.CreateString(value);
    provenance.push_back(fb::CreateKeyValue(b, k, v));
  }
  auto name = b.CreateString(package.name);
  auto arch = b.CreateString(is_root ? package.arch : std::string());
  auto fb_backends = b.CreateVector(backends);
  auto fb_tensors = b.CreateVector(tensors);
  auto fb_steps = b.CreateVector(steps);
  auto inputs = b.CreateVector(std::vector<uint32_t>(package.inputs.begin(), package.inputs.end()));
  auto outputs = b.CreateVector(std::vector<uint32_t>(package.outputs.begin(), package.outputs.end()));
  auto fb_symbols = b.CreateVector(symbols);
  auto fb_segments = b.CreateVector(segments);
  auto fb_provenance = b.CreateVector(provenance);
  Offset<flatbuffers::Vector<Offset<fb::Package>>> programs;
  if (!bodies.empty()) programs = b.CreateVector(bodies);
  return fb::CreatePackage(b, file.version, name, arch, is_root ? package.required_features : 0, fb_backends, fb_tensors, fb_steps, inputs, outputs,
                           fb_symbols, fb_segments, package.static_plan, package.arena_size, fb_provenance, programs);
}

std::vector<uint8_t> WriteProgram(const PackageData& package, const FileParts& file) {
  flatbuffers::FlatBufferBuilder b(64 * 1024);
  b.Finish(WritePrograms(b, package, file, true), fb::PackageIdentifier());
  return {b.GetBufferPointer(), b.GetBufferPointer() + b.GetSize()};
}

// What the reader cannot see because the file format has no room for it.
Status CheckWritable(const PackageData& package) {
  if (package.backends.size() > kNoBackend) return Internal("a package with more than 65535 backends");
  for (const PackageData& body : package.programs) SLIPWAY_RETURN_IF_ERROR(CheckWritable(body));
  for (const PackageStep& s : package.steps) {
    if (s.control || s.sequence) continue;
    if (s.backend < 0 || static_cast<size_t>(s.backend) >= package.backends.size()) {
      return Internal("step '" + s.name + "': backend index " + std::to_string(s.backend) + " of " +
                      std::to_string(package.backends.size()));
    }
  }
  for (const PackageTensor& t : package.tensors) {
    if (t.shape.size() > static_cast<size_t>(kMaxRank)) return Unsupported("tensor '" + t.name + "' has more than 12 dimensions");
    if (t.kind != TensorKind::kConstant || t.alias >= 0) continue;
    Dims dims;
    for (const Dim& d : t.shape) dims.push_back(d.known() ? d.value() : -1);
    auto bytes = LayoutBytes(t.dtype, dims, t.layout);
    if (!bytes || static_cast<uint64_t>(*bytes) != t.data.size()) {
      return Internal("constant '" + t.name + "' " + ToString(t.shape) + " of " + DTypeName(t.dtype) + " has " +
                      std::to_string(t.data.size()) + " bytes");
    }
    if (t.code_bits != 0 && CodedBytes(t.code_rows, t.data.size() / sizeof(float), t.code_bits) != t.coded.size()) {
      return Internal("constant '" + t.name + "' has " + std::to_string(t.coded.size()) + " bytes of codes");
    }
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<uint8_t>> SerializePackage(const PackageData& package) {
  SLIPWAY_RETURN_IF_ERROR(CheckWritable(package));
  Constants constants;
  PlaceConstants(package, constants);
  std::vector<Sha256Digest> digests;
  for (const SegmentLayout& segment : constants.segments) {
    Sha256 hash;
    uint64_t at = 0;
    static constexpr uint8_t kZeros[kSegmentAlignment] = {};
    for (const auto& [offset, bytes] : segment.pieces) {
      hash.Update(std::span(kZeros, offset - at));
      hash.Update(bytes);
      at = offset + bytes.size();
    }
    digests.push_back(hash.Finish());
  }
  // The program lies in front of the segments but holds their offsets; its size does not depend on their values (FlatBuffers drops fields equal to
  // the default 0, and no segment starts at 0), so a first pass measures it.
  std::vector<uint64_t> offsets(constants.segments.size(), 1);
  const FileParts parts{VersionOf(package), constants, offsets, digests};
  const uint64_t program_size = WriteProgram(package, parts).size();
  uint64_t end = sizeof(FileHeader) + program_size;
  for (size_t i = 0; i < offsets.size(); ++i) {
    offsets[i] = Align(end);
    end = offsets[i] + constants.segments[i].size;
  }
  std::vector<uint8_t> program = WriteProgram(package, parts);
  if (program.size() != program_size) return Internal("package '" + package.name + "': the program changed its size");

  FileHeader header{kMagic, parts.version, 0, sizeof(FileHeader), program_size, Sha256Of(program)};
  std::vector<uint8_t> file(end);
  std::memcpy(file.data(), &header, sizeof(header));
  std::memcpy(file.data() + sizeof(header), program.data(), program.size());
  for (size_t i = 0; i < offsets.size(); ++i) {
    for (const auto& [offset, bytes] : constants.segments[i].pieces) {
      if (!bytes.empty()) std::memcpy(file.data() + offsets[i] + offset, bytes.data(), bytes.size());
    }
  }
  // What this writes must load: a fault of the compiler shows here and not on the device.
  auto again = ParsePackage(file, nullptr);
  if (!again.ok()) {
    return Status(again.status().code() == StatusCode::kResourceExhausted ? StatusCode::kResourceExhausted : StatusCode::kInternal,
                  "the compiler made an invalid package: " + again.status().message());
  }
  return file;
}

Status WritePackage(const PackageData& package, const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(auto bytes, SerializePackage(package));
  return WriteFile(path, bytes);
}

}  // namespace slipway::format
