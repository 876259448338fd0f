#include <algorithm>
#include <filesystem>
#include <random>

#include "base/cpu.h"
#include "cli/cli.h"
#include "conformance/case.h"
#include "conformance/forked.h"
#include "conformance/random.h"
#include "deploy/device_session.h"
#include "deploy/emulated.h"
#include "deploy/toolchain.h"

namespace slipway::cli {
namespace {

using conformance::CaseNode;
using conformance::CaseOptions;
using conformance::CaseOutcome;
using conformance::FamilyOutcome;
using conformance::RandomOptions;

struct Options {
  std::string folder, platform, filter;
  std::vector<std::string> models;
  int jobs = 0, sample = 0;
  int64_t seed = -1;  // -1: another one each time
  bool in_process = false, no_random = false;
  CaseOptions cases;
  RandomOptions random;
};

// What a table says of a reason: without the node, the versions and the remedy, so that equal ones
// meet.
std::string Brief(std::string reason) {
  const std::string prefix = "'model.onnx': ";
  if (reason.starts_with(prefix)) reason.erase(0, prefix.size());
  for (size_t open; (open = reason.find(" (domain ")) != std::string::npos;) {
    size_t close = reason.find(')', open);
    if (close == std::string::npos) break;
    reason.erase(open, close + 1 - open);
  }
  for (const char* end : {". ", "; "}) reason = reason.substr(0, reason.find(end));
  if (size_t node = reason.find(" node '"); node != std::string::npos) {
    size_t close = reason.find("': ", node);
    if (close != std::string::npos) reason.erase(node, close + 1 - node);
  }
  return reason;
}

Status RunCases(const std::vector<conformance::Case>& cases, const Options& o,
                StageProgress& progress, std::vector<CaseOutcome>* outcomes) {
  const int64_t total = static_cast<int64_t>(cases.size());
  int64_t done = 0;
  if (o.in_process) {
    for (size_t i = 0; i < cases.size(); ++i) {
      (*outcomes)[i] = conformance::JudgeCase(cases[i], o.cases);
      progress.Update(++done, total);
    }
    return OkStatus();
  }
  return conformance::RunForked(
      cases.size(), o.jobs, o.cases.timeout,
      [&](size_t i, const conformance::Write& write) {
        write(conformance::ToText(conformance::JudgeCase(cases[i], o.cases)));
      },
      [&](size_t i, const conformance::ForkedResult& result) {
        CaseOutcome& outcome = (*outcomes)[i];
        if (!result.ended.empty() || !conformance::FromText(result.text, &outcome))
          outcome.reason = result.ended.empty() ? "ended without a result" : result.ended;
        progress.Update(++done, total);
      });
}

// What the plugins' backends did with one operator.
struct OpTally {
  int64_t nodes = 0, own = 0, wrong = 0;  // wrong: cases that failed with such a node on a plugin
  double macs = 0, own_macs = 0;
  std::map<std::string, int64_t> kernels, reasons;
};

std::string Keys(const std::map<std::string, int64_t>& map, size_t most) {
  std::string out;
  size_t n = 0;
  for (const auto& entry : map) {
    if (n++ == most) return out + ", ...";
    out += (out.empty() ? "" : ", ") + entry.first;
  }
  return out;
}

// The commonest.
std::string Commonest(const std::map<std::string, int64_t>& map) {
  const auto most = std::max_element(
      map.begin(), map.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == map.end() ? "" : most->first;
}

std::string Percent(double part, double whole) {
  return whole > 0 ? Fixed(100 * part / whole, 1) + " %" : "-";
}

// The cases as a plugin's author wants them: what ran on it, and what was wrong there.
struct PluginReport {
  std::string text;
  nlohmann::json json;
  int64_t nodes = 0, wrong = 0;
};

PluginReport ReportPlugins(const std::vector<conformance::Case>& cases,
                           const std::vector<CaseOutcome>& outcomes,
                           const std::set<std::string>& plugins) {
  PluginReport report;
  std::map<std::string, OpTally> ops;
  OpTally all;
  int64_t with = 0, right = 0, same = 0;
  nlohmann::json wrong_cases = nlohmann::json::array();
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const CaseOutcome& r = outcomes[i];
    const bool ran = r.RanOn(plugins), wrong = r.status == "failed" && !r.as_interpreter;
    same += r.status == "failed" && r.as_interpreter;
    with += ran;
    right += ran && r.status == "passed";
    if (wrong) wrong_cases.push_back(cases[i].name);
    report.wrong += wrong;
    std::set<std::string> seen;
    for (const CaseNode& n : r.nodes) {
      for (OpTally* t : {&ops[n.op], &all}) {
        const bool own = plugins.contains(n.backend);
        ++t->nodes;
        t->own += own;
        t->macs += n.macs;
        t->own_macs += own ? n.macs : 0;
        if (own) ++t->kernels[n.kernel];
        if (!own && !n.reason.empty()) ++t->reasons[n.reason];
        if (t != &all && own && wrong && seen.insert(n.op).second) ++t->wrong;
      }
    }
  }
  report.nodes = all.own;
  report::Table ran =
      MakeTable({"operator on the plugin", ">nodes", ">of", ">MACs", "kernels", ">wrong cases"});
  report::Table declined = MakeTable({"operator elsewhere", ">nodes", "because"});
  std::vector<std::pair<int64_t, std::string>> elsewhere;
  report.json = {{"operators", nlohmann::json::array()}};
  for (const auto& [op, t] : ops) {
    if (t.own > 0)
      ran.AddRow({op, std::to_string(t.own), std::to_string(t.nodes), Percent(t.own_macs, t.macs),
                  Keys(t.kernels, 4), std::to_string(t.wrong)});
    if (t.own < t.nodes) elsewhere.push_back({t.nodes - t.own, op});
    report.json["operators"].push_back({{"op", op},
                                        {"nodes", t.nodes},
                                        {"plugin_nodes", t.own},
                                        {"macs", t.macs},
                                        {"plugin_macs", t.own_macs},
                                        {"kernels", t.kernels},
                                        {"declined", t.reasons},
                                        {"wrong_cases", t.wrong}});
  }
  std::stable_sort(elsewhere.begin(), elsewhere.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  constexpr size_t kShown = 12;
  for (size_t i = 0; i < std::min(kShown, elsewhere.size()); ++i)
    declined.AddRow({elsewhere[i].second, std::to_string(elsewhere[i].first),
                     Commonest(ops[elsewhere[i].second].reasons)});
  if (all.own > 0) report.text += Show(ran);
  if (!elsewhere.empty()) report.text += Show(declined);
  if (elsewhere.size() > kShown)
    report.text += "and " + std::to_string(elsewhere.size() - kShown) + " more (--json)\n";
  std::string names;
  for (const std::string& name : plugins) names += (names.empty() ? "" : ", ") + name;
  report.text +=
      names + ": " + std::to_string(all.own) + " of " + std::to_string(all.nodes) + " nodes (" +
      Percent(static_cast<double>(all.own), static_cast<double>(all.nodes)) + ") and " +
      Percent(all.own_macs, all.macs) + " of the MACs of all cases; " + std::to_string(with) +
      " cases with nodes there, " + std::to_string(right) + " of them right; " +
      std::to_string(report.wrong) + " cases other than the interpreter";
  if (same > 0)
    report.text += "; " + std::to_string(same) +
                   " failed just as in the interpreter, which is no fault of the plugin";
  report.text += "\n";
  report.json["backends"] = plugins;
  report.json["nodes"] = all.nodes;
  report.json["plugin_nodes"] = all.own;
  report.json["macs"] = all.macs;
  report.json["plugin_macs"] = all.own_macs;
  report.json["cases"] = with;
  report.json["right"] = right;
  report.json["wrong"] = report.wrong;
  report.json["wrong_cases"] = wrong_cases;
  report.json["as_interpreter"] = same;
  return report;
}

// What the random shapes gave.
PluginReport ReportRandom(const std::vector<FamilyOutcome>& outcomes, const RandomOptions& o) {
  PluginReport report;
  report::Table taken =
      MakeTable({"random shapes", ">cases", ">taken", "kernels", ">runs", ">off by one", ">wrong"});
  report::Table wrong = MakeTable({"wrong", "the first one"});
  report.json = {{"seed", o.seed}, {"families", nlohmann::json::array()}};
  int64_t families = 0, runs = 0, cases = 0;
  std::set<std::string> backends;
  for (const FamilyOutcome& f : outcomes) {
    const std::string name = f.backend + " " + f.family;
    backends.insert(f.backend);
    families += f.taken();
    runs += f.runs;
    cases += f.cases - f.declined;
    report.wrong += f.wrong;
    if (f.taken() || f.wrong > 0)
      taken.AddRow({name, std::to_string(f.cases), std::to_string(f.cases - f.declined),
                    Keys(f.kernels, 4), std::to_string(f.runs), std::to_string(f.codes_off),
                    std::to_string(f.wrong)});
    if (f.wrong > 0) wrong.AddRow({name, f.first_wrong});
    report.json["families"].push_back({{"backend", f.backend},
                                       {"family", f.family},
                                       {"cases", f.cases},
                                       {"taken", f.cases - f.declined},
                                       {"declined", f.reasons},
                                       {"kernels", f.kernels},
                                       {"runs", f.runs},
                                       {"codes", f.codes},
                                       {"codes_off_by_one", f.codes_off},
                                       {"wrong", f.wrong},
                                       {"first_wrong", f.first_wrong}});
  }
  report.nodes = cases;
  if (families > 0 || report.wrong > 0) report.text += Show(taken);
  if (report.wrong > 0) report.text += Show(wrong);
  report.text += "random shapes, --seed " + std::to_string(o.seed) + ": " +
                 std::to_string(families) + " of " + std::to_string(outcomes.size()) +
                 " families of operators taken, " + std::to_string(cases) + " cases, " +
                 std::to_string(runs) + " runs, " + std::to_string(report.wrong) + " wrong\n";
  report.json["wrong"] = report.wrong;
  report.json["taken"] = families;
  report.json["runs"] = runs;
  return report;
}

// The cases of every platform: who passed, and why not.
std::string ReportCases(const std::vector<conformance::Case>& cases,
                        const std::vector<CaseOutcome>& outcomes, const Options& o,
                        nlohmann::json& json, int64_t* failed) {
  int64_t passed = 0, unsupported = 0, compiled = 0;
  double own = 0, macs = 0, own_macs = 0;
  nlohmann::json rows = nlohmann::json::array();
  report::Table failures = MakeTable({"failed case", "reason"});
  std::map<std::string, int64_t> reasons;
  for (size_t i = 0; i < cases.size(); ++i) {
    const CaseOutcome& r = outcomes[i];
    nlohmann::json row = {{"name", cases[i].name}, {"status", r.status}, {"reason", r.reason}};
    if (!r.note.empty()) row["note"] = r.note;
    if (r.own_node_share >= 0) row["own_node_share"] = r.own_node_share;
    if (r.macs > 0) row["own_mac_share"] = r.own_macs / r.macs;
    if (!o.cases.plugins.empty()) {
      row["as_interpreter"] = r.as_interpreter;
      row["on_plugin"] = r.RanOn(o.cases.plugins);
    }
    rows.push_back(std::move(row));
    if (r.status == "passed") {
      ++passed;
      if (r.own_node_share >= 0) {
        own += r.own_node_share;
        macs += r.macs;
        own_macs += r.own_macs;
        ++compiled;
      }
    } else if (r.status == "unsupported") {
      ++unsupported;
      ++reasons[Brief(r.reason)];
    } else {
      ++*failed;
      failures.AddRow(
          {cases[i].name, r.reason + (r.as_interpreter ? " (the interpreter does the same)" : "")});
    }
  }
  std::string text;
  if (!reasons.empty()) {
    std::vector<std::pair<int64_t, std::string>> sorted;
    for (const auto& [reason, count] : reasons) sorted.push_back({count, reason});
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    report::Table table = MakeTable({"unsupported because", ">cases"});
    for (const auto& [count, reason] : sorted) table.AddRow({reason, std::to_string(count)});
    text += Show(table);
  }
  if (*failed > 0) text += Show(failures);
  text += o.cases.platform + ": " + std::to_string(passed) + " passed, " + std::to_string(*failed) +
          " failed, " + std::to_string(unsupported) + " unsupported of " +
          std::to_string(cases.size()) + " cases";
  json["passed"] = passed;
  json["failed"] = *failed;
  json["unsupported"] = unsupported;
  json["cases"] = rows;
  if (compiled > 0) {
    own /= static_cast<double>(compiled);
    text += "; of the passed cases the platform's own backends ran " + Fixed(100 * own, 1) +
            " % of the nodes (mean over cases)";
    json["own_node_share"] = own;
    if (macs > 0) {
      text += " and " + Fixed(100 * own_macs / macs, 1) + " % of all MACs";
      json["own_mac_share"] = own_macs / macs;
    }
  }
  return text + "\n";
}

Result<std::vector<conformance::Case>> AllCases(const Options& o) {
  std::vector<conformance::Case> cases;
  if (!o.folder.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(cases, conformance::FindCases(o.folder, o.filter));
  }
  if (o.sample > 0 && o.sample < static_cast<int>(cases.size())) {
    std::mt19937 random(static_cast<unsigned>(std::max<int64_t>(o.seed, 0)));
    std::shuffle(cases.begin(), cases.end(), random);
    cases.resize(static_cast<size_t>(o.sample));
    std::sort(cases.begin(), cases.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
  }
  for (const std::string& model : o.models) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(model, error))
      return NotFound("--model '" + model + "': there is no such file");
    cases.push_back({model, "", model});
  }
  return cases;
}

Status Execute(Options o, Context& context) {
  const std::vector<cts::Backend> backends = conformance::PluginBackends(o.random.off_by_one);
  const bool has_cases = !o.folder.empty() || !o.models.empty();
  const bool random = !backends.empty() && !o.no_random;
  if (!has_cases && !random)
    return InvalidArgument(
        "nothing to test; give a folder with ONNX backend test cases, --model FILE, or a plugin "
        "with a backend (--plugin FILE, or --platform with one)");
  if (has_cases && o.platform.empty() && !backends.empty())
    return InvalidArgument("which platform uses the backend '" + backends.front().name +
                           "' of the plugin? Name its file: --platform FILE.yaml "
                           "(docs/plugins.md)");
  o.cases.platform = o.platform.empty() ? "reference" : o.platform;
  const uint64_t seed = o.seed >= 0 ? static_cast<uint64_t>(o.seed) : std::random_device{}();
  o.cases.seed = o.random.seed = seed;

  // Over all cases, which run in processes of their own: what all need is put on the device here.
  std::shared_ptr<deploy::DeviceSession> device;
  if (has_cases && o.cases.IsPlatform()) {
    SLIPWAY_ASSIGN_OR_RETURN(auto platform, deploy::GetPlatform(o.cases.platform));
    for (const std::string& name : platform.backends) {
      const auto* backend = deploy::Backends().Find(name);
      if (backend && !backend->plugin().empty()) o.cases.plugins.insert(name);
    }
    if (platform.device != "local") {
      SLIPWAY_ASSIGN_OR_RETURN(device, deploy::DeviceSession::Open(platform));
      SLIPWAY_RETURN_IF_ERROR(deploy::PrepareDevice(
          *device, platform, {o.cases.plugins.begin(), o.cases.plugins.end()}));
    } else if (platform.arch != "any" && platform.arch != ThisCpu().arch) {
      return InvalidArgument("platform '" + platform.name + "' is for " + platform.arch +
                             " and cannot run on this " + ThisCpu().arch + " machine");
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(const auto cases, AllCases(o));
  nlohmann::json json = {{"platform", o.cases.platform}};
  std::string text;
  int64_t failed = 0;
  PluginReport on_cases, on_random;
  if (has_cases) {
    std::vector<CaseOutcome> outcomes(cases.size());
    StageProgress progress("conformance", context);
    SLIPWAY_RETURN_IF_ERROR(RunCases(cases, o, progress, &outcomes));
    progress.Done();
    text = ReportCases(cases, outcomes, o, json, &failed);
    if (!o.cases.plugins.empty()) {
      on_cases = ReportPlugins(cases, outcomes, o.cases.plugins);
      text += on_cases.text;
      json["plugins"] = on_cases.json;
    }
  }
  if (random) {
    o.random.jobs = o.jobs;
    o.random.timeout = o.cases.timeout;
    o.random.in_process = o.in_process;
    StageProgress progress("random shapes", context);
    SLIPWAY_ASSIGN_OR_RETURN(
        const auto outcomes,
        conformance::RunRandom(backends, o.random,
                               [&](int64_t done, int64_t total) { progress.Update(done, total); }));
    progress.Done();
    on_random = ReportRandom(outcomes, o.random);
    text += on_random.text;
    if (device)
      text += "random shapes ran on this machine, not on " + device->device().name() + "\n";
    json["random"] = on_random.json;
  }
  context.Print(text, json);
  if (o.cases.plugins.empty() && !random) {
    if (failed > 0)
      return GateFailed(std::to_string(failed) + " of " + std::to_string(cases.size()) +
                        " cases failed; --filter NAME runs one");
    return OkStatus();
  }
  const int64_t wrong = (o.cases.plugins.empty() ? failed : on_cases.wrong) + on_random.wrong;
  if (wrong > 0)
    return GateFailed(std::to_string(wrong) +
                      " cases are wrong on the plugin; --filter NAME and "
                      "--seed N repeat one, --in-process shows it to a debugger");
  if (on_cases.nodes + on_random.nodes == 0)
    return GateFailed(
        "the plugin's backend took no node of any case, so nothing was tested; "
        "give --model with a model for its platform (docs/plugins.md)");
  return OkStatus();
}

}  // namespace

Action SetupConformance(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("DIR", o->folder,
                 "every folder under it with model.onnx and test_data_set_*/ is a case");
  app.add_option("--model", o->models,
                 "a model file: random inputs, and what the interpreter gives for them; may be "
                 "repeated");
  app.add_option("--platform", o->platform,
                 "a platform that runs here, emulated ones and boards included, `interpreter`, or "
                 "`c`: the C file of `export --to c`, compiled here (default: reference)");
  app.add_option("--filter", o->filter,
                 "only cases, and families of random shapes, with this in their name");
  app.add_option("--sample", o->sample, "only so many cases of DIR, drawn at random")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--jobs", o->jobs, "cases at the same time (0 = one per CPU)")
      ->check(CLI::Range(0, 1024));
  app.add_option("--timeout", o->cases.timeout, "seconds per case")->check(CLI::Range(1, 86400));
  app.add_flag("--in-process", o->in_process,
               "all cases in this process, for a debugger: a crash then ends everything");
  app.add_option(
         "--seed", o->seed,
         "of random shapes and inputs (default: another each time), and of the sample (default: 0)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--inputs", o->cases.inputs, "random inputs for each --model")
      ->check(CLI::Range(1, 1000));
  app.add_option("--tolerance", o->cases.tolerance,
                 "outputs may be off by this share of their largest magnitude")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--random-ms", o->random.ms,
                 "of a plugin: milliseconds of random shapes for each family of operators")
      ->check(CLI::Range(1.0, 1e7));
  app.add_flag("--no-random", o->no_random, "of a plugin: no random shapes");
  app.add_flag("--off-by-one", o->random.off_by_one,
               "of a plugin: 8-bit codes may differ by one step in random shapes");
  app.add_flag_callback(
      "--no-malformed", [o] { o->random.malformed = false; },
      "of a plugin: no damaged programs and tensors that do not fit");
  return [o](Context& c) -> Status {
    o->random.filter = o->filter;
    return Execute(*o, c);
  };
}

}  // namespace slipway::cli
