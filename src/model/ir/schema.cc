#include "model/ir/schema.h"

#include <charconv>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>

#include "model/ir/infer.h"

// One declaration per operator and inference function of the table; repeated declarations of a
// shared function are harmless.
namespace slipway::ops {
#define SLIPWAY_OP(D, N, I, O, F, A) Status D##N(const OpContext&);
#include "model/ops/operators.inc"
#undef SLIPWAY_OP
}  // namespace slipway::ops
namespace slipway::ir {
Status InferCustom(InferContext&);  // infer_custom.cc
#define SLIPWAY_OP(D, N, I, O, F, A) Status Infer##F(InferContext&);
#include "model/ops/operators.inc"
#undef SLIPWAY_OP

namespace {

struct Bounds {
  int min, max;
};

constexpr const char* kDomainOnnx = "";
constexpr const char* kDomainSlipway = kSlipwayDomain;

// Parses "name:type[=default][!] ..."; the table is ours, so a mistake in it is a failed test, not
// an error path.
std::vector<AttributeSchema> ParseAttributes(std::string_view text) {
  std::vector<AttributeSchema> out;
  while (!text.empty()) {
    auto space = text.find(' ');
    std::string_view item = text.substr(0, space);
    text = space == std::string_view::npos ? std::string_view() : text.substr(space + 1);
    if (item.empty()) continue;
    AttributeSchema a;
    if (item.back() == '!') {
      a.required = true;
      item.remove_suffix(1);
    }
    std::string_view initial;
    bool has_default = false;
    if (auto equals = item.find('='); equals != std::string_view::npos) {
      initial = item.substr(equals + 1);
      item = item.substr(0, equals);
      has_default = true;
    }
    auto colon = item.find(':');
    a.name = item.substr(0, colon);
    std::string_view type = item.substr(colon + 1);
    if (type == "int") a.kind = AttributeKind::kInt;
    if (type == "float") a.kind = AttributeKind::kFloat;
    if (type == "string") a.kind = AttributeKind::kString;
    if (type == "ints") a.kind = AttributeKind::kInts;
    if (type == "floats") a.kind = AttributeKind::kFloats;
    if (type == "strings") a.kind = AttributeKind::kStrings;
    if (has_default) {
      if (a.kind == AttributeKind::kInt)
        a.default_value = int64_t{std::strtoll(std::string(initial).c_str(), nullptr, 10)};
      if (a.kind == AttributeKind::kFloat)
        a.default_value = std::strtof(std::string(initial).c_str(), nullptr);
      if (a.kind == AttributeKind::kString) a.default_value = std::string(initial);
    }
    out.push_back(std::move(a));
  }
  return out;
}

struct Table {
  std::vector<OpSchema> ops;
  std::unordered_map<std::string, const OpSchema*> by_name;

  Table() {
    auto add = [&](const char* domain, const char* name, Bounds in, Bounds out, InferFunction infer,
                   ops::Kernel kernel, const char* attributes) {
      ops.push_back({domain, name, in.min, in.max, out.min, out.max, ParseAttributes(attributes),
                     infer, kernel});
    };
#define SLIPWAY_BOUNDS(a, b) \
  Bounds { a, b }
#define SLIPWAY_OP(D, N, I, O, F, A) \
  add(kDomain##D, #N, SLIPWAY_BOUNDS I, SLIPWAY_BOUNDS O, &Infer##F, &ops::D##N, A);
#include "model/ops/operators.inc"
#undef SLIPWAY_OP
#undef SLIPWAY_BOUNDS
    for (const OpSchema& op : ops) by_name[op.domain + ":" + op.name] = &op;
  }
};

const Table& TheTable() {
  static const Table table;
  return table;
}

// The entry of a plugin's operator, made when it is first asked for.
const OpSchema* CustomSchema(const ops::CustomOp& op) {
  static std::mutex mutex;
  static auto* made = new std::map<const ops::CustomOp*, OpSchema>;  // never destroyed
  std::lock_guard lock(mutex);
  const auto [it, is_new] = made->try_emplace(&op);
  OpSchema& s = it->second;
  if (!is_new) return &s;
  s.domain = op.domain();
  s.name = op.name();
  s.min_inputs = op.min_inputs();
  s.max_inputs = op.max_inputs();
  s.min_outputs = op.min_outputs();
  s.max_outputs = op.max_outputs();
  for (const auto& a : op.attributes())
    s.attributes.push_back(
        {a.name, static_cast<AttributeKind>(a.kind), a.required, a.default_value});
  s.infer = &InferCustom;
  s.kernel = ops::Kernel(
      [](const ops::OpContext& c, const ops::CustomOp& o) { return o.RunGuarded(c); }, op);
  s.custom = &op;
  return &s;
}

}  // namespace

const AttributeSchema* OpSchema::FindAttribute(std::string_view name) const {
  for (const AttributeSchema& a : attributes) {
    if (a.name == name) return &a;
  }
  return nullptr;
}

bool IsCustom(const Node& node, uint32_t quantization) {
  const OpSchema* s = node.schema();
  return s && s->custom && s->custom->quantization() == quantization;
}

bool IsRandom(const Node& node) { return DrawsRandom(node) && !node.attributes.Has("seed"); }

bool DrawsRandom(const Node& node) {
  if (!node.domain().empty()) return false;
  for (const char* op : {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike",
                         "Bernoulli", "Multinomial"}) {
    if (node.op() == op) return true;
  }
  return false;
}

const OpSchema* FindOp(std::string_view domain, std::string_view name) {
  const Table& table = TheTable();
  auto it = table.by_name.find(std::string(domain) + ":" + std::string(name));
  if (it != table.by_name.end()) return it->second;
  const ops::CustomOp* custom = ops::FindCustomOp(domain, name);
  return custom ? CustomSchema(*custom) : nullptr;
}

std::span<const OpSchema> AllOps() { return TheTable().ops; }

}  // namespace slipway::ir
