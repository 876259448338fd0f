#include "cli/cli.h"
#include "deploy/evaluate.h"
#include "deploy/runner.h"
#include "report/progress.h"

namespace slipway::cli {
namespace {

struct Options {
  std::string model, platform, data, metric = "top1", preprocess;
  int64_t samples = 0, first = 0, step = 1, batch = 32;
  int threads = 0;
  ModelFlags read;
};

Status Execute(const Options& o, Context& context) {
  data::DatasetOptions data_options;
  data_options.need_labels = true;
  data_options.first = o.first;
  data_options.step = o.step;
  if (!o.preprocess.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(data_options.preprocess, data::ReadPreprocess(o.preprocess));
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto dataset, data::Dataset::Open(o.data, data_options));
  ThreadPool pool({.threads = o.threads});
  deploy::SessionOptions session{.threads = pool.threads()};
  SLIPWAY_ASSIGN_OR_RETURN(deploy::Runner runner, [&]() -> Result<deploy::Runner> {
    SLIPWAY_ASSIGN_OR_RETURN(deploy::ModelOptions read, o.read.Options());
    if (deploy::IsPackage(o.model)) {
      SLIPWAY_RETURN_IF_ERROR(deploy::CheckPackageOptions(o.model, read));
      return deploy::Runner::OnDevice(o.model, o.platform, session);
    }
    read.float_io = true;
    SLIPWAY_ASSIGN_OR_RETURN(auto graph, deploy::LoadModel(o.model, read));
    return deploy::Runner::OnDevice(std::shared_ptr<const ir::Graph>(std::move(graph)),
                                    o.platform.empty() ? deploy::HostPlatform() : o.platform,
                                    session);
  }());
  SLIPWAY_ASSIGN_OR_RETURN(deploy::Feed feed, deploy::FeedFor(runner.inputs(), *dataset, o.batch));
  StageProgress progress("evaluating", context);
  deploy::EvaluateOptions options;
  options.samples = o.samples;
  options.pool = &pool;
  options.progress = [&](int64_t done, int64_t total) { progress.Update(done, total); };
  SLIPWAY_ASSIGN_OR_RETURN(
      auto counter,
      deploy::Evaluate([&](const auto& in) { return runner.Run(in); }, *dataset, feed, options));
  progress.Done();
  double value = o.metric == "top5" ? counter.top5() : counter.top1();
  auto interval =
      data::WilsonInterval(std::llround(value * static_cast<double>(counter.n())), counter.n());
  context.Print(o.metric + " " + Fixed(100 * value, 2) + " % on " + std::to_string(counter.n()) +
                    " samples (95 % interval " + Fixed(100 * interval.low, 2) + " to " +
                    Fixed(100 * interval.high, 2) + ")",
                {{"metric", o.metric},
                 {"value", value},
                 {"n", counter.n()},
                 {"low", interval.low},
                 {"high", interval.high},
                 {"top1", counter.top1()},
                 {"top5", counter.top5()},
                 {"platform", runner.platform()}});
  return OkStatus();
}

}  // namespace

Action SetupEval(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->model, "a .slip package or a model file")->required();
  app.add_option("--data", o->data, "labelled data: folder, archive, .npz, IDX")->required();
  app.add_option("--metric", o->metric, "top1 or top5")->check(CLI::IsMember({"top1", "top5"}));
  app.add_option(
      "--platform", o->platform,
      "a platform, whose device runs it, or `interpreter` (default: the best here); for a "
      "package the one that it was compiled for");
  o->read.Declare(app);
  app.add_option("--samples", o->samples, "at most so many samples (0 = all)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--first", o->first, "index of the first sample")->check(CLI::NonNegativeNumber);
  app.add_option("--step", o->step, "take every so-manieth sample")->check(CLI::PositiveNumber);
  app.add_option("--batch", o->batch, "batch size when the model's is dynamic")
      ->check(CLI::PositiveNumber);
  app.add_option("--preprocess", o->preprocess,
                 "a preprocess.yaml, instead of the one beside the data");
  app.add_option("--threads", o->threads, "threads (0 = all)")->check(CLI::Range(0, 1024));
  return [o](Context& c) { return Execute(*o, c); };
}

}  // namespace slipway::cli
