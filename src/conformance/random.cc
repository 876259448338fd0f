#include "conformance/random.h"

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "conformance/forked.h"
#include "engine/backends/plugin/compiler.h"
#include "engine/runtime/registry.h"

namespace slipway::conformance {
namespace {

using nlohmann::json;

struct Work {
  const cts::Backend* backend;
  cts::Family family;
};

// Lines for the parent: "at SEED" before each case, {...} at the end.
std::string Line(const std::string& text) { return text + "\n"; }

void RunFamily(const Work& work, const RandomOptions& o, const Write& write) {
  FamilyOutcome out;
  const auto until = [](double ms) {
    return std::chrono::steady_clock::now() + std::chrono::duration<double, std::milli>(ms);
  };
  const auto wrong = [&](const Status& status, uint64_t seed) {
    ++out.wrong;
    if (out.first_wrong.empty())
      out.first_wrong = status.message() + " (--seed " + std::to_string(seed) + ")";
  };
  cts::Tally tally;
  uint64_t seed = o.seed;
  const auto end = until(o.ms);
  do {
    write(Line("at " + std::to_string(seed)));
    cts::Random random(seed);
    const cts::Case c = work.family.make(random);
    const Status status = cts::Check(c, *work.backend, random, tally);
    if (!status.ok()) wrong(status, seed);
    ++seed;
  } while (std::chrono::steady_clock::now() < end);
  // More than a few ties are no ties.
  if (tally.codes > 20000 &&
      static_cast<double>(tally.codes_off) >= 1e-3 * static_cast<double>(tally.codes))
    wrong(Internal(std::to_string(tally.codes_off) + " of " + std::to_string(tally.codes) +
                   " codes are off by one"),
          o.seed);
  seed = o.seed;
  const auto malformed_end = until(o.ms / 5);
  while (o.malformed && tally.declined < tally.cases &&
         std::chrono::steady_clock::now() < malformed_end) {
    write(Line("malformed at " + std::to_string(seed)));
    cts::Random random(seed);
    const cts::Case c = work.family.make(random);
    const Status status = cts::CheckMalformed(c, *work.backend, random);
    if (!status.ok()) wrong(status, seed);
    ++seed;
  }
  const json row = {
      {"cases", tally.cases},     {"declined", tally.declined}, {"wrong", out.wrong},
      {"runs", tally.runs},       {"codes", tally.codes},       {"off", tally.codes_off},
      {"kernels", tally.kernels}, {"reasons", tally.reasons},   {"first", out.first_wrong}};
  write(Line(row.dump(-1, ' ', false, json::error_handler_t::replace)));
}

FamilyOutcome Read(const Work& work, const ForkedResult& result) {
  FamilyOutcome out{.backend = work.backend->name, .family = work.family.name};
  std::string last = result.text;
  while (!last.empty() && last.back() == '\n') last.pop_back();
  last.erase(0, last.rfind('\n') == std::string::npos ? 0 : last.rfind('\n') + 1);
  const json row = json::parse(last, nullptr, false);
  if (row.is_object() && result.ended.empty()) {
    out.cases = row.value("cases", int64_t{0});
    out.declined = row.value("declined", int64_t{0});
    out.wrong = row.value("wrong", int64_t{0});
    out.runs = row.value("runs", int64_t{0});
    out.codes = row.value("codes", int64_t{0});
    out.codes_off = row.value("off", int64_t{0});
    out.kernels = row.value("kernels", std::map<std::string, int64_t>());
    out.reasons = row.value("reasons", std::vector<std::string>());
    out.first_wrong = row.value("first", "");
    return out;
  }
  // The case that it was at.
  out.cases = out.wrong = 1;
  const size_t at = last.rfind("at ");
  const std::string seed = at == std::string::npos ? "" : last.substr(at + 3);
  std::string what = "?";
  if (!seed.empty()) {
    cts::Random random(std::strtoull(seed.c_str(), nullptr, 10));
    what = cts::Describe(work.family.make(random));
  }
  out.first_wrong = (result.ended.empty() ? "ended without a result" : result.ended) + ": " +
                    (last.starts_with("malformed") ? "a damaged step of " : "") + what +
                    " (--seed " + seed + ")";
  return out;
}

}  // namespace

std::vector<cts::Backend> PluginBackends(bool off_by_one) {
  std::vector<cts::Backend> all;
  for (const runtime::Plugin& plugin : runtime::GlobalRegistry().plugins()) {
    const slipway_backend* run = runtime::GlobalRegistry().Find(plugin.backend);
    if (!plugin.compiler || plugin.backend.empty() || !run) continue;
    const std::string file = std::filesystem::path(plugin.path).filename().string();
    const auto make = [entry = plugin.compiler, file,
                       name = plugin.backend]() -> std::unique_ptr<backends::CompileBackend> {
      auto made = backends::MakePluginCompiler(entry, file, name);
      return made.ok() ? std::move(*made) : nullptr;  // it was loaded: it is
    };
    all.push_back(
        {.name = plugin.backend, .compiler = make, .run = run, .exact_integers = !off_by_one});
  }
  return all;
}

Result<std::vector<FamilyOutcome>> RunRandom(
    const std::vector<cts::Backend>& backends, const RandomOptions& options,
    const std::function<void(int64_t, int64_t)>& progress) {
  std::vector<Work> work;
  for (const cts::Backend& backend : backends) {
    for (const cts::Family& family : cts::Families()) {
      if (std::string(family.name).find(options.filter) != std::string::npos)
        work.push_back({&backend, family});
    }
  }
  std::vector<FamilyOutcome> outcomes(work.size());
  int64_t done = 0;
  for (size_t i = 0; options.in_process && i < work.size(); ++i) {
    ForkedResult result;
    RunFamily(work[i], options, [&](const std::string& text) { result.text += text; });
    outcomes[i] = Read(work[i], result);
    progress(++done, static_cast<int64_t>(work.size()));
  }
  if (options.in_process) return outcomes;
  SLIPWAY_RETURN_IF_ERROR(RunForked(
      work.size(), options.jobs, options.timeout,
      [&](size_t i, const Write& write) { RunFamily(work[i], options, write); },
      [&](size_t i, const ForkedResult& result) {
        outcomes[i] = Read(work[i], result);
        progress(++done, static_cast<int64_t>(work.size()));
      }));
  return outcomes;
}

}  // namespace slipway::conformance
