#pragma once
// What the functions that write one operator's call share.

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/dims.h"
#include "base/status.h"
#include "engine/format/op_desc.h"
#include "engine/format/package.h"

namespace slipway::backends::csource {

inline constexpr size_t kMostDims = 8;  // of sw_nd

// An integer as C has it.
std::string Number(int64_t v);
// A float as C has it: hexadecimal, so that nothing is lost; INFINITY and NAN.
std::string Number(float v);
// The C type of elements; null when C source has none. 16-bit floats are uint16_t: they are moved
// and cast, nothing else.
const char* CType(DType t);
// As a suffix of names: "f32", "s64", "b8".
std::string Suffix(DType t);
inline bool IsWhole(DType t) { return IsInteger(t) && DTypeBits(t) >= 8; }  // integers C has

template <typename T>
std::string List(const T& values) {
  std::string text = "{";
  for (const auto& v : values) text += (text.size() > 1 ? ", " : "") + Number(v);
  return text + "}";
}

class SourceWriter {
 public:
  explicit SourceWriter(const format::PackageData& package) : package_(package) {}

  // The step being written.
  const format::PackageStep* step = nullptr;
  format::OpDesc op;

  bool Has(size_t i) const { return i < step->inputs.size() && step->inputs[i] >= 0; }
  const format::PackageTensor& In(size_t i) const {
    return package_.tensors[static_cast<size_t>(step->inputs[i])];
  }
  const format::PackageTensor& Out(size_t i = 0) const {
    return package_.tensors[static_cast<size_t>(step->outputs[i])];
  }
  Dims Shape(const format::PackageTensor& t) const;
  // An expression of the pointer type `type` ("const uint8_t*").
  std::string Pointer(const format::PackageTensor& t, const std::string& type);
  std::string Input(size_t i, const std::string& type) {
    return Pointer(In(i), "const " + type + "*");
  }
  std::string InputOrNull(size_t i, const std::string& type) {
    return Has(i) ? Input(i, type) : "0";
  }
  std::string Output(const std::string& type) { return Pointer(Out(), type + "*"); }
  // In the tensor's own type; "0" when absent.
  std::string Input(size_t i) { return Has(i) ? Input(i, CType(In(i).dtype)) : "0"; }
  std::string Output(size_t i = 0) {
    return HasOut(i) ? Pointer(Out(i), CType(Out(i).dtype) + std::string("*")) : "0";
  }
  bool HasOut(size_t i) const { return i < step->outputs.size() && step->outputs[i] >= 0; }
  // Constant values; empty when the input is none or of another type.
  std::vector<int64_t> Ints(size_t i) const;
  std::vector<float> Floats(size_t i) const;

  // A constant array of the type with the values as text; equal ones are stored once. Returns its
  // name. bytes: of each value.
  std::string Array(const std::string& type, const std::string& values, int64_t count, int bytes);
  std::string FloatArray(std::span<const float> v);
  std::string Int32Array(std::span<const int64_t> v);
  std::string ByteArray(std::span<const uint8_t> v, bool is_signed);
  std::string Int64Array(std::span<const int64_t> v);
  // Bytes as elements of the type; "0" when there are none.
  std::string TypedArray(DType t, std::span<const uint8_t> bytes);
  // A constant of a struct type. Returns "&name".
  std::string Struct(const std::string& type, const std::string& fields);
  // An integer sum of so many inputs.
  void NeedDepth(int64_t depth) { depth_ = std::max(depth_, depth); }
  int64_t depth() const { return depth_; }
  void Need(const std::string& piece) { pieces_.insert(piece); }
  // Needs the piece with its places (@X) filled in, once for each text; @N becomes the function's
  // name without sw_, which begins with `name`. Returns the name with sw_.
  std::string Instance(const std::string& piece, const std::string& name,
                       const std::map<std::string, std::string>& places);
  // The step's part of the arena, of WorkspaceBytes: "(TYPE*)...".
  std::string Workspace(const std::string& type) const;
  // "  name(arguments);"
  void Call(const std::string& name, const std::vector<std::string>& arguments);
  // Names for inputs and outputs of the package, by tensor index.
  void SetParameter(int tensor, std::string name) { parameters_[tensor] = std::move(name); }

  // Whether each output of the step had a pointer taken since the last call of StepBegins.
  void StepBegins() { touched_.clear(); }
  bool Touched(size_t output) const {
    return !HasOut(output) || touched_.contains(step->outputs[output]);
  }

  const std::set<std::string>& pieces() const { return pieces_; }
  const std::string& constants() const { return constants_; }
  const std::string& calls() const { return calls_; }
  uint64_t constant_bytes() const { return constant_bytes_; }

 private:
  std::string Name(const std::string& type, const std::string& body);

  const format::PackageData& package_;
  std::map<int, std::string> parameters_;
  std::set<int> touched_;                     // tensors
  std::map<std::string, std::string> named_;  // type and values -> name
  std::set<std::string> pieces_, names_;
  std::map<std::string, std::string> instances_;  // what makes one -> its name
  std::string constants_, calls_;
  uint64_t constant_bytes_ = 0;
  int64_t depth_ = 0;
};

using WriteStep = Status (*)(SourceWriter& w);
struct Row {
  const char *domain, *op;
  WriteStep write;
};
// The operators that have a form: write_*.cc. What no list of ROWS in an earlier one says is in a
// later.
std::span<const Row> IntegerRows();
std::span<const Row> FloatRows();
std::span<const Row> MovementRows();
std::span<const Row> ElementRows();
std::span<const Row> IndexRows();
std::span<const Row> NormRows();
std::span<const Row> RecurrentRows();
std::span<const Row> ShapeRows();
std::span<const Row> AttentionRows();
std::span<const Row> SignalRows();

// The functions of all types, for operators of which others have their own form.
Status WriteUnary(SourceWriter& w);
Status WriteBinary(SourceWriter& w);
Status WriteClip(SourceWriter& w);
Status WriteGather(SourceWriter& w);
Status WriteMatMul(SourceWriter& w);
Status WriteGemm(SourceWriter& w);
// A Pad that repeats what is there; begin: what is added before each axis.
Status WriteBorder(SourceWriter& w, const std::vector<int64_t>& begin);
// MaxPool with indices.
Status WriteMaxAt(SourceWriter& w, const std::string& window);

// A window as the initialiser of sw_window; InvalidArgument as ops::ResolveWindow. A pointwise one
// is one long row. `kernel`: of the weights.
Result<std::string> WindowFields(SourceWriter& w, std::span<const int64_t> kernel, int64_t outputs,
                                 int64_t groups, std::string* pad_end = nullptr);
// Strides of two operands that broadcast to `out`, as sw_nd.
std::string BroadcastFields(const Dims& out, const Dims& a, const Dims& b);
std::string NdFields(std::span<const int64_t> dims, std::span<const int64_t> a,
                     std::span<const int64_t> b);
// Pooling over the whole spatial extent.
std::string GlobalWindow(const Dims& x);
// Where the matrices of a and b begin for every matrix of y: pairs.
void MatrixOffsets(const Dims& a, const Dims& b, const Dims& y, std::vector<int64_t>* offsets);
int64_t Axis(int64_t axis, int rank);
inline bool IsCode(DType t) { return t == DType::kInt8 || t == DType::kUInt8; }
// What makes codes unsigned, by exclusive or.
inline int64_t Flip(DType t) { return t == DType::kInt8 ? 128 : 0; }
// Codes of [outputs, ...] as an array: where those of each output span few values they share bytes.
struct PackedCodes {
  int bits = 8;
  std::string codes, low = "0";  // names of arrays; low: what each output's codes count from
};
PackedCodes PackCodes(SourceWriter& w, const std::vector<int64_t>& codes, int64_t outputs);
// The fields of sw_target, by the step's attributes.
std::string Target(const SourceWriter& w);

}  // namespace slipway::backends::csource
