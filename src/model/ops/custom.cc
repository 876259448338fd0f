#include "model/ops/custom.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/checked.h"

namespace slipway::ops {
namespace {

constexpr size_t kMaxName = 128;
constexpr size_t kGuard = 64;  // bytes before and behind an output
constexpr uint8_t kGuardByte = 0xA5;

bool IsWord(std::string_view text, std::string_view also) {
  return !text.empty() && text.size() <= kMaxName &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || also.find(c) != std::string_view::npos;
         });
}

// At most kMaxName + 1 bytes are looked at.
std::string_view Text(const char* s) {
  return s ? std::string_view(s, ::strnlen(s, kMaxName + 1)) : std::string_view();
}

bool IsReserved(std::string_view domain) {
  return domain == "ai" || domain.starts_with("ai.onnx") || domain == "slipway" ||
         domain == "engine" || domain.starts_with("com.microsoft") ||
         domain.starts_with("qonnx.") || domain.starts_with("finn.") ||
         domain.starts_with("onnx.") || domain == "org.openvinotoolkit";
}

slipway_tensor ToTensor(const TensorView& v) {
  slipway_tensor t{};
  if (!v.present()) return t;
  t.dtype = static_cast<uint32_t>(v.dtype);
  t.rank = v.dims.rank();
  std::copy(v.dims.begin(), v.dims.end(), t.dims);
  t.bytes = static_cast<uint64_t>(CheckedBytes(v.dtype, v.dims).value_or(0));
  t.data = v.data;
  return t;
}

std::string Shape(const slipway_tensor& t) {
  return std::string(DTypeName(static_cast<DType>(t.dtype))) +
         Dims(std::span<const int64_t>(t.dims, static_cast<size_t>(t.rank))).ToString();
}

struct Loops {
  Parallel* pool;
  static void For(void* self, int64_t count, int64_t grain, void (*body)(void*, int64_t, int64_t),
                  void* context) {
    Parallel* pool = static_cast<Loops*>(self)->pool;
    if (pool && count > 0) {
      pool->Run(count, std::max<int64_t>(grain, 1), body, context);
    } else if (count > 0) {
      body(context, 0, count);
    }
  }
};

struct Table {
  std::mutex mutex;
  std::vector<std::unique_ptr<CustomOp>> ops;
};
Table& TheTable() {
  static Table* table =
      new Table;  // never destroyed: graphs and packages may outlive static objects
  return *table;
}

}  // namespace

Status AttributeViews::Add(const std::string& name, const AttributeValue& value) {
  if (size_ == SLIPWAY_MAX_ATTRIBUTES)
    return Unsupported("more than " + std::to_string(SLIPWAY_MAX_ATTRIBUTES) + " attributes");
  slipway_attribute a{};
  a.name = name.c_str();
  a.kind = static_cast<uint32_t>(value.index());
  if (const auto* i = std::get_if<int64_t>(&value)) a.i = *i;
  if (const auto* f = std::get_if<float>(&value)) a.f = static_cast<double>(*f);
  if (const auto* s = std::get_if<std::string>(&value)) a.s = s->c_str();
  if (const auto* ints = std::get_if<std::vector<int64_t>>(&value)) {
    a.ints = ints->data();
    a.count = static_cast<uint32_t>(ints->size());
  }
  if (const auto* floats = std::get_if<std::vector<float>>(&value)) {
    a.floats = floats->data();
    a.count = static_cast<uint32_t>(floats->size());
  }
  if (const auto* strings = std::get_if<std::vector<std::string>>(&value)) {
    if (strings->size() > SLIPWAY_MAX_STRINGS - strings_)
      return Unsupported("attribute '" + name + "' makes more than " +
                         std::to_string(SLIPWAY_MAX_STRINGS) + " strings");
    a.strings = texts_ + strings_;
    a.count = static_cast<uint32_t>(strings->size());
    for (const std::string& s : *strings) texts_[strings_++] = s.c_str();
  }
  list_[size_++] = a;
  return OkStatus();
}

Status AttributeViews::Set(const Attributes& attributes, const CustomOp* op) {
  size_ = strings_ = 0;
  if (!op) {
    for (const auto& [name, value] : attributes.entries())
      SLIPWAY_RETURN_IF_ERROR(Add(name, value));
    return OkStatus();
  }
  for (const CustomOp::Attribute& a : op->attributes()) {
    const AttributeValue* value = attributes.Find(a.name);
    if (value && value->index() != a.kind)
      return InvalidArgument("attribute '" + a.name + "' is of another type than the operator's");
    if (!value && a.default_value) value = &*a.default_value;
    if (value) SLIPWAY_RETURN_IF_ERROR(Add(a.name, *value));
    if (!value && a.required)
      return InvalidArgument("the required attribute '" + a.name + "' is missing");
  }
  return OkStatus();
}

Status CustomOp::Wrong(const std::string& what) const {
  return DataLoss("plugin '" + plugin_ + "': operator " + FullName() + ": " + what +
                  "; the plugin is wrong, get another version of it");
}

Status CustomOp::FromPlugin(int code, const slipway_error& error) const {
  if (code == 0) return OkStatus();
  std::string message(error.message, ::strnlen(error.message, sizeof(error.message)));
  if (message.empty()) message = "failed with code " + std::to_string(code) + " and no message";
  const bool known = code >= SLIPWAY_INVALID_ARGUMENT && code <= SLIPWAY_INTERNAL;
  return Status(known ? static_cast<StatusCode>(code) : StatusCode::kInternal,
                "plugin '" + plugin_ + "': " + message);
}

Status CustomOp::Infer(std::span<const slipway_tensor> inputs, const Attributes& attributes,
                       std::span<slipway_tensor> outputs, bool concrete) const {
  AttributeViews views;
  SLIPWAY_RETURN_IF_ERROR(views.Set(attributes, this));
  slipway_operator_call call{};
  call.struct_size = sizeof call;
  call.num_inputs = static_cast<uint32_t>(inputs.size());
  call.num_outputs = static_cast<uint32_t>(outputs.size());
  call.num_attributes = views.size();
  call.inputs = inputs.data();
  call.attributes = views.data();
  for (slipway_tensor& t : outputs) t = slipway_tensor{};
  slipway_error error{};
  SLIPWAY_RETURN_IF_ERROR(FromPlugin(op_.infer(op_.context, &call, outputs.data(), &error), error));
  bool zero = false;
  for (const slipway_tensor& t : inputs) {
    for (int d = 0; d < t.rank; ++d) zero |= t.dims[d] == 0;
  }
  const auto stands = [&](int64_t extent) {
    return std::any_of(inputs.begin(), inputs.end(), [&](const slipway_tensor& t) {
      return std::find(t.dims, t.dims + t.rank, extent) != t.dims + t.rank;
    });
  };
  for (size_t i = 0; i < outputs.size(); ++i) {
    slipway_tensor& t = outputs[i];
    const std::string which = "output " + std::to_string(i) + " ";
    if (t.dtype > 255 || !IsKnown(static_cast<DType>(t.dtype)))
      return Wrong("inference gives " + which + "the unknown element type " +
                   std::to_string(t.dtype));
    if (t.rank < 0 || t.rank > kMaxRank)
      return Wrong("inference gives " + which + std::to_string(t.rank) + " dimensions; 0 to " +
                   std::to_string(kMaxRank) + " are possible");
    bool known = true;
    for (int d = 0; d < t.rank; ++d) {
      const int64_t extent = t.dims[d];
      known &= extent >= 0;
      const bool good =
          extent > 0 || (extent == 0 && zero) ||
          (!concrete && (extent == SLIPWAY_DIM_UNKNOWN || (extent < 0 && stands(extent))));
      if (good) continue;
      return Wrong("inference gives dimension " + std::to_string(d) + " of " + which +
                   "the extent " + std::to_string(extent) +
                   (extent < 0 ? ", which no input has" : ", which must be positive"));
    }
    t.layout = 0;
    t.is_constant = 0;
    t.data = nullptr;
    t.bytes = 0;
    if (!known) continue;
    const auto bytes = CheckedBytes(static_cast<DType>(t.dtype),
                                    std::span<const int64_t>(t.dims, static_cast<size_t>(t.rank)));
    if (!bytes) return Wrong("inference gives " + which + Shape(t) + ", which fits no memory");
    t.bytes = static_cast<uint64_t>(*bytes);
  }
  return OkStatus();
}

int64_t CustomOp::Macs(std::span<const slipway_tensor> inputs,
                       std::span<const slipway_tensor> outputs,
                       const Attributes& attributes) const {
  AttributeViews views;
  if (!op_.macs || !views.Set(attributes, this).ok()) return 0;
  slipway_operator_call call{};
  call.struct_size = sizeof call;
  call.num_inputs = static_cast<uint32_t>(inputs.size());
  call.num_outputs = static_cast<uint32_t>(outputs.size());
  call.num_attributes = views.size();
  call.inputs = inputs.data();
  call.outputs = outputs.data();
  call.attributes = views.data();
  return std::max<int64_t>(op_.macs(op_.context, &call), 0);
}

Status CustomOp::Run(const OpContext& c) const {
  if (c.inputs.size() > SLIPWAY_MAX_OPERANDS || c.outputs.size() > SLIPWAY_MAX_OPERANDS)
    return InvalidArgument("more than " + std::to_string(SLIPWAY_MAX_OPERANDS) + " operands");
  AttributeViews views;
  SLIPWAY_RETURN_IF_ERROR(views.Set(*c.attributes, this));
  slipway_tensor in[SLIPWAY_MAX_OPERANDS], out[SLIPWAY_MAX_OPERANDS];
  std::transform(c.inputs.begin(), c.inputs.end(), in, ToTensor);
  std::transform(c.outputs.begin(), c.outputs.end(), out, ToTensor);
  slipway_operator_call call{};
  call.struct_size = sizeof call;
  call.num_inputs = static_cast<uint32_t>(c.inputs.size());
  call.num_outputs = static_cast<uint32_t>(c.outputs.size());
  call.num_attributes = views.size();
  call.inputs = in;
  call.outputs = out;
  call.attributes = views.data();
  Loops loops{c.pool};
  slipway_execution execution{};
  execution.struct_size = sizeof execution;
  execution.threads = c.pool ? c.pool->threads() : 1;
  execution.pool = &loops;
  execution.parallel_for = Loops::For;
  slipway_error error{};
  return FromPlugin(op_.run(op_.context, &call, &execution, &error), error);
}

Status CustomOp::RunGuarded(const OpContext& c) const {
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  std::vector<std::unique_ptr<uint8_t, Free>> memory;
  std::vector<TensorView> outputs(c.outputs.begin(), c.outputs.end());
  for (TensorView& t : outputs) {
    memory.emplace_back();
    if (!t.present()) continue;
    const auto bytes = CheckedBytes(t.dtype, t.dims);
    if (!bytes) return InvalidArgument("an output of impossible extent");
    const size_t all = static_cast<size_t>(RoundUp(*bytes, 64)) + 2 * kGuard;
    memory.back().reset(static_cast<uint8_t*>(std::aligned_alloc(64, all)));
    if (!memory.back()) return ResourceExhausted("no memory for " + std::to_string(all) + " bytes");
    std::memset(memory.back().get(), kGuardByte, all);
    t.data = memory.back().get() + kGuard;
  }
  SLIPWAY_RETURN_IF_ERROR(Run({c.inputs, outputs, c.attributes, c.pool}));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].present()) continue;
    const size_t bytes = static_cast<size_t>(*CheckedBytes(outputs[i].dtype, outputs[i].dims));
    const uint8_t* start = memory[i].get();
    const uint8_t* behind = start + kGuard + bytes;
    const auto clean = [](const uint8_t* from, const uint8_t* to) {
      return std::all_of(from, to, [](uint8_t b) { return b == kGuardByte; });
    };
    if (!clean(start, start + kGuard) || !clean(behind, behind + kGuard))
      return Wrong("its loops write outside of output " + std::to_string(i) + ", " +
                   DTypeName(outputs[i].dtype) + outputs[i].dims.ToString());
    if (bytes > 0) std::memcpy(c.outputs[i].data, start + kGuard, bytes);
  }
  return OkStatus();
}

Status CustomOp::CheckOperands(const Attributes& attributes, std::span<const TensorView> inputs,
                               std::span<const TensorView> outputs) const {
  const auto count = [](std::span<const TensorView> list, int low, int high, const char* what) {
    const int n = static_cast<int>(std::min<size_t>(list.size(), SLIPWAY_MAX_OPERANDS + 1));
    bool good = n >= low && n <= high;
    for (int i = 0; good && i < low; ++i) good = list[static_cast<size_t>(i)].present();
    return good ? OkStatus()
                : DataLoss(std::to_string(list.size()) + " " + what +
                           " are not what the operator takes; compile the package again");
  };
  SLIPWAY_RETURN_IF_ERROR(count(inputs, min_inputs_, max_inputs_, "inputs"));
  SLIPWAY_RETURN_IF_ERROR(count(outputs, min_outputs_, max_outputs_, "outputs"));
  std::vector<slipway_tensor> in, out(outputs.size());
  for (const TensorView& v : inputs) in.push_back(ToTensor(v));
  SLIPWAY_RETURN_IF_ERROR(Infer(in, attributes, out, true));
  for (size_t i = 0; i < out.size(); ++i) {
    if (!outputs[i].present()) continue;
    const slipway_tensor have = ToTensor(outputs[i]);
    if (out[i].dtype == have.dtype && out[i].rank == have.rank &&
        std::equal(have.dims, have.dims + have.rank, out[i].dims))
      continue;
    return DataLoss("output " + std::to_string(i) + " is " + Shape(have) +
                    " in the package, the plugin '" + plugin_ + "' says " + Shape(out[i]) +
                    "; compile the package again with this plugin");
  }
  return OkStatus();
}

Result<std::unique_ptr<CustomOp>> CustomOp::Make(const slipway_operator* op,
                                                 const std::string& plugin) {
  const auto bad = [](const std::string& what) { return InvalidArgument("operators: " + what); };
  if (!op) return bad("one of them is null");
  // Everything up to macs was there in version 1.
  if (op->struct_size < sizeof(slipway_operator))
    return bad("struct_size " + std::to_string(op->struct_size) +
               " of an operator is smaller than the " + std::to_string(sizeof(slipway_operator)) +
               " of version 1; set it to sizeof");
  auto made = std::make_unique<CustomOp>();
  made->op_ = *op;
  made->plugin_ = plugin;
  const std::string_view domain = Text(op->domain), name = Text(op->name);
  if (!IsWord(domain, ".-"))
    return bad("the domain '" + std::string(domain) +
               "' is not made of letters, digits, '.', '_' and '-'");
  if (IsReserved(domain))
    return bad("the domain '" + std::string(domain) + "' is taken; give the plugin one of its own");
  if (!IsWord(name, ""))
    return bad("the name '" + std::string(name) + "' is not made of letters, digits and '_'");
  made->domain_ = domain;
  made->name_ = name;
  const auto wrong = [&](const std::string& what) { return bad(made->FullName() + ": " + what); };
  if (!op->infer || !op->run) return wrong("infer and run must both be set");
  if (op->version < 1) return wrong("version " + std::to_string(op->version) + " is not positive");
  if (op->min_inputs < 0 || op->max_inputs < op->min_inputs ||
      op->max_inputs > SLIPWAY_MAX_OPERANDS || op->min_outputs < 1 ||
      op->max_outputs < op->min_outputs || op->max_outputs > SLIPWAY_MAX_OPERANDS) {
    return wrong("it has " + std::to_string(op->min_inputs) + " to " +
                 std::to_string(op->max_inputs) + " inputs and " + std::to_string(op->min_outputs) +
                 " to " + std::to_string(op->max_outputs) + " outputs; at most " +
                 std::to_string(SLIPWAY_MAX_OPERANDS) + " and at least one output are possible");
  }
  made->version_ = op->version;
  made->min_inputs_ = op->min_inputs;
  made->max_inputs_ = op->max_inputs;
  made->min_outputs_ = op->min_outputs;
  made->max_outputs_ = op->max_outputs;
  if (op->quantization > SLIPWAY_QUANTIZE_ELEMENTWISE)
    return wrong("its quantization rule " + std::to_string(op->quantization) + " is unknown");
  if (op->quantization != SLIPWAY_QUANTIZE_FLOAT && (op->min_inputs < 1 || op->max_outputs != 1))
    return wrong("its quantization rule is for operators with an input and one output");
  if (op->quantization == SLIPWAY_QUANTIZE_ELEMENTWISE && op->max_inputs != 1)
    return wrong("its quantization rule is for operators with one input");
  made->quantization_ = op->quantization;
  if (op->num_attributes > SLIPWAY_MAX_ATTRIBUTES)
    return wrong(std::to_string(op->num_attributes) + " attributes are more than " +
                 std::to_string(SLIPWAY_MAX_ATTRIBUTES));
  if (op->num_attributes > 0 && !op->attributes) return wrong("its attributes are null");
  for (uint32_t i = 0; i < op->num_attributes; ++i) {
    const slipway_attribute_schema& a = op->attributes[i];
    Attribute to;
    to.name = Text(a.name);
    const std::string which = "attribute '" + to.name + "' ";
    if (!IsWord(to.name, "")) return wrong(which + "has no name of letters, digits and '_'");
    if (a.kind > SLIPWAY_ATTRIBUTE_STRINGS)
      return wrong(which + "has the unknown kind " + std::to_string(a.kind));
    for (const Attribute& other : made->attributes_) {
      if (other.name == to.name) return wrong(which + "is there twice");
    }
    to.kind = a.kind;
    to.required = a.required != 0;
    if (a.has_default) {
      if (a.kind == SLIPWAY_ATTRIBUTE_INT) {
        to.default_value = a.default_int;
      } else if (a.kind == SLIPWAY_ATTRIBUTE_FLOAT) {
        to.default_value = static_cast<float>(a.default_float);
      } else if (a.kind == SLIPWAY_ATTRIBUTE_STRING && a.default_string) {
        to.default_value = std::string(Text(a.default_string));
      } else {
        return wrong(which + "is a list, or has no text, and so no default");
      }
    }
    made->attributes_.push_back(std::move(to));
  }
  return made;
}

Status RegisterOperators(const slipway_operator_set* set, const std::string& plugin) {
  if (!set)
    return Unsupported("cannot serve version " + std::to_string(SLIPWAY_OPERATOR_ABI_VERSION) +
                       " of the operator interface; get one that matches");
  // Of another version, only the two first fields may be read.
  if (set->abi_version != SLIPWAY_OPERATOR_ABI_VERSION) {
    return Unsupported("operators: built for version " + std::to_string(set->abi_version) +
                       " of the operator interface, this is " +
                       std::to_string(SLIPWAY_OPERATOR_ABI_VERSION) +
                       "; get a plugin that matches");
  }
  if (set->struct_size < sizeof(slipway_operator_set))
    return InvalidArgument("operators: struct_size " + std::to_string(set->struct_size) +
                           " is smaller than the " + std::to_string(sizeof(slipway_operator_set)) +
                           " of version 1 of slipway_operator_set; set it to sizeof");
  constexpr uint32_t kMost = 1024;
  if (set->num_operators > kMost || (set->num_operators > 0 && !set->operators))
    return InvalidArgument("operators: " + std::to_string(set->num_operators) +
                           " operators, or no list of them; at most " + std::to_string(kMost));
  std::vector<std::unique_ptr<CustomOp>> made;
  Table& table = TheTable();
  std::lock_guard lock(table.mutex);
  for (uint32_t i = 0; i < set->num_operators; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(auto op, CustomOp::Make(set->operators[i], plugin));
    for (const auto* list : {&table.ops, &made}) {
      for (const auto& other : *list) {
        if (other->name() == op->name() && other->domain() == op->domain())
          return InvalidArgument("operators: " + op->domain() + "." + op->name() +
                                 " is there already, from plugin '" + other->plugin() + "'");
      }
    }
    made.push_back(std::move(op));
  }
  for (auto& op : made) table.ops.push_back(std::move(op));
  return OkStatus();
}

const CustomOp* FindCustomOp(std::string_view domain, std::string_view name) {
  if (domain.empty() || domain == "slipway") return nullptr;
  Table& table = TheTable();
  std::lock_guard lock(table.mutex);
  for (const auto& op : table.ops) {
    if (op->name() == name && op->domain() == domain) return op.get();
  }
  return nullptr;
}

std::vector<const CustomOp*> CustomOps() {
  std::vector<const CustomOp*> out;
  Table& table = TheTable();
  std::lock_guard lock(table.mutex);
  for (const auto& op : table.ops) out.push_back(op.get());
  return out;
}

}  // namespace slipway::ops
