#include "cli/cli.h"
#include "deploy/deploy.h"
#include "deploy/toolchain.h"
#include "report/deployment.h"

namespace slipway::cli {
namespace {

struct Options {
  deploy::DeployOptions deploy;
  std::string platforms;
  std::vector<std::string> shapes;
  ModelFlags read;
  bool no_record = false;
};

Status Execute(Options& o, Context& context) {
  o.deploy.platforms = deploy::SplitList(o.platforms);
  o.deploy.record = !o.no_record;
  SLIPWAY_ASSIGN_OR_RETURN(o.deploy.shapes, ParseShapes(o.shapes));
  SLIPWAY_ASSIGN_OR_RETURN(o.deploy.read, o.read.Options());
  StageProgress progress("", context);
  o.deploy.progress = [&](const std::string& platform, const std::string& stage, int64_t done,
                          int64_t total) { progress.Update(platform + ": " + stage, done, total); };
  SLIPWAY_ASSIGN_OR_RETURN(deploy::DeployOutcome outcome, deploy::Deploy(o.deploy));
  progress.Done();
  report::DeployReport report = report::ReportOf(outcome);
  SLIPWAY_RETURN_IF_ERROR(report::WriteReport(report, o.deploy.folder));
  std::string text = report::RenderText(report, report::TerminalWidth(1)) +
                     "report: " + o.deploy.folder + "/report.html" + "\n";
  context.Print(text, nlohmann::json::parse(report::RenderJson(report)));
  return outcome.status;
}

}  // namespace

Action SetupDeploy(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->deploy.model, "the model file")->required();
  app.add_option("--platforms", o->platforms, "comma-separated names (`slipway platforms`)")
      ->required();
  app.add_option("--calib", o->deploy.calibration, "calibration data, for platforms with integers");
  app.add_option("--eval", o->deploy.evaluation, "labelled data");
  app.add_option("--max-drop", o->deploy.max_drop,
                 "largest accepted accuracy drop in points; more exits 4");
  app.add_option("-o,--output", o->deploy.folder, "folder for packages and report")->required();
  app.add_option("--calib-samples", o->deploy.calibration_samples, "calibration samples (0 = all)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--eval-samples", o->deploy.evaluation_samples, "evaluation samples (0 = all)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--slow-seconds", o->deploy.slow_seconds,
                 "stop evaluating on one platform after so long")
      ->check(CLI::PositiveNumber);
  app.add_option("--threads", o->deploy.threads, "threads of the measured latency")
      ->check(CLI::Range(1, 1024));
  app.add_option("--batch", o->deploy.batch, "batch for evaluation when the model's is dynamic")
      ->check(CLI::PositiveNumber);
  app.add_option("--shape", o->shapes, "name=1,3,224,224: fixes a dynamic input");
  o->read.Declare(app);
  app.add_option("--costs", o->deploy.costs,
                 "what placement is decided by: analytic, or measured (kernels in the performance "
                 "database)")
      ->check(CLI::IsMember({"analytic", "measured"}));
  app.add_flag("--no-record", o->no_record,
               "do not store measurements in the performance database");
  return [o](Context& c) { return Execute(*o, c); };
}

}  // namespace slipway::cli
