#include "deploy/quantize_model.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "deploy/model_io.h"
#include "deploy/runtime_evaluator.h"
#include "model/passes/pass.h"
#include "quant/schemes/quantize.h"
#include "quant/schemes/recurrent.h"

namespace slipway::deploy {

Result<std::vector<ir::Tensor>> AllSamples(const data::Dataset& data, const Feed& feed,
                                           int64_t samples, ThreadPool* pool,
                                           quant::WorkFolder& work) {
  if (feed.whole) {
    return Unsupported(
        "learning needs samples that are rows of a batch, which is the first dimension of every "
        "input; export the model with such a dimension, or quantize it without --algorithm");
  }
  const int64_t count = samples < feed.batch ? samples : samples / feed.batch * feed.batch;
  Feed part = feed;
  part.batch = std::min(count, feed.batch);
  part.dynamic_batch = true;
  std::vector<ir::Tensor> all;
  std::vector<std::unique_ptr<quant::WorkFolder::Writer>> writers;  // of float32 inputs
  for (const Feed::Input& input : feed.inputs) {
    Dims dims{count};
    for (int64_t d : input.dims) dims.push_back(d);
    all.emplace_back();
    writers.emplace_back();
    if (input.dtype == DType::kFloat32) {
      SLIPWAY_ASSIGN_OR_RETURN(writers.back(), work.NewTensor(""));
    } else {
      SLIPWAY_ASSIGN_OR_RETURN(all.back(), ir::Tensor::Allocate(input.dtype, dims));
    }
  }
  size_t done = 0;
  for (int64_t begin = 0; begin < count; begin += part.batch) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto batch,
                             LoadBatch(data, part, begin, begin + part.batch, pool, nullptr));
    for (size_t i = 0; i < batch.size(); ++i) {
      const auto bytes = batch[i].bytes();
      if (writers[i]) {
        SLIPWAY_RETURN_IF_ERROR(writers[i]->Append(bytes));
      } else {
        const size_t each = bytes.size() / static_cast<size_t>(part.batch);
        std::memcpy(all[i].mutable_data() + done * each, bytes.data(), bytes.size());
      }
    }
    done += static_cast<size_t>(part.batch);
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (!writers[i]) continue;
    Dims dims{count};
    for (int64_t d : feed.inputs[i].dims) dims.push_back(d);
    SLIPWAY_ASSIGN_OR_RETURN(const auto whole, writers[i]->Finish(dims));
    all[i] = *whole;
  }
  return all;
}

namespace {

Status Learn(QuantizedModel& model, const data::Dataset& calibration, const Feed& feed,
             int64_t samples, const QuantizeModelOptions& options) {
  SLIPWAY_ASSIGN_OR_RETURN(quant::ReconstructionOptions learn,
                           quant::MethodOptions(options.method));
  SLIPWAY_ASSIGN_OR_RETURN(learn::Engine* const engine, learn::GetEngine());
  SLIPWAY_ASSIGN_OR_RETURN(const auto work, quant::WorkFolder::Open(options.work));
  SLIPWAY_ASSIGN_OR_RETURN(const auto all,
                           AllSamples(calibration, feed, samples, options.pool, *work));
  learn.work = work.get();
  learn.fisher = options.fisher;
  if (options.pool) engine->SetThreads(options.pool->threads());
  learn.learn.batch = feed.batch;
  learn.learn.seed = options.seed;
  learn.learn.keep_zeros = options.keep_zeros;
  if (options.iterations > 0) {
    quant::SetIterations(options.iterations, &learn);
  }
  if (options.learning) {
    learn.progress = [&](const quant::Block& block, size_t index, size_t count, int64_t iteration) {
      return options.learning(block.name, static_cast<int64_t>(index), static_cast<int64_t>(count),
                              iteration);
    };
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      model.blocks, quant::Reconstruct(*model.original, *model.quantized, *engine, all, learn));
  for (const quant::BlockReport& b : model.blocks) {
    if (!b.kept.empty())
      model.notes.push_back("block '" + b.block.name + "' stays rounded to the nearest: " + b.kept);
  }
  return OkStatus();
}

// What the data bring, and the extremes of every float32 input besides.
quant::BatchSource Watched(quant::BatchSource data,
                           std::vector<std::pair<float, float>>* extremes) {
  return [data = std::move(data), extremes](int64_t i) -> Result<std::vector<ir::Tensor>> {
    SLIPWAY_ASSIGN_OR_RETURN(auto batch, data(i));
    for (size_t k = 0; k < batch.size() && k < extremes->size(); ++k) {
      if (batch[k].dtype() != DType::kFloat32) continue;
      auto& [low, high] = (*extremes)[k];
      const float* v = batch[k].data<float>();
      for (int64_t j = 0; j < batch[k].count(); ++j)
        low = std::min(low, v[j]), high = std::max(high, v[j]);
    }
    return batch;
  };
}

// Ranges that such data give may be wrong for what the network will see, and no error says so.
void NoteData(const Feed& feed, const std::vector<std::pair<float, float>>& extremes,
              int64_t samples, std::vector<std::string>* notes) {
  constexpr int64_t kFew = 8;
  for (size_t k = 0; k < extremes.size(); ++k) {
    if (extremes[k].first == extremes[k].second) {
      char value[32];
      std::snprintf(value, sizeof value, "%g", static_cast<double>(extremes[k].first));
      notes->push_back("input '" + feed.inputs[k].name + "' is " + value +
                       " everywhere in the calibration data, so that the ranges fit no other data; "
                       "give some 256 samples that look like what the network will see");
    }
  }
  if (samples < kFew) {
    notes->push_back("calibrated on " + std::to_string(samples) +
                     (samples == 1 ? " sample" : " samples") +
                     ", whose ranges may clip others; give some 256 that look like what the "
                     "network will see");
  }
}

// Layers inside of If, Loop and Scan are not quantized: their values are seen by nobody, and a
// branch may never run.
void NoteBodies(const ir::Graph& graph, std::vector<std::string>* notes) {
  int layers = 0;
  std::string first;
  const std::function<void(const ir::Graph&, const std::string&)> count =
      [&](const ir::Graph& g, const std::string& owner) {
        for (const auto& node : g.nodes()) {
          if (!owner.empty() && (quant::HasConstantWeights(*node) || quant::IsRecurrent(*node))) {
            if (layers++ == 0) first = node->name() + "' in " + owner;
          }
          for (const auto& [name, body] : node->subgraphs) count(*body, node->Describe());
        }
      };
  count(graph, "");
  if (layers > 0)
    notes->push_back(std::to_string(layers) + " layers in bodies of control flow stay in float ('" +
                     first + ")");
}

}  // namespace

Result<std::unique_ptr<ir::Graph>> FormToQuantize(const ir::Graph& graph,
                                                  const compiler::Scheme& scheme) {
  auto form = graph.Clone();
  SLIPWAY_RETURN_IF_ERROR(passes::RunPasses(*form, {.level = passes::Level::kFused}).status());
  quant::SplitActivations(*form);
  if (scheme.outputs) quant::SplitResiduals(*form);
  return form;
}

Result<QuantizedModel> QuantizeModel(const ir::Graph& graph, const compiler::Scheme& scheme,
                                     const data::Dataset& calibration,
                                     const QuantizeModelOptions& options) {
  SLIPWAY_ASSIGN_OR_RETURN(Feed feed, FeedFor(graph, calibration, options.batch));
  QuantizedModel model;
  SLIPWAY_ASSIGN_OR_RETURN(model.original, FormToQuantize(graph, scheme));
  int64_t total = options.calibration_samples > 0
                      ? std::min(options.calibration_samples, calibration.size())
                      : calibration.size();
  std::vector<std::pair<float, float>> extremes(feed.inputs.size(), {INFINITY, -INFINITY});
  const quant::BatchSource batches =
      Watched(CalibrationBatches(calibration, feed, total, options.pool), &extremes);
  SLIPWAY_RETURN_IF_ERROR(
      AdjustFloat(*model.original, batches, options.adjust,
                  options.weight_bits > 0 ? options.weight_bits : scheme.weights.bits,
                  options.activation_bits > 0 ? options.activation_bits : scheme.activations.bits,
                  options.pool, &model.adjusted));
  NoteBodies(*model.original, &model.notes);
  model.quantized = model.original->Clone();
  quant::QuantizeOptions quantize{.keep_float = options.keep_float};
  const int end_bits = scheme.end_bits > 0 ? scheme.end_bits : scheme.weights.bits;
  if (scheme.end_bits > 0) quant::KeepEnds(*model.original, end_bits, &quantize);
  if (options.weight_bits > 0 || options.activation_bits > 0) {
    quant::QuantizeOptions ends;
    quant::KeepEnds(*model.original, end_bits, &ends);
    for (const auto& node : model.original->nodes()) {
      if (options.weight_bits > 0 && quant::HasConstantWeights(*node) &&
          !ends.weight_bits.contains(node->name()))
        quantize.weight_bits[node->name()] = options.weight_bits;
      // Few bits are asked of each recurrent layer by its name.
      if (options.weight_bits > 0 && quant::IsRecurrent(*node))
        quantize.weight_bits[node->name()] = options.weight_bits < 4 ? 8 : options.weight_bits;
    }
    for (const std::string& name : quant::ValuesToObserve(*model.original, scheme, quantize)) {
      if (options.activation_bits > 0 && !ends.activation_bits.contains(name))
        quantize.activation_bits[name] = options.activation_bits;
    }
  }
  const auto unknown = [](const std::string& name, const std::string& what) {
    return InvalidArgument("there is no node '" + name + "' to " + what +
                           "; `slipway inspect --platform` lists the fused nodes");
  };
  for (const std::string& name : options.keep_float) {
    if (!model.original->FindNode(name)) return unknown(name, "keep in float");
  }
  std::map<std::string, int> own_bits;
  for (const auto& [name, bits] : options.layer_bits) {
    const ir::Node* node = model.original->FindNode(name);
    if (!node || !(quant::HasConstantWeights(*node) || quant::IsRecurrent(*node)))
      return unknown(name, "give bits of its own");
    quantize.weight_bits[name] = bits.weights;
    if (quant::IsRecurrent(*node)) continue;  // it reads floats
    // Where layers share what they read, the widest decides.
    int& activations = own_bits[node->input(0)->name()];
    activations = std::max(activations, bits.activations);
  }
  for (const auto& [name, bits] : own_bits) quantize.activation_bits[name] = bits;
  model.quantized_nodes =
      static_cast<int>(quant::QuantizedNodes(*model.original, scheme, quantize).size());
  for (const quant::RecurrentLayer& layer :
       quant::RecurrentLayers(*model.original, scheme, quantize)) {
    if (layer.kept.empty()) {
      model.recurrent.push_back({layer.node->name(), layer.bits});
    } else {
      model.notes.push_back("recurrent layer '" + layer.node->name() +
                            "' stays float: " + layer.kept);
    }
  }
  auto make = [&](const ir::Graph& g) {
    std::string why;
    auto evaluator =
        FastestEvaluator(g, quant::ValuesToObserve(g, scheme, quantize), options.pool, &why);
    if (!why.empty()) model.notes.push_back("calibrated by the interpreter: " + why);
    return evaluator;
  };
  auto progress = [&](int64_t batches) {
    if (options.progress) options.progress(std::min(total, batches * feed.batch), total);
  };
  SLIPWAY_RETURN_IF_ERROR(
      quant::Quantize(*model.quantized, scheme, make, batches, quantize, progress, options.pool));
  NoteData(feed, extremes, total, &model.notes);
  if (!options.method.empty())
    SLIPWAY_RETURN_IF_ERROR(Learn(model, calibration, feed, total, options));
  SLIPWAY_RETURN_IF_ERROR(AdjustQuantized(*model.original, *model.quantized, batches,
                                          options.adjust, options.pool, &model.adjusted));
  return model;
}

int64_t WeightBytes(const ir::Graph& graph) {
  int64_t bits = 0;
  for (const auto& v : graph.values()) {
    if (!v->is_constant() || v->uses().empty()) continue;
    const ir::Use use = v->uses()[0];
    const bool codes = use.index == 0 && use.node->IsSlipway("Dequantize");
    bits += v->constant()->count() *
            (codes ? use.node->attributes.Int("bits", 8) : DTypeBits(v->dtype()));
  }
  return (bits + 7) / 8;
}

std::string IntegerShareText(const QuantizedModel& model) {
  std::string text = std::to_string(model.quantized_nodes) + " nodes on integers";
  std::map<int, int> layers;  // by bits
  for (const RecurrentWeights& r : model.recurrent) ++layers[r.bits];
  for (const auto& [bits, count] : layers) {
    text += ", " + std::to_string(count) + (count == 1 ? " recurrent layer" : " recurrent layers") +
            " with weights of " + std::to_string(bits) + " bits";
  }
  return text;
}

double FloatShare(const QuantizedModel& model) {
  int layers = 0, in_float = 0;
  for (const auto& node : model.original->nodes()) {
    const bool recurrent = quant::IsRecurrent(*node);
    if (!recurrent && !quant::HasConstantWeights(*node)) continue;
    ++layers;
    const ir::Node* now = model.quantized->FindNode(node->name());
    in_float += recurrent ? std::none_of(model.recurrent.begin(), model.recurrent.end(),
                                         [&](const auto& r) { return r.node == node->name(); })
                          : now && quant::HasConstantWeights(*now);
  }
  return layers > 0 ? static_cast<double>(in_float) / layers : 0;
}

Result<std::vector<quant::LayerError>> Sensitivity(const QuantizedModel& model,
                                                   const data::Dataset& data, int64_t samples,
                                                   ThreadPool* pool) {
  SLIPWAY_ASSIGN_OR_RETURN(Feed feed, FeedFor(*model.original, data, samples));
  return quant::LayerErrors(*model.original, *model.quantized,
                            CalibrationBatches(data, feed, samples, pool), pool);
}

Result<std::vector<quant::LayerDiagnosis>> Diagnosis(const QuantizedModel& model,
                                                     const data::Dataset& data, int64_t samples,
                                                     ThreadPool* pool) {
  SLIPWAY_ASSIGN_OR_RETURN(Feed feed, FeedFor(*model.original, data, samples));
  return quant::Diagnose(*model.original, *model.quantized,
                         CalibrationBatches(data, feed, samples, pool), {}, pool);
}

}  // namespace slipway::deploy
