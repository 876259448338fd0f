#include "learn/reconstruct.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

#include "learn/call.h"
#include "learn/fake_quant.h"
#include "learn/torch_module.h"
#include "model/ops/quantize.h"

namespace slipway::learn {
namespace {

// Adam (Kingma and Ba, 2015) for one array.
class Adam {
 public:
  explicit Adam(const at::Tensor& like) : m_(at::zeros_like(like)), v_(at::zeros_like(like)) {}
  void Update(at::Tensor& p, const at::Tensor& g, double rate) {
    ++steps_;
    m_.mul_(0.9).add_(g, 0.1);
    v_.mul_(0.999).addcmul_(g, g, 0.001);
    const double m_part = 1 - std::pow(0.9, steps_), v_part = 1 - std::pow(0.999, steps_);
    p.addcdiv_(m_, (v_.sqrt() / std::sqrt(v_part)).add_(1e-8), -rate / m_part);
  }

 private:
  at::Tensor m_, v_;
  int steps_ = 0;
};

// A Quantize node and the Dequantize behind it.
struct Pair {
  const ir::Node *quantize = nullptr, *dequantize = nullptr;
  ops::QuantParams params;
};
struct Weights {
  Pair pair;
  Roundings roundings;  // lo and hi less the zero point
  at::Tensor zero;      // like the weights
  at::Tensor soft;      // the weights as the roundings are; derivatives are by these
  at::Tensor Codes() const {
    const Roundings& r = roundings;
    const at::Tensor up = (r.alpha >= 0).to(r.base.scalar_type());
    return at::minimum(at::maximum(r.base + up, r.lo), r.hi);
  }
};
struct Activation {
  Pair pair;
  Codes codes;
  at::Tensor scale;
  double least = 0;
  std::optional<Adam> adam;
};

Result<Pair> FindPair(const ir::Graph& block, const std::string& name) {
  const ir::Node* q = block.FindNode(name);
  if (!q || !q->IsSlipway("Quantize"))
    return InvalidArgument("reconstruction: the block has no Quantize node '" + name + "'");
  const ir::Node* d = q->output()->OnlyUser();
  if (!d || !d->IsSlipway("Dequantize"))
    return InvalidArgument("reconstruction: " + q->Describe() +
                           " is not followed by one Dequantize");
  SLIPWAY_ASSIGN_OR_RETURN(const ops::QuantParams params, ops::ParseQuant(q->attributes));
  if ((params.kind != ops::QuantKind::kAffine && params.kind != ops::QuantKind::kPowerOfTwo) ||
      params.rounding != ops::QuantRounding::kHalfEven || params.zero_first ||
      params.precision != DType::kUndefined)
    return Unsupported("reconstruction: the kind or rounding of " + q->Describe());
  for (size_t i = 1; i < 3; ++i) {
    if (q->input(i) && !q->input(i)->is_constant())
      return InvalidArgument("reconstruction: scale or zero point of " + q->Describe() +
                             " is no constant");
  }
  Pair pair;
  pair.quantize = q, pair.dequantize = d, pair.params = params;
  return pair;
}

// Float weights that are trained.
struct Trained {
  const ir::Value* value = nullptr;
  at::Tensor given, array;  // before, and now
  at::Tensor open;          // 1 where it may change; undefined: everywhere
  double rate = 0;          // of the first step
  std::optional<Adam> adam;
};

class Reconstruction {
 public:
  Reconstruction(const ReconstructData& data, const ReconstructOptions& options)
      : data_(data), options_(options), random_(options.seed) {}
  Status Prepare(const ir::Graph& block, std::span<const std::string> rounding,
                 std::span<const std::string> scales);
  Status Learn(const std::function<bool(int64_t)>& progress);
  Result<double> Loss();  // over all samples, without soft rounding and drops
  // Trained weights as they were given.
  void GiveUp();
  bool trains() const { return !trained_.empty(); }
  Status Collect(ReconstructResult* result) const;

 private:
  Status PrepareData();
  Status AddWeights(const ir::Graph& block, const std::string& name);
  Status AddActivation(const ir::Graph& block, const std::string& name);
  Status AddTrained(const ir::Graph& block, const std::string& name);
  Result<at::Tensor> Error(std::span<const int64_t> picked, bool drop);
  void Update(int64_t iteration, std::span<const at::Tensor> gradients);

  const ReconstructData& data_;
  const ReconstructOptions& options_;
  std::mt19937_64 random_;
  std::unique_ptr<TorchModule> module_;
  std::vector<at::Tensor> inputs_, float_inputs_, targets_, importance_;
  std::vector<Weights> weights_;
  std::vector<Activation> activations_;
  std::vector<Trained> trained_;
  bool soft_ = false;  // weights between their neighbours
  double drop_ = 0;    // in this run
};

Status Reconstruction::AddWeights(const ir::Graph& block, const std::string& name) {
  Weights w;
  SLIPWAY_ASSIGN_OR_RETURN(w.pair, FindPair(block, name));
  const ir::Node& q = *w.pair.quantize;
  if (!q.constant_input(0) || q.constant_input(0)->dtype() != DType::kFloat32)
    return InvalidArgument("reconstruction: what " + q.Describe() +
                           " rounds is no float32 constant");
  const auto& options = module_->options();
  const at::Tensor value = ToArray(q.constant_input(0)->Aligned(), options),
                   scale = Spread(ToArray(q.constant_input(1)->Aligned(), options), value,
                                  w.pair.params),
                   zero = q.constant_input(2)
                              ? Spread(ToArray(q.constant_input(2)->Aligned(), options), value,
                                       w.pair.params)
                              : at::zeros({}, options);
  Roundings& r = w.roundings;
  r.scale = scale.expand_as(value).contiguous();
  w.zero = zero.expand_as(value).contiguous();
  r.lo = w.pair.params.range.lo - w.zero;
  r.hi = w.pair.params.range.hi - w.zero;
  if (options_.keep_zeros) {
    const at::Tensor zeros = value == 0;
    r.lo = at::where(zeros, at::zeros_like(value), r.lo);
    r.hi = at::where(zeros, at::zeros_like(value), r.hi);
  }
  const at::Tensor v = value / r.scale;
  r.base = at::floor(v);
  r.alpha = InverseRectifiedSigmoid(v - r.base);
  r.m = at::zeros_like(r.alpha);
  r.v = at::zeros_like(r.alpha);
  w.soft = at::empty_like(r.alpha).requires_grad_(true);
  weights_.push_back(std::move(w));
  return OkStatus();
}

Status Reconstruction::AddActivation(const ir::Graph& block, const std::string& name) {
  Activation a;
  SLIPWAY_ASSIGN_OR_RETURN(a.pair, FindPair(block, name));
  const Pair& pair = a.pair;
  const ir::Node& q = *pair.quantize;
  if (q.constant_input(1)->count() != 1 ||
      (q.constant_input(2) && q.constant_input(2)->count() != 1))
    return InvalidArgument("reconstruction: " + q.Describe() + " has more than one scale");
  const double zero = q.constant_input(2) ? q.constant_input(2)->ToDoubles()[0] : 0;
  a.codes = {static_cast<float>(pair.params.range.lo - zero),
             static_cast<float>(pair.params.range.hi - zero)};
  a.scale =
      ToArray(q.constant_input(1)->Aligned(), module_->options()).reshape({}).requires_grad_(true);
  a.least = a.scale.item<double>() * 1e-3;
  if (!(a.least > 0))
    return InvalidArgument("reconstruction: the scale of " + q.Describe() + " is not positive");
  a.adam.emplace(a.scale.detach());
  activations_.push_back(std::move(a));
  return OkStatus();
}

Status Reconstruction::AddTrained(const ir::Graph& block, const std::string& name) {
  Trained t;
  t.value = block.FindValue(name);
  if (!t.value || !t.value->is_constant() || t.value->dtype() != DType::kFloat32)
    return InvalidArgument("reconstruction: '" + name + "' is no float32 constant of the block");
  t.given = module_->Constant(t.value);
  if (!t.given.defined())
    return InvalidArgument("reconstruction: nothing in the block reads '" + name + "'");
  t.array = t.given.clone().contiguous().requires_grad_(true);
  if (t.given.dim() >= 2) t.open = (t.given != 0).to(t.given.scalar_type());
  t.rate = options_.weight_rate * std::sqrt(t.given.square().mean().item<double>());
  if (!std::isfinite(t.rate))
    return InvalidArgument("reconstruction: '" + name + "' is not finite");
  t.adam.emplace(t.given);
  module_->SetConstant(t.value, t.array);
  trained_.push_back(std::move(t));
  return OkStatus();
}

void Reconstruction::GiveUp() {
  const at::NoGradGuard guard;
  for (Trained& t : trained_) t.array.detach().copy_(t.given);
}

Status Reconstruction::PrepareData() {
  const auto wrap = [&](const std::vector<ir::Tensor>& from, size_t count, const char* what,
                        std::vector<at::Tensor>* to) -> Status {
    if (from.size() != count)
      return InvalidArgument("reconstruction: " + std::to_string(from.size()) + " " + what +
                             " for " + std::to_string(count));
    for (const ir::Tensor& t : from) {
      if (t.dims().rank() > 0 && t.dims()[0] == data_.samples && to != &targets_ &&
          !IsFloating(t.dtype())) {  // of the graph: indices, masks
        to->push_back(ToArray(t.Aligned(), at::TensorOptions(at::kFloat)));
        continue;
      }
      if (t.dtype() != DType::kFloat32 || t.dims().rank() < 1 || t.dims()[0] != data_.samples)
        return InvalidArgument(std::string("reconstruction: ") + what + " of " + t.Describe() +
                               " for " + std::to_string(data_.samples) + " samples");
      const std::vector<int64_t> shape(t.dims().begin(), t.dims().end());
      to->push_back(at::from_blob(const_cast<uint8_t*>(t.bytes().data()), shape, at::kFloat));
    }
    return OkStatus();
  };
  const ir::Graph& block = module_->graph();
  if (data_.samples < 1) return InvalidArgument("reconstruction: no samples");
  SLIPWAY_RETURN_IF_ERROR(wrap(data_.inputs, block.inputs().size(), "inputs", &inputs_));
  SLIPWAY_RETURN_IF_ERROR(wrap(data_.targets, block.outputs().size(), "targets", &targets_));
  if (!data_.float_inputs.empty())
    SLIPWAY_RETURN_IF_ERROR(
        wrap(data_.float_inputs, block.inputs().size(), "float inputs", &float_inputs_));
  if (!data_.importance.empty())
    SLIPWAY_RETURN_IF_ERROR(
        wrap(data_.importance, block.outputs().size(), "importances", &importance_));
  return OkStatus();
}

Status Reconstruction::Prepare(const ir::Graph& block, std::span<const std::string> rounding,
                               std::span<const std::string> scales) {
  if (options_.iterations < 0 || options_.batch < 1)
    return InvalidArgument("reconstruction: iterations or batch");
  SLIPWAY_ASSIGN_OR_RETURN(module_, TorchModule::Make(block, {}));
  SLIPWAY_RETURN_IF_ERROR(PrepareData());
  for (const std::string& name : rounding) SLIPWAY_RETURN_IF_ERROR(AddWeights(block, name));
  for (const std::string& name : scales) SLIPWAY_RETURN_IF_ERROR(AddActivation(block, name));
  for (const std::string& name : options_.weights) SLIPWAY_RETURN_IF_ERROR(AddTrained(block, name));
  // The Dequantize node of a pair makes both steps, of what was given to the Quantize node.
  const auto same = [](const at::Tensor& x) { return x; };
  for (Weights& w : weights_) {
    module_->Replace(w.pair.quantize, same);
    module_->Replace(w.pair.dequantize, [this, &w](const at::Tensor&) {
      return soft_ ? w.soft : w.Codes() * w.roundings.scale;
    });
  }
  for (Activation& a : activations_) {
    module_->Replace(a.pair.quantize, same);
    module_->Replace(a.pair.dequantize, [this, &a](const at::Tensor& x) {
      return QuantizeStep(x, a.scale, a.codes, drop_, static_cast<uint32_t>(random_()));
    });
  }
  return OkStatus();
}

// The squared error of these samples: summed over channels (dimension 1; the last of a sequence),
// mean over the rest.
Result<at::Tensor> Reconstruction::Error(std::span<const int64_t> picked, bool drop) {
  const auto pick = [&](const at::Tensor& from, const at::Tensor& mixed = {}, uint32_t key = 0) {
    return PickSamples(from, picked.data(), static_cast<int64_t>(picked.size()), mixed,
                       mixed.defined() ? drop_ : 0, key);
  };
  drop_ = drop ? options_.drop : 0;
  std::vector<at::Tensor> in;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (drop_ > 0 && !float_inputs_.empty())
      in.push_back(pick(inputs_[i], float_inputs_[i], static_cast<uint32_t>(random_())));
    else
      in.push_back(pick(inputs_[i]));
  }
  SLIPWAY_ASSIGN_OR_RETURN(const auto out, module_->RunArrays(in));
  at::Tensor sum;
  for (size_t i = 0; i < out.size(); ++i) {
    at::Tensor want = pick(targets_[i]), importance;
    if (out[i].sizes() != want.sizes())
      return InvalidArgument("reconstruction: output " + module_->graph().outputs()[i]->name() +
                             " has other extents than its target");
    if (!importance_.empty() && importance_[i].sizes() != targets_[i].sizes())
      return InvalidArgument("reconstruction: the importance of output " +
                             module_->graph().outputs()[i]->name() +
                             " has other extents than its target");
    // In the output's order of elements.
    const auto format = out[i].suggest_memory_format();
    want = want.contiguous(format);
    if (!importance_.empty()) importance = pick(importance_[i]).contiguous(format);
    const int64_t channels = want.dim() == 3 ? want.size(2) : want.dim() > 1 ? want.size(1) : 1;
    const at::Tensor one = SquaredError(
        out[i], want, importance,
        static_cast<double>(channels) / static_cast<double>(std::max<int64_t>(1, want.numel())));
    sum = sum.defined() ? sum + one : one;
  }
  return sum;
}

Result<double> Reconstruction::Loss() {
  const at::NoGradGuard guard;
  soft_ = false;
  double total = 0;
  for (int64_t begin = 0; begin < data_.samples; begin += options_.batch) {
    const int64_t end = std::min(data_.samples, begin + options_.batch);
    std::vector<int64_t> picked(static_cast<size_t>(end - begin));
    std::iota(picked.begin(), picked.end(), begin);
    SLIPWAY_ASSIGN_OR_RETURN(const at::Tensor error, Error(picked, false));
    total += error.item<double>() * static_cast<double>(end - begin);
  }
  return total / static_cast<double>(data_.samples);
}

void Reconstruction::Update(int64_t iteration, std::span<const at::Tensor> gradients) {
  const at::NoGradGuard guard;
  const double at = static_cast<double>(iteration) / static_cast<double>(options_.iterations);
  size_t next = 0;
  for (Weights& w : weights_) {
    const at::Tensor g = gradients[next++];
    if (!g.defined()) continue;
    const double left = 1 - (at - options_.warm_up) / (1 - options_.warm_up);
    const double beta = at < options_.warm_up
                            ? 0
                            : options_.beta_low + (options_.beta_high - options_.beta_low) * left;
    LearnRoundings(w.roundings, g, options_.rounding_rate, options_.regularisation, beta);
  }
  for (Activation& a : activations_) {
    const at::Tensor g = gradients[next++];
    if (!g.defined()) continue;
    at::Tensor scale = a.scale.detach();
    a.adam->Update(scale, g, options_.scale_rate * 0.5 * (1 + std::cos(M_PI * at)));
    scale.clamp_min_(a.least);
  }
  for (Trained& t : trained_) {
    at::Tensor g = gradients[next++];
    if (!g.defined()) continue;
    if (t.open.defined()) g = g * t.open;
    at::Tensor array = t.array.detach();
    t.adam->Update(array, g, t.rate * 0.5 * (1 + std::cos(M_PI * at)));
  }
}

Status Reconstruction::Learn(const std::function<bool(int64_t)>& progress) {
  std::vector<at::Tensor> learned;
  for (const Weights& w : weights_) learned.push_back(w.soft);
  for (const Activation& a : activations_) learned.push_back(a.scale);
  for (const Trained& t : trained_) learned.push_back(t.array);
  if (learned.empty()) return OkStatus();
  std::vector<int64_t> order(static_cast<size_t>(data_.samples));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  const int64_t batch = std::min(options_.batch, data_.samples);
  const at::AutoGradMode grad(true);
  for (int64_t iteration = 0; iteration < options_.iterations; ++iteration) {
    for (int64_t i = 0; i < batch; ++i)  // without repetition
      std::swap(
          order[static_cast<size_t>(i)],
          order[static_cast<size_t>(i) + random_() % static_cast<uint64_t>(data_.samples - i)]);
    const std::span<const int64_t> picked(order.data(), static_cast<size_t>(batch));
    soft_ = true;
    {
      const at::NoGradGuard fixed;
      for (Weights& w : weights_) {
        at::Tensor to = w.soft.detach();
        SoftRound(w.roundings, to);
      }
    }
    SLIPWAY_ASSIGN_OR_RETURN(const at::Tensor error, Error(picked, true));
    try {
      Update(iteration,
             torch::autograd::grad({error}, learned, {}, false, false, /*allow_unused=*/true));
    } catch (const std::exception& e) {
      const std::string_view text = e.what();
      return Internal("reconstruction: " + std::string(text.substr(0, text.find('\n'))));
    }
    if (progress && !progress(iteration + 1)) return Unavailable("reconstruction was stopped");
  }
  return OkStatus();
}

Status Reconstruction::Collect(ReconstructResult* result) const {
  for (const Weights& w : weights_) {
    const at::Tensor codes = w.Codes() + w.zero;
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor host,
                             ToHost(codes, module_->TypeOf(w.pair.quantize->output())));
    result->codes.emplace_back(w.pair.quantize->name(), std::move(host));
  }
  for (const Activation& a : activations_)
    result->scales.emplace_back(a.pair.quantize->name(), a.scale.item<float>());
  for (const Trained& t : trained_) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor host, ToHost(t.array.detach(), DType::kFloat32));
    result->weights.emplace_back(t.value->name(), std::move(host));
  }
  return OkStatus();
}

}  // namespace

Result<ReconstructResult> ReconstructBlock(const ir::Graph& block,
                                           std::span<const std::string> rounding,
                                           std::span<const std::string> scales,
                                           const ReconstructData& data,
                                           const ReconstructOptions& options,
                                           const std::function<bool(int64_t)>& progress) {
  Reconstruction r(data, options);
  ReconstructResult result;
  SLIPWAY_RETURN_IF_ERROR(r.Prepare(block, rounding, scales));
  SLIPWAY_ASSIGN_OR_RETURN(result.loss_before, r.Loss());
  const auto begin = std::chrono::steady_clock::now();
  SLIPWAY_RETURN_IF_ERROR(r.Learn(progress));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  SLIPWAY_ASSIGN_OR_RETURN(result.loss_after, r.Loss());
  if (r.trains() && !(result.loss_after < result.loss_before)) {
    r.GiveUp();
    SLIPWAY_ASSIGN_OR_RETURN(result.loss_after, r.Loss());
  }
  SLIPWAY_RETURN_IF_ERROR(r.Collect(&result));
  return result;
}

}  // namespace slipway::learn
