#include "cli/cli.h"
#include "cli/quantize_flags.h"
#include "deploy/deploy.h"
#include "deploy/toolchain.h"
#include "report/deployment.h"

namespace slipway::cli {
namespace {

struct Options {
  deploy::DeployOptions deploy;
  QuantizeFlags quantize;
  std::vector<std::string> shapes;
  ModelFlags read;
  std::string report;
  bool no_record = false;
};

Status Execute(Options& o, Context& context) {
  o.deploy.platforms = deploy::SplitList(o.quantize.platforms);
  o.deploy.calibration = o.quantize.calib;
  o.deploy.evaluation = o.quantize.eval;
  o.deploy.quantize = o.quantize.request;
  SLIPWAY_ASSIGN_OR_RETURN(o.deploy.data, o.quantize.DataOptions());
  o.deploy.record = !o.no_record;
  SLIPWAY_ASSIGN_OR_RETURN(o.deploy.shapes, ParseShapes(o.shapes));
  SLIPWAY_ASSIGN_OR_RETURN(o.deploy.read, o.read.Options());
  if (auto slash = o.report.find_last_of('/'); slash != std::string::npos)
    SLIPWAY_RETURN_IF_ERROR(MakeFolder(o.report.substr(0, slash)));
  StageProgress progress("", context);
  o.deploy.progress = [&](const std::string& platform, const std::string& stage, int64_t done,
                          int64_t total) { progress.Update(platform + ": " + stage, done, total); };
  SLIPWAY_ASSIGN_OR_RETURN(deploy::DeployOutcome outcome, deploy::Deploy(o.deploy));
  progress.Done();
  report::DeployReport report = report::ReportOf(outcome);
  SLIPWAY_RETURN_IF_ERROR(report::WriteReport(report, o.deploy.folder));
  if (!o.report.empty()) SLIPWAY_RETURN_IF_ERROR(report::WriteHtml(report, o.report));
  std::string text = report::RenderText(report, report::TerminalWidth(1)) +
                     "report: " + (o.report.empty() ? o.deploy.folder + "/report.html" : o.report) +
                     "\n";
  context.Print(text, nlohmann::json::parse(report::RenderJson(report)));
  return outcome.status;
}

}  // namespace

Action SetupDeploy(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("MODEL", o->deploy.model, "the model file")->required();
  app.add_option("--platforms", o->quantize.platforms,
                 "comma-separated names (`slipway platforms`)");
  o->quantize.Declare(app, "--samples,--calib-samples");
  app.add_option("-o,--output", o->deploy.folder, "folder for packages and report")->required();
  app.add_option("--eval-samples", o->deploy.evaluation_samples, "evaluation samples (0 = all)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--slow-seconds", o->deploy.slow_seconds,
                 "stop evaluating on one platform after so long")
      ->check(CLI::PositiveNumber);
  app.add_option("--threads", o->deploy.threads, "threads of the measured latency")
      ->check(CLI::Range(1, 1024));
  app.add_option("--shape", o->shapes, "name=1,3,224,224: fixes a dynamic input");
  o->read.Declare(app);
  app.add_option("--costs", o->deploy.costs,
                 "what placement is decided by: analytic, or measured (kernels in the performance "
                 "database)")
      ->check(CLI::IsMember({"analytic", "measured"}));
  app.add_flag("--tune", o->deploy.tune,
               "measure kernels and whole plans and take the fastest, as `compile --tune`");
  app.add_option("--report", o->report,
                 "the HTML page here too, besides report.html in the folder");
  app.add_flag("--no-record", o->no_record,
               "do not store measurements in the performance database");
  return [o, &app](Context& c) -> Status {
    SLIPWAY_RETURN_IF_ERROR(o->quantize.Complete(app, "--platforms"));
    return Execute(*o, c);
  };
}

}  // namespace slipway::cli
