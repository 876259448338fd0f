#include "model/frontends/caffe/layer.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/checked.h"

namespace slipway::caffe {

const TextField* Params::Get(std::string_view field) {
  asked_.emplace(field);
  return m_ ? m_->Find(field) : nullptr;
}

void Params::Fail(std::string what) {
  if (status_.ok()) status_ = InvalidArgument(name_ + ": " + what);
}

bool Params::Has(std::string_view field) { return Get(field) != nullptr; }

int64_t Params::Int(std::string_view field, int64_t fallback, int64_t low, int64_t high) {
  const TextField* f = Get(field);
  int64_t v = fallback;
  if (!f) return v;
  if (!ReadInt(*f, &v) || v < low || v > high) {
    Fail(std::string(field) + " is '" + f->text.substr(0, 40) + "', not a number from " +
         std::to_string(low) + " to " + std::to_string(high));
    return fallback;
  }
  return v;
}

double Params::Float(std::string_view field, double fallback) {
  const TextField* f = Get(field);
  double v = fallback;
  if (f && (!ReadDouble(*f, &v) || !std::isfinite(v))) {
    Fail(std::string(field) + " is no finite number");
    return fallback;
  }
  return v;
}

bool Params::Bool(std::string_view field, bool fallback) {
  const TextField* f = Get(field);
  bool v = fallback;
  if (f && !ReadBool(*f, &v)) Fail(std::string(field) + " is neither true nor false");
  return v;
}

std::string Params::Text(std::string_view field, std::string_view fallback) {
  const TextField* f = Get(field);
  return f ? f->text : std::string(fallback);
}

std::vector<int64_t> Params::Ints(std::string_view field, int64_t low, int64_t high) {
  asked_.emplace(field);
  std::vector<int64_t> out;
  if (!m_) return out;
  for (const TextField& f : m_->fields) {
    if (f.name != field) continue;
    int64_t v = 0;
    if (!ReadInt(f, &v) || v < low || v > high) {
      Fail(std::string(field) + " is '" + f.text.substr(0, 40) + "', not a number from " +
           std::to_string(low) + " to " + std::to_string(high));
      return {};
    }
    out.push_back(v);
  }
  return out;
}

std::vector<double> Params::Floats(std::string_view field) {
  asked_.emplace(field);
  std::vector<double> out;
  if (!m_) return out;
  for (const TextField& f : m_->fields) {
    if (f.name != field) continue;
    double v = 0;
    if (!ReadDouble(f, &v) || !std::isfinite(v)) Fail(std::string(field) + " is no finite number");
    out.push_back(v);
  }
  return out;
}

const Message* Params::Sub(std::string_view field) {
  const TextField* f = Get(field);
  return f ? f->message.get() : nullptr;
}

void Params::Ignore(std::initializer_list<std::string_view> fields) {
  for (std::string_view f : fields) asked_.emplace(f);
}

Status Params::Finish() const {
  if (!status_.ok() || !m_) return status_;
  for (const TextField& f : m_->fields) {
    if (asked_.contains(f.name) || f.name == "engine" || f.name.ends_with("_filler")) continue;
    return Unsupported("line " + std::to_string(f.line) + ": " + name_ + " has the field '" +
                       f.name + "', which Slipway does not know; remove it if it does not matter");
  }
  return OkStatus();
}

Status LayerContext::Require(size_t least, size_t most, size_t least_tops, size_t most_tops) const {
  if (bottoms_.size() < least || bottoms_.size() > most) {
    return Bad("has " + std::to_string(bottoms_.size()) + " bottoms; expected " +
               std::to_string(least) +
               (most == least ? ""
                : most > 1000 ? " or more"
                              : " to " + std::to_string(most)));
  }
  if (spec_.tops.size() < least_tops || spec_.tops.size() > most_tops)
    return Bad("has " + std::to_string(spec_.tops.size()) + " tops; expected " +
               std::to_string(least_tops));
  return OkStatus();
}

Status LayerContext::RequireRank(size_t i, int rank) const {
  if (Rank(i) == rank) return OkStatus();
  return Bad("bottom '" + spec_.bottoms[i] + "' is " + ToString(BottomSym(i)) + "; expected " +
             std::to_string(rank) + " dimensions");
}

Dims LayerContext::Shape(const ir::Value* v) const {
  if (auto dims = v->type().StaticDims()) return *dims;
  if (!unknown_) unknown_ = v;
  Dims out;
  for (const Dim& d : Sym(v)) out.push_back(d.known() ? d.value() : 1);
  return out;
}

Result<int64_t> LayerContext::Extent(size_t i, int axis) const {
  const Dim& d = BottomSym(i)[static_cast<size_t>(axis)];
  if (d.known()) return d.value();
  return Unsupported("needs dimension " + std::to_string(axis) + " of bottom '" + spec_.bottoms[i] +
                     "' " + ToString(BottomSym(i)) + " as a number; give it by --shape");
}

Result<int> LayerContext::Axis(int64_t axis, int rank, bool end) const {
  const int64_t a = axis < 0 ? axis + rank + (end ? 1 : 0) : axis;
  if (a < 0 || a > rank || (a == rank && !end)) {
    return InvalidArgument("axis " + std::to_string(axis) + " is out of range for " +
                           std::to_string(rank) + " dimensions");
  }
  return static_cast<int>(a);
}

Status LayerContext::RequireBlobs(size_t count) const {
  if (!blobs_) {
    if (random_) return OkStatus();
    return InvalidArgument(
        "the caffemodel has no weights for it; is it the model of this prototxt?");
  }
  if (blobs_->blobs.size() == count) return OkStatus();
  return InvalidArgument("the caffemodel has " + std::to_string(blobs_->blobs.size()) +
                         " blobs for it, the prototxt needs " + std::to_string(count) +
                         "; is it the model of this prototxt?");
}

Result<ir::Tensor> LayerContext::Blob(size_t i, const Dims& dims, Fill fill) {
  const auto wanted = CheckedCount(dims);
  if (!wanted || !CheckedBytes(DType::kFloat32, dims))
    return InvalidArgument("blob " + std::to_string(i) + " would be " + dims.ToString());
  if (blobs_) {
    const ir::Tensor& t = blobs_->blobs[i];
    if (t.count() == *wanted) return t.Reshaped(dims);
    return InvalidArgument("blob " + std::to_string(i) + " of the caffemodel is " +
                           t.dims().ToString() + ", the prototxt needs " + dims.ToString() +
                           "; is it the model of this prototxt?");
  }
  if (*wanted > (int64_t{1} << 30)) return ResourceExhausted("random weights above 4 GiB");
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, ir::Tensor::Allocate(DType::kFloat32, dims));
  auto* p = reinterpret_cast<float*>(t.mutable_data());
  uint32_t seed = 2166136261u;  // FNV-1a of the layer's name: the same weights on every machine
  for (const char c : spec_.name) seed = (seed ^ static_cast<uint8_t>(c)) * 16777619u;
  std::mt19937 random(seed + static_cast<uint32_t>(i));
  const int64_t fan = dims.rank() > 1 ? dims.count(1, dims.rank()) : 1;
  const float range = std::sqrt(3.0f / static_cast<float>(std::max<int64_t>(fan, 1)));
  for (int64_t k = 0; k < *wanted; ++k) {
    const float u = static_cast<float>(random() >> 8) / static_cast<float>(1 << 24);
    p[k] = fill == Fill::kZero       ? 0
           : fill == Fill::kOne      ? 1
           : fill == Fill::kPositive ? 0.5f + u
                                     : (2 * u - 1) * range;
  }
  return t;
}

ir::Value* LayerContext::Constant(std::string_view suffix, ir::Tensor tensor) {
  return graph_->AddConstant(spec_.name + "/" + std::string(suffix), std::move(tensor));
}

Result<std::vector<ir::Value*>> LayerContext::EmitMany(const std::string& op,
                                                       std::vector<ir::Value*> inputs,
                                                       ir::Attributes attributes, size_t outputs,
                                                       const std::string& domain) {
  ir::Graph::NodeSpec spec{.op = op, .inputs = inputs, .attributes = std::move(attributes)};
  spec.domain = domain;
  spec.name = emitted_++ == 0 ? spec_.name : spec_.name + "/" + op;
  spec.outputs.assign(outputs, spec_.name + "/" + op);
  ir::Node* node = graph_->AddNode(std::move(spec));
  node->sources = {spec_.name};
  SLIPWAY_RETURN_IF_ERROR(inferer_->AddNode(*node));
  for (const ir::Value* v : node->outputs()) {
    if (v && !v->type().shape)
      return Unsupported("its operator " + op +
                         " has an output without a known number of dimensions");
  }
  return node->outputs();
}

Result<ir::Value*> LayerContext::Emit(const std::string& op, std::vector<ir::Value*> inputs,
                                      ir::Attributes attributes, const std::string& domain) {
  SLIPWAY_ASSIGN_OR_RETURN(auto out,
                           EmitMany(op, std::move(inputs), std::move(attributes), 1, domain));
  return out[0];
}

Result<ir::Value*> LayerContext::Reshape(ir::Value* x, const Dims& dims) {
  if (Shape(x) == dims) return x;
  if (x->is_constant()) return Constant("r", x->constant()->Reshaped(dims));
  return Emit("Reshape", {x, Ints({dims.begin(), dims.end()})}, {{"allowzero", int64_t{1}}});
}

Result<ir::Value*> LayerContext::Widen(ir::Value* x, int count) {
  if (count == 0) return x;
  const int rank = static_cast<int>(Sym(x).size());
  if (rank + count > kMaxRank) return InvalidArgument("too many dimensions");
  std::vector<int64_t> axes;
  for (int i = 0; i < count; ++i) axes.push_back(rank + i);
  return Emit("Unsqueeze", {x, Ints(axes)});
}

Status LayerContext::Top(Result<ir::Value*> value) {
  if (!value.ok()) return value.status();
  tops_[0] = *value;
  return OkStatus();
}

LayerFunction FindLayer(std::string_view type) {
  for (const auto table : {LinearLayers(), ElementwiseLayers(), NormLayers(), ShapeLayers(),
                           DetectionLayers(), RecurrentLayers()}) {
    for (const LayerEntry& e : table) {
      if (type == e.type) return e.function;
    }
  }
  return nullptr;
}

}  // namespace slipway::caffe
