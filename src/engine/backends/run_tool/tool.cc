#include "engine/backends/run_tool/tool.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "base/checked.h"
#include "base/dims.h"
#include "base/mapped_file.h"
#include "base/status.h"
#include "engine/backends/run_tool/npy.h"
#include "engine/runtime/registry.h"
#include "slipway.h"

namespace slipway::run_tool {
namespace {

constexpr char kUsage[] =
    R"(usage: slipway-run PACKAGE.slip [options]
Runs a package made by `slipway compile`.

  --input NAME=FILE     a .npy array or raw bytes for an input; may be repeated. Inputs without a file get seeded random numbers
                        (integers of 16 bits or more: zeros)
  --shape NAME=1,3,8,8  the shape of a dynamic input (default: that of its .npy array)
                        tensors of a sequence are given as NAME.0=FILE, NAME.1=FILE, ... (--shape likewise, for raw bytes)
  --length NAME=N       how many tensors a sequence has (default: as many as are given), -1: an optional holds nothing
  --batched             arrays hold several batches along their first dimension: runs them one after the other, joins the outputs
  --output-dir DIR      writes every output as DIR/NAME.npy; a sequence or optional as DIR/NAME.0.npy, ... and its length as DIR/NAME.length
  --threads N           default 1; 0 = all CPUs
  --bench N             times N runs and prints JSON: {"samples_ms", "peak_bytes", "plugins", "steps"}
  --warmup N            untimed runs before (default 3)
  --profile             with --bench: the time of every step, from further runs; without: a table after the run
  --plugin FILE         loads a backend and operators from a shared library first; may be repeated
  --info                prints the package's inputs and outputs and does not run it
)";

struct Options {
  std::string package, output_dir;
  std::map<std::string, std::string> inputs;
  std::map<std::string, std::vector<int64_t>> shapes;
  std::map<std::string, int64_t> lengths;
  std::vector<std::string> plugins;
  int threads = 1;
  int64_t bench = 0, warmup = 3;
  bool batched = false, profile = false, info = false;
};

Result<int64_t> Number(const std::string& option, std::string_view text, int64_t low, int64_t high) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    return InvalidArgument(option + ": '" + std::string(text) + "' is not a number from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

Result<std::pair<std::string, std::string>> Pair(const std::string& option, const std::string& text, bool may_be_empty = false) {
  // Names may contain '=': a file or a shape rarely does.
  const size_t at = text.rfind('=');
  if (at == std::string::npos || at == 0 || (!may_be_empty && at + 1 == text.size())) return InvalidArgument(option + ": '" + text + "' is not NAME=VALUE");
  return std::pair(text.substr(0, at), text.substr(at + 1));
}

Result<Options> ParseOptions(const std::vector<std::string>& arguments) {
  Options o;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string option = arguments[i];
    if (option == "--batched") { o.batched = true; continue; }
    if (option == "--profile") { o.profile = true; continue; }
    if (option == "--info") { o.info = true; continue; }
    if (option.rfind("--", 0) != 0) {
      if (!o.package.empty()) return InvalidArgument("'" + option + "': one package only; see slipway-run --help");
      o.package = option;
      continue;
    }
    static const char* const kWithValue[] = {"--input", "--shape", "--length", "--output-dir", "--threads", "--bench", "--warmup", "--plugin"};
    if (std::find(std::begin(kWithValue), std::end(kWithValue), option) == std::end(kWithValue)) {
      return InvalidArgument("unknown option " + option + "; see slipway-run --help");
    }
    if (++i == arguments.size()) return InvalidArgument(option + ": the value is missing");
    const std::string& value = arguments[i];
    if (option == "--input") {
      SLIPWAY_ASSIGN_OR_RETURN(auto pair, Pair(option, value));
      o.inputs.insert_or_assign(pair.first, pair.second);
    } else if (option == "--length") {
      SLIPWAY_ASSIGN_OR_RETURN(auto pair, Pair(option, value));
      SLIPWAY_ASSIGN_OR_RETURN(const int64_t n, Number(option, pair.second, -1, 1 << 20));
      o.lengths.insert_or_assign(pair.first, n);
    } else if (option == "--shape") {
      SLIPWAY_ASSIGN_OR_RETURN(auto pair, Pair(option, value, true));  // empty: a scalar
      std::vector<int64_t> dims;
      for (std::string_view rest = pair.second; !rest.empty();) {
        const size_t comma = std::min(rest.find(','), rest.size());
        SLIPWAY_ASSIGN_OR_RETURN(int64_t d, Number(option, rest.substr(0, comma), 0, int64_t{1} << 40));
        dims.push_back(d);
        rest.remove_prefix(std::min(comma + 1, rest.size()));
      }
      o.shapes.insert_or_assign(pair.first, std::move(dims));
    } else if (option == "--output-dir") {
      o.output_dir = value;
    } else if (option == "--plugin") {
      o.plugins.push_back(value);
    } else {
      SLIPWAY_ASSIGN_OR_RETURN(int64_t n, Number(option, value, 0, option == "--threads" ? 1024 : 100000000));
      if (option == "--threads") o.threads = static_cast<int>(n);
      if (option == "--bench") o.bench = n;
      if (option == "--warmup") o.warmup = n;
    }
  }
  if (o.package.empty()) return InvalidArgument("no package; see slipway-run --help");
  return o;
}

// The C interface with Status.
class Model {
 public:
  ~Model() {
    slipway_session_free(session_);
    slipway_package_free(package_);
  }
  Status Load(const std::string& path) { return Check(slipway_package_load(path.c_str(), &package_, &error_)); }
  Status Start(int threads, bool profile) {
    slipway_session_options options;
    slipway_session_options_init(&options);
    options.threads = threads;
    options.profile = profile;
    slipway_session_free(session_);
    session_ = nullptr;
    return Check(slipway_session_create(package_, &options, &session_, &error_));
  }
  std::vector<slipway_tensor_info> Inputs() const { return List(slipway_package_num_inputs(package_), slipway_package_input); }
  std::vector<slipway_tensor_info> Outputs() const { return List(slipway_package_num_outputs(package_), slipway_package_output); }
  Status SetShape(const std::string& name, const std::vector<int64_t>& dims) {
    return Check(slipway_session_set_shape(session_, name.c_str(), dims.data(), static_cast<int32_t>(dims.size()), &error_));
  }
  Result<slipway_tensor> Input(const std::string& name) { return Tensor(slipway_session_input, name); }
  Result<slipway_tensor> Output(const std::string& name) { return Tensor(slipway_session_output, name); }
  int InputContainer(size_t i) const { return slipway_package_input_container(package_, static_cast<uint32_t>(i)); }
  int OutputContainer(size_t i) const { return slipway_package_output_container(package_, static_cast<uint32_t>(i)); }
  Status SetLength(const std::string& name, int64_t n) { return Check(slipway_session_set_length(session_, name.c_str(), n, &error_)); }
  Result<int64_t> Length(const std::string& name) {
    int64_t n = 0;
    SLIPWAY_RETURN_IF_ERROR(Check(slipway_session_length(session_, name.c_str(), &n, &error_)));
    return n;
  }
  Result<slipway_tensor> SetItem(const std::string& name, int64_t i, std::span<const int64_t> dims) {
    slipway_tensor t{};
    SLIPWAY_RETURN_IF_ERROR(Check(slipway_session_set_item(session_, name.c_str(), i, dims.data(), static_cast<int32_t>(dims.size()), &t, &error_)));
    return t;
  }
  Result<slipway_tensor> Item(const std::string& name, int64_t i) {
    slipway_tensor t{};
    SLIPWAY_RETURN_IF_ERROR(Check(slipway_session_item(session_, name.c_str(), i, &t, &error_)));
    return t;
  }
  Status Run() { return Check(slipway_session_run(session_, &error_)); }
  slipway_session* session() { return session_; }
  slipway_package* package() { return package_; }

 private:
  Status Check(int code) { return code == 0 ? OkStatus() : Status(static_cast<StatusCode>(code), error_.message); }
  template <typename F>
  std::vector<slipway_tensor_info> List(uint32_t count, F get) const {
    std::vector<slipway_tensor_info> list(count);
    for (uint32_t i = 0; i < count; ++i) (void)get(package_, i, &list[i]);
    return list;
  }
  template <typename F>
  Result<slipway_tensor> Tensor(F get, const std::string& name) {
    slipway_tensor t{};
    SLIPWAY_RETURN_IF_ERROR(Check(get(session_, name.c_str(), &t, &error_)));
    return t;
  }
  slipway_package* package_ = nullptr;
  slipway_session* session_ = nullptr;
  slipway_error error_{};
};

std::string Shape(const slipway_tensor_info& info) {
  std::string s = std::string(DTypeName(static_cast<DType>(info.dtype))) + "[";
  for (int32_t d = 0; d < info.rank; ++d) {
    s += (d ? ", " : "") + (info.dim_names[d] ? std::string(info.dim_names[d]) : std::to_string(info.dims[d]));
  }
  return s + "]";
}

// What one input is fed with.
struct Feed {
  slipway_tensor_info info;
  std::optional<Array> array;  // from a file; dims as in the file
  std::vector<int64_t> dims;   // of one run
  bool dynamic = false;
  int container = SLIPWAY_TENSOR;  // else only these:
  int64_t length = 0;
  std::vector<Array> items;
};

void FillRandom(const slipway_tensor& t, uint64_t seed) {
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  auto next = [&] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state >> 33);
  };
  std::memset(t.data, 0, t.bytes);
  const auto dtype = static_cast<DType>(t.dtype);
  if (dtype == DType::kFloat32) {
    for (uint64_t i = 0; i < t.bytes / 4; ++i) static_cast<float*>(t.data)[i] = static_cast<float>(next() >> 7) / 8388608.0f - 1.0f;
  } else if (dtype == DType::kInt8 || dtype == DType::kUInt8) {
    for (uint64_t i = 0; i < t.bytes; ++i) static_cast<uint8_t*>(t.data)[i] = static_cast<uint8_t>(next() >> 9);
  }
}

std::string ItemName(const std::string& name, int64_t i) { return name + "." + std::to_string(i); }

const char* ContainerName(int container) {
  return container == SLIPWAY_SEQUENCE ? "sequence" : container == SLIPWAY_OPTIONAL ? "optional" : "optional sequence";
}

// One tensor of a sequence or optional, whose extent is the file's or that of --shape.
Result<Array> ReadItem(DType dtype, const std::string& name, const std::string& path, const Options& options) {
  const std::string where = "input '" + name + "', '" + path + "'";
  SLIPWAY_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  Array array;
  if (IsNpy(file->bytes())) {
    auto read = ReadNpy(file->bytes());
    if (!read.ok()) return read.status().With(where);
    array = std::move(*read);
    if (DTypeBits(array.dtype) != DTypeBits(dtype) || (IsFloating(array.dtype) && array.dtype != dtype)) {
      return InvalidArgument(where + ": expected " + DTypeName(dtype) + ", the array has " + DTypeName(array.dtype));
    }
    return array;
  }
  const auto shape = options.shapes.find(name);
  if (shape == options.shapes.end()) return InvalidArgument(where + ": raw bytes in a sequence need a --shape " + name + "=...");
  array.dtype = dtype;
  array.dims = shape->second;
  array.bytes.assign(file->bytes().begin(), file->bytes().end());
  const auto bytes = CheckedBytes(dtype, array.dims);
  if (!bytes || static_cast<uint64_t>(*bytes) != array.bytes.size()) {
    return InvalidArgument(where + ": " + std::to_string(array.bytes.size()) + " raw bytes do not fill " + Dims(std::span<const int64_t>(array.dims)).ToString());
  }
  return array;
}

Result<Feed> MakeContainerFeed(const slipway_tensor_info& info, int container, const Options& options) {
  Feed feed;
  feed.info = info;
  feed.container = container;
  const std::string name = info.name;
  const auto add = [&](const std::string& item) -> Result<bool> {
    const auto path = options.inputs.find(item);
    if (path == options.inputs.end()) return false;
    SLIPWAY_ASSIGN_OR_RETURN(Array array, ReadItem(static_cast<DType>(info.dtype), item, path->second, options));
    feed.items.push_back(std::move(array));
    return true;
  };
  for (bool more = true; more;) {
    SLIPWAY_ASSIGN_OR_RETURN(more, add(ItemName(name, static_cast<int64_t>(feed.items.size()))));
  }
  feed.length = static_cast<int64_t>(feed.items.size());
  if (container != SLIPWAY_SEQUENCE && feed.length == 0) feed.length = -1;
  if (const auto given = options.lengths.find(name); given != options.lengths.end()) feed.length = given->second;
  if (std::max<int64_t>(feed.length, 0) != static_cast<int64_t>(feed.items.size())) {
    return InvalidArgument("input '" + name + "': --length says " + std::to_string(feed.length) + ", " + std::to_string(feed.items.size()) +
                           " tensors are given, as " + ItemName(name, 0) + ", ...");
  }
  return feed;
}

Result<Feed> MakeFeed(const slipway_tensor_info& info, const Options& options) {
  Feed feed;
  feed.info = info;
  feed.dims.assign(info.dims, info.dims + info.rank);
  feed.dynamic = std::find(feed.dims.begin(), feed.dims.end(), -1) != feed.dims.end();
  const std::string name = info.name;
  if (auto shape = options.shapes.find(name); shape != options.shapes.end()) feed.dims = shape->second;
  auto path = options.inputs.find(name);
  if (path == options.inputs.end()) return feed;
  const std::string where = "input '" + name + "', '" + path->second + "'";
  SLIPWAY_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path->second));
  if (IsNpy(file->bytes())) {
    auto array = ReadNpy(file->bytes());
    if (!array.ok()) return array.status().With(where);
    if (array->dtype != static_cast<DType>(info.dtype) &&
        DTypeBits(array->dtype) != DTypeBits(static_cast<DType>(info.dtype))) {  // bfloat16 and others travel as integers
      return InvalidArgument(where + ": expected " + DTypeName(static_cast<DType>(info.dtype)) + ", the array has " + DTypeName(array->dtype));
    }
    if (IsFloating(array->dtype) != IsFloating(static_cast<DType>(info.dtype)) && IsFloating(array->dtype)) {
      return InvalidArgument(where + ": expected " + DTypeName(static_cast<DType>(info.dtype)) + ", the array has " + DTypeName(array->dtype));
    }
    if (feed.dynamic && !options.shapes.count(name)) {
      feed.dims = array->dims;
      // One image at a time unless --shape says how many.
      if (options.batched && !feed.dims.empty() && info.dims[0] == -1) feed.dims[0] = 1;
    }
    feed.array = std::move(*array);
  } else {
    Array raw;
    raw.dtype = static_cast<DType>(info.dtype);
    raw.dims = feed.dims;
    raw.bytes.assign(file->bytes().begin(), file->bytes().end());
    if (options.batched && !raw.dims.empty()) {
      auto one = CheckedBytes(raw.dtype, std::span(raw.dims).subspan(1));
      raw.dims[0] = one && *one > 0 ? static_cast<int64_t>(raw.bytes.size()) / *one : 0;
    }
    auto bytes = CheckedBytes(raw.dtype, raw.dims);
    if (!bytes || static_cast<uint64_t>(*bytes) != raw.bytes.size()) {
      return InvalidArgument(where + ": " + std::to_string(raw.bytes.size()) + " raw bytes do not fill " + Shape(info) +
                             (feed.dynamic ? "; give its --shape" : ""));
    }
    feed.array = std::move(raw);
  }
  return feed;
}

struct Joined {
  DType dtype;
  std::vector<int64_t> dims;
  std::vector<uint8_t> bytes;
};

Joined CopyOf(const slipway_tensor& t) {
  const auto* from = static_cast<const uint8_t*>(t.data);
  return {static_cast<DType>(t.dtype), {t.dims, t.dims + t.rank}, {from, from + t.bytes}};
}

// Runs all batches and joins the outputs along dimension 0. `lengths`: of sequences and optionals, whose tensors are outputs of their own.
Status RunAll(Model& model, std::vector<Feed>& feeds, bool batched, std::map<std::string, Joined>& outputs, std::map<std::string, int64_t>& lengths) {
  int64_t rows = -1, batch = -1;  // of the arrays, of one run
  std::string first;
  for (Feed& f : feeds) {
    if (!f.array) continue;
    const std::string name = f.info.name;
    if (batched) {
      if (f.array->dims.empty() || f.dims.empty() || f.dims[0] <= 0) return InvalidArgument("input '" + name + "': --batched needs a first dimension");
      if (rows >= 0 && (rows != f.array->dims[0] || batch != f.dims[0])) {
        return InvalidArgument("input '" + name + "': its array has " + std::to_string(f.array->dims[0]) + " rows, that of '" + first + "' has " +
                               std::to_string(rows));
      }
      rows = f.array->dims[0];
      batch = f.dims[0];
      first = name;
    }
    auto rest = [&](const std::vector<int64_t>& d) { return std::vector<int64_t>(d.begin() + (batched ? 1 : 0), d.end()); };
    if (rest(f.array->dims) != rest(f.dims)) {
      return InvalidArgument("input '" + name + "': the array has shape " + Dims(std::span<const int64_t>(f.array->dims)).ToString() +
                             ", the package takes " + Shape(f.info));
    }
  }
  const int64_t runs = rows < 0 ? 1 : CeilDiv(rows, batch);
  for (int64_t run = 0; run < runs; ++run) {
    for (const Feed& f : feeds) {
      if (!f.array) continue;
      SLIPWAY_ASSIGN_OR_RETURN(slipway_tensor t, model.Input(f.info.name));
      const uint64_t begin = rows < 0 ? 0 : static_cast<uint64_t>(run) * t.bytes;
      const uint64_t count = std::min<uint64_t>(t.bytes, f.array->bytes.size() - begin);
      if (count > 0) std::memcpy(t.data, f.array->bytes.data() + begin, count);
      // The last batch may be short; its rest is zero and dropped behind the network.
      std::memset(static_cast<uint8_t*>(t.data) + count, 0, t.bytes - count);
    }
    SLIPWAY_RETURN_IF_ERROR(model.Run());
    const int64_t kept = rows < 0 ? -1 : std::min(batch, rows - run * batch);
    const auto infos = model.Outputs();
    for (size_t o = 0; o < infos.size(); ++o) {
      const slipway_tensor_info& info = infos[o];
      if (model.OutputContainer(o) != SLIPWAY_TENSOR) {
        const std::string name = info.name;
        if (batched) return InvalidArgument("output '" + name + "' is no tensor: --batched cannot join it");
        SLIPWAY_ASSIGN_OR_RETURN(const int64_t length, model.Length(name));
        lengths[name] = length;
        for (int64_t i = 0; i < length; ++i) {
          SLIPWAY_ASSIGN_OR_RETURN(slipway_tensor t, model.Item(name, i));
          outputs[ItemName(name, i)] = CopyOf(t);
        }
        continue;
      }
      SLIPWAY_ASSIGN_OR_RETURN(slipway_tensor t, model.Output(info.name));
      Joined& to = outputs[info.name];
      to.dtype = static_cast<DType>(t.dtype);
      std::vector<int64_t> dims(t.dims, t.dims + t.rank);
      uint64_t bytes = t.bytes;
      if (rows >= 0) {
        if (dims.empty() || dims[0] != batch) {
          return InvalidArgument("output '" + std::string(info.name) + "' has shape " + Dims(std::span<const int64_t>(dims)).ToString() +
                                 ": without one row per input row --batched cannot join it");
        }
        bytes = bytes / static_cast<uint64_t>(batch) * static_cast<uint64_t>(kept);
        dims[0] = (to.dims.empty() ? 0 : to.dims[0]) + kept;
      }
      to.dims = std::move(dims);
      const auto* from = static_cast<const uint8_t*>(t.data);
      to.bytes.insert(to.bytes.end(), from, from + bytes);
    }
  }
  return OkStatus();
}

std::string Json(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += std::string("\\") + c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char buffer[8];
      std::snprintf(buffer, sizeof(buffer), "\\u%04x", c);
      out += buffer;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string Milliseconds(double ms) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.6f", ms);
  return buffer;
}

std::string StepsJson(Model& model) {
  std::string out;
  for (uint32_t i = 0; i < slipway_session_num_steps(model.session()); ++i) {
    slipway_step_profile p;
    if (slipway_session_profile(model.session(), i, &p) != 0 || p.runs == 0) continue;
    out += (out.empty() ? "" : ",\n    ") + std::string("{\"name\": ") + Json(p.name) + ", \"op\": " + Json(p.op) + ", \"backend\": " +
           Json(p.backend) + ", \"kernel\": " + Json(p.kernel) + ", \"runs\": " + std::to_string(p.runs) + ", \"ms\": " + Milliseconds(p.total_ms / static_cast<double>(p.runs)) +
           ", \"min_ms\": " + Milliseconds(p.min_ms) + ", \"macs\": " + std::to_string(p.macs) + "}";
  }
  return out.empty() ? "[]" : "[\n    " + out + "]";
}

// In the order of --plugin; only those of this call are loaded.
std::string PluginsJson() {
  std::string out;
  for (const runtime::Plugin& p : runtime::GlobalRegistry().plugins()) {
    out += (out.empty() ? "" : ", ") + std::string("{\"file\": ") + Json(p.path) + ", \"backend\": " + Json(p.backend) +
           ", \"version\": " + Json(p.backend_version) + ", \"operators\": " + Json(p.operators) +
           ", \"operators_version\": " + Json(p.operators_version) + "}";
  }
  return "[" + out + "]";
}

std::string StepsTable(Model& model) {
  std::string out;
  uint64_t runs = 0;  // of the model, as of its first step; those of bodies have run more often or less
  for (uint32_t i = 0; i < slipway_session_num_steps(model.session()); ++i) {
    slipway_step_profile p;
    if (slipway_session_profile(model.session(), i, &p) != 0 || p.runs == 0) continue;
    if (runs == 0) runs = p.runs;
    char line[512];
    std::snprintf(line, sizeof(line), "%10.3f ms  %-10s %-20s %-24s %s", p.total_ms / static_cast<double>(runs), p.backend, p.op, p.kernel, p.name);
    out += line;
    if (p.runs != runs) out += ", run " + std::to_string(p.runs) + " times";
    out += "\n";
  }
  return out;
}

Status Time(Model& model, int64_t runs, std::vector<double>* samples) {
  for (int64_t i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    SLIPWAY_RETURN_IF_ERROR(model.Run());
    if (samples) samples->push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  return OkStatus();
}

// Shapes and the first batch of every input.
Status FillInputs(Model& model, const std::vector<Feed>& feeds, const Options& options) {
  for (const Feed& f : feeds) {
    if (f.container != SLIPWAY_TENSOR) {
      SLIPWAY_RETURN_IF_ERROR(model.SetLength(f.info.name, f.length));
      for (size_t i = 0; i < f.items.size(); ++i) {
        SLIPWAY_ASSIGN_OR_RETURN(slipway_tensor t, model.SetItem(f.info.name, static_cast<int64_t>(i), f.items[i].dims));
        if (t.bytes != f.items[i].bytes.size()) return Internal("input '" + std::string(f.info.name) + "': a tensor of another size");
        if (t.bytes > 0) std::memcpy(t.data, f.items[i].bytes.data(), t.bytes);
      }
      continue;
    }
    if (f.dynamic && std::find(f.dims.begin(), f.dims.end(), -1) != f.dims.end()) {
      return InvalidArgument("input '" + std::string(f.info.name) + "' is dynamic: " + Shape(f.info) + "; give --shape " + f.info.name + "=... or an array");
    }
    if (f.dynamic || options.shapes.count(f.info.name)) SLIPWAY_RETURN_IF_ERROR(model.SetShape(f.info.name, f.dims));
  }
  for (size_t i = 0; i < feeds.size(); ++i) {
    if (feeds[i].container != SLIPWAY_TENSOR) continue;
    SLIPWAY_ASSIGN_OR_RETURN(slipway_tensor t, model.Input(feeds[i].info.name));
    if (feeds[i].array) {
      std::memset(t.data, 0, t.bytes);
      const uint64_t count = std::min<uint64_t>(t.bytes, feeds[i].array->bytes.size());
      if (count > 0) std::memcpy(t.data, feeds[i].array->bytes.data(), count);
    } else {
      FillRandom(t, i + 1);
    }
  }
  return OkStatus();
}

Status Bench(Model& model, const std::vector<Feed>& feeds, const Options& options, std::string& out) {
  SLIPWAY_RETURN_IF_ERROR(Time(model, options.warmup, nullptr));
  std::vector<double> samples;
  SLIPWAY_RETURN_IF_ERROR(Time(model, options.bench, &samples));
  const uint64_t peak = slipway_session_memory(model.session());
  out += "{\"samples_ms\": [";
  for (size_t i = 0; i < samples.size(); ++i) out += (i ? ", " : "") + Milliseconds(samples[i]);
  out += "],\n  \"threads\": " + std::to_string(options.threads) + ",\n  \"peak_bytes\": " + std::to_string(peak);
  std::string steps = "[]";
  if (options.profile) {  // a session of its own: the clock between steps costs time
    SLIPWAY_RETURN_IF_ERROR(model.Start(options.threads, true));
    SLIPWAY_RETURN_IF_ERROR(FillInputs(model, feeds, options));
    SLIPWAY_RETURN_IF_ERROR(Time(model, options.warmup, nullptr));
    slipway_session_reset_profile(model.session());
    SLIPWAY_RETURN_IF_ERROR(Time(model, options.bench, nullptr));
    steps = StepsJson(model);
  }
  out += ",\n  \"plugins\": " + PluginsJson() + ",\n  \"steps\": " + steps + "}\n";
  return OkStatus();
}

Status CheckNames(const Options& options, const std::vector<Feed>& feeds, const std::vector<slipway_tensor_info>& inputs) {
  auto known = [&](const std::string& name) {
    return std::any_of(feeds.begin(), feeds.end(), [&](const Feed& f) {
      if (f.container == SLIPWAY_TENSOR) return name == f.info.name;
      for (size_t i = 0; i < f.items.size(); ++i) {
        if (name == ItemName(f.info.name, static_cast<int64_t>(i))) return true;
      }
      return false;
    });
  };
  std::string names;
  for (const auto& i : inputs) names += (names.empty() ? "" : ", ") + std::string(i.name);
  for (const auto& [name, path] : options.inputs) {
    if (!known(name)) return NotFound("--input: the package has no input '" + name + "'; it has: " + names);
  }
  for (const auto& [name, dims] : options.shapes) {
    if (!known(name)) return NotFound("--shape: the package has no input '" + name + "'; it has: " + names);
  }
  for (const auto& given : options.lengths) {
    const std::string& name = given.first;
    if (std::none_of(feeds.begin(), feeds.end(), [&](const Feed& f) { return f.container != SLIPWAY_TENSOR && name == f.info.name; })) {
      return NotFound("--length: the package has no sequence or optional '" + name + "' as input; it has: " + names);
    }
  }
  return OkStatus();
}

// A file name for an output whose name may hold any character.
std::string FileName(std::string name) {
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-' && c != '.') c = '_';
  }
  return name.empty() || name[0] == '.' ? "_" + name : name;
}

Status RunTool(const Options& options, std::string& out) {
  slipway_error error{};
  for (const std::string& plugin : options.plugins) {
    if (slipway_load_plugin(plugin.c_str(), &error) != 0) return Status(static_cast<StatusCode>(error.code), error.message);
  }
  Model model;
  SLIPWAY_RETURN_IF_ERROR(model.Load(options.package));
  const auto inputs = model.Inputs();
  if (options.info) {
    const auto line = [](const slipway_tensor_info& info, int container) {
      if (container == SLIPWAY_TENSOR) return std::string(info.name) + "  " + Shape(info) + "\n";
      return std::string(info.name) + "  " + ContainerName(container) + " of " + DTypeName(static_cast<DType>(info.dtype)) + " tensors\n";
    };
    const auto outputs = model.Outputs();
    for (size_t i = 0; i < inputs.size(); ++i) out += "input  " + line(inputs[i], model.InputContainer(i));
    for (size_t i = 0; i < outputs.size(); ++i) out += "output " + line(outputs[i], model.OutputContainer(i));
    return OkStatus();
  }
  std::vector<Feed> feeds;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int container = model.InputContainer(i);
    SLIPWAY_ASSIGN_OR_RETURN(Feed feed,
                             container == SLIPWAY_TENSOR ? MakeFeed(inputs[i], options) : MakeContainerFeed(inputs[i], container, options));
    feeds.push_back(std::move(feed));
  }
  SLIPWAY_RETURN_IF_ERROR(CheckNames(options, feeds, inputs));
  SLIPWAY_RETURN_IF_ERROR(model.Start(options.threads, options.profile && options.bench == 0));
  SLIPWAY_RETURN_IF_ERROR(FillInputs(model, feeds, options));
  if (options.bench == 0 || !options.output_dir.empty()) {
    std::map<std::string, Joined> outputs;
    std::map<std::string, int64_t> lengths;
    SLIPWAY_RETURN_IF_ERROR(RunAll(model, feeds, options.batched, outputs, lengths));
    for (const auto& [name, length] : lengths) {
      const std::string text = std::to_string(length) + "\n";
      if (options.output_dir.empty()) {
        out += name + "  holds " + (length < 0 ? "nothing\n" : text);
      } else {
        SLIPWAY_RETURN_IF_ERROR(WriteFile(options.output_dir + "/" + FileName(name) + ".length",
                                          {reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
      }
    }
    for (const auto& [name, joined] : outputs) {
      if (options.output_dir.empty()) {
        out += name + "  " + DTypeName(joined.dtype) + Dims(std::span<const int64_t>(joined.dims)).ToString() + "\n";
      } else {
        SLIPWAY_RETURN_IF_ERROR(
            WriteFile(options.output_dir + "/" + FileName(name) + ".npy", WriteNpy(joined.dtype, joined.dims, joined.bytes)));
      }
    }
    if (options.profile && options.bench == 0) out += StepsTable(model);
  }
  return options.bench > 0 ? Bench(model, feeds, options, out) : OkStatus();
}

}  // namespace

int Main(const std::vector<std::string>& arguments, std::string& out, std::string& err) {
  if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    out += kUsage;
    return 0;
  }
  Status status;
  try {
    auto options = ParseOptions(arguments);
    status = options.ok() ? RunTool(*options, out) : options.status();
  } catch (const std::bad_alloc&) {
    status = ResourceExhausted("out of memory");
  }
  if (status.ok()) return 0;
  // The word is what a host that runs this tool elsewhere can tell a refusal by.
  err += std::string("slipway-run: ") + (status.code() == StatusCode::kUnsupported ? "unsupported: " : "") +
         status.message() + "\n";
  switch (status.code()) {
    case StatusCode::kResourceExhausted: case StatusCode::kUnavailable: case StatusCode::kInternal: return 3;
    default: return 2;
  }
}

}  // namespace slipway::run_tool
