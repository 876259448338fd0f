#pragma once
// Operators of plugins (slipway/operator.h): a table of its own beside operators.inc, filled once
// at start-up when the user loads a plugin. Every answer of a plugin is checked here.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/ops/attributes.h"
#include "model/ops/kernel.h"
#include "slipway/operator.h"

namespace slipway::ops {

class CustomOp {
 public:
  struct Attribute {
    std::string name;
    uint32_t kind = 0;  // the alternative of AttributeValue
    bool required = false;
    std::optional<AttributeValue> default_value;
  };

  const std::string& domain() const { return domain_; }
  const std::string& name() const { return name_; }
  const std::string& plugin() const { return plugin_; }
  int version() const { return version_; }
  int min_inputs() const { return min_inputs_; }
  int max_inputs() const { return max_inputs_; }
  int min_outputs() const { return min_outputs_; }
  int max_outputs() const { return max_outputs_; }
  const std::vector<Attribute>& attributes() const { return attributes_; }
  uint32_t quantization() const { return quantization_; }  // SLIPWAY_QUANTIZE_*

  // Fills dtype, rank and dims of each output. Extents below -1 stand for unknown ones of the
  // inputs, -1 is an unknown one; with `concrete` there are none. Errors: the plugin's, and
  // DataLoss for an answer that cannot be.
  Status Infer(std::span<const slipway_tensor> inputs, const Attributes& attributes,
               std::span<slipway_tensor> outputs, bool concrete) const;
  // Of concrete extents.
  int64_t Macs(std::span<const slipway_tensor> inputs, std::span<const slipway_tensor> outputs,
               const Attributes& attributes) const;
  // The plugin's loops on `c`, whose outputs have the inferred extents. Allocates nothing.
  Status Run(const OpContext& c) const;
  // The same with outputs in memory of their own between bytes that are looked at afterwards: for
  // the interpreter.
  Status RunGuarded(const OpContext& c) const;
  // What inference says of these operands is what they are: DataLoss names the difference.
  Status CheckOperands(const Attributes& attributes, std::span<const TensorView> inputs,
                       std::span<const TensorView> outputs) const;

  static Result<std::unique_ptr<CustomOp>> Make(const slipway_operator* op,
                                                const std::string& plugin);

 private:
  Status FromPlugin(int code, const slipway_error& error) const;
  Status Wrong(const std::string& what) const;  // DataLoss that names plugin and operator
  std::string FullName() const { return domain_ + "." + name_; }

  slipway_operator op_{};  // the fields of the known size
  std::string domain_, name_, plugin_;
  int version_ = 1, min_inputs_ = 0, max_inputs_ = 0, min_outputs_ = 0, max_outputs_ = 0;
  std::vector<Attribute> attributes_;
  uint32_t quantization_ = 0;
};

// All operators of a plugin, or none when one is wrong or taken. `plugin` is how messages call it.
// They stay for ever.
Status RegisterOperators(const slipway_operator_set* set, const std::string& plugin);
// Null when no plugin has brought it.
const CustomOp* FindCustomOp(std::string_view domain, std::string_view name);
std::vector<const CustomOp*> CustomOps();

// Views of a node's attributes for a plugin, without allocation: what `op` says of defaults and
// kinds counts.
class AttributeViews {
 public:
  // Those of the node, then the defaults of absent ones. With null for `op`, those of the node
  // alone.
  Status Set(const Attributes& attributes, const CustomOp* op);
  const slipway_attribute* data() const { return list_; }
  uint32_t size() const { return size_; }

 private:
  Status Add(const std::string& name, const AttributeValue& value);
  slipway_attribute list_[SLIPWAY_MAX_ATTRIBUTES];
  const char* texts_[SLIPWAY_MAX_STRINGS];
  uint32_t size_ = 0, strings_ = 0;
};

}  // namespace slipway::ops
