#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "base/aligned.h"
#include "base/checked.h"
#include "engine/format/codes.h"
#include "engine/format/package.h"
#include "engine/format/package_file.h"
#include "engine/format/package_generated.h"
#include "engine/format/validate.h"

namespace slipway::format {
namespace {

constexpr char kRemedy[] = "; the file is damaged or was not made by slipway: compile the package again";
// FlatBuffers offsets are 32 bits wide.
constexpr uint64_t kMaxProgram = uint64_t{1} << 30;
constexpr uint32_t kMaxTables = 4u << 20;
constexpr uint16_t kNoBackend = 65535;

std::string Text(const flatbuffers::String* s) { return s ? s->str() : std::string(); }
std::string Index(const char* list, size_t i) { return std::string(list) + "[" + std::to_string(i) + "]"; }

template <typename T>
size_t SizeOf(const T* vector) {
  return vector ? vector->size() : 0;
}

// The header and the program's verified root.
struct File {
  FileHeader header;
  std::span<const uint8_t> program;
  const fb::Package* root = nullptr;
};

Result<FileHeader> ReadHeader(std::span<const uint8_t> bytes) {
  FileHeader h;
  if (bytes.size() < sizeof(h)) {
    return DataLoss("package header: the file has " + std::to_string(bytes.size()) + " bytes, a package at least 64");
  }
  std::memcpy(&h, bytes.data(), sizeof(h));
  if (h.magic != kMagic) return DataLoss("package header.magic: this is not a slipway package");
  if (h.format_version > kFormatVersion) {
    return Unsupported("package header.format_version: the file has version " + std::to_string(h.format_version) +
                       ", this runtime reads up to " + std::to_string(kFormatVersion) + "; update the runtime");
  }
  if (h.format_version == 0) return DataLoss("package header.format_version: 0");
  if (h.reserved != 0) return DataLoss("package header.reserved: not 0");
  if (h.program_offset % kSegmentAlignment != 0 || h.program_offset < sizeof(h)) {
    return DataLoss("package header.program_offset: " + std::to_string(h.program_offset) + " is not a multiple of 64 behind the header");
  }
  if (h.program_offset > bytes.size() || h.program_size > bytes.size() - h.program_offset) {
    return DataLoss("package header.program_size: the program ends behind the file's " + std::to_string(bytes.size()) + " bytes");
  }
  if (h.program_size < 16 || h.program_size > kMaxProgram) {
    return DataLoss("package header.program_size: " + std::to_string(h.program_size) + " bytes");
  }
  return h;
}

Result<File> OpenFile(std::span<const uint8_t> bytes) {
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 8 != 0) {
    return InvalidArgument("package in memory: its address must be a multiple of 64; copy it to aligned memory");
  }
  File file;
  SLIPWAY_ASSIGN_OR_RETURN(file.header, ReadHeader(bytes));
  file.program = bytes.subspan(file.header.program_offset, file.header.program_size);
  if (Sha256Of(file.program) != file.header.program_sha256) return DataLoss("package program: its SHA-256 differs from the header's");
  // A table takes 8 bytes at least. Counting each visit, a file in which many places name one table (of which each would be read anew) does not pass.
  const auto tables = static_cast<uint32_t>(std::min<uint64_t>(kMaxTables, file.program.size() / 8));
  flatbuffers::Verifier verifier(file.program.data(), file.program.size(), /*max_depth=*/kMaxProgramDepth + 8, tables);
  if (!verifier.VerifyBuffer<fb::Package>(fb::PackageIdentifier())) return DataLoss("package program: malformed FlatBuffer");
  file.root = fb::GetPackage(file.program.data());
  if (file.root->format_version() != file.header.format_version) return DataLoss("format_version: differs from the header's");
  return file;
}

Result<std::vector<std::span<const uint8_t>>> ReadSegments(const fb::Package& root, std::span<const uint8_t> bytes) {
  std::vector<std::span<const uint8_t>> out;
  for (size_t i = 0; i < SizeOf(root.segments()); ++i) {
    const fb::Segment& s = *root.segments()->Get(static_cast<uint32_t>(i));
    if (s.offset() % kSegmentAlignment != 0 || s.offset() < sizeof(FileHeader)) {
      return DataLoss(Index("segments", i) + ".offset: " + std::to_string(s.offset()) + " is not a multiple of 64 behind the header");
    }
    // An empty segment at the file's very end may be rounded up behind it.
    if (s.size() == 0) {
      out.emplace_back();
      continue;
    }
    if (s.offset() > bytes.size() || s.size() > bytes.size() - s.offset()) {
      return DataLoss(Index("segments", i) + ": ends behind the file's " + std::to_string(bytes.size()) + " bytes");
    }
    if (!s.sha256()) return DataLoss(Index("segments", i) + ".sha256: missing");
    out.push_back(bytes.subspan(s.offset(), s.size()));
  }
  return out;
}

Status ReadSymbols(const fb::Package& root, PackageData& out) {
  for (size_t i = 0; i < SizeOf(root.symbols()); ++i) {
    const fb::SymbolRange& s = *root.symbols()->Get(static_cast<uint32_t>(i));
    std::string name = Text(s.name()), where = Index("symbols", i) + " '" + name + "'";
    auto parsed = Dim::Parse(name);
    if (!parsed.ok() || parsed->known() || parsed->Symbols() != std::vector<std::string>{name}) {
      return DataLoss(where + ".name: not the name of a symbol");
    }
    if (s.min() < 0 || s.max() < s.min()) {
      return DataLoss(where + ": range " + std::to_string(s.min()) + " to " + std::to_string(s.max()));
    }
    if (!out.symbols.emplace(name, std::pair(s.min(), s.max())).second) return DataLoss(where + ": declared twice");
  }
  return OkStatus();
}

Result<Dim> ReadExpression(const std::string& text, const PackageData& package, const std::string& field) {
  auto dim = Dim::Parse(text);
  if (!dim.ok()) return DataLoss(field + ": " + dim.status().message());
  if (dim->known() && (dim->value() < 0 || dim->overflowed())) return DataLoss(field + ": expression '" + text + "'");
  for (const std::string& symbol : dim->Symbols()) {
    if (!package.symbols.count(symbol)) return DataLoss(field + ": symbol '" + symbol + "' is not declared in symbols");
  }
  return std::move(*dim);
}

Result<SymShape> ReadShape(const fb::Tensor& t, const std::string& where, const PackageData& package) {
  const size_t rank = SizeOf(t.dims()), symbolic = SizeOf(t.symbolic());
  if (rank > static_cast<size_t>(kMaxRank)) return DataLoss(where + ".dims: rank " + std::to_string(rank) + " is above 12");
  if (symbolic != 0 && symbolic != rank) return DataLoss(where + ".symbolic: must be empty or one per dimension");
  SymShape shape;
  for (size_t d = 0; d < rank; ++d) {
    int64_t value;  // copied: the verifier lets 8-byte elements lie at multiples of 4
    std::memcpy(&value, t.dims()->Data() + d * sizeof(value), sizeof(value));
    std::string text = symbolic ? Text(t.symbolic()->Get(static_cast<uint32_t>(d))) : "";
    std::string field = where + ".dims[" + std::to_string(d) + "]";
    if (text.empty()) {
      if (value < 0) return DataLoss(field + ": " + std::to_string(value));
      shape.push_back(value);
      continue;
    }
    if (value != -1) return DataLoss(field + ": a number and the expression '" + text + "'");
    SLIPWAY_ASSIGN_OR_RETURN(Dim dim, ReadExpression(text, package, field));
    shape.push_back(std::move(dim));
  }
  return shape;
}

// The constants of a file, of all its programs.
struct FileConstants {
  std::vector<std::span<const uint8_t>> segments;
  uint64_t budget = 0;  // bytes that are left to be made floats: each of the file's is once
  struct Floats {
    int bits;
    uint64_t rows, count;
    std::shared_ptr<const AlignedBuffer> values;
  };
  std::map<const uint8_t*, Floats> floats;  // by where their codes are
};

// Fills data from coded.
Status MakeFloats(const std::string& where, uint64_t count, FileConstants& file, PackageTensor& to, PackageData& out) {
  auto [at, is_new] = file.floats.try_emplace(to.coded.data(), FileConstants::Floats{to.code_bits, to.code_rows, count, nullptr});
  FileConstants::Floats& floats = at->second;
  if (is_new) {
    if (to.coded.size() > file.budget) return DataLoss(where + ".code_bits: the file has more codes than constants");
    file.budget -= to.coded.size();
    auto values = std::make_shared<AlignedBuffer>(count * sizeof(float));
    if (!values->data()) return ResourceExhausted(where + ": no memory for " + std::to_string(count) + " floats");
    DecodeRows(to.coded, to.code_rows, count, to.code_bits, reinterpret_cast<float*>(values->data()));
    floats.values = std::move(values);
  } else if (std::tie(floats.bits, floats.rows, floats.count) != std::tie(to.code_bits, to.code_rows, count)) {
    return DataLoss(where + ".code_rows: another tensor has the same bytes as other codes");
  }
  to.data = {floats.values->data(), floats.values->size()};
  out.owners.push_back(floats.values);
  return OkStatus();
}

Status ReadTensors(const fb::Package& root, FileConstants& file, PackageData& out) {
  const auto& segments = file.segments;
  out.tensors.reserve(SizeOf(root.tensors()));
  for (size_t i = 0; i < SizeOf(root.tensors()); ++i) {
    const fb::Tensor& t = *root.tensors()->Get(static_cast<uint32_t>(i));
    PackageTensor to;
    to.name = Text(t.name());
    const std::string where = Index("tensors", i) + " '" + to.name + "'";
    to.dtype = static_cast<DType>(t.dtype());
    if (!IsKnown(to.dtype)) return DataLoss(where + ".dtype: unknown element type " + std::to_string(t.dtype()));
    if (t.layout() >= kLayoutCount) return DataLoss(where + ".layout: unknown layout " + std::to_string(t.layout()));
    to.layout = static_cast<Layout>(t.layout());
    if (static_cast<uint8_t>(t.kind()) > static_cast<uint8_t>(TensorKind::kConstant)) {
      return DataLoss(where + ".kind: unknown kind " + std::to_string(static_cast<int>(t.kind())));
    }
    to.kind = static_cast<TensorKind>(t.kind());
    SLIPWAY_ASSIGN_OR_RETURN(to.shape, ReadShape(t, where, out));
    if (to.layout != Layout::kPlain && to.shape.size() < 3) return DataLoss(where + ".layout: needs at least three dimensions");
    to.alias = t.alias();
    to.part = t.part();
    if (to.part != -1 && root.format_version() < 5) return DataLoss(where + ".part: needs format version 5");
    if (static_cast<uint8_t>(t.container()) > static_cast<uint8_t>(Container::kOptionalSequence)) {
      return DataLoss(where + ".container: unknown container " + std::to_string(static_cast<int>(t.container())));
    }
    to.container = static_cast<Container>(t.container());
    if (to.is_container() && root.format_version() < 4) return DataLoss(where + ".container: needs format version 4");
    Dims dims;
    bool known = true;
    for (const Dim& d : to.shape) {
      known = known && d.known();
      dims.push_back(d.known() ? d.value() : 1);
    }
    // Also for the known part of a dynamic shape: its product must not overflow.
    auto bytes = LayoutBytes(to.dtype, dims, to.layout);
    if (!bytes) return DataLoss(where + ".dims: the size overflows");
    if (known && t.size() != 0 && t.size() != static_cast<uint64_t>(*bytes)) {
      return DataLoss(where + ".size: " + std::to_string(t.size()) + " bytes, dims say " + std::to_string(*bytes));
    }
    to.offset = t.offset();
    if (to.kind == TensorKind::kConstant && to.alias < 0) {
      if (!known) return DataLoss(where + ".dims: a constant needs known dimensions");
      if (t.segment() >= segments.size()) return DataLoss(where + ".segment: " + std::to_string(t.segment()) + " is out of range");
      const auto segment = segments[t.segment()];
      if (t.offset() % kSegmentAlignment != 0) return DataLoss(where + ".offset: " + std::to_string(t.offset()) + " is not a multiple of 64");
      auto size = static_cast<uint64_t>(*bytes);
      if (t.code_bits() != 0) {
        if (root.format_version() < 6) return DataLoss(where + ".code_bits: needs format version 6");
        if (to.dtype != DType::kFloat32 || to.layout != Layout::kPlain) return DataLoss(where + ".code_bits: only of plain float32 constants");
        const auto coded = CodedBytes(t.code_rows(), size / sizeof(float), t.code_bits());
        if (!coded) {
          return DataLoss(where + ".code_rows: " + std::to_string(t.code_rows()) + " rows of codes of " + std::to_string(t.code_bits()) + " bits");
        }
        size = *coded;
        to.code_bits = t.code_bits();
        to.code_rows = t.code_rows();
      }
      if (size > 0) {
        if (t.offset() > segment.size() || size > segment.size() - t.offset()) {
          return DataLoss(where + ".offset: ends behind its segment of " + std::to_string(segment.size()) + " bytes");
        }
        to.data = segment.subspan(t.offset(), size);
      }
      if (to.code_bits != 0) {
        to.coded = to.data;
        SLIPWAY_RETURN_IF_ERROR(MakeFloats(where, static_cast<uint64_t>(*bytes) / sizeof(float), file, to, out));
      }
    } else if (t.code_bits() != 0) {
      return DataLoss(where + ".code_bits: only of constants of their own");
    }
    out.tensors.push_back(std::move(to));
  }
  for (PackageTensor& t : out.tensors) {  // views of constants; aliases are validated later
    if (t.kind == TensorKind::kConstant && t.alias >= 0 && static_cast<size_t>(t.alias) < out.tensors.size()) {
      t.data = out.tensors[static_cast<size_t>(t.alias)].data;
    }
  }
  return OkStatus();
}

std::vector<uint8_t> Bytes(const flatbuffers::Vector<uint8_t>* list) {
  return list ? std::vector<uint8_t>(list->begin(), list->end()) : std::vector<uint8_t>();
}

Result<PackageControl> ReadControl(const fb::Control& c, const std::string& where, size_t programs) {
  PackageControl to;
  if (static_cast<uint8_t>(c.kind()) > static_cast<uint8_t>(ControlKind::kScan)) {
    return DataLoss(where + ".kind: unknown kind " + std::to_string(static_cast<int>(c.kind())));
  }
  to.kind = static_cast<ControlKind>(c.kind());
  for (size_t i = 0; i < SizeOf(c.bodies()); ++i) {
    const uint32_t body = c.bodies()->Get(static_cast<uint32_t>(i));
    if (body >= programs) return DataLoss(where + "." + Index("bodies", i) + ": program " + std::to_string(body) + " is out of range");
    to.bodies.push_back(static_cast<int>(body));
  }
  to.carried = c.carried();
  to.scanned = c.scanned();
  if (c.input_axes()) to.input_axes.assign(c.input_axes()->begin(), c.input_axes()->end());
  if (c.output_axes()) to.output_axes.assign(c.output_axes()->begin(), c.output_axes()->end());
  to.input_backward = Bytes(c.input_backward());
  to.output_backward = Bytes(c.output_backward());
  return to;
}

Status ReadSteps(const fb::Package& root, PackageData& out) {
  for (size_t i = 0; i < SizeOf(root.backends()); ++i) {
    const fb::Backend& b = *root.backends()->Get(static_cast<uint32_t>(i));
    out.backends.push_back({Text(b.name()), b.abi(), Text(b.version())});
    if (out.backends.back().name.empty()) return DataLoss(Index("backends", i) + ".name: empty");
  }
  out.steps.reserve(SizeOf(root.steps()));
  for (size_t i = 0; i < SizeOf(root.steps()); ++i) {
    const fb::Step& s = *root.steps()->Get(static_cast<uint32_t>(i));
    PackageStep to;
    to.backend = s.backend();
    to.name = Text(s.name());
    to.op = Text(s.op());
    to.kernel = Text(s.kernel());
    const std::string where = Index("steps", i) + " '" + to.name + "'";
    if (s.control() && s.sequence()) return DataLoss(where + ".sequence: a control step has none");
    if (s.control()) {
      if (root.format_version() < 3) return DataLoss(where + ".control: needs format version 3");
      if (s.backend() != kNoBackend) return DataLoss(where + ".backend: a control step has none");
      to.backend = -1;
      SLIPWAY_ASSIGN_OR_RETURN(to.control, ReadControl(*s.control(), where + ".control", SizeOf(root.programs())));
    } else if (s.sequence()) {
      if (root.format_version() < 4) return DataLoss(where + ".sequence: needs format version 4");
      if (s.backend() != kNoBackend) return DataLoss(where + ".backend: a sequence step has none");
      to.backend = -1;
      if (static_cast<int>(s.sequence()->op()) >= kSequenceOpCount) {
        return DataLoss(where + ".sequence.op: unknown operator " + std::to_string(static_cast<int>(s.sequence()->op())));
      }
      to.sequence = PackageSequence{static_cast<SequenceOp>(s.sequence()->op()), s.sequence()->axis(), s.sequence()->keepdims(),
                                    s.sequence()->new_axis()};
    } else if (static_cast<size_t>(to.backend) >= out.backends.size()) {
      return DataLoss(where + ".backend: " + std::to_string(to.backend) + " is out of range");
    }
    if (s.blob()) to.blob.assign(s.blob()->begin(), s.blob()->end());
    if (s.inputs()) to.inputs.assign(s.inputs()->begin(), s.inputs()->end());
    if (s.outputs()) to.outputs.assign(s.outputs()->begin(), s.outputs()->end());
    to.workspace = s.workspace();
    to.workspace_offset = s.workspace_offset();
    if (s.macs() < 0) return DataLoss(where + ".macs: negative");
    to.macs = s.macs();
    if (SizeOf(s.macs_of()) > 0) {
      SLIPWAY_ASSIGN_OR_RETURN(to.macs_of, ReadExpression(Text(s.macs_of()), out, where + ".macs_of"));
      if (to.macs != 0) return DataLoss(where + ".macs_of: an expression and the number " + std::to_string(to.macs));
    }
    for (size_t k = 0; k < SizeOf(s.sources()); ++k) to.sources.push_back(Text(s.sources()->Get(static_cast<uint32_t>(k))));
    to.data_dims = s.data_dims();
    if (to.data_dims && root.format_version() < 2) return DataLoss(where + ".data_dims: needs format version 2");
    out.steps.push_back(std::move(to));
  }
  return OkStatus();
}

Status ReadIndices(const flatbuffers::Vector<uint32_t>* list, const char* field, size_t tensors, std::vector<int>& out) {
  for (size_t i = 0; i < SizeOf(list); ++i) {
    const uint32_t t = list->Get(static_cast<uint32_t>(i));
    if (t >= tensors) return DataLoss(Index(field, i) + ": tensor " + std::to_string(t) + " is out of range");
    out.push_back(static_cast<int>(t));
  }
  return OkStatus();
}

// One program: the root's, or that of a body. `programs`: how many there are so far.
Status ReadProgram(const fb::Package& root, FileConstants& file, int depth, size_t& programs, PackageData& out) {
  out.name = Text(root.name());
  if (SizeOf(root.programs()) > 0 && root.format_version() < 3) return DataLoss("programs: need format version 3");
  if (SizeOf(root.programs()) > 0 && depth >= kMaxProgramDepth) {
    return DataLoss("programs: nested more than " + std::to_string(kMaxProgramDepth) + " deep");
  }
  programs += SizeOf(root.programs());
  if (programs > kMaxPrograms) return DataLoss("programs: more than " + std::to_string(kMaxPrograms));
  for (size_t i = 0; i < SizeOf(root.programs()); ++i) {
    const fb::Package& body = *root.programs()->Get(static_cast<uint32_t>(i));
    const std::string where = Index("programs", i) + " '" + Text(body.name()) + "'";
    if (body.format_version() != root.format_version()) return DataLoss(where + ".format_version: differs from the root's");
    if (SizeOf(body.segments()) > 0) return DataLoss(where + ".segments: belong to the root");
    out.programs.emplace_back();
    SLIPWAY_RETURN_IF_ERROR(ReadProgram(body, file, depth + 1, programs, out.programs.back()).With(where));
  }
  SLIPWAY_RETURN_IF_ERROR(ReadSymbols(root, out));
  SLIPWAY_RETURN_IF_ERROR(ReadTensors(root, file, out));
  SLIPWAY_RETURN_IF_ERROR(ReadSteps(root, out));
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(root.inputs(), "inputs", out.tensors.size(), out.inputs));
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(root.outputs(), "outputs", out.tensors.size(), out.outputs));
  out.static_plan = root.static_plan();
  out.arena_size = root.arena_size();
  return ValidateProgram(out);
}

Result<PackageData> Parse(std::span<const uint8_t> bytes) {
  SLIPWAY_ASSIGN_OR_RETURN(File file, OpenFile(bytes));
  const fb::Package& root = *file.root;
  PackageData out;
  out.arch = Text(root.arch());
  if (out.arch.empty()) return DataLoss("arch: empty");
  out.required_features = root.required_features();
  for (size_t i = 0; i < SizeOf(root.provenance()); ++i) {
    const fb::KeyValue& e = *root.provenance()->Get(static_cast<uint32_t>(i));
    out.provenance.emplace(Text(e.key()), Text(e.value()));
  }
  FileConstants constants;
  SLIPWAY_ASSIGN_OR_RETURN(constants.segments, ReadSegments(root, bytes));
  constants.budget = bytes.size();
  size_t programs = 0;
  SLIPWAY_RETURN_IF_ERROR(ReadProgram(root, constants, 0, programs, out));
  return out;
}

Status Remedied(Status status) {
  if (status.code() != StatusCode::kDataLoss) return status;
  return DataLoss(status.message() + kRemedy);
}

}  // namespace

Result<PackageData> ParsePackage(std::span<const uint8_t> bytes, std::shared_ptr<const void> owner) {
  auto parsed = Parse(bytes);
  if (!parsed.ok()) return Remedied(parsed.status());
  if (owner) parsed->owners.push_back(std::move(owner));
  return parsed;
}

Result<PackageData> ReadPackage(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  auto package = ParsePackage(file->bytes(), file);
  if (!package.ok()) return package.status().With("'" + path + "'");
  return package;
}

Status VerifyHashes(const std::string& path, std::vector<SegmentReport>* report) {
  if (report) report->clear();
  SLIPWAY_ASSIGN_OR_RETURN(auto mapped, MappedFile::Open(path));
  const std::string where = "'" + path + "'";
  auto file = OpenFile(mapped->bytes());  // checks the program's own digest
  if (!file.ok()) return Remedied(file.status()).With(where);
  auto segments = ReadSegments(*file->root, mapped->bytes());
  if (!segments.ok()) return Remedied(segments.status()).With(where);
  if (report) report->push_back({file->header.program_offset, file->header.program_size, true});
  Status status;
  for (size_t i = 0; i < segments->size(); ++i) {
    const fb::Segment& s = *file->root->segments()->Get(static_cast<uint32_t>(i));
    const Sha256Digest digest = Sha256Of((*segments)[i]);
    const bool ok = s.sha256() && std::memcmp(s.sha256()->bytes()->data(), digest.data(), digest.size()) == 0;
    if (report) report->push_back({s.offset(), s.size(), ok});
    if (!ok && status.ok()) status = DataLoss(where + ": segments[" + std::to_string(i) + "]: its SHA-256 differs; fetch the file again");
  }
  return status;
}

}  // namespace slipway::format
