#include "cli/quantize_flags.h"

#include "deploy/runner.h"
#include "engine/compiler/observer_spec.h"

namespace slipway::cli {

void QuantizeFlags::Declare(CLI::App& app, const char* samples) {
  deploy::QuantizeRequest& r = request;
  app.add_option("--config", config,
                 "a YAML file with any of these options; those given here come first");
  app.add_option("--calib", calib, "calibration data (labels are not needed)");
  app.add_option("--eval", eval, "labelled data: measure the accuracy before and after");
  app.add_option("--preprocess", preprocess,
                 "a preprocess.yaml, instead of the one beside the data");
  app.add_option("--max-drop", r.max_drop, "largest accepted drop in points; more exits 4");
  app.add_option(
      "--bits", r.bits,
      "W4A8: bits of weights and activations; layers at the ends keep the platform's. W4: "
      "of weights alone (rtn, awq, gptq). none: the model stays float, with --sparsity");
  app.add_option("--algorithm", r.algorithm,
                 "learn the rounding of weights (adaround), by blocks and with the activations' "
                 "scales (brecq), with elements left out at random (qdrop); weights alone: rounded "
                 "to nearest (rtn), with scaled channels (awq), errors made up for (gptq); climb "
                 "from the cheapest until --max-drop holds (auto)")
      ->check(CLI::IsMember(deploy::QuantizeAlgorithms()));
  app.add_option("--budget", r.budget,
                 "each layer's precision is chosen for the least loss: latency=2.5ms (measured), "
                 "size=1.2MB, bitops=3G, or a share of the dearest choice, size=50%");
  app.add_option("--choices", r.choices,
                 "with --budget: the precisions (default float,W8A8,W4A8,W4A4; for a latency "
                 "float,W8A8)");
  deploy::SparsityRequest& s = r.sparsity;
  app.add_option("--sparsity", s.pattern,
                 "prune weights first: 2:4 (any N:M, at most N of M input channels not zero) or "
                 "block:RxC@RATIO, as in block:8x4@0.5");
  app.add_option("--sparsity-method", s.method,
                 "what goes: the smallest weights (magnitude), or what costs the layers' outputs "
                 "least, the others making up for it (obs, the default)")
      ->check(CLI::IsMember({"magnitude", "obs"}));
  app.add_option("--sparsity-iterations", s.iterations,
                 "then train the remaining weights of each block to the float network's outputs, "
                 "so many iterations (default 0: not)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--keep-dense", s.keep_dense, "names of layers that are not pruned")
      ->delimiter(',');
  app.add_flag("--sparse-ends", s.ends, "prune the layers at the ends of the network too");
  app.add_option("--iterations", r.iterations, "of a block, of the algorithm")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", r.seed, "of the algorithm");
  app.add_option("--loss", r.loss,
                 "of the algorithm: the squared error of a block's outputs (mse), or weighted by "
                 "what it costs the task (fisher)")
      ->check(CLI::IsMember({"mse", "fisher"}));
  app.add_option("--group", r.group,
                 "rtn, awq, gptq: inputs that share a scale (0: all of an output)")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--act-order", r.act_order, "gptq: columns by falling size of their inputs");
  app.add_option(samples, r.samples,
                 "calibration samples (0 = all; without it 256, or 1024 for an algorithm, 128 for "
                 "weights alone)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--observer", r.observer,
                 "activation ranges, instead of the platform's: " + compiler::ObserverNames());
  app.add_option("--weight-observer", r.weight_observer,
                 "weight ranges, instead of the platform's: the same names");
  app.add_option("--adjust", r.adjust,
                 "equalize: scales move between layers; smooth[:ALPHA]: from activations behind a "
                 "LayerNormalization to weights; bias-correction: means of channels; bn: means and "
                 "deviations")
      ->delimiter(',');
  app.add_option("--keep-float", r.keep_float, "names of nodes that stay float")->delimiter(',');
  app.add_option("--batch", r.batch, "batch size when the model's is dynamic")
      ->check(CLI::PositiveNumber);
}

Status QuantizeFlags::Complete(const CLI::App& app, const char* platform_option) {
  deploy::QuantizeRequest& r = request;
  if (!config.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(const deploy::QuantizeConfig c, deploy::LoadQuantizeConfig(config));
    const auto take = [&](const char* option, auto& to, const auto& from, bool given) {
      if (app.count(option) == 0 && given) to = from;
    };
    take(platform_option, platforms, c.platform, !c.platform.empty());
    take("--bits", r.bits, c.bits, !c.bits.empty());
    take("--calib", calib, c.calibration, !c.calibration.empty());
    take("--eval", eval, c.evaluation, !c.evaluation.empty());
    take("--preprocess", preprocess, c.preprocess, !c.preprocess.empty());
    take("--observer", r.observer, c.activation_observer, !c.activation_observer.empty());
    take("--weight-observer", r.weight_observer, c.weight_observer, !c.weight_observer.empty());
    take("--algorithm", r.algorithm, c.algorithm, !c.algorithm.empty());
    take("--adjust", r.adjust, c.adjust, !c.adjust.empty());
    take("--budget", r.budget, c.budget, !c.budget.empty());
    take("--choices", r.choices, c.choices, !c.choices.empty());
    take("--samples", r.samples, c.samples, c.samples >= 0);
    take("--batch", r.batch, c.batch, c.batch > 0);
    take("--iterations", r.iterations, c.iterations, c.iterations > 0);
    take("--seed", r.seed, static_cast<uint64_t>(c.seed), c.seed >= 0);
    take("--max-drop", r.max_drop, c.max_drop, c.max_drop >= 0);
    if (app.count("--keep-float") == 0)
      r.keep_float.assign(c.keep_float.begin(), c.keep_float.end());
    r.layer_bits = c.layer_bits;
    deploy::SparsityRequest& s = r.sparsity;
    take("--sparsity", s.pattern, c.sparsity, !c.sparsity.empty());
    take("--sparsity-method", s.method, c.sparsity_method, !c.sparsity_method.empty());
    take("--sparsity-iterations", s.iterations, c.sparsity_iterations, c.sparsity_iterations >= 0);
    if (app.count("--keep-dense") == 0)
      s.keep_dense.assign(c.keep_dense.begin(), c.keep_dense.end());
  }
  if (platforms.empty() && deploy::StaysFloat(r)) platforms = deploy::HostPlatform();
  if (platforms.empty())
    return InvalidArgument("whose integers? give " + std::string(platform_option) +
                           ", or 'platform' in --config");
  if (Status status = deploy::CheckRequest(r, !eval.empty()); !status.ok())
    return config.empty() ? status : status.With(config);
  return OkStatus();
}

Result<data::DatasetOptions> QuantizeFlags::DataOptions() const {
  data::DatasetOptions options;
  if (!preprocess.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(options.preprocess, data::ReadPreprocess(preprocess));
  }
  return options;
}

}  // namespace slipway::cli
