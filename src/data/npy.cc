#include "data/npy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/aligned.h"
#include "base/checked.h"
#include "base/mapped_file.h"
#include "data/archive.h"

namespace slipway::data {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxHeader = 1 << 20;

struct DescrEntry {
  DType dtype;
  const char* descr;  // as written; byte order '|' for single bytes
};
constexpr DescrEntry kDescr[] = {
    {DType::kFloat32, "<f4"}, {DType::kFloat64, "<f8"}, {DType::kFloat16, "<f2"},
    {DType::kInt8, "|i1"},    {DType::kUInt8, "|u1"},   {DType::kInt16, "<i2"},
    {DType::kUInt16, "<u2"},  {DType::kInt32, "<i4"},   {DType::kUInt32, "<u4"},
    {DType::kInt64, "<i8"},   {DType::kUInt64, "<u8"},  {DType::kBool, "|b1"},
};

Result<DType> DTypeOfDescr(std::string_view descr, const std::string& name) {
  if (descr.size() == 3) {
    for (const auto& e : kDescr) {
      if (descr.substr(1) != std::string_view(e.descr).substr(1)) continue;
      if (descr[0] == '>' && e.descr[0] == '<') {
        return Unsupported(
            name + ": big-endian array; rewrite it with a.astype(a.dtype.newbyteorder('<'))");
      }
      if (descr[0] == '<' || descr[0] == '|' || descr[0] == '=') return e.dtype;
    }
  }
  return Unsupported(name + ": element type '" + std::string(descr.substr(0, 40)) +
                     "' is not numeric; save it as a float, integer or bool array");
}

// A cursor over the header's Python dictionary literal: {'descr': '<f4', 'fortran_order': False,
// 'shape': (3, 4), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Status Parse(std::string* descr, bool* fortran, std::vector<int64_t>* dims) {
    bool has_descr = false, has_order = false, has_shape = false;
    if (!Eat('{')) return Bad("no dictionary");
    while (!Eat('}')) {
      std::string key;
      if (!String(&key) || !Eat(':')) return Bad("no key");
      if (key == "descr") {
        Skip();
        if (at_ < text_.size() && text_[at_] == '[') {
          return Unsupported(name_ + ": record array; save one numeric array per field instead");
        }
        if (!String(descr)) return Bad("descr is not a string");
        has_descr = true;
      } else if (key == "fortran_order") {
        if (Word("True"))
          *fortran = true;
        else if (Word("False"))
          *fortran = false;
        else
          return Bad("fortran_order is neither True nor False");
        has_order = true;
      } else if (key == "shape") {
        if (!Tuple(dims)) return Bad("shape is not a tuple of sizes");
        has_shape = true;
      } else {
        return Bad("unknown key '" + key.substr(0, 40) + "'");
      }
      if (!Eat(',')) {
        if (!Eat('}')) return Bad("no end");
        break;
      }
    }
    if (!has_descr || !has_order || !has_shape) return Bad("descr, fortran_order or shape missing");
    return OkStatus();
  }

 private:
  Status Bad(const std::string& why) {
    return DataLoss(name_ + ": not a .npy header (" + why +
                    "); write the file again with numpy.save");
  }
  void Skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t'))
      ++at_;
  }
  bool Eat(char c) {
    Skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool Word(std::string_view w) {
    Skip();
    if (text_.substr(at_, w.size()) != w) return false;
    at_ += w.size();
    return true;
  }
  bool String(std::string* out) {
    Skip();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) return false;
    const char quote = text_[at_++];
    const size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) return false;
    *out = std::string(text_.substr(at_, end - at_));
    at_ = end + 1;
    return true;
  }
  bool Tuple(std::vector<int64_t>* dims) {
    if (!Eat('(')) return false;
    while (!Eat(')')) {
      Skip();
      int64_t value = 0;
      size_t digits = 0;
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
        if (++digits > 18) return false;
        value = value * 10 + (text_[at_++] - '0');
      }
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2 wrote 3L
      if (digits == 0 || dims->size() >= 32) return false;
      dims->push_back(value);
      if (!Eat(',')) return Eat(')');
    }
    return true;
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
};

float HalfToFloat(uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const int mantissa = h & 1023;
  float v;
  if (exponent == 0)
    v = std::ldexp(static_cast<float>(mantissa), -24);
  else if (exponent == 31)
    v = mantissa ? NAN : INFINITY;
  else
    v = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return h & 0x8000 ? -v : v;
}

template <typename F>
auto Dispatch(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat32:
      return f(float{});
    case DType::kFloat64:
      return f(double{});
    case DType::kInt8:
      return f(int8_t{});
    case DType::kUInt8:
      return f(uint8_t{});
    case DType::kBool:
      return f(uint8_t{});
    case DType::kInt16:
      return f(int16_t{});
    case DType::kUInt16:
      return f(uint16_t{});
    case DType::kInt32:
      return f(int32_t{});
    case DType::kUInt32:
      return f(uint32_t{});
    case DType::kInt64:
      return f(int64_t{});
    case DType::kUInt64:
      return f(uint64_t{});
    default:
      return f(float{});
  }
}

std::string NpyHeader(const char* descr, std::span<const int64_t> dims) {
  std::string dict = std::string("{'descr': '") + descr + "', 'fortran_order': False, 'shape': (";
  for (size_t i = 0; i < dims.size(); ++i) {
    dict += std::to_string(dims[i]);
    dict += dims.size() == 1 ? "," : i + 1 < dims.size() ? ", " : "";
  }
  dict += "), }";
  const size_t total = (10 + dict.size() + 1 + 63) / 64 * 64;  // the array starts 64-byte aligned
  dict.resize(total - 10 - 1, ' ');
  dict += '\n';
  std::string header(kMagic);
  header += '\x01';
  header += '\x00';
  header += static_cast<char>(dict.size() & 255);
  header += static_cast<char>(dict.size() >> 8);
  return header + dict;
}

Result<std::string> NpyImageHeader(const std::string& name, DType dtype,
                                   std::span<const int64_t> dims, size_t bytes) {
  const char* descr = nullptr;
  for (const auto& e : kDescr) {
    if (e.dtype == dtype) descr = e.descr;
  }
  if (!descr) {
    return Unsupported(name + ": NumPy has no " + DTypeName(dtype) +
                       " type; convert the tensor to float32 first");
  }
  const auto expected = CheckedBytes(dtype, dims);
  if (!expected || static_cast<uint64_t>(*expected) != bytes) {
    return InvalidArgument(name + ": " + std::to_string(bytes) + " bytes do not fill the shape");
  }
  if (dims.size() > 32) return InvalidArgument(name + ": more than 32 dimensions");
  return NpyHeader(descr, dims);
}

}  // namespace

int64_t NpyArray::count() const {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

Result<NpyArray> NpyArray::Copy(DType dtype, std::vector<int64_t> dims,
                                std::span<const uint8_t> bytes) {
  const auto expected = CheckedBytes(dtype, dims);
  if (!expected || static_cast<uint64_t>(*expected) != bytes.size()) {
    return InvalidArgument(std::to_string(bytes.size()) + " bytes do not fill the shape");
  }
  auto block = std::make_shared<AlignedBuffer>(bytes.size());
  if (!bytes.empty()) {
    if (!block->data()) return ResourceExhausted("no memory for an array");
    std::memcpy(block->data(), bytes.data(), bytes.size());
  }
  NpyArray out{dtype, std::move(dims), {block->data(), bytes.size()}, nullptr};
  out.owner = std::move(block);
  return out;
}

Result<NpyArray> ParseNpy(std::span<const uint8_t> file, std::shared_ptr<const void> owner,
                          const std::string& name) {
  if (file.size() < 10 || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0) {
    return DataLoss(name + ": not a .npy file (no \\x93NUMPY mark); write it with numpy.save");
  }
  const int version = file[6];
  if (version < 1 || version > 3) {
    return Unsupported(name + ": .npy version " + std::to_string(version) +
                       " is not known; versions 1 to 3 are read");
  }
  size_t start = 10, length = file[8] | file[9] << 8;
  if (version > 1) {
    if (file.size() < 12) return DataLoss(name + ": truncated header");
    start = 12;
    length |= static_cast<size_t>(file[10]) << 16 | static_cast<size_t>(file[11]) << 24;
  }
  if (length > kMaxHeader || length > file.size() - start) {
    return DataLoss(name + ": truncated header; write the file again");
  }
  std::string descr;
  bool fortran = false;
  NpyArray out;
  HeaderParser parser({reinterpret_cast<const char*>(file.data()) + start, length}, name);
  SLIPWAY_RETURN_IF_ERROR(parser.Parse(&descr, &fortran, &out.dims));
  SLIPWAY_ASSIGN_OR_RETURN(out.dtype, DTypeOfDescr(descr, name));
  if (fortran && out.dims.size() > 1) {
    return Unsupported(name +
                       ": Fortran (column-major) order; save numpy.ascontiguousarray(a) instead");
  }
  const auto bytes = CheckedBytes(out.dtype, out.dims);
  if (!bytes) return DataLoss(name + ": the shape in the header overflows");
  const auto data = file.subspan(start + length);
  if (static_cast<uint64_t>(*bytes) > data.size()) {
    return DataLoss(name + ": truncated: the header says " + std::to_string(*bytes) +
                    " bytes of data, the file has " + std::to_string(data.size()));
  }
  out.bytes = data.first(static_cast<size_t>(*bytes));
  if (reinterpret_cast<uintptr_t>(out.bytes.data()) % kAlignment != 0) {
    return NpyArray::Copy(out.dtype, std::move(out.dims), out.bytes);
  }
  out.owner = std::move(owner);
  return out;
}

Result<NpyArray> ReadNpy(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  const auto bytes = file->bytes();
  return ParseNpy(bytes, std::move(file), path);
}

Status WriteNpy(const std::string& path, DType dtype, std::span<const int64_t> dims,
                std::span<const uint8_t> bytes) {
  SLIPWAY_ASSIGN_OR_RETURN(std::string image, NpyImageHeader(path, dtype, dims, bytes.size()));
  image.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return WriteFile(path, image);
}

Result<std::vector<std::pair<std::string, NpyArray>>> ReadNpz(const std::string& path,
                                                              uint64_t max_bytes) {
  SLIPWAY_ASSIGN_OR_RETURN(auto members, ReadArchiveMembers(path, max_bytes));
  std::vector<std::pair<std::string, NpyArray>> out;
  for (auto& m : members) {
    if (!m.name.ends_with(".npy")) continue;
    const std::string key = m.name.substr(0, m.name.size() - 4);
    const std::span<const uint8_t> bytes(m.bytes->data(), m.size);
    SLIPWAY_ASSIGN_OR_RETURN(auto array, ParseNpy(bytes, m.bytes, path + ": array '" + key + "'"));
    out.emplace_back(key, std::move(array));
  }
  if (out.empty())
    return InvalidArgument(path + ": holds no .npy array; write it with numpy.savez");
  return out;
}

Status WriteNpz(const std::string& path, std::span<const std::pair<std::string, NpyArray>> arrays) {
  std::vector<std::pair<std::string, std::string>> members;
  for (const auto& [key, a] : arrays) {
    SLIPWAY_ASSIGN_OR_RETURN(std::string image,
                             NpyImageHeader(path + ": " + key, a.dtype, a.dims, a.bytes.size()));
    image.append(reinterpret_cast<const char*>(a.bytes.data()), a.bytes.size());
    members.emplace_back(key + ".npy", std::move(image));
  }
  return WriteZip(path, members);
}

double NpyValue(const NpyArray& a, int64_t index) {
  if (a.dtype == DType::kFloat16) {
    uint16_t h;
    std::memcpy(&h, a.bytes.data() + index * 2, 2);
    return HalfToFloat(h);
  }
  return Dispatch(a.dtype, [&](auto zero) {
    decltype(zero) v;
    std::memcpy(&v, a.bytes.data() + index * static_cast<int64_t>(sizeof(v)), sizeof(v));
    return static_cast<double>(v);
  });
}

void NpyToFloat(const NpyArray& a, int64_t begin, std::span<float> out) {
  if (out.empty()) return;
  if (a.dtype == DType::kFloat32) {
    std::memcpy(out.data(), a.bytes.data() + begin * 4, out.size() * 4);
    return;
  }
  if (a.dtype == DType::kFloat16) {
    const auto* p = reinterpret_cast<const uint16_t*>(a.bytes.data()) + begin;
    for (size_t i = 0; i < out.size(); ++i) out[i] = HalfToFloat(p[i]);
    return;
  }
  Dispatch(a.dtype, [&](auto zero) {
    const auto* p = reinterpret_cast<const decltype(zero)*>(a.bytes.data()) + begin;
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(p[i]);
    return 0;
  });
}

}  // namespace slipway::data
