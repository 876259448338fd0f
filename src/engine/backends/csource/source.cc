#include "engine/backends/csource/source.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/aligned.h"
#include "engine/backends/csource/kernels.h"
#include "engine/backends/csource/writer.h"
#include "model/ops/broadcast.h"
#include "model/ops/window.h"

namespace slipway::backends::csource {
namespace {

using format::PackageData;
using format::PackageTensor;
using format::TensorKind;

const Row* FindRow(std::string_view domain, std::string_view op) {
  for (const auto rows :
       {IntegerRows(), FloatRows(), MovementRows(), ElementRows(), IndexRows(), NormRows(),
        RecurrentRows(), ShapeRows(), AttentionRows(), SignalRows()}) {
    for (const Row& row : rows) {
      if (domain == row.domain && op == row.op) return &row;
    }
  }
  return nullptr;
}

std::string Identifier(const std::string& text, const char* fallback) {
  std::string out;
  for (const char c : text)
    out += std::isalnum(static_cast<unsigned char>(c)) ? static_cast<char>(c) : '_';
  if (out.empty()) out = fallback;
  if (std::isdigit(static_cast<unsigned char>(out[0]))) out = "m" + out;
  static const std::set<std::string> kWords = {
      "auto",    "break",  "case",     "char",   "const",    "continue", "default",
      "do",      "double", "else",     "enum",   "extern",   "float",    "for",
      "goto",    "if",     "inline",   "int",    "long",     "main",     "register",
      "return",  "short",  "signed",   "sizeof", "static",   "struct",   "switch",
      "typedef", "union",  "unsigned", "void",   "volatile", "while",    "restrict"};
  return kWords.contains(out) ? out + "_" : out;
}

std::string Upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::vector<float> FloatsOf(const PackageTensor& t) {
  std::vector<float> out(t.data.size() / sizeof(float));
  if (!out.empty()) std::memcpy(out.data(), t.data.data(), out.size() * sizeof(float));
  return out;
}

}  // namespace

const char* CType(DType t) {
  switch (t) {
    case DType::kFloat32:
      return "float";
    case DType::kFloat64:
      return "double";
    case DType::kInt8:
      return "int8_t";
    case DType::kUInt8:
    case DType::kBool:
      return "uint8_t";
    case DType::kInt16:
      return "int16_t";
    case DType::kUInt16:
    case DType::kFloat16:
    case DType::kBFloat16:
      return "uint16_t";
    case DType::kInt32:
      return "int32_t";
    case DType::kUInt32:
      return "uint32_t";
    case DType::kInt64:
      return "int64_t";
    case DType::kUInt64:
      return "uint64_t";
    default:
      return nullptr;
  }
}

std::string Suffix(DType t) {
  const char* kind = t == DType::kBool       ? "b"
                     : t == DType::kBFloat16 ? "bf"
                     : IsFloating(t)         ? "f"
                     : IsSignedInteger(t)    ? "s"
                                             : "u";
  return kind + std::to_string(DTypeBits(t));
}

std::string Number(int64_t v) {
  if (v == INT32_MIN) return "INT32_MIN";
  if (v == INT64_MIN) return "INT64_MIN";
  return std::to_string(v);
}

std::string Number(float v) {
  if (std::isnan(v)) return "NAN";
  if (std::isinf(v)) return v > 0 ? "INFINITY" : "-INFINITY";
  char text[40];
  std::snprintf(text, sizeof(text), "%af", static_cast<double>(v));
  return text;
}

Dims SourceWriter::Shape(const PackageTensor& t) const {
  Dims dims;
  for (const Dim& d : t.shape) dims.push_back(d.value());
  return dims;
}

std::string SourceWriter::Pointer(const PackageTensor& t, const std::string& type) {
  if (t.kind == TensorKind::kConstant) {
    return "(" + type + ")" + TypedArray(t.dtype, t.data);
  }
  touched_.insert(static_cast<int>(&t - package_.tensors.data()));
  // The storage it lies in: a parameter, or a place in the arena.
  const PackageTensor* root = &t;
  uint64_t offset = 0;
  while (root->alias >= 0) {
    if (root->part > 0) offset += static_cast<uint64_t>(root->part);
    root = &package_.tensors[static_cast<size_t>(root->alias)];
  }
  const auto index = [&](const PackageTensor* x) {
    return static_cast<int>(x - package_.tensors.data());
  };
  // An output that shares an arena tensor's storage owns the memory.
  for (const PackageTensor* x : {&t, root}) {
    const auto found = parameters_.find(index(x));
    if (found != parameters_.end()) return "(" + type + ")" + found->second;
  }
  for (const auto& [at, name] : parameters_) {
    const PackageTensor* x = &package_.tensors[static_cast<size_t>(at)];
    while (x->alias >= 0) x = &package_.tensors[static_cast<size_t>(x->alias)];
    if (x == root) return "(" + type + ")" + name;
  }
  return "(" + type + ")(sw_arena.bytes + " + std::to_string(root->offset + offset) + ")";
}

std::vector<int64_t> SourceWriter::Ints(size_t i) const {
  std::vector<int64_t> out;
  if (!Has(i) || In(i).kind != TensorKind::kConstant) return out;
  const PackageTensor& t = In(i);
  const auto read = [&]<typename T>() {
    for (size_t k = 0; k + sizeof(T) <= t.data.size(); k += sizeof(T)) {
      T v;
      std::memcpy(&v, t.data.data() + k, sizeof(T));
      out.push_back(static_cast<int64_t>(v));
    }
  };
  if (t.dtype == DType::kInt64) read.operator()<int64_t>();
  if (t.dtype == DType::kInt32) read.operator()<int32_t>();
  if (t.dtype == DType::kInt8) read.operator()<int8_t>();
  if (t.dtype == DType::kUInt8 || t.dtype == DType::kBool) read.operator()<uint8_t>();
  return out;
}

std::vector<float> SourceWriter::Floats(size_t i) const {
  if (!Has(i) || In(i).kind != TensorKind::kConstant || In(i).dtype != DType::kFloat32) return {};
  return FloatsOf(In(i));
}

std::string SourceWriter::Name(const std::string& type, const std::string& body) {
  const auto [at, fresh] = named_.emplace(type + body, "sw_c" + std::to_string(named_.size()));
  if (fresh) constants_ += "static const " + type + " " + at->second + body + ";\n";
  return at->second;
}

std::string SourceWriter::Array(const std::string& type, const std::string& values, int64_t count,
                                int bytes) {
  const size_t before = named_.size();
  std::string name = Name(type, "[" + std::to_string(count) + "] = " + values);
  if (named_.size() > before) constant_bytes_ += static_cast<uint64_t>(count * bytes);
  return name;
}

std::string SourceWriter::FloatArray(std::span<const float> v) {
  std::string text = "{";
  for (size_t i = 0; i < v.size(); ++i)
    text += (i == 0 ? "" : i % 8 ? ", " : ",\n  ") + Number(v[i]);
  return Array("float", text + "}", static_cast<int64_t>(v.size()), sizeof(float));
}

std::string SourceWriter::Int32Array(std::span<const int64_t> v) {
  return Array("int32_t", List(v), static_cast<int64_t>(v.size()), 4);
}

std::string SourceWriter::ByteArray(std::span<const uint8_t> v, bool is_signed) {
  std::string text = "{";
  for (size_t i = 0; i < v.size(); ++i) {
    text += i == 0 ? "" : i % 24 ? "," : ",\n  ";
    text += std::to_string(is_signed ? static_cast<int8_t>(v[i]) : static_cast<int>(v[i]));
  }
  return Array(is_signed ? "int8_t" : "uint8_t", text + "}", static_cast<int64_t>(v.size()), 1);
}

std::string SourceWriter::Int64Array(std::span<const int64_t> v) {
  return Array("int64_t", List(v), static_cast<int64_t>(v.size()), 8);
}

std::string SourceWriter::TypedArray(DType t, std::span<const uint8_t> bytes) {
  if (bytes.empty()) return "0";
  const auto read = [&]<typename T>() {
    std::vector<T> v(bytes.size() / sizeof(T));
    std::memcpy(v.data(), bytes.data(), v.size() * sizeof(T));
    return v;
  };
  const auto write = [&]<typename T>() {
    std::string text = "{";
    const auto values = read.operator()<T>();
    for (size_t i = 0; i < values.size(); ++i) {
      text += i == 0 ? "" : i % 12 ? "," : ",\n  ";
      if constexpr (std::is_same_v<T, double>) {
        char number[40];
        std::snprintf(number, sizeof(number), "%a", values[i]);
        text += std::isnan(values[i])   ? "NAN"
                : std::isinf(values[i]) ? (values[i] > 0 ? "INFINITY" : "-INFINITY")
                                        : number;
      } else if constexpr (std::is_same_v<T, uint64_t>) {
        text += std::to_string(values[i]) + "u";
      } else {
        text += Number(static_cast<int64_t>(values[i]));
      }
    }
    return Array(CType(t), text + "}", static_cast<int64_t>(values.size()), sizeof(T));
  };
  switch (t) {
    case DType::kFloat32:
      return FloatArray(read.operator()<float>());
    case DType::kFloat64:
      return write.operator()<double>();
    case DType::kInt16:
      return write.operator()<int16_t>();
    case DType::kUInt16:
    case DType::kFloat16:
    case DType::kBFloat16:
      return write.operator()<uint16_t>();
    case DType::kInt32:
      return write.operator()<int32_t>();
    case DType::kUInt32:
      return write.operator()<uint32_t>();
    case DType::kInt64:
      return write.operator()<int64_t>();
    case DType::kUInt64:
      return write.operator()<uint64_t>();
    default:
      return ByteArray(bytes, t == DType::kInt8);
  }
}

std::string SourceWriter::Instance(const std::string& piece, const std::string& name,
                                   const std::map<std::string, std::string>& places) {
  std::string key = piece;
  for (const auto& [place, text] : places) key += '\x1f' + place + text;
  std::string& own = instances_[key];
  if (own.empty()) {
    own = name;
    for (int i = 2; !names_.insert(own).second; ++i) own = name + "_" + std::to_string(i);
    Need("instance:" + own + '\x1f' + key);
  }
  return "sw_" + own;
}

std::string SourceWriter::Workspace(const std::string& type) const {
  return "(" + type + "*)(sw_arena.bytes + " + std::to_string(step->workspace_offset) + ")";
}

std::string SourceWriter::Struct(const std::string& type, const std::string& fields) {
  return "&" + Name(type, " = {" + fields + "}");
}

void SourceWriter::Call(const std::string& name, const std::vector<std::string>& arguments) {
  calls_ += "  " + name + "(";
  for (size_t i = 0; i < arguments.size(); ++i) calls_ += (i ? ", " : "") + arguments[i];
  calls_ += ");";
  // Names come from outside: nothing that could end the comment.
  std::string text = step->name;
  for (char& c : text)
    c = std::isalnum(static_cast<unsigned char>(c)) || std::strchr("._-:/ ", c) ? c : '_';
  for (size_t at = 0; (at = text.find("*/", at)) != std::string::npos;) text[at] = '_';
  for (size_t at = 0; (at = text.find("/*", at)) != std::string::npos;) text[at] = '_';
  calls_ += " /* " + text + " */\n";
}

int64_t Axis(int64_t axis, int rank) { return axis < 0 ? axis + rank : axis; }

Result<std::string> WindowFields(SourceWriter& w, std::span<const int64_t> kernel, int64_t outputs,
                                 int64_t groups, std::string* pad_end) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  SLIPWAY_ASSIGN_OR_RETURN(ops::Window win, ops::ResolveWindow(w.op.attributes, x, y, kernel));
  if (win.IsPointwise()) {
    win.in[2] = win.out[2] = win.InCount();
    win.in[0] = win.in[1] = win.out[0] = win.out[1] = 1;
  }
  if (pad_end) *pad_end = List(std::span(win.pad_end));
  return Number(x[0]) + ", " + Number(x[1]) + ", " + Number(outputs) + ", " + Number(groups) +
         ", " + List(std::span(win.in)) + ", " + List(std::span(win.out)) + ", " +
         List(std::span(win.kernel)) + ", " + List(std::span(win.stride)) + ", " +
         List(std::span(win.dilation)) + ", " + List(std::span(win.pad_begin));
}

std::string NdFields(std::span<const int64_t> dims, std::span<const int64_t> a,
                     std::span<const int64_t> b) {
  int64_t count = 1;
  for (const int64_t d : dims) count *= d;
  std::string text = Number(static_cast<int64_t>(dims.size())) + ", " + Number(count);
  for (const auto list : {dims, a, b}) {
    std::array<int64_t, kMostDims> all{};
    std::copy(list.begin(), list.end(), all.begin());
    text += ", " + List(all);
  }
  return text;
}

std::string BroadcastFields(const Dims& out, const Dims& a, const Dims& b) {
  const Dims* const inputs[2] = {&a, &b};
  const auto plan = ops::BroadcastPlan<2>::Make(out, inputs);
  // Entry 0 of the plan is the innermost, the last here.
  std::vector<int64_t> lists[3];
  for (int d = plan.rank - 1; d >= 0; --d) {
    lists[0].push_back(plan.dims[d]);
    lists[1].push_back(plan.strides[0][d]);
    lists[2].push_back(plan.strides[1][d]);
  }
  return NdFields(lists[0], lists[1], lists[2]);
}

Status CanWrite(const ir::Node& node) {
  if (!FindRow(node.domain(), node.op()))
    return Unsupported("C source has no form for " + node.FullOp());
  for (const auto* list : {&node.inputs(), &node.outputs()}) {
    for (size_t i = 0; i < list->size(); ++i) {
      const ir::Value* v = (*list)[i];
      if (!v) continue;
      if (!v->type().known() || v->type().is_container())
        return Unsupported("value '" + v->name() + "' has no known shape");
      if (v->type().shape->size() > kMostDims)
        return Unsupported("value '" + v->name() + "' has " +
                           std::to_string(v->type().shape->size()) +
                           " dimensions; C source holds 8");
      for (const Dim& d : *v->type().shape) {
        if (!d.known())
          return Unsupported("value '" + v->name() +
                             "' has an extent that is not static; fix it with --shape");
        if (d.Is(0) && !v->is_constant())
          return Unsupported("value '" + v->name() + "' has no elements");
      }
      if (!v->is_constant() && !CType(v->dtype()))
        return Unsupported("value '" + v->name() + "' has the type " + DTypeName(v->dtype()) +
                           ", which C source has no form for");
    }
  }
  return OkStatus();
}

namespace {

// A model's constants lie where its file has them; the writers read them as what they are. Returns
// the copies that were needed.
Result<std::vector<AlignedBuffer>> AlignConstants(PackageData& package) {
  std::vector<AlignedBuffer> copies;
  for (PackageTensor& t : package.tensors) {
    if (t.data.empty() || reinterpret_cast<uintptr_t>(t.data.data()) % kAlignment == 0) continue;
    AlignedBuffer& copy = copies.emplace_back(t.data.size());
    if (!copy.data()) return ResourceExhausted("no memory for the constant '" + t.name + "'");
    std::memcpy(copy.data(), t.data.data(), t.data.size());
    t.data = {copy.data(), t.data.size()};
  }
  return copies;
}

}  // namespace

Result<Source> GenerateSource(const PackageData& given, const SourceOptions& options) {
  PackageData package = given;
  if (!package.static_plan || !package.programs.empty())
    return Unsupported(
        "C source needs static extents and no control flow; fix dynamic inputs with --shape");
  Source out;
  out.name = Identifier(options.name.empty() ? package.name : options.name, "model");
  const std::string upper = Upper(out.name);
  uint64_t constants = 0;
  for (const PackageTensor& t : package.tensors) {
    constants += t.code_bits != 0 ? t.coded.size() : t.data.size();
    if (t.kind == TensorKind::kConstant) continue;
    if (t.is_container() || !CType(t.dtype))
      return Unsupported("tensor '" + t.name + "' has the type " + DTypeName(t.dtype) +
                         ", which C source has no form for");
    int64_t elements = 1;
    for (const Dim& d : t.shape) elements = std::min<int64_t>(elements * d.value(), INT32_MAX);
    // Indices are int32, of bytes at the most.
    if (t.shape.size() > kMostDims || elements < 1 || elements > INT32_MAX / 8)
      return Unsupported("tensor '" + t.name + "' is empty, too large or has too many dimensions");
  }
  if (constants > options.max_constant_bytes)
    return Unsupported("the model has " + std::to_string(constants >> 20) +
                       " MiB of weights, too much for a C file (" +
                       std::to_string(options.max_constant_bytes >> 20) +
                       "); compile a package instead");
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<AlignedBuffer> aligned, AlignConstants(package));

  SourceWriter w(package);
  std::string parameters, arguments, extents, buffers, transfers, unused;
  std::set<std::string> taken;
  const auto declare = [&](const std::vector<int>& tensors, bool input) {
    for (const int at : tensors) {
      const PackageTensor& t = package.tensors[static_cast<size_t>(at)];
      std::string name = Identifier(t.name, input ? "input" : "output");
      // What the function's body says must not mean a parameter.
      if (name.starts_with("sw_") || name.ends_with("_t") || name == "memcpy" ||
          name == Upper(name))
        name += "_";
      while (!taken.insert(Upper(name)).second) name += "_";
      w.SetParameter(at, name);
      arguments += (arguments.empty() ? "" : ", ") + name;
      const Dims dims = w.Shape(t);
      (input ? out.inputs : out.outputs).push_back({name, t.dtype, dims});
      const std::string macro = Upper(name);
      if (input) unused += "  (void)" + name + ";\n";
      parameters += (parameters.empty() ? "" : ", ") + std::string(input ? "const " : "") +
                    CType(t.dtype) + "* " + name;
      extents += "/* " + std::string(input ? "input " : "output ") + name + ": " + CType(t.dtype) +
                 " " + dims.ToString() + " */\n#define " + upper + "_" + macro + "_COUNT " +
                 Number(dims.count()) + "\n";
      buffers += "  static " + std::string(CType(t.dtype)) + " " + name + "[" +
                 Number(std::max<int64_t>(1, dims.count())) + "];\n";
      transfers += std::string(input ? "  if (fread(" : "  if (fwrite(") + name + ", sizeof(" +
                   CType(t.dtype) + "), " + Number(dims.count()) +
                   (input ? ", stdin) != " : ", stdout) != ") + Number(dims.count()) +
                   ") return 1;\n";
    }
  };
  declare(package.inputs, true);
  const std::string reads = std::exchange(transfers, "");
  declare(package.outputs, false);

  for (const format::PackageStep& step : package.steps) {
    w.step = &step;
    auto op = format::DecodeOp(step.blob);
    if (!op.ok()) return op.status().With("step '" + step.name + "'");
    w.op = std::move(*op);
    const Row* row = FindRow(w.op.domain, w.op.op);
    w.StepBegins();
    Status written = row ? row->write(w) : Unsupported("an operator that is not known");
    for (size_t i = 0; written.ok() && i < step.outputs.size(); ++i) {
      if (!w.Touched(i)) written = Unsupported(w.op.op + " with output " + std::to_string(i));
    }
    if (!written.ok())
      return Status(written.code(), "step '" + step.name + "' (" + w.op.op +
                                        "): C source has no form for " + written.message() +
                                        "; change the model, or compile a package");
  }

  out.constant_bytes = w.constant_bytes();
  const uint64_t columns = static_cast<uint64_t>(w.depth()) * 5 * sizeof(int16_t);
  out.arena_bytes = package.arena_size + columns;
  out.header = "/* Generated by Slipway: " + out.name + ". " + std::to_string(out.constant_bytes) +
               " bytes of constants, " + std::to_string(out.arena_bytes) +
               " bytes of working memory. */\n#ifndef " + upper + "_H\n#define " + upper +
               "_H\n\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n" +
               extents + "#define " + upper + "_ARENA_BYTES " + std::to_string(out.arena_bytes) +
               "\n\n/* One run. The arrays must not overlap; one call at a time, as the working "
               "memory is static. */\nvoid " +
               out.name + "_run(" + parameters + ");\n\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n";
  out.source =
      "/* Generated by Slipway. C99 without extensions; compile with -std=c99 (or "
      "-ffp-contract=off) for the same bits on\n"
      "   every machine, never with -ffast-math. With -D" +
      upper +
      "_MAIN it is a program that reads the inputs from stdin\n"
      "   and writes the outputs to stdout, raw. */\n#include \"" +
      out.name + ".h\"\n\n#include <float.h>\n#include <math.h>\n#include <string.h>\n\n" +
      "static union {\n  double align;\n  uint8_t bytes[" +
      std::to_string(std::max<uint64_t>(1, package.arena_size)) + "];\n} sw_arena;\n" +
      (w.depth() > 0 ? "#define SW_DEPTH " + std::to_string(w.depth()) + "\n" : "") +
      KernelText(w.pieces()) + "\n" + w.constants() + "\nvoid " + out.name + "_run(" + parameters +
      ") {\n  (void)sw_arena.bytes;\n" + unused + w.calls() + "}\n\n#ifdef " + upper +
      "_MAIN\n#include <stdio.h>\nint main(void) {\n" + buffers + reads + "  " + out.name +
      "_run(" + arguments + ");\n" + transfers + "  return 0;\n}\n#endif\n";
  return out;
}

}  // namespace slipway::backends::csource
