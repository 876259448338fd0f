#include "engine/backends/run_tool/npy.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "base/checked.h"

namespace slipway::run_tool {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

struct Row {
  DType dtype;
  const char* code;
};
constexpr Row kTypes[] = {
    {DType::kFloat32, "f4"}, {DType::kFloat64, "f8"}, {DType::kFloat16, "f2"}, {DType::kInt8, "i1"},   {DType::kInt16, "i2"},
    {DType::kInt32, "i4"},   {DType::kInt64, "i8"},   {DType::kUInt8, "u1"},   {DType::kUInt16, "u2"}, {DType::kUInt32, "u4"},
    {DType::kUInt64, "u8"},  {DType::kBool, "b1"},
};

Status Bad(const std::string& what) { return InvalidArgument("not a .npy array that can be read: " + what); }

// The text behind 'key': in the header's dictionary, without leading spaces.
Result<std::string_view> Field(std::string_view header, std::string_view key) {
  for (char quote : {'\'', '"'}) {
    std::string quoted = quote + std::string(key) + quote;
    size_t at = header.find(quoted);
    if (at == std::string_view::npos) continue;
    std::string_view rest = header.substr(at + quoted.size());
    size_t colon = rest.find_first_not_of(' ');
    if (colon == std::string_view::npos || rest[colon] != ':') continue;
    size_t value = rest.find_first_not_of(' ', colon + 1);
    if (value != std::string_view::npos) return rest.substr(value);
  }
  return Bad("no '" + std::string(key) + "' in its header");
}

Result<DType> ReadType(std::string_view header) {
  SLIPWAY_ASSIGN_OR_RETURN(std::string_view text, Field(header, "descr"));
  if (text.empty() || (text[0] != '\'' && text[0] != '"')) return Bad("structured elements");
  size_t end = text.find(text[0], 1);
  if (end == std::string_view::npos || end > 16) return Bad("its element type has no end");
  std::string descr(text.substr(1, end - 1));
  std::string_view code = descr;
  if (!code.empty() && std::string_view("<|=>").find(code[0]) != std::string_view::npos) {
    if (code[0] == '>') return Bad("big-endian elements '" + descr + "'; save it with astype('<" + descr.substr(1) + "')");
    code.remove_prefix(1);
  }
  for (const Row& row : kTypes) {
    if (code == row.code) return row.dtype;
  }
  return Bad("element type '" + descr + "'");
}

Result<std::vector<int64_t>> ReadShape(std::string_view header) {
  SLIPWAY_ASSIGN_OR_RETURN(std::string_view text, Field(header, "shape"));
  size_t end = text.find(')');
  if (text.empty() || text[0] != '(' || end == std::string_view::npos) return Bad("its shape is no tuple");
  text = text.substr(1, end - 1);
  std::vector<int64_t> dims;
  while (true) {
    size_t at = text.find_first_not_of(" ,");
    if (at == std::string_view::npos) return dims;
    int64_t value = 0;
    auto [stop, error] = std::from_chars(text.data() + at, text.data() + text.size(), value);
    if (error != std::errc() || value < 0) return Bad("its shape (" + std::string(text.substr(0, 64)) + ")");
    if (dims.size() >= 32) return Bad("more than 32 dimensions");
    dims.push_back(value);
    text.remove_prefix(static_cast<size_t>(stop - text.data()));
  }
}

}  // namespace

bool IsNpy(std::span<const uint8_t> file) {
  return file.size() >= kMagic.size() && std::memcmp(file.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<Array> ReadNpy(std::span<const uint8_t> file) {
  if (!IsNpy(file)) return Bad("no NUMPY magic");
  if (file.size() < 12) return Bad("truncated");
  const uint8_t major = file[6];
  if (major < 1 || major > 3) return Bad("version " + std::to_string(major));
  const size_t start = major == 1 ? 10 : 12;
  size_t length = file[8] | static_cast<size_t>(file[9]) << 8;
  if (major > 1) length |= static_cast<size_t>(file[10]) << 16 | static_cast<size_t>(file[11]) << 24;
  if (length > file.size() - start) return Bad("truncated header");
  std::string_view header(reinterpret_cast<const char*>(file.data()) + start, length);
  Array a;
  SLIPWAY_ASSIGN_OR_RETURN(a.dtype, ReadType(header));
  SLIPWAY_ASSIGN_OR_RETURN(a.dims, ReadShape(header));
  SLIPWAY_ASSIGN_OR_RETURN(std::string_view fortran, Field(header, "fortran_order"));
  if (fortran.substr(0, 4) == "True" && std::count_if(a.dims.begin(), a.dims.end(), [](int64_t d) { return d > 1; }) > 1) {
    return Bad("Fortran order; save numpy.ascontiguousarray(x)");
  }
  auto data = file.subspan(start + length);
  auto bytes = CheckedBytes(a.dtype, a.dims);
  if (!bytes || static_cast<uint64_t>(*bytes) != data.size()) {
    return Bad("it holds " + std::to_string(data.size()) + " bytes of elements, its shape needs " +
               (bytes ? std::to_string(*bytes) : "more than there can be"));
  }
  a.bytes.assign(data.begin(), data.end());
  return a;
}

std::vector<uint8_t> WriteNpy(DType dtype, std::span<const int64_t> dims, std::span<const uint8_t> bytes) {
  std::string code;
  for (const Row& row : kTypes) {
    if (row.dtype == dtype) code = row.code;
  }
  std::vector<int64_t> shape(dims.begin(), dims.end());
  if (code.empty()) {
    code = DTypeBits(dtype) == 16 ? "u2" : "u1";
    if (DTypeBits(dtype) < 8) shape = {static_cast<int64_t>(bytes.size())};
  }
  std::string header = "{'descr': '" + std::string(code[1] == '1' ? "|" : "<") + code + "', 'fortran_order': False, 'shape': (";
  for (size_t i = 0; i < shape.size(); ++i) header += (i ? ", " : "") + std::to_string(shape[i]);
  header += shape.size() == 1 ? ",), }" : "), }";
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::vector<uint8_t> out(10 + header.size() + bytes.size());
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  out[6] = 1;  // version 1.0
  out[8] = static_cast<uint8_t>(header.size() & 255);
  out[9] = static_cast<uint8_t>(header.size() >> 8);
  std::memcpy(out.data() + 10, header.data(), header.size());
  if (!bytes.empty()) std::memcpy(out.data() + 10 + header.size(), bytes.data(), bytes.size());
  return out;
}

}  // namespace slipway::run_tool
