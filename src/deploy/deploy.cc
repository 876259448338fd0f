#include "deploy/deploy.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/folder.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "deploy/device_session.h"
#include "deploy/emulated.h"
#include "deploy/evaluate.h"
#include "deploy/export_model.h"
#include "deploy/model_io.h"
#include "deploy/parity.h"
#include "deploy/quantize_json.h"
#include "deploy/stages.h"
#include "device/host_facts.h"
#include "model/frontends/onnx/export.h"
#include "model/ir/stats.h"

namespace slipway::deploy {
namespace {

namespace fs = std::filesystem;
using compiler::Platform;

// Hits of one model on the evaluation samples, one bit each; kept as text between runs.
struct Hits {
  std::vector<bool> top1;
  double Rate(size_t n) const {
    n = std::min(n, top1.size());
    if (n == 0) return 0;
    return static_cast<double>(
               std::count(top1.begin(), top1.begin() + static_cast<std::ptrdiff_t>(n), true)) /
           static_cast<double>(n);
  }
  std::string ToText() const {
    std::string s;
    for (bool hit : top1) s += hit ? '1' : '0';
    return s;
  }
  static Hits FromText(const std::string& s) {
    Hits h;
    for (char c : s) h.top1.push_back(c == '1');
    return h;
  }
};

std::vector<std::string> Names(const auto& inputs) {
  std::vector<std::string> names;
  for (const auto& input : inputs) names.push_back(input.name);
  return names;
}

class Road {
 public:
  explicit Road(const DeployOptions& options)
      : o_(options), stages_(options.folder + "/.stages"), pool_({.threads = 0}) {}

  Result<DeployOutcome> Run();

 private:
  Status Open();
  Status FloatBaseline(DeployOutcome& outcome);
  Status RunPlatform(const Platform& platform, PlatformOutcome& out);
  // Whether the platform gets another graph than the float one.
  bool Quantizes(const Platform& platform) const {
    return platform.has_scheme || IsWeightOnly(o_.quantize.algorithm) ||
           o_.quantize.sparsity.given();
  }
  Status Quantize(const Platform& platform, PlatformOutcome& out,
                  std::shared_ptr<const ir::Graph>& graph);
  Status QuantizeAnew(const Platform& platform, const std::string& work, PlatformOutcome& out,
                      const std::string& path);
  Status Export(const Platform& platform, const ir::Graph& graph, PlatformOutcome& out);
  Status Verify(const Platform& platform, PlatformOutcome& out);
  Status Accuracy(const Platform& platform, PlatformOutcome& out);
  Status Measure(const Platform& platform, PlatformOutcome& out);
  static Result<RunFunction> OnDevice(const Platform& platform, const std::string& package);
  Result<Hits> HitsOnDevice(const Platform& platform, const std::string& package);
  void Report(const std::string& platform, const std::string& stage, int64_t done = 0,
              int64_t total = 0) const {
    if (o_.progress) o_.progress(platform, stage, done, total);
  }
  int64_t EvaluationSamples() const {
    return o_.evaluation_samples > 0 ? std::min(o_.evaluation_samples, evaluation_->size())
                                     : evaluation_->size();
  }
  EvaluateOptions EvaluationOptions(const std::string& platform, bool limited);

  const DeployOptions& o_;
  Stages stages_;
  ThreadPool pool_;
  std::vector<Platform> platforms_;
  std::shared_ptr<const ir::Graph> graph_;
  std::string model_hash_, model_key_, calibration_hash_, evaluation_hash_;
  std::unique_ptr<data::Dataset> calibration_, evaluation_;
  Hits float_hits_;
  std::unique_ptr<perfdb::Store> store_;
};

Status Road::Open() {
  std::error_code error;
  fs::create_directories(o_.folder, error);
  if (error || !fs::is_directory(o_.folder)) {
    return InvalidArgument("cannot make the folder '" + o_.folder + "'" +
                           (error ? ": " + error.message() : "") + "; give -o a writable place");
  }
  SLIPWAY_RETURN_IF_ERROR(WriteFile(o_.folder + "/.writable", std::string_view("")));
  fs::remove(o_.folder + "/.writable", error);
  if (o_.platforms.empty())
    return InvalidArgument("no platforms; give --platforms a list (see `slipway platforms`)");
  SLIPWAY_RETURN_IF_ERROR(CheckRequest(o_.quantize, !o_.evaluation.empty()));
  bool integers = false;
  for (const std::string& name : o_.platforms) {
    SLIPWAY_ASSIGN_OR_RETURN(Platform p, GetPlatform(name));
    integers |= Quantizes(p);
    platforms_.push_back(std::move(p));
  }
  ModelOptions model = o_.read;
  for (const auto& [name, dims] : o_.shapes)
    model.input_shapes[name] = SymShape(dims.begin(), dims.end());
  model.float_io = true;
  SLIPWAY_ASSIGN_OR_RETURN(auto graph, LoadModel(o_.model, model));
  graph_ = std::move(graph);
  SLIPWAY_ASSIGN_OR_RETURN(model_hash_, ModelHash(o_.model, model));
  model_key_ = model_hash_;  // what stages depend on: the shapes too
  for (const auto& [name, shape] : model.input_shapes) model_key_ += " " + name + ToString(shape);
  if (integers && o_.calibration.empty())
    return InvalidArgument("a platform with integers needs calibration data; give --calib");
  if (!o_.calibration.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(calibration_, data::Dataset::Open(o_.calibration, o_.data));
    SLIPWAY_RETURN_IF_ERROR(FeedFor(*graph_, *calibration_, o_.quantize.batch).status());
    SLIPWAY_ASSIGN_OR_RETURN(calibration_hash_, calibration_->ContentHash());
  }
  if (!o_.evaluation.empty()) {
    data::DatasetOptions labelled = o_.data;
    labelled.need_labels = true;
    SLIPWAY_ASSIGN_OR_RETURN(evaluation_, data::Dataset::Open(o_.evaluation, labelled));
    SLIPWAY_RETURN_IF_ERROR(FeedFor(*graph_, *evaluation_, o_.quantize.batch).status());
    SLIPWAY_ASSIGN_OR_RETURN(evaluation_hash_, evaluation_->ContentHash());
  }
  if (o_.quantize.max_drop >= 0 && !evaluation_)
    return InvalidArgument("--max-drop needs labelled data to measure the drop on; give --eval");
  if (o_.record) {
    SLIPWAY_ASSIGN_OR_RETURN(store_, perfdb::Store::Open());
  }
  return OkStatus();
}

EvaluateOptions Road::EvaluationOptions(const std::string& platform, bool limited) {
  EvaluateOptions e;
  e.samples = EvaluationSamples();
  e.pool = &pool_;
  if (limited) e.max_seconds = o_.slow_seconds;
  e.progress = [this, platform](int64_t done, int64_t total) {
    Report(platform, "evaluating", done, total);
  };
  return e;
}

Status Road::FloatBaseline(DeployOutcome& outcome) {
  if (!evaluation_) return OkStatus();
  std::string key = Stages::Key("float", {model_key_, evaluation_hash_,
                                          std::to_string(EvaluationSamples()), ThisCpu().model});
  if (auto known = stages_.Load(key)) {
    float_hits_ = Hits::FromText(*known);
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(
        Runner runner, Runner::ForGraph(graph_, HostPlatform(), {.threads = pool_.threads()}));
    SLIPWAY_ASSIGN_OR_RETURN(Feed feed, FeedFor(*graph_, *evaluation_, o_.quantize.batch));
    SLIPWAY_ASSIGN_OR_RETURN(
        auto counter, Evaluate([&](const auto& in) { return runner.Run(in); }, *evaluation_, feed,
                               EvaluationOptions("float", false)));
    float_hits_.top1 = counter.top1_hits();
    SLIPWAY_RETURN_IF_ERROR(stages_.Store(key, float_hits_.ToText()));
  }
  outcome.evaluated = static_cast<int64_t>(float_hits_.top1.size());
  outcome.float_top1 = float_hits_.Rate(float_hits_.top1.size());
  return OkStatus();
}

Status Road::Quantize(const Platform& platform, PlatformOutcome& out,
                      std::shared_ptr<const ir::Graph>& graph) {
  const std::string path = o_.folder + "/" + platform.name + ".qdq.onnx";
  SLIPWAY_ASSIGN_OR_RETURN(const std::string scheme, ReadFile(platform.source));
  std::vector<std::string> parts = {model_key_, calibration_hash_, scheme, RequestKey(o_.quantize)};
  const bool climbs = o_.quantize.algorithm == "auto";
  // What was measured on the way decides too.
  if (climbs || !o_.quantize.budget.empty()) {
    parts.insert(parts.end(), {evaluation_ ? evaluation_hash_ : "",
                               evaluation_ ? std::to_string(EvaluationSamples()) : "",
                               ThisCpu().model, std::to_string(o_.threads)});
  }
  const std::string key = Stages::Key("quantized", parts);
  const auto found = stages_.Load(key), facts = stages_.Load(key + ".json");
  const nlohmann::json known =
      nlohmann::json::parse(facts.value_or(""), nullptr, /*allow_exceptions=*/false);
  if (found && known.is_object()) {
    auto layers = LayerErrorsFromJson(known.value("layers", nlohmann::json()));
    if (known.contains("ladder")) out.ladder = LadderFromJson(known["ladder"]);
    if (known.contains("mixed")) out.mixed = MixedFromJson(known["mixed"]);
    const nlohmann::json choices = known.value("choices", nlohmann::json());
    const nlohmann::json notes = known.value("notes", nlohmann::json::array());
    for (const nlohmann::json& note : notes) {
      if (note.is_string()) out.notes.push_back(note);
    }
    SLIPWAY_RETURN_IF_ERROR(WriteFile(path, *found));
    auto loaded = LoadModel(path);
    // Anything damaged is made again.
    if (loaded.ok() && layers && choices.is_string() && climbs == out.ladder.has_value() &&
        o_.quantize.budget.empty() != out.mixed.has_value()) {
      graph = std::move(*loaded);
      out.layers = std::move(*layers);
      out.choices = choices;
      out.resumed.push_back("quantize");
      return OkStatus();
    }
    out.ladder.reset();
    out.mixed.reset();
    out.notes.clear();
  }
  const std::string work = o_.folder + "/.stages/" + key + ".work";
  SLIPWAY_RETURN_IF_ERROR(QuantizeAnew(platform, work, out, path));
  nlohmann::json made = {
      {"layers", ToJson(out.layers)}, {"choices", out.choices}, {"notes", out.notes}};
  if (out.ladder) made["ladder"] = ToJson(*out.ladder);
  if (out.mixed) made["mixed"] = ToJson(*out.mixed);
  SLIPWAY_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  SLIPWAY_RETURN_IF_ERROR(stages_.Store(key, bytes));
  SLIPWAY_RETURN_IF_ERROR(stages_.Store(
      key + ".json", made.dump(1, ' ', false, nlohmann::json::error_handler_t::replace)));
  std::error_code error;
  fs::remove_all(work, error);  // no longer of use
  // What was written is what is compiled: a later run that resumes gives the same package.
  SLIPWAY_ASSIGN_OR_RETURN(graph, LoadModel(path));
  return OkStatus();
}

Status Road::QuantizeAnew(const Platform& platform, const std::string& work, PlatformOutcome& out,
                          const std::string& path) {
  QuantizeRequest request = o_.quantize;
  if (!platform.has_scheme && !IsWeightOnly(request.algorithm)) {  // pruned only
    request = {.bits = "none",
               .samples = request.samples,
               .batch = request.batch,
               .seed = request.seed,
               .loss = request.loss,
               .sparsity = request.sparsity};
  }
  const std::string& algorithm = request.algorithm;
  if ((!algorithm.empty() && !IsWeightOnly(algorithm)) || request.sparsity.iterations > 0) {
    SLIPWAY_RETURN_IF_ERROR(MakeFolder(o_.folder + "/.stages"));
    request.work = work;
  }
  QuantizeInputs inputs;
  inputs.graph = graph_.get();
  inputs.calibration = calibration_.get();
  inputs.evaluation = evaluation_.get();
  inputs.evaluation_samples = o_.evaluation_samples;
  if (evaluation_) inputs.float_top1 = float_hits_.Rate(float_hits_.top1.size());
  inputs.pool = &pool_;
  inputs.threads = o_.threads;
  inputs.progress = [&](const std::string& stage, int64_t done, int64_t total) {
    Report(platform.name, stage, done, total);
  };
  SLIPWAY_ASSIGN_OR_RETURN(QuantizeOutcome made, RunQuantize(platform, request, inputs));
  onnx::ExportOptions to;
  to.opset = 21;
  to.own_quantization = !made.weights && made.model.quantized;
  SLIPWAY_RETURN_IF_ERROR(onnx::ExportOnnx(made.quantized(), path, to));
  out.choices = std::move(made.choices);
  out.ladder = std::move(made.ladder);
  out.mixed = std::move(made.mixed);
  out.notes = made.model.notes;
  if (!made.gate.ok()) out.notes.push_back(made.gate.message());
  if (made.sparse) {
    const quant::PruneReport& report = made.sparse->report;
    out.notes.push_back(std::to_string(report.layers.size()) + " layers are pruned to " +
                        made.sparse->pattern.ToString() + ": " + std::to_string(report.zeros()) +
                        " of " + std::to_string(report.weights()) + " weights are zero");
    const std::string warning = SparsityWarning(platform, made.sparse->pattern);
    if (!warning.empty()) out.notes.push_back(warning);
  }
  if (!made.weights && !made.model.quantized) return OkStatus();
  if (made.weights) {
    out.notes.push_back(std::to_string(made.weights->layers.size()) + " layers with weights of " +
                        std::to_string(made.weight_only_bits) + " bits: " +
                        std::to_string((made.weights->weight_bytes + 1023) / 1024) + " KiB to " +
                        std::to_string((made.weights->quantized_bytes + 1023) / 1024) + " KiB");
    return OkStatus();
  }
  Report(platform.name, "layer errors");
  SLIPWAY_ASSIGN_OR_RETURN(out.layers, Sensitivity(made.model, *calibration_, 16, &pool_));
  return OkStatus();
}

Status Road::Export(const Platform& platform, const ir::Graph& graph, PlatformOutcome& out) {
  if (platform.export_format.empty()) return OkStatus();
  Report(platform.name, "exporting");
  ExportRequest request;
  request.output = o_.folder + "/" + platform.name;
  request.stem = fs::path(o_.model).stem().string();
  request.platform = platform.name;
  auto files = ExportModel(graph, platform.export_format, request);
  if (!files.ok()) return files.status().With("export for the vendor's tool");
  out.exported = std::move(*files);
  return OkStatus();
}

Status Road::Verify(const Platform& platform, PlatformOutcome& out) {
  Report(platform.name, "verifying");
  SLIPWAY_ASSIGN_OR_RETURN(Runner oracle,
                           Runner::ForGraph(graph_, "interpreter", {.threads = pool_.threads()}));
  std::vector<std::vector<ir::Tensor>> inputs;
  const data::Dataset* data = evaluation_ ? evaluation_.get() : calibration_.get();
  if (data) {
    SLIPWAY_ASSIGN_OR_RETURN(Feed feed, FeedFor(*graph_, *data, 1));
    for (int64_t i = 0; i < std::min<int64_t>(2, data->size()); ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(auto set, LoadBatch(*data, feed, i, data->size(), nullptr, nullptr));
      inputs.push_back(std::move(set));
    }
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(auto random, MakeInputs(oracle.inputs(), {}, o_.shapes, true));
    inputs.push_back(std::move(random));
  }
  RunFunction run;
  std::shared_ptr<Runner> runner;
  if (platform.device == "local") {
    SLIPWAY_ASSIGN_OR_RETURN(Runner made, Runner::ForPackage(out.package, {}));
    runner = std::make_shared<Runner>(std::move(made));
    run = [runner](const auto& in) { return runner->Run(in); };
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(run, OnDevice(platform, out.package));
  }
  std::vector<std::string> names;
  for (const auto& port : oracle.outputs()) names.push_back(port.name);
  SLIPWAY_ASSIGN_OR_RETURN(
      Parity parity, Compare([&](const auto& in) { return oracle.Run(in); }, run, inputs, names));
  out.parity_error = parity.max_error;
  out.parity_db = parity.sqnr_db;
  const double most = Quantizes(platform)                ? std::numeric_limits<double>::infinity()
                      : platform.precision == "float32"  ? 1e-3
                      : platform.precision == "bfloat16" ? 5e-2
                      : platform.precision == "float16"  ? 2e-2
                                                         : std::numeric_limits<double>::infinity();
  if (parity.max_error > most) {
    return GateFailed("the package's output '" + parity.worst_output +
                      "' differs from the model's by " + std::to_string(100 * parity.max_error) +
                      " % of its range; docs/debug-accuracy.md says how to find the node");
  }
  return OkStatus();
}

// A run of the package there, of its own batch.
Result<RunFunction> Road::OnDevice(const Platform& platform, const std::string& package) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(package));
  return RunFunction([bytes = std::vector<uint8_t>(file->bytes().begin(), file->bytes().end()),
                      &platform](const std::vector<ir::Tensor>& in) {
    constexpr double kSeconds = 600;
    return RunOnDevice(bytes, platform, in, kSeconds);
  });
}

Result<Hits> Road::HitsOnDevice(const Platform& platform, const std::string& package) {
  // Emulation is slow: rows go over in growing portions until the time is spent.
  Hits hits;
  SLIPWAY_ASSIGN_OR_RETURN(Feed feed, FeedFor(*graph_, *evaluation_, 1));
  if (feed.whole) {  // there are no rows to hand over
    SLIPWAY_ASSIGN_OR_RETURN(const RunFunction run, OnDevice(platform, package));
    SLIPWAY_ASSIGN_OR_RETURN(const auto counter, Evaluate(run, *evaluation_, feed,
                                                          EvaluationOptions(platform.name, true)));
    hits.top1 = counter.top1_hits();
    return hits;
  }
  const auto start = std::chrono::steady_clock::now();
  data::AccuracyCounter counter;
  for (int64_t portion = 16; counter.n() < EvaluationSamples(); portion *= 2) {
    int64_t begin = counter.n(), count = std::min(portion, EvaluationSamples() - begin);
    feed.batch = count;
    feed.dynamic_batch = true;  // slipway-run cuts the rows into the package's batches
    std::vector<int64_t> labels;
    SLIPWAY_ASSIGN_OR_RETURN(const auto rows,
                             LoadBatch(*evaluation_, feed, begin, begin + count, &pool_, &labels));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor logits,
                             RunRowsOnDevice(package, platform, Names(feed.inputs), rows, 600));
    if (logits.dtype() != DType::kFloat32)
      return InvalidArgument("the model's first output is not float32 class scores");
    SLIPWAY_RETURN_IF_ERROR(
        counter.Add({logits.data<float>(), static_cast<size_t>(logits.count())}, labels));
    Report(platform.name, "evaluating", counter.n(), EvaluationSamples());
    std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    if (spent.count() * 3 > o_.slow_seconds) break;  // the next portion takes twice as long as this
  }
  hits.top1 = counter.top1_hits();
  return hits;
}

Status Road::Accuracy(const Platform& platform, PlatformOutcome& out) {
  if (!evaluation_) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(auto file, MappedFile::Open(out.package));
  std::string key = Stages::Key("accuracy", {ToHex(Sha256Of(file->bytes())), evaluation_hash_,
                                             std::to_string(EvaluationSamples()),
                                             std::to_string(o_.slow_seconds), ThisCpu().model});
  Hits hits;
  if (auto known = stages_.Load(key)) {
    hits = Hits::FromText(*known);
    out.resumed.push_back("evaluate");
  } else {
    if (platform.device == "local") {
      SLIPWAY_ASSIGN_OR_RETURN(Runner runner,
                               Runner::ForPackage(out.package, {.threads = pool_.threads()}));
      SLIPWAY_ASSIGN_OR_RETURN(Feed feed,
                               FeedFor(runner.inputs(), *evaluation_, o_.quantize.batch));
      SLIPWAY_ASSIGN_OR_RETURN(
          auto counter, Evaluate([&](const auto& in) { return runner.Run(in); }, *evaluation_, feed,
                                 EvaluationOptions(platform.name, true)));
      hits.top1 = counter.top1_hits();
    } else {
      SLIPWAY_ASSIGN_OR_RETURN(hits, HitsOnDevice(platform, out.package));
    }
    SLIPWAY_RETURN_IF_ERROR(stages_.Store(key, hits.ToText()));
  }
  size_t n = std::min(hits.top1.size(), float_hits_.top1.size());
  out.has_accuracy = n > 0;
  out.evaluated = static_cast<int64_t>(n);
  out.top1 = hits.Rate(n);
  out.drop = 100 * (float_hits_.Rate(n) - out.top1);
  std::vector<bool> before(float_hits_.top1.begin(),
                           float_hits_.top1.begin() + static_cast<std::ptrdiff_t>(n));
  std::vector<bool> after(hits.top1.begin(), hits.top1.begin() + static_cast<std::ptrdiff_t>(n));
  if (n > 0) {
    SLIPWAY_ASSIGN_OR_RETURN(data::Interval interval, data::PairedBootstrap(after, before));
    out.drop_low = 100 * interval.low;
    out.drop_high = 100 * interval.high;
  }
  out.gate_ok = o_.quantize.max_drop < 0 || out.drop <= o_.quantize.max_drop + 1e-9;
  if (store_) {
    perfdb::AccuracyRow row{model_hash_,   evaluation_hash_,   "",
                            platform.name, platform.precision, "top1",
                            out.top1,      out.evaluated,      device::UtcNow()};
    SLIPWAY_RETURN_IF_ERROR(store_->InsertAccuracy(row).status());
  }
  return OkStatus();
}

Status Road::Measure(const Platform& platform, PlatformOutcome& out) {
  Report(platform.name, "measuring");
  std::vector<Runner::Port> ports;
  std::vector<std::string> names;
  for (const ir::Value* v : graph_->inputs()) {
    ports.push_back({v->name(), v->type()});
    names.push_back(v->name());
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto inputs, MakeInputs(ports, {}, o_.shapes, true));
  BenchOptions options;
  options.session.threads = o_.threads;
  options.measure.max_seconds = 5;
  options.progress = [&](double f) {
    Report(platform.name, "measuring", static_cast<int64_t>(1000 * f), 1000);
  };
  SLIPWAY_ASSIGN_OR_RETURN(out.bench,
                           MeasurePackage(out.package, platform, inputs, names, options));
  out.peak_bytes = out.bench.peak_bytes;
  Sign(out.bench.nodes, out.placement);
  if (store_) {
    int64_t batch = !inputs.empty() && inputs[0].dims().rank() > 0 ? inputs[0].dims()[0] : 1;
    SLIPWAY_RETURN_IF_ERROR(
        RecordMeasurement(*store_, *graph_, platform, batch, o_.threads, out.bench).status());
  }
  return OkStatus();
}

Status Road::RunPlatform(const Platform& platform, PlatformOutcome& out) {
  // Over all that runs there. That it does not answer, the first run says.
  std::shared_ptr<DeviceSession> device;
  if (platform.device != "local") {
    if (auto opened = DeviceSession::Open(platform); opened.ok()) device = *opened;
  }
  std::shared_ptr<const ir::Graph> graph = graph_;
  if (Quantizes(platform)) SLIPWAY_RETURN_IF_ERROR(Quantize(platform, out, graph));
  // What the vendor's tool cannot hold is told at the end: the rest says what was lost with it.
  const Status exported = StaysFloat(o_.quantize) ? OkStatus() : Export(platform, *graph, out);
  Report(platform.name, "compiling");
  compiler::CompileOptions compile;
  compile.threads = o_.threads;
  CompiledModel compiled;
  const std::string weights = WeightsOf(o_.model, o_.read);
  if (o_.tune && TimedHere(platform)) {
    SLIPWAY_ASSIGN_OR_RETURN(auto store, perfdb::Store::Open());
    SLIPWAY_ASSIGN_OR_RETURN(Tuned tuned,
                             TuneAndPlace(
                                 *graph, platform, compile, {}, false, *store,
                                 [&](const std::string& stage, int64_t done, int64_t all) {
                                   Report(platform.name, stage, done, all);
                                 },
                                 o_.model, weights));
    compiled = std::move(tuned.placed.model);
    out.plans = std::move(tuned.placed.plans);
  } else {
    if (o_.tune)
      out.notes.push_back(
          "not tuned: its kernels do not run on this machine, estimates place them");
    SLIPWAY_ASSIGN_OR_RETURN(auto cost, CostModelFor(o_.costs, platform, o_.threads));
    compile.cost = cost.get();
    SLIPWAY_ASSIGN_OR_RETURN(compiled, CompileModel(*graph, platform, compile, o_.model, weights));
  }
  out.package = o_.folder + "/" + platform.name + ".slip";
  SLIPWAY_RETURN_IF_ERROR(WriteFile(out.package, compiled.bytes));
  out.size = compiled.bytes.size();
  out.peak_bytes = compiled.result.peak_bytes;
  out.own_node_share = compiled.result.own_node_share;
  out.own_mac_share = compiled.result.own_mac_share;
  out.placement = std::move(compiled.result.placement);
  SLIPWAY_RETURN_IF_ERROR(Verify(platform, out));
  SLIPWAY_RETURN_IF_ERROR(Accuracy(platform, out));
  if (!platform.simulated) SLIPWAY_RETURN_IF_ERROR(Measure(platform, out));
  return exported;
}

Result<DeployOutcome> Road::Run() {
  SLIPWAY_RETURN_IF_ERROR(Open());
  DeployOutcome outcome;
  outcome.model = o_.model;
  outcome.model_sha256 = model_hash_;
  outcome.max_drop = o_.quantize.max_drop;
  outcome.threads = o_.threads;
  if (calibration_)
    outcome.calibration_samples = CalibrationSamples(o_.quantize, calibration_->size());
  ir::GraphStats stats = ir::Stats(*graph_);
  outcome.parameters = stats.parameters;
  auto macs = stats.macs.Evaluate([](std::string_view) { return std::optional<int64_t>(1); });
  outcome.macs = macs.ok() ? *macs : 0;
  SLIPWAY_RETURN_IF_ERROR(FloatBaseline(outcome));
  for (const Platform& platform : platforms_) {
    PlatformOutcome out;
    out.platform = platform.name;
    out.precision = platform.precision;
    out.emulated = platform.emulated;
    out.simulated = platform.simulated;
    out.status = RunPlatform(platform, out);
    outcome.platforms.push_back(std::move(out));
  }
  for (const PlatformOutcome& p : outcome.platforms) {
    if (!p.gate_ok) {
      std::string message = p.platform + ": the accuracy drop of " +
                            std::to_string(p.drop).substr(0, 5) + " points is over --max-drop";
      if (const quant::LayerError* worst = quant::WorstLayer(p.layers)) {
        message += "; layer '" + worst->node + "' hurts most (" +
                   std::to_string(worst->alone_db).substr(0, 5) + " dB signal to noise)";
      }
      outcome.status = GateFailed(message);
      break;
    }
    if (!p.status.ok() && outcome.status.ok()) outcome.status = p.status.With(p.platform);
  }
  return outcome;
}

}  // namespace

Result<DeployOutcome> Deploy(const DeployOptions& options) { return Road(options).Run(); }

}  // namespace slipway::deploy
